"""Read pickles of plain data without executing anything that a pickle asks for.

A pickle names functions and classes to be called. Here the few names that an array of bytes needs refer to
objects of this module, and every other name is an error.
"""

import pickle
import pickletools
from collections.abc import Callable
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import UnreadableFile, reported


class PickledBytes:
    """An array of uint8, built as a pickle does: first empty, then from its state."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: NDArray[np.uint8] = np.zeros(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, raw = state
        if not isinstance(dtype, _PickledDtype) or not isinstance(raw, bytes) or fortran_order:
            raise pickle.UnpicklingError("an array is not C-ordered bytes")
        if min(shape, default=0) < 0 or prod(shape) != len(raw):
            raise pickle.UnpicklingError(f"an array of shape {shape} has {len(raw)} bytes")
        self.array = np.frombuffer(raw, np.uint8).reshape(shape)


class _PickledDtype:
    """The dtype uint8."""

    __slots__ = ()

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str | bytes) or as_text(code) != "u1":
            shown = as_text(code) if isinstance(code, str | bytes) else type(code).__name__
            raise pickle.UnpicklingError(f"an array has the dtype {shown!r}, not uint8")

    def __setstate__(self, state: object) -> None:
        """Ignore the state, byte order and fields: bytes have neither."""


class _Name:
    """The object behind a name in a pickle, which may call it, but neither change nor instantiate it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes the object behind a name")


def _new_array(*_: object) -> PickledBytes:
    return PickledBytes()


def _refuse_call(*_: object) -> None:
    raise pickle.UnpicklingError("it calls numpy.ndarray")


def _as_bytes(text: str, encoding: str) -> bytes:
    """Return the bytes that Python 3 writes as text into pickles of protocol 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError("its bytes are not encoded as latin1")
    return text.encode("latin1")


_NAMES = {
    **{
        (f"numpy.{core}.multiarray", "_reconstruct"): _Name(_new_array)
        for core in ("core", "_core")
    },
    ("numpy", "ndarray"): _Name(_refuse_call),
    ("numpy", "dtype"): _Name(_PickledDtype),
    ("_codecs", "encode"): _Name(_as_bytes),
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, path: object, content: bytes) -> None:
        super().__init__(BytesIO(content), encoding="bytes")  # what Python 2 called str
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise UnreadableFile(
                str(self._path),
                f"refused: its pickle asks for {module}.{name}; only arrays of uint8, numbers, texts, "
                "lists, tuples and dicts are read",
            )
        return _NAMES[module, name]


def unpickled(path: object, content: bytes, what: str) -> dict[str, Any]:
    """Return the dict in a pickle, with keys of str and arrays as `PickledBytes`.

    Raises
    ------
    ValueError
        If the pickle is damaged, asks for anything but plain data, or is not a dict.
    """
    with reported(str(path), what, Exception):
        _check_sizes(content)
        value = _Unpickler(path, content).load()
    if not isinstance(value, dict):
        raise UnreadableFile(
            str(path), f"expected {what}, a pickled dict, got {type(value).__name__}"
        )
    return {as_text(key): entry for key, entry in value.items() if isinstance(key, str | bytes)}


def as_text(value: str | bytes) -> str:
    """Return text of Python 3, or the str of Python 2, as str."""
    return value.decode("latin1") if isinstance(value, bytes) else value


def _check_sizes(content: bytes) -> None:
    """Raise if a number would make the unpickler reserve memory for missing content."""
    for opcode, argument, position in pickletools.genops(content):  # checks lengths
        # Numbers of remembered objects count up, each with more than a byte; the list of them is as long.
        if opcode.name.endswith("PUT") and int(argument or 0) > (position or 0):
            raise pickle.UnpicklingError(f"it remembers object {argument} at byte {position}")
