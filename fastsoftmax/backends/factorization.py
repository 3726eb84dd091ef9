"""The inverse of a Cholesky factor in NumPy: no BLAS or LAPACK, whose bits follow the CPU."""

import numpy as np
from numpy.typing import NDArray


def inverse_factor(A: NDArray[np.float64], out: NDArray[np.float64]) -> bool:
    """Implement `Backend.inverse_factor`, column by column."""
    n = len(A)
    out[...] = 0
    out.flat[:: n + 1] = 1
    for j in range(n):
        pivot = A[j, j]
        if not pivot > 0 or not np.isfinite(pivot):
            return False
        root = np.sqrt(pivot)
        # Gaussian elimination of [A, I]: what is right becomes inv(L).
        A[j, j:] /= root
        out[j, : j + 1] /= root
        below = A[j, j + 1 :].copy()
        A[j + 1 :, j + 1 :] -= below[:, np.newaxis] * below
        out[j + 1 :, : j + 1] -= below[:, np.newaxis] * out[j, : j + 1]
    return True
