"""The problem that a fit solves: configuration, samples, statistics and step size, prepared once."""

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
    """Everything that training reads, and the values that the fitted model takes from there."""

    config: TrainingConfig
    samples: TrainingSet | Any  # or the data set of Dask
    classes: NDArray[Any]
    mean_weight: float  # the divisor of the samples' weights
    schedule: Schedule  # with the step size for these samples
    step_sizes: StepSizes | None = None  # of the chunks of a stream, whose mean that is
    held_out: HeldOut | None = None
    alpha_path: list[dict[str, float]] | None = None  # the strengths that were tried, with scores

    def with_config(self, config: TrainingConfig) -> Problem:
        """Return the problem with another configuration, whose step size is given."""
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
    """Return the problem for the samples at `rows`, or for all if that is None.

    Raises
    ------
    ValueError
        If features are standardised, and a number in `X` is not finite or too large to be squared.
    """
    return problem_of(config, training_set(config, X, targets, rows), targets, held_out=held_out)


def problem_of(
    config: TrainingConfig,
    samples: TrainingSet,
    targets: Targets,
    step_sizes: StepSizes | None = None,
    held_out: HeldOut | None = None,
) -> Problem:
    """Return the problem for these samples, whose step size accounts for the chunks before, if any."""
    is_sparse = isinstance(samples.X, SparseRows)
    n_samples = len(samples)
    total_weight = targets.mean_weight * n_samples
    config = config.for_size(n_samples, total_weight, samples.X.shape[1], is_sparse)
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
    """Return the samples to train on, with the statistics of these rows and of those in `before`.

    Raises
    ------
    ValueError
        As `prepare`, and if the means in `before` would have to be subtracted from a sparse `X`.
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
                "X: expected a dense X, got a sparse one: standardize=True continues with the means "
                "of the dense X that came first, and subtracting them would leave no zeros. "
                "If a sparse X comes first, features are only scaled"
            )
    return TrainingSet(X, targets.values, weights, rows, units)


def with_step_size(
    schedule: Schedule, found: float, n_samples: int, before: StepSizes | None
) -> tuple[Schedule, StepSizes]:
    """Return the schedule with the step size `found` or, if smaller, the mean over all chunks so far.

    So an unusual chunk causes no steps that are too long for itself or for the others, and does not shorten
    the steps after it for long.
    """
    found = max(found, sys.float_info.min)
    sizes = StepSizes(found, n_samples) if before is None else before.with_chunk(found, n_samples)
    return schedule._replace(eta0=min(found, sizes.mean)), sizes
