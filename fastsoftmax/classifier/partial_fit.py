"""Train one epoch on a chunk of a stream, continuing from the chunks before it."""

from __future__ import annotations  # they name np.random, which is imported on first use

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.labels import encode
from ..backends.penalties import value as penalty_of
from ..exceptions import DivergenceError
from ..training.config import TrainingConfig
from ..training.epoch import check_chunk
from ..training.loop import TrainingRun
from ..training.new_classes import expand_average, expand_state
from ..training.problem import problem_of, training_set
from ..training.standardization import Standardization
from ..training.targets import Targets
from .fitted_model import average_of, state_of, units_of

# The first chunk was on another scale than the second one if scales grow by more than this factor with the
# second, or if the step size shrinks by more than its square.
_OTHER_SCALE = 3.0
# The weights of such a chunk are discarded if their loss on the second one is above this multiple of the
# loss of zero weights.
_MISLED_LOSS = 2
# Its statistics are discarded if a scale of the second chunk alone is smaller by more than this factor: all
# features would stay small for as many chunks as its square.
_MUCH_SMALLER = 10.0


def trained_on_chunk(
    config: TrainingConfig,
    before: Any,
    matrix: NDArray[Any] | SparseRows,
    targets: Targets,
    random: np.random.Generator,
) -> TrainingRun:
    """Continue a snapshot by one epoch over these rows; start a new model if `before` is None.

    Statistics and step size are those of all chunks so far; the weights in the units of X are carried over.
    The first chunk is forgotten if it was on another scale than the second and the second is at least as
    long: the statistics restart if the scales of the first were much larger, and everything restarts if its
    weights do worse on the second chunk than zeros.

    Raises
    ------
    DivergenceError
        If the loss is infinite, NaN, or so large that training must have diverged.
    """
    run, has_shrunk = _prepare_run(config, before, matrix, targets, random)
    of_zeros, penalty = _loss_of_zeros(run), _penalty(run)
    # After much larger numbers the weights are close to 0, but the intercept is arbitrary: then a loss that
    # is clearly above that of zeros is enough.
    factor = 1.1 if has_shrunk else _MISLED_LOSS
    misled = has_shrunk or (before is not None and _is_misled(run, before))
    try:
        objective = run.epoch()
    except DivergenceError:
        if not misled:
            raise
        objective = np.inf
    if misled and objective > factor * of_zeros:
        warnings.warn(
            f"the loss of the first chunk's weights is {objective:.3g} on the second one: its numbers were "
            "on another scale, and training starts again with the second",
            UserWarning,
            stacklevel=4,
        )
        (run, _), penalty = _prepare_run(config, None, matrix, targets, run.random), 0.0
        objective = run.epoch()
    check_chunk(objective, of_zeros + penalty, len(run.problem.samples), run.schedule)
    run.keep(objective)
    return run


def _prepare_run(
    config: TrainingConfig,
    before: Any,
    matrix: NDArray[Any] | SparseRows,
    targets: Targets,
    random: np.random.Generator,
) -> tuple[TrainingRun, bool]:
    """Return the run before its epoch, and whether the previous statistics were of much larger numbers."""
    units = None if before is None else units_of(before)
    samples, has_shrunk = training_set(config, matrix, targets, targets.rows, units), False
    if units is not None and samples.units is not None and _is_second(before, len(samples), config):
        alone = training_set(config, matrix, targets, targets.rows)
        has_shrunk = _is_much_smaller(alone.units, units)
        samples = alone if has_shrunk else samples
    sizes = None if before is None else before._step_sizes
    problem = problem_of(config, samples, targets, sizes)
    n_classes, average = len(targets.classes), None
    state = problem.zero_state()
    if before is not None:
        state = state_of(before, config, units, samples.units)
        average = average_of(before, config, units, samples.units)
        places = encode(before.classes_, targets.classes)
        state = expand_state(state, places, n_classes)
        average = average and expand_average(average, places, n_classes)
    run = TrainingRun.of(problem, state, random, average)
    if before is not None:
        run.curve, run.n_steps = list(before.loss_curve_), before.t_
    return run, has_shrunk


def _loss_of_zeros(run: TrainingRun) -> float:
    weights, rows = run.problem.samples.weights, run.problem.samples.rows
    of_rows = None if weights is None else weights.rows
    mean = 1.0 if of_rows is None else float((of_rows if rows is None else of_rows[rows]).mean())
    return mean * float(np.log(max(len(run.state.coef), 2)))


def _penalty(run: TrainingRun) -> float:
    """Return the penalty of the present weights, which may be of a model that was trained without."""
    with np.errstate(over="ignore"):
        return penalty_of(run.state.coef, run.problem.config.rule.l2, run.problem.config.rule.l1)


def _is_second(before: Any, n_samples: int, config: TrainingConfig) -> bool:
    """Return whether the model has seen exactly one chunk, which was not longer than this one."""
    return bool(before.n_iter_ == 1 and before.t_ <= config.sampling.n_steps(n_samples))


def _is_much_smaller(alone: Standardization | None, before: Standardization) -> bool:
    """Return whether a feature that varies in both chunks has a much smaller scale than before."""
    if alone is None or alone.moments is None or before.moments is None:
        return False
    if alone.is_centred != before.is_centred:
        return False
    varies = (alone.moments.squares > 0) & (before.moments.squares > 0)
    return bool((varies & (_MUCH_SMALLER * alone.scale < before.scale)).any())


def _is_misled(run: TrainingRun, before: Any) -> bool:
    """Return whether the model has seen exactly one chunk, not longer than this one, on another scale."""
    if not _is_second(before, len(run.problem.samples), run.problem.config):
        return False
    units: Standardization | None = run.problem.samples.units
    if units is None:
        sizes = before._step_sizes if run.problem.config.finds_step_size else None
        return sizes is not None and run.schedule.eta0 < sizes.mean / _OTHER_SCALE**2
    if before._moments is None:
        return False
    larger = units.scale > _OTHER_SCALE * before.scale_
    return bool(
        (larger & (before._moments.squares > 0)).any()
    )  # a constant column says nothing about the scale
