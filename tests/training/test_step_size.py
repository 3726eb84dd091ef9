"""The step size that is taken from the data, and what happens where one given is too large."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning as TheirConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastsoftmax import ConvergenceWarning, DivergenceError, SoftmaxClassifier
from fastsoftmax.training.step_size import largest_eigenvalue

TABLES = {"iris": load_iris, "wine": load_wine, "cancer": load_breast_cancer, "digits": load_digits}


def curvature_of(X, b, weights=None, replacement=False):
    """Half of what the docstring has, of features that include the intercept's."""
    n, weights = len(X), np.ones(len(X)) if weights is None else weights
    squares = np.square(X).sum(axis=1)
    mean = X.T @ (X * weights[:, None]) / weights.sum()
    steepest = np.linalg.eigvalsh(mean)[-1]
    of_largest = 1 / b if replacement else (n - b) / (b * (n - 1))
    bounds = []
    # What power iteration may have found, and what is never exceeded.
    for eigenvalue in (steepest, 1.1 * steepest):
        together = min(eigenvalue, np.average(squares, weights=weights))
        bounds.append((1 - of_largest) * together / 2 + of_largest * (weights * squares).max() / 2)
    return bounds


@pytest.mark.parametrize("shape", [(4, 2), (300, 7), (500, 1)])
@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_it_is_one_over_the_bound(backend, rng, shape, convert):
    n, d = shape
    X, y = rng.normal(size=shape) * np.arange(1, d + 1) + 1, np.arange(n) % 2
    ones = np.c_[X, np.ones(n)]
    weights = rng.integers(1, 4, n) / 2
    relative = weights / weights.mean()
    scaled = X / X.std(axis=0)
    centred = np.c_[(X - X.mean(axis=0)) / X.std(axis=0), np.ones(n)]
    standardized = np.c_[scaled, np.ones(n)] if convert is csr_array else centred
    options = {"backend": backend, "max_iter": 1, "penalty": None, "tol": None}
    for parameters, least, most, of_rows in (
        ({"batch_size": 1}, *curvature_of(ones, 1), None),
        ({"batch_size": 2}, *curvature_of(ones, 2), None),
        ({"batch_size": 10**6}, *curvature_of(ones, n), None),
        ({"batch_size": 3, "replacement": True}, *curvature_of(ones, 3, None, True), None),
        ({"batch_size": 2, "fit_intercept": False}, *curvature_of(X, 2), None),
        ({"batch_size": 2, "standardize": True}, *curvature_of(standardized, 2), None),
        ({"batch_size": 2}, *curvature_of(ones, 2, relative), weights),
    ):
        model = SoftmaxClassifier(**options | parameters).fit(convert(X), y, of_rows)
        assert least * 0.9 < 1 / model.eta0_ < most * (1 + 1e-12)
    plain = SoftmaxClassifier(**options).fit(convert(X), y).eta0_
    penalised = SoftmaxClassifier(**options | {"penalty": "l2", "alpha": 3.0}).fit(convert(X), y)
    assert 1 / penalised.eta0_ == pytest.approx(1 / plain + 3, rel=1e-12)


def test_the_same_for_every_way_that_X_may_lie(rng):
    sparse = pytest.importorskip("scipy.sparse")
    X, y = rng.integers(0, 255, (300, 20)).astype(np.uint8), np.arange(300) % 3
    found = [
        SoftmaxClassifier(max_iter=1).fit(data, y).eta0_
        for data in (
            X,
            X.astype(np.float32),
            np.asfortranarray(X),
            sparse.csr_array(X.astype(float)),
        )
    ]
    np.testing.assert_allclose(found, found[0], rtol=1e-12)
    assert len(set(found[:3])) == 1


def test_the_order_of_sums_does_not_matter(rng):
    # NumPy's follows the vectors of the CPU, and a training its step size to the last bit.
    x = rng.normal(size=(300, 37))

    def forwards(v, offset):
        u = x @ v + offset
        return x.T @ u, float(u.sum())

    def backwards(v, offset):
        u = np.array([sum(row[::-1] * v[::-1]) for row in x]) + offset
        return sum(x[::-1] * u[::-1, np.newaxis]), float(sum(u))

    sums = forwards(np.ones(37), 1.0), backwards(np.ones(37), 1.0)
    assert (sums[0][0] != sums[1][0]).any()
    eigenvalues = [largest_eigenvalue(of, 37, 300.0, True) for of in (forwards, backwards)]
    assert eigenvalues[0] == eigenvalues[1]


@pytest.mark.parametrize("at_once", [1, 1 << 18])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_of_sparse_rows_it_is_that_of_the_dense_ones(fit_intercept, at_once, rng, monkeypatch):
    """Of more rows than are looked at, some of them empty, with every value in two parts."""
    monkeypatch.setattr("fastsoftmax.training.step_size._VALUES_PER_BLOCK", at_once)
    X = rng.normal(size=(5000, 4)) * (rng.random((5000, 4)) < 0.3)
    X[0] = X[-1] = 0
    twice = csr_array(X)
    parts = np.repeat(twice.data / 2, 2), np.repeat(twice.indices, 2), 2 * twice.indptr
    twice = csr_array(parts, shape=X.shape)
    y, options = np.arange(5000) % 2, {"max_iter": 1, "fit_intercept": fit_intercept, "alpha": 0.1}
    eta0 = SoftmaxClassifier(**options).fit(X, y).eta0_
    assert SoftmaxClassifier(**options).fit(twice, y).eta0_ == pytest.approx(eta0, rel=1e-14)
    model = SoftmaxClassifier(standardize=True, **options).fit(twice, y)
    eta0 = SoftmaxClassifier(**options).fit(X / model.scale_, y).eta0_
    assert model.eta0_ == pytest.approx(eta0, rel=1e-14)


@pytest.mark.parametrize("batch_size", [1, 32, 200])
@pytest.mark.parametrize("table", TABLES)
def test_raw_columns_never_diverge(table, batch_size):
    X, y = TABLES[table](return_X_y=True)
    options = {"batch_size": batch_size, "max_iter": 20, "random_state": 0}
    model = SoftmaxClassifier(learning_rate="constant", **options).fit(X, y)
    assert max(model.loss_curve_) < 1.2 * np.log(len(model.classes_))
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    # Momentum may raise it at first.
    assert SoftmaxClassifier(**options).fit(X, y).loss_curve_[-1] < np.log(len(model.classes_))


@pytest.mark.parametrize("batch_size", [1, 128])
def test_raw_pixels_never_diverge(rng, batch_size):
    X = rng.integers(0, 256, (1000, 784)).astype(np.uint8)
    y = (X[:, :10].astype(int)).argmax(axis=1)
    options = {"batch_size": batch_size, "max_iter": 5, "random_state": 0}
    model = SoftmaxClassifier(learning_rate="constant", **options).fit(X, y)
    assert max(model.loss_curve_) < 1.2 * np.log(10)
    assert SoftmaxClassifier(**options).fit(X, y).loss_curve_[-1] < np.log(10)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.costly
def test_standardised_it_is_as_accurate_as_logistic_regression(table):
    X, y = TABLES[table](return_X_y=True)
    splits = StratifiedShuffleSplit(10, test_size=0.25, random_state=0)
    ours, theirs = (
        cross_val_score(model, X, y, cv=splits).mean()
        for model in (
            SoftmaxClassifier(standardize=True, random_state=0),
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        )
    )
    assert ours > theirs - 0.01


@pytest.mark.parametrize("seed", range(3))
def test_a_few_rows_of_large_weight_do_not_diverge(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(50_000, 5)), np.zeros(50_000, int)
    rare = rng.choice(50_000, 5, replace=False)
    y[rare] = 1
    options = {"random_state": 0, "max_iter": 5, "tol": None, "batch_size": 200}
    model = SoftmaxClassifier(class_weight="balanced", learning_rate="constant", **options)
    assert max(model.fit(X, y).loss_curve_) < 1.2 * np.log(2)
    weights = np.ones(50_000)
    weights[rare] = 1e4
    assert max(model.set_params(class_weight=None).fit(X, y, weights).loss_curve_) < 1.2 * np.log(2)
    # The last of few epochs still has some of the noise that momentum amplifies.
    by_default = SoftmaxClassifier(class_weight="balanced", random_state=0).fit(X, y)
    assert by_default.loss_curve_[-1] < 1.2 * np.log(2)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("size", [1e154, 1e155, 1e200, 1e307])
def test_numbers_that_have_no_squares_are_a_divergence(rng, convert, size, fit_intercept):
    X, y = convert(size * rng.normal(size=(60, 4))), np.arange(60) % 3
    options = {"learning_rate": "constant", "batch_size": 60, "random_state": 0}
    with pytest.raises(DivergenceError, match=r"^the loss "):
        SoftmaxClassifier(fit_intercept=fit_intercept, **options).fit(X, y)


def test_partial_fit_takes_it_from_every_chunk(rng):
    """And no more than the geometric mean of all chunks so far, each counting its samples; to 6 digits."""
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    options = {"fit_intercept": False, "penalty": None}
    model = SoftmaxClassifier(**options).partial_fit(X, y, classes=[0, 1, 2])
    first = model.eta0_
    assert model.partial_fit(X, y).eta0_ == first
    small = SoftmaxClassifier(**options).partial_fit(X[:30] / 10, y[:30], classes=[0, 1, 2]).eta0_
    large = SoftmaxClassifier(**options).partial_fit(100 * X, y, classes=[0, 1, 2]).eta0_
    assert model.partial_fit(X[:30] / 10, y[:30]).eta0_ == pytest.approx(
        (first**120 * small**30) ** (1 / 150), rel=1e-5
    )
    assert model.partial_fit(100 * X, y).eta0_ == large
    mean = (first**180 * small**30 * large**60) ** (1 / 270)
    assert mean < first
    assert model.partial_fit(X, y).eta0_ == pytest.approx(mean, rel=1e-5)
    assert model.set_params(eta0=0.5).partial_fit(X, y).eta0_ == 0.5
    model.set_params(eta0="auto").partial_fit(X, y)
    assert model.eta0_ == pytest.approx((first**240 * small**30 * large**60) ** (1 / 330), rel=1e-5)


def test_an_epoch_far_worse_than_the_start_stops_the_fit(backend, rng):
    X, y = 100 * rng.normal(size=(60, 4)), np.arange(60) % 3
    model = SoftmaxClassifier(backend=backend, batch_size=10, random_state=0)
    model.fit(X, y)
    before = model.coef_.copy()
    message = (
        r"^the loss of epoch 1 is .*10 times .* 1\.1: lower eta0 \(it is 1\).*standardize=True"
    )
    with pytest.raises(DivergenceError, match=message):
        model.set_params(eta0=1).fit(X, y)
    np.testing.assert_array_equal(model.coef_, before)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, csr_array])
def test_small_features_that_stop_at_once_are_warned_of(backend, rng, convert, early_stopping):
    X = rng.normal(size=(60, 4))
    y = X[:, :3].argmax(axis=1)
    options = {"backend": backend, "random_state": 0, "early_stopping": early_stopping}
    options |= {"learning_rate": "constant", "batch_size": 60}
    message = (
        r"^fit stopped by tol after \d+ epochs, but .*\(.* is 2\.\de-06\).*: use standardize=True"
    )
    with pytest.warns(ConvergenceWarning, match=message) as caught:
        stopped = SoftmaxClassifier(**options).fit(convert(X * 1e-6), y)
    assert len(caught) == 1
    assert stopped.n_iter_ < 20
    # There is nothing to say where they are not small, there is no intercept, or the advice is taken.
    SoftmaxClassifier(**options).fit(convert(X), rng.permutation(y))
    SoftmaxClassifier(**options, fit_intercept=False).fit(convert(X * 1e-6), y)
    SoftmaxClassifier(**options, standardize=True).fit(convert(X * 1e-6), y)
    SoftmaxClassifier(**options | {"tol": None, "max_iter": 3}).fit(convert(X * 1e-6), y)


def test_what_went_on_at_max_iter_is_true_with_early_stopping(backend, rng):
    """Scores that fall from epoch to epoch do not rise."""
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    model = SoftmaxClassifier(
        backend=backend,
        max_iter=3,
        random_state=0,
        learning_rate="constant",
        early_stopping=True,
        n_iter_no_change=7,
        batch_size=60,
    )
    message = "^fit ended at max_iter before the validation score went 7 epochs without improving by tol: "
    with pytest.warns(ConvergenceWarning, match=message):
        model.fit(X, y)
    assert model.validation_scores_[-1] <= model.validation_scores_[0]


def test_a_fit_that_has_not_converged_warns_once(backend, rng):
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    options = {"backend": backend, "max_iter": 2, "random_state": 0, "learning_rate": "constant"}
    message = (
        r"^fit ended at max_iter before the loss went 5 epochs without improving by tol: "
        r"raise max_iter \(it is 2\) or tol"
    )
    for came in (X, csr_array(X)):
        with pytest.warns(ConvergenceWarning, match=message + ".*standardize=True") as caught:
            SoftmaxClassifier(**options).fit(came, y)
        assert len(caught) == 1
    assert issubclass(caught[0].category, TheirConvergenceWarning)
    with pytest.warns(ConvergenceWarning, match=message + "$"):
        SoftmaxClassifier(**options, standardize=True).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoftmaxClassifier(**options | {"tol": None}).fit(X, y)
        SoftmaxClassifier(**options | {"tol": 1.0, "max_iter": 20}).fit(X, y)
        SoftmaxClassifier(**options).partial_fit(X, y, classes=[0, 1, 2])
