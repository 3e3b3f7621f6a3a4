"""From a clip table to batches."""

from transm3e.data.build import build_dataset
from transm3e.data.loader import build_folder_loader, build_loader
from transm3e.data.types import Batch

__all__ = ["Batch", "build_dataset", "build_folder_loader", "build_loader"]
