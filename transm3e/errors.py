"""Ends of a program that are not bugs, and values as messages show them."""

import errno
import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

SHOWN = 80
LONGEST = 4000
# Beyond it Python refuses to write a whole number out.
MAX_BITS = 1024


def one_line(text: str) -> str:
    """Text with line ends and control characters written as escapes: a file's words must not steer a terminal.

    Of a text that a file's words make longer than LONGEST the middle is left out, as the remedy stands at the end.
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(value: object, length: int = SHOWN) -> str:
    """repr() of a value out of a file, however large or nested it is, cut to `length` characters."""
    text = one_line(_SHORT.repr(value))
    return text if len(text) <= length else text[: length - 3] + "..."


# In the messages of torch's allocators on GPUs and CPUs.
MEMORY_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
)


_DISK_FAILS = "the disk or its server fails: ask who runs it, then give the same command again"
# What a disk may say at any moment, in plain words, and what to do.
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
    """Turn what a disk may say at any moment into a message; other errors of the system pass.

    Raises:
        UserError: names the file where the system does.
    """
    try:
        yield
    except OSError as error:
        # Without a file's name it is a process, not a file, that is not allowed.
        if error.errno not in DISK_FAULTS or (isinstance(error, PermissionError) and not error.filename):
            raise
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        raise UserError(f"{where}{disk_fault(error)}") from error


# How a message ends after which nothing is lost; `tools/runs.py` knows a stopped run from a failed one by it.
RESUMES = "the same command resumes"


class UserError(ValueError):
    """A mistake in a config, a file or a command line.

    The message is one line that says what is wrong, where, what is allowed and what to do;
    the command line prints it without a traceback and ends with exit status 2.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class ExitRequest(Exception):
    """The program is to end with a message and a status, with nothing lost.

    Attributes:
        exit_status: for the shell.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def first_line(error: BaseException, length: int = 160) -> str:
    """An error's message for use in another one: its first line, cut at a length; without one, its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:length]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is the memory of a GPU or of the machine having run out."""
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
