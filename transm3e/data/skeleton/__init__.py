"""Skeletons: read from detectors' files, cut to a clip's view, turned into what a graph network reads."""

from transm3e.data.skeleton.read import read_skeleton
from transm3e.data.skeleton.sequence import Skeleton, check_frames

__all__ = ["Skeleton", "check_frames", "read_skeleton"]
