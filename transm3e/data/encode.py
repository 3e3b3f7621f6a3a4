"""Write H.264 MP4 files for the data preparation scripts, and read back the comments that mark them."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from transm3e.data.container import open_container
from transm3e.files import atomic_path
from transm3e.foreign.json_text import parse_json

X86_64 = ("x86_64", "AMD64")
COLOUR_TAGS = ("color_range", "colorspace", "color_primaries", "color_trc")


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: int, crf: int = 23, preset: str = "veryfast"
) -> None:
    """Encode frames to an H.264 MP4 file, written atomically.

    Args:
        path: the file to write; its folder must exist.
        frames: (H, W, 3) uint8 RGB arrays of one size; H and W even (4:2:0 chroma).
        fps: frames per second.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        preset: x264's speed preset.
    """
    images = (av.VideoFrame.from_ndarray(image, format="rgb24") for image in frames)
    write_frames(path, images, fps, _options(crf, preset))


def write_frames(
    path: str | Path,
    frames: Iterable[av.VideoFrame],
    rate: Fraction | int,
    options: Mapping[str, str],
    time_base: Fraction | None = None,
    comment: str = "",
    pixel_aspect: Fraction | None = None,
) -> None:
    """The same for PyAV frames, which may carry time stamps; the file gets the first one's colour tags.

    Args:
        path: the file to write; its folder must exist.
        frames: of one even size, at least one. Full-range frames (yuvj420p) keep their format, others become yuv420p.
        rate: frames per second, on average where frames carry time stamps.
        options: of x264.
        time_base: seconds per unit of the frames' `pts`; None where frames have none.
        comment: for the file's metadata, see read_comment.
        pixel_aspect: width / height of a pixel; None writes none.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_path(path) as partial, av.open(str(partial), "w") as container:
        if comment:
            container.metadata["comment"] = comment
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options=dict(options))
                _match(stream.codec_context, frame, time_base)
                if pixel_aspect is not None:
                    stream.codec_context.sample_aspect_ratio = pixel_aspect
            container.mux(stream.encode(frame))
        assert stream is not None, "a video needs at least one frame"
        container.mux(stream.encode(None))


def read_comment(path: str | Path) -> str:
    """The comment in a video file's metadata; "" if it has none or is not a video."""
    try:
        with open_container(path) as container:
            return container.metadata.get("comment", "")
    except (av.FFmpegError, OSError, UnicodeDecodeError):
        return ""


def parse_mark(text: str) -> dict[str, Any]:
    """The JSON object in which a program recorded itself and its settings, in a comment for example; {} if it is none."""
    try:
        mark = parse_json(text)
    except ValueError:
        return {}
    return mark if isinstance(mark, dict) else {}


def copy_colours(source: av.VideoFrame, target: av.VideoFrame | av.VideoCodecContext) -> None:
    """Copy the tags that define colours: without them players show the same pixels in other colours."""
    for name in COLOUR_TAGS:
        if hasattr(source, name):  # older PyAV exposes two of them
            setattr(target, name, getattr(source, name))


def _match(codec: av.VideoCodecContext, frame: av.VideoFrame, time_base: Fraction | None) -> None:
    codec.width, codec.height = frame.width, frame.height
    codec.pix_fmt = "yuvj420p" if frame.format.name.startswith("yuvj") else "yuv420p"
    copy_colours(frame, codec)
    if time_base is not None:
        codec.time_base = time_base


def _options(crf: int, preset: str) -> dict[str, str]:
    # One thread: the bytes must not depend on the machine's core count, and callers already run in parallel.
    options = {"crf": str(crf), "preset": preset, "threads": "1"}
    if platform.machine() in X86_64:
        # With AVX-512, x264 wrote different bytes for the same frames about once in 500 files on a busy machine.
        options["x264-params"] = "asm=sse2"
    return options
