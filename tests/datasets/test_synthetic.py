"""Data sets: the digits that scikit-learn bundles, and made-up ones."""

import sys

import numpy as np
import pytest

from fastsoftmax.datasets import load_digits, make_linear_teacher, synthetic

FLOATS = pytest.mark.parametrize("dtype", ["float32", "float64"])


def rows_as_bytes(X):
    return sorted(row.tobytes() for row in X)


@FLOATS
def test_the_digits_are_all_of_scikit_learns_scaled_to_one(dtype):
    from sklearn.datasets import load_digits as bundled

    data = load_digits(dtype=dtype)
    pixels, labels = bundled(return_X_y=True)
    # Whole numbers up to 16 divided by 16 are exact in float32.
    expected = (pixels / 16).astype(dtype)
    assert rows_as_bytes(np.vstack([data.X_train, data.X_test])) == rows_as_bytes(expected)
    assert data.X_train.dtype == data.X_test.dtype == dtype
    assert 0 == data.X_train.min() < data.X_train.max() == 1
    counts = np.bincount(data.y_train) + np.bincount(data.y_test)
    np.testing.assert_array_equal(counts, np.bincount(labels))
    assert (data.n_classes, data.image_shape) == (10, (8, 8))


def test_the_labels_stay_with_their_digits():
    from sklearn.datasets import load_digits as bundled

    data = load_digits(dtype="float64")
    pixels, labels = bundled(return_X_y=True)
    label_of = {row.tobytes(): label for row, label in zip(pixels / 16, labels, strict=True)}
    assert len(label_of) == len(labels), "no image occurs twice, or it could not tell its label"
    for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
        assert [label_of[row.tobytes()] for row in X] == y.tolist()


@pytest.mark.parametrize("test_size", [0.1, 0.25, 0.5])
def test_the_digits_are_split_by_class(test_size):
    data = load_digits(test_size=test_size)
    train, test = np.bincount(data.y_train), np.bincount(data.y_test)
    # The share of each class is rounded to a whole image.
    assert np.all(np.abs(test - test_size * (train + test)) <= 0.5)


def test_some_of_each_digit_is_on_both_sides_whatever_the_share():
    for test_size in (1e-9, 1 - 1e-9):
        data = load_digits(test_size=test_size)
        assert np.bincount(data.y_train).min() >= 1
        assert np.bincount(data.y_test).min() >= 1


def test_the_seed_decides_the_split():
    first, again, other = (load_digits(random_state=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.X_train, again.X_train)
    np.testing.assert_array_equal(first.y_test, again.y_test)
    assert not np.array_equal(first.y_test, other.y_test)
    assert np.any(np.diff(first.y_train) < 0), "not sorted by class: minibatches need all of them"


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"; pip install scikit-learn$"):
        load_digits()


@FLOATS
def test_made_up_data_have_the_shape_asked_for(dtype):
    data = make_linear_teacher(50, 7, 4, n_test=20, dtype=dtype)
    assert (data.X_train.shape, data.X_test.shape) == ((50, 7), (20, 7))
    assert (data.y_train.shape, data.y_test.shape) == ((50,), (20,))
    assert data.X_train.dtype == data.X_test.dtype == dtype
    assert data.X_train.flags.c_contiguous
    assert data.X_test.flags.c_contiguous
    assert data.y_train.dtype == np.int64
    assert (data.n_classes, data.image_shape) == (4, None)


@FLOATS
def test_made_up_features_are_standard_normal(dtype):
    X = make_linear_teacher(10_000, 20, 3, dtype=dtype).X_train.astype(np.float64)
    # The mean of n numbers has the standard deviation 1 / sqrt(n), their mean square sqrt(2 / n).
    assert abs(X.mean()) < 5 / np.sqrt(X.size)
    assert abs(np.square(X).mean() - 1) < 5 * np.sqrt(2 / X.size)


def test_without_noise_a_linear_classifier_gets_every_label_right():
    data = make_linear_teacher(400, 5, 3, noise=0.0, random_state=7)
    W = np.random.default_rng(7).standard_normal((5, 3), dtype=np.float32)
    np.testing.assert_array_equal((data.X_train @ W).argmax(axis=1), data.y_train)


def test_noise_is_the_share_of_labels_drawn_at_random():
    n_samples, n_classes, noise = 20_000, 4, 0.3
    clean, noisy = (
        make_linear_teacher(n_samples, 6, n_classes, noise=share).y_train for share in (0.0, noise)
    )
    # A label drawn at random is the teacher's in one of n_classes cases.
    changed = noise * (1 - 1 / n_classes)
    deviation = np.sqrt(changed * (1 - changed) / n_samples)
    assert abs(np.mean(clean != noisy) - changed) < 5 * deviation


def test_the_same_data_whatever_the_blocks(monkeypatch):
    whole = make_linear_teacher(100, 8, 3, n_test=10)
    monkeypatch.setattr(synthetic, "_BLOCK_BYTES", 7 * 8 * 4)
    by_blocks = make_linear_teacher(100, 8, 3, n_test=10)
    np.testing.assert_array_equal(whole.X_train, by_blocks.X_train)
    np.testing.assert_array_equal(whole.y_test, by_blocks.y_test)


def test_seeds_give_different_made_up_data():
    first, again, other = (make_linear_teacher(30, 4, 3, random_state=s).X_train for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (load_digits, {"test_size": 0}, "test_size"),
        (load_digits, {"test_size": 1.0}, "test_size"),
        (load_digits, {"test_size": "half"}, "test_size"),
        (load_digits, {"test_size": float("nan")}, "test_size"),
        (load_digits, {"dtype": "float16"}, "dtype"),
        (load_digits, {"dtype": "nonsense"}, "dtype"),
        (load_digits, {"random_state": -1}, "random_state"),
        (make_linear_teacher, {"n_samples": 0}, "n_samples"),
        (make_linear_teacher, {"n_features": 0}, "n_features"),
        (make_linear_teacher, {"n_features": 2.5}, "n_features"),
        (make_linear_teacher, {"n_classes": 1}, "n_classes"),
        (make_linear_teacher, {"n_test": -1}, "n_test"),
        (make_linear_teacher, {"noise": 1.5}, "noise"),
        (make_linear_teacher, {"noise": -0.5}, "noise"),
        (make_linear_teacher, {"dtype": int}, "dtype"),
        (make_linear_teacher, {"random_state": "seed"}, "random_state"),
    ],
)
def test_bad_parameters_are_named(function, arguments, name):
    shape = {"n_samples": 3, "n_features": 2, "n_classes": 2} if function != load_digits else {}
    with pytest.raises((ValueError, TypeError), match=f"^{name}: "):
        function(**{**shape, **arguments})
