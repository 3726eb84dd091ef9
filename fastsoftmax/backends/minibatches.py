"""An epoch of minibatch SGD in Python over a backend's `linear_cross_entropy`, and column moments.

The naive, numba and vectorized backends share this code; the compiled backend has its own.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import setitem
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows, steps_between_penalties
from . import penalties, recorder
from .protocol import Data, FloatArray, LabelArray, Rule, State, TargetWeights

# Numbers that are converted together.
_ELEMENTS_PER_BLOCK = 1 << 16
# Rows whose products are summed in the compute dtype; sums of more are in float64.
_ROWS_PER_SUM = 1024


class LinearCrossEntropy(Protocol):
    """The signature of `Backend.linear_cross_entropy`."""

    def __call__(
        self,
        X: FloatArray,
        W: FloatArray,
        intercept: FloatArray | None,
        targets: LabelArray | FloatArray,
        scale: float,
        losses: NDArray[np.float64],
        dW: FloatArray | None,
        dintercept: FloatArray | None,
        dX: FloatArray | None,
        n_threads: int,
        weights: TargetWeights | None = None,
    ) -> int: ...


def sgd_epoch(
    linear_cross_entropy: LinearCrossEntropy,
    data: Data,
    state: State,
    rule: Rule,
    order: NDArray[np.int64],
    batch_size: int,
    rates: NDArray[np.float64],
    n_threads: int,
) -> NDArray[np.float64]:
    """Implement `Backend.sgd_epoch`, one minibatch after another."""
    objectives = np.empty(len(rates))
    current, done = state, 0
    # Sparse rows are made dense, one minibatch at a time.
    penalty_interval = 1
    if isinstance(data.X, SparseRows):
        penalty_interval = steps_between_penalties(data.X, batch_size)
    penalty = 0.0
    dcoef = np.empty_like(state.coef)
    dintercept = None if state.intercept is None else np.empty_like(state.intercept)

    def gradient_of(current: State, rows: NDArray[np.int64]) -> tuple[float, None]:
        """Return the objective of a minibatch; its gradient is in `dcoef` and `dintercept`."""
        nonlocal penalty
        losses = np.empty(len(rows))
        begun = recorder.begin()
        X, targets = read_rows(data, rows, state.coef.dtype), data.targets[rows]
        recorder.add(recorder.NAMES[recorder.CONVERT], begun, len(rows), done)
        invalid = linear_cross_entropy(
            X,
            current.coef.T,
            current.intercept,
            targets,
            1.0 / len(rows),
            losses,
            dcoef.T,
            dintercept,
            None,
            n_threads,
            weights_of_rows(data, rows),
        )
        # Overflow shows in the objective or in the weights, which the caller checks.
        with np.errstate(over="ignore", invalid="ignore"):
            if done % penalty_interval == 0:
                penalty = penalties.value(current.coef, rule.l2, rule.l1)
            return (float(losses.mean()) + penalty if invalid < 0 else np.nan), None

    def step(current: State, _: None, rate: float) -> State:
        begun = recorder.begin()
        with np.errstate(over="ignore", invalid="ignore"):
            after = stepped(current, dcoef, dintercept, rule, rate)
        recorder.add(recorder.NAMES[recorder.UPDATE], begun, step=done)
        return after

    minibatches = (
        (order[i * batch_size : (i + 1) * batch_size], rate)
        for i, rate in enumerate(rates.tolist())
    )
    try:
        # A single assignment per step: a signal between two bytecodes finds the old state or the new one.
        for objectives[done], current in descend(state, minibatches, gradient_of, step):  # noqa: B007
            done += 1
    finally:
        store(current, state)
    return objectives[:done]


def store(new: State, into: State) -> None:
    """Copy the arrays of a state, all or none: it is one call of C code, which no signal interrupts."""
    arrays = [pair for pair in zip(into, new, strict=True) if pair[0] is not None]
    deque(map(setitem, *zip(*((a, ..., b) for a, b in arrays), strict=True)), maxlen=0)


Weights = TypeVar("Weights")
Gradient = TypeVar("Gradient")


def descend(
    weights: Weights,
    minibatches: Iterable[tuple[NDArray[np.int64], float]],
    gradient_of: Callable[[Weights, NDArray[np.int64]], tuple[float, Gradient]],
    step: Callable[[Weights, Gradient, float], Weights],
) -> Iterator[tuple[float, Weights]]:
    """Run SGD; yield the objective of each minibatch before its step, and the weights after the step.

    A minibatch is its rows and a learning rate. After an objective that is not finite, no step is taken and
    the iteration ends.
    """
    for rows, rate in minibatches:
        objective, gradient = gradient_of(weights, rows)
        if not np.isfinite(objective):
            yield objective, weights
            return
        weights = step(weights, gradient, rate)
        yield objective, weights


def read_rows(data: Data, rows: NDArray[np.int64] | slice, dtype: np.dtype[Any]) -> FloatArray:
    """Return the rows of a minibatch, converted and standardised."""
    X = data.X[rows].astype(dtype, copy=False)  # type: ignore[index]  # slices are of dense rows
    with np.errstate(over="ignore", invalid="ignore"):  # overflow shows in the loss
        if data.mean is not None:
            X = X - data.mean
        return X if data.inverse_scale is None else X * data.inverse_scale


def convert_rows(
    X: NDArray[Any],
    rows: NDArray[np.int64] | None,
    mean: FloatArray | None,
    inverse_scale: FloatArray | None,
    out: FloatArray,
    n_threads: int,
) -> None:
    """Implement `Backend.convert_rows`."""
    with np.errstate(over="ignore", invalid="ignore"):  # overflow shows in the loss
        out[...] = X if rows is None else X[rows]
        if mean is not None:
            out -= mean
        if inverse_scale is not None:
            out *= inverse_scale


def weights_of_rows(data: Data, rows: NDArray[np.int64] | slice) -> TargetWeights | None:
    """Return the target weights of a minibatch."""
    weights = data.weights
    if weights is None or weights.rows is None:
        return weights
    return weights._replace(rows=weights.rows[rows])


def linear_scores(
    X: NDArray[Any] | SparseRows,
    coef: FloatArray,
    intercept: FloatArray,
    logits: FloatArray,
    n_threads: int,
) -> None:
    """Implement `Backend.linear_scores`, one block of rows after another."""
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(X, SparseRows):
            logits[:] = X.product(coef.T)
        else:
            n_rows = max(1, _ELEMENTS_PER_BLOCK // X.shape[1])
            for start in range(0, len(X), n_rows):
                block = X[start : start + n_rows].astype(coef.dtype, copy=False)
                np.matmul(block, coef.T, out=logits[start : start + n_rows])
        logits += intercept


def transposed_product(
    A: FloatArray, B: FloatArray, out: NDArray[np.float64], n_threads: int
) -> None:
    """Implement `Backend.transposed_product`, one block of rows after another."""
    out[...] = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(A), _ROWS_PER_SUM):
            rows = slice(start, start + _ROWS_PER_SUM)
            out += np.matmul(A[rows].T, B[rows])


def column_moments(
    X: NDArray[Any],
    origin: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    n_threads: int,
) -> None:
    """Implement `Backend.column_moments`, one block of rows after another."""
    n_rows = max(1, _ELEMENTS_PER_BLOCK // X.shape[1])
    sums[:] = squares[:] = 0
    for start in range(0, len(X), n_rows):
        with np.errstate(over="ignore", invalid="ignore"):  # overflow shows in the sums
            x = X[start : start + n_rows] - origin
            sums += x.sum(axis=0)
            squares += (x * x).sum(axis=0)


def add_class_sums(
    X: FloatArray,
    labels: LabelArray,
    weights: NDArray[np.float64] | None,
    sums: NDArray[np.float64],
    n_threads: int,
) -> None:
    """Implement `Backend.add_class_sums`."""
    for k in np.unique(labels):
        rows = np.flatnonzero(labels == k)
        x = X[rows] if weights is None else X[rows] * weights[rows, np.newaxis]
        sums[k] += np.add.reduce(x, axis=0, dtype=np.float64)


def stepped(
    state: State, dcoef: FloatArray, dintercept: FloatArray | None, rule: Rule, rate: float
) -> State:
    """Return the state after one step; see `Rule` for the formula."""
    l1 = rule.l1 if rule.subgradient else 0.0
    if rule.l2 or l1:
        dcoef = dcoef + penalties.gradient(state.coef, rule.l2, l1)
    coef, coef_velocity = _apply_step(state.coef, state.coef_velocity, dcoef, rule, rate)
    if rule.l1 and not rule.subgradient:
        coef = penalties.soft_threshold(coef, rate * rule.l1)
    intercept, intercept_velocity = state.intercept, state.intercept_velocity
    if intercept is not None and dintercept is not None:
        intercept, intercept_velocity = _apply_step(
            intercept, intercept_velocity, dintercept, rule, rate
        )
    coef_sum, intercept_sum = state.coef_sum, state.intercept_sum
    if coef_sum is not None:
        coef_sum = coef_sum + coef
    if intercept_sum is not None and intercept is not None:
        intercept_sum = intercept_sum + intercept
    return State(coef, intercept, coef_velocity, intercept_velocity, coef_sum, intercept_sum)


def _apply_step(
    parameter: FloatArray,
    velocity: FloatArray | None,
    gradient: FloatArray,
    rule: Rule,
    rate: float,
) -> tuple[FloatArray, FloatArray | None]:
    momentum = parameter.dtype.type(rule.momentum)
    step = gradient * parameter.dtype.type(-rate)
    if velocity is None:
        return parameter + step, None
    velocity = momentum * velocity + step
    return parameter + (momentum * velocity + step if rule.nesterov else velocity), velocity
