"""`calibrate`: the temperature is SciPy's minimum, predictions use it, and training drops it."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse
from model_file_cases import assert_same
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.base import clone
from variants import BACKENDS

import fastsoftmax
from fastsoftmax import LogisticRegression, LogisticRegressionCV, NotFittedError, SoftmaxClassifier
from fastsoftmax.training import calibration

NEW = {"l1_ratios": [0], "scoring": "neg_log_loss", "use_legacy_attributes": False}
LABELS = np.array(["cat", "dog", "owl", "yak"])


def data_of(n_samples=300, n_classes=4, dtype=np.float64, seed=0):
    """Samples whose labels are drawn: no model predicts all of them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 6)).astype(dtype)
    p = np.exp(log_softmax(2 * X[:, :n_classes], axis=1))
    return X, LABELS[(p.cumsum(axis=1) > rng.random((n_samples, 1))).argmax(axis=1)]


def overconfident(dtype=np.float64, n_classes=4, **options):
    """A model with logits three times as large as they should be."""
    X, y = data_of(n_classes=n_classes, dtype=dtype)
    model = SoftmaxClassifier(max_iter=5, tol=None, random_state=0, **options).fit(X, y)
    model.coef_ *= 3
    return model


def logits_of(model, X):
    coef, intercept = np.asarray(model.coef_, float), np.asarray(model.intercept_, float)
    if len(coef) == 1:
        coef, intercept = np.vstack([0 * coef, coef]), np.append(0, intercept)
    return np.asarray(X, float) @ coef.T + intercept


def minimum(z, targets, weights=None):
    """SciPy's temperature, for targets as rows of probabilities."""

    def loss(log_temperature):
        losses = -(targets * log_softmax(z / np.exp(log_temperature), axis=1)).sum(axis=1)
        return np.average(losses, weights=weights)

    return np.exp(minimize_scalar(loss, bracket=(-1, 1), tol=1e-10).x)


def one_hot(model, y):
    return (y[:, np.newaxis] == model.classes_).astype(float)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_temperature_is_the_minimum_of_the_log_loss(dtype, n_classes):
    model = overconfident(dtype, n_classes)
    X, y = data_of(n_classes=n_classes, dtype=dtype, seed=1)
    raw, labels = model.decision_function(X), model.predict(X)
    assert model.temperature_ == 1.0
    assert model.calibrate(X, y) is model
    z = logits_of(model, X)
    # The curve's bottom is flat: SciPy finds it to the square root of the eps of the loss.
    np.testing.assert_allclose(model.temperature_, minimum(z, one_hot(model, y)), rtol=1e-6)
    assert 2 < model.temperature_ < 10
    rtol = 1e-12 if dtype == np.float64 else 1e-4
    expected = log_softmax(z / model.temperature_, axis=1)
    np.testing.assert_allclose(model.predict_log_proba(X), expected, rtol=rtol)
    np.testing.assert_allclose(model.predict_proba(X), np.exp(expected), rtol=rtol)
    assert np.array_equal(model.decision_function(X), raw)
    assert np.array_equal(model.predict(X), labels)
    temperature = model.temperature_  # a second calibration starts from the logits again
    assert model.calibrate(X, y).temperature_ == temperature


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e3, 1e30])
def test_the_scale_of_the_logits_does_not_matter(scale):
    model = overconfident()
    X, y = data_of(seed=1)
    expected = model.calibrate(X, y).temperature_
    model.coef_ *= scale
    model.intercept_ *= scale
    np.testing.assert_allclose(model.calibrate(X, y).temperature_, scale * expected, rtol=1e-9)


def test_weights_and_probabilities_count_as_repeated_samples():
    model, rng = overconfident(), np.random.default_rng(2)
    X, y = data_of(seed=1)
    weights = rng.integers(0, 4, len(y))
    weighted = copy.copy(model).calibrate(X, y, 1e200 * weights).temperature_
    repeated = copy.copy(model).calibrate(X.repeat(weights, axis=0), y.repeat(weights)).temperature_
    np.testing.assert_allclose(weighted, repeated, rtol=1e-9)
    hidden = X.copy()
    hidden[weights == 0] = np.nan  # rows of weight 0 are not read
    assert copy.copy(model).calibrate(hidden, y, 1e200 * weights).temperature_ == weighted
    soft = 0.9 * one_hot(model, y) + 0.1 / 4
    expected = minimum(logits_of(model, X), soft, weights)
    actual = copy.copy(model).calibrate(X, soft, weights).temperature_
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_finds_it(backend):
    X, y = data_of(seed=1)
    expected = overconfident().calibrate(X, y).temperature_
    model = overconfident().set_params(backend=backend)
    np.testing.assert_allclose(model.calibrate(X, y).temperature_, expected, rtol=1e-9)


def test_sparse_mapped_and_large_data(tmp_path, monkeypatch):
    model = overconfident()
    X, y = data_of(seed=1)
    expected = model.calibrate(X, y).temperature_
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert model.calibrate(mapped, y).temperature_ == expected
    actual = model.calibrate(scipy.sparse.csr_matrix(X), y).temperature_
    np.testing.assert_allclose(actual, expected, rtol=1e-9)
    # With larger data the logits are computed again in every pass.
    monkeypatch.setattr(calibration, "_MAX_KEPT_BYTES", 0)
    assert model.calibrate(X, y).temperature_ == expected


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), LogisticRegressionCV(cv=2, Cs=2, **NEW)]
)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_logistic_regression(estimator, n_classes):
    X, y = data_of(n_classes=n_classes)
    model = clone(estimator).fit(X, y)
    assert model.temperature_ == 1.0
    X, y = data_of(n_classes=n_classes, seed=1)
    before = model.predict_proba(X)
    expected = minimum(logits_of(model, X), one_hot(model, y))
    np.testing.assert_allclose(model.calibrate(X, y).temperature_, expected, rtol=1e-6)
    assert not np.array_equal(model.predict_proba(X), before)
    assert model.fit(X, y).temperature_ == 1.0


def test_what_has_no_minimum_is_refused_and_changes_nothing():
    model = overconfident()
    X, y = data_of(seed=1)
    right = model.predict(X)
    wrong = np.roll(model.classes_, 1)[np.searchsorted(model.classes_, right)]
    model.calibrate(X, y)
    before = copy.deepcopy(vars(model))
    for labels, message in (
        (right, r"^y: all 300 samples are predicted correctly, so that the smaller"),
        (wrong, r"^y: no temperature is better than equal probabilities"),
        (np.where(y == "cat", "cow", y), r"^y: the label 'cow' is not among the classes"),
        (y[1:], r"^y: expected 300 labels"),
    ):
        with pytest.raises(ValueError, match=message):
            model.calibrate(X, labels)
    with pytest.raises(ValueError, match=r"^X: expected at least one sample"):
        model.calibrate(X[:0], y[:0])
    with pytest.raises(ValueError, match="is expecting 6 features"):
        model.calibrate(X[:, 1:], y)
    with pytest.raises(ValueError, match=r"^sample_weight: .* only zeros"):
        model.calibrate(X, y, np.zeros(300))
    X[7, 2] = np.nan
    with pytest.raises(ValueError, match="row 7"):
        model.calibrate(X, y)
    assert vars(model).keys() == before.keys()
    for name, value in before.items():
        assert_same(getattr(model, name), value)
    with pytest.raises(NotFittedError):
        SoftmaxClassifier().calibrate(X, y)
    model.coef_ = np.full((4, 6), 1e200)
    model.coef_[0] = -1e200
    with pytest.raises(ValueError, match=r"^coef_: the logits are too large to calibrate"):
        model.calibrate(data_of(seed=1)[0], y)


def test_one_class_of_several_is_enough():
    model = overconfident()
    X, y = data_of(seed=1)
    cats = y == "cat"
    expected = minimum(logits_of(model, X[cats]), one_hot(model, y[cats]))
    np.testing.assert_allclose(model.calibrate(X[cats], y[cats]).temperature_, expected, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_and_copies_keep_it_and_clones_do_not(suffix, tmp_path):
    X, y = data_of(seed=1)
    model = overconfident().calibrate(X, y)
    model.save(tmp_path / f"model{suffix}")
    loaded = fastsoftmax.load(tmp_path / f"model{suffix}")
    for kept in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert kept.temperature_ == model.temperature_
        assert np.array_equal(kept.predict_proba(X), model.predict_proba(X))
    assert not hasattr(clone(model), "temperature_")
    old = pickle.loads(pickle.dumps(model))  # as a pickle of an earlier version
    del old.temperature_
    assert np.array_equal(old.predict_proba(X), overconfident().predict_proba(X))


def test_further_training_drops_it_with_a_warning():
    X, y = data_of(seed=1)
    message = (
        r"^temperature_: \d\.\d+ belongs to the weights before this training, and is reset to 1"
    )
    model = overconfident().calibrate(X, y)
    with pytest.warns(UserWarning, match=message) as caught:
        model.partial_fit(X, y)
    assert caught[0].filename == __file__
    assert model.temperature_ == 1.0
    model.calibrate(X, y).set_params(warm_start=True)
    with pytest.warns(UserWarning, match=message) as caught:
        model.fit(X, y)
    assert caught[0].filename == __file__
    assert model.temperature_ == 1.0
    model = LogisticRegression(warm_start=True).fit(X, y).calibrate(*data_of(seed=2))
    with pytest.warns(UserWarning, match=message) as caught:
        model.fit(X, y)
    assert caught[0].filename == __file__
    assert model.temperature_ == 1.0
    model = overconfident().calibrate(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, y)  # from zeros: nothing of the old model is left to calibrate
    assert model.temperature_ == 1.0
