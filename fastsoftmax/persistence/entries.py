"""The serialiser of model files and checkpoints: scalars in JSON and tensors, each described by one entry.

An entry that a later version of a format brings (a solver, a path of strengths, running statistics, a
temperature) is a row with `since` that version, and with what its absence from older files stands for.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import check_finite


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array of floats."""

    name: str
    shape: tuple[str, ...]  # names of sizes; one that is not known may be any number
    is_double: bool = False  # whether it is float64; else that or float32
    only_with: str = ""  # the tensor without which this one is not there
    is_needed: bool = False


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value in JSON: `write(value)` returns it, and `read(name, written)` the value again, or raises."""

    name: str
    write: Callable[[Any], Any]
    read: Callable[[str, Any], Any]
    since: int = 1  # the version of the format that has it first
    before: Any = None  # what is written for those before


def as_stored(entry: Tensor, value: Any) -> NDArray[Any]:
    """Return a tensor as it lies in a file: little-endian, and C-contiguous."""
    array = np.asarray(value, np.float64 if entry.is_double else None)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def read_scalars(entries: Iterable[Scalar], written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by name.

    Raises
    ------
    ValueError
        If one is not what its entry says; the message begins with its name.
    """
    return {entry.name: entry.read(entry.name, written[entry.name]) for entry in entries}


def with_later_entries(
    entries: Iterable[Scalar], written: Mapping[str, Any], version: int
) -> dict[str, Any]:
    """Return what a file of an older version holds as one of the newest would hold it."""
    return {entry.name: entry.before for entry in entries if entry.since > version} | dict(written)


def read_tensors(
    entries: Iterable[Tensor], tensors: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file as native copies, all looked at before the first is made.

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
            raise ValueError(f"holds a tensor {name[:80]!r}, which its format does not have")
    for name in filter(tensors.__contains__, by_name):
        only_with = by_name[name].only_with
        if only_with and only_with not in tensors:
            raise ValueError(f"holds the tensor {name!r} without {only_with!r}")
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
    """Return a `write` or a `read` that leaves None as it is."""
    return lambda *args: None if args[-1] is None else convert(*args)


def integer(minimum: int) -> Callable[[str, Any], int]:
    """Return the `read` of an integer of at least `minimum`."""

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
        raise ValueError(f"{name}: expected strings")
    return value
