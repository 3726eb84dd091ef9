"""Standardisation: mean and standard deviation of every feature, and conversion of weights."""

from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.memory_mapping import release
from .._arrays.validation import FloatArray, as_native, blocks_of_rows, reads_as, why_row_is_invalid
from ..backends import Backend

# Size of a block of rows that the backends cannot read in place, and number of values of other blocks.
_BLOCK_BYTES = 1 << 22
_NUMBERS_IN_PLACE = 1 << 24
# Number of stored values of a block of sparse rows, unless there are more features.
_VALUES_PER_BLOCK = 1 << 18

OUT_OF_RANGE = "X: the mean or the standard deviation of a column overflows; scale X down"


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sums and sums of squares of every column, relative to an origin, the first row.

    ``+`` adds those of other rows.
    """

    origin: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    mass: float  # the sum of the rows' weights

    def __add__(self, other: "Moments") -> "Moments":
        with np.errstate(over="ignore", invalid="ignore"):  # the sums become infinite or NaN
            shift = other.origin - self.origin
            squares = other.squares + shift * (2 * other.sums + other.mass * shift)
            sums = other.sums + other.mass * shift
            return Moments(
                self.origin, self.sums + sums, self.squares + squares, self.mass + other.mass
            )

    def about_mean(self) -> "Moments":
        """Return the moments relative to the mean, so that the sums are 0.

        Moments that accumulate over a stream are kept in this form, so that the origin stays near the data.
        """
        with np.errstate(
            over="ignore", invalid="ignore", divide="ignore"
        ):  # the squares become infinite or NaN
            mean = self.origin + self.sums / self.mass
            squares = np.maximum(self.squares - self.sums * self.sums / self.mass, 0)
        return Moments(mean, np.zeros_like(mean), squares, self.mass)


class Standardization(NamedTuple):
    """x' = (x - mean) / scale; training folds it into the kernels and never makes x' for all of X."""

    mean: NDArray[np.float64]  # (n_features,)
    scale: NDArray[np.float64]  # (n_features,): the standard deviation, or 1 for a constant feature
    is_centred: bool = True  # else x' = x / scale, which keeps the zeros of sparse rows
    moments: Moments | None = (
        None  # relative to the mean, of all rows so far; None if they are unknown
    )

    def folded(
        self, dtype: np.dtype[Any], has_intercept: bool
    ) -> tuple[FloatArray | None, FloatArray]:
        """Return the mean that the kernels subtract and the factor by which they multiply.

        Without an intercept no mean is subtracted: the model in the original units would need an intercept.
        """
        mean = self.mean.astype(dtype) if has_intercept and self.is_centred else None
        return mean, (1 / self.scale).astype(dtype)

    def to_original(
        self,
        coef: FloatArray,
        intercept: FloatArray | None,
        trained: np.dtype[Any] | None = None,
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return the weights for x that give the logits of `coef` and `intercept` for x'.

        `trained` is the dtype of the training, by default that of `coef`.
        """
        mean, factor = self._as_trained(trained or coef.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller checks the weights
            original = coef * factor
            if intercept is not None and mean is not None:
                intercept = (intercept - _products(original, mean)).astype(coef.dtype)
            return original.astype(coef.dtype), intercept

    def to_standardized(
        self,
        coef: FloatArray,
        intercept: FloatArray | None,
        trained: np.dtype[Any] | None = None,
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return the weights for x' that give the logits of `coef` and `intercept` for x."""
        mean, factor = self._as_trained(trained or coef.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # the first step reports it
            if intercept is not None and mean is not None:
                intercept = (intercept + _products(coef, mean)).astype(coef.dtype)
            return (coef / factor).astype(coef.dtype), intercept

    def _as_trained(
        self, dtype: np.dtype[Any]
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
        """Return mean and inverse scale in float64, rounded as in training."""
        mean, factor = self.folded(dtype, has_intercept=True)
        return None if mean is None else mean.astype(np.float64), factor.astype(np.float64)


def convert_units(
    coef: FloatArray,
    intercept: FloatArray | None,
    before: Standardization | None,
    after: Standardization | None,
    trained: np.dtype[Any],
) -> tuple[FloatArray, FloatArray | None]:
    """Return velocities, or sums of weights, converted from the units of `before` to those of `after`.

    None stands for the units of X. The conversion is that of the weights, so that logits of x do not
    change.
    """
    if before is after:
        return coef, intercept
    double = np.dtype(np.float64)
    of_x = coef.astype(double), None if intercept is None else intercept.astype(double)
    if before is not None:
        of_x = before.to_original(*of_x, trained)
    if after is not None:
        of_x = after.to_standardized(*of_x, trained)
    return of_x[0].astype(coef.dtype), None if of_x[1] is None else of_x[1].astype(coef.dtype)


def _products(coef: NDArray[Any], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return coef @ mean without a BLAS library, whose order of summation depends on the CPU."""
    return np.asarray((coef * mean).sum(axis=1))


def column_statistics(
    backend: Backend,
    X: NDArray[Any] | SparseRows,
    dtype: np.dtype[Any],
    n_threads: int,
    weights: NDArray[np.float64] | None = None,
    rows: NDArray[np.int64] | None = None,
    before: Standardization | None = None,
) -> Standardization:
    """Return the mean and the standard deviation of the columns of `X`, from one pass over it.

    The statistics are weighted ones of the rows at `rows` (all if that is None) and of the rows that
    `before` describes. If `before` has no moments, it is returned unchanged.

    The sums are of x - origin, the first row: (origin - mean)**2 is at most n * variance, so that the
    variance has a relative error of at most about n * eps of float64, and that of a constant column
    is exactly 0. The scale is then 1, as it is if 1 / scale overflows `dtype`. Sums over sparse rows are of
    their stored values, and account for the zeros by their number.

    Raises
    ------
    ValueError
        If a number in `X` is not finite or too large to be squared; the message names the row.
    """
    if before is not None and before.moments is None:
        return before
    moments = moments_of(backend, X, n_threads, weights, rows)
    is_centred = not isinstance(X, SparseRows)
    if before is not None and before.moments is not None:
        moments, is_centred = before.moments + moments.about_mean(), before.is_centred
    units = from_moments(moments, dtype, is_centred)
    return units or raise_not_standardizable(X, dtype, np.arange(len(X)) if rows is None else rows)


def moments_of(
    backend: Backend,
    X: NDArray[Any] | SparseRows,
    n_threads: int,
    weights: NDArray[np.float64] | None,
    rows: NDArray[np.int64] | None,
) -> Moments:
    """Return the moments of the rows at `rows`, by default of all; `weights` has one for each row of X."""
    of_rows = weights if weights is None or rows is None else weights[rows]
    mass = float(len(X if rows is None else rows)) if of_rows is None else float(of_rows.sum())
    if isinstance(X, SparseRows):
        return Moments(*_sums_of_places(X, weights, rows), mass)
    return Moments(*_sums_of_rows(backend, X, n_threads, of_rows, rows), mass)


def from_moments(
    moments: Moments, dtype: np.dtype[Any], is_centred: bool
) -> Standardization | None:
    """Return the standardisation by these moments; None if a statistic is not finite."""
    moments = moments.about_mean()
    mean = moments.origin
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scale = np.sqrt(moments.squares / moments.mass)
        if not (np.isfinite(scale) & np.isfinite(mean.astype(dtype))).all():
            return None
        scale[(scale == 0) | ~np.isfinite((1 / scale).astype(dtype))] = 1
    return Standardization(mean, scale, is_centred, moments)


def _sums_of_rows(
    backend: Backend,
    X: NDArray[Any],
    n_threads: int,
    weights: NDArray[np.float64] | None,
    rows: NDArray[np.int64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return origin, sums and sums of squares of the rows at `rows`; `weights` has one for each of them."""
    n_samples, n_features = len(X if rows is None else rows), X.shape[1]
    with np.errstate(invalid="ignore"):  # a signalling NaN; the sums become NaN
        origin = X[0 if rows is None else rows[0]].astype(np.float64)
    sums, squares = np.zeros(n_features), np.zeros(n_features)
    # In blocks: Python handles signals between them, and at most one block is converted at a time.
    is_read_in_place = reads_as(X, np.dtype(np.float64)) and rows is None and weights is None
    n_rows = max(1, (_NUMBERS_IN_PLACE if is_read_in_place else _BLOCK_BYTES // 8) // n_features)
    for start in range(0, n_samples, n_rows):
        here = slice(start, start + n_rows)
        block = X[here if rows is None else rows[here]]
        if not is_read_in_place:
            block = as_native(block, np.dtype(np.float64))
        sums_of_block, squares_of_block = np.empty(n_features), np.empty(n_features)
        if weights is None:
            backend.column_moments(block, origin, sums_of_block, squares_of_block, n_threads)
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # the sums become infinite or NaN
                x = block - origin
                weighted = x * weights[here, np.newaxis]
                sums_of_block, squares_of_block = weighted.sum(axis=0), (weighted * x).sum(axis=0)
        sums += sums_of_block
        squares += squares_of_block
        release(X)
    return origin, sums, squares


def _sums_of_places(
    X: SparseRows, weights: NDArray[np.float64] | None, rows: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return origin, sums and sums of squares of sparse rows; `weights` has one for each row of X."""
    n_features = X.shape[1]
    origin, sums, squares, stored = np.zeros((4, n_features))
    n_stored = np.zeros(n_features, np.int64)
    counts = np.ones(len(X), bool) if rows is None else np.zeros(len(X), bool)
    counts[slice(None) if rows is None else rows] = True
    first = int(np.argmax(counts))
    _, columns, values = X.places(first, first + 1)
    origin[columns] = values
    with np.errstate(over="ignore", invalid="ignore"):  # the sums become infinite or NaN
        # A block has at least as many values as there are features, since it makes a sum for each feature.
        for start, stop in X.blocks(max(_VALUES_PER_BLOCK, n_features)):
            of_row, columns, values = X.places(start, stop)
            if rows is not None:
                here = counts[start + of_row]
                of_row, columns, values = of_row[here], columns[here], values[here]
            values -= origin[columns]
            of_values = None if weights is None else weights[start + of_row]
            weighted = values if of_values is None else values * of_values
            sums += np.bincount(columns, weighted, n_features)
            squares += np.bincount(columns, weighted * values, n_features)
            n_stored += np.bincount(columns, minlength=n_features)
            if of_values is not None:
                stored += np.bincount(columns, of_values, n_features)
        zeros: NDArray[Any] = np.count_nonzero(counts) - n_stored
        if weights is not None:
            # A column without zeros gets a weight of exactly 0 for them: it may be constant.
            zeros = np.where(zeros > 0, weights[counts].sum() - stored, 0)
        return origin, sums - zeros * origin, squares + zeros * (origin * origin)


def raise_not_standardizable(
    X: NDArray[Any] | SparseRows, dtype: np.dtype[Any], rows: NDArray[np.int64]
) -> NoReturn:
    """Raise the error for columns whose mean or standard deviation is not finite."""
    if isinstance(X, SparseRows):
        at = _sparse_row_that_is_not_finite(X.take(rows), dtype)
    else:
        at = _row_that_is_not_finite(X, dtype, rows)
    if at is not None:
        row = int(rows[at])
        raise ValueError(why_row_is_invalid(row, X[row], dtype))
    raise ValueError(OUT_OF_RANGE)


def _row_that_is_not_finite(
    X: NDArray[Any], dtype: np.dtype[Any], rows: NDArray[np.int64]
) -> int | None:
    n_rows = max(1, _BLOCK_BYTES // (8 * X.shape[1]))
    for start in range(0, len(rows), n_rows):
        finite = np.isfinite(as_native(X[rows[start : start + n_rows]], dtype)).all(axis=1)
        if not finite.all():
            return start + int(np.argmin(finite))
    return None


def _sparse_row_that_is_not_finite(X: SparseRows, dtype: np.dtype[Any]) -> int | None:
    for first, values in blocks_of_rows(X.values):
        finite = np.isfinite(as_native(values, dtype))
        if not finite.all():
            return X.row_of(first + int(np.argmin(finite)))
    return None
