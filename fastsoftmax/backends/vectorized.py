"""NumPy, a whole minibatch at a time: the code that most people write.

`n_threads` has no effect: NumPy's own loops use one thread, and its matrix product as many as its BLAS
library is configured for (by an environment variable of that library, or by threadpoolctl).
"""

import numpy as np
from numpy.typing import NDArray

from . import coordinate_descent as descent
from . import factorization, minibatches, penalties, recorder, solver_vectors, vectorized_epoch
from . import newton_direction as newton
from .logit_options import cross_entropy_with_options, linear_cross_entropy_with_options
from .protocol import (
    Data,
    FloatArray,
    LabelArray,
    LogitOptions,
    NewtonRows,
    Rule,
    State,
    TargetWeights,
)
from .sample_weights import multiply_by_upstream, weighted

name = "vectorized"
column_moments, add_class_sums = minibatches.column_moments, minibatches.add_class_sums
inverse_factor = factorization.inverse_factor
subtract_pairs, add_pairs = solver_vectors.subtract_pairs, solver_vectors.add_pairs
dot, duality_gap = solver_vectors.dot, solver_vectors.duality_gap
add_penalty, take_step = solver_vectors.add_penalty, solver_vectors.take_step
fill_pair = solver_vectors.fill_pair
coordinate_descent = descent.coordinate_descent
convert_rows, linear_scores = minibatches.convert_rows, minibatches.linear_scores
transposed_product = minibatches.transposed_product


def _first_invalid(maximum: FloatArray) -> int:
    """Return the first row whose maximum is not finite (a NaN or +inf in it, or only -inf), or -1."""
    valid = np.isfinite(maximum)
    return -1 if valid.all() else int(np.argmin(valid))


def _subtract(logits: FloatArray, maximum: FloatArray, out: FloatArray) -> FloatArray:
    """Compute out = logits - maximum; a difference that overflows is -inf, whose exponential is 0."""
    with np.errstate(over="ignore"):
        return np.subtract(logits, maximum, out=out)


def softmax(logits: FloatArray, out: FloatArray, n_threads: int) -> int:
    maximum = logits.max(axis=1, keepdims=True)
    invalid = _first_invalid(maximum)
    if invalid < 0:
        _subtract(logits, maximum, out)
        np.exp(out, out=out)
        out /= out.sum(axis=1, keepdims=True)
    return invalid


def log_softmax(logits: FloatArray, out: FloatArray, n_threads: int) -> int:
    maximum = logits.max(axis=1, keepdims=True)
    invalid = _first_invalid(maximum)
    if invalid < 0:
        _subtract(logits, maximum, out)
        out -= np.log(np.exp(out).sum(axis=1, keepdims=True))
    return invalid


def logsumexp(logits: FloatArray, out: FloatArray, n_threads: int) -> None:
    maximum = logits.max(axis=1)
    shift = np.where(np.isfinite(maximum), maximum, 0)
    with np.errstate(over="ignore", divide="ignore"):  # rows with +inf, or with nothing but -inf
        np.log(np.exp(logits - shift[:, np.newaxis]).sum(axis=1), out=out)
    out += shift


def _sum_without(values: FloatArray, at: tuple[LabelArray, LabelArray]) -> NDArray[np.float64]:
    """Return the sum of each row without one of its elements, in float64."""
    others = values.copy()
    others[at] = 0
    sums: NDArray[np.float64] = others.sum(axis=1, dtype=np.float64)
    return sums


def softmax_cross_entropy(
    logits: FloatArray,
    targets: LabelArray | FloatArray,
    scale: float,
    losses: NDArray[np.float64],
    dlogits: FloatArray | None,
    n_threads: int,
    weights: TargetWeights | None = None,
    options: LogitOptions | None = None,
) -> int:
    if options is not None:
        return cross_entropy_with_options(
            softmax_cross_entropy,
            logits,
            targets,
            scale,
            losses,
            dlogits,
            n_threads,
            weights,
            options,
            logits.dtype,
        )
    if weights is not None:
        logits, targets = weighted(logits, targets, weights)
    maximum = logits.max(axis=1, keepdims=True)
    invalid = _first_invalid(maximum)
    if invalid >= 0:
        return invalid
    shifted = _subtract(logits, maximum, np.empty_like(logits))
    probabilities = np.exp(shifted)
    # In float64: the loss of a dominating label is log(1 + x) with an x that float32 would round away.
    total = probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    log_total = np.log(total)
    rows = np.arange(len(logits))
    # In float64, in which differences that overflow float32 are finite.
    with np.errstate(over="ignore"):
        if targets.ndim == 1:
            score = logits[rows, targets].astype(np.float64)
            losses[:] = log_total[:, 0] + (maximum[:, 0] - score)
        else:
            # t * log(p) is 0 if t is 0, even if p is 0 and its logarithm -inf
            gap = np.subtract(maximum, logits, dtype=np.float64)
            surprise = np.where(targets > 0, log_total + gap, 0)
            losses[:] = np.sum(targets * surprise, axis=1)
            largest = rows, logits.argmax(axis=1)
    if dlogits is not None:
        np.divide(probabilities, total, out=dlogits, casting="same_kind")
        if targets.ndim == 1:
            dlogits[rows, targets] -= 1
        else:
            dlogits *= targets.sum(axis=1, keepdims=True)
            dlogits -= targets
            # The p of the largest logit may round to 1: its gradient is the sum over the other classes.
            others, rest = (_sum_without(values, largest) for values in (probabilities, targets))
            mass = rest + targets[largest]
            near_1 = rest - mass * (others / total[:, 0])
            dlogits[largest] = np.where(others < 1, near_1, dlogits[largest])
        with np.errstate(over="ignore", invalid="ignore"):  # of weights beyond the range of float32
            dlogits *= dlogits.dtype.type(scale)
    return -1


def linear_cross_entropy(
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
    options: LogitOptions | None = None,
) -> int:
    if options is not None:
        return linear_cross_entropy_with_options(
            softmax_cross_entropy,
            X,
            W,
            intercept,
            targets,
            scale,
            losses,
            dW,
            dintercept,
            dX,
            n_threads,
            weights,
            options,
            X.dtype,
        )
    begun = recorder.begin()
    # Overflow and NaN show in the logits; the caller names the row.
    with np.errstate(over="ignore", invalid="ignore"):
        logits = X @ W
        if intercept is not None:
            logits += intercept
    begun = recorder.add(recorder.NAMES[recorder.SCORES], begun, len(X))
    invalid = softmax_cross_entropy(logits, targets, scale, losses, logits, n_threads, weights)
    begun = recorder.add(recorder.NAMES[recorder.LOSS], begun, len(X))
    if invalid >= 0:
        return invalid
    dlogits = logits
    multiply_by_upstream(dlogits, weights)
    with np.errstate(over="ignore", invalid="ignore"):
        if dW is not None:
            np.matmul(X.T, dlogits, out=dW)
        if dintercept is not None:
            dlogits.sum(axis=0, out=dintercept)
        if dX is not None:
            np.matmul(dlogits, W.T, out=dX)
    recorder.add(recorder.NAMES[recorder.UPDATE], begun, len(X))
    return -1


def penalty(
    W: FloatArray, l2: float, l1: float, gradient: FloatArray | None, n_threads: int
) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        if gradient is not None:
            gradient[...] = penalties.gradient(W, l2, l1)
        return penalties.value(W, l2, l1)


def sgd_epoch(
    data: Data,
    state: State,
    rule: Rule,
    order: NDArray[np.int64],
    batch_size: int,
    rates: NDArray[np.float64],
    n_threads: int,
) -> NDArray[np.float64]:
    return vectorized_epoch.sgd_epoch(
        softmax_cross_entropy, data, state, rule, order, batch_size, rates
    )


def newton_direction(
    rows: NewtonRows,
    of_logits: NDArray[np.float64],
    gradient: NDArray[np.float64],
    weights: FloatArray,
    damping: float,
    direction: NDArray[np.float64],
) -> bool:
    """Implement `Backend.newton_direction`."""
    return newton.newton_direction(
        linear_scores, rows, of_logits, gradient, weights, damping, direction
    )
