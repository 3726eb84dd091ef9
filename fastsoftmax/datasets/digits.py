"""The handwritten digits that scikit-learn bundles."""

import numpy as np
from numpy.typing import DTypeLike

from .._arrays.validation import as_integer, as_real, shown
from .._optional import import_optional
from ..backends.protocol import LabelArray
from .dataset import Dataset, as_float_dtype


def load_digits(
    test_size: float = 0.25, dtype: DTypeLike = np.float32, random_state: int = 0
) -> Dataset:
    """Return the 1797 images of handwritten digits, of 8 x 8 pixels, split for training and testing.

    The pixels, whole numbers from 0 to 16, are divided by 16. The split is stratified: it has the same
    share of each digit. Nothing is downloaded.

    Parameters
    ----------
    test_size : float, default 0.25
        The share of test images, greater than 0 and less than 1.
    dtype : {float32, float64}, default float32
        The dtype of the pixels; they are exact in both.
    random_state : int, default 0
        The seed of the split.

    Returns
    -------
    Dataset
        With 64 features from 0 to 1 and 10 classes.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    ValueError, TypeError
        If a parameter is not as described.

    References
    ----------
    Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998).

    Examples
    --------
    >>> from fastsoftmax.datasets import load_digits
    >>> load_digits().X_train.shape
    (1347, 64)
    """
    share = as_test_size(test_size)
    seed = as_integer("random_state", random_state, 0)
    float_dtype = as_float_dtype(dtype)
    sklearn = import_optional("sklearn.datasets", "the digits are data of")
    pixels, labels = sklearn.load_digits(return_X_y=True)
    X = (pixels / 16).astype(float_dtype)
    y = labels.astype(np.int64)
    train, test = stratified_split(y, share, np.random.default_rng(seed))
    return Dataset(X[train], y[train], X[test], y[test], n_classes=10, image_shape=(8, 8))


def as_test_size(test_size: float) -> float:
    """Return the share of the test samples, checked."""
    share = as_real("test_size", test_size)
    if not 0 < share < 1:
        raise ValueError(
            f"test_size: expected a number greater than 0 and less than 1, got {shown(test_size)}"
        )
    return share


def stratified_split(
    y: LabelArray, test_size: float, random: np.random.Generator
) -> tuple[LabelArray, LabelArray]:
    """Return indices for training and for testing, shuffled; at least one of each class in both."""
    train, test = [], []
    for label in np.unique(y):
        members = random.permutation(np.flatnonzero(y == label))
        n_test = min(max(1, round(test_size * len(members))), len(members) - 1)
        test.append(members[:n_test])
        train.append(members[n_test:])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))
