"""One epoch over a chunk of a stream, going on from the chunks before it."""

from __future__ import annotations  # np.random, imported on first use, stands in them

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
from ..training.new_classes import grown_average, grown_state
from ..training.problem import problem_of, training_set
from ..training.standardization import Standardization
from ..training.targets import Targets
from .fitted_model import average_of, state_of, units_of

# A first chunk was on another scale where scales are larger by more than this with the second one, or where
# the step size is smaller by more than its square. Its weights are worse than none where their loss on the
# second one is above that many times that of zeros.
_OTHER_SCALE, _MAX_LOSS = 3.0, 2
# Its statistics are worse than none where a scale of the second one alone is smaller by more than this: all
# features would be small for as many chunks as the square of that.
_MUCH_SMALLER = 10.0


def trained_on_chunk(
    config: TrainingConfig,
    before: Any,
    matrix: NDArray[Any] | SparseRows,
    targets: Targets,
    random: np.random.Generator,
) -> TrainingRun:
    """Return the run that goes on from a whole model by an epoch over these rows; of None it begins.

    Statistics and step size are of all chunks so far, the weights stay what they are for X. But where the
    first chunk was on another scale than the second one, which is no shorter, it stood for nothing: where
    its scales were much larger, the statistics begin again with the second; and where its weights are worse
    on the second than zeros, all does.

    Raises
    ------
    DivergenceError
        If the loss is infinite or NaN, or one that no sane model has.
    """
    run, has_shrunk = _begun(config, before, matrix, targets, random)
    of_zeros, penalty = _loss_of_zeros(run), _penalty(run)
    # Of much larger numbers the weights are next to 0, but the intercept may be anything: a loss that is
    # clearly above that of zeros is enough then.
    factor = 1.1 if has_shrunk else _MAX_LOSS
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
        (run, _), penalty = _begun(config, None, matrix, targets, run.random), 0.0
        objective = run.epoch()
    check_chunk(objective, of_zeros + penalty, len(run.problem.samples), run.schedule)
    run.keep(objective)
    return run


def _begun(
    config: TrainingConfig,
    before: Any,
    matrix: NDArray[Any] | SparseRows,
    targets: Targets,
    random: np.random.Generator,
) -> tuple[TrainingRun, bool]:
    """Return the run before its epoch, and whether the statistics before were of much larger numbers."""
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
        state = grown_state(state, places, n_classes)
        average = average and grown_average(average, places, n_classes)
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
    )  # a constant column has taught nothing
