"""Keep `os.fork` from leaving locked locks, and the traces of Numba's threads, in a child.

Only the thread that forks exists in the child, where the locks that other threads held stay locked. So a
fork waits until no other thread holds `lock` or one of Numba's locks, at most until the end of a call.
"""

# Its handler takes a lock that an import of Numba in another thread needs: imported first, it runs last.
import logging  # noqa: F401
import os
import sys
from threading import RLock
from typing import Any

# Held while a backend is imported, and while Numba compiles or runs its threads for this package. It is
# reentrant: the thread that holds it may be the one that forks.
lock = RLock()

# Numba's locks that a thread of the child may wait for, in the order in which Numba acquires them.
_NUMBA_LOCKS = (
    ("numba.core.compiler_lock", "global_compiler_lock"),
    ("numba.np.ufunc.parallel", "_backend_init_thread_lock"),
)
_held: list[Any] = []
_has_lost_threads = False


def check_threads() -> None:
    """Raise if Numba's threads ran in the parent, and their library cannot restart them in this process."""
    if _has_lost_threads:
        raise RuntimeError(
            "backend: 'numba' runs on GNU OpenMP here, which cannot go on in a process that was forked "
            "after its first use: start the process by 'spawn' or 'forkserver', take backend='compiled', "
            "or set the environment variable NUMBA_THREADING_LAYER=workqueue"
        )


def _before() -> None:
    lock.acquire()
    for module, name in _NUMBA_LOCKS:
        found = getattr(sys.modules.get(module), name, None)
        if found is not None:
            found.acquire()
            _held.append(found)


def _in_parent() -> None:
    while _held:
        _held.pop().release()
    lock.release()


def _in_child() -> None:
    global _has_lost_threads
    _in_parent()
    openmp = sys.modules.get("numba.np.ufunc.omppool")
    if openmp is None or getattr(openmp, "openmp_vendor", None) != "GNU":
        return
    try:
        _has_lost_threads = sys.modules["numba"].threading_layer() == "omp"
    except ValueError:  # Numba has started no threads
        return


if hasattr(os, "register_at_fork"):  # absent on Windows
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
