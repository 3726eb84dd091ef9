"""LogisticRegression: scikit-learn's minimum, closed facts, and its conventions."""

import inspect
import pickle
import subprocess
import sys
import warnings

import mpmath
import numpy as np
import pytest
import sklearn
from scipy.sparse import csr_array, issparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.linear_model import LogisticRegression as Theirs
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastsoftmax import ConvergenceWarning, LogisticRegression, NotFittedError

with warnings.catch_warnings():  # inheriting from their class is what the package does without
    warnings.filterwarnings(
        "ignore", message=".*does not inherit from `sklearn.base.BaseEstimator`"
    )
    CHECKS = list(estimator_checks_generator(LogisticRegression()))
DATA = {"iris": load_iris, "wine": load_wine, "cancer": load_breast_cancer}


@pytest.fixture(params=DATA)
def data(request):
    X, y = DATA[request.param](return_X_y=True)
    return scale(X), y


@pytest.fixture
def drawn():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 4))
    return X, (X @ rng.normal(size=(4, 3)) + rng.normal(size=(60, 3))).argmax(axis=1)


def objective(model, X, y, C, l1_ratio=0.0, weights=1.0):
    """C * sum of losses + penalty, by the formula."""
    logits = X @ model.coef_.astype(float).T + model.intercept_
    if len(model.classes_) == 2:
        logits = np.hstack([np.zeros_like(logits), logits])
    largest = logits.max(axis=1, keepdims=True)
    at_y = np.take_along_axis(logits - largest, np.searchsorted(model.classes_, y)[:, None], 1)[
        :, 0
    ]
    losses = np.log(np.exp(logits - largest).sum(axis=1)) - at_y
    w = model.coef_.astype(float)
    penalty = (1 - l1_ratio) / 2 * (w**2).sum() + l1_ratio * np.abs(w).sum()
    return C * (weights * losses).sum() + penalty


def gradient(model, X, y, weights=1.0):
    """The gradient of the sum of losses with respect to `coef_`."""
    p = model.predict_proba(X)
    errors = (p - (y[:, None] == model.classes_)) * np.broadcast_to(weights, len(y))[:, None]
    return (errors.T @ X)[len(model.classes_) == 2 :]


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_coefficients_are_scikit_learns(data, C):
    X, y = data
    theirs = Theirs(C=C, solver="newton-cholesky", tol=1e-14, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(X, y)
    ours, single = (LogisticRegression(C=C).fit(x, y) for x in (X, X.astype(np.float32)))
    for name in ("coef_", "intercept_"):
        value = getattr(theirs, name)
        assert getattr(ours, name).shape == value.shape
        assert getattr(single, name).dtype == np.float32
        np.testing.assert_allclose(getattr(ours, name), value, atol=1e-6)
        np.testing.assert_allclose(getattr(single, name), value, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-5)
    assert objective(ours, X, y, C) <= objective(theirs, X, y, C) * (1 + 1e-12)


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0, np.inf])
@pytest.mark.parametrize("scales", [True, False], ids=["standardised", "raw"])
@pytest.mark.parametrize("name", DATA)
def test_defaults_end_no_higher_than_scikit_learns(name, scales, C):
    X, y = DATA[name](return_X_y=True)
    X = scale(X) if scales else X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (model(C=C).fit(X, y) for model in (LogisticRegression, Theirs))
    strength = 1.0 if np.isinf(C) else C
    both = [
        objective(each, X, y, strength)
        - (0.0 if np.isfinite(C) else (each.coef_.astype(float) ** 2).sum() / 2)
        for each in (ours, theirs)
    ]
    assert both[0] <= both[1] * (1 + 1e-12) + 1e-12


@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_minimum_with_l1(drawn, n_classes, l1_ratio, fit_intercept):
    X, y = drawn
    y = np.minimum(y, n_classes - 1)
    weights = np.random.default_rng(0).integers(0, 4, 60)
    model = LogisticRegression(
        C=0.05, l1_ratio=l1_ratio, solver="saga", max_iter=2000, fit_intercept=fit_intercept
    ).fit(X, y, weights)
    slope = 0.05 * gradient(model, X, y, weights) + (1 - l1_ratio) * model.coef_
    is_zero = model.coef_ == 0
    assert is_zero.any()
    # `limit` is 1e-9 of the gradient divided by C * sum(weights), which is below 60.
    assert (np.abs(slope[is_zero]) <= l1_ratio + 1e-7).all()
    np.testing.assert_allclose(
        slope[~is_zero], -l1_ratio * np.sign(model.coef_[~is_zero]), atol=1e-7
    )
    if not fit_intercept:
        np.testing.assert_array_equal(model.intercept_, np.zeros(len(model.coef_)))


def test_an_optimum_of_fifty_digits():
    mpmath.mp.dps = 50
    x, C = [-1.5, 0.25, 1.0, 2.0], 0.7
    signs = [-1, 1, -1, 1]

    def slope(w):
        return w - C * sum(
            s * v / (1 + mpmath.exp(s * v * w)) for s, v in zip(signs, x, strict=True)
        )

    expected = float(mpmath.findroot(slope, 0.5))
    model = LogisticRegression(C=C, fit_intercept=False)
    model.fit(np.array(x)[:, None], np.array(signs))
    np.testing.assert_allclose(model.coef_, [[expected]], rtol=1e-9)


def test_intercepts_of_features_that_say_nothing():
    counts = np.array([5, 20, 25])
    y = np.repeat(["a", "b", "c"], counts)
    model = LogisticRegression().fit(np.zeros((50, 2)), y)
    np.testing.assert_array_equal(model.coef_, np.zeros((3, 2)))
    expected = np.log(counts) - np.log(counts).mean()
    np.testing.assert_allclose(model.intercept_, expected, atol=1e-7)
    two = LogisticRegression().fit(np.zeros((45, 2)), y[5:])
    np.testing.assert_allclose(two.intercept_, [np.log(25 / 20)], atol=1e-7)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_penalty_that_vanishes(drawn, n_classes):
    X, y = drawn
    y = np.minimum(y, n_classes - 1)
    free = LogisticRegression(C=np.inf, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(gradient(free, X, y), 0, atol=1e-6)
    weak = LogisticRegression(C=1e9, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(weak.coef_, free.coef_, atol=1e-4)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2.0, 1: 0.5, 2: 1.0}])
@pytest.mark.parametrize("C", [0.5, 1])
def test_a_weight_is_a_number_of_copies(drawn, class_weight, C):
    X, y = drawn
    weights = np.random.default_rng(1).integers(0, 4, 60)
    model = LogisticRegression(C=C, class_weight=class_weight).fit(X, y, sample_weight=weights)
    copies = [np.repeat(each, weights, axis=0) for each in (X, y)]
    repeated = clone(model).fit(*copies)
    np.testing.assert_allclose(model.coef_, repeated.coef_, atol=1e-6)
    theirs = Theirs(C=C, class_weight=class_weight, solver="newton-cholesky", tol=1e-12)
    theirs.fit(*copies)
    np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-6)


def test_sparse_rows(drawn):
    X, y = drawn
    X[X < 0] = 0
    dense, sparse = (LogisticRegression().fit(x, y) for x in (X, csr_array(X)))
    np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=1e-8)
    assert dense.sparsify() is dense
    assert issparse(dense.coef_)
    np.testing.assert_array_equal(
        dense.predict_proba(csr_array(X)), clone(dense).fit(X, y).predict_proba(csr_array(X))
    )
    dense = pickle.loads(pickle.dumps(dense)).densify()
    assert isinstance(dense.coef_, np.ndarray)


def test_every_solver_has_the_same_minimum(drawn):
    X, y = drawn
    expected = LogisticRegression().fit(X, y).coef_
    for solver in ("liblinear", "newton-cg", "newton-cholesky", "sag", "saga"):
        found = LogisticRegression(solver=solver, random_state=0).fit(X, y).coef_
        np.testing.assert_array_equal(found, expected)
    LogisticRegression(solver="liblinear", dual=True, intercept_scaling=2.0).fit(X, y)


@pytest.mark.parametrize("y_of", [lambda y: y, lambda y: y > 0], ids=["three", "two"])
def test_a_warm_start_has_little_left_to_do(drawn, y_of):
    X, y = drawn
    model = LogisticRegression(warm_start=True).fit(X, y_of(y))
    coef = model.coef_
    assert model.fit(X, y_of(y)).n_iter_.tolist() == [1]
    np.testing.assert_allclose(model.coef_, coef, atol=1e-8)
    assert model.set_params(C=2.0).fit(X, y_of(y)).n_iter_ > 1
    fresh = LogisticRegression(C=2.0).fit(X, y_of(y))
    np.testing.assert_allclose(model.coef_, fresh.coef_, atol=1e-6)
    with pytest.raises(ValueError, match=r"^warm_start: expected as many classes and features"):
        model.fit(X[:, :2], y_of(y))


def test_weights_that_are_set_by_hand():
    model = LogisticRegression()
    with pytest.raises(NotFittedError):
        model.predict([[1.0]])
    model.classes_, model.coef_, model.intercept_ = ["a", "b"], np.array([[2.0]]), np.array([1.0])
    assert model.n_features_in_ == 1
    np.testing.assert_array_equal(model.decision_function([[0.5], [-1.0]]), [2.0, -1.0])
    np.testing.assert_allclose(model.predict_proba([[0.5]])[:, 1], 1 / (1 + np.exp(-2.0)))
    assert model.predict([[0.5], [-1.0], [-0.5]]).tolist() == ["b", "a", "a"]  # 0 is the first, too
    assert model.score([[0.5]], ["b"]) == 1
    model.coef_ = np.zeros((2, 1))
    with pytest.raises(ValueError, match=r"^coef_: expected one row for two classes"):
        model.predict([[1.0]])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("C", 0),
        ("C", -1.0),
        ("C", np.nan),
        ("C", "1"),
        ("C", 1e-310),
        ("l1_ratio", 1.5),
        ("l1_ratio", "half"),
        ("dual", True),
        ("dual", "no"),
        ("tol", -1),
        ("tol", None),
        ("fit_intercept", "yes"),
        ("intercept_scaling", 0),
        ("class_weight", "even"),
        ("random_state", -1),
        ("solver", "sgd"),
        ("max_iter", -1),
        ("max_iter", 3.0),
        ("verbose", -1),
        ("warm_start", 1),
        ("n_jobs", 0),
        ("penalty", "l0"),
        ("penalty", 2),
    ],
)
def test_parameters_that_are_refused(drawn, name, value):
    model = LogisticRegression(**{name: value})
    with pytest.raises((ValueError, TypeError), match=f"^{name}: "):
        model.fit(*drawn)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_any_strength_is_solved_without_warnings_or_refused(drawn, dtype, n_classes):
    X, y = drawn[0].astype(dtype), np.minimum(drawn[1], n_classes - 1)
    info = np.finfo(dtype)
    least = float(info.tiny) / float(info.eps) / 60
    for C in (1.01 * least, 1e155, 1e200, 1e300, 1.7e308):
        LogisticRegression(C=C).fit(X, y)
    # With next to no weight of the samples, the weights are C times the gradient at the even probabilities.
    model = LogisticRegression(C=1.01 * least, fit_intercept=False).fit(X, y)
    slopes = X.T.astype(float) @ ((y[:, None] == np.arange(n_classes)) - 1 / n_classes)
    expected = 1.01 * slopes.T[n_classes == 2 :]
    np.testing.assert_allclose(model.coef_.astype(float) / least, expected, rtol=1e-5, atol=1e-5)
    for C, weights in ((0.99 * least, None), (1.0, np.full(60, 0.99 * least))):
        with pytest.raises(ValueError, match=r"^C: expected a larger number"):
            LogisticRegression(C=C).fit(X, y, weights)


def test_one_class_is_shown_as_a_python_value(drawn):
    X, _ = drawn
    for label, shown in ((0.0, "0.0"), (np.datetime64("2020-01-01"), "'2020-01-01'")):
        with pytest.raises(ValueError, match=f"^y: .* got one class: {shown}$"):
            LogisticRegression().fit(X, np.full(60, label))


def test_verbose_prints_the_objective_alone(drawn, capsys):
    X, y = drawn
    model = LogisticRegression(C=0.5, verbose=1).fit(X, y)
    *_, last = capsys.readouterr().out.splitlines()
    assert last == f"epoch {model.n_iter_[0]}: loss {objective(model, X, y, 0.5) / 30:.6g}"


@pytest.mark.parametrize(
    ("given", "instead", "messages"),
    [
        ({"penalty": "l2"}, {}, ["penalty"]),
        ({"penalty": "l1", "l1_ratio": 1}, {"l1_ratio": 1}, ["penalty"]),
        ({"penalty": "l1"}, {"l1_ratio": 1}, ["penalty", "l1_ratio"]),
        ({"penalty": "elasticnet", "l1_ratio": 0.5}, {"l1_ratio": 0.5}, ["penalty"]),
        ({"penalty": None, "C": 2}, {"C": np.inf}, ["penalty", "C"]),
        ({"l1_ratio": None}, {}, ["l1_ratio"]),
    ],
)
def test_what_is_deprecated_warns_and_works(drawn, given, instead, messages):
    X, y = drawn
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = LogisticRegression(max_iter=1000, **given).fit(X, y)
    assert [str(each.message).split(":")[0] for each in caught] == messages
    assert caught[0].category is FutureWarning
    assert {each.filename for each in caught} == {__file__}
    expected = LogisticRegression(max_iter=1000, **instead).fit(X, y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


@pytest.mark.usefixtures("without_newton")  # which finds the minimum of the last one
def test_a_fit_that_has_not_converged_warns(drawn):
    X, y = drawn
    for max_iter in (0, 1):
        with pytest.warns(
            ConvergenceWarning, match=r"^fit ended at max_iter .*raise max"
        ) as caught:
            model = LogisticRegression(max_iter=max_iter).fit(X, y)
        assert (" in the gradient" in str(caught[0].message)) == bool(max_iter)
        assert caught[0].filename == __file__
        assert model.n_iter_.tolist() == [max_iter]
        assert model.n_iter_.dtype == np.int32
    with pytest.warns(ConvergenceWarning, match=r"^fit ended where rounding of float64"):
        LogisticRegression().fit([[0.0], [1e20]], [0, 1])
    # The minimum to rounding: a smaller tol can ask for no more.
    LogisticRegression(tol=1e-18, max_iter=10000).fit(X.astype(np.float32), y)


def test_its_parameters_are_scikit_learns():
    if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9):
        pytest.skip("earlier versions have other defaults")
    ours, theirs = (
        {p.name: (p.default, p.kind) for p in inspect.signature(each).parameters.values()}
        for each in (LogisticRegression, Theirs)
    )
    assert ours == theirs


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(
    "i", range(len(CHECKS)), ids=[getattr(c, "func", c).__name__ for _, c in CHECKS]
)
def test_scikit_learns_check_passes(i):
    CHECKS[i][1](LogisticRegression())


def test_with_scikit_learns_tools():
    X, y = load_iris(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 10.0]}).fit(X, y)
    assert search.best_score_ > 0.95
    model = search.best_estimator_[-1]
    assert list(model.feature_names_in_) == list(X.columns)
    assert not hasattr(model.fit(X.to_numpy(), y), "feature_names_in_")
    assert repr(LogisticRegression(C=2.0)) == "LogisticRegression(C=2.0)"
    with sklearn.config_context(enable_metadata_routing=True):
        requests = LogisticRegression().set_fit_request(sample_weight=True).get_metadata_routing()
        assert requests.fit.requests == {"sample_weight": True}
    assert not hasattr(model, "set_partial_fit_request")


def test_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['scipy'] = None\n"
        "from fastsoftmax import LogisticRegression\n"
        "assert LogisticRegression().fit([[0.0], [1.0]], ['a', 'b']).predict([[5.0]]) == ['b']\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
