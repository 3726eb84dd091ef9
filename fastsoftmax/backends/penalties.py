"""The lecture's penalty R(W) = l2 * sum(W**2) + l1 * sum(|W|), on NumPy arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]


def value(W: FloatArray, l2: float, l1: float) -> float:
    """Return R(W), summed in float64."""
    total = 0.0
    if l2:
        total += l2 * float(np.sum(np.square(W, dtype=np.float64)))
    if l1:
        total += l1 * float(np.sum(np.abs(W), dtype=np.float64))
    return total


def gradient(W: FloatArray, l2: float, l1: float) -> FloatArray:
    """Return 2 * l2 * W + l1 * sign(W), the subgradient that is 0 where W is 0."""
    result: FloatArray = W * W.dtype.type(2.0 * l2)
    if l1:
        result += np.sign(W) * W.dtype.type(l1)
    return result


def soft_threshold(W: FloatArray, threshold: float) -> FloatArray:
    """Return sign(W) * max(|W| - threshold, 0), the proximal step of threshold * sum(|W|)."""
    shrunk: FloatArray = np.maximum(np.abs(W) - W.dtype.type(threshold), W.dtype.type(0))
    return np.copysign(shrunk, W)
