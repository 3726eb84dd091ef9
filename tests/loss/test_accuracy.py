"""Losses and gradients of hard rows are as exact as derived, and no further off than SciPy's."""

import hard_logits
import mpmath
import numpy as np
import oracle
import pytest

import fastsoftmax
from benchmarks import accuracy
from fastsoftmax.backends import Data, Rule, State, TargetWeights, get_backend

# A probability of 0.5 or more is rounded by up to 0.5 (of eps / 2): what is hardly above is as good as
# that, however lucky SciPy was with the exponential of an older NumPy.
ROUNDED = 0.6


@pytest.fixture(params=[1, 2, 15, 16, 17, 41, 300])
def n_classes(request):
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("family", "kind"), hard_logits.PROBLEMS)
def test_no_error_is_above_its_bound_or_above_scipys(family, kind, n_classes, dtype):
    logits, targets, options = hard_logits.problem(family, kind, 30, n_classes, dtype)
    ours, scipys = accuracy.compare((accuracy.ours, accuracy.scipy), logits, targets, **options)
    assert accuracy.share_of_bound(logits, targets, **options) <= 1
    if get_backend("compiled").instruction_set() == "portable":
        return  # without FMA a term is divided by its sum in two roundings
    luck = accuracy.Errors(0, 0)
    if kind != "labels":
        luck = accuracy.last_places(logits, targets, **options)
    assert ours.loss <= max(hard_logits.LUCK * scipys.loss, luck.loss)
    assert ours.gradient <= max(hard_logits.LUCK * scipys.gradient, ROUNDED, luck.gradient)


SOFT = [kind for name, kind in hard_logits.PROBLEMS if name == "spread 10" and kind != "labels"]


def gradient_in_training(kernels, logits, target, weights, n_features):
    """That of one sample, as the velocity after a step; the weights are the logits."""
    X, coef = np.zeros((1, n_features)), np.zeros((len(logits), n_features))
    X[0, 0], coef[:, 0] = 1, logits
    X, coef = X.astype(logits.dtype), coef.astype(logits.dtype)
    state = State(coef, None, np.zeros_like(coef), None)
    rule, order = Rule(0.0, 0.0, 0.5, False), np.zeros(1, np.int64)
    data = Data(X, np.array([target]), weights=weights)
    kernels.sgd_epoch(data, state, rule, order, 1, np.array([1.0]), 1)
    return -state.coef_velocity[:, 0]


@pytest.mark.parametrize("kind", SOFT)
@pytest.mark.parametrize("n_classes", [1, 2, 3, 17, 41, 300])
def test_a_gradient_has_its_sign_and_digits_where_p_rounds_to_1(backend, dtype, kind, n_classes):
    logits, targets, options = hard_logits.problem("the label dominates", kind, 8, n_classes, dtype)
    expected = oracle.largest_gradients(logits, targets, **options)
    _, gradient = fastsoftmax.softmax_cross_entropy(
        logits, targets, reduction="none", backend=backend, **options
    )
    largest = gradient[np.arange(8), logits.argmax(axis=1)]
    expected.check(largest)
    seen = np.abs(expected.value) > expected.bound
    np.testing.assert_array_equal(np.sign(largest[seen]), np.sign(expected.value[seen]))


# The three ways of a step: by short rows, by panels, and with many classes.
@pytest.mark.parametrize(("n_classes", "n_features"), [(3, 1), (17, 1), (3, 300), (41, 1)])
@pytest.mark.parametrize("kind", ["one-hot rows", "nearly one-hot", "smoothed"])
def test_so_it_has_in_training(kernels, dtype, kind, n_classes, n_features):
    logits, targets, options = hard_logits.problem("the label dominates", kind, 8, n_classes, dtype)
    expected = oracle.largest_gradients(logits, targets, **options)
    weights = TargetWeights(smoothing=options["label_smoothing"]) if options else None
    largest = [
        gradient_in_training(kernels, z, target, weights, n_features)[z.argmax()]
        for z, target in zip(logits, targets, strict=True)
    ]
    expected.check(largest)


# Here p is 1 / n_classes: what the other classes have is as many times larger than the gradient.
@pytest.mark.parametrize(("n_classes", "n_features"), [(40, 1), (40, 300), (41, 1), (300, 1)])
def test_a_gradient_in_training_has_its_digits_where_p_is_small(
    kernels, dtype, rng, n_classes, n_features
):
    logits = np.zeros(n_classes, dtype)
    target = np.eye(n_classes, dtype=dtype)[-1]
    for weight in np.rint(rng.uniform(1e5, 1e6, 8)):
        weights = TargetWeights(np.array([weight]))
        gradient = gradient_in_training(kernels, logits, target, weights, n_features)
        expected = weight * (1 / n_classes - np.eye(n_classes)[-1])
        np.testing.assert_allclose(gradient, expected, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("power", [-60, -80, -100])
@pytest.mark.parametrize("n_classes", [3, 40, 300])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_gradients_of_small_weights_have_all_digits(backend, dtype, n_classes, soft, power):
    logits, labels = hard_logits.rows("rising", 3, n_classes, dtype)
    targets = np.eye(n_classes)[labels] if soft else labels
    options = {"reduction": "sum", "backend": backend}
    _, expected = fastsoftmax.softmax_cross_entropy(logits, targets, **options)
    power *= 1 if dtype == np.float32 else 8
    weights = np.full(3, 2.0**power)
    _, small = fastsoftmax.softmax_cross_entropy(logits, targets, sample_weight=weights, **options)
    np.testing.assert_allclose(
        small, np.ldexp(expected, power), 4 * np.finfo(dtype).eps, np.finfo(dtype).tiny
    )


@pytest.mark.parametrize("largest", [0, 35, 39])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_gradients_of_a_mean_of_many_rows_have_all_digits(dtype, soft, largest):
    """The power of 2 that terms are relative to is that of the first logits, and far from the largest."""
    logits = np.zeros((1000, 300), dtype)
    logits[:, 200] = largest
    targets = np.zeros(1000, int)
    _, gradient = fastsoftmax.softmax_cross_entropy(
        logits, np.eye(300)[targets] if soft else targets
    )
    p = np.exp(float(largest)) / (299 + np.exp(float(largest)))
    np.testing.assert_allclose(gradient[:, 200], p / 1000, rtol=2 * np.finfo(dtype).eps)


def test_an_error_is_seen():
    logits, labels = hard_logits.rows("spread 1", 3, 4, np.float64)
    exact = oracle.losses_and_gradients(logits, labels)

    def off(logits, labels):
        losses, gradient = accuracy.scipy(logits, labels)
        return losses + 1e-9, gradient * (1 + 1e-9)

    found = accuracy.errors_of(off, logits, labels, exact)
    assert found.loss == pytest.approx(1e-9 * 2**53, rel=1e-3)
    assert 1e-10 * 2**53 < found.gradient < 1e-9 * 2**53


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", ["rising", "rising far", "spread 1"])
def test_in_place_has_the_same_bits(family, dtype):
    logits, labels = hard_logits.rows(family, 5, 700, dtype)
    losses, gradient = accuracy.ours(logits, labels)
    in_place, _ = fastsoftmax.softmax_cross_entropy(logits, labels, reduction="none", out=logits)
    np.testing.assert_array_equal(in_place, losses)
    np.testing.assert_array_equal(logits, gradient)


@pytest.mark.parametrize("place", [0, 200, 699])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("family", ["rising", "rising far", "spread 1"])
def test_a_row_without_a_softmax_is_found_wherever_that_shows(family, bad, place):
    logits, labels = hard_logits.rows(family, 3, 700, np.float32)
    logits[1, place] = bad
    with pytest.raises(ValueError, match="row 1"):
        accuracy.ours(logits, labels)


@pytest.mark.parametrize("largest", [690, 700, 709, 735, 744])
@pytest.mark.parametrize("n_classes", [129, 700])
def test_a_term_counts_as_far_below_a_later_one_as_its_probability_is_a_number(n_classes, largest):
    logits = np.zeros((1, n_classes))
    logits[0, -1] = largest
    probabilities = fastsoftmax.softmax(logits)
    losses, gradient = accuracy.ours(logits, np.array([n_classes - 1]))
    exact = float(mpmath.exp(-largest))
    np.testing.assert_allclose(probabilities[0, :-1], exact, rtol=1e-15, atol=5e-324)
    np.testing.assert_allclose(gradient[0, :-1], exact, rtol=1e-15, atol=5e-324)
    np.testing.assert_allclose(losses, (n_classes - 1) * exact, rtol=1e-15, atol=5e-324 * n_classes)
