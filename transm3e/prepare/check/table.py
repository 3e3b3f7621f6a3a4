"""The whole check of a clip table: every file, every activity, every pair of clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transm3e.data.annotations import ClipTable
from transm3e.errors import UserError
from transm3e.prepare.check.cache import Cache, key, open_cache
from transm3e.prepare.check.companions import FLOW, SKELETON, companion_fault, file_of
from transm3e.prepare.check.duplicates import duplicate_findings
from transm3e.prepare.check.finding import COMPANION, SHORT, Finding
from transm3e.prepare.check.labels import activity_problems, label_notes, muscle_notes
from transm3e.prepare.check.video import DECODE_MODES, VideoFacts, inspect_video, is_facts
from transm3e.prepare.check.workers import Lost, run_limited
from transm3e.progress import track

DEFAULT_LIMIT = 120.0  # seconds per file
DEFAULT_LENGTH, DEFAULT_STRIDE = 16, 4
VIDEO = "video"
# (kind, name in the clip table, frames of the clip's video or 0)
Task = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        table: the clips.
        videos: what was found out about each, in the table's order.
        problems: to be mended before a run.
        notes: to be known.
        decode: how much of each video was decoded, one of DECODE_MODES.
    """

    table: ClipTable
    videos: list[VideoFacts]
    problems: list[Finding]
    notes: list[Finding]
    decode: str


def check_table(
    table: ClipTable,
    root: str | Path,
    decode: str = "first",
    workers: int = 1,
    *,
    timeout: float = DEFAULT_LIMIT,
    cache: str | Path | None = None,
    length: int = DEFAULT_LENGTH,
    stride: int = DEFAULT_STRIDE,
) -> Checked:
    """Check a clip table and its files; the table's own rows were checked when it was read.

    Args:
        table: the clips.
        root: folder that `table.paths`, `table.skeletons` and `table.flows` are relative to.
        decode: "first" decodes each video's first frame, "all" every frame (and then near-duplicates are looked
            for), "none" only asks whether files exist.
        workers: processes.
        timeout: seconds per file; what takes longer is a problem.
        cache: JSON lines file that keeps what was found, see open_cache.
        length, stride: T frames and the step between them; a video shorter than their product is a note.

    Raises:
        UserError: an argument out of range, or the cache cannot be used.
    """
    _refuse_arguments(decode, workers, timeout, length, stride)
    with open_cache(cache) as found:
        look = partial(_inspect, Path(root), decode, workers, timeout, found)
        videos = [VideoFacts(**fields) for fields in look("videos", [(VIDEO, str(path), (0,)) for path in table.paths])]
        companions = _companions(table, videos)
        faults = dict(zip(companions, look("skeletons and flow", companions), strict=True))
    notes = muscle_notes(table) + label_notes(table) + list(_short(table, videos, length * stride))
    problems = activity_problems(table) + list(_file_problems(table, videos, faults))
    copies, doubled = duplicate_findings(table, videos)
    return Checked(table, videos, problems + copies, notes + doubled, decode)


def _refuse_arguments(decode: str, workers: int, timeout: float, length: int, stride: int) -> None:
    if decode not in DECODE_MODES:
        raise UserError(f"decode {decode!r}: allowed are {', '.join(DECODE_MODES)}")
    for name, value in (("workers", workers), ("frames", length), ("stride", stride)):
        if value < 1:
            raise UserError(f"{name} {value}: at least 1")
    if not timeout > 0:
        raise UserError(f"timeout {timeout}: seconds, above 0")


def _inspect(
    root: Path, decode: str, workers: int, timeout: float, cache: Cache, label: str, tasks: Sequence[Task]
) -> list[Any]:
    """What look_at() says about each task, from the cache where the file has not changed."""
    keys = [_keys(root, decode, task) for task in tasks]
    answers = [
        next((value for one in some if _fits(task[0], value := cache.get(one))), None)
        for task, some in zip(tasks, keys, strict=True)
    ]
    missing = [number for number, answer in enumerate(answers) if answer is None]
    results = run_limited(partial(look_at, root, decode, timeout), [tasks[n] for n in missing], workers, timeout)
    for place, answer in track(results, label, len(missing), "files"):
        number = missing[place]
        if isinstance(answer, Lost):  # not kept: the next check may give it more time
            answers[number] = asdict(VideoFacts(fault=answer.reason)) if tasks[number][0] == VIDEO else answer.reason
        else:
            answers[number] = answer
            cache.put(keys[number][0], answer)
    return answers


def _fits(kind: str, value: Any) -> bool:
    """Whether a cache's value is what look_at() gives; of anything else the file is looked at again."""
    return is_facts(value) if kind == VIDEO else isinstance(value, str)


def look_at(root: Path, decode: str, timeout: float, task: Task) -> Any:
    """What stands in a cache for a file: the fields of its VideoFacts, or the fault of a skeleton or flow."""
    kind, name, of_video = task
    if kind == VIDEO:
        return asdict(inspect_video(root / name, decode, timeout))
    return companion_fault(kind, root, name, of_video, decode, timeout)


def _keys(root: Path, decode: str, task: Task) -> list[str]:
    """A file's keys in the cache: as deep as asked for, and deeper, which serves as well."""
    kind, name, of_video = task
    depths = ("none", "first", "all")
    path = root / name if kind == VIDEO else file_of(root, name)
    return [key(kind, name, path, depth, *of_video) for depth in depths[depths.index(decode) :]]


def _of_video(facts: VideoFacts) -> tuple[int, int, int]:
    return facts.frames, facts.height, facts.width


def _companions(table: ClipTable, videos: Sequence[VideoFacts]) -> list[Task]:
    return [
        (kind, str(name), _of_video(facts))
        for kind, names in ((SKELETON, table.skeletons), (FLOW, table.flows))
        for name, facts in zip(names, videos, strict=True)
        if name
    ]


def _file_problems(table: ClipTable, videos: Sequence[VideoFacts], faults: dict[Task, str]) -> Iterator[Finding]:
    """Faults of each clip's video, skeleton and flow, in the table's order."""
    columns = (table.splits, table.paths, table.skeletons, table.flows)
    for split, path, skeleton, flow, facts in zip(*columns, videos, strict=True):
        if facts.fault:
            yield Finding(str(split), str(path), facts.fault)
        for kind, name in ((SKELETON, skeleton), (FLOW, flow)):
            if name and (fault := faults[kind, str(name), _of_video(facts)]):
                yield Finding(str(split), str(name), fault, COMPANION)


def _short(table: ClipTable, videos: Sequence[VideoFacts], span: int) -> Iterator[Finding]:
    for split, path, facts in zip(table.splits, table.paths, videos, strict=True):
        if 0 < facts.frames < span and not facts.fault:
            reason = f"{facts.frames} frames, shorter than the {span} that a clip spans"
            yield Finding(str(split), str(path), reason, SHORT)
