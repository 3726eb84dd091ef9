"""The rows of one partition on its worker: their checks, targets and split."""

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
    """A partition as given, with the checks that need no other partition."""

    number: int
    X: NDArray[Any] | SparseRows
    y: Any
    weights: NDArray[np.float64] | None
    names: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.X)

    @property
    def nbytes(self) -> int:
        """The bytes of the numbers of X and, if it is sparse, of their indices."""
        if isinstance(self.X, SparseRows):
            return self.X.values.nbytes + self.X.indices.nbytes
        return int(self.X.nbytes)


class HoldOut(NamedTuple):
    """The rows that every partition holds out for scoring: a random fraction."""

    fraction: float
    seed: int


class TrainingContext(NamedTuple):
    """Facts about all partitions that each partition needs for training."""

    classes: NDArray[Any]
    class_weight: dict[Any, float] | None  # in the order of `classes`
    mean_weight: float
    dtype: np.dtype[Any]
    label_smoothing: float
    units: Standardization | None
    held_out: HoldOut | None = None


class HeldOutRows(NamedTuple):
    """Held-out rows (`rows`), with X and the given targets and weights of all rows."""

    X: NDArray[Any] | SparseRows
    targets: NDArray[Any]
    weights: NDArray[np.float64] | None
    rows: NDArray[np.int64]


def rows_of(index: int, X: Any, y: Any, sample_weight: Any = None) -> Rows:
    """Return a checked partition.

    Raises
    ------
    ValueError, TypeError
        If X is not a matrix of real numbers, or y or the weights have another length or index.
    """
    with naming_partition(index):
        y = _align_index(X, "y", y)
        sample_weight = _align_index(X, "sample_weight", sample_weight)
        # A frame stores columns: its rows are made contiguous once.
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


def _align_index(X: Any, name: str, values: Any) -> Any:
    """Return labels or weights in the order of the rows, if both have an index."""
    if not (hasattr(type(X), "iloc") and hasattr(type(values), "iloc")):
        return values
    rows, found = X.index, values.index
    if len(rows) != len(found) or rows.equals(found):
        return values
    if rows.is_unique and found.is_unique and rows.isin(found).all():
        return values.reindex(rows)
    raise ValueError(
        f"{name}: expected the index of X, in any order, got another one: join it to X by index, or "
        "pass its .values if it is in the order of X"
    )


def samples_of(rows: Rows, context: TrainingContext) -> TrainingSet:
    """Return the training set; its `rows` are those with a weight above 0, possibly none."""
    return split_rows(rows, context)[0]


def split_rows(rows: Rows, context: TrainingContext) -> tuple[TrainingSet, HeldOutRows]:
    """Return the training set and the held-out rows."""
    targets = targets_in(rows, context)
    weights, trained = None, targets.rows
    if targets.weights is not None or context.label_smoothing:
        weights = TargetWeights(targets.weights, None, context.label_smoothing)
    scored = np.zeros(0, np.int64)
    if context.held_out is not None:
        random = np.random.default_rng([context.held_out.seed, rows.number])
        with suppress(ValueError):  # too few rows: none are held out
            trained, scored = hold_out(targets, context.held_out.fraction, len(rows), random)
    samples = TrainingSet(rows.X, targets.values, weights, trained, context.units)
    return samples, HeldOutRows(rows.X, targets.given, targets.of_samples, scored)


def targets_in(rows: Rows, context: TrainingContext) -> Targets:
    """Return targets and weights of a partition, with the classes and the mean weight of all."""
    with naming_partition(rows.number):
        if not _has_weighted_rows(rows, context):
            return _empty_targets(rows, context)
        return targets_of(
            *(rows.y, len(rows), context.dtype, rows.weights, context.class_weight),
            *(context.classes, context.mean_weight),
        )


def _has_weighted_rows(rows: Rows, context: TrainingContext) -> bool:
    counted = slice(None) if rows.weights is None else rows.weights > 0
    y = np.asarray(rows.y)[counted]
    if context.class_weight is None or not len(y) or is_soft(y):
        return bool(len(y))
    places = encode(find_classes(y), context.classes)
    return bool((np.array([*context.class_weight.values()])[places] > 0).any())


def _empty_targets(rows: Rows, context: TrainingContext) -> Targets:
    values: NDArray[Any] = np.zeros(len(rows), np.int64)
    if is_soft(rows.y):
        values = np.zeros((len(rows), len(context.classes)), context.dtype)
    none = np.zeros(0, np.int64)
    weights = None if rows.weights is None else np.zeros(len(rows))
    return Targets(context.classes, values, weights, none, context.mean_weight, weights, values)


class naming_partition:  # noqa: N801 - used like a function
    """Add the number of the partition to an error."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> None:
        if type(error) in (ValueError, TypeError) and error is not None:
            raise type(error)(f"{error} (partition {self._index})") from None
