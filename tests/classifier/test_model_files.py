"""Model files: what is loaded goes on with the bits of what was saved, and what is broken is refused."""

import copy
import hashlib
import io
import json
import os
import pickle
import random
import re
import stat
import sys
import threading
import tracemalloc
import warnings
import zipfile
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path

import joblib
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import safetensors.numpy
from scipy.sparse import csr_array

import fastsoftmax
from fastsoftmax import ModelFileError, NotFittedError, SoftmaxClassifier, load
from fastsoftmax.classifier.fitted_model import FittedModel, Stored
from fastsoftmax.classifier.model_files.contents import (
    CURRENT,
    VERSION,
    Format,
    contents_of,
    model_of,
)
from fastsoftmax.persistence import npz, safe_tensors
from fastsoftmax.persistence.entries import Scalar, Tensor, positive
from fastsoftmax.persistence.strict_json import written

CODECS = {".npz": npz, ".safetensors": safe_tensors}
OPTIONS = {"batch_size": 16, "random_state": 0, "max_iter": 4, "tol": None}


@pytest.fixture(params=CODECS)
def suffix(request):
    return request.param


def data_of(dtype=np.float64, n_samples=120, n_features=6):
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(n_samples, n_features)) * 3 + 2).astype(dtype)
    labels = np.array(["cat", "dog", "owl"])
    scores = X @ rng.normal(size=(n_features, 3)) + rng.normal(size=(n_samples, 3))
    return X, labels[scores.argmax(axis=1)]


# What a model may have that another has not: options of the constructor, and how it is fitted.
MODELS = {
    "plain": {},
    "without intercept": {"fit_intercept": False, "momentum": 0.5, "average": True},
    "momentum": {"momentum": 0.9, "nesterov": True},
    "average": {"average": True, "momentum": 0.9},
    "average later": {"average": 10_000},
    "standardize": {"standardize": True, "momentum": 0.9, "average": 50},
    "early stopping": {"early_stopping": True},
    "class weights": {"class_weight": {"cat": 2, "owl": 0.5}, "label_smoothing": 0.1},
    "schedule": {"learning_rate": "invscaling", "eta0": 0.3, "warmup_epochs": 0.5},
    "drawn": {"replacement": True, "l1_ratio": None, "penalty": "l1"},
}


def fitted(name="standardize", dtype=np.float64):
    X, y = data_of(dtype)
    return SoftmaxClassifier(**OPTIONS, **MODELS[name]).fit(X, y, np.linspace(0.5, 2, len(X)))


def saved(model, path):
    model.save(path)
    return load(path)


def assert_same(actual, expected):
    """The same types, dtypes and bits."""
    assert type(actual) is type(expected)
    if isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype
        assert actual.flags.writeable
        assert actual.shape == expected.shape
        if expected.dtype == np.longdouble:  # some of its bytes mean nothing
            np.testing.assert_array_equal(actual, expected)
            np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected))
        elif expected.dtype.kind == "f":
            assert actual.tobytes() == expected.tobytes()
        else:
            assert_same(actual.tolist(), expected.tolist())
    elif isinstance(expected, np.random.Generator):
        assert actual.bit_generator.state == expected.bit_generator.state
    elif isinstance(expected, dict):
        assert_same(list(actual), list(expected))
        assert_same(list(actual.values()), list(expected.values()))
    elif isinstance(expected, tuple | list):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_same(a, e)
    elif hasattr(expected, "__dict__"):
        assert_same(vars(actual), vars(expected))
    elif is_dataclass(expected):  # with slots
        for field in fields(expected):
            assert_same(getattr(actual, field.name), getattr(expected, field.name))
    else:
        assert actual == expected


def assert_same_model(actual, expected):
    assert vars(actual).keys() == vars(expected).keys()
    for name, value in vars(expected).items():
        assert_same(getattr(actual, name), value)


def goes_on(model, X, y):
    """What a model predicts, and what becomes of it in more training."""
    seen = [model.predict(X), model.predict_proba(X), model.predict_log_proba(X)]
    seen += [model.decision_function(X), model.score(X, y)]
    if not model.early_stopping:
        for first in (0, 40):
            model.partial_fit(X[first : first + 60], y[first : first + 60])
            seen += [copy.deepcopy(vars(model))]
    model.set_params(warm_start=True)
    seen += [vars(model.fit(X, y))]
    return seen


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_goes_on_with_the_same_bits(name, dtype, suffix, tmp_path):
    model = fitted(name, dtype)
    loaded = saved(model, tmp_path / f"model{suffix}")
    assert_same_model(loaded, model)
    assert loaded.coef_.dtype == dtype
    X, y = data_of(dtype)
    assert_same(goes_on(loaded, X, y), goes_on(model, X, y))


def test_every_backend_goes_on(backend, suffix, tmp_path):
    X, y = data_of()
    model = SoftmaxClassifier(backend=backend, n_jobs=2, momentum=0.5, **OPTIONS).fit(X, y)
    loaded = saved(model, tmp_path / f"model{suffix}")
    assert_same(goes_on(loaded, X, y), goes_on(model, X, y))


def by_pickle(model, path):
    path.write_bytes(pickle.dumps(model))
    return pickle.loads(path.read_bytes())


def by_joblib(model, path):
    joblib.dump(model, path)
    return joblib.load(path)


COPIES = {
    "pickle": by_pickle,
    "joblib": by_joblib,
    "deepcopy": lambda model, path: copy.deepcopy(model),
}
WAYS = COPIES | {
    suffix: lambda model, path, s=suffix: saved(model, f"{path}{s}") for suffix in CODECS
}


@pytest.fixture(params=WAYS)
def way(request, tmp_path):
    """A function from a model to one that came back, from a file or as a copy."""
    return lambda model: WAYS[request.param](model, tmp_path / "model")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("how", COPIES)
def test_copies_go_on_with_the_same_bits(name, how, tmp_path):
    model = fitted(name)
    copied = COPIES[how](model, tmp_path / "model")
    assert_same_model(copied, model)
    X, y = data_of()
    assert_same(goes_on(copied, X, y), goes_on(model, X, y))


def test_names_of_features(way):
    X, y = data_of()
    frame = pd.DataFrame(X, columns=["a", "b", "", "größe", 'f"e', "☃"])
    model = SoftmaxClassifier(**OPTIONS).fit(frame, y)
    loaded = way(model)
    assert_same_model(loaded, model)
    assert_same(goes_on(loaded, frame, y), goes_on(model, frame, y))
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame[frame.columns[::-1]])


def test_statistics_of_sparse_rows_are_not_subtracted_later(way):
    X, y = data_of()
    model = SoftmaxClassifier(standardize=True, **OPTIONS).fit(csr_array(X), y)
    loaded = way(model)
    assert not loaded._is_centred
    assert_same(goes_on(loaded, X, y), goes_on(model, X, y))


def test_a_model_of_partial_fit(way):
    X, y = data_of()
    model = SoftmaxClassifier(average=True, momentum=0.5, **OPTIONS)
    model.partial_fit(X[:20], y[:20], classes=["owl", "cat", "dog", "eel"])
    loaded = way(model)
    assert_same_model(loaded, model)
    assert_same_model(loaded.partial_fit(X, y), model.partial_fit(X, y))


def test_a_model_whose_first_epoch_was_broken_off(way):
    def interrupt(step):
        raise KeyboardInterrupt

    X, y = data_of()
    model = SoftmaxClassifier(learning_rate=interrupt, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.loss_curve_ == []
    assert_same_model(way(model.set_params(learning_rate="constant")), model)


def test_numbers_that_random_has_in_store_are_stored(way):
    model = fitted()
    model._random.integers(1 << 32, dtype=np.uint32)  # one half of 64 bits
    assert model._random.bit_generator.state["has_uint32"] == 1
    loaded = way(model)
    assert loaded._random.integers(1 << 32, size=5).tolist() == (
        model._random.integers(1 << 32, size=5).tolist()
    )


class Level(StrEnum):
    LOW = "low"
    HIGH = "high"


LABELS = {
    **{np.dtype(t).name: np.array([3, 100, 7], t) for t in "bhilqBHILQ"},
    "extremes": np.array([-(2**63), 2**63 - 1, 0]),
    "uint64": np.array([2**64 - 1, 2**63, 1], np.uint64),
    "bool": np.array([True, False]),
    **{f"float{8 * np.dtype(t).itemsize}": np.array([-2.0, 5.0, 0.0], t) for t in "efdg"},
    "huge floats": np.array([1e300, -1e300, 2.0**60]),
    "minus zero": np.array([1.0, -0.0]),
    "str": np.array(["b", "a", "", "ü☃𝄞", "\ud800", 'q"\\\n\x00z']),
    "wide str": np.array(["b", "a"], "<U40"),
    "bytes": np.array([b"b", b"\xff\x80", b"a"]),
    "object of str": np.array(["b", "a", np.str_("c")], object),
    "object of int": np.array([2, 2**63 - 1, -(2**63), np.int8(5), np.uint64(7)], object),
    "object of bool": np.array([True, False], object),
    "object of int and bool": np.array([True, 7, 0], object),
    "dates": np.array(["2020-02-29", "1969-07-20", "9999-12-31"], "M8[D]"),
    "times": np.array(["2020-02-29T12:00:00.000000001", "1969-07-20"], "M8[ns]"),
    "big-endian dates": np.array(["2020-02-29", "1969-07-20"], ">M8[25s]"),
    "big-endian": np.array([2, 1], ">i4"),
    "big-endian str": np.array(["b", "a"], ">U3"),
}
if hasattr(np.dtypes, "StringDType"):
    LABELS["strings of any length"] = np.array(["b", "a", "c" * 50], np.dtypes.StringDType())


@pytest.mark.parametrize("name", LABELS)
def test_classes_of_any_type(name, suffix, tmp_path):
    labels = LABELS[name]
    X = np.random.default_rng(0).normal(size=(3 * len(labels), 2))
    model = SoftmaxClassifier(**OPTIONS).fit(X, np.tile(labels, 3))
    loaded = saved(model, tmp_path / f"model{suffix}")
    assert loaded.classes_.dtype == model.classes_.dtype
    assert_same(loaded.classes_.tolist(), model.classes_.tolist())
    assert str(loaded.classes_.tolist()) == str(model.classes_.tolist())  # -0.0 too
    assert_same(loaded.predict(X), model.predict(X))


def test_labels_that_are_no_data_are_an_error(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    X = [[0.0], [1.0]]
    model = SoftmaxClassifier(**OPTIONS).fit(X, np.array([Level.LOW, Level.HIGH], object))
    with pytest.raises(TypeError, match=r"Level\."):
        model.save(path)
    model = SoftmaxClassifier(**OPTIONS).fit(X, [0, 1])
    model.classes_ = np.array([1, 2], "m8[D]")
    with pytest.raises(TypeError, match="m8"):
        model.save(path)
    model.classes_ = np.array(["a", "b"], "<U1000000")  # would be read as a bomb
    with pytest.raises(TypeError, match="far wider"):
        model.save(path)
    if np.finfo(np.longdouble).nmant > np.finfo(float).nmant:
        model.classes_ = np.array([1, 2**60 + 1], np.longdouble)
        with pytest.raises(TypeError, match=r"^classes_: expected labels that JSON can hold"):
            model.save(path)
    assert not list(tmp_path.iterdir())


def test_a_loaded_model_takes_new_classes_where_the_saved_one_does(suffix, tmp_path):
    X, y = data_of()
    first, new = y[:1], np.array(["zebra"])
    for model, grows in (
        (SoftmaxClassifier(**OPTIONS).fit(X, y), True),
        (SoftmaxClassifier(**OPTIONS).partial_fit(X, y), True),
        (SoftmaxClassifier(**OPTIONS).partial_fit(X, y, classes=np.unique(y)), False),
    ):
        for trained in (model, saved(model, tmp_path / f"model{suffix}")):
            for method in (trained.partial_fit, trained.set_params(warm_start=True).fit):
                if grows:
                    method(X[:2], np.concatenate([first, new]))
                    assert trained.classes_.tolist() == [*np.unique(y).tolist(), "zebra"]
                else:
                    with pytest.raises(ValueError, match=r"^y: the label .*zebra.* not among"):
                        method(X[:2], np.concatenate([first, new]))


def test_parameters_keep_their_types(suffix, tmp_path):
    parameters = {
        "alpha": np.float32(1e-3),
        "tol": None,
        "max_iter": np.int16(3),
        "shuffle": np.bool_(True),
        "penalty": np.str_("l2"),
        "random_state": 2**100,
        "eta0": 1e-5,
        "l1_ratio": 0.1 + 0.2,
        "momentum": np.float64(0.1),
        "n_jobs": -1,
        "average": 1,
        "verbose": False,
    }
    X, y = data_of()
    model = SoftmaxClassifier(**parameters).fit(X, y)
    loaded = saved(model, tmp_path / f"model{suffix}")
    assert_same(loaded.get_params(), model.get_params())


def test_weights_of_classes_keep_the_types_of_labels(suffix, tmp_path):
    X = np.arange(12.0).reshape(6, 2)
    for y, weights in (
        ([1, 2, 3] * 2, {1: 2, np.int64(2): np.float32(0.5), 3.0: 1.5}),
        ([True, False] * 3, {True: 2, False: 1.0}),
        (["a", "1", "None"] * 2, {"1": 3}),
    ):
        model = SoftmaxClassifier(class_weight=weights, **OPTIONS).fit(X, y)
        loaded = saved(model, tmp_path / f"model{suffix}")
        assert_same(loaded.class_weight, weights)
        assert_same_model(loaded.fit(X, y), model.fit(X, y))


def test_what_is_no_data_is_left_out_with_a_warning(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    X, y = data_of()
    model = SoftmaxClassifier(
        learning_rate=lambda step: 0.1,
        callbacks=[lambda state: False],
        max_iter=2,
        random_state=np.random.default_rng(3),
        tol=None,
        momentum=0.25,
    ).fit(X, y)
    names = "learning_rate, random_state, callbacks"
    with pytest.warns(UserWarning, match=rf"^{names}: not stored") as seen:
        model.save(path)
    assert seen[0].filename == __file__
    for loader in (load, SoftmaxClassifier.load):
        with pytest.warns(UserWarning, match=rf"saved without {names}, which") as seen:
            loaded = loader(path)
        assert [warning.filename for warning in seen] == [__file__]
    assert (loaded.learning_rate, loaded.callbacks) == ("constant", None)
    assert (loaded.random_state, loaded.momentum) == (None, 0.25)
    assert_same(loaded.predict_proba(X), model.predict_proba(X))
    loaded.set_params(learning_rate=model.learning_rate)  # the order is that of its own generator
    assert_same(loaded.partial_fit(X, y).coef_, model.partial_fit(X, y).coef_)


def test_subclasses_load_as_themselves(suffix, tmp_path):
    class Named(SoftmaxClassifier):
        def __init__(self, *, title="", **parameters):
            super().__init__(**parameters)
            self.title = title

    class Needy(SoftmaxClassifier):
        def __init__(self, *, title, **parameters):
            super().__init__(**parameters)
            self.title = title

    path = tmp_path / f"model{suffix}"
    X, y = data_of()
    model = Named(title="first", **OPTIONS).fit(X, y)
    model.save(path)
    loaded = Named.load(path)
    assert type(loaded) is Named
    assert_same_model(loaded, model)
    with pytest.raises(ModelFileError, match="the parameter 'title', which SoftmaxClassifier of"):
        load(path)
    fitted().save(path)
    with pytest.raises(ModelFileError, match=r"Needy does not accept its parameters: .*title"):
        Needy.load(path)


def test_weights_that_the_user_has_replaced(suffix, tmp_path):
    model = fitted("plain")
    X, _ = data_of()
    model.coef_ = np.asfortranarray(model.coef_.astype(np.float16))
    model.intercept_ = [0.5, -1, 2]
    loaded = saved(model, tmp_path / f"model{suffix}")
    assert_same(loaded.predict_proba(X), model.predict_proba(X))


# Files ------------------------------------------------------------------------------------------------


def contents(path):
    """The metadata and the tensors of a file, read without this package."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            tensors = dict(arrays)
        return json.loads(tensors.pop("metadata").tobytes()), tensors
    with safetensors.safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["fastsoftmax"]), tensors


def test_numpy_and_safetensors_read_the_files(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    model = fitted(dtype=np.float32)
    model.save(path)
    metadata, tensors = contents(path)
    assert metadata["format"] == "fastsoftmax model"
    assert metadata["version"] == VERSION
    assert metadata["package"] == fastsoftmax.__version__
    assert metadata["parameters"]["momentum"] == 0.9
    np.testing.assert_array_equal(tensors["coef"], model.coef_)
    assert tensors["coef"].dtype == np.float32
    np.testing.assert_array_equal(tensors["loss_curve"], model.loss_curve_)


def test_the_digest_is_that_of_all_other_bytes(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    fitted().save(path)
    assert resealed(path.read_bytes(), suffix) == path.read_bytes()


def test_the_same_model_is_the_same_archive(tmp_path):
    model = fitted()
    for name in ("a.npz", "b.npz"):
        model.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("name", ["model", "model.pkl", "model.npy", "npz", ".npz", "model.npz.gz"])
def test_other_suffixes(name, tmp_path):
    model, path = fitted(), tmp_path / name
    for call in (model.save, load):
        with pytest.raises(ValueError, match=r"^path: expected .* in \.npz or \.safetensors, got"):
            call(path)
    with pytest.raises(ValueError, match=r"^path: expected .* in \.onnx, got"):
        model.to_onnx(path)
    assert not list(tmp_path.iterdir())


def test_paths(suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = fitted()
    for path in (f"a{suffix}", Path(f"b{suffix}"), f"c{suffix.upper()}"):
        assert_same_model(saved(model, path), model)
    for path in (None, 3, b"model.npz", io.BytesIO()):
        for call in (model.save, load, model.to_onnx):
            with pytest.raises(TypeError, match=r"^path: expected a str"):
                call(path)


def test_files_that_cannot_be_read_are_os_errors(suffix, tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / f"none{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(IsADirectoryError):
        load(tmp_path / f"folder{suffix}")
    os.mkfifo(tmp_path / f"pipe{suffix}")
    with pytest.raises(ModelFileError, match="is not a regular file"):
        load(tmp_path / f"pipe{suffix}")


def test_a_model_that_is_not_fitted(suffix, tmp_path):
    for call in (SoftmaxClassifier().save, SoftmaxClassifier().to_onnx):
        with pytest.raises(NotFittedError, match="is not fitted"):
            call(tmp_path / f"model{suffix}")


@pytest.mark.parametrize("module", ["safetensors", "onnx"])
def test_what_to_install(module, tmp_path, monkeypatch):
    model, path = fitted(), tmp_path / f"model.{module}"
    calls = (model.save, load) if module == "safetensors" else (model.to_onnx,)
    monkeypatch.setitem(sys.modules, module, None)
    for call in calls:
        with pytest.raises(
            ImportError,
            match=rf"needs? {module}, which is not available: .*; pip install {module}$",
        ):
            call(path)
    assert not path.exists()


def test_numpy_alone_will_do_for_npz(tmp_path, monkeypatch):
    for module in ("safetensors", "onnx"):
        monkeypatch.setitem(sys.modules, module, None)
    model = fitted()
    assert_same_model(saved(model, tmp_path / "model.npz"), model)


# Writing ----------------------------------------------------------------------------------------------

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
            assert load(path).momentum in (0.0, 0.9)
    finally:
        stop.set()
        writer.join()


# Files that are broken ---------------------------------------------------------------------------------


def resealed(data, suffix):
    """The file with the digest that it should have; the rule of the format once more, written out."""
    at = len(data) - 64 if suffix == ".npz" else data.find(b'"sha256":"') + 10
    blank = data[:at] + b"0" * 64 + data[at + 64 :]
    digest = hashlib.sha256(blank).hexdigest().encode()
    return data[:at] + digest + data[at + 64 :]


def refused(path, data, reason=""):
    """Load a file that is to be refused, whatever else would be raised or warned."""
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message) < len(str(path)) + 500
    assert re.search(reason, message, re.DOTALL), message


@pytest.fixture
def sound(suffix, tmp_path):
    """A path, the bytes of a small model's file, its metadata and its tensors."""
    path = tmp_path / f"model{suffix}"
    X, y = data_of(n_features=2)
    SoftmaxClassifier(standardize=True, average=True, momentum=0.5, **OPTIONS).fit(X, y).save(path)
    return path, path.read_bytes(), *contents(path)


@pytest.mark.costly
def test_truncated_at_any_byte(sound):
    path, data, _, _ = sound
    for length in range(len(data)):
        refused(path, data[:length])
    refused(path, data + b"\0")


@pytest.mark.costly
def test_any_byte_changed(sound):
    path, data, _, _ = sound
    rng = random.Random(0)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        refused(path, bytes(changed))
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] = (changed[place] + rng.randrange(1, 256)) % 256
        refused(path, bytes(changed))


def test_what_a_library_makes_of_a_file(sound, suffix, monkeypatch):
    path, data, _, _ = sound

    def fail(data):
        raise error

    monkeypatch.setattr(CODECS[suffix], "unpack", fail)
    error = LookupError("x" * 1000)  # of a kind that no library is known to raise
    refused(path, data, "is damaged: LookupError: x{300}")
    error = MemoryError("of a sound file")
    with pytest.raises(MemoryError, match="of a sound file"):
        load(path)


def test_files_of_another_kind(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    archive = io.BytesIO()
    np.savez(archive, coef=np.zeros((2, 2)))
    other = safetensors.numpy.save({"coef": np.zeros((2, 2))})
    for data in (
        b"",
        b"PK\x03\x04",
        b"{}",
        b"\x80\x04N.",
        os.urandom(1000),
        b"\0" * 1000,
        b"\xff" * 99,
    ):
        refused(path, data)
    for data in (archive.getvalue(), other, pickle.dumps(fitted()), pickle.dumps({"coef": 1})):
        refused(path, data, "is not a|checksum")


def test_the_other_format_under_this_suffix(sound, suffix):
    path, data, _, _ = sound
    other = next(name for name in CODECS if name != suffix)
    refused(path.with_suffix(other), data, f"is not an? {other} file")


# That of a long double where it has another size.
ALIEN_FLOAT = "<f16" if np.dtype(np.longdouble).itemsize != 16 else "<f12"
BREAKS = {
    "newer": (
        {"version": VERSION + 1, "package": "9.1.0"},
        rf"version {VERSION + 1} .* by fastsoftmax 9\.1\.0.*upgrade",
    ),
    "version 0": ({"version": 0}, "version: expected an integer >= 1, got '(0|1|True)',"),
    "version of text": ({"version": "1"}, "version: expected an integer >= 1, got '(0|1|True)',"),
    "version true": ({"version": True}, "version: expected an integer >= 1, got '(0|1|True)',"),
    "another format": ({"format": "model"}, "not that of a fastsoftmax model"),
    "an entry more": ({"extra": 1}, "has .*extra"),
    "unknown parameter": ({"parameters": {"gamma": 1}}, "the parameter 'gamma', which"),
    "unknown left out": ({"left_out": ["gamma"]}, "the parameter 'gamma', which"),
    "left out": ({"left_out": "alpha"}, "left_out"),
    "parameters": ({"parameters": [1]}, "parameters"),
    "a parameter of lists": ({"parameters": {"alpha": [[]]}}, "alpha: .* is not a scalar"),
    "a parameter of a dtype": ({"parameters": {"alpha": ["|O", 1]}}, "alpha: '.O' is not a dtype"),
    "a date": ({"parameters": {"alpha": ["<M8[s]", 1]}}, "alpha: .* is not a dtype"),
    "a number not of its dtype": ({"parameters": {"alpha": ["<i4", 1 << 40]}}, "alpha: .* range"),
    "an object": ({"parameters": {"alpha": {"class": "os.system"}}}, "alpha: expected a mapping"),
    "a label twice": (
        {"parameters": {"class_weight": {"mapping": [[1, 1], [True, 2]]}}},
        "class_weight: contains a label twice",
    ),
    "a label without a weight": (
        {"parameters": {"class_weight": {"mapping": [[1, 1], [2]]}}},
        "class_weight: expected pairs of a label and a number",
    ),
    "no byte": ({"classes": {"dtype": "|S1", "labels": ["a", "b", "ā"]}}, "a byte above 255"),
    "a dtype of another machine": (
        {"classes": {"dtype": ALIEN_FLOAT, "labels": [0.0, 1.0, 2.0]}},
        f"this NumPy, .*, has no dtype '{ALIEN_FLOAT}'",
    ),
    "one class": (
        {"grows": False, "classes": {"dtype": "<U3", "labels": ["a"]}},
        "at least two, got 1",
    ),
    "no date": ({"classes": {"dtype": "<M8[D]", "labels": [-(2**63), 0, 1]}}, "NaT"),
    "far dates": ({"classes": {"dtype": "<M8[D]", "labels": [2**63, 0, 1]}}, "out of the range"),
    "dates as text": ({"classes": {"dtype": "<M8[D]", "labels": ["a"] * 3}}, "is not of int64"),
    "dates of no unit": (
        {"classes": {"dtype": "<M8", "labels": [0, 1, 2]}},
        "not a dtype of labels",
    ),
    "dates in zeros": (
        {"classes": {"dtype": "<M8[0D]", "labels": [0, 1]}},
        "not a dtype of labels",
    ),
    "spans of time": ({"classes": {"dtype": "<m8[D]", "labels": [0, 1]}}, "not a dtype of labels"),
    "objects of two types": ({"classes": {"dtype": "|O", "labels": ["a", 1]}}, "of one type"),
    "huge objects": ({"classes": {"dtype": "|O", "labels": [0, 2**64]}}, "integers within int64"),
    "no class": ({"classes": {"dtype": "<U3", "labels": []}}, "at least one, got 0"),
    "more classes": ({"classes": {"dtype": "<U3", "labels": list("abcd")}}, r"coef: .*\(4, 2\)"),
    "unsorted": ({"classes": {"dtype": "<U3", "labels": ["b", "a", "c"]}}, "sorted and each once"),
    "twice": ({"classes": {"dtype": "<i8", "labels": [1, 1, 2]}}, "sorted and each once"),
    "a mixture": ({"classes": {"dtype": "|O", "labels": ["a", 1, 2]}}, "of one type"),
    "objects": ({"classes": {"dtype": "|O", "labels": [None, 1, 2]}}, "None is not a label"),
    "cut labels": (
        {"classes": {"dtype": "<U1", "labels": ["a", "bb", "c"]}},
        "<U1 does not represent its values",
    ),
    "wide labels": ({"classes": {"dtype": "<U999999999", "labels": list("abc")}}, "far wider"),
    "wide bytes": ({"classes": {"dtype": "|S999999999", "labels": list("abc")}}, "far wider"),
    "out of range": ({"classes": {"dtype": "|u1", "labels": [1, 2, 256]}}, "out of the range"),
    "negative": ({"classes": {"dtype": "<u8", "labels": [-1, 2, 3]}}, "out of the range"),
    "bools as ints": (
        {"classes": {"dtype": "<i8", "labels": [0, True, 3]}},
        "True is not of int64",
    ),
    "inf": (
        {"classes": {"dtype": "<f4", "labels": [0.0, 1.0, 1e99]}},
        "float32 does not represent its values",
    ),
    "another dtype": ({"classes": {"dtype": "V8", "labels": list("abc")}}, "not a dtype of labels"),
    "a dtype of code": (
        {"classes": {"dtype": "i8,O", "labels": [1, 2, 3]}},
        "not a dtype of labels",
    ),
    "features": ({"n_features": 3}, r"coef: expected shape \(3, 3\), got \(3, 2\)"),
    "no features": ({"n_features": 0}, "n_features"),
    "many features": ({"n_features": 1 << 62}, "expected shape"),
    "features of text": ({"n_features": "2"}, "n_features"),
    "names": ({"feature_names": ["a"]}, "feature_names: expected 2, got 1"),
    "names of numbers": ({"feature_names": [1, 2]}, "feature_names: expected a list of strings"),
    "epochs": ({"n_epochs": 5}, r"loss_curve: expected shape \(5,\), got \(4,\)"),
    "steps": ({"n_steps": -1}, "n_steps"),
    "steps beyond": ({"n_steps": 1 << 63}, "n_steps"),
    "eta0": ({"eta0": 0.0}, "eta0"),
    "eta0 of text": ({"eta0": "auto"}, "eta0"),
    "mean weight": ({"mean_weight": -1.0}, "mean_weight"),
    "score": ({"best_validation_score": "1"}, "best_validation_score"),
    "centred": ({"is_centred": 1}, "is_centred"),
    "grows": ({"grows": 1}, "grows"),
    "average": ({"average": None}, "average"),
    "average of two": ({"average": [0, 1]}, "average"),
    "average before": ({"average": [0, -1, 1]}, "average"),
    "random": ({"random": {}}, "random"),
    "even inc": (
        {"random": {"state": 1, "inc": 2, "has_uint32": 0, "uinteger": 0}},
        "random: expected an odd inc",
    ),
    "large state": (
        {"random": {"state": 1 << 128, "inc": 1, "has_uint32": 0, "uinteger": 0}},
        "random: expected state of 128 bits",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_metadata_that_is_no_model(name, sound, suffix):
    """Files whose digest is right: made by hand."""
    path, _, metadata, tensors = sound
    change, reason = BREAKS[name]
    refused(path, CODECS[suffix].pack(json.dumps(metadata | change), tensors), reason)


def test_metadata_that_lacks_something(sound, suffix):
    path, _, metadata, tensors = sound
    for name in metadata:
        rest = {key: value for key, value in metadata.items() if key != name}
        refused(path, CODECS[suffix].pack(json.dumps(rest), tensors))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its metadata"),
        ("[1, 2]", "not that of a fastsoftmax model"),
        ("null", "not that of a fastsoftmax model"),
        ("{", "its metadata: Expecting"),
        ("{} {}", "its metadata: Extra data"),
        ("[" * 200_000, "nests too deep"),
        ('{"a":' * 200_000, "nests too deep"),
        ('{"format": NaN}', "NaN, which JSON does not allow"),
        ('{"format": -Infinity}', "-Infinity, which JSON does not allow"),
        ('{"format": ' + "9" * 5000 + "}", "its metadata"),
        ('{"version": 1, "version": 1}', "'version' twice"),
    ],
)
def test_json_that_is_no_metadata(text, reason, sound, suffix):
    path, _, _, tensors = sound
    refused(path, CODECS[suffix].pack(text, tensors), reason)


def test_duplicate_members_of_the_metadata(sound, suffix):
    path, _, metadata, tensors = sound
    text = json.dumps(metadata)
    for twice in (f'"version": {VERSION}', '"alpha": 0.0001'):
        assert text.count(twice) == 1
        doubled = text.replace(twice, f"{twice}, {twice}")
        refused(path, CODECS[suffix].pack(doubled, tensors), "twice")


TENSORS = {
    "no coef": ({"coef": None}, "lacks the tensor 'coef'"),
    "no loss": ({"loss_curve": None}, "lacks the tensor 'loss_curve'"),
    "another": ({"biases": np.zeros(3)}, "a tensor 'biases', which"),
    "no mean": ({"mean": None}, "'scale' without 'mean'"),
    "no scale": ({"scale": None}, "'mean' without 'scale'"),
    "last": ({"last_coef": None}, "'last_intercept' without 'last_coef'"),
    "no average": ({"average_coef": None}, "'average_intercept' without 'average_coef'"),
    "neither": ({"average_coef": None, "average_intercept": None}, "average"),
    "shape": ({"coef": np.zeros((2, 3))}, r"coef: expected shape \(3, 2\), got \(2, 3\)"),
    "flat": ({"coef": np.zeros(6)}, r"coef: expected shape \(3, 2\), got \(6,\)"),
    "no number": ({"intercept": np.zeros(0)}, "intercept: expected shape"),
    "velocity": ({"coef_velocity": np.zeros((3, 1))}, "coef_velocity: expected shape"),
    "nan": ({"coef": np.full((3, 2), np.nan)}, "coef: expected finite numbers, got NaN"),
    "inf": ({"intercept": np.full(3, -np.inf)}, "intercept: expected finite numbers, got inf"),
    "nan loss": ({"loss_curve": np.full(4, np.nan)}, "loss_curve: expected finite"),
    "nan last": ({"last_coef": np.full((3, 2), np.nan)}, "last_coef: expected finite"),
    "scale of 0": ({"scale": np.zeros(2)}, "scale: expected numbers greater than 0"),
    "single mean": ({"mean": np.zeros(2, np.float32)}, "mean: expected float64, got float32"),
    "two dtypes": ({"coef": np.zeros((3, 2), np.float32)}, "expected one dtype"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_are_no_model(name, sound, suffix):
    path, _, metadata, tensors = sound
    change, reason = TENSORS[name]
    changed = {k: v for k, v in (tensors | change).items() if v is not None}
    refused(path, CODECS[suffix].pack(json.dumps(metadata), changed), reason)


@dataclass(frozen=True, eq=False)
class NextModel(FittedModel):
    """What a model of the next version may have: a scalar and a tensor more."""

    temperature_: float = field(
        default=1.0,
        metadata={
            "stored": Stored(
                (Scalar("temperature", float, positive, since=VERSION + 1, before=1.0),)
            )
        },
    )
    path_alphas_: np.ndarray | None = field(
        default=None,
        metadata={"stored": Stored((Tensor("path_alphas", ("strengths",), is_double=True),))},
    )


NEXT = Format(NextModel, VERSION + 1)


def next_file(suffix):
    """A model with more attributes, and the bytes of its file in the next version."""
    model = fitted()
    model.temperature_, model.path_alphas_ = 2.5, np.array([1.0, 0.1])
    content, _ = contents_of(model, NEXT)
    return model, CODECS[suffix].pack(written(content.metadata), content.tensors)


def test_a_file_of_the_next_version_is_read_by_the_code_that_knows_it(suffix):
    model, data = next_file(suffix)
    found = model_of(SoftmaxClassifier, *CODECS[suffix].unpack(data), NEXT)
    assert found.attributes["temperature_"] == 2.5
    np.testing.assert_array_equal(found.attributes["path_alphas_"], [1.0, 0.1])
    for name in ("coef_", "intercept_", "mean_", "_random"):
        assert_same(found.attributes[name], getattr(model, name))


def test_a_file_of_this_version_is_read_by_the_next_one(sound, suffix):
    data = sound[1]
    found = model_of(SoftmaxClassifier, *CODECS[suffix].unpack(data), NEXT)
    assert found.attributes["temperature_"] == 1.0
    assert found.attributes["path_alphas_"] is None


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_file_of_an_earlier_version_is_completed(sound, suffix, version):
    path, _, metadata, tensors = sound
    later = {entry.name for entry in CURRENT.scalars if entry.since > version}
    older = {name: value for name, value in metadata.items() if name not in later}
    assert len(older) < len(metadata)
    if version == 1:  # which had no mass, without which squares say nothing
        tensors.pop("squares", None)
    path.write_bytes(CODECS[suffix].pack(written(older | {"version": version}), tensors))
    model = load(path)
    assert model.optimality_.gap is None
    assert model.optimality_.reason.startswith("the file is of an earlier version")
    assert (model._step_sizes is None) == (version == 1)


def test_a_file_of_the_next_version_is_refused_by_this_one(suffix, tmp_path):
    _, data = next_file(suffix)
    here = re.escape(fastsoftmax.__version__)
    reason = (
        rf"has version {VERSION + 1} of the format, written by fastsoftmax {here}; fastsoftmax {here} "
        rf"reads versions up to {VERSION}: upgrade it, or save the model with this version$"
    )
    path = tmp_path / f"model{suffix}"
    refused(path, data, reason)
    # A wrong version does not let unknown entries in.
    text, tensors = CODECS[suffix].unpack(data)
    for without in ("temperature", "path_alphas"):
        metadata = json.loads(text) | {"version": VERSION}
        kept = {name: array for name, array in tensors.items() if name != without}
        if without == "temperature":
            del metadata[without]
        unknown = "path_alphas" if without == "temperature" else "temperature"
        refused(path, CODECS[suffix].pack(json.dumps(metadata), kept), f"'{unknown}'")


def archive_of(members, compression=zipfile.ZIP_STORED):
    """An .npz file of these members, with its digest."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", compression) as archive:
        warnings.simplefilter("ignore")  # a member twice
        for name, data in members:
            archive.writestr(name, data)
        archive.comment = b"fastsoftmax sha256 " + b"0" * 64
    return resealed(stream.getvalue(), ".npz")


def members_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


class Evil:
    """Says so where it is unpickled."""

    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "model.npz"
    fitted("plain").save(path)
    members = members_of(path.read_bytes())
    path.write_bytes(archive_of(members))
    load(path)  # so that what is refused below is refused for its own reason
    return path, members


def test_archives_with_other_members(archive, capsys):
    path, members = archive
    extra = npy(np.zeros(2))
    for name in ("../coef.npy", "/etc/coef.npy", "a/coef.npy", "c:\\coef.npy", "coef", "coef.npz"):
        refused(path, archive_of([*members, (name, extra)]), "a member named")
    for name in ("Coef.npy", "co\0ef.npy", "ü.npy", "x" * 9999 + ".npy", ".npy"):
        refused(path, archive_of([*members, (name, extra)]), "a member named")
    refused(path, archive_of([*members, ("coef.npy", extra)]), "two members named 'coef.npy'")
    refused(path, archive_of([*members, ("biases.npy", extra)]), "a tensor 'biases'")
    evil = npy(np.array([Evil()], object), allow_pickle=True)
    refused(path, archive_of([("coef.npy", evil), *members[:1]]), r"a pickle")
    refused(
        path, archive_of([("coef.npy", pickle.dumps(Evil())), *members[:1]]), "coef.npy: is not"
    )
    refused(path, archive_of(members[1:]), "no bytes named metadata")
    refused(path, archive_of([("metadata.npy", extra)]), "no bytes named metadata")
    refused(path, archive_of(members, zipfile.ZIP_DEFLATED), "is compressed")
    assert "unpickled" not in capsys.readouterr().out


def test_messages_do_not_quote_the_file(archive):
    path, members = archive
    data = bytearray(archive_of(members))
    data[26:28] = (2000).to_bytes(2, "little")  # the length of the first name, which zipfile shows
    refused(path, resealed(bytes(data), ".npz"), r"its archive is damaged: .*\.\.\.$")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 6), }",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (3, 6), }",
        "{'descr': '>f8', 'fortran_order': False, 'shape': (3, 6), }",
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3, 6), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 7), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -6), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 3, 2), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999999, 999999999999), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (18), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': print('unpickled'), }",
        "(" * 60_000,
        "-" * 60_000 + "1",
        "",
    ],
)
def test_headers_of_arrays(header, archive, capsys):
    path, members = archive
    data = header.encode() + b"\n"
    coef = b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data + bytes(3 * 6 * 8)
    refused(path, archive_of([m if m[0] != "coef.npy" else ("coef.npy", coef) for m in members]))
    assert "unpickled" not in capsys.readouterr().out


def peak_of_refusal(path, data, reason):
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=reason):
            load(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_bombs_are_not_unpacked(archive):
    path, members = archive
    zeros = npy(np.zeros(10_000_000))
    bomb = archive_of([*members[:1], ("coef.npy", zeros)], zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert peak_of_refusal(path, bomb, "is compressed") < 1_000_000
    # The same with sizes that deny it: the central directory says what it likes.
    stored = bytearray(archive_of(members))
    at = stored.index(b"PK\x01\x02")
    for sizes in (b"\xff\xff\xff\x7f" * 2, b"\xf0\xff\xff\xff" * 2):
        stored[at + 20 : at + 28] = sizes
        data = resealed(bytes(stored), ".npz")
        assert peak_of_refusal(path, data, "members are longer than the file") < 1_000_000
    # Members that lie on one another: each within the file, together not.
    first = bytes(stored[at : at + 46 + len("metadata.npy")])
    sizes = (len(stored) // 2).to_bytes(4, "little") * 2
    entries = [first[:20] + sizes + first[28:46] + f"meta{c}ata.npy".encode() for c in "abc"]
    end = bytearray(stored[stored.index(b"PK\x05\x06") :])
    end[8:12] = (3).to_bytes(2, "little") * 2
    end[12:16] = sum(map(len, entries)).to_bytes(4, "little")
    data = resealed(bytes(stored[:at]) + b"".join(entries) + bytes(end), ".npz")
    assert peak_of_refusal(path, data, "members are longer than the file") < 1_000_000


@pytest.mark.costly
def test_memory_is_that_of_the_file(sound, suffix):
    path, _, metadata, tensors = sound
    widest = {"dtype": "<U16", "labels": [""] * 100_000}
    for change, reason in (
        ({"left_out": [[]] * 300_000}, "left_out"),
        ({"left_out": [{}] * 300_000}, "left_out"),
        ({"left_out": [{"": []}] * 100_000}, "left_out"),
        ({"classes": widest}, "sorted and each once"),
        ({"feature_names": [""] * 300_000}, "feature_names"),
    ):
        text = json.dumps(metadata | change, separators=(",", ":"))
        data = CODECS[suffix].pack(text, tensors)
        # 3 bytes of JSON, "[]," or "{},", are an object of 64 bytes and a pointer: 24 times as much, and
        # a dictionary in use, of 7 bytes, is one of 224. Beside it are a few copies of the text.
        assert peak_of_refusal(path, data, reason) < 48 * len(data)


def header_of(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def safetensors_of(header, numbers):
    text = (
        header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    )
    return resealed(len(text).to_bytes(8, "little") + text + numbers, ".safetensors")


def test_headers_of_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    fitted("plain").save(path)
    header, numbers = header_of(path.read_bytes())
    path.write_bytes(safetensors_of(header, numbers))
    load(path)  # so that what is refused below is refused for its own reason
    coef = header["coef"]
    start, end = coef["data_offsets"]
    for change, reason in (
        ({"coef": coef | {"dtype": "I64"}}, "expected F32 or F64"),
        ({"coef": coef | {"dtype": ["F64"]}}, "expected F32 or F64"),
        ({"coef": coef | {"shape": [3, 7]}}, "does not fit its bytes"),
        ({"coef": coef | {"shape": [3, -6]}}, "are invalid"),
        ({"coef": coef | {"shape": [1 << 62, 1 << 62]}}, "does not fit its bytes"),
        ({"coef": coef | {"shape": [1 << 200, 1]}}, "are invalid"),
        ({"coef": coef | {"shape": [3.0, 6]}}, "are invalid"),
        ({"coef": coef | {"shape": [3, 6, 1]}}, "are invalid"),
        ({"coef": coef | {"shape": "36"}}, "are invalid"),
        ({"coef": coef | {"data_offsets": [start + 8, end + 8]}}, "do not fill|damaged"),
        ({"coef": coef | {"data_offsets": [0]}}, "are invalid"),
        ({"coef": coef | {"extra": 1}}, "expected dtype, shape and data_offsets"),
        ({"coef": []}, "expected dtype, shape and data_offsets"),
        ({"loss_curve": coef}, "do not fill|damaged"),
        (
            {"../coef": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}},
            r"tensor '\.\./coef'",
        ),
        ({"__metadata__": header["__metadata__"] | {"more": ""}}, "its metadata is not"),
        ({"__metadata__": {"sha256": "0" * 64}}, "its metadata is not"),
        ({"__metadata__": {"sha256": "0" * 64, "fastsoftmax": {}}}, "its metadata is not"),
        ({"__metadata__": None}, "no checksum"),
    ):
        refused(path, safetensors_of(header | change, numbers), reason)
    text = json.dumps(header, separators=(",", ":"))
    for broken, reason in (
        (text[:-1] + ',"coef":' + json.dumps(coef) + "}", "'coef' twice"),
        (text[:-1] + ',"x":' + "[" * 100_000, "nests too deep"),
        (text[:-1], "its header"),
        (text.replace('"coef"', '"c\xff"'), "its header"),
    ):
        refused(path, safetensors_of(broken.encode("latin-1"), numbers), reason)
    refused(path, safetensors_of(header, numbers + bytes(8)), "do not fill the file")
    refused(path, safetensors_of(header, numbers[:-8]), "do not fill the file")
    short = b'{"__metadata__":{"sha256":"' + b"0" * 63
    refused(path, len(short).to_bytes(8, "little") + short, "is truncated")
    for length in (0, 1, 1 << 40, (1 << 64) - 1):
        refused(path, length.to_bytes(8, "little") + text.encode(), "not a .safetensors|checksum")


def mutated(data, rng):
    """Bytes changed, left out, put in and moved about."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at, size = rng.randrange(len(data)), rng.choice([1, 2, 4, 8, 64])
        there = rng.randrange(len(data))
        change = rng.randrange(6)
        if change == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            data[at : at + size] = rng.randbytes(size)
        elif change == 2 and len(data) > 2 * size:
            del data[at : at + size]
        elif change == 3:
            data[at:at] = rng.randbytes(size)
        elif change == 4:
            data[at : at + size] = data[there : there + size]
        else:
            data[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"'|O'", b"[[[[", b"1e99"])
    return bytes(data)


def load_or_refuse(path, data):
    path.write_bytes(data)
    try:
        return load(path)
    except ModelFileError:
        return None


@pytest.mark.costly
@pytest.mark.parametrize("seed", range(4))
def test_mutated_files(seed, sound, suffix):
    path, data, _, _ = sound
    rng = random.Random(seed)
    for _ in range(500):
        broken = mutated(data, rng)
        if broken != data:
            refused(path, broken)
        load_or_refuse(path, resealed(broken, suffix))  # nothing else is raised, or warned


ATOMS = [None, True, 0, -1, 3, 1 << 63, 1 << 130, 10**3000, 1.5, -1.0, "", "a", "|O", "<U999999999"]
ATOMS += ["<f8", "\ud800", [], {}, [[1]], ["<f8", 1.0], ["<f8", 1], ["<U", "x"], {"mapping": []}]
ATOMS += [{"mapping": [[1, 2], [True, []]]}, {"dtype": "T", "labels": ["a", "\ud800", "z"]}]


def mutated_json(value, rng):
    """Somewhere in it, another value, one more or one less."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return copy.deepcopy(rng.choice(ATOMS))
    value = copy.copy(value)
    at = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    if rng.random() < 0.1:
        del value[at]
    else:
        value[at] = mutated_json(value[at], rng)
    return value


@pytest.mark.costly
@pytest.mark.parametrize("seed", range(4))
def test_mutated_metadata(seed, sound, suffix):
    path, _, metadata, tensors = sound
    rng, n_loaded = random.Random(seed), 0
    for _ in range(500):
        text = json.dumps(mutated_json(metadata, rng))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*(saved without|valid feature names)")
            model = load_or_refuse(path, CODECS[suffix].pack(text, tensors))
            if model is not None:
                n_loaded += 1
                # Whether the parameters make sense is for who uses them to say.
                model.set_params(backend="auto", n_jobs=1)
                assert model.decision_function(np.zeros((1, 2))).shape == (1, 3)
    assert 0 < n_loaded < 250  # other values of parameters are no matter of the file


# ONNX -------------------------------------------------------------------------------------------------


def session_of(model, path):
    model.to_onnx(path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", MODELS)
def test_onnx_predicts_the_same(name, dtype, tmp_path):
    model = fitted(name, dtype)
    X = data_of(np.float32)[0]
    labels, probabilities = session_of(model, tmp_path / "model.onnx").run(None, {"X": X})
    assert probabilities.dtype == np.float32
    expected = model.predict_proba(X)
    if dtype == np.float64:
        # Rounded once; float64 has nothing to add to that but where it falls between two numbers.
        np.testing.assert_allclose(probabilities, expected, rtol=2**-23)
    else:
        # A logit is a sum of 7 terms, with an error of 7 eps of the largest sum of their sizes, on each
        # side; an error d of the logits is a relative one of 2 d. A softmax adds a few eps itself.
        size = (np.abs(X) @ np.abs(model.coef_.T) + np.abs(model.intercept_)).max()
        rtol = (4 * 7 * size + 32) * 2**-24
        np.testing.assert_allclose(probabilities, expected, rtol=rtol, atol=1e-37)
    top = np.sort(expected, axis=1)
    sure = top[:, -1] - top[:, -2] > 1e-5
    assert sure.sum() > 100
    assert labels[sure].tolist() == model.predict(X)[sure].tolist()


def test_the_graph_of_onnx(tmp_path):
    model = fitted()
    session = session_of(model, tmp_path / "model.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("X", "tensor(float)", ["N", 6])
    outputs = [(o.name, o.type, o.shape) for o in session.get_outputs()]
    assert outputs == [
        ("label", "tensor(string)", ["N"]),
        ("probabilities", "tensor(float)", ["N", 3]),
    ]
    written = onnx.load(tmp_path / "model.onnx")
    assert (written.producer_name, written.producer_version) == (
        "fastsoftmax",
        fastsoftmax.__version__,
    )
    for n_samples in (1, 7):
        labels, probabilities = session.run(None, {"X": np.zeros((n_samples, 6), np.float32)})
        assert (labels.shape, probabilities.shape) == ((n_samples,), (n_samples, 3))


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_onnx(name, tmp_path):
    labels = LABELS[name]
    X = 5 * np.eye(len(labels), dtype=np.float32)
    model = SoftmaxClassifier(**OPTIONS).fit(X, labels)
    path = tmp_path / "model.onnx"
    if labels.dtype.kind == "M" or name in ("uint64", "huge floats", "str", "bytes"):
        with pytest.raises(
            ValueError,
            match=r"^classes_: expected (labels within int64|Unicode strings|integers or)",
        ):
            model.to_onnx(path)
        assert not path.exists()
        if name != "str":
            return
        labels = np.array(["b", "a", "", "ü☃𝄞", "e", 'q"\\\n'])
        model.fit(X, labels)
    predicted = session_of(model, path).run(["label"], {"X": X})[0]
    assert predicted.dtype == (object if isinstance(labels[0], str) else np.int64)
    assert predicted.tolist() == model.predict(X).tolist()


def test_the_order_of_equal_logits_and_logits_beyond_exp(tmp_path):
    model = fitted("plain")
    model.coef_[:], model.intercept_[:] = 0, [2.0, 3.0, 3.0]
    session = session_of(model, tmp_path / "model.onnx")
    assert session.run(["label"], {"X": np.ones((1, 6), np.float32)})[0] == ["dog"]
    model.coef_[0] = 1e6
    probabilities = session_of(model, tmp_path / "model.onnx").run(
        ["probabilities"], {"X": np.ones((1, 6), np.float32)}
    )[0]
    assert probabilities.tolist() == [[1.0, 0.0, 0.0]]
