"""The defaults: they need no tuning, and what they stand for."""

import warnings

import numpy as np
import pytest

from fastsoftmax import ConvergenceWarning, SoftmaxClassifier, search
from fastsoftmax.training.step_size import step_size

BUNDLED = ["iris", "wine", "breast_cancer", "digits"]


def bundled(name):
    datasets = pytest.importorskip("sklearn.datasets")
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def split(X, y, seed):
    from sklearn.model_selection import train_test_split

    return train_test_split(X, y, stratify=y, test_size=0.25, random_state=seed)


def log_loss(model, X, y):
    return -model.predict_log_proba(X)[np.arange(len(y)), y].mean()


@pytest.mark.parametrize(
    ("name", "most_loss", "least_accuracy"),
    # The rule before (a constant rate, 200 samples, no momentum) has 0.13, 0.055, 0.095 and 0.128, and
    # LogisticRegression 0.15, 0.065, 0.10 and 0.112.
    [
        ("iris", 0.11, 0.95),
        ("wine", 0.06, 0.97),
        ("breast_cancer", 0.105, 0.965),
        ("digits", 0.145, 0.96),
    ],
)
def test_standardised_data_need_no_tuning(name, most_loss, least_accuracy):
    X, y = bundled(name)
    losses, accuracies = [], []
    for seed in range(4):
        X_train, X_test, y_train, y_test = split(X, y, seed)
        model = SoftmaxClassifier(standardize=True, random_state=0).fit(X_train, y_train)
        losses.append(log_loss(model, X_test, y_test))
        accuracies.append(model.score(X_test, y_test))
    assert np.mean(losses) < most_loss
    assert np.mean(accuracies) > least_accuracy


@pytest.mark.parametrize("name", BUNDLED)
def test_the_defaults_come_nearer_to_the_minimum_than_the_constant_rate(name):
    X, y = bundled(name)
    common = {"standardize": True, "alpha": 1e-3, "random_state": 0}
    minimum = SoftmaxClassifier(solver="lbfgs", **common, tol=1e-8).fit(X, y).loss_curve_[-1]

    def gap(**parameters):
        model = SoftmaxClassifier(**common, max_iter=30, tol=None, **parameters).fit(X, y)
        # The objective of the weights, as the first loss of a step that does not move them.
        options = {"learning_rate": "constant", "eta0": 1e-300, "batch_size": len(X), "max_iter": 1}
        there = SoftmaxClassifier(**common, tol=None, **options)
        there.fit(X, y, coef_init=model.coef_, intercept_init=model.intercept_)
        return there.loss_curve_[0] - minimum

    assert gap() < 0.4 * gap(learning_rate="constant", batch_size=200)


def test_one_word_gives_the_constant_rate(rng):
    X = rng.normal(size=(300, 5))
    y = X[:, :3].argmax(axis=1)
    model = SoftmaxClassifier(
        learning_rate="constant", alpha=1e-3, tol=None, max_iter=3, random_state=0
    ).fit(X, y)
    rate = step_size(X, 64, None, True, 1e-3 / 2)
    assert model.eta0_ == rate
    explicit = {"momentum": 0.0, "eta0": rate, "max_iter": 3, "tol": None, "random_state": 0}
    same = SoftmaxClassifier(learning_rate=lambda _: rate, alpha=1e-3, **explicit).fit(X, y)
    np.testing.assert_array_equal(model.coef_, same.coef_)
    forever = SoftmaxClassifier(learning_rate="constant", tol=0.0, n_iter_no_change=300)
    with pytest.warns(ConvergenceWarning):
        assert forever.fit(X, y).n_iter_ == 200


def test_the_automatic_rate_is_a_line_to_0_with_momentum(rng):
    X = rng.normal(size=(100, 5))
    y = X[:, :3].argmax(axis=1)
    model = SoftmaxClassifier(random_state=0).fit(X, y)
    rate = step_size(X, 64, None, True, 1e-4 / 2)
    assert (model.eta0_, model.n_iter_, model.t_) == (rate, 30, 60)
    same = SoftmaxClassifier(
        learning_rate="linear", eta0=rate, momentum=0.9, max_iter=30, random_state=0
    ).fit(X, y)
    np.testing.assert_array_equal(model.coef_, same.coef_)


@pytest.mark.parametrize(("n_samples", "n_epochs"), [(12_800, 30), (12_801, 29), (40_000, 10)])
def test_many_samples_have_fewer_epochs(n_samples, n_epochs):
    X = np.zeros((n_samples, 1), np.float32)
    y = np.arange(n_samples) % 2
    rates = []
    options = {"callbacks": lambda state: rates.append(state.learning_rate), "random_state": 0}
    model = SoftmaxClassifier(**options).fit(X, y)
    assert model.n_iter_ == n_epochs
    assert rates[-1] == pytest.approx(model.eta0_ / model.t_)  # the last before 0
    found = search(
        X, y, validation=(X[:2], y[:2]), learning_rates=[0.1], regs=[0.0], random_state=0
    )
    assert found.best_model.n_iter_ == n_epochs
    assert SoftmaxClassifier(max_iter=2, tol=None).fit(X, y).n_iter_ == 2


def test_values_that_are_given_stay(rng):
    X = rng.normal(size=(100, 5))
    y = X[:, :3].argmax(axis=1)
    given = {"eta0": 0.01, "momentum": 0.5, "max_iter": 2, "random_state": 0, "tol": None}
    model = SoftmaxClassifier(**given).fit(X, y)
    assert (model.eta0_, model.n_iter_) == (0.01, 2)
    same = SoftmaxClassifier(learning_rate="linear", **given).fit(X, y)
    np.testing.assert_array_equal(model.coef_, same.coef_)


def test_a_stream_never_falls_to_a_rate_of_0(rng):
    X = rng.normal(size=(64, 3))
    y = X[:, :2].argmax(axis=1)
    model = SoftmaxClassifier(random_state=0)
    for _ in range(50):  # more than the epochs of a fit
        model.partial_fit(X, y)
    assert model.eta0_ == step_size(X, 64, None, True, 1e-4 / 2)
    before = model.coef_.copy()
    assert (model.partial_fit(X, 1 - y).coef_ != before).all()
    fitted = SoftmaxClassifier(random_state=0).fit(X, y)
    before = fitted.coef_.copy()
    assert (fitted.partial_fit(X, 1 - y).coef_ != before).all()


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
def test_sparse_rows_under_every_penalty(rng, penalty, standardize):
    sparse = pytest.importorskip("scipy.sparse")
    X = sparse.random(200, 30, density=0.2, format="csr", random_state=0)
    y = np.asarray(X[:, :3].sum(axis=1) > 0.3).ravel().astype(int)
    options = {"penalty": penalty, "standardize": standardize, "random_state": 0}
    for nesterov in (False, True):
        model = SoftmaxClassifier(nesterov=nesterov, **options).fit(X, y)
        assert model.score(X, y) > 0.8
        assert model.partial_fit(X, y).score(X, y) > 0.8
    found = search(X, y, penalty=penalty, validation=(X, y), max_iter=5, random_state=0)
    assert found.best_score > 0.8
    with pytest.raises(
        ValueError, match=r"^momentum: expected 0 for a sparse X with an L1 penalty"
    ):
        SoftmaxClassifier(penalty="l1", momentum=0.9).fit(X, y)


def test_the_strength_follows_from_the_size(rng):
    sparse = pytest.importorskip("scipy.sparse")
    X = rng.normal(size=(200, 6))
    y = X[:, :3].argmax(axis=1)
    for solver in ("sgd", "lbfgs"):
        scaled = {"solver": solver, "standardize": True}
        assert SoftmaxClassifier(**scaled).fit(X, y).alpha_ == pytest.approx(
            6 / (20 * 200), rel=1e-15
        )
        assert SoftmaxClassifier(**scaled).fit(sparse.csr_array(X), y).alpha_ == 1 / 200
        assert SoftmaxClassifier(solver=solver).fit(X, y).alpha_ == 1e-4
        assert SoftmaxClassifier(**scaled, alpha=0.5).fit(X, y).alpha_ == 0.5
    assert SoftmaxClassifier(standardize=True, penalty="l1").fit(X, y).alpha_ == 1e-4
    # A weight is a number of copies, of which there may be none.
    weights = np.arange(200) % 4
    weighted = SoftmaxClassifier(standardize=True).fit(X, y, weights)
    copies = SoftmaxClassifier(standardize=True).fit(
        np.repeat(X, weights, axis=0), np.repeat(y, weights)
    )
    assert weighted.alpha_ == pytest.approx(copies.alpha_) == pytest.approx(6 / 6000)
    assert SoftmaxClassifier(standardize=True).fit(X, y, np.full(200, 1e-300)).alpha_ == 1.0
    model = SoftmaxClassifier(standardize=True).fit(X, y)
    assert model.partial_fit(X, y).alpha_ == pytest.approx(6 / 4000)
    assert SoftmaxClassifier(standardize=True).partial_fit(X, y).alpha_ == 1e-4


@pytest.mark.parametrize("scale", [1.0, 2.0**-10, 2.0**10])
def test_the_scale_of_features_does_not_fool_the_stopping_rule(rng, scale):
    X = rng.normal(size=(300, 4))
    y = (X[:, :3] + 0.5 * rng.normal(size=(300, 3))).argmax(axis=1)
    options = {"learning_rate": "constant", "alpha": 0, "random_state": 0, "max_iter": 1000}
    without = SoftmaxClassifier(fit_intercept=False, **options)
    assert without.fit(X * scale, y).n_iter_ == without.fit(X, y).n_iter_ < 1000


def test_small_features_beside_an_intercept_do_not_end_the_fit(rng):
    X = 1e-2 * rng.normal(size=(300, 4))
    y = np.arange(300) % 3
    X[np.arange(300), y] += 2e-2
    model = SoftmaxClassifier(alpha=0, random_state=0)
    # And the warning says that more epochs help.
    with pytest.warns(
        ConvergenceWarning, match=r"falling: raise max_iter \(it is 30\), or use standard"
    ):
        assert model.fit(X, y).n_iter_ == 30


def test_a_warning_only_where_more_epochs_help(rng):
    X = rng.normal(size=(500, 400))
    y = X[:, :3].argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoftmaxClassifier(standardize=True, random_state=0).fit(X, y)
        SoftmaxClassifier(standardize=True, max_iter=2, tol=None, random_state=0).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"still falling: raise max_iter \(it is 1\)$"):
        SoftmaxClassifier(standardize=True, max_iter=1, random_state=0).fit(X, y)


@pytest.mark.parametrize("name", BUNDLED)
def test_no_warning_on_standardised_data(name):
    X, y = bundled(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoftmaxClassifier(standardize=True, random_state=0).fit(X, y)
