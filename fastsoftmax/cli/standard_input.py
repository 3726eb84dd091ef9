"""DATA from standard input, which is called `-`."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import data


class _Copy(type(Path())):  # type: ignore[misc]  # PosixPath or WindowsPath
    """The path of the copy; messages call it standard input."""

    def __str__(self) -> str:
        return "standard input"

    def __fspath__(self) -> str:
        return str(super().__str__())


@contextmanager
def replaced(arguments: argparse.Namespace) -> Iterator[None]:
    """Replace DATA by a temporary copy of standard input if it is `-`.

    Readers look for the format first, and read some formats from the end.
    """
    if getattr(arguments, "data", None) != Path("-"):
        yield
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = _Copy(folder, "data")
        with copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if data.format_of(copy, arguments.format) is None:  # CSV has no signature
            copy = copy.rename(_Copy(folder, "data.csv"))
        arguments.data = copy
        yield
