"""A learning rate from the data: one over a bound on the curvature of the loss."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .mapped import release
from .sparse import SparseRows
from .standardization import Standardization
from .validation import as_native

# Rows that are looked at, evenly spread over all.
_ROWS = 4096
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

    The Hessian of a sample's loss is (diag(p) - p p') ⊗ x x', whose largest eigenvalue is at most
    |x|**2 / 2 (Böhning 1992), with 1 more in |x|**2 for the intercept, times the weight of the sample. A
    minibatch of b out of n samples is about as curved (expected smoothness: Gower et al. 2019) as ::

        n * (b - 1) / (b * (n - 1)) * mean + (n - b) / (b * (n - 1)) * largest

    of these; with `replacement`, n is infinite. Mean and largest are those of up to 4096 rows, evenly
    spread over the rows `of` X, or all, and the largest also of as many with the largest weights; 2 * l2 is
    the penalty's.

    References
    ----------
    Böhning: Multinomial logistic regression algorithm (1992), Annals of the Institute of Statistical
    Mathematics 44.
    Gower, Loizou, Qian, Sailanbayev, Shulgin, Richtárik: SGD: general analysis and improved rates (2019).
    """
    among = np.arange(len(X)) if of is None else of
    n_samples, b = len(among), min(batch_size, len(among))
    rows = among[np.unique(np.linspace(0, n_samples - 1, min(n_samples, _ROWS)).astype(np.int64))]
    squares = _squares_at(X, rows, units, fit_intercept)
    of_largest = 1 / b if replacement else (n_samples - b) / (b * max(n_samples - 1, 1))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, largest = squares.mean(), squares.max()
        if weights is not None:
            mean = np.average(squares, weights=weights[rows])
            # One large weight makes a step as large as it is.
            heavy = among
            if n_samples > _ROWS:
                heavy = among[np.argpartition(weights[among], -_ROWS)[-_ROWS:]]
            of_heavy = weights[heavy] * _squares_at(X, heavy, units, fit_intercept)
            largest = max((weights[rows] * squares).max(), of_heavy.max())
        curvature = ((1 - of_largest) * mean + of_largest * largest) / 2 + 2 * l2
    if np.isnan(curvature):
        return 1.0  # the first step finds the row
    return float(1 / curvature) if curvature > 0 else 1.0


def _squares_at(
    X: NDArray[Any] | SparseRows,
    rows: NDArray[np.int64],
    units: Standardization | None,
    fit_intercept: bool,
) -> NDArray[np.float64]:
    """Return |x|**2 of these rows, as training sees them, and 1 for the intercept."""
    if isinstance(X, SparseRows):
        return _squares_of_sparse(X.take(rows), units) + float(fit_intercept)
    shift = units.mean if units is not None and units.is_centred and fit_intercept else 0.0
    squares = np.empty(len(rows))
    for i in range(0, len(rows), 64):
        squares[i : i + 64] = _squares(X[rows[i : i + 64]], shift, units)
        release(X)
    return squares + float(fit_intercept)


def _squares(
    X: NDArray[Any], shift: NDArray[np.float64] | float, units: Standardization | None
) -> NDArray[np.float64]:
    """Return |x|**2 of every row, as training sees it."""
    x = as_native(X, np.dtype(np.float64))
    with np.errstate(over="ignore", invalid="ignore"):
        if units is not None:
            x = (x - shift) / units.scale
        squares: NDArray[np.float64] = np.square(x).sum(axis=1)
    return squares


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
