"""Solver "lbfgs" on a cluster: passes over all rows are tasks on the workers, the iterations the client's.

The means over all rows that an iteration takes - the loss with its gradient, and those of the bound and of
the preconditioner - are means of the partitions' own, weighted by their rows: workers send them in float64,
and they are added in the order of `tree`. So the iterations are those of the local estimator up to
rounding, but where those compute a Hessian, and their bits do not depend on the workers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from dask.utils import format_bytes
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from ..backends import State, get_backend
from ..exceptions import ClusterError
from ..training.epoch import TrainingSet
from ..training.objective import Doubles, Evaluation, Objective
from ..training.problem import Problem
from ..training.solver_run import SolverRun
from ..training.state import zero_state
from .cluster import threads_here
from .dataset_statistics import DatasetStatistics
from .groups import for_each_training_set
from .rounds import CLIENT, MAX_BYTES_IN_TASKS, TrackedMessage, add_sums, sums_message, tracked
from .rows import naming_partition
from .training import DistributedDataset, DistributedRun, Method
from .tree import root, summed


class Pass(NamedTuple):
    """What workers compute over their rows, or over `max_rows` rows of all, evenly spread."""

    method: str  # of `Objective`, which returns means over its rows
    max_rows: int | None
    statistics: DatasetStatistics
    backend: str
    n_threads: int | None
    fit_intercept: bool
    is_in_float64: bool


@dataclass
class DistributedObjective(Objective):
    """The objective over all partitions; `samples` is the data set, which is nowhere as a whole."""

    threads_per_worker: int | None = None

    def __post_init__(self) -> None:
        """Override: there are no samples here to prepare."""

    @property
    def has_dense_rows(self) -> bool:
        """False: they are on the workers."""
        return False

    @property
    def whole(self) -> None:
        """None: no kernel reads the rows of all partitions."""

    @property
    def values_per_feature(self) -> float:
        """The number of rows: which values are stored is not known here."""
        return len(self)

    def in_float64(self, keeps: bool = False) -> DistributedObjective:  # noqa: ARG002 - no rows are here
        """Return the objective that workers evaluate in float64."""
        intercept = None if self.like.intercept is None else self.like.intercept.astype(np.float64)
        return replace(self, like=State(self.like.coef.astype(np.float64), intercept, None, None))

    def __call__(self, weights: FloatArray) -> Evaluation:
        """Evaluate the mean loss and its gradient.

        Raises
        ------
        ValueError, ClusterError
            If a row of X is not finite, or the cluster fails.
        """
        loss, gradient = self._means("__call__", [(), self.shape], None, weights)
        return Evaluation(float(loss), gradient)

    def mean_squares(self) -> Doubles:
        """Return the means of the squares of the features."""
        return self._means("mean_squares", [self.like.coef.shape[1:]])[0]

    def second_moments(self, max_rows: int | None = None) -> Doubles:
        """Return the mean of x x' over some rows."""
        return self._means("second_moments", [self.shape[1:] * 2], max_rows)[0]

    def sketch(self, directions: FloatArray, max_rows: int | None = None) -> Doubles:
        """Return the mean of (directions x) x' over some rows."""
        return self._means("sketch", [directions.shape], max_rows, directions)[0]

    def class_curvature(self, weights: FloatArray, max_rows: int | None = None) -> Doubles:
        """Return the mean of diag(p) - p p' over some rows."""
        return self._means("class_curvature", [self.shape[:1] * 2], max_rows, weights)[0]

    def target_sums(self) -> tuple[Doubles, Doubles, Doubles]:
        """Return the means of t, of t x' and of x."""
        n_classes, n_features = self.like.coef.shape
        shapes = [(n_classes,), (n_classes, n_features), (n_features,)]
        targets, products, features = self._means("target_sums", shapes)
        return targets, products, features

    def _means(
        self,
        method: str,
        shapes: list[tuple[int, ...]],
        max_rows: int | None = None,
        *args: FloatArray,
    ) -> list[Doubles]:
        """Return the means of these shapes, and count the bytes sent for them."""
        dataset: DistributedDataset = self.samples  # type: ignore[assignment]
        cluster, groups, statistics = dataset.cluster, dataset.current_groups(), dataset.statistics
        n_leaves, size = len(statistics.n_counted), sum(each.nbytes for each in args)
        of_all = Pass(
            *(method, max_rows, statistics, self.backend.name, self.threads_per_worker),
            *(self.like.intercept is not None, self.like.coef.dtype != statistics.context.dtype),
        )
        sent, moved = TrackedMessage(args, size, CLIENT, 0), 0
        if len(groups) * size > MAX_BYTES_IN_TASKS:
            sent, moved = cluster.submit(_on_a_worker, args, size), size
        sums = [
            cluster.submit(_sum_means, group.source, of_all, sent, worker=group.worker)
            for group in groups
        ]
        while len(sums) > 2:
            sums = [
                cluster.submit(add_sums, n_leaves, *sums[i : i + 2])
                if i + 1 < len(sums)
                else sums[i]
                for i in range(0, len(sums), 2)
            ]
        found: list[TrackedMessage] = cluster.results(sums)
        cluster.count_bytes_sent(moved + sum(each.moved + each.nbytes for each in found))
        nodes = {place: value for each in found for place, value in each.value.items()}
        # Of rows that are evenly spread, there are max_rows, or all if there are not that many.
        n_rows = len(self) if max_rows is None else min(max_rows, len(self))
        total = root(summed(nodes, n_leaves)) / n_rows
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
        parts = np.split(total, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


@dataclass
class DistributedSolverRun(SolverRun):
    """A run by the solver whose passes run on the workers."""

    method: Method = field(default_factory=lambda: Method("local", 1, "auto", None))
    bytes_moved: list[int] = field(default_factory=list)

    def _objective(self) -> Objective:
        config = self.problem.config
        return DistributedObjective(
            *(config.backend, self.problem.samples, self.state, config.n_threads),
            threads_per_worker=self.method.n_threads,
        )

    def epoch(self) -> float:
        """Run one iteration and return the objective at the new weights."""
        try:
            return super().epoch()
        except ClusterError as error:
            raise ClusterError(f"training stopped after epoch {len(self.curve)}: {error}") from None

    def keep(self, objective: float) -> None:
        """Add the last iteration to the history."""
        super().keep(objective)
        self.bytes_moved.append(self._bytes_sent())

    def apply_stopping_rules(self, value: float) -> bool:
        """Return whether the fit ends; a check in float64 sends bytes of the last round."""
        ends = super().apply_stopping_rules(value)
        self.bytes_moved[-1] += self._bytes_sent()
        return ends

    def finish(self) -> None:
        """Compute the bound in float64."""
        super().finish()
        if self.bytes_moved:
            self.bytes_moved[-1] += self._bytes_sent()

    def norm_of_rows(self) -> float:
        """Return the root mean square of the norms of rows, from the pass that counts rows."""
        dataset: Any = self.problem.samples
        norm: float = dataset.statistics.norm_of_rows
        return norm

    def _bytes_sent(self) -> int:
        dataset: Any = self.problem.samples
        n_bytes: int = dataset.cluster.take_bytes_sent()
        return n_bytes

    @property
    def remark(self) -> str:
        """The bound of the gap, and the bytes that the last round has moved, as text."""
        moved = f"{format_bytes(self.bytes_moved[-1])} moved this round"
        return ", ".join(filter(None, (super().remark, moved)))


def run_on_cluster(
    problem: Problem, state: State, random: np.random.Generator, method: Method
) -> DistributedRun | DistributedSolverRun:
    """Return a run by the solver of the problem's configuration, which has not begun."""
    kind = DistributedRun if problem.config.solver == "sgd" else DistributedSolverRun
    return kind.of(problem, state, random, method=method)


def _on_a_worker(args: tuple[FloatArray, ...], size: int) -> TrackedMessage:
    return tracked(args, size, 0)


def _sum_means(source: Any, of_all: Pass, sent: TrackedMessage) -> TrackedMessage:
    """Sum means, times their numbers of rows, over the partitions of this worker."""
    context, nodes = of_all.statistics.context, dict[tuple[int, int], NDArray[Any] | None]()
    shape = (len(context.classes), of_all.statistics.n_features)
    like = zero_state(shape, context.dtype, of_all.fit_intercept, 0.0)
    backend, n_threads = get_backend(of_all.backend), threads_here(of_all.n_threads)

    def add(index: int, samples: TrainingSet) -> None:
        nodes[0, index] = None
        samples = _evenly_spread(samples, index, of_all)
        if not len(samples):
            return
        objective = Objective(backend, samples, like, n_threads, keeps=False)
        if of_all.is_in_float64:
            objective = objective.in_float64()
        with naming_partition(index):
            found = getattr(objective, of_all.method)(*sent.value)
        if isinstance(found, Evaluation):
            found = found.loss, found.gradient
        means = found if isinstance(found, tuple) else (found,)
        nodes[0, index] = len(samples) * np.concatenate([np.ravel(mean) for mean in means])

    for_each_training_set(source, context, add)
    return sums_message(summed(nodes, len(of_all.statistics.n_counted)), sent.received())


def _evenly_spread(samples: TrainingSet, index: int, of_all: Pass) -> TrainingSet:
    """Return the rows of a partition that are among the evenly spread ones of all."""
    n_rows, n_picked = of_all.statistics.n_samples, of_all.max_rows
    if n_picked is None or n_picked >= n_rows:
        return samples
    picked = np.arange(n_picked) * n_rows // n_picked - of_all.statistics.firsts[index]
    picked = picked[(picked >= 0) & (picked < len(samples))]
    return replace(samples, rows=picked if samples.rows is None else samples.rows[picked])
