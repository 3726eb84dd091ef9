"""The two loops of L-BFGS's recursion in NumPy, without BLAS, whose bits follow the CPU."""

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray

Doubles = NDArray[np.float64]


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
