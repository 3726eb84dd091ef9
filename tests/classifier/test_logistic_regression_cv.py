"""LogisticRegressionCV: scikit-learn's folds, scores, choices and attributes."""

import inspect
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn
from scipy.sparse import csr_array
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegressionCV as Theirs
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import scale
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastsoftmax import ConvergenceWarning, LogisticRegression, LogisticRegressionCV
from fastsoftmax.classifier import logistic_regression_cv

NEW = {"l1_ratios": [0], "scoring": "neg_log_loss", "use_legacy_attributes": False}
with warnings.catch_warnings():  # inheriting from their class is what the package does without
    warnings.filterwarnings(
        "ignore", message=".*does not inherit from `sklearn.base.BaseEstimator`"
    )
    CHECKS = list(estimator_checks_generator(LogisticRegressionCV(cv=2, Cs=[0.1, 1.0], **NEW)))
needs_newest = pytest.mark.skipif(
    tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9), reason="has other parameters"
)


@pytest.fixture(params=[load_iris, load_breast_cancer], ids=["iris", "cancer"])
def data(request):
    X, y = request.param(return_X_y=True)
    return scale(X), y


@needs_newest
@pytest.mark.parametrize("is_legacy", [True, False])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"l1_ratios": None, "scoring": None},
        {"refit": False},
        {"class_weight": "balanced", "fit_intercept": False},
        {"scoring": "balanced_accuracy"},
    ],
    ids=["default", "none", "no refit", "balanced", "theirs"],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_everything_is_scikit_learns(data, given, is_legacy):
    X, y = data
    weights = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    options = {"Cs": [1.0, 0.01, 0.1], "cv": 3, "max_iter": 300, **NEW, **given}
    options["use_legacy_attributes"] = is_legacy
    # By default, fits on folds end at gradients of 1e-6.
    ours = LogisticRegressionCV(**options, tol=1e-6).fit(X, y, sample_weight=weights)
    theirs = Theirs(**options, solver="newton-cholesky", tol=1e-10)
    theirs.fit(X, y, sample_weight=weights)
    for name in ("coef_", "intercept_", "C_", "Cs_", "scores_", "coefs_paths_", "n_iter_"):
        found, expected = getattr(ours, name), getattr(theirs, name)
        assert type(found) is type(expected), name
        if isinstance(found, dict):
            assert list(found) == list(expected)
            found, expected = ([*each.values()] for each in (found, expected))
        assert np.shape(found) == np.shape(expected), name
        if name != "n_iter_":
            np.testing.assert_allclose(found, expected, atol=1e-5)
    assert ours.n_iter_.dtype == theirs.n_iter_.dtype
    np.testing.assert_allclose(ours.score(X, y), theirs.score(X, y), atol=1e-6)


def test_folds_are_scikit_learns():
    from fastsoftmax.classifier.logistic_regression_cv import _stratified

    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.permutation(np.repeat(np.arange(4), rng.integers(4, 15, 4)))
        folds = _stratified(labels, 4)
        for i, (_, test) in enumerate(StratifiedKFold(4).split(labels, labels)):
            np.testing.assert_array_equal(np.flatnonzero(folds == i), test)


def test_the_refit_is_that_of_the_chosen_values(data):
    X, y = data
    options = {"Cs": [0.1, 1.0], "cv": 2, "max_iter": 1000}
    model = LogisticRegressionCV(**options, **(NEW | {"l1_ratios": [0.0, 0.5]})).fit(X, y)
    best = np.unravel_index(model.scores_.mean(axis=0).argmax(), (2, 2))
    assert (model.l1_ratio_, model.C_) == ([0.0, 0.5][best[0]], [0.1, 1.0][best[1]])
    single = LogisticRegression(C=model.C_, l1_ratio=model.l1_ratio_, max_iter=1000).fit(X, y)
    np.testing.assert_array_equal(model.coef_, single.coef_)
    np.testing.assert_array_equal(model.predict_proba(X), single.predict_proba(X))


def test_folds_of_indices_and_masks_and_sparse_rows():
    X, y = load_iris(return_X_y=True)
    X = scale(X)
    folds = [
        (np.arange(0, 150, 2), np.arange(1, 150, 2)),
        (np.arange(1, 150, 2), np.arange(0, 150, 2)),
    ]
    masks = [tuple(np.isin(np.arange(150), part) for part in fold) for fold in folds]
    options = {"Cs": [0.01, 1.0], "tol": 1e-6, **NEW}
    first = LogisticRegressionCV(cv=iter(folds), **options).fit(X, y)
    second = LogisticRegressionCV(cv=masks, **options).fit(X, y)
    np.testing.assert_array_equal(first.coefs_paths_, second.coefs_paths_)
    sparse = LogisticRegressionCV(cv=folds, **options).fit(csr_array(X), y)
    np.testing.assert_allclose(sparse.scores_, first.scores_, atol=1e-6)
    # A sample that a fold names twice counts twice.
    twice = LogisticRegressionCV(cv=[(np.repeat(folds[0][0], 2), folds[0][1])], **options).fit(X, y)
    weighted = LogisticRegressionCV(cv=folds[:1], **options).fit(X, y, np.full(150, 2.0))
    np.testing.assert_allclose(twice.coefs_paths_, weighted.coefs_paths_, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Cs", 0),
        ("Cs", []),
        ("Cs", [1.0, -1.0]),
        ("Cs", [1e-310, 1.0]),
        ("Cs", 2.5),
        ("Cs", None),
        ("Cs", np.array(3)),
        ("Cs", "many"),
        ("l1_ratios", 0.5),
        ("l1_ratios", [2.0]),
        ("l1_ratios", []),
        ("l1_ratios", "all"),
        ("cv", 1),
        ("cv", 60),
        ("cv", "five"),
        ("cv", []),
        ("cv", 1.5),
        ("cv", np.array(3)),
        ("cv", [1, 2]),
        ("cv", [(np.arange(30),)]),
        ("cv", [("train", "test")]),
        ("cv", [(np.arange(30), np.arange(100, 151))]),
        ("cv", [(np.arange(0, 150, 2.0), np.arange(1, 150, 2))]),
        ("cv", [(np.arange(0, 150, 2), np.ones(149, bool))]),
        ("cv", [([[0, 60]], [1, 61])]),
        ("cv", [([[0], [60, 61]], [1, 61])]),
        ("cv", [([], [1])]),
        ("scoring", ["accuracy"]),
        ("scoring", "accurate"),
        ("scoring", 3),
        ("scoring", lambda model, X, y: "good"),
        ("scoring", lambda model, X, y: None),
        ("scoring", lambda model, X, y: np.ones(2)),
        ("refit", "best"),
        ("refit", None),
        ("dual", True),
        ("solver", "sgd"),
        ("use_legacy_attributes", "no"),
    ],
)
def test_parameters_that_are_refused(name, value):
    X, y = load_iris(return_X_y=True)
    with pytest.raises((ValueError, TypeError), match=f"^{name}: "):
        LogisticRegressionCV(**(NEW | {name: value})).fit(X, y)


def test_scores_of_labels_that_are_not_classes():
    X, y = load_breast_cancer(return_X_y=True)
    X, y = scale(X), 2 * y
    model = LogisticRegressionCV(Cs=2, cv=2, **NEW).fit(X, y)
    expected = -log_loss(y, model.predict_proba(X))
    for given in (y, y.astype(float), y.tolist()):
        np.testing.assert_allclose(model.score(X, given), expected)
    for given in (np.ones(len(y)), y + 5, y.astype(str), y[:-1], model.predict_proba(X)):
        with pytest.raises((ValueError, TypeError), match=r"^y: "):
            model.score(X, given)
    with pytest.raises(ValueError, match=r"^X: expected at least one sample"):
        model.score(X[:0], y[:0])
    for scoring in ("neg_log_loss", "accuracy", "f1"):
        with pytest.raises(ValueError, match=r"^sample_weight: .* got only zeros"):
            model.set_params(scoring=scoring).score(X, y, 0.0 * y)


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    return X, (X[:, 0] + rng.normal(size=60) > 0).astype(int)


def test_a_fold_without_weight(drawn):
    X, y = drawn
    weights = np.repeat([0.0, 1.0], [15, 45])
    with pytest.raises(ValueError, match=r"^cv: .* to score in every fold"):
        LogisticRegressionCV(cv=KFold(4), **NEW).fit(X, y, weights)
    with pytest.raises(ValueError, match=r"^cv: .* in every fold"):
        LogisticRegressionCV(cv=[(np.arange(15), np.arange(15, 60))], **NEW).fit(X, y, weights)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "accuracy", "f1_macro"])
@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_rows_that_are_not_finite(drawn, scoring, convert):
    X, y = drawn
    options = NEW | {"cv": [(np.r_[:30, 45:60], np.arange(30, 45))], "Cs": [1e4]}
    options["scoring"] = scoring
    invalid = X.copy()
    for value, reason in ((1.7e308, "of row 31 overflow"), (np.nan, "got NaN in row 31")):
        invalid[31, 0] = value
        with pytest.raises(ValueError, match=f"^X: .*{reason}"):
            LogisticRegressionCV(**options).fit(convert(invalid), y)
    weights = np.ones(60)
    weights[31] = 0
    options |= {"cv": KFold(4), "Cs": 2}
    fits = [LogisticRegressionCV(**options).fit(convert(x), y, weights) for x in (X, invalid)]
    np.testing.assert_array_equal(fits[1].scores_, fits[0].scores_)
    np.testing.assert_array_equal(fits[1].coef_, fits[0].coef_)


@pytest.mark.parametrize("max_logits", [1, 1 << 22])
@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
def test_scores_of_all_strengths_are_those_of_one_by_one(
    data, monkeypatch, rng, scoring, weighted, convert, max_logits
):
    """With the bits of the scorers, which `scoring` calls here as a function of the user's."""
    X, y = data
    weights = rng.uniform(0.5, 2, size=len(y)) if weighted else None
    options = NEW | {"Cs": [0.01, 1.0], "cv": 3, "refit": False}
    own = logistic_regression_cv._SCORERS[scoring]
    monkeypatch.setattr(logistic_regression_cv, "_MAX_LOGITS", max_logits)
    together, one_by_one = (
        LogisticRegressionCV(**(options | {"scoring": each})).fit(convert(X), y, weights)
        for each in (scoring, lambda *args, **given: own(*args, **given))
    )
    np.testing.assert_array_equal(together.scores_, one_by_one.scores_)


def test_an_error_of_the_scorer_stays(drawn):
    def failing(model, X, y):
        raise ValueError("no score")

    with pytest.raises(ValueError, match=r"^no score$"):
        LogisticRegressionCV(**(NEW | {"scoring": failing})).fit(*drawn)


def test_verbose_says_which_fit(drawn, capsys):
    options = NEW | {"l1_ratios": [0, 0.5]}
    model = LogisticRegressionCV(Cs=[1, 0.1], cv=2, verbose=1, **options).fit(*drawn)
    lines = capsys.readouterr().out.splitlines()
    headers = [line for line in lines if not line.startswith("epoch ")]
    assert headers == [
        *(
            f"fold {i} of 2, C={C}, l1_ratio={ratio}"
            for i in (1, 2)
            for ratio in (0, 0.5)
            for C in (0.1, 1)
        ),
        f"all samples, C={model.C_:g}, l1_ratio={model.l1_ratio_:g}",
    ]
    n_last = len(lines) - 1 - lines.index(headers[-1])
    assert len(lines) == len(headers) + model.n_iter_.sum() + n_last
    assert not any("gap" in line for line in lines)


def test_warnings():
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LogisticRegressionCV(Cs=2, cv=2, max_iter=1).fit(X, y)
    names = [str(each.message).split(" ")[0] for each in caught]
    assert names == ["l1_ratios:", "use_legacy_attributes:", "scoring:", "fit", "fit"]
    assert {each.filename for each in caught} == {__file__}
    assert issubclass(caught[-1].category, ConvergenceWarning)
    assert " of 4 fits on folds" in str(caught[-1].message)
    with pytest.warns(UserWarning, match="^cv: the smallest class has 2 samples"):
        LogisticRegressionCV(Cs=1, cv=3, **NEW).fit(np.arange(8.0)[:, None], [0] * 6 + [1] * 2)


@needs_newest
def test_its_parameters_are_scikit_learns():
    ours, theirs = (
        {p.name: (p.default, p.kind) for p in inspect.signature(each).parameters.values()}
        for each in (LogisticRegressionCV, Theirs)
    )
    assert ours == theirs


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore:cv. the smallest class")
@pytest.mark.parametrize(
    "i", range(len(CHECKS)), ids=[getattr(c, "func", c).__name__ for _, c in CHECKS]
)
def test_scikit_learns_check_passes(i):
    CHECKS[i][1](LogisticRegressionCV(cv=2, Cs=[0.1, 1.0], **NEW))


def test_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['scipy'] = None\n"
        "from fastsoftmax import LogisticRegressionCV\n"
        f"model = LogisticRegressionCV(cv=2, **{NEW})\n"
        "model.fit([[0.0], [1.0]] * 4, ['a', 'b'] * 4)\n"
        "assert model.predict([[5.0]]) == ['b'] and model.score([[5.0]], ['b']) > -0.1\n"
        "try: model.set_params(scoring='f1').score([[5.0]], ['b'])\n"
        "except ImportError as error: assert str(error).startswith(\"scoring: 'f1' needs\")\n"
        "else: raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
