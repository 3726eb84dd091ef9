"""Coordinate descent on a quadratic model with L1: its minimum, what it leaves alone, and the bits."""

from itertools import pairwise

import numpy as np
import pytest

from fastsoftmax.backends import QuadraticModel, get_backend

CASES = ["G", "diagonal G", "pairs", "some coordinates", "one class"]


def model_and_matrix(rng, case):
    """A model, and the matrix of its quadratic function over its coordinates."""
    c, d = (1, 7) if case == "one class" else (3, 5)
    A, B = rng.normal(size=(c, 2 * c)), rng.normal(size=(d, 2 * d)) * np.arange(1, 2 * d + 1)
    S, G = A @ A.T / c, B @ B.T / d
    whole = np.kron(S, np.diag(np.diag(G)) if case == "diagonal G" else G)
    coordinates = np.arange(c * d)
    if case == "some coordinates":
        coordinates = np.flatnonzero(rng.random(c * d) < 0.6)
    n = len(coordinates)
    curvature = rng.uniform(0, 1, size=n)
    Q = whole[np.ix_(coordinates, coordinates)] + np.diag(curvature)
    pairs, signs = np.empty((n, 0)), np.empty(0)
    if case == "pairs":
        s = rng.normal(size=n)  # an update of BFGS, which keeps the matrix positive definite
        y = s * rng.uniform(1, 2, size=n)
        pairs = np.column_stack([Q @ s / np.sqrt(s @ Q @ s), y / np.sqrt(s @ y)])
        signs = np.array([-1.0, 1.0])
        Q += (pairs * signs) @ pairs.T
    thresholds = np.where(coordinates % d == d - 1, 0, 6.0)
    model = QuadraticModel(
        *(S, np.diag(G).copy() if case == "diagonal G" else G),
        *(coordinates // d, coordinates % d, 5 * rng.normal(size=n), curvature, thresholds),
        *(np.diag(Q).copy(), pairs, signs),
    )
    return model, Q


@pytest.mark.parametrize("case", CASES)
def test_the_minimum(backend, rng, case):
    """Karush-Kuhn-Tucker: the slope is -threshold * sign(w), or of at most the threshold where w is 0."""
    model, Q = model_and_matrix(rng, case)
    start = rng.normal(size=len(Q))
    start[::3] = 0
    weights = start.copy()
    n_sweeps = get_backend(backend).coordinate_descent(model, weights, 1e-13, 5000)
    assert 1 < n_sweeps < 5000
    slopes = model.slopes + Q @ (weights - start)
    free = weights != 0
    close = 1e-9 * np.abs(model.slopes).max()
    np.testing.assert_allclose(
        slopes[free], (-model.thresholds * np.sign(weights))[free], rtol=0, atol=close
    )
    assert (np.abs(slopes) <= model.thresholds + close)[~free].all()
    assert (~free).any() or case == "one class"


def test_at_the_minimum_it_stays(backend, rng):
    model, Q = model_and_matrix(rng, "G")
    weights, before = np.zeros(len(Q)), np.zeros(len(Q))
    still = model._replace(slopes=np.where(model.thresholds > 0, 1.0, 0.0))
    assert get_backend(backend).coordinate_descent(still, weights, 0.1, 100) == 1
    np.testing.assert_array_equal(weights, before)


def test_a_coordinate_without_curvature_keeps_its_weight(backend, rng):
    model, Q = model_and_matrix(rng, "G")
    diagonal = model.diagonal.copy()
    diagonal[2] = 0
    weights = np.ones(len(Q))
    get_backend(backend).coordinate_descent(model._replace(diagonal=diagonal), weights, 1e-6, 20)
    np.testing.assert_allclose(weights[2], 1, rtol=1e-12)  # extrapolated, it is rounded
    assert (weights[[0, 1, 3]] != 1).all()


@pytest.mark.parametrize("case", CASES)
def test_it_ends_after_that_many_sweeps_and_is_lower(backend, rng, case):
    model, Q = model_and_matrix(rng, case)
    values = []
    for n in (1, 2, 7, 20):
        weights = np.zeros(len(Q))
        assert get_backend(backend).coordinate_descent(model, weights, 0.0, n) == n
        linear = model.slopes @ weights + model.thresholds @ np.abs(weights)
        values.append(linear + weights @ Q @ weights / 2)
    size = np.abs(weights)
    terms = (np.abs(model.slopes) + model.thresholds) @ size + size @ np.abs(Q) @ size / 2
    # A term passes through 2 n + 3 roundings of u = eps / 2 at most, and two values are compared.
    rounding = (2 * len(Q) + 3) * np.finfo(float).eps * terms
    assert values[0] < 0
    assert all(after <= before + rounding for before, after in pairwise(values))
    assert values[0] > values[3]


def test_backends_take_the_same_steps(backend, rng):
    model, Q = model_and_matrix(rng, "pairs")
    found = []
    for name in ("naive", backend):
        found.append(np.zeros(len(Q)))
        get_backend(name).coordinate_descent(model, found[-1], 0.0, 13)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-12)
