"""The solver's own vectors in NumPy, without BLAS, whose bits follow the CPU: see `Backend`."""

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray

Doubles = NDArray[np.float64]


def dot(a: FloatArray, b: FloatArray) -> float:
    """Implement `Backend.dot`."""
    return float(np.add.reduce(np.multiply(a, b, dtype=np.float64), axis=None))


def subtract_pairs(
    steps: FloatArray, differences: FloatArray, products: Doubles, q: Doubles, factors: Doubles
) -> None:
    """Implement `Backend.subtract_pairs`."""
    for i in reversed(range(len(steps))):
        factors[i] = np.multiply(steps[i], q).sum() / products[i]
        q -= factors[i] * differences[i].astype(np.float64)


def add_pairs(
    steps: FloatArray, differences: FloatArray, products: Doubles, q: Doubles, factors: Doubles
) -> None:
    """Implement `Backend.add_pairs`."""
    for i in range(len(steps)):
        left = factors[i] - np.multiply(differences[i], q).sum() / products[i]
        q += left * steps[i].astype(np.float64)


def bound_terms(
    weights: FloatArray,
    slopes: Doubles,
    row: Doubles,
    features: Doubles,
    target_features: Doubles,
    share: float,
    l2: float,
    l1: float,
) -> tuple[float, float, float]:
    """Implement `Backend.bound_terms`."""
    w = weights.astype(np.float64, copy=False)
    G = np.multiply.outer(share * row, features)
    G -= share * target_features
    G += (1 - share) * slopes
    best = np.copysign(np.maximum(np.abs(G) - l1, 0), -G) / (2 * l2)
    parts = l2 * np.square(w - best)
    if l1:
        parts += l1 * np.abs(w) + w * np.clip(G, -l1, l1)
    return dot(slopes, w), float(parts.sum()), dot(G, w)
