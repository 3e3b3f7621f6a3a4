"""Skeletons: read from detectors' files, transformed as the view of a clip, converted to the input of graph networks."""

from transm3e.data.skeleton.read import read_skeleton
from transm3e.data.skeleton.sequence import Skeleton, check_frames
from transm3e.data.skeleton.units import fit_video

__all__ = ["Skeleton", "check_frames", "fit_video", "read_skeleton"]
