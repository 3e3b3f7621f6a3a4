"""Errors that are not bugs, and the formatting of values in messages."""

import errno
import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

SHOWN = 80
LONGEST = 4000
# Integers with more bits are not printed: Python refuses to convert very large ones.
MAX_BITS = 1024


def one_line(text: str) -> str:
    """Text with line ends and control characters escaped: content of a file must not control the terminal.

    A text longer than LONGEST loses its middle, because the remedy is at its end.
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(value: object, length: int = SHOWN) -> str:
    """repr() of a value from a file, however large or nested, shortened to `length` characters."""
    text = one_line(_SHORT.repr(value))
    return text if len(text) <= length else text[: length - 3] + "..."


# Phrases in the messages of torch's allocators on GPUs and CPUs.
MEMORY_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
)


_DISK_FAILS = "the disk or its server fails: ask its administrator, then repeat the same command"
# Errors that a disk may raise at any time -> (in plain words, what to do).
DISK_FAULTS = {
    errno.ENOSPC: ("disk full", "free space there (df -h, df -i), or choose another folder"),
    errno.EDQUOT: ("disk quota exceeded", "delete files of yours there (quota -s), or choose another folder"),
    errno.EROFS: ("read-only", "choose another folder"),
    errno.EACCES: ("not allowed", "choose another folder, or ask its owner"),
    errno.EPERM: ("not allowed", "choose another folder, or ask its owner"),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN), ("not reached", _DISK_FAILS)),
}


def disk_fault(error: OSError, remedy: str = "choose another folder") -> str:
    """What is wrong with a disk and what to do: "disk full (No space left on device); free space there ..."."""
    words, remedy = DISK_FAULTS.get(error.errno or 0, ("", remedy))
    system = error.strerror or str(error)
    return f"{words} ({system}); {remedy}" if words else f"{system}; {remedy}"


@contextmanager
def disk_faults() -> Iterator[None]:
    """Turn DISK_FAULTS into a UserError; other OSErrors pass through.

    Raises:
        UserError: names the file if the system does.
    """
    try:
        yield
    except OSError as error:
        # A PermissionError without a file name concerns a process, not a file.
        if error.errno not in DISK_FAULTS or (isinstance(error, PermissionError) and not error.filename):
            raise
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        raise UserError(f"{where}{disk_fault(error)}") from error


# Ending of messages after which the run can be resumed; `tools/runs.py` tells stopped runs from failed ones by it.
RESUMES = "the same command resumes"


class UserError(ValueError):
    """A mistake in a config, a file or a command line.

    The message is one line that says what is wrong, where, what is allowed and what to do;
    the command line prints it without a traceback and ends with exit status 2.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class ExitRequest(Exception):
    """Ends the program with a message and an exit status; no work is lost.

    Attributes:
        exit_status: for the shell.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def first_line(error: BaseException, length: int = 160) -> str:
    """First line of an error's message, shortened, for use in another message; its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:length]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or the host ran out of memory."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(word in words for word in MEMORY_WORDS)


class _Short(reprlib.Repr):
    def repr_int(self, value: int, level: int) -> str:
        bits = value.bit_length()
        return repr(value) if bits <= MAX_BITS else f"a number of {bits} bits"


_SHORT = _Short()
_SHORT.maxlevel = 4
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = _SHORT.maxdict = 12
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 400
