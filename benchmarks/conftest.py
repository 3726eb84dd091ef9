"""The backends against each other: `pytest benchmarks`.

Every table is of one function, shape and dtype, and has a row for each backend. All use as many threads
as `fastsoftmax info` says; FASTSOFTMAX_NUM_THREADS sets it. Some options of pytest-benchmark::

    pytest benchmarks --benchmark-columns=median,iqr,rounds
    pytest benchmarks -k "epoch and float32 and 60000x784x10"
    pytest benchmarks --benchmark-autosave
    pytest benchmarks --benchmark-compare --benchmark-compare-fail=median:10%
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from suites import rows_of
from threadpoolctl import threadpool_limits

from fastsoftmax._arrays.threads import default_n_threads
from fastsoftmax.backends import NAMES, why_unavailable

BACKENDS = [name for name in reversed(NAMES) if why_unavailable(name) is None]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Take bench_*.py for tests, in this folder alone; pytest itself takes those named one by one."""
    if file_path.match("bench_*.py") and not parent.session.isinitpath(file_path):
        return pytest.Module.from_parent(parent, path=file_path)
    return None


def pytest_report_header() -> list[str]:
    missing = [f"{name}: {reason}" for name in NAMES if (reason := why_unavailable(name))]
    return [f"threads: {default_n_threads()}", *(f"missing backend {line}" for line in missing)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every backend, shape and dtype; the naive backend where it does not take long."""
    parameters = [
        pytest.param(row.backend, row.shape, row.dtype, id="-".join(row.name.split()[1:]))
        for row in rows_of(metafunc.module, metafunc.function.__name__, BACKENDS)
    ]
    metafunc.parametrize(("backend", "shape", "dtype"), parameters)


@pytest.fixture(autouse=True)
def _group(request: pytest.FixtureRequest, benchmark) -> None:
    """Side by side: what differs in the backend alone."""
    shape, dtype = (request.node.callspec.params[name] for name in ("shape", "dtype"))
    function = request.function.__name__.removeprefix("test_")
    benchmark.group = f"{function} {'x'.join(map(str, shape))} {dtype}"


@pytest.fixture(autouse=True, scope="session")
def _same_threads_for_blas() -> Iterator[None]:
    with threadpool_limits(default_n_threads(), user_api="blas"):
        yield
