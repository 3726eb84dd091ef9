"""Synchronous SGD: every step takes the gradient of a global minibatch, summed over the partitions.

The minibatches are those that `fastsoftmax.SoftmaxClassifier` takes of the same rows with the same seed: so
are the steps, to rounding. For a step, a worker sums over the rows that it has of the minibatch; sums are
added by a tree, and whoever gets the last ones takes the step. The steps of a block are submitted at once
and run without the client.
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
from .groups import Group, over_samples
from .rounds import (
    BYTES_OF_STARTS,
    CLIENT,
    Round,
    TrackedMessage,
    Training,
    bytes_of,
    rates_of_epoch,
    tracked,
)
from .rows import TrainingContext, named
from .tree import root, summed

# Steps that are submitted at once.
_STEPS_OF_A_BLOCK = 100


class SGDProgress(NamedTuple):
    """Weights on their way, and the objectives of the steps so far; the last one not finite ends it."""

    state: State
    objectives: tuple[float, ...]

    @property
    def has_ended(self) -> bool:
        """Whether no step follows."""
        return bool(self.objectives) and not np.isfinite(self.objectives[-1])


class Plan(NamedTuple):
    """Of an epoch: the rows of every partition in the order in which minibatches take them.

    Counted over those that are trained on.
    """

    rows: dict[int, NDArray[np.int64]]
    cuts: dict[int, NDArray[np.int64]]  # where the rows of every step begin, and the last ones end
    random: np.random.Generator  # after it

    def of_step(self, index: int, step: int) -> NDArray[np.int64]:
        """Return the rows of a partition that a step takes."""
        return self.rows[index][self.cuts[index][step] : self.cuts[index][step + 1]]


def synchronous_round(
    cluster: Cluster,
    groups: list[Group],
    statistics: DatasetStatistics,
    training: Training,
    state: State,
    schedule: Schedule,
    epoch: int,
    random: np.random.Generator,
    average: Average | None,
) -> tuple[Round, np.random.Generator]:
    """Run an epoch, changing `average`, and return what it has come to and the generator after it.

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
            _plan_of, group.indices, statistics, training.sampling, random, worker=group.worker
        )
        for group in groups
    ]
    objectives: list[float] = []
    moved = 0
    first_averaged = n_steps if average is None else average.steps_before(size, n_steps)
    ends = sorted({*range(0, n_steps, _STEPS_OF_A_BLOCK), first_averaged, n_steps})
    for start, stop in pairwise(ends):
        steps = range(start, stop)
        if start >= first_averaged:
            state = with_sums(state)
        progress = TrackedMessage(SGDProgress(state, ()), bytes_of(state), CLIENT, 0)
        if len(groups) * progress.nbytes > BYTES_OF_STARTS:
            progress = cluster.submit(_start, state)
        for step in steps:
            sums = [
                cluster.submit(
                    *(_gradients, group.source, plan, step, progress, statistics.context, training),
                    *(len(statistics.n_counted),),
                    worker=group.worker,
                )
                for group, plan in zip(groups, plans, strict=True)
            ]
            while len(sums) > 2:
                pairs = [sums[i : i + 2] for i in range(0, len(sums), 2)]
                sums = [
                    cluster.submit(_joined, len(statistics.n_counted), *pair)
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
    after = cluster.result(cluster.submit(_generator_after, plans[0]))
    mean = float(mean_over(np.array(objectives), size, n_samples))
    return Round(state, [mean], n_steps, moved), after


def _plan_of(
    indices: list[int],
    statistics: DatasetStatistics,
    sampling: Sampling,
    random: np.random.Generator,
) -> Plan:
    n, random = statistics.n_samples, deepcopy(random)
    size, n_steps = min(sampling.batch_size, n), sampling.n_steps(n)
    # Without an order to draw, nothing is as long as all rows together.
    in_order = not sampling.replacement and (n_steps == 1 or sampling.shuffle is False)
    order = None if in_order else sampling.order(n, statistics.bytes_of_row, random)
    plan, firsts, ends = Plan({}, {}, random), statistics.firsts, np.cumsum(statistics.n_counted)
    if order is not None:
        # Partitions of a worker mostly follow each other: what is of none is looked at once, not for each.
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


def _generator_after(plan: Plan) -> np.random.Generator:
    return plan.random


def _start(state: State) -> TrackedMessage:
    # From the client to here.
    return tracked(SGDProgress(state, ()), bytes_of(state), bytes_of(state))


def _gradients(
    source: Any,
    plan: Plan,
    step: int,
    progress: TrackedMessage,
    context: TrainingContext,
    training: Training,
    n_leaves: int,
) -> TrackedMessage:
    """Sum over the rows that are here of a minibatch."""
    if progress.value.has_ended:
        return tracked({}, 0, 0)
    state, backend = progress.value.state, get_backend(training.backend)
    n_threads = threads_here(training.n_threads)
    nodes: dict[tuple[int, int], GradientSum | None] = {}

    def add(index: int, samples: TrainingSet) -> None:
        rows = plan.of_step(index, step)
        nodes[0, index] = None
        if len(rows):
            rows = rows if samples.rows is None else samples.rows[rows]
            data = data_of(samples, state)
            nodes[0, index], invalid = sum_over_rows(backend, data, rows, state, n_threads)
            if invalid >= 0:
                with named(index):
                    check_rows(samples.X, np.array([invalid]), state.coef.dtype)

    over_samples(source, context, add)
    return _message_of(summed(nodes, n_leaves), progress.received())


def _joined(n_leaves: int, *sums: TrackedMessage) -> TrackedMessage:
    nodes = {place: value for each in sums for place, value in each.value.items()}
    return _message_of(summed(nodes, n_leaves), sum(each.moved + each.received() for each in sums))


def _message_of(nodes: dict[tuple[int, int], GradientSum | None], moved: int) -> TrackedMessage:
    return tracked(nodes, sum(each.nbytes for each in nodes.values() if each is not None), moved)


def _take_step(
    n_leaves: int, progress: TrackedMessage, rule: Rule, rate: float, *sums: TrackedMessage
) -> TrackedMessage:
    moved = progress.moved + sum(each.moved + each.received() for each in sums)
    if progress.origin == CLIENT:  # else who runs this has had the weights for its own sum
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
