"""The C API: the table in the capsule, and the example that is built against the installed package."""

import ctypes
import os
import shutil
import subprocess
import sys
from ctypes import POINTER, c_double, c_int, c_size_t, c_ssize_t, c_void_p
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

import fastsoftmax
from fastsoftmax import cross_entropy, log_softmax, logsumexp, softmax, softmax_cross_entropy

EXAMPLE = ROOT / "examples" / "extension"
ROWS = (c_int, c_void_p, c_ssize_t, c_size_t, c_size_t)


class Weights(ctypes.Structure):
    _fields_ = (("rows", c_void_p), ("classes", c_void_p), ("smoothing", c_double))


class Table(ctypes.Structure):
    _fields_ = (
        ("version", c_int),
        ("softmax", ctypes.CFUNCTYPE(c_ssize_t, *ROWS, c_void_p, c_ssize_t, c_int)),
        ("log_softmax", ctypes.CFUNCTYPE(c_ssize_t, *ROWS, c_void_p, c_ssize_t, c_int)),
        ("logsumexp", ctypes.CFUNCTYPE(None, *ROWS, c_void_p, c_int)),
        (
            "cross_entropy",
            ctypes.CFUNCTYPE(
                c_ssize_t,
                *ROWS,
                c_void_p,
                c_void_p,
                POINTER(Weights),
                c_double,
                c_void_p,
                c_void_p,
                c_ssize_t,
                c_int,
            ),
        ),
    )


@pytest.fixture
def table():
    """The functions, as a C program finds them."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = c_void_p, (ctypes.py_object, ctypes.c_char_p)
    pointer = get_pointer(fastsoftmax.C_API, b"fastsoftmax.C_API")
    return ctypes.cast(pointer, POINTER(Table)).contents


def arguments(logits):
    """Type, pointer, stride in elements, and sizes."""
    stride = logits.strides[0] // logits.itemsize
    return int(logits.dtype == np.float64), logits.ctypes.data, stride, *logits.shape


def test_without_the_compiled_backend_there_is_none():
    code = """
import sys
sys.modules["fastsoftmax.backends.compiled._core"] = None
import fastsoftmax
assert not hasattr(fastsoftmax, "C_API")
assert fastsoftmax.softmax([0.0]).tolist() == [1.0]
try:
    import fastsoftmax.njit
except ImportError as error:
    assert "'compiled' is not available" in str(error)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize(("n", "c"), [(5, 3), (40, 1000), (0, 2)])
def test_functions_of_rows(table, rng, dtype, n, c, gap, n_threads):
    logits = rng.normal(scale=5, size=(n, c + gap)).astype(dtype)[:, :c]
    out = np.full((n, c + 2 * gap), 7, dtype)
    expected = {"softmax": softmax, "log_softmax": log_softmax}
    for name, function in expected.items():
        invalid = getattr(table, name)(*arguments(logits), out.ctypes.data, c + 2 * gap, n_threads)
        assert invalid == -1
        np.testing.assert_array_equal(out[:, :c], function(logits) if n else out[:, :c])
        assert (out[:, c:] == 7).all()
    lse = np.empty(n, dtype)
    table.logsumexp(*arguments(logits), lse.ctypes.data, n_threads)
    np.testing.assert_array_equal(lse, logsumexp(logits, axis=1) if n else lse)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "c"), [(21, 10), (5, 70)])
def test_cross_entropy(table, rng, dtype, n, c, weighted, soft):
    logits = rng.normal(scale=5, size=(n, c + 1)).astype(dtype)[:, :c]
    labels, targets = rng.integers(c, size=n), rng.dirichlet(np.ones(c), n).astype(dtype)
    rows, classes = rng.random(n), rng.random(c).astype(dtype)
    weights = Weights(rows.ctypes.data, classes.ctypes.data, 0.1) if weighted else None
    losses, dlogits = np.empty(n), np.full((n, c + 2), 7, dtype)
    invalid = table.cross_entropy(
        *arguments(logits),
        None if soft else labels.ctypes.data,
        targets.ctypes.data if soft else None,
        weights,
        1.0,
        losses.ctypes.data,
        dlogits.ctypes.data,
        c + 2,
        2,
    )
    assert invalid == -1
    options = {"sample_weight": rows, "class_weight": classes, "label_smoothing": 0.1}
    expected, gradient = softmax_cross_entropy(
        logits, targets if soft else labels, reduction="none", **options if weighted else {}
    )
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(dlogits[:, :c], gradient)
    assert (dlogits[:, c:] == 7).all()


def test_the_first_row_without_a_softmax(table, dtype):
    logits = np.zeros((6, 8), dtype)[:, :5]
    logits[3], logits[5] = np.nan, -np.inf
    out = np.empty((6, 5), dtype)
    assert table.softmax(*arguments(logits), out.ctypes.data, 5, 1) == 3
    assert table.log_softmax(*arguments(logits), out.ctypes.data, 5, 1) == 3
    losses, labels = np.empty(6), np.zeros(6, np.int64)
    common = (*arguments(logits), labels.ctypes.data, None, None, 1.0, losses.ctypes.data)
    assert table.cross_entropy(*common, None, 0, 1) == 3


def test_the_example_is_built_against_the_package(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "source")
    subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", tmp_path],
        check=True,
        cwd=tmp_path / "source",
        env=os.environ | {"PYTHONWARNINGS": "ignore", "CFLAGS": "-O0"},
        stdout=subprocess.DEVNULL,
    )
    program = """
import numpy as np, losses
wide = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
tokens = np.arange(20) % 9
print(losses.bits_per_token(wide[:, :9], tokens, 2))
wide[4, 2] = np.nan
print(losses.bits_per_token(wide[:, :9], tokens))
"""
    printed = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    ).stdout.split()
    logits = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)[:, :9]
    expected = cross_entropy(logits, np.arange(20) % 9) / np.log(2)
    assert float(printed[0]) == pytest.approx(expected, rel=1e-14)
    assert printed[1] == "nan"


def test_the_header_is_where_get_include_says():
    header = Path(fastsoftmax.get_include(), "fastsoftmax.h").read_text()
    assert "#define FASTSOFTMAX_API_VERSION 1" in header
