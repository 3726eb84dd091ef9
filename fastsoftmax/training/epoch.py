"""One epoch of minibatch SGD, over any backend."""

from __future__ import annotations  # they name np.random, which is imported on first use

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from threading import get_ident
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows, check_indices
from .._arrays.memory_mapping import bytes_of_row, is_mapped, release, rows_held
from .._arrays.validation import FloatArray, as_native, reads_as, why_row_is_invalid
from ..backends import Backend, Data, Rule, State, TargetWeights, recorder
from ..backends.shuffling import permutation, permutation_by_blocks
from ..exceptions import DivergenceError
from ..schedules import Schedule
from .averaging import Average
from .standardization import Standardization
from .state import with_sums

# Target size of a block of rows that are converted for a backend that cannot read them in place.
_BLOCK_BYTES = 1 << 22
# With shuffle="blocks", blocks of about this size come in random order, and the rows of _MIXED_BLOCKS
# consecutive blocks are mixed.
_SHUFFLED_BLOCK_BYTES = 1 << 22
_MIXED_BLOCKS = 16
# The averaged weights are summed in their own dtype over at most this number of steps, and then in float64.
_STEPS_PER_SUM = 1024
# An epoch has diverged if its loss is above this multiple of the loss of the starting weights.
_MAX_LOSS = 10
# An epoch over a chunk of a stream, whose distribution may change, has diverged if its loss is above
# _MAX_LOSS_OF_CHUNK times the loss of zero weights. The loss of fewer than _MIN_SAMPLES_TO_JUDGE samples
# counts in proportion, since a single sample may be an outlier.
_MAX_LOSS_OF_CHUNK = 100
_MIN_SAMPLES_TO_JUDGE = 32


class Sampling(NamedTuple):
    """The settings by which the minibatches of an epoch are drawn."""

    batch_size: int
    shuffle: bool | str
    replacement: bool

    @property
    def reads_at_random(self) -> bool:
        """True if single rows are read in random order."""
        return self.replacement or self.shuffle is True

    def order(
        self, n_samples: int, row_bytes: int, random: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return the samples of one epoch, in the order in which the minibatches take them."""
        if self.replacement:
            return random.integers(n_samples, size=n_samples)
        if self.shuffle == "blocks":
            rows_of_block = max(1, _SHUFFLED_BLOCK_BYTES // max(1, row_bytes))
            return permutation_by_blocks(n_samples, rows_of_block, _MIXED_BLOCKS, random)
        if self.shuffle:
            return permutation(n_samples, random)
        return np.arange(n_samples)

    def n_steps(self, n_samples: int) -> int:
        """Return the number of minibatches in an epoch; the last one may be smaller."""
        return -(-n_samples // self.batch_size)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The samples to train on: the rows of X at `rows`, or all rows if that is None.

    With `units`, training is on the standardised X, and its weights are in those units.
    """

    X: NDArray[Any] | SparseRows
    targets: NDArray[Any]
    weights: TargetWeights | None = None
    rows: NDArray[np.int64] | None = None
    units: Standardization | None = None

    def __len__(self) -> int:
        return len(self.X) if self.rows is None else len(self.rows)


def train_epoch(
    backend: Backend,
    samples: TrainingSet,
    state: State,
    rule: Rule,
    sampling: Sampling,
    schedule: Schedule,
    first_step: int,
    random: np.random.Generator,
    n_threads: int,
    average: Average | None = None,
    steps_of_epoch: int | None = None,
) -> float:
    """Train for one epoch, changing `state` and `average`, and return the mean objective.

    The objective of a minibatch is its mean loss plus the penalty, before its update. `steps_of_epoch` is
    the length of the schedule's epoch if these samples are only a part of it.

    Raises
    ------
    ValueError
        If a row of `X` is not finite; the message names the row.
    DivergenceError
        If the objective is not finite although the data are.
    """
    order, dtype = order_of(samples, sampling, random), state.coef.dtype
    n_samples = len(order)
    n_steps, size = sampling.n_steps(n_samples), min(sampling.batch_size, n_samples)
    rates = schedule.rates(first_step, n_steps, steps_of_epoch or n_steps)
    first_averaged = n_steps if average is None else average.steps_before(size, n_steps)
    # The sums end at fixed steps, so that the bits of the mean do not depend on the blocks.
    sums_end = {*range(0, n_steps, _STEPS_PER_SUM), n_steps} if average is not None else set()
    summing = state if average is None else with_sums(state)
    objectives = np.empty(n_steps)
    cuts = sums_end if average is None else sums_end | {first_averaged}
    for start, stop, data, rows in blocks_of(samples, state, sampling, order, cuts):
        here = state if start < first_averaged else summing
        begun = recorder.begin()
        done = backend.sgd_epoch(data, here, rule, rows, size, rates[start:stop], n_threads)
        if begun:
            _note(backend, data, state, len(rows), len(done), begun, stop == n_steps, n_threads)
        objectives[start : start + len(done)] = done
        if not np.isfinite(done[-1]):
            step = start + len(done) - 1
            check_rows(samples.X, order[step * size : (step + 1) * size], dtype)
            raise _divergence(f"loss became {float(done[-1])}", step, schedule)
        if average is not None and stop in sums_end and stop > first_averaged:
            average.add(summing)
            summing = with_sums(state)
    # No later loss shows whether the last update diverged.
    check_weights((state.coef, state.intercept), n_steps - 1, schedule)
    if average is not None:
        average.n_steps += n_steps - first_averaged
        average.n_samples += n_samples
    return float(mean_over(objectives, size, n_samples))


def order_of(
    samples: TrainingSet, sampling: Sampling, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the rows of X for an epoch, drawn in the order in which the minibatches take them."""
    order = sampling.order(len(samples), bytes_of_row(samples.X), random)
    return order if samples.rows is None else samples.rows[order]


def blocks_of(
    samples: TrainingSet,
    state: State,
    sampling: Sampling,
    order: NDArray[np.int64],
    cuts: set[int],
) -> Iterator[tuple[int, int, Data, NDArray[np.int64]]]:
    """Yield blocks of steps: the first step, the end, the data, and the rows in order.

    There is more than one block only if rows have to be converted, or are mapped from a file, whose pages
    are released after each block. A block ends at each of `cuts`.
    """
    X, size, dtype = samples.X, min(sampling.batch_size, len(order)), state.coef.dtype
    n_steps = sampling.n_steps(len(order))
    per_block, stored, mapped = n_steps, data_of(samples, state), is_mapped(X)
    is_read_in_place = isinstance(X, SparseRows) or reads_as(X, dtype)
    if not is_read_in_place:
        row_bytes = max(1, X.shape[1]) * dtype.itemsize
        per_block = max(1, _BLOCK_BYTES // (row_bytes * size))
    if mapped:
        per_block = min(per_block, max(1, rows_held(X, sampling.reads_at_random) // size))
    ends = [0, n_steps]
    if per_block < n_steps or cuts:
        ends = sorted({*range(0, n_steps, per_block), n_steps} | cuts)
    for start, stop in pairwise(ends):
        rows, data = order[start * size : stop * size], stored
        if not is_read_in_place:
            # These are the same rows in the same order: the trajectory does not change.
            begun = recorder.begin()
            data, rows = _converted(data, rows, dtype), np.arange(len(rows))
            recorder.add(recorder.NAMES[recorder.CONVERT], begun)
        yield start, stop, data, rows
        if mapped:
            release(X)


def mean_over(objectives: NDArray[np.float64], size: int, n_samples: int) -> NDArray[np.float64]:
    """Return the mean over the samples of an epoch from the means of its minibatches, (..., n_steps)."""
    n_last = n_samples - size * (objectives.shape[-1] - 1)
    total = size * objectives[..., :-1].sum(axis=-1) + n_last * objectives[..., -1]
    mean: NDArray[np.float64] = total / n_samples
    return mean


def data_of(samples: TrainingSet, state: State) -> Data:
    """Return the samples in the form that backends take."""
    dtype = state.coef.dtype
    folded: tuple[FloatArray | None, FloatArray | None] = (None, None)
    if samples.units is not None:
        folded = samples.units.folded(dtype, state.intercept is not None)
    X = samples.X.astype(dtype) if isinstance(samples.X, SparseRows) else samples.X
    targets = samples.targets
    if targets.ndim == 2:  # the weights may come from a chunk of another dtype
        targets = targets.astype(dtype, copy=False)
    return Data(X, targets, *folded, samples.weights)


def _converted(data: Data, rows: NDArray[np.int64], dtype: np.dtype[Any]) -> Data:
    """Return copies of some rows, those of X in `dtype`."""
    weights = data.weights
    if weights is not None and weights.rows is not None:
        weights = weights._replace(rows=weights.rows[rows])
    X = as_native(data.X[rows], dtype)
    return data._replace(X=X, targets=data.targets[rows], weights=weights)


def _note(
    backend: Backend,
    data: Data,
    state: State,
    n_samples: int,
    n_steps: int,
    begun: int,
    is_last: bool,
    n_threads: int,
) -> None:
    """Report an epoch, or a block of one, to the active profile."""
    if recorder.recorder is not None:
        n_classes, n_features = state.coef.shape
        n_values, bytes_of_value = float(n_samples * n_features), data.X.dtype.itemsize
        dtype, is_sparse, algorithm = state.coef.dtype, isinstance(data.X, SparseRows), ""
        if backend.name == "compiled":
            compiled: Any = backend
            algorithm = compiled.step_algorithm(n_features, n_classes, dtype, is_sparse)
        if isinstance(data.X, SparseRows):
            n_values = n_samples * len(data.X.values) / len(data.X)
            bytes_of_value += data.X.indices.itemsize
        recorder.recorder.epochs.append(
            recorder.Epoch(
                backend.name,
                begun,
                perf_counter_ns(),
                n_samples,
                n_features,
                n_classes,
                n_steps,
                dtype.name,
                n_values,
                bytes_of_value,
                data.X.dtype != dtype or data.inverse_scale is not None,
                n_threads,
                is_last,
                algorithm,
                get_ident(),
            )
        )


def check_rows(X: NDArray[Any] | SparseRows, rows: NDArray[np.int64], dtype: np.dtype[Any]) -> None:
    """Check whether one of these rows explains an objective that is not finite.

    Raises
    ------
    ValueError
        If a row is not finite in `dtype`.
    """
    if isinstance(X, SparseRows):
        check_indices("X", X)  # the caller may have changed them
    for row in rows:
        if not np.isfinite(as_native(X[row], dtype)).all():
            raise ValueError(why_row_is_invalid(int(row), X[row], dtype))


def check_progress(
    objective: float, starting_loss: float, epoch: int, schedule: Schedule | None
) -> None:
    """Raise if an epoch is far worse than the weights before the first epoch were.

    Raises
    ------
    DivergenceError
        If the objective is above `_MAX_LOSS` times the loss of the starting weights.
    """
    if objective > _MAX_LOSS * starting_loss:
        raise DivergenceError(
            f"the loss of epoch {epoch} is {objective:.3g}, more than {_MAX_LOSS} times that of the "
            f"starting weights, {starting_loss:.3g}: {remedy(schedule)}"
        )


def check_chunk(objective: float, loss_of_zeros: float, n_samples: int, schedule: Schedule) -> None:
    """Raise if the loss of a chunk of a stream shows that training has diverged.

    Raises
    ------
    DivergenceError
        If it is above `_MAX_LOSS_OF_CHUNK` times the loss of zero weights.
    """
    share = min(n_samples / _MIN_SAMPLES_TO_JUDGE, 1)
    if share * objective > _MAX_LOSS_OF_CHUNK * loss_of_zeros:
        raise DivergenceError(
            f"the loss of these samples is {objective:.3g}, that of zero weights {loss_of_zeros:.3g}: the "
            "samples are on another scale than those before, or the weights diverged in an earlier call "
            f"and training has to start again: {remedy(schedule)}"
        )


def check_weights(
    weights: tuple[FloatArray, FloatArray | None], step: int, schedule: Schedule | None
) -> None:
    """Raise if a weight is not finite after this step of the epoch.

    Raises
    ------
    DivergenceError
        If a weight is infinite or NaN.
    """
    for parameter in weights:
        if parameter is not None and not np.isfinite(parameter).all():
            raise _divergence("weights became infinite or NaN", step, schedule)


def _divergence(what: str, step: int, schedule: Schedule | None) -> DivergenceError:
    place = "" if schedule is None else f" at step {step} of the epoch"
    return DivergenceError(f"the {what}{place}: {remedy(schedule)}")


def remedy(schedule: Schedule | None) -> str:
    """Return the advice for steps that are too long; a solver without learning rates has no schedule."""
    columns = "bring the columns of X to a common range"
    if schedule is None:
        return f"{columns}, or X to float64"
    columns += ", with standardize=True for example"
    rate = f"eta0 (it is {schedule.eta0:g})"
    if callable(schedule.learning_rate):
        rate = "the learning rates"
    return f"lower {rate}, or {columns}"
