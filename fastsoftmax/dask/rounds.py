"""Rounds of training: what travels between the workers, and how much of it."""

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

# The origin of what no worker has made.
CLIENT = "client"

# Weights to start from are a part of each task, by way of the scheduler, where they have at most that many
# bytes for all workers. Larger ones are what a task before them returns, for all to fetch: a step more.
BYTES_OF_STARTS = 1 << 20


class Training(NamedTuple):
    """What a worker needs to know of the settings."""

    backend: str
    rule: Rule
    sampling: Sampling
    n_threads: int | None


class Round(NamedTuple):
    """What a round has come to."""

    state: State
    objectives: list[float]  # of its epochs
    n_steps: int
    bytes_moved: int


@dataclass
class TrackedMessage:
    """Weights, a gradient or sums, and where they come from: who gets them from elsewhere counts bytes."""

    value: Any
    nbytes: int
    origin: str
    moved: int  # bytes that have travelled for it

    def received(self) -> int:
        """Return the bytes that travel to the worker that calls."""
        return self.nbytes if self.origin != here() else 0


# By which the scheduler chooses where the next task runs.
sizeof.register(TrackedMessage, lambda sent: sent.nbytes)


def tracked(value: Any, nbytes: int, moved: int) -> TrackedMessage:
    """Return one that comes from here."""
    return TrackedMessage(value, nbytes, here(), moved)


def bytes_of(state: State) -> int:
    """Return the bytes of the arrays of a state."""
    return sum(array.nbytes for array in state if array is not None)


def rates_of_epoch(schedule: Schedule, epoch: int, n_steps: int) -> NDArray[np.float64]:
    """Return the learning rates of the steps of an epoch, counted from 0."""
    return schedule.rates(epoch * n_steps, n_steps, n_steps)
