"""threadpoolctl and joblib see and limit the threads of the compiled backend."""

import os
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fastsoftmax._arrays import threads
from fastsoftmax.backends import get_backend

COMPILED = "from fastsoftmax.backends import get_backend; get_backend('compiled')"
ORDERS = {
    "fastsoftmax first": (COMPILED, "import threadpoolctl"),
    "threadpoolctl first": ("import threadpoolctl", COMPILED),
    "from threadpoolctl": (
        COMPILED,
        "from threadpoolctl import threadpool_info",
        "import threadpoolctl",
    ),
}
SEEN = """
own = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "fastsoftmax"]
assert len(own) == 1, own
from fastsoftmax import __version__
from fastsoftmax._arrays.threads import default_and_origin, default_n_threads, resolve_n_threads
before = default_and_origin()
assert own[0]["num_threads"] == before[0] == 3 and own[0]["version"] == __version__
with threadpoolctl.threadpool_limits(1):
    assert default_and_origin() == (1, "threadpoolctl")
    assert resolve_n_threads(None) == 1 and resolve_n_threads(2) == 2
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert default_n_threads() == 1
    with threadpoolctl.threadpool_limits({"fastsoftmax": 2}):
        assert default_n_threads() == 2
    assert default_n_threads() == 1
assert default_and_origin() == before
"""


def run(program):
    environment = {"FASTSOFTMAX_NUM_THREADS": "3"}
    subprocess.run(
        [sys.executable, "-c", program], check=True, env=dict(os.environ) | environment, timeout=120
    )


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_the_pool_is_seen_and_limited_in_either_order_of_imports(order):
    run("\n".join([*order, SEEN]))


def test_nothing_is_imported_for_it():
    run(f"{COMPILED}\nimport sys\nassert 'threadpoolctl' not in sys.modules\nimport json, csv")


def test_a_limit_holds_for_what_is_computed(monkeypatch):
    seen, compiled = [], get_backend("compiled")
    real = compiled.logsumexp

    def record(rows, out, n_threads):
        seen.append(n_threads)
        return real(rows, out, n_threads)

    monkeypatch.setattr(compiled, "logsumexp", record)
    from fastsoftmax import logsumexp

    with threadpool_limits(1):
        logsumexp([[0.0, 1.0]], backend="compiled")
        logsumexp([[0.0, 1.0]], backend="compiled", n_threads=2)
    logsumexp([[0.0, 1.0]], backend="compiled")
    assert seen == [1, 2, threads.default_n_threads()]


def default_of_a_worker():
    get_backend("compiled")
    limits = [
        pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "fastsoftmax"
    ]
    return threads.default_n_threads(), limits


@pytest.mark.parametrize("limit", [1, 2])
def test_workers_of_joblib_have_as_many_threads_as_it_allows(limit):
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=limit):
        found = joblib.Parallel()(joblib.delayed(default_of_a_worker)() for _ in range(2))
    assert found == [(limit, [limit])] * 2
