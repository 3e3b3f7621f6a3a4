"""Published lists, or class folders, to a clip table of activities, of their muscles, or of muscles listed by number."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from transm3e.data.activities import ORDER_FILE
from transm3e.data.annotations import (
    MUSCLE_COLUMN,
    MUSCLES,
    NO_MUSCLE,
    REQUIRED_COLUMNS,
    SPLIT_ALIASES,
    SPLITS,
)
from transm3e.errors import UserError
from transm3e.files import CLIP_TABLE, atomic_path, make_folder
from transm3e.prepare.benchmarks.list_files import (
    FOLDER,
    FRAMES,
    VIDEO,
    ListedVideo,
    ListFile,
    list_files,
    numbered_names,
    read_classes,
    read_lines,
    read_list,
)
from transm3e.prepare.benchmarks.listed_labels import read_activities, read_muscles, read_several_activities
from transm3e.prepare.benchmarks.publish import SKIPPED, csv_bytes, link_videos, listing
from transm3e.prepare.benchmarks.tables import Labels, name_key, read_labels, resolve_names
from transm3e.prepare.benchmarks.tree import find_videos, match_paths, path_suffixes

NOT_THERE = "no such file"
PATHS_LOOKED_AT = 100  # to see whether they are videos or folders
# Class folders of a split.
FOLDERS = {"train": "train", "val": SPLIT_ALIASES["val"], "test": SPLIT_ALIASES["test"]}


@dataclass(frozen=True)
class ListOptions:
    """How lists are read; each option decides only what the lists leave open.

    Attributes:
        classes: file of the classes' names, see read_classes.
        labels: CSV activity,muscles, for a table with muscles.
        muscles: whether the numbers are muscles, not activities.
        multi_label: whether a video may show several activities, for DATA.MULTI_LABEL.
        line: layout of lines, see read_list; "" = recognised.
        first: number of the first class, 0 or 1; None = recognised.
        fold: number of the fold; "" = the only one.
        strip: prefix to remove from the listed paths, see match_paths.
        allow_missing: leave out missing videos instead of raising an error.
    """

    classes: Path | None = None
    labels: Path | None = None
    muscles: bool = False
    multi_label: bool = False
    line: str = ""
    first: int | None = None
    fold: str = ""
    strip: str = ""
    allow_missing: bool = False


class ListRow(NamedTuple):
    """A future row: path below the folder of videos, split, activity, muscles (None = unknown), and "file:line"."""

    path: str
    split: str
    activity: str
    muscles: tuple[int, ...] | None
    where: str


@dataclass
class ReadLists:
    """The content of a table to be: rows, class names in order, (path, reason) of videos left out, sentences."""

    rows: list[ListRow]
    classes: list[str]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def prepare_published(
    videos: Path, out: Path, lists: Sequence[str], options: ListOptions, overwrite: bool = False
) -> str:
    """Write clips.csv, activities.txt and skipped.csv to `out`, and return a report.

    Unless `videos` is below `out`, out/videos becomes a link to it.

    Args:
        videos: the folder of the videos, or of train/, val/ and test/ with class folders; it is only read.
        out: folder to make.
        lists: FILE, FOLDER of lists, or SPLIT=FILE; () = class folders.
        options: how they are read.
        overwrite: replace a clip table with other content.

    Raises:
        UserError: a list, table or option is wrong (see read_list, read_classes, first_label, read_labels); there are
            several folds; videos are missing, or listed with two classes or both in train and elsewhere; there is another
            clip table, or the folder cannot be written.
    """
    if not videos.is_dir():
        raise UserError(f"--videos {videos}: not a folder; give the folder that holds the videos")
    if options.labels and options.muscles:
        raise UserError(
            "--labels and --muscles: muscles are either read per activity or listed per video; leave one out"
        )
    found = _of_lists(videos, lists, options) if lists else _of_folders(videos, options)
    if options.labels:
        _label(found, read_labels(options.labels, f"Labels are from {options.labels}.", found.classes))
    kept, repeated = _each_once(found.rows)
    make_folder(out, "--out")
    prefix, link_notes = link_videos(videos, out)
    rows = [row._replace(path=str(PurePosixPath(prefix) / row.path)) for row in kept]
    _write(out, rows, found, overwrite)
    left_out = f"Files left out: {len(found.skipped)} ({out / SKIPPED})."
    return _report(out, rows, found.classes, [*found.notes, *repeated, left_out, *link_notes])


def _of_folders(videos: Path, options: ListOptions) -> ReadLists:
    """Class folders: train/<class>/<video>, likewise val and test.

    Classes are in the order of --classes, whose names may differ from the folders' in case, blanks and punctuation; without
    it in the order of the folders' names.
    """
    if options != ListOptions(classes=options.classes, labels=options.labels):
        raise UserError("without --lists only --classes, --labels and --overwrite have an effect; leave the others out")
    classes = read_classes(options.classes) if options.classes else []
    names = [name for name in FOLDERS if (videos / name).is_dir()]
    if not names:
        raise UserError(
            f"--videos {videos}: holds none of train/, val/, test/ with class folders; or give --lists FILE ..."
        )
    below = {name: find_videos(videos / name) for name in names}
    paths = [(name, PurePosixPath(path)) for name in names for path in below[name].videos]
    loose = [f"{name}/{path}" for name, path in paths if len(path.parts) < 2]
    if loose:
        raise UserError(f"{videos / loose[0]}: is in no class folder ({len(loose)} such videos); move it into one")
    folders = sorted({path.parts[0] for _, path in paths})
    if not folders:
        raise UserError(f"--videos {videos}: no video in {', '.join(names)}; give the folder of unpacked videos")
    spelt = dict(zip(folders, resolve_names(folders, classes, str(videos)) if classes else folders, strict=True))
    rows = [ListRow(f"{n}/{path}", FOLDERS[n], spelt[path.parts[0]], None, f"{n}/{path}") for n, path in paths]
    skipped = [(f"{name}/{path}", reason) for name in names for path, reason in below[name].skipped]
    return ReadLists(rows, classes or folders, skipped)


def _of_lists(videos: Path, lists: Sequence[str], options: ListOptions) -> ReadLists:
    """The listed videos that exist, with their activities or muscles."""
    classes_file, files = options.classes, []
    for split, file in list_files(lists):
        if numbered_names([line for _, line in read_lines(file)]):
            classes_file = classes_file or file
        else:
            several = options.muscles or options.multi_label
            files.append(read_list(file, split, options.line, lambda paths: _kind_of_paths(videos, paths), several))
    files = _of_one_fold(files, options.fold.lstrip("0"))
    notes = _format_notes(files) + ([f"{classes_file}: the names of the classes."] if classes_file else [])
    names = read_classes(classes_file) if classes_file else []
    entries = [entry for file in files for entry in file.entries]
    muscles: list[tuple[int, ...] | None] = [None] * len(entries)
    if options.muscles:
        activities, names = [PurePosixPath(entry.path).parent.name for entry in entries], names or list(MUSCLES)
        muscles, names = [*read_muscles(entries, names, options.first, notes)], []
    elif options.multi_label:
        activities, names = read_several_activities(entries, names, options.first, notes)
    else:
        activities, names = read_activities(entries, files, names, options.first, notes)
    paths = _on_disk(videos, files, options.strip)
    missing = [entry.path for entry, path in zip(entries, paths, strict=True) if not path]
    if len(missing) == len(entries):
        raise UserError(
            f"--videos {videos}: none of {len(entries)} listed videos exists, such as {missing[0][:200]}; give the folder that "
            "the paths are relative to, or --strip PREFIX"
        )
    if missing and not options.allow_missing:
        raise UserError(
            f"{len(missing)} of {len(entries)} listed videos are not in {videos}: {listing(missing)[:1000]}; "
            "--allow-missing leaves them out"
        )
    rows = [
        ListRow(path, entry.split, activity, some, entry.where)
        for entry, activity, some, path in zip(entries, activities, muscles, paths, strict=True)
        if path
    ]
    return ReadLists(rows, names, [(path, NOT_THERE) for path in sorted(set(missing))], notes)


def _kind_of_paths(videos: Path, paths: Sequence[str]) -> str:
    for path in paths[:PATHS_LOOKED_AT]:
        for end in path_suffixes(path):
            if (videos / end).exists():
                return FOLDER if (videos / end).is_dir() else VIDEO
    return ""


def _of_one_fold(files: list[ListFile], fold: str) -> list[ListFile]:
    folds = sorted({file.fold for file in files if file.fold})
    if (fold and fold not in folds) or (not fold and len(folds) > 1):
        raise UserError(
            f"--fold {fold or 'is not given'}: by their names the lists are of these folds: "
            f"{', '.join(folds) or 'none'}; choose one"
        )
    kept = [file for file in files if not fold or file.fold in ("", fold)]
    if not any(file.entries for file in kept):
        raise UserError("--lists: no list among the files names a video; give the lists of train, val or test")
    return kept


def _format_notes(files: Sequence[ListFile]) -> list[str]:
    """A sentence on the format of each file, or of several alike."""
    alike: dict[tuple[str, str], list[ListFile]] = defaultdict(list)
    for file in files:
        splits = ", ".join(sorted({entry.split for entry in file.entries}))
        alike[file.detected, splits].append(file)
    return [
        f"{some[0].file}{f' and {len(some) - 1} more' if len(some) > 1 else ''}: {detected}; {splits or 'no video'}."
        for (detected, splits), some in alike.items()
    ]


def _on_disk(videos: Path, files: Sequence[ListFile], strip: str) -> list[str]:
    """The path below `videos` of every entry, "" where it does not exist."""
    # Folders of frames are not searched: they may hold millions of images.
    there = find_videos(videos).videos if any(file.layout != FRAMES for file in files) else []
    by_stem: dict[str, list[str]] = defaultdict(list)
    for path in there:
        by_stem[PurePosixPath(path).stem].append(path)
    found = []
    for file in files:
        listed = [entry.path for entry in file.entries]
        if file.layout == FRAMES:
            ends = {end for path in listed for end in path_suffixes(path.removeprefix(strip))}
            found += match_paths(listed, sorted(end for end in ends if (videos / end).is_dir()), strip)
        elif any(entry.stems for entry in file.entries):
            found += [_anywhere(entry, by_stem) for entry in file.entries]
        else:
            found += match_paths(listed, there, strip)
    return found


def _anywhere(entry: ListedVideo, by_stem: Mapping[str, list[str]]) -> str:
    some = next((by_stem[stem] for stem in entry.stems if stem in by_stem), [])
    inside = [path for path in some if name_key(entry.name) in map(name_key, PurePosixPath(path).parts[:-1])]
    some = inside if len(some) > 1 and inside else some
    if len(some) > 1:
        raise UserError(f"{entry.where} fits both {' and '.join(some[:2])}; give the folder of one as --videos")
    return some[0] if some else ""


def _label(found: ReadLists, labels: Labels) -> None:
    """Give the rows their activity's muscles; rows of activities without labels are left out."""
    reason = {name: f"activity {name}: {why or 'excluded by --labels'}" for name, why in labels.excluded.items()}
    lacking = [row for row in found.rows if row.activity not in labels.muscles]
    if len(lacking) == len(found.rows):
        raise UserError(f"--labels: has muscles of none of the {len(found.classes)} activities; check its names")
    found.skipped += [(v.path, reason.get(v.activity, f"activity {v.activity} has no labels")) for v in lacking]
    labelled = (row for row in found.rows if row.activity in labels.muscles)
    found.rows = [row._replace(muscles=labels.muscles[row.activity]) for row in labelled]
    found.notes.append(labels.origin)


def _each_once(rows: Iterable[ListRow]) -> tuple[list[ListRow], list[str]]:
    """Every video once, in the first split of SPLITS that lists it; and sentences on repeated ones."""
    first: dict[str, ListRow] = {}
    repeated: Counter[tuple[str, str]] = Counter()
    for row in sorted(rows, key=lambda row: SPLITS.index(row.split)):
        known = first.setdefault(row.path, row)
        if known is row:
            continue
        same = (known.activity, known.muscles) == (row.activity, row.muscles)
        if not same or (known.split == "train") != (row.split == "train"):
            what = "train and evaluation" if same else "two classes"
            raise UserError(f"{row.where}: {row.path} is also in {known.where} ({what}); keep one of the lines")
        repeated[row.split, known.split] += 1
    notes = [
        f"Videos of {name} that {'it' if name == split else split} lists {'twice' if name == split else 'too'}: {count}; "
        f"each is written once, as {split}."
        for (name, split), count in repeated.items()
    ]
    return list(first.values()), notes


def _write(out: Path, rows: Sequence[ListRow], found: ReadLists, overwrite: bool) -> None:
    cells: list[tuple[str, ...]] = [row[:3] for row in rows]
    header: tuple[str, ...] = REQUIRED_COLUMNS
    if any(row.muscles is not None for row in rows):
        header = (*REQUIRED_COLUMNS, MUSCLE_COLUMN)
        named = [";".join(MUSCLES[number] for number in row.muscles or ()) or NO_MUSCLE for row in rows]
        cells = [(*row, muscles) for row, muscles in zip(cells, named, strict=True)]
    files = {CLIP_TABLE: csv_bytes([header, *cells])}
    if found.classes:
        files[ORDER_FILE] = "".join(f"{name}\n" for name in found.classes).encode()
    for name, content in files.items():
        if (out / name).exists() and not overwrite and (out / name).read_bytes() != content:
            raise UserError(f"{out / name} has other content; choose another --out, or replace it with --overwrite")
    for name, content in {**files, SKIPPED: csv_bytes([("path", "reason"), *found.skipped])}.items():
        with atomic_path(out / name) as partial:
            partial.write_bytes(content)


def _report(out: Path, rows: Sequence[ListRow], classes: Sequence[str], notes: Sequence[str]) -> str:
    by_split = {split: [row.activity for row in rows if row.split == split] for split in SPLITS}
    lines = [f"{split}: {len(some)} clips of {len(set(some))} classes" for split, some in by_split.items() if some]
    order = f"; {out / ORDER_FILE}: {len(classes)} classes" if classes else ""
    evaluated = ", ".join(sorted({row.split for row in rows} - {"train"}))
    target = "" if rows[0].muscles is not None else f"DATA.TARGET activity MODEL.NUM_CLASSES {len(classes)} "
    if any(";" in row.activity for row in rows):
        target += "DATA.MULTI_LABEL True MODEL.LOSS_FUNC bce_logit "
    last = f'{out / CLIP_TABLE}: {len(rows)} clips{order}. For training: {target}TEST.SPLITS "[{evaluated}]"'
    return "\n".join([*notes, *lines, last, ""])
