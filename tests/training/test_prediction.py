"""Logits for predictions: every backend and kind of X, the same bits for any number of threads."""

import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from variants import BACKENDS

from fastsoftmax import SoftmaxClassifier
from fastsoftmax._arrays.csr import as_sparse_rows
from fastsoftmax.backends import NAMES, get_backend
from fastsoftmax.training.prediction import accuracy

# Few classes and many, features that do and do not fill vectors, rows so wide that few go at once.
SHAPES = [
    (1, 1, 1),
    (5, 3, 2),
    (70, 17, 10),
    (200, 64, 40),
    (131, 33, 41),
    (67, 100, 103),
    (35, 9000, 45),
]


def exact(X, coef, intercept):
    return (X.astype(np.longdouble) @ coef.T.astype(np.longdouble) + intercept).astype(float)


def test_an_accuracy_is_a_number(backend, rng):
    X, y = rng.normal(size=(30, 3)), rng.integers(2, size=30)
    coef = rng.normal(size=(2, 3))
    given = get_backend(backend), X, y, None, np.arange(10, 30), coef, np.zeros(2), 1
    share = accuracy(*given)
    assert type(share) is float
    assert share == ((X[10:] @ coef.T).argmax(axis=1) == y[10:]).mean()


def tolerance_of(X, coef, intercept):
    """(d + 1) u times the sum of magnitudes, row by row and class by class."""
    size = np.abs(X).astype(float) @ np.abs(coef).T.astype(float) + np.abs(intercept)
    return (X.shape[1] + 2) * np.finfo(coef.dtype).eps * size


@pytest.fixture(params=SHAPES, ids=str)
def problem(request, dtype, rng):
    n, d, c = request.param
    return (
        rng.integers(0, 200, (n, d)) * (rng.random((n, d)) < 0.3),
        rng.normal(size=(c, d)).astype(dtype),
        rng.normal(size=c).astype(dtype),
    )


@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", "float64", "csr", "csr64"])
def test_logits_are_those_of_the_formula(kernels, problem, dtype, kind):
    numbers, coef, intercept = problem
    if kind == "float64" and dtype == np.float32:
        kind = "float32"
    X = numbers.astype(kind if not kind.startswith("csr") else dtype)
    expected, bound = exact(X, coef, intercept), tolerance_of(X, coef, intercept)
    if kind.startswith("csr"):
        given = csr_array(X)
        if kind == "csr64":
            given.indices, given.indptr = (
                given.indices.astype(np.int64),
                given.indptr.astype(np.int64),
            )
        given = as_sparse_rows("X", given)
    else:
        given = np.repeat(X, 2, axis=0)[::2]  # rows that lie apart
    results = []
    for n_threads in (1, 2, 5):
        # One row more: nothing is written beyond the last one.
        logits = np.full((len(X) + 1, len(coef)), np.nan, dtype)
        kernels.linear_scores(given, coef, intercept, logits[:-1], n_threads)
        assert np.isnan(logits[-1]).all()
        assert (np.abs(logits[:-1] - expected) <= bound).all()
        results.append(logits[:-1])
    if kernels.name == "compiled":
        np.testing.assert_array_equal(results[1], results[0])
        np.testing.assert_array_equal(results[2], results[0])


def test_a_row_has_the_same_logits_wherever_it_is(problem):
    numbers, coef, intercept = problem
    X, kernels = numbers.astype(coef.dtype), get_backend("compiled")
    whole = np.empty((len(X), len(coef)), coef.dtype)
    kernels.linear_scores(X, coef, intercept, whole, 2)
    for row in range(len(X)):
        alone = np.empty((1, len(coef)), coef.dtype)
        kernels.linear_scores(X[row : row + 1], coef, intercept, alone, 1)
        np.testing.assert_array_equal(alone[0], whole[row])


@pytest.mark.parametrize("convert", [lambda X: X, csr_array], ids=["dense", "sparse"])
def test_no_rows_and_no_values(backend, rng, convert):
    X = rng.normal(size=(20, 4))
    model = SoftmaxClassifier(backend=backend, max_iter=1, tol=None).fit(X, np.arange(20) % 3)
    assert model.decision_function(convert(X)[:0]).shape == (0, 3)
    zeros = model.decision_function(convert(0 * X))
    np.testing.assert_array_equal(zeros, np.tile(model.intercept_, (20, 1)))


def test_predictions_do_not_depend_on_the_threads(rng):
    X = rng.normal(size=(5000, 60)).astype(np.float32)
    y = rng.integers(50, size=5000)
    for classes in (50, 10):
        model = SoftmaxClassifier(max_iter=1, tol=None, random_state=0, n_jobs=1).fit(
            X, y % classes
        )
        digests = {
            hashlib.sha256(model.set_params(n_jobs=k).predict_proba(X)).hexdigest()
            for k in (1, 2, 8)
        }
        assert len(digests) == 1


def test_few_sparse_values_have_the_logits_that_many_have(kernels, dtype, rng):
    """Weights are read where they lie, or copied feature by feature, by the number of values: same bits."""
    n, d, c = 70, 90, 37
    X = csr_array(rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.1)).astype(dtype)
    coef, intercept = rng.normal(size=(c, d)).astype(dtype), rng.normal(size=c).astype(dtype)

    def logits_of(rows):
        logits = np.empty((rows.shape[0], c), dtype)
        kernels.linear_scores(as_sparse_rows("X", rows), coef, intercept, logits, 1)
        return logits

    assert d < X.nnz
    assert X[:3].nnz < d
    whole = logits_of(X)
    for row in range(n - 3):
        np.testing.assert_array_equal(logits_of(X[row : row + 3]), whole[row : row + 3])


IN_LITTLE_MEMORY = """
import resource
import numpy as np
from scipy.sparse import csr_array
from fastsoftmax import SoftmaxClassifier
from fastsoftmax.backends import NAMES, get_backend, why_unavailable

d, names = 1 << 21, [name for name in NAMES if why_unavailable(name) is None]
X = csr_array((np.ones(4, np.float32), [3, d - 1, 5, 0], [0, 2, 4]), shape=(2, d))
model = SoftmaxClassifier(max_iter=1, tol=None, n_jobs=1).fit(X[:, :9], [0, 1])
model.n_features_in_, model.coef_ = d, np.zeros((10, d), np.float32)
model.classes_, model.intercept_ = np.arange(10), np.zeros(10, np.float32)
with open("/proc/self/statm") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + model.coef_.nbytes // 4, resource.RLIM_INFINITY))
for name in names:
    model.set_params(backend=name).decision_function(X)
    assert model.score(X, [0, 0]) == 1
    print(name)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="looks at its own size in /proc")
def test_predicting_few_sparse_rows_copies_no_weights():
    ran = subprocess.run(
        [sys.executable, "-c", IN_LITTLE_MEMORY],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert tuple(ran.stdout.split()) == tuple(sorted(BACKENDS, key=NAMES.index))


def test_scores_of_few_sparse_rows_copy_no_weights(backend):
    """Those of early stopping and of search: in NumPy's memory."""
    d, kernels = 1 << 18, get_backend(backend)
    X = as_sparse_rows("X", csr_array((np.ones(4), [3, d - 1, 5, 0], [0, 2, 4]), shape=(2, d)))
    coef, intercept = np.zeros((10, d)), np.zeros(10)
    tracemalloc.start()
    share = accuracy(kernels, X, np.zeros(2, int), None, np.arange(2), coef, intercept, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert share == 1
    assert peak < 1 << 18


def test_weights_that_are_not_finite_are_named_by_the_rows_that_need_them(backend, rng):
    X = csr_array(rng.normal(size=(20, 6)) * (rng.random((20, 6)) < 0.5))
    model = SoftmaxClassifier(backend=backend, max_iter=1, tol=None).fit(X, np.arange(20) % 3)
    expected = model.predict_proba(X)
    model.coef_[1, 4] = np.nan
    without = np.flatnonzero(X[:, [4]].toarray() == 0)
    assert 0 < len(without) < 20
    # No pass over the weights of all features looks for it.
    np.testing.assert_array_equal(model.predict_proba(X[without]), expected[without])
    for method in (model.predict, model.predict_proba, model.decision_function):
        for given in (X, X.toarray(), X.toarray()[without]):
            with pytest.raises(ValueError, match=r"^coef_: expected finite numbers, got NaN"):
                method(given)
    model.coef_[1, 4], model.intercept_[2] = 0, np.inf
    with pytest.raises(ValueError, match=r"^intercept_: expected finite numbers, got inf"):
        model.score(X, np.zeros(20))


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_predicting_copies_nothing_of_X(rng, dtype):
    X = (rng.random((20000, 200)) * 200).astype(dtype)
    model = SoftmaxClassifier(max_iter=1, tol=None).fit(X[:50], np.arange(50) % 2)
    tracemalloc.start()
    model.predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 4


def test_a_row_that_is_not_finite_is_named(backend, rng):
    X = rng.normal(size=(20, 4)).astype(np.float32)
    model = SoftmaxClassifier(backend=backend, max_iter=1, tol=None).fit(X, np.arange(20) % 3)
    X[7, 1] = np.inf
    for given in (X, csr_array(X)):
        with pytest.raises(ValueError, match=r"^X: expected finite numbers, got inf in row 7"):
            model.predict(given)
    with pytest.raises(ValueError, match=r"^X: a number in row 3 overflows float32"):
        model.predict(np.r_[np.zeros((3, 4)), np.full((1, 4), 1e300)])
