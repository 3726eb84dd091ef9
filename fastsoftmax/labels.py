"""Labels of any kind, as the classes they name and as indices into them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Integer labels are counted where they span at most so many times their number.
_SPARSEST = 4


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
    places = _places(labels, labels)
    if places is not None:
        found = np.flatnonzero(np.bincount(places)) + int(labels.min())
        return found.astype(labels.dtype)
    try:
        return np.unique(labels)
    except TypeError:
        raise TypeError(
            f"{name}: expected labels of one type, all numbers or all strings, got a mixture"
        ) from None


def joined(classes: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return the classes with those of `labels` that are new, sorted.

    Raises
    ------
    ValueError, TypeError
        As `find_classes` does, and if no dtype holds both as they are.
    """
    found = find_classes(labels)
    old, new = classes.tolist(), found.tolist()
    if set(new) <= set(old):
        return classes
    try:
        together = find_classes(np.concatenate([classes, found]))
    except TypeError:
        together = classes
    # As strings numbers would be others, and so would large integers as floats.
    if set(together.tolist()) != {*old, *new} or len(together) != len({*old, *new}):
        raise TypeError(
            f"y: expected labels of the type of the classes, {classes.dtype}, or a mixture that one "
            f"type holds, got {labels.dtype}"
        )
    return together


def encode(y: ArrayLike, classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the index into the sorted `classes` of every label.

    Raises
    ------
    ValueError
        If a label is not among the classes.
    """
    labels = as_labels(y, "y")
    places = _places(labels, classes)
    if places is not None:
        index_at = np.full(int(classes[-1]) - int(classes[0]) + 1, -1)
        index_at[classes.astype(np.int64) - classes[0].astype(np.int64)] = np.arange(len(classes))
        indices = index_at[places]
        if not labels.size or indices.min() >= 0:
            return indices
    if {labels.dtype.kind, classes.dtype.kind} == {"T", "U"}:  # NumPy does not compare these
        labels, classes = labels.astype(object), classes.astype(object)
    try:
        indices = np.searchsorted(classes, labels)
        known = classes[np.minimum(indices, len(classes) - 1)] == labels
    except TypeError:
        known = np.zeros(len(labels), bool)
    if not np.all(known):
        stranger = labels[int(np.argmin(known))]
        raise ValueError(f"y: the label {stranger!r} is not among the classes {classes.tolist()}")
    return indices.astype(np.int64, copy=False)


def _places(labels: NDArray[Any], among: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return label - min(among), where that counts labels faster than sorting them does; else None.

    That is where all are integers, none is out of the range of `among`, and it is not much wider
    than there are labels.
    """
    for array in (labels, among):
        if array.dtype.kind not in "iu" or array.dtype == np.uint64 or not array.size:
            return None
    low, high = int(among.min()), int(among.max())
    if high - low > _SPARSEST * len(labels) or labels.min() < low or labels.max() > high:
        return None
    return labels.astype(np.int64) - low


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
        with np.errstate(invalid="ignore"):  # of a NaN that signals
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
