"""A learning rate from the data: one over a bound on the curvature of the loss."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .mapped import release
from .sparse import SparseRows
from .standardization import Standardization
from .validation import as_native

# Rows that are looked at, evenly spread over all, or as many as have so many numbers, and the numbers of
# those that a matrix is made of.
_ROWS, _FEWEST_ROWS = 4096, 32
_NUMBERS_LOOKED_AT, _NUMBERS = 1 << 22, 1 << 16
# Power iteration ends when the eigenvalue grows by less, and is taken for so much more than it has found.
_MOST_ITERATIONS, _CLOSE, _MARGIN = 20, 0.02, 1.1
# Values of sparse rows that are looked at at once.
_VALUES_AT_ONCE = 1 << 18


def step_size(
    X: NDArray[Any] | SparseRows,
    batch_size: int,
    units: Standardization | None,
    fit_intercept: bool,
    l2: float,
    *,
    replacement: bool = False,
    weights: NDArray[np.float64] | None = None,
    of: NDArray[np.int64] | None = None,
) -> float:
    """Return 1 / L, with L a bound on the curvature of a minibatch's objective.

    The Hessian of a sample's loss is (diag(p) - p p') ⊗ x x', of which the first factor is at most 1 / 2
    (Böhning 1992), times the weight of the sample; the intercept is one more feature of 1. So the mean loss
    over all samples is at most as curved as s / 2, with s the largest eigenvalue of the mean of x x', and
    that of a sample as |x|**2 / 2. A minibatch of b out of n samples is about as curved (expected
    smoothness: Gower et al. 2019) as half of ::

        n * (b - 1) / (b * (n - 1)) * s + (n - b) / (b * (n - 1)) * (largest |x|**2)

    With `replacement`, n is infinite. Of the rows `of` X, or all, up to 4096, evenly spread, give the
    largest |x|**2, and as many with the largest weights; s is that of some of them, from power iteration,
    and is no more than the mean of |x|**2. 2 * l2 is the penalty's.

    References
    ----------
    Böhning: Multinomial logistic regression algorithm (1992), Annals of the Institute of Statistical
    Mathematics 44.
    Gower, Loizou, Qian, Sailanbayev, Shulgin, Richtárik: SGD: general analysis and improved rates (2019).
    """
    among = np.arange(len(X)) if of is None else of
    n_samples, b = len(among), min(batch_size, len(among))
    most = min(_ROWS, max(_FEWEST_ROWS, _NUMBERS_LOOKED_AT // X.shape[1]))
    rows = _evenly(among, most)
    squares = _squares_at(X, rows, units, fit_intercept)
    of_largest = 1 / b if replacement else (n_samples - b) / (b * max(n_samples - 1, 1))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, largest = squares.mean(), squares.max()
        if weights is not None:
            mean = np.average(squares, weights=weights[rows])
            # One large weight makes a step as large as it is.
            heavy = among
            if n_samples > most:
                heavy = among[np.argpartition(weights[among], -most)[-most:]]
            of_heavy = weights[heavy] * _squares_at(X, heavy, units, fit_intercept)
            largest = max((weights[rows] * squares).max(), of_heavy.max())
        some = _evenly(rows, max(_FEWEST_ROWS, _NUMBERS // X.shape[1]))
        of_some = None if weights is None else weights[some]
        steepest = _largest_eigenvalue(X, some, of_some, units, fit_intercept)
        together = min(float(mean), _MARGIN * steepest)
        curvature = ((1 - of_largest) * together + of_largest * largest) / 2 + 2 * l2
    if not np.isfinite(curvature):
        return 1.0 if np.isnan(curvature) else 0.0  # the first step finds the row
    return float(1 / curvature) if curvature > 0 else 1.0


def _evenly(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64))]


def _largest_eigenvalue(
    X: NDArray[Any] | SparseRows,
    rows: NDArray[np.int64],
    weights: NDArray[np.float64] | None,
    units: Standardization | None,
    fit_intercept: bool,
) -> float:
    """Return that of the mean of x x' over these rows, by power iteration.

    Without a BLAS library, whose sums may depend on its threads.
    """
    if isinstance(X, SparseRows):
        taken = X.take(rows)
        of_row, columns, values = taken.places(0, len(rows))
        if units is not None:
            values = values / units.scale[columns]
        n_features = X.shape[1]

        def product(v: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(of_row, values * v[columns], len(rows)), np.float64)

        def back(u: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(columns, values * u[of_row], n_features), np.float64)

    else:
        x = _as_trained(X[rows], units, fit_intercept)
        n_features = x.shape[1]

        def product(v: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.einsum("ij,j->i", x, v))

        def back(u: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.einsum("ij,i->j", x, u))

    share = np.full(len(rows), 1 / len(rows)) if weights is None else weights / weights.sum()
    v = np.random.default_rng(0).normal(size=n_features)  # no direction that data single out
    offset, value = float(fit_intercept), 0.0
    for _ in range(_MOST_ITERATIONS):
        size = np.sqrt(np.square(v).sum() + offset**2)
        if not (0 < size < np.inf):
            return float(size * size)  # nothing but zeros, or numbers that have no squares
        v, offset = v / size, offset / size
        u = share * (product(v) + offset)
        v, offset = back(u), u.sum() if fit_intercept else 0.0
        before, value = value, float(np.sqrt(np.square(v).sum() + offset**2))
        if not value > (1 + _CLOSE) * before:
            break
    return value


def _squares_at(
    X: NDArray[Any] | SparseRows,
    rows: NDArray[np.int64],
    units: Standardization | None,
    fit_intercept: bool,
) -> NDArray[np.float64]:
    """Return |x|**2 of these rows, as training sees them, and 1 for the intercept."""
    if isinstance(X, SparseRows):
        return _squares_of_sparse(X.take(rows), units) + float(fit_intercept)
    squares = np.empty(len(rows))
    for i in range(0, len(rows), 64):
        x = _as_trained(X[rows[i : i + 64]], units, fit_intercept)
        with np.errstate(over="ignore", invalid="ignore"):
            squares[i : i + 64] = np.square(x).sum(axis=1)
        release(X)
    return squares + float(fit_intercept)


def _as_trained(
    X: NDArray[Any], units: Standardization | None, fit_intercept: bool
) -> NDArray[np.float64]:
    """Return rows as training sees them."""
    x = as_native(X, np.dtype(np.float64))
    if units is None:
        return x
    with np.errstate(over="ignore", invalid="ignore"):
        shift = units.mean if units.is_centred and fit_intercept else 0.0
        return np.asarray((x - shift) / units.scale)


def _squares_of_sparse(X: SparseRows, units: Standardization | None) -> NDArray[np.float64]:
    """The same at the cost of the values stored."""
    squares = np.zeros(len(X))
    with np.errstate(over="ignore", invalid="ignore"):
        for start, stop in X.blocks(_VALUES_AT_ONCE):
            rows, columns, x = X.places(start, stop)
            if units is not None:
                x /= units.scale[columns]
            squares[start:stop] = np.bincount(rows, x * x, stop - start)
    return squares
