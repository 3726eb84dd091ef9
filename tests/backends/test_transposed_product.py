"""The transposed product A' B: the values, and bits that follow from the shape alone."""

import numpy as np
import pytest

from fastsoftmax.backends import get_backend

# (n, m, k): few columns on either side, and many; one row, a part of a block, several sums.
SHAPES = [
    (1, 1, 1),
    (3, 8, 2),
    (5000, 20, 3),
    (20000, 5, 40),
    (777, 1, 300),
    (777, 300, 1),
    (300, 40, 41),
    (1500, 41, 97),
    (2300, 150, 64),
    (50, 2048, 7),
    (20, 513, 512),
]


def product_of(kernels, A, B, n_threads=1):
    out = np.full((A.shape[1], B.shape[1]), np.nan)
    kernels.transposed_product(A, B, out, n_threads)
    return out


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_values(kernels, rng, dtype, shape):
    n, m, k = shape
    A, B = rng.normal(size=(n, m)).astype(dtype), rng.normal(size=(n, k)).astype(dtype)
    exact = np.matmul(A.T, B, dtype=np.longdouble)
    magnitudes = np.matmul(abs(A.T), abs(B), dtype=np.float64)
    error = abs(product_of(kernels, A, B) - exact) / magnitudes
    assert error.max() < 4 * np.sqrt(min(n, 1024)) * np.finfo(dtype).eps


@pytest.mark.parametrize("m", [1, 17, 40, 41, 130])
def test_a_gram_matrix(rng, dtype, m):
    kernels = get_backend("compiled")
    A = rng.normal(size=(1500, m)).astype(dtype)
    gram = product_of(kernels, A, A)
    np.testing.assert_array_equal(gram, gram.T)
    np.testing.assert_array_equal(gram, product_of(kernels, A, A.copy()))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_threads_change_no_bit(rng, dtype, shape):
    n, m, k = shape
    A, B = rng.normal(size=(n, m)).astype(dtype), rng.normal(size=(n, k)).astype(dtype)
    compiled = get_backend("compiled")
    one = product_of(compiled, A, B)
    for n_threads in (2, 3):
        np.testing.assert_array_equal(one, product_of(compiled, A, B, n_threads))


@pytest.mark.parametrize("columns", [3, 50])
def test_overflow_and_nan_show(kernels, columns):
    A = np.ones((4, columns), np.float32)
    A[1, 0], A[2, 1] = np.nan, 3e38
    out = product_of(kernels, A, 2 * np.ones((4, columns), np.float32))
    assert np.isnan(out[0]).all()
    assert np.isposinf(out[1]).all()
    assert (out[2:] == 8).all()
