"""The solver's own vectors: L-BFGS's two loops, dot products, and the sums of the bound."""

from math import fsum

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


@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f4", "f8"), ("f8", "f4"), ("f8", "f8")])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 8), (4, 33)])
def test_dot_products_are_those_of_the_rows(backend, rng, dtypes, shape):
    """Also of rows that are longer than what takes part, as weights are that end with the intercept."""
    a, b = (rng.normal(size=(shape[0], shape[1] + 2)).astype(dtype) for dtype in dtypes)
    for x, y in ((a, b), (a[:, :-2], b[:, :-2]), (a[:, :-2], b[:, 2:])):
        exact = fsum(float(u) * float(v) for u, v in zip(x.flat, y.flat, strict=True))
        found = get_backend(backend).dot(x, y)
        assert isinstance(found, float)
        assert found == pytest.approx(exact, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("l1", [0.0, 0.3])
@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_terms_of_the_bound_are_those_of_the_formula(backend, rng, dtype, l1, share):
    (c, d), l2 = (3, 7), 0.2
    W, g = rng.normal(size=(c, d + 1)).astype(dtype), rng.normal(size=(c, d + 1))
    row, features, of_targets = (
        rng.dirichlet(np.ones(c)),
        rng.normal(size=d),
        rng.normal(size=(c, d)),
    )
    w, slopes = W[:, :d], g[:, :d]
    exact = w.astype(np.float64)
    G = (1 - share) * slopes + share * (np.outer(row, features) - of_targets)
    best = -np.sign(G) * np.maximum(np.abs(G) - l1, 0) / (2 * l2)
    parts = l2 * (exact - best) ** 2 + l1 * np.abs(exact) + exact * np.clip(G, -l1, l1)
    found = get_backend(backend).bound_terms(w, slopes, row, features, of_targets, share, l2, l1)
    expected = (slopes * exact).sum(), parts.sum(), (G * exact).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 3, 2), (40, 33, 5), (3000, 70, 3)])
def test_rows_are_added_to_those_of_their_classes(backend, rng, dtype, shape, weighted):
    n, d, c = shape
    X, y = rng.normal(size=(n, d + 3)).astype(dtype)[:, :d], rng.integers(0, c, n)
    w = rng.uniform(size=n) if weighted else None
    before = rng.normal(size=(c, d))
    expected = before.copy()
    np.add.at(expected, y, X * (1.0 if w is None else w[:, None]))
    results = []
    for n_threads in (1, 2):
        sums = before.copy()
        get_backend(backend).add_class_sums(X, y, w, sums, n_threads)
        np.testing.assert_allclose(sums, expected, rtol=1e-12, atol=1e-12 * n)
        results.append(sums)
    np.testing.assert_array_equal(*results)
