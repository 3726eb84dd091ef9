"""The rows of one partition, on the worker that has them, and what it knows of them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays import validation
from .._arrays.csr import SparseRows
from .._arrays.inputs import as_samples
from .._arrays.labels import encode, find_classes
from ..backends import TargetWeights
from ..classifier import sklearn_api
from ..training.epoch import TrainingSet
from ..training.holdout import hold_out
from ..training.standardization import Standardization
from ..training.targets import Targets, is_soft, targets_of


class Rows(NamedTuple):
    """A partition as it came, checked so far as that goes without the others."""

    number: int
    X: NDArray[Any] | SparseRows
    y: Any
    weights: NDArray[np.float64] | None
    names: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.X)

    @property
    def nbytes(self) -> int:
        """Of the numbers of X and, where it is sparse, their places in the rows."""
        if isinstance(self.X, SparseRows):
            return self.X.values.nbytes + self.X.indices.nbytes
        return int(self.X.nbytes)


class Share(NamedTuple):
    """What every partition holds out to score with: a fraction of its rows, by lot."""

    fraction: float
    seed: int


class TrainingContext(NamedTuple):
    """What all partitions together say, and one needs to know to train."""

    classes: NDArray[Any]
    class_weight: dict[Any, float] | None  # in the order of `classes`
    mean_weight: float
    dtype: np.dtype[Any]
    label_smoothing: float
    units: Standardization | None
    held_out: Share | None = None


class Scored(NamedTuple):
    """Rows that are held out, with the targets and weights of all rows as they were given."""

    X: NDArray[Any] | SparseRows
    targets: NDArray[Any]
    weights: NDArray[np.float64] | None
    rows: NDArray[np.int64]


def rows_of(index: int, X: Any, y: Any, sample_weight: Any = None) -> Rows:
    """Return a partition as it came.

    Raises
    ------
    ValueError, TypeError
        If X is no matrix of real numbers, y or the weights are not as long, or by their index they are
        those of other rows.
    """
    with named(index):
        y = _in_order_of(X, "y", y)
        sample_weight = _in_order_of(X, "sample_weight", sample_weight)
        # Rows of a frame lie column by column: they are brought together once.
        matrix, labels = as_samples(X, to_train=X.shape[0] > 0), sklearn_api.as_vector(y)
        if np.ma.is_masked(labels):
            raise TypeError("y: expected labels without masked elements, got a masked array")
        labels = (
            labels if is_soft(labels) and not hasattr(labels, "columns") else np.asarray(labels)
        )
        if len(labels) != len(matrix):
            raise ValueError(
                f"y: expected {len(matrix)} labels, one for each row of X, got {len(labels)}"
            )
        weights = None
        if sample_weight is not None:
            weights = validation.as_weights(
                "sample_weight", sample_weight, (len(matrix),), np.dtype(np.float64)
            )
        return Rows(index, matrix, labels, weights, sklearn_api.feature_names_of(X))


def _in_order_of(X: Any, name: str, values: Any) -> Any:
    """Return labels or weights in the order of the rows, where both have an index."""
    if not (hasattr(type(X), "iloc") and hasattr(type(values), "iloc")):
        return values
    rows, found = X.index, values.index
    if len(rows) != len(found) or rows.equals(found):
        return values
    if rows.is_unique and found.is_unique and rows.isin(found).all():
        return values.reindex(rows)
    raise ValueError(
        f"{name}: expected the index of X, in any order, got another one, as of other rows: join it to X "
        "by index, or give its .values if it is in the order of X all the same"
    )


def samples_of(rows: Rows, context: TrainingContext) -> TrainingSet:
    """Return what is trained on; `rows` of it are those that count, and may be none."""
    return split_of(rows, context)[0]


def split_of(rows: Rows, context: TrainingContext) -> tuple[TrainingSet, Scored]:
    """Return what is trained on, and what is scored with."""
    targets = targets_in(rows, context)
    weights, trained = None, targets.rows
    if targets.weights is not None or context.label_smoothing:
        weights = TargetWeights(targets.weights, None, context.label_smoothing)
    scored = np.zeros(0, np.int64)
    if context.held_out is not None:
        random = np.random.default_rng([context.held_out.seed, rows.number])
        with suppress(ValueError):  # too few rows: all are trained on
            trained, scored = hold_out(targets, context.held_out.fraction, len(rows), random)
    samples = TrainingSet(rows.X, targets.values, weights, trained, context.units)
    return samples, Scored(rows.X, targets.given, targets.of_samples, scored)


def targets_in(rows: Rows, context: TrainingContext) -> Targets:
    """Return targets and weights of a partition, in the terms of all of them."""
    with named(rows.number):
        if not _some_count(rows, context):
            return _of_no_rows(rows, context)
        return targets_of(
            *(rows.y, len(rows), context.dtype, rows.weights, context.class_weight),
            *(context.classes, context.mean_weight),
        )


def _some_count(rows: Rows, context: TrainingContext) -> bool:
    counted = slice(None) if rows.weights is None else rows.weights > 0
    y = np.asarray(rows.y)[counted]
    if context.class_weight is None or not len(y) or is_soft(y):
        return bool(len(y))
    places = encode(find_classes(y), context.classes)
    return bool((np.array([*context.class_weight.values()])[places] > 0).any())


def _of_no_rows(rows: Rows, context: TrainingContext) -> Targets:
    values: NDArray[Any] = np.zeros(len(rows), np.int64)
    if is_soft(rows.y):
        values = np.zeros((len(rows), len(context.classes)), context.dtype)
    none = np.zeros(0, np.int64)
    weights = None if rows.weights is None else np.zeros(len(rows))
    return Targets(context.classes, values, weights, none, context.mean_weight, weights, values)


class named:  # noqa: N801 - used as a function is
    """Say in an error which partition it is about."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> None:
        if type(error) in (ValueError, TypeError) and error is not None:
            raise type(error)(f"{error} (partition {self._index})") from None
