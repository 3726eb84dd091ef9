"""Labels of any kind, as the classes they name and as indices into them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def find_classes(y: ArrayLike, name: str = "y") -> NDArray[Any]:
    """Return the different labels in `y`, sorted.

    Raises
    ------
    ValueError
        If `y` is not one-dimensional, is empty, or holds NaN or a number with a fraction.
    TypeError
        If `y` holds anything but integers, strings, booleans and floats, or a mixture.
    """
    labels = as_labels(y, name)
    if not labels.size:
        raise ValueError(f"{name}: expected at least one label, got none")
    try:
        return np.unique(labels)
    except TypeError:
        raise TypeError(
            f"{name}: expected labels of one type, all numbers or all strings, got a mixture"
        ) from None


def encode(y: ArrayLike, classes: NDArray[Any], n_samples: int) -> NDArray[np.int64]:
    """Return the index into the sorted `classes` of every label.

    Raises
    ------
    ValueError
        If there are not `n_samples` labels, or one is not among the classes.
    """
    labels = as_labels(y, "y")
    if len(labels) != n_samples:
        raise ValueError(
            f"y: expected {n_samples} labels, one for each row of X, got {len(labels)}"
        )
    try:
        indices = np.searchsorted(classes, labels)
        known = classes[np.minimum(indices, len(classes) - 1)] == labels
    except TypeError:
        known = np.zeros(len(labels), bool)
    if not np.all(known):
        stranger = labels[int(np.argmin(known))]
        raise ValueError(f"y: the label {stranger!r} is not among the classes {classes.tolist()}")
    return indices.astype(np.int64, copy=False)


def as_labels(y: ArrayLike, name: str) -> NDArray[Any]:
    """Return `y` as a one-dimensional array of what may be labels.

    Raises
    ------
    ValueError, TypeError
        As `find_classes` does.
    """
    try:
        labels = np.asarray(y)
    except ValueError as error:  # rows of unequal length
        raise ValueError(f"{name}: expected a list of labels: {error}") from None
    if np.ma.is_masked(y):
        raise TypeError(f"{name}: expected labels without masked elements, got a masked array")
    if labels.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, got shape {labels.shape}")
    kind = labels.dtype.kind
    if (
        kind in "US"
        and isinstance(y, list | tuple)
        and not all(isinstance(v, str | bytes) for v in y)
    ):
        raise TypeError(
            f"{name}: expected labels of one type, all numbers or all strings, got a mixture"
        )
    if kind == "f":
        whole = np.isfinite(labels) & (labels == np.floor(labels))
        if not whole.all():
            bad = labels[int(np.argmin(whole))]
            raise ValueError(
                f"{name}: expected class labels; {bad} is a continuous value or missing, not a label"
            )
    elif kind not in "iubOUST":
        raise TypeError(f"{name}: expected integers, strings or booleans, got dtype {labels.dtype}")
    if kind == "O" and not all(
        isinstance(label, str | int | bool | np.integer) for label in labels
    ):
        bad = next(
            label for label in labels if not isinstance(label, str | int | bool | np.integer)
        )
        raise TypeError(f"{name}: expected integers, strings or booleans, got {bad!r}")
    return labels
