"""Files that a command writes: whether it can, before the work, and then how."""

import os
import sys
from pathlib import Path

from .errors import FAILED, CommandError


def check_target(option: str, path: Path | str | None, instead: str = "") -> None:
    """Raise unless the file can be written; "-" is standard output."""
    if path is None or path == "-":
        return
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
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"argument {option}: {error}", FAILED) from None
