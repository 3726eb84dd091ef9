"""What has to be known of all rows before training: counted and summed where they lie.

Each function is what a worker does with the rows that it has; the context of training and the step size
follow from the sums.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.labels import as_labels, encode, find_classes, joined
from .._arrays.validation import as_native, training_dtype
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
from .rows import Rows, TrainingContext, named, samples_of, split_of
from .tree import summed

# The rows of a worker: there, or to be made one partition after another.
Source = Iterable[Rows] | Recipe


class Counts(NamedTuple):
    """Of a partition."""

    number: int
    n_rows: int
    n_features: int
    dtype: np.dtype[Any]
    is_sparse: bool
    nbytes: int
    names: NDArray[Any] | None
    classes: NDArray[Any] | None  # the labels, None of probabilities and of no rows
    n_columns: int | None  # of probabilities
    masses: NDArray[np.float64]  # the sum of the weights in every class
    n_of_class: NDArray[np.int64]  # rows of a weight above 0; of probabilities one number for all
    least_weight: float
    largest_weight: float
    norm: float  # the root mean square of those of some rows of a weight above 0; NaN of none


class DatasetStatistics(NamedTuple):
    """Of all partitions."""

    context: TrainingContext
    n_counted: NDArray[np.int64]  # rows of every partition that count
    n_features: int
    is_sparse: bool
    bytes_of_row: int
    names: NDArray[Any] | None
    is_weighted: bool  # whether some rows count more than others
    norm_of_rows: float  # their root mean square

    @property
    def n_samples(self) -> int:
        """Rows that are trained on."""
        return int(self.n_counted.sum())

    @property
    def firsts(self) -> NDArray[np.int64]:
        """The number of every partition's first row, counted over all that are trained on."""
        return np.cumsum(self.n_counted) - self.n_counted


def over(source: Source, function: Callable[[Rows], T]) -> list[T]:
    """Return what a function says of every partition."""
    if isinstance(source, Recipe):
        return source.each(function)
    return [function(rows) for rows in source]


def count(source: Source) -> list[Counts]:
    """Count labels and weights."""
    return over(source, counts_of)


def counts_of(rows: Rows) -> Counts:
    """Count those of a partition."""
    X, weights = rows.X, rows.weights
    counted = np.ones(len(X), bool) if weights is None else weights > 0
    of_rows = counted.astype(np.float64) if weights is None else weights
    classes, n_columns, masses = None, None, np.zeros(0)
    n_of_class = np.array([np.count_nonzero(counted)])
    with named(rows.number):
        if is_soft(rows.y):
            t = np.asarray(rows.y)
            n_columns = t.shape[1]
            if counted.any():
                masses = of_rows[counted] @ as_native(t[counted], np.dtype(np.float64))
        elif len(X):
            labels = as_labels(rows.y, "y")
            classes = find_classes(labels)
            places = encode(labels, classes)
            masses = np.asarray(np.bincount(places, of_rows, len(classes)), np.float64)
            n_of_class = np.bincount(places[counted], minlength=len(classes))
    some = of_rows[counted]
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
        float(some.min(initial=np.inf)),
        float(some.max(initial=0.0)),
        root_mean_square(X, np.flatnonzero(counted)) if counted.any() else np.nan,
    )


def statistics_of(
    counts: list[Counts],
    class_weight: object,
    label_smoothing: float,
    known: NDArray[Any] | None = None,
    grows: bool = False,
) -> DatasetStatistics:
    """Put the counts of all partitions together.

    Classes that are known already stay, and labels that are not among them are new ones if it grows.

    Raises
    ------
    ValueError
        If there is nothing to train on, or the partitions do not fit each other.
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
                f"y: expected the same in every partition as in partition {first.number}, labels or "
                f"probabilities of as many classes, got others in partition {each.number}"
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
    takes_part = n_of_class if first.n_columns is not None else n_of_class * (v > 0)
    if not takes_part.sum():
        name = "class_weight" if n_of_class.sum() else "sample_weight"
        raise ValueError(f"{name}: expected at least one weight that is not zero, got zeros alone")
    least = min(each.least_weight for each in filled)
    largest = max(each.largest_weight for each in filled)
    mean_weight = float((masses.sum(axis=0) * v).sum() / takes_part.sum())
    is_weighted = not (least == largest and np.ptp(v) == 0)
    if not is_weighted:  # whose mean may be off by a rounding
        mean_weight = float(least * v[0])
    n_counted = np.zeros(len(counts), np.int64)
    for each, n in zip(filled, takes_part.sum(axis=1), strict=True):
        n_counted[each.number] = n
    context = TrainingContext(classes, weights, mean_weight, dtype, label_smoothing, None)
    row_bytes = sum(each.nbytes for each in filled) // sum(each.n_rows for each in filled)
    of_columns = first.n_features, first.is_sparse, row_bytes, first.names
    return DatasetStatistics(context, n_counted, *of_columns, is_weighted, _norm_of(filled))


def _norm_of(counts: list[Counts]) -> float:
    """Return the root mean square of all norms; rows whose class weighs 0 may be no numbers."""
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
        raise ValueError(f"y: expected at least two classes, got one class: {classes[0]!r}")
    return classes


def _by_class(
    filled: list[Counts], classes: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Masses (n_partitions, n_classes), and rows likewise or, of probabilities, in one column."""
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
    """Return the weight of every class as a mapping, None for ones."""
    of_class = masses.sum(axis=0)
    if isinstance(class_weight, str) and class_weight == "balanced":
        return dict(zip(classes, balanced_weights(of_class).tolist(), strict=True))
    found = class_weights_of(class_weight, classes, np.zeros(0, np.int64), None, None, grows)
    return None if found is None else dict(zip(classes, found.tolist(), strict=True))


def sum_moments(
    source: Source, context: TrainingContext, backend: str, n_threads: int | None, n_leaves: int
) -> dict[tuple[int, int], Any]:
    """Sum the columns of the rows that count, over all partitions that are here.

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
        with named(rows.number):
            moments = moments_of(
                get_backend(backend), rows.X, threads_here(n_threads), weights, samples.rows
            )
            if from_moments(moments, context.dtype, is_centred=True) is None:
                counted = np.arange(len(rows)) if samples.rows is None else samples.rows
                raise_not_standardizable(rows.X, context.dtype, counted)
        nodes[0, rows.number] = moments

    over(source, add)
    return summed(nodes, n_leaves)


class Heavy(NamedTuple):
    """Rows with large weights, by their places among all that are trained on."""

    weights: NDArray[np.float64]
    places: NDArray[np.int64]


def heaviest_of(parts: list[Heavy], n: int) -> Heavy:
    """Return the n with the largest weights; of equal ones the first."""
    weights, places = (np.concatenate(each) for each in zip(*parts, strict=True))
    in_order = np.argsort(places)
    weights, places = weights[in_order], places[in_order]
    at = heaviest(weights, n)
    return Heavy(weights[at], places[at])


def find_heaviest(
    source: Source, context: TrainingContext, firsts: NDArray[np.int64], n: int
) -> list[Heavy]:
    """Return those of the rows that are here."""

    def of_partition(rows: Rows) -> Heavy:
        samples = samples_of(rows, context)
        among = np.arange(len(rows)) if samples.rows is None else samples.rows
        weights = np.ones(len(rows))
        if samples.weights is not None and samples.weights.rows is not None:
            weights = samples.weights.rows
        at = heaviest(weights[among], n)
        return Heavy(weights[among][at], firsts[rows.number] + at)

    return [heaviest_of(over(source, of_partition), n)]


def count_split(source: Source, context: TrainingContext) -> list[tuple[int, int, int]]:
    """Return, of every partition, its number, the rows that are trained on, and those held out."""

    def numbers(rows: Rows) -> tuple[int, int, int]:
        samples, scored = split_of(rows, context)
        return rows.number, len(samples), len(scored.rows)

    return over(source, numbers)


class Look(NamedTuple):
    """At rows of every partition, for the step size; `sample` stays where it is."""

    squares: dict[int, Squares]
    sample: dict[int, RowSample]


def look_at_rows(
    source: Source,
    context: TrainingContext,
    fit_intercept: bool,
    firsts: NDArray[np.int64],
    positions: Positions,
) -> Look:
    """Look at those rows, counted over all that are trained on, which are here."""
    look = Look({}, {})

    def add(rows: Rows) -> None:
        samples = samples_of(rows, context)
        among = np.arange(len(rows)) if samples.rows is None else samples.rows
        weights = None if samples.weights is None else samples.weights.rows
        first = firsts[rows.number]
        here = positions.between(first, first + len(among))
        args = context.units, fit_intercept, weights
        look.squares[rows.number] = squares_of(rows.X, among, here, *args)
        look.sample[rows.number] = RowSample.of(rows.X, among[here.sampled], *args)

    over(source, add)
    return look


def multiply(
    look: Look, v: NDArray[np.float64], offset: float, n_leaves: int
) -> dict[tuple[int, int], Any]:
    """Return what these rows add to a step of power iteration, its last number that of the intercept."""
    nodes = {
        (0, number): np.append(*sample.multiply(v, offset)) if sample.n_rows else None
        for number, sample in look.sample.items()
    }
    return summed(nodes, n_leaves)
