"""Targets for model files and checkpoints: what is loaded is a model that can be saved again, or a
ModelFileError comes out.

The first byte says whether the rest is a file as it is, one whose digest is made to fit, or the metadata
and the tensors that a file is made of.
"""

import io
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax.persistence import safe_tensors
from fastsoftmax.persistence.checksum import ZEROS, sealed

from .decoding import Choices, file_of, folder

_NAMES = ("coef", "intercept", "loss_curve", "validation_scores", "mean", "scale")
_NAMES += ("coef_velocity", "intercept_velocity", "last_coef", "last_intercept")
_NAMES += ("average_coef", "average_intercept", "best_coef", "best_intercept", "other")
_NAMES += ("best_coef_velocity", "best_intercept_velocity")
_NAMES += ("best_average_coef", "best_average_intercept")
_NAMES += ("squares",)
# A parameter in a file may be any plain value, and is checked when it is used.
_OF_PARAMETERS = (ValueError, TypeError, ImportError, fastsoftmax.DivergenceError)


def tensors_of(choices: Choices) -> dict[str, np.ndarray[Any, Any]]:
    """As many tensors as the next byte says, of a few numbers each."""
    found = {}
    for _ in range(choices.below(16)):
        name, dtype = choices.one_of(_NAMES), choices.one_of(("<f8", "<f4", "|u1", "<i8"))
        n_dimensions, shape = choices.below(4), (choices.below(8), choices.below(8))
        sizes = {0: (), 1: shape[:1], 2: shape, 3: (*shape, 1)}[n_dimensions]
        found[name] = choices.numbers(sizes, dtype)
    return found


def _text_and_tensors(choices: Choices) -> tuple[bytes, dict[str, np.ndarray[Any, Any]]]:
    length = choices.byte() + 256 * choices.byte()
    text = choices.data[choices.at : choices.at + length]
    choices.at += length
    return text, tensors_of(choices)


def npz_file(data: bytes) -> bytes:
    choices = Choices(data)
    mode = choices.below(4)
    if mode == 0:
        return choices.rest()
    if mode == 1:
        content = choices.rest()
    else:
        text, tensors = _text_and_tensors(choices)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            arrays = {"metadata": np.frombuffer(text, np.uint8), **tensors}
            for name, array in arrays.items():
                member = io.BytesIO()
                np.lib.format.write_array(member, array, version=(1, 0))
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
            archive.comment = b"fastsoftmax sha256 " + ZEROS
        content = stream.getvalue()
    end = len(content) - len(ZEROS)
    return sealed(content[:end] + ZEROS, end) if end >= 0 else content


def safetensors_file(data: bytes) -> bytes:
    choices = Choices(data)
    mode = choices.below(4)
    content = choices.rest()
    if mode == 0:
        return content
    if mode > 1:
        text, tensors = _text_and_tensors(choices)
        text_as_str = text.decode("latin1")
        kept = {name: array for name, array in tensors.items() if array.dtype != np.int64}
        return safe_tensors.pack(text_as_str, kept) if '"sha256":"' not in text_as_str else content
    try:
        place = safe_tensors._place_of_seal(content, safe_tensors._header_of(content))
    except ValueError:
        return content
    return sealed(content[:place] + ZEROS + content[place + len(ZEROS) :], place)


def _load(name: str, content: bytes) -> None:
    path = file_of(name, content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of parameters that were left out
        try:
            model = fastsoftmax.load(path)
        except fastsoftmax.ModelFileError as error:
            check_names(error, path)
            return
        check_model(model, path.suffix)


def check_names(error: Exception, path: Path) -> None:
    assert str(path) in str(error), f"does not name the file: {error}"


def check_model(model: Any, suffix: str) -> None:
    n_classes, n_features = model.coef_.shape
    assert model.intercept_.shape == (n_classes,)
    assert model.n_features_in_ == n_features
    assert len(model.classes_) == n_classes
    for array in (model.coef_, model.intercept_):
        assert np.isfinite(array).all()
        assert array.dtype in (np.float32, np.float64)
        assert array.flags.writeable
    # Of one in four, by its bits: this takes several times as long as all before.
    if zlib.crc32(model.coef_.tobytes()) % 4:
        return
    again = folder() / f"again{suffix}"
    model.save(again)
    loaded = fastsoftmax.load(again)
    assert loaded.coef_.tobytes() == model.coef_.tobytes()
    assert repr(loaded.get_params()) == repr(model.get_params())
    assert loaded.classes_.tolist() == model.classes_.tolist()
    use(model)


def use(model: Any) -> None:
    """Predict and train on: parameters and numbers may lead to an error, and to nothing else."""
    n_classes, n_features = model.coef_.shape
    X = np.arange(2.0 * n_features).reshape(2, n_features) % 3
    with np.errstate(all="ignore"):
        try:
            labels, probabilities = model.predict(X), model.predict_proba(X)
        except _OF_PARAMETERS:
            return
        assert labels.shape == (2,)
        assert probabilities.shape == (2, n_classes)
        assert np.isfinite(probabilities).all()
        if model.verbose or model.progress_bar or model.callbacks:
            return
        try:
            model.partial_fit(X, model.classes_[[0, -1]])
        except _OF_PARAMETERS:
            return
        assert np.isfinite(model.coef_).all()


def model_npz(data: bytes) -> None:
    _load("model.npz", npz_file(data))


def model_safetensors(data: bytes) -> None:
    _load("model.safetensors", safetensors_file(data))


# What fits have in a checkpoint.
FITS: tuple[dict[str, Any], ...] = (
    {},
    {"momentum": 0.9, "average": True},
    {"average": 3, "early_stopping": True, "tol": 1e-4, "validation_fraction": 0.25},
    {"fit_intercept": False, "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1},
)
X = np.arange(36.0).reshape(12, 3) % 5
Y = np.arange(12) % 2
_OPTIONS = {"max_iter": 3, "batch_size": 4, "tol": None, "eta0": 0.1, "random_state": 0}


def fit_with(fit: int, path: Any, resume: bool) -> Any:
    """A fit that saves a checkpoint, or goes on from one."""
    model = fastsoftmax.SoftmaxClassifier(**{**_OPTIONS, **FITS[fit]})
    return model.fit(X, Y, checkpoint=path, checkpoint_every=2, resume=resume)


def checkpoint(data: bytes) -> None:
    choices = Choices(data)
    fit = choices.below(len(FITS))
    content = npz_file(choices.rest())
    path = file_of("fit.npz", content)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", fastsoftmax.ConvergenceWarning)
        try:
            model = fit_with(fit, path, True)
        except fastsoftmax.DivergenceError:
            return
        except ValueError as error:
            check_names(error, path)
            assert path.read_bytes() == content, "a file that was refused has changed"
            return
    assert np.isfinite(model.coef_).all()
    assert model.n_iter_ <= _OPTIONS["max_iter"]


TARGETS = {
    "model_npz": model_npz,
    "model_safetensors": model_safetensors,
    "checkpoint": checkpoint,
}
