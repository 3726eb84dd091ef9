"""What a model file holds: the parameters, the classes and numbers as JSON, the weights as tensors.

Nothing here knows of files. `contents_of` takes a model apart, `model_of` checks what came out of a file
and returns the attributes that a model has.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..._arrays.labels import as_labels
from ..._arrays.validation import check_finite
from ..._version import __version__
from ...persistence.random_states import generator_from, generator_state
from ...persistence.scalars import (
    from_json,
    labels_as_json,
    labels_from_json,
    parameters_as_json,
)
from ...persistence.strict_json import parsed
from ...training.averaging import Average
from ...training.standardization import Moments
from ...training.step_size import StepSizes
from ..fitted_model import parameters_of, whole

FORMAT = "fastsoftmax model"
VERSION = 2

# Tensors and their shapes, in classes, features, epochs and scores; all may be missing but the first
# three. Those of `_DOUBLE` are float64, the others that or float32.
_SHAPES = {
    "coef": ("classes", "features"),
    "intercept": ("classes",),
    "loss_curve": ("epochs",),
    "validation_scores": ("scores",),
    "mean": ("features",),
    "scale": ("features",),
    "squares": ("features",),
    "coef_velocity": ("classes", "features"),
    "intercept_velocity": ("classes",),
    "last_coef": ("classes", "features"),
    "last_intercept": ("classes",),
    "average_coef": ("classes", "features"),
    "average_intercept": ("classes",),
}
_NEEDED = ("coef", "intercept", "loss_curve")
_DOUBLE = {
    *("loss_curve", "validation_scores", "mean", "scale", "squares"),
    *("average_coef", "average_intercept"),
}
# A tensor that is there only with another.
_ONLY_WITH = {
    "mean": "scale",
    "scale": "mean",
    "squares": "mean",
    "last_intercept": "last_coef",
    "average_intercept": "average_coef",
}
_KEYS = {
    *("format", "version", "package", "parameters", "left_out", "classes", "n_features"),
    *(
        "feature_names",
        "is_centred",
        "grows",
        "eta0",
        "n_epochs",
        "n_steps",
        "best_validation_score",
    ),
    *("mean_weight", "average", "random"),
    *("mass", "step_sizes"),
}
# What files of version 1 do not have: what statistics and step sizes of later chunks are put together with.
_SINCE_2 = {"mass": None, "step_sizes": None}


class Contents(NamedTuple):
    """What is written: JSON, and little-endian tensors by name."""

    metadata: dict[str, Any]
    tensors: dict[str, NDArray[Any]]


class Model(NamedTuple):
    """What is read: what the constructor takes, and what it does not have from there."""

    parameters: dict[str, Any]
    left_out: list[str]
    attributes: dict[str, Any]


def contents_of(model: Any) -> tuple[Contents, list[str]]:
    """Take a fitted model apart, and return its parameters that are left out as well.

    Raises
    ------
    ValueError, TypeError
        If an attribute is not what it should be.
    """
    model = whole(model)
    parameters, left_out = parameters_as_json(model.get_params(deep=False))
    average: Average | None = model._average
    moments: Moments | None = model._moments
    step_sizes: StepSizes | None = model._step_sizes
    names = getattr(model, "feature_names_in_", None)
    score = model.best_validation_score_
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "package": __version__,
        "parameters": parameters,
        "left_out": left_out,
        "classes": labels_as_json(np.asarray(model.classes_)),
        "n_features": int(model.n_features_in_),
        "feature_names": None if names is None else [str(name) for name in names],
        "is_centred": bool(model._is_centred),
        "grows": bool(model._grows),
        "eta0": None if model.eta0_ is None else float(model.eta0_),
        "n_epochs": int(model.n_iter_),
        "n_steps": int(model.t_),
        "best_validation_score": None if score is None else float(score),
        "mean_weight": None if model._mean_weight is None else float(model._mean_weight),
        "average": None
        if average is None
        else [average.first_sample, average.n_samples, average.n_steps],
        "random": None if model._random is None else generator_state(model._random),
        "mass": None if moments is None else float(moments.mass),
        "step_sizes": None if step_sizes is None else list(step_sizes),
    }
    return Contents(metadata, _tensors_of(model)), left_out


def _tensors_of(model: Any) -> dict[str, NDArray[Any]]:
    coef, intercept = parameters_of(model)
    average: Average | None = model._average
    last = (None, None) if model._last is None else model._last
    found = {
        "coef": coef,
        "intercept": intercept,
        "loss_curve": np.array(model.loss_curve_, np.float64),
        "validation_scores": model.validation_scores_,
        "mean": model.mean_,
        "scale": model.scale_,
        "squares": None if model._moments is None else model._moments.squares,
        "coef_velocity": model._velocity[0],
        "intercept_velocity": model._velocity[1],
        "last_coef": last[0],
        "last_intercept": last[1],
        "average_coef": None if average is None else average.coef,
        "average_intercept": None if average is None else average.intercept,
    }
    return {name: _as_stored(name, value) for name, value in found.items() if value is not None}


def _as_stored(name: str, value: Any) -> NDArray[Any]:
    array = np.asarray(value, np.float64 if name in _DOUBLE else None)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def model_of(cls: Any, text: bytes, tensors: dict[str, NDArray[Any]]) -> Model:
    """Return the model of a class that a file holds.

    Raises
    ------
    ValueError
        If what the file holds is not what `contents_of` returns, of this version of the format.
    """
    metadata = parsed(text, "its metadata")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError(f"its metadata is not that of a {FORMAT}")
    _check_version(metadata)
    if metadata["version"] == 1:
        metadata = _SINCE_2 | metadata
    if metadata.keys() != _KEYS:
        missing, strange = _KEYS - metadata.keys(), metadata.keys() - _KEYS
        raise ValueError(
            f"its metadata lacks {sorted(missing)} and has {str(sorted(strange))[:80]}"
        )
    attributes = attributes_of(Contents(metadata, tensors))
    parameters = _parameters_from_json(cls, metadata)
    return Model(parameters, metadata["left_out"], attributes)


def _check_version(metadata: dict[str, Any]) -> None:
    version, package = metadata.get("version"), metadata.get("package")
    if type(version) is not int or version < 1 or not isinstance(package, str):
        raise ValueError(f"its version is none: {str(version)[:80]!r}, of {str(package)[:80]!r}")
    if version > VERSION:
        raise ValueError(
            f"has version {version} of the format, written by fastsoftmax {package[:80]}; "
            f"fastsoftmax {__version__} reads versions up to {VERSION}: upgrade it, "
            "or save the model with this version"
        )


def _parameters_from_json(cls: Any, metadata: dict[str, Any]) -> dict[str, Any]:
    stored, left_out = metadata["parameters"], metadata["left_out"]
    if not isinstance(stored, dict) or not (
        isinstance(left_out, list) and all(isinstance(name, str) for name in left_out)
    ):
        raise ValueError("parameters and left_out: are not an object and a list of names")
    accepted = cls._parameters()
    for name in (*stored, *left_out):
        if name not in accepted:
            raise ValueError(
                f"holds the parameter {name[:80]!r}, which {cls.__name__} of fastsoftmax {__version__} "
                f"does not have; written by fastsoftmax {metadata['package'][:80]}"
            )
    return {name: _value_from_json(name, value) for name, value in stored.items()}


def _value_from_json(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return from_json(value, name)
    pairs = value.get("mapping")
    if value.keys() != {"mapping"} or not isinstance(pairs, list):
        raise ValueError(f"{name}: is no mapping")
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"{name}: is no mapping of labels to numbers")
    found = {from_json(label, name): from_json(weight, name) for label, weight in pairs}
    if len(found) != len(pairs):
        raise ValueError(f"{name}: holds a label twice")
    return found


def attributes_of(contents: Contents) -> dict[str, Any]:
    """Return the attributes of a fitted model, in arrays of their own.

    Raises
    ------
    ValueError
        If they are none of a model: other shapes than the classes and features have, numbers that are
        not finite, classes that are not sorted.
    """
    metadata = contents.metadata
    classes = _classes_from(metadata["classes"])
    if not isinstance(metadata["grows"], bool):
        raise ValueError("grows: expected true or false")
    _check_classes(classes, 1 if metadata["grows"] else 2)
    sizes = {
        "classes": len(classes),
        "features": _integer(metadata, "n_features", 1),
        "epochs": _integer(metadata, "n_epochs", 0),
    }
    tensors = _checked(contents.tensors, sizes)
    average = _average(metadata["average"], tensors)
    last = (tensors["last_coef"], tensors.get("last_intercept")) if "last_coef" in tensors else None
    names = _feature_names(metadata["feature_names"], sizes["features"])
    is_centred = metadata["is_centred"]
    if not isinstance(is_centred, bool) or (is_centred and "mean" not in tensors):
        raise ValueError("is_centred: expected false, or true with a mean")
    scores = tensors.get("validation_scores")
    best = metadata["best_validation_score"]
    return {
        "classes_": classes,
        "n_features_in_": sizes["features"],
        **({} if names is None else {"feature_names_in_": names}),
        "coef_": tensors["coef"],
        "mean_": tensors.get("mean"),
        "scale_": tensors.get("scale"),
        "_is_centred": is_centred,
        "_moments": _moments(metadata, tensors),
        "_step_sizes": _step_sizes(metadata["step_sizes"]),
        "intercept_": tensors["intercept"],
        "eta0_": None if metadata["eta0"] is None else _positive(metadata, "eta0"),
        "loss_curve_": tensors["loss_curve"].tolist(),
        "validation_scores_": None if scores is None else scores.tolist(),
        "best_validation_score_": None
        if best is None
        else _number(metadata, "best_validation_score"),
        "n_iter_": sizes["epochs"],
        "t_": _integer(metadata, "n_steps", 0),
        "_velocity": (tensors.get("coef_velocity"), tensors.get("intercept_velocity")),
        "_last": last,
        "_average": average,
        "_mean_weight": None
        if metadata["mean_weight"] is None
        else _positive(metadata, "mean_weight"),
        "_grows": metadata["grows"],
        "_random": None if metadata["random"] is None else generator_from(metadata["random"]),
    }


def _classes_from(written: Any) -> NDArray[Any]:
    try:
        return as_labels(labels_from_json(written, "classes"), "classes")
    except TypeError as error:
        raise ValueError(str(error)) from None


def _check_classes(classes: NDArray[Any], least: int) -> None:
    if len(classes) < least:
        raise ValueError(
            f"classes: expected at least {('one', 'two')[least - 1]}, got {len(classes)}"
        )
    if not (classes[:-1] < classes[1:]).all():
        raise ValueError("classes: expected them sorted and each once")


def _checked(tensors: Mapping[str, NDArray[Any]], sizes: dict[str, int]) -> dict[str, NDArray[Any]]:
    """Return native copies, all looked at before the first is made."""
    for name in _NEEDED:
        if name not in tensors:
            raise ValueError(f"lacks the tensor {name!r}")
    for name in tensors:
        if name not in _SHAPES:
            raise ValueError(f"holds a tensor {name[:80]!r}, which no model has")
    for name in filter(tensors.__contains__, _SHAPES):
        if _ONLY_WITH.get(name, name) not in tensors:
            raise ValueError(f"holds the tensor {name!r} without {_ONLY_WITH[name]!r}")
        _check_tensor(name, tensors[name], sizes)
    if tensors["coef"].dtype != tensors["intercept"].dtype:
        raise ValueError("coef and intercept: expected one dtype")
    if "scale" in tensors and not (tensors["scale"] > 0).all():
        raise ValueError("scale: expected numbers greater than 0")
    if "squares" in tensors and not (tensors["squares"] >= 0).all():
        raise ValueError("squares: expected numbers of 0 or more")
    return {
        name: np.array(array, array.dtype.newbyteorder("="), order="C")
        for name, array in tensors.items()
    }


def _check_tensor(name: str, array: NDArray[Any], sizes: dict[str, int]) -> None:
    # There may be any number of scores.
    shape = tuple(sizes.get(size, array.size) for size in _SHAPES[name])
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    itemsizes = (8,) if name in _DOUBLE else (4, 8)
    if array.dtype.kind != "f" or array.dtype.itemsize not in itemsizes:
        accepted = " or ".join(f"float{8 * size}" for size in itemsizes)
        raise ValueError(f"{name}: expected {accepted}, got {array.dtype}")
    check_finite(name, array)


def _average(counts: Any, tensors: Mapping[str, NDArray[Any]]) -> Average | None:
    if (counts is None) != ("average_coef" not in tensors):
        raise ValueError("average: expected the tensor and its counts, got one of both")
    if counts is None:
        return None
    if not isinstance(counts, list) or len(counts) != 3:
        raise ValueError("average: expected three counts")
    named = dict(zip(("average 0", "average 1", "average 2"), counts, strict=True))
    first_sample, n_samples, n_steps = (_integer(named, name, 0) for name in named)
    coef, intercept = tensors["average_coef"], tensors.get("average_intercept")
    return Average(first_sample, coef, intercept, n_samples, n_steps)


def _moments(metadata: dict[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Moments | None:
    """Return what the statistics are of; None where that is not known, and they stay what they are."""
    if (metadata["mass"] is None) != ("squares" not in tensors):
        raise ValueError("squares: expected the tensor and its mass, got one of both")
    if metadata["mass"] is None:
        return None
    mean, mass = tensors["mean"], _positive(metadata, "mass")
    return Moments(mean, np.zeros_like(mean), tensors["squares"], mass)


def _step_sizes(given: Any) -> StepSizes | None:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 2:
        raise ValueError("step_sizes: expected a mean and a number of samples")
    named = {"step_sizes 0": given[0], "step_sizes 1": given[1]}
    return StepSizes(_positive(named, "step_sizes 0"), _integer(named, "step_sizes 1", 1))


def _feature_names(names: Any, n_features: int) -> NDArray[Any] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("feature_names: expected strings")
    if len(names) != n_features:
        raise ValueError(f"feature_names: expected {n_features}, got {len(names)}")
    return np.array(names, dtype=object)


def _integer(metadata: Mapping[str, Any], name: str, minimum: int) -> int:
    value = metadata[name]
    if type(value) is not int or not minimum <= value < 1 << 63:
        raise ValueError(
            f"{name}: expected an integer of at least {minimum}, got {str(value)[:80]}"
        )
    return value


def _number(metadata: Mapping[str, Any], name: str) -> float:
    value = metadata[name]
    if type(value) is not float or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {str(value)[:80]}")
    return value


def _positive(metadata: Mapping[str, Any], name: str) -> float:
    value = _number(metadata, name)
    if value <= 0:
        raise ValueError(f"{name}: expected a number greater than 0, got {value}")
    return value
