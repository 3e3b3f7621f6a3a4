"""Skeleton files of every kind, told apart by their content."""

from __future__ import annotations

from pathlib import Path

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.alphapose import read_alphapose, read_openpose_folder
from transm3e.data.skeleton.pyskl import MEMBER, read_annotation, read_npz
from transm3e.data.skeleton.sequence import Skeleton
from transm3e.files import open_regular, read_bytes

FORMATS = "allowed: AlphaPose or OpenPose JSON, a PYSKL/MMAction2 pickle, npz"
# Bytes: a hundred times an hour of one person.
MAX_JSON = 1 << 30
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Protocol 2 and later; older pickles are text and begin with the mark, dict, list or global opcode.
PICKLE_STARTS = (b"\x80", b"(d", b"(l", b"c")


def read_skeleton(path: str | Path) -> Skeleton:
    """The skeletons of one video.

    Args:
        path: an AlphaPose JSON, a folder of OpenPose's per-frame JSONs, an npz or a PYSKL/MMAction2 pickle; a pickle
            of many videos is addressed as "file.pkl::frame_dir" and read once per process.

    Raises:
        DecodeError: missing, empty, damaged, another format or layout, NaN, an unknown number of joints; see the
            readers.
    """
    name, _, member = str(path).partition(MEMBER)
    file, where = Path(name), str(path)
    if file.is_dir():
        return read_openpose_folder(file, where)
    try:
        with open_regular(file) as opened:
            start = opened.read(16).removeprefix(BYTE_ORDER_MARK).lstrip()
        if start.startswith(PICKLE_STARTS):
            return read_annotation(file, member, where)
        if member:
            raise DecodeError(where, f"is no pickle of many videos; write the path without {MEMBER}{member}")
        if start.startswith(b"PK"):
            return read_npz(file, where)
        if start.startswith((b"[", b"{")):
            return read_alphapose(read_bytes(file, MAX_JSON), where)
    except FileNotFoundError:
        raise DecodeError(where, "no such file; make it with datasets/extract_skeleton.py") from None
    except OSError as error:
        raise DecodeError(where, f"cannot be read: {error.strerror}") from error
    raise DecodeError(where, f"{'empty' if not start else 'neither JSON nor pickle nor npz'}; {FORMATS}")
