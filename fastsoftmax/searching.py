"""The lecture's exercise: every learning rate with every penalty, trained over one reading of the data."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import estimator
from . import validation as checks
from .backends import State, in_default_float_state
from .classifier import SoftmaxClassifier
from .exceptions import DivergenceError
from .fitting import HeldOut, Run, hold_out
from .samples import as_samples
from .settings import Settings, generator_of
from .several import (
    Penalties,
    epoch_of_models,
    models_at_once,
    state_of_model,
    state_of_models,
)
from .sgd import Samples, check_progress
from .targets import Targets, targets_of

# What search decides itself, or has no part in it.
_NOT_TAKEN = (
    *("eta0", "alpha", "early_stopping", "validation_fraction", "tol", "n_iter_no_change"),
    *("warm_start", "callbacks", "average", "verbose", "progress_bar"),
)


@dataclass(frozen=True)
class SearchResult:
    """What `search` has found; printed, it is a table.

    Attributes
    ----------
    learning_rates, regs : ndarray, shapes (n_rates,) and (n_regs,)
        What has been tried, as given.
    scores : ndarray, shape (n_rates, n_regs)
        The accuracy on the validation samples; NaN where training diverged.
    losses : ndarray, shape (n_rates, n_regs)
        The objective of the last epoch; NaN where training diverged.
    best_learning_rate, best_reg, best_score : float
        Those of the largest score; of several such, that of the smallest loss.
    best_model : SoftmaxClassifier
        The model that they gave, trained on all but the validation samples.
    """

    learning_rates: NDArray[np.float64]
    regs: NDArray[np.float64]
    scores: NDArray[np.float64]
    losses: NDArray[np.float64]
    best_learning_rate: float
    best_reg: float
    best_score: float
    best_model: SoftmaxClassifier = field(repr=False)

    def rows(self) -> list[dict[str, float]]:
        """Return the table, a row for each combination, best first."""
        table = [
            {
                "learning_rate": float(rate),
                "reg": float(reg),
                "score": float(self.scores[i, j]),
                "loss": float(self.losses[i, j]),
            }
            for i, rate in enumerate(self.learning_rates)
            for j, reg in enumerate(self.regs)
        ]
        return sorted(table, key=lambda row: (np.isnan(row["score"]), -row["score"], row["loss"]))

    def __str__(self) -> str:
        lines = [f"{'learning rate':>13}  {'reg':>9}  {'validation':>10}  {'loss':>9}"]
        for row in self.rows():
            diverged = np.isnan(row["score"])
            score = "diverged" if diverged else f"{row['score']:.1%}"
            loss = "" if diverged else f"{row['loss']:.4g}"
            line = f"{row['learning_rate']:>13.4g}  {row['reg']:>9.4g}  {score:>10}  {loss:>9}"
            lines.append(line.rstrip())
        return "\n".join(lines)


class _Problem(NamedTuple):
    """What all models are trained on and scored with."""

    samples: Samples
    targets: Targets
    held_out: HeldOut
    random: np.random.Generator
    start: State


@in_default_float_state
def search(
    X: ArrayLike,
    y: ArrayLike,
    *,
    learning_rates: Sequence[float],
    regs: Sequence[float],
    validation: float | tuple[ArrayLike, ArrayLike] = 0.2,
    sample_weight: ArrayLike | None = None,
    max_iter: int = 20,
    **parameters: Any,
) -> SearchResult:
    """Train a classifier for every learning rate and every strength of the penalty, and compare them.

    All are trained on the same minibatches in the same order. On the compiled backend and dense data they
    are trained at once: a minibatch is read, converted and standardised once for all of them, and their
    weights lie side by side in the products. The steps are those of
    ``SoftmaxClassifier(eta0=learning_rate, alpha=reg, ...).fit``, to rounding.

    Parameters
    ----------
    X, y
        As in `SoftmaxClassifier.fit`.
    learning_rates : sequence of float
        Values of `eta0`, greater than 0.
    regs : sequence of float
        Values of `alpha`, 0 or more.
    validation : float or tuple of array_like, default 0.2
        The share of the samples that is held out to score with, of every class alike, or other samples
        (X, y).
    sample_weight : array_like of real numbers, shape (n_samples,), optional
        As in `SoftmaxClassifier.fit`; samples held out count theirs in the scores, which know nothing
        of `class_weight`.
    max_iter : int, default 20
        Epochs.
    **parameters
        Others of `SoftmaxClassifier`: `momentum`, `learning_rate` (the schedule), `standardize`,
        `penalty`, `batch_size`, `random_state`, `n_jobs`, `backend`, ...

    Returns
    -------
    SearchResult

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message names it.
    DivergenceError
        If all of them diverged.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax import search
    >>> X, y = load_iris(return_X_y=True)
    >>> found = search(X, y, learning_rates=[1e-3, 0.1], regs=[1e-4, 1.0], random_state=0)
    >>> found.best_learning_rate, found.best_reg
    (0.1, 0.0001)
    """
    rates = _numbers("learning_rates", learning_rates, above_zero=True)
    strengths = _numbers("regs", regs, above_zero=False)
    for name in _NOT_TAKEN:
        if name in parameters:
            raise ValueError(f"{name}: not a parameter of search")
    model = SoftmaxClassifier(max_iter=max_iter, tol=None, **parameters)
    combinations = [(float(rate), float(reg)) for rate in rates for reg in strengths]
    given = model.get_params()
    models = [
        SoftmaxClassifier(**given | {"eta0": rate, "alpha": reg}) for rate, reg in combinations
    ]
    settings = [Settings(each) for each in models]
    problem = _problem_of(model, settings[0], X, y, sample_weight, validation)
    runs = _trained(settings, problem)
    good = [i for i, run in enumerate(runs) if run is not None]
    if not good:
        raise DivergenceError(
            f"training diverged with every learning rate, the smallest being {rates.min():g}: lower them, "
            "or bring the columns of X to a common range, with standardize=True for example"
        )
    scores, losses = np.full((2, len(runs)), np.nan)
    scores[good] = _scores([runs[i] for i in good], problem.held_out)
    losses[good] = [runs[i].curve[-1] for i in good]
    best = min(good, key=lambda i: (-scores[i], losses[i]))
    models[best]._publish(
        runs[best],
        problem.targets.classes,
        estimator.feature_names_of(X),
        problem.targets.mean_weight,
        True,
    )
    shape = (len(rates), len(strengths))
    return SearchResult(
        *(rates, strengths, scores.reshape(shape), losses.reshape(shape)),
        *combinations[best],
        float(scores[best]),
        models[best],
    )


def _numbers(name: str, values: Any, above_zero: bool) -> NDArray[np.float64]:
    if np.ndim(values) != 1 or not len(values):
        raise ValueError(f"{name}: expected a sequence of at least one number, got {values!r}")
    numbers = np.array([checks.as_non_negative(name, value) for value in values])
    if above_zero and not numbers.all():
        raise ValueError(f"{name}: expected numbers greater than 0, got 0")
    return numbers


def _problem_of(
    model: SoftmaxClassifier,
    settings: Settings,
    X: Any,
    y: Any,
    sample_weight: Any,
    validation: Any,
) -> _Problem:
    matrix = as_samples(X)
    settings.check_rule_for(matrix)
    dtype = checks.training_dtype(matrix.dtype)
    targets = targets_of(
        estimator.as_vector(y), len(matrix), dtype, sample_weight, settings.class_weight
    )
    if len(targets.classes) < 2:
        raise ValueError(f"y: expected at least two classes, got one class: {targets.classes[0]!r}")
    random = generator_of(model.random_state, draws=False)
    if isinstance(validation, tuple):
        rows, held_out = targets.rows, _other_samples(settings, X, matrix, targets, validation)
    else:
        fraction = checks.as_non_negative("validation", validation)
        if not 0 < fraction < 1:
            raise ValueError(
                "validation: expected a share between 0 and 1 or a tuple (X, y), "
                f"got {validation!r}"
            )
        rows, scored = hold_out(targets, fraction, len(matrix), random)
        held_out = HeldOut(settings, matrix, targets, scored)
    samples = settings.samples_of(matrix, targets, rows)
    start = settings.initial_state(len(targets.classes), matrix)
    generator_of(model.random_state)  # as fit draws from a caller's generator
    return _Problem(samples, targets, held_out, random, start)


def _other_samples(
    settings: Settings, X: Any, trained: Any, targets: Targets, validation: tuple[Any, ...]
) -> HeldOut:
    if len(validation) != 2:
        raise ValueError(f"validation: expected a tuple (X, y), got {len(validation)} things")
    try:
        matrix = as_samples(validation[0])
        if matrix.shape[1] != trained.shape[1]:
            raise ValueError(f"X: expected {trained.shape[1]} features, got {matrix.shape[1]}")
        names, others = (estimator.feature_names_of(each) for each in (X, validation[0]))
        if names is not None and others is not None and names.tolist() != others.tolist():
            raise ValueError("X: expected the columns of the other X, in their order")
        dtype = checks.training_dtype(matrix.dtype)
        scored = targets_of(
            estimator.as_vector(validation[1]), len(matrix), dtype, None, None, targets.classes
        )
    except (ValueError, TypeError) as error:
        raise type(error)(f"validation: {error}") from None
    return HeldOut(settings, matrix, scored, np.arange(len(matrix)))


def _trained(settings: list[Settings], problem: _Problem) -> list[Any]:
    """Return the run of every combination, None where it diverged."""
    at_once = models_at_once(settings[0], problem.samples, problem.start)
    if at_once == 1:
        return [_trained_alone(each, problem) for each in settings]
    runs: list[Any] = []
    for first in range(0, len(settings), at_once):
        runs += _trained_together(settings[first : first + at_once], problem)
    return runs


def _trained_alone(settings: Settings, problem: _Problem) -> Run | None:
    start = State(*(None if array is None else array.copy() for array in problem.start))  # type: ignore[arg-type]
    run = Run.of(settings, problem.samples, start, deepcopy(problem.random))
    try:
        for epoch in range(settings.max_iter):
            objective = run.epoch()
            check_progress(objective, _starting_loss(problem), epoch + 1, run.schedule)
            run.keep(objective)
    except DivergenceError:
        return None
    return run


def _trained_together(settings: list[Settings], problem: _Problem) -> list[Any]:
    n_models, samples, random = len(settings), problem.samples, deepcopy(problem.random)
    states = state_of_models(problem.start, n_models)
    penalties = Penalties(*np.array([(each.rule.l2, each.rule.l1) for each in settings]).T.copy())
    schedules = [each.schedule for each in settings]
    n_steps, curves = 0, np.empty((settings[0].max_iter, n_models))
    for epoch in range(len(curves)):
        curves[epoch] = epoch_of_models(
            settings[0], samples, states, penalties, schedules, n_steps, random
        )
        n_steps += settings[0].sampling.n_steps(len(samples))
    runs: list[Any] = []
    for i, each in enumerate(settings):
        state = state_of_model(states, i, n_models)
        run = Run.of(each, samples, state, random)  # which none of them draws from any more
        run.curve, run.n_steps = curves[:, i].tolist(), n_steps
        runs.append(run if _is_good(run, problem) else None)
    return runs


def _is_good(run: Run, problem: _Problem) -> bool:
    for parameter in (run.state.coef, run.state.intercept):
        if parameter is not None and not np.isfinite(parameter).all():
            return False
    try:
        for epoch, objective in enumerate(run.curve):
            if not np.isfinite(objective):
                return False
            check_progress(objective, _starting_loss(problem), epoch + 1, run.schedule)
    except DivergenceError:
        return False
    return True


def _starting_loss(problem: _Problem) -> float:
    return float(np.log(len(problem.targets.classes)))


def _scores(runs: list[Run], held_out: HeldOut) -> NDArray[np.float64]:
    weights = [run.weights() for run in runs]
    coef = np.concatenate([coef for coef, _ in weights])
    intercept = np.concatenate(
        [np.zeros(len(coef), coef.dtype) if b is None else b for coef, b in weights]
    )
    return held_out.scores(coef, intercept, len(runs))
