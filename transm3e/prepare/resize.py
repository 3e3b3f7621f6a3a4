"""Resize videos before training: a short side of 256 and a keyframe every 12 frames decode many times faster.

Frame n of the new file is frame n of the old one, upright and with its time stamp; audio and metadata are left out.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import av

from transm3e.data.annotations import ClipTable, read_clip_table, table_file
from transm3e.data.clip_names import table_with_column, target_names
from transm3e.data.decode import DecodeError, count_frames, upright
from transm3e.data.encode import parse_mark, read_comment, write_frames
from transm3e.data.flow.files import read_flow_mark
from transm3e.data.video_files import videos_below
from transm3e.errors import UserError
from transm3e.files import CLIP_TABLE, MEMBER, atomic_path, atomic_write_text, make_folder
from transm3e.prepare.jobs import ALL, FAILED, FileJob, Outcome, Shard, is_up_to_date, make_files
from transm3e.prepare.resize_stream import FrameStream, Scaler, frame_stream

MADE_BY = "transm3e resize"
HIGHEST_CRF = 51
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True)
class ResizeSettings:
    """How videos are resized.

    Attributes:
        short_side: pixels, even; frames are never enlarged.
        keyframe_interval: at most so many frames between keyframes; fewer decode faster and need more disk space.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        preset: x264's speed preset.
        timeout: seconds one file may take.

    Raises:
        UserError: a value out of range.
    """

    short_side: int = 256
    keyframe_interval: int = 12
    crf: int = 22
    preset: str = "medium"
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        Scaler(self.short_side)
        if self.preset not in PRESETS:
            raise UserError(f"preset {self.preset!r}: allowed are {', '.join(PRESETS)}")
        if self.keyframe_interval < 1 or not 0 <= self.crf <= HIGHEST_CRF or self.timeout <= 0:
            raise UserError(
                f"keyframe interval {self.keyframe_interval}, crf {self.crf}, timeout {self.timeout:g}: an interval of 1 "
                f"or more, a crf of 0 to {HIGHEST_CRF} and a timeout above 0 are needed"
            )

    @property
    def mark(self) -> dict[str, str | int]:
        """How a file was made, as its comment records it."""
        settings = {name: value for name, value in asdict(self).items() if name != "timeout"}
        return {"made_by": MADE_BY, **settings}


def resize_video(source: Path, target: Path, settings: ResizeSettings) -> bool:
    """Re-encode one video (or folder of images) unless the copy is up to date; returns whether it did.

    Raises:
        DecodeError: the source cannot be read, or `target` is a file that this function did not make.
        UserError: `target` cannot be written.
    """
    if is_up_to_date(target, source, settings.mark, parse_mark(read_comment(target)), count_frames):
        return False
    if read_flow_mark(source):
        raise DecodeError(
            str(source), "holds optical flow, which cannot be resized like images; extract it at another --short-side"
        )
    options = {
        **{"preset": settings.preset, "crf": str(settings.crf), "g": str(settings.keyframe_interval)},
        **{"tune": "fastdecode", "threads": "1"},  # callers are parallel already
    }
    with frame_stream(source, settings.timeout) as stream:
        comment = json.dumps({**settings.mark, "frames": stream.num_frames})
        first = next(stream.frames)
        is_sideways = upright(first, str(source)).turns % 2
        aspect = 1 / stream.pixel_aspect if is_sideways else stream.pixel_aspect
        frames = _scaled(replace(stream, frames=chain([first], stream.frames)), Scaler(settings.short_side))
        write_frames(target, frames, stream.rate, options, stream.time_base, comment, aspect)
    return True


def resize_folder(
    folder: str | Path, out: str | Path, settings: ResizeSettings, workers: int, shard: Shard = ALL
) -> list[Outcome]:
    """resize_video of every video below a folder, into the same tree below `out`; see make_files.

    Raises:
        UserError: there are no videos, `out` is in the folder, or see make_files.
    """
    folder, out = Path(folder), Path(out)
    _refuse_inside(out, folder)
    paths = [file.relative_to(folder).as_posix() for file in videos_below(folder)]
    if not paths:
        raise UserError(f"{folder} holds neither a clip table nor videos")
    return _resize_all(folder, out, target_names(paths, ".mp4"), settings, workers, shard)


def resize_table(
    path: str | Path,
    out: str | Path,
    settings: ResizeSettings,
    workers: int,
    prefix: str | Path | None = None,
    shard: Shard = ALL,
) -> list[Outcome]:
    """resize_video of every clip of a table, and a table of the new files in `out`, with all rows and columns.

    The clips' skeleton and flow files are hard-linked or copied unchanged: they record the size of their own frames.

    Args:
        path: the clip table, or the folder of its clips.csv.
        out: folder to make.
        prefix: folder that the table's paths are relative to; None = the table's folder.
        shard: only its videos; the new table, skeletons and flow are left to a call without a shard.

    Raises:
        UserError: the table is wrong, a skeleton does not record its frames' size, `out` is in the data's folder or holds
            another table, or see make_files.
    """
    table, root, out = read_clip_table(path), Path(prefix or table_file(path).parent), Path(out)
    _refuse_inside(out, root)
    _refuse_inside(out, table_file(path).parent)
    _refuse_sizeless(table, root)
    names = target_names(table.paths.tolist(), ".mp4")
    text = table_with_column(path, "path", names)
    new_table = out / CLIP_TABLE
    if new_table.exists() and new_table.read_bytes() != text.encode():
        raise UserError(f"{new_table} is not the table of {table_file(path)}; delete it, or choose another --out")
    outcomes = _resize_all(root, out, names, settings, workers, shard)
    if not shard.is_all:
        return outcomes
    jobs = [FileJob(name, root / name, out / name) for name in _companions(table, root)]
    companions = make_files(link_or_copy, jobs, 1, "skeletons and flow")
    if not new_table.exists() and any(each.status != FAILED for each in outcomes):
        atomic_write_text(new_table, text)
    return outcomes + companions


def link_or_copy(source: Path, target: Path) -> bool:
    """Hard-link `target` to `source`, or copy it to another disk; returns False if it was there already.

    Raises:
        DecodeError: the source is missing, or `target` is another file.
        UserError: `target` cannot be written.
    """
    if not source.is_file():
        raise DecodeError(str(source), "no such file")
    here = source.stat()
    if target.exists():
        there = target.stat()
        if (there.st_size, int(there.st_mtime)) != (here.st_size, int(here.st_mtime)):
            raise DecodeError(str(target), f"exists and is not a copy of {source}; move it, or choose another folder")
        return False
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        with atomic_path(target) as partial_file:
            shutil.copy2(source, partial_file)
    return True


def _scaled(stream: FrameStream, scaler: Scaler) -> Iterator[av.VideoFrame]:
    for stamp, frame in zip(stream.stamps, stream.frames, strict=True):
        small = scaler.frame(frame)
        small.pts, small.time_base = stamp, stream.time_base
        # The encoder chooses keyframes itself.
        small.pict_type = av.video.frame.PictureType.NONE
        yield small


def _resize_all(
    root: Path, out: Path, names: dict[str, str], settings: ResizeSettings, workers: int, shard: Shard
) -> list[Outcome]:
    make_folder(out, "--out")
    jobs = [FileJob(path, root / path, out / name) for path, name in names.items()]
    return make_files(partial(resize_video, settings=settings), jobs, workers, "resizing", shard)


def _refuse_sizeless(table: ClipTable, root: Path) -> None:
    """Refuse JSON skeletons: they count pixels of the video that the detector saw without recording its size."""
    for name in map(str, table.skeletons):
        if name.endswith(".json") or (name and (root / name).is_dir()):
            raise UserError(
                f"skeleton {name} does not record the size of its frames, so its joints would not fit the resized video; "
                "convert all skeletons to npz first: datasets/extract_skeleton.py ROOT --from FOLDER --update-table"
            )


def _companions(table: ClipTable, root: Path) -> Iterator[str]:
    """Files of the clips' other modalities, each once; folders are listed file by file."""
    cells = [str(cell).partition(MEMBER)[0] for column in (table.skeletons, table.flows) for cell in column if cell]
    for name in dict.fromkeys(cells):
        files = sorted((root / name).rglob("*")) if (root / name).is_dir() else [root / name]
        yield from (file.relative_to(root).as_posix() for file in files if not file.is_dir())


def _refuse_inside(out: Path, source: Path) -> None:
    if not source.is_dir():
        raise UserError(f"{source} is neither a folder nor a clip table")
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise UserError(f"--out {out} is in {source}, which is only read; choose a folder outside it")
