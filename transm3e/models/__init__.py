"""Models: clips in, ModelOutput out; labels, losses and teachers are not their business."""

from transm3e.models import mvit, statistic, stgcn, transm3e
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, build_model, count_parameters

__all__ = ["MODELS", "ModelOutput", "build_model", "count_parameters", "mvit", "statistic", "stgcn", "transm3e"]
