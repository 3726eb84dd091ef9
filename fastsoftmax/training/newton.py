"""Newton's method for small problems: the Hessian itself, at every iteration.

The Hessian of the mean loss is the mean over rows of w (diag(p) - p p') kron x x'. It is 0 along steps in
which the weights of all classes move alike: only the penalty sees those, and takes them to 0 at once. What
is left is steps d whose sum over the classes is 0. With those of all classes but the last as unknowns, the
Hessian is made of symmetric blocks, one for each pair of these classes:

    H_kl = mean(w v_kl x x'),        v_kl = [k = l] p_k + p_c - (p_k - p_c) (p_l - p_c)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from ..backends import Data
from ..backends.recorder import PASS, STEP, timed
from .linear_algebra import product, solution_of_spd
from .objective import Evaluation, Objective, targets_of

Doubles = NDArray[np.float64]

# The cost of an iteration, in multiply-adds: so many for each of the numbers that the Hessian is computed
# from. It may be that of some passes (one of Newton's iterations saves one to five others), and of what
# Python takes for those.
_PER_NUMBER, _PASSES, _IN_PYTHON = 10, 4, 2_500_000
# The numbers that the Hessian is computed from: at most as many, in float64, as a block of rows has.
_MAX_NUMBERS = 1 << 19
# Steps far from the minimum are too short: they grow until this share of the slope is left. An evaluation
# more takes a fifth of an iteration.
FLATTENED = 0.3
# The share that is added to the diagonal, in roundings of the weights' type and at least: where features
# are linearly dependent, and there is no penalty, rounding must not become a step.
_ROUNDINGS, _MIN_DAMPING = 64, 1e-12


def pays(objective: Objective) -> bool:
    """Return whether iterations by the Hessian are few enough to be worth what each takes."""
    (n_classes, n_features), n_rows = objective.shape, len(objective)
    n_numbers = n_classes * (n_classes - 1) // 2 * n_rows * n_features
    cost = n_numbers * (n_features + _PER_NUMBER) + ((n_classes - 1) * n_features) ** 3 // 2
    of_pass = 2 * n_rows * n_features * n_classes
    is_small = n_numbers <= _MAX_NUMBERS and cost <= _PASSES * of_pass + _IN_PYTHON
    return is_small and objective.whole is not None


@dataclass(eq=False)
class Newton:
    """A small problem in float64: what the loss and the Hessian are computed from."""

    objective: Objective
    l2: float
    data: Data
    x: Doubles  # (n_rows, n_features [+ 1]), with 1 for the intercept
    columns: Doubles  # x, transposed
    targets: Doubles  # (n_classes, n_rows), times the weights of the rows
    factor: Doubles | float  # -1 / weight of each row
    is_zero: NDArray[np.bool_]  # the features that are 0 everywhere
    first: NDArray[np.int64]  # the classes of each block
    second: NDArray[np.int64]
    own: NDArray[np.int64]  # the blocks of one class
    block_of: NDArray[np.int64]  # the block of each pair of classes

    @classmethod
    def of(cls, objective: Objective, l2: float) -> Newton:
        """Read the rows, all at once."""
        whole = objective.whole
        assert whole is not None
        n_rows, (n_classes, n_features) = len(objective), objective.like.coef.shape
        n_unknown, size = n_classes - 1, objective.shape[1]
        x = np.ones((n_rows, size))
        x[:, :n_features] = whole.X  # type: ignore[assignment]  # dense
        targets = np.ascontiguousarray(targets_of(whole, slice(None), n_classes).T)
        factor: Doubles | float = -1.0
        if whole.weights is not None and whole.weights.rows is not None:
            masses = targets.sum(axis=0)
            factor = -1 / np.where(masses > 0, masses, np.inf)
        pairs = [(k, m) for k in range(n_unknown) for m in range(k, n_unknown)]
        first, second = np.array(pairs).T
        block_of = np.empty((n_unknown, n_unknown), np.int64)
        block_of[first, second] = block_of[second, first] = np.arange(len(pairs))
        return cls(
            objective=objective,
            l2=l2,
            data=whole,
            x=x,
            columns=np.ascontiguousarray(x.T),
            targets=targets,
            factor=factor,
            is_zero=np.logical_not(x.any(axis=0)),
            first=first,
            second=second,
            own=np.flatnonzero(first == second),
            block_of=block_of,
        )

    def with_penalty(self, l2: float) -> Newton:
        """Return the problem of the same rows with another penalty."""
        return replace(self, l2=l2)

    @cached_property
    def penalty(self) -> Doubles:
        """n_rows times the Hessian of the penalty, and 1 for features that are 0 everywhere."""
        n_rows, size = self.x.shape
        n_features, n_unknown = self.objective.like.coef.shape[1], len(self.own)
        by_class, features = np.zeros((n_unknown, size, n_unknown, size)), np.arange(n_features)
        by_class[:, features, :, features] = 2 * self.l2 * n_rows
        penalty = by_class.reshape(n_unknown * size, -1)
        diagonal = penalty.reshape(-1)[:: len(penalty) + 1].reshape(n_unknown, size)
        diagonal *= 2
        diagonal += self.is_zero
        return penalty

    @timed(PASS)
    def evaluate(self, weights: FloatArray) -> Evaluation | None:
        """Evaluate the mean loss and its gradients, or return None if a row has no loss."""
        n_rows, n_threads = len(self.x), self.objective.n_threads
        losses, targets = np.empty(n_rows), self.data.targets
        with np.errstate(over="ignore", invalid="ignore"):
            logits = self._product(self.x, weights.astype(np.float64, copy=False))
            invalid = self.objective.backend.softmax_cross_entropy(
                logits, targets, 1.0, losses, logits, n_threads, self.data.weights
            )
        if invalid >= 0:
            return None
        of_logits = np.ascontiguousarray(logits.T)
        by_feature = self._product(self.columns, of_logits)  # fewer classes than features: faster
        gradient = np.divide(by_feature.T, n_rows, order="C")
        return Evaluation(float(np.add.reduce(losses)) / n_rows, gradient, of_logits)

    @timed(STEP)
    def direction(self, weights: FloatArray, at: Evaluation, gradient: Doubles) -> Doubles | None:
        """Return the step at these weights, or None if the Hessian is not positive definite to rounding."""
        if at.of_logits is None:
            return None
        n_rows, size = self.x.shape
        p = at.of_logits + self.targets  # times the weights of the rows, as v will be
        beyond = p[:-1] - p[-1]
        v = beyond[self.first] * beyond[self.second]
        v *= self.factor
        v += p[-1]
        v[self.own] += p[:-1]
        rows = (v[:, np.newaxis] * self.columns).reshape(-1, n_rows)
        blocks = self._product(rows, self.columns).reshape(-1, size, size)
        H = blocks[self.block_of].transpose(0, 2, 1, 3).reshape(self.penalty.shape) + self.penalty
        damping = max(_ROUNDINGS * float(np.finfo(weights.dtype).eps), _MIN_DAMPING)
        H.reshape(-1)[:: len(H) + 1] *= 1 + damping
        slopes = n_rows * (gradient[-1] - gradient[:-1]).ravel()
        solution = solution_of_spd(self.objective.backend, H, slopes, self.objective.n_threads)
        if solution is None:
            return None
        direction = np.empty(weights.shape)
        direction[:-1] = solution.reshape(-1, size)
        np.negative(np.add.reduce(direction[:-1]), out=direction[-1])
        if self.l2:
            n_features = self.objective.like.coef.shape[1]
            means = np.add.reduce(weights[:, :n_features], dtype=np.float64)
            direction[:, :n_features] -= means / len(weights)
        return direction

    def _product(self, A: Doubles, B: Doubles) -> Doubles:
        """Return A @ B'."""
        return product(self.objective.backend, A, B, self.objective.n_threads)
