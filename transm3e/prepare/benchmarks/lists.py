"""The authors' ten pickles: for each split a list of video paths and a list of label lists.

Their loader names the splits train, val_seen, val_unseen, test_seen and test_unseen, and its label lists hold muscle
indices 0..19 (it turns them into multi-hot vectors itself). The files' own names are not published: a split is told
by the words in a file's name or folder, paths and labels by what a file holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.data.annotations import MUSCLES, SPLIT_ALIASES, SPLITS
from transm3e.errors import UserError, shown
from transm3e.unpickle import read_pickle

PICKLE_SUFFIXES = (".pkl", ".pickle", ".p")
Listed = tuple[str, tuple[int, ...]]  # path on the authors' machine, muscles
# "valseen" and "seenval" -> known_val, and so on.
SPLIT_WORDS = {
    "".join(parts): split
    for name, split in {**{split: split for split in SPLITS}, **SPLIT_ALIASES}.items()
    for parts in (name.split("_"), name.split("_")[::-1])
}


def read_lists(folder: Path) -> tuple[dict[str, list[Listed]], list[Path]]:
    """Split -> its clips in the lists' order, and the pickles that belong to no split (they are not read).

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
    """ "val_unseen/label_list.pkl" -> "new_val": the one split that a file's name, else its path, names; "" for none."""
    for text in (path.stem, path.with_suffix("").as_posix()):
        plain = re.sub("[^a-z]", "", text.lower())
        named = [(len(word), split) for word, split in SPLIT_WORDS.items() if word in plain]
        # The longest word: "unseenval" holds "seenval", and a folder of them all may be called "train_lists".
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
            raise UserError(f"{file}: a list with an entry per clip is needed, it holds {type(content).__name__}")
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
