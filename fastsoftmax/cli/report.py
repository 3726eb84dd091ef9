"""A comparison as a table on the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .numbers import duration, three_digits, with_prefix
from .results import Comparison, Result

_NOTHING = "-"


def print_comparison(console: Console, comparison: Comparison, heading: str) -> None:
    """Print what was trained, the table, and what it takes to read it."""
    console.print(Text(heading))
    console.print(_table(comparison))
    for note in _notes(comparison):
        console.print(Text(note))


def _table(comparison: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("backend", no_wrap=True)
    for title in (
        "median\nepoch",
        "samples\nper s",
        "speed over\nnaive",
        "speed over\nvectorized",
        "final\nloss",
        "test\naccuracy",
        "same\nlosses",
    ):
        table.add_column(title, justify="right")
    for result in comparison.results:
        table.add_row(*_cells(comparison, result))
    for absent in comparison.left_out:
        table.add_row(absent.backend, absent.status, *[_NOTHING] * 6, style="dim")
    return table


def _cells(comparison: Comparison, result: Result) -> list[str | Text]:
    about = "~" if result.extrapolated else ""
    speedups = (comparison.speedup(result, over) for over in ("naive", "vectorized"))
    loss, accuracy = result.loss_curve, result.test_accuracy
    return [
        result.backend,
        about + duration(result.seconds_an_epoch),
        about + with_prefix(result.samples_per_second),
        *(_NOTHING if ratio is None else f"{three_digits(ratio)}x" for ratio in speedups),
        _NOTHING if loss is None else f"{loss[-1]:.4f}",
        _NOTHING if accuracy is None else f"{100 * accuracy:.1f} %",
        _agreement(comparison, result),
    ]


def _agreement(comparison: Comparison, result: Result) -> Text:
    difference = comparison.difference(result)
    if difference is None:
        return Text(_NOTHING)
    if result is comparison.reference:
        return Text("reference")
    if comparison.agrees(result):
        return Text(f"yes {difference:.0e}", style="green")
    return Text(f"NO {difference:.0e}", style="bold red")


def _notes(comparison: Comparison) -> list[str]:
    notes = [
        "Median epoch: one epoch of partial_fit, after a warm-up that is not counted (numba "
        "compiles in it); the backends take turns."
    ]
    if comparison.reference is not None:
        notes.append(
            "Same losses: the largest relative difference of the loss curve from that of "
            f"{comparison.reference.backend}; up to {comparison.tolerance:.0e} is rounding."
        )
    notes += [
        f"{result.backend}: ~ is extrapolated from {result.n_rows_timed} of {result.n_samples} samples: "
        "whole epochs would take "
        f"{duration(result.seconds_an_epoch * len(result.epoch_seconds))} in all."
        for result in comparison.results
        if result.extrapolated
    ]
    notes += [f"{absent.backend}: {absent.status}: {absent.reason}" for absent in comparison.left_out]
    return notes
