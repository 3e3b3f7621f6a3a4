"""A folder of results that can be made again, and in which nothing of anybody else is overwritten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from transm3e.errors import UserError
from transm3e.files import atomic_write_text, read_text
from transm3e.foreign.json_text import parse_json

# Holds the SHA-256 of every file that was made here.
RECORD = ".made.json"


@contextmanager
def own_files(folder: str | Path, names: Sequence[str]) -> Iterator[Path]:
    """A new folder to write the files `names` into; at the end of the block they replace those in `folder`.

    An exception within the block leaves `folder` as it was.

    Raises:
        UserError: a file of `folder` with one of the names was not made so, or was changed since; or the folder
            cannot be written.
    """
    out = Path(folder)
    standing = {name: _digest(out / name) for name in names if (out / name).exists()}
    made = _read_record(out / RECORD)
    foreign = [name for name, digest in standing.items() if digest not in made]
    if foreign:
        raise UserError(
            f"{out}: {', '.join(foreign)} not made here, or changed since; move it away or choose another folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out, prefix=".making.") as staging:
            yield Path(staging)
            fresh = {_digest(Path(staging) / name) for name in names}
            # While files are exchanged, old and new ones are ours: a stop in between must not lock us out.
            atomic_write_text(out / RECORD, json.dumps(sorted({*standing.values(), *fresh})))
            for name in names:
                (Path(staging) / name).replace(out / name)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}; choose another folder") from error


def _read_record(path: Path) -> set[str]:
    try:
        record = parse_json(read_text(path)) if path.exists() else []
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); choose another folder") from error
    if not isinstance(record, list) or not all(isinstance(item, str) for item in record):
        raise UserError(f"{path}: needs a list of digests; choose another folder")
    return set(record)


def _digest(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} is no file; choose another folder")
    return hashlib.sha256(path.read_bytes()).hexdigest()
