"""The data functions of the notebooks: images of small files, splits, accuracy, and what is refused."""

import numpy as np
import pytest
from data_files import NAMES, WRITERS, N, batch_of, images_of, write_svhn

from fastsoftmax import datasets
from fastsoftmax.lecture import (
    load_CIFAR10,
    load_svhn,
    multiclass_accuracy,
    random_split_train_val,
)


def test_cifar_10_is_images_of_floats(tmp_path, rng):
    images, labels = images_of(rng, 6 * N), rng.integers(10, size=6 * N)
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = slice(i * N, (i + 1) * N)
        batch = batch_of(images[part], labels[part])
        (tmp_path / name).write_bytes(WRITERS["python 2"](batch))
    (tmp_path / "batches.meta").write_bytes(WRITERS["python 2"]({b"label_names": NAMES}))
    X_train, y_train, X_test, y_test = load_CIFAR10(tmp_path)
    np.testing.assert_array_equal(X_train, images[: 5 * N])
    np.testing.assert_array_equal(y_train, labels[: 5 * N])
    np.testing.assert_array_equal(X_test, images[5 * N :])
    np.testing.assert_array_equal(y_test, labels[5 * N :])
    assert X_train.dtype == X_test.dtype == np.float64
    X_train -= X_train.mean(axis=0)  # as the notebooks do


def test_what_is_not_cifar_10_is_refused(tmp_path, rng):
    with pytest.raises(FileNotFoundError):
        load_CIFAR10(tmp_path / "none")
    for name in ("train", "test"):
        batch = {b"data": images_of(rng).reshape(N, -1), b"fine_labels": [99] * N}
        (tmp_path / name).write_bytes(WRITERS["python 2"](batch))
    with pytest.raises(ValueError, match=r"^ROOT: expected CIFAR-10, got labels up to 99"):
        load_CIFAR10(str(tmp_path))


@pytest.fixture
def svhn(tmp_path, rng):
    for name in ("train", "test"):
        write_svhn(tmp_path / f"{name}_32x32.mat", images_of(rng, 8), rng.integers(1, 11, size=8))
    return tmp_path


def test_svhn_is_drawn_without_replacement(svhn):
    state = np.random.get_state()  # noqa: NPY002
    train_X, train_y, test_X, test_y = load_svhn(str(svhn), max_train=5, max_test=100)
    for before, after in zip(state, np.random.get_state(), strict=True):  # noqa: NPY002
        assert np.array_equal(before, after)
    assert (train_X.shape, test_X.shape) == ((5, 32, 32, 3), (8, 32, 32, 3))
    assert train_X.dtype == np.float32
    for name, X, y in (("train", train_X, train_y), ("test", test_X, test_y)):
        whole = datasets.load(svhn / f"{name}_32x32.mat")
        found = {row.tobytes(): label for row, label in zip(whole.X, whole.y, strict=True)}
        drawn = [image.astype(np.uint8).tobytes() for image in X]
        assert len(set(drawn)) == len(drawn)
        assert [found[image] for image in drawn] == y.tolist()
    again = load_svhn(svhn, 5, 100)
    np.testing.assert_array_equal(again[0], train_X)


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
def test_bad_numbers_of_images_are_named(svhn, numbers):
    with pytest.raises(ValueError, match=r"^max_t"):
        load_svhn(svhn, *numbers)


def test_a_split_is_that_of_the_course():
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    train_X, train_y, val_X, val_y = random_split_train_val(X, y, num_val=3)
    expected = np.arange(10)
    np.random.RandomState(42).shuffle(expected)
    assert [*train_y, *val_y] == expected.tolist()
    assert len(val_y) == 3
    np.testing.assert_array_equal(np.vstack([train_X, val_X]), X[expected])
    assert random_split_train_val(X, y, 3, seed=1)[1].tolist() != train_y.tolist()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([1, 2], [1], 1), "y"),
        ((1, 2, 1), "y"),
        (([1, 2], [1, 2], 2), "num_val"),
        (([1, 2], [1, 2], 0), "num_val"),
        (([1, 2], [1, 2], 1, -1), "seed"),
    ],
)
def test_bad_arguments_of_a_split_are_named(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        random_split_train_val(*arguments)


def test_accuracy():
    assert multiclass_accuracy(np.array([1, 2, 3]), np.array([1, 2, 2])) == pytest.approx(2 / 3)
    assert multiclass_accuracy(["a", "b"], ["a", "b"]) == 1
    for arguments in (([1], [1, 2]), ([], []), ([[1]], [[1]])):
        with pytest.raises(ValueError, match=r"^prediction: expected shape"):
            multiclass_accuracy(*arguments)
