"""A comparison as a table on the terminal."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .numbers import count, duration, three_digits, with_prefix
from .results import DESCRIPTIONS, ORDER, Comparison, Result

_EPOCH, _SPEED = "median\nepoch", "samples\nper s"
_OVER_NAIVE, _OVER_VECTORIZED = "speed\nover\nnaive", "speed\nover\nvectorized"
_LOSS, _ACCURACY, _AGREEMENT = "final\nloss", "test\naccuracy", "same\nlosses"
_COLUMNS = (_EPOCH, _SPEED, _OVER_NAIVE, _OVER_VECTORIZED, _LOSS, _ACCURACY, _AGREEMENT)
# The order in which columns are left out if the terminal is too narrow.
_FIRST_TO_GO = (_SPEED, _OVER_VECTORIZED, _LOSS, _ACCURACY, _OVER_NAIVE, _AGREEMENT)
_MAX_WIDTH = 1000
_NOTHING = "-"
_TIMING = (
    "Median epoch: the time of partial_fit for one epoch. The backends take turns, after a warm-up "
    "that is not counted: numba compiles in it."
)


def print_comparison(console: Console, comparison: Comparison, heading: Mapping[str, str]) -> None:
    """Print the settings, the table, and how to read it."""
    settings = Table.grid(padding=(0, 2, 0, 0))
    for key, value in heading.items():
        settings.add_row(Text(key), Text(value))
    notes = _notes(comparison)
    titles = list(_COLUMNS)
    unlimited = console.options.update_width(_MAX_WIDTH)
    while len(titles) > 1 and (
        console.measure(_table(comparison, titles), options=unlimited).maximum > console.width
    ):
        titles.remove(next(title for title in _FIRST_TO_GO if title in titles))
    if len(titles) < len(_COLUMNS):
        notes.append("Columns are left out to fit this terminal; --json has all numbers.")
    console.print(settings, "", _table(comparison, titles), "", sep="\n")
    shown = {result.backend for result in comparison.results}
    for backend in ORDER:
        if backend in shown:
            console.print(Text(f"{backend}: {DESCRIPTIONS[backend]}."))
    for note in notes:
        console.print(Text(note))


def _table(comparison: Comparison, titles: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("backend", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    rows: dict[str, dict[str, str | Text]] = {
        result.backend: _cells(comparison, result) for result in comparison.results
    }
    for absent in comparison.left_out:
        rows[absent.backend] = {**dict.fromkeys(_COLUMNS, _NOTHING), _EPOCH: absent.status}
    for backend in ORDER:
        if backend in rows:
            table.add_row(backend, *(rows[backend][title] for title in titles))
    return table


def _cells(comparison: Comparison, result: Result) -> dict[str, str | Text]:
    about = "~" if result.extrapolated else ""
    over_naive, over_vectorized = (
        _NOTHING if ratio is None else f"{three_digits(ratio)}x"
        for ratio in (comparison.speedup(result, over) for over in ("naive", "vectorized"))
    )
    loss, accuracy = result.loss_curve, result.test_accuracy
    return {
        _EPOCH: about + duration(result.seconds_per_epoch),
        _SPEED: about + with_prefix(result.samples_per_second),
        _OVER_NAIVE: over_naive,
        _OVER_VECTORIZED: over_vectorized,
        _LOSS: _NOTHING if loss is None else f"{loss[-1]:.4f}",
        _ACCURACY: _NOTHING if accuracy is None else f"{100 * accuracy:.1f} %",
        _AGREEMENT: _agreement(comparison, result),
    }


def _agreement(comparison: Comparison, result: Result) -> Text:
    difference = comparison.difference(result)
    if difference is None:
        return Text(_NOTHING)
    if result is comparison.reference:
        return Text("reference")
    amount = f"{difference:.0e}" if difference else "0"
    if comparison.agrees(result):
        return Text(f"yes {amount}", style="green")
    return Text(f"NO {amount}", style="bold red")


def _notes(comparison: Comparison) -> list[str]:
    notes = [_TIMING]
    if comparison.reference is not None:
        notes.append(
            "Same losses: the largest relative difference of the loss curve from that of "
            f"{comparison.reference.backend}; up to {comparison.tolerance:.0e} is rounding."
        )
    notes += [
        f"{result.backend}: ~ is extrapolated from {result.n_rows_timed} of {result.n_samples} "
        f"samples; {count(len(result.epoch_seconds), 'whole epoch')} would take about "
        f"{duration(result.seconds_per_epoch * len(result.epoch_seconds))}."
        for result in comparison.results
        if result.extrapolated
    ]
    notes += [
        f"{absent.backend}: {absent.status}: {absent.reason}" for absent in comparison.left_out
    ]
    return notes
