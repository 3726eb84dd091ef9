"""The penalty R(W) = l2 * sum(W**2) + l1 * sum(|W|) and its gradient."""

import numpy as np
import oracle
import pytest

from fastsoftmax import penalty

STRENGTHS = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25), (1e-4, 3.0), (2, 1), (np.float32(0.1), 0.1)]


@pytest.mark.parametrize(("l2", "l1"), STRENGTHS)
@pytest.mark.parametrize("shape", [(1,), (17,), (33, 10), (2500,), (5, 3, 2), (0, 4), ()])
def test_value_and_gradient_match_the_oracle(backend, dtype, rng, shape, l2, l1):
    W = rng.normal(scale=3, size=shape).astype(dtype)
    W = np.where(rng.random(shape) < 0.2, dtype(0), W)
    expected_value, expected_gradient = oracle.penalty(W, l2, l1, dtype)
    value, gradient = penalty(W, l2, l1, backend=backend)
    assert type(value) is float
    assert gradient.dtype == dtype
    expected_value.check(value)
    expected_gradient.check(gradient)


def test_layouts(backend, dtype, layout, rng):
    W = rng.normal(size=(7, 5)).astype(dtype)
    came = layout(W)
    expected_value, expected_gradient = oracle.penalty(W, 0.5, 0.25, dtype)
    value, gradient = penalty(came, 0.5, 0.25, backend=backend)
    expected_value.check(value)
    expected_gradient.check(gradient)
    np.testing.assert_array_equal(came, W)
    assert not np.may_share_memory(came, gradient)


def test_the_subgradient_at_zero_is_zero(backend, dtype):
    value, gradient = penalty(np.array([0.0, -0.0, 2.0, -2.0], dtype), l1=1.5, backend=backend)
    assert value == 6
    np.testing.assert_array_equal(gradient, [0, 0, 1.5, -1.5])


@pytest.mark.parametrize("integer", ["bool", "int8", "uint64", "float16", "list"])
def test_other_dtypes(backend, integer):
    W = [[0, 1], [1, 1]] if integer == "list" else np.array([[0, 1], [1, 1]]).astype(integer)
    value, gradient = penalty(W, l2=0.5, l1=0.25, backend=backend)
    assert gradient.dtype == (np.float32 if integer == "float16" else np.float64)
    assert value == 0.5 * 3 + 0.25 * 3
    np.testing.assert_array_equal(gradient, [[0, 1.25], [1.25, 1.25]])


def test_sums_are_in_float64(backend):
    W = np.full(3, 1e30, np.float32)  # the square overflows float32
    value, gradient = penalty(W, l2=1.0, backend=backend)
    np.testing.assert_allclose(value, 3 * float(W[0]) ** 2, rtol=1e-15)
    np.testing.assert_array_equal(gradient, 2 * W)
