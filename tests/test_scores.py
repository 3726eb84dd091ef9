"""Logits for predictions: every backend and kind of X, the same bits for any number of threads."""

import hashlib
import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_array

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.backends import get_backend
from fastsoftmax.sparse import as_sparse_rows

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
