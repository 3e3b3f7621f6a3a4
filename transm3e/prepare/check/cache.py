"""Findings about files, kept beside a report, so that a second check only inspects changed files."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TextIO

from transm3e.errors import UserError
from transm3e.foreign.json_text import parse_json
from transm3e.prepare.check.finding import refuse_foreign
from transm3e.prepare.jobs import ALL, Shard

MARK = '{"file": "findings of the dataset check, one file a line", "format": 1}'


class Cache:
    """Findings by key: kind of file, path, size, time of change, depth of the check.

    Args:
        lines: an open file that new findings are appended to; None = they are not saved.
        found: findings that the file holds.
        of_shards: findings of shards; moved to the file when they are asked for.
    """

    def __init__(self, lines: TextIO | None, found: dict[str, Any], of_shards: dict[str, Any]) -> None:
        self._lines, self._found, self._of_shards = lines, found, of_shards

    def get(self, key: str) -> Any:
        """The value stored under this key, or None."""
        if key not in self._found and key in self._of_shards:
            self.put(key, self._of_shards[key])
        return self._found.get(key)

    def put(self, key: str, value: Any) -> None:
        """Store a finding (JSON values) and flush it to the file."""
        self._found[key] = value
        if self._lines:
            with _as_user_error(Path(self._lines.name)):
                self._lines.write(json.dumps({"key": key, "value": value}) + "\n")
                self._lines.flush()


def key(kind: str, name: str, path: Path, *depth: object) -> str:
    """The key of a file or folder as it is now.

    Args:
        kind: what it is checked as.
        name: the path as the clip table has it, so that a data set may be moved.
        path: where it is; a folder counts as changed when files are added or removed.
        depth: whatever else the finding depends on.
    """
    try:
        stat = path.stat()
    except OSError:
        return json.dumps([kind, name, None, None, *depth])
    return json.dumps([kind, name, stat.st_size, stat.st_mtime_ns, *depth])


@contextmanager
def open_cache(path: str | Path | None, shard: Shard = ALL) -> Iterator[Cache]:
    """Open the findings of earlier checks, to read and extend; None keeps none.

    A shard keeps its findings in its own file beside this one, which the first whole check merges and deletes. A line cut
    off by a kill is ignored: that file is inspected again.

    Raises:
        UserError: the file is not such a cache, or cannot be read or written.
    """
    if path is None:
        yield Cache(None, {}, {})
        return
    file, parts = Path(path), []
    found = _read(file)
    if shard.is_all:
        parts = sorted(file.parent.glob(f"{glob.escape(file.name)}.*-of-*"))
    else:
        file = file.with_name(f"{file.name}.{shard.index}-of-{shard.count}")
        found |= _read(file)
    of_shards = {key: value for part in parts for key, value in _read(part).items()}
    with _as_user_error(file):
        lines = file.open("a+", encoding="utf-8")
    with closing(lines):
        with _as_user_error(file):
            text = file.read_bytes()
            # A killed check may have left half a line.
            lines.write("" if text.endswith(b"\n") else "\n" if text else MARK + "\n")
            lines.flush()
        yield Cache(lines, found, of_shards)
    for part in parts:
        part.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any]:
    refuse_foreign(file, MARK)
    found = {}
    with _as_user_error(file):
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    for line in text.splitlines()[1:]:
        try:
            entry = parse_json(line)
            name, value = entry["key"], entry["value"]
        except (ValueError, TypeError, KeyError):
            continue
        if isinstance(name, str):
            found[name] = value
    return found


@contextmanager
def _as_user_error(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}; choose another --cache") from error
