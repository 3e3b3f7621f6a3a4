"""From a clip table to batches."""

from transm3e.data.build import build_dataset
from transm3e.data.loader import build_loader
from transm3e.data.types import Batch
from transm3e.data.videos import Videos, build_videos

__all__ = ["Batch", "Videos", "build_dataset", "build_loader", "build_videos"]
