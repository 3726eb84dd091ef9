"""Plain-text tables, as wide as their content, without escape codes or dependencies."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import IO

_GAP = 2  # spaces between columns
_UNLIMITED = 1 << 20
_MAX_NOTE_WIDTH = 88


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print keys and values in two columns."""
    width = max(len(key) for key, _ in pairs)
    for key, value in pairs:
        print(f"{key:<{width}}  {value}")


def lines_of(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row: the first column is left-aligned, the others are right-aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        (" " * _GAP)
        .join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        .rstrip()
        for row in rows
    ]


def width_of_output() -> int:
    """Return the width of the terminal; it is unlimited if output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED


def print_note(text: str, file: IO[str] | None = None) -> None:
    """Print a paragraph, with an empty line before it."""
    print("", textwrap.fill(text, min(width_of_output(), _MAX_NOTE_WIDTH)), sep="\n", file=file)


def percent(share: float | None) -> str:
    """Return a share as "97.8 %", and None as "-"."""
    return "-" if share is None else f"{100 * share:.1f} %"


def shortened(text: str, most: int) -> str:
    """Return the text, shortened to at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
