"""What was found out about files, kept beside a report: a second check looks only at what has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TextIO

from transm3e.errors import UserError
from transm3e.foreign.json_text import parse_json
from transm3e.prepare.check.finding import refuse_foreign

MARK = '{"file": "findings of the dataset check, one file a line", "format": 1}'


class Cache:
    """Findings by key: kind of file, path, size, time of change, depth of the check.

    Args:
        lines: an open file that new findings are appended to, or None to keep them nowhere.
        found: what stands already.
    """

    def __init__(self, lines: TextIO | None, found: dict[str, Any]) -> None:
        self._lines, self._found = lines, found

    def get(self, key: str) -> Any:
        """What put() was given under this key, or None."""
        return self._found.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a finding (JSON values); it is on its way to the file when this returns."""
        self._found[key] = value
        if self._lines:
            with _naming(Path(self._lines.name)):
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
def open_cache(path: str | Path | None) -> Iterator[Cache]:
    """Findings of earlier checks, and a place for new ones; None keeps none.

    A line that was cut off when a check was killed is passed over: that file is looked at again.

    Raises:
        UserError: the file is not such a cache, or cannot be read or written.
    """
    if path is None:
        yield Cache(None, {})
        return
    file = Path(path)
    refuse_foreign(file, MARK)
    with _naming(file):
        lines = file.open("a+", encoding="utf-8", errors="replace")
    with closing(lines):
        with _naming(file):
            lines.seek(0)
            text = lines.read()
            # A killed check may have left half a line.
            lines.write("" if text.endswith("\n") else "\n" if text else MARK + "\n")
            lines.flush()
        yield Cache(lines, dict(_entries(text)))


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}; choose another --cache") from error


def _entries(text: str) -> Iterator[tuple[str, Any]]:
    for line in text.splitlines()[1:]:
        try:
            entry = parse_json(line)
            name, value = entry["key"], entry["value"]
        except (ValueError, TypeError, KeyError):
            continue
        if isinstance(name, str):
            yield name, value
