"""The serialiser of model files and checkpoints: scalars in JSON and tensors, each described by one entry.

A scalar that a later version of a format added has that version as `since`, and as `before` the value that
files of earlier versions, which lack it, stand for. Tensors need neither: they may be missing.
docs/decisions/0025-next-version-of-files.md describes the entries that are planned.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import check_finite
from .._version import __version__


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array of floats."""

    name: str
    shape: tuple[
        str, ...
    ]  # names of sizes; a vector of a size that is not known may have any length
    is_double: bool = False  # whether it has to be float64; else float32 is accepted too
    only_with: str = ""  # the tensor that must be present if this one is
    is_needed: bool = False


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value in JSON: `write(value)` returns the JSON, and `read(name, written)` the value, or raises."""

    name: str
    write: Callable[[Any], Any]
    read: Callable[[str, Any], Any]
    since: int = 1  # the first version of the format that has it
    before: Any = None  # the JSON that files of earlier versions stand for


def as_stored(entry: Tensor, value: Any) -> NDArray[Any]:
    """Return a tensor as files store it: little-endian and C-contiguous."""
    array = np.asarray(value, np.float64 if entry.is_double else None)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def read_scalars(entries: Iterable[Scalar], written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by name.

    Raises
    ------
    ValueError
        If a value contradicts its entry; the message begins with its name.
    """
    return {entry.name: entry.read(entry.name, written[entry.name]) for entry in entries}


def check_version(written: Mapping[str, Any], newest: int, alternative: str) -> None:
    """Check the version of a file's format, of which this package reads those up to `newest`.

    A newer file is refused as a whole: ignoring an unknown entry might silently change predictions.
    `alternative` completes the advice in the message.

    Raises
    ------
    ValueError
        If the version is newer or invalid; the message says which package wrote the file.
    """
    version, package = written.get("version"), written.get("package", "of an unknown version")
    if type(version) is not int or version < 1 or not isinstance(package, str):
        raise ValueError(
            f"version: expected an integer >= 1, got {str(version)[:80]!r}, of the package "
            f"{str(package)[:80]!r}"
        )
    if version > newest:
        raise ValueError(
            f"has version {version} of the format, written by fastsoftmax {package[:80]}; "
            f"fastsoftmax {__version__} reads versions up to {newest}: upgrade it, {alternative}"
        )


def with_later_entries(
    entries: Iterable[Scalar], written: Mapping[str, Any], version: int
) -> dict[str, Any]:
    """Return the content of an older file, completed with the entries that were added since."""
    return {entry.name: entry.before for entry in entries if entry.since > version} | dict(written)


def read_tensors(
    entries: Iterable[Tensor], tensors: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    """Return copies of a file's tensors in native byte order; all are checked before the first copy.

    Raises
    ------
    ValueError
        If one is missing, unknown, of another shape or dtype, or not finite.
    """
    by_name = {entry.name: entry for entry in entries}
    for entry in by_name.values():
        if entry.is_needed and entry.name not in tensors:
            raise ValueError(f"lacks the tensor {entry.name!r}")
    for name in tensors:
        if name not in by_name:
            raise ValueError(f"contains a tensor {name[:80]!r}, which its format does not have")
    for name in filter(tensors.__contains__, by_name):
        only_with = by_name[name].only_with
        if only_with and only_with not in tensors:
            raise ValueError(f"contains the tensor {name!r} without {only_with!r}")
        _check_tensor(by_name[name], tensors[name], sizes)
    return {
        name: np.array(array, array.dtype.newbyteorder("="), order="C")
        for name, array in tensors.items()
    }


def _check_tensor(entry: Tensor, array: NDArray[Any], sizes: Mapping[str, int]) -> None:
    shape = tuple(sizes.get(size, array.size) for size in entry.shape)
    if array.shape != shape:
        raise ValueError(f"{entry.name}: expected shape {shape}, got {array.shape}")
    itemsizes = (8,) if entry.is_double else (4, 8)
    if array.dtype.kind != "f" or array.dtype.itemsize not in itemsizes:
        accepted = " or ".join(f"float{8 * size}" for size in itemsizes)
        raise ValueError(f"{entry.name}: expected {accepted}, got {array.dtype}")
    check_finite(entry.name, array)


def or_none(convert: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `write` or a `read` that passes None through."""
    return lambda *args: None if args[-1] is None else convert(*args)


def integer(minimum: int) -> Callable[[str, Any], int]:
    """Return a `read` that accepts integers of at least `minimum`."""

    def read(name: str, value: Any) -> int:
        if type(value) is not int or not minimum <= value < 1 << 63:
            raise ValueError(
                f"{name}: expected an integer of at least {minimum}, got {str(value)[:80]}"
            )
        return value

    return read


def number(name: str, value: Any) -> float:
    """Read a finite number."""
    if type(value) is not float or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {str(value)[:80]}")
    return value


def positive(name: str, value: Any) -> float:
    """Read a number greater than 0."""
    if number(name, value) <= 0:
        raise ValueError(f"{name}: expected a number greater than 0, got {value}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false")
    return value


def texts(name: str, value: Any) -> list[str]:
    """Read a list of strings."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name}: expected a list of strings")
    return value
