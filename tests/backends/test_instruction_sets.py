"""The compiled backend's kernels for every instruction set that this CPU can run."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from cases import case
from instruction_set_arrays import SHAPES, write
from paths import SUPPORT

from fastsoftmax._arrays.threads import allowed_cpus
from fastsoftmax.backends import get_backend

PROGRAM = SUPPORT / "instruction_set_results.py"
SETS = get_backend("compiled").instruction_sets()
WITH_FMA = [name for name in SETS if name != "portable"]

# Setting up means thousands of fits, beside which other processes may run.
pytestmark = pytest.mark.timeout(1200)


class Run(NamedTuple):
    values: dict[str, np.ndarray]
    digests: dict[str, dict[str, list[str]]]  # SHA-256, by the number of threads and the function


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The file with the arrays that every instruction set gets."""
    path = tmp_path_factory.mktemp("sets") / "given.npz"
    write(path)
    return path


@pytest.fixture(scope="module")
def runs(given):
    """By the name of an instruction set: its results for these arrays, and the digests of others."""
    made = {}
    for name in SETS:
        path = given.with_name(f"{name}.npz")
        printed = subprocess.run(
            [sys.executable, PROGRAM, given, path],
            check=True,
            env=os.environ | {"FASTSOFTMAX_ISA": name},
            stdout=subprocess.PIPE,
        ).stdout
        with np.load(path) as file:
            made[name] = Run(dict(file), json.loads(printed))
    return made


@pytest.mark.parametrize("name", SETS)
def test_values_are_within_the_bounds(runs, name):
    for n, c in SHAPES:
        for dtype in (np.float32, np.float64):
            expected = case(n, c, dtype, masked=True, soft=c % 2 == 1).expected
            actual = {
                key.split()[1]: value
                for key, value in runs[name].values.items()
                if key.startswith(f"{n}x{c}x{np.dtype(dtype)} ")
            }
            for part in ("softmax", "log_softmax", "logsumexp", "dlogits"):
                getattr(expected, part).check(actual[part])
            expected.mean_loss().check(actual["loss"])


@pytest.mark.parametrize("name", SETS)
def test_instruction_sets_agree(runs, name):
    reference = runs[SETS[0]].values
    for key, value in runs[name].values.items():
        if name in WITH_FMA:
            np.testing.assert_array_equal(value, reference[key], err_msg=key)
        elif key.endswith(("coef", "curve")):
            tolerance = 1e-4 if "float32" in key else 1e-10
            np.testing.assert_allclose(value, reference[key], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", WITH_FMA)
def test_instruction_sets_with_fma_give_the_same_bits(runs, name):
    for n_threads, digests in runs[name].digests.items():
        assert digests == runs[SETS[0]].digests[n_threads], f"with {n_threads} threads"


@pytest.mark.parametrize("name", SETS)
def test_the_number_of_threads_changes_no_bit(runs, name):
    by_threads = runs[name].digests
    assert len(by_threads) == min(allowed_cpus(), 4)
    for n_threads, digests in by_threads.items():
        assert digests == by_threads["1"], f"with {n_threads} threads"


@pytest.mark.parametrize("name", ["sse9", "AVX2", "portable,avx2", " "])
def test_an_unknown_instruction_set_is_an_error_that_lists_the_others(name):
    program = "import fastsoftmax; fastsoftmax.softmax([1.0], backend='compiled')"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"FASTSOFTMAX_ISA": name},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    last_line = result.stderr.splitlines()[-1]
    assert last_line.startswith("ValueError: ")
    assert "FASTSOFTMAX_ISA" in last_line
    assert repr(name) in last_line
    assert all(known in last_line for known in SETS)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(),
    reason="only Linux on x86-64 lists the CPU's flags so",
)
def test_all_that_the_cpu_has_are_found():
    flags = set(
        re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split()
    )
    needed = {
        "avx512": {"avx2", "fma", "f16c", "avx512f", "avx512dq", "avx512vl"},
        "avx2": {"avx2", "fma", "f16c"},
    }
    assert tuple(SETS) == (*(name for name in needed if needed[name] <= flags), "portable")


def test_portable_is_always_there():
    assert SETS[-1] == "portable"
    assert len(set(SETS)) == len(SETS)
