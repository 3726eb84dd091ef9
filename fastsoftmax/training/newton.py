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
from ..backends import Data, NewtonRows
from ..backends.recorder import PASS, STEP, timed
from .linear_algebra import product
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
    factor: Doubles  # -1 / weight of each row, 0 where that is 0

    @classmethod
    def of(cls, objective: Objective, l2: float) -> Newton:
        """Read the rows, all at once."""
        whole = objective.whole
        assert whole is not None
        n_rows, (n_classes, n_features) = len(objective), objective.like.coef.shape
        x = np.ones((n_rows, objective.shape[1]))
        x[:, :n_features] = whole.X  # type: ignore[assignment]  # dense
        targets = np.ascontiguousarray(targets_of(whole, slice(None), n_classes).T)
        factor = np.full(n_rows, -1.0)
        if whole.weights is not None and whole.weights.rows is not None:
            masses = targets.sum(axis=0)
            factor = -1 / np.where(masses > 0, masses, np.inf)
        return cls(
            objective=objective,
            l2=l2,
            data=whole,
            x=x,
            columns=np.ascontiguousarray(x.T),
            targets=targets,
            factor=factor,
        )

    def with_penalty(self, l2: float) -> Newton:
        """Return the problem of the same rows with another penalty."""
        return replace(self, l2=l2)

    @cached_property
    def rows(self) -> NewtonRows:
        """The rows as the backend takes them, with the penalty."""
        curvature = np.zeros(self.x.shape[1])
        curvature[: self.objective.like.coef.shape[1]] = 2 * self.l2 * len(self.x)
        floor = np.logical_not(self.columns.any(axis=1)).astype(np.float64)
        return NewtonRows(self.x, self.targets, self.factor, curvature, floor)

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
        damping = max(_ROUNDINGS * float(np.finfo(weights.dtype).eps), _MIN_DAMPING)
        direction = np.empty(weights.shape)
        is_definite = self.objective.backend.newton_direction(
            self.rows, at.of_logits, gradient, weights, damping, direction
        )
        return direction if is_definite else None

    def _product(self, A: Doubles, B: Doubles) -> Doubles:
        """Return A @ B'."""
        return product(self.objective.backend, A, B, self.objective.n_threads)
