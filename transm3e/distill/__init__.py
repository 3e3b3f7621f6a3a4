"""Distillation losses, computed from the outputs of student and teacher."""

from transm3e.distill import logits, mctkd
from transm3e.distill.centre import Centre, build_centre
from transm3e.distill.registry import DISTILLERS, Distiller, build_distiller

__all__ = ["DISTILLERS", "Centre", "Distiller", "build_centre", "build_distiller", "logits", "mctkd"]
