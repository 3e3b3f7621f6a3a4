"""The authors' lists and a folder of videos -> clips, in the authors' splits with the authors' labels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from transm3e.data.annotations import EVAL_SPLITS, Clip
from transm3e.errors import UserError
from transm3e.prepare.benchmarks.lists import read_lists
from transm3e.prepare.benchmarks.match import match_paths
from transm3e.prepare.benchmarks.prepared import Prepared, listing
from transm3e.prepare.benchmarks.tree import find_videos

ACTIVITY_FROM = ("parent", "file")
MISSING = "listed, but not below --videos"
# A clip that stands in several splits stays in the first of these: what is evaluated on is not trained on.
SPLIT_ORDER = (*EVAL_SPLITS, "train")


def prepare_lists(
    videos: Path,
    lists: Path,
    strip: str = "",
    activity_from: str = "parent",
    allow_missing: bool = False,
) -> Prepared:
    """Clips of the authors' ten pickles.

    Args:
        videos: the folder below which the videos are.
        lists: the folder of the pickles.
        strip: beginning of the listed paths to leave away, see match_paths.
        activity_from: the lists name no activities: take the listed path's parent folder, or its file name
            without the number at its end.
        allow_missing: leave videos that are not there out, instead of an error.

    Raises:
        UserError: the lists are not of this form, videos are missing, or one video has two labels.
    """
    if activity_from not in ACTIVITY_FROM:
        raise UserError(f"activity-from {activity_from!r}: one of {', '.join(ACTIVITY_FROM)} is needed")
    by_split, other = read_lists(lists)
    entries = [(split, *entry) for split in SPLIT_ORDER for entry in by_split[split]]
    found = find_videos(videos)
    files = match_paths([path for _, path, _ in entries], found.videos, strip)
    clips, skipped = _clips(entries, files, activity_from)
    _check_missing(skipped, len(entries), videos, allow_missing)
    if not clips:
        raise UserError(f"{videos}: holds none of {len(entries)} listed videos; check --videos and --strip")
    facts = [f"Splits and labels are the authors' lists in {lists}.", *_facts(clips, other, activity_from)]
    return Prepared(clips, skipped, facts)


def activity_of(path: str, activity_from: str) -> str:
    """ "/x/push_ups/push_ups_012.mp4" -> "push_ups".

    Raises:
        UserError: the path has no parent folder.
    """
    plain = PurePosixPath(path.replace("\\", "/"))
    name = plain.parent.name if activity_from == "parent" else re.sub(r"([\W_]*\d+)+$", "", plain.stem)
    if not name:
        raise UserError(f"the listed path {path!r} names no activity; try --activity-from parent or file")
    return name


def _clips(
    entries: Sequence[tuple[str, str, tuple[int, ...]]], files: Sequence[str], activity_from: str
) -> tuple[list[Clip], list[tuple[str, str]]]:
    clips: dict[str, Clip] = {}
    skipped = []
    for (split, path, muscles), file in zip(entries, files, strict=True):
        first = clips.get(file)
        if not file:
            skipped.append((path, MISSING))
        elif first is None:
            clips[file] = Clip(file, split, activity_of(path, activity_from), muscles)
        elif first.muscles != muscles:
            raise UserError(f"the lists give {path!r} two labels, in {first.split} and in {split}; ask the authors")
        else:
            where = "twice in" if first.split == split else f"in {first.split} and"
            skipped.append((path, f"listed {where} {split}; kept once, in {first.split}"))
    return list(clips.values()), skipped


def _check_missing(skipped: Sequence[tuple[str, str]], total: int, videos: Path, allow_missing: bool) -> None:
    missing = [path for path, reason in skipped if reason == MISSING]
    if missing and not allow_missing:
        raise UserError(
            f"{videos}: {len(missing)} of {total} listed videos are not there: {listing(missing)}; fetch them, "
            "correct --videos or --strip, or leave them out with --allow-missing"
        )


def _facts(clips: Sequence[Clip], other: Sequence[Path], activity_from: str) -> list[str]:
    what = {"parent": "parent folder", "file": "file name without its number"}[activity_from]
    facts = [f"The lists name no activities; a clip's activity here is its {what}."]
    if other:
        facts.append(f"Pickles that name no split were not read: {listing([file.name for file in other])}.")
    several = sorted(name for name, labels in _labels_by_activity(clips).items() if len(labels) > 1)
    if several:
        facts.append(f"{len(several)} activities carry several sets of muscles: {listing(several)}.")
    return facts


def _labels_by_activity(clips: Sequence[Clip]) -> Mapping[str, set[tuple[int, ...]]]:
    labels: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for clip in clips:
        labels[clip.activity].add(clip.muscles)
    return labels
