"""The files that are measured on: made here, the user's own, and either of them re-encoded ahead of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av import VideoFrame

from transm3e.benchmark.loader.content import moving_pictures
from transm3e.data.build import folder_table
from transm3e.data.decode import DecodeError, count_frames
from transm3e.data.encode import write_frames
from transm3e.errors import UserError
from transm3e.files import make_folder
from transm3e.prepare.resize import ResizeSettings, resize_video
from transm3e.progress import track

SECONDS, FPS = 10, 30
# x264's own defaults, as most files have them; but keyframes only every 250 frames, its longest distance by default,
# also where much changes.
OPTIONS = {"crf": "23", "preset": "medium", "g": "250", "sc_threshold": "0", "threads": "1"}


@dataclass(frozen=True)
class Film:
    """A video file.

    Attributes:
        path: the file.
        width, height: in pixels, as coded.
        num_frames: counted.
        rate: frames per second.
        size_bytes: of the file.
        keyframe_every: frames between keyframes at most.
    """

    path: Path
    width: int
    height: int
    num_frames: int
    rate: Fraction
    size_bytes: int
    keyframe_every: int

    @property
    def megabits_per_second(self) -> float:
        return self.size_bytes * 8e-6 * float(self.rate) / self.num_frames


@dataclass(frozen=True)
class FileSet:
    """Files of one kind.

    Attributes:
        name: shown in tables.
        films: at least one.
        original: the name of the set these were re-encoded from, "" if they were not.
    """

    name: str
    films: tuple[Film, ...]
    original: str = ""


def made_files(folder: Path, width: int, height: int, count: int, seconds: int = SECONDS) -> FileSet:
    """H.264 files with moving textured content; those that stand in the folder are kept.

    Raises:
        UserError: a file cannot be written.
    """
    name = f"{width}x{height}"
    make_folder(folder / name, "--out")
    paths = [folder / name / f"{number:03d}.mp4" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    for number in track(missing, f"making {name}", len(missing), "file"):
        pictures = moving_pictures(number, width, height, seconds * FPS)
        write_frames(paths[number], (VideoFrame.from_ndarray(one, format="rgb24") for one in pictures), FPS, OPTIONS)
    return FileSet(name, tuple(map(read_film, paths)))


def source_files(folder: Path, count: int) -> FileSet:
    """The first `count` video files of a folder, by name.

    Raises:
        UserError: no video files, or one that cannot be read.
    """
    table, root = folder_table(folder)
    films = tuple(read_film(root / path) for path in map(str, table.paths[:count]))
    return FileSet(f"source {root.absolute().name}", films)


def resized_files(original: FileSet, folder: Path) -> FileSet:
    """The same files as datasets/resize_videos.py makes them by default; those that stand in the folder are kept.

    Raises:
        UserError: a file cannot be read or written.
    """
    name = f"{original.name} resized"
    target = folder / name.replace(" ", "_")
    make_folder(target, "--out")
    # Files of several folders may bear one name.
    paths = [target / f"{number:03d}_{film.path.stem}.mp4" for number, film in enumerate(original.films)]
    pairs = zip(original.films, paths, strict=True)
    for film, path in track(pairs, f"making {name}", len(paths), "file"):
        with _naming():
            resize_video(film.path, path, ResizeSettings())
    return FileSet(name, tuple(map(read_film, paths)), original.name)


def read_film(path: Path) -> Film:
    """What a file is; see Film.

    Raises:
        UserError: it cannot be read.
    """
    with _naming():
        num_frames = count_frames(path)
    with av.open(str(path.absolute())) as container:
        stream = container.streams.video[0]
        keys = [number for number, packet in enumerate(_packets(container, stream)) if packet.is_keyframe]
        return Film(
            path,
            stream.width,
            stream.height,
            num_frames,
            stream.average_rate or Fraction(FPS),
            path.stat().st_size,
            _largest_gap([*keys, num_frames]),
        )


@contextmanager
def _naming() -> Iterator[None]:
    try:
        yield
    except DecodeError as error:
        raise UserError(f"{error.path}: {error.reason}; remove it, or measure on other files") from error


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> list[av.Packet]:
    return [packet for packet in container.demux(stream) if packet.size]


def _largest_gap(places: Sequence[int]) -> int:
    return max((after - before for before, after in pairwise(places)), default=places[0])
