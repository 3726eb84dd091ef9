"""`loss`: softmax cross-entropy of logits and its gradient, in float32 on one thread, by all contenders."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from fastsoftmax.cli.timing import Timing, measure

from . import tables
from .contender import present_and_missing
from .losses import PEERS, FastSoftmax, LossCore
from .threads import limited

NAMES = tuple(peer.name for peer in PEERS)
_SECONDS_A_TURN = 0.02

# Rows x classes, and the least time over ours that is asked for.
ROWS: dict[str, dict[str, float]] = {
    "128x10": {"numpy": 10, "torch": 25, "sklearn": 4.5},
    "128x1000": {"numpy": 3.5, "torch": 4},
    "60000x10": {"numpy": 8, "sklearn": 7},
    "64x32768": {"numpy": 3, "torch": 4},
}


@dataclass(frozen=True)
class Outcome:
    """What was found for one shape."""

    name: str
    timings: Mapping[str, Timing]  # of a call
    losses: Mapping[str, float]
    # The largest of any entry of the gradient, which is at most 1 / rows, in units of 1 / rows.
    differences: Mapping[str, float]
    tolerance: float

    def ratio(self, name: str) -> float:
        """Return the time of a contender over ours."""
        return self.timings[name].median / self.timings[FastSoftmax.name].median

    def agrees(self, name: str) -> bool:
        """Whether a contender has computed the same."""
        loss = self.losses[FastSoftmax.name]
        of_loss = abs(self.losses[name] - loss) / loss
        return max(of_loss, self.differences[name]) <= self.tolerance


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; 1 where two contenders disagree."""
    console = tables.new_console(arguments.json)
    wanted = [peer for peer in PEERS if peer.name in arguments.contenders]
    peers, missing = present_and_missing(wanted)
    contenders: list[type[LossCore]] = [FastSoftmax, *peers]
    outcomes = []
    for name, (n_rows, n_classes) in arguments.shapes.items():
        tables.report_progress(f"{name}: {', '.join(contender.name for contender in contenders)}")
        outcomes.append(_outcome(name, n_rows, n_classes, contenders, arguments.rounds))
    _print(console, outcomes, arguments.rounds)
    tables.print_missing(console, missing)
    settings = {"threads": 1, "rounds": arguments.rounds, "dtype": "float32"}
    record = {"rows": [_record(outcome) for outcome in outcomes], "missing": missing}
    tables.save_json(arguments.json, "loss", settings, record)
    return 0 if all(outcome.agrees(name) for outcome in outcomes for name in outcome.losses) else 1


def _outcome(
    name: str, n_rows: int, n_classes: int, contenders: Sequence[type[LossCore]], n_rounds: int
) -> Outcome:
    random = np.random.default_rng(0)
    logits = random.normal(scale=3, size=(n_rows, n_classes)).astype(np.float32)
    labels = random.integers(n_classes, size=n_rows)
    runs = {contender.name: contender(logits, labels) for contender in contenders}
    with limited(1):
        timings = measure(runs, n_rounds, _SECONDS_A_TURN)
    _, reference = runs[FastSoftmax.name].result()
    losses, differences = {}, {}
    for peer, contender in runs.items():
        losses[peer], gradient = contender.result()
        differences[peer] = float(np.abs(gradient - reference).max()) * n_rows
    # Shifted by the maximum, logits are rounded by eps times their range, which a probability takes over;
    # a sum of as many terms as there are classes, or rows, adds at worst that many more where somebody adds
    # them one by one.
    span = float(np.ptp(logits))
    tolerance = float(np.finfo(np.float32).eps) * (span + max(n_rows, n_classes))
    return Outcome(name, timings, losses, differences, tolerance)


def _print(console: Console, outcomes: Sequence[Outcome], n_rounds: int) -> None:
    table = tables.new_table(
        "shape", "contender", "call", "from all rounds", "over ours", "at least", names=2
    )
    for outcome in outcomes:
        least = ROWS.get(outcome.name, {})
        for i, (name, timing) in enumerate(outcome.timings.items()):
            ratio = outcome.ratio(name)
            ours_or_wrong = Text(name, style="" if outcome.agrees(name) else "bold red")
            if not outcome.agrees(name):
                ours_or_wrong.append(" DIFFERS")
            table.add_row(
                "" if i else outcome.name,
                ours_or_wrong,
                *tables.timing_cells(timing),
                tables.at_least(tables.times(ratio), ratio, least.get(name)),
                tables.times(least[name]) if name in least else "-",
            )
        table.add_section()
    console.print("", table, "", sep="\n")
    console.print(
        "Loss and gradient with respect to the logits, float32, one thread. Median (and range) of "
        f"{n_rounds} rounds.\nOver ours: the time over that of fastsoftmax. All results agree to "
        "rounding, but for those marked.",
        markup=False,
    )


def _record(outcome: Outcome) -> dict[str, Any]:
    least = ROWS.get(outcome.name, {})
    return {
        "shape": outcome.name,
        "contenders": {
            name: {
                **timing.as_record(),
                "over_ours": outcome.ratio(name),
                "least_times": least.get(name),
                "loss": outcome.losses[name],
                "difference_of_gradient": outcome.differences[name],
                "tolerance": outcome.tolerance,
                "agrees": outcome.agrees(name),
            }
            for name, timing in outcome.timings.items()
        },
    }
