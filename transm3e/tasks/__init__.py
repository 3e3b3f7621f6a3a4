"""Tasks: what the engine trains. A new method is a new task or distiller, never an `if` in the train loop."""

from transm3e.tasks.build import (
    build_classify,
    build_distill,
    build_task,
    build_trained_task,
)
from transm3e.tasks.classify import Classify
from transm3e.tasks.distill import Distill

__all__ = [
    "Classify",
    "Distill",
    "build_classify",
    "build_distill",
    "build_task",
    "build_trained_task",
]
