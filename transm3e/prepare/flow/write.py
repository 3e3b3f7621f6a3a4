"""Write flow clips, frame by frame, as videos or npz archives that transm3e.data.flow.files reads.

Videos: H.264, luma = x above y, written and read without any conversion. The settings were chosen by error and size
against the flow itself (DIS medium, bound 20, six real clips, short side 240 to 256): crf 12 with `-tune ssim` adds
0.01 px on average and 0.04 px where something moves, as much as rounding to bytes does (a byte is 0.16 px, so 0.04 px),
for about 2 KiB per frame; lossless coding takes 6 KiB, JPEGs of quality 95 6 KiB, npz archives 12 KiB.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from transm3e.data.encode import write_frames
from transm3e.data.flow.coding import REST
from transm3e.data.flow.files import CHUNK
from transm3e.files import atomic_path

X264 = {"crf": "12", "preset": "veryfast", "tune": "ssim", "g": "12", "threads": "1"}


def write_flow_video(path: str | Path, frames: Iterable[np.ndarray], rate: Fraction, mark: Mapping[str, Any]) -> None:
    """Encode flow frames, one after the other.

    Args:
        path: the .mp4 file to write; its folder must exist.
        frames: (H, W, 2) uint8 of one size, W even, at least one.
        rate: frames per second, for players.
        mark: how they were made: "made_by", "bound", "frames", ...; see transm3e.data.flow.files.

    Raises:
        UserError: the file cannot be written.
    """
    write_frames(path, map(_luma_frame, frames), rate, X264, comment=json.dumps(mark))


def write_flow_npz(path: str | Path, frames: Iterable[np.ndarray], rate: Fraction, mark: Mapping[str, Any]) -> None:
    """The same as an .npz archive: without loss, six times larger; `rate` is not kept."""
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        count = 0
        for chunk in _chunks(frames):
            _add(archive, f"flow_{count:05d}", chunk)
            count += len(chunk)
        _add(archive, "num_frames", np.array(count))
        _add(archive, "mark", np.array(json.dumps(mark)))


def _luma_frame(flow: np.ndarray) -> av.VideoFrame:
    height, width = flow.shape[:2]
    planes = np.full((3 * height, width), REST, np.uint8)  # 2H rows of luma, H of grey chroma
    planes[:height], planes[height : 2 * height] = flow[..., 0], flow[..., 1]
    frame = av.VideoFrame.from_ndarray(planes, format="yuvj420p")
    frame.color_range = ColorRange.JPEG  # full range: no player squeezes the values
    return frame


def _chunks(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    rest = iter(frames)
    while chunk := list(islice(rest, CHUNK)):
        yield np.stack(chunk)


def _add(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    info = zipfile.ZipInfo(f"{name}.npy")  # without the time: the same flow is the same file
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)
