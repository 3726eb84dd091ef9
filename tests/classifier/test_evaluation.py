"""`evaluate`: its scores are scikit-learn's, a chunk at a time, for any classifier."""

import re

import numpy as np
import pandas
import polars
import pytest
import scipy.sparse
import scipy.stats
from scipy.special import log_softmax
from sklearn import linear_model, metrics
from sklearn.calibration import calibration_curve
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from fastsoftmax import (
    Evaluation,
    LogisticRegression,
    NotFittedError,
    SoftmaxClassifier,
    evaluate,
)
from fastsoftmax.classifier import evaluation
from fastsoftmax.training import prediction

LABELS = np.array(["a", "b", "c", "d", "e", "f", "g"])


def data_of(n_samples=400, n_classes=7, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 8)).astype(dtype)
    p = np.exp(log_softmax(2 * X[:, :n_classes], axis=1))
    return X, LABELS[(p.cumsum(axis=1) > rng.random((n_samples, 1))).argmax(axis=1)]


def fitted(n_classes=7, dtype=np.float64):
    return LogisticRegression().fit(*data_of(n_classes=n_classes, dtype=dtype))


def assert_same(found, expected):
    """Equal to rounding: the order of sums may differ."""
    assert found.n_samples == expected.n_samples
    names = ("accuracy", "balanced_accuracy", "top_k_accuracy", "log_loss", "log_loss_interval")
    for name in (*names, "expected_calibration_error"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)
    assert [row["label"] for row in found.classes] == [row["label"] for row in expected.classes]
    np.testing.assert_allclose(found.confusion, expected.confusion)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4, 7])
def test_scores_are_those_of_scikit_learn(n_classes, weighted, dtype):
    model = fitted(n_classes, dtype)
    X, y = data_of(n_classes=n_classes, seed=1, dtype=dtype)
    w = np.random.default_rng(2).integers(0, 4, len(y)) / 2 if weighted else None
    found = evaluate(model, X, y, w, top_k=2)
    p, predicted = model.predict_proba(X).astype(float), model.predict(X)
    assert found.accuracy == pytest.approx(
        metrics.accuracy_score(y, predicted, sample_weight=w), rel=1e-12
    )
    assert found.accuracy == pytest.approx(model.score(X, y, w), rel=1e-12)
    expected = metrics.balanced_accuracy_score(y, predicted, sample_weight=w)
    assert found.balanced_accuracy == pytest.approx(expected, rel=1e-12)
    p /= p.sum(axis=1, keepdims=True)
    expected = metrics.log_loss(y, p, sample_weight=w, labels=model.classes_)
    assert found.log_loss == pytest.approx(expected, rel=1e-12 if dtype == np.float64 else 1e-5)
    if n_classes == 2:
        assert found.top_k_accuracy == 1
    else:
        expected = metrics.top_k_accuracy_score(y, p, k=2, sample_weight=w, labels=model.classes_)
        assert found.top_k_accuracy == pytest.approx(expected, rel=1e-12)
    expected = metrics.precision_recall_fscore_support(
        y, predicted, sample_weight=w, zero_division=np.nan
    )
    for name, values in zip(("precision", "recall", "f1", "n_samples"), expected, strict=True):
        rows = [np.nan if row[name] is None else row[name] for row in found.classes]
        np.testing.assert_allclose(rows, values, rtol=1e-12)
    expected = metrics.confusion_matrix(y, predicted, sample_weight=w)
    np.testing.assert_allclose(found.confusion, expected)
    assert found.confusion.dtype == expected.dtype


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("is_soft", [False, True])
def test_a_sample_of_weight_0_does_not_count(weight, is_soft):
    """Also if all others weigh the same: whether the samples are weighted at all is then a question."""
    model = fitted()
    X, y = data_of(seed=1)
    counts = np.random.default_rng(2).random(len(y)) < 0.5
    given = np.eye(7)[np.searchsorted(LABELS, y)] if is_soft else y
    found = evaluate(model, X, given, weight * counts, n_resamples=0)
    expected = evaluate(model, X[counts], given[counts], n_resamples=0)
    for name in ("accuracy", "balanced_accuracy", "log_loss", "expected_calibration_error"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-12)
    assert found.top_k_accuracy == pytest.approx(expected.top_k_accuracy, rel=1e-12)
    for table in ("classes", "reliability"):
        for row, other in zip(getattr(found, table), getattr(expected, table), strict=True):
            assert row["n_samples"] == pytest.approx(weight * other["n_samples"], rel=1e-12)
    assert found.n_samples == len(y)
    if not is_soft:
        np.testing.assert_array_equal(found.confusion, weight * expected.confusion)


def test_weights_that_are_nearly_0_have_an_interval():
    model = fitted()
    X, y = data_of(seed=1)
    weights = np.full(len(y), 5e-324)
    weights[:3] = 1e10  # next to which the others round to 0
    found = evaluate(model, X, y, weights)
    low, high = found.log_loss_interval
    assert 0 < low <= found.log_loss <= high
    assert found.log_loss == pytest.approx(evaluate(model, X[:3], y[:3]).log_loss, rel=1e-12)


def test_a_confidence_on_the_edge_of_two_bins_is_in_the_lower_one():
    model, X = SoftmaxClassifier(), np.ones((4, 1))
    model.classes_, model.coef_, model.intercept_ = np.arange(2), np.zeros((2, 1)), np.zeros(2)
    counts = [row["n_samples"] for row in evaluate(model, X, [0, 1, 1, 0], n_bins=4).reliability]
    assert counts == [0, 4, 0, 0]


def test_equal_probabilities_are_ordered_as_in_scikit_learn():
    model, X = SoftmaxClassifier(), np.ones((7, 1))
    model.classes_, model.coef_ = np.arange(7), np.array([[2.0], [1], [1], [0], [1], [0], [0]])
    model.intercept_ = np.zeros(7)
    for k in range(1, 7):
        for label in range(7):
            y, p = [label], model.predict_proba(X[:1])
            expected = metrics.top_k_accuracy_score(y, p, k=k, labels=np.arange(7))
            assert evaluate(model, X[:1], y, top_k=k).top_k_accuracy == expected


@pytest.mark.parametrize("n_bins", [1, 10, 15])
def test_the_calibration_error_is_that_of_its_definition(n_bins):
    model = fitted()
    X, y = data_of(seed=1)
    found = evaluate(model, X, y, n_bins=n_bins)
    confidence, hits = model.predict_proba(X).max(axis=1), model.predict(X) == y
    accuracies, confidences = calibration_curve(hits, confidence, n_bins=n_bins)
    filled = [row for row in found.reliability if row["n_samples"]]
    np.testing.assert_allclose([row["accuracy"] for row in filled], accuracies)
    np.testing.assert_allclose([row["confidence"] for row in filled], confidences)
    counts = [row["n_samples"] for row in filled]
    assert sum(counts) == len(y)
    expected = np.average(np.abs(accuracies - confidences), weights=counts)
    assert found.expected_calibration_error == pytest.approx(expected, rel=1e-12)
    edges = np.linspace(0, 1, n_bins + 1)
    assert [row["low"] for row in found.reliability] == edges[:-1].tolist()
    assert [row["high"] for row in found.reliability] == edges[1:].tolist()
    for row in found.reliability:
        assert (row["accuracy"] is None) == (row["n_samples"] == 0)


def test_weights_count_copies_and_probabilities_count_labels():
    model = fitted()
    X, y = data_of(seed=1)
    w = np.random.default_rng(2).integers(0, 3, len(y))
    weighted = evaluate(model, X, y, w, n_resamples=0)
    repeated = evaluate(model, X.repeat(w, axis=0), y.repeat(w), n_resamples=0)
    for name in ("accuracy", "balanced_accuracy", "log_loss", "expected_calibration_error"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), rel=1e-12)
    np.testing.assert_allclose(weighted.confusion, repeated.confusion)
    np.testing.assert_allclose(
        [row["n_samples"] for row in weighted.classes],
        [row["n_samples"] for row in repeated.classes],
    )
    soft = np.zeros((len(y), 7))
    soft[np.arange(len(y)), np.arange(len(y)) % 7] = 0.25
    soft[np.arange(len(y)), np.searchsorted(LABELS, y)] += 0.75
    found = evaluate(model, X, soft, n_resamples=0, top_k=3)
    split = np.concatenate([y, LABELS[np.arange(len(y)) % 7]])
    shares = np.repeat([0.75, 0.25], len(y))
    expected = evaluate(model, np.tile(X, (2, 1)), split, shares, n_resamples=0, top_k=3)
    for name in ("accuracy", "balanced_accuracy", "log_loss", "top_k_accuracy"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-12)
    for row, other in zip(found.classes, expected.classes, strict=True):
        assert row.pop("label") == other.pop("label")
        assert row == pytest.approx(other, rel=1e-12)
    assert found.confusion is None
    assert found.accuracy == pytest.approx(model.score(X, soft), rel=1e-12)


def test_the_interval_is_a_bootstrap_of_the_mean():
    model = fitted()
    X, y = data_of(seed=1)
    low, high = evaluate(model, X, y).log_loss_interval
    losses = -model.predict_log_proba(X)[np.arange(len(y)), np.searchsorted(LABELS, y)]
    expected = scipy.stats.bootstrap((losses,), np.mean, method="percentile", rng=0, batch=100)
    interval = expected.confidence_interval
    # The ends are quantiles of 1000 draws: they vary by about a twentieth of the width.
    np.testing.assert_allclose((low, high), interval, atol=0.1 * (interval.high - interval.low))
    assert evaluate(model, X, y).log_loss_interval == (low, high)
    assert evaluate(model, X, y, random_state=1).log_loss_interval != (low, high)
    narrow = evaluate(model, X, y, confidence_level=0.5).log_loss_interval
    assert low < narrow[0] < narrow[1] < high
    assert evaluate(model, X, y, n_resamples=0).log_loss_interval is None


def test_resamples_of_equal_losses_have_that_mean_whatever_they_weigh():
    weights = np.random.default_rng(0).exponential(size=50)
    interval = evaluation._bootstrap(np.full(50, 2.0), weights, 20, 0.95, 0)
    np.testing.assert_allclose(interval, (2, 2), rtol=1e-12)


def test_many_samples_are_drawn_in_groups(monkeypatch):
    rng = np.random.default_rng(0)
    losses, weights = rng.exponential(size=20_000), rng.integers(1, 3, 20_000).astype(float)
    monkeypatch.setattr(evaluation, "_MAX_GROUPS", 1 << 20)
    low, high = evaluation._bootstrap(losses, weights, 400, 0.95, 0)
    monkeypatch.setattr(evaluation, "_MAX_GROUPS", 1000)
    grouped = evaluation._bootstrap(losses, weights, 400, 0.95, 0)
    np.testing.assert_allclose(grouped, (low, high), atol=0.15 * (high - low))


def test_data_of_any_kind_and_in_any_chunks(tmp_path, monkeypatch):
    model = fitted()
    X, y = data_of(seed=1)
    expected = evaluate(model, X, y)
    np.save(tmp_path / "X.npy", X)
    for given in (
        *(X.tolist(), np.asfortranarray(X), np.load(tmp_path / "X.npy", mmap_mode="r")),
        *(scipy.sparse.csr_array(X), scipy.sparse.coo_array(X)),
    ):
        assert_same(evaluate(model, given, y.tolist()), expected)
    shapes, blocks = [], prediction.logits_by_block

    def watched(*arguments):
        for here, logits in blocks(*arguments):
            shapes.append(logits.shape)
            yield here, logits

    monkeypatch.setattr("fastsoftmax.classifier.prediction_methods.logits_by_block", watched)
    monkeypatch.setattr(prediction, "_BLOCK_BYTES", 64 * 100)
    assert_same(evaluate(model, X, y), expected)
    assert shapes == [(100, 7)] * 4  # and never the probabilities of all samples


def test_the_row_of_an_error_is_that_of_X(monkeypatch):
    model = fitted()
    X, y = data_of(seed=1)
    X[321, 3] = np.nan
    monkeypatch.setattr(prediction, "_BLOCK_BYTES", 64 * 100)
    with pytest.raises(ValueError, match="row 321"):
        evaluate(model, X, y)


@pytest.mark.parametrize("frame", [np.asarray, pandas.DataFrame, polars.DataFrame])
def test_classifiers_of_scikit_learn(frame, monkeypatch):
    X, y = data_of()
    names = (
        {}
        if frame is np.asarray
        else {"schema" if frame is polars.DataFrame else "columns": [*"stuvwxyz"]}
    )
    X = frame(X, **names)
    monkeypatch.setattr(evaluation, "_CHUNK_BYTES", 6400)
    for model in (
        linear_model.LogisticRegression(),
        make_pipeline(StandardScaler(), SoftmaxClassifier(random_state=0)),
    ):
        model.fit(X, y)
        found = evaluate(model, X, y)
        assert found.accuracy == model.score(X, y)
        assert found.log_loss == pytest.approx(metrics.log_loss(y, model.predict_proba(X)))


def test_sparse_data_of_another_classifier():
    X, y = data_of()
    model = linear_model.LogisticRegression().fit(X, y)
    assert_same(evaluate(model, scipy.sparse.coo_array(X), y), evaluate(model, X, y))


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_probability_of_zero_is_an_infinite_loss():
    X, y = data_of()
    model = DummyClassifier(strategy="most_frequent").fit(X, y)
    found = evaluate(model, X, y)
    assert found.log_loss == np.inf
    assert found.log_loss_interval is None
    assert "log loss           inf\n" in str(found)


def test_the_text():
    model = fitted()
    X, y = data_of(seed=1)
    found = evaluate(model, X, y)
    assert isinstance(found, Evaluation)
    lines = str(found).splitlines()
    right = (model.predict(X) == y).sum()
    assert lines[0] == f"accuracy           {100 * found.accuracy:.2f} % ({right} of 400)"
    assert [line[:17].strip() for line in lines[1:5]] == [
        *("balanced accuracy", "top-5 accuracy", "log loss", "calibration error"),
    ]
    assert re.fullmatch(r"log loss +1\.\d{4} \(95 % interval: 1\.\d{4} to 1\.\d{4}\)", lines[3])
    assert re.fullmatch(r"calibration error +\d\.\d\d %, in 15 bins", lines[4])
    assert lines[6].split() == ["class", "precision", "recall", "F1", "samples"]
    assert [line.split()[0] for line in lines[7:]] == LABELS.tolist()
    assert len({len(line) for line in lines[6:]}) == 1
    assert "top-5" not in str(evaluate(fitted(4), *data_of(n_classes=4)))
    weighted = str(evaluate(model, X, y, np.full(400, 0.5)))
    assert weighted.splitlines()[0] == f"accuracy           {100 * found.accuracy:.2f} %"
    assert len(pandas.DataFrame(found.classes)) == 7
    assert len(pandas.DataFrame(found.reliability)) == 15
    assert found.plot().axes[0].get_ylabel() == "accuracy"


def test_what_cannot_be_evaluated():
    model = fitted()
    X, y = data_of(seed=1)
    for arguments, error, message in (
        ((X, y, None, 0), ValueError, r"^top_k: expected an integer of at least 1, got 0"),
        ((X, y, None, 5, 0), ValueError, r"^n_bins: "),
        ((X, y, None, 5, 15, -1), ValueError, r"^n_resamples: "),
        ((X, y, None, 5, 15, 9, 95), ValueError, r"^confidence_level: expected a number between"),
        ((X, y, None, 5, 15, 9, 0.5, None), TypeError, r"^random_state: "),
        ((X[:0], y[:0]), ValueError, r"^X: expected at least one sample, got none"),
        ((X[:, :3], y), ValueError, r"is expecting 8 features"),
        ((X, y[1:]), ValueError, r"^y: expected 400 labels"),
        ((X, np.where(y == "a", "z", y)), ValueError, r"^y: the label 'z' is not among the cl"),
        ((X, np.arange(400)), TypeError, r"^y: expected labels of one type"),
        ((X, y, np.zeros(400)), ValueError, r"^sample_weight: expected at least one weight"),
        ((X, y, np.full(400, -1)), ValueError, r"^sample_weight: "),
    ):
        names = ("top_k", "n_bins", "n_resamples", "confidence_level", "random_state")
        options = dict(zip(names, arguments[3:], strict=False))
        with pytest.raises(error, match=message):
            evaluate(model, *arguments[:3], **options)
    for other in (SoftmaxClassifier(), linear_model.LogisticRegression()):
        with pytest.raises(NotFittedError):
            evaluate(other, X, y)
    for other in (LinearSVC().fit(X, y), "model", None):
        with pytest.raises(TypeError, match=r"^model: expected a "):
            evaluate(other, X, y)
