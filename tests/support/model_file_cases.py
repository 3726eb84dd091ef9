"""Models to save, their files, and what a file must not change."""

import copy
import hashlib
import json
import re
from dataclasses import fields, is_dataclass
from enum import StrEnum

import numpy as np
import pytest
import safetensors.numpy

from fastsoftmax import ModelFileError, SoftmaxClassifier, load
from fastsoftmax.persistence import npz, safe_tensors

CODECS = {".npz": npz, ".safetensors": safe_tensors}


OPTIONS = {"batch_size": 16, "random_state": 0, "max_iter": 4, "tol": None}


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


def contents(path):
    """The metadata and the tensors of a file, read without this package."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            tensors = dict(arrays)
        return json.loads(tensors.pop("metadata").tobytes()), tensors
    with safetensors.safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["fastsoftmax"]), tensors


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
