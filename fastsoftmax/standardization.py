"""Mean and standard deviation of every feature, and weights in the units of either side."""

from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from .backends import Backend
from .sparse import SparseRows
from .validation import FloatArray, as_native, blocks_of_rows, reads_as, why_row_is_invalid

# Rows that the backends do not read where they lie are converted by blocks of about so many bytes.
_BLOCK_BYTES = 1 << 22
_NUMBERS_AS_THEY_LIE = 1 << 24
# Values of sparse rows that are summed at once, where there are no more features.
_VALUES_AT_ONCE = 1 << 18

# Of every column the first row's number, and sums and sums of squares of what is left without it.
Sums = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class Standardization(NamedTuple):
    """x' = (x - mean) / scale; training folds it into the kernels and never makes x' for all of X."""

    mean: NDArray[np.float64]  # (n_features,)
    scale: NDArray[np.float64]  # (n_features,): the standard deviation, or 1 where there is none
    is_centred: bool = True  # else x' = x / scale, so that the zeros of sparse rows stay zeros

    def folded(
        self, dtype: np.dtype[Any], has_intercept: bool
    ) -> tuple[FloatArray | None, FloatArray]:
        """Return what the kernels subtract and multiply by.

        Without an intercept nothing is subtracted: the model in the original units would need one.
        """
        mean = self.mean.astype(dtype) if has_intercept and self.is_centred else None
        return mean, (1 / self.scale).astype(dtype)

    def to_original(
        self, coef: FloatArray, intercept: FloatArray | None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return the weights for x that do what `coef` and `intercept` do for x'."""
        mean, factor = self._as_trained(coef.dtype)
        original = coef * factor
        if intercept is not None and mean is not None:
            intercept = (intercept - original @ mean).astype(coef.dtype)
        return original.astype(coef.dtype), intercept

    def to_standardized(
        self, coef: FloatArray, intercept: FloatArray | None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return the weights for x' that do what `coef` and `intercept` do for x."""
        mean, factor = self._as_trained(coef.dtype)
        if intercept is not None and mean is not None:
            intercept = (intercept + coef @ mean).astype(coef.dtype)
        return (coef / factor).astype(coef.dtype), intercept

    def _as_trained(
        self, dtype: np.dtype[Any]
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
        """Mean and inverse scale with the rounding that they have in training, as float64."""
        mean, factor = self.folded(dtype, has_intercept=True)
        return None if mean is None else mean.astype(np.float64), factor.astype(np.float64)


def of_columns(
    backend: Backend, X: NDArray[Any] | SparseRows, dtype: np.dtype[Any], n_threads: int
) -> Standardization:
    """Return the mean and the standard deviation of the columns of `X`, from one pass over it.

    The sums are of x - origin, the first row: (origin - mean)**2 is at most n * variance, so that the
    variance has a relative error of at most about n * eps of float64, and that of a constant column
    is exactly 0. Scale is 1 there, and where 1 / scale is no number of `dtype`. Of sparse rows that is the
    same over their values, and what is not stored is counted in as so many zeros.

    Raises
    ------
    ValueError
        If a number in `X` is not finite or too large to be squared; the message names the row.
    """
    if isinstance(X, SparseRows):
        origin, sums, squares = _sums_of_places(X)
    else:
        origin, sums, squares = _sums_of_rows(backend, X, n_threads)
    n_samples = len(X)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean = origin + sums / n_samples
        scale = np.sqrt(np.maximum(squares - sums * sums / n_samples, 0) / n_samples)
        if not (np.isfinite(scale) & np.isfinite(mean.astype(dtype))).all():
            _explain(X, dtype)
        scale[(scale == 0) | ~np.isfinite((1 / scale).astype(dtype))] = 1
    return Standardization(mean, scale, is_centred=not isinstance(X, SparseRows))


def _sums_of_rows(backend: Backend, X: NDArray[Any], n_threads: int) -> Sums:
    n_samples, n_features = X.shape
    origin = X[0].astype(np.float64)
    sums, squares = np.zeros(n_features), np.zeros(n_features)
    # By blocks: a signal is answered between two of them, and only one is ever converted.
    as_it_lies = reads_as(X, np.dtype(np.float64))
    n_rows = max(1, (_NUMBERS_AS_THEY_LIE if as_it_lies else _BLOCK_BYTES // 8) // n_features)
    for start in range(0, n_samples, n_rows):
        block = X[start : start + n_rows]
        if not as_it_lies:
            block = as_native(block, np.dtype(np.float64))
        sums_of_block, squares_of_block = np.empty(n_features), np.empty(n_features)
        backend.column_moments(block, origin, sums_of_block, squares_of_block, n_threads)
        sums += sums_of_block
        squares += squares_of_block
    return origin, sums, squares


def _sums_of_places(X: SparseRows) -> Sums:
    n_features = X.shape[1]
    origin, sums, squares = np.zeros((3, n_features))
    n_stored = np.zeros(n_features, np.int64)
    _, columns, values = X.places(0, 1)
    origin[columns] = values
    with np.errstate(over="ignore", invalid="ignore"):  # shows in the sums
        # No fewer values than features: sums are made for all of these, in every block.
        for start, stop in X.blocks(max(_VALUES_AT_ONCE, n_features)):
            _, columns, values = X.places(start, stop)
            values -= origin[columns]
            sums += np.bincount(columns, values, n_features)
            squares += np.bincount(columns, values * values, n_features)
            n_stored += np.bincount(columns, minlength=n_features)
        n_zeros = len(X) - n_stored
        return origin, sums - n_zeros * origin, squares + n_zeros * (origin * origin)


def _explain(X: NDArray[Any] | SparseRows, dtype: np.dtype[Any]) -> NoReturn:
    """Raise the error for columns without a mean or a standard deviation."""
    if isinstance(X, SparseRows):
        row = _sparse_row_that_is_not_finite(X, dtype)
    else:
        row = _row_that_is_not_finite(X, dtype)
    if row is not None:
        raise ValueError(why_row_is_invalid(row, X[row], dtype))
    raise ValueError(
        "X: its columns have no standard deviation within the range of numbers; scale X down"
    )


def _row_that_is_not_finite(X: NDArray[Any], dtype: np.dtype[Any]) -> int | None:
    n_rows = max(1, _BLOCK_BYTES // (8 * X.shape[1]))
    for start in range(0, len(X), n_rows):
        finite = np.isfinite(as_native(X[start : start + n_rows], dtype)).all(axis=1)
        if not finite.all():
            return start + int(np.argmin(finite))
    return None


def _sparse_row_that_is_not_finite(X: SparseRows, dtype: np.dtype[Any]) -> int | None:
    for first, values in blocks_of_rows(X.values):
        finite = np.isfinite(as_native(values, dtype))
        if not finite.all():
            return X.row_of(first + int(np.argmin(finite)))
    return None
