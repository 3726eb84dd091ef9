"""Memory-mapped arrays: pages are released to the operating system after use.

The system keeps the pages of a mapped file that a process has read, and counts them as its memory, until
it needs the space. Released pages stay in the system's page cache as long as there is space.
"""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .csr import SparseRows

# Pages are released whenever this many bytes may have been read.
BYTES_HELD = 1 << 27
# Reading a row at random also maps the pages around it that the system has cached: Linux maps 64 KiB
# around a fault, or the large page that contains it.
_BYTES_AROUND = 1 << 19


def is_mapped(X: NDArray[Any] | SparseRows) -> bool:
    """Return whether the pages of `X` can be released, and are numerous enough."""
    return any(True for _ in _mappings(X))


def rows_held(X: NDArray[Any] | SparseRows, at_random: bool) -> int:
    """Return how many rows may be read, in order or at random, before pages should be released."""
    around = _BYTES_AROUND if at_random else 1
    return max(1, BYTES_HELD // (bytes_of_row(X) + around))


def bytes_of_row(X: NDArray[Any] | SparseRows) -> int:
    """Return the bytes per row, for sparse rows their mean."""
    if isinstance(X, SparseRows):
        return len(X.values) * (X.values.itemsize + X.indices.itemsize) // max(1, len(X))
    return int(X.shape[1]) * X.itemsize


def release(X: NDArray[Any] | SparseRows) -> None:
    """Release the pages of `X`, if it is mapped from a file; its content does not change."""
    for mapping in _mappings(X):
        mapping.madvise(mmap.MADV_DONTNEED)


def take_rows(X: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return a copy of rows that lie far apart; pages around them are released now and then."""
    if not is_mapped(X):
        return X[rows]
    taken = np.empty((len(rows), *X.shape[1:]), X.dtype)
    n_held = rows_held(X, at_random=True)
    for start in range(0, len(rows), n_held):
        here = slice(start, start + n_held)
        taken[here] = X[rows[here]]
        release(X)
    return taken


def may_share(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether two arrays may share memory, or the bytes of a file that is mapped twice."""
    if np.may_share_memory(a, b):
        return True
    file = _file_of(a)
    return file is not None and file == _file_of(b)


def _file_of(array: NDArray[Any]) -> Any:
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap):
            return owner.filename
        owner = owner.base
    return None


def _mappings(X: NDArray[Any] | SparseRows) -> Any:
    arrays = (X.values, X.indices) if isinstance(X, SparseRows) else (X,)
    for array in arrays:
        mapping = _mapping_of(array)
        if mapping is not None and len(mapping) > 2 * BYTES_HELD:
            yield mapping


def _mapping_of(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the shared mapping of the file: a private one (mode "c") would lose what was written to it."""
    owner: Any = array
    mode = None
    while isinstance(owner, np.ndarray):
        mode = getattr(owner, "mode", mode)
        owner = owner.base
    shares = mode in ("r", "r+", "w+")
    has_madvise = isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED")
    return owner if shares and has_madvise else None
