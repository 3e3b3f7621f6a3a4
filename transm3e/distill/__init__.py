"""Distillation: (student output, teacher output) -> scalar losses."""

from transm3e.distill import logits, mctkd
from transm3e.distill.registry import DISTILLERS, Distiller, build_distiller

__all__ = ["DISTILLERS", "Distiller", "build_distiller", "logits", "mctkd"]
