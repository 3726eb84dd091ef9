"""A Python loop over the samples, as the formulas read on paper.

The scores of a sample are one dot product, and its part of the gradient is one outer product, as in a
course's own naive version; the softmax is a loop over the classes. Whatever the dtype of the arrays,
everything between reading an input and storing a result is computed in float64. That makes this backend the
reference for the others.
"""

from collections.abc import Sequence
from math import exp, isnan, log, nan

import numpy as np
from numpy.typing import NDArray

from . import coordinate_descent as descent
from . import factorization, minibatches, recorder, solver_vectors
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
from .sample_weights import weighted, weighted_targets

name = "naive"
column_moments, add_class_sums = minibatches.column_moments, minibatches.add_class_sums
inverse_factor = factorization.inverse_factor
subtract_pairs, add_pairs = solver_vectors.subtract_pairs, solver_vectors.add_pairs
dot, duality_gap = solver_vectors.dot, solver_vectors.duality_gap
add_penalty, take_step = solver_vectors.add_penalty, solver_vectors.take_step
fill_pair = solver_vectors.fill_pair
coordinate_descent = descent.coordinate_descent
convert_rows, linear_scores = minibatches.convert_rows, minibatches.linear_scores
transposed_product = minibatches.transposed_product


def _overflow_to_infinity() -> np.errstate:
    """Round to infinity beyond the range of float32, without a warning, as float32 arithmetic does."""
    return np.errstate(over="ignore")


def _maximum_and_total(z: Sequence[float]) -> tuple[float, float]:
    """Return m = max(z) and sum(exp(z - m)), whose largest term is 1: nothing overflows.

    The sum is NaN if z has no softmax: it contains a NaN or +inf, or nothing but -inf.
    """
    largest = max(z)
    return largest, sum(exp(score - largest) for score in z)


def softmax(logits: FloatArray, out: FloatArray, n_threads: int) -> int:
    for i, z in enumerate(logits.tolist()):
        largest, total = _maximum_and_total(z)
        if isnan(total):
            return i
        for k, score in enumerate(z):
            out[i, k] = exp(score - largest) / total
    return -1


def log_softmax(logits: FloatArray, out: FloatArray, n_threads: int) -> int:
    for i, z in enumerate(logits.tolist()):
        largest, total = _maximum_and_total(z)
        if isnan(total):
            return i
        with _overflow_to_infinity():
            for k, score in enumerate(z):
                out[i, k] = (score - largest) - log(total)
    return -1


def logsumexp(logits: FloatArray, out: FloatArray, n_threads: int) -> None:
    for i, z in enumerate(logits.tolist()):
        largest, total = _maximum_and_total(z)
        if isnan(total):
            out[i] = nan if any(isnan(score) for score in z) else largest
        else:
            out[i] = largest + log(total)


def _loss_and_gradient(
    z: Sequence[float], target: int | list[float], scale: float
) -> tuple[float, list[float]] | None:
    """Return the loss of one row and its gradient in the logits; None if the row has no softmax."""
    largest, total = _maximum_and_total(z)
    if isnan(total):
        return None
    terms = [exp(score - largest) for score in z]
    p = [term / total for term in terms]
    if isinstance(target, list):
        # t * log(p) is 0 if t is 0, even if p is 0 and its logarithm -inf
        loss = sum(
            t * ((largest - score) + log(total)) for t, score in zip(target, z, strict=True) if t
        )
        mass = sum(target)
        gradient = [scale * (mass * p_k - t) for p_k, t in zip(p, target, strict=True)]
        # The p of the largest logit may round to 1: its gradient is the sum over the other classes.
        m = z.index(largest)
        others, rest = sum(terms[:m] + terms[m + 1 :]), sum(target[:m] + target[m + 1 :])
        if terms[m] > others:
            gradient[m] = scale * (rest - mass * (others / total))
        return loss, gradient
    loss = (largest - z[target]) + log(total)
    return loss, [scale * (p_k - (k == target)) for k, p_k in enumerate(p)]


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
            np.dtype(np.float64),
        )
    if weights is not None:
        logits, targets = weighted(logits, targets, weights)
    for i, (z, target) in enumerate(zip(logits.tolist(), targets.tolist(), strict=True)):
        row = _loss_and_gradient(z, target, scale)
        if row is None:
            return i
        losses[i], gradient = row
        if dlogits is not None:
            with _overflow_to_infinity():
                dlogits[i] = gradient
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
            np.dtype(np.float64),
        )
    begun = recorder.begin()
    n_features, n_classes = W.shape
    upstream = None
    if weights is not None:
        targets = weighted_targets(targets, weights, n_classes, X.dtype)
        upstream = weights.upstream
    coef = np.array(W.T, np.float64, order="C")
    offsets = np.zeros(n_classes) if intercept is None else intercept.astype(np.float64)
    # Sums over the samples are kept in float64 and rounded once at the end.
    sum_dcoef, sum_dintercept = np.zeros((n_classes, n_features)), np.zeros(n_classes)
    with np.errstate(over="ignore", invalid="ignore"):  # as Python's floats do
        for i, target in enumerate(targets.tolist()):
            x = X[i].astype(np.float64)
            logits = (np.dot(coef, x) + offsets).tolist()
            factor = scale if upstream is None else scale * float(upstream[i])
            if isinstance(target, list) and not any(target):
                logits, factor = [0.0] * n_classes, 0.0  # of weight 0: its logits are ignored
            row = _loss_and_gradient(logits, target, factor)
            if row is None:
                return i
            losses[i], dlogits = row
            sum_dintercept += dlogits
            if dW is not None:
                sum_dcoef += np.outer(dlogits, x)
            if dX is not None:
                dX[i] = np.dot(dlogits, coef)
        if dW is not None:
            dW[...] = sum_dcoef.T
        if dintercept is not None:
            dintercept[...] = sum_dintercept
    recorder.add(recorder.TOGETHER, begun, len(X))
    return -1


def penalty(
    W: FloatArray, l2: float, l1: float, gradient: FloatArray | None, n_threads: int
) -> float:
    w = W.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if gradient is not None:
            gradient[...] = 2 * l2 * w + l1 * np.sign(w)
        # A strength of 0 times an overflow is 0.
        return sum((s * float(np.sum(r)) for s, r in ((l2, w * w), (l1, np.abs(w))) if s), 0.0)


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
