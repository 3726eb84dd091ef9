"""alpha="auto": the strength that predicts held-out samples best, and the fit from there."""

import numpy as np
import pandas
import pytest
import scipy.sparse
from sklearn.base import clone

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.training import alpha_choice
from fastsoftmax.training.holdout import folds
from fastsoftmax.training.targets import targets_of

SOLVERS = ["sgd", "lbfgs"]


@pytest.fixture
def data(rng):
    """Few noisy samples of many features: neither a weak nor a strong penalty predicts well."""
    X = rng.normal(size=(150, 20))
    y = (X[:, :4] @ rng.normal(size=(4, 3)) + rng.gumbel(size=(150, 3))).argmax(axis=1)
    return X, y


def auto(X, y, weights=None, **parameters):
    return SoftmaxClassifier(alpha="auto", random_state=0, **parameters).fit(X, y, weights)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_strength_has_the_smallest_log_loss_of_those_tried(backend, data, solver):
    model = auto(*data, solver=solver, backend=backend)
    tried = pandas.DataFrame(model.alpha_path_)
    assert list(tried) == ["alpha", "accuracy", "log_loss", "balanced_accuracy", "top_5_accuracy"]
    assert model.alpha_ == tried.alpha[tried.log_loss.idxmin()]
    np.testing.assert_allclose(tried.alpha.pct_change()[1:], 10 ** (-1 / 3) - 1)
    # The path goes on for a decade after the best, or after what is as good.
    assert len(tried) - 1 - tried.log_loss.idxmin() in (2, 3)
    assert tried.log_loss.iloc[[0, -1]].min() > tried.log_loss.min() + 0.01


@pytest.mark.parametrize("kind", ["offset", "one large column", "numbers of rows"])
def test_columns_on_other_scales_hide_no_other(data, rng, kind):
    """The strongest penalties leave the intercept alone, and tell nothing of what weaker ones do."""
    X, y = data[0][:, :4], (data[0][:, 0] > 0).astype(int)
    if kind == "offset":
        X = X + 100
    elif kind == "one large column":
        X = X * [1, 1000, 1, 1]
    else:
        X = np.column_stack([X, 20.0 * rng.permutation(len(X))])
    model = auto(X, y, solver="lbfgs", max_iter=500)
    assert model.score(X, y) > 0.95
    first = model.alpha_path_[0]["log_loss"]
    assert 0.95 * np.log(2) < first < 1.05 * np.log(2)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
def test_the_path_begins_at_the_intercept_alone(rng, penalty):
    """Also with many features that vary together, each of which says little."""
    X, y = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 300)) + 7, rng.integers(0, 2, 40)
    model = auto(X, y, solver="lbfgs", penalty=penalty)
    strongest = SoftmaxClassifier(
        solver="lbfgs", penalty=penalty, alpha=model.alpha_path_[0]["alpha"], max_iter=500
    ).fit(X, y)
    logits = X @ strongest.coef_.T
    assert np.abs(logits - logits.mean(axis=0)).max() < 0.5


def test_scores_weigh_the_samples(data):
    X, y = data
    weights = np.ones(len(y))
    weights[0] = 1000
    row = auto(X, y, weights, solver="lbfgs").alpha_path_[5]
    targets, losses = targets_of(y, len(X), X.dtype, weights, None), np.empty(len(y))
    for kept, scored in folds(targets, 5, len(X), np.random.default_rng(0)):
        fold = SoftmaxClassifier(solver="lbfgs", alpha=row["alpha"], tol=1e-6, max_iter=500)
        fold.fit(X[kept], y[kept], weights[kept])
        losses[scored] = -fold.predict_log_proba(X[scored])[np.arange(len(scored)), y[scored]]
    assert row["log_loss"] == pytest.approx(np.average(losses, weights=weights), rel=2e-2)


def test_scores_are_those_of_fits_to_the_other_folds(data):
    X, y = data
    model = auto(X, y, solver="lbfgs", standardize=True)
    place = [row["alpha"] for row in model.alpha_path_].index(model.alpha_)
    targets, random = targets_of(y, len(X), X.dtype, None, None), np.random.default_rng(0)
    losses, hits = [], []
    for kept, scored in folds(targets, 5, len(X), random):
        assert len(kept) + len(scored) == len(X)
        assert np.bincount(y[scored]).max() - np.bincount(y)[y[scored]].max() / 5 < 1
        fold = SoftmaxClassifier(
            solver="lbfgs", alpha=model.alpha_, standardize=True, tol=1e-8, max_iter=500
        ).fit(X[kept], y[kept])
        losses += (-fold.predict_log_proba(X[scored])[np.arange(len(scored)), y[scored]]).tolist()
        hits += (fold.predict(X[scored]) == y[scored]).tolist()
    assert len(losses) == len(X)
    assert model.alpha_path_[place]["log_loss"] == pytest.approx(np.mean(losses), rel=1e-2)
    assert model.alpha_path_[place]["accuracy"] == pytest.approx(np.mean(hits), abs=0.02)


def test_many_samples_are_scored_on_a_part(data, monkeypatch):
    monkeypatch.setattr(alpha_choice, "_MAX_ROWS_FOR_FOLDS", 100)
    X, y = data
    model = auto(X, y, solver="lbfgs")
    accuracies = np.array([row["accuracy"] for row in model.alpha_path_])
    np.testing.assert_allclose(accuracies * 15, np.round(accuracies * 15))


def test_the_fit_is_that_of_the_strength(data):
    X, y = data
    model = auto(X, y, solver="lbfgs", tol=1e-10, max_iter=500)
    given = SoftmaxClassifier(solver="lbfgs", alpha=model.alpha_, tol=1e-10, max_iter=500)
    np.testing.assert_allclose(given.fit(X, y).coef_, model.coef_, atol=1e-4)
    assert model.n_iter_ <= given.n_iter_
    assert given.alpha_path_ is None
    assert model.alpha == "auto"
    assert clone(model).alpha == "auto"


def test_small_features_in_float32_take_as_many_iterations(data, capsys):
    """Their strengths underflow in float32; without their share of the gradient every fit took max_iter."""
    X, y = data[0].astype(np.float32), data[1]
    lines = []
    for scale in (1, 1e-30):
        auto(X * np.float32(scale), y, solver="lbfgs", verbose=1)
        lines.append(capsys.readouterr().out.count("epoch"))
    assert lines[1] == pytest.approx(lines[0], abs=10)


@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_the_unit_of_the_features_changes_nothing_but_the_unit(data, scale):
    X, y = data
    plain, scaled = (auto(each, y, solver="lbfgs", fit_intercept=False) for each in (X, X * scale))
    assert scaled.alpha_ == pytest.approx(plain.alpha_ * scale**2)
    np.testing.assert_allclose(scaled.predict_proba(X * scale), plain.predict_proba(X), atol=1e-2)


@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_other_penalties_have_their_paths(data, penalty):
    X, y = data
    model = auto(X, y, penalty=penalty, solver="lbfgs")
    assert model.alpha_ == min(model.alpha_path_, key=lambda row: row["log_loss"])["alpha"]
    # Only four of the features say anything.
    assert (model.coef_ == 0).mean() > 0.1


def test_threads_change_no_bit(data):
    one, two = (auto(*data, solver="lbfgs", n_jobs=n, backend="compiled") for n in (1, 2))
    assert one.alpha_path_ == two.alpha_path_
    np.testing.assert_array_equal(one.coef_, two.coef_)


@pytest.mark.parametrize(
    "kind", ["weights", "soft", "sparse", "float32", "bytes", "rare", "balanced"]
)
def test_data_may_come_in_any_form(data, rng, kind):
    X, y = data
    weights, parameters = None, {}
    if kind == "weights":
        weights = rng.integers(0, 3, len(y))
    elif kind == "soft":
        y = np.eye(3)[y] * 0.9 + 0.1 / 3
    elif kind == "sparse":
        X = scipy.sparse.csr_array(X * (rng.random(X.shape) < 0.5))
        parameters["standardize"] = True
    elif kind == "float32":
        X = X.astype(np.float32)
    elif kind == "bytes":
        X = (X * 40 + 128).clip(0, 255).astype(np.uint8)
        parameters["standardize"] = True
    elif kind == "rare":
        y = y.copy()
        y[7] = 3  # the only sample of its class
    else:
        parameters["class_weight"] = "balanced"
    model = auto(X, y, weights, solver="lbfgs", **parameters)
    assert 1e-4 < model.alpha_path_[0]["alpha"] / model.alpha_ < 1e7
    assert np.isfinite([row["log_loss"] for row in model.alpha_path_]).all()
    assert model.score(X, y.argmax(axis=1) if kind == "soft" else y) > 0.5


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_starts_and_given_weights_are_kept(data, solver):
    X, y = data
    start = np.full((3, 20), 0.5), np.array([1.0, 0.0, -1.0])
    curves = [
        SoftmaxClassifier(alpha="auto", random_state=0, solver=solver, max_iter=1)
        .fit(X, y, coef_init=coef, intercept_init=intercept)
        .loss_curve_[0]
        for coef, intercept in (start, (None, None))
    ]
    assert curves[0] > curves[1] + 0.1


def test_a_checkpoint_resumes_to_the_same_bits(data, tmp_path):
    X, y = data
    path = tmp_path / "fit.npz"
    whole = auto(X, y, tol=None, max_iter=6)

    def interrupt(end):
        if end.epoch == 4:
            raise KeyboardInterrupt

    part = SoftmaxClassifier(
        alpha="auto", random_state=0, tol=None, max_iter=6, callbacks=interrupt
    )
    with pytest.raises(KeyboardInterrupt):
        part.fit(X, y, checkpoint=path)
    resumed = SoftmaxClassifier(alpha="auto", random_state=0, tol=None, max_iter=6)
    resumed.fit(X, y, checkpoint=path, resume=True)
    assert resumed.n_iter_ == 6
    assert resumed.alpha_path_ == whole.alpha_path_
    np.testing.assert_array_equal(whole.coef_, resumed.coef_)


def test_model_files_keep_the_path(data, tmp_path):
    model = auto(*data, solver="lbfgs")
    model.save(tmp_path / "model.npz")
    loaded = SoftmaxClassifier.load(tmp_path / "model.npz")
    assert loaded.alpha_path_ == model.alpha_path_
    assert loaded.alpha_ == model.alpha_
    assert loaded.alpha == "auto"


def test_a_generator_is_drawn_from_once_and_not_by_a_fit_that_fails(data):
    X, y = data
    fits, fails = np.random.default_rng(3), np.random.default_rng(3)
    SoftmaxClassifier(alpha="auto", random_state=fits, max_iter=1).fit(X, y)
    X = X.copy()
    X[9, 0] = np.inf
    model = SoftmaxClassifier(alpha="auto", random_state=fails)
    with pytest.raises(ValueError, match=r"^X: .*row 9\b"):
        model.fit(X, y)
    assert not hasattr(model, "coef_")
    assert fails.integers(99) == np.random.default_rng(3).integers(99)
    expected = np.random.default_rng(3)
    expected.integers(1 << 63)
    assert fits.integers(99) == expected.integers(99)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": "best"}, r"alpha: expected 'auto', 'size' or a number, got 'best'"),
        ({"alpha": "auto", "penalty": None}, r"alpha: expected a number with penalty=None"),
        ({"alpha": -1}, r"alpha: "),
    ],
)
def test_other_values_are_refused(data, parameters, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(**parameters).fit(*data)


def test_where_no_strength_can_be_chosen_auto_is_refused(data):
    X, y = data
    with pytest.raises(ValueError, match=r"^alpha: expected a number for partial_fit, got 'auto'"):
        SoftmaxClassifier(alpha="auto").partial_fit(X, y)
    with pytest.raises(ValueError, match=r"^alpha: 'auto' needs 5 samples to score with"):
        SoftmaxClassifier(alpha="auto").fit(X[:4], [0, 0, 1, 1])


def test_the_strength_of_other_fits_is_that_given(data):
    assert SoftmaxClassifier(alpha=0.25, max_iter=1).fit(*data).alpha_ == 0.25
    assert SoftmaxClassifier(alpha=0.25).partial_fit(*data).alpha_ == 0.25
