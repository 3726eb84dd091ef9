"""Patches of scikit-learn's photographs."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from fastsoftmax.datasets import load_patches


def test_patches_are_squares_of_the_photographs():
    data = load_patches(16, random_state=1)
    assert data.image_shape == (16, 16, 3)
    assert data.n_classes == 4
    assert (len(data.X_train), len(data.X_test)) == (1560, 520)
    assert data.X_train.dtype == np.float32
    china, flower = load_sample_images().images
    middle = len(china) // 2
    for label, half in enumerate(
        (china[:middle], china[middle:], flower[:middle], flower[middle:])
    ):
        expected = {
            (half[i : i + 16, j : j + 16].ravel() / 255).astype(np.float32).tobytes()
            for i in range(0, len(half) - 15, 16)
            for j in range(0, half.shape[1] - 15, 16)
        }
        found = [*data.X_train[data.y_train == label], *data.X_test[data.y_test == label]]
        assert {row.tobytes() for row in found} == expected
        assert len(found) == 13 * 40
        assert np.sum(data.y_test == label) == 130


def test_the_split_is_that_of_the_seed():
    one, same, other = (load_patches(32, 0.5, random_state=seed) for seed in (0, 0, 1))
    assert np.array_equal(one.X_test, same.X_test)
    assert not np.array_equal(one.X_test, other.X_test)
    assert load_patches(106, dtype="float64").X_train.dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"patch_size": 0}, "patch_size"),
        ({"patch_size": 107}, "patch_size"),
        ({"test_size": 1.0}, "test_size"),
        ({"dtype": "int8"}, "dtype"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        load_patches(**arguments)


def test_without_pillow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"the photographs are read with .*; pip install Pillow$"):
        load_patches()
