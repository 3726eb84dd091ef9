"""The inverse of a Cholesky factor, and the equations that are solved with it."""

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.training.linear_algebra import inverse_of_spd, solution_of_spd


def positive_definite(rng, n):
    A = rng.normal(size=(n, n + 3))
    return A @ A.T + 0.1 * np.eye(n)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_the_inverse_factor(backend, rng, n):
    A = positive_definite(rng, n)
    upper, out = np.triu(A), np.full((n, n), np.nan)
    upper[np.tril_indices(n, -1)] = np.nan  # is not read
    assert get_backend(backend).inverse_factor(upper, out)
    np.testing.assert_array_equal(out, np.tril(out))
    np.testing.assert_allclose(out @ A @ out.T, np.eye(n), atol=1e-9)


def test_the_bits_are_those_of_numpy(rng):
    """Each element has the same operations in the same order: no instruction set changes a bit."""
    A, results = positive_definite(rng, 37), []
    for name in ("vectorized", "compiled"):
        results.append(np.empty_like(A))
        assert get_backend(name).inverse_factor(A.copy(), results[-1])
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("what", ["indefinite", "singular", "nan", "infinite"])
def test_a_matrix_without_a_factor(backend, rng, what):
    A = positive_definite(rng, 5)
    if what == "indefinite":
        A[3, 3] = -1
    elif what == "singular":
        A[:], A[0, 0] = 0, 1
    else:
        A[2, 2] = np.nan if what == "nan" else np.inf
    assert not get_backend(backend).inverse_factor(A.copy(), np.empty_like(A))
    assert inverse_of_spd(get_backend(backend), A, 1) is None
    assert solution_of_spd(get_backend(backend), A, np.ones(5), 1) is None


@pytest.mark.parametrize("n", [1, 40, 64, 65, 150])
def test_inverses_and_solutions_of_one_panel_and_of_several(backend, rng, n):
    kernels, A, b = get_backend(backend), positive_definite(rng, n), rng.normal(size=n)
    inverse, solution = inverse_of_spd(kernels, A, 2), solution_of_spd(kernels, A, b, 2)
    np.testing.assert_allclose(inverse @ A, np.eye(n), atol=1e-7)
    np.testing.assert_allclose(A @ solution, b, atol=1e-7)
