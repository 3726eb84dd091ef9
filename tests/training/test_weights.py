"""Weights of samples and classes, label smoothing and soft labels: against copies and the textbook."""

import numpy as np
import oracle
import polars
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight
from step_algorithms import ALL_TRAINERS

from fastsoftmax import SoftmaxClassifier, search

FAST = {"eta0": 0.2, "batch_size": 16, "tol": None, "max_iter": 3, "random_state": 3}
FAST["learning_rate"] = "constant"
FAST["alpha"] = 1e-4  # by default, with standardize, it follows from the sum of the weights
# All samples in a step, in the order in which they come: then a weight is exactly that many copies.
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


@pytest.mark.parametrize(("soft", "smoothing"), [(False, 0.0), (False, 0.2), (True, 0.2)])
@pytest.mark.parametrize("trainer", ALL_TRAINERS, indirect=True, ids=str)
def test_the_steps_are_the_textbooks(trainer, dtype, data, rng, soft, smoothing):
    X, y = data[0].astype(dtype), data[1]
    targets = rng.dirichlet(np.ones(3), 60) if soft else y
    weights = rng.integers(0, 4, 60).astype(float)
    parameters = FAST | {"penalty": None, "label_smoothing": smoothing}
    model = SoftmaxClassifier(backend=trainer.backend, **parameters)
    model.fit(csr_array(X) if trainer.is_sparse else X, targets, sample_weight=weights)
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


@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({}, 7.5),
        ({"class_weight": {0: 2, 2: 0.5}}, 7.5),
        ({"standardize": True, "alpha": 1e-3}, 7.5),
        ({"standardize": True}, 1.0),  # by default the strength is that for so many samples
    ],
)
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_a_weight_is_so_many_copies_and_none_is_no_row(
    backend, data, rng, options, scale, is_sparse
):
    X, y = data
    weights = rng.integers(0, 4, 60)
    convert = csr_array if is_sparse else np.asarray
    model = SoftmaxClassifier(backend=backend, **WHOLE | options)
    copies = SoftmaxClassifier(backend=backend, **WHOLE | options)
    copies.fit(convert(np.repeat(X, weights, axis=0)), np.repeat(y, weights))
    X[weights == 0] = np.nan
    assert_same(model.fit(convert(X), y, scale * weights), copies)


@pytest.mark.parametrize("options", [{}, {"standardize": True}, {"early_stopping": True}])
def test_rows_of_weight_zero_are_as_if_absent(backend, data, options):
    X, y = data
    weights = (np.arange(60) >= 4).astype(int)
    options = {"validation_fraction": 0.25} | FAST | options
    absent = SoftmaxClassifier(backend=backend, **options).fit(X[4:], y[4:])
    X[:4] = np.inf
    model = SoftmaxClassifier(backend=backend, **options).fit(X, y, 0.1 * weights)
    assert_same(model, absent, tolerance=0)
    assert model.validation_scores_ == absent.validation_scores_


@pytest.mark.parametrize("words", [[0, 1, 2, 3], ["d", "c", "a", "b"]], ids=["numbers", "words"])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_a_label_whose_samples_all_weigh_zero_is_a_class(backend, dtype, data, words, is_sparse):
    X, y = data[0].astype(dtype), data[1]
    y[:4] = 3
    labels, weights = np.array(words)[y], np.where(y == 3, 0.0, 0.7)
    classes, targets = np.unique(labels, return_inverse=True)
    kept = np.arange(4, 60)
    random = np.random.default_rng(3)
    expected = oracle.sgd(
        *(X, targets, [kept[oracle.shuffled(56, random)] for _ in range(3)], 16),
        *(lambda step: 0.2,),
        n_classes=4,
    )
    X[:4] = np.nan  # which nobody reads
    model = SoftmaxClassifier(backend=backend, penalty=None, **FAST)
    model.fit(csr_array(X) if is_sparse else X, labels, weights)
    assert model.classes_.tolist() == classes.tolist()
    tolerance = {np.float32: 4e-5, np.float64: 2e-13}[dtype]
    np.testing.assert_allclose(model.loss_curve_, expected.curve, rtol=tolerance)
    np.testing.assert_allclose(model.coef_, expected.coef.astype(float), rtol=0, atol=tolerance)
    probabilities = model.predict_proba(X[4:])
    assert probabilities.shape == (56, 4)
    assert probabilities[:, classes.tolist().index(words[3])].mean() < 1 / 6


@pytest.mark.parametrize(
    "options",
    [{}, {"standardize": True}, {"early_stopping": True}, {"average": True}, {"eta0": "auto"}],
    ids=lambda options: next(iter(options), "plain"),
)
def test_samples_of_weight_zero_are_a_class_of_weight_zero(backend, data, options):
    X, y = data
    options = {"validation_fraction": 0.25} | FAST | options | {"backend": backend}
    by_class = SoftmaxClassifier(class_weight={1: 0}, **options).fit(X, y)
    model = SoftmaxClassifier(**options).fit(X, y, y != 1)
    assert model.classes_.tolist() == [0, 1, 2]
    assert_same(model, by_class, tolerance=0)
    assert model.validation_scores_ == by_class.validation_scores_


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"class_weight": "balanced"}])
def test_one_class_of_two_that_has_weight_is_trained_on(backend, data, options):
    X, y = data[0], data[1] == 0
    model = SoftmaxClassifier(backend=backend, **FAST | options).fit(X, y, ~y)
    assert model.classes_.tolist() == [False, True]
    assert model.loss_curve_[0] > model.loss_curve_[-1]
    assert not model.predict(X).any()
    for labels in (np.zeros(60, int), [True] * 60):  # but where there is no other label
        with pytest.raises(ValueError, match=r"^y: expected at least two classes, got one class"):
            SoftmaxClassifier(backend=backend, **FAST).fit(X, labels, ~y)


def test_chunks_bring_classes_of_weight_zero(backend, data):
    X, y = data
    in_order = np.argsort(y, kind="stable")
    X, y = X[in_order], y[in_order]
    first, weights = y < 2, (y != 1).astype(float)
    for classes in (None, [0, 1, 2]):
        model = SoftmaxClassifier(backend=backend, **FAST)
        model.partial_fit(X[first], y[first], classes, weights[first])
        assert model.classes_.tolist() == ([0, 1] if classes is None else [0, 1, 2])
        if classes is None:  # a new one, that weighs nothing, next to one that does
            model.partial_fit(X, y, sample_weight=(y == 0).astype(float))
            assert model.classes_.tolist() == [0, 1, 2]
    labels = np.where(weights > 0, y, 7)
    before = model.coef_
    with pytest.raises(ValueError, match=r"^y: the label .*7.* is not among the classes"):
        model.partial_fit(X, labels, sample_weight=weights)
    assert model.coef_ is before


def test_a_warm_start_goes_on_with_a_class_that_has_no_weight_any_more(backend, data):
    X, y = data
    model = SoftmaxClassifier(backend=backend, warm_start=True, **FAST).fit(X, y)
    expected = SoftmaxClassifier(backend=backend, class_weight={1: 0}, **FAST)
    expected.fit(X, y, coef_init=model.coef_, intercept_init=model.intercept_)
    assert_same(model.fit(X, y, y != 1), expected, tolerance=0)
    model.fit(X, np.where(y == 1, 7, y), y != 1)  # a new class, whose samples weigh 0
    assert model.classes_.tolist() == [0, 1, 2, 7]


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


def test_balanced_classes_of_which_one_is_empty(backend, data, rng):
    X, y = data
    y[:30] = 0
    options = FAST | {"backend": backend, "class_weight": "balanced"}
    weights = rng.integers(1, 5, 60) * (y != 1)
    mass = np.bincount(y, weights)
    expected = SoftmaxClassifier(**options | {"class_weight": {0: 1 / mass[0], 2: 1 / mass[2]}})
    model = SoftmaxClassifier(**options).fit(X, y, weights)
    assert_same(model, expected.fit(X, y, weights))
    # A column of probabilities that holds nothing is an empty class, too.
    soft = SoftmaxClassifier(**options).fit(X[y != 1], np.eye(3)[y[y != 1]], weights[y != 1])
    labels = SoftmaxClassifier(**options).fit(X, y, weights)
    assert_same(soft, labels)


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
    with pytest.raises(ValueError, match=r"^classes: expected them sorted.*got \['c', 'b', 'a'\]"):
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
            model.partial_fit(convert((10 + X).astype(kind)), shares)
        assert_same(*models, tolerance=1e-3)


def test_probabilities_at_weight_zero_may_be_anything(backend, data):
    X, y = data
    weights = (np.arange(60) >= 2).astype(float)
    expected = SoftmaxClassifier(backend=backend, **FAST).fit(X[2:], y[2:])
    soft = np.eye(3)[y]
    soft[:2] = np.nan
    model = SoftmaxClassifier(backend=backend, **FAST).fit(X, soft, weights)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-14)
    assert model.score(X, soft, weights) == expected.score(X[2:], y[2:])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda y: np.where(np.arange(60) < 2, np.nan, y), ValueError),
        (lambda y: np.where(np.arange(60) < 2, 0.5, y), ValueError),
        (lambda y: [None, None, *y[2:]], TypeError),
        (lambda y: ["a", "a", *y[2:].tolist()], TypeError),
    ],
    ids=["NaN", "a fraction", "None", "a mixture"],
)
def test_labels_at_weight_zero_are_labels(data, change, error):
    X, y = data
    weights = (np.arange(60) >= 2).astype(float)
    for method in ("fit", "partial_fit"):
        model = SoftmaxClassifier(**FAST)
        with pytest.raises(error, match=r"^y: expected"):
            getattr(model, method)(X, change(y), sample_weight=weights)
        assert not hasattr(model, "coef_")


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_scores_of_soft_labels(backend, data, rng, dtype, is_sparse):
    """A row is right by the probability of the predicted class: that many copies with that label."""
    X, y = data[0].astype(dtype), data[1]
    shares, weights = rng.dirichlet(np.ones(3), 60), rng.integers(0, 4, 60)
    given = csr_array(X) if is_sparse else X
    model = SoftmaxClassifier(backend=backend, **FAST).fit(given, shares)
    predicted = model.predict(X)
    tolerance = {np.float32: 1e-6, np.float64: 1e-14}[dtype]
    for targets in (shares, shares.tolist(), polars.DataFrame(shares)):
        score = model.score(given, targets)
        assert isinstance(score, float)
        assert score == pytest.approx(shares[np.arange(60), predicted].mean(), rel=tolerance)
    copies = np.repeat(X, 3, axis=0), np.tile(np.arange(3), 60)
    expected = model.score(*copies, (shares * weights[:, np.newaxis]).ravel())
    assert model.score(given, shares, weights) == pytest.approx(expected, rel=tolerance)
    assert model.score(given, np.eye(3)[y], weights) == pytest.approx(model.score(X, y, weights))
    # By way of labels, a model may know others.
    named = SoftmaxClassifier(backend=backend, **FAST)
    named.partial_fit(given, shares, classes=["a", "b", "c"])
    right = named.score(X, np.array(["a", "b", "c"])[y])
    assert named.score(given, np.eye(3)[y]) == pytest.approx(right)


def test_every_score_of_soft_labels_is_the_same_one(backend, data, rng):
    X, weights = data[0], rng.integers(1, 4, 60)
    shares = rng.dirichlet(np.ones(3) / 2, 60)
    options = FAST | {"backend": backend, "validation_fraction": 0.4, "early_stopping": True}
    model = SoftmaxClassifier(**options | {"max_iter": 1}).fit(X, shares, weights)
    # The rows held out are those that may be others without a change of the weights.
    held_out = np.zeros(60, bool)
    for row in range(60):
        other = X.copy()
        other[row] += 1
        again = SoftmaxClassifier(**options | {"max_iter": 1}).fit(other, shares, weights)
        held_out[row] = np.array_equal(again.coef_, model.coef_)
    assert held_out.sum() == 24
    held = X[held_out], shares[held_out], weights[held_out]
    assert model.validation_scores_ == pytest.approx([model.score(*held)], rel=1e-13)
    found = search(
        *(X[~held_out], shares[~held_out]),
        learning_rates=[0.1, 0.5],
        regs=[1e-3],
        validation=held[:2],
        max_iter=3,
        random_state=0,
        backend=backend,
    )
    assert found.best_score == pytest.approx(found.best_model.score(*held[:2]), rel=1e-13)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.full((60, 2), 0.5), "expected 3 columns of probabilities, one a class, got 2"),
        (np.full((59, 3), 1 / 3), "expected 60 rows of probabilities.*59"),
        (np.ones((60, 3)), "expected .* which sum to 1, got the sum 3 in row 0"),
        (np.full((60, 3), [2.0, -1, 0]), "expected .*-1"),
        (np.full((60, 3), np.nan), "expected .*nan"),
    ],
)
def test_soft_labels_that_cannot_be_scored(data, targets, message):
    X, y = data
    model = SoftmaxClassifier(**FAST).fit(X, y)
    for weights in (None, np.ones(60)):
        with pytest.raises(ValueError, match=f"^y: {message}"):
            model.score(X, targets, weights)
    with pytest.raises(ValueError, match=r"^sample_weight: .*only zeros"):
        model.score(X, np.eye(3)[y], np.zeros(60))
    with pytest.raises(ValueError, match=r"^X: expected at least one sample to score"):
        model.score(X[:0], np.eye(3)[:0])


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


@pytest.mark.costly
@pytest.mark.parametrize("weight", [1e-300, 1e308])
def test_extreme_weights_are_as_good_as_ones(backend, data, weight):
    X, y = data
    expected = SoftmaxClassifier(backend=backend, **FAST).fit(X, y)
    weights = np.full(60, weight)
    model = SoftmaxClassifier(backend=backend, **FAST).fit(X, y, sample_weight=weights)
    assert_same(model, expected)
    assert model.score(X, y, sample_weight=weights) == pytest.approx(expected.score(X, y))
    weights[::2] /= 2
    model.fit(X, y, sample_weight=weights)
    assert_same(model, expected.fit(X, y, sample_weight=weights / weight))
