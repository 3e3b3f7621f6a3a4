"""The whole check of a clip table: every file, every activity, every pair of clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.data.annotations import ClipTable
from transm3e.errors import UserError
from transm3e.prepare.check.cache import Cache, key, open_cache
from transm3e.prepare.check.companions import FLOW, SKELETON, companion_fault, file_of
from transm3e.prepare.check.duplicates import duplicate_findings
from transm3e.prepare.check.finding import COMPANION, SHORT, Finding
from transm3e.prepare.check.labels import activity_problems, label_notes, muscle_notes
from transm3e.prepare.check.video import DECODE_MODES, VideoFacts, inspect_video, is_facts
from transm3e.prepare.jobs import ALL, NoResult, Shard, run_each

DEFAULT_LIMIT = 120.0  # seconds per file
DEFAULT_LENGTH, DEFAULT_STRIDE = 16, 4
VIDEO = "video"
# (kind, name in the clip table, frames of the clip's video or 0)
CheckedFile = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        table: the clips.
        videos: the facts about each, in the table's order.
        problems: to be fixed before a run.
        notes: for information.
        decode: how much of each video was decoded, one of DECODE_MODES.
    """

    table: ClipTable
    videos: list[VideoFacts]
    problems: list[Finding]
    notes: list[Finding]
    decode: str


@dataclass(frozen=True)
class CheckSettings:
    """How files are inspected.

    Attributes:
        root: folder that the paths of the table are relative to.
        decode: "first" decodes each video's first frame, "all" every frame (and finds near-duplicates), "none" only checks
            that files exist.
        workers: processes.
        timeout: seconds per file; a file that takes longer is a problem.
        cache: JSON lines file of findings, see open_cache.

    Raises:
        UserError: a value out of range.
    """

    root: Path
    decode: str = "first"
    workers: int = 1
    timeout: float = DEFAULT_LIMIT
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.decode not in DECODE_MODES:
            raise UserError(f"decode {self.decode!r}: allowed are {', '.join(DECODE_MODES)}")
        if self.workers < 1 or not self.timeout > 0:
            raise UserError(
                f"workers {self.workers}, timeout {self.timeout:g}: at least 1, and seconds above 0, are needed"
            )


def check_table(
    table: ClipTable, look: CheckSettings, length: int = DEFAULT_LENGTH, stride: int = DEFAULT_STRIDE
) -> Checked:
    """Check a clip table and its files; the table's own rows were checked when it was read.

    Args:
        table: the clips.
        length, stride: T frames and the step between them; a video shorter than their product is a note.

    Raises:
        UserError: an argument out of range, or the cache cannot be used.
    """
    if min(length, stride) < 1:
        raise UserError(f"frames {length}, stride {stride}: both at least 1")
    videos, faults = inspect_files(table, look)
    notes = muscle_notes(table) + label_notes(table) + list(_short(table, videos, length * stride))
    problems = activity_problems(table) + list(_file_problems(table, videos, faults))
    copies, doubled = duplicate_findings(table, videos)
    return Checked(table, videos, problems + copies, notes + doubled, look.decode)


def inspect_files(
    table: ClipTable, look: CheckSettings, shard: Shard = ALL
) -> tuple[list[VideoFacts], dict[CheckedFile, str]]:
    """The facts about the videos of a shard of a table, and the faults of their skeletons and flow.

    Raises:
        UserError: a shard without a cache, whose findings would be lost, or a cache that cannot be used.
    """
    if not shard.is_all and look.cache is None:
        raise UserError(f"--shard {shard} writes its findings to --out or --cache, and neither is given; give one")
    table = table.take(np.array(shard.of(range(len(table))), int))
    with open_cache(look.cache, shard) as cache:
        inspect = partial(_inspect_all, look, cache)
        found = inspect("videos", [(VIDEO, str(path), (0,)) for path in table.paths])
        videos = [VideoFacts(**fields) for fields in found]
        companions = _companions(table, videos)
        return videos, dict(zip(companions, inspect("skeletons and flow", companions), strict=True))


def _inspect_all(look: CheckSettings, cache: Cache, title: str, files: Sequence[CheckedFile]) -> list[Any]:
    """The result of _inspect_one() for each file, from the cache if the file is unchanged."""
    keys = [_keys(look, file) for file in files]
    answers = [
        next((value for one in some if _fits(file[0], value := cache.get(one))), None)
        for file, some in zip(files, keys, strict=True)
    ]
    missing = [number for number, answer in enumerate(answers) if answer is None]
    results = run_each(partial(_inspect_one, look), [files[n] for n in missing], look.workers, title, look.timeout)
    for index, answer in results:
        number = missing[index]
        if isinstance(answer, NoResult):  # not kept: the next check may give it more time
            answers[number] = asdict(VideoFacts(fault=answer.reason)) if files[number][0] == VIDEO else answer.reason
        else:
            answers[number] = answer
            cache.put(keys[number][0], answer)
    return answers


def _fits(kind: str, value: Any) -> bool:
    """Whether a cached value has the form of _inspect_one()'s result; otherwise the file is inspected again."""
    return is_facts(value) if kind == VIDEO else isinstance(value, str)


def _inspect_one(look: CheckSettings, file: CheckedFile) -> Any:
    """The value to cache for a file: the fields of its VideoFacts, or the fault of a skeleton or flow."""
    kind, name, of_video = file
    try:
        if kind == VIDEO:
            return asdict(inspect_video(look.root / name, look.decode, look.timeout))
        return companion_fault(kind, look.root, name, of_video, look.decode, look.timeout)
    except UserError as error:  # concerns this file only and must not end the check
        return asdict(VideoFacts(fault=str(error))) if kind == VIDEO else str(error)


def _keys(look: CheckSettings, file: CheckedFile) -> list[str]:
    """A file's keys in the cache: of the requested depth, and of deeper checks, which include it."""
    kind, name, of_video = file
    depths = ("none", "first", "all")
    path = look.root / name if kind == VIDEO else file_of(look.root, name)
    return [key(kind, name, path, depth, *of_video) for depth in depths[depths.index(look.decode) :]]


def _of_video(facts: VideoFacts) -> tuple[int, int, int]:
    return facts.frames, facts.height, facts.width


def _companions(table: ClipTable, videos: Sequence[VideoFacts]) -> list[CheckedFile]:
    return [
        (kind, str(name), _of_video(facts))
        for kind, names in ((SKELETON, table.skeletons), (FLOW, table.flows))
        for name, facts in zip(names, videos, strict=True)
        if name
    ]


def _file_problems(table: ClipTable, videos: Sequence[VideoFacts], faults: dict[CheckedFile, str]) -> Iterator[Finding]:
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
