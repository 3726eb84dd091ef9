"""Weighted targets as a matrix, for the backends that are not optimised for speed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .protocol import FloatArray, LabelArray, TargetWeights


def weighted_targets(
    targets: LabelArray | FloatArray,
    weights: TargetWeights,
    n_classes: int,
    dtype: np.dtype[Any],
    mask: NDArray[np.bool_] | None = None,
) -> FloatArray:
    """Return the weighted and smoothed targets, (n, n_classes); see `TargetWeights` and `LogitOptions`."""
    t = np.eye(n_classes)[targets] if targets.ndim == 1 else targets.astype(np.float64)
    t *= 1 - weights.smoothing
    if mask is None:
        t += weights.smoothing / n_classes
    else:
        t += weights.smoothing / np.maximum(mask.sum(axis=-1, keepdims=True), 1)
        t *= mask
    if weights.classes is not None:
        t *= weights.classes
    if weights.rows is not None:
        t *= weights.rows[:, np.newaxis]
    return t.astype(dtype)


def multiply_by_upstream(dlogits: FloatArray, weights: TargetWeights | None) -> None:
    """Multiply each row of gradients by its `upstream`; rows of zeros stay so, whatever that is."""
    if weights is None or weights.upstream is None:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        upstream = weights.upstream[:, np.newaxis]
        np.multiply(dlogits, upstream, out=dlogits, where=dlogits != 0, casting="same_kind")


def weighted(
    logits: FloatArray, targets: LabelArray | FloatArray, weights: TargetWeights
) -> tuple[FloatArray, FloatArray]:
    """Return `logits`, with zeros in rows whose weights are all 0, and `weighted_targets`."""
    t = weighted_targets(targets, weights, logits.shape[1], logits.dtype)
    counts = np.asarray(t.any(axis=1))
    if not counts.all():
        logits = np.where(counts[:, np.newaxis], logits, logits.dtype.type(0))
    return logits, t
