"""Labels become classes and indices: whatever way is taken, what `numpy.unique` finds."""

import numpy as np
import pytest

from fastsoftmax.labels import encode, find_classes

TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("width", [1, 2, 40, 100_000])
@pytest.mark.parametrize("start", ["least", "zero", "most"])
@pytest.mark.parametrize("with_ends", [False, True])
def test_integers(dtype, width, start, with_ends, rng):
    limits = np.iinfo(dtype)
    lowest = {"least": limits.min, "zero": 0, "most": limits.max - 40}[start]
    for n in (1, 3, 60):
        labels = [min(lowest + int(place), limits.max) for place in rng.integers(width, size=n)]
        if with_ends:
            labels[0], labels[-1] = limits.min, limits.max
        y = np.array(labels, dtype)
        expected, indices = np.unique(y, return_inverse=True)
        classes = find_classes(y)
        assert classes.dtype == dtype
        np.testing.assert_array_equal(classes, expected)
        encoded = encode(y, classes)
        assert encoded.dtype == np.int64
        np.testing.assert_array_equal(encoded, indices)
        if len(classes) > 1:
            for left_out in (0, len(classes) // 2, len(classes) - 1):
                with pytest.raises(ValueError, match=r"^y: the label .* is not among the classes"):
                    encode(y, np.delete(classes, left_out))


def test_labels_of_another_integer_type(rng):
    classes = np.array([-3, 0, 7])
    for dtype in (np.int8, np.int16, np.int64):
        np.testing.assert_array_equal(encode(np.array([7, -3, 0], dtype), classes), [2, 0, 1])
    with pytest.raises(ValueError, match=r"^y: the label .*255.* is not among"):
        encode(np.array([255], np.uint8), classes)
    assert encode(np.array([], int), classes).shape == (0,)
