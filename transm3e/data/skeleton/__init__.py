"""Skeletons: read from detectors' files, cut to a clip's view, turned into what a graph network reads."""

from transm3e.data.skeleton.read import read_skeleton
from transm3e.data.skeleton.sequence import Skeleton, check_frames
from transm3e.data.skeleton.units import fit_video

__all__ = ["Skeleton", "check_frames", "fit_video", "read_skeleton"]
