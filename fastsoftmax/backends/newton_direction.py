"""A step of Newton's method in NumPy: see `Backend.newton_direction`."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from .factorization import inverse_factor
from .protocol import NewtonRows

Doubles = NDArray[np.float64]


def newton_direction(
    scores: Callable[[Doubles, Doubles, Doubles, Doubles, int], None],
    rows: NewtonRows,
    of_logits: Doubles,
    gradient: Doubles,
    weights: FloatArray,
    damping: float,
    direction: Doubles,
) -> bool:
    """Implement `Backend.newton_direction`, with the products of `linear_scores`."""
    x, n_unknown, size = rows.x, len(of_logits) - 1, rows.x.shape[1]
    p = of_logits + rows.targets  # times the weights of the rows, as v will be
    beyond, columns = p[:-1] - p[-1], np.ascontiguousarray(x.T)
    blocks, of_pair = np.empty((n_unknown, size, n_unknown, size)), np.empty((size, size))
    for k in range(n_unknown):
        for m in range(k, n_unknown):
            v = p[-1] + beyond[k] * beyond[m] * rows.factor
            if k == m:
                v += p[k]
            scores(columns * v, columns, np.zeros(size), of_pair, 1)
            of_pair[np.diag_indices(size)] += rows.curvature * (1 + (k == m))
            blocks[k, :, m] = blocks[m, :, k] = (of_pair + of_pair.T) / 2
    H = blocks.reshape(n_unknown * size, -1)
    diagonal = H.reshape(-1)[:: len(H) + 1]
    diagonal += np.tile(rows.floor, n_unknown)
    diagonal *= 1 + damping
    slopes = len(x) * (gradient[-1] - gradient[:-1]).ravel()
    inverse = np.empty_like(H)
    if not inverse_factor(H, inverse):
        return False
    half = (inverse * slopes).sum(axis=1)
    direction[:-1] = (inverse.T * half).sum(axis=1).reshape(-1, size)
    direction[-1] = -direction[:-1].sum(axis=0)
    direction[:, rows.curvature > 0] -= weights.mean(axis=0, dtype=np.float64)[rows.curvature > 0]
    return True
