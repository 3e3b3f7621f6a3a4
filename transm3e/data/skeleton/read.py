"""Read skeleton files of any format, detected by their content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.ntu import START, read_ntu
from transm3e.data.skeleton.people_json import read_json
from transm3e.data.skeleton.per_frame import STAR, read_folder
from transm3e.data.skeleton.pyskl import read_annotation, read_landmarks, read_npz
from transm3e.data.skeleton.sequence import Skeleton
from transm3e.data.skeleton.units import AS_IS, Declared, clean
from transm3e.files import MEMBER, open_regular

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Protocol 2 and later; older pickles are text and begin with an opcode for mark, dict, list or global.
PICKLE_STARTS = (b"\x80", b"(d", b"(l", b"c")


class Format(NamedTuple):
    """A format: its name, whether first bytes are of it, and its reader of (file, name for messages)."""

    name: str
    matches: Callable[[bytes], bool]
    read: Callable[[Path, str], Skeleton]


# PYSKL's pickles are read separately, because a member may be given.
FORMATS = (
    Format("npz", lambda start: start.startswith(b"PK"), read_npz),
    Format("npy of MediaPipe", lambda start: start.startswith(b"\x93NUMPY"), read_landmarks),
    Format("NTU's .skeleton", lambda start: START.match(start) is not None, read_ntu),
    Format(
        "JSON of AlphaPose, OpenPose, MMPose, Ultralytics or MediaPipe",
        lambda start: start.startswith((b"[", b"{")),
        read_json,
    ),
)
ALLOWED = (
    f"allowed: a PYSKL/MMAction2 pickle, {', '.join(each.name for each in FORMATS)}, or a folder of files per frame"
)


def read_skeleton(path: str | Path, said: Declared = AS_IS) -> Skeleton:
    """The skeletons of one video.

    Args:
        path: a file of FORMATS, a folder of files per frame or FOLDER/HEAD*TAIL for some of them (see per_frame), or a
            PYSKL/MMAction2 pickle; a video in a pickle of many is addressed as "file.pkl::frame_dir"; the pickle is read
            once per process.
        said: units and scale declared by the user; by default those of the format.

    Raises:
        DecodeError: missing, empty, damaged, another format or layout, NaN, an unknown number of joints, or numbers in
            other units or on another scale (see units.clean); see the readers.
    """
    return clean(_read(str(path)), said, str(path))


def _read(where: str) -> Skeleton:
    name, _, member = where.partition(MEMBER)
    file = Path(name)
    if file.is_dir() or (STAR in file.name and not file.exists()):
        return read_folder(file, where)
    try:
        with open_regular(file) as opened:
            start = opened.read(16).removeprefix(BYTE_ORDER_MARK).lstrip()
        if start.startswith(PICKLE_STARTS):
            return read_annotation(file, member, where)
        if member:
            raise DecodeError(where, f"is not a pickle of many videos; write the path without {MEMBER}{member}")
        for known in FORMATS:
            if known.matches(start):
                return known.read(file, where)
    except FileNotFoundError:
        raise DecodeError(where, "no such file; make it with datasets/extract_skeleton.py") from None
    except OSError as error:
        raise DecodeError(where, f"cannot be read: {error.strerror}") from error
    raise DecodeError(where, f"{'empty' if not start else 'neither JSON nor pickle nor npz'}; {ALLOWED}")
