"""`alpha="auto"`: the strength of the penalty whose minimum predicts held-out samples best.

A path of strengths is fitted from strong to weak, and each minimum is scored by its mean cross-entropy on
samples that were held out: five folds of few samples, in threads of their own, or a tenth of many.

It begins where the penalty leaves nearly nothing but the intercept. With g the gradient where the
coefficients are 0, the objective f + alpha / 2 |W|**2 of a convex f is at least
f(0) + <g, W> + alpha / 2 |W|**2, so that its minimum is at most |g|**2 / (2 alpha) below f(0); with L1,
coefficients of 0 are the minimum as soon as no entry of g exceeds its strength. The path ends one decade
after the last strength that improved the scores.
"""

from __future__ import annotations  # they name np.random, which is imported on first use

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.validation import FloatArray
from .callbacks import PathProgress, progress_bar
from .config import TrainingConfig
from .holdout import HeldOut, folds
from .objective import Objective
from .path import run_from_zeros, solve_path
from .prediction import Scores
from .problem import Problem, prepare
from .solver_run import SolverRun
from .targets import Targets

# Up to that many samples are scored in folds: a tenth of them would be too few to choose by.
_MAX_ROWS_FOR_FOLDS = 10_000
_N_FOLDS = 5
_SHARE_HELD_OUT = 0.1
# Strengths: three a decade, until three in a row did not improve, or that many. Features on very different
# scales need many.
_FACTOR = 10 ** (-1 / 3)
_MAX_WITHOUT_GAIN = 3
_MAX_STRENGTHS = 40
# The share of the loss of the intercept alone that the first strength may gain; and the share that has to
# be gained or lost before strengths that do not gain count: noise alone moves scores by less.
_FIRST_GAIN, _MOVED = 0.01, 0.02
# A minimum within a thousandth, as is estimated, scores as the minimum itself does, and smaller differences
# are none.
_TOL = 1e-3
# Below this log loss, in nats, nothing is left to gain.
_PERFECT = 1e-4
_MAX_ITER = 500


@dataclass(frozen=True, eq=False)
class AlphaChoice:
    """The strength that was chosen, weights near its minimum in the units of X, and all that were tried."""

    alpha: float
    coef: FloatArray
    intercept: FloatArray | None
    tried: list[dict[str, float]]


def choose_alpha(
    config: TrainingConfig,
    X: NDArray[Any] | SparseRows,
    targets: Targets,
    rows: NDArray[np.int64] | None,
    random: np.random.Generator,
) -> AlphaChoice:
    """Return the strength of the smallest mean cross-entropy on held-out samples.

    Raises
    ------
    ValueError
        If there are too few samples to hold any out, or a row of X is not finite.
    """
    shows = config
    config = replace(
        config,
        tol=_TOL,
        max_iter=_MAX_ITER,
        takes_epochs_of_size=False,
        averaged_from=None,
        verbose=0,
        progress_bar=False,
        callbacks=(),
    )
    parts = list(_parts(config, X, targets, rows, random))
    n_threads = min(config.n_threads, len(parts))
    if len(parts) > 1:
        config = replace(config, n_threads=1)
    problems = [prepare(config, X, _of_mean_1(targets, kept), kept) for kept, _ in parts]
    alphas = _strengths(problems[0])
    sizes = np.array([_mass(scored) for _, scored in parts])
    tried: list[dict[str, float]] = []
    best, chosen, gained_at, has_moved = float("inf"), 0.0, 0, False
    best_weights: list[tuple[FloatArray, FloatArray | None]] = []
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar(shows.progress_bar, None, 0, "strengths"))
        progress = PathProgress(bar, shows.verbose)
        step: Any = map
        if n_threads > 1:
            step = stack.enter_context(ThreadPoolExecutor(n_threads)).map
        stack.callback(progress.stop)  # before the threads are waited for
        names = [
            f"fold {i + 1} of {len(parts)}" if len(parts) > 1 else "" for i in range(len(parts))
        ]
        paths = [
            _scored_path(*each, alphas, progress)
            for each in zip(problems, parts, names, strict=True)
        ]
        for alpha in alphas:
            fits = list(step(next, paths))
            means = Scores(
                *np.average([scores for scores, _ in fits], axis=0, weights=sizes).tolist()
            )
            tried.append({"alpha": alpha} | means._asdict())
            progress.strength(alpha, float(means.log_loss), float(means.accuracy))
            first, loss = tried[0]["log_loss"], float(means.log_loss)
            has_moved = has_moved or not abs(loss - first) <= _MOVED * first
            # Strengths that leave nothing but the intercept score alike: those are not worse.
            if loss < (1 - _TOL) * best or not has_moved:
                gained_at = len(tried)
            if not best_weights or loss < best:
                best, chosen = loss, alpha
                best_weights = [weights for _, weights in fits]
            if len(tried) - gained_at >= _MAX_WITHOUT_GAIN or best < _PERFECT:
                break
    coef = _mean([coef for coef, _ in best_weights])
    intercepts = [b for _, b in best_weights if b is not None]
    return AlphaChoice(chosen, coef, _mean(intercepts) if intercepts else None, tried)


def _mean(arrays: list[FloatArray]) -> FloatArray:
    """Return the mean of arrays, whose sum may overflow their dtype."""
    return np.mean(arrays, axis=0, dtype=np.float64).astype(arrays[0].dtype)


def _of_mean_1(targets: Targets, rows: NDArray[np.int64]) -> Targets:
    """Return the targets with weights whose mean over some rows is 1, as a fit to these has them."""
    if targets.weights is None:
        return targets
    return targets._replace(weights=targets.weights / targets.weights[rows].mean())


def _mass(scored: HeldOut) -> float:
    """Return the weight of the samples to score with."""
    weights = scored.targets.weights
    return float(len(scored.rows) if weights is None else weights[scored.rows].sum())


def _parts(
    config: TrainingConfig,
    X: NDArray[Any] | SparseRows,
    targets: Targets,
    rows: NDArray[np.int64] | None,
    random: np.random.Generator,
) -> Iterator[tuple[NDArray[np.int64], HeldOut]]:
    """Yield rows to fit to, and samples to score with."""
    some = targets if rows is None else targets._replace(rows=rows)
    n_rows = len(X) if some.rows is None else len(some.rows)
    if n_rows > _MAX_ROWS_FOR_FOLDS:
        yield HeldOut.drawn(config.backend, config.n_threads, X, some, _SHARE_HELD_OUT, random)
        return
    for kept, scored in folds(some, _N_FOLDS, len(X), random):
        yield kept, HeldOut(config.backend, 1, X, some, scored)


def _strengths(problem: Problem) -> list[float]:
    """Return strengths, the first of which leaves nearly nothing but the intercept."""
    zeros = problem.zero_state()
    objective = Objective(problem.config.backend, problem.samples, zeros, problem.config.n_threads)
    targets, target_features, features = objective.target_sums()
    total = float(targets.sum())
    shares = targets / total
    if zeros.intercept is None:
        shares = np.full_like(shares, 1 / len(shares))
    with np.errstate(invalid="ignore"):  # of a row that is not finite, which the fit will name
        slopes = np.outer(shares, features) - target_features
    l2, l1 = problem.config.penalty_of_unit
    if l1:
        largest = float(np.abs(slopes).max()) / l1
    else:
        logs = np.log(np.where(shares > 0, shares, 1))
        of_intercept = -float(targets @ logs)
        largest = float(np.square(slopes).sum()) / (
            4 * l2 * _FIRST_GAIN * max(of_intercept, 1e-300)
        )
    if not 0 < largest < np.inf:
        largest = 1.0
    return [float(largest * _FACTOR**i) for i in range(_MAX_STRENGTHS)]


def _scored_path(
    problem: Problem,
    part: tuple[NDArray[np.int64], HeldOut],
    name: str,
    alphas: list[float],
    progress: PathProgress,
) -> Iterator[tuple[NDArray[np.float64], tuple[FloatArray, FloatArray | None]]]:
    """Yield the scores and the weights for each strength."""
    held_out = part[1]
    # Scores have the weights of training: the strength is of this objective.
    weighted = held_out.targets._replace(
        given=held_out.targets.values, of_samples=held_out.targets.weights
    )
    scored = replace(held_out, targets=weighted)
    steps = (problem.with_config(problem.config.with_alpha(alpha)) for alpha in alphas)

    def watch(run: SolverRun) -> None:
        progress.iteration(run.problem.config.alpha or 0.0, name, run)

    def begin(first: Problem) -> SolverRun:
        run = run_from_zeros(first)
        run.is_compared = True
        return run

    for run in solve_path(steps, begin, watch):
        coef, intercept = run.weights()
        b = np.zeros(len(coef), coef.dtype) if intercept is None else intercept
        yield np.concatenate(scored.scores(coef, b, 1)), (coef, intercept)
