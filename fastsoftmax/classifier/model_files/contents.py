"""The content of a model file: parameters, classes and numbers as JSON, weights as tensors.

Nothing here reads or writes files. `contents_of` turns a model into JSON and tensors; `model_of` checks
those of a file and returns parameters and attributes. The entries are those of the fields of `FittedModel`.
docs/decisions/0025-next-version-of-files.md says how entries of later versions are added.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..._version import __version__
from ...persistence.entries import (
    Scalar,
    Tensor,
    as_stored,
    check_version,
    read_scalars,
    read_tensors,
    with_later_entries,
)
from ...persistence.scalars import from_json, parameters_as_json
from ...persistence.strict_json import parsed
from ..fitted_model import FittedModel, parameters_of, snapshot_of, stored_attributes

FORMAT = "fastsoftmax model"
VERSION = 4
_METADATA = ("format", "version", "package", "parameters", "left_out")


class Format:
    """A version of the format: the entries of the fields of `FittedModel` or of a subclass of it."""

    def __init__(self, model_type: type[FittedModel], version: int) -> None:
        self.model_type, self.version = model_type, version
        self.attributes = stored_attributes(model_type)
        entries = [entry for stored in self.attributes.values() for entry in stored.entries]
        self.scalars = [entry for entry in entries if isinstance(entry, Scalar)]
        self.tensors = [entry for entry in entries if isinstance(entry, Tensor)]
        self.keys = {*_METADATA, *(entry.name for entry in self.scalars)}


CURRENT = Format(FittedModel, VERSION)


class Contents(NamedTuple):
    """The content of a file: JSON, and little-endian tensors by name."""

    metadata: dict[str, Any]
    tensors: dict[str, NDArray[Any]]


class Model(NamedTuple):
    """A model that was read: parameters, the names of those that were not stored, and attributes."""

    parameters: dict[str, Any]
    left_out: list[str]
    attributes: dict[str, Any]


def contents_of(model: Any, form: Format = CURRENT) -> tuple[Contents, list[str]]:
    """Return the content of a fitted model's file, and the names of the parameters that it cannot hold.

    Raises
    ------
    ValueError, TypeError
        If an attribute has another type, shape or value than a fitted model has.
    """
    model = snapshot_of(model)
    model.coef_, model.intercept_ = parameters_of(model)
    parameters, left_out = parameters_as_json(model.get_params(deep=False))
    metadata = {
        "format": FORMAT,
        "version": form.version,
        "package": __version__,
        "parameters": parameters,
        "left_out": left_out,
    }
    tensors = {}
    for name, stored in form.attributes.items():
        parts = stored.split(getattr(model, name, None))
        for entry, part in zip(stored.entries, parts, strict=True):
            if isinstance(entry, Scalar):
                metadata[entry.name] = entry.write(part)
            elif part is not None:
                tensors[entry.name] = as_stored(entry, part)
    return Contents(metadata, tensors), left_out


def model_of(
    cls: Any, text: bytes, tensors: dict[str, NDArray[Any]], form: Format = CURRENT
) -> Model:
    """Return the model in a file as one of the class `cls`.

    Raises
    ------
    ValueError
        If the file holds anything else than `contents_of` returns for this version or an earlier one.
    """
    metadata = parsed(text, "its metadata")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError(f"its metadata is not that of a {FORMAT}")
    check_version(metadata, form.version, "or save the model with this version")
    metadata = with_later_entries(form.scalars, metadata, metadata["version"])
    if metadata.keys() != form.keys:
        missing, strange = form.keys - metadata.keys(), metadata.keys() - form.keys
        raise ValueError(
            f"its metadata lacks {sorted(missing)} and has {str(sorted(strange))[:80]}"
        )
    attributes = attributes_of(Contents(metadata, tensors), form)
    parameters = _parameters_from_json(cls, metadata)
    return Model(parameters, metadata["left_out"], attributes)


def _parameters_from_json(cls: Any, metadata: dict[str, Any]) -> dict[str, Any]:
    stored, left_out = metadata["parameters"], metadata["left_out"]
    if not isinstance(stored, dict) or not (
        isinstance(left_out, list) and all(isinstance(name, str) for name in left_out)
    ):
        raise ValueError("parameters and left_out: expected an object and a list of names")
    accepted = cls._parameters()
    for name in (*stored, *left_out):
        if name not in accepted:
            raise ValueError(
                f"contains the parameter {name[:80]!r}, which {cls.__name__} of fastsoftmax {__version__} "
                f"does not have; written by fastsoftmax {metadata['package'][:80]}"
            )
    return {name: _value_from_json(name, value) for name, value in stored.items()}


def _value_from_json(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return from_json(value, name)
    pairs = value.get("mapping")
    if value.keys() != {"mapping"} or not isinstance(pairs, list):
        raise ValueError(f"{name}: expected a mapping")
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"{name}: expected pairs of a label and a number")
    found = {from_json(label, name): from_json(weight, name) for label, weight in pairs}
    if len(found) != len(pairs):
        raise ValueError(f"{name}: contains a label twice")
    return found


def attributes_of(contents: Contents, form: Format = CURRENT) -> dict[str, Any]:
    """Return the attributes of a fitted model, in arrays that share no memory with the file.

    Raises
    ------
    ValueError
        If they cannot belong to a model: shapes that contradict the classes and features, numbers that are
        not finite, or classes that are not sorted.
    """
    values: dict[str, Any] = read_scalars(form.scalars, contents.metadata)
    classes = values["classes"]
    _check_classes(classes, 1 if values["grows"] else 2)
    sizes = {
        "classes": len(classes),
        "features": values["n_features"],
        "epochs": values["n_epochs"],
    }
    values |= read_tensors(form.tensors, contents.tensors, sizes)
    if values["coef"].dtype != values["intercept"].dtype:
        raise ValueError("coef and intercept: expected one dtype")
    attributes: dict[str, Any] = {}
    for name, stored in form.attributes.items():
        parts = tuple(values.get(entry.name) for entry in stored.entries)
        attributes[name] = stored.join(parts, attributes)
    return form.model_type(**attributes).attributes()


def _check_classes(classes: NDArray[Any], least: int) -> None:
    if len(classes) < least:
        raise ValueError(
            f"classes: expected at least {('one', 'two')[least - 1]}, got {len(classes)}"
        )
    if not (classes[:-1] < classes[1:]).all():
        raise ValueError("classes: expected them sorted and each once")
