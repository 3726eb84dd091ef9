"""A preconditioner for the loss of a linear softmax classifier: features and classes apart.

The Hessian of the mean loss is the mean over rows of (diag(p) - p p') kron x x'. Where both factors vary
independently, it is S kron G, with

    S = mean(diag(p) - p p')    (n_classes, n_classes)       G = mean(x x')    (n_features, n_features)

so that, with the penalty's curvature alpha and r = sqrt((tr G / n_features) / (tr S / n_classes)), an
approximation of the inverse Hessian of the objective is

    V -> inv(S + sqrt(alpha) / r I) V inv(G + sqrt(alpha) r I)

(Martens, Grosse: Optimizing Neural Networks with Kronecker-factored Approximate Curvature, 2015, section
6.3). L-BFGS starts from it instead of from a multiple of the identity. It need not be exact: G is that of
a subset of the rows, without their weights, and S is renewed rarely. _DAMPING adds to S, and the intercept
has a smaller damping than the features.

With many features, G is approximated by Nystrom's method (Halko, Martinsson, Tropp: Finding Structure with
Randomness, 2011, section 5.5), from its product with a few columns R of random signs:

    Y = G R,    R' Y = L L',    B = inv(L) Y',    G ~ B' B + rest,    rest = diag(G - B' B)

whose inverse needs that of a small matrix, I + B inv(rest) B' (Woodbury's formula).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from ..backends.recorder import PRECONDITIONER, timed
from .linear_algebra import inverse_factor, inverse_of_spd, product
from .objective import Objective

Doubles = NDArray[np.float64]

# Rows per feature in G: the most, beyond which more change little, and the least, if the most would take
# longer than so many passes. Its diagonal is that of all rows, since a feature may be 0 in all of these.
_MOST_ROWS_PER_FEATURE, _LEAST_ROWS_PER_FEATURE, _PASSES_FOR_MOST = 64, 16, 2
# Rows in S, evenly spread: the least, as many for each class, and the most.
_LEAST_ROWS_FOR_CLASSES, _ROWS_PER_CLASS, _MOST_ROWS_FOR_CLASSES = 1024, 64, 8192
# With more features, or where G and its inverse take as long as so many passes, G is approximated, with at
# most that rank and from so many rows; with more than the second number, by its diagonal, to bound memory.
_MAX_FEATURES, _MAX_FEATURES_OF_RANK = 2048, 1 << 16
_MAX_PASSES = 40
_RANK, _ROWS_FOR_RANK = 64, 4096
# A rank above the mean number of values of a sparse feature would take longer than a pass.
_MIN_RANK = 8
# S is singular, and small where all rows are classified well: that share of its mean eigenvalue is added.
_DAMPING = 0.1
# The intercept has no penalty; this share of the features' damping keeps its pivot positive.
_INTERCEPT_DAMPING = 1e-3
# The least damping of a feature, in penalties: classes have curvatures that are smaller than the mean.
_PENALTIES = 3.0
# The damping is rounded to a power of this, so that renewals and neighbours on a path have the same one:
# with hundreds of features, the inverse takes as long as many passes.
_DAMPING_STEP = 3.0
# So many roundings of its trace are added to a matrix of low rank before it is inverted.
_ROUNDINGS = 16


class FeatureFactor(Protocol):
    """G, the features' factor of the Hessian, or an approximation of it."""

    @property
    def mean_curvature(self) -> float:
        """The mean of the eigenvalues of G."""

    def inverse(self, damping: float) -> FeatureInverse | None:
        """Return what multiplies by inv(G + damping I), or None where that cannot be computed."""


class FeatureInverse(Protocol):
    """Multiplies by a symmetric positive definite matrix from the right."""

    def __call__(self, V: FloatArray) -> FloatArray:
        """Return (V @ inverse)', (n_features, n_classes)."""


@dataclass(eq=False)
class Dense:
    """G itself."""

    objective: Objective
    G: Doubles
    _last: tuple[float, FeatureInverse] | None = None  # a damping and its inverse

    @classmethod
    def of(cls, objective: Objective) -> Dense:
        """Compute G from some rows."""
        G = objective.second_moments(_rows_for_features(objective))
        n_features = objective.like.coef.shape[1]
        diagonal = G.reshape(-1)[:: len(G) + 1][:n_features]
        np.maximum(diagonal, objective.mean_squares(), out=diagonal)
        return cls(objective, G)

    @property
    def mean_curvature(self) -> float:
        """The mean of the eigenvalues of G."""
        return float(np.trace(self.G)) / len(self.G)

    def inverse(self, damping: float) -> FeatureInverse | None:
        """Invert G with `damping`, rounded to a power of `_DAMPING_STEP`, of a feature of the mean square.

        That of the others follows their scale: it is root times theirs, with root**2 = alpha over the mean
        curvature of the classes, and at least some times the penalty's, next to which G is small.
        """
        damping = float(_DAMPING_STEP ** np.round(np.log(damping) / np.log(_DAMPING_STEP)))
        if self._last is not None and self._last[0] == damping:
            return self._last[1]
        objective, root = self.objective, damping / np.sqrt(self.mean_curvature)
        of_features = root * np.maximum(np.sqrt(np.diag(self.G)), _PENALTIES * root)
        if objective.like.intercept is not None:
            of_features[-1] *= _INTERCEPT_DAMPING
        inverse = inverse_of_spd(
            objective.backend, self.G + np.diag(of_features), objective.n_threads
        )
        if inverse is None:
            return None
        rounded = inverse.astype(objective.like.coef.dtype)
        self._last = (
            damping,
            lambda V: product(objective.backend, rounded, V, objective.n_threads),
        )
        return self._last[1]


@dataclass(eq=False)
class Diagonal:
    """The diagonal of G."""

    objective: Objective
    squares: Doubles

    @classmethod
    def of(cls, objective: Objective) -> Diagonal:
        """Compute the mean squares of the features from all rows."""
        squares = np.zeros(objective.shape[1])
        n_features = objective.like.coef.shape[1]
        squares[:n_features] = objective.mean_squares()
        squares[n_features:] = 1
        return cls(objective, squares)

    @property
    def mean_curvature(self) -> float:
        """The mean of the mean squares."""
        return float(self.squares.mean())

    def inverse(self, damping: float) -> FeatureInverse | None:
        """Invert the diagonal of G + damping I."""
        with np.errstate(divide="ignore"):
            inverse = (1 / (self.squares + damping)).astype(self.objective.like.coef.dtype)
        if not np.isfinite(inverse).all():
            return None
        return lambda V: np.ascontiguousarray((V * inverse).T)


@dataclass(eq=False)
class LowRank:
    """Nystrom's approximation of G; see the module."""

    objective: Objective
    B: Doubles  # (rank, n_features [+ 1])
    rest: Doubles  # (n_features [+ 1],)
    mean_curvature: float

    @classmethod
    def of(cls, objective: Objective) -> LowRank | None:
        """Approximate G from some rows, or return None if rounding lets nothing be inverted."""
        n_features, backend = objective.shape[1], objective.backend
        rank = min(_RANK, n_features, max(_MIN_RANK, int(objective.values_per_feature)))
        dtype = objective.like.coef.dtype
        signs = 2.0 * np.random.default_rng(0).integers(0, 2, (rank, n_features)) - 1
        Y = objective.sketch(signs.astype(dtype), _ROWS_FOR_RANK)
        inner = product(backend, signs, Y, objective.n_threads)
        inner = (inner + inner.T) / 2
        # Where the rank of G is smaller, these decide, and not the rounding.
        roundings = _ROUNDINGS * float(np.finfo(dtype).eps) * float(np.trace(inner))
        factor = inverse_factor(backend, inner + np.eye(rank) * roundings)
        if factor is None:
            return None
        B = product(backend, factor, np.ascontiguousarray(Y.T), objective.n_threads)
        squares = Diagonal.of(objective).squares
        rest = np.maximum(squares - np.square(B).sum(axis=0), 0)
        return cls(objective, B, rest, float(squares.mean()))

    def inverse(self, damping: float) -> FeatureInverse | None:
        """Invert it, with damping I added, by Woodbury's formula."""
        objective, base = self.objective, self.rest + damping
        backend, n_threads, dtype = (
            objective.backend,
            objective.n_threads,
            objective.like.coef.dtype,
        )
        if not (base > 0).all():
            return None
        scaled = self.B / base
        small = inverse_of_spd(
            backend, np.eye(len(self.B)) + product(backend, self.B, scaled, n_threads), n_threads
        )
        of_rest = (1 / base).astype(dtype)
        if small is None or not np.isfinite(of_rest).all():
            return None
        rows, small = scaled.astype(dtype), small.astype(dtype)
        columns = np.ascontiguousarray(rows.T)

        def multiply(V: FloatArray) -> FloatArray:
            inside = product(backend, product(backend, V, rows, n_threads), small, n_threads)
            out = product(backend, columns, inside, n_threads)
            np.subtract((V * of_rest).T, out, out=out)
            return out

        return multiply


def is_dense_worthwhile(objective: Objective) -> bool:
    """Return whether there is memory for G, and G with its inverse takes no longer than some passes."""
    n_classes, n_features = objective.shape
    n_rows = min(len(objective), _rows_for_features(objective))
    of_pass = 2 * len(objective) * n_classes * n_features  # multiply-adds
    cost = (n_rows + n_features) * n_features**2
    return n_features <= _MAX_FEATURES and cost <= _MAX_PASSES * of_pass


def features_of(objective: Objective) -> FeatureFactor:
    """Return what stands for G: that itself or, where there are many features, an approximation."""
    if is_dense_worthwhile(objective):
        return Dense.of(objective)
    few = objective.shape[1] <= _MAX_FEATURES_OF_RANK
    low_rank = LowRank.of(objective) if few else None
    return Diagonal.of(objective) if low_rank is None else low_rank


def _rows_for_features(objective: Objective) -> int:
    """Return how many rows G is computed from; a row takes half of a square of the features."""
    n_classes, n_features = objective.shape
    in_passes = 4 * _PASSES_FOR_MOST * len(objective) * n_classes // n_features
    least, most = (each * n_features for each in (_LEAST_ROWS_PER_FEATURE, _MOST_ROWS_PER_FEATURE))
    return min(most, max(least, in_passes))


def curvature_of_classes(objective: Objective, weights: FloatArray) -> Doubles:
    """Return S at these weights, from some rows."""
    n_rows = max(_LEAST_ROWS_FOR_CLASSES, _ROWS_PER_CLASS * len(weights))
    return objective.class_curvature(weights, min(n_rows, _MOST_ROWS_FOR_CLASSES))


@dataclass(eq=False)
class Preconditioner:
    """Multiplies by an approximation of the inverse Hessian; `classes` is S as it is, not damped."""

    objective: Objective
    features: FeatureInverse
    inverse: FloatArray  # of the classes
    classes: Doubles

    @timed(PRECONDITIONER)
    def __call__(self, V: FloatArray) -> FloatArray:
        """Return it times V, (n_classes, n_features [+ 1])."""
        dtype = self.inverse.dtype
        by_features = self.features(V.astype(dtype))
        both = product(self.objective.backend, by_features, self.inverse, self.objective.n_threads)
        return both.T


@timed(PRECONDITIONER)
def preconditioner_of(
    objective: Objective, features: FeatureFactor, S: Doubles, curvature: float
) -> Preconditioner | None:
    """Return the preconditioner for S and a penalty of this curvature, or None if it cannot be computed."""
    n_classes = len(S)
    of_features, of_classes = features.mean_curvature, float(np.trace(S)) / n_classes
    if not (
        np.isfinite(of_features) and np.isfinite(of_classes) and of_features > 0 and of_classes > 0
    ):
        return None
    # A penalty of no curvature is taken for one too small to matter.
    negligible = float(np.finfo(np.float32).eps) * of_features * of_classes
    root = np.sqrt(max(curvature, negligible))
    ratio = np.sqrt(of_features / of_classes)
    damped = S + np.eye(n_classes) * (root / ratio + _DAMPING * of_classes)
    inverse = inverse_of_spd(objective.backend, damped, objective.n_threads)
    of_x = features.inverse(float(root * ratio))
    if inverse is None or of_x is None:
        return None
    return Preconditioner(objective, of_x, inverse.astype(objective.like.coef.dtype), S)
