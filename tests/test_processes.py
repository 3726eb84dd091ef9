"""Forked, started anew, in threads by the dozen: the same bits, and nothing hangs or is left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import processes
import pytest

PROGRAM = Path(processes.__file__)
LIMIT = 100

pytestmark = pytest.mark.timeout(LIMIT + 20)


@pytest.fixture(scope="module")
def found():
    """What `processes.py` has printed."""
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
