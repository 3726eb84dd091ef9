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

from collections.abc import Iterable, Iterator

import numpy as np

from .._arrays.validation import FloatArray
from .problem import Problem
from .solver_run import SolverRun

# Pairs that are kept. They serve many fits, so that more are worth their memory than for one.
N_PAIRS = 20


def solve_path(problems: Iterable[Problem]) -> Iterator[SolverRun]:
    """Yield a finished run for each problem, in order: best from strong penalties to weak ones.

    The problems have the same rows and differ in the strength of their penalties alone. A run shares its
    memory with the one after it.

    Raises
    ------
    ValueError
        If a row of X is not finite.
    """
    run: SolverRun | None = None
    # The minima before, with the logarithms of their strengths.
    minima: list[tuple[float, FloatArray]] = []
    for problem in problems:
        with np.errstate(divide="ignore"):
            place = float(np.log(problem.config.rule.l2 + problem.config.rule.l1))
        if run is None:
            run = SolverRun.of(problem, problem.zero_state(), np.random.default_rng(0))
            run.solver.pairs.limit = N_PAIRS
        else:
            run = run.for_problem(problem)
            if len(minima) == 2 and np.isfinite(place):
                (before, earlier), (last, W) = minima
                run.try_weights(W + ((place - last) / (last - before)) * (W - earlier))
        solve(run)
        if np.isfinite(place) and (not minima or place != minima[-1][0]):
            minima = [*minima[-1:], (place, run.weights_of_point())]
        yield run


def solve(run: SolverRun) -> None:
    """Iterate until the run's stopping rules or `max_iter` end it."""
    while len(run.curve) < run.problem.config.max_iter:
        value = run.epoch()
        run.keep(value)
        if run.apply_stopping_rules(value):
            break
    run.finish()
