"""Check `X`: an array of any real numbers, or sparse rows."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import validation
from .csr import SparseRows, as_sparse_rows


def as_samples(X: ArrayLike, to_train: bool = True) -> NDArray[Any] | SparseRows:
    """Return `X` (n_samples, n_features) without copying its numbers.

    Only Python's numbers are converted, and a Fortran-ordered array is copied for training.

    Raises
    ------
    ValueError, TypeError
        If it does not have two dimensions or real numbers, or has no feature or, for training, no sample.
    """
    sparse = as_sparse_rows("X", X)
    matrix = validation.as_array("X", _numbers(X)) if sparse is None else sparse
    if len(matrix.shape) != 2:
        raise ValueError(
            f"X: expected two dimensions, got shape {matrix.shape}. Reshape your data: "
            "X.reshape(-1, 1) is one feature, X.reshape(1, -1) one sample"
        )
    if matrix.shape[1] == 0 or (len(matrix) == 0 and to_train):
        what = "sample" if len(matrix) == 0 else "feature"
        raise ValueError(
            "X: expected at least one sample and one feature: "
            f"0 {what}(s) (shape={matrix.shape}) while a minimum of 1 is required."
        )
    if isinstance(matrix, SparseRows):
        return matrix
    if to_train and matrix.flags.f_contiguous and not matrix.flags.c_contiguous:
        # Rows of a Fortran-ordered array are scattered: the one copy of X that training ever makes.
        return np.array(matrix, order="C")
    return matrix


def _numbers(X: Any) -> Any:
    """Return an array or a frame of Python's numbers, or of long doubles, as float64; else unchanged."""
    if hasattr(X, "columns") and not isinstance(X, np.ndarray):
        X = np.asarray(X)  # of objects, if its columns have several types
    dtype = getattr(X, "dtype", None)
    if dtype == np.dtype(object):
        objects = np.asarray(X)
        try:
            return objects.astype(np.float64)
        except (TypeError, ValueError) as error:
            missing = _first_missing(objects)
            if missing is not None:
                raise ValueError(
                    f"X: expected numbers, got a missing value ({objects[missing]}) in row {missing[0]}"
                ) from None
            raise type(error)(f"X: expected numbers, got dtype object: {error}") from None
    if isinstance(dtype, np.dtype) and dtype.kind == "c":
        raise ValueError(f"X: Complex data not supported, got dtype {dtype}")
    return validation.without_long_double(X)


def _first_missing(objects: NDArray[Any]) -> tuple[int, ...] | None:
    """Return the position of the first missing value (pandas' NA or NaT)."""
    for at, value in np.ndenumerate(objects):
        if type(value).__name__ in ("NAType", "NaTType"):
            return at
    return None
