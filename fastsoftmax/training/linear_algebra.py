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
_COLUMNS_PER_PANEL = 48


def product(backend: Backend, A: FloatArray, B: FloatArray, n_threads: int) -> FloatArray:
    """Return A @ B' for A (m, k) and B (n, k), of one dtype."""
    A, B = np.ascontiguousarray(A), np.ascontiguousarray(B)
    out = np.empty((len(A), len(B)), A.dtype)
    backend.linear_scores(A, B, np.zeros(len(B), B.dtype), out, n_threads)
    return out


def dot(a: FloatArray, b: FloatArray) -> float:
    """Return the sum of a * b over all elements, in float64."""
    return float(np.multiply(a, b, dtype=np.float64).sum())


def inverse_of_spd(backend: Backend, A: Doubles, n_threads: int) -> Doubles | None:
    """Return the inverse of a symmetric matrix, or None unless it is positive definite to rounding.

    A = L L' by panels (Golub, Van Loan: Matrix Computations, section 4.2.9), then inv(L)' inv(L).
    """
    n = len(A)
    lower = A.copy()
    inverse = np.zeros_like(A)  # of L, transposed: row j is column j of inv(L)
    for start in range(0, n, _COLUMNS_PER_PANEL):
        end = min(n, start + _COLUMNS_PER_PANEL)
        diagonal = _inverse_factor(lower[start:end, start:end])
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


def _inverse_factor(A: Doubles) -> Doubles | None:
    """Return inv(L) of A = L L', or None, column by column."""
    work, inverse = A.copy(), np.eye(len(A))
    for j in range(len(A)):
        pivot = work[j, j]
        if not pivot > 0 or not np.isfinite(pivot):
            return None
        root = np.sqrt(pivot)
        # Gaussian elimination of [A, I]: what is right becomes inv(L).
        inverse[j] /= root
        work[j, j:] /= root
        below = work[j, j + 1 :].copy()
        work[j + 1 :, j + 1 :] -= below[:, np.newaxis] * below
        inverse[j + 1 :] -= below[:, np.newaxis] * inverse[j]
    return inverse
