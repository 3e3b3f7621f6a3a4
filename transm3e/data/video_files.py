"""Which files below a folder are videos: told by what is in them, whatever they are called."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import closing
from pathlib import Path

import av

from transm3e.data.container import first_video_stream, open_container
from transm3e.data.decode import VIDEO_SUFFIXES
from transm3e.data.images import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)
KINDS_SHOWN = 8


def is_video(file: Path) -> bool:
    """Whether a file is called a video or is one; by its name alone a picture is none."""
    suffix = file.suffix.lower()
    if suffix in VIDEO_SUFFIXES or suffix in IMAGE_SUFFIXES:
        return suffix in VIDEO_SUFFIXES
    try:
        with closing(open_container(file)) as container:
            return first_video_stream(container) is not None
    except (av.FFmpegError, OSError, UnicodeError):
        return False


def videos_below(folder: Path) -> list[Path]:
    """Video files below a folder, sorted; a warning counts the others. Hidden ones (._a.mp4 of macOS) are others."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    hidden = {file for file in files if file.name.startswith(".")}
    videos = [file for file in files if file not in hidden and is_video(file)]
    passed = Counter(
        "hidden" if file in hidden else file.suffix.lower() or "without a suffix" for file in set(files) - set(videos)
    )
    if passed:
        kinds = [f"{count} {kind}" for kind, count in sorted(passed.items(), key=lambda item: (-item[1], item[0]))]
        more = ", ..." if len(kinds) > KINDS_SHOWN else ""
        logger.warning(
            "%s: passed over %d files that are no videos (%s)",
            *(folder, passed.total(), ", ".join(kinds[:KINDS_SHOWN]) + more),
        )
    return videos
