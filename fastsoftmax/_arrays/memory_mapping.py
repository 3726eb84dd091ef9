"""Arrays that are mapped from a file: pages that have been read are given back.

The system keeps the pages of a mapped file that a process has read, and counts them as its memory, until
it needs room. Given back they are still in the system's own cache as long as there is room for it.
"""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .csr import SparseRows

# Pages are given back whenever so many bytes may have been read.
BYTES_HELD = 1 << 27
# Reading a row at random brings pages around it along, where the system has them: Linux maps the 64 KiB
# around a fault, or the large page that it keeps them in.
_BYTES_AROUND = 1 << 19


def is_mapped(X: NDArray[Any] | SparseRows) -> bool:
    """Whether the pages of `X` can be given back, and are so many that they should be."""
    return any(True for _ in _mappings(X))


def rows_held(X: NDArray[Any] | SparseRows, at_random: bool) -> int:
    """Return how many rows may be read, in order or at random, until pages are to be given back."""
    around = _BYTES_AROUND if at_random else 1
    return max(1, BYTES_HELD // (bytes_of_row(X) + around))


def bytes_of_row(X: NDArray[Any] | SparseRows) -> int:
    """Return the bytes of a row, of sparse ones in the mean."""
    if isinstance(X, SparseRows):
        return len(X.values) * (X.values.itemsize + X.indices.itemsize) // max(1, len(X))
    return int(X.shape[1]) * X.itemsize


def release(X: NDArray[Any] | SparseRows) -> None:
    """Give the pages of `X` back, if it is mapped from a file; what it holds does not change."""
    for mapping in _mappings(X):
        mapping.madvise(mmap.MADV_DONTNEED)


def may_share(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether the two may have memory in common, or the bytes of one file that is mapped twice."""
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
    """The file's mapping, which is shared: a private one (mode "c") would lose what was written to it."""
    owner: Any = array
    mode = None
    while isinstance(owner, np.ndarray):
        mode = getattr(owner, "mode", mode)
        owner = owner.base
    shares = mode in ("r", "r+", "w+")
    has_madvise = isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED")
    return owner if shares and has_madvise else None
