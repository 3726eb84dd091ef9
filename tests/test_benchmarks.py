"""The benchmark suites run, on their smallest shapes, with every backend that is there."""

import re
import subprocess
import sys
from pathlib import Path

from fastsoftmax.backends import NAMES, why_unavailable

ROOT = Path(__file__).parents[1]


def test_the_suites_run_with_every_backend():
    smallest = "128x10- or 32x64x10- or 1347x64x10x32-"
    command = [sys.executable, "-m", "pytest", "benchmarks", "-v", "-k", smallest]
    command += ["--benchmark-disable", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = set(re.findall(r"::test_(\w+)\[\w+-(float\d\d)-(\w+)\] PASSED", ran.stdout))
    functions = ("softmax", "logsumexp", "softmax_cross_entropy", "linear_cross_entropy", "epoch")
    available = [name for name in NAMES if why_unavailable(name) is None]
    assert passed == {
        (function, dtype, backend)
        for function in functions
        for dtype in ("float32", "float64")
        for backend in available
    }
