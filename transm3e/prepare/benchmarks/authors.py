"""The authors' ten pickles and a folder of videos -> clips, in the authors' splits with the authors' labels.

Each split has a list of video paths and a list of label lists. Their loader names the splits train, val_seen, val_unseen,
test_seen and test_unseen; its label lists hold muscle indices 0..19, which it turns into multi-hot vectors itself. The file
names are not published: the split is recognised by words in a file's name or folder, paths and labels by its content.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from transm3e.data.annotations import EVAL_SPLITS, MUSCLES, SPLIT_ALIASES, SPLITS, Clip
from transm3e.errors import UserError, shown
from transm3e.prepare.benchmarks.publish import Prepared, listing
from transm3e.prepare.benchmarks.tree import find_videos, match_paths
from transm3e.unpickle import read_pickle

PICKLE_SUFFIXES = (".pkl", ".pickle", ".p")
Listed = tuple[str, tuple[int, ...]]  # path on the authors' machine, muscles
# "valseen" and "seenval" -> known_val, and so on.
SPLIT_WORDS = {
    "".join(parts): split
    for name, split in {**{split: split for split in SPLITS}, **SPLIT_ALIASES}.items()
    for parts in (name.split("_"), name.split("_")[::-1])
}
ACTIVITY_FROM = ("parent", "file")
MISSING = "listed, but not below --videos"
# A clip listed in several splits stays in the first of these, so that no evaluation clip is trained on.
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
        strip: prefix to remove from the listed paths, see match_paths.
        activity_from: where the activity is read, since the lists name none: "parent", the listed path's folder, or "file",
            its file name without the trailing number.
        allow_missing: leave out missing videos instead of raising an error.

    Raises:
        UserError: the lists are not of this form, videos are missing, or one video has two labels.
    """
    if activity_from not in ACTIVITY_FROM:
        raise UserError(f"--activity-from {activity_from}: allowed: {', '.join(ACTIVITY_FROM)}")
    by_split, other = read_lists(lists)
    listed = [(split, *row) for split in SPLIT_ORDER for row in by_split[split]]
    files = match_paths([path for _, path, _ in listed], find_videos(videos).videos, strip)
    clips: dict[str, Clip] = {}
    skipped: list[tuple[str, str]] = []
    for (split, path, muscles), file in zip(listed, files, strict=True):
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
    missing = [path for path, reason in skipped if reason == MISSING]
    if missing and not allow_missing:
        raise UserError(
            f"{videos}: {len(missing)} of {len(listed)} listed videos are not there: {listing(missing)}; fetch them, "
            "correct --videos or --strip, or leave them out with --allow-missing"
        )
    if not clips:
        raise UserError(f"{videos}: holds none of {len(listed)} listed videos; check --videos and --strip")
    what = {"parent": "parent folder", "file": "file name without its number"}[activity_from]
    facts = [
        f"Splits and labels are the authors' lists in {lists}.",
        f"The lists name no activities; a clip's activity here is its {what}.",
    ]
    if other:
        facts.append(f"Pickles that name no split were not read: {listing([file.name for file in other])}.")
    labels = defaultdict(set)
    for clip in clips.values():
        labels[clip.activity].add(clip.muscles)
    if several := sorted(name for name, some in labels.items() if len(some) > 1):
        facts.append(f"{len(several)} activities carry several sets of muscles: {listing(several)}.")
    return Prepared(list(clips.values()), skipped, facts)


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


def read_lists(folder: Path) -> tuple[dict[str, list[Listed]], list[Path]]:
    """Split -> its clips in the lists' order, and the pickles that belong to no split (not read).

    Raises:
        UserError: a split lacks one of its two lists or has several, they differ in length, or an entry is neither
            a path nor a list of muscles; the message names file and entry.
    """
    if not folder.is_dir():
        raise UserError(f"--lists {folder}: not a folder; give the folder with the authors' ten pickles")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICKLE_SUFFIXES)
    by_split: dict[str, list[Path]] = {split: [] for split in SPLITS}
    other: list[Path] = []
    for file in files:
        split = split_of(file.relative_to(folder))
        (by_split[split] if split else other).append(file)
    return {split: _read_split(split, by_split[split], folder) for split in SPLITS}, other


def split_of(path: Path) -> str:
    """ "val_unseen/label_list.pkl" -> "new_val": the split named by the file name, else by the path; "" for none."""
    for text in (path.stem, path.with_suffix("").as_posix()):
        plain = re.sub("[^a-z]", "", text.lower())
        named = [(len(word), split) for word, split in SPLIT_WORDS.items() if word in plain]
        # The longest match wins: "unseenval" contains "seenval", and the folder of all lists may be "train_lists".
        longest = {split for length, split in named if length == max(named)[0]}
        if len(longest) == 1:
            return longest.pop()
    return ""


def muscles_of(label: Any, where: str) -> tuple[int, ...]:
    """A list of indices 0..19, or a multi-hot vector of 20 -> sorted indices.

    Raises:
        UserError: it is neither; the message begins with `where`.
    """
    values = label.tolist() if isinstance(label, np.ndarray) else label
    plain = isinstance(values, list | tuple | set) and all(
        isinstance(v, int | float | np.integer | np.floating) and 0 <= v < len(MUSCLES) and float(v).is_integer()
        for v in values
    )
    if plain:
        numbers = [int(value) for value in values]
        if len(numbers) == len(MUSCLES) and set(numbers) <= {0, 1}:
            return tuple(index for index, value in enumerate(numbers) if value)
        return tuple(sorted(set(numbers)))
    raise UserError(f"{where}: label {shown(label)} is neither a list of muscles 0..19 nor 20 zeros and ones")


def _read_split(split: str, files: Sequence[Path], folder: Path) -> list[Listed]:
    paths: list[tuple[Path, Any]] = []
    labels: list[tuple[Path, Any]] = []
    for file in files:
        content = read_pickle(file)
        content = content.tolist() if isinstance(content, np.ndarray) else content
        if not isinstance(content, list | tuple) or not content:
            raise UserError(f"{file} holds {type(content).__name__}; it must be a list with an entry per clip")
        (paths if isinstance(content[0], str) else labels).append((file, content))
    if len(paths) != 1 or len(labels) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise UserError(
            f"{folder}: {split} needs one list of paths and one of labels, found {len(paths)} and {len(labels)} "
            f"({found}); name them {split}_videos.pkl and {split}_labels.pkl"
        )
    (path_file, path_list), (label_file, label_list) = paths[0], labels[0]
    if len(path_list) != len(label_list):
        raise UserError(f"{path_file}: {len(path_list)} paths, but {label_file.name} has {len(label_list)} labels")
    wrong = next((i for i, path in enumerate(path_list) if not isinstance(path, str) or not path.strip()), None)
    if wrong is not None:
        raise UserError(f"{path_file}: entry {wrong} is {shown(path_list[wrong])}, not a path")
    rows = zip(path_list, label_list, strict=True)
    return [(str(path), muscles_of(label, f"{label_file}: entry {i}")) for i, (path, label) in enumerate(rows)]
