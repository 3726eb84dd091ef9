"""What a fit minimises: configuration, samples, statistics and step size, prepared once."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import validation
from .._arrays.csr import SparseRows
from ..backends import State, TargetWeights
from ..schedules import Schedule
from . import standardization
from .config import TrainingConfig
from .epoch import TrainingSet
from .holdout import HeldOut
from .standardization import Standardization
from .state import zero_state
from .step_size import StepSizes, step_size
from .targets import Targets


@dataclass(frozen=True, slots=True)
class Problem:
    """All that training reads, and what the fitted model is told of it."""

    config: TrainingConfig
    samples: TrainingSet | Any  # or what Dask has in its place
    classes: NDArray[Any]
    mean_weight: float  # what the samples' weights have been divided by
    schedule: Schedule  # with the step size of these samples
    step_sizes: StepSizes | None = None  # which that is the mean of, over the chunks of a stream
    held_out: HeldOut | None = None

    def with_config(self, config: TrainingConfig) -> Problem:
        """Return the same samples trained on in another way, whose step size is given."""
        return replace(self, config=config, schedule=config.schedule, step_sizes=None)

    def zero_state(self) -> State:
        """Return weights and velocities of zeros."""
        X, config = self.samples.X, self.config
        shape, dtype = (len(self.classes), X.shape[1]), validation.training_dtype(X.dtype)
        return zero_state(shape, dtype, config.fit_intercept, config.rule.momentum)


def prepare(
    config: TrainingConfig,
    X: NDArray[Any] | SparseRows,
    targets: Targets,
    rows: NDArray[np.int64] | None,
    held_out: HeldOut | None = None,
) -> Problem:
    """Return the problem of the samples at `rows`, all where that is None.

    Raises
    ------
    ValueError
        If features are to be standardised, and a number in `X` is not finite or too large for that.
    """
    return problem_of(config, training_set(config, X, targets, rows), targets, held_out=held_out)


def problem_of(
    config: TrainingConfig,
    samples: TrainingSet,
    targets: Targets,
    step_sizes: StepSizes | None = None,
    held_out: HeldOut | None = None,
) -> Problem:
    """Return the problem of these samples, with the step size of them and of the chunks before, if any."""
    schedule = config.schedule
    if config.finds_step_size:
        found = step_size(
            samples.X,
            config.sampling.batch_size,
            samples.units,
            config.fit_intercept,
            config.rule.l2,
            replacement=config.sampling.replacement,
            weights=None if samples.weights is None else samples.weights.rows,
            of=samples.rows,
        )
        schedule, step_sizes = with_step_size(schedule, found, len(samples), step_sizes)
    return Problem(
        *(config, samples, targets.classes, targets.mean_weight),
        *(schedule, step_sizes, held_out),
    )


def training_set(
    config: TrainingConfig,
    X: NDArray[Any] | SparseRows,
    targets: Targets,
    rows: NDArray[np.int64] | None,
    before: Standardization | None = None,
) -> TrainingSet:
    """Return what is trained on, with the standardisation of these rows and those that `before` is of.

    Raises
    ------
    ValueError
        As `prepare`, and if means that `before` has would have to be subtracted from a sparse `X`.
    """
    weights = None
    if targets.weights is not None or config.label_smoothing:
        weights = TargetWeights(targets.weights, None, config.label_smoothing)
    units = None
    if config.standardize:
        dtype = validation.training_dtype(X.dtype)
        units = standardization.column_statistics(
            config.backend, X, dtype, config.n_threads, targets.weights, rows, before
        )
        if isinstance(X, SparseRows) and units.is_centred and config.fit_intercept:
            raise ValueError(
                "X: expected a dense X, got a sparse one: standardize=True goes on with the means "
                "of the dense X that came first, and with these subtracted no zero would be left. "
                "Where a sparse X comes first, features are scaled only"
            )
    return TrainingSet(X, targets.values, weights, rows, units)


def with_step_size(
    schedule: Schedule, found: float, n_samples: int, before: StepSizes | None
) -> tuple[Schedule, StepSizes]:
    """Return a schedule with what has been found of that many samples, or the mean of all so far if less.

    So a chunk that is unlike the others makes no steps that are too long for it, nor for them, and
    those after it are no shorter for long.
    """
    found = max(found, sys.float_info.min)
    sizes = StepSizes(found, n_samples) if before is None else before.with_chunk(found, n_samples)
    return schedule._replace(eta0=min(found, sizes.mean)), sizes
