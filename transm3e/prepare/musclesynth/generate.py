"""Write a whole MuscleSynth data set: in parallel, repeatable byte for byte, resumable, and cached."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from transm3e import joints
from transm3e.data import encode
from transm3e.data.annotations import SPLITS, write_clip_table
from transm3e.data.encode import write_video
from transm3e.data.skeleton import pyskl
from transm3e.errors import UserError
from transm3e.files import CLIP_TABLE, atomic_write_text, make_folder, read_text
from transm3e.foreign.json_text import parse_json
from transm3e.prepare.jobs import NoResult, cores, run_each
from transm3e.prepare.musclesynth.clip import FPS, HEIGHT, WIDTH, make_clip
from transm3e.prepare.musclesynth.plan import PlannedClip, plan

MANIFEST_NAME = "musclesynth.json"
PLACES = [f"{top}/{split}" for top in ("clips", "skeletons") for split in SPLITS]
# x264's slower presets use macroblock trees, whose code gave other bytes for the same frames from call to call.
PRESET = "superfast"


def generate(
    root: str | Path,
    size: str = "small",
    seed: int = 0,
    workers: int | None = None,
    draw: bool = True,
) -> Path:
    """Make a MuscleSynth data set in a folder, or find it there.

    What a clip shows depends on seed, size and clip number only, so the files are the same whatever the number
    of workers. A data set that is already there, made by this very code, is left alone; one that was interrupted
    is finished; one of another size, seed or version of the code is replaced. Until all clips are there, so is no
    clip table.

    Args:
        root: the data set's folder, made where absent.
        size: "tiny" (576 clips), "small" (1280) or "full" (10000).
        seed: 0 or greater.
        workers: processes; None for one per CPU core, 1 to stay in this process.
        draw: whether to make the videos; without them the clip table may name files that are not there. Either way what is
            there is kept, and a later call adds the other.

    Returns:
        the clip table's path, root/clips.csv.

    Raises:
        UserError: a bad argument, a folder that cannot be written or holds another data set, or a killed worker process.
    """
    if seed < 0:
        raise UserError(f"seed {seed} is negative; allowed: 0 and greater")
    if workers is not None and workers < 1:
        raise UserError(f"workers {workers}: at least 1")
    folder, clips = Path(root), plan(size, seed)
    table, manifest = folder / CLIP_TABLE, folder / MANIFEST_NAME
    made = {"generator": source_digest(), "size": size, "seed": seed, "clips": len(clips)}
    started, complete = made | {"complete": False}, made | {"complete": True}
    found = _read_manifest(folder)
    if found == complete and table.is_file() and not _missing(folder, clips, draw):
        return table
    for place in PLACES:
        make_folder(folder / place, "folder")
    _remove(table)
    if found not in (started, complete):
        _discard(folder, clips, made_here=found is not None)
    atomic_write_text(manifest, json.dumps(started, indent=1) + "\n")
    _make_all(folder, _missing(folder, clips, draw), seed, workers, draw)
    write_clip_table(table, (planned.clip for planned in clips))
    atomic_write_text(manifest, json.dumps(complete, indent=1) + "\n")
    return table


def source_digest() -> str:
    """SHA-256 over the source files that decide what the clips look like and how they are stored, 16 hex digits."""
    total = hashlib.sha256()
    own = (file for file in sorted(Path(__file__).parent.glob("*.py")) if file.stem != "agreement")
    for file in (*own, *(Path(str(module.__file__)) for module in (encode, joints, pyskl))):
        total.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    file = folder / MANIFEST_NAME
    if not file.is_file():
        if (folder / CLIP_TABLE).exists():
            raise UserError(
                f"{folder} holds a {CLIP_TABLE} that MuscleSynth did not make; choose another folder or move it away"
            )
        return None
    try:
        content = parse_json(read_text(file))
    except ValueError:  # not JSON, or not UTF-8
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{file} is damaged; delete it and {CLIP_TABLE} beside it to make the data set again")
    return content


def _discard(folder: Path, clips: list[PlannedClip], made_here: bool) -> None:
    # What another version, size or seed left must not pass for finished clips, nor stay beside them.
    for planned in clips:
        for name in (planned.clip.path, planned.clip.skeleton):
            _remove(folder / name)
    # Other versions had other names. Without a manifest such files may be somebody else's.
    for top in ("clips", "skeletons") if made_here else ():
        for file in (folder / top).glob("*/*_[0-9][0-9][0-9][0-9][0-9].*"):
            _remove(file)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot replace {file}: {error.strerror}; choose another folder") from error


def _missing(folder: Path, clips: list[PlannedClip], draw: bool) -> list[PlannedClip]:
    present = {
        f"{place}/{name}" for place in PLACES if (folder / place).is_dir() for name in os.listdir(folder / place)
    }
    wanted = [({planned.clip.path} if draw else set()) | {planned.clip.skeleton} for planned in clips]
    return [planned for planned, files in zip(clips, wanted, strict=True) if not files <= present]


def _make_all(folder: Path, missing: list[PlannedClip], seed: int, workers: int | None, draw: bool) -> None:
    make = partial(_make_one, folder, seed, draw)
    with _one_thread():
        for number, lost in run_each(make, missing, workers or cores(), "MuscleSynth", unit="clips"):
            if isinstance(lost, NoResult):
                raise UserError(f"{missing[number].clip.path}: {lost.reason} (finished clips are kept)")


def _make_one(folder: Path, seed: int, draw: bool, planned: PlannedClip) -> None:
    clip = make_clip(planned.activity, (seed, planned.number), draw)
    if clip.frames is not None:
        write_video(folder / planned.clip.path, clip.frames, FPS, crf=clip.crf, preset=PRESET)
    pyskl.write_npz(folder / planned.clip.skeleton, clip.skeleton, (HEIGHT, WIDTH), "musclesynth")


@contextmanager
def _one_thread() -> Iterator[None]:
    # The pictures are tiny: OpenCV's threads cost more than they give.
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
