"""Model files that are broken, or say what no model is: all are refused with a reason."""

import io
import json
import os
import pickle
import random

import numpy as np
import pytest
import safetensors.numpy
from covering import few
from model_file_cases import (
    CODECS,
    fitted,
    refused,
)

from fastsoftmax import load
from fastsoftmax.classifier.model_files.contents import (
    VERSION,
)


@pytest.mark.thinned
def test_truncated_at_any_byte(sound):
    path, data, _, _ = sound
    for length in few(range(len(data)), 200):
        refused(path, data[:length])
    refused(path, data + b"\0")


@pytest.mark.thinned
def test_any_byte_changed(sound):
    path, data, _, _ = sound
    rng = random.Random(0)
    for place in few(range(len(data)), 200):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        refused(path, bytes(changed))
    for place in few(range(0, len(data), 7), 50):
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
    for twice in (f'"version": {VERSION}', '"alpha": "size"'):
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
