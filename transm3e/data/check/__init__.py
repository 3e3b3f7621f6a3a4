"""Checks of a data set before a run: files, activities, labels, duplicates."""

from transm3e.data.check.finding import Finding, write_report
from transm3e.data.check.labels import activity_problems, label_statistics, summary
from transm3e.data.check.table import Checked, check_table
from transm3e.data.check.video import DECODE_MODES, VideoFacts, inspect_video
from transm3e.data.check.workers import map_with_progress

__all__ = [
    "DECODE_MODES",
    "Checked",
    "Finding",
    "VideoFacts",
    "activity_problems",
    "check_table",
    "inspect_video",
    "label_statistics",
    "map_with_progress",
    "summary",
    "write_report",
]
