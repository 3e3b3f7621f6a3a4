"""Distillation: (student output, teacher output) -> scalar losses."""

from transm3e.distill import mctkd
from transm3e.distill.registry import DISTILLERS, Distiller, build_distiller

__all__ = ["DISTILLERS", "Distiller", "build_distiller", "mctkd"]
