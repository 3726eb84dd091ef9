"""What a profile notes while it goes on: which phase took which time, and the epochs.

The compiled backend has timers of its own within its kernels; here are those that Python sees. Where no
profile goes on, a timer is the look at one variable.
"""

from threading import get_ident
from time import perf_counter_ns
from typing import NamedTuple

# In the order of csrc/runtime/timers.h.
CONVERT, SCORES, LOSS, UPDATE, WAIT = range(5)
NAMES = ("gather and convert", "scores", "softmax and loss", "gradient and update", "waiting")
# Where a backend does not come apart: scores, loss and gradient of one sample after another.
TOGETHER = "scores to gradient"


class Epoch(NamedTuple):
    """One call of a backend's `sgd_epoch`; times in nanoseconds of `perf_counter_ns`."""

    backend: str
    start: int
    end: int
    n_samples: int
    n_features: int
    n_classes: int
    n_steps: int
    dtype: str  # of the computation
    n_values: float  # numbers of X that are read: all, or those that a sparse X stores
    bytes_of_value: int  # in X, and of a sparse one the index as well
    is_converted: bool  # X to that dtype, or by a mean and a scale
    n_threads: int
    is_last: bool  # of the blocks of one pass over the data
    step_algorithm: str = ""  # of the compiled backend


class Span(NamedTuple):
    """A stretch of one phase on one thread."""

    phase: str
    start: int
    end: int
    thread: int


class Recorder:
    """The notes of one profile; lists grow by `append` alone, which threads may do at once."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.spans: list[Span] = []


recorder: Recorder | None = None


def begin() -> int:
    """Return the time where a profile goes on, else 0."""
    return 0 if recorder is None else perf_counter_ns()


def add(phase: str, start: int) -> int:
    """Note what began at `start`, unless that is 0, and return the time."""
    current = recorder
    if not start or current is None:
        return 0
    now = perf_counter_ns()
    current.spans.append(Span(phase, start, now, get_ident()))
    return now
