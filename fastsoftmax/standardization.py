"""Mean and standard deviation of every feature, and weights in the units of either side."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .backends import Backend
from .validation import FloatArray, as_native, reads_as, why_row_is_invalid

# Rows that the backends do not read where they lie are converted by blocks of about so many bytes.
_BLOCK_BYTES = 1 << 22
_NUMBERS_AS_THEY_LIE = 1 << 24


class Standardization(NamedTuple):
    """x' = (x - mean) / scale; training folds it into the kernels and never makes x' for all of X."""

    mean: NDArray[np.float64]  # (n_features,)
    scale: NDArray[np.float64]  # (n_features,): the standard deviation, or 1 where there is none

    def folded(
        self, dtype: np.dtype[Any], has_intercept: bool
    ) -> tuple[FloatArray | None, FloatArray]:
        """Return what the kernels subtract and multiply by.

        Without an intercept nothing is subtracted: the model in the original units would need one.
        """
        return self.mean.astype(dtype) if has_intercept else None, (1 / self.scale).astype(dtype)

    def to_original(
        self, coef: FloatArray, intercept: FloatArray | None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return the weights for x that do what `coef` and `intercept` do for x'."""
        mean, factor = self._as_trained(coef.dtype)
        original = coef * factor
        if intercept is not None:
            intercept = (intercept - original @ mean).astype(coef.dtype)
        return original.astype(coef.dtype), intercept

    def to_standardized(
        self, coef: FloatArray, intercept: FloatArray | None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return the weights for x' that do what `coef` and `intercept` do for x."""
        mean, factor = self._as_trained(coef.dtype)
        if intercept is not None:
            intercept = (intercept + coef @ mean).astype(coef.dtype)
        return (coef / factor).astype(coef.dtype), intercept

    def _as_trained(self, dtype: np.dtype[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and inverse scale with the rounding that they have in training, as float64."""
        mean, factor = self.folded(dtype, has_intercept=True)
        return np.asarray(mean, np.float64), factor.astype(np.float64)


def of_columns(
    backend: Backend,
    X: NDArray[Any],
    dtype: np.dtype[Any],
    n_threads: int,
    weights: NDArray[np.float64] | None = None,
    rows: NDArray[np.int64] | None = None,
) -> Standardization:
    """Return the mean and the standard deviation of the columns of `X`, from one pass over it.

    Of its rows at `rows`, all where that is None, each counting its weight. The sums are of x - origin, the
    first row: (origin - mean)**2 is at most n * variance, so that the variance has a relative error of at
    most about n * eps of float64, and that of a constant column is exactly 0. Scale is 1 there, and where
    1 / scale is no number of `dtype`.

    Raises
    ------
    ValueError
        If a number in `X` is not finite or too large to be squared; the message names the row.
    """
    n_features = X.shape[1]
    n_samples = len(X) if rows is None else len(rows)
    mass = float(n_samples)
    origin = X[0 if rows is None else rows[0]].astype(np.float64)
    sums, squares = np.zeros(n_features), np.zeros(n_features)
    # By blocks: a signal is answered between two of them, and only one is ever converted.
    as_it_lies = reads_as(X, np.dtype(np.float64)) and rows is None and weights is None
    n_rows = max(1, (_NUMBERS_AS_THEY_LIE if as_it_lies else _BLOCK_BYTES // 8) // n_features)
    for start in range(0, n_samples, n_rows):
        here = slice(start, start + n_rows) if rows is None else rows[start : start + n_rows]
        block = X[here]
        if not as_it_lies:
            block = as_native(block, np.dtype(np.float64))
        sums_of_block, squares_of_block = np.empty(n_features), np.empty(n_features)
        if weights is None:
            backend.column_moments(block, origin, sums_of_block, squares_of_block, n_threads)
        else:
            _add_moments(block, weights[here], origin, sums_of_block, squares_of_block)
        sums += sums_of_block
        squares += squares_of_block
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if weights is not None:
            mass = float((weights if rows is None else weights[rows]).sum())
        mean = origin + sums / mass
        scale = np.sqrt(np.maximum(squares - sums * sums / mass, 0) / mass)
        if not (np.isfinite(scale) & np.isfinite(mean.astype(dtype))).all():
            _explain(X, dtype, rows)
        scale[(scale == 0) | ~np.isfinite((1 / scale).astype(dtype))] = 1
    return Standardization(mean, scale)


def _add_moments(
    X: NDArray[np.float64],
    weights: NDArray[np.float64],
    origin: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """`Backend.column_moments` of rows that count their weights."""
    with np.errstate(over="ignore", invalid="ignore"):  # shows in the sums
        x = X - origin
        weighted = x * weights[:, np.newaxis]
        sums[:] = weighted.sum(axis=0)
        squares[:] = (weighted * x).sum(axis=0)


def _explain(X: NDArray[Any], dtype: np.dtype[Any], rows: NDArray[np.int64] | None) -> None:
    """Raise the error for columns without a mean or a standard deviation."""
    n_rows = max(1, _BLOCK_BYTES // (8 * X.shape[1]))
    rows = np.arange(len(X)) if rows is None else rows
    for start in range(0, len(rows), n_rows):
        here = rows[start : start + n_rows]
        finite = np.isfinite(as_native(X[here], dtype)).all(axis=1)
        if not finite.all():
            row = int(here[np.argmin(finite)])
            raise ValueError(why_row_is_invalid(row, X[row], dtype))
    raise ValueError(
        "X: its columns have no standard deviation within the range of numbers; scale X down"
    )
