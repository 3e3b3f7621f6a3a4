"""Video files opened so that they reach nothing but themselves, and claim no more memory than a picture may need."""

from __future__ import annotations

import errno
import os
from pathlib import Path

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


def open_container(path: str | Path) -> av.container.InputContainer:
    """A video file, opened; close() it. Its decoders refuse frames of more than MAX_PIXELS.

    Raises:
        av.FFmpegError, OSError: it is not there, in no format of FORMATS, or damaged.
    """
    # An absolute path is never read as a protocol; its title may be in any encoding.
    try:
        container = av.open(os.path.abspath(path), options=OPTIONS, metadata_errors="ignore")
    except av.ArgumentError as error:
        raise OSError(errno.EINVAL, "in no format of video files") from error
    for stream in container.streams.video:
        if stream.codec_context is not None:  # a codec that FFmpeg knows
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return container
