"""Reads, converts, loads and writes weights: checkpoints of this and other projects, loaded whole or not at all."""

from transm3e.models.weights import authors, mmaction, mvit, stgcn, torchvision
from transm3e.models.weights.detect import find_source
from transm3e.models.weights.files import check_target, read_checkpoint, write_weights
from transm3e.models.weights.load import load_weights
from transm3e.models.weights.source import SOURCES
from transm3e.models.weights.tables import LoadReport

__all__ = [
    "SOURCES",
    "LoadReport",
    "authors",
    "check_target",
    "find_source",
    "load_weights",
    "mmaction",
    "mvit",
    "read_checkpoint",
    "stgcn",
    "torchvision",
    "write_weights",
]
