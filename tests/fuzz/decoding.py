"""What the targets share: numbers and choices out of bytes, and files in memory."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

# What kernels and checks get wrong first: zeros of both signs, subnormal numbers, the largest, the
# neighbours of 1 (ties), infinities and NaN.
EXTREMES = (0.0, -0.0, 1.0, -1.0, 1 + 2**-23, 1 - 2**-24, 5e-324, -1e-45, 1.2e-38, 2.3e-308)
EXTREMES += (3.4e38, -3.4e38, 1.8e308, -1.8e308, 88.7, -103.9, 709.8, -745.1, 0.5, 1e-3)
EXTREMES += (np.inf, -np.inf, np.nan)


class Choices:
    """Reads choices out of bytes, one after another; past the end all of them are the first one."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def below(self, n: int) -> int:
        return self.byte() % n

    def one_of(self, values: Sequence[T]) -> T:
        return values[self.below(len(values))]

    def rest(self) -> bytes:
        return self.data[self.at :]

    def numbers(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """Numbers of a seed, some of which are extremes, or numbers of any bits."""
        dtype, size = np.dtype(dtype), int(np.prod(shape))
        kind, seed = self.below(8), self.byte()
        if kind == 7:
            n_bytes = size * dtype.itemsize
            raw = self.data[self.at : self.at + n_bytes].ljust(n_bytes, b"\0")
            self.at += n_bytes
            return np.frombuffer(raw, dtype).reshape(shape).copy()
        scale = (1.0, 1e-3, 30.0, 1e4)[kind % 4]
        numbers = _normals(seed)[np.arange(size) % _PERIOD] * scale
        if kind >= 4:
            for _ in range(1 + self.below(4)):
                place = self.byte() + 256 * self.below(4)
                numbers[place % max(size, 1) : place % max(size, 1) + 1] = self.one_of(EXTREMES)
        with np.errstate(all="ignore"):
            return numbers.reshape(shape).astype(dtype)


_PERIOD = 997


@cache
def _normals(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=_PERIOD)


@cache
def folder() -> Path:
    """A folder of this process, in memory where the system has one there, gone at its end."""
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="fastsoftmax-fuzz-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def file_of(name: str, content: bytes) -> Path:
    """A file of that name and content. A new one: the one before may still be mapped."""
    path = folder() / name
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path
