"""The records of a running profile: the times of phases, and the epochs.

The compiled backend has its own timers within its kernels; these are the timers of the Python code. Without
a running profile, a timer only reads one variable.
"""

from collections.abc import Callable
from functools import wraps
from threading import get_ident
from time import perf_counter_ns
from typing import NamedTuple, ParamSpec, TypeVar

# In the order of csrc/runtime/timers.h.
CONVERT, SCORES, LOSS, UPDATE, WAIT = range(5)
NAMES = ("gather and convert", "scores", "softmax and loss", "gradient and update", "waiting")
# The phase of a backend that computes scores, loss and gradient sample by sample, not one after the other;
# of one that takes many steps in a call, with the steps.
TOGETHER = "scores to gradient"

# The parts of a solver's fit, each without the parts within it.
PARTS = ("loss and gradient", "preconditioner", "directions and steps", "bound of the gap")
PASS, PRECONDITIONER, STEP, BOUND = PARTS
REST = "rest of an iteration"

P = ParamSpec("P")
T = TypeVar("T")


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
    n_values: float  # numbers of X that are read: all, or the stored ones of a sparse X
    bytes_of_value: int  # of a number of X, including its index if X is sparse
    is_converted: bool  # whether X is converted to that dtype, or standardised
    n_threads: int
    is_last: bool  # whether it is the last block of one pass over the data
    step_algorithm: str = ""  # of the compiled backend
    thread: int = 0  # that called it

    def as_span(self) -> "Span":
        """Return the interval of the epoch."""
        return Span(f"epoch ({self.backend})", self.start, self.end, self.thread)


class Span(NamedTuple):
    """An interval of one phase on one thread; times in nanoseconds of `perf_counter_ns`."""

    phase: str
    start: int
    end: int
    thread: int
    rows: int | None = None  # of X, as far as they are known
    step: int | None = None  # of the epoch: the first one of the span


class Recorder:
    """The records of one profile. Lists grow by `append` alone, which is thread-safe."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.spans: list[Span] = []
        self.parts: list[Span] = []  # of a solver's fit: these nest, and contain spans of phases


recorder: Recorder | None = None


def begin() -> int:
    """Return the time if a profile is running, else 0."""
    return 0 if recorder is None else perf_counter_ns()


def add(phase: str, start: int, rows: int | None = None, step: int | None = None) -> int:
    """Record a span that began at `start`, unless that is 0, and return the time."""
    current = recorder
    if not start or current is None:
        return 0
    now = perf_counter_ns()
    current.spans.append(Span(phase, start, now, get_ident(), rows, step))
    return now


def timed(part: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator of a function that is a part of a solver's fit."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            start = begin()
            try:
                return function(*args, **kwargs)
            finally:
                if start and (current := recorder) is not None:
                    current.parts.append(Span(part, start, perf_counter_ns(), get_ident()))

        return call

    return decorate
