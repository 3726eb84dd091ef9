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
    Look,
    count,
    count_split,
    find_heaviest,
    heaviest_of,
    look_at_rows,
    multiply,
    statistics_of,
    sum_moments,
)
from .groups import (
    Group,
    Reading,
    groups_computed,
    groups_held,
    groups_held_if_few,
    prepared,
    where_it_is,
)
from .local_sgd import local_round
from .partitions import Collection
from .rounds import Round, Training
from .rows import Share
from .scoring import hits_of
from .synchronous import synchronous_round
from .tree import root, summed

# Of the memory that the workers have left, what rows may have that are held there: reading them takes some.
_SHARE_OF_MEMORY = 1 / 3


@dataclass(frozen=True)
class Method:
    """How to train, as the parameters of the estimator say."""

    algorithm: str
    local_epochs: int
    persist: bool | str
    n_threads: int | None


@dataclass
class DistributedDataset:
    """All rows, wherever they are: what `TrainingRun` knows of its samples."""

    cluster: Cluster
    reading: Reading | None  # None where the rows are held
    groups: list[Group]
    statistics: DatasetStatistics
    units: Standardization | None = None
    step_size: float | None = None  # as found, if it was to be

    def __len__(self) -> int:
        return self.statistics.n_samples

    def at_hand(self) -> list[Group]:
        """Return the groups for the workers that there are now."""
        if self.reading is not None:
            return self.reading.groups()
        workers = self.cluster.workers()
        return [where_it_is(group, workers, self.cluster) for group in self.groups]

    def score(
        self, coef: FloatArray, intercept: FloatArray | None, backend: str, method: Method
    ) -> tuple[float, int]:
        """Return the accuracy on the rows that are held out, and the bytes of the weights that it takes."""
        if intercept is None:
            intercept = np.zeros(len(coef), coef.dtype)
        groups = self.at_hand()
        args = self.statistics.context, coef, intercept, backend, method.n_threads
        hits, mass = np.sum(_gathered(self.cluster, hits_of, groups, *args), axis=0)
        return float(hits / mass), len(groups) * (coef.nbytes + intercept.nbytes)


@dataclass
class DistributedRun(TrainingRun):
    """A training whose epochs run on the workers."""

    method: Method = field(default_factory=lambda: Method("local", 1, "auto", None))
    bytes_moved: list[int] = field(default_factory=list)
    last: Round | None = None
    next_average: Average | None = None

    def epoch(self) -> float:
        """Run a round, and return the objective of its last epoch; `keep` takes its weights."""
        dataset: Any = self.problem.samples
        config = self.problem.config
        done = len(self.curve)
        training = Training(
            config.backend.name, config.rule, config.sampling, self.method.n_threads
        )
        try:
            common = (dataset.cluster, dataset.at_hand(), dataset.statistics, training)
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

    def keep(self, objective: float) -> None:  # noqa: ARG002 - it is the last of them
        """Take the weights of the round, and add its epochs to the history."""
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
        """Return the same, as found in the pass that counts rows."""
        dataset: Any = self.problem.samples
        norm: float = dataset.statistics.norm_of_rows
        return norm

    @property
    def remark(self) -> str:
        """How many bytes the last round has moved."""
        return f"{format_bytes(self.bytes_moved[-1])} moved this round"

    @property
    def steps_of_epoch(self) -> int:
        """Of the last epoch."""
        assert self.last is not None
        return max(self.last.n_steps // len(self.last.objectives), 1)


def dataset_of(
    collection: Collection,
    cluster: Cluster,
    config: TrainingConfig,
    method: Method,
    seed: int,
    known: NDArray[Any] | None = None,
    grows: bool = False,
) -> DistributedDataset:
    """Find out what there is to know of all rows, and have them held where they are to be.

    The seed is that of the rows that are held out to score with. For the classes that are known, and for
    growing, see `statistics_of`.

    Raises
    ------
    ValueError, TypeError
        If the rows, labels or weights are not what can be trained on.
    ClusterError
        If the cluster fails.
    """
    holds = _holds(collection, cluster, method.persist, collection.nbytes)
    reading = None
    if holds and (collection.holds_futures or not collection.sharing.is_empty):
        groups = groups_computed(collection, cluster)
    else:
        reading = Reading(collection, cluster)
        groups = groups_held(reading, cluster) if holds else reading.groups()
    if holds is None:  # of a frame, whose size is not known before
        counts, held = groups_held_if_few(groups, _room(cluster), cluster)
        holds, groups = held is not None, held or groups
    else:
        counts = _gathered(cluster, count, groups)
    if holds:  # before the first round
        cluster.take_bytes_sent()
    statistics = statistics_of(counts, config.class_weight, config.label_smoothing, known, grows)
    dataset = DistributedDataset(cluster, None if holds else reading, groups, statistics)
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
            f'X: {why}, and algorithm="synchronous" would read it once a step: take batch_size=len(X) '
            f'(it is {statistics.n_samples}), which is one step an epoch, or algorithm="local"'
        )
    if config.validation_fraction is not None:
        _hold_out(dataset, config.validation_fraction, seed)
    if config.standardize:
        _standardize(dataset, config, method)
    if config.finds_step_size:
        dataset.step_size = _find_step_size(dataset, config)
    dataset.groups = [prepared(group, dataset.statistics.context, cluster) for group in groups]
    cluster.wait([group.source for group in dataset.groups if group.is_held])
    return dataset


def problem_over(dataset: DistributedDataset, config: TrainingConfig) -> Problem:
    """Return what is trained on as a local fit has it."""
    common, n_samples = dataset.statistics.context, dataset.statistics.n_samples
    schedule, sizes = config.schedule, None
    if dataset.step_size is not None:
        schedule, sizes = with_step_size(schedule, dataset.step_size, n_samples, None)
    return Problem(config, dataset, common.classes, common.mean_weight, schedule, sizes)


def _holds(
    collection: Collection, cluster: Cluster, persist: bool | str, nbytes: float
) -> bool | None:
    """Whether rows are to be held in memory; None where that is not known yet."""
    if collection.holds_futures or not collection.sharing.can_be_read_singly:
        return True
    if isinstance(persist, str):
        if np.isnan(nbytes):
            return None
        return nbytes <= _room(cluster)
    return bool(persist)


def _room(cluster: Cluster) -> float:
    """Return how many bytes rows may have that are held."""
    return _SHARE_OF_MEMORY * cluster.memory_left()


def _gathered(cluster: Cluster, function: Any, groups: list[Group], *args: Any) -> list[Any]:
    """Return what a function says of the partitions of every group, in one list."""
    futures = [
        cluster.submit(function, group.source, *args, worker=group.worker) for group in groups
    ]
    return [each for found in cluster.results(futures) for each in found]


def _hold_out(dataset: DistributedDataset, fraction: float, seed: int) -> None:
    statistics, groups = dataset.statistics, dataset.groups
    context = statistics.context._replace(held_out=Share(fraction, seed))
    n_counted, n_held_out = np.zeros_like(statistics.n_counted), 0
    for number, n_trained, n_scored in _gathered(dataset.cluster, count_split, groups, context):
        n_counted[number] = n_trained
        n_held_out += n_scored
    if not n_held_out:
        raise ValueError(
            f"validation_fraction: {fraction:g} of the rows of a partition leaves none to score with in any"
        )
    dataset.statistics = statistics._replace(context=context, n_counted=n_counted)


def _standardize(dataset: DistributedDataset, config: TrainingConfig, method: Method) -> None:
    statistics, cluster, groups = dataset.statistics, dataset.cluster, dataset.groups
    n_leaves = len(statistics.n_counted)
    args = statistics.context, config.backend.name, method.n_threads, n_leaves
    tasks = [
        cluster.submit(sum_moments, group.source, *args, worker=group.worker) for group in groups
    ]
    moments = root(summed(_all_of(cluster.results(tasks)), n_leaves))
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
        heavy = _gathered(cluster, find_heaviest, groups, statistics.context, statistics.firsts, n)
        at = at._replace(heaviest=heaviest_of(heavy, n).places)
    args = statistics.context, config.fit_intercept, statistics.firsts, at
    looks = [
        cluster.submit(look_at_rows, group.source, *args, worker=group.worker) for group in groups
    ]

    def of_all(function: Any, *args: Any) -> dict[Any, Any]:
        # Where the rows are that have been looked at: these stay there.
        tasks = [
            cluster.submit(function, look, *args, worker=group.worker)
            for look, group in zip(looks, groups, strict=True)
        ]
        return _all_of(cluster.results(tasks))

    seen = of_all(_numbers_of)
    squares, masses = zip(*(seen[number] for number in sorted(seen)), strict=True)
    n_leaves = len(statistics.n_counted)

    def product(v: Any, offset: float) -> tuple[Any, float]:
        total = root(summed(of_all(multiply, v, offset, n_leaves), n_leaves))
        return total[:-1], float(total[-1])

    intercept = config.fit_intercept
    steepest = largest_eigenvalue(product, statistics.n_features, sum(masses), intercept)
    return from_curvature(
        *(statistics.n_samples, config.sampling.batch_size, config.sampling.replacement),
        *(merge_squares(list(squares)), steepest, config.rule.l2),
    )


def _numbers_of(look: Look) -> dict[int, tuple[Squares, float]]:
    return {number: (look.squares[number], look.sample[number].mass) for number in look.squares}


def _all_of(parts: list[dict[Any, Any]]) -> dict[Any, Any]:
    return {key: value for part in parts for key, value in part.items()}


def _check(objectives: list[float], state: Any, schedule: Schedule) -> None:
    """Raise if the steps have led nowhere."""
    finite = np.isfinite(objectives).all() and all(
        parameter is None or np.isfinite(parameter).all() for parameter in state[:2]
    )
    if not finite:
        raise DivergenceError(f"the loss or the weights became infinite or NaN: {remedy(schedule)}")
