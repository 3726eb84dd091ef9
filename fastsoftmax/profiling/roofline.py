"""The peak performance of this machine: multiply-adds, reading and copying, by number of threads."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._arrays.threads import allowed_cpus
from ..backends import get_backend

# Large compared to the last-level cache, whose size the system does not always tell.
BUFFER_BYTES = 1 << 28
_FIRST_ROUNDS = 1 << 16
_MIN_FLOP_OF_A_ROUND = 256
_SECONDS = 0.03
REPEATS = 5
_measured: dict[int, "Peaks"] = {}  # by the number of threads


class Peaks(NamedTuple):
    """The peak performance of up to `n_threads` threads: the best of several measurements."""

    n_threads: int
    float32: float  # floating-point operations per second; a multiply-add counts as two
    float64: float
    read: float  # bytes per second from memory
    copy: float  # bytes read plus bytes written, per second
    # The names of the peaks that fewer threads reached, as all threads together were slower.
    by_fewer: tuple[str, ...] = ()

    def flops(self, dtype: str) -> float:
        """Return the peak of a dtype."""
        return self.float64 if dtype == "float64" else self.float32

    def note(self) -> str | None:
        """Return a note if all threads were slower than fewer of them, else None."""
        if not self.by_fewer:
            return None
        return (
            f"{', '.join(self.by_fewer)}: {self.n_threads} threads together were slower than fewer "
            "threads, whose peak is shown. If the machine was busy, measure again."
        )


def measure_peaks(n_threads: int) -> Peaks:
    """Measure the peaks in a second or two, and cache them for this process.

    Multiply-adds use only registers, with the instruction set of the compiled backend; memory is a buffer
    of 256 MiB. `n_threads` is limited to the CPUs that this process may use, as more threads would only
    take turns. The peak of several threads is never below that of fewer: if they are slower, they are
    measured again, and if they still are, `Peaks.by_fewer` says so.

    Raises
    ------
    ImportError
        If there is no compiled backend.
    """
    n_threads = min(n_threads, allowed_cpus())
    if n_threads not in _measured:
        if n_threads > 1:
            measure_peaks(1)
        _measured[n_threads] = _measure(n_threads)
    return _measured[n_threads]


def _measure(n_threads: int) -> Peaks:
    numbers, by_fewer = {}, []
    for name, try_once in _measurements(n_threads).items():
        least = max((getattr(p, name) for n, p in _measured.items() if n < n_threads), default=0.0)
        number = max(try_once() for _ in range(REPEATS))
        if number < least:
            number = max(number, *(try_once() for _ in range(REPEATS)))
        if number < least:
            by_fewer.append(name)
        numbers[name] = float(max(number, least))
    return Peaks(n_threads, **numbers, by_fewer=tuple(by_fewer))


def _measurements(n_threads: int) -> dict[str, Callable[[], float]]:
    """Return a function for each peak that measures it once."""
    kernels: Any = get_backend("compiled")
    measurements: dict[str, Callable[[], float]] = {}
    for name in ("float32", "float64"):
        is_double = name == "float64"
        # Enough rounds that neither the resolution of the clock nor the start of a thread matters.
        rate = kernels.measure_multiply_adds(is_double, _FIRST_ROUNDS, 1)
        n_rounds = max(_FIRST_ROUNDS, int(_SECONDS * rate / _MIN_FLOP_OF_A_ROUND))
        measurements[name] = partial(kernels.measure_multiply_adds, is_double, n_rounds, n_threads)
    memory = np.ones(BUFFER_BYTES // 4, np.float32)
    for name in ("read", "copy"):
        measurements[name] = partial(kernels.measure_bandwidth, memory, name == "copy", n_threads)
    return measurements
