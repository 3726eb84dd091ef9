"""Synchronous SGD: every step takes the gradient of a global minibatch, summed over the partitions.

The minibatches, and up to rounding the steps, are those of `fastsoftmax.SoftmaxClassifier` on the same rows
with the same seed. In a step, each worker sums over its rows of the minibatch; a tree of tasks adds the
sums, and the task at its root takes the step. The steps of a block are submitted together and run without
the client.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backends import Rule, State, get_backend
from ..schedules import Schedule
from ..training.averaging import Average
from ..training.epoch import Sampling, TrainingSet, check_rows, data_of, mean_over
from ..training.gradient_sums import GradientSum, objective_of_step, stepped_by, sum_over_rows
from ..training.state import with_sums
from .cluster import Cluster, threads_here
from .dataset_statistics import DatasetStatistics
from .groups import Group, for_each_training_set
from .rounds import (
    CLIENT,
    MAX_BYTES_IN_TASKS,
    Round,
    RoundConfig,
    TrackedMessage,
    add_sums,
    bytes_of,
    rates_of_epoch,
    sums_message,
    tracked,
)
from .rows import TrainingContext, naming_partition
from .tree import root, summed

# Steps that are submitted together.
_STEPS_PER_BLOCK = 100


class SGDProgress(NamedTuple):
    """The weights after some steps, and the objectives of these; one that is not finite is the last."""

    state: State
    objectives: tuple[float, ...]

    @property
    def has_ended(self) -> bool:
        """Whether the last objective was not finite, so that no step follows."""
        return bool(self.objectives) and not np.isfinite(self.objectives[-1])


class EpochPlan(NamedTuple):
    """An epoch: the rows of every partition in the order in which minibatches take them.

    Rows are indices among those that the partition trains on.
    """

    rows: dict[int, NDArray[np.int64]]
    cuts: dict[int, NDArray[np.int64]]  # where the rows of each step begin, and the end of the last
    random: np.random.Generator  # after the epoch

    def rows_of_step(self, index: int, step: int) -> NDArray[np.int64]:
        """Return the rows of a partition that a step takes."""
        return self.rows[index][self.cuts[index][step] : self.cuts[index][step + 1]]


def synchronous_round(
    cluster: Cluster,
    groups: list[Group],
    statistics: DatasetStatistics,
    training: RoundConfig,
    state: State,
    schedule: Schedule,
    epoch: int,
    random: np.random.Generator,
    average: Average | None,
) -> tuple[Round, np.random.Generator]:
    """Run an epoch, which updates `average`; return its result and the generator after it.

    Raises
    ------
    ClusterError, ValueError
        If the cluster fails, or a row is not finite.
    """
    n_samples = statistics.n_samples
    size, n_steps = (
        min(training.sampling.batch_size, n_samples),
        training.sampling.n_steps(n_samples),
    )
    rates = rates_of_epoch(schedule, epoch, n_steps)
    plans = [
        cluster.submit(
            _plan_epoch, group.indices, statistics, training.sampling, random, worker=group.worker
        )
        for group in groups
    ]
    after = cluster.submit(_generator_after, plans[0])  # early: its result is there in the end
    objectives: list[float] = []
    moved = 0
    first_averaged = n_steps if average is None else average.steps_before(size, n_steps)
    ends = sorted({*range(0, n_steps, _STEPS_PER_BLOCK), first_averaged, n_steps})
    for start, stop in pairwise(ends):
        steps = range(start, stop)
        if start >= first_averaged:
            state = with_sums(state)
        progress = TrackedMessage(SGDProgress(state, ()), bytes_of(state), CLIENT, 0)
        if len(groups) * progress.nbytes > MAX_BYTES_IN_TASKS:
            progress = cluster.submit(_initial_progress, state)
        for step in steps:
            sums = [
                cluster.submit(
                    *(
                        _sum_gradients,
                        group.source,
                        plan,
                        step,
                        progress,
                        statistics.context,
                        training,
                    ),
                    *(len(statistics.n_counted),),
                    worker=group.worker,
                )
                for group, plan in zip(groups, plans, strict=True)
            ]
            while len(sums) > 2:
                pairs = [sums[i : i + 2] for i in range(0, len(sums), 2)]
                sums = [
                    cluster.submit(add_sums, len(statistics.n_counted), *pair)
                    if len(pair) > 1
                    else pair[0]
                    for pair in pairs
                ]
            progress = cluster.submit(
                _take_step, len(statistics.n_counted), progress, training.rule, rates[step], *sums
            )
        done: TrackedMessage = cluster.result(progress)
        state, moved = done.value.state, moved + done.moved + bytes_of(done.value.state)
        objectives += done.value.objectives
        if done.value.has_ended:
            return Round(state, [objectives[-1]], len(objectives), moved), random
        if average is not None and start >= first_averaged:
            average.add(state)
            state = state._replace(coef_sum=None, intercept_sum=None)
    if average is not None:
        average.n_steps += n_steps - first_averaged
        average.n_samples += n_samples
    mean = float(mean_over(np.array(objectives), size, n_samples))
    return Round(state, [mean], n_steps, moved), cluster.result(after)


def _plan_epoch(
    indices: list[int],
    statistics: DatasetStatistics,
    sampling: Sampling,
    random: np.random.Generator,
) -> EpochPlan:
    n, random = statistics.n_samples, deepcopy(random)
    size, n_steps = min(sampling.batch_size, n), sampling.n_steps(n)
    # If no order is drawn, no array is as long as all rows together.
    in_order = not sampling.replacement and (n_steps == 1 or sampling.shuffle is False)
    order = None if in_order else sampling.order(n, statistics.bytes_of_row, random)
    plan, firsts, ends = (
        EpochPlan({}, {}, random),
        statistics.firsts,
        np.cumsum(statistics.n_counted),
    )
    if order is not None:
        # The partitions of a worker are mostly consecutive: rows outside all of them are skipped once.
        places = np.flatnonzero((order >= firsts[indices[0]]) & (order < ends[indices[-1]]))
        order = order[places]
    for index in indices:
        first, end = firsts[index], ends[index]
        if order is None:
            local, taken = np.arange(end - first), np.arange(first, end)
        else:
            here = np.flatnonzero((order >= first) & (order < end))
            local, taken = order[here] - first, places[here]
        plan.rows[index] = local
        plan.cuts[index] = np.searchsorted(taken, np.arange(n_steps + 1) * size)
    return plan


def _generator_after(plan: EpochPlan) -> np.random.Generator:
    return plan.random


def _initial_progress(state: State) -> TrackedMessage:
    # The client has sent the state to this worker.
    return tracked(SGDProgress(state, ()), bytes_of(state), bytes_of(state))


def _sum_gradients(
    source: Any,
    plan: EpochPlan,
    step: int,
    progress: TrackedMessage,
    context: TrainingContext,
    training: RoundConfig,
    n_leaves: int,
) -> TrackedMessage:
    """Sum the gradient over this worker's rows of a minibatch."""
    if progress.value.has_ended:
        return tracked({}, 0, 0)
    state, backend = progress.value.state, get_backend(training.backend)
    n_threads = threads_here(training.n_threads)
    nodes: dict[tuple[int, int], GradientSum | None] = {}

    def add(index: int, samples: TrainingSet) -> None:
        rows = plan.rows_of_step(index, step)
        nodes[0, index] = None
        if len(rows):
            rows = rows if samples.rows is None else samples.rows[rows]
            data = data_of(samples, state)
            nodes[0, index], invalid = sum_over_rows(backend, data, rows, state, n_threads)
            if invalid >= 0:
                with naming_partition(index):
                    check_rows(samples.X, np.array([invalid]), state.coef.dtype)

    for_each_training_set(source, context, add)
    return sums_message(summed(nodes, n_leaves), progress.received())


def _take_step(
    n_leaves: int, progress: TrackedMessage, rule: Rule, rate: float, *sums: TrackedMessage
) -> TrackedMessage:
    moved = progress.moved + sum(each.moved + each.received() for each in sums)
    if progress.origin == CLIENT:  # otherwise this worker received the weights for its own sum
        moved += progress.nbytes
    state, objectives = progress.value
    if progress.value.has_ended:
        return tracked(progress.value, bytes_of(state), moved)
    nodes = {place: value for each in sums for place, value in each.value.items()}
    gradient = root(summed(nodes, n_leaves))
    assert gradient is not None  # a minibatch has rows
    with np.errstate(over="ignore", invalid="ignore"):
        objective = objective_of_step(state, gradient, rule)
        if np.isfinite(objective):
            state = stepped_by(state, gradient, rule, rate)
    return tracked(SGDProgress(state, (*objectives, objective)), bytes_of(state), moved)
