"""Statistics over all rows that training needs, counted and summed on the workers.

Functions of a `Source` run on a worker, over its partitions; the client derives the training context and
the step size from their results.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.labels import as_labels, encode, find_classes, joined, listed
from .._arrays.validation import as_native, shown, training_dtype
from ..backends import get_backend
from ..training.standardization import Moments, from_moments, moments_of, raise_not_standardizable
from ..training.step_size import (
    Positions,
    RowSample,
    Squares,
    heaviest,
    root_mean_square,
    squares_of,
)
from ..training.targets import balanced_weights, class_weights_of, is_soft
from .cluster import threads_here
from .partitions import Recipe, T
from .rows import Rows, TrainingContext, naming_partition, samples_of, split_rows
from .tree import summed

# The rows of a worker: in memory, or read one partition after another.
Source = Iterable[Rows] | Recipe


class Counts(NamedTuple):
    """Counts and sums over the rows of a partition."""

    number: int
    n_rows: int
    n_features: int
    dtype: np.dtype[Any]
    is_sparse: bool
    nbytes: int
    names: NDArray[Any] | None
    classes: NDArray[Any] | None  # the labels; None for probabilities, and without rows
    n_columns: int | None  # of probabilities; None for labels
    masses: NDArray[np.float64]  # the sum of the weights in every class
    n_of_class: NDArray[np.int64]  # rows with a weight above 0; a single number for probabilities
    min_weight: float
    max_weight: float
    norm: float  # root mean square of the norms of some rows with a weight above 0; NaN without any


class DatasetStatistics(NamedTuple):
    """Statistics over all partitions."""

    context: TrainingContext
    n_counted: NDArray[np.int64]  # rows of each partition with a weight above 0
    n_features: int
    is_sparse: bool
    bytes_of_row: int
    names: NDArray[Any] | None
    is_weighted: bool  # whether weights differ
    norm_of_rows: float  # root mean square of the norms of rows

    @property
    def n_samples(self) -> int:
        """The number of rows to train on."""
        return int(self.n_counted.sum())

    @property
    def firsts(self) -> NDArray[np.int64]:
        """The index of every partition's first row among all rows to train on."""
        return np.cumsum(self.n_counted) - self.n_counted


def map_partitions(source: Source, function: Callable[[Rows], T]) -> list[T]:
    """Return the results of a function for every partition."""
    if isinstance(source, Recipe):
        return source.each(function)
    return [function(rows) for rows in source]


def count(source: Source) -> list[Counts]:
    """Count the labels, and sum the weights, of every partition."""
    return map_partitions(source, counts_of)


def counts_of(rows: Rows) -> Counts:
    """Count the labels, and sum the weights, of a partition."""
    X, weights = rows.X, rows.weights
    counted = np.ones(len(X), bool) if weights is None else weights > 0
    row_weights = counted.astype(np.float64) if weights is None else weights
    classes, n_columns, masses = None, None, np.zeros(0)
    n_of_class = np.array([np.count_nonzero(counted)])
    with naming_partition(rows.number):
        if is_soft(rows.y):
            t = np.asarray(rows.y)
            n_columns = t.shape[1]
            if counted.any():
                masses = row_weights[counted] @ as_native(t[counted], np.dtype(np.float64))
        elif len(X):
            labels = as_labels(rows.y, "y")
            classes = find_classes(labels)
            places = encode(labels, classes)
            masses = np.asarray(np.bincount(places, row_weights, len(classes)), np.float64)
            n_of_class = np.bincount(places[counted], minlength=len(classes))
    positive = row_weights[counted]
    return Counts(
        rows.number,
        len(X),
        X.shape[1],
        training_dtype(X.dtype),
        isinstance(X, SparseRows),
        rows.nbytes,
        rows.names,
        classes,
        n_columns,
        masses,
        n_of_class,
        float(positive.min(initial=np.inf)),
        float(positive.max(initial=0.0)),
        root_mean_square(X, np.flatnonzero(counted)) if counted.any() else np.nan,
    )


def statistics_of(
    counts: list[Counts],
    class_weight: object,
    label_smoothing: float,
    known: NDArray[Any] | None = None,
    grows: bool = False,
) -> DatasetStatistics:
    """Combine the counts of all partitions.

    The `known` classes are kept; if `grows`, other labels are added to them as new classes.

    Raises
    ------
    ValueError
        If there is nothing to train on, or the partitions are inconsistent.
    TypeError
        If their labels are of several types.
    """
    counts = sorted(counts, key=lambda each: each.number)
    filled = [each for each in counts if each.n_rows]
    if not filled:
        raise ValueError("X: expected at least one sample, got none in any partition")
    first = filled[0]
    for each in filled:
        if each.n_features != first.n_features:
            raise ValueError(
                f"X: expected {first.n_features} features in every partition, got {each.n_features} "
                f"in partition {each.number}"
            )
        if each.is_sparse != first.is_sparse:
            raise ValueError("X: expected partitions that are all dense or all sparse, got both")
        if each.n_columns != first.n_columns:
            raise ValueError(
                f"y: expected labels in every partition, or probabilities of as many classes as in "
                f"partition {first.number}, got others in partition {each.number}"
            )
        if (each.names is None) != (first.names is None) or (
            each.names is not None and each.names.tolist() != first.names.tolist()  # type: ignore[union-attr]
        ):
            raise ValueError(
                f"X: expected the columns of partition {first.number} in every one, in that order, "
                f"got others in partition {each.number}"
            )
    classes = _classes_of(filled, known, grows)
    masses, n_of_class = _by_class(filled, classes)
    dtype = np.result_type(*(each.dtype for each in filled))
    weights = _class_weights(class_weight, classes, masses, grows)
    v = np.ones(len(classes)) if weights is None else np.array([*weights.values()])
    if first.n_columns is not None and not v[masses.any(axis=0)].all():
        raise ValueError("class_weight: expected weights above 0 where y has probabilities, got 0")
    n_trained = n_of_class if first.n_columns is not None else n_of_class * (v > 0)
    if not n_trained.sum():
        name = "class_weight" if n_of_class.sum() else "sample_weight"
        raise ValueError(f"{name}: expected at least one weight that is not zero, got only zeros")
    min_weight = min(each.min_weight for each in filled)
    max_weight = max(each.max_weight for each in filled)
    mean_weight = float((masses.sum(axis=0) * v).sum() / n_trained.sum())
    is_weighted = not (min_weight == max_weight and np.ptp(v) == 0)
    if not is_weighted:  # exactly; the mean may differ by a rounding
        mean_weight = float(min_weight * v[0])
    n_counted = np.zeros(len(counts), np.int64)
    for each, n in zip(filled, n_trained.sum(axis=1), strict=True):
        n_counted[each.number] = n
    context = TrainingContext(classes, weights, mean_weight, dtype, label_smoothing, None)
    row_bytes = sum(each.nbytes for each in filled) // sum(each.n_rows for each in filled)
    features = first.n_features, first.is_sparse, row_bytes, first.names
    return DatasetStatistics(context, n_counted, *features, is_weighted, _norm_of(filled))


def _norm_of(counts: list[Counts]) -> float:
    """Return the root mean square of all finite norms: rows of classes with weight 0 may contain NaN."""
    known = [each for each in counts if np.isfinite(each.norm)]
    n = sum(int(each.n_of_class.sum()) for each in known)
    squares = sum(int(each.n_of_class.sum()) * each.norm**2 for each in known)
    return float(np.sqrt(squares / n)) if n else np.nan


def _classes_of(filled: list[Counts], known: NDArray[Any] | None, grows: bool) -> NDArray[Any]:
    n_columns = filled[0].n_columns
    if n_columns is not None:
        if n_columns < 2:
            raise ValueError(
                f"y: expected columns of probabilities for at least two classes, got {n_columns}"
            )
        if known is None:
            return np.arange(n_columns)
        if n_columns != len(known):
            raise ValueError(
                f"y: expected {len(known)} columns of probabilities, one a class, got {n_columns}"
            )
        return known
    found = [each.classes for each in filled if each.classes is not None]
    if known is not None and not grows:
        return known
    classes = reduce(joined, found if known is None else [known, *found])
    if len(classes) < 2:
        raise ValueError(
            f"y: expected at least two classes, got one class: {shown(listed(classes)[0])}"
        )
    return classes


def _by_class(
    filled: list[Counts], classes: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return masses (n_partitions, n_classes), and rows likewise or, for probabilities, in one column."""
    masses = np.zeros((len(filled), len(classes)))
    is_soft_y = filled[0].n_columns is not None
    n_of_class = np.zeros((len(filled), 1 if is_soft_y else len(classes)), np.int64)
    for i, each in enumerate(filled):
        if is_soft_y:
            masses[i] += each.masses if len(each.masses) else 0
            n_of_class[i] = each.n_of_class
        elif each.classes is not None:
            places = encode(each.classes, classes)
            masses[i, places], n_of_class[i, places] = each.masses, each.n_of_class
    return masses, n_of_class


def _class_weights(
    class_weight: object, classes: NDArray[Any], masses: NDArray[np.float64], grows: bool
) -> dict[Any, float] | None:
    """Return the weight of every class as a mapping; None if all are 1."""
    class_masses = masses.sum(axis=0)
    if isinstance(class_weight, str) and class_weight == "balanced":
        return dict(zip(classes, balanced_weights(class_masses).tolist(), strict=True))
    found = class_weights_of(class_weight, classes, np.zeros(0, np.int64), None, None, grows)
    return None if found is None else dict(zip(classes, found.tolist(), strict=True))


def sum_moments(
    source: Source, context: TrainingContext, backend: str, n_threads: int | None, n_leaves: int
) -> dict[tuple[int, int], Any]:
    """Return the column moments of rows with a weight above 0, summed over the partitions of this worker.

    Raises
    ------
    ValueError
        If a row is not finite.
    """
    nodes: dict[tuple[int, int], Moments | None] = {}

    def add(rows: Rows) -> None:
        samples = samples_of(rows, context)
        nodes[0, rows.number] = None
        if not len(samples):
            return
        weights = None if samples.weights is None else samples.weights.rows
        with naming_partition(rows.number):
            moments = moments_of(
                get_backend(backend), rows.X, threads_here(n_threads), weights, samples.rows
            )
            if from_moments(moments, context.dtype, is_centred=True) is None:
                counted = np.arange(len(rows)) if samples.rows is None else samples.rows
                raise_not_standardizable(rows.X, context.dtype, counted)
        nodes[0, rows.number] = moments

    map_partitions(source, add)
    return summed(nodes, n_leaves)


class HeaviestRows(NamedTuple):
    """Rows with large weights, and their indices among all rows to train on."""

    weights: NDArray[np.float64]
    places: NDArray[np.int64]


def merge_heaviest(parts: list[HeaviestRows], n: int) -> HeaviestRows:
    """Return the n rows with the largest weights; of equal ones the first."""
    weights, places = (np.concatenate(each) for each in zip(*parts, strict=True))
    in_order = np.argsort(places)
    weights, places = weights[in_order], places[in_order]
    at = heaviest(weights, n)
    return HeaviestRows(weights[at], places[at])


def find_heaviest(
    source: Source, context: TrainingContext, firsts: NDArray[np.int64], n: int
) -> list[HeaviestRows]:
    """Return the n rows with the largest weights among the partitions of this worker."""

    def of_partition(rows: Rows) -> HeaviestRows:
        samples = samples_of(rows, context)
        among = np.arange(len(rows)) if samples.rows is None else samples.rows
        weights = np.ones(len(rows))
        if samples.weights is not None and samples.weights.rows is not None:
            weights = samples.weights.rows
        at = heaviest(weights[among], n)
        return HeaviestRows(weights[among][at], firsts[rows.number] + at)

    return [merge_heaviest(map_partitions(source, of_partition), n)]


def count_split(source: Source, context: TrainingContext) -> list[tuple[int, int, int]]:
    """Return, for every partition, its number, and how many rows are trained on and held out."""

    def numbers(rows: Rows) -> tuple[int, int, int]:
        samples, scored = split_rows(rows, context)
        return rows.number, len(samples), len(scored.rows)

    return map_partitions(source, numbers)


class StepSizeSample(NamedTuple):
    """Sampled rows of every partition for the step size; the `sample` stays on the worker."""

    squares: dict[int, Squares]
    sample: dict[int, RowSample]


def sample_for_step_size(
    source: Source,
    context: TrainingContext,
    fit_intercept: bool,
    firsts: NDArray[np.int64],
    positions: Positions,
) -> StepSizeSample:
    """Sample the rows at those `positions`, among all rows to train on, that are on this worker."""
    found = StepSizeSample({}, {})

    def add(rows: Rows) -> None:
        samples = samples_of(rows, context)
        among = np.arange(len(rows)) if samples.rows is None else samples.rows
        weights = None if samples.weights is None else samples.weights.rows
        first = firsts[rows.number]
        here = positions.between(first, first + len(among))
        args = context.units, fit_intercept, weights
        found.squares[rows.number] = squares_of(rows.X, among, here, *args)
        found.sample[rows.number] = RowSample.of(rows.X, among[here.sampled], *args)

    map_partitions(source, add)
    return found


def multiply(
    drawn: StepSizeSample, v: NDArray[np.float64], offset: float, n_leaves: int
) -> dict[tuple[int, int], Any]:
    """Return the sums of these rows for a step of power iteration; the last one is of the intercept."""
    nodes = {
        (0, number): np.append(*sample.multiply(v, offset)) if sample.n_rows else None
        for number, sample in drawn.sample.items()
    }
    return summed(nodes, n_leaves)
