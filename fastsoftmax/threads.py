"""How many threads to use when the caller does not say."""

import os
from functools import cache

from .validation import as_integer

# More than any machine has cores, and few enough for a C int: a larger number means the same.
_MOST_THREADS = 1 << 16


def resolve_n_threads(n_threads: int | None, name: str = "n_threads") -> int:
    """Return `n_threads` checked, or the default count where it is None."""
    if n_threads is None:
        return default_n_threads()
    return min(as_integer(name, n_threads, 1, "a positive integer or None"), _MOST_THREADS)


def default_n_threads() -> int:
    """Return the default number of threads; see `default_and_origin`."""
    return default_and_origin()[0]


def default_and_origin() -> tuple[int, str]:
    """Return the default number of threads, and where it comes from.

    In this order: the environment variable ``FASTSOFTMAX_NUM_THREADS``; ``OMP_NUM_THREADS``;
    the number of CPUs that this process may use (its affinity mask and its control group's quota).

    Returns
    -------
    n_threads : int
        At least 1.
    origin : str
        In words, for `fastsoftmax info`.

    Raises
    ------
    ValueError
        If ``FASTSOFTMAX_NUM_THREADS`` is set to something else than a positive integer.
    """
    own = os.environ.get("FASTSOFTMAX_NUM_THREADS", "").strip()
    if own:
        if not own.isdecimal() or int(own) < 1:
            raise ValueError(
                "the environment variable FASTSOFTMAX_NUM_THREADS must be a positive integer, "
                f"got {own!r}"
            )
        return min(int(own), _MOST_THREADS), "FASTSOFTMAX_NUM_THREADS"
    # OpenMP allows a list, one number for each level of nesting; the first is the outermost.
    # It is another library's variable: what it holds besides is not ours to refuse.
    shared = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if shared.isdecimal() and int(shared) >= 1:
        return min(int(shared), _MOST_THREADS), "OMP_NUM_THREADS"
    return allowed_cpus(), "the CPUs that this process may use"


def allowed_cpus() -> int:
    """Return how many CPUs this process may use, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    allowed = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(allowed, _cgroup_cpus()))


@cache
def _cgroup_cpus() -> int:
    """CPUs that the control group's quota grants, rounded up; a large number where there is none."""
    unlimited = 1 << 30
    try:  # version 2: "quota period" in microseconds, or "max period"
        quota, period = _text("/sys/fs/cgroup/cpu.max").split()
    except (OSError, ValueError):
        try:  # version 1: -1 where there is no quota
            quota = _text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
            period = _text("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
        except OSError:
            return unlimited
    try:
        microseconds, per = int(quota), int(period)
    except ValueError:
        return unlimited
    return -(-microseconds // per) if microseconds > 0 and per > 0 else unlimited


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:  # pathlib takes 7 ms to import
        return file.read()
