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
# Room for so many pairs more: those that are kept are moved when it is full. Of large weights, for one.
_MAX_SPARE, _MAX_SIZE_TO_SPARE = 10, 1 << 16
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
        self.n_changes = 0
        self._first, self._n, self._rounding = 0, 0, float(np.finfo(self.dtype).eps)
        n_classes, n_features = self.shape
        is_small = n_classes * n_features <= _MAX_SIZE_TO_SPARE
        n_places = self.limit + (_MAX_SPARE if is_small else 1) if self.limit else 0
        self._steps = np.empty((n_places, *self.shape), self.dtype)
        self._differences, self._products = np.empty_like(self._steps), np.empty(n_places)

    def __len__(self) -> int:
        return self._n

    @property
    def steps(self) -> FloatArray:
        """The steps, (n_pairs, *shape)."""
        return self._steps[self._first : self._first + self._n]

    @property
    def differences(self) -> FloatArray:
        """The differences, (n_pairs, *shape)."""
        return self._differences[self._first : self._first + self._n]

    def add(self, step: FloatArray, difference: FloatArray) -> None:
        """Add a pair of positive curvature, and drop the oldest; ignore any other."""
        dot, place = self.backend.dot, self._place()
        self._steps[place], self._differences[place] = step, difference
        self._keep(dot(step, difference), dot(step, step), dot(difference, difference))

    def add_between(self, point: Point, found: Point) -> None:
        """Add the pair of the step from one point to another."""
        place = self._place()
        products = self.backend.fill_pair(
            (point.weights, found.weights),
            (point.gradient, found.gradient),
            self._steps[place],
            self._differences[place],
        )
        self._keep(*products)

    def _place(self) -> int:
        """Return where a pair may be written, behind all others."""
        start, n = self._first, self._n
        if start + n == len(self._steps):
            for values in (self._steps, self._differences, self._products):
                values[:n] = values[start : start + n]
            self._first = 0
        return self._first + n

    def _keep(self, product: float, step: float, difference: float) -> None:
        """Keep the pair that was written, if its curvature is positive; given s'y, s's and y'y."""
        least = _MIN_CURVATURE * self._rounding * sqrt(step * difference)
        if not product > least or not difference > _TINY:
            return
        self.n_changes += 1
        self._products[self._first + self._n] = product
        if self._n == self.limit:
            self._first += 1
        else:
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
        self.n_changes += 1
        self._first = self._n = 0

    def times(
        self, gradient: Doubles, initial: Callable[[FloatArray], FloatArray] | None
    ) -> Doubles:
        """Return H @ gradient: the two-loop recursion, from `initial` or a multiple of the identity."""
        q, n, factors = gradient.copy(), self._n, np.empty(self._n)
        steps, differences = self.steps.reshape(n, q.size), self.differences.reshape(n, q.size)
        products = self._products[self._first : self._first + n]
        pairs = steps, differences, products
        self.backend.subtract_pairs(*pairs, q.reshape(-1), factors)
        if initial is not None:
            q = np.ascontiguousarray(initial(q), np.float64)
        elif n:
            last = differences[-1:]
            q *= products[-1] / self.backend.dot(last, last)
        else:
            q *= 1 / max(1.0, sqrt(self.backend.dot(q, q)))
        self.backend.add_pairs(*pairs, q.reshape(-1), factors)
        return q


@dataclass(slots=True, eq=False)
class Point:
    """Weights, the loss and its gradient there; `value` is F, and `gradient` that of f, without l1.

    `slopes_square` is the sum of the squares of the gradient, without the intercept's; `gap` is what
    `Dual.gap` returns for it, once that has been computed.
    """

    weights: FloatArray
    at: Evaluation
    value: float
    gradient: Doubles
    slopes_square: float
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
    # What the last direction is of, itself, and the slope along it.
    _last: tuple[tuple[Any, ...], Doubles, float] | None = None

    def __post_init__(self) -> None:
        if self.pairs is None:
            objective = self.objective
            self.pairs = Pairs(objective.backend, objective.shape, objective.like.coef.dtype)
        self._backend = self.objective.backend
        self._rounding = float(np.finfo(self.objective.like.coef.dtype).eps)

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
        gradient = np.empty(at.gradient.shape)
        n_features = self.objective.like.coef.shape[1]
        square, slopes_square = self._backend.add_penalty(
            weights, at.gradient, self.l2, n_features, gradient
        )
        value = at.loss
        if self.l2:
            value += self.l2 * square
        if self.l1:
            value += self.l1 * float(np.abs(self._coef(weights)).sum(dtype=np.float64))
        return Point(weights, at, value, gradient, slopes_square)

    @timed(STEP)
    def step(
        self,
        point: Point,
        initial: Callable[[FloatArray], FloatArray] | None,
    ) -> Point | None:
        """Return a point of a smaller objective, or None where rounding lets no step find one."""
        for has_pairs in (True, False):
            slopes = point.gradient
            direction, slope = self.downhill(point, initial)
            found = self.along(point, slopes, direction, slope)
            if found is not None:
                self.remember(point, found)
                return found
            if has_pairs and not self.pairs:
                return None
            self.pairs.clear()
        return None

    def downhill(
        self, point: Point, initial: Callable[[FloatArray], FloatArray] | None
    ) -> tuple[Doubles, float]:
        """Return the direction of the next step from a point, and the slope along it."""
        origin = point, initial, self.pairs, self.pairs.n_changes
        if self._last is not None and self._last[0] == origin:
            return self._last[1:]
        direction, slope = self._downhill(point.gradient, initial)
        if initial is not None and not slope < 0:  # rounding dominates the preconditioner
            direction, slope = self._downhill(point.gradient, None)
        self._last = origin, direction, slope
        return direction, slope

    def _downhill(
        self, slopes: Doubles, initial: Callable[[FloatArray], FloatArray] | None
    ) -> tuple[Doubles, float]:
        """Return the direction -H @ slopes, and the slope along it."""
        direction = self.pairs.times(slopes, initial)
        np.negative(direction, out=direction)
        return direction, self._backend.dot(slopes, direction)

    def forget_direction(self) -> None:
        """Drop the last direction, which takes the memory of the weights."""
        self._last = None

    def remember(self, point: Point, found: Point) -> None:
        """Keep the pair of the step from one point to another."""
        self.pairs.add_between(point, found)

    def along(
        self,
        point: Point,
        slopes: Doubles,
        direction: Doubles,
        slope: float,
        flattened: float = _CURVATURE,
    ) -> Point | None:
        """Return a point of a smaller objective in this direction, or None if there is none.

        Steps grow until the slope is at most the share `flattened` of what it was.
        """
        backend = self._backend
        if not slope < 0:
            return None
        size = 1.0
        lowest: Point | None = None  # of those with sufficient decrease
        rounding = 4 * self._rounding * abs(point.value)
        for _ in range(_MAX_TRIALS):
            weights, moved = np.empty_like(point.weights), np.empty_like(point.weights)
            promised, has_moved = backend.take_step(
                point.weights, direction, size, slopes, weights, moved
            )
            if not has_moved:
                return None
            found = self.at(weights)
            if lowest is not None and not found.value <= lowest.value:
                return lowest
            rise = backend.dot(found.gradient, moved) if promised < 0 else inf
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
