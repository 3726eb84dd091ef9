"""The rows of the suites: every function of a bench_*.py, for every backend, shape and dtype.

A suite names its SHAPES by function, the `work` of one, in multiplications and exponentials, and
hand-written LOOPS that run beside the backends.
"""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

DTYPES = ("float32", "float64")
# Multiplications and exponentials of half a second or less in the naive backend.
_MAX_NAIVE_WORK = 5_000_000
_FOLDER = Path(__file__).parent


class Row(NamedTuple):
    """What is timed: a function of a suite with its arguments."""

    suite: str
    function: str
    backend: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def name(self) -> str:
        """The row in words: softmax 128x10 float32 compiled."""
        function, shape = self.function.removeprefix("test_"), "x".join(map(str, self.shape))
        return f"{function} {shape} {self.dtype} {self.backend}"


def names() -> list[str]:
    """Return the names of all suites, which are modules of this folder."""
    return sorted(file.stem for file in _FOLDER.glob("bench_*.py"))


def rows_of(suite: ModuleType, function: str, backends: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a function; those of the naive backend only if they do not take long."""
    for shape in suite.SHAPES[function]:
        for dtype in DTYPES:
            for backend in [*backends, *getattr(suite, "LOOPS", ())]:
                if backend != "naive" or suite.work(shape) <= _MAX_NAIVE_WORK:
                    yield Row(suite.__name__, function, backend, shape, dtype)


def rows(backends: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of all suites for some backends; this folder must be in `sys.path`."""
    for name in names():
        suite = importlib.import_module(name)
        for function in suite.SHAPES:
            yield from (
                row for row in rows_of(suite, function, backends) if row.backend in backends
            )
