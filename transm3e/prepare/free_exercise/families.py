"""Families: exercises that are variants of one movement, as listed in a file or by their names and photos."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from transm3e.data.csv_tables import read_rows
from transm3e.errors import UserError
from transm3e.prepare.free_exercise.source import Exercise, read_json
from transm3e.prepare.free_exercise.splits import PROPOSED_SPLITS

COLUMNS = ("id", "family", "proposed_split")
# (words, one word for them) in order of replacement; the words to drop: equipment, posture, grip.
FamilyRules = tuple[list[tuple[str, str]], frozenset[str]]


def read_families(path: str | Path, exercises: Sequence[Exercise]) -> dict[str, tuple[str, str]]:
    """CSV with the columns id, family, proposed_split (known | new_val | new_test) -> id to (family, split).

    Raises:
        UserError: the file is missing, lacks a column or an exercise, or a family is in two splits.
    """
    proposals: dict[str, tuple[str, str]] = {}
    split_of: dict[str, str] = {}
    for cells, where in read_rows(path, COLUMNS):
        identity, family, split = (cells[name] for name in COLUMNS)
        if not identity or not family or split not in PROPOSED_SPLITS:
            raise UserError(f"{where}: needs id, family and proposed_split, one of {', '.join(PROPOSED_SPLITS)}")
        if split_of.setdefault(family, split) != split:
            raise UserError(f"{where}: family {family!r} is {split} here and {split_of[family]} before; choose one")
        proposals[identity] = (family, split)
    missing = [e.id for e in exercises if e.id not in proposals]
    if missing:
        raise UserError(f"{path}: no row for {missing[0]!r} (and {len(missing) - 1} more); complete or remove the file")
    return proposals


def read_family_rules(path: str | Path) -> FamilyRules:
    """{"phrases": [[words, word], ...], "dropped": [word, ...]} -> rules.

    Raises:
        UserError: the file is missing or not of this form.
    """
    document = read_json(Path(path))
    try:
        return [(str(old), str(new)) for old, new in document["phrases"]], frozenset(map(str, document["dropped"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path}: needs {{"phrases": [[words, word], ...], "dropped": [word, ...]}}') from error


def family_name(name: str, rules: FamilyRules) -> str:
    """The name that variants of a movement share: "Seated Dumbbell Curls" -> "curl"."""
    phrases, dropped = rules
    words = [_singular(w) for w in re.findall(r"[a-z0-9]+", re.sub(r"\(.*?\)|'s\b|'", " ", name.lower()))]
    text = f" {' '.join(words)} "
    for old, new in phrases:
        text = text.replace(f" {old} ", f" {new} ")
    return " ".join(sorted(set(text.split()) - dropped)) or " ".join(words) or name


def _singular(word: str) -> str:
    if re.fullmatch(r"fly(e|es|s)", word):
        return "fly"
    if re.search(r"(ss|sh|ch|x)es$", word):
        return word[:-2]
    if re.search(r"[^s]s$", word) and len(word) > 2 and not word.endswith("ceps"):
        return word[:-1]
    return word


def digests(exercise: Exercise) -> list[str]:
    """SHA-256 of both photos, equal for photos that are equal byte for byte."""
    return [hashlib.sha256(photo.read_bytes()).hexdigest() for photo in exercise.photos]


def group_families(
    exercises: Sequence[Exercise], rules: FamilyRules, photos: Sequence[Sequence[str | int]] | None = None
) -> list[str]:
    """Each exercise's family; families that share a photo are one, by the shorter name.

    Args:
        photos: of each exercise, equal for the same photo; None = by their bytes.
    """
    parent: dict[str, str] = {}

    def root(family: str) -> str:
        while family in parent:
            family = parent[family]
        return family

    names = [family_name(exercise.name, rules) for exercise in exercises]
    first_family: dict[str | int, str] = {}
    for name, pair in zip(names, photos or map(digests, exercises), strict=True):
        for photo in pair:
            other = first_family.setdefault(photo, name)
            kept, merged = sorted((root(other), root(name)), key=lambda family: (len(family), family))
            if kept != merged:
                parent[merged] = kept
    return [root(name) for name in names]
