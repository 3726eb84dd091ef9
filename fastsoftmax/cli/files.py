"""Output files of a command: checked before the work, written atomically after it."""

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .._optional import why_missing
from ..persistence import atomic
from ..persistence.atomic import write_atomically
from .errors import FAILED, CommandError

_PAGES = (".html", ".htm")


def check_target(option: str, path: Path | str | None, instead: str = "") -> None:
    """Raise unless the file can be written; "-" is standard output."""
    if path is None or path == "-":
        return
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass  # nothing to replace; the folder is checked below
    except OSError as error:  # such as a name that is too long, or a folder without permission
        reason = f"{str(path)!r} cannot be written: {error.strerror}{instead}"
        raise CommandError(f"argument {option}: {reason}") from None
    folder = Path(path).parent
    if not folder.is_dir():
        raise CommandError(f"argument {option}: there is no folder {str(folder)!r}")
    if Path(path).is_dir():
        raise CommandError(f"argument {option}: {str(path)!r} is a folder, not a file{instead}")
    if not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise CommandError(f"argument {option}: {str(path)!r} cannot be written{instead}")


def check_picture(option: str, path: Path | None) -> None:
    """Raise unless the name ends as matplotlib can write it."""
    if path is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        accepted = ", ".join(f".{name}" for name in formats)
        raise CommandError(
            f"argument {option}: expected a file name that ends in one of {accepted}, "
            f"got {str(path)!r}"
        )


def write_text(option: str, target: Path | str, text: str) -> None:
    """Write to the file, or to standard output for "-"."""
    if target == "-":
        sys.stdout.write(text)
        return
    write_bytes(option, Path(target), text.encode("utf-8"))


def check_page(option: str, path: Path | None) -> None:
    """Raise unless the name ends in .html or .htm, and a file can be made in its folder and replace it."""
    if path is None:
        return
    if path.suffix.lower() not in _PAGES:
        raise CommandError(
            f"argument {option}: expected a file name that ends in {' or '.join(_PAGES)}, "
            f"got {str(path)!r}"
        )
    try:
        if path.is_dir():
            raise IsADirectoryError("is a folder, not a file")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError("is write-protected")
        # Permissions do not tell whether the file system is full or read-only: create a file.
        with tempfile.TemporaryFile(dir=Path(os.path.realpath(path)).parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(
            f"argument {option}: {str(path)!r} cannot be written: {reason}", FAILED
        ) from None


def write_page(option: str, path: Path, text: str) -> None:
    """Write a page to the file, atomically."""
    write_bytes(option, path, text.encode("utf-8"))


def require_matplotlib() -> None:
    """Raise if no picture can be drawn."""
    if (reason := why_missing("matplotlib.figure")) is not None:
        raise CommandError(f"needs matplotlib, which is not available: {reason}", FAILED)


def save_picture(option: str, path: Path, figure: Any) -> None:
    """Save a matplotlib figure, atomically."""
    picture = io.BytesIO()
    try:
        figure.savefig(picture, format=path.suffix[1:].lower(), dpi=150)
    except (OSError, ValueError, RuntimeError) as error:  # the last if .pgf finds no LaTeX
        reason = f"{str(path)!r} cannot be drawn: {error}"
        raise CommandError(f"argument {option}: {reason}", FAILED) from None
    write_bytes(option, path, picture.getvalue())


def write_bytes(option: str, path: Path, content: bytes) -> None:
    """Write a file, atomically."""
    with _reported(option, path):
        write_atomically(path, content)


@contextmanager
def replaced(option: str, path: Path) -> Iterator[IO[bytes]]:
    """Yield a stream that replaces the file, atomically, unless an error ends the block."""
    with _reported(option, path), atomic.replaced(path) as stream:
        yield stream


@contextmanager
def _reported(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(
            f"argument {option}: {str(path)!r} cannot be written: {reason}", FAILED
        ) from None
