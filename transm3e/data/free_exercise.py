"""Free Exercise DB (github.com/yuhonas/free-exercise-db) as a data set of short clips.

Each exercise has a photo of its start and one of its end, and names one primary and any number of
secondary muscles. Its clip holds the start photo for a third of the frames, cross-dissolves to the end
photo over the next third and holds that for the last third.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from transm3e.data.annotations import TABLE_NAME, Clip, multi_hot, parse_muscles, write_clip_table
from transm3e.data.check import map_with_progress
from transm3e.data.encode import write_video
from transm3e.errors import UserError
from transm3e.files import atomic_path

LAYOUTS = (("dist/exercises.json", "exercises"), ("exercises.json", "images"))  # a clone; a trimmed copy
MUSCLE_KEYS = {"all": ("primaryMuscles", "secondaryMuscles"), "primary": ("primaryMuscles",)}
PROPOSED_SPLITS = ("known", "new_val", "new_test")
FPS = 10
NEW_SHARE = 0.05  # of all clips, for each of new_val and new_test
KNOWN_SHARE = 0.10  # of the known clips, for each of known_val and known_test
LARGEST_NEW_FAMILY = 4  # the common movements stay known
LONGEST_RATIO = 4  # of a photo's sides
# (words, one word for them) in order of replacement; the words to drop: equipment, posture, grip.
FamilyRules = tuple[list[tuple[str, str]], frozenset[str]]


@dataclass(frozen=True)
class Exercise:
    """One entry of exercises.json.

    Attributes:
        id: its name as a folder.
        name: its name for people.
        muscles: indices into MUSCLES, sorted; () where it names none.
        photos: start and end photo.
    """

    id: str
    name: str
    muscles: tuple[int, ...]
    photos: tuple[Path, Path]


def prepare(
    source: str | Path,
    out: str | Path,
    muscle_map: str | Path,
    family_rules: str | Path,
    frames: int = 16,
    size: int = 256,
    families: str | Path | None = None,
    muscles: str = "all",
    seed: int = 0,
    workers: int = 1,
) -> tuple[list[Clip], list[tuple[str, str]]]:
    """Make clips_{frames}x{size}/*.mp4, clips.csv and skipped.csv in `out`; videos that stand are kept.

    Returns the clips of the table, and (id, reason) of each exercise left out.

    Args:
        source: a clone of Free Exercise DB, or a folder with exercises.json and images/<id>/{0,1}.jpg.
        out: folder to make.
        muscle_map: JSON file, see read_muscle_map.
        family_rules: JSON file, see read_family_rules; of use where there is no `families`.
        frames: T, frames per clip, at least 2.
        size: short side in pixels, even.
        families: CSV file, see read_families; by default source/families.csv where it exists.
        muscles: "all" labels primary and secondary muscles, "primary" only the primary one.
        seed: of the split.
        workers: threads.

    Raises:
        UserError: an argument or an input file is wrong, or nothing can be used.
    """
    if frames < 2 or size < 32 or size % 2 or seed < 0 or workers < 1 or muscles not in MUSCLE_KEYS:
        raise UserError(
            f"frames {frames}, size {size}, muscles {muscles!r}, seed {seed}, workers {workers}: needs frames >= 2, an "
            f"even size >= 32, muscles one of {', '.join(MUSCLE_KEYS)}, seed >= 0 and workers >= 1"
        )
    source, out = Path(source), Path(out)
    exercises = read_exercises(source, read_muscle_map(muscle_map), muscles)
    families = families or next(source.glob("families.csv"), None)
    proposals = read_families(families, exercises) if families else {}
    rules = read_family_rules(family_rules)
    folder = out / f"clips_{frames}x{size}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}; choose another --out") from error
    reasons = map_with_progress(lambda e: make_clip(e, folder, frames, size), exercises, workers, "clips")
    skipped = [(e.id, reason) for e, reason in zip(exercises, reasons, strict=True) if reason]
    usable = [e for e, reason in zip(exercises, reasons, strict=True) if not reason]
    if not usable:
        why = ", ".join(sorted({reason for _, reason in skipped})[:3])
        raise UserError(f"{source}: none of {len(exercises)} exercises can be used ({why}); give a complete clone")
    names = [proposals[e.id][0] for e in usable] if proposals else group_families(usable, rules)
    proposed = [proposals[e.id][1] for e in usable] if proposals else None
    splits = draw_splits(names, np.stack([multi_hot(e.muscles) for e in usable]), proposed, seed)
    rows = zip(usable, splits, names, strict=True)
    clips = [Clip(f"{folder.name}/{e.id}.mp4", split, name, e.muscles) for e, split, name in rows]
    with atomic_path(out / "skipped.csv") as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("id", "reason"), *skipped])
    write_clip_table(out / TABLE_NAME, clips)
    return clips, skipped


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
    entries = _read_json(file)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{file}: a list of exercises is needed; clone the source again")
    exercises = []
    for number, entry in enumerate(entries):
        where = f"{file}: exercise {number}"
        identity = _plain_id(entry.get("id"), where)
        name = str(entry.get("name") or identity)
        regions = _regions(entry, muscle_map, MUSCLE_KEYS[muscles], where)
        exercises.append(Exercise(identity, name, regions, (photos / identity / "0.jpg", photos / identity / "1.jpg")))
    twice = [name for name, count in Counter(e.id.casefold() for e in exercises).items() if count > 1]
    if twice:
        raise UserError(f"{file}: id {twice[0]!r} occurs twice (letter case aside); delete one")
    return sorted(exercises, key=lambda exercise: exercise.id)


def _plain_id(identity: Any, where: str) -> str:
    # It becomes a file name here, and the source is not ours.
    plain = isinstance(identity, str) and PurePosixPath(identity).name == identity and "\\" not in identity
    if not plain or not identity.isprintable() or identity.startswith("."):
        raise UserError(f"{where}: id {identity!r} is not a plain file name; mend it in the source")
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


def read_muscle_map(path: str | Path) -> dict[str, tuple[int, ...]]:
    """{"map": {name: [region, ...]}} -> name to indices into MUSCLES.

    Raises:
        UserError: the file is missing, not of this form, or names an unknown region.
    """
    document = _read_json(Path(path))
    try:
        return {name: parse_muscles(";".join(regions), f"{path}: {name}") for name, regions in document["map"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f'{path}: needs {{"map": {{muscle name: [regions]}}}}; see datasets/README.md') from error


def read_families(path: str | Path, exercises: Sequence[Exercise]) -> dict[str, tuple[str, str]]:
    """CSV with the columns id, family, proposed_split (known | new_val | new_test) -> id to (family, split).

    Raises:
        UserError: the file is missing, lacks a column or an exercise, or a family stands in two splits.
    """
    file = Path(path)
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read as UTF-8 CSV ({error}); give another --families") from error
    proposals: dict[str, tuple[str, str]] = {}
    split_of: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        identity, family, split = (row.get(key) or "" for key in ("id", "family", "proposed_split"))
        where = f"{file}: row {number}"
        if not identity or not family or split not in PROPOSED_SPLITS:
            raise UserError(f"{where}: needs id, family and proposed_split, one of {', '.join(PROPOSED_SPLITS)}")
        if split_of.setdefault(family, split) != split:
            raise UserError(f"{where}: family {family!r} is {split} here and {split_of[family]} before; choose one")
        proposals[identity] = (family, split)
    missing = [e.id for e in exercises if e.id not in proposals]
    if missing:
        raise UserError(f"{file}: no row for {missing[0]!r} (and {len(missing) - 1} more); complete or remove the file")
    return proposals


def read_family_rules(path: str | Path) -> FamilyRules:
    """{"phrases": [[words, word], ...], "dropped": [word, ...]} -> rules.

    Raises:
        UserError: the file is missing or not of this form.
    """
    document = _read_json(Path(path))
    try:
        return [(str(old), str(new)) for old, new in document["phrases"]], frozenset(map(str, document["dropped"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path}: needs {{"phrases": [[words, word], ...], "dropped": [word, ...]}}') from error


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}); fetch it again") from error


def family_name(name: str, rules: FamilyRules) -> str:
    """What the variants of a movement have in common: "Seated Dumbbell Curls" -> "curl"."""
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


def group_families(exercises: Sequence[Exercise], rules: FamilyRules) -> list[str]:
    """Each exercise's family; families that share a photo, byte for byte, are one, by the shorter name."""
    parent: dict[str, str] = {}

    def root(family: str) -> str:
        while family in parent:
            family = parent[family]
        return family

    names = [family_name(exercise.name, rules) for exercise in exercises]
    first_family: dict[bytes, str] = {}
    for exercise, name in zip(exercises, names, strict=True):
        for photo in exercise.photos:
            other = first_family.setdefault(hashlib.sha256(photo.read_bytes()).digest(), name)
            kept, merged = sorted((root(other), root(name)), key=lambda family: (len(family), family))
            if kept != merged:
                parent[merged] = kept
    return [root(name) for name in names]


def draw_splits(
    families: Sequence[str], labels: np.ndarray, proposed: Sequence[str] | None = None, seed: int = 0
) -> list[str]:
    """The split of each clip, one of SPLITS, drawn by `seed`.

    Whole families of at most LARGEST_NEW_FAMILY clips become new, unless `proposed` says which are. Of the
    known clips, single ones become known_val and known_test, where their family keeps a clip in train.

    Args:
        families: N names.
        labels: (N, 20) multi-hot; rare muscles are drawn first, see draw_units.
        proposed: N of PROPOSED_SPLITS, one per family, or None to draw the new families too.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    splits = np.array(["known"] * len(families) if proposed is None else proposed, dtype="<U10")
    members = defaultdict(list)
    for index, family in enumerate(families):
        members[family].append(index)
    groups = [members[family] for family in sorted(members)]
    if proposed is None:
        small = [group for group in groups if len(group) <= LARGEST_NEW_FAMILY]
        for split in PROPOSED_SPLITS[1:]:
            small = draw_units(small, labels, NEW_SHARE, rng, splits, split)
    known = splits == "known"
    # The first of each shuffled family stays in train.
    spare = [[i] for group in groups if known[group[0]] for i in rng.permutation(group)[1:]]
    splits[known] = "train"
    for split in ("known_val", "known_test"):
        spare = draw_units(spare, labels * known[:, None], KNOWN_SHARE * known.mean(), rng, splits, split)
    return splits.tolist()


def draw_units(
    units: list[list[int]], labels: np.ndarray, share: float, rng: np.random.Generator, splits: np.ndarray, split: str
) -> list[list[int]]:
    """Move `share` of all clips to `split`, in whole units, the rarest muscle's quota first; returns the units that stay.

    A muscle's quota is `share` of its positives, but at least two of them where that is no more than a
    quarter; it is missed where too few units carry the muscle.

    Args:
        units: indices of clips that move together.
        labels: (N, 20) multi-hot of the clips that count, zeros for the others.
        share: of N.
        rng: decides the order.
        splits: (N,) str, changed in place.
        split: where to.
    """
    # Small families first: of a large one a clip could be spared for known_val.
    order = sorted((units[i] for i in rng.permutation(len(units))), key=len)
    totals = labels.sum(0, dtype=int)
    quotas = np.maximum(np.round(share * totals), np.minimum(2, totals // 4))
    for muscle in np.argsort(totals, kind="stable"):
        for unit in order:
            carries = splits[unit[0]] != split and labels[unit, muscle].any()
            if carries and labels[splits == split, muscle].sum() < quotas[muscle]:
                splits[unit] = split
    for unit in order:
        if (splits == split).sum() < round(share * len(labels)):
            splits[unit] = split
    return [unit for unit in units if splits[unit[0]] != split]


def make_clip(exercise: Exercise, folder: Path, frames: int, size: int) -> str:
    """Write folder/<id>.mp4 unless it stands and is newer than its photos; the result is why not, or "".

    Raises:
        UserError: the video cannot be written.
    """
    missing = [photo.name for photo in exercise.photos if not photo.is_file()]
    if missing or not exercise.muscles:
        return f"photo {' and '.join(missing)} missing" if missing else "no muscles named"
    file = folder / f"{exercise.id}.mp4"
    if file.is_file() and file.stat().st_mtime >= max(photo.stat().st_mtime for photo in exercise.photos):
        return ""
    try:
        start, end = (read_photo(photo) for photo in exercise.photos)
    except UserError as error:
        return str(error)
    write_video(file, dissolve(*fit_pair(start, end, size), frames), FPS)
    return ""


def read_photo(path: Path) -> np.ndarray:
    """A photo as (H, W, 3) uint8 RGB, turned as its EXIF data say.

    Raises:
        UserError: it cannot be read, is cut off, or is too long and narrow to be a photo.
    """
    try:
        data = path.read_bytes()
        # OpenCV fills the rest of a cut JPEG with grey and says nothing.
        if data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-1024:]:
            raise UserError(f"photo {path.name} is cut off")
        photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except (OSError, cv2.error) as error:
        raise UserError(f"photo {path.name} cannot be read: {error}") from error
    if photo is None:
        raise UserError(f"photo {path.name} is not a picture")
    if max(photo.shape[:2]) > LONGEST_RATIO * min(photo.shape[:2]):
        raise UserError(
            f"photo {path.name} has {photo.shape[1]}x{photo.shape[0]} pixels, sides beyond 1:{LONGEST_RATIO}"
        )
    return cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)


def fit_pair(start: np.ndarray, end: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale both photos to a short side of `size` (even) and crop both, centred, to what they have in common.

    Photos of one size so get the same scale and crop; the frame is even on both sides.
    """
    first, second = _short_side(start, size), _short_side(end, size)
    height, width = (min(sides) // 2 * 2 for sides in zip(first.shape[:2], second.shape[:2], strict=True))
    return _centre_crop(first, height, width), _centre_crop(second, height, width)


def _short_side(photo: np.ndarray, size: int) -> np.ndarray:
    scale = size / min(photo.shape[:2])
    height, width = (round(side * scale) for side in photo.shape[:2])
    return cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _centre_crop(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    return photo[top : top + height, left : left + width]


def dissolve(start: np.ndarray, end: np.ndarray, frames: int) -> Iterator[np.ndarray]:
    """`frames` pictures from `start` to `end`: a third holds, a third dissolves linearly, a third holds."""
    for weight in np.clip(3 * np.linspace(0, 1, frames) - 1, 0, 1):
        yield cv2.addWeighted(start, 1 - weight, end, weight, 0)
