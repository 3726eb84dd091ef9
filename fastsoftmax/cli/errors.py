"""Errors of a command: one line and an exit code, no traceback."""

FAILED = 1
BAD_ARGUMENTS = 2
INTERRUPTED = 130  # the exit code of shells after Ctrl-C: 128 + SIGINT


class CommandError(Exception):
    """An error in one line, which names the option or says what to install."""

    def __init__(
        self, message: str, exit_code: int = BAD_ARGUMENTS, command: str | None = None
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.command = command  # if it is not the running command
