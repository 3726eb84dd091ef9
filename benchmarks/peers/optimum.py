"""`optimum`: time until the objective is near its minimum, against scikit-learn and other solvers."""

import argparse
import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from fastsoftmax.cli import files
from fastsoftmax.cli.errors import FAILED, CommandError
from fastsoftmax.cli.numbers import count, duration

from . import tables
from .contender import present_and_missing
from .gap_plot import plot_gaps
from .ladder import GAPS, Climb, Outcome, outcome_of
from .minimizers import OURS, PEERS
from .optimum_sets import SETS, OptimumProblem, Shape, set_of_file
from .threads import limited

NAMES = tuple(peer.name for peer in PEERS)
_GAP_NAMES = tuple(f"{gap:.0e}".replace("e-0", "e-") for gap in GAPS)
_BUDGET, _QUICK_BUDGET = 30.0, 1.0  # seconds
_NOTE = """\
Seconds of the first fit whose objective, mean loss + alpha / 2 * sum(coef**2), is above its minimum by at
most 1e-2, 1e-4 or 1e-6 of it; of whole fits from zeros, in the dtype of the contender. A fit is made short
by its limit of iterations, refined for scikit-learn's solvers to within 25 %; that of fastsoftmax by its
tol, in powers of 10, which bounds the gap and is larger than it. "> 2 s": not there in the fits that the
budget allowed, the longest of 2 s. "-": it ended before, or has another objective.
sklearn/ours: the time of scikit-learn's fastest solver over that of fastsoftmax in its faster dtype.
SGDClassifier (sklearn-sgd) has this objective only for two classes. Stochastic solvers have one seed."""


def add_options(options: argparse.ArgumentParser) -> None:
    """Add the options that no other command has."""
    options.add_argument(
        "--sets",
        type=_sets,
        default=",".join(SETS),
        metavar="NAME[=NxDxC],...",
        help="out of %(default)s, those made up in other sizes if given; none for files alone",
    )
    options.add_argument(
        "--files",
        nargs="+",
        default=[],
        metavar="PATH",
        help="sets in files that fastsoftmax.datasets.load reads",
    )
    options.add_argument(
        "--alpha", type=_positive, help="of all sets (default: 1e-3 or 1e-4; files: 1e-4)"
    )
    options.add_argument("--quick", action="store_true", help="smaller made-up sets, one round")
    options.add_argument(
        "--budget",
        type=_positive,
        metavar="SECONDS",
        help="of one fit of another contender at most; less where that decides "
        f"(default: {_BUDGET:g}, with --quick {_QUICK_BUDGET:g})",
    )
    options.add_argument(
        "--held-out",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="of the rows of all sets, whose loss is recorded, and drawn below the gaps (default: 0)",
    )
    options.add_argument("--plot", type=Path, metavar="FILE", help="draw the gaps against the time")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; 1 where a contender is below the minimum."""
    if arguments.plot is not None:
        files.require_matplotlib()
        files.check_picture("--plot", arguments.plot)
        files.check_target("--plot", arguments.plot)
    if not arguments.sets and not arguments.files:
        raise CommandError("argument --sets: expected a set, or --files, got none")
    for path in arguments.files:  # before the measurement, not in the middle of it
        if not Path(path).exists():
            raise CommandError(f"argument --files: there is no file {path!r}")
    start = perf_counter()
    console = tables.new_console(arguments.json)
    n_rounds = 1 if arguments.quick else arguments.rounds
    budget = arguments.budget or (_QUICK_BUDGET if arguments.quick else _BUDGET)
    peers, missing = present_and_missing([p for p in PEERS if p.name in arguments.contenders])
    outcomes = []
    for name, load in _problems(arguments).items():
        tables.report_progress(name)
        problem = load()
        with limited(arguments.threads):
            outcome = outcome_of(name, problem, OURS, peers, n_rounds, arguments.threads, budget)
        outcomes.append(outcome)
        _print_set(console, outcome)
        gc.collect()
    _print_summary(console, outcomes)
    seconds = perf_counter() - start
    console.print(
        f"{_NOTE}\nThreads: {arguments.threads}. Median of {count(n_rounds, 'round')}, fewer for a "
        f"long fit. The whole took {duration(seconds)}.",
        markup=False,
    )
    tables.print_missing(console, missing)
    if arguments.plot is not None:
        files.save_picture("--plot", arguments.plot, plot_gaps(outcomes))
    settings = {
        "threads": arguments.threads,
        "rounds": n_rounds,
        "quick": arguments.quick,
        "budget_seconds": budget,
        "held_out": arguments.held_out,
    }
    record = {
        "seconds": seconds,
        "sets": [_record(outcome) for outcome in outcomes],
        "missing": missing,
    }
    tables.save_json(arguments.json, "optimum", settings, record)
    return 0 if all(outcome.agrees for outcome in outcomes) else 1


def _problems(arguments: argparse.Namespace) -> dict[str, Callable[[], OptimumProblem]]:
    """Return what loads the sets, by their names; a file that cannot be read is an error of the option."""
    how = arguments.quick, arguments.alpha, arguments.held_out

    def of_set(name: str, shape: Shape | None) -> Callable[[], OptimumProblem]:
        return lambda: SETS[name].problem(shape, *how)

    def of_file(path: str) -> Callable[[], OptimumProblem]:
        def load() -> OptimumProblem:
            try:
                return set_of_file(path).problem(None, *how)
            except (OSError, ValueError) as error:
                raise CommandError(f"argument --files: {error}", FAILED) from None

        return load

    of_sets = {name: of_set(name, shape) for name, shape in arguments.sets.items()}
    return of_sets | {path: of_file(path) for path in arguments.files}


def _print_set(console: Console, outcome: Outcome) -> None:
    n_samples, n_features, n_classes = outcome.problem.shape
    bound = outcome.bound
    console.print(
        f"\n{outcome.name}: {n_samples} x {n_features} x {n_classes}"
        f"{', CSR' if outcome.problem.is_sparse else ''}, alpha {outcome.problem.alpha:g}. Minimum "
        f"{outcome.minimum:.9g}"
        + (f", by at most {bound:.1g} too large" if bound is not None else "")
        + f"; {duration(outcome.seconds)}.",
        markup=False,
    )
    if not outcome.agrees:
        best = min(outcome.climbs, key=lambda climb: climb.best)
        console.print(Text(f"DIFFERS: {best.name} is at {best.best:.9g}", style="bold red"))
    table = tables.new_table("contender", *_GAP_NAMES, "smallest gap", "fits")
    for climb in outcome.climbs:
        table.add_row(
            climb.name,
            *(_seconds_cell(climb, outcome.target(gap)) for gap in GAPS),
            f"{max(outcome.gap(climb.best), 0):.1e}" if np.isfinite(climb.best) else "-",
            str(len(climb.rungs)),
        )
    table.add_section()
    table.add_row("sklearn/ours", *_ratio_cells(outcome), _at_least(outcome), "")
    console.print(table)
    for name, reason in outcome.left_out.items():
        console.print(f"{name}: left out: {reason}", markup=False)
    for climb in outcome.climbs:
        if climb.failure is not None:
            console.print(Text(f"{climb.name}: failed: {climb.failure}"))


def _seconds_cell(climb: Climb, target: float) -> str:
    seconds = climb.seconds_to(target)
    if seconds is not None:
        return duration(seconds)
    bound = climb.at_least_to(target)
    return f"> {duration(bound)}" if np.isfinite(bound) else "-"


def _ratio_cells(outcome: Outcome) -> list[Text]:
    cells = []
    for gap in GAPS:
        ratio = outcome.ratio(gap)
        if ratio is None:
            cells.append(Text("-"))
            continue
        times, is_bound = ratio
        text, least = (
            f"{'> ' if is_bound else ''}{tables.times(times)}",
            outcome.problem.least_times,
        )
        is_open = is_bound and least is not None and times < least  # more time would decide
        cells.append(tables.at_least(text, times, None if is_open else least))
    return cells


def _at_least(outcome: Outcome) -> str:
    least = outcome.problem.least_times
    return "" if least is None else f"at least {tables.times(least)}"


def _print_summary(console: Console, outcomes: Sequence[Outcome]) -> None:
    table = tables.new_table(
        "sklearn/ours", *_GAP_NAMES, "at least", f"ours to {_GAP_NAMES[-1]}", "sklearn's fastest"
    )
    for outcome in outcomes:
        ours, fastest = outcome.ours_to(GAPS[-1]), outcome.fastest_sklearn(GAPS[-1])
        least = outcome.problem.least_times
        table.add_row(
            outcome.name,
            *_ratio_cells(outcome),
            "-" if least is None else tables.times(least),
            "-" if ours is None else duration(ours),
            "-" if fastest is None else fastest.name,
        )
    console.print("", table, "", sep="\n")


def _record(outcome: Outcome) -> dict[str, Any]:
    n_samples, n_features, n_classes = outcome.problem.shape
    ratios: Mapping[str, Any] = {
        name: outcome.ratio(gap) for name, gap in zip(_GAP_NAMES, GAPS, strict=True)
    }
    return {
        "set": outcome.name,
        "samples": n_samples,
        "features": n_features,
        "classes": n_classes,
        "sparse": outcome.problem.is_sparse,
        "alpha": outcome.problem.alpha,
        "minimum": outcome.minimum,
        "bound": outcome.bound,
        "agrees": outcome.agrees,
        "seconds": outcome.seconds,
        "contenders": {climb.name: _record_of(climb, outcome) for climb in outcome.climbs},
        "left_out": outcome.left_out,
        "sklearn_over_ours": {
            name: None if found is None else {"ratio": found[0], "is_lower_bound": found[1]}
            for name, found in ratios.items()
        },
        "least_times": outcome.problem.least_times,
    }


def _record_of(climb: Climb, outcome: Outcome) -> dict[str, Any]:
    return {
        "seconds_to": {
            name: climb.seconds_to(outcome.target(gap))
            for name, gap in zip(_GAP_NAMES, GAPS, strict=True)
        },
        "fits": [
            {
                "limit": rung.limit,
                "seconds": rung.seconds,
                "median_seconds": rung.median,
                "gap": outcome.gap(rung.value) if np.isfinite(rung.value) else None,
                "held_out_loss": rung.held_out_loss,
            }
            for rung in climb.rungs
        ],
        "has_stopped": climb.has_stopped,
        "failure": climb.failure,
    }


def _sets(text: str) -> dict[str, Shape | None]:
    """Return the type of an option: names of sets, which may have sizes."""
    chosen: dict[str, Shape | None] = {}
    for part in text.split(","):
        name, _, sizes = part.strip().partition("=")
        if name == "none":
            continue
        if name not in SETS:
            expected = f"none or names out of {', '.join(SETS)}"
            raise argparse.ArgumentTypeError(f"expected {expected}, got {name!r}")
        chosen[name] = None
        if sizes:
            numbers = sizes.lower().split("x")
            if SETS[name].shape is None:
                raise argparse.ArgumentTypeError(f"{name} has a size of its own, got {part!r}")
            if len(numbers) != 3 or not all(n.isdecimal() and int(n) > 1 for n in numbers):
                raise argparse.ArgumentTypeError(
                    f"expected three whole numbers of at least 2, with x between, got {part!r}"
                )
            chosen[name] = (int(numbers[0]), int(numbers[1]), int(numbers[2]))
    return chosen


def _share(text: str) -> float:
    number = _positive(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"expected a number below 1, got {text!r}")
    return number


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not 0 < number < np.inf:
        raise argparse.ArgumentTypeError(f"expected a number greater than 0, got {text!r}")
    return number
