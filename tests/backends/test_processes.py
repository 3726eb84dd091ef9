"""Forked and spawned processes, and many threads: the same bits, and nothing hangs or is left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import processes
import pytest
from variants import BACKENDS

PROGRAM = Path(processes.__file__)
LIMIT = 100

pytestmark = pytest.mark.timeout(LIMIT + 20)


@pytest.fixture(scope="module")
def found():
    """Return the output of `processes.py`."""
    ran = subprocess.run([sys.executable, PROGRAM, str(LIMIT)], stdout=subprocess.PIPE, check=True)
    return json.loads(ran.stdout)


@pytest.mark.parametrize("name", processes.CASES)
def test_the_same_bits_everywhere(found, name):
    assert found[name] == "same"


ASLEEP = """
import os, time
import numpy as np
from fastsoftmax import softmax

TASKS = "/proc/self/task"


def seconds_of_threads():
    return {
        name: int(open(f"{TASKS}/{name}/schedstat").read().split()[0]) / 1e9
        for name in os.listdir(TASKS)
    }


logits = np.ones((20_000, 100))
before = seconds_of_threads()
softmax(logits, backend="compiled", n_threads=2)
(worker,) = seconds_of_threads().keys() - before.keys()
for _ in range(3):
    time.sleep(0.2)  # by then it sleeps
    used = seconds_of_threads()[worker]
    limit = time.monotonic() + 30
    while seconds_of_threads()[worker] < used + 1e-3:
        assert time.monotonic() < limit, "the worker sleeps on"
        softmax(logits, backend="compiled", n_threads=2)
"""


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists() or len(os.sched_getaffinity(0)) < 2,
    reason="needs a system that tells the time of each thread, and two CPUs",
)
def test_a_worker_that_sleeps_takes_part_again():
    subprocess.run([sys.executable, "-c", ASLEEP], check=True, timeout=LIMIT)


AT_EXIT = """
import threading, time
import numpy as np, scipy.sparse
from fastsoftmax import SoftmaxClassifier

X, y = np.random.default_rng(0).normal(size=(3000, 200)), np.arange(3000) % 10
X = scipy.sparse.csr_array(X) if {sparse} else X
begun = threading.Barrier(4)


def train():
    begun.wait()
    SoftmaxClassifier(max_iter=10**9, tol=None, n_jobs=2, backend="compiled").fit(X, y)


for _ in range(3):
    threading.Thread(target=train, daemon=True).start()
begun.wait()
time.sleep(0.3)
print("ends", flush=True)
"""


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_the_interpreter_ends_in_the_middle_of_fits_of_daemon_threads(sparse):
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", AT_EXIT.format(sparse=sparse)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ends\n", "")


TWO_THREADS = """
import os, signal, threading, time
import numpy as np
from fastsoftmax import SoftmaxClassifier

X, y = np.random.default_rng(0).normal(size=(3000, 200)), np.arange(3000) % 10
options = {"n_jobs": 2, "backend": "compiled", "random_state": 0, "eta0": 0.01}
expected = SoftmaxClassifier(max_iter=60, tol=None, **options).fit(X, y).coef_
found = []
other = SoftmaxClassifier(max_iter=60, tol=None, **options)
thread = threading.Thread(target=lambda: found.append(other.fit(X, y).coef_))
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    thread.start()
    SoftmaxClassifier(max_iter=10**9, tol=None, **options).fit(X, y)
except KeyboardInterrupt:
    print("interrupted")
thread.join()
assert np.array_equal(found[0], expected)
"""


def test_ctrl_c_ends_the_fit_of_the_main_thread_and_not_that_of_another():
    ran = subprocess.run(
        [sys.executable, "-c", TWO_THREADS], capture_output=True, text=True, timeout=LIMIT
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "interrupted\n", "")


PINNED = """
import os, threading, time
import numpy as np
from fastsoftmax import softmax

TASKS = "/proc/self/task"
cpus, logits = os.sched_getaffinity(0), np.ones((20_000, 100))
others = set(os.listdir(TASKS))


def use_pool_on(allowed):
    os.sched_setaffinity(0, allowed)  # of the thread that calls it
    softmax(logits, backend="compiled", n_threads=2)


def cpus_of_worker(expected):
    (worker,) = set(os.listdir(TASKS)) - others
    limit = time.monotonic() + 10
    while os.sched_getaffinity(int(worker)) != expected and time.monotonic() < limit:
        time.sleep(0.01)  # it may be about to leave another's CPU
    return os.sched_getaffinity(int(worker))


first = {min(cpus)}
if IN_A_THREAD:  # which alone is pinned
    thread = threading.Thread(target=use_pool_on, args=(first,))
    thread.start()
    thread.join()
    others.add(str(thread.native_id))  # it may be there a moment longer
    assert cpus_of_worker(cpus) == cpus
for allowed in (first, cpus, first, cpus):
    use_pool_on(allowed)
    assert cpus_of_worker(allowed) == allowed, allowed
"""


@pytest.mark.skipif(
    not Path("/proc/self/task").exists() or len(os.sched_getaffinity(0)) < 2,
    reason="needs a system that tells where each thread may run, and two CPUs",
)
@pytest.mark.parametrize("in_a_thread", [False, True])
def test_workers_may_run_where_the_process_may(in_a_thread):
    program = PINNED.replace("IN_A_THREAD", str(in_a_thread))
    subprocess.run([sys.executable, "-c", program], check=True, timeout=LIMIT)


NUMBA = """
import os, signal, sys, threading, time
import numpy as np
import fastsoftmax as fs
from fastsoftmax import SoftmaxClassifier

X, y = np.random.default_rng(0).normal(size=(600, 40)), np.arange(600) % 40
options = {"max_iter": 1, "tol": None, "random_state": 0, "eta0": 0.1}
fitted = SoftmaxClassifier(backend="vectorized", **options).fit(X, y)
fitted.backend = "numba"
USES = {
    "loss": lambda: fs.softmax_cross_entropy(X, y, backend="numba"),
    "linear": lambda: fs.linear_cross_entropy(X, np.eye(40), y, backend="numba"),
    "penalty": lambda: fs.penalty(X, 0.1, backend="numba"),
    "fit": lambda: SoftmaxClassifier(backend="numba", **options).fit(X, y),
    "predict": lambda: fitted.predict_proba(X),
    "search": lambda: fs.search(
        X, y, learning_rates=[0.1], regs=[0.0], backend="numba", max_iter=1, random_state=0
    ),
}


def in_child(use):
    child = os.fork()
    if child == 0:
        signal.alarm(25)
        try:
            use()
        except RuntimeError as error:
            os._exit(1 if "'spawn' or 'forkserver'" in str(error) else 2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def busy():
    begun.set()
    while True:
        USES["loss"]()


begun = threading.Event()
if FIRST_USE:  # the fork comes while another thread imports numba
    threading.Thread(target=busy, daemon=True).start()
    while "numba" not in sys.modules:
        time.sleep(0.001)
    print([in_child(USES["loss"])])
else:
    found = [in_child(USES["loss"])]  # before the parent has used it
    for use in USES.values():
        use()
    found += [in_child(use) for use in USES.values()]
    threading.Thread(target=busy, daemon=True).start()
    begun.wait()
    found += [in_child(use) for use in USES.values()]
    print(found, flush=True)
os._exit(0)
"""


@pytest.mark.costly
@pytest.mark.skipif("numba" not in BACKENDS, reason="needs numba")
@pytest.mark.parametrize("first_use", [False, True])
@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_numba_after_a_fork_works_or_says_why_not(layer, first_use):
    program = NUMBA.replace("FIRST_USE", str(first_use))
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, "NUMBA_THREADING_LAYER": layer},
    )
    assert ran.returncode == 0, ran.stderr
    if layer == "workqueue":
        assert set(json.loads(ran.stdout)) == {0}, ran.stdout + ran.stderr
    else:  # GNU's, or one that goes on
        assert set(json.loads(ran.stdout)) <= {0, 1}, ran.stdout + ran.stderr
    if not first_use:
        assert json.loads(ran.stdout)[0] == 0
