"""The per-sample loops of the naive backend, compiled by Numba, with the samples spread over threads.

The gradient of W is a sum over samples. If samples were spread over threads there too, each thread would
need a copy of the gradient, and the order of the sum would depend on the number of threads. So the second
loop runs over classes: each thread owns whole columns of W and visits all samples in order. The bits are
the same for any number of threads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import exp, isnan, log
from typing import Any

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

from . import coordinate_descent as descent
from . import factorization, forking, minibatches, recorder, solver_vectors
from .protocol import Data, FloatArray, LabelArray, Rule, State, TargetWeights
from .sample_weights import weighted

name = "numba"
column_moments, add_class_sums = minibatches.column_moments, minibatches.add_class_sums
inverse_factor = factorization.inverse_factor
subtract_pairs, add_pairs = solver_vectors.subtract_pairs, solver_vectors.add_pairs
dot, bound_terms = solver_vectors.dot, solver_vectors.bound_terms
coordinate_descent = descent.coordinate_descent
linear_scores = minibatches.linear_scores
transposed_product = minibatches.transposed_product

_MAX_THREADS = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set at run time


def _jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def compile_lazily(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
        except RuntimeError:  # no folder to cache in that can be written
            return numba.njit(**options)(function)  # type: ignore[no-any-return]

    return compile_lazily


# Multiplications, or exponentials, below which a parallel loop uses one thread: to start more takes longer
# than the work, and much longer on a busy machine.
_MIN_WORK = 200_000


# Numba's workqueue threading layer, which is always available, aborts the process if two Python threads
# enter parallel code at the same time.
@contextmanager
def _threads(n_threads: int, work: int) -> Iterator[None]:
    with forking.lock:
        forking.check_threads()
        before = numba.get_num_threads()
        numba.set_num_threads(min(n_threads, _MAX_THREADS) if work >= _MIN_WORK else 1)
        try:
            yield
        finally:
            numba.set_num_threads(before)


@_jit()
def _maximum_and_total(z):  # type: ignore[no-untyped-def]
    """Return m = max(z) and sum(exp(z - m)) in float64; the sum is NaN if z has no softmax."""
    largest = np.float64(z[0])
    for k in range(1, len(z)):
        largest = max(largest, np.float64(z[k]))
    total = 0.0
    for k in range(len(z)):
        total += exp(np.float64(z[k]) - largest)
    return largest, total


@_jit(parallel=True)
def _logsumexp_rows(logits, out):  # type: ignore[no-untyped-def]
    for i in prange(len(logits)):
        largest, total = _maximum_and_total(logits[i])
        out[i] = largest + log(total)
        if isnan(total):
            out[i] = largest
            for k in range(logits.shape[1]):
                if isnan(logits[i, k]):
                    out[i] = logits[i, k]


@_jit(parallel=True)
def _softmax_rows(logits, totals, out):  # type: ignore[no-untyped-def]
    for i in prange(len(logits)):
        largest, totals[i] = _maximum_and_total(logits[i])
        for k in range(logits.shape[1]):
            out[i, k] = exp(np.float64(logits[i, k]) - largest) / totals[i]


@_jit(parallel=True)
def _log_softmax_rows(logits, totals, out):  # type: ignore[no-untyped-def]
    for i in prange(len(logits)):
        largest, totals[i] = _maximum_and_total(logits[i])
        log_total = log(totals[i])
        for k in range(logits.shape[1]):
            out[i, k] = (np.float64(logits[i, k]) - largest) - log_total


@_jit(parallel=True)
def _label_loss_rows(logits, targets, scale, totals, losses, dlogits):  # type: ignore[no-untyped-def]
    """Compute losses and dlogits[i, k] = scale * (p[k] - (k == target))."""
    for i in prange(len(logits)):
        target = targets[i]
        largest, totals[i] = _maximum_and_total(logits[i])
        losses[i] = (largest - np.float64(logits[i, target])) + log(totals[i])
        for k in range(logits.shape[1]):
            p = exp(np.float64(logits[i, k]) - largest) / totals[i]
            dlogits[i, k] = scale * (p - (1.0 if k == target else 0.0))


@_jit(parallel=True)
def _soft_loss_rows(logits, targets, scale, totals, losses, dlogits):  # type: ignore[no-untyped-def]
    """Compute losses and dlogits[i, k] = scale * (sum(t) * p[k] - t[k]); `dlogits` may be `logits`."""
    for i in prange(len(logits)):
        largest, totals[i] = _maximum_and_total(logits[i])
        log_total = log(totals[i])
        mass = 0.0
        loss = 0.0
        # The p of the largest logit may round to 1: its gradient is the sum over the other classes.
        place = -1
        others = 0.0
        rest = 0.0
        for k in range(logits.shape[1]):
            t = np.float64(targets[i, k])
            mass += t
            if place < 0 and logits[i, k] == largest:
                place = k
            else:
                rest += t
                others += exp(np.float64(logits[i, k]) - largest)
            if t > 0:  # t * log(p) is 0 if t is 0, even if p is 0 and its logarithm -inf
                loss += t * ((largest - np.float64(logits[i, k])) + log_total)
        losses[i] = loss
        for k in range(logits.shape[1]):
            p = exp(np.float64(logits[i, k]) - largest) / totals[i]
            dlogits[i, k] = scale * (mass * p - np.float64(targets[i, k]))
        if others < 1:  # 1 is the term of the largest logit
            dlogits[i, place] = scale * (rest - mass * (others / totals[i]))


@_jit(parallel=True)
def _scores(X, coef, intercept, logits):  # type: ignore[no-untyped-def]
    for i in prange(len(X)):
        for k in range(len(coef)):
            score = intercept[k]
            for j in range(X.shape[1]):
                score += X[i, j] * coef[k, j]
            logits[i, k] = score


@_jit(parallel=True)
def _gradient_of_coef(X, dlogits, dcoef, dintercept):  # type: ignore[no-untyped-def]
    for k in prange(len(dcoef)):
        dintercept[k] = 0
        for j in range(X.shape[1]):
            dcoef[k, j] = 0
        for i in range(len(X)):
            g = dlogits[i, k]
            dintercept[k] += g
            for j in range(X.shape[1]):
                dcoef[k, j] += g * X[i, j]


@_jit(parallel=True)
def _gradient_of_X(dlogits, coef, dX):  # type: ignore[no-untyped-def]
    for i in prange(len(dX)):
        for j in range(dX.shape[1]):
            dX[i, j] = 0
        for k in range(len(coef)):
            g = dlogits[i, k]
            for j in range(dX.shape[1]):
                dX[i, j] += g * coef[k, j]


@_jit()
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
    with _threads(n_threads, logits.size):
        _softmax_rows(logits, totals, out)
    return _first_invalid(totals)


def log_softmax(logits: FloatArray, out: FloatArray, n_threads: int) -> int:
    totals = np.empty(len(logits))
    with _threads(n_threads, logits.size):
        _log_softmax_rows(logits, totals, out)
    return _first_invalid(totals)


def logsumexp(logits: FloatArray, out: FloatArray, n_threads: int) -> None:
    with _threads(n_threads, logits.size):
        _logsumexp_rows(logits, out)


def softmax_cross_entropy(
    logits: FloatArray,
    targets: LabelArray | FloatArray,
    scale: float,
    losses: NDArray[np.float64],
    dlogits: FloatArray | None,
    n_threads: int,
    weights: TargetWeights | None = None,
) -> int:
    if weights is not None:
        logits, targets = weighted(logits, targets, weights)
    totals = np.empty(len(logits))
    rows = _label_loss_rows if targets.ndim == 1 else _soft_loss_rows
    out = np.empty_like(logits) if dlogits is None else dlogits
    with _threads(n_threads, logits.size):
        rows(logits, targets, scale, totals, losses, out)
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
) -> int:
    begun = recorder.begin()
    X = np.ascontiguousarray(X)  # one layout: Numba would compile for each
    coef = np.ascontiguousarray(W.T)
    offsets = np.zeros(len(coef), X.dtype) if intercept is None else intercept
    logits = np.empty((len(X), len(coef)), X.dtype)
    with _threads(n_threads, X.size * len(coef)):
        _scores(X, coef, offsets, logits)
    begun = recorder.add(recorder.NAMES[recorder.SCORES], begun)
    invalid = softmax_cross_entropy(logits, targets, scale, losses, logits, n_threads, weights)
    begun = recorder.add(recorder.NAMES[recorder.LOSS], begun)
    if invalid >= 0:
        return invalid
    dlogits = logits
    with _threads(n_threads, X.size * len(coef)):
        if dW is not None or dintercept is not None:
            dcoef, doffsets = np.empty_like(coef), np.empty_like(offsets)
            _gradient_of_coef(X, dlogits, dcoef, doffsets)
            if dW is not None:
                dW[...] = dcoef.T
            if dintercept is not None:
                dintercept[...] = doffsets
        if dX is not None:
            _gradient_of_X(dlogits, coef, dX)
    recorder.add(recorder.NAMES[recorder.UPDATE], begun)
    return -1


def penalty(
    W: FloatArray, l2: float, l1: float, gradient: FloatArray | None, n_threads: int
) -> float:
    return float(_penalty(W, l2, l1, np.empty_like(W) if gradient is None else gradient))


def sgd_epoch(
    data: Data,
    state: State,
    rule: Rule,
    order: NDArray[np.int64],
    batch_size: int,
    rates: NDArray[np.float64],
    n_threads: int,
) -> NDArray[np.float64]:
    return minibatches.sgd_epoch(
        linear_cross_entropy, data, state, rule, order, batch_size, rates, n_threads
    )
