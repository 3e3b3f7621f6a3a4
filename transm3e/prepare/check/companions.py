"""Check that a clip's skeleton and optical flow exist, can be read, and belong to its video."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from transm3e.data.annotations import MEMBER
from transm3e.data.decode import DEFAULT_TIMEOUT, DecodeError
from transm3e.data.flow import check_frames as check_flow_frames
from transm3e.data.flow import open_flow
from transm3e.data.skeleton import check_frames as check_skeleton_frames
from transm3e.data.skeleton import fit_video, read_skeleton

SKELETON, FLOW = "skeleton", "flow"
CHUNK = 64  # frames of flow read at once


def file_of(root: Path, name: str) -> Path:
    """The file or folder behind a companion's name in the clip table."""
    return root / name.partition(MEMBER)[0]


def companion_fault(
    kind: str, root: Path, name: str, of_video: Sequence[int], decode: str, timeout: float = DEFAULT_TIMEOUT
) -> str:
    """Why a skeleton or flow file cannot be used, or "".

    Args:
        kind: "skeleton" or "flow".
        root, name: folder, and file relative to it.
        of_video: the video's number of frames, height and width; 0 = not known, and not compared.
        decode: "none" only asks whether it exists, "all" reads all of the flow, else its first frame.
        timeout: seconds for reading flow.
    """
    if not file_of(root, name).exists():
        return f"{kind} file does not exist"
    if decode == "none":
        return ""
    path = str(root / name)
    frames, height, width = of_video
    try:
        if kind == SKELETON:
            skeleton = read_skeleton(path)
            if frames:
                check_skeleton_frames(skeleton, frames, path)
            if height and width:
                fit_video(skeleton, (height, width), path)
        else:
            _read_flow(path, frames, decode, timeout)
    except DecodeError as error:
        return f"{kind}: {error.reason}"
    return ""


def _read_flow(path: str, frames: int, decode: str, timeout: float) -> None:
    with closing(open_flow(path, timeout)) as flow:
        if frames:
            check_flow_frames(flow.num_frames, frames, path)
        wanted = flow.num_frames if decode == "all" else 1
        for start in range(0, wanted, CHUNK):
            flow.frames(range(start, min(start + CHUNK, wanted)))
