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
    for _ in range(30):  # more than there is room for
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
@pytest.mark.parametrize("has_intercept", [False, True])
def test_the_bound_is_that_of_the_formula(backend, rng, dtype, l1, has_intercept):
    (c, d), l2, loss = (3, 7), 0.2, 0.9
    W, g = (rng.normal(size=(c, d + has_intercept)) for _ in range(2))
    W = W.astype(dtype)
    targets, features, of_targets = (
        rng.dirichlet(np.ones(c)),
        rng.normal(size=d),
        rng.normal(size=(c, d)),
    )
    share, q, entropy = 0.0, targets, 0.0
    if has_intercept:  # the mean probabilities, targets plus this gradient, are those of rows
        g[:, -1] = rng.dirichlet(np.ones(c)) - targets
        means = targets + g[:, -1]
        share = (1 - targets / means).max() + 1e-3
        q = (targets - (1 - share) * means) / share
        entropy = -(q * np.log(q)).sum()
        assert (q > 0).all()
    exact, slopes = W.astype(np.float64)[:, :d], g[:, :d]
    G = (1 - share) * slopes + share * (np.outer(q, features) - of_targets)
    best = -np.sign(G) * np.maximum(np.abs(G) - l1, 0) / (2 * l2)
    parts = l2 * (exact - best) ** 2 + l1 * np.abs(exact) + exact * np.clip(G, -l1, l1)
    expected = parts.sum() - (G * exact).sum()
    expected += (1 - share) * (g * W).sum() + share * (loss - entropy)
    means_of_rows = targets, of_targets, features
    found = get_backend(backend).duality_gap(W, g, loss, means_of_rows, 1e-3, l2, l1)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n_columns", [4, 3])
def test_the_penalty_is_added_to_the_gradient_of_the_coefficients(backend, rng, dtype, n_columns):
    W, mean, l2 = rng.normal(size=(3, 4)).astype(dtype), rng.normal(size=(3, 4)), 0.3
    gradient = np.full_like(mean, np.nan)
    squares = get_backend(backend).add_penalty(W, mean, l2, n_columns, gradient)
    expected, coef = mean.copy(), W[:, :n_columns].astype(np.float64)
    expected[:, :n_columns] += 2 * l2 * coef
    np.testing.assert_allclose(gradient, expected, rtol=1e-15)
    np.testing.assert_array_equal(gradient[:, n_columns:], mean[:, n_columns:])
    exact = np.square(coef).sum(), np.square(expected[:, :n_columns]).sum()
    np.testing.assert_allclose(squares, exact, rtol=1e-14)


def test_a_step_is_what_the_weights_move_by(backend, rng, dtype):
    W = rng.normal(size=(3, 5)).astype(dtype)
    direction, slopes = rng.normal(size=(2, 3, 5))
    found, moved = np.full_like(W, np.nan), np.full_like(W, np.nan)
    take_step = get_backend(backend).take_step
    promised, has_moved = take_step(W, direction, 0.5, slopes, found, moved)
    np.testing.assert_array_equal(found, (W + 0.5 * direction).astype(dtype))
    np.testing.assert_array_equal(moved, found - W)
    assert has_moved is True
    assert promised == pytest.approx(float((slopes * moved).sum()), rel=1e-13)
    assert take_step(W, 1e-30 * direction, 1.0, slopes, found, moved) == (0.0, False)
    np.testing.assert_array_equal(found, W)


def test_a_pair_is_the_difference_of_two_points(backend, rng, dtype):
    ends, gradients = rng.normal(size=(2, 3, 5)).astype(dtype), rng.normal(size=(2, 3, 5))
    s, y = np.full_like(ends[0], np.nan), np.full_like(ends[0], np.nan)
    products = get_backend(backend).fill_pair((*ends,), (*gradients,), s, y)
    np.testing.assert_array_equal(s, ends[1] - ends[0])
    np.testing.assert_array_equal(y, (gradients[1] - gradients[0]).astype(dtype))
    s, y = s.astype(np.float64), y.astype(np.float64)
    np.testing.assert_allclose(products, [(s * y).sum(), (s * s).sum(), (y * y).sum()], rtol=1e-13)


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
