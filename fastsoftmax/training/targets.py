"""Targets, which are labels or rows of probabilities, and the weights of samples and classes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.labels import as_labels, classes_of, indices_of, joined, listed, positions_of
from .._arrays.validation import FloatArray

# Tolerance for the sum of a row of probabilities: that of float16 with many classes.
_TOLERANCE = 0.01


class Targets(NamedTuple):
    """The targets of the samples, and their weights, which are 1 on average.

    `rows` are the samples with a weight above 0, on which training and scores are based. The others have a
    class too, but their probabilities are undefined.
    """

    classes: NDArray[Any]
    values: NDArray[Any]  # int64 labels (n_samples,) or probabilities (n_samples, n_classes)
    weights: NDArray[np.float64] | None  # (n_samples,); None if all those at `rows` are 1
    rows: NDArray[np.int64] | None  # ascending; None for all
    mean_weight: float  # the divisor of the weights
    # As given, without class weights: the weights for scores.
    of_samples: NDArray[np.float64] | None
    given: NDArray[Any]


def targets_of(
    y: ArrayLike,
    n_samples: int,
    dtype: np.dtype[Any],
    sample_weight: ArrayLike | None,
    class_weight: object,
    classes: NDArray[Any] | None = None,
    mean_weight: float | None = None,
    grows: bool = False,
) -> Targets:
    """Return the targets with the weights of samples and classes applied, all checked.

    A row of probabilities t stands for t_k samples of class k each, with the weight of that class. So
    with class weights v a sample of weight w has the targets ``v * t / sum(v * t)`` and the weight
    ``w * sum(v * t)``; that of a label k is ``w * v_k``. "balanced" is v_k = (sum of weights) / (number of
    classes * sum of weights in class k), and 0 for a class without weight.

    Labels are read regardless of weights: one whose samples all have weight 0 is a class too. A row of
    probabilities of weight 0 is not read.

    Parameters
    ----------
    y : array_like, shape (n_samples,) or (n_samples, n_classes)
    dtype : numpy.dtype
        The dtype of the probabilities.
    sample_weight : array_like of real numbers, shape (n_samples,), or None
    class_weight : mapping from label to real number, "balanced" or None
    classes : ndarray, optional
        The classes, if they are known; by default those in `y`.
    grows : bool, default False
        Whether labels that are not among `classes` are new classes.
    mean_weight : float, optional
        The divisor of the weights; by default their mean over the samples with a weight above 0.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message names it.
    """
    weights = rows = of_samples = None
    if sample_weight is not None:
        double = np.dtype(np.float64)
        weights = validation.as_weights("sample_weight", sample_weight, (n_samples,), double)
        rows = _rows_that_count(weights, "sample_weight")
        of_samples = None if np.ptp(weights[weights > 0]) == 0 else weights
    if is_soft(y):
        values = as_probabilities(y, n_samples, dtype, rows, classes)
        if classes is None:
            classes = np.arange(values.shape[1])
    else:
        labels = as_labels(y, "y")
        if len(labels) != n_samples:
            raise ValueError(
                f"y: expected {n_samples} labels, one for each row of X, got {len(labels)}"
            )
        if classes is None:
            classes = classes_of(labels)
        elif grows:
            classes = joined(classes, labels)
        values = indices_of(labels, classes)
    given = values
    of_classes = None
    if class_weight is not None:
        of_classes = class_weights_of(class_weight, classes, values, weights, rows, grows)
    if of_classes is not None:
        of_targets = values @ of_classes if values.ndim == 2 else of_classes[values]
        weights = np.asarray(of_targets * (1 if weights is None else weights), np.float64)
        rows = _rows_that_count(weights, "class_weight")
        if values.ndim == 2:
            mass = np.where(of_targets > 0, of_targets, 1)[:, np.newaxis]
            values = (values * of_classes / mass).astype(dtype)
    if weights is None:
        return Targets(classes, values, None, None, 1.0, None, given)
    counted = weights if rows is None else weights[rows]
    with np.errstate(over="ignore"):
        if mean_weight is None:
            is_one_number = counted.min() == counted.max()  # whose mean could differ by rounding
            scaled, power = validation.scaled_weights(counted)
            mean_weight = float(counted[0] if is_one_number else np.ldexp(scaled.mean(), power))
        all_one = bool((counted == mean_weight).all())
        weights = weights / mean_weight
    if not (mean_weight < np.inf and np.isfinite(weights).all()):
        raise ValueError("sample_weight: expected weights within the range of float64")
    weights = None if all_one else weights
    return Targets(classes, values, weights, rows, mean_weight, of_samples, given)


def is_soft(y: Any) -> bool:
    """Return whether `y` has two dimensions: rows of probabilities."""
    shape = getattr(y, "shape", None)
    if shape is not None:
        return len(shape) == 2
    return (
        isinstance(y, list | tuple) and len(y) > 0 and isinstance(y[0], list | tuple | np.ndarray)
    )


def check_sorted(classes: ArrayLike) -> None:
    """Raise unless the classes are in the order of the columns of probabilities, sorted.

    Raises
    ------
    ValueError
        If they are not sorted.
    """
    given = as_labels(classes, "classes")
    if (given[:-1] > given[1:]).any():
        raise ValueError(
            "classes: expected them sorted, as y has a column of probabilities for each, "
            f"got {listed(given)}"
        )


def _rows_that_count(weights: NDArray[np.float64], name: str) -> NDArray[np.int64] | None:
    if (weights > 0).all():
        return None
    rows = np.flatnonzero(weights > 0)
    if not len(rows):
        raise ValueError(f"{name}: expected at least one weight that is not zero, got only zeros")
    return rows


def as_probabilities(
    y: ArrayLike,
    n_samples: int,
    dtype: np.dtype[Any],
    rows: NDArray[np.int64] | None = None,
    classes: NDArray[Any] | None = None,
) -> FloatArray:
    """Return `y` as rows of probabilities, (n_samples, n_classes), checked.

    Only the rows at `rows` are read; all if that is None.

    Raises
    ------
    ValueError, TypeError
        If it does not have `n_samples` rows and a column for each class (at least two if the classes are
        not known), or a row is not finite, has a negative number or does not sum to 1.
    """
    array = validation.as_array("y", y)
    if array.ndim != 2 or len(array) != n_samples:
        raise ValueError(
            f"y: expected {n_samples} rows of probabilities, one for each row of X, "
            f"got shape {array.shape}"
        )
    if array.shape[1] < 2:
        raise ValueError(
            f"y: expected columns of probabilities for at least two classes, got {array.shape[1]}"
        )
    if classes is not None and len(classes) != array.shape[1]:
        raise ValueError(
            f"y: expected {len(classes)} columns of probabilities, one a class, got {array.shape[1]}"
        )
    if rows is not None:
        uniform = np.full(array.shape, 1 / array.shape[1], dtype)
        uniform[rows] = array[rows]
        array = uniform
    values = validation.as_targets(array, (n_samples,), array.shape[1], dtype, "y")
    sums = values.sum(axis=1, dtype=np.float64)
    wrong = np.abs(sums - 1) > _TOLERANCE
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"y: expected rows of probabilities, which sum to 1, got the sum {sums[row]:.6g} in row {row}; "
            "use sample_weight for the weight of a row"
        )
    return values


def class_weights_of(
    class_weight: object,
    classes: NDArray[Any],
    values: NDArray[Any],
    weights: NDArray[np.float64] | None,
    rows: NDArray[np.int64] | None,
    grows: bool,
) -> NDArray[np.float64] | None:
    """Return the weight of every class, or None for ones; "balanced" computes them from the samples."""
    if class_weight is None:
        return None
    if isinstance(class_weight, str) and class_weight == "balanced":
        counted = slice(None) if rows is None else rows
        of_rows = np.ones(len(values)) if weights is None else weights
        mass: NDArray[np.float64]
        if values.ndim == 2:
            mass = of_rows[counted] @ values[counted].astype(np.float64)
        else:
            mass = np.bincount(values[counted], of_rows[counted], len(classes)).astype(np.float64)
        return balanced_weights(mass)
    if not isinstance(class_weight, Mapping):
        raise (ValueError if isinstance(class_weight, str) else TypeError)(
            "class_weight: expected None, 'balanced' or a mapping from labels to weights, "
            f"got {validation.shown(class_weight)}"
        )
    labels = as_labels([*class_weight], "class_weight")
    given = [
        validation.as_non_negative(f"class_weight: the weight of {validation.shown(label)}", weight)
        for label, weight in class_weight.items()
    ]
    places = positions_of(labels, classes, "class_weight")
    found = np.ones(len(classes))
    found[places[places >= 0]] = np.array(given)[places >= 0]
    strangers = labels[places < 0]
    left_out = np.delete(classes, places[places >= 0])
    # A label is misspelt, rather than missing in these samples.
    if len(strangers) and len(left_out) and not grows:
        raise ValueError(
            f"class_weight: {listed(strangers)[0]!r} is not among the classes, and "
            f"{listed(left_out)[0]!r}, which is, has no weight"
        )
    return found


def balanced_weights(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the "balanced" weights for classes with these sums of sample weights; 0 for a sum of 0."""
    balanced = np.zeros_like(mass)
    np.divide(mass.sum(), len(mass) * mass, out=balanced, where=mass > 0)
    return balanced
