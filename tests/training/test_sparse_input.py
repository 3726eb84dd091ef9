"""Sparse rows as they come in: formats, dtypes, and arrays that are no matrix."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
from sparse_cases import duck, made_up
from trajectories import (
    DEFAULTS,
)
from variants import BACKENDS

from fastsoftmax import SoftmaxClassifier
from fastsoftmax._arrays.csr import as_sparse_rows


@pytest.mark.parametrize(
    "kind",
    [
        *("csr_matrix", "csr_array", "duck", "big-endian", "strided", "read-only"),
        *("wide indices", "wide indptr"),
    ],
)
def test_what_is_taken_for_csr(backend, kind):
    X, y = made_up(60, 19, 7, np.float64)
    parts = X.data, X.indices, X.indptr
    came = {
        "csr_matrix": lambda: scipy.sparse.csr_matrix(X),
        "csr_array": lambda: X,
        "duck": lambda: duck(*parts, X.shape),
        "big-endian": lambda: duck(*(a.astype(a.dtype.newbyteorder(">")) for a in parts), X.shape),
        "strided": lambda: duck(*(np.repeat(a, 2)[::2] for a in parts), X.shape),
        "wide indices": lambda: duck(X.data, X.indices.astype(np.int64), X.indptr, X.shape),
        "wide indptr": lambda: duck(X.data, X.indices, X.indptr.astype(np.int64), X.shape),
        "read-only": lambda: duck(*(np.frombuffer(a.tobytes(), a.dtype) for a in parts), X.shape),
    }[kind]()
    parameters = DEFAULTS | {"penalty": "l2", "max_iter": 2, "backend": backend}
    expected = SoftmaxClassifier(**parameters).fit(X, y)
    model = SoftmaxClassifier(**parameters).fit(came, y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict_proba(came), expected.predict_proba(X))


def test_values_are_read_where_they_lie():
    X, _ = made_up(60, 19, 7, np.float32)
    rows = as_sparse_rows("X", X)
    for ours, theirs in ((rows.values, X.data), (rows.indices, X.indices), (rows.indptr, X.indptr)):
        assert np.shares_memory(ours, theirs)
    assert rows.astype(np.dtype(np.float32)) is rows


def test_scipy_is_not_imported():
    program = """
import sys
from types import SimpleNamespace
import numpy as np
from fastsoftmax import SoftmaxClassifier
indices, indptr = np.array([0, 2]), np.array([0, 1, 2])
X = SimpleNamespace(format="csr", data=np.ones(2), indices=indices, indptr=indptr, shape=(2, 3))
SoftmaxClassifier().fit(X, [0, 1]).predict_proba(X)
assert "scipy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("format_name", ["csc", "coo", "lil", "dok", "bsr", "dia"])
def test_other_formats_are_converted(format_name):
    X, y = made_up(60, 19, 7, np.float64)
    # One step, since the order of a row's values differs.
    model = SoftmaxClassifier(max_iter=1, batch_size=60, random_state=0, tol=None).fit(X, y)
    other = SoftmaxClassifier(**model.get_params()).fit(X.asformat(format_name), y)
    np.testing.assert_array_equal(other.coef_, model.coef_)
    np.testing.assert_array_equal(model.predict(X.asformat(format_name)), model.predict(X))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "int8"])
def test_values_of_other_dtypes_are_copied(backend, dtype):
    X, y = made_up(60, 19, 7, np.float64)
    X = abs(4 * X).astype(dtype)
    computed = np.float32 if dtype == "uint8" else np.float64
    options = {"backend": backend, "max_iter": 1, "random_state": 0, "tol": None}
    model = SoftmaxClassifier(**options).fit(X, y)
    assert model.coef_.dtype == computed
    expected = SoftmaxClassifier(**options).fit(X.astype(computed), y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


PARTS = {
    "data": np.array([1.0, 2, 3]),
    "indices": np.array([0, 2, 1]),
    "indptr": np.array([0, 2, 2, 3]),
    "shape": (3, 4),
}


HOSTILE = {
    "complex": ({"data": np.ones(3, complex)}, TypeError, "dtype complex128"),
    "objects": ({"data": np.array([None] * 3)}, TypeError, "dtype object"),
    "no values": ({"data": None}, ValueError, r"X\.data in one dimension"),
    "a matrix of values": ({"data": np.ones((3, 1))}, ValueError, r"X\.data in one dimension"),
    "few values": ({"data": np.ones(2)}, ValueError, r"X\.indptr from 0 to at most 2.*got 0 to 3"),
    "few indices": ({"indices": np.array([0, 1])}, ValueError, r"X\.indptr from 0 to at most 2"),
    "unsigned indices": ({"indices": np.zeros(3, np.uint32)}, TypeError, r"X\.indices of int32"),
    "short indices": ({"indices": np.zeros(3, np.int16)}, TypeError, r"X\.indices of int32"),
    "real indices": ({"indices": np.zeros(3)}, TypeError, r"X\.indices of int32"),
    "an index too large": (
        {"indices": np.array([0, 4, 1])},
        ValueError,
        r"column indices from 0 to 3, got 4 at X\.indices\[1\]",
    ),
    "a negative index": (
        {"indices": np.array([0, 1, -1], np.int32)},
        ValueError,
        r"column indices from 0 to 3, got -1 at X\.indices\[2\]",
    ),
    "a huge index": (
        {"indices": np.array([0, 1, 2**62])},
        ValueError,
        "column indices from 0 to 3",
    ),
    "indptr too short": ({"indptr": np.array([0, 3])}, ValueError, r"4 numbers in X\.indptr"),
    "indptr empty": ({"indptr": np.array([], int)}, ValueError, r"4 numbers in X\.indptr"),
    "indptr falls": (
        {"indptr": np.array([0, 3, 2, 3])},
        ValueError,
        r"non-decreasing X\.indptr, got a decrease in row 1",
    ),
    "indptr beyond": ({"indptr": np.array([0, 2**40, 2**40, 3])}, ValueError, "in row 2"),
    "indptr from 1": ({"indptr": np.array([1, 2, 2, 3])}, ValueError, "got 1 to 3"),
    "indptr negative": ({"indptr": np.array([0, -2, 0, 3])}, ValueError, "in row 0"),
    "indptr ends below": ({"indptr": np.array([0, 0, 0, -1])}, ValueError, "decrease|from 0"),
    "real indptr": ({"indptr": np.array([0.0, 2, 2, 3])}, TypeError, r"X\.indptr of int32"),
    "one dimension": (
        {"shape": (12,)},
        ValueError,
        r"X: expected two dimensions, got shape \(12,\)",
    ),
    "no shape": ({"shape": None}, ValueError, "X: expected two dimensions, got shape None"),
    "a negative shape": ({"shape": (3, -4)}, ValueError, "X: its shape: expected an integer"),
    "a real shape": ({"shape": (3, 4.0)}, TypeError, "X: its shape: expected an integer"),
    "no features": (
        {
            "shape": (3, 0),
            "data": np.ones(0),
            "indices": np.zeros(0, int),
            "indptr": np.zeros(4, int),
        },
        ValueError,
        r"at least one sample and one feature.*shape=\(3, 0\)",
    ),
    "no samples": (
        {"shape": (0, 4), "indptr": np.zeros(1, int)},
        ValueError,
        r"at least one sample and one feature.*shape=\(0, 4\)",
    ),
    "NaN": (
        {"data": np.array([1, np.nan, 3])},
        ValueError,
        "X: expected finite numbers, got NaN in row 0",
    ),
    "inf": (
        {"data": np.array([1, 2, np.inf])},
        ValueError,
        "X: expected finite numbers, got inf in row 2",
    ),
}


@pytest.mark.parametrize(("changed", "error", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_arrays_are_errors(backend, changed, error, message):
    X = SimpleNamespace(format="csr", **PARTS | changed)
    model = SoftmaxClassifier(backend=backend, max_iter=1)
    with pytest.raises(error, match=message):
        model.fit(X, [0, 1, 2])
    assert not hasattr(model, "coef_")


def test_unused_ends_of_arrays_are_not_read(backend):
    parts = {"data": np.array([1, 2, 3, np.nan]), "indices": np.array([0, 2, 1, 99, 99])}
    X = SimpleNamespace(format="csr", **PARTS | parts)
    model = SoftmaxClassifier(backend=backend, max_iter=1).fit(X, [0, 1, 2])
    assert np.isfinite(model.decision_function(X)).all()


def test_values_that_overflow_are_named(backend):
    X, y = made_up(60, 19, 7, np.float32)
    model = SoftmaxClassifier(backend=backend, **DEFAULTS).partial_fit(X, y, classes=np.arange(7))
    large = X.astype(np.float64)
    large.data[5] = 1e300
    row = int(np.searchsorted(X.indptr, 5, side="right")) - 1
    for call in (lambda: model.partial_fit(large, y), lambda: model.predict(large)):
        with pytest.raises(ValueError, match=f"X: a number in row {row} overflows float32"):
            call()


class Spoiler:
    """A learning rate that changes an array of X before the second epoch of 5 steps."""

    def __init__(self, array, value):
        self.array, self.value = array, value

    def __call__(self, step):
        if step == 7:
            self.array[...] = self.value
        return 0.1


# To NumPy, -1 is the last column.
@pytest.mark.parametrize(
    ("backend", "value"),
    [(name, value) for name in BACKENDS for value in (19, 2**31 - 1)] + [("compiled", -1)],
)
def test_indices_that_change_after_the_check_are_found(backend, value):
    X, y = made_up(40, 19, 7, np.float32)
    model = SoftmaxClassifier(
        backend=backend, batch_size=8, learning_rate=Spoiler(X.indices, value)
    )
    with pytest.raises((ValueError, IndexError), match=r"indices from 0 to 18|out of bounds"):
        model.fit(X, y)


@pytest.mark.parametrize("value", [-(2**30), 2**31 - 1])
def test_an_indptr_that_changes_after_the_check_reads_nothing_else(value):
    X, y = made_up(40, 19, 7, np.float32)
    rate = Spoiler(X.indptr[1:-1:2], value)
    SoftmaxClassifier(backend="compiled", batch_size=8, max_iter=3, learning_rate=rate).fit(X, y)
    assert X.indptr[1] == value
