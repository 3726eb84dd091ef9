"""What the tests share: every backend, both dtypes, and arrays that lie in memory in every way."""

import gc
import os
import re
from collections import Counter

# Read when numba starts its threads: those of a parallel loop that spin while they wait take minutes
# from a suite on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Read when NumPy and SciPy are imported: their threads spin for 30 ms after each product, on CPUs that
# other tests have a use for.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import covering
import numpy as np
import pytest
from covering import pairs, select, values
from step_algorithms import DENSE_TRAINERS, forced
from variants import BACKENDS, LAYOUTS

from fastsoftmax.backends import get_backend


def pytest_addoption(parser):
    parser.addoption(
        "--quick",
        choices=["unnamed", "always"],
        help="of each test function as few items as have every value of every argument; "
        "unnamed: unless a path, -k or -m says which tests are wanted",
    )
    parser.addoption(
        "--pairs",
        action="store_true",
        help="of the backends other than the compiled one, as few items as have every pair of values",
    )
    parser.addoption(
        "--rest",
        action="store_true",
        help="leave out what --quick has run before, in `.ci/run`, but for what it has run in part",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    # Decided here for the worker processes too, which get the options and no command line.
    named = config.args_source is config.ArgsSource.ARGS or config.option.keyword
    named = named or config.option.markexpr != "not slow"
    if config.option.quick == "unnamed" and not hasattr(config, "workerinput"):
        config.option.quick = None if named else "always"
    covering.is_quick = bool(config.option.quick)
    config.stash[IN_QUICK] = set()


IN_QUICK = pytest.StashKey[set[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc):
    """Choose among the items of a function before there are any: to make 26000 takes seconds."""
    yield
    config, definition = metafunc.config, metafunc.definition
    if not (config.option.rest or chooses_early(config)):
        return
    candidates = [Candidate(definition, callspec) for callspec in metafunc._calls or [None]]
    candidates = [each for each in candidates if not any(each.iter_markers("slow"))]
    chosen = covering.covering(candidates, values) if candidates else []
    config.stash[IN_QUICK].update(each.nodeid for each in chosen)
    if chosen and chooses_early(config):
        metafunc._calls[:] = [each.callspec for each in chosen if each.callspec]


def chooses_early(config):
    """Whether nothing but the selection itself leaves items out."""
    return (
        config.option.quick and not config.option.keyword and config.option.markexpr == "not slow"
    )


class Candidate:
    """What is asked of an item where it is chosen."""

    def __init__(self, definition, callspec):
        self.nodeid = definition.nodeid
        self.definition, self.marks = definition, []
        self.callspec = callspec
        if callspec:
            self.nodeid += f"[{callspec.id}]"
            self.marks = callspec.marks

    def iter_markers(self, name):
        yield from (mark for mark in self.marks if mark.name == name)
        yield from self.definition.iter_markers(name)


@pytest.hookimpl(trylast=True)  # after -k, -m and --deselect
def pytest_collection_modifyitems(config, items):
    everything = list(items)
    if config.option.quick and not chooses_early(config):
        items[:], _ = select(everything, values)
    elif config.option.pairs:
        items[:], _ = select(everything, pairs)
    if config.option.rest:
        whole = config.stash[IN_QUICK]
        items[:] = [i for i in items if i.nodeid not in whole or covering.is_thinned(i)]
    config.hook.pytest_deselected(items=list(set(everything).difference(items)))
    if hasattr(config, "workerinput"):
        # Files go to the processes in this order. Where a file has few tests each takes long: last, one of
        # them would keep a process busy while the others have nothing left.
        in_file = Counter(item.path for item in items)
        items.sort(key=lambda item: in_file[item.path])


def pytest_collection_finish():
    """Let garbage collections pass over what stays: all that is imported, and thousands of items."""
    gc.collect()
    gc.freeze()


def pytest_report_header(config):
    if config.option.quick:
        return "quick: every test, with each value of its arguments; make test-all combines them"


@pytest.fixture(params=BACKENDS)
def backend(request):
    """The name of a backend."""
    return request.param


@pytest.fixture
def kernels(backend):
    """A backend itself: the functions of `fastsoftmax.backends.Backend`."""
    return get_backend(backend)


@pytest.fixture(params=DENSE_TRAINERS, ids=str)
def trainer(request):
    """What trains on dense rows: a backend, the compiled one once by each of its step algorithms.

    `pytest.mark.parametrize("trainer", ALL_TRAINERS, indirect=True, ids=str)` has sparse rows too.
    """
    with forced(request.param.algorithm):
        yield request.param


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """A dtype that is computed in."""
    return request.param


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS.keys())
def layout(request):
    """A function from an array to an equal one that lies differently in memory."""
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.fixture
def without_newton(monkeypatch):
    """Solver "lbfgs" as it is where the data are not so small."""
    monkeypatch.setattr("fastsoftmax.training.solver_run.pays", lambda _: False)


@pytest.hookimpl(wrapper=True)
def skip_without_its_backend(item):
    """Skip what asks by name for a backend that FASTSOFTMAX_TEST_BACKENDS leaves out, no other failure."""
    try:
        return (yield)
    except ImportError as error:
        missing = re.match(r"backend: '(\w+)' is not available", str(error))
        if missing and missing[1] not in BACKENDS:
            pytest.skip(f"needs the {missing[1]} backend, which this install is made without")
        raise


pytest_runtest_setup = pytest_runtest_call = skip_without_its_backend
