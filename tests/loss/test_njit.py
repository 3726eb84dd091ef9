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
# Sums of one block, of several, and of halves
@pytest.mark.parametrize(
    ("n", "c"), [(1, 10), (7, 3), (128, 10), (50, 1000), (129, 2), (1000, 5), (3001, 33)]
)
@pytest.mark.costly
def test_it_is_that_of_python(rng, dtype, n, c, n_threads):
    logits, labels = rng.normal(scale=4, size=(n, c)).astype(dtype), rng.integers(c, size=n)
    dlogits = np.full_like(logits, np.nan)
    losses = twice(logits, labels, dlogits, n_threads)
    expected, gradient = fastsoftmax.softmax_cross_entropy(logits, labels)
    np.testing.assert_array_equal(dlogits, gradient)
    assert losses == (expected, expected)
    assert softmax_cross_entropy(logits, labels, logits) == expected  # from Python
    np.testing.assert_array_equal(logits, gradient)


@numba.njit(parallel=True)
def in_parallel(logits, labels, dlogits):
    losses = np.empty(len(logits))
    for i in numba.prange(len(logits)):
        losses[i] = softmax_cross_entropy(logits[i], labels[i], dlogits[i])
    return losses


@numba.njit(parallel=True)
def in_parallel_code(logits, labels, dlogits):
    loss = softmax_cross_entropy(logits, labels, dlogits)
    return loss + (2 * dlogits).sum()


def alone(*arguments):
    return twice(*arguments, 1)


def in_one_iteration(*arguments):
    return in_parallel(*(array[np.newaxis] for array in arguments))


@pytest.mark.costly
def test_in_a_parallel_loop(rng, dtype):
    logits, labels = rng.normal(size=(5, 30, 4)).astype(dtype), rng.integers(4, size=(5, 30))
    dlogits = np.full_like(logits, np.nan)
    losses = in_parallel(logits, labels, dlogits)
    for i in range(5):
        expected, gradient = fastsoftmax.softmax_cross_entropy(logits[i], labels[i])
        assert losses[i] == expected
        np.testing.assert_array_equal(dlogits[i], gradient)


def over(kind):
    """Arguments of which `dlogits` overlaps another one."""
    memory = np.zeros(100)
    logits, labels = memory[:6].reshape(2, 3), memory[50:52].view(np.int64)
    starts = {
        "logits, later": 1,
        "logits, a row later": 3,
        "labels": 47,
        "labels, at their end": 51,
    }
    start = starts[kind]
    return logits, labels, memory[start : start + 6].reshape(2, 3), memory


@pytest.mark.parametrize("function", [alone, in_parallel_code])
@pytest.mark.parametrize(
    "kind", ["logits, later", "logits, a row later", "labels", "labels, at their end"]
)
@pytest.mark.costly
def test_a_gradient_that_overlaps_is_refused(function, kind):
    logits, labels, dlogits, memory = over(kind)
    before = memory.copy()
    name = kind.split(",")[0]
    with pytest.raises(ValueError, match=f"dlogits: expected .*overlap.*{name}|{name}.*overlap"):
        function(logits, labels, dlogits)
    np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize("function", [alone, in_parallel_code, in_one_iteration])
def test_a_read_only_gradient_is_refused(function, tmp_path):
    unwritten = bytes(48)
    mapped = np.memmap(tmp_path / "out", float, "w+", shape=(2, 3))
    mapped.flush()
    for dlogits in (
        np.frombuffer(unwritten).reshape(2, 3),
        np.memmap(tmp_path / "out", float, "r", shape=(2, 3)),
    ):
        arguments = np.zeros((2, 3)), np.array([0, 1]), dlogits
        with pytest.raises(numba.TypingError, match="dlogits: expected an array that can be writ"):
            function(*arguments)
    assert unwritten == bytes(48)


@pytest.mark.costly
def test_read_only_inputs_and_in_place(dtype):
    logits, labels = np.zeros((2, 3), dtype), np.array([0, 1])
    expected, gradient = fastsoftmax.softmax_cross_entropy(logits, labels)
    for array in (logits, labels):
        array.setflags(write=False)
    dlogits = np.empty_like(logits)
    assert twice(logits, labels, dlogits, 1)[0] == expected
    np.testing.assert_array_equal(dlogits, gradient)
    again = logits.copy()
    twice(again, labels, again, 1)


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
