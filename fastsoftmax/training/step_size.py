"""A learning rate from the data: one over a bound on the curvature of the loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.memory_mapping import release
from .standardization import Standardization

# At most _MAX_ROWS evenly spaced rows are read, or fewer if they have more than _NUMBERS_READ values; the
# eigenvalue is that of rows with _NUMBERS_SAMPLED values. Each is at least _MIN_ROWS rows.
_MAX_ROWS, _MIN_ROWS = 4096, 32
_NUMBERS_READ, _NUMBERS_SAMPLED = 1 << 22, 1 << 16
# Power iteration ends when the eigenvalue grows by less than the share _CLOSE; _MARGIN corrects for the
# rest.
_MAX_ITERATIONS, _CLOSE, _MARGIN = 20, 0.02, 1.1
# Significant digits of the eigenvalue and of means: further ones depend on the order of NumPy's sums and on
# the C library, and these on the CPU.
_DIGITS = 6
# Number of stored values of a block of sparse rows.
_VALUES_PER_BLOCK = 1 << 18


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

    With `replacement`, n is infinite. The largest |x|**2 is that of up to 4096 evenly spaced rows among
    those at `of` (by default all), and of as many rows with the largest weights. s comes from power
    iteration on some of these rows, and is at most the mean of |x|**2. The penalty adds 2 * l2.

    References
    ----------
    Böhning: Multinomial logistic regression algorithm (1992), Annals of the Institute of Statistical
    Mathematics 44.
    Gower, Loizou, Qian, Sailanbayev, Shulgin, Richtárik: SGD: general analysis and improved rates (2019).
    """
    among = np.arange(len(X)) if of is None else of
    at = positions(len(among), X.shape[1])
    if weights is not None:
        at = at._replace(heaviest=heaviest(weights[among], len(at.looked_at)))
    squares = squares_of(X, among, at, units, fit_intercept, weights)
    sample = RowSample.of(X, among[at.sampled], units, fit_intercept, weights)
    steepest = largest_eigenvalue(sample.multiply, X.shape[1], sample.mass, fit_intercept)
    return from_curvature(len(among), batch_size, replacement, squares, steepest, l2)


def root_mean_square(X: NDArray[Any] | SparseRows, among: NDArray[np.int64] | None) -> float:
    """Return the root mean square of |x| over up to 4096 of the rows at `among`, by default of all."""
    rows = np.arange(len(X)) if among is None else among
    at = positions(len(rows), X.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(squares_at(X, rows[at.looked_at], None, False).mean()))


class StepSizes(NamedTuple):
    """The step sizes of the chunks so far: their geometric mean, weighted by numbers of samples."""

    mean: float
    n_samples: int

    def with_chunk(self, found: float, n_samples: int) -> "StepSizes":
        """Return the mean with another chunk; the mean of equal step sizes is exactly that step size."""
        together = self.n_samples + n_samples
        mean = self.mean
        if found != mean:
            share = n_samples / together
            mean = math.exp((1 - share) * math.log(mean) + share * math.log(found))
            mean = float(f"{mean:.{_DIGITS}g}")
        return StepSizes(mean, together)


class Squares(NamedTuple):
    """Sums and maximum of |x|**2 over the rows that are read; `merge_squares` combines several of them."""

    weighted: float  # the sum of weight * |x|**2
    mass: float  # the sum of the weights
    largest: float  # the largest weight * |x|**2


def merge_squares(parts: list[Squares]) -> Squares:
    """Return the sums and the maximum over all parts."""
    weighted, mass = (sum(part[i] for part in parts) for i in range(2))
    return Squares(weighted, mass, max(part.largest for part in parts))


class Positions(NamedTuple):
    """Indices of samples among those that are trained on."""

    looked_at: NDArray[np.int64]
    sampled: NDArray[np.int64]  # of these, the rows for the eigenvalue
    heaviest: NDArray[np.int64]  # those of largest weight, which scales the gradient

    def between(self, first: int, end: int) -> "Positions":
        """Return the indices within the samples `first` to `end`, counted from `first`."""
        return Positions(*(each[(each >= first) & (each < end)] - first for each in self))


def positions(n_samples: int, n_features: int) -> Positions:
    """Return the samples to read if they have no weights."""
    most = min(_MAX_ROWS, max(_MIN_ROWS, _NUMBERS_READ // n_features))
    looked_at = _evenly(n_samples, most)
    sampled = looked_at[_evenly(len(looked_at), max(_MIN_ROWS, _NUMBERS_SAMPLED // n_features))]
    return Positions(looked_at, sampled, np.zeros(0, np.int64))


def heaviest(weights: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Return the indices of the n largest weights, or of all if there are fewer; ties go to the first."""
    if len(weights) <= n:
        return np.arange(len(weights))
    least = np.partition(weights, -n)[-n]
    above = np.flatnonzero(weights > least)
    return np.sort(np.append(above, np.flatnonzero(weights == least)[: n - len(above)]))


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    if n <= most:
        return np.arange(n)
    return np.linspace(0, n - 1, most).astype(np.int64)  # steps above 1: all differ


def squares_of(
    X: NDArray[Any] | SparseRows,
    among: NDArray[np.int64],
    at: Positions,
    units: Standardization | None,
    fit_intercept: bool,
    weights: NDArray[np.float64] | None,
) -> Squares:
    """Return the squares of the rows at `among`, maybe none; `weights` has one for each row of X."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares, mass = _weighted_squares(X, among[at.looked_at], units, fit_intercept, weights)
        weighted, largest = np.add.reduce(squares), np.maximum.reduce(squares, initial=0.0)
        if len(at.heaviest):
            heavy, _ = _weighted_squares(X, among[at.heaviest], units, fit_intercept, weights)
            largest = np.maximum.reduce(heavy, initial=largest)
    return Squares(float(weighted), mass, float(largest))


def _weighted_squares(
    X: NDArray[Any] | SparseRows,
    rows: NDArray[np.int64],
    units: Standardization | None,
    fit_intercept: bool,
    weights: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], float]:
    """Return weight * |x|**2 of these rows, and the sum of their weights."""
    squares = squares_at(X, rows, units, fit_intercept) if len(rows) else np.zeros(0)
    if weights is None:
        return squares, float(len(rows))
    of_rows = weights[rows]
    return of_rows * squares, float(np.add.reduce(of_rows))


def from_curvature(
    n_samples: int,
    batch_size: int,
    replacement: bool,
    squares: Squares,
    steepest: float,
    l2: float,
) -> float:
    """Return the step size by the formula of `step_size`; `steepest` is the s that was found."""
    b = min(batch_size, n_samples)
    of_largest = 1 / b if replacement else (n_samples - b) / (b * max(n_samples - 1, 1))
    with np.errstate(over="ignore", invalid="ignore"):
        together = min(squares.weighted / squares.mass, _MARGIN * steepest)
        curvature = ((1 - of_largest) * together + of_largest * squares.largest) / 2 + 2 * l2
    if not np.isfinite(curvature):
        return 1.0 if np.isnan(curvature) else 0.0  # the first step reports the row
    return float(1 / curvature) if curvature > 0 else 1.0


@dataclass(frozen=True, slots=True)
class RowSample:
    """Rows in the units of training, and their weights: the factor of the mean of x x'."""

    x: NDArray[np.float64] | None  # dense ones
    products: NDArray[np.float64] | None  # memory for those of a block of dense rows
    places: tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float64]] | None  # of sparse ones
    weights: NDArray[np.float64] | None  # None for ones
    n_rows: int
    mass: float  # the sum of the weights
    n_features: int

    @classmethod
    def of(
        cls,
        X: NDArray[Any] | SparseRows,
        rows: NDArray[np.int64],
        units: Standardization | None,
        fit_intercept: bool,
        weights: NDArray[np.float64] | None,
    ) -> Self:
        """Return the sample of the rows at `rows`; `weights` has one for each row of X."""
        of_rows = None if weights is None else weights[rows]
        mass = float(len(rows)) if of_rows is None else float(np.add.reduce(of_rows))
        if not isinstance(X, SparseRows):
            with np.errstate(over="ignore", invalid="ignore"):
                x = _as_trained(X[rows], units, fit_intercept)
            products = np.empty((max(1, _NUMBERS_SAMPLED // X.shape[1]), X.shape[1]))
            return cls(x, products[: len(x)], None, of_rows, len(rows), mass, X.shape[1])
        of_row, columns, values = X.take(rows).places(0, len(rows))
        if units is not None:
            values = values / units.scale[columns]
        places = of_row, columns, values
        return cls(None, None, places, of_rows, len(rows), mass, X.shape[1])

    def multiply(self, v: NDArray[np.float64], offset: float) -> tuple[NDArray[np.float64], float]:
        """Return the sum of weight * (x, 1) (x, 1)' over the rows, times (v, offset).

        It uses no BLAS library, whose sums may depend on its threads, and takes rows in blocks, so that the
        products need little memory.
        """
        if self.places is not None:
            of_row, columns, values = self.places
            u = np.bincount(of_row, values * v[columns], self.n_rows) + offset
            if self.weights is not None:
                u *= self.weights
            of_columns = np.bincount(columns, values * u[of_row], self.n_features)
            return np.asarray(of_columns, np.float64), float(np.add.reduce(u))
        assert self.x is not None
        assert self.products is not None
        back: NDArray[np.float64] = np.zeros(self.n_features)
        of_intercept, n_rows = 0.0, max(len(self.products), 1)
        for i in range(0, len(self.x), n_rows):
            x = self.x[i : i + n_rows]
            products = self.products[: len(x)]
            u = np.add.reduce(np.multiply(x, v, out=products), axis=1) + offset
            if self.weights is not None:
                u *= self.weights[i : i + n_rows]
            back += np.add.reduce(np.multiply(x, u[:, np.newaxis], out=products), axis=0)
            of_intercept += float(np.add.reduce(u))
        return back, of_intercept


def largest_eigenvalue(
    multiply: Callable[[NDArray[np.float64], float], tuple[NDArray[np.float64], float]],
    n_features: int,
    mass: float,
    fit_intercept: bool,
) -> float:
    """Return the largest eigenvalue of the mean of x x', by power iteration with the sums of `multiply`."""
    v = np.random.default_rng(0).normal(
        size=n_features
    )  # almost surely not orthogonal to the eigenvector
    offset, value = float(fit_intercept), 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        size = float(np.sqrt(np.add.reduce(np.square(v)) + offset * offset))
        for _ in range(_MAX_ITERATIONS):
            if not (0 < size < np.inf):
                return size * size  # all zeros, or numbers whose squares overflow
            v, of_intercept = multiply(v / size, offset / size)
            v, offset = v / mass, of_intercept / mass if fit_intercept else 0.0
            before, value = value, float(np.sqrt(np.add.reduce(np.square(v)) + offset * offset))
            size = value
            if not value > (1 + _CLOSE) * before:
                break
    return float(f"{value:.{_DIGITS}g}")


def squares_at(
    X: NDArray[Any] | SparseRows,
    rows: NDArray[np.int64],
    units: Standardization | None,
    fit_intercept: bool,
) -> NDArray[np.float64]:
    """Return |x|**2 of these rows in the units of training, plus 1 if there is an intercept.

    An overflow gives infinity; the caller silences NumPy's warning.
    """
    if isinstance(X, SparseRows):
        return _squares_of_sparse(X.take(rows), units) + float(fit_intercept)
    squares = np.empty(len(rows))
    n_rows = max(_MIN_ROWS, _NUMBERS_SAMPLED // X.shape[1])
    for i in range(0, len(rows), n_rows):
        x = _as_trained(X[rows[i : i + n_rows]], units, fit_intercept)
        squares[i : i + n_rows] = np.add.reduce(np.square(x), axis=1)
        release(X)
    return squares + float(fit_intercept)


def _as_trained(
    X: NDArray[Any], units: Standardization | None, fit_intercept: bool
) -> NDArray[np.float64]:
    """Return rows in the units of training."""
    x = X.astype(np.float64, copy=False)
    if units is None:
        return x
    shift = units.mean if units.is_centred and fit_intercept else 0.0
    return np.asarray((x - shift) / units.scale)


def _squares_of_sparse(X: SparseRows, units: Standardization | None) -> NDArray[np.float64]:
    """Return |x|**2 of sparse rows, at a cost proportional to the stored values."""
    squares = np.zeros(len(X))
    for start, stop in X.blocks(_VALUES_PER_BLOCK):
        rows, columns, x = X.places(start, stop)
        if units is not None:
            x /= units.scale[columns]
        squares[start:stop] = np.bincount(rows, x * x, stop - start)
    return squares
