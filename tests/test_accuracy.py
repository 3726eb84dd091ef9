"""Losses and gradients of hard rows are as exact as derived, and no further off than SciPy's."""

import mpmath
import numpy as np
import pytest

import fastsoftmax
from benchmarks import accuracy
from fastsoftmax.backends import get_backend
from tests import families, oracle

# Where both round correctly the larger of the two largest errors is a matter of luck.
LUCK = 1.1
# A probability of 0.5 or more is rounded by up to 0.5 (of eps / 2): what is hardly above is as good as
# that, however lucky SciPy was with the exponential of an older NumPy.
ROUNDED = 0.6


@pytest.fixture(params=[1, 2, 15, 16, 17, 41, 300])
def n_classes(request):
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", families.NAMES)
def test_no_error_is_above_its_bound_or_above_scipys(family, n_classes, dtype):
    logits, labels = families.rows(family, 30, n_classes, dtype)
    ours, scipys = accuracy.compare((accuracy.ours, accuracy.scipy), logits, labels)
    assert accuracy.share_of_bound(logits, labels) <= 1
    if get_backend("compiled").instruction_set() == "portable":
        return  # without FMA a term is divided by its sum in two roundings
    assert ours.loss <= LUCK * scipys.loss
    assert ours.gradient <= max(LUCK * scipys.gradient, ROUNDED)


def test_an_error_is_seen():
    logits, labels = families.rows("spread 1", 3, 4, np.float64)
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
    logits, labels = families.rows(family, 5, 700, dtype)
    losses, gradient = accuracy.ours(logits, labels)
    in_place, _ = fastsoftmax.softmax_cross_entropy(logits, labels, reduction="none", out=logits)
    np.testing.assert_array_equal(in_place, losses)
    np.testing.assert_array_equal(logits, gradient)


@pytest.mark.parametrize("place", [0, 200, 699])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("family", ["rising", "rising far", "spread 1"])
def test_a_row_without_a_softmax_is_found_wherever_that_shows(family, bad, place):
    logits, labels = families.rows(family, 3, 700, np.float32)
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
