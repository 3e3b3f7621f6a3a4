"""Find the video files below a folder: by their suffix, or by their content."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import closing
from pathlib import Path

import av

from transm3e.data.container import VIDEO_SUFFIXES, first_video_stream, open_container
from transm3e.data.images import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)
KINDS_SHOWN = 8


def is_video(file: Path) -> bool:
    """Whether a file has a video's suffix or content; files with an image's suffix are not videos."""
    suffix = file.suffix.lower()
    if suffix in VIDEO_SUFFIXES or suffix in IMAGE_SUFFIXES:
        return suffix in VIDEO_SUFFIXES
    try:
        with closing(open_container(file)) as container:
            return first_video_stream(container) is not None
    except (av.FFmpegError, OSError, UnicodeError):
        return False


def videos_below(folder: Path) -> list[Path]:
    """Video files below a folder, sorted; a warning counts other files, including hidden ones (macOS's ._a.mp4)."""
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
            "%s: ignored %d files that are not videos (%s)",
            *(folder, passed.total(), ", ".join(kinds[:KINDS_SHOWN]) + more),
        )
    return videos
