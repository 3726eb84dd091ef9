"""The lecture's SVM loss: its definition, its gradient, training, and what is refused."""

import numpy as np
import pytest

from fastsoftmax.lecture import (
    LinearSVM,
    check_gradient,
    svm_loss_naive,
    svm_loss_vectorized,
)

LOSSES = [svm_loss_naive, svm_loss_vectorized]


@pytest.fixture
def samples(rng):
    X = rng.normal(size=(30, 6))
    return X, rng.integers(4, size=30), rng.normal(size=(6, 4))


def by_definition(W, X, y, reg):
    total = 0.0
    for x, label in zip(X, y, strict=True):
        z = x @ W
        total += sum(max(0, z[k] - z[label] + 1) for k in range(len(z)) if k != label)
    return total / len(X) + reg * np.sum(W**2)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reg", [0.0, 0.5])
def test_the_loss_and_its_gradient(loss, reg, samples, capsys):
    X, y, W = samples
    value, gradient = loss(W, X, y, reg)
    # Sums of about 100 products and margins of a size of about 5, in float64.
    assert value == pytest.approx(by_definition(W, X, y, reg), rel=1e-13)
    margins = X @ W - (X @ W)[np.arange(30), y][:, np.newaxis] + 1
    assert np.abs(margins).min() > 1e-4  # no kink within the differences
    assert check_gradient(lambda w: loss(w, X, y, reg), W)
    assert gradient.dtype == np.float64


def test_both_agree_in_float32(samples):
    X, y, W = (array.astype(np.float32) if array.dtype.kind == "f" else array for array in samples)
    (one, gradient), (other, expected) = (loss(W, X, y, 0.25) for loss in LOSSES)
    assert gradient.dtype == expected.dtype == np.float32
    assert one == pytest.approx(other, rel=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
    assert svm_loss_vectorized(W.astype(np.float64), X, y, 0.25)[1].dtype == np.float64


@pytest.mark.parametrize("loss", LOSSES)
def test_a_margin_of_0_counts_for_nothing(loss):
    value, gradient = loss(np.array([[1.0, 0.0]]), np.array([[1.0]]), [0], 0.0)
    assert value == 0
    assert not gradient.any()


def test_training_lowers_the_loss(samples):
    X, y, W = samples
    y = (X @ W).argmax(axis=1)
    np.random.seed(0)  # noqa: NPY002
    svm = LinearSVM()
    history = svm.train(X, y, learning_rate=0.1, reg=1e-4, num_iters=200, batch_size=30)
    assert history[0] == pytest.approx(
        3, rel=0.05
    )  # of small weights: a margin of 1 for 3 of 4 classes
    assert history[-1] < 0.5
    assert np.mean(svm.predict(X) == y) > 0.9


def test_training_that_diverges_keeps_the_last_finite_weights(samples):
    X, y, _ = samples
    svm = LinearSVM()
    with pytest.warns(RuntimeWarning, match="the loss became inf at iteration"):
        svm.train(1e200 * X, y, learning_rate=1e100, num_iters=20)
    assert np.isfinite(svm.W).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"W": np.ones((5, 4))}, r"^W: expected shape \(6, n_classes\)"),
        ({"W": np.ones(6)}, r"^W: expected shape \(6, n_classes\)"),
        ({"W": np.full((6, 4), np.nan)}, "^W: "),
        ({"X": np.full((30, 6), np.inf)}, "^X: "),
        ({"X": np.ones((30, 6, 1))}, "^X: "),
        ({"y": np.full(30, 4)}, "^y: "),
        ({"y": np.zeros(29, int)}, "^y: "),
        ({"reg": -1.0}, "^reg"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(loss, change, match, samples):
    X, y, W = samples
    arguments = {"W": W, "X": X, "y": y, "reg": 0.0} | change
    with pytest.raises(ValueError, match=match):
        loss(**arguments)
