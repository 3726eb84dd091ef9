"""A fit on a cluster: statistics of all rows, then the loop of every fit, over rounds instead of epochs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask.utils import format_bytes
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from ..exceptions import ClusterError, DivergenceError
from ..schedules import Schedule
from ..training.averaging import Average
from ..training.config import TrainingConfig
from ..training.epoch import check_weights, remedy
from ..training.loop import TrainingRun
from ..training.problem import Problem, with_step_size
from ..training.standardization import OUT_OF_RANGE, Standardization, from_moments
from ..training.step_size import (
    Squares,
    from_curvature,
    largest_eigenvalue,
    merge_squares,
    positions,
)
from .cluster import Cluster
from .dataset_statistics import (
    DatasetStatistics,
    StepSizeSample,
    count,
    count_split,
    find_heaviest,
    merge_heaviest,
    multiply,
    sample_for_step_size,
    statistics_of,
    sum_moments,
)
from .groups import (
    Group,
    PartitionReader,
    compute_into_memory,
    read_into_memory,
    read_into_memory_if_small,
    with_current_worker,
    with_split_rows,
)
from .local_sgd import local_round
from .partitions import Collection
from .rounds import Round, RoundConfig
from .rows import HoldOut
from .scoring import held_out_hits
from .synchronous import synchronous_round
from .tree import root, summed

# The share of the workers' free memory that rows may fill: reading them needs memory as well.
_SHARE_OF_MEMORY = 1 / 3


@dataclass(frozen=True)
class Method:
    """The parameters of the estimator that say how to train on a cluster."""

    algorithm: str
    local_epochs: int
    persist: bool | str
    n_threads: int | None


@dataclass
class DistributedDataset:
    """All rows on all workers, in the place of the samples of a `TrainingRun`."""

    cluster: Cluster
    reader: PartitionReader | None  # None if the rows are in memory
    groups: list[Group]
    statistics: DatasetStatistics
    config: TrainingConfig  # for these rows
    units: Standardization | None = None
    step_size: float | None = None  # None unless eta0 is to be estimated

    def __len__(self) -> int:
        return self.statistics.n_samples

    def current_groups(self) -> list[Group]:
        """Return the groups for the present workers."""
        if self.reader is not None:
            return self.reader.groups()
        workers = self.cluster.workers()
        return [with_current_worker(group, workers, self.cluster) for group in self.groups]

    def score(
        self, coef: FloatArray, intercept: FloatArray | None, backend: str, method: Method
    ) -> tuple[float, int]:
        """Return the accuracy on the held-out rows, and the bytes of the weights sent for it."""
        if intercept is None:
            intercept = np.zeros(len(coef), coef.dtype)
        groups = self.current_groups()
        args = self.statistics.context, coef, intercept, backend, method.n_threads
        hits, mass = np.sum(_map_groups(self.cluster, held_out_hits, groups, *args), axis=0)
        return float(hits / mass), len(groups) * (coef.nbytes + intercept.nbytes)


@dataclass
class DistributedRun(TrainingRun):
    """A training run whose epochs run on the workers."""

    method: Method = field(default_factory=lambda: Method("local", 1, "auto", None))
    bytes_moved: list[int] = field(default_factory=list)
    last: Round | None = None
    next_average: Average | None = None

    def epoch(self) -> float:
        """Run a round, and return the objective of its last epoch; `keep` then takes its weights."""
        dataset: Any = self.problem.samples
        config = self.problem.config
        done = len(self.curve)
        training = RoundConfig(
            config.backend.name, config.rule, config.sampling, self.method.n_threads
        )
        try:
            common = (dataset.cluster, dataset.current_groups(), dataset.statistics, training)
            if self.method.algorithm == "local":
                n_epochs = min(self.method.local_epochs, config.max_iter - done)
                round_ = local_round(
                    *common, self.state, self.schedule, done, n_epochs, self.random
                )
            else:
                self.next_average = None if self.average is None else self.average.copy()
                round_, self.random = synchronous_round(
                    *common, self.state, self.schedule, done, self.random, self.next_average
                )
            _check(round_.objectives, round_.state, self.schedule)
        except ClusterError as error:
            raise ClusterError(f"training stopped after epoch {done}: {error}") from None
        self.last = round_
        return round_.objectives[-1]

    def keep(self, objective: float) -> None:  # noqa: ARG002 - the round has it
        """Take the weights of the round, and append its epochs to the history."""
        assert self.last is not None
        self.state, self.average = self.last.state, self.next_average
        check_weights(self.weights(), self.last.n_steps - 1, self.schedule)
        dataset: Any = self.problem.samples
        self.bytes_moved.append(self.last.bytes_moved + dataset.cluster.take_bytes_sent())
        self.n_steps += self.last.n_steps
        self.curve += self.last.objectives
        if self.problem.config.validation_fraction is not None:
            score, moved = dataset.score(
                *self.weights(), self.problem.config.backend.name, self.method
            )
            self.scores.append(score)
            self.bytes_moved[-1] += moved

    def norm_of_rows(self) -> float:
        """Return the root mean square of the norms of rows, from the pass that counts rows."""
        dataset: Any = self.problem.samples
        norm: float = dataset.statistics.norm_of_rows
        return norm

    @property
    def remark(self) -> str:
        """The bytes that the last round has moved, as text."""
        return f"{format_bytes(self.bytes_moved[-1])} moved this round"

    @property
    def steps_of_epoch(self) -> int:
        """The number of steps of the last epoch."""
        assert self.last is not None
        return max(self.last.n_steps // len(self.last.objectives), 1)


def prepare_dataset(
    collection: Collection,
    cluster: Cluster,
    config: TrainingConfig,
    method: Method,
    seed: int,
    known: NDArray[Any] | None = None,
    grows: bool = False,
) -> DistributedDataset:
    """Compute the statistics of all rows, and keep the rows in memory if they are to be kept.

    `seed` selects the rows that are held out for scoring. For `known` and `grows`, see `statistics_of`.

    Raises
    ------
    ValueError, TypeError
        If the rows, labels or weights are invalid.
    ClusterError
        If the cluster fails.
    """
    holds = _keeps_in_memory(collection, cluster, method.persist, collection.nbytes)
    reader = None
    if holds and (collection.holds_futures or not collection.sharing.is_empty):
        groups = compute_into_memory(collection, cluster)
    else:
        reader = PartitionReader(collection, cluster)
        groups = read_into_memory(reader, cluster) if holds else reader.groups()
    if holds is None:  # of a frame, whose size is unknown until it is read
        counts, held = read_into_memory_if_small(groups, _max_bytes_in_memory(cluster), cluster)
        holds, groups = held is not None, held or groups
    else:
        counts = _map_groups(cluster, count, groups)
    if holds:  # what was sent to read them belongs to no round
        cluster.take_bytes_sent()
    statistics = statistics_of(counts, config.class_weight, config.label_smoothing, known, grows)
    config = config.for_rows(statistics.is_sparse)
    dataset = DistributedDataset(cluster, None if holds else reader, groups, statistics, config)
    reads_often = method.algorithm == "synchronous" and (
        config.sampling.n_steps(statistics.n_samples) > 1
    )
    if reads_often and not holds:
        why = (
            "it is too large for the memory of the workers"
            if method.persist
            else "persist is False"
        )
        raise ValueError(
            f'X: {why}, and algorithm="synchronous" would read it once per step: use batch_size=len(X) '
            f'(it is {statistics.n_samples}), which is one step per epoch, or algorithm="local"'
        )
    if config.validation_fraction is not None:
        _hold_out(dataset, config.validation_fraction, seed)
    n_samples = dataset.statistics.n_samples
    total_weight = statistics.context.mean_weight * n_samples
    size = (n_samples, total_weight, statistics.n_features, statistics.is_sparse)
    config = dataset.config = config.for_size(*size)
    if config.standardize:
        _standardize(dataset, config, method)
    if config.finds_step_size:
        dataset.step_size = _find_step_size(dataset, config)
    dataset.groups = [
        with_split_rows(group, dataset.statistics.context, cluster) for group in groups
    ]
    cluster.wait([group.source for group in dataset.groups if group.is_in_memory])
    return dataset


def problem_over(dataset: DistributedDataset, config: TrainingConfig) -> Problem:
    """Return the problem of a data set, as of a local fit."""
    common, n_samples = dataset.statistics.context, dataset.statistics.n_samples
    schedule, sizes = config.schedule, None
    if dataset.step_size is not None:
        schedule, sizes = with_step_size(schedule, dataset.step_size, n_samples, None)
    return Problem(config, dataset, common.classes, common.mean_weight, schedule, sizes)


def _keeps_in_memory(
    collection: Collection, cluster: Cluster, persist: bool | str, nbytes: float
) -> bool | None:
    """Return whether to keep the rows in memory; None if that is not known yet."""
    if collection.holds_futures or not collection.sharing.can_be_read_singly:
        return True
    if isinstance(persist, str):
        if np.isnan(nbytes):
            return None
        return nbytes <= _max_bytes_in_memory(cluster)
    return bool(persist)


def _max_bytes_in_memory(cluster: Cluster) -> float:
    """Return the maximum number of bytes of rows in memory."""
    return _SHARE_OF_MEMORY * cluster.memory_left()


def _map_groups(cluster: Cluster, function: Any, groups: list[Group], *args: Any) -> list[Any]:
    """Return the results of a function for the partitions of all groups, in one list."""
    futures = [
        cluster.submit(function, group.source, *args, worker=group.worker) for group in groups
    ]
    return [each for found in cluster.results(futures) for each in found]


def _hold_out(dataset: DistributedDataset, fraction: float, seed: int) -> None:
    statistics, groups = dataset.statistics, dataset.groups
    context = statistics.context._replace(held_out=HoldOut(fraction, seed))
    n_counted, n_held_out = np.zeros_like(statistics.n_counted), 0
    for number, n_trained, n_scored in _map_groups(dataset.cluster, count_split, groups, context):
        n_counted[number] = n_trained
        n_held_out += n_scored
    if not n_held_out:
        raise ValueError(
            f"validation_fraction: {fraction:g} of the rows of each partition leaves none to score with"
        )
    dataset.statistics = statistics._replace(context=context, n_counted=n_counted)


def _standardize(dataset: DistributedDataset, config: TrainingConfig, method: Method) -> None:
    statistics, cluster, groups = dataset.statistics, dataset.cluster, dataset.groups
    n_leaves = len(statistics.n_counted)
    args = statistics.context, config.backend.name, method.n_threads, n_leaves
    tasks = [
        cluster.submit(sum_moments, group.source, *args, worker=group.worker) for group in groups
    ]
    moments = root(summed(_merged(cluster.results(tasks)), n_leaves))
    units = from_moments(moments, statistics.context.dtype, not statistics.is_sparse)
    if units is None:
        raise ValueError(OUT_OF_RANGE)
    dataset.units = units
    dataset.statistics = statistics._replace(context=statistics.context._replace(units=units))


def _find_step_size(dataset: DistributedDataset, config: TrainingConfig) -> float:
    statistics, cluster, groups = dataset.statistics, dataset.cluster, dataset.groups
    at = positions(statistics.n_samples, statistics.n_features)
    n = len(at.looked_at)
    if statistics.is_weighted and n < statistics.n_samples:
        heavy = _map_groups(
            cluster, find_heaviest, groups, statistics.context, statistics.firsts, n
        )
        at = at._replace(heaviest=merge_heaviest(heavy, n).places)
    args = statistics.context, config.fit_intercept, statistics.firsts, at
    samples = [
        cluster.submit(sample_for_step_size, group.source, *args, worker=group.worker)
        for group in groups
    ]

    def map_samples(function: Any, *args: Any) -> dict[Any, Any]:
        # On the workers that have the sampled rows.
        tasks = [
            cluster.submit(function, drawn, *args, worker=group.worker)
            for drawn, group in zip(samples, groups, strict=True)
        ]
        return _merged(cluster.results(tasks))

    seen = map_samples(_squares_and_masses)
    squares, masses = zip(*(seen[number] for number in sorted(seen)), strict=True)
    n_leaves = len(statistics.n_counted)

    def product(v: Any, offset: float) -> tuple[Any, float]:
        total = root(summed(map_samples(multiply, v, offset, n_leaves), n_leaves))
        return total[:-1], float(total[-1])

    intercept = config.fit_intercept
    steepest = largest_eigenvalue(product, statistics.n_features, sum(masses), intercept)
    return from_curvature(
        *(statistics.n_samples, config.sampling.batch_size, config.sampling.replacement),
        *(merge_squares(list(squares)), steepest, config.rule.l2),
    )


def _squares_and_masses(drawn: StepSizeSample) -> dict[int, tuple[Squares, float]]:
    return {number: (drawn.squares[number], drawn.sample[number].mass) for number in drawn.squares}


def _merged(parts: list[dict[Any, Any]]) -> dict[Any, Any]:
    return {key: value for part in parts for key, value in part.items()}


def _check(objectives: list[float], state: Any, schedule: Schedule) -> None:
    """Raise if the loss or the weights are not finite."""
    finite = np.isfinite(objectives).all() and all(
        parameter is None or np.isfinite(parameter).all() for parameter in state[:2]
    )
    if not finite:
        raise DivergenceError(f"the loss or the weights became infinite or NaN: {remedy(schedule)}")
