"""Data as they lie: uint8 and float16, and the standardisation that is folded into training."""

import pickle
from copy import deepcopy
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
from sklearn.preprocessing import StandardScaler
from step_algorithms import DENSE, forced

from fastsoftmax import DivergenceError, SoftmaxClassifier
from fastsoftmax.backends import get_backend
from fastsoftmax.training.standardization import Standardization

# Features that do and do not fill vectors and panels; and minibatches of several chunks of samples.
SHAPES = [(70, 1, 2), (40, 33, 40), (30, 1023, 10), (700, 30, 12)]
STEPS = [(algorithm, *shape) for algorithm in DENSE for shape in SHAPES]


def matrix_of(kind, rng, n, d):
    """Columns on scales of their own, one of them constant."""
    if kind == "uint8":
        X = rng.integers(256, size=(n, d)).astype(np.uint8)
    elif kind == "float16":
        X = rng.normal(3, 2.0 ** rng.integers(-16, 4, size=d), size=(n, d)).astype(np.float16)
    else:
        X = rng.normal(3, 2.0 ** rng.integers(-16, 4, size=d), size=(n, d)).astype(kind)
    X[:, d // 2] = 7
    return X


def standardized(X, mean, scale, dtype):
    """As the definition has it: every operation rounded once in the dtype of the computation."""
    return (X.astype(dtype) - mean.astype(dtype)) * (1 / scale).astype(dtype)


def dtype_of(X):
    return np.float64 if X.dtype == np.float64 else np.float32


def units_of(X):
    """Mean and standard deviation without rounding until the end; the scale of a constant is 1."""
    exact = [[Fraction(float(x)) for x in column] for column in X.T]
    means = [sum(column) / len(column) for column in exact]
    variances = [
        sum((x - mean) ** 2 for x in column) / len(column)
        for column, mean in zip(exact, means, strict=True)
    ]
    mean = np.array([float(mean) for mean in means])
    return mean, np.sqrt(np.array([float(variance) or 1.0 for variance in variances]))


@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", "float64"])
def test_the_statistics_of_columns(backend, kind, rng):
    n, d = 83, 19
    X = matrix_of(kind, rng, n, d)
    y = np.arange(n) % 3
    model = SoftmaxClassifier(backend=backend, standardize=True, max_iter=1).fit(X, y)
    mean, scale = units_of(X)
    # Sums of n numbers x - origin in float64, which are at most the range of the column; see the module
    # for the variance.
    eps = np.finfo(np.float64).eps
    spread = np.ptp(X.astype(np.float64), axis=0)
    assert (np.abs(model.mean_ - mean) <= n * eps * spread + eps * np.abs(mean)).all()
    np.testing.assert_allclose(model.scale_, scale, rtol=2 * (n + 3) * eps)
    assert model.scale_[d // 2] == 1


def test_the_statistics_of_a_large_mean(backend, rng):
    X = 1e9 + rng.normal(size=(400, 3))
    model = SoftmaxClassifier(backend=backend, standardize=True, max_iter=1)
    model.fit(X, np.arange(400) % 2)
    np.testing.assert_allclose(model.scale_, units_of(X)[1], rtol=1e-12)


def csr_of(X, rng, index=np.int64):
    """Every value in two parts, in any order, and some explicit zeros."""
    n, d = X.shape
    rows, columns = (X + (rng.random((n, d)) < 0.1)).nonzero()
    rows, columns = np.repeat(rows, 2), np.repeat(columns, 2)
    order = rng.permutation(len(rows))
    order = order[np.argsort(rows[order], kind="stable")]
    indptr = np.searchsorted(rows, np.arange(n + 1)).astype(index)
    columns = columns[order].astype(index)
    return scipy.sparse.csr_array((X[rows, columns] / 2, columns, indptr), shape=(n, d))


@pytest.mark.parametrize("at_once", [1, 40, 1 << 18])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_the_statistics_of_sparse_columns(backend, kind, index, at_once, rng, monkeypatch):
    monkeypatch.setattr("fastsoftmax.training.standardization._VALUES_PER_BLOCK", at_once)
    n, d = 83, 19
    X = matrix_of(kind, rng, n, d) * (rng.random((n, d)) < 0.3).astype(kind)
    X[[7, 40, n - 1]] = 0
    X[:, 0] = 0
    X[:, 1] = 0.1  # no power of 2
    X[1:, 2] += 1e6  # far from 0, but for its origin
    X[0, 3], X[1:, 3] = 1e6, 0
    y = np.arange(n) % 3
    model = SoftmaxClassifier(backend=backend, standardize=True, max_iter=1)
    for came in (csr_of(X, rng, index), scipy.sparse.csr_array(X)):
        model.fit(came, y)
        mean, scale = units_of(X)
        # as of a dense matrix
        eps = np.finfo(np.float64).eps
        spread = np.ptp(X.astype(np.float64), axis=0)
        assert (np.abs(model.mean_ - mean) <= n * eps * spread + eps * np.abs(mean)).all()
        np.testing.assert_allclose(model.scale_, scale, rtol=2 * (n + 3) * eps)
        assert model.scale_[0] == model.scale_[1] == 1
    theirs = StandardScaler(with_mean=False).fit(X.astype(np.float64))
    np.testing.assert_allclose(model.scale_, theirs.scale_, rtol=1e-12)


def test_the_statistics_of_sparse_columns_with_a_large_mean(rng):
    X = 1e9 + rng.normal(size=(400, 3))
    model = SoftmaxClassifier(standardize=True, max_iter=1, eta0=1e-20)
    model.fit(csr_of(X, rng), np.arange(400) % 2)
    np.testing.assert_allclose(model.scale_, units_of(X)[1], rtol=1e-12)


@pytest.mark.parametrize("order", ["rows", "strided rows", "columns"])
@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize(("algorithm", "n", "d", "c"), STEPS)
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_training_is_that_on_the_standardised_matrix(algorithm, n, d, c, kind, order, n_jobs, rng):
    """The same operations on the same numbers: the same bits."""
    X = matrix_of(kind, rng, n, d)
    if order == "strided rows":
        X = np.repeat(X, 2, axis=0)[::2]
    elif order == "columns":
        X = np.asfortranarray(X)
    y = np.arange(n) % c
    options = {"penalty": "elasticnet", "alpha": 0.01, "momentum": 0.9, "eta0": 0.01}
    options |= {"batch_size": max(17, n // 2)}
    options |= {"max_iter": 3, "random_state": 0, "backend": "compiled", "n_jobs": n_jobs}
    with forced(algorithm):
        folded = SoftmaxClassifier(standardize=True, **options).fit(X, y)
        made = standardized(X, folded.mean_, folded.scale_, dtype_of(X))
        model = SoftmaxClassifier(**options).fit(made, y)
    assert folded.loss_curve_ == model.loss_curve_
    assert folded.coef_.dtype == made.dtype
    np.testing.assert_array_equal(
        folded.coef_,
        (model.coef_ * (1 / folded.scale_).astype(made.dtype).astype(float)).astype(made.dtype),
    )


@pytest.mark.parametrize("kind", ["uint8", "float16"])
@pytest.mark.parametrize(("algorithm", "n", "d", "c"), STEPS)
def test_training_is_that_on_the_converted_matrix(kind, algorithm, n, d, c, rng):
    X, y = matrix_of(kind, rng, n, d), np.arange(n) % c
    options = {"max_iter": 2, "random_state": 0, "backend": "compiled", "eta0": 1e-4}
    options["learning_rate"] = "constant"
    with forced(algorithm):
        as_it_lies = SoftmaxClassifier(**options).fit(X, y)
        converted = SoftmaxClassifier(**options).fit(X.astype(np.float32), y)
    np.testing.assert_array_equal(as_it_lies.coef_, converted.coef_)
    assert as_it_lies.loss_curve_ == converted.loss_curve_
    assert as_it_lies.mean_ is None
    assert as_it_lies.scale_ is None


@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", "float64"])
def test_backends_agree(backend, kind, rng):
    X, y = matrix_of(kind, rng, 60, 21), np.arange(60) % 4
    options = {"standardize": True, "max_iter": 3, "random_state": 0, "eta0": 0.1}
    reference = SoftmaxClassifier(backend="naive", **options).fit(X, y)
    model = SoftmaxClassifier(backend=backend, **options).fit(X, y)
    # As between backends on any data: rounding, a little larger from step to step.
    tolerance = 200 * np.finfo(model.coef_.dtype).eps
    np.testing.assert_allclose(model.loss_curve_, reference.loss_curve_, rtol=tolerance)
    size = np.abs(reference.coef_ * reference.scale_).max()
    difference = (model.coef_ - reference.coef_) * reference.scale_
    assert np.abs(difference).max() <= tolerance * size


def test_every_float16_is_converted(kernels):
    """All of them in one column, each in a minibatch of its own with a weight of 1."""
    from fastsoftmax.backends import Data, Rule, State

    # The compiled backend converts them itself, the others by NumPy.
    step = 1 if kernels.name == "compiled" else 331
    every = np.arange(0, 1 << 16, step, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    # One step a sample; the loss is log(1 + exp(x)) before it, and the rate moves nothing.
    X, n = np.repeat(every[:, np.newaxis], 3, axis=1), len(every)
    state = State(np.array([[0, 0, 0], [0, 1, 0]], np.float32), None, None, None)
    order, rates = np.arange(n), np.full(n, 0.0)
    data = Data(X, np.zeros(n, np.int64))
    objectives = kernels.sgd_epoch(data, state, Rule(0, 0, 0, False), order, 1, rates, 1)
    expected = np.logaddexp(0, every.astype(np.float64))
    # Of x and exp(x) in float32, and of a sum 1 + exp(x) in float64.
    eps = np.finfo(np.float32).eps
    np.testing.assert_allclose(objectives, expected, rtol=8 * eps, atol=np.finfo(np.float64).eps)


def test_the_penalty_acts_on_the_standardised_weights(rng):
    """Columns in other units give the same model, in those units; powers of two make it exact."""
    X, y = rng.normal(size=(90, 6)), np.arange(90) % 3
    units = 2.0 ** np.array([-9, 0, 3, 10, -2, 5])
    options = {"standardize": True, "alpha": 0.1, "penalty": "elasticnet", "max_iter": 5}
    options |= {"random_state": 0, "eta0": 0.1}
    model = SoftmaxClassifier(**options).fit(X, y)
    other = SoftmaxClassifier(**options).fit(X * units, y)
    np.testing.assert_array_equal(other.coef_, model.coef_ / units)
    np.testing.assert_array_equal(other.predict(X * units), model.predict(X))


def test_without_an_intercept_nothing_is_subtracted(backend, rng):
    X, y = rng.normal(5, 3, size=(40, 4)), np.arange(40) % 2
    options = {"fit_intercept": False, "max_iter": 4, "random_state": 0, "backend": backend}
    options["alpha"] = 1e-3
    model = SoftmaxClassifier(standardize=True, **options).fit(X, y)
    scaled = SoftmaxClassifier(**options).fit(X * (1 / model.scale_), y)
    np.testing.assert_allclose(model.coef_ * model.scale_, scaled.coef_, rtol=1e-13)
    np.testing.assert_array_equal(model.intercept_, 0)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_statistics_go_on_from_chunk_to_chunk(backend, rng, weighted):
    X, y = 2 + matrix_of("float64", rng, 120, 5) * [1, 1e4, 1, 1, 1e-3], np.arange(120) % 3
    X[:20, 3] = 4  # a column that varies later
    X[0, 4] = 1e8
    weights = rng.integers(1, 4, 120).astype(float) if weighted else np.ones(120)
    model = SoftmaxClassifier(standardize=True, backend=backend, eta0=1e-9)
    for first, end in ((0, 1), (1, 20), (20, 21), (21, 90), (90, 120)):
        here = slice(first, end)
        model.partial_fit(X[here], y[here], [0, 1, 2], weights[here] if weighted else None)
        mean, scale = units_of(np.repeat(X[:end], weights[:end].astype(int), axis=0))
        np.testing.assert_allclose(model.mean_, mean, rtol=1e-12)
        np.testing.assert_allclose(model.scale_, scale, rtol=1e-12)
    assert model.scale_[2] == 1


def test_a_first_row_far_away_leaves_the_variance_of_a_long_stream(rng):
    X, y = rng.normal(size=(20_000, 2)), np.arange(20_000) % 2
    X[0] = 1e8, -1e8
    model = SoftmaxClassifier(standardize=True, eta0=1e-9, batch_size=100)
    model.partial_fit(X[:200], y[:200])  # longer than the others, which do not make it forgotten
    for first in range(200, 20_000, 100):
        model.partial_fit(X[first : first + 100], y[first : first + 100])
    np.testing.assert_allclose(model.scale_, X.std(axis=0), rtol=1e-12)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_other_statistics_leave_the_weights_what_they_are(
    backend, dtype, rng, convert, fit_intercept, average
):
    """And velocities and sums of weights: a step of the rate 0 has no part in them."""
    X, y = rng.normal(5, 3, size=(120, 4)).astype(dtype), np.arange(120) % 3
    momentum = 0.0 if convert is not np.asarray else 0.5
    options = {"fit_intercept": fit_intercept, "average": average, "random_state": 0}
    options |= {"momentum": momentum, "penalty": None, "batch_size": 60, "backend": backend}
    model = SoftmaxClassifier(
        standardize=True, learning_rate=lambda step: 0.1 * (step < 2), **options
    )
    model.partial_fit(convert(X), y, classes=[0, 1, 2])
    before = deepcopy(model)
    model.partial_fit(convert(X * dtype([1, 2, 0.5, 3])), y)
    assert (np.abs(model.scale_ / before.scale_ - 1) > 0.1)[1:].all()
    weights, velocities = [], []
    for one in (before, model):
        last = one._last or (one.coef_, one.intercept_)
        velocity = one._velocity
        if momentum:
            units = Standardization(one.mean_, one.scale_, one._is_centred)
            velocity = units.to_original(*velocity)
        weights.append(last)
        velocities.append(velocity)
    moved = 0 if not momentum else momentum + momentum**2  # by velocities
    tolerance = 300 * np.finfo(dtype).eps
    for i in range(1 + fit_intercept):
        largest = np.abs(weights[0][i]).max()
        expected = weights[0][i] + (moved * velocities[0][i] if momentum else 0)
        np.testing.assert_allclose(weights[1][i], expected, rtol=0, atol=tolerance * largest)
        if momentum:
            expected = momentum**2 * velocities[0][i]
            np.testing.assert_allclose(velocities[1][i], expected, rtol=0, atol=tolerance * largest)
    if average:
        step = momentum * velocities[0][0] if momentum else 0
        total = 2 * before.coef_ + 2 * weights[0][0] + (2 + momentum) * step
        largest = np.abs(total).max()
        np.testing.assert_allclose(model.coef_, total / 4, rtol=0, atol=tolerance * largest)


def test_statistics_of_sparse_rows_never_centre(backend, dtype, rng):
    """Sparse and dense rows in turn, after a copy in other memory: features are scaled alone."""
    X = rng.normal(3, 2, size=(120, 6)).astype(dtype) * (rng.random((120, 6)) < 0.5).astype(dtype)
    y = np.arange(120) % 3
    model = SoftmaxClassifier(standardize=True, backend=backend, random_state=0, batch_size=20)
    dense = SoftmaxClassifier(standardize=True, backend=backend, random_state=0, batch_size=20)
    dense.partial_fit(csr_of(X[:60], rng), y[:60], classes=[0, 1, 2])
    model.partial_fit(csr_of(X[:60], rng), y[:60], classes=[0, 1, 2])
    model = pickle.loads(pickle.dumps(model))
    for one, rows in ((model, csr_of(X[60:] * 3, rng)), (dense, X[60:] * 3)):
        one.partial_fit(rows, y[60:])
        assert not one._is_centred
        together = np.concatenate([X[:60], X[60:] * 3])
        np.testing.assert_allclose(
            one.scale_, units_of(together)[1], rtol=1e-6 if dtype == np.float32 else 1e-12
        )
    tolerance = 300 * np.finfo(dtype).eps * np.abs(dense.coef_).max()
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=0, atol=tolerance)
    np.testing.assert_allclose(model.intercept_, dense.intercept_, rtol=0, atol=tolerance)


def test_statistics_of_dense_rows_cannot_centre_sparse_ones(backend, rng):
    X, y = rng.normal(5, 3, size=(60, 4)), np.arange(60) % 3
    model = SoftmaxClassifier(standardize=True, backend=backend)
    model.partial_fit(X, y, classes=[0, 1, 2])
    before = deepcopy(model.__dict__)
    with pytest.raises(ValueError, match=r"^X: expected a dense X, got a sparse one.*standardize"):
        model.partial_fit(csr_of(X, rng), y)
    np.testing.assert_array_equal(model.coef_, before["coef_"])
    assert model.t_ == before["t_"]
    model.partial_fit(X, y)  # which draws the same order as if nothing had been
    again = SoftmaxClassifier(standardize=True, backend=backend)
    again.__dict__.update(before)
    np.testing.assert_array_equal(again.partial_fit(X, y).coef_, model.coef_)
    model.fit(csr_of(X, rng), y)  # which has statistics of its own


def test_without_an_intercept_dense_and_sparse_rows_are_scaled_alike(backend, rng):
    X, y = rng.normal(5, 3, size=(60, 4)), np.arange(60) % 3
    options = {"fit_intercept": False, "standardize": True, "random_state": 0, "backend": backend}
    model, dense = SoftmaxClassifier(**options), SoftmaxClassifier(**options)
    for came in (X, csr_of(X, rng), X):
        model.partial_fit(came, y, classes=[0, 1, 2])
        dense.partial_fit(X, y, classes=[0, 1, 2])
    tolerance = 200 * np.finfo(np.float64).eps * np.abs(dense.coef_).max()
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named(backend, kind, value, rng, monkeypatch):
    monkeypatch.setattr("fastsoftmax._arrays.validation._ELEMENTS_PER_BLOCK", 8)
    X, y = csr_of(matrix_of(kind, rng, 30, 5), rng), np.arange(30) % 3
    X.data[X.indptr[13] + 2] = value
    model = SoftmaxClassifier(backend=backend, standardize=True, max_iter=2)
    with pytest.raises(ValueError, match=r"^X: expected finite numbers, got (NaN|inf) in row 13$"):
        model.fit(X, y)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_named(backend, kind, standardize, value, rng):
    X, y = matrix_of(kind, rng, 30, 5), np.arange(30) % 3
    X[13, 2] = value
    model = SoftmaxClassifier(backend=backend, standardize=standardize, max_iter=2)
    with pytest.raises(ValueError, match=r"^X: expected finite numbers, got (NaN|inf) in row 13$"):
        model.fit(X, y)
    assert not hasattr(model, "coef_")


def test_columns_without_a_standard_deviation(backend):
    X = np.array([[1e200, 0], [-1e200, 1], [0, 0], [1, 1]])
    model = SoftmaxClassifier(backend=backend, standardize=True)
    for came in (X, scipy.sparse.csr_array(X)):
        with pytest.raises(
            ValueError, match=r"^X: the mean or the standard deviation of a column overflows"
        ):
            model.fit(came, [0, 1, 0, 1])


def test_moments_have_the_same_bits_for_every_number_of_threads(rng):
    kernels = get_backend("compiled")
    for kind, shape in (("uint8", (3000, 300)), ("float32", (40_000, 7)), ("float64", (70, 9000))):
        X = matrix_of(kind, rng, *shape)
        results = []
        for n_threads in (1, 2, 3, 8):
            sums, squares = np.full((2, shape[1]), np.nan)
            kernels.column_moments(X, X[0].astype(float), sums, squares, n_threads)
            results.append((sums, squares))
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])


def test_no_class_has_a_part_in_the_sums_of_another(rng):
    # A BLAS library takes them in an order that follows their number, and the CPU.
    units = Standardization(rng.normal(size=301), rng.uniform(1, 2, 301))
    coef, intercept = rng.normal(size=(17, 301)), rng.normal(size=17)
    for convert in (units.to_original, units.to_standardized):
        _, together = convert(coef, intercept)
        alone = [convert(coef[k : k + 1], intercept[k : k + 1])[1] for k in range(17)]
        np.testing.assert_array_equal(together, np.concatenate(alone))


def test_momentum_goes_on_where_standardize_is_changed(rng):
    X, y = rng.normal(5, 3, size=(60, 4)), np.arange(60) % 3
    options = {"batch_size": 60, "penalty": None, "shuffle": False, "momentum": 0.9}
    model = SoftmaxClassifier(eta0=0.1, **options).partial_fit(X, y, classes=[0, 1, 2])
    coef, velocity = model.coef_.copy(), model._velocity[0].copy()
    model.set_params(standardize=True, learning_rate=lambda step: 0.0).partial_fit(X, y)
    np.testing.assert_allclose(model.coef_, coef + 0.9 * velocity, rtol=1e-12)


def test_weights_that_overflow_in_the_units_of_X_are_a_divergence(backend):
    X, y = np.resize(np.float32([[1e-37], [-1e-37]]), (40, 1)), np.arange(40) % 2
    model = SoftmaxClassifier(backend=backend, standardize=True, tol=None, penalty=None, eta0=0.01)
    model.fit(X, y)
    before = model.coef_.copy()
    with pytest.raises(DivergenceError, match=r"^the weights became infinite or NaN .* lower eta0"):
        model.set_params(eta0=1e3).partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, before)
