"""What Free Exercise DB holds: its exercises, their muscles as regions, and their photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from transm3e.data.annotations import parse_muscles
from transm3e.data.decode import DecodeError
from transm3e.data.images import read_image
from transm3e.errors import UserError
from transm3e.files import read_text
from transm3e.foreign.json_text import parse_json

LAYOUTS = (("dist/exercises.json", "exercises"), ("exercises.json", "images"))  # a clone; a trimmed copy
MUSCLE_KEYS = {"all": ("primaryMuscles", "secondaryMuscles"), "primary": ("primaryMuscles",)}
LONGEST_RATIO = 4  # of a photo's sides


@dataclass(frozen=True)
class Exercise:
    """One entry of exercises.json.

    Attributes:
        id: its name as a folder.
        name: its name for people.
        muscles: indices into MUSCLES, sorted; () where it names none.
        photos: start and end photo.
        primary, secondary: names of its muscles, as the source has them.
    """

    id: str
    name: str
    muscles: tuple[int, ...]
    photos: tuple[Path, Path]
    primary: tuple[str, ...] = ()
    secondary: tuple[str, ...] = ()


def read_exercises(source: Path, muscle_map: Mapping[str, tuple[int, ...]], muscles: str) -> list[Exercise]:
    """The exercises of a clone or of a trimmed copy, sorted by id; their photos may be missing.

    Raises:
        UserError: neither layout is there; the JSON is not a list of objects with a unique id that is a plain
            file name, primaryMuscles and secondaryMuscles; or a muscle is not in the map.
    """
    found = [(source / table, source / photos) for table, photos in LAYOUTS if (source / table).is_file()]
    if not found:
        raise UserError(f"{source}: no dist/exercises.json; give a clone of github.com/yuhonas/free-exercise-db")
    file, photos = found[0]
    entries = read_json(file)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{file}: a list of exercises is needed; clone the source again")
    exercises = []
    for number, entry in enumerate(entries):
        where = f"{file}: exercise {number}"
        identity = _plain_id(entry.get("id"), where)
        name = str(entry.get("name") or identity)
        regions = _regions(entry, muscle_map, MUSCLE_KEYS[muscles], where)
        pair = (photos / identity / "0.jpg", photos / identity / "1.jpg")
        primary, secondary = (_names(entry, key) for key in MUSCLE_KEYS["all"])
        exercises.append(Exercise(identity, name, regions, pair, primary, secondary))
    twice = [name for name, count in Counter(e.id.casefold() for e in exercises).items() if count > 1]
    if twice:
        raise UserError(f"{file}: id {twice[0]!r} occurs twice (letter case aside); delete one")
    return sorted(exercises, key=lambda exercise: exercise.id)


def _plain_id(identity: Any, where: str) -> str:
    # The id becomes a file name here, and the source is untrusted.
    plain = isinstance(identity, str) and PurePosixPath(identity).name == identity and "\\" not in identity
    if not plain or not identity.isprintable() or identity.startswith("."):
        raise UserError(f"{where}: id {identity!r} is not a plain file name; fix it in the source")
    return identity


def _regions(entry: Any, muscle_map: Mapping[str, tuple[int, ...]], keys: Sequence[str], where: str) -> tuple[int, ...]:
    regions: set[int] = set()
    for key in keys:
        if not isinstance(entry.get(key), list):
            raise UserError(f"{where}: {key} is not a list of muscles; clone the source again")
        for name in entry[key]:
            if not isinstance(name, str) or name not in muscle_map:
                raise UserError(f"{where}: muscle {name!r} is not in the muscle map; add it there")
            regions.update(muscle_map[name])
    return tuple(sorted(regions))


def _names(entry: Any, key: str) -> tuple[str, ...]:
    return tuple(map(str, entry[key])) if isinstance(entry.get(key), list) else ()


def read_muscle_map(path: str | Path) -> dict[str, tuple[int, ...]]:
    """{"map": {name: [region, ...]}} -> name to indices into MUSCLES.

    Raises:
        UserError: the file is missing, not of this form, or names an unknown region.
    """
    document = read_json(Path(path))
    try:
        return {name: parse_muscles(";".join(regions), f"{path}: {name}") for name, regions in document["map"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f'{path}: needs {{"map": {{muscle name: [regions]}}}}; see datasets/README.md') from error


def read_photo(path: Path) -> np.ndarray:
    """A photo as (H, W, 3) uint8 RGB, turned as its EXIF data say.

    Raises:
        UserError: it cannot be read, is cut off, or is too long and narrow to be a photo.
    """
    try:
        photo = read_image(path)
    except DecodeError as error:
        raise UserError(f"photo {path.name} {error.reason}") from error
    if max(photo.shape[:2]) > LONGEST_RATIO * min(photo.shape[:2]):
        raise UserError(
            f"photo {path.name} has {photo.shape[1]}x{photo.shape[0]} pixels, sides beyond 1:{LONGEST_RATIO}"
        )
    return photo


def read_json(file: Path) -> Any:
    """The document in a UTF-8 JSON file.

    Raises:
        UserError: the file cannot be read or is not JSON.
    """
    try:
        return parse_json(read_text(file))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}); fetch it again") from error
