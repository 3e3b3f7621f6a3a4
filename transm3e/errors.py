"""Ends of a program that are not bugs."""


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
