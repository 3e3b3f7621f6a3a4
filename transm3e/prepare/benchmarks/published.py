"""Published lists, or class folders, to a clip table of activities, of their muscles, or of muscles listed by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from transm3e.data.activities import ORDER_FILE
from transm3e.data.annotations import MUSCLE_COLUMN, MUSCLES, NO_MUSCLE, REQUIRED_COLUMNS, SPLITS
from transm3e.errors import UserError
from transm3e.files import CLIP_TABLE, atomic_path, make_folder
from transm3e.prepare.benchmarks.classes import read_classes, read_folders
from transm3e.prepare.benchmarks.listed import ListOptions, ListRow, ReadLists, read_published
from transm3e.prepare.benchmarks.publish import SKIPPED, csv_bytes, place_videos
from transm3e.prepare.benchmarks.tables import Labels, read_labels


def prepare_published(
    videos: Path, out: Path, lists: Sequence[str], options: ListOptions, overwrite: bool = False
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
        UserError: see read_published, read_folders, read_classes, read_labels; videos that are listed with two classes
            or in train and elsewhere; an option without effect; another clip table is there, or the folder cannot be
            written.
    """
    if not videos.is_dir():
        raise UserError(f"--videos {videos}: not a folder; give the folder that holds the videos")
    if options.labels and options.muscles:
        raise UserError("--labels and --muscles: the muscles are those of activities or those listed; leave one out")
    found = read_published(videos, lists, options) if lists else _from_folders(videos, options)
    if options.labels:
        _label(found, read_labels(options.labels, f"Labels are from {options.labels}.", found.classes))
    kept, repeated = _each_once(found.videos)
    make_folder(out, "--out")
    prefix, place = place_videos(videos, out)
    rows = [video._replace(path=str(PurePosixPath(prefix) / video.path)) for video in kept]
    _write(out, rows, found, overwrite)
    left_out = f"Files left out: {len(found.skipped)} ({out / SKIPPED})."
    return _report(out, rows, found.classes, [*found.notes, *repeated, left_out, *place])


def _from_folders(videos: Path, options: ListOptions) -> ReadLists:
    given = ListOptions(classes=options.classes, labels=options.labels)
    if options != given:
        raise UserError("without --lists only --classes, --labels and --overwrite have an effect; leave the others out")
    entries, classes, skipped = read_folders(videos, read_classes(options.classes) if options.classes else [])
    return ReadLists([ListRow(e.path, e.split, e.name, None, e.where) for e in entries], classes, skipped)


def _label(found: ReadLists, labels: Labels) -> None:
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


def _each_once(videos: Iterable[ListRow]) -> tuple[list[ListRow], list[str]]:
    """Every video once, in the order of SPLITS, of which the first that lists it counts; and what there is to say."""
    first: dict[str, ListRow] = {}
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
    for file, content in ((out / name, content) for name, content in files.items()):
        if file.exists() and not overwrite and file.read_bytes() != content:
            raise UserError(f"{file}: says something else; choose another --out, or --overwrite replaces it")
    for name, content in {**files, SKIPPED: csv_bytes([("path", "reason"), *found.skipped])}.items():
        with atomic_path(out / name) as partial:
            partial.write_bytes(content)


def _report(out: Path, rows: Sequence[ListRow], classes: Sequence[str], notes: Sequence[str]) -> str:
    lines = []
    for split in SPLITS:
        shown_here = [row.activity for row in rows if row.split == split]
        if shown_here:
            lines.append(f"{split}: {len(shown_here)} clips of {len(set(shown_here))} classes")
    order = f"; {out / ORDER_FILE}: {len(classes)} classes" if classes else ""
    evaluated = ", ".join(sorted({row.split for row in rows} - {"train"}))
    target = "" if rows[0].muscles is not None else f"DATA.TARGET activity MODEL.NUM_CLASSES {len(classes)} "
    return "\n".join(
        [
            *notes,
            *lines,
            f'{out / CLIP_TABLE}: {len(rows)} clips{order}. For training: {target}TEST.SPLITS "[{evaluated}]"',
            "",
        ]
    )
