"""A step of Newton's method against the whole Hessian, of all classes."""

import numpy as np
import pytest

from fastsoftmax.backends import NewtonRows, get_backend


def hessian_of(x, p, masses, l2, n_features):
    """The Hessian over all classes: the sum of w (diag(p) - p p') kron x x', and the penalty."""
    (n, c), size = p.shape, x.shape[1]
    H = np.zeros((c * size, c * size))
    for i in range(n):
        S = masses[i] * (np.diag(p[i]) - np.outer(p[i], p[i]))
        H += np.kron(S, np.outer(x[i], x[i]))
    penalised = np.arange(size) < n_features
    return H + np.diag(np.tile(2 * l2 * n * penalised, c))


@pytest.mark.parametrize("has_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(3, 1, 2), (23, 4, 2), (40, 3, 5)])
def test_the_direction_solves_the_equations_of_newton(
    backend, rng, dtype, shape, weighted, has_intercept
):
    (n, d, c), l2 = shape, 0.05
    x = np.ones((n, d + has_intercept))
    x[:, :d] = rng.normal(size=(n, d))
    masses = rng.uniform(0.5, 2, size=n) if weighted else np.ones(n)
    p, t = rng.dirichlet(np.ones(c), size=n), np.eye(c)[rng.integers(0, c, n)]
    of_logits, targets = ((each * masses[:, None]).T.copy() for each in (p - t, t))
    W = rng.normal(size=(c, x.shape[1])).astype(dtype)
    gradient = of_logits @ x / n
    gradient[:, :d] += 2 * l2 * W[:, :d].astype(np.float64)
    curvature = np.where(np.arange(x.shape[1]) < d, 2 * l2 * n, 0.0)
    rows = NewtonRows(x, targets, -1 / masses, curvature, np.zeros(x.shape[1]))
    direction = np.full(W.shape, np.nan)
    backend = get_backend(backend)
    assert backend.newton_direction(rows, of_logits, gradient, W, 0.0, direction) is True
    H = hessian_of(x, p, masses, l2, d)
    left = (H @ direction.ravel()).reshape(W.shape)
    np.testing.assert_allclose(left, -n * gradient, rtol=1e-8, atol=1e-8 * n)
    if has_intercept:  # moving all of them alike changes nothing
        assert direction[:, -1].sum() == pytest.approx(0, abs=1e-9)


def test_a_hessian_that_is_not_positive_definite_gives_no_direction(backend, rng):
    x = np.repeat(rng.normal(size=(9, 1)), 2, axis=1)
    x[:, 1] = 0
    zeros, direction = np.zeros((2, 9)), np.empty((2, 2))
    rows = NewtonRows(x, np.full((2, 9), 0.5), np.full(9, -1.0), np.zeros(2), np.zeros(2))
    newton_direction, W = get_backend(backend).newton_direction, np.zeros((2, 2))
    assert newton_direction(rows, zeros, np.ones((2, 2)), W, 0.0, direction) is False
    rows = rows._replace(floor=np.array([0.0, 1.0]))
    assert newton_direction(rows, zeros, np.zeros((2, 2)), W, 0.0, direction) is True
    np.testing.assert_array_equal(direction, 0)
