"""What the tables of the commands share: cells, and the place where a table or its record goes."""

import json
import os
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastsoftmax.cli.errors import FAILED, CommandError
from fastsoftmax.cli.numbers import duration, three_digits
from fastsoftmax.cli.timing import Timing
from fastsoftmax.profiling.provenance import provenance

_PACKAGES = ("torch", "jax")  # besides those of every measurement
_WIDTH_OF_A_FILE = 120


def new_table(*columns: str, names: int = 1) -> Table:
    """Return an empty table; all columns are of numbers, but for the first, that many, of names."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < names else "right", no_wrap=True)
    return table


def timing_cells(timing: Timing) -> tuple[str, Text]:
    """Return the median, and the range in a dim style: 2.67 ms, 2.26 to 2.96 ms."""
    fastest, slowest = (duration(pick(timing.seconds)).split() for pick in (min, max))
    start = fastest[0] if fastest[1] == slowest[1] else " ".join(fastest)
    return duration(timing.median), Text(f"{start} to {' '.join(slowest)}", style="dim")


def times(ratio: float) -> str:
    """Return 4.20x."""
    return f"{three_digits(ratio)}x"


def percent(share: float) -> str:
    """Return 61 %."""
    return f"{100 * share:.0f} %"


def at_least(text: str, figure: float | None, least: float | None) -> Text:
    """Return a figure as text: green where it is at least what was asked for, red where not."""
    if figure is None or least is None:
        return Text(text)
    return Text(text, style="green" if figure >= least else "bold red")


def at_most(text: str, figure: float, most: float | None) -> Text:
    """Return a figure as text: green where it is at most what was asked for, red where not."""
    if most is None:
        return Text(text)
    return Text(text, style="green" if figure <= most else "bold red")


def new_console(json_target: str | None) -> Console:
    """Return where the tables go: standard error where standard output is for JSON."""
    console = Console(stderr=json_target == "-", highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    return console


def report_progress(text: str) -> None:
    """Say on a terminal what is being measured. A line, and no bar: its thread would take CPU time."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def print_missing(console: Console, missing: Mapping[str, str]) -> None:
    """Print who could not take part, and what to install."""
    for name, reason in missing.items():
        console.print(Text(f"{name}: missing: {reason}"))


def check_target(json_target: str | None) -> None:
    """Find out before the measurement, not after it, that its record cannot be saved."""
    if json_target is None or json_target == "-":
        return
    path = Path(json_target)
    place = path if path.exists() else path.parent
    if path.is_dir() or not place.exists() or not os.access(place, os.W_OK):
        raise CommandError(f"argument --json: {json_target!r} cannot be written")


def save_json(json_target: str | None, command: str, settings: Any, content: Any) -> None:
    """Write everything in the types of JSON, with what it was measured on."""
    if json_target is None:
        return
    head = provenance()
    head["versions"] |= {package: _version_of(package) for package in _PACKAGES}
    record = {"command": command, **head, "settings": settings, **content}
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    if json_target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(json_target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"argument --json: {error}", FAILED) from None


def _version_of(package: str) -> str | None:
    if package == "fastsoftmax":
        from fastsoftmax import __version__

        return __version__
    try:
        return version(package)
    except PackageNotFoundError:
        return None
