"""A path: the minima for several strengths of the penalty, each found from those before.

The sums over the rows, the loss and its gradient do not depend on the penalty: going on costs no pass over
the data. Three things of the fits before are used:

- A pair (s, y) of a step and the difference of gradients along it holds for another strength once y has the
  difference of the penalties' curvatures in it, y + 2 (l2' - l2) s on the coefficients. So L-BFGS keeps its
  memory, which is longer here.
- The weights move nearly along a line in the logarithm of the strength. The fit begins where the line
  through the last two minima leads, if the objective is smaller there.
- Features, targets and the features' second moments are read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np

from .._arrays.validation import FloatArray
from .callbacks import Tasks
from .loop import train
from .problem import Problem
from .solver_run import SolverRun

Run = TypeVar("Run", bound=SolverRun)

# Pairs that are kept. They serve many fits, so that more are worth their memory than for one.
N_PAIRS = 20


def run_from_zeros(problem: Problem) -> SolverRun:
    """Return a run from weights of zeros, which has not begun."""
    return SolverRun.of(problem, problem.zero_state(), np.random.default_rng(0))


def solve_path(
    problems: Iterable[Problem],
    begin: Callable[[Problem], Run],
    watch: Callable[[Run], None] | None = None,
    finished: Run | None = None,
    tasks: Tasks | None = None,
) -> Iterator[Run]:
    """Yield a finished run for each problem, in order: best from strong penalties to weak ones.

    The problems have the same rows and differ in the strength of their penalties alone. `begin` makes the
    run of the first one, unless there is a `finished` run to go on from. A run gives its memory to the one
    after it. `watch` gets a run after each iteration, and
    `tasks` is told of each.

    Raises
    ------
    ValueError
        If a row of X is not finite.
    """
    run = finished
    # The minima before, with the logarithms of their strengths.
    minima: list[tuple[float, FloatArray]] = []
    for problem in problems:
        with np.errstate(divide="ignore"):
            place = float(np.log(problem.config.rule.l2 + problem.config.rule.l1))
        if run is None:
            run = begin(problem)
        else:
            run = run.for_problem(problem)
            if len(minima) == 2 and np.isfinite(place) and run.point is not None:
                (before, earlier), (last, W) = minima
                share = (place - last) / (last - before)
                with np.errstate(over="ignore", invalid="ignore"):
                    run.try_weights(W + share * (W - earlier))
        if run.point is None and not run.solver.l1:  # whose method has its own number of pairs
            run.solver.pairs = replace(run.solver.pairs, limit=N_PAIRS)
        train(run, np.inf, from_zeros=False, make_model=lambda run: run, watch=watch, tasks=tasks)
        if np.isfinite(place) and (not minima or place != minima[-1][0]):
            minima = [*minima[-1:], (place, run.with_intercept())]
        yield run
