"""Models: clips in, ModelOutput out, without labels, losses or teachers."""

from transm3e.models import (
    ctrgcn,
    deit,
    hdgcn,
    mvit,
    posenet,
    pytorchvideo_nets,
    resnet3d,
    slowfast,
    statistic,
    stgcn,
    transm3e,
    two_branch,
    videoswin,
)
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model, build_model, count_parameters

__all__ = [
    "MODELS",
    "Model",
    "ModelOutput",
    "build_model",
    "count_parameters",
    "ctrgcn",
    "deit",
    "hdgcn",
    "mvit",
    "posenet",
    "pytorchvideo_nets",
    "resnet3d",
    "slowfast",
    "statistic",
    "stgcn",
    "transm3e",
    "two_branch",
    "videoswin",
]
