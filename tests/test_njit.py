"""The loss core inside functions that Numba compiles."""

import numba
import numpy as np
import pytest

import fastsoftmax
from fastsoftmax.njit import softmax_cross_entropy


@numba.njit
def twice(logits, labels, dlogits, n_threads):
    first = softmax_cross_entropy(logits, labels, dlogits, n_threads)
    return first, softmax_cross_entropy(logits, labels, dlogits)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(("n", "c"), [(1, 10), (128, 10), (50, 1000)])
def test_it_is_that_of_python(rng, dtype, n, c, n_threads):
    logits, labels = rng.normal(scale=4, size=(n, c)).astype(dtype), rng.integers(c, size=n)
    dlogits = np.full_like(logits, np.nan)
    losses = twice(logits, labels, dlogits, n_threads)
    expected, gradient = fastsoftmax.softmax_cross_entropy(logits, labels)
    np.testing.assert_array_equal(dlogits, gradient)
    # Numba adds the losses in another order.
    np.testing.assert_allclose(losses, expected, rtol=n * np.finfo(np.float64).eps)
    assert softmax_cross_entropy(logits, labels, logits) == expected  # from Python
    np.testing.assert_array_equal(logits, gradient)


def test_no_rows(dtype):
    empty = np.empty((0, 3), dtype)
    assert np.isnan(twice(empty, np.empty(0, np.int64), empty, 1)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 3])}, "labels: expected labels from 0"),
        ({"labels": np.array([0, -1])}, "labels: expected labels from 0"),
        ({"labels": np.array([0])}, "labels: expected one for each row"),
        ({"dlogits": np.zeros((3, 3))}, "dlogits: expected the shape"),
        ({"logits": np.full((2, 3), np.nan)}, "logits: expected a finite"),
    ],
)
def test_bad_values(change, message):
    arguments = {
        "logits": np.zeros((2, 3)),
        "labels": np.array([0, 1]),
        "dlogits": np.zeros((2, 3)),
    }
    with pytest.raises(ValueError, match=message):
        twice(*(arguments | change).values(), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dlogits": np.zeros((2, 3), np.float32)}, "dlogits: expected a C-contiguous .* float64"),
        ({"logits": np.zeros((2, 3), np.int8)}, "logits: expected a C-contiguous .* float32 or"),
        ({"labels": np.array([0, 1], np.int32)}, "labels: expected a C-contiguous .* int64"),
        ({"logits": np.zeros((2, 6))[:, ::2]}, "logits: expected a C-contiguous"),
    ],
)
def test_bad_types(change, message):
    arguments = {
        "logits": np.zeros((2, 3)),
        "labels": np.array([0, 1]),
        "dlogits": np.zeros((2, 3)),
    }
    with pytest.raises(numba.TypingError, match=message):
        twice(*(arguments | change).values(), 1)
