"""The per-sample loops of the naive backend, compiled by Numba, with the samples spread over threads.

The gradient of W is a sum over samples. If each thread summed its own samples, the order of the sum would
depend on the number of threads. So here the loop of the threads runs over classes, and in an epoch over
fixed chunks of samples (`numba_epoch`). The bits are the same for any number of threads.
"""

from math import exp, isnan, log

import numpy as np
from numba import prange
from numpy.typing import NDArray

from . import coordinate_descent as descent
from . import factorization, minibatches, numba_epoch, recorder, solver_vectors
from . import newton_direction as newton
from .logit_options import cross_entropy_with_options, linear_cross_entropy_with_options
from .numba_kernels import (
    buffers,
    jit,
    label_loss_row,
    labels_and_soft,
    maximum_and_total,
    parallel_chunks,
    read_only,
    soft_loss_row,
    threads,
)
from .protocol import FloatArray, LabelArray, LogitOptions, NewtonRows, TargetWeights
from .sample_weights import multiply_by_upstream, weighted, weighted_targets

name = "numba"
column_moments, add_class_sums = minibatches.column_moments, minibatches.add_class_sums
inverse_factor = factorization.inverse_factor
subtract_pairs, add_pairs = solver_vectors.subtract_pairs, solver_vectors.add_pairs
dot, duality_gap = solver_vectors.dot, solver_vectors.duality_gap
add_penalty, take_step = solver_vectors.add_penalty, solver_vectors.take_step
fill_pair = solver_vectors.fill_pair
coordinate_descent = descent.coordinate_descent
sgd_epoch = numba_epoch.sgd_epoch
convert_rows, linear_scores = minibatches.convert_rows, minibatches.linear_scores
transposed_product = minibatches.transposed_product


@jit(parallel=True)
def _logsumexp_rows(logits, out):  # type: ignore[no-untyped-def]
    for i in prange(len(logits)):
        largest, total = maximum_and_total(logits[i])
        out[i] = largest + log(total)
        if isnan(total):
            out[i] = largest
            for k in range(logits.shape[1]):
                if isnan(logits[i, k]):
                    out[i] = logits[i, k]


@jit(parallel=True)
def _softmax_rows(logits, totals, out):  # type: ignore[no-untyped-def]
    for i in prange(len(logits)):
        largest, totals[i] = maximum_and_total(logits[i])
        for k in range(logits.shape[1]):
            out[i, k] = exp(np.float64(logits[i, k]) - largest) / totals[i]


@jit(parallel=True)
def _log_softmax_rows(logits, totals, out):  # type: ignore[no-untyped-def]
    for i in prange(len(logits)):
        largest, totals[i] = maximum_and_total(logits[i])
        log_total = log(totals[i])
        for k in range(logits.shape[1]):
            out[i, k] = (np.float64(logits[i, k]) - largest) - log_total


@jit(parallel=True)
def _loss_rows(logits, labels, soft, scale, totals, losses, dlogits):  # type: ignore[no-untyped-def]
    """Compute losses and gradients, in place if `dlogits` is `logits`.

    Of `labels` and `soft` one is empty.
    """
    for i in prange(len(logits)):
        if len(soft):
            losses[i], totals[i] = soft_loss_row(logits[i], soft[i], False, scale, dlogits[i])
        else:
            losses[i], totals[i] = label_loss_row(logits[i], labels[i], scale, dlogits[i])


@jit(parallel=True)
def _gradient_of_X(dlogits, coef, dX):  # type: ignore[no-untyped-def]
    for i in prange(len(dX)):
        for j in range(dX.shape[1]):
            dX[i, j] = 0
        for k in range(len(coef)):
            g = dlogits[i, k]
            for j in range(dX.shape[1]):
                dX[i, j] += g * coef[k, j]


@jit()
def _penalty(W, l2, l1, gradient):  # type: ignore[no-untyped-def]
    value = 0.0
    for j in range(len(W)):
        w = np.float64(W[j])
        value += l2 * w * w + l1 * abs(w)
        gradient[j] = 2 * l2 * w + l1 * np.sign(w)
    return value


def _first_invalid(totals: NDArray[np.float64]) -> int:
    invalid = np.isnan(totals)
    return int(np.argmax(invalid)) if invalid.any() else -1


def softmax(logits: FloatArray, out: FloatArray, n_threads: int) -> int:
    totals = np.empty(len(logits))
    with threads(n_threads, logits.size):
        _softmax_rows(logits, totals, out)
    return _first_invalid(totals)


def log_softmax(logits: FloatArray, out: FloatArray, n_threads: int) -> int:
    totals = np.empty(len(logits))
    with threads(n_threads, logits.size):
        _log_softmax_rows(logits, totals, out)
    return _first_invalid(totals)


def logsumexp(logits: FloatArray, out: FloatArray, n_threads: int) -> None:
    with threads(n_threads, logits.size):
        _logsumexp_rows(logits, out)


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
    totals = np.empty(len(logits))
    out = np.empty_like(logits) if dlogits is None else dlogits
    labels, soft = labels_and_soft(targets, logits.dtype)
    with threads(n_threads, logits.size):
        _loss_rows(logits, labels, soft, scale, totals, losses, out)
    return _first_invalid(totals)


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
    X, coef = read_only(np.ascontiguousarray(X)), np.ascontiguousarray(W.T)
    offsets = np.zeros(len(coef), X.dtype) if intercept is None else intercept
    if weights is not None:
        targets = weighted_targets(targets, weights, len(coef), X.dtype)
    size, outputs = buffers(len(X), coef)
    dlogits, totals, row_losses, dcoefs, doffsets = outputs
    samples = X, np.arange(len(X)), *labels_and_soft(targets, X.dtype), weights is not None
    with threads(n_threads, X.size * len(coef)):
        parallel_chunks(len(dcoefs), size, samples, coef, offsets, scale, outputs)
        invalid = _first_invalid(totals)
        losses[:] = row_losses
        if weights is not None and weights.upstream is not None:
            multiply_by_upstream(dlogits, weights)
            dcoefs, doffsets = (dlogits.T @ X)[np.newaxis], dlogits[np.newaxis]
        if invalid < 0 and dX is not None:
            _gradient_of_X(dlogits, coef, dX)
    with np.errstate(over="ignore", invalid="ignore"):
        if dW is not None:
            dcoefs.sum(axis=0, out=dW.T)
        if dintercept is not None:
            doffsets.sum(axis=(0, 1), out=dintercept)
    recorder.add(recorder.TOGETHER, begun, len(X))
    return invalid


def penalty(
    W: FloatArray, l2: float, l1: float, gradient: FloatArray | None, n_threads: int
) -> float:
    return float(_penalty(W, l2, l1, np.empty_like(W) if gradient is None else gradient))


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
