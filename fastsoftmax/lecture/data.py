"""The data functions that the notebooks import: readers of CIFAR-10 and SVHN, a split, and the accuracy.

The readers are those of `fastsoftmax.datasets`, which execute nothing in a file.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import datasets
from .._arrays import validation
from ..datasets.files import as_path

Images = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]

_IMAGE_SHAPE = (32, 32, 3)
_SEED = 42  # of the course


def load_CIFAR10(ROOT: str | os.PathLike[str]) -> tuple[Images, Labels, Images, Labels]:
    """Return the images and labels of CIFAR-10, for training and for testing.

    Parameters
    ----------
    ROOT : str or path
        The folder ``cifar-10-batches-py``, or the ``.tar.gz`` as downloaded.

    Returns
    -------
    X_train, y_train, X_test, y_test : ndarray
        Images of float64, shape (n_samples, 32, 32, 3), from 0 to 255; labels of int64, shape (n_samples,),
        from 0 to 9. `fastsoftmax.datasets.load` returns the same pixels as bytes, an eighth of the memory.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        If a file is missing, damaged or not one of CIFAR-10.

    References
    ----------
    Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009).
    """
    parts: list[Any] = []
    for split in ("train", "test"):
        samples = datasets.load(ROOT, format="cifar", split=split)
        if samples.y.size and samples.y.max() > 9:
            raise ValueError(
                f"ROOT: expected CIFAR-10, got labels up to {samples.y.max()} in {ROOT}"
            )
        parts += [samples.X.reshape(-1, *_IMAGE_SHAPE).astype(np.float64), samples.y]
    X_train, y_train, X_test, y_test = parts
    return X_train, y_train, X_test, y_test


def load_svhn(
    folder: str | os.PathLike[str], max_train: int, max_test: int
) -> tuple[Images, Labels, Images, Labels]:
    """Return random images of SVHN's cropped digits with their labels, for training and for testing.

    The images are drawn without replacement, from the course's seed 42.

    Parameters
    ----------
    folder : str or path
        With ``train_32x32.mat`` and ``test_32x32.mat``.
    max_train, max_test : int
        How many images to return; more than there are gives all of them.

    Returns
    -------
    train_X, train_y, test_X, test_y : ndarray
        Images of float32, shape (n_samples, 32, 32, 3), from 0 to 255; labels of int64, shape (n_samples,),
        the digits from 0 to 9.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        If a file is missing, damaged or not one of SVHN, or a number is less than 1.

    References
    ----------
    Netzer et al.: Reading Digits in Natural Images with Unsupervised Feature Learning (2011).
    """
    root = Path(as_path("folder", folder))
    parts: list[Any] = []
    for name, most in (("train", max_train), ("test", max_test)):
        n_wanted = validation.as_integer(f"max_{name}", most, 1)
        samples = datasets.load(root / f"{name}_32x32.mat", format="svhn")
        n_samples = len(samples.y)
        rows = np.random.RandomState(_SEED).choice(  # the course's generator
            n_samples, min(n_wanted, n_samples), replace=False
        )
        parts += [samples.X[rows].reshape(-1, *_IMAGE_SHAPE).astype(np.float32), samples.y[rows]]
    train_X, train_y, test_X, test_y = parts
    return train_X, train_y, test_X, test_y


def random_split_train_val(
    X: ArrayLike, y: ArrayLike, num_val: int, seed: int = _SEED
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the samples in a random order, all but `num_val` to train on and these to validate with.

    Parameters
    ----------
    X : array_like, shape (n_samples, ...)
    y : array_like, shape (n_samples,)
    num_val : int
        From 1 to n_samples - 1.
    seed : int, default 42
        The order is the course's; NumPy's global generator stays as it is.

    Returns
    -------
    train_X, train_y, val_X, val_y : ndarray
        Copies of the samples, in their dtypes.

    Raises
    ------
    ValueError, TypeError
        If the numbers of samples differ, or `num_val` leaves none to train on.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.lecture import random_split_train_val
    >>> train_X, train_y, val_X, val_y = random_split_train_val(np.arange(5.0), np.arange(5), 2)
    >>> train_y, val_y
    (array([1, 4, 2]), array([0, 3]))
    """
    samples, labels = np.asarray(X), np.asarray(y)
    if not samples.ndim or not labels.ndim or len(samples) != len(labels):
        raise ValueError(
            f"y: expected a label for each sample of X, got shapes {samples.shape} and {labels.shape}"
        )
    n_held_out = validation.as_integer("num_val", num_val, 1)
    if n_held_out >= len(samples):
        raise ValueError(
            f"num_val: expected less than {len(samples)}, the number of samples, got {n_held_out}"
        )
    random = np.random.RandomState(  # the course's generator
        validation.as_integer("seed", seed, 0)
    )
    order = np.arange(len(samples))
    random.shuffle(order)
    train, held_out = order[:-n_held_out], order[-n_held_out:]
    return samples[train], labels[train], samples[held_out], labels[held_out]


def multiclass_accuracy(prediction: ArrayLike, ground_truth: ArrayLike) -> float:
    """Return the share of predictions that are right.

    Parameters
    ----------
    prediction, ground_truth : array_like, shape (n_samples,)
        Predicted and true labels.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If there are no samples, or the shapes differ.

    Examples
    --------
    >>> from fastsoftmax.lecture import multiclass_accuracy
    >>> multiclass_accuracy([1, 2, 3, 4], [1, 2, 3, 3])
    0.75
    """
    predicted, true = np.asarray(prediction), np.asarray(ground_truth)
    if predicted.ndim != 1 or predicted.shape != true.shape or not len(predicted):
        raise ValueError(
            f"prediction: expected shape (n_samples,), as ground_truth has, with at least one sample; got "
            f"{predicted.shape} and {true.shape}"
        )
    return float(np.mean(predicted == true))
