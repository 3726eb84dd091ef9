"""What every data set is, however it came about."""

from typing import NamedTuple

import numpy as np

from ..backends.protocol import FloatArray, LabelArray


class Dataset(NamedTuple):
    """Samples to train on and others to test on; labels are integers from 0 to n_classes - 1."""

    X_train: FloatArray  # (n_train, n_features), C order, float32 or float64
    y_train: LabelArray  # (n_train,)
    X_test: FloatArray
    y_test: LabelArray
    n_classes: int
    image_shape: tuple[int, int] | None  # height and width where a row is an image


def as_float_dtype(dtype: object) -> np.dtype[np.float32] | np.dtype[np.float64]:
    """Return `dtype` as float32 or float64.

    Raises
    ------
    ValueError
        If it is neither.
    """
    for accepted in (np.dtype(np.float32), np.dtype(np.float64)):
        try:
            if np.dtype(dtype) == accepted:  # type: ignore[call-overload]  # anything may come
                return accepted
        except TypeError:  # not the name of a dtype at all
            break
    raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
