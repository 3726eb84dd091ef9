"""Local SGD: every worker trains on its own partitions, and the weights are averaged after every round.

In a round, each worker starts from the same weights and runs whole epochs over its partitions, one after
another, in compiled code; then the weights (and velocities) are averaged, weighted by the rows of each
worker. The trajectory is not that of one process; the method is iterative parameter mixing.

Zinkevich, Weimer, Smola, Li: Parallelized stochastic gradient descent (2010), NIPS 23.
Stich: Local SGD converges fast and communicates little (2019), ICLR.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backends import State, get_backend
from ..schedules import Schedule
from ..training.epoch import TrainingSet, train_epoch
from ..training.state import copy_of
from .cluster import Cluster, threads_here
from .dataset_statistics import DatasetStatistics
from .groups import Group, for_each_training_set
from .rounds import (
    CLIENT,
    MAX_BYTES_IN_TASKS,
    Round,
    RoundConfig,
    TrackedMessage,
    bytes_of,
    tracked,
)
from .rows import TrainingContext, naming_partition


class LocalResult(NamedTuple):
    """The result of a round on one worker, or the mean over several."""

    state: State
    objectives: tuple[float, ...]  # of the epochs of a round
    n_rows: int
    n_steps: int  # of the worker that took the most


def local_round(
    cluster: Cluster,
    groups: list[Group],
    statistics: DatasetStatistics,
    training: RoundConfig,
    state: State,
    schedule: Schedule,
    first_epoch: int,
    n_epochs: int,
    random: np.random.Generator,
) -> Round:
    """Run a round: epochs on every worker, then the mean of their weights.

    Raises
    ------
    ClusterError, ValueError, DivergenceError
        If the cluster fails, a row is not finite, or training diverges on a worker.
    """
    seed = int(random.integers(1 << 63))
    size = bytes_of(state)
    start = TrackedMessage(state, size, CLIENT, 0)
    if len(groups) * size > MAX_BYTES_IN_TASKS:
        start = cluster.submit(_initial_message, state)
    trained = [
        cluster.submit(
            *(
                _train,
                group.source,
                statistics.context,
                training,
                start,
                schedule,
                first_epoch,
                n_epochs,
            ),
            *((seed, group.indices[0]), _steps_of_epoch(group, statistics, training)),
            group is groups[0],
            worker=group.worker,
        )
        for group in groups
    ]
    means = trained
    while len(means) > 1:
        means = [
            cluster.submit(_mean_of, *means[i : i + 2]) if i + 1 < len(means) else means[i]
            for i in range(0, len(means), 2)
        ]
    cluster.wait(trained)
    done: TrackedMessage = cluster.result(means[0])
    mean: LocalResult = done.value
    moved = done.moved + size  # from a worker to the client
    return Round(mean.state, list(mean.objectives), mean.n_steps, moved)


def _steps_of_epoch(group: Group, statistics: DatasetStatistics, training: RoundConfig) -> int:
    return sum(training.sampling.n_steps(int(statistics.n_counted[i])) for i in group.indices)


def _initial_message(state: State) -> TrackedMessage:
    return tracked(state, bytes_of(state), 0)


def _bytes_received(start: TrackedMessage, is_first: bool) -> int:
    """Return the bytes sent for a task to start; a shared start is sent by the client once."""
    return start.received() + (start.nbytes if is_first and start.origin != CLIENT else 0)


def _train(
    source: Any,
    context: TrainingContext,
    training: RoundConfig,
    start: TrackedMessage,
    schedule: Schedule,
    first_epoch: int,
    n_epochs: int,
    seed: tuple[int, int],
    n_steps: int,
    is_first: bool,
) -> TrackedMessage:
    """Run epochs of `n_steps` steps over the partitions of this worker."""
    state, random = copy_of(start.value), np.random.default_rng(seed)
    backend, n_threads = get_backend(training.backend), threads_here(training.n_threads)
    objectives = np.zeros(n_epochs)
    n_rows = step = epoch = 0

    def train_on(index: int, samples: TrainingSet) -> None:
        nonlocal step, n_rows
        if not len(samples):
            return
        with naming_partition(index):
            objective = train_epoch(
                *(backend, samples, state, training.rule, training.sampling, schedule),
                *(step, random, n_threads),
                steps_of_epoch=n_steps,
            )
        objectives[epoch] += objective * len(samples)
        step += training.sampling.n_steps(len(samples))
        n_rows += len(samples)

    for epoch in range(n_epochs):
        step, n_rows = (first_epoch + epoch) * n_steps, 0
        for_each_training_set(source, context, train_on)
    means = tuple((objectives / max(n_rows, 1)).tolist())
    trained = LocalResult(state, means, n_rows, n_steps * n_epochs)
    return tracked(trained, bytes_of(state), _bytes_received(start, is_first))


def _mean_of(left: TrackedMessage, right: TrackedMessage) -> TrackedMessage:
    """Return the mean of both, weighted by their rows."""
    moved = left.moved + left.received() + right.moved + right.received()
    a, b = left.value, right.value
    n = a.n_rows + b.n_rows
    share = b.n_rows / n if n else 0.0
    state = State(
        *(
            None if x is None else x + (y - x) * x.dtype.type(share)
            for x, y in zip(a.state, b.state, strict=True)
        )  # type: ignore[arg-type]
    )
    objectives = tuple(x + (y - x) * share for x, y in zip(a.objectives, b.objectives, strict=True))
    mean = LocalResult(state, objectives, n, max(a.n_steps, b.n_steps))
    return tracked(mean, bytes_of(state), moved)
