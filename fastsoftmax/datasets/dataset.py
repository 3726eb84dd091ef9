"""The types of data sets."""

from typing import Any, NamedTuple

import numpy as np

from .._arrays.validation import shown
from ..backends.protocol import FloatArray, LabelArray


class Dataset(NamedTuple):
    """Samples to train on and others to test on; labels are integers from 0 to n_classes - 1."""

    X_train: FloatArray  # (n_train, n_features), C order, float32 or float64
    y_train: LabelArray  # (n_train,)
    X_test: FloatArray
    y_test: LabelArray
    n_classes: int
    # (height, width) or (height, width, 3) if a row is an image
    image_shape: tuple[int, ...] | None


class Samples(NamedTuple):
    """Samples of a file with their labels, `X` and `y`, and the file's metadata."""

    X: Any  # (n_samples, n_features), an array of real numbers, or a CSR matrix of float32
    # (n_samples,), int64, bool or text; (n_samples, n_classes) for probabilities; None if the file has
    # no labels and they are not required.
    y: Any
    class_names: tuple[str, ...] | None = None  # of the labels 0, 1, ...
    image_shape: tuple[int, ...] | None = None  # (height, width) or (height, width, 3)
    feature_names: tuple[str, ...] | None = None
    ignored: Any = (
        None  # a pyarrow.Table of the columns that are neither features nor labels, on request
    )


def as_float_dtype(dtype: object) -> np.dtype[np.float32] | np.dtype[np.float64]:
    """Return `dtype` as float32 or float64.

    Raises
    ------
    ValueError
        If it is neither.
    """
    for accepted in (np.dtype(np.float32), np.dtype(np.float64)):
        try:
            if np.dtype(dtype) == accepted:  # type: ignore[call-overload]  # a dtype, or anything else
                return accepted
        except TypeError:  # not a dtype
            break
    raise ValueError(f"dtype: expected float32 or float64, got {shown(dtype)}")
