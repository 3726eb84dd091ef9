"""The same number of threads for everybody."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from threadpoolctl import threadpool_limits

# Read when a library is imported: these must be set before. PJRT_NPROC and NPROC are XLA's, which has no
# other setting for the size of its thread pool.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "PJRT_NPROC",
    "NPROC",
)


def confine(n_threads: int) -> None:
    """Give this process, for the rest of its life, `n_threads` CPUs and variables that say so.

    Whatever a library does about threads besides, it then cannot use more CPUs than the others. Where
    there are fewer CPUs than threads, all stay allowed.
    """
    for variable in _VARIABLES:
        os.environ[variable] = str(n_threads)
    if not hasattr(os, "sched_setaffinity"):  # macOS and Windows
        return
    allowed = sorted(os.sched_getaffinity(0))[:n_threads]
    # The mask belongs to a thread, and NumPy's BLAS has started some when it was imported.
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), allowed)


@contextmanager
def limited(n_threads: int) -> Iterator[None]:
    """Limit the libraries that are loaded by now: NumPy's and SciPy's BLAS, and OpenMP."""
    with threadpool_limits(n_threads):
        yield
