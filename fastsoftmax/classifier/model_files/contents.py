"""What a model file holds: the parameters, the classes and numbers as JSON, the weights as tensors.

Nothing here knows of files. `contents_of` takes a model apart, `model_of` checks what came out of a file
and returns the attributes that a model has. Their entries are those of the fields of `FittedModel`.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..._version import __version__
from ...persistence.entries import (
    Scalar,
    Tensor,
    as_stored,
    read_scalars,
    read_tensors,
    with_later_entries,
)
from ...persistence.scalars import from_json, parameters_as_json
from ...persistence.strict_json import parsed
from ..fitted_model import ATTRIBUTES, FittedModel, parameters_of, snapshot_of

FORMAT = "fastsoftmax model"
VERSION = 2
_ENTRIES = [entry for stored in ATTRIBUTES.values() for entry in stored.entries]
_SCALARS = [entry for entry in _ENTRIES if isinstance(entry, Scalar)]
_TENSORS = [entry for entry in _ENTRIES if isinstance(entry, Tensor)]
_KEYS = {
    "format",
    "version",
    "package",
    "parameters",
    "left_out",
    *(each.name for each in _SCALARS),
}


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
    model = snapshot_of(model)
    model.coef_, model.intercept_ = parameters_of(model)
    parameters, left_out = parameters_as_json(model.get_params(deep=False))
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "package": __version__,
        "parameters": parameters,
        "left_out": left_out,
    }
    tensors = {}
    for name, stored in ATTRIBUTES.items():
        parts = stored.split(getattr(model, name, None))
        for entry, part in zip(stored.entries, parts, strict=True):
            if isinstance(entry, Scalar):
                metadata[entry.name] = entry.write(part)
            elif part is not None:
                tensors[entry.name] = as_stored(entry, part)
    return Contents(metadata, tensors), left_out


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
    metadata = with_later_entries(_SCALARS, metadata, metadata["version"])
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
    values: dict[str, Any] = read_scalars(_SCALARS, contents.metadata)
    classes = values["classes"]
    _check_classes(classes, 1 if values["grows"] else 2)
    sizes = {
        "classes": len(classes),
        "features": values["n_features"],
        "epochs": values["n_epochs"],
    }
    values |= read_tensors(_TENSORS, contents.tensors, sizes)
    if values["coef"].dtype != values["intercept"].dtype:
        raise ValueError("coef and intercept: expected one dtype")
    attributes: dict[str, Any] = {}
    for name, stored in ATTRIBUTES.items():
        parts = tuple(values.get(entry.name) for entry in stored.entries)
        attributes[name] = stored.join(parts, attributes)
    return FittedModel(**attributes).attributes()


def _check_classes(classes: NDArray[Any], least: int) -> None:
    if len(classes) < least:
        raise ValueError(
            f"classes: expected at least {('one', 'two')[least - 1]}, got {len(classes)}"
        )
    if not (classes[:-1] < classes[1:]).all():
        raise ValueError("classes: expected them sorted and each once")
