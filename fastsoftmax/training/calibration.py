"""The temperature that calibrates the probabilities of a linear model on held-out samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.validation import FloatArray
from ..backends import Backend
from .prediction import logits_by_block
from .targets import Targets

# Logits up to this size are kept between passes; larger ones are computed again in each.
_MAX_KEPT_BYTES = 1 << 28
# The inverse temperature is accurate to about this share; a pass for each iteration of Newton's method.
_TOLERANCE = 1e-10
_MAX_PASSES = 200

Blocks = Iterable[tuple[slice, FloatArray]]


class _Derivatives(NamedTuple):
    """The derivatives of the sum of the losses for the inverse temperature, and the first one's limit."""

    slope: float
    curvature: float
    limit: float  # of the slope as the inverse temperature grows


def find_temperature(
    backend: Backend,
    X: NDArray[Any] | SparseRows,
    targets: Targets,
    coef: FloatArray,
    intercept: FloatArray,
    n_threads: int,
) -> float:
    """Return the temperature whose probabilities ``softmax(z / temperature)`` have the smallest log loss.

    With the inverse temperature b, the weighted sum of ``log(sum_k exp(b * z_k)) - b * z_target`` is convex
    in b; its derivatives are the sums of ``E[z] - z_target`` and of ``Var[z]`` under softmax(b * z).
    Newton's method starts at b = 0, where the scale of the logits does not matter, and stays in a bracket.

    Raises
    ------
    ValueError
        If no positive number minimises the loss, or a row has logits that are not finite.
    """
    rows = np.arange(len(X)) if targets.rows is None else targets.rows

    def read() -> Blocks:
        return logits_by_block(backend, X, rows, coef, intercept, n_threads)

    passes: Callable[[], Blocks] = read
    if len(rows) * len(coef) * coef.itemsize <= _MAX_KEPT_BYTES:
        kept = list(read())
        passes = lambda: kept  # noqa: E731

    def derivatives(b: float) -> _Derivatives:
        with np.errstate(over="ignore", invalid="ignore"):
            return _derivatives(b, passes(), rows, targets)

    at_zero = derivatives(0.0)
    if not (isfinite(at_zero.slope) and at_zero.curvature < inf):
        raise ValueError(
            "coef_: the logits are too large to calibrate: their squares overflow float64"
        )
    if at_zero.slope >= 0 or at_zero.curvature == 0:
        raise ValueError(
            "y: no temperature is better than equal probabilities for all classes: the logits of the "
            "labels are, on average, no larger than those of the other classes"
        )
    if at_zero.limit <= 0:
        raise ValueError(
            f"y: all {len(rows)} samples are predicted correctly, so that the smaller the temperature, the "
            "smaller the loss: calibrate on held-out samples, of which some are predicted wrongly"
        )
    return 1 / _root(derivatives, at_zero)


def _root(derivatives: Callable[[float], _Derivatives], at: _Derivatives) -> float:
    """Return where the slope, which rises from `at` 0 and is positive in the end, is 0."""
    b, low, high = 0.0, 0.0, inf
    for _ in range(_MAX_PASSES):
        following = b - at.slope / at.curvature if at.curvature > 0 else inf
        if abs(following - b) <= _TOLERANCE * b:
            return following
        if not low < following < high or following == inf:
            following = 2 * low if high == inf else (low + high) / 2
        b = following
        at = derivatives(b)
        low, high = (b, high) if at.slope < 0 else (low, b)
    return b


def _derivatives(
    b: float, blocks: Blocks, rows: NDArray[np.int64], targets: Targets
) -> _Derivatives:
    slope = curvature = limit = 0.0
    for here, logits in blocks:
        z = logits.astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        t = targets.values[rows[here]]
        if t.ndim == 1:
            mass, z_of_targets = np.ones(len(z)), z[np.arange(len(z)), t]
        else:
            mass = t.sum(axis=1, dtype=np.float64)
            z_of_targets = np.einsum("sk,sk->s", z, t.astype(np.float64))
        weights = 1.0 if targets.weights is None else targets.weights[rows[here]]
        p = np.exp(b * z)
        p /= p.sum(axis=1, keepdims=True)
        mean = np.einsum("sk,sk->s", p, z)
        z -= mean[:, np.newaxis]
        z *= z
        variance = np.einsum("sk,sk->s", p, z)
        slope += float((weights * (mass * mean - z_of_targets)).sum())
        curvature += float((weights * mass * variance).sum())
        limit -= float((weights * z_of_targets).sum())
    return _Derivatives(slope, curvature, limit)
