"""Which tests `make test` and `make quick` choose."""

import importlib
import re
import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import pytest
from covering import covering, pairs, select, values
from paths import ROOT

SUITE = """
import pytest
from covering import few, is_quick

@pytest.fixture(params=["naive", "compiled"])
def backend(request):
    return request.param

@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_products(backend, dtype, n, m):
    pass

@pytest.mark.costly
@pytest.mark.parametrize("n", range(9))
def test_with_costs(backend, n):
    pass

def test_alone():
    pass

@pytest.mark.thinned
def test_thinned():
    assert len(few(range(9), 3)) == (3 if is_quick else 9)

@pytest.mark.parametrize("n", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_partly_long(n):
    pass

@pytest.mark.slow
def test_long():
    pass
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that runs pytest on SUITE, once for each list of arguments, and returns what ran."""
    tmp_path = tmp_path_factory.mktemp("suite")
    support = ROOT / "tests" / "support"
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "conftest.py").symlink_to(ROOT / "tests" / "conftest.py")
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\ntestpaths = .\npythonpath = {support}\naddopts = -m 'not slow'\n"
        "markers =\n  slow\n  costly\n  thinned\n"
    )

    @cache
    def run(*arguments):
        command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *arguments]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        passed = [line for line in ran.stdout.splitlines() if "PASSED" in line]
        return {re.search(r"test_suite\.py::\S+", line)[0] for line in passed}

    return run


def test_the_rest_is_what_was_not_quick(run):
    quick, rest = run("--quick=unnamed", "-n0"), run("--pairs", "-m", "", "--rest", "-n0")
    assert quick
    assert rest
    assert {name.partition("::")[2] for name in quick & rest} == {"test_thinned"}
    assert quick | rest == run("--pairs", "-m", "", "-n0") | quick


def test_every_value_of_every_argument_is_there(run):
    names = {name.partition("::")[2] for name in run("--quick=unnamed", "-n0")}
    assert "test_alone" in names
    assert "test_long" not in names
    assert "test_partly_long[0]" in names
    assert "test_partly_long[1]" not in names
    assert sum("with_costs" in name for name in names) == 2
    products = [name.partition("[")[2][:-1].split("-") for name in names if "products[" in name]
    # The rows of parametrize("n, m") are wholes, and the compiled backend has all of them.
    assert {tuple(ids[-2:]) for ids in products if "compiled" in ids} == {
        ("1", "1"),
        ("1", "2"),
        ("2", "1"),
    }
    assert {dtype for ids in products for dtype in ids if dtype in "fd"} == {"f", "d"}
    assert any("naive" in ids for ids in products)
    assert 4 <= len(products) < 12


@pytest.mark.costly
@pytest.mark.parametrize(
    ("arguments", "n_tests"),
    [
        (["--quick=unnamed", "-k", "products"], 12),
        (["--quick=unnamed", "test_suite.py"], 33),
        (["--quick=unnamed", "-m", ""], 35),
        ([], 33),
    ],
)
def test_what_is_asked_for_by_name_is_run_in_full(run, arguments, n_tests):
    assert len(run("-n0", *arguments)) == n_tests


def test_worker_processes_choose_the_same(run):
    assert run("--quick=unnamed", "-n2") == run("--quick=unnamed", "-n0")


def item(name, ids, **params):
    callspec = SimpleNamespace(_idlist=ids, params=params)
    return SimpleNamespace(nodeid=name, callspec=callspec, iter_markers=lambda _: [])


def test_the_selection_is_small_and_takes_turns():
    items = [
        item(f"test_f[{b}-{t}-{s}]", [b, t, s], backend=b)
        for b in ("naive", "numba", "vectorized")
        for t in ("float32", "float64")
        for s in map(str, range(12))
    ]
    chosen, left_out = select(items, values)
    assert chosen == covering(items, values)
    assert len(chosen) == 12
    assert len(left_out) == 60
    for position, n_each in ((0, 4), (1, 6)):
        ids = [item.callspec._idlist[position] for item in chosen]
        assert {ids.count(name) for name in ids} == {n_each}


def test_the_compiled_backend_keeps_all_items_where_others_have_pairs():
    items = [
        item(f"test_f[{b}-{t}-{s}-{kind}]", [b, t, s, kind], backend=b)
        for b in ("naive", "vectorized", "compiled")
        for t in ("float32", "float64")
        for s in map(str, range(9))
        for kind in ("labels", "probabilities")
    ]
    chosen, left_out = select(items, pairs)
    assert "compiled" not in {item.callspec.params["backend"] for item in left_out}
    assert len(chosen) < 36 + 30  # 18 with 9 shapes of two backends are the least

    def of_others(items):
        ids = [item.callspec._idlist for item in items if item.callspec._idlist[0] != "compiled"]
        return {(i, one[i], j, one[j]) for one in ids for i in range(4) for j in range(i)}

    assert of_others(chosen) == of_others(items)


@pytest.fixture
def quick_loop(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests" / "builds")
    return importlib.import_module("quick_loop")


def test_every_source_has_its_tests(quick_loop):
    table = quick_loop.table()
    sources = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("csrc/**/*.[ch]", "fastsoftmax/backends/compiled/*.p[yx][xi]")
        for path in ROOT.glob(pattern)
        if path.suffix != ".pyi"
    }
    assert table.keys() == sources
    for tests in table.values():
        for path, _, function in (test.partition("::") for test in tests):
            assert f"def {function}(" in (ROOT / path).read_text() or not function, (path, function)


def test_a_module_has_the_tests_of_its_name_or_those_that_name_it(quick_loop):
    assert quick_loop.tests_of("tests/loss/test_loss.py") == ["tests/loss/test_loss.py"]
    step_size = "fastsoftmax/training/step_size.py"
    assert quick_loop.tests_of(step_size) == ["tests/training/test_step_size.py"]
    schedules = "fastsoftmax/schedules.py"
    assert quick_loop.tests_of(schedules) == ["tests/training/test_schedules.py"]
    options = "fastsoftmax/loss/options.py"
    of_options = ["tests/loss/test_logit_options.py", "tests/loss/test_loss_options.py"]
    assert quick_loop.tests_of(options) == of_options
    gap = "fastsoftmax/training/duality_gap.py"
    assert "tests/training/test_solver.py" in quick_loop.tests_of(gap)
    assert len(quick_loop.tests_of(gap)) <= quick_loop.FILES_PER_MODULE
    assert quick_loop.tests_of("fastsoftmax/backends/compiled/__init__.py") == ["tests/backends"]
    assert quick_loop.tests_of("README.md") == []


def test_the_quick_loop_runs_each_test_first_and_ends_in_time(quick_loop, monkeypatch):
    items = [
        SimpleNamespace(nodeid=f"t.py::{name}") for name in ("a[0]", "a[1]", "a[2]", "b", "c[x]")
    ]
    limit, now = quick_loop.TimeLimit(3.0), 10.0
    limit.pytest_collection_modifyitems(items)
    assert [item.nodeid[6:] for item in items] == ["a[0]", "b", "c[x]", "a[1]", "a[2]"]
    monkeypatch.setattr(quick_loop, "perf_counter", lambda: now)
    assert limit.pytest_runtest_protocol() is None
    now = 12.9
    assert limit.pytest_runtest_protocol() is None
    now = 13.1
    assert limit.pytest_runtest_protocol()  # pytest takes it as done
    assert limit.n_left == 1
