"""`epochs`: one epoch of minibatch SGD with L2 in float32, by all contenders."""

import argparse
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from fastsoftmax.cli.machine import wait_for_sleeping_threads
from fastsoftmax.cli.timing import Timing, measure
from fastsoftmax.profiling.roofline import measure_peaks

from . import tables, text
from .contender import present_and_missing
from .problem import Problem, digits, made_up, pixels
from .threads import limited
from .trainers import PEERS, FastSoftmax, Pixels, Standardised, Trainer

_EPOCHS = 3
_SECONDS_A_TURN = 0.05
# For those with orders of their own. The order alone moves the loss of the final weights by up to 1 % in
# the rows below, a forgotten penalty by 2.6 % or more.
_OTHER_ORDER_TOLERANCE = 0.02


@dataclass(frozen=True)
class Row:
    """A line of the table: what is trained, by whom, and what is asked of the first of these."""

    load: Callable[[], Problem]
    epochs: int = _EPOCHS
    contenders: tuple[type[Trainer], ...] = (FastSoftmax, *PEERS)
    least_times: float | None = None  # the time of the fastest other over its own
    least_of_peak: float | None = None


def made_up_row(shape: Sequence[int], **options: Any) -> Row:
    """Return the row of a shape (samples, features, classes, batch size)."""
    n_samples, n_features, n_classes, batch_size = shape
    return Row(lambda: made_up(n_samples, n_features, n_classes, batch_size), **options)


def pixels_row(shape: Sequence[int]) -> Row:
    """Return the row of bytes, against the same program on floats: it is to be no slower."""
    n_samples, n_features, n_classes, batch_size = shape
    return Row(
        lambda: pixels(n_samples, n_features, n_classes, batch_size),
        contenders=(Pixels, Standardised),
        least_times=1,
    )


def row_of(name: str, shape: Sequence[int]) -> Row:
    """Return a row by its name, one of those below or made up."""
    if name in ROWS:
        return ROWS[name]
    return pixels_row(shape) if name.endswith(OF_BYTES) else made_up_row(shape)


# What a shape ends with whose features are bytes.
OF_BYTES = "-uint8"
ROWS = {
    "60000x784x10x128": made_up_row((60_000, 784, 10, 128), least_times=5),
    "20000x3073x10x256": made_up_row((20_000, 3073, 10, 256), least_times=4.5, least_of_peak=0.6),
    "100000x54x7x256": made_up_row((100_000, 54, 7, 256), least_times=6),
    "1797x64x10x32": Row(lambda: digits(32), epochs=10, least_times=3),
    "20000x2048x1000x256": made_up_row((20_000, 2048, 1000, 256), epochs=2, least_times=1.2),
    # What most people fit.
    "200000x20x2x256": made_up_row((200_000, 20, 2, 256)),
    "100000x10x3x64": made_up_row((100_000, 10, 3, 64)),
    "60000x784x2x128": made_up_row((60_000, 784, 2, 128)),
    "20000x1024x100x256": made_up_row((20_000, 1024, 100, 256)),
    f"60000x784x10x128{OF_BYTES}": pixels_row((60_000, 784, 10, 128)),
}
NAMES = tuple(dict.fromkeys(peer.name for row in ROWS.values() for peer in row.contenders[1:]))


@dataclass(frozen=True)
class Outcome:
    """What was found for one row; the first contender is the one that all are held against."""

    name: str
    row: Row
    epochs: int
    flop: float  # of an epoch
    timings: Mapping[str, Timing]  # of an epoch
    losses: Mapping[str, float]  # of the weights after the last round, on all data
    tolerances: Mapping[str, float]  # relative, of the losses

    @property
    def ours(self) -> str:
        """The name of the first contender."""
        return next(iter(self.timings))

    @property
    def fastest_peer(self) -> str | None:
        """The name of the fastest of the others."""
        others = [name for name in self.timings if name != self.ours]
        return min(others, key=lambda name: self.timings[name].median, default=None)

    def ratio(self, name: str) -> float:
        """Return the time of a contender over ours."""
        return self.timings[name].median / self.timings[self.ours].median

    @property
    def flops(self) -> float:
        """Ours: floating-point operations a second."""
        return self.flop / self.timings[self.ours].median

    def difference(self, name: str) -> float:
        """How far the loss of a contender is from ours, relative to it."""
        reference = self.losses[self.ours]
        return abs(self.losses[name] - reference) / reference

    def agrees(self, name: str) -> bool:
        """Whether a contender has computed the same."""
        return self.difference(name) <= self.tolerances[name]


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; 1 where two contenders disagree, or a target is missed."""
    console = tables.new_console(arguments.json)
    rows = {
        name: row_of(name, shape) for name, shape in arguments.shapes.items() if name != text.NAME
    }
    missing: dict[str, str] = {}
    of_text = None
    if text.NAME in arguments.shapes:
        of_text, missing = text.run(arguments.rounds, arguments.threads)
    outcomes = []
    wait_for_sleeping_threads()
    peak = measure_peaks(arguments.threads).float32
    for name, row in rows.items():
        wanted = [c for c in row.contenders[1:] if c.name in arguments.contenders]
        peers, absent = present_and_missing(wanted)
        missing |= absent
        contenders = [row.contenders[0], *peers]
        tables.report_progress(f"{name}: {', '.join(contender.name for contender in contenders)}")
        outcome = outcome_of(
            name, row, contenders, arguments.rounds, arguments.threads, arguments.epochs
        )
        outcomes.append(outcome)
        gc.collect()
    if outcomes:
        _print(console, outcomes, peak, arguments)
    if of_text is not None:
        text.print_table(console, of_text)
    tables.print_missing(console, missing)
    settings = {"threads": arguments.threads, "rounds": arguments.rounds, "dtype": "float32"}
    record = {
        "peak_flops": peak,
        "rows": [_record(outcome, peak) for outcome in outcomes],
        "text": None if of_text is None else text.as_record(of_text),
        "missing": missing,
    }
    tables.save_json(arguments.json, "epochs", settings, record)
    agree = all(outcome.agrees(name) for outcome in outcomes for name in outcome.losses)
    return 0 if agree and (of_text is None or of_text.reaches(text.FastSoftmax.name)) else 1


def outcome_of(
    name: str,
    row: Row,
    contenders: Sequence[type[Trainer]],
    n_rounds: int,
    n_threads: int,
    epochs: int | None = None,
) -> Outcome:
    """Measure one row, with those of its contenders that are there, the first being ours."""
    problem = row.load()
    epochs = epochs or row.epochs
    trainers = [contender(problem, n_threads) for contender in contenders]
    seed = 0

    def begin_turn(i: int) -> None:
        nonlocal seed
        seed = i

    def fit_of(trainer: Trainer) -> Callable[[], None]:
        return lambda: trainer.fit(epochs, seed)

    with limited(n_threads):
        fits = measure(
            {trainer.name: fit_of(trainer) for trainer in trainers},
            n_rounds,
            _SECONDS_A_TURN,
            begin_turn,
        )
    # A logit is a sum of n_features products. Its rounding errors, and those of the steps, which
    # contract, add up as random signs do.
    products = problem.X.shape[1] * problem.n_steps * epochs
    rounding = float(np.finfo(np.float32).eps) * sqrt(products)
    return Outcome(
        name,
        row,
        epochs,
        problem.flop,
        {name: fit.divided_by(epochs) for name, fit in fits.items()},
        {trainer.name: problem.loss(*trainer.weights()) for trainer in trainers},
        {
            trainer.name: rounding if trainer.same_order else _OTHER_ORDER_TOLERANCE
            for trainer in trainers
        },
    )


def _print(
    console: Console, outcomes: Sequence[Outcome], peak: float, arguments: argparse.Namespace
) -> None:
    details = tables.new_table(
        "shape", "contender", "epoch", "from all rounds", "over ours", "final loss", names=2
    )
    for outcome in outcomes:
        for i, (name, timing) in enumerate(outcome.timings.items()):
            loss = f"{outcome.losses[name]:.4f}"
            details.add_row(
                "" if i else outcome.name,
                name,
                *tables.timing_cells(timing),
                tables.times(outcome.ratio(name)),
                loss if outcome.agrees(name) else Text(f"DIFFERS {loss}", style="bold red"),
            )
        details.add_section()
    summary = tables.new_table(
        "shape",
        "fastest\npeer",
        "over\nours",
        "at\nleast",
        "GFLOP/s",
        "share of\npeak",
        "at\nleast",
        names=2,
    )
    for outcome in outcomes:
        peer, share = outcome.fastest_peer, outcome.flops / peak
        ratio = None if peer is None else outcome.ratio(peer)
        summary.add_row(
            outcome.name,
            peer or "-",
            tables.at_least(
                "-" if ratio is None else tables.times(ratio), ratio, outcome.row.least_times
            ),
            "-" if outcome.row.least_times is None else tables.times(outcome.row.least_times),
            f"{outcome.flops / 1e9:.1f}",
            tables.at_least(tables.percent(share), share, outcome.row.least_of_peak),
            "-" if outcome.row.least_of_peak is None else tables.percent(outcome.row.least_of_peak),
        )
    console.print("", details, "", summary, "", sep="\n")
    console.print(
        f"One epoch, float32, L2, threads: {arguments.threads}. Median (and range) of "
        f"{arguments.rounds} rounds of whole fits, divided by their epochs.\n"
        "Over ours: the time over that of fastsoftmax. Final loss: of the weights after the last "
        "round.\n"
        f"Peak: {peak / 1e9:.0f} GFLOP/s, float32 multiply-adds in registers, in this run.",
        markup=False,
    )


def _record(outcome: Outcome, peak: float) -> dict[str, Any]:
    peer = outcome.fastest_peer
    return {
        "shape": outcome.name,
        "epochs": outcome.epochs,
        "contenders": {
            name: {
                **timing.as_record(),
                "over_ours": outcome.ratio(name),
                "final_loss": outcome.losses[name],
                "difference": outcome.difference(name),
                "tolerance": outcome.tolerances[name],
                "agrees": outcome.agrees(name),
            }
            for name, timing in outcome.timings.items()
        },
        "fastest_peer": peer,
        "fastest_peer_over_ours": None if peer is None else outcome.ratio(peer),
        "flops": outcome.flops,
        "share_of_peak": outcome.flops / peak,
        "least_times": outcome.row.least_times,
        "least_of_peak": outcome.row.least_of_peak,
    }
