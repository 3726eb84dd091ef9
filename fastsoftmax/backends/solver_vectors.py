"""The solver's own vectors in NumPy, without BLAS, whose bits follow the CPU: see `Backend`."""

from math import inf, log

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


def add_penalty(
    weights: FloatArray, mean: Doubles, l2: float, n_columns: int, gradient: Doubles
) -> tuple[float, float]:
    """Implement `Backend.add_penalty`."""
    gradient[...] = mean
    W, g = weights[:, :n_columns], gradient[:, :n_columns]
    g += np.multiply(W, 2 * l2, dtype=np.float64)
    return dot(W, W), dot(g, g)


def take_step(
    weights: FloatArray,
    direction: Doubles,
    size: float,
    slopes: Doubles,
    found: FloatArray,
    moved: FloatArray,
) -> tuple[float, bool]:
    """Implement `Backend.take_step`."""
    found[...] = weights + size * direction
    np.subtract(found, weights, out=moved)
    return dot(slopes, moved), bool(moved.any())


def fill_pair(
    ends: tuple[FloatArray, FloatArray],
    gradients: tuple[Doubles, Doubles],
    step: FloatArray,
    difference: FloatArray,
) -> tuple[float, float, float]:
    """Implement `Backend.fill_pair`."""
    step[...] = ends[1] - ends[0]
    difference[...] = gradients[1] - gradients[0]
    return dot(step, difference), dot(step, step), dot(difference, difference)


def duality_gap(
    weights: FloatArray,
    gradient: Doubles,
    loss: float,
    means: tuple[Doubles, Doubles, Doubles],
    min_share: float,
    l2: float,
    l1: float,
) -> float:
    """Implement `Backend.duality_gap`."""
    targets, target_features, features = means
    n_features = len(features)
    share, row, entropy, of_intercept = 0.0, targets, 0.0, 0.0
    if gradient.shape[1] > n_features:
        of_b = gradient[:, -1]
        share, repaired, entropy = repaired_row(
            targets.tolist(), (targets + of_b).tolist(), min_share
        )
        of_intercept, row = float(np.add.reduce(of_b * weights[:, -1])), np.array(repaired)
    slopes, w = gradient[:, :n_features], weights[:, :n_features].astype(np.float64, copy=False)
    G = np.multiply.outer(share * row, features)
    G -= share * target_features
    G += (1 - share) * slopes
    best = np.copysign(np.maximum(np.abs(G) - l1, 0), -G) / (2 * l2)
    parts = l2 * np.square(w - best)
    if l1:
        parts += l1 * np.abs(w) + w * np.clip(G, -l1, l1)
    # gap is loss - mean(entropy); what is left is the penalty and its conjugate, without cancellation.
    gap = (1 - share) * (dot(slopes, w) + of_intercept) + share * (loss - entropy)
    return float(parts.sum()) + gap - dot(G, w)


def repaired_row(
    targets: list[float], means: list[float], min_share: float
) -> tuple[float, list[float], float]:
    """Return a share of a constant row, that row, and its entropy: with it, `means` become `targets`.

    There are few numbers, and Python's own are faster than arrays of them.
    """
    # A class whose probabilities underflow needs no share.
    needed = max(1 - t / p if p else -inf for t, p in zip(targets, means, strict=True))
    share = min(1.0, max(0.0, needed) + min_share)
    q = [max((t - (1 - share) * p) / share, 0.0) for t, p in zip(targets, means, strict=True)]
    total = sum(q)
    q = [each / total for each in q]
    return share, q, -sum(each * log(each) for each in q if each)
