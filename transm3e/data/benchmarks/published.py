"""Published lists, or class folders, to a clip table of activities, of their muscles, or of muscles listed by number."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from transm3e.data.activities import ORDER_FILE
from transm3e.data.annotations import MUSCLE_COLUMN, MUSCLES, NO_MUSCLE, REQUIRED_COLUMNS, SPLITS, parse_muscles
from transm3e.data.benchmarks.classes import first_label, numbered_names, read_classes, read_folders
from transm3e.data.benchmarks.list_files import FOLDER, FRAMES, LABELS, VIDEO, Entry, ListFile, read_lines, read_list
from transm3e.data.benchmarks.match import ends_of, match_paths
from transm3e.data.benchmarks.prepared import listing
from transm3e.data.benchmarks.publish import SKIPPED, place_videos
from transm3e.data.benchmarks.tables import Labels, name_key, read_labels
from transm3e.data.benchmarks.tree import find_videos
from transm3e.errors import UserError, shown
from transm3e.files import CLIP_TABLE, atomic_path, make_folder

NOT_THERE = "no such file"
LIST_SUFFIXES = (".csv", ".txt")
LOOKED_AT = 100  # paths, to see whether they are videos or folders


@dataclass(frozen=True)
class Options:
    """How lists are read; each is only for what they leave open.

    Attributes:
        classes: file of the classes' names, see read_classes.
        labels: CSV activity,muscles, for a table with muscles.
        muscles: whether the numbers are muscles, not activities.
        line: layout of lines, see read_list; "" as they say themselves.
        first: number of the first class, 0 or 1; None as the lists say themselves.
        fold: which of several divisions of the same videos; "" the only one.
        strip: beginning of the listed paths to leave away, see match_paths.
        allow_missing: leave listed videos out that are not there.
    """

    classes: Path | None = None
    labels: Path | None = None
    muscles: bool = False
    line: str = ""
    first: int | None = None
    fold: str = ""
    strip: str = ""
    allow_missing: bool = False


class Video(NamedTuple):
    """A row to be: its path below the folder of videos, split, activity, muscles (None: unknown), and what lists it."""

    path: str
    split: str
    activity: str
    muscles: tuple[int, ...] | None
    where: str


@dataclass
class Found:
    """What there is to make a table of: videos, names of classes in order, (path, reason) left out, sentences."""

    videos: list[Video]
    classes: list[str]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def prepare_published(
    videos: Path, out: Path, lists: Sequence[str] = (), options: Options = Options(), overwrite: bool = False
) -> str:
    """Write clips.csv, activities.txt and skipped.csv to `out`, and return a report.

    Where `videos` does not lie below `out`, out/videos becomes a link to it. Files that say the same are replaced by
    themselves.

    Args:
        videos: the folder of the videos, or that holds train/, val/ and test/ with class folders; nothing is written
            there.
        out: folder to make.
        lists: FILE, FOLDER of lists, or SPLIT=FILE; () = class folders.
        options: how they are read.
        overwrite: replace a clip table that says something else.

    Raises:
        UserError: see read_list, read_folders, read_classes, first_label, read_labels; videos that are missing or listed
            with two classes or in train and elsewhere; an option without effect; another clip table is there, or the
            folder cannot be written.
    """
    if not videos.is_dir():
        raise UserError(f"--videos {videos}: not a folder; give the folder that holds the videos")
    if options.labels and options.muscles:
        raise UserError("--labels and --muscles: the muscles are those of activities or those listed; leave one out")
    found = _from_lists(videos, lists, options) if lists else _from_folders(videos, options)
    if options.labels:
        _label(found, read_labels(options.labels, f"Labels are from {options.labels}.", found.classes))
    kept, repeated = _each_once(found.videos)
    make_folder(out, "--out")
    prefix, place = place_videos(videos, out)
    rows = [video._replace(path=str(PurePosixPath(prefix) / video.path)) for video in kept]
    _write(out, rows, found, overwrite)
    left_out = f"Files left out: {len(found.skipped)} ({out / SKIPPED})."
    return _report(out, rows, found.classes, [*found.notes, *repeated, left_out, *place])


def _from_folders(videos: Path, options: Options) -> Found:
    given = Options(classes=options.classes, labels=options.labels)
    if options != given:
        raise UserError("without --lists only --classes, --labels and --overwrite have an effect; leave the others out")
    entries, classes, skipped = read_folders(videos, read_classes(options.classes) if options.classes else [])
    return Found([Video(e.path, e.split, e.name, None, e.where) for e in entries], classes, skipped)


def _from_lists(videos: Path, lists: Sequence[str], options: Options) -> Found:
    classes_file, files = options.classes, []
    for split, file in _list_files(lists):
        if numbered_names([line for _, line in read_lines(file)]):
            classes_file = classes_file or file
        else:
            files.append(read_list(file, split, options.line, lambda paths: _look(videos, paths)))
    files = _of_one_fold(files, options.fold)
    notes = _told(files) + ([f"{classes_file}: the names of the classes."] if classes_file else [])
    names = read_classes(classes_file) if classes_file else []
    entries = [entry for file in files for entry in file.entries]
    activities, order = _named(entries, files, names, options, notes)
    paths = _on_disk(videos, files, options.strip)
    missing = [entry.path for entry, path in zip(entries, paths, strict=True) if not path]
    _refuse_missing(missing, len(entries), videos, options.allow_missing)
    rows = [
        Video(path, entry.split, *what, entry.where)
        for entry, what, path in zip(entries, activities, paths, strict=True)
        if path
    ]
    return Found(rows, order, [(path, NOT_THERE) for path in sorted(set(missing))], notes)


def _list_files(lists: Sequence[str]) -> list[tuple[str, Path]]:
    """(split or "", file) of FILE, FOLDER and SPLIT=FILE."""
    found: list[tuple[str, Path]] = []
    for word in lists:
        split, mark, name = word.partition("=")
        if not (mark and split in SPLITS):
            split, name = "", word
        if Path(name).is_dir():
            files = sorted(file for file in Path(name).iterdir() if file.suffix.lower() in LIST_SUFFIXES)
            if not files:
                raise UserError(
                    f"--lists {name}: holds no {' or '.join(LIST_SUFFIXES)} file; name lists or their folder"
                )
            found += [(split, file) for file in files]
        else:
            found.append((split, Path(name)))
    return found


def _look(videos: Path, paths: Sequence[str]) -> str:
    for path in paths[:LOOKED_AT]:
        for end in ends_of(path):
            if (videos / end).is_dir():
                return FOLDER
            if (videos / end).is_file():
                return VIDEO
    return ""


def _of_one_fold(files: list[ListFile], fold: str) -> list[ListFile]:
    folds = sorted({file.fold for file in files if file.fold})
    if (fold and fold not in folds) or (not fold and len(folds) > 1):
        raise UserError(
            f"--fold {fold or 'is not given'}: the lists divide the same videos in the ways {', '.join(folds) or 'none'}; "
            "choose one with --fold"
        )
    kept = [file for file in files if not fold or file.fold in ("", fold)]
    if not any(file.entries for file in kept):
        raise UserError("--lists: no list among the files names a video; give the lists of train, val or test")
    return kept


def _told(files: Sequence[ListFile]) -> list[str]:
    """A sentence on what each file, or several alike, was taken for."""
    alike: dict[tuple[str, str], list[ListFile]] = defaultdict(list)
    for file in files:
        splits = ", ".join(sorted({entry.split for entry in file.entries}))
        alike[file.told, splits].append(file)
    return [
        f"{some[0].file}{f' and {len(some) - 1} more' if len(some) > 1 else ''}: {told}; {splits}."
        for (told, splits), some in alike.items()
    ]


def _named(
    entries: Sequence[Entry], files: Sequence[ListFile], names: list[str], options: Options, notes: list[str]
) -> tuple[list[tuple[str, tuple[int, ...] | None]], list[str]]:
    """The (activity, muscles) of each entry, and all classes in order; `notes` gets how labels were read."""
    if options.muscles:
        return _muscles(entries, names, options.first, notes)
    several = next((file for file in files if file.layout == LABELS), None)
    if several:
        raise UserError(
            f"{several.file}: taken for {several.told}, but a clip of the table has one activity; --muscles if the numbers "
            "are muscles (datasets/muscle_regions.csv)"
        )
    numbered = [entry for entry in entries if entry.labels]
    many = next((entry for entry in numbered if len(entry.labels) > 1), None)
    if many:
        raise UserError(
            f"{many.where}: {len(many.labels)} labels, but a clip of the table has one activity; see --muscles"
        )
    first = _first(numbered, names, options.first, notes) if numbered else 0
    if not names and numbered:
        names = [str(number) for number in range(first, max(entry.labels[0] for entry in numbered) + 1)]
        if len(numbered) < len(entries):
            where = next(entry.where for entry in entries if not entry.labels)
            raise UserError(f"{where}: a class by name, others by number; --classes says which is which (classInd.txt)")
    names = names or sorted({entry.name for entry in entries})
    spelling = {name_key(name): name for name in names}
    activities = [_activity(entry, names, spelling, first) for entry in entries]
    return [(activity, None) for activity in activities], names


def _activity(entry: Entry, names: Sequence[str], spelling: Mapping[str, str], first: int) -> str:
    if entry.labels:
        return names[_index(entry, entry.labels[0], len(names), first)]
    if name_key(entry.name) not in spelling:
        raise UserError(f"{entry.where}: {shown(entry.name)} is none of the {len(names)} classes; check --classes")
    return spelling[name_key(entry.name)]


def _muscles(
    entries: Sequence[Entry], names: Sequence[str], given: int | None, notes: list[str]
) -> tuple[list[tuple[str, tuple[int, ...] | None]], list[str]]:
    bare = next((entry.where for entry in entries if not entry.labels), None)
    if bare:
        raise UserError(f"{bare}: no numbers, which --muscles reads; leave --muscles out")
    order = [number for name in names or MUSCLES for number in parse_muscles(name, "--classes")]
    first = _first(entries, names or MUSCLES, given, notes, by_folder=False)
    found: list[tuple[str, tuple[int, ...] | None]] = []
    for entry in entries:
        indices = sorted(order[_index(entry, label, len(order), first)] for label in entry.labels)
        found.append((PurePosixPath(entry.path).parent.name, tuple(indices)))
    return found, sorted({activity for activity, _ in found if activity})


def _first(
    entries: Sequence[Entry], names: Sequence[str], given: int | None, notes: list[str], by_folder: bool = True
) -> int:
    first, why = (given, "as --first-label says") if given is not None else first_label(entries, names, by_folder)
    notes.append(f"Labels count from {first}, {why}.")
    return first


def _index(entry: Entry, label: int, count: int, first: int) -> int:
    if not first <= label < count + first:
        raise UserError(
            f"{entry.where}: label {label} has no class; there are {count}, {first}..{count - 1 + first}: see --classes and "
            "--first-label"
        )
    return label - first


def _on_disk(videos: Path, files: Sequence[ListFile], strip: str) -> list[str]:
    """The path below `videos` of every entry, "" where it is not there."""
    there = find_videos(videos).videos
    by_stem: dict[str, list[str]] = defaultdict(list)
    for path in there:
        by_stem[PurePosixPath(path).stem].append(path)
    found = []
    for file in files:
        listed = [entry.path for entry in file.entries]
        if file.layout == FRAMES:
            ends = {end for path in listed for end in ends_of(path.removeprefix(strip))}
            found += match_paths(listed, sorted(end for end in ends if (videos / end).is_dir()), strip)
        elif any(entry.stems for entry in file.entries):
            found += [_anywhere(entry, by_stem) for entry in file.entries]
        else:
            found += match_paths(listed, there, strip)
    return found


def _anywhere(entry: Entry, by_stem: Mapping[str, list[str]]) -> str:
    for stem in entry.stems:
        some = by_stem.get(stem, [])
        inside = [path for path in some if name_key(entry.name) in map(name_key, PurePosixPath(path).parts[:-1])]
        some = inside if len(some) > 1 and inside else some
        if len(some) > 1:
            raise UserError(
                f"{entry.where}: {' and '.join(some[:2])} may both be meant; give the folder of one as --videos"
            )
        if some:
            return some[0]
    return ""


def _refuse_missing(missing: Sequence[str], count: int, videos: Path, allowed: bool) -> None:
    if len(missing) == count:
        raise UserError(
            f"--videos {videos}: none of {count} listed videos is there, as {missing[0][:200]}; give the folder that the "
            "paths are relative to, or --strip PREFIX"
        )
    if missing and not allowed:
        raise UserError(
            f"{len(missing)} of {count} listed videos are not in {videos}: {listing(missing)[:1000]}; "
            "--allow-missing leaves them out"
        )


def _label(found: Found, labels: Labels) -> None:
    """Give the videos their activity's muscles; those of activities without are left out."""
    reason = {name: f"activity {name}: {why or 'excluded by --labels'}" for name, why in labels.excluded.items()}
    lacking = [video for video in found.videos if video.activity not in labels.muscles]
    if len(lacking) == len(found.videos):
        raise UserError(f"--labels: has muscles of none of the {len(found.classes)} activities; check its names")
    found.skipped += [(v.path, reason.get(v.activity, f"activity {v.activity} has no labels")) for v in lacking]
    found.videos = [
        video._replace(muscles=labels.muscles[video.activity])
        for video in found.videos
        if video.activity in labels.muscles
    ]
    found.notes.append(labels.origin)


def _each_once(videos: Iterable[Video]) -> tuple[list[Video], list[str]]:
    """Every video once, in the order of SPLITS, of which the first that lists it counts; and what there is to say."""
    first: dict[str, Video] = {}
    repeated: Counter[tuple[str, str]] = Counter()
    for video in sorted(videos, key=lambda video: SPLITS.index(video.split)):
        known = first.setdefault(video.path, video)
        if known is video:
            continue
        same = (known.activity, known.muscles) == (video.activity, video.muscles)
        if not same or (known.split == "train") != (video.split == "train"):
            what = "train and evaluation" if same else "two classes"
            raise UserError(f"{video.where}: {video.path} stands in {known.where} too, {what}; keep one of the lines")
        repeated[video.split, known.split] += 1
    notes = [
        f"Videos of {name} that {'it' if name == split else split} lists {'twice' if name == split else 'too'}: {count}; "
        f"each is written once, as {split}."
        for (name, split), count in repeated.items()
    ]
    return list(first.values()), notes


def _write(out: Path, rows: Sequence[Video], found: Found, overwrite: bool) -> None:
    cells: list[tuple[str, ...]] = [row[:3] for row in rows]
    header: tuple[str, ...] = REQUIRED_COLUMNS
    if any(row.muscles is not None for row in rows):
        header = (*REQUIRED_COLUMNS, MUSCLE_COLUMN)
        named = [";".join(MUSCLES[number] for number in row.muscles or ()) or NO_MUSCLE for row in rows]
        cells = [(*row, muscles) for row, muscles in zip(cells, named, strict=True)]
    files = {CLIP_TABLE: _csv(header, cells), ORDER_FILE: "".join(f"{name}\n" for name in found.classes).encode()}
    for file, content in ((out / name, content) for name, content in files.items()):
        if file.exists() and not overwrite and file.read_bytes() != content:
            raise UserError(f"{file}: says something else; choose another --out, or --overwrite replaces it")
    for name, content in {**files, SKIPPED: _csv(("path", "reason"), found.skipped)}.items():
        with atomic_path(out / name) as partial:
            partial.write_bytes(content)


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    # Names of files that are left out may not be UTF-8; they come as surrogates.
    return text.getvalue().encode(errors="backslashreplace")


def _report(out: Path, rows: Sequence[Video], classes: Sequence[str], notes: Sequence[str]) -> str:
    lines = []
    for split in SPLITS:
        shown_here = [row.activity for row in rows if row.split == split]
        if shown_here:
            lines.append(f"{split}: {len(shown_here)} clips of {len(set(shown_here))} classes")
    evaluated = ", ".join(sorted({row.split for row in rows} - {"train"}))
    target = "" if rows[0].muscles is not None else f"DATA.TARGET activity MODEL.NUM_CLASSES {len(classes)} "
    return "\n".join(
        [
            *notes,
            *lines,
            f"{out / CLIP_TABLE}: {len(rows)} clips; {out / ORDER_FILE}: {len(classes)} classes. For training: "
            f'{target}TEST.SPLITS "[{evaluated}]"',
            "",
        ]
    )
