"""Writing model files: what fails leaves what was there, and a reader sees one of both."""

import os
import stat
import threading

import numpy as np
import pytest
from model_file_cases import CODECS, assert_same_model, fitted, saved

from fastsoftmax import load

ALL_SUFFIXES = (*CODECS, ".onnx")


def write(model, path):
    (model.to_onnx if path.suffix == ".onnx" else model.save)(path)


@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), OSError("of no number"), KeyboardInterrupt()],
)
def test_what_was_there_stays_where_writing_fails(suffix, failing, error, tmp_path, monkeypatch):
    path = tmp_path / f"model{suffix}"
    model = fitted()
    for before in ([], [path.name]):
        assert os.listdir(tmp_path) == before

        def fail(*_, before=before):
            assert len(os.listdir(tmp_path)) == len(before) + 1  # beside it
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(os, failing, fail)
            with pytest.raises(type(error)) as caught:
                write(model, path)
            assert str(error) in str(caught.value)
        assert os.listdir(tmp_path) == before
        if before:
            assert path.read_bytes() == b"before"
        path.write_bytes(b"before")


@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_written(suffix, bad, tmp_path):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"before")
    model = fitted()
    model.coef_[1, 2] = bad
    with pytest.raises(ValueError, match=r"^coef_: expected finite numbers"):
        write(model, path)
    assert path.read_bytes() == b"before"
    assert len(os.listdir(tmp_path)) == 1


def test_what_could_not_be_loaded_is_not_written(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    for name, value, message in (
        ("classes_", np.array(["dog", "cat", "owl"]), "classes: expected them sorted"),
        ("loss_curve_", [np.nan] * 4, "loss_curve: expected finite"),
        ("scale_", np.zeros(6), "scale: expected numbers greater"),
        ("mean_", np.zeros(5), r"mean: expected shape \(6,\), got \(5,\)"),
        ("_random", np.random.Generator(np.random.MT19937(0)), "_random: expected a PCG64"),
        ("coef_", np.zeros((3, 5)), "coef_: expected shape"),
    ):
        model = fitted()
        setattr(model, name, value)
        with pytest.raises((ValueError, TypeError), match=f"^{message}"):
            model.save(path)
        assert not path.exists()


@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_permissions_are_those_of_a_new_file(suffix, tmp_path):
    model = fitted()
    for umask in (0o022, 0o077, 0o002):
        before = os.umask(umask)
        try:
            path = tmp_path / f"{umask}{suffix}"
            write(model, path)
            (tmp_path / "plain").write_bytes(b"")
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
        (tmp_path / "plain").unlink()


def test_a_link_goes_on_to_lead_to_the_file(suffix, tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / f"model{suffix}", tmp_path / f"link{suffix}"
    link.symlink_to(target)
    model = fitted()
    assert_same_model(saved(model, link), model)
    assert link.is_symlink()
    assert os.listdir(target.parent) == [target.name]


def test_folders_are_no_files(suffix, tmp_path):
    (tmp_path / f"model{suffix}").mkdir()
    with pytest.raises(IsADirectoryError):
        fitted().save(tmp_path / f"model{suffix}")
    with pytest.raises(FileNotFoundError):
        fitted().save(tmp_path / "no folder" / f"model{suffix}")
    assert os.listdir(tmp_path) == [f"model{suffix}"]


def test_a_pipe_is_written_to(suffix, tmp_path):
    model, pipe, file = fitted(), tmp_path / f"pipe{suffix}", tmp_path / f"file{suffix}"
    os.mkfifo(pipe)
    writer = threading.Thread(target=model.save, args=(pipe,))
    writer.start()
    file.write_bytes(pipe.read_bytes())
    writer.join()
    assert_same_model(load(file), model)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_long_names(suffix, tmp_path):
    model = fitted()
    for letter in ("m", "ü", "☃"):  # a name has at most 255 bytes
        stem = letter * ((255 - len(suffix)) // len(letter.encode()))
        assert_same_model(saved(model, tmp_path / f"{stem}{suffix}"), model)


def test_a_reader_sees_one_of_both_files(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    models = [fitted("plain"), fitted("momentum")]
    models[0].save(path)
    stop = threading.Event()

    def rewrite():
        while not stop.is_set():
            for model in models:
                model.save(path)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(50):
            assert load(path).momentum in ("auto", 0.9)
    finally:
        stop.set()
        writer.join()
