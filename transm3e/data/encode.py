"""Write H.264 MP4 files, as the data preparation scripts need them."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from transm3e.files import atomic_path

X86_64 = ("x86_64", "AMD64")


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: int, crf: int = 23, preset: str = "veryfast"
) -> None:
    """Encode frames to an H.264 MP4 file that appears whole or not at all.

    Args:
        path: the file to write; its folder must exist.
        frames: (H, W, 3) uint8 RGB arrays of one size; H and W even (4:2:0 chroma).
        fps: frames per second.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        preset: x264's speed preset.
    """
    with atomic_path(path) as partial, av.open(str(partial), "w") as container:
        stream = None
        for image in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=fps, options=_options(crf, preset))
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        assert stream is not None, "a video needs at least one frame"
        container.mux(stream.encode(None))


def _options(crf: int, preset: str) -> dict[str, str]:
    # One thread: the bytes do not depend on the machine's core count, and callers are parallel already.
    options = {"crf": str(crf), "preset": preset, "threads": "1"}
    if platform.machine() in X86_64:
        # With its AVX-512 code x264 gave other bytes for the same frames about once in 500 files on a busy machine.
        options["x264-params"] = "asm=sse2"
    return options
