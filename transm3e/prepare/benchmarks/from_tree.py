"""Class folders and labels -> clips, in splits drawn as the paper describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from transm3e.data.annotations import Clip
from transm3e.errors import UserError
from transm3e.prepare.benchmarks.facts import Benchmark
from transm3e.prepare.benchmarks.publish import Prepared, listing
from transm3e.prepare.benchmarks.splits import draw_splits
from transm3e.prepare.benchmarks.tables import ActivityClass, Labels, name_key
from transm3e.prepare.benchmarks.tree import ClassVideo, find_videos, sort_into_classes

SPLIT_BY = ("group", "clip")


def prepare_tree(
    benchmark: Benchmark,
    videos: Path,
    labels: Labels,
    new: Sequence[str],
    classes: Sequence[ActivityClass] = (),
    split_by: str = "group",
    seed: int = 0,
) -> Prepared:
    """Clips of a folder <activity>/<video>; activities without labels are left out.

    Args:
        benchmark: the benchmark to prepare.
        videos: the folder; it is only read.
        labels: muscles per activity.
        new: names of the new activities; those without labels are ignored.
        classes: the source's official classes; () = the activities in `labels`.
        split_by: "group" keeps the clips of one source video in one split, "clip" draws single clips.
        seed: of the splits.

    Raises:
        UserError: an argument is wrong, or there is no video with labels.
    """
    if seed < 0 or split_by not in SPLIT_BY:
        raise UserError(f"seed {seed}, split-by {split_by!r}: a seed >= 0 and one of {', '.join(SPLIT_BY)} are needed")
    names = [c.name for c in classes] or [*labels.muscles, *labels.excluded]
    found = find_videos(videos)
    files = sort_into_classes(found, names, benchmark)
    kept = [file for file in files if file.activity in labels.muscles]
    if not kept:
        raise UserError(f"{videos}: none of {len(files)} videos has labels ({labels.origin}); add their activities")
    skipped = found.skipped + [
        (file.path, _why_unlabelled(file.activity, labels)) for file in files if file.activity not in labels.muscles
    ]
    new_names = _spelled(new, names)
    groups = [file.group if split_by == "group" else file.path for file in kept]
    splits = draw_splits([file.activity for file in kept], groups, new_names, benchmark.counts, seed)
    rows = zip(kept, splits, strict=True)
    clips = [Clip(file.path, split, file.activity, labels.muscles[file.activity]) for file, split in rows]
    facts = [labels.origin, f"Splits are drawn by {split_by} with seed {seed}."]
    return Prepared(clips, skipped, facts + _facts(kept, files, labels, new_names, classes, split_by))


def _spelled(new: Sequence[str], names: Sequence[str]) -> set[str]:
    """The new activities, spelled as in `names`; those not in `names` stay as given, for the report."""
    spelling = {name_key(name): name for name in names}
    return {spelling.get(name_key(name), name) for name in new}


def _why_unlabelled(activity: str, labels: Labels) -> str:
    if activity in labels.excluded:
        return f"{activity} is excluded by the table of labels: {labels.excluded[activity] or 'no reason given'}"
    return f"{activity} has no labels"


def _facts(
    kept: Sequence[ClassVideo],
    files: Sequence[ClassVideo],
    labels: Labels,
    new: set[str],
    classes: Sequence[ActivityClass],
    split_by: str,
) -> list[str]:
    facts, present = [], Counter(file.activity for file in files)
    absent = sorted(set(labels.muscles) - set(present))
    if absent:
        facts.append(f"No videos of {len(absent)} activities that have labels: {listing(absent)}.")
    unseen = sorted(new - {file.activity for file in kept})
    if unseen:
        facts.append(f"No clips of {len(unseen)} new activities: {listing(unseen)}.")
    short = [f"{c.name} {present[c.name]} of {c.clips}" for c in classes if present[c.name] not in (0, c.clips)]
    if short:
        facts.append(f"Incomplete classes: {listing(short)}.")
    alone = [file.path for file in kept if file.group == file.path]
    if split_by == "group" and alone:
        facts.append(
            f"{len(alone)} file names do not identify their source video; each counts as its own: {listing(alone)}."
        )
    return facts
