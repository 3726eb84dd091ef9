"""The classifier among scikit-learn's tools, with frames, and without scikit-learn."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import DataConversionWarning, UnsetMetadataPassedError
from sklearn.exceptions import NotFittedError as TheirNotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastsoftmax import NotFittedError, SoftmaxClassifier

with warnings.catch_warnings():  # inheriting from their class is what the package does without
    warnings.filterwarnings(
        "ignore", message=".*does not inherit from `sklearn.base.BaseEstimator`"
    )
    CHECKS = list(estimator_checks_generator(SoftmaxClassifier()))
FAST = {"standardize": True, "eta0": 0.1, "random_state": 0}


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True, as_frame=True)


def _name_of(check):
    return getattr(check, "func", check).__name__


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("i", range(len(CHECKS)), ids=[_name_of(check) for _, check in CHECKS])
def test_scikit_learns_check_passes(backend, i):
    _, check = CHECKS[i]
    check(SoftmaxClassifier(backend=backend))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(
    "options",
    [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
    ids=["momentum", "nesterov"],
)
@pytest.mark.parametrize("i", range(len(CHECKS)), ids=[_name_of(check) for _, check in CHECKS])
def test_scikit_learns_check_passes_with_momentum(options, i):
    _, check = CHECKS[i]
    check(SoftmaxClassifier(**options))


def test_with_scikit_learns_tools(iris):
    X, y = iris
    model = SoftmaxClassifier(**FAST)
    assert cross_val_score(model, X, y).mean() > 0.85
    assert CalibratedClassifierCV(model).fit(X, y).score(X, y) > 0.85
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier(random_state=0))
    grid = {"softmaxclassifier__eta0": [1e-4, 0.1]}
    search = GridSearchCV(pipeline, grid, n_jobs=2).fit(X, y)
    assert search.best_params_ == {"softmaxclassifier__eta0": 0.1}
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
    assert "SoftmaxClassifier" in model._repr_html_()


ENSEMBLES = {
    "voting": lambda model: VotingClassifier([("a", model)], voting="soft"),
    "calibrated": lambda model: CalibratedClassifierCV(model, cv=3),
    "calibrated as one": lambda model: CalibratedClassifierCV(model, cv=3, ensemble=False),
    "stacked": lambda model: StackingClassifier([("a", model)], model, cv=3),
}


@pytest.mark.parametrize("ensemble", ENSEMBLES.values(), ids=ENSEMBLES)
def test_ensembles_keep_a_class_that_has_no_weight(iris, ensemble):
    X, y = iris
    model = ensemble(SoftmaxClassifier(**FAST)).fit(X, y, sample_weight=(y != 1).astype(float))
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (150, 3)
    assert probabilities[:, 1].mean() < 0.1
    np.testing.assert_array_equal(model.predict(X)[y != 1], y[y != 1])


def test_log_loss_of_folds_with_a_class_that_has_no_weight(iris):
    X, y = iris
    given = {
        "scoring": "neg_log_loss",
        "params": {"sample_weight": (y != 1).astype(float)},
        "cv": 3,
    }
    losses = -cross_val_score(SoftmaxClassifier(**FAST), X, y, **given)
    # One in three is of a class that is thought impossible: its log loss is large, and a number.
    assert np.isfinite(losses).all()
    assert losses.min() > np.log(3) / 2


def test_bootstraps_with_one_class_of_two():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(200, 2)), (np.arange(200) < 6).astype(int)
    bagging = BaggingClassifier(SoftmaxClassifier(**FAST), 10, max_samples=20, random_state=0)
    bagging.fit(X, y)
    drawn = [y[rows] for rows in bagging.estimators_samples_]
    assert 0 < sum(labels.any() for labels in drawn) < 10
    for model in bagging.estimators_:
        assert model.classes_.tolist() == [0, 1]
    assert bagging.predict_proba(X)[:, 1].mean() < 0.2


def test_soft_labels_are_scored_by_scikit_learns_tools(iris):
    X, y = iris[0].to_numpy(), np.eye(3)[iris[1]]
    order = np.random.default_rng(0).permutation(150)
    X, y = X[order], 0.9 * y[order] + 0.1 / 3
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier(eta0=0.1, random_state=0))
    scores = cross_val_score(pipeline, X, y, cv=KFold(3))
    for (train, test), score in zip(KFold(3).split(X), scores, strict=True):
        predicted = clone(pipeline).fit(X[train], y[train]).predict(X[test])
        assert score == pytest.approx(y[test][np.arange(50), predicted].mean())
    grid = {"softmaxclassifier__eta0": [1e-4, 0.1]}
    search = GridSearchCV(pipeline, grid).fit(X, y)
    assert search.best_params_ == {"softmaxclassifier__eta0": 0.1}
    assert 0.75 < search.best_score_ <= 0.9 + 0.1 / 3
    assert search.score(X, y) == pytest.approx(search.best_estimator_.score(X, y))


FRAMES = {
    "pandas": lambda X: X,
    "polars": polars.from_pandas,
    "arrow": pyarrow.Table.from_pandas,
    "arrow batch": pyarrow.RecordBatch.from_pandas,
}


@pytest.mark.parametrize("convert", FRAMES.values(), ids=FRAMES.keys())
def test_frames_name_their_features(iris, convert):
    X, y = iris
    names = list(X.columns)
    plain = SoftmaxClassifier(**FAST).fit(X.to_numpy(), y)
    model = SoftmaxClassifier(**FAST).fit(convert(X), y)
    assert model.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    np.testing.assert_array_equal(model.predict(convert(X)), plain.predict(X.to_numpy()))
    model.partial_fit(convert(X), y)
    assert model.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="must be in the same order"):
        model.predict(convert(X[names[::-1]]))
    unseen = r"unseen at fit time:\n- width\n.*now missing:\n- sepal length"
    with pytest.raises(ValueError, match=unseen):
        model.predict(convert(X.rename(columns={names[0]: "width"})))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(X.to_numpy())
    with pytest.warns(UserWarning, match="SoftmaxClassifier was fitted without feature names"):
        plain.predict(convert(X))
    model.fit(X.to_numpy(), y)
    assert not hasattr(model, "feature_names_in_")
    again = pickle.loads(pickle.dumps(plain))
    np.testing.assert_array_equal(again.predict(X.to_numpy()), plain.predict(X.to_numpy()))


def test_frames_with_columns_of_several_types(iris):
    X, y = iris
    mixed = X.assign(large=X.iloc[:, 0] > 5.8, count=np.arange(150))
    model = SoftmaxClassifier(**FAST).fit(mixed, y)
    assert model.feature_names_in_.tolist() == list(mixed.columns)
    plain = SoftmaxClassifier(**FAST).fit(mixed.to_numpy(float), y)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    with pytest.raises(ValueError, match=r"^X: expected numbers, got dtype object: .*'a'"):
        model.fit(mixed.assign(count="a"), y)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "Int64[pyarrow]"])
def test_missing_values_of_nullable_columns_are_named(iris, dtype):
    X, y = iris[0].iloc[:4], [0, 1, 0, 1]
    column = pandas.array([1, 0, 1, 1], dtype=dtype.lower() if "pyarrow" in dtype else dtype)
    whole = X.assign(count=column)
    SoftmaxClassifier(max_iter=1, tol=None).fit(whole, y)
    column[2] = None
    message = (
        r"^X: expected (numbers, got a missing value \(<NA>\)|finite numbers, got NaN) in row 2$"
    )
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(max_iter=1, tol=None).fit(X.assign(count=column), y)


@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_long_double_is_computed_with_in_float64(backend, rng, convert):
    """As in LogisticRegression."""
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    options = {"backend": backend, "random_state": 0, "max_iter": 3, "tol": None}
    plain = SoftmaxClassifier(**options).fit(convert(X), y)
    model = SoftmaxClassifier(**options).fit(convert(X.astype(np.longdouble)), y)
    assert model.coef_.dtype == np.float64
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    proba = model.predict_proba(convert(X.astype(np.longdouble)))
    np.testing.assert_array_equal(proba, plain.predict_proba(convert(X)))
    model.partial_fit(convert(X.astype(np.longdouble)), y)
    huge = X.astype(np.longdouble)
    huge[3, 1] = np.finfo(np.longdouble).max
    if np.isinf(float(huge[3, 1])):
        with pytest.raises(ValueError, match=r"^X: expected finite numbers, got inf in row 3$"):
            model.fit(convert(huge), y)


PICKLES = """
import pickle, sys, warnings
{before}
from fastsoftmax import ConvergenceWarning, NotFittedError, SoftmaxClassifier
from fastsoftmax.classifier.sklearn_api import not_fitted
try:
    SoftmaxClassifier().predict([[0.0]])
except NotFittedError as caught:
    error = caught
with warnings.catch_warnings(record=True) as noted:
    warnings.simplefilter("always")
    SoftmaxClassifier(max_iter=1).fit([[0.0], [1.0]], [0, 1])
{between}
for value in (error, noted[0].message):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(value, protocol))
        assert (str(again), again.args) == (str(value), value.args)
        assert type(again).__name__ == type(value).__name__
    assert isinstance(again, NotFittedError if value is error else ConvergenceWarning)
assert issubclass(pickle.loads(pickle.dumps(noted[0].category)), ConvergenceWarning)
sys.stdout.buffer.write(pickle.dumps([error, noted[0].message, noted[0].category]))
"""


@pytest.mark.costly
@pytest.mark.parametrize("before", ["", "import sklearn.exceptions"])
@pytest.mark.parametrize("between", ["", "import sklearn.exceptions"])
def test_errors_and_warnings_are_pickled_however_scikit_learn_was_loaded(before, between):
    code = PICKLES.format(before=before, between=between)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, b"")
    # Here scikit-learn is loaded, and in the next process it cannot be.
    error, warning, category = pickle.loads(ran.stdout)
    assert isinstance(error, NotFittedError)
    assert isinstance(error, TheirNotFittedError) == (before != "")
    assert isinstance(warning, category)
    load = """
import pickle, sys
sys.modules["sklearn"] = None
error, warning, category = pickle.loads(sys.stdin.buffer.read())
import fastsoftmax
assert (type(error), type(warning)) == (fastsoftmax.NotFittedError, fastsoftmax.ConvergenceWarning)
"""
    subprocess.run([sys.executable, "-c", load], input=ran.stdout, check=True, timeout=60)


def test_scikit_learn_below_1_6_is_told_that_it_is_a_classifier():
    assert SoftmaxClassifier()._estimator_type == "classifier"


def test_a_column_of_labels_can_be_scored(iris):
    X, y = iris
    model = SoftmaxClassifier(**FAST).fit(X, y)
    for column in (y.to_frame(), y.to_numpy()[:, None], [[label] for label in y]):
        with pytest.warns(DataConversionWarning, match="column-vector y"):
            assert model.score(X, column) == model.score(X, y)


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 2 has them")
def test_strings_of_either_dtype_are_the_same_labels(iris):
    X, y = iris
    words = np.array(["se", "ve", "vi"])[y]
    other = words.astype(np.dtypes.StringDType())
    model = SoftmaxClassifier(**FAST).partial_fit(X, other, classes=["se", "ve", "vi"])
    plain = SoftmaxClassifier(**FAST).partial_fit(X, words, classes=["se", "ve", "vi"])
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    SoftmaxClassifier(**FAST).fit(X, other).partial_fit(X, words)


def test_frames_with_names_of_several_types_are_refused(iris):
    X, y = iris
    mixed = X.rename(columns={X.columns[0]: 7})
    with pytest.raises(TypeError, match=r"^X: Feature names are only supported"):
        SoftmaxClassifier(**FAST).fit(mixed, y)


def test_labels_of_other_kinds(iris):
    X, y = iris
    words = y.map({0: "setosa", 1: "versicolor", 2: "virginica"})
    assert set(SoftmaxClassifier(**FAST).fit(X, words).predict(X)) == set(words)
    is_setosa = (y == 0).to_numpy()
    model = SoftmaxClassifier(**FAST).fit(X, is_setosa)
    np.testing.assert_array_equal(model.predict(X), is_setosa)
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        column = SoftmaxClassifier(**FAST).fit(X, is_setosa[:, None])
    np.testing.assert_array_equal(column.coef_, model.coef_)


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_weights_are_routed_where_they_are_asked_for(iris):
    X, y = iris
    weights = np.where(y == 1, 0, 1)
    model = SoftmaxClassifier(**FAST).set_fit_request(sample_weight=True)
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    pipeline = make_pipeline(scaler, clone(model)).fit(X, y, sample_weight=weights)
    assert pipeline[-1].classes_.tolist() == [0, 1, 2]
    scored = clone(model).set_score_request(sample_weight=True)
    only_two = StratifiedKFold(3)
    results = cross_validate(
        scored, X, y, cv=only_two, params={"sample_weight": np.where(y == 1, 1e-6, 1)}
    )
    assert results["test_score"].mean() > 0.95  # 1 and 2 are hard to tell apart, 0 and 2 are not
    search = GridSearchCV(scored, {"alpha": [1e-4, 1e-2]}, n_jobs=2)
    assert search.fit(X, y, sample_weight=weights + 0.1).best_score_ > 0.9
    named = SoftmaxClassifier(**FAST).set_fit_request(sample_weight="importance")
    expected = {"coef_init": None, "intercept_init": None, "sample_weight": "importance"}
    assert clone(named).get_metadata_routing().fit.requests == expected
    requests = named.set_partial_fit_request(classes=True).get_metadata_routing()
    assert requests.partial_fit.requests == {"classes": True, "sample_weight": None}
    with pytest.raises(UnsetMetadataPassedError):
        make_pipeline(SoftmaxClassifier()).fit(X, y, sample_weight=weights)
    with pytest.raises(TypeError, match="unexpected"):
        model.set_fit_request(weight=True)


def test_a_class_without_a_constructor_has_the_parameters_of_its_parent():
    class Named(SoftmaxClassifier):
        name = "softmax"

    model = clone(Named(alpha=0.5))
    assert model.get_params() == SoftmaxClassifier(alpha=0.5).get_params()
    assert repr(model) == "Named(alpha=0.5)"


def test_requests_need_routing():
    with pytest.raises(RuntimeError, match=r"^set_score_request: needs .*enable_metadata_routing"):
        SoftmaxClassifier().set_score_request(sample_weight=True)


def test_two_classes_have_the_probabilities_of_a_sigmoid(iris):
    X, y = iris[0].iloc[:100], iris[1].iloc[:100]
    model = SoftmaxClassifier(**FAST).fit(X, y)
    decision = model.decision_function(X)
    assert decision.shape == (100,)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-decision)))
    np.testing.assert_array_equal(model.predict(X), (decision > 0).astype(int))


def test_a_model_that_is_not_fitted_raises_an_error_of_both_packages():
    with pytest.raises(NotFittedError) as caught:
        SoftmaxClassifier().predict([[1.0]])
    assert isinstance(caught.value, TheirNotFittedError)


def test_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from fastsoftmax import NotFittedError, SoftmaxClassifier\n"
        "model = SoftmaxClassifier(eta0=0.5)\n"
        "try: model.predict([[1.0]])\n"
        "except NotFittedError: pass\n"
        "else: raise SystemExit('no error')\n"
        "assert model.fit([[0.0], [1.0]], ['a', 'b']).predict([[5.0]]) == ['b']\n"
        "assert model.set_params(eta0=0.1).get_params()['eta0'] == 0.1\n"
        "del sys.modules['sklearn']\n"
        "assert model._repr_html_() is None and 'sklearn' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
