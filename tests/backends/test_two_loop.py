"""The two loops of L-BFGS: the product with the matrix that its pairs make, and the bits."""

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.training.lbfgs import Pairs


def pairs_of(rng, n_pairs, shape, dtype, backend):
    """Pairs of a quadratic function, with the curvature that it has."""
    n = int(np.prod(shape))
    A = rng.normal(size=(n, n))
    A = A @ A.T / n + np.eye(n)
    pairs = Pairs(get_backend(backend), shape, np.dtype(dtype), limit=max(n_pairs, 1))
    for _ in range(n_pairs):
        s = rng.normal(size=n)
        pairs.add(s.reshape(shape).astype(dtype), (A @ s).reshape(shape).astype(dtype))
    return pairs


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 7), (5, 41)])
@pytest.mark.parametrize("n_pairs", [0, 1, 4])
def test_the_product_is_that_of_the_updated_matrix(backend, rng, dtype, shape, n_pairs):
    """By the update of BFGS itself: H = (I - s y'/sy) H (I - y s'/sy) + s s'/sy, from a diagonal."""
    pairs, n = pairs_of(rng, n_pairs, shape, dtype, backend), int(np.prod(shape))
    diagonal, g = rng.uniform(0.5, 2, size=shape), rng.normal(size=shape)
    H = np.diag(diagonal.ravel())
    for s, y in zip(pairs.steps, pairs.differences, strict=True):
        s, y = (each.ravel().astype(np.float64) for each in (s, y))
        left = np.eye(n) - np.outer(s, y) / (s @ y)
        H = left @ H @ left.T + np.outer(s, s) / (s @ y)
    before = g.copy()
    found = pairs.times(g, lambda q: q * diagonal)
    np.testing.assert_allclose(found, (H @ g.ravel()).reshape(shape), rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(g, before)


def test_the_oldest_pairs_are_dropped(backend, rng):
    shape, made = (2, 3), get_backend(backend)
    few, all_of_them = Pairs(made, shape, np.dtype(float), limit=3), []
    for _ in range(7):
        s = rng.normal(size=shape)
        few.add(s, 2 * s)
        all_of_them.append(s)
    np.testing.assert_array_equal(few.steps, all_of_them[-3:])
    np.testing.assert_array_equal(few.differences, 2 * np.array(all_of_them[-3:]))
    assert len(few) == 3
    few.add(s, -s)  # of no positive curvature
    np.testing.assert_array_equal(few.steps, all_of_them[-3:])
    few.clear()
    assert not few
    few.add(s, s)
    np.testing.assert_array_equal(few.steps, [s])
