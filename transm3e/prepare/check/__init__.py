"""Checks of a data set before a run: files, activities, labels, duplicates."""

from transm3e.prepare.check.finding import Finding, write_report
from transm3e.prepare.check.labels import activity_problems, label_statistics, summary
from transm3e.prepare.check.table import Checked, check_table
from transm3e.prepare.check.video import DECODE_MODES, VideoFacts, inspect_video

__all__ = [
    "DECODE_MODES",
    "Checked",
    "Finding",
    "VideoFacts",
    "activity_problems",
    "check_table",
    "inspect_video",
    "label_statistics",
    "summary",
    "write_report",
]
