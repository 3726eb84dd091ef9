"""The one training loop: epochs of minibatch SGD over any backend."""

from __future__ import annotations  # np.random, imported on first use, stands in them

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import schedules
from .backends import Backend, Data, Rule, State
from .exceptions import DivergenceError
from .sparse import SparseRows, check_indices
from .validation import as_native, why_row_is_invalid

# Rows that do not lie as the kernels read them are converted by blocks of about so many bytes.
_BLOCK_BYTES = 1 << 22


class Sampling(NamedTuple):
    """How the minibatches of an epoch are drawn."""

    batch_size: int
    shuffle: bool
    replacement: bool

    def order(self, n_samples: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Return the samples of one epoch, in the order in which the minibatches take them."""
        if self.replacement:
            return random.integers(n_samples, size=n_samples)
        if self.shuffle:
            return random.permutation(n_samples)
        return np.arange(n_samples)

    def n_steps(self, n_samples: int) -> int:
        """Minibatches in an epoch; the last may be smaller."""
        return -(-n_samples // self.batch_size)


class Schedule(NamedTuple):
    """The learning rate of every step; see `fastsoftmax.schedules`."""

    learning_rate: str | schedules.Schedule
    eta0: float
    power_t: float


def copy_of(state: State) -> State:
    """Return the state in arrays of its own."""
    return State(*(None if array is None else array.copy() for array in state))  # type: ignore[arg-type]


def run_epoch(
    backend: Backend,
    X: NDArray[Any] | SparseRows,
    targets: NDArray[Any],
    state: State,
    rule: Rule,
    sampling: Sampling,
    schedule: Schedule,
    first_step: int,
    random: np.random.Generator,
    n_threads: int,
) -> float:
    """Run one epoch, changing `state`, and return the mean objective of its minibatches.

    The objective of a minibatch is taken before its update: its mean loss plus the penalty.

    Raises
    ------
    ValueError
        If a row of `X` is not finite; the message names the row.
    DivergenceError
        If the objective is not finite though the data are.
    """
    n_samples = len(X)
    n_steps = sampling.n_steps(n_samples)
    order = sampling.order(n_samples, random)
    rates = schedules.rates(
        schedule.learning_rate, schedule.eta0, schedule.power_t, first_step, n_steps
    )
    size = min(sampling.batch_size, n_samples)
    per_block = n_steps
    as_stored = X.astype(state.coef.dtype) if isinstance(X, SparseRows) else X
    as_it_lies = _lies_as_kernels_read(X, state.coef.dtype)
    if not as_it_lies:
        row_bytes = max(1, X.shape[1]) * state.coef.itemsize
        per_block = max(1, _BLOCK_BYTES // (row_bytes * size))
    objectives = np.empty(n_steps)
    for start in range(0, n_steps, per_block):
        stop = min(start + per_block, n_steps)
        rows = order[start * size : stop * size]
        data = Data(as_stored, targets)
        if not as_it_lies:
            # The same rows in the same order, only converted: the trajectory does not change.
            data = Data(as_native(X[rows], state.coef.dtype), targets[rows])
            rows = np.arange(len(rows))
        done = backend.sgd_epoch(data, state, rule, rows, size, rates[start:stop], n_threads)
        objectives[start : start + len(done)] = done
        if not np.isfinite(done[-1]):
            step = start + len(done) - 1
            minibatch = order[step * size : (step + 1) * size]
            _explain(X, minibatch, state.coef.dtype, step, float(done[-1]), schedule)
    # No loss comes after the last update to tell.
    for parameter in (state.coef, state.intercept):
        if parameter is not None and not np.isfinite(parameter).all():
            raise _divergence("weights became infinite or NaN", n_steps - 1, schedule)
    weights = np.full(n_steps, float(size))
    weights[-1] = n_samples - size * (n_steps - 1)
    return float(objectives @ weights / n_samples)


def _lies_as_kernels_read(X: NDArray[Any] | SparseRows, dtype: np.dtype[Any]) -> bool:
    """Whether each row of `X` is a run of aligned numbers of the compute dtype; rows may be strided."""
    if isinstance(X, SparseRows):
        return True
    one_after_another = X.strides[1] == X.itemsize or X.shape[1] == 1
    return X.dtype == dtype and X.flags.aligned and one_after_another


def _explain(
    X: NDArray[Any] | SparseRows,
    rows: NDArray[np.int64],
    dtype: np.dtype[Any],
    step: int,
    objective: float,
    schedule: Schedule,
) -> None:
    """Raise the error for an objective that is not finite: the data's fault, or the step size's."""
    if isinstance(X, SparseRows):
        check_indices("X", X)  # they may have changed since
    for row in rows:
        if not np.isfinite(as_native(X[row], dtype)).all():
            raise ValueError(why_row_is_invalid(int(row), X[row], dtype))
    raise _divergence(f"loss became {objective}", step, schedule)


def _divergence(what: str, step: int, schedule: Schedule) -> DivergenceError:
    rate = "the learning rates" if callable(schedule.learning_rate) else "eta0"
    return DivergenceError(
        f"the {what} at step {step} of the epoch: lower {rate} (eta0 is {schedule.eta0:g}) "
        "or scale the columns of X to a common range"
    )
