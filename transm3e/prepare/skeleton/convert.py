"""Skeletons from a detector's output: files matched to clips by name and checked against the videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from transm3e.data.backends import open_source
from transm3e.data.container import VIDEO_SUFFIXES
from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.per_frame import OPENPOSE_ENDING, STAR, split_name
from transm3e.data.skeleton.pyskl import read_annotations
from transm3e.data.skeleton.read import read_skeleton
from transm3e.data.skeleton.sequence import Skeleton, check_frames
from transm3e.data.skeleton.units import AS_IS, Declared, fit_video
from transm3e.errors import UserError
from transm3e.files import MEMBER

NTU_SUFFIX, FRAMES_SUFFIX = ".skeleton", ".txt"
FILE_SUFFIXES = (".json", ".npz", ".npy", ".pkl", ".pickle", NTU_SUFFIX)
ALPHAPOSE_FILE, ALPHAPOSE_PREFIX = "alphapose-results", "AlphaPose_"
# Folders in which AlphaPose and Ultralytics put a file per frame.
OF_FRAMES = ("sep-json", "labels")
# Between a video's name and a frame's number.
BEFORE_NUMBER = "_-. "
NTU_VIDEO = "_rgb"  # ends the names of NTU's videos, not of its skeletons
Name = tuple[str, ...]
Tier = list[tuple[Name, str]]


class DetectorFiles:
    """A Maker that reads a detector's output.

    A clip's file is the one whose path below the folder, without suffixes, is the end of the clip's path or ends with it:
    clips/squat_01.mp4 has squat_01.json, AlphaPose_squat_01.json, squat_01.mp4.json, squat_01/alphapose-results.json,
    clips/squat_01.json. Without such a file, one file per frame: the folder squat_01/ or squat_01/sep-json/, or the files
    of a folder named squat_01, a number, and a common ending.

    Args:
        source: a folder of files that read_skeleton reads, one per video or per frame, or one pickle of many videos.
        clips: paths of all clips as the table has them.
        root: folder they are relative to.
        open_end: any number of frames after a file's last detection are frames without people.
        declared: what the user says about the numbers in all files.

    Raises:
        UserError: nothing to read at `source`.
    """

    def __init__(
        self,
        source: Path,
        clips: Sequence[str],
        root: Path,
        open_end: bool = False,
        declared: Declared = AS_IS,
    ) -> None:
        self.root, self.open_end, self.declared = root, open_end, declared
        self.origin = f"{source.absolute()}, open end {open_end}, {declared}"
        tiers = [_by_last(tier) for tier in _outputs(source)]
        if not any(tiers):
            raise UserError(
                f"--from {source} holds no detector output; allowed: {', '.join(FILE_SUFFIXES)} files of a video each, or "
                "numbered .json or .txt files of a frame each"
            )
        self._of_clip = {clip: _fitting(_name(clip), tiers) for clip in clips}
        self._used = Counter(address for fits in self._of_clip.values() for address in fits[:1])

    def inputs(self, clip: str) -> list[Path]:
        """See Maker.inputs."""
        addresses = (Path(address.partition(MEMBER)[0]) for address in self._of_clip[clip])
        return [self.root / clip, *(file.parent if STAR in file.name else file for file in addresses)]

    def make(self, clip: str) -> tuple[Skeleton, tuple[int, int]]:
        """See Maker.make."""
        address = self._address(clip)
        with closing(open_source(self.root / clip)) as video:
            num_frames, first = video.num_frames, video.frames([0])[0]
        video_size = (first.shape[0], first.shape[1])
        skeleton = read_skeleton(address, self.declared)
        if skeleton.open_ended and self.open_end:
            skeleton = _lengthen(skeleton, num_frames)
        check_frames(skeleton, num_frames, address)
        skeleton = fit_video(skeleton, video_size, address)
        return _lengthen(skeleton, num_frames) if skeleton.open_ended else skeleton, video_size

    def _address(self, clip: str) -> str:
        fits = self._of_clip[clip]
        if not fits:
            raise DecodeError(clip, f"the detector's output has no {PurePosixPath(*_name(clip)).name}")
        if len(fits) > 1:
            raise DecodeError(clip, f"several outputs fit: {', '.join(fits[:3])}; keep one")
        if self._used[fits[0]] > 1:
            raise DecodeError(
                clip, f"{fits[0]} fits {self._used[fits[0]]} clips; put it in a folder named as the clip's"
            )
        return fits[0]


def _outputs(source: Path) -> Iterator[Tier]:
    """Tiers of (name, address) of every video's output: one file per video; folders with one file per frame; folders with
    such files of several videos. A clip takes the first tier that fits."""
    if source.is_file():
        try:
            found = read_annotations(source)
        except DecodeError as error:
            raise UserError(
                f"--from {source}: {error.reason}; give a folder of files, or a pickle of videos"
            ) from error
        yield [(_name(video), f"{source}{MEMBER}{video}") for video in found]
        return
    if not source.is_dir():
        raise UserError(f"--from {source}: no such file or folder; give a detector's output")
    files = sorted(f for f in source.rglob("*") if f.suffix.lower() in (*FILE_SUFFIXES, FRAMES_SUFFIX))
    yield [
        each
        for file in files
        if file.suffix.lower() != FRAMES_SUFFIX and not file.name.endswith(OPENPOSE_ENDING)
        for each in _named(file, source)
    ]
    groups = sorted({(file.parent, parts.head, parts.tail) for file in files if (parts := split_name(file.name))})
    kinds = Counter(folder for folder, _, _ in groups)
    yield [(_name(_inner(folder, source)), str(folder)) for folder, count in kinds.items() if count == 1]
    yield [
        (_name(f"{_inner(folder, source)}/{video}"), f"{folder}/{head}{STAR}{tail}")
        for folder, head, tail in groups
        if (video := head.rstrip(BEFORE_NUMBER))
    ]


def _inner(folder: Path, source: Path) -> str:
    """Path of a folder of per-frame files, without the folders that every detector run names alike."""
    return PurePosixPath(*(part for part in folder.relative_to(source).parts if part not in OF_FRAMES)).as_posix()


def _named(file: Path, source: Path) -> Iterator[tuple[Name, str]]:
    """The names that a file may match, each with the file."""
    inner = file.relative_to(source)
    name = _name((inner.parent if file.stem == ALPHAPOSE_FILE else inner.with_suffix("")).as_posix())
    yield name, str(file)
    if file.suffix.lower() == NTU_SUFFIX:
        yield (*name[:-1], name[-1] + NTU_VIDEO), str(file)


def _name(path: str) -> Name:
    """Folders and name without a video's suffix and AlphaPose's prefix."""
    whole = PurePosixPath(path)
    last = whole.stem if whole.suffix.lower() in VIDEO_SUFFIXES else whole.name
    return (*whole.parts[:-1], last.removeprefix(ALPHAPOSE_PREFIX))


def _by_last(tier: Tier) -> dict[str, Tier]:
    """A tier, grouped by the last part of the name."""
    by_last: dict[str, Tier] = {}
    for name, address in tier:
        by_last.setdefault(name[-1], []).append((name, address))
    return by_last


def _fitting(clip: Name, tiers: Sequence[dict[str, Tier]]) -> list[str]:
    """Addresses in the first tier that matches: of two paths the shorter must end the longer; only the longest matches."""
    for by_last in tiers:
        shared: dict[str, int] = {}
        for name, address in by_last.get(clip[-1], []):
            length = min(len(name), len(clip))
            if name[-length:] == clip[-length:]:
                shared[address] = length
        if shared:
            return [address for address, length in shared.items() if length == max(shared.values())]
    return []


def _lengthen(skeleton: Skeleton, num_frames: int) -> Skeleton:
    """Append frames without people up to the end of the video."""
    more = max(0, num_frames - skeleton.num_frames)
    points = np.concatenate([skeleton.points, np.zeros((more, *skeleton.points.shape[1:]), np.float32)])
    tracks = skeleton.tracks
    if tracks is not None:
        tracks = np.concatenate([tracks, np.full((more, tracks.shape[1]), -1, np.int64)])
    return replace(skeleton, points=points, tracks=tracks, open_ended=False)
