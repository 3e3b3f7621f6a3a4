"""Ends of a program that are not bugs."""

# In the messages of torch's allocators on GPUs and CPUs.
MEMORY_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
)


class UserError(ValueError):
    """A mistake in a config, a file or a command line.

    The message is one line that says what is wrong, where, what is allowed and what to do;
    the command line prints it without a traceback and ends with exit status 2.
    """


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
