"""Findings of a check, and their CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from transm3e.errors import UserError
from transm3e.files import atomic_path

COLUMNS = ("split", "path", "reason")
# Kinds of findings, in the order of the report.
FILE, COMPANION, LEAKAGE, DUPLICATE, SHORT = "file", "companion", "leakage", "duplicate", "short"
MUSCLES, LABELS = "muscles", "labels"
KINDS = {
    LEAKAGE: "Activities in the wrong split",
    FILE: "Videos that cannot be used",
    COMPANION: "Skeletons and flow that cannot be used",
    DUPLICATE: "Duplicates",
    MUSCLES: "Muscles that cannot be learned or scored",
    LABELS: "Labels",
    SHORT: "Clips shorter than what a model reads",
}


@dataclass(frozen=True)
class Finding:
    """One problem or note.

    Attributes:
        split: its split; "" if it concerns several.
        path: the file, as the clip table names it; "" if it concerns several.
        reason: what is wrong.
        kind: a key of KINDS.
    """

    split: str
    path: str
    reason: str
    kind: str = field(default=FILE, compare=False)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.split, self.path, self.reason) if part)


def write_report(path: str | Path, findings: Iterable[Finding]) -> None:
    """Write findings as CSV with the header split,path,reason; the file appears whole or not at all.

    Raises:
        UserError: `path` is a file of another kind, or cannot be written.
    """
    refuse_foreign(Path(path), ",".join(COLUMNS))
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(COLUMNS)
        writer.writerows((finding.split, finding.path, finding.reason) for finding in findings)


def refuse_foreign(file: Path, mark: str) -> None:
    """Refuse to overwrite a file that this check did not write.

    Args:
        file: about to be written or appended to; it need not exist.
        mark: first line of every such file.

    Raises:
        UserError: the file is not empty and begins with another line, or cannot be read.
    """
    if not file.exists():
        return
    try:
        with file.open("rb") as lines:
            first = lines.readline(len(mark) + 2)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); choose another path") from error
    if first.strip() and first.rstrip() != mark.encode():
        raise UserError(
            f"{file} was not written by this version of the dataset check and is left as it is; choose another path, "
            "or delete it"
        )
