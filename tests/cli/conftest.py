"""Files and models, made once, and a folder of its own for each test."""

import io
import sys

import numpy as np
import pytest
from command_line import (
    WINES,
    write_table,
)
from sklearn.datasets import dump_svmlight_file, load_digits, load_wine

from fastsoftmax.cli import machine, main


@pytest.fixture(scope="package", autouse=True)
def short_pauses():
    """Commands that measure wait for threads that spin, here for no more than one pause.

    No test compares times, and the threads of a cluster that an earlier test has left do not sleep.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "_MAX_PAUSE_SECONDS", machine._PAUSE_SECONDS)
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Files as people have them: images in NumPy's formats, tables, sparse rows; and three models."""
    folder = tmp_path_factory.mktemp("data")
    images, digits = load_digits(return_X_y=True)
    X = images.astype(np.uint8)
    np.savez(folder / "train.npz", X=X[:600], y=digits[:600])
    np.savez(folder / "test.npz", X=X[600:900], y=digits[600:900])
    np.save(folder / "images.npy", X[:600].reshape(-1, 8, 8))
    np.save(folder / "labels.npy", digits[:600])
    wine = load_wine()
    names = [*wine.feature_names, "grape"]
    grapes = WINES[wine.target][:, np.newaxis].tolist()
    write_table(folder / "wine.csv", wine.data[::2], names, grapes[::2])
    write_table(folder / "wine-test.csv", wine.data[1::2], names, grapes[1::2])
    write_table(folder / "wine-new.csv", wine.data[:9], names[:-1], [[]] * 9)
    dump_svmlight_file(images[:300], digits[:300], str(folder / "digits.svm"), zero_based=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "stdout", io.StringIO())
        constant = ["--learning-rate", "constant", "--batch-size", "200"]
        assert (
            main(["train", "train.npz", "--model", "digits.npz", "--epochs", "20", *constant]) == 0
        )
        table = ["train", "wine.csv", "--target", "grape", "--standardize", "--epochs", "30"]
        assert main([*table, "--model", "wine.safetensors"]) == 0
        sparse = ["train", "digits.svm", "--model", "sparse.npz", "--epochs", "5"]
        assert main(sparse) == 0
    return folder


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    """A folder of its own with all of these files, as the working directory."""
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    return tmp_path
