"""`fastsoftmax bench --data`: one's own samples, how they are split and scaled, and what is refused."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from command_line import error_of, run
from data_files import NAMES, WRITERS, N, batch_of, images_of, write_svhn

from fastsoftmax.cli import data, machine, own_data

QUICK = ("--backends", "vectorized", "--epochs", "1", "--no-plot", "--json", "-")


def load(path, **options):
    arguments = Namespace(
        **dict.fromkeys(data.OPTIONS), data=Path(path), dtype="float32", seed=0, **options
    )
    return own_data.load(arguments, 1)


@pytest.fixture
def cifar(tmp_path, rng):
    """A folder of CIFAR-10 with its images, of which every class has some."""
    images, labels = images_of(rng, 6 * N), np.arange(6 * N) % 10
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = slice(i * N, (i + 1) * N)
        batch = batch_of(images[part], labels[part])
        (tmp_path / name).write_bytes(WRITERS["python 2"](batch))
    (tmp_path / "batches.meta").write_bytes(WRITERS["python 2"]({b"label_names": NAMES}))
    return tmp_path, images.reshape(len(images), -1), labels


def test_cifar_is_trained_on_its_own_parts(cifar, capsys):
    folder, images, labels = cifar
    work = load(folder)
    mean = images[: 5 * N].astype(np.float32).mean(axis=0, dtype=np.float64)
    for X, rows in ((work.data.X_train, images[: 5 * N]), (work.data.X_test, images[5 * N :])):
        assert X.dtype == np.float32
        np.testing.assert_allclose(X, (rows - mean) / 255, atol=1e-6)
    np.testing.assert_array_equal(work.data.y_train, labels[: 5 * N])
    np.testing.assert_array_equal(work.data.y_test, labels[5 * N :])
    assert work.data.image_shape == (32, 32, 3)
    assert list(work.class_names) == [name.decode() for name in NAMES]

    code, out, err = run(capsys, "bench", "--data", str(folder), *QUICK)
    assert code == 0
    settings = json.loads(out)["settings"]
    assert (settings["data"], settings["n_train"], settings["n_test"]) == (str(folder), 5 * N, N)
    assert settings["batch_size"] == 5 * N  # of 256
    assert f"{5 * N} samples to train on, {N} to test on" in " ".join(err.split())


def test_a_file_without_a_test_part_holds_out_a_quarter(tmp_path, rng):
    X, y = rng.normal(size=(80, 3)) * [1, 10, 0] + 5, np.repeat(["x", "y"], 40)
    np.savez(tmp_path / "own.npz", X=X, y=y)
    work = load(tmp_path / "own.npz")
    train, test = work.data.X_train, work.data.X_test
    assert (len(train), len(test)) == (60, 20)
    assert np.bincount(work.data.y_test).tolist() == [10, 10]
    assert work.class_names == ("x", "y")
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), [1, 1, 0], atol=1e-5)
    assert work.data.image_shape is None


def test_an_archive_with_a_test_part_is_not_split(tmp_path, rng):
    X = rng.integers(256, size=(10, 4, 4), dtype=np.uint8)
    y = np.arange(10) % 2
    np.savez(tmp_path / "own.npz", X_train=X[:7], y_train=y[:7], X_test=X[7:], y_test=y[7:])
    work = load(tmp_path / "own.npz")
    assert (len(work.data.X_train), len(work.data.X_test)) == (7, 3)
    assert work.data.image_shape == (4, 4)


def test_svhn_is_split(tmp_path, rng):
    labels = np.repeat(np.arange(1, 11), 4)
    write_svhn(tmp_path / "train_32x32.mat", images_of(rng, 40), labels)
    work = load(tmp_path / "train_32x32.mat")
    assert (len(work.data.X_train), len(work.data.X_test)) == (30, 10)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"X": np.ones((4, 2)), "y": np.zeros(4, int)}, "expected at least two classes, got 1"),
        ({"X": np.ones((4, 2)), "y": np.ones((4, 2)) / 2}, "the labels are probabilities"),
        ({"X": np.full((4, 2), np.nan), "y": np.arange(4) % 2}, "expected finite numbers"),
        ({"X": np.ones((2, 2)), "y": np.arange(2)}, "no class has a sample to test on"),
        (
            {
                "X_train": np.ones((4, 2)),
                "y_train": np.arange(4) % 2,
                "X_test": np.ones((4, 3)),
                "y_test": np.arange(4) % 2,
            },
            "expected as many features to test on as to train on, 2, got 3",
        ),
        (
            {
                "X_train": np.ones((4, 2)),
                "y_train": np.arange(4) % 2,
                "X_test": np.ones((4, 2)),
                "y_test": np.arange(4),
            },
            "label",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_one_line(tmp_path, capsys, content, reason):
    np.savez(tmp_path / "own.npz", **content)
    error = error_of(capsys, "bench", "--data", str(tmp_path / "own.npz"), *QUICK, code=1)
    assert "own.npz" in error
    assert reason in error


def test_sparse_samples_and_too_large_ones_are_one_line(tmp_path, capsys, monkeypatch):
    file = tmp_path / "own.svm"
    file.write_text("0 1:1\n1 2:1\n")
    error = error_of(capsys, "bench", "--data", str(file), *QUICK, code=1)
    assert "the samples are sparse" in error
    np.savez(tmp_path / "own.npz", X=np.ones((100, 100)), y=np.arange(100) % 2)
    monkeypatch.setattr(machine, "available_memory", lambda: 1000)
    error = error_of(capsys, "bench", "--data", str(tmp_path / "own.npz"), *QUICK, code=1)
    assert "of memory in float32, 1000 bytes are available" in error


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--data", "x.npz", "--shape", "3x3x3"), "not allowed with argument"),
        (("--target", "species"), "argument --target: needs --data, which it describes"),
        (("--no-header",), "argument --header: needs --data, which it describes"),
    ],
)
def test_options_that_do_not_fit_are_one_line(capsys, arguments, reason):
    assert reason in error_of(capsys, "bench", *arguments, *QUICK, code=2)
