"""Weights of samples and classes, label smoothing and soft labels: against copies and the textbook."""

import numpy as np
import oracle
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

from fastsoftmax import SoftmaxClassifier

FAST = {"eta0": 0.2, "batch_size": 16, "tol": None, "max_iter": 3, "random_state": 3}
# All samples in a step, in the order in which they come: then a weight is exactly so many copies.
WHOLE = {"batch_size": 10**6, "tol": None, "max_iter": 20, "shuffle": False}


@pytest.fixture
def data(rng):
    X = rng.normal(size=(60, 5))
    return X, (X[:, :3] + rng.normal(size=(60, 3))).argmax(axis=1)


def assert_same(model, other, tolerance=1e-12):
    assert model.classes_.tolist() == other.classes_.tolist()
    for name in ("coef_", "intercept_", "loss_curve_", "mean_", "scale_", "eta0_"):
        ours, theirs = getattr(model, name), getattr(other, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_the_steps_are_the_textbooks(backend, dtype, data, rng, soft, smoothing, is_sparse):
    X, y = data[0].astype(dtype), data[1]
    targets = rng.dirichlet(np.ones(3), 60) if soft else y
    weights = rng.integers(0, 4, 60).astype(float)
    parameters = FAST | {"penalty": None, "label_smoothing": smoothing}
    model = SoftmaxClassifier(backend=backend, **parameters)
    model.fit(csr_array(X) if is_sparse else X, targets, sample_weight=weights)
    kept = np.flatnonzero(weights)
    random = np.random.default_rng(3)
    expected = oracle.sgd(
        *(X, targets, [kept[oracle.shuffled(len(kept), random)] for _ in range(3)], 16),
        *(lambda step: 0.2,),
        n_classes=3,
        row_weights=weights / weights[kept].mean(),
        smoothing=smoothing,
    )
    tolerance = {np.float32: 2e-6, np.float64: 1e-14}[dtype] * 20
    np.testing.assert_allclose(model.loss_curve_, expected.curve, rtol=tolerance)
    np.testing.assert_allclose(model.coef_, expected.coef.astype(float), rtol=0, atol=tolerance)


@pytest.mark.parametrize("options", [{}, {"standardize": True}, {"class_weight": {0: 2, 2: 0.5}}])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_a_weight_is_so_many_copies_and_none_is_no_row(backend, data, rng, options, is_sparse):
    X, y = data
    weights = rng.integers(0, 4, 60)
    convert = csr_array if is_sparse else np.asarray
    model = SoftmaxClassifier(backend=backend, **WHOLE | options)
    copies = SoftmaxClassifier(backend=backend, **WHOLE | options)
    copies.fit(convert(np.repeat(X, weights, axis=0)), np.repeat(y, weights))
    X[weights == 0] = np.nan
    assert_same(model.fit(convert(X), y, 7.5 * weights), copies)


@pytest.mark.parametrize("options", [{}, {"standardize": True}, {"early_stopping": True}])
def test_rows_of_weight_zero_are_as_if_absent(backend, data, options):
    X, y = data
    y[:4] = 7  # a class that is in no other row
    weights = (np.arange(60) >= 4).astype(int)
    options = {"validation_fraction": 0.25} | FAST | options
    absent = SoftmaxClassifier(backend=backend, **options).fit(X[4:], y[4:])
    X[:4] = np.inf
    model = SoftmaxClassifier(backend=backend, **options).fit(X, y, 0.1 * weights)
    assert_same(model, absent, tolerance=0)
    assert model.validation_scores_ == absent.validation_scores_


def test_equal_weights_are_no_weights(backend, data):
    X, y = data
    options = {
        "backend": backend,
        "standardize": True,
        "class_weight": dict.fromkeys(range(3), 0.7),
    }
    weighted = SoftmaxClassifier(**FAST | options).fit(X, y, np.full(60, 0.1))
    assert_same(weighted, SoftmaxClassifier(**FAST | options | {"class_weight": None}).fit(X, y), 0)


def test_class_weights_are_those_of_samples(backend, data):
    X, y = data
    words = np.array(["b", "a", "c"])[y]
    by_class = {"a": 1.0, "b": 2.5, "c": 0.5}
    model = SoftmaxClassifier(backend=backend, class_weight=by_class, **FAST).fit(X, words)
    expected = SoftmaxClassifier(backend=backend, **FAST)
    assert_same(model, expected.fit(X, words, [by_class[word] for word in words]), 1e-15)


def test_balanced_classes(backend, data, rng):
    X, y = data
    y[:40] = 0
    weights = rng.integers(1, 5, 60)
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=np.repeat(y, weights))
    model = SoftmaxClassifier(backend=backend, class_weight="balanced", **FAST).fit(X, y, weights)
    expected = SoftmaxClassifier(backend=backend, **FAST).fit(X, y, weights * balanced[y])
    assert_same(model, expected)


def test_soft_labels_of_ones_and_zeros_are_labels(backend, data):
    X, y = data
    options = FAST | {"backend": backend, "class_weight": {0: 3, 1: 0.5}, "label_smoothing": 0.1}
    labels, soft = SoftmaxClassifier(**options), SoftmaxClassifier(**options)
    assert_same(soft.fit(X, np.eye(3)[y].tolist()), labels.fit(X, y))


def test_a_soft_label_is_shares_of_copies(backend, data, rng):
    X, _ = data
    shares = rng.dirichlet(np.ones(3), 60)
    for class_weight in (None, {0: 3, 1: 0.5, 2: 0}, "balanced"):
        options = WHOLE | {"backend": backend, "class_weight": class_weight, "label_smoothing": 0.2}
        soft = SoftmaxClassifier(**options | {"eta0": 0.1}).fit(X, shares)
        copies = SoftmaxClassifier(**options | {"eta0": 0.1})
        copies.fit(np.repeat(X, 3, axis=0), np.tile(np.arange(3), 60), shares.ravel())
        assert_same(soft, copies)


def test_weights_of_chunks_are_divided_by_the_first_mean(backend, data):
    X, y = data
    chunks = [SoftmaxClassifier(backend=backend, **FAST) for _ in range(2)]
    for model, factor in zip(chunks, (1, 10), strict=True):
        model.partial_fit(X[:30], y[:30], [0, 1, 2], sample_weight=np.full(30, factor))
        model.partial_fit(X[30:], y[30:], sample_weight=np.full(30, 2 * factor))
    assert_same(*chunks)
    plain = SoftmaxClassifier(backend=backend, **FAST).partial_fit(X[:30], y[:30], [0, 1, 2])
    plain.partial_fit(X[30:], y[30:])
    assert np.abs(plain.coef_ - chunks[0].coef_).max() > 1e-3


def test_soft_labels_in_chunks(backend, data):
    X, y = data
    model = SoftmaxClassifier(backend=backend, **FAST)
    model.partial_fit(X, np.eye(3)[y], classes=["a", "b", "c"])
    assert set(model.predict(X)) <= {"a", "b", "c"}
    with pytest.raises(ValueError, match=r"^classes: expected them sorted .*got \['c', 'b', 'a'\]"):
        model.partial_fit(X, np.eye(3)[y], classes=["c", "b", "a"])


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_soft_labels_of_a_chunk_of_another_dtype(backend, data, rng, kind, convert):
    X, y = data
    shares = rng.dirichlet(np.ones(3), 60)
    for first in (np.float32, np.float64):
        models = [SoftmaxClassifier(backend=name, **FAST) for name in (backend, "naive")]
        for model in models:
            model.partial_fit(X.astype(first), y, [0, 1, 2])
            model.partial_fit(convert((100 + 20 * X).astype(kind)), shares)
        assert_same(*models, tolerance=1e-3)


def test_labels_at_weight_zero_may_be_anything(backend, data):
    X, y = data
    weights = (np.arange(60) >= 2).astype(float)
    expected = SoftmaxClassifier(backend=backend, **FAST).fit(X[2:], y[2:])
    for labels in (y.astype(float), np.eye(3)[y]):
        labels[:2] = np.nan
        model = SoftmaxClassifier(backend=backend, **FAST).fit(X, labels, weights)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-14)


def test_the_minimum_is_that_of_another_solver(data, rng):
    X, y = data
    weights, alpha = rng.random(60), 0.05
    solver = LogisticRegression(C=1 / (alpha * weights.sum()), tol=1e-10, max_iter=10_000)
    solver.fit(X, y, sample_weight=weights)
    model = SoftmaxClassifier(alpha=alpha, batch_size=60, momentum=0.9, max_iter=3000, tol=None)
    model.fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(model.coef_, solver.coef_, rtol=0, atol=1e-6)


def test_scores_count_weights(backend, data):
    X, y = data
    model = SoftmaxClassifier(backend=backend, **FAST).fit(X, y)
    right = model.predict(X) == y
    assert model.score(X, y, np.where(right, 3.0, 1.0)) == pytest.approx(
        3 * right.sum() / (3 * right.sum() + (~right).sum())
    )


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0], ValueError, r"expected shape \(60,\), got \(1,\)"),
        (np.ones((60, 1)), ValueError, "expected shape"),
        (2.0, ValueError, "expected shape"),
        (np.r_[np.ones(59), -1], ValueError, "-1.0 in row 59"),
        (np.r_[np.ones(59), np.nan], ValueError, "nan in row 59"),
        (np.r_[np.ones(59), np.inf], ValueError, "inf in row 59"),
        (np.zeros(60), ValueError, "not zero"),
        (["1"] * 60, TypeError, "real numbers"),
        (np.r_[1e308, np.full(59, 1.7e308)], ValueError, "range of float64"),
    ],
)
def test_bad_weights(backend, data, weights, error, message):
    model = SoftmaxClassifier(backend=backend, **FAST)
    for call in (model.fit, lambda *data: model.partial_fit(*data[:2], [0, 1, 2], data[2])):
        with pytest.raises(error, match=f"^sample_weight: .*{message}"):
            call(*data, weights)
    assert not hasattr(model, "coef_")
    if message != "range of float64":
        with pytest.raises(error, match=f"^sample_weight: .*{message}"):
            model.fit(*data).score(*data, weights)


def test_balanced_needs_all_samples(data):
    with pytest.raises(ValueError, match=r"^class_weight: .*partial_fit.*balanced"):
        SoftmaxClassifier(class_weight="balanced").partial_fit(*data, [0, 1, 2])
