"""Newton's method for small problems: the Hessian itself, at every iteration.

With p the probabilities of a row x, whose weight is w, the Hessian of the mean loss is made of blocks, one
for each pair of classes:

    H_kl = -mean(w p_k p_l x x')  for k != l,        H_kk = -sum of H_kl over the other classes l

which is how it is computed: no difference is taken. It is 0 along steps in which the weights of all classes
move alike. The loss does not change along them; the penalty alone says that these weights go to 0, at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from .linear_algebra import product, solution_of_spd
from .objective import Objective

Doubles = NDArray[np.float64]

# An iteration of Newton's method may take that many multiply-adds: as many as the others take in so many
# passes (it saves about five iterations of six), and in the time of so many iterations in Python.
_PASSES, _PRODUCTS_IN_PYTHON = 4, 3_000_000
# The numbers, of 8 bytes, that the Hessian is computed from.
_MAX_NUMBERS = 1 << 20
# The share that is added to the diagonal, in roundings of the weights' type and at least: where features
# are linearly dependent, and there is no penalty, rounding must not become a step.
_ROUNDINGS, _MIN_DAMPING = 64, 1e-12


def pays(objective: Objective) -> bool:
    """Return whether iterations by the Hessian are few enough to be worth what each takes."""
    (n_classes, n_features), n_rows = objective.shape, len(objective)
    n_pairs = n_classes * (n_classes - 1) // 2
    of_hessian = n_pairs * n_rows * n_features**2 + (n_classes * n_features) ** 3
    of_pass = 2 * n_rows * n_features * n_classes
    return (
        objective.whole is not None
        and n_pairs * n_rows * n_features <= _MAX_NUMBERS
        and of_hessian <= _PASSES * of_pass + _PRODUCTS_IN_PYTHON
    )


@dataclass(eq=False)
class Newton:
    """The rows in float64, as the Hessian needs them: with 1 for the intercept, and transposed."""

    objective: Objective
    curvature: float  # of the penalty, 2 * l2
    x: Doubles  # (n_rows, n_features [+ 1])
    columns: Doubles
    shares: Doubles | float  # of the rows in the mean
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]]  # of classes

    @classmethod
    def of(cls, objective: Objective, curvature: float) -> Newton:
        """Read the rows, all at once."""
        whole = objective.whole
        assert whole is not None
        n_features = objective.like.coef.shape[1]
        x = np.ones((len(objective), objective.shape[1]))
        x[:, :n_features] = whole.X  # type: ignore[assignment]  # dense
        shares: Doubles | float = 1 / len(objective)
        if whole.weights is not None and whole.weights.rows is not None:
            shares = whole.weights.rows * shares
        pairs = np.triu_indices(len(objective.like.coef), 1)
        return cls(objective, curvature, x, np.ascontiguousarray(x.T), shares, pairs)

    def direction(self, weights: FloatArray, gradient: Doubles) -> Doubles | None:
        """Return the step at these weights, or None if the Hessian is not positive definite to rounding."""
        backend, n_threads = self.objective.backend, self.objective.n_threads
        (n, size), c, (first, second) = self.x.shape, len(weights), self.pairs
        p = product(backend, self.x, weights.astype(np.float64), n_threads)
        if backend.softmax(p, p, n_threads) >= 0:
            return None
        p = p.T
        products = p[first] * p[second] * self.shares
        rows = (products[:, np.newaxis] * self.columns).reshape(-1, n)
        of_pairs = product(backend, rows, self.columns, n_threads).reshape(-1, size, size)
        blocks = np.zeros((c, c, size, size))
        blocks[first, second] = of_pairs
        blocks[second, first] = of_pairs
        own = blocks.sum(axis=1)
        np.negative(blocks, out=blocks)
        every_class, every_feature = np.arange(c), np.arange(size)
        blocks[every_class, every_class] = own
        # Steps that all classes take alike get a curvature, of the size of that of others; any will do.
        blocks[:, :, every_feature, every_feature] += own.mean(axis=0).diagonal()
        H = blocks.transpose(0, 2, 1, 3).reshape(c * size, c * size)
        n_features = self.objective.like.coef.shape[1]
        diagonal = H.diagonal().reshape(c, size).copy()
        diagonal[:, :n_features] += self.curvature
        diagonal *= 1 + max(_ROUNDINGS * float(np.finfo(weights.dtype).eps), _MIN_DAMPING)
        diagonal[diagonal == 0] = 1  # a feature that is 0 everywhere
        H.flat[:: c * size + 1] = diagonal.ravel()
        slopes = gradient - gradient.mean(axis=0)
        solution = solution_of_spd(backend, H, slopes.ravel(), n_threads)
        if solution is None:
            return None
        direction = -solution.reshape(c, size)
        if self.curvature:
            direction[:, :n_features] -= weights[:, :n_features].mean(axis=0, dtype=np.float64)
        return direction
