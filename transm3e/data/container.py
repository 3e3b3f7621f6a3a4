"""Video files opened so that they reach nothing but themselves, and claim no more memory than a picture may need."""

from __future__ import annotations

import errno
import logging
import os
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av

# Pixels of a frame: four times those of 8K. Decoders take memory by what a header says.
MAX_PIXELS = 1 << 27
# FFmpeg's names of formats that hold their pictures themselves. Others are playlists in disguise (hls, concat, dash),
# which would read other files, or descriptions of network streams (sdp).
FORMATS = (
    *("mov", "matroska", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "ogg", "asf", "m4v", "mxf", "dv", "rm", "nut"),
    *("wav", "mp3", "aac", "flac"),  # so that a file of sound is called so
    *("h264", "hevc", "ivf", "obu", "mjpeg", "yuv4mpegpipe", "gif", "apng", "wtv"),
)
# Pipes and devices are refused by the caller, who asks for a regular file.
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
# PyAV 19 takes titles in any encoding by itself.
ANY_TITLE: Any = {"metadata_errors": "ignore"} if hasattr(av.container.Container, "metadata_errors") else {}
# Transfer curves of HDR videos (ITU-T H.273): PQ and HLG.
HDR_CURVES = (16, 18)


def open_container(path: str | Path) -> av.container.InputContainer:
    """A video file, opened; close() it. Its decoders refuse frames of more than MAX_PIXELS.

    Raises:
        av.FFmpegError, OSError: it is not there, in no format of FORMATS, or damaged.
    """
    # An absolute path is never read as a protocol; its title may be in any encoding.
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
    """Whether the pictures are HDR (PQ or HLG). They are read as if they were not, and look pale."""
    return getattr(stream.codec_context, "color_trc", None) in HDR_CURVES  # older PyAV does not tell


def pixel_aspect(stream: av.VideoStream) -> Fraction:
    """Width of a pixel as coded, in heights; 1 where the file says nothing."""
    ratio = stream.sample_aspect_ratio
    return Fraction(ratio.numerator, ratio.denominator) if ratio else Fraction(1)


@lru_cache(maxsize=1)
def warn_hdr_once() -> None:
    """Say once that HDR videos are read as they are."""
    logging.getLogger("transm3e").warning(
        "some videos are HDR (PQ or HLG) and are read without tone mapping: their colours are paler than those of others; "
        "datasets/check_dataset.py counts them, ffmpeg with zscale and tonemap converts them"
    )


def first_video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The stream that is read: the first with pictures that is not the cover."""
    cover = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & cover), None)
