"""The epoch of minibatch SGD in Python, over a backend's `linear_cross_entropy`.

The naive, numba and vectorized backends share it; the compiled backend has its own, in one call.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import regularizers
from ..sparse import SparseRows, steps_between_penalties
from .protocol import Data, FloatArray, LabelArray, Rule, State


class LinearCrossEntropy(Protocol):
    """`Backend.linear_cross_entropy`."""

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
    """`Backend.sgd_epoch`, minibatch by minibatch."""
    objectives = np.empty(len(rates))
    current, done = state, 0
    # Sparse rows become dense ones, a minibatch at a time.
    between = 1
    if isinstance(data.X, SparseRows):
        between = steps_between_penalties(data.X, batch_size)
    penalty = 0.0
    dcoef = np.empty_like(state.coef)
    dintercept = None if state.intercept is None else np.empty_like(state.intercept)
    try:
        for step, rate in enumerate(rates.tolist()):
            rows = order[step * batch_size : (step + 1) * batch_size]
            losses = np.empty(len(rows))
            invalid = linear_cross_entropy(
                data.X[rows],
                current.coef.T,
                current.intercept,
                data.targets[rows],
                1.0 / len(rows),
                losses,
                dcoef.T,
                dintercept,
                None,
                n_threads,
            )
            # What overflows shows in the objective or in the weights, which the caller looks at.
            with np.errstate(over="ignore", invalid="ignore"):
                if step % between == 0:
                    penalty = regularizers.value(current.coef, rule.l2, rule.l1)
                objectives[step] = losses.mean() + penalty if invalid < 0 else np.nan
                done = step + 1
                if not np.isfinite(objectives[step]):
                    break
                # One assignment: a signal between two bytecodes finds the old state or the new one.
                current = _stepped(current, dcoef, dintercept, rule, rate)
    finally:
        for array, new in zip(state, current, strict=True):
            if array is not None and new is not None:
                np.copyto(array, new)
    return objectives[:done]


def _stepped(
    state: State, dcoef: FloatArray, dintercept: FloatArray | None, rule: Rule, rate: float
) -> State:
    """Return the state after one step; see `Rule` for the formula."""
    if rule.l2:
        dcoef = dcoef + regularizers.gradient(state.coef, rule.l2, 0.0)
    coef, coef_velocity = _moved(state.coef, state.coef_velocity, dcoef, rule, rate)
    if rule.l1:
        coef = regularizers.soft_threshold(coef, rate * rule.l1)
    if state.intercept is None or dintercept is None:
        return State(coef, None, coef_velocity, None)
    intercept, intercept_velocity = _moved(
        state.intercept, state.intercept_velocity, dintercept, rule, rate
    )
    return State(coef, intercept, coef_velocity, intercept_velocity)


def _moved(
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
