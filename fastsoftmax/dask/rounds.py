"""Rounds of training: the messages between the workers, and their bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from dask.sizeof import sizeof
from numpy.typing import NDArray

from ..backends import Rule, State
from ..schedules import Schedule
from ..training.epoch import Sampling
from .cluster import here
from .tree import Nodes, summed

# The origin of messages that no worker has created.
CLIENT = "client"

# The largest initial weights, in bytes for all workers together, that are sent within each task, by way of
# the scheduler. Larger ones are the result of an additional task, from which the workers fetch them.
MAX_BYTES_IN_TASKS = 1 << 20


class RoundConfig(NamedTuple):
    """The part of the configuration that workers need."""

    backend: str
    rule: Rule
    sampling: Sampling
    n_threads: int | None


class Round(NamedTuple):
    """The result of a round."""

    state: State
    objectives: list[float]  # of its epochs
    n_steps: int
    bytes_moved: int


@dataclass
class TrackedMessage:
    """Weights, a gradient or sums with their origin: a receiver elsewhere counts the bytes."""

    value: Any
    nbytes: int
    origin: str
    moved: int  # bytes sent to compute it

    def received(self) -> int:
        """Return the bytes sent to the worker that calls this method."""
        return self.nbytes if self.origin != here() else 0


# The scheduler uses the size to place the next task.
sizeof.register(TrackedMessage, lambda sent: sent.nbytes)


def tracked(value: Any, nbytes: int, moved: int) -> TrackedMessage:
    """Return a message with this worker as its origin."""
    return TrackedMessage(value, nbytes, here(), moved)


def sums_message(nodes: Nodes, moved: int) -> TrackedMessage:
    """Return sums over partitions as a message."""
    return tracked(nodes, sum(each.nbytes for each in nodes.values() if each is not None), moved)


def add_sums(n_leaves: int, *sums: TrackedMessage) -> TrackedMessage:
    """Add the sums of several workers, as far as they are siblings in the tree of the partitions."""
    nodes = {place: value for each in sums for place, value in each.value.items()}
    return sums_message(summed(nodes, n_leaves), sum(each.moved + each.received() for each in sums))


def bytes_of(state: State) -> int:
    """Return the bytes of the arrays of a state."""
    return sum(array.nbytes for array in state if array is not None)


def rates_of_epoch(schedule: Schedule, epoch: int, n_steps: int) -> NDArray[np.float64]:
    """Return the learning rates of the steps of an epoch, counted from 0."""
    return schedule.rates(epoch * n_steps, n_steps, n_steps)
