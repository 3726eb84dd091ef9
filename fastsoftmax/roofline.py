"""The most that this machine can do: multiply-adds, reading and copying, for each number of threads."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .backends import get_backend
from .threads import allowed_cpus

# Large against the last level of the cache, whose size the system does not always tell.
_BUFFER_BYTES = 1 << 28
_FIRST_ROUNDS = 1 << 16
_LEAST_FLOP_OF_A_ROUND = 256
_SECONDS = 0.03
_REPEATS = 5


class Peaks(NamedTuple):
    """What `n_threads` threads reach together, as the best of some tries."""

    n_threads: int
    float32: float  # floating-point operations a second in multiply-adds, each of which is two
    float64: float
    read: float  # bytes a second from memory
    copy: float  # bytes read plus bytes written a second

    def flops(self, dtype: str) -> float:
        """The peak of a dtype."""
        return self.float64 if dtype == "float64" else self.float32


@cache
def measure_peaks(n_threads: int) -> Peaks:
    """Measure, in about a second, and remember for this process.

    Multiply-adds run in registers alone, with the instruction set that the compiled backend uses; memory
    is a buffer of 256 MiB. Threads beyond the CPUs that this process may use would only take turns.

    Raises
    ------
    ImportError
        If there is no compiled backend.
    """
    kernels: Any = get_backend("compiled")
    n_threads = min(n_threads, allowed_cpus())

    def flops(is_double: bool) -> float:
        # So many rounds that neither the clock nor the start of a thread matters.
        rate = kernels.measure_multiply_adds(is_double, _FIRST_ROUNDS, 1)
        n_rounds = max(_FIRST_ROUNDS, int(_SECONDS * rate / _LEAST_FLOP_OF_A_ROUND))
        tries = range(_REPEATS)
        return float(
            max(kernels.measure_multiply_adds(is_double, n_rounds, n_threads) for _ in tries)
        )

    memory = np.ones(_BUFFER_BYTES // 4, np.float32)
    read, copy = (
        max(kernels.measure_bandwidth(memory, copies, n_threads) for _ in range(_REPEATS))
        for copies in (False, True)
    )
    return Peaks(n_threads, flops(False), flops(True), read, copy)
