"""What a cluster's disk says at any moment of a run: at each touch of its folder, one line and status 2.

`python -m tests.faults.disk` lets every touch of a whole run of tools/run_net.py fail; tests/faults/test_disk.py those of
its parts that write.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clips import make_noise_data
from tests.faults.inputs import RGB, RUN, BadInput, call, one_line
from transm3e.cli import USER_MISTAKE

ERRORS = (errno.EIO, errno.ESTALE, errno.EDQUOT, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ETIMEDOUT)
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.link", "os.utime", "os.scandir"}


class Disk:
    """Counts the touches of a folder, and lets one of them fail.

    Attributes:
        touches: (event, path below the folder), in their order.
        fails: number of the touch that fails, or None.
        error: what it says.
    """

    folder: Path | None = None
    fails: int | None = None
    error = 0

    def __init__(self) -> None:
        self.touches: list[tuple[str, str]] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def failing(self, folder: Path, fails: int | None, error: int = 0) -> Iterator[None]:
        """Meanwhile touch number `fails` of the folder fails."""
        self.touches, self.folder, self.fails, self.error = [], folder, fails, error
        try:
            yield
        finally:
            self.folder = None

    def _hook(self, event: str, args: tuple) -> None:
        if self.folder is None or event not in EVENTS or not isinstance(args[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(args[0])
        if path.startswith(str(self.folder)):
            self.touches.append((event, path[len(str(self.folder)) :]))
            if len(self.touches) - 1 == self.fails:
                raise OSError(self.error, os.strerror(self.error), path)


WHOLE = BadInput("a whole run", (*RGB, *RUN), ())


def try_touch(disk: Disk, number: int | None, error: int) -> bool:
    """A run of which one touch fails, and the same command again; whether both did as they should."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        make_noise_data(here / "data")
        with disk.failing(here / "runs", number, error):
            status, said = call(WHOLE, here)
        again, heard = call(WHOLE, here)
    told = not status or (status == USER_MISTAKE and os.strerror(error) in one_line(said))
    if number is not None:
        print(number, *disk.touches[number], errno.errorcode[error], f"status {status}, then {again}", flush=True)
    if not told or again:
        print(said, heard, sep="\n")
    return told and not again


def main() -> int:
    disk = Disk()
    wrong = not try_touch(disk, None, 0)
    touches = len(disk.touches)
    wrong += sum(not try_touch(disk, number, ERRORS[number % len(ERRORS)]) for number in range(touches))
    print(f"{touches} touches, {wrong} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
