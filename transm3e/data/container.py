"""Open video files safely: no access to other files or the network, and a limit on the size of frames."""

from __future__ import annotations

import errno
import logging
import os
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av

# A file with one of these suffixes that cannot be opened is a broken video. (Not .ps, which is also PostScript.)
VIDEO_SUFFIXES = (
    *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov"),
    *(".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm"),
    *(".wmv", ".wtv", ".y4m"),
)

# Pixels of a frame, four times 8K: decoders allocate memory for the size that a header states.
MAX_PIXELS = 1 << 27
# FFmpeg's names of self-contained formats. Others are playlists (hls, concat, dash), which would read other files, or
# descriptions of network streams (sdp).
FORMATS = (
    *("mov", "matroska", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "ogg", "asf", "m4v", "mxf", "dv", "rm", "nut"),
    *("wav", "mp3", "aac", "flac"),  # so that an audio file is reported as such
    *("h264", "hevc", "ivf", "obu", "mjpeg", "yuv4mpegpipe", "gif", "apng", "wtv"),
)
# Pipes and devices are refused by the caller, which checks for a regular file.
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
# PyAV 19 accepts titles in any encoding by default.
ANY_TITLE: Any = {"metadata_errors": "ignore"} if hasattr(av.container.Container, "metadata_errors") else {}
# Transfer curves of HDR videos (ITU-T H.273): PQ and HLG.
HDR_CURVES = (16, 18)


def open_container(path: str | Path) -> av.container.InputContainer:
    """A video file, opened; close() it. Its decoders refuse frames of more than MAX_PIXELS.

    Raises:
        av.FFmpegError, OSError: it is missing, in none of FORMATS, or damaged.
    """
    # An absolute path is never parsed as a protocol; the title may be in any encoding.
    try:
        container = av.open(os.path.abspath(path), options=OPTIONS, **ANY_TITLE)
    except av.FFmpegError as error:
        if error.errno != errno.EINVAL:
            raise
        raise OSError(errno.EINVAL, "in no format of video files") from error
    for stream in container.streams.video:
        if stream.codec_context is not None:  # a codec that FFmpeg knows
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return container


def is_hdr(stream: av.VideoStream) -> bool:
    """Whether the frames are HDR (PQ or HLG). They are read without tone mapping and look pale."""
    return getattr(stream.codec_context, "color_trc", None) in HDR_CURVES  # older PyAV does not expose it


def pixel_aspect(stream: av.VideoStream) -> Fraction:
    """Width / height of a coded pixel; 1 where the file does not state it."""
    ratio = stream.sample_aspect_ratio
    return Fraction(ratio.numerator, ratio.denominator) if ratio else Fraction(1)


@lru_cache(maxsize=1)
def warn_hdr_once() -> None:
    """Warn once that HDR videos are read without tone mapping."""
    logging.getLogger("transm3e").warning(
        "some videos are HDR (PQ or HLG) and are read without tone mapping: their colours are paler than those of others; "
        "datasets/check_dataset.py counts them, ffmpeg with zscale and tonemap converts them"
    )


def first_video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The stream that is read: the first video stream that is not a cover image."""
    cover = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & cover), None)
