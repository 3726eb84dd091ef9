"""Products, dot products and inverses whose bits do not follow the CPU, as those of BLAS and LAPACK do.

Products of matrices are the backend's scores; the rest is NumPy's arithmetic, element by element, and its
pairwise sums.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from ..backends import Backend

Doubles = NDArray[np.float64]

# Columns that are factored one by one before a product takes them to the rest.
_COLUMNS_PER_PANEL = 64


def product(backend: Backend, A: FloatArray, B: FloatArray, n_threads: int) -> FloatArray:
    """Return A @ B' for A (m, k) and B (n, k), of one dtype."""
    A, B = np.ascontiguousarray(A), np.ascontiguousarray(B)
    out = np.empty((len(A), len(B)), A.dtype)
    backend.linear_scores(A, B, np.zeros(len(B), B.dtype), out, n_threads)
    return out


def dot(a: FloatArray, b: FloatArray) -> float:
    """Return the sum of a * b over all elements, in float64."""
    return float(np.add.reduce(np.multiply(a, b, dtype=np.float64), axis=None))


def scaled(values: FloatArray, factor: float) -> FloatArray:
    """Return factor * values, in float64 if the factor would underflow in the dtype of the values.

    Strengths are as small as the squares of small features.
    """
    if abs(factor) < np.finfo(values.dtype).tiny:
        values = values.astype(np.float64)
    return factor * values


def inverse_of_spd(backend: Backend, A: Doubles, n_threads: int) -> Doubles | None:
    """Return the inverse of a symmetric matrix, or None unless it is positive definite to rounding.

    A = L L' by panels (Golub, Van Loan: Matrix Computations, section 4.2.9), then inv(L)' inv(L).
    """
    n = len(A)
    lower = A.copy()
    inverse = np.zeros_like(A)  # of L, transposed: row j is column j of inv(L)
    for start in range(0, n, _COLUMNS_PER_PANEL):
        end = min(n, start + _COLUMNS_PER_PANEL)
        diagonal = inverse_factor(backend, lower[start:end, start:end])
        if diagonal is None:
            return None
        # inv(L) of the rows of this panel: diagonal @ [-L[panel, :start] @ inv(L)[:start], I]
        if start:
            left = product(backend, lower[start:end, :start], inverse[:start, :start], n_threads)
            inverse[:start, start:end] = -product(backend, left.T, diagonal, n_threads)
        inverse[start:end, start:end] = diagonal.T
        if end < n:
            panel = product(backend, lower[end:, start:end], diagonal, n_threads)
            lower[end:, start:end] = panel
            lower[end:, end:] -= product(backend, panel, panel, n_threads)
    return product(backend, inverse, inverse, n_threads)


def solution_of_spd(backend: Backend, A: Doubles, b: Doubles, n_threads: int) -> Doubles | None:
    """Return inv(A) @ b of a symmetric matrix, or None unless it is positive definite to rounding."""
    if len(A) > _COLUMNS_PER_PANEL:
        inverse = inverse_of_spd(backend, A, n_threads)
        return (
            None if inverse is None else product(backend, inverse, b[np.newaxis], n_threads)[:, 0]
        )
    factor = inverse_factor(backend, A)
    if factor is None:
        return None
    half = product(backend, factor, b[np.newaxis], n_threads)
    return product(backend, factor.T, half.T, n_threads)[:, 0]


def inverse_factor(backend: Backend, A: Doubles) -> Doubles | None:
    """Return inv(L) of A = L L', or None."""
    inverse = np.empty(A.shape)
    return inverse if backend.inverse_factor(A.copy(), inverse) else None
