"""The order of the samples of an epoch."""

import sys
from collections import Counter
from itertools import permutations

import numpy as np
import oracle
import pytest

from fastsoftmax.backends import get_backend, shuffling


class Largest:
    """A generator that always draws the largest number below one."""

    def random(self, out):
        out[:] = np.nextafter(1, 0)


@pytest.fixture(params=["compiled", "python"])
def permutation(request, monkeypatch):
    """The function with and without compiled code."""
    if request.param == "python":
        monkeypatch.setitem(sys.modules, "fastsoftmax.backends.compiled._core", None)
    else:
        get_backend("compiled")
    shuffling._compiled.cache_clear()
    assert (shuffling._compiled() is shuffling.shuffle_in) == (request.param == "python")
    yield shuffling.permutation
    shuffling._compiled.cache_clear()


@pytest.mark.parametrize("n", [0, 1, 2, 5, 2047, 2048, 2049, 5000])
def test_it_is_the_textbook_shuffle(permutation, n):
    ours, theirs = np.random.default_rng(n), np.random.default_rng(n)
    order = permutation(n, ours)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(order, oracle.shuffled(n, theirs))
    assert ours.bit_generator.state == theirs.bit_generator.state
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


def test_every_order_is_as_likely_as_any_other(permutation):
    random, n_draws = np.random.default_rng(0), 24000
    counts = Counter(tuple(permutation(4, random).tolist()) for _ in range(n_draws))
    assert set(counts) == set(permutations(range(4)))
    expected = n_draws / 24
    statistic = sum((count - expected) ** 2 / expected for count in counts.values())
    assert statistic < 49.7  # chi-squared, 23 degrees of freedom: exceeded once in a thousand


def test_the_largest_number_stays_within_the_samples_so_far(permutation):
    np.testing.assert_array_equal(permutation(5000, Largest()), np.arange(5000))
