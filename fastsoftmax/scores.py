"""Logits and accuracy of a linear model, by blocks of rows: little of X is converted at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sparse import SparseRows
from .validation import FloatArray, why_row_is_invalid

# Rows of logits are computed by blocks of about so many bytes of X.
_BLOCK_BYTES = 1 << 24


def logits_of(X: NDArray[Any] | SparseRows, coef: FloatArray, intercept: FloatArray) -> FloatArray:
    """Return ``X @ coef.T + intercept``, in the dtype of `coef`.

    Raises
    ------
    ValueError
        If a row has logits that are not finite; the message names it.
    """
    dtype = coef.dtype
    with np.errstate(over="ignore", invalid="ignore"):  # named below
        if isinstance(X, SparseRows):
            logits = X.product(np.ascontiguousarray(coef.T)) + intercept
        else:
            logits = np.empty((len(X), len(coef)), dtype)
            for start in range(0, len(X), n_rows := _rows_at_once(coef)):
                block = X[start : start + n_rows].astype(dtype, copy=False)
                logits[start : start + n_rows] = block @ coef.T + intercept
    invalid = ~np.isfinite(logits).all(axis=1)
    if invalid.any():
        row = int(np.argmax(invalid))
        raise ValueError(why_row_is_invalid(row, X[row], dtype))
    return logits


def accuracy(
    X: NDArray[Any] | SparseRows,
    targets: NDArray[Any],
    weights: NDArray[np.float64] | None,
    rows: NDArray[np.int64],
    coef: FloatArray,
    intercept: FloatArray,
) -> float:
    """Return the share of the samples at `rows` that are predicted right.

    Each counts its weight; one with probabilities as targets is right by that of the predicted class.

    Raises
    ------
    ValueError
        As `logits_of` does.
    """
    hits = np.empty(len(rows))
    for start in range(0, len(rows), n_rows := _rows_at_once(coef)):
        here = rows[start : start + n_rows]
        with np.errstate(over="ignore", invalid="ignore"):  # named below
            logits = X[here].astype(coef.dtype, copy=False) @ coef.T + intercept
        invalid = ~np.isfinite(logits).all(axis=1)
        if invalid.any():
            row = int(here[np.argmax(invalid)])
            raise ValueError(why_row_is_invalid(row, X[row], coef.dtype))
        predicted = logits.argmax(axis=1)
        of_rows = targets[here]
        if targets.ndim == 2:
            hits[start : start + n_rows] = of_rows[np.arange(len(here)), predicted]
        else:
            hits[start : start + n_rows] = predicted == of_rows
    return float(np.average(hits, weights=None if weights is None else weights[rows]))


def _rows_at_once(coef: FloatArray) -> int:
    n_rows: int = _BLOCK_BYTES // (coef.shape[1] * coef.itemsize)
    return max(1, n_rows)
