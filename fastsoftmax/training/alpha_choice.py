"""`alpha="auto"`: the strength of the penalty whose minimum predicts held-out samples best.

A path of strengths is fitted from strong to weak, and each minimum is scored by its mean cross-entropy on
samples that were held out: five folds of few samples, in threads of their own, or a tenth of many. The path
begins where a penalty leaves nothing but the intercept of features of this size, and ends one decade after
the best strength.
"""

from __future__ import annotations  # they name np.random, which is imported on first use

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.validation import FloatArray
from .config import TrainingConfig
from .holdout import HeldOut, folds
from .objective import Objective
from .path import run_from_zeros, solve_path
from .prediction import Scores
from .problem import Problem, prepare
from .targets import Targets

# Up to that many samples are scored in folds: a tenth of them would be too few to choose by.
_MAX_ROWS_FOR_FOLDS = 10_000
_N_FOLDS = 5
_SHARE_HELD_OUT = 0.1
# Strengths: three a decade, until three in a row were worse than the best, or that many.
_FACTOR = 10 ** (-1 / 3)
_MAX_WORSE = 3
_MAX_STRENGTHS = 25
# A minimum within a thousandth scores as the minimum itself does.
_TOL = 1e-3
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
    config = replace(config, tol=_TOL, max_iter=_MAX_ITER, averaged_from=None)
    config = replace(config, verbose=0, progress_bar=False, callbacks=())
    parts = list(_parts(config, X, targets, rows, random))
    n_threads = min(config.n_threads, len(parts))
    if len(parts) > 1:
        config = replace(config, n_threads=1)
    problems = [prepare(config, X, targets, kept) for kept, _ in parts]
    alphas = _strengths(problems[0])
    paths = [_scored_path(*each, alphas) for each in zip(problems, parts, strict=True)]
    sizes = np.array([len(scored.rows) for _, scored in parts], np.float64)
    tried: list[dict[str, float]] = []
    best = None
    with ThreadPoolExecutor(n_threads) if n_threads > 1 else nullcontext() as pool:
        step = map if pool is None else pool.map
        for alpha in alphas:
            fits = list(step(next, paths))
            means = Scores(
                *np.average([scores for scores, _ in fits], axis=0, weights=sizes).tolist()
            )
            tried.append({"alpha": alpha} | means._asdict())
            if best is None or means.log_loss < best[0]:
                best = means.log_loss, len(tried), [weights for _, weights in fits]
            elif len(tried) - best[1] >= _MAX_WORSE:
                break
    assert best is not None
    _, place, weights = best
    coef = np.mean([coef for coef, _ in weights], axis=0)
    has_intercept = weights[0][1] is not None
    intercept = np.mean([b for _, b in weights], axis=0) if has_intercept else None
    return AlphaChoice(alphas[place - 1], coef, intercept, tried)


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
    """Return strengths from where a penalty on features of this size leaves nearly no weights."""
    objective = Objective(
        problem.config.backend, problem.samples, problem.zero_state(), problem.config.n_threads
    )
    mean_square = float(objective.mean_squares().mean())
    l2, l1 = problem.config.penalty_of_unit
    # The curvature of the loss is proportional to the square of the features, its slope to the features.
    largest = max(mean_square if l2 else 0.0, np.sqrt(mean_square) if l1 else 0.0)
    if not 0 < largest < np.inf:
        largest = 1.0
    return [float(largest * _FACTOR**i) for i in range(_MAX_STRENGTHS)]


def _scored_path(
    problem: Problem, part: tuple[NDArray[np.int64], HeldOut], alphas: list[float]
) -> Iterator[tuple[NDArray[np.float64], tuple[FloatArray, FloatArray | None]]]:
    """Yield the scores and the weights for each strength."""
    held_out = part[1]
    # Scores have the weights of training: the strength is of this objective.
    weighted = held_out.targets._replace(
        given=held_out.targets.values, of_samples=held_out.targets.weights
    )
    scored = replace(held_out, targets=weighted)
    steps = (problem.with_config(problem.config.with_alpha(alpha)) for alpha in alphas)
    for run in solve_path(steps, run_from_zeros):
        coef, intercept = run.weights()
        b = np.zeros(len(coef), coef.dtype) if intercept is None else intercept
        scores = scored.scores(coef, b, 1)
        yield np.concatenate(scores), (coef, intercept)
