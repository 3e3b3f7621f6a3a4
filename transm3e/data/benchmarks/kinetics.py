"""Kinetics, or any videos with one class each, to a clip table without muscles: what DATA.TARGET activity trains on."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from transm3e.data.activities import ORDER_FILE
from transm3e.data.benchmarks.kinetics_lists import SPLIT_OF, Entry, read_classes, read_folders, read_lists
from transm3e.data.benchmarks.prepared import listing
from transm3e.data.benchmarks.publish import SKIPPED, place_videos
from transm3e.errors import UserError
from transm3e.files import CLIP_TABLE, atomic_path, make_folder

Row = tuple[str, str, str]
COLUMNS: Row = ("path", "split", "activity")
NOT_THERE = "no such file"


def prepare_kinetics(
    videos: Path,
    out: Path,
    lists: Path | None = None,
    classes: Path | None = None,
    separator: str = " ",
    strip: str = "",
    allow_missing: bool = False,
    overwrite: bool = False,
) -> str:
    """Write clips.csv, activities.txt and skipped.csv to `out`, and return a report.

    Where `videos` does not lie below `out`, out/videos becomes a link to it. Files that say the same are replaced by
    themselves.

    Args:
        videos: the folder that the lists' paths are relative to, or that holds train/, val/ and test/ with class folders;
            nothing is written there.
        out: folder to make.
        lists: folder of PySlowFast's lists, see read_lists; None: class folders, see read_folders.
        classes: file of the classes' names, see read_classes.
        separator: between path and label in a list.
        strip: beginning of the listed paths to leave away.
        allow_missing: leave listed videos out that are not there.
        overwrite: replace a clip table that says something else.

    Raises:
        UserError: see read_lists, read_folders, read_classes; videos that are missing or listed with two classes or in
            train and elsewhere; paths outside `videos`; an argument without effect; another clip table is there, or the folder cannot be written.
    """
    if not videos.is_dir():
        raise UserError(f"--videos {videos}: not a folder; give the folder that holds the videos")
    if not separator:
        raise UserError("--separator is empty; it is what stands between path and label, as ' ' or ,")
    if lists is None and (strip or allow_missing or separator != " "):
        raise UserError("--strip, --allow-missing and --separator have no effect without --lists; leave them out")
    names = read_classes(classes) if classes else []
    source = read_lists(lists, videos, separator, strip, names) if lists else read_folders(videos, names)
    kept, notes = _each_once(source.entries)
    missing = _missing([entry.path for entry, _ in kept], videos, allow_missing)
    make_folder(out, "--out")
    prefix, place = place_videos(videos, out)
    rows = [
        (str(PurePosixPath(prefix) / entry.path), SPLIT_OF[name], source.classes[entry.label])
        for entry, name in kept
        if entry.path not in missing
    ]
    skipped = [*source.skipped, *((path, NOT_THERE) for path in sorted(missing))]
    _write(out, rows, source.classes, skipped, overwrite)
    return _report(out, rows, source.classes, [*notes, f"Files left out: {len(skipped)} ({out / SKIPPED}).", *place])


def _each_once(entries: Mapping[str, Sequence[Entry]]) -> tuple[list[tuple[Entry, str]], list[str]]:
    """Every video once with the name of the list that has it first, and what there is to say about repetitions."""
    first: dict[str, tuple[Entry, str]] = {}
    repeated: Counter[tuple[str, str]] = Counter()
    for name, listed in entries.items():
        for entry in listed:
            known, split = first.setdefault(entry.path, (entry, name))
            if known is entry:
                continue
            if known.label != entry.label or (split == "train") != (name == "train"):
                what = "two classes" if known.label != entry.label else "train and evaluation"
                raise UserError(
                    f"{entry.where}: {entry.path} stands in {known.where} too, {what}; keep one of the lines"
                )
            repeated[name, split] += 1
    notes = [
        f"Videos of {name} that {'it' if name == split else split} lists {'twice' if name == split else 'too'}: {count}; "
        f"each is written once, as {SPLIT_OF[split]}."
        for (name, split), count in repeated.items()
    ]
    return list(first.values()), notes


def _missing(paths: Sequence[str], videos: Path, allowed: bool) -> set[str]:
    """Those paths that are not there."""
    missing = sorted(path for path in paths if not os.path.exists(videos / path))
    if len(missing) == len(paths):
        raise UserError(
            f"--videos {videos}: none of {len(paths)} listed videos is there, as {missing[0]}; give the folder that the "
            "paths are relative to, or --strip PREFIX"
        )
    if missing and not allowed:
        raise UserError(
            f"{len(missing)} of {len(paths)} listed videos are not in {videos}: {listing(missing)}; "
            "--allow-missing leaves them out"
        )
    return set(missing)


def _write(
    out: Path, rows: Sequence[Row], classes: Sequence[str], skipped: Sequence[tuple[str, str]], overwrite: bool
) -> None:
    files = {CLIP_TABLE: _csv(COLUMNS, rows), ORDER_FILE: "".join(f"{name}\n" for name in classes).encode()}
    for file, content in ((out / name, content) for name, content in files.items()):
        if file.exists() and not overwrite and file.read_bytes() != content:
            raise UserError(f"{file}: says something else; choose another --out, or --overwrite replaces it")
    for name, content in {**files, SKIPPED: _csv(("path", "reason"), skipped)}.items():
        with atomic_path(out / name) as partial:
            partial.write_bytes(content)


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    # Names of files that are left out may not be UTF-8; they come as surrogates.
    return text.getvalue().encode(errors="backslashreplace")


def _report(out: Path, rows: Sequence[Row], classes: Sequence[str], notes: Sequence[str]) -> str:
    lines = []
    for split in SPLIT_OF.values():
        shown = [activity for _, of, activity in rows if of == split]
        if shown:
            lines.append(f"{split}: {len(shown)} clips of {len(set(shown))} classes")
    evaluated = sorted({split for _, split, _ in rows} - {"train"})
    return "\n".join(
        [
            *lines,
            *notes,
            f"{out / CLIP_TABLE}: {len(rows)} clips; {out / ORDER_FILE}: {len(classes)} classes. For training: "
            f'DATA.TARGET activity MODEL.NUM_CLASSES {len(classes)} TEST.SPLITS "[{", ".join(evaluated)}]"',
            "",
        ]
    )
