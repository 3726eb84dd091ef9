"""`fastsoftmax.lecture`: the losses by the oracle, the notebooks' own checks, and what is refused."""

import random
import re

import numpy as np
import oracle
import pytest

from fastsoftmax import lecture
from fastsoftmax.lecture import (
    check_gradient,
    cross_entropy_loss,
    eval_numerical_gradient,
    grad_check_sparse,
    l2_regularization,
    linear_softmax,
    softmax,
    softmax_with_cross_entropy,
)

EPS = np.finfo(np.float64).eps
SKEWNESS = 1 / (6 * np.sqrt(3))  # the largest p (1 - p) (1 - 2 p), the third derivative of lse(z)


@pytest.fixture
def softmax_loss(backend):
    """`softmax_loss_naive` and its siblings, one for each backend."""
    return getattr(lecture, f"softmax_loss_{backend}")


@pytest.fixture
def images(rng):
    """Made-up CIFAR-10, small: pixels less their mean and a column of ones, labels, small weights."""
    y = rng.integers(10, size=40)
    pixels = rng.integers(256, size=(10, 48))[y] * 0.5 + rng.integers(128, size=(40, 48))
    X = np.hstack([pixels - pixels.mean(axis=0), np.ones((40, 1))])
    return X, y, 1e-4 * rng.normal(size=(49, 10))


def difference_bound(X, W, h):
    """How far central differences of the loss with respect to W are off its gradient.

    Their own error is h**2 / 6 times the third derivative. A loss is computed with the error of the
    scores, sums of d products, twice, and of the sum over c classes and n samples; two losses are
    divided by 2 h.
    """
    (n, d), c = X.shape, W.shape[1]
    truncation = h**2 / 6 * SKEWNESS * np.mean(np.abs(X) ** 3, axis=0).max()
    scores = (np.abs(X) @ np.abs(W)).max() + h * np.abs(X).max()
    rounding = EPS * (2 * (d + 2) * scores + (c + n + 20) * (np.log(c) + 2 * scores))
    return truncation + rounding / h


def check_restored(x):
    """Return a function that compares `x` with what it is now, bit for bit."""
    before = x.copy()
    return lambda: np.testing.assert_array_equal(x, before)


# --- the loss functions against the oracle


@pytest.mark.parametrize("reg", [0, 0.5, 50.0])
def test_softmax_loss(softmax_loss, images, dtype, reg):
    X, y, W = (a.astype(dtype) if a.dtype.kind == "f" else a for a in images)
    restored = [check_restored(array) for array in (W, X, y)]
    loss, dW = softmax_loss(W, X, y, reg)
    data = oracle.linear(X, W, y, np.zeros(10), dtype)
    penalty = oracle.penalty(W, reg, 0, dtype)
    total = data.loss.value + penalty[0].value
    u = np.finfo(dtype).eps / 2
    oracle.Expected(total, data.loss.bound + penalty[0].bound + EPS * abs(total)).check(loss)
    gradient = data.W.value + penalty[1].value
    bound = data.W.bound + penalty[1].bound
    oracle.Expected(gradient, bound + u * (np.abs(gradient) + bound)).check(dW)
    assert isinstance(loss, float)
    assert dW.dtype == dtype
    for check in restored:
        check()


def test_labels_in_every_form_that_notebooks_pass(softmax_loss, images):
    X, y, W = images
    loss, dW = softmax_loss(W, X, y, 0.1)
    for labels in (y.reshape(-1, 1), y.tolist(), y.astype(np.uint8)):
        again, same = softmax_loss(W, X, labels, 0.1)
        assert again == loss
        np.testing.assert_array_equal(same, dW)


def test_lists_of_integers(softmax_loss):
    loss, dW = softmax_loss([[0, 0], [0, 0]], [[1, 2], [3, 4]], [0, 0], 1)
    assert loss == pytest.approx(np.log(2), abs=4 * EPS)
    assert dW.tolist() == [[-1.0, 1.0], [-1.5, 1.5]]


@pytest.mark.parametrize("shape", [(4,), (1, 4), (3, 4)], ids=str)
def test_the_functions_of_scores(shape, rng):
    predictions = rng.integers(-1, 3, size=shape)
    n = 1 if len(shape) == 1 else shape[0]
    labels = rng.integers(4, size=n)
    expected = oracle.rows(np.atleast_2d(predictions).astype(np.float64), labels)
    forms = [labels, labels.reshape(n, 1), labels.tolist()]
    if n == 1:
        forms += [labels[0], int(labels[0])]
    for scores in (predictions, predictions.astype(np.float64), predictions.tolist()):
        probs = softmax(scores)
        assert probs.shape == shape
        expected.softmax.check(np.atleast_2d(probs))
        for target_index in forms:
            loss, dprediction = softmax_with_cross_entropy(scores, target_index)
            expected.mean_loss().check(loss)
            assert dprediction.shape == shape
            expected.dlogits.check(np.atleast_2d(dprediction))
            # The logarithm of p turns the relative error of p into an absolute one.
            value, bound = expected.mean_loss()
            of_p = np.max(expected.softmax.bound / expected.softmax.value)
            both = oracle.Expected(value, bound + 2 * of_p + oracle.ULPS * EPS * value)
            both.check(cross_entropy_loss(probs, target_index))


def test_linear_softmax_and_l2_regularization(rng, dtype):
    X, W = rng.normal(size=(6, 5)).astype(dtype), rng.normal(size=(5, 3)).astype(dtype)
    y = rng.integers(3, size=6)
    restored = check_restored(W)
    expected = oracle.linear(X, W, y, np.zeros(3), dtype)
    for target_index in (y, y.reshape(-1, 1)):
        loss, dW = linear_softmax(X, W, target_index)
        expected.loss.check(loss)
        expected.W.check(dW)
    value, gradient = oracle.penalty(W, 0.01, 0, dtype)
    loss, dW = l2_regularization(W, 0.01)
    value.check(loss)
    gradient.check(dW)
    assert l2_regularization(np.array([1, -2]), 1)[1].tolist() == [2.0, -4.0]
    restored()


def test_no_function_changes_its_arguments(rng):
    predictions, target_index = rng.normal(size=(3, 4)), np.array([[0], [3], [1]])
    restored = [check_restored(predictions), check_restored(target_index)]
    softmax_with_cross_entropy(predictions, target_index)
    cross_entropy_loss(softmax(predictions), target_index)
    for check in restored:
        check()


def test_scores_that_overflow_exp():
    np.testing.assert_array_equal(softmax(np.array([1000, 0, 0])), [1, 0, 0])
    probs = softmax(np.array([[20, 0, 0], [1000, 0, 0]]))  # the maximum is taken row by row
    assert np.all(np.isclose(probs[:, 0], 1))
    loss, _ = softmax_with_cross_entropy(np.array([1000, 0, 0]), 1)
    assert loss == 1000
    assert cross_entropy_loss(softmax(np.array([1000, 0, 0])), 1) == np.inf


# --- the checks of the notebooks


def test_the_loss_of_small_weights_is_that_of_guessing(softmax_loss, images):
    X, y, W = images
    loss, dW = softmax_loss(W, X, y, 0.000005)
    # lse(z) is between log(10) + min z and log(10) + max z, whatever the scores z
    bound = 2 * np.abs(X @ W).max() + 0.000005 * np.sum(W**2)
    assert bound < 0.5
    assert abs(loss - -np.log(0.1)) < bound
    assert dW.shape == W.shape


def test_naive_and_vectorized_agree(softmax_loss, images):
    X, y, W = images
    naive_loss, naive_dW = lecture.softmax_loss_naive(W, X, y, 0.000005)
    loss, dW = softmax_loss(W, X, y, 0.000005)
    assert f"{naive_loss - loss:f}".lstrip("-") == "0.000000"
    assert np.linalg.norm(naive_dW - dW, ord="fro") < 1e-9 * np.linalg.norm(naive_dW, ord="fro")


@pytest.mark.parametrize("reg", [0.0, 5e1])
def test_the_gradient_agrees_with_differences_at_random_elements(softmax_loss, images, reg, capsys):
    X, y, W = images
    restored = check_restored(W)
    _, dW = softmax_loss(W, X, y, reg)
    random.seed(0)
    drawn = [tuple(random.randrange(length) for length in W.shape) for _ in range(10)]
    random.seed(0)
    errors = grad_check_sparse(lambda w: softmax_loss(w, X, y, reg)[0], W, dW, num_checks=10)
    restored()
    lines = capsys.readouterr().out.splitlines()
    number = r"-?\d+\.\d{6}(e[+-]\d\d)?"
    pattern = f"numerical: {number} analytic: {number}, relative error: {number}"
    assert len(lines) == len(errors) == 10
    assert all(re.fullmatch(pattern, line) for line in lines)
    # The penalty is a quadratic, of which differences are exact; its sum of d * c terms is rounded.
    bound = difference_bound(X, W, 1e-5) + EPS * (W.size + 4) * reg * np.sum(W**2) / 1e-5
    limits = [bound / abs(dW[index]) for index in drawn]
    assert max(limits) < 1e-5  # what the notebook expects
    assert np.all(np.array(errors) <= limits)


def test_the_gradient_of_scores_agrees_with_differences(rng):
    x, y = 0.001 * rng.normal(size=(50, 10)), rng.integers(10, size=50)
    restored = check_restored(x)
    numeric = eval_numerical_gradient(
        lambda x: softmax_with_cross_entropy(x, y)[0], x, verbose=False
    )
    restored()
    loss, dx = softmax_with_cross_entropy(x, y)
    assert abs(loss - np.log(10)) <= 2 * np.abs(x).max()
    # Of one row in 50: its third derivative; the mean of 50 losses of about log(10), each of 10 terms.
    bound = (1e-5) ** 2 / 6 * SKEWNESS / 50 + EPS * (10 + 50 + 20) * np.log(10) / 1e-5
    assert np.abs(numeric - dx).max() <= bound
    assert np.max(np.abs(numeric - dx) / (np.abs(numeric) + np.abs(dx))) < 1e-5


def test_the_functions_that_the_check_of_gradients_is_tried_on(capsys):
    assert check_gradient(lambda x: (float(x[0] * x[0]), 2 * x), np.array([3.0])) is True
    for x in (np.array([3.0, 2.0]), np.array([[3.0, 2.0], [1.0, 0.0]])):
        assert check_gradient(lambda x: (np.sum(x), np.ones_like(x)), x) is True
    assert capsys.readouterr().out == "Gradient check passed!\n" * 3

    def wrong(x):
        return np.sum(x**2), np.array([2.0, 5.0]) * x

    assert check_gradient(wrong, np.array([1.0, 2.0])) is False
    expected = "Gradients are different at (1,). Analytic: 10.00000, Numeric: 4.00000\n"
    assert capsys.readouterr().out == expected


def test_the_gradients_of_a_single_sample_a_batch_and_a_linear_classifier(rng):
    loss, dprediction = softmax_with_cross_entropy(np.array([1, 0, 0]), 1)
    assert dprediction.shape == (3,)
    assert check_gradient(lambda x: softmax_with_cross_entropy(x, 1), np.array([1.0, 0, 0]))
    for n in (1, 3):
        predictions = rng.integers(-1, 3, size=(n, 4)).astype(float)
        for shape in ((n, 1), (n,)):
            target = rng.integers(4, size=shape)
            assert check_gradient(lambda x, t=target: softmax_with_cross_entropy(x, t), predictions)
    W = rng.integers(-1, 3, size=(3, 2)).astype(float)
    X = rng.integers(-1, 3, size=(2, 3)).astype(float)
    target = np.ones(2, dtype=int)
    assert check_gradient(lambda w: linear_softmax(X, w, target), W)
    assert check_gradient(lambda w: l2_regularization(w, 0.01), W)
    assert loss == pytest.approx(np.log(np.e + 2), abs=8 * EPS)  # lse([1, 0, 0]) - 0


# --- what is refused, in the course's words

SCORES = np.zeros((3, 4))
X3, W3, Y3 = np.ones((3, 2)), np.ones((2, 4)), np.array([0, 3, 1])


@pytest.mark.parametrize(
    ("predictions", "target_index", "error", "message"),
    [
        (SCORES, [0, 1], ValueError, r"target_index: .* 3 samples.* got shape \(2,\)"),
        (SCORES, 0, ValueError, r"target_index: .* got shape \(\)"),
        (SCORES, [[0, 1, 2]], ValueError, r"target_index: .* got shape \(1, 3\)"),
        (SCORES, SCORES, TypeError, "target_index: expected integer labels, got dtype float64"),
        (
            SCORES,
            [0, 4, 1],
            ValueError,
            "target_index: expected labels from 0 to 3, got 4 in row 1",
        ),
        (SCORES, [0, 1, -1], ValueError, "target_index: .* got -1 in row 2"),
        (SCORES, [True, False, True], TypeError, "target_index: .* got dtype bool"),
        (SCORES, ["a", "b", "c"], TypeError, "target_index: "),
        (SCORES, None, TypeError, "target_index: "),
        (SCORES[0], [0, 1], ValueError, r"target_index: .* 1 samples.* got shape \(2,\)"),
        (SCORES[:0], np.zeros(0, int), ValueError, "target_index: expected at least one sample"),
        (SCORES[:, :0], [0, 0, 0], ValueError, r"predictions: .* at least one class, got \(3, 0\)"),
        (SCORES[None], [0], ValueError, r"predictions: expected shape .* got \(1, 3, 4\)"),
        (1.0, 0, ValueError, r"predictions: expected shape .* got \(\)"),
        ([[0, 1], [np.nan, 0]], [0, 1], ValueError, "predictions: .* NaN in row 1"),
        ([[0, 1], [np.inf, 0]], [0, 1], ValueError, r"predictions: .* \+inf in row 1"),
        ([1j, 0], 0, TypeError, "predictions: expected real numbers"),
        ([["a"]], [0], TypeError, "predictions: expected real numbers"),
        ([[1, 2], [3]], [0, 0], ValueError, "predictions: "),
    ],
)
def test_softmax_with_cross_entropy_refuses(predictions, target_index, error, message):
    with pytest.raises(error, match=message):
        softmax_with_cross_entropy(predictions, target_index)
    if message.startswith("predictions"):
        with pytest.raises(error, match=message):
            softmax(predictions)
    elif predictions is SCORES:
        with pytest.raises(error, match=message):
            cross_entropy_loss(softmax(predictions), target_index)
        with pytest.raises(error, match=message):
            linear_softmax(X3, W3, target_index)


@pytest.mark.parametrize("bad", [-0.1, 1.1, 5.0, np.nan, np.inf])
def test_cross_entropy_loss_refuses_what_is_no_probability(bad):
    with pytest.raises(ValueError, match=rf"probs: expected probabilities .* got {bad} in row 1, "):
        cross_entropy_loss([[0.5, 0.5], [bad, 0.5]], [0, 1])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"W": np.ones((3, 4))}, ValueError, "W: expected one row for each of the 2 columns of X"),
        ({"W": np.ones(2)}, ValueError, "W: "),
        ({"W": np.ones((2, 0))}, ValueError, "W: "),
        ({"W": W3 * np.nan}, ValueError, "W: expected finite numbers, got NaN"),
        ({"W": None}, TypeError, "W: "),
        ({"X": np.ones(2)}, ValueError, r"X: expected shape \(n_samples, n_features\), got \(2,\)"),
        ({"X": np.ones((0, 2)), "y": []}, ValueError, "X: expected at least one sample"),
        (
            {"X": X3 * [[1], [np.inf], [1]]},
            ValueError,
            "X: expected finite numbers, got inf in row 1",
        ),
        ({"X": [["a", "b"]]}, TypeError, "X: "),
        ({"X": X3 * 1e200, "W": W3 * 1e200}, ValueError, "X: the scores X @ W of row 0 overflow"),
        ({"y": Y3[:2]}, ValueError, r"y: .* 3 samples.* got shape \(2,\)"),
        ({"y": [0, 4, 1]}, ValueError, "y: expected labels from 0 to 3, got 4 in row 1"),
        ({"y": [0, -1, 1]}, ValueError, "y: .* got -1 in row 1"),
        ({"y": [0.0, 1.0, 2.0]}, TypeError, "y: expected integer labels, got dtype float64"),
        ({"y": np.ones((3, 4))}, TypeError, "y: expected integer labels"),
        ({"y": np.ones((3, 4), int)}, ValueError, "y: expected one label for each of 3 samples"),
        ({"reg": -1.0}, ValueError, "reg: expected a finite number, 0 or more, got -1.0"),
        ({"reg": np.nan}, ValueError, "reg: "),
        ({"reg": "1"}, TypeError, "reg: "),
    ],
)
def test_softmax_loss_refuses(softmax_loss, arguments, error, message):
    with pytest.raises(error, match=message):
        softmax_loss(**{"W": W3, "X": X3, "y": Y3, "reg": 0.1} | arguments)


def test_one_class_and_a_column_of_labels_are_not_probabilities(softmax_loss):
    loss, dW = softmax_loss(np.ones((2, 1)), X3, [[0], [0], [0]], 0.0)
    assert loss == 0
    assert dW.tolist() == [[0.0], [0.0]]


def test_l2_regularization_refuses():
    with pytest.raises(ValueError, match="reg_strength: expected a finite number, 0 or more"):
        l2_regularization(W3, -0.1)
    with pytest.raises(TypeError, match="W: expected real numbers"):
        l2_regularization("W", 0.1)
