"""Proximal Newton's method, for a penalty with L1.

Each iteration minimises a quadratic model of the smooth part of the objective, and L1 itself, by coordinate
descent, and goes towards that minimum until the objective falls enough (Lee, Sun, Saunders: Proximal
Newton-type Methods for Minimizing Composite Functions, 2014):

    <g, D> + <D, B D> / 2 + l1 * sum(|W + D|)

B starts from one of two approximations of the Hessian of the mean loss, to which the curvature of the
penalty is added:

- S kron G of `preconditioner`, or with the diagonal of G where G would be too large or too dear;
- the Hessian itself, over the weights that are not 0 or close to moving, of enough rows to tell it. It is
  computed once the iterations since the last one have taken as long as it takes: at every iteration of a
  small problem, where this is Newton's method.

BFGS updates add what the steps since then have shown, each as two terms of rank one: with B the matrix
before a pair (s, y), B + y y' / s'y - B s s'B / s'Bs. Weights that are 0, and whose slopes are well within
l1, are left out of an iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from ..backends import QuadraticModel
from ..backends.recorder import PRECONDITIONER, STEP, timed
from .lbfgs import Lbfgs, Pairs, Point
from .linear_algebra import dot, product, solution_of_spd
from .objective import Objective
from .preconditioner import Dense, Diagonal, curvature_of_classes, is_dense_worthwhile

Doubles = NDArray[np.float64]

# Pairs that are kept: at most, at least, and as many as have that many numbers in between.
_MAX_PAIRS, _MIN_PAIRS, _NUMBERS_IN_PAIRS = 30, 5, 1 << 22
# A weight of 0 takes part if its slope is above this share of l1.
_CLOSE = 0.8
# Shares of the mean curvature that are added, of classes and of features.
_DAMPING, _RIDGE = 0.1, 1e-10
# Coordinate descent ends at that share of the first step, or after so many sweeps.
_TOLERANCE, _MAX_SWEEPS = 0.3, 50
_TOLERANCE_OF_HESSIAN, _SWEEPS_PER_ROUND, _MAX_ROUNDS = 0.05, 60, 10
# Newton's steps of the model are taken if they take no longer than that many iterations.
_MAX_ITERATIONS_TO_SOLVE = 20
# The Hessian: at most over so many weights, of so many rows a weight and class, or of all rows if these are
# at most twice as many; of some rows, again after so many pairs. Costs are in multiply-adds: Python takes
# as long as these, for an iteration and for a product of two classes.
_MAX_WEIGHTS, _ROWS_PER_WEIGHT = 2048, 100
_PAIRS_BETWEEN_SAMPLES = 10
_ITERATION, _PRODUCT = 5_000_000, 50_000
# A step has to lower the objective by that share of what the slopes promise.
_DECREASE = 1e-4
_MAX_TRIALS = 30


def pairs_for(objective: Objective) -> Pairs:
    """Return an empty memory for the steps of this method."""
    n_classes, n_features = objective.shape
    limit = min(_MAX_PAIRS, max(_MIN_PAIRS, _NUMBERS_IN_PAIRS // max(n_classes * n_features, 1)))
    return Pairs(objective.backend, objective.shape, objective.like.coef.dtype, limit)


@dataclass(frozen=True, eq=False)
class Hessian:
    """The Hessian of the mean loss over some weights."""

    weights: FloatArray  # at which it was computed
    coordinates: NDArray[np.int64]  # of the weights, flat
    H: Doubles


@dataclass(frozen=True, eq=False)
class ProximalNewton:
    """Takes steps of the method; what it approximates the Hessian by changes with `renewed` alone."""

    objective: Objective
    G: Doubles  # (n_features, n_features), or its diagonal, with the intercept
    classes: Doubles | None = None  # S, not damped
    hessian: Hessian | None = None

    @classmethod
    def of(cls, objective: Objective) -> Self:
        """Compute the second moments of the features."""
        if is_dense_worthwhile(objective):
            G = Dense.of(objective).G.copy()
            diagonal = G.reshape(-1)[:: len(G) + 1]
        else:
            G = diagonal = Diagonal.of(objective).squares.copy()
        diagonal += _RIDGE * diagonal.mean()
        return cls(objective, G)

    def renewed(self, solver: Lbfgs, point: Point, renews_classes: bool) -> ProximalNewton:
        """Return it with the approximations for a point; if the Hessian is new, the pairs are cleared."""
        coordinates = np.flatnonzero(self._takes_part(solver, point, _CLOSE))
        n_pairs = len(solver.pairs)
        is_covered = self.hessian is not None and self._covers(solver, point)
        # Some rows tell the Hessian no better the second time: the pairs have to.
        waits = is_covered and self._n_rows(len(coordinates)) and n_pairs < _PAIRS_BETWEEN_SAMPLES
        cost = self._cost(coordinates)
        if not waits and cost <= _iteration_cost(self.objective) * (1 + n_pairs):
            found = replace(self, hessian=self.hessian_at(point.weights, coordinates))
            if found.hessian is not None:
                solver.pairs.clear()
                return found
        if is_covered:
            return self
        found = replace(self, hessian=None)
        if renews_classes or self.classes is None:
            found = replace(found, classes=curvature_of_classes(self.objective, point.weights))
        return found

    def _covers(self, solver: Lbfgs, point: Point) -> bool:
        """Return whether the Hessian is over all weights that have to move."""
        assert self.hessian is not None
        left = self._takes_part(solver, point, 1.0)
        left.reshape(-1)[self.hessian.coordinates] = False
        return not left.any()

    def restored(self, solver: Lbfgs, weights: FloatArray) -> ProximalNewton:
        """Return it with the Hessian that `renewed` computed at these weights."""
        coordinates = np.flatnonzero(self._takes_part(solver, solver.at(weights), _CLOSE))
        return replace(self, hessian=self.hessian_at(weights, coordinates))

    @timed(STEP)
    def step(self, solver: Lbfgs, point: Point) -> tuple[Point | None, float]:
        """Return a point of a smaller objective, or None, and the decrease that the slopes promise."""
        found = self._minimum_of_model(solver, point)
        if found is None:
            return None, 0.0
        step, l1 = found - point.weights, solver.l1
        n_features = self.objective.like.coef.shape[1]
        W, V = point.weights[:, :n_features], found[:, :n_features]
        promised = dot(point.gradient, step) + l1 * float((np.abs(V) - np.abs(W)).sum())
        # Near the minimum, differences of the objective are rounding errors.
        rounding = 4 * float(np.finfo(np.float64).eps) * abs(point.value)
        if not promised < 0:
            return None, 0.0
        size = 1.0
        for _ in range(_MAX_TRIALS):
            weights = found if size == 1 else point.weights + size * step
            after = solver.at(weights)
            is_telling = -size * promised > rounding
            allowed = _DECREASE * size * promised if is_telling else rounding
            if after.value <= point.value + allowed:
                solver.remember(point, after)
                return after, -promised
            over = after.value - point.value - size * promised
            vertex = -promised * size**2 / (2 * over) if isfinite(over) and over > 0 else 0.0
            size = min(size / 2, max(size / 10, vertex))
        return None, -promised

    def _takes_part(self, solver: Lbfgs, point: Point, share: float) -> NDArray[np.bool_]:
        """Return which weights an iteration may change."""
        takes_part: NDArray[np.bool_] = (point.weights != 0) | (
            np.abs(point.gradient) > share * solver.l1
        )
        takes_part[:, self.objective.like.coef.shape[1] :] = True
        return takes_part

    def _minimum_of_model(self, solver: Lbfgs, point: Point) -> FloatArray | None:
        """Return weights near the minimum of the model, or None if they are not finite."""
        if self.hessian is None:
            coordinates = np.flatnonzero(self._takes_part(solver, point, _CLOSE))
        else:
            coordinates = self.hessian.coordinates
        weights = point.weights.copy()
        some = weights.reshape(-1)[coordinates]
        model = self._model(solver, point, coordinates)
        if self.hessian is None:
            self.objective.backend.coordinate_descent(model, some, _TOLERANCE, _MAX_SWEEPS)
        else:
            self._minimise(model, some)
        if not np.isfinite(some).all():
            return None
        weights.reshape(-1)[coordinates] = some
        return weights

    def _minimise(self, model: QuadraticModel, weights: Doubles) -> None:
        """Minimise a model whose whole quadratic function is G, by coordinate descent and Newton's steps.

        These are for the weights that are not 0, with their signs: where features are correlated,
        coordinate descent alone finds the signs soon, and the weights late.
        """
        start, slopes = weights.copy(), model.slopes
        for i in range(_MAX_ROUNDS):
            n_sweeps = self.objective.backend.coordinate_descent(
                model._replace(slopes=slopes), weights, _TOLERANCE_OF_HESSIAN, _SWEEPS_PER_ROUND
            )
            step = weights - start
            slopes = model.slopes + self._product(step[np.newaxis], model.G)[0]
            # The first time, short steps may tell of slow ones alone.
            has_ended = i > 0 and n_sweeps < _SWEEPS_PER_ROUND
            if has_ended or not np.isfinite(slopes).all():
                return
            free = np.flatnonzero((weights != 0) | (model.thresholds == 0))
            if len(free) ** 3 > _MAX_ITERATIONS_TO_SOLVE * _iteration_cost(self.objective):
                continue
            signs = np.sign(weights[free])
            direction = solution_of_spd(
                self.objective.backend,
                model.G[np.ix_(free, free)],
                slopes[free] + model.thresholds[free] * signs,
                self.objective.n_threads,
            )
            if direction is None:
                continue
            whole = np.zeros(len(weights))
            whole[free] = direction
            turns = ((weights - whole) * weights < 0) & (model.thresholds > 0)
            # To where all signs have changed that do or, if that is no lower, the first one.
            for size in (1.0, float((weights[turns] / whole[turns]).min(initial=1.0))):
                found = weights - size * whole
                found[turns & (found * weights <= 0)] = 0
                change = found - weights
                changed = self._product(change[np.newaxis], model.G)[0]
                fall = dot(slopes + changed / 2, change)
                fall += float((model.thresholds * (np.abs(found) - np.abs(weights))).sum())
                if fall < 0:
                    weights[...], slopes = found, slopes + changed
                    break

    def _model(self, solver: Lbfgs, point: Point, coordinates: NDArray[np.int64]) -> QuadraticModel:
        n_classes, size = self.objective.shape
        n_penalised = self.objective.like.coef.shape[1]
        classes, features = np.divmod(coordinates, size)
        penalty, thresholds = np.full(size, 2 * solver.l2), np.full(size, solver.l1)
        penalty[n_penalised:] = thresholds[n_penalised:] = 0
        curvature, n = penalty[features], len(coordinates)
        steps = solver.pairs.steps
        if self.hessian is not None:
            S, G = np.ones((1, 1)), self.hessian.H
            steps = steps.reshape(len(steps), point.weights.size)[:, coordinates]
            products = self._product(steps, G) + curvature * steps
            at = np.zeros(n, np.int64), np.arange(n)
        else:
            assert self.classes is not None
            S, G = self.classes.copy(), self.G
            S.reshape(-1)[:: n_classes + 1] += _DAMPING * float(np.trace(S)) / n_classes
            of_features = G if G.ndim == 1 else G.reshape(-1)[:: size + 1]
            diagonal = np.diag(S)[classes] * of_features[features] + curvature
            products = self._times_kronecker(S, steps) + penalty * steps
            at = classes, features
        vectors, signs = self._updates(solver, steps, products, coordinates)
        if self.hessian is not None:
            G = G + self._product(vectors * signs, vectors) if len(signs) else G.copy()
            diagonal = G.reshape(-1)[:: n + 1]
            diagonal += curvature
            curvature, vectors, signs = np.zeros(n), np.empty((n, 0)), np.empty(0)
        diagonal = diagonal + (vectors * vectors * signs).sum(axis=1)
        return QuadraticModel(
            *(S, G, *at, point.gradient.reshape(-1)[coordinates], curvature),
            *(thresholds[features], diagonal, vectors, signs),
        )

    def _times_kronecker(self, S: Doubles, steps: Doubles) -> Doubles:
        """Return S @ step @ G of all steps, (n_steps, n_classes, n_features [+ 1])."""
        if not len(steps):
            return steps
        n_steps, n_classes, size = steps.shape
        flat = steps.reshape(-1, size)
        by_features = flat * self.G if self.G.ndim == 1 else self._product(flat, self.G)
        each = (
            by_features.reshape(n_steps, n_classes, size).transpose(0, 2, 1).reshape(-1, n_classes)
        )
        return self._product(each, S).reshape(n_steps, size, n_classes).transpose(0, 2, 1)

    def _updates(
        self, solver: Lbfgs, steps: Doubles, products: Doubles, coordinates: NDArray[np.int64]
    ) -> tuple[Doubles, Doubles]:
        """Return the vectors of BFGS's updates, (n_coordinates, n_vectors), and their signs."""
        n_classes, size = self.objective.shape
        differences = solver.pairs.differences.reshape(len(steps), n_classes * size)
        if self.hessian is not None:
            differences = differences[:, coordinates]
        vectors = np.empty((2 * len(steps), differences.shape[1]))
        signs, n = np.tile([-1.0, 1.0], len(steps)), 0
        for s, initial, y in zip(steps, products, differences, strict=True):
            s, Bs = s.reshape(-1), initial.reshape(-1)
            shares = signs[:n] * np.add.reduce(vectors[:n] * s, axis=1)
            Bs = Bs + np.add.reduce(shares[:, np.newaxis] * vectors[:n], axis=0)
            sBs, sy = dot(s, Bs), dot(s, y)
            if sBs > 0 and sy > 0:
                vectors[n], vectors[n + 1] = Bs / sqrt(sBs), y / sqrt(sy)
                n += 2
        found = vectors[:n] if self.hessian is not None else vectors[:n, coordinates]
        return np.ascontiguousarray(found.T), signs[:n]

    def _product(self, A: Doubles, B: Doubles) -> Doubles:
        """Return A @ B'."""
        if not len(A):
            return np.zeros((0, len(B)))
        return product(self.objective.backend, A, B, self.objective.n_threads)

    def _n_rows(self, n: int) -> int | None:
        """Return how many rows the Hessian over n weights is computed from; None for all."""
        n_rows = _ROWS_PER_WEIGHT * n // max(self.objective.shape[0] - 1, 1)
        return None if len(self.objective) <= 2 * n_rows else n_rows

    def _cost(self, coordinates: NDArray[np.int64]) -> float:
        """Return the multiply-adds of the Hessian."""
        n, (n_classes, size) = len(coordinates), self.objective.shape
        if n > _MAX_WEIGHTS or not self.objective.has_dense_rows or not n:
            return np.inf
        n_rows = self._n_rows(n) or len(self.objective)
        n_products = n_classes * (n_classes + 1) // 2 * self.objective.n_blocks(n_rows)
        return n_rows * (n * n / 2 + size * n_classes) + n_products * _PRODUCT

    @timed(PRECONDITIONER)
    def hessian_at(self, weights: FloatArray, coordinates: NDArray[np.int64]) -> Hessian | None:
        """Compute it over some weights."""
        n, size = len(coordinates), self.objective.shape[1]
        ends = np.searchsorted(coordinates, np.arange(len(weights) + 1) * size)
        features = [coordinates[a:b] % size for a, b in pairwise(ends)]
        H, n_rows = np.zeros((n, n)), 0
        for x, p, mass in self.objective.probabilities(weights, self._n_rows(n)):
            columns = np.ascontiguousarray(x.T)
            n_rows += len(x)
            for k, of_k in enumerate(features):
                if not len(of_k):
                    continue
                left = columns[of_k]
                for m, of_m in enumerate(features[k:], k):
                    if len(of_m):
                        v = p[:, k] * ((k == m) - p[:, m])
                        v = v if mass is None else v * mass[:, 0]
                        H[ends[k] : ends[k + 1], ends[m] : ends[m + 1]] += self._product(
                            left * v, columns[of_m]
                        )
        H /= n_rows
        H = np.triu(H) + np.triu(H, 1).T
        diagonal = H.reshape(-1)[:: n + 1]
        diagonal += _RIDGE * diagonal.mean()
        return Hessian(weights, coordinates, H) if np.isfinite(diagonal).all() else None


def _iteration_cost(objective: Objective) -> float:
    n_classes, n_features = objective.shape
    return 2.0 * len(objective) * n_classes * n_features + _ITERATION
