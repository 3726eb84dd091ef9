"""The options that act on logits, for the backends that are not optimised for speed.

    q = softcap * tanh(z / temperature / softcap),  or z / temperature
    loss_i = sum_k u_ik * (lse(q_i) - q_ik + z_loss * lse(q_i)**2)

Blocks of rows are transformed, go through the backend's loss without options, and the chain rule takes the
gradient from q back to z. What is not the backend's is computed in float64.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .protocol import FloatArray, LabelArray, LogitOptions, RowMetrics, TargetWeights
from .row_metrics import fill_row_metrics
from .sample_weights import multiply_by_upstream, weighted_targets

# Logits of a block of rows.
_ELEMENTS_PER_BLOCK = 1 << 18


class _Loss(Protocol):
    """`Backend.softmax_cross_entropy`."""

    def __call__(
        self,
        logits: FloatArray,
        targets: LabelArray | FloatArray,
        scale: float,
        losses: NDArray[np.float64],
        dlogits: FloatArray | None,
        n_threads: int,
    ) -> int: ...


def cross_entropy_with_options(
    kernel: _Loss,
    logits: FloatArray,
    targets: LabelArray | FloatArray,
    scale: float,
    losses: NDArray[np.float64],
    dlogits: FloatArray | None,
    n_threads: int,
    weights: TargetWeights | None,
    options: LogitOptions,
    dtype: np.dtype[Any],
) -> int:
    """Implement `Backend.softmax_cross_entropy` with options by the loss without; in `dtype`."""
    for rows in _blocks(logits):
        gradient = None if dlogits is None else np.empty(dlogits[rows].shape, dtype)
        invalid = _block_of_losses(
            kernel, logits[rows].astype(dtype), targets[rows], scale, losses[rows], gradient, n_threads,
            _weights_of(weights, rows), _options_of(options, rows),
        )  # fmt: skip
        if invalid >= 0:
            return int(rows.start + invalid)
        if dlogits is not None:
            with np.errstate(over="ignore"):
                dlogits[rows] = gradient
    return -1


def linear_cross_entropy_with_options(
    kernel: _Loss,
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
    weights: TargetWeights | None,
    options: LogitOptions,
    dtype: np.dtype[Any],
) -> int:
    """Implement `Backend.linear_cross_entropy` with options by the loss of logits without; in `dtype`."""
    n_classes = W.shape[1]
    coef = W.astype(dtype, copy=False)
    sum_dW = np.zeros(W.shape, dtype)
    sum_dintercept = np.zeros(n_classes, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in _blocks(np.broadcast_to(X[:, :1], (len(X), n_classes))):
            x = X[rows].astype(dtype, copy=False)
            logits = x @ coef
            if intercept is not None:
                logits += intercept
            dlogits = np.empty_like(logits)
            invalid = _block_of_losses(
                kernel, logits, targets[rows], scale, losses[rows], dlogits, n_threads,
                _weights_of(weights, rows), _options_of(options, rows),
            )  # fmt: skip
            if invalid >= 0:
                return int(rows.start + invalid)
            if dW is not None:
                sum_dW += x.T @ dlogits
            sum_dintercept += dlogits.sum(axis=0)
            if dX is not None:
                dX[rows] = dlogits @ coef.T
        if dW is not None:
            dW[...] = sum_dW
        if dintercept is not None:
            dintercept[...] = sum_dintercept
    return -1


def _blocks(logits: FloatArray) -> list[slice]:
    n, n_classes = logits.shape
    size = max(1, _ELEMENTS_PER_BLOCK // n_classes)
    return [slice(first, min(first + size, n)) for first in range(0, n, size)]


def _weights_of(weights: TargetWeights | None, rows: slice) -> TargetWeights | None:
    if weights is None:
        return None
    return weights._replace(
        rows=None if weights.rows is None else weights.rows[rows],
        upstream=None if weights.upstream is None else weights.upstream[rows],
    )


def _options_of(options: LogitOptions, rows: slice) -> LogitOptions:
    mask, lse, upstream = options.mask, options.lse, options.lse_upstream
    return options._replace(
        mask=mask[rows] if mask is not None and mask.ndim == 2 else mask,
        lse=None if lse is None else lse[rows],
        lse_upstream=None if upstream is None else upstream[rows],
        metrics=None if options.metrics is None else _metrics_of(options.metrics, rows),
    )


def _metrics_of(metrics: RowMetrics, rows: slice) -> RowMetrics:
    given = metrics._asdict().items()
    return metrics._replace(**{name: each[rows] for name, each in given if each is not None})


def _transformed(
    logits: FloatArray, options: LogitOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
    """Return q in float64, and its derivative in z; an infinite logit stays what it is."""
    with np.errstate(over="ignore", invalid="ignore"):
        q = logits.astype(np.float64) / options.temperature
        if not options.softcap:
            return q, 1 / options.temperature
        x = q / options.softcap
        slopes = 1 / np.cosh(x) ** 2 / options.temperature
        q = np.where(np.isinf(logits), logits, options.softcap * np.tanh(x))
    return q, slopes


def _block_of_losses(
    kernel: _Loss,
    logits: FloatArray,
    targets: LabelArray | FloatArray,
    scale: float,
    losses: NDArray[np.float64],
    dlogits: FloatArray | None,
    n_threads: int,
    weights: TargetWeights | None,
    options: LogitOptions,
) -> int:
    n, n_classes = logits.shape
    labels = targets if targets.ndim == 1 else None
    q, slopes = _transformed(logits, options)
    if options.mask is not None:
        q = np.where(options.mask, q, -np.inf)
    if weights is not None or (options.mask is not None and targets.ndim == 2):
        targets = weighted_targets(
            targets, weights or TargetWeights(), n_classes, logits.dtype, options.mask
        )
        if weights is not None:
            q[~targets.any(axis=1)] = 0  # not read
    with np.errstate(over="ignore"):
        q = q.astype(logits.dtype)
    invalid = kernel(q, targets, scale, losses, dlogits, n_threads)
    if invalid >= 0:
        return invalid
    mass = np.ones(n) if targets.ndim == 1 else targets.sum(axis=1, dtype=np.float64)
    q = q.astype(np.float64)
    largest = q.max(axis=1)
    terms = np.exp(q - largest[:, np.newaxis])
    totals = terms.sum(axis=1)
    lse = largest + np.log(totals)
    counts = mass != 0
    lse[~counts] = 0
    if options.lse is not None:
        options.lse[...] = lse
    fill_row_metrics(options, logits, labels, q, counts)
    if options.z_loss:
        losses += mass * (options.z_loss * lse * lse)
    if dlogits is None:
        return -1
    multiply_by_upstream(dlogits, weights)
    factor = 2 * options.z_loss * lse * mass * scale
    with np.errstate(over="ignore", invalid="ignore"):
        if weights is not None and weights.upstream is not None:
            factor = np.where(factor == 0, 0, factor * weights.upstream)
        if options.lse_upstream is not None:
            factor += options.lse_upstream
        factor[~counts] = 0
        gradient = dlogits.astype(np.float64)
        if factor.any():
            gradient += factor[:, np.newaxis] * (terms / totals[:, np.newaxis])
        if options.mask is not None:
            gradient = np.where(options.mask, gradient, 0)
        gradient[~counts] = 0
        dlogits[...] = np.where(gradient == 0, 0, gradient * slopes)
    return -1
