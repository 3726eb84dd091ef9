"""Without memory: a clear error that changes nothing. Without threads: the same bits by fewer of them."""

import json
import os
import platform
import resource
import subprocess
import sys

import numpy as np
import pytest
from paths import ROOT, SUPPORT

from fastsoftmax import SoftmaxClassifier

PROGRAM = SUPPORT / "fault_injection.py"
LIBRARY = ROOT / "tests" / "c" / "fault_injection.c"

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        platform.libc_ver()[0] != "glibc", reason="stands in for functions of glibc"
    ),
    pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="has to be preloaded, and another is"),
]


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """Return the output of `fault_injection.py`."""
    library = tmp_path_factory.mktemp("system") / "fault_injection.so"
    compiler = os.environ.get("CC", "cc").split()
    flags = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*compiler, *flags, "-o", library, LIBRARY, "-ldl"], check=True, timeout=60)
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", PROGRAM],
        env=os.environ | {"LD_PRELOAD": str(library)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    return json.loads(ran.stdout)


def test_no_memory_for_the_kernels_is_an_error_that_says_how_much_and_changes_nothing(tried):
    assert {name: wrong for name, (_, wrong) in tried["aligned"].items() if wrong} == {}
    numbers = {name: n for name, (n, _) in tried["aligned"].items()}
    assert numbers.pop("softmax") == 0  # which needs none
    assert len(numbers) > 20
    assert min(numbers.values()) > 0


def test_no_memory_for_arrays_changes_nothing(tried):
    assert {name: wrong for name, (_, wrong) in tried["arrays"].items() if wrong} == {}
    assert min(n for n, _ in tried["arrays"].values()) > 0


def test_without_threads_the_caller_does_the_work_with_the_same_bits(tried):
    n_denied, wrong = tried["threads"][""]
    assert wrong == []
    # On one CPU none is asked for.
    assert n_denied > 0 or os.cpu_count() == 1


# OpenBLAS reserves address space for each of its threads.
WITHOUT_BLAS = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
IN_LITTLE_MEMORY = """
import resource
import numpy as np
from fastsoftmax import SoftmaxClassifier

rng = np.random.default_rng(0)
X, y = rng.normal(size=(200, 3)).astype(np.float32), np.arange(200) % 50
model = SoftmaxClassifier(max_iter=2, tol=None, random_state=0).fit(X, y)
before = model.coef_.tobytes(), model.predict_proba(X).tobytes()
rows = np.broadcast_to(X[:1], (40_000_000, 3))  # 8 GB of probabilities
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
for call in (model.predict_proba, model.predict, model.decision_function):
    try:
        call(rows)
    except MemoryError as error:
        print(error)
assert before == (model.coef_.tobytes(), model.predict_proba(X).tobytes())
"""


def test_results_that_do_not_fit_into_memory():
    ran = subprocess.run(
        [sys.executable, "-c", IN_LITTLE_MEMORY],
        env=WITHOUT_BLAS,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("Unable to allocate 7.45 GiB") for line in lines)


def test_results_of_a_command_that_do_not_fit_into_memory(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    model = SoftmaxClassifier(max_iter=1, tol=None).fit(X, np.arange(60) % 30)
    model.save(tmp_path / "model.npz")
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (50_000_000, 3))
    del rows  # a file with a hole
    arguments = ["predict", "--model", "model.npz", "rows.npy", "--output", "labels.npy"]
    ran = subprocess.run(
        [sys.executable, "-m", "fastsoftmax", *arguments],
        cwd=tmp_path,
        env=WITHOUT_BLAS,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
    )
    reason = "the data do not fit into memory: Unable to allocate 5.59 GiB"
    assert ran.stderr.startswith(f"fastsoftmax predict: error: {reason}")
    assert ran.stderr.count("\n") == 1
    assert ran.returncode == 1
    assert not (tmp_path / "labels.npy").exists()
