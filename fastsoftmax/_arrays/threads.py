"""The number of threads, and its default."""

import ctypes
import os
from collections.abc import Iterator
from functools import cache

from .validation import as_integer

# More than the cores of any machine, and within a C int: larger numbers mean the same.
_MAX_THREADS = 1 << 16
_UNLIMITED = 1 << 30
_CGROUPS = "/sys/fs/cgroup"
_limit: int | None = None


def resolve_n_threads(n_threads: int | None, name: str = "n_threads") -> int:
    """Return `n_threads` checked, or the default number if it is None."""
    if n_threads is None:
        return default_n_threads()
    return min(as_integer(name, n_threads, 1, "a positive integer or None"), _MAX_THREADS)


def default_n_threads() -> int:
    """Return the default number of threads; see `default_and_origin`."""
    return default_and_origin()[0]


def limit_default(n_threads: int) -> None:
    """Make this the default number of threads; the number without a limit ends the limit."""
    global _limit  # of the process, as the limits of other libraries
    _limit = None
    if n_threads != default_n_threads():
        _limit = min(max(1, n_threads), _MAX_THREADS)


def default_and_origin() -> tuple[int, str]:
    """Return the default number of threads, and where it comes from.

    In this order: a limit of threadpoolctl; the environment variable ``FASTSOFTMAX_NUM_THREADS``;
    ``OMP_NUM_THREADS``; the number of CPUs that this process may use (its affinity mask and its control
    group's quota).

    Returns
    -------
    n_threads : int
        At least 1.
    origin : str
        In words, for `fastsoftmax info`.

    Raises
    ------
    ValueError
        If ``FASTSOFTMAX_NUM_THREADS`` is set to anything but a positive integer.
    """
    if _limit is not None:
        return _limit, "threadpoolctl"
    own = os.environ.get("FASTSOFTMAX_NUM_THREADS", "").strip()
    if own:
        if not own.isdecimal() or int(own) < 1:
            raise ValueError(
                "the environment variable FASTSOFTMAX_NUM_THREADS must be a positive integer, "
                f"got {own!r}"
            )
        return min(int(own), _MAX_THREADS), "FASTSOFTMAX_NUM_THREADS"
    # OpenMP allows a list, one number for each level of nesting; the first is the outermost.
    # It is another library's variable, so any other content is ignored, not refused.
    shared = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if shared.isdecimal() and int(shared) >= 1:
        return min(int(shared), _MAX_THREADS), "OMP_NUM_THREADS"
    return allowed_cpus(), "the CPUs that this process may use"


def allowed_cpus() -> int:
    """Return how many CPUs this process may use, at least 1."""
    return max(1, min(_affinity(), _cgroup_cpus()))


def _affinity() -> int:
    """Return how many CPUs the system lets this process run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    if affinity is not None:
        return len(affinity(0))
    windows = getattr(ctypes, "windll", None)
    allowed, installed = ctypes.c_size_t(), ctypes.c_size_t()
    if windows is not None:
        this_process = ctypes.c_void_p(-1)
        windows.kernel32.GetProcessAffinityMask(
            this_process, ctypes.byref(allowed), ctypes.byref(installed)
        )
    # The mask of a process on more than 64 CPUs is empty.
    return allowed.value.bit_count() or os.cpu_count() or 1


@cache
def _cgroup_cpus() -> int:
    """Return the CPUs that the quotas of the process's control group and its parents grant, rounded up.

    A large number if there is no quota.
    """
    return min(_quota_of(folder, version) for folder, version in _cgroups())


def _cgroups() -> Iterator[tuple[str, int]]:
    """Yield folder and version of each control group that may limit the CPUs, the root's included.

    A line of /proc/self/cgroup is "number:controllers:/path", of version 2 without controllers. In a
    container the path may be one that only the host can see; what is mounted is then its own group.
    """
    yield _CGROUPS, 2
    yield f"{_CGROUPS}/cpu", 1
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = f"{line}::".split(":")[:3]
        of_cpus = "cpu" in controllers.split(",")
        if controllers and not of_cpus:
            continue
        root, version = (f"{_CGROUPS}/cpu", 1) if of_cpus else (_CGROUPS, 2)
        names = [name for name in path.split("/") if name]
        for depth in range(len(names)):
            yield "/".join([root, *names[: depth + 1]]), version


def _quota_of(folder: str, version: int) -> int:
    """Return the CPUs that one control group's quota grants, rounded up; a large number without one."""
    if version == 2:  # "quota period" in microseconds, or "max period"
        numbers = _text(f"{folder}/cpu.max").split()
    else:  # -1 without a quota
        numbers = [_text(f"{folder}/cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = map(int, numbers)
    except ValueError:
        return _UNLIMITED
    return -(-quota // period) if quota > 0 and period > 0 else _UNLIMITED


def _text(path: str) -> str:
    """Return the content of a system file, empty if it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:  # pathlib takes 7 ms to import
            return file.read()
    except OSError:
        return ""
