"""Checks of a data set before a run: every video opens and decodes, and no new activity is also a known one."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TypeVar

import av
import numpy as np

from transm3e.data.annotations import MUSCLES, SPLITS, ClipTable
from transm3e.errors import UserError
from transm3e.files import atomic_path
from transm3e.progress import track

DECODE_MODES = ("first", "all", "none")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Problem:
    """One thing to mend.

    Attributes:
        split: the split it stands in.
        path: the file, as the clip table names it; "" where the problem is not one file's.
        reason: what is wrong.
    """

    split: str
    path: str
    reason: str


def map_with_progress(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, label: str
) -> list[Result]:
    """`function` of every item, in order, on `workers` threads, with a progress bar on a terminal.

    Threads suffice: OpenCV and FFmpeg release Python's lock. The first exception ends the work that has not begun.
    """
    with ThreadPoolExecutor(workers) as pool:
        try:
            return list(track(pool.map(function, items), label, len(items), "files"))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def check_table(table: ClipTable, root: str | Path, decode: str = "first", workers: int = 1) -> list[Problem]:
    """All problems of a clip table and its files; the table's own rows were checked when it was read.

    Args:
        table: the clips.
        root: folder that `table.paths` and `table.skeletons` are relative to.
        decode: "first" decodes each video's first frame, "all" every frame, "none" only asks whether files exist.
        workers: threads.
    """
    files = file_problems(table, Path(root), decode, workers)
    return activity_problems(table) + files


def activity_problems(table: ClipTable) -> list[Problem]:
    """New activities that a known split shows too (leakage), and known ones that train never shows; case is ignored."""
    shown = {split: {str(a).casefold() for a in table.select(split).activities} for split in SPLITS}
    known = shown["train"] | shown["known_val"] | shown["known_test"]
    problems = []
    for split in ("new_val", "new_test"):
        for activity in sorted(shown[split] & known):
            where = ", ".join(s for s in ("train", "known_val", "known_test") if activity in shown[s])
            problems.append(Problem(split, "", f"leakage: new activity {activity!r} also occurs in {where}"))
    for split in ("known_val", "known_test"):
        for activity in sorted(shown[split] - shown["train"]):
            problems.append(Problem(split, "", f"known activity {activity!r} never occurs in train"))
    return problems


def file_problems(table: ClipTable, root: Path, decode: str, workers: int) -> list[Problem]:
    """Videos that are missing or do not decode and skeleton files that are missing, in the table's order.

    Raises:
        UserError: unknown `decode`, or `workers` below 1.
    """
    if decode not in DECODE_MODES:
        raise UserError(f"decode {decode!r}: allowed are {', '.join(DECODE_MODES)}")
    if workers < 1:
        raise UserError(f"workers {workers}: at least 1")
    faults = map_with_progress(lambda path: video_fault(root / path, decode), table.paths.tolist(), workers, "videos")
    problems = []
    for split, path, fault, skeleton in zip(table.splits, table.paths, faults, table.skeletons, strict=True):
        if fault:
            problems.append(Problem(str(split), str(path), fault))
        if skeleton and not (root / skeleton).is_file():
            problems.append(Problem(str(split), str(skeleton), "skeleton file does not exist"))
    return problems


def video_fault(file: Path, decode: str) -> str:
    """What keeps a video from being used, or "" for a good one.

    A file that was cut off is found by its index (MP4, AVI) in every mode but "none"; where the container has
    no index (MKV) only "all" can tell, by the time of the last frame.
    """
    if not file.is_file():
        return "file does not exist"
    if decode == "none":
        return ""
    try:
        # The container's tags are of no interest, so a wrongly encoded one is no fault.
        with av.open(str(file), metadata_errors="ignore") as container:
            if not container.streams.video:
                return "no video stream (audio only?)"
            stream = container.streams.video[0]
            # Threaded decoding of broken files can hang PyAV.
            stream.thread_type = "NONE"
            return _index_fault(stream, file.stat().st_size) or _frame_fault(container, stream, decode)
    except (av.FFmpegError, OSError) as error:
        return f"cannot be decoded: {error.strerror or error}"


def _index_fault(stream: av.VideoStream, size: int) -> str:
    """A file shorter than its index says; `size` in bytes."""
    entries = getattr(stream, "index_entries", ())  # older PyAV has none
    if not stream.frames or not len(entries):
        return ""
    end = max(entry.pos + entry.size for entry in entries)
    if end > size:
        return f"cut off: its index reaches byte {end}, the file has {size}"
    if len(entries) < stream.frames:
        return f"cut off or without an index: the header says {stream.frames} frames, the index {len(entries)}"
    return ""


def _frame_fault(container: av.container.InputContainer, stream: av.VideoStream, decode: str) -> str:
    frames = container.decode(stream)
    count, damaged, last = 0, 0, None
    for frame in islice(frames, 1) if decode == "first" else frames:
        count, damaged, last = count + 1, damaged + bool(frame.is_corrupt), frame
    if last is None:
        return "no frame can be decoded"
    if damaged:
        return f"{damaged} of {count} decoded frames are damaged"
    return _length_fault(container, stream, count, last) if decode == "all" else ""


def _length_fault(
    container: av.container.InputContainer, stream: av.VideoStream, count: int, last: av.VideoFrame
) -> str:
    if count < stream.frames:
        return f"cut off: {count} of {stream.frames} frames decode"
    if stream.frames or container.duration is None or last.time is None:
        return ""
    # Without a frame count the clock must do; sound may outlast the pictures a little.
    seconds = container.duration / av.time_base
    if seconds - last.time > max(0.25, 0.05 * seconds):
        return f"cut off: the last frame is at {last.time:.2f} s of {seconds:.2f} s"
    return ""


def summary(table: ClipTable) -> str:
    """Clips, activities and positives per muscle of each split, as a text table."""
    parts = [table.select(split) for split in SPLITS]
    rows = {
        "clips": [len(part) for part in parts],
        "activities": [len(np.unique(part.activities)) for part in parts],
    }
    positives = np.stack([part.labels.sum(0, dtype=int) for part in parts], axis=1)
    rows.update(zip(MUSCLES, positives.tolist(), strict=True))
    lines = [f"{'':16}" + "".join(f"{split:>12}" for split in SPLITS)]
    lines += [f"{name:16}" + "".join(f"{value:12d}" for value in values) for name, values in rows.items()]
    return "\n".join(lines)


def write_report(path: str | Path, problems: Iterable[Problem]) -> None:
    """Write problems as CSV with the header split,path,reason; the file appears whole or not at all."""
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(field.name for field in fields(Problem))
        writer.writerows(astuple(problem) for problem in problems)
