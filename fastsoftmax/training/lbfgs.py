"""L-BFGS on the whole objective: each iteration lowers it.

    f(W, b) = mean_i w_i l_i + l2 * sum(W**2),       F = f + l1 * sum(|W|)

With g = grad f, the direction is -H g, where H is the inverse Hessian that the last pairs (s, y) of steps
and differences of gradients imply, beginning with that of the preconditioner (Nocedal, Wright: Numerical
Optimization, 2006, algorithm 7.4). With l1, `proximal_newton` takes the steps.

The step size is 1 if that satisfies the weak Wolfe conditions, else it is found by quadratic
interpolation, halving and doubling. Near the optimum, where differences of f are rounding errors, the
slopes alone decide (Hager, Zhang: A New Conjugate Gradient Method with Guaranteed Descent, 2005, sect. 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf, isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from ..backends import Backend
from ..backends.recorder import STEP, timed
from .linear_algebra import scaled
from .objective import Evaluation, Objective

Doubles = NDArray[np.float64]

# Pairs that are kept. More save few passes, and cost memory: two arrays of the size of the weights each.
N_PAIRS = 10
# The constants of the weak Wolfe conditions: sufficient decrease (Armijo), and curvature.
_DECREASE = 1e-4
_CURVATURE = 0.9
_MAX_TRIALS = 30
# A pair whose curvature, relative to the lengths, is below this many roundings is dropped.
_MIN_CURVATURE = 10
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(eq=False)
class Pairs:
    """The last steps s and the differences y of the gradients at their ends, from the oldest on."""

    backend: Backend
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    limit: int = N_PAIRS  # of their number

    def __post_init__(self) -> None:
        self._n, self._rounding = 0, float(np.finfo(self.dtype).eps)
        self._steps = np.empty((self.limit, *self.shape), self.dtype)
        self._differences, self._products = np.empty_like(self._steps), np.empty(self.limit)

    def __len__(self) -> int:
        return self._n

    @property
    def steps(self) -> FloatArray:
        """The steps, (n_pairs, *shape)."""
        return self._steps[: self._n]

    @property
    def differences(self) -> FloatArray:
        """The differences, (n_pairs, *shape)."""
        return self._differences[: self._n]

    def add(self, step: FloatArray, difference: FloatArray) -> None:
        """Add a pair of positive curvature, and drop the oldest; ignore any other."""
        dot = self.backend.dot
        product, square = dot(step, difference), dot(difference, difference)
        least = _MIN_CURVATURE * self._rounding * sqrt(dot(step, step) * square)
        if not product > least or not square > _TINY:
            return
        if self._n == self.limit:
            for values in (self._steps, self._differences, self._products):
                values[:-1] = values[1:]
            self._n -= 1
        self._steps[self._n], self._differences[self._n] = step, difference
        self._products[self._n] = product
        self._n += 1

    def with_curvature(self, change: float, n_columns: int) -> Pairs:
        """Return the pairs of an objective with `change / 2 * sum(weights**2)` of these columns added."""
        pairs = replace(self)
        for s, y in zip(self.steps, self.differences, strict=True):
            changed = y.copy()
            changed[:, :n_columns] += scaled(s[:, :n_columns], change)
            pairs.add(s, changed)
        return pairs

    def clear(self) -> None:
        """Forget all pairs."""
        self._n = 0

    def times(
        self, gradient: Doubles, initial: Callable[[FloatArray], FloatArray] | None
    ) -> Doubles:
        """Return H @ gradient: the two-loop recursion, from `initial` or a multiple of the identity."""
        q, n, factors = gradient.copy(), self._n, np.empty(self._n)
        steps, differences = self.steps.reshape(n, q.size), self.differences.reshape(n, q.size)
        pairs = steps, differences, self._products[:n]
        self.backend.subtract_pairs(*pairs, q.reshape(-1), factors)
        if initial is not None:
            q = np.ascontiguousarray(initial(q), np.float64)
        elif n:
            last = self._differences[n - 1]
            q *= self._products[n - 1] / self.backend.dot(last, last)
        else:
            q *= 1 / max(1.0, sqrt(self.backend.dot(q, q)))
        self.backend.add_pairs(*pairs, q.reshape(-1), factors)
        return q


@dataclass(slots=True, eq=False)
class Point:
    """Weights, the loss and its gradient there; `value` is F, and `gradient` that of f, without l1.

    `gap` is what `Dual.gap` returns for it, once that has been computed.
    """

    weights: FloatArray
    at: Evaluation
    value: float
    gradient: Doubles
    gap: float | None = None


@dataclass(eq=False)
class Lbfgs:
    """Minimises an objective with a penalty; the intercept, the last column if there is one, has none."""

    objective: Objective
    l2: float
    l1: float
    pairs: Pairs = field(default=None)  # type: ignore[assignment]  # None for an empty memory
    # Evaluates the mean loss in place of the objective; None where the objective has to name what is wrong.
    evaluate: Callable[[FloatArray], Evaluation | None] = lambda _: None
    n_passes: int = 0  # evaluations so far

    def __post_init__(self) -> None:
        if self.pairs is None:
            objective = self.objective
            self.pairs = Pairs(objective.backend, objective.shape, objective.like.coef.dtype)
        self._dot = self.objective.backend.dot

    def at(self, weights: FloatArray) -> Point:
        """Evaluate the objective at some weights."""
        self.n_passes += 1
        return self.point(weights, self.evaluate(weights) or self.objective(weights))

    def with_penalty(self, l2: float, l1: float) -> Lbfgs:
        """Return a solver of the same rows with another penalty, and the pairs that hold for it."""
        pairs = self.pairs.with_curvature(2 * (l2 - self.l2), self.objective.like.coef.shape[1])
        return Lbfgs(self.objective, l2, l1, pairs)

    def point(self, weights: FloatArray, at: Evaluation) -> Point:
        """Add the penalty to the mean loss at some weights."""
        W = self._coef(weights)
        gradient, value = at.gradient.copy(), at.loss
        if self.l2:
            self._coef(gradient)[...] += scaled(W, 2 * self.l2)
            value += self.l2 * self._dot(W, W)
        if self.l1:
            value += self.l1 * float(np.abs(W).sum(dtype=np.float64))
        return Point(weights, at, value, gradient)

    @timed(STEP)
    def step(
        self,
        point: Point,
        initial: Callable[[FloatArray], FloatArray] | None,
    ) -> Point | None:
        """Return a point of a smaller objective, or None where rounding lets no step find one."""
        for has_pairs in (True, False):
            slopes = point.gradient
            direction = -self.pairs.times(slopes, initial)
            if initial is not None and not self._dot(slopes, direction) < 0:
                direction = -self.pairs.times(slopes, None)  # rounding dominates the preconditioner
            found = self.along(point, slopes, direction)
            if found is not None:
                self.remember(point, found)
                return found
            if has_pairs and not self.pairs:
                return None
            self.pairs.clear()
        return None

    def remember(self, point: Point, found: Point) -> None:
        """Keep the pair of the step from one point to another."""
        difference = (found.gradient - point.gradient).astype(point.weights.dtype)
        self.pairs.add(found.weights - point.weights, difference)

    def along(
        self, point: Point, slopes: Doubles, direction: Doubles, flattened: float = _CURVATURE
    ) -> Point | None:
        """Return a point of a smaller objective in this direction, or None if there is none.

        Steps grow until the slope is at most the share `flattened` of what it was.
        """
        dot = self._dot
        slope = dot(slopes, direction)
        if not slope < 0:
            return None
        size = 1.0
        lowest: Point | None = None  # of those with sufficient decrease
        rounding = 4 * float(np.finfo(point.weights.dtype).eps) * abs(point.value)
        for _ in range(_MAX_TRIALS):
            step = direction if size == 1 else size * direction
            weights = (point.weights + step).astype(point.weights.dtype, copy=False)
            moved = weights - point.weights
            promised = dot(slopes, moved)
            if not promised and not moved.any():
                return None
            found = self.at(weights)
            if lowest is not None and not found.value <= lowest.value:
                return lowest
            rise = dot(found.gradient, moved) if promised < 0 else inf
            falls = found.value <= point.value + _DECREASE * promised
            level = found.value <= point.value + rounding and rise <= (2 * _DECREASE - 1) * promised
            if not isfinite(found.value) or not (falls or level):
                over = found.value - point.value - size * slope
                vertex = -slope * size**2 / (2 * over) if isfinite(over) and over > 0 else 0.0
                size = min(size / 2, max(size / 10, vertex))
            elif rise < flattened * promised:
                lowest, left = found, rise / promised
                size *= 2 if left > 0.5 else 1 / (1 - left)  # to where a parabola has no slope
            else:
                return found
        return lowest

    def slopes(self, point: Point) -> Doubles:
        """Return the subgradient of F of least norm, the gradient where there is one."""
        if not self.l1:
            return point.gradient
        slopes = point.gradient.copy()
        W, g = self._coef(point.weights), self._coef(slopes)
        shrunk = np.sign(g) * np.maximum(np.abs(g) - self.l1, 0)
        g[...] = np.where(W != 0, g + scaled(np.sign(W), self.l1), shrunk)
        return slopes

    def _coef(self, weights: FloatArray) -> FloatArray:
        return weights[:, : self.objective.like.coef.shape[1]]
