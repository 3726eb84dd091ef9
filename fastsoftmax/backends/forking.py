"""What `os.fork` must not leave behind in a child: locks that nobody holds, and Numba's threads.

Of all threads only the one that forks exists in the child, and what the others held stays locked there. So
a fork waits until no other holds `lock` or one of Numba's: at the most for the end of a call.
"""

import os
import sys
from threading import RLock
from typing import Any

# Held while a backend is imported, and while Numba compiles or runs its threads for us. It can be taken
# again by the thread that has it, which may be the one that forks.
lock = RLock()

# Those of Numba that a thread may wait for in a child, in the order in which Numba takes them.
_LOCKS_OF_NUMBA = (
    ("numba.core.compiler_lock", "global_compiler_lock"),
    ("numba.np.ufunc.parallel", "_backend_init_thread_lock"),
)
_held: list[Any] = []
_has_lost_threads = False


def check_threads() -> None:
    """Raise where Numba's threads were those of the parent, and their library cannot begin again."""
    if _has_lost_threads:
        raise RuntimeError(
            "backend: 'numba' runs on GNU OpenMP here, which cannot go on in a process that was forked "
            "after its first use: start the process by 'spawn' or 'forkserver', take backend='compiled', "
            "or set the environment variable NUMBA_THREADING_LAYER=workqueue"
        )


def _before() -> None:
    lock.acquire()
    for module, name in _LOCKS_OF_NUMBA:
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
    except ValueError:  # none has begun
        return


if hasattr(os, "register_at_fork"):  # where there are forks
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
