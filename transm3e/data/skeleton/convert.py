"""Skeletons from what a detector has written: files matched to clips by name, checked against the videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from transm3e.data.backends import open_source
from transm3e.data.decode import VIDEO_SUFFIXES, DecodeError
from transm3e.data.skeleton.alphapose import OPENPOSE_ENDING
from transm3e.data.skeleton.pyskl import MEMBER, read_annotations
from transm3e.data.skeleton.read import read_skeleton
from transm3e.data.skeleton.sequence import Skeleton, check_frames
from transm3e.errors import UserError

FILE_SUFFIXES = (".json", ".npz", ".pkl", ".pickle")
ALPHAPOSE_FILE, ALPHAPOSE_PREFIX = "alphapose-results", "AlphaPose_"
# Of the joints found; more of them outside of the frame were measured in frames of another size.
INSIDE_SHARE = 0.5
Name = tuple[str, ...]


class DetectorFiles:
    """A Maker that reads a detector's output.

    A clip's file is the one whose path below the folder, less suffixes, ends the clip's path or is ended by it:
    clips/squat_01.mp4 has squat_01.json, AlphaPose_squat_01.json, squat_01.mp4.json, squat_01/alphapose-results.json,
    clips/squat_01.json or the folder squat_01/ of OpenPose's files.

    Args:
        source: a folder of files that read_skeleton reads, one per video, or one pickle of many videos.
        clips: paths of all clips as the table has them.
        root: folder they are relative to.
        size: (height, width) of the frames the detector saw, for files that do not say; None: the video's.
        open_end: frames after a file's last detection are frames without people, however many.

    Raises:
        UserError: nothing to read at `source`.
    """

    def __init__(
        self,
        source: Path,
        clips: Sequence[str],
        root: Path,
        size: tuple[int, int] | None = None,
        open_end: bool = False,
    ) -> None:
        self.root, self.size, self.open_end = root, size, open_end
        self.origin = f"{source.absolute()}, frames {size or 'as the video'}, open end {open_end}"
        files = list(_outputs(source))
        if not files:
            raise UserError(
                f"--from {source} holds no detector output; allowed: {', '.join(FILE_SUFFIXES)} files of a video each"
            )
        by_last: dict[str, list[tuple[Name, str]]] = {}
        for name, address in files:
            by_last.setdefault(name[-1], []).append((name, address))
        self._of_clip = {clip: _fitting(_name(clip), by_last) for clip in clips}
        self._used = Counter(address for fits in self._of_clip.values() for address in fits[:1])

    def inputs(self, clip: str) -> list[Path]:
        """See Maker.inputs."""
        return [self.root / clip, *(Path(address.partition(MEMBER)[0]) for address in self._of_clip[clip])]

    def make(self, clip: str) -> tuple[Skeleton, tuple[int, int]]:
        """See Maker.make."""
        address = self._address(clip)
        with closing(open_source(self.root / clip)) as video:
            num_frames, first = video.num_frames, video.frames([0])[0]
        video_size = (first.shape[0], first.shape[1])
        skeleton = read_skeleton(address)
        if skeleton.height is None and self.size is not None:
            skeleton = replace(skeleton, height=self.size[0], width=self.size[1])
        if skeleton.open_ended and self.open_end:
            skeleton = _lengthen(skeleton, num_frames)
        check_frames(skeleton, num_frames, address)
        _check_inside(skeleton, video_size, address)
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


def _outputs(source: Path) -> Iterator[tuple[Name, str]]:
    """(name, address) of every video's output."""
    if source.is_file():
        try:
            found = read_annotations(source)
        except DecodeError as error:
            raise UserError(
                f"--from {source}: {error.reason}; give a folder of files, or a pickle of videos"
            ) from error
        yield from ((_name(video), f"{source}{MEMBER}{video}") for video in found)
        return
    if not source.is_dir():
        raise UserError(f"--from {source}: no such file or folder; give a detector's output")
    folders: set[Path] = set()
    for file in sorted(f for f in source.rglob("*") if f.suffix.lower() in FILE_SUFFIXES):
        inner = file.relative_to(source)
        if file.name.endswith(OPENPOSE_ENDING):
            if file.parent not in folders:
                folders.add(file.parent)
                yield _name(inner.parent.as_posix()), str(file.parent)
        elif file.stem == ALPHAPOSE_FILE:
            yield _name(inner.parent.as_posix()), str(file)
        else:
            yield _name(inner.with_suffix("").as_posix()), str(file)


def _name(path: str) -> Name:
    """Folders and name without a video's suffix and AlphaPose's prefix."""
    whole = PurePosixPath(path)
    last = whole.stem if whole.suffix.lower() in VIDEO_SUFFIXES else whole.name
    return (*whole.parts[:-1], last.removeprefix(ALPHAPOSE_PREFIX))


def _fitting(clip: Name, by_last: dict[str, list[tuple[Name, str]]]) -> list[str]:
    """Addresses whose name shares the whole of the shorter path with the clip's; the longest such only."""
    shared: dict[str, int] = {}
    for name, address in by_last.get(clip[-1], []):
        length = min(len(name), len(clip))
        if name[-length:] == clip[-length:]:
            shared[address] = length
    return [address for address, length in shared.items() if length == max(shared.values())]


def _lengthen(skeleton: Skeleton, num_frames: int) -> Skeleton:
    """With frames without people to the end of the video."""
    more = max(0, num_frames - skeleton.num_frames)
    points = np.concatenate([skeleton.points, np.zeros((more, *skeleton.points.shape[1:]), np.float32)])
    tracks = skeleton.tracks
    if tracks is not None:
        tracks = np.concatenate([tracks, np.full((more, tracks.shape[1]), -1, np.int64)])
    return replace(skeleton, points=points, tracks=tracks, open_ended=False)


def _check_inside(skeleton: Skeleton, video_size: tuple[int, int], path: str) -> None:
    height, width = (skeleton.height, skeleton.width) if skeleton.height and skeleton.width else video_size
    x, y = (skeleton.points[..., axis][skeleton.points[..., 2] > 0] for axis in (0, 1))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    if inside.size and inside.mean() < INSIDE_SHARE:
        raise DecodeError(
            path,
            f"{1 - inside.mean():.0%} of the joints lie outside of {width}x{height} pixels; say the size of the frames "
            "the detector saw with --detector-size WIDTHxHEIGHT",
        )
