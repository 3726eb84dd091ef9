"""Properties of this machine on which the speed of training depends."""

import os
import sys
from pathlib import Path
from time import process_time, sleep
from typing import Any

from .._arrays.threads import allowed_cpus, default_and_origin
from ..backends import get_backend, why_unavailable
from .errors import CommandError
from .numbers import count
from .tables import print_note

# The threads of OpenBLAS and of OpenMP continue to spin after their start and their work, those of OpenBLAS
# for more than 0.1 s in some builds. They sleep when the CPU time of this process stops growing.
_PAUSE_SECONDS = 0.02
_BUSY_SHARE = 0.05
_MAX_PAUSE_SECONDS = 2.0
# If other programs use more than this share of the CPUs, they disturb the measurement.
_BUSY = 0.5


def instruction_sets() -> tuple[str, tuple[str, ...]] | None:
    """Return the instruction set of the compiled backend and those that this CPU can run.

    The result is None if there is no compiled backend.
    """
    if reason_against("compiled") is not None:
        return None
    compiled: Any = get_backend("compiled")
    return compiled.instruction_set(), tuple(compiled.instruction_sets())


def reason_against(backend: str) -> str | None:
    """Return why a backend cannot be used and what to install, or None if it can.

    Raises
    ------
    CommandError
        If it is installed but an environment variable prevents its use.
    """
    try:
        return why_unavailable(backend)
    except ValueError as error:  # FASTSOFTMAX_ISA, FASTSOFTMAX_STEP
        raise CommandError(str(error)) from None


def threads() -> tuple[int, str]:
    """Return the default number of threads and where it comes from.

    Raises
    ------
    CommandError
        If the environment variable that sets it is not a number.
    """
    try:
        return default_and_origin()
    except ValueError as error:  # FASTSOFTMAX_NUM_THREADS
        raise CommandError(str(error)) from None


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return allowed_cpus()


def load() -> float | None:
    """Return the mean number of runnable threads over the last minute, or None if that is unknown."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has no such function
        return None


def note_of_load(load: float | None, n_cpus: int) -> str | None:
    """Return a warning if the machine was busy before a run, else None."""
    if load is None or load <= _BUSY * n_cpus:
        return None
    return (
        f"The machine was busy before this run (load {load:.2f} in the last minute, "
        f"{count(n_cpus, 'CPU')}): the measurements may not be typical of it."
    )


def warn_of_load(load: float | None, to_stderr: bool = False) -> None:
    """Print that warning, if there is one; on standard error if the output is for a program."""
    if (note := note_of_load(load, cpus())) is not None:
        print_note(note, sys.stderr if to_stderr else None)


def available_memory() -> int | None:
    """Return the bytes that are available without swapping, or None if that is unknown."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):  # not Linux
        pass
    return None


def wait_for_sleeping_threads() -> None:
    """Wait until no other thread of this process is still spinning after earlier work."""
    for _ in range(round(_MAX_PAUSE_SECONDS / _PAUSE_SECONDS)):
        start = process_time()
        sleep(_PAUSE_SECONDS)
        if process_time() - start < _BUSY_SHARE * _PAUSE_SECONDS:
            return
