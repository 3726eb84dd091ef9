"""Synthetic data of any shape, with labels that a linear classifier can learn."""

import numpy as np
from numpy.typing import DTypeLike

from .._arrays.validation import as_integer, as_non_negative, shown
from .dataset import Dataset, as_float_dtype

# Target size of the blocks of rows in which the teacher's logits are computed.
_BLOCK_BYTES = 1 << 24


def make_linear_teacher(
    n_samples: int,
    n_features: int,
    n_classes: int,
    n_test: int = 0,
    *,
    noise: float = 0.1,
    dtype: DTypeLike = np.float32,
    random_state: int = 0,
) -> Dataset:
    """Return features from the standard normal distribution, labelled by a random linear classifier.

    With ``W`` (n_features, n_classes) from the standard normal distribution, the teacher, the label of a
    row ``x`` is ``argmax_k (x @ W)_k``, or, with probability `noise`, a random one. No classifier has an
    expected accuracy above ``1 - noise + noise / n_classes`` on new samples.

    Parameters
    ----------
    n_samples, n_features : int
        The shape of the training samples, each 1 or more.
    n_classes : int
        2 or more. With few features and many classes some never occur.
    n_test : int, default 0
        The number of test samples.
    noise : float, default 0.1
        The share of labels drawn at random, from 0 to 1.
    dtype : {float32, float64}, default float32
        The dtype of the features.
    random_state : int, default 0
        The seed. float32 and float64 give different data.

    Returns
    -------
    Dataset
        Beyond the features themselves, little memory is used.

    Raises
    ------
    ValueError, TypeError
        If a parameter is not as described.
    MemoryError
        If the features do not fit into memory.

    Examples
    --------
    >>> from fastsoftmax.datasets import make_linear_teacher
    >>> make_linear_teacher(1000, 20, 3).X_train.shape
    (1000, 20)
    """
    n_train = as_integer("n_samples", n_samples, 1)
    n_columns = as_integer("n_features", n_features, 1)
    n_labels = as_integer("n_classes", n_classes, 2)
    n_rows = n_train + as_integer("n_test", n_test, 0)
    share = as_non_negative("noise", noise)
    if share > 1:
        raise ValueError(f"noise: expected a number from 0 to 1, got {shown(noise)}")
    float_dtype = as_float_dtype(dtype)
    random = np.random.default_rng(as_integer("random_state", random_state, 0))

    teacher = random.standard_normal((n_columns, n_labels), dtype=float_dtype.type)
    X = np.empty((n_rows, n_columns), float_dtype)
    y = np.empty(n_rows, np.int64)
    rows_per_block = max(1, _BLOCK_BYTES // (float_dtype.itemsize * max(n_columns, n_labels)))
    for start in range(0, n_rows, rows_per_block):
        block = X[start : start + rows_per_block]
        random.standard_normal(out=block, dtype=float_dtype.type)
        y[start : start + rows_per_block] = (block @ teacher).argmax(axis=1)
    is_random = random.random(n_rows) < share
    y[is_random] = random.integers(n_labels, size=np.count_nonzero(is_random))
    return Dataset(X[:n_train], y[:n_train], X[n_train:], y[n_train:], n_labels, image_shape=None)
