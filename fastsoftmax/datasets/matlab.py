"""Numeric arrays in MATLAB's MAT-files of level 5, which ``save`` writes by default.

After a header of 128 bytes come elements. An element is a tag (type and number of bytes) and data. An
array is an element, perhaps compressed by zlib, that contains elements: flags, sizes, name and numbers,
the first index varying fastest.

Every length is checked before it is used; SciPy's reader aborts the process on some damaged
files.

The MathWorks: MAT-File Format.
"""

import struct
import zlib
from collections.abc import Collection, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import UnreadableFile, check_is_file, reported

WHAT = "a MAT-file of level 5"
_HEADER_BYTES = 128
_BYTE_ORDERS = {b"IM": "<", b"MI": ">"}
_LEVEL_5, _LEVEL_7_3 = 0x0100, 0x0200
_ARRAY, _COMPRESSED = 14, 15
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
# MATLAB's classes of arrays. Numbers may be stored in a smaller type if they fit.
_CLASSES = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
_IS_COMPLEX = 0x0800
_MAX_DIMENSIONS = 8


def read_matlab(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return the named arrays that a file contains, in Fortran order.

    Raises
    ------
    ValueError
        If the file is damaged or of another level, or one of the arrays does not contain real numbers.
    """
    check_is_file(path, WHAT)
    left = path.stat().st_size - _HEADER_BYTES
    found = {}
    with path.open("rb") as stream:
        order = _byte_order(path, stream.read(_HEADER_BYTES))
        while tag := stream.read(8):
            left -= 8
            kind, n_bytes = struct.unpack(f"{order}II", tag) if len(tag) == 8 else (0, 0)
            if kind not in (_ARRAY, _COMPRESSED) or n_bytes > left:
                raise _damaged(path, f"an element of type {kind} and {n_bytes} bytes")
            content = stream.read(n_bytes)
            left -= n_bytes
            if kind == _COMPRESSED:
                content = _decompressed(path, content, order)
            name, array = _array(path, memoryview(content), order, names)
            if array is not None:
                found[name] = array
    return found


def _byte_order(path: Path, header: bytes) -> str:
    order = _BYTE_ORDERS.get(header[126:])
    level = struct.unpack(f"{order}H", header[124:126])[0] if order else None
    if level == _LEVEL_7_3:
        raise UnreadableFile(path, f"expected {WHAT}, got level 7.3 (HDF5); save it with '-v7'")
    if order is None or level != _LEVEL_5:
        raise UnreadableFile(path, f"expected {WHAT}, got another header: {header[:20]!r} ...")
    return order


def _damaged(path: Path, what: str) -> UnreadableFile:
    return UnreadableFile(path, f"expected {WHAT}, got a damaged one: {what}")


def _decompressed(path: Path, content: bytes, order: str) -> bytes:
    """Return the content of the array in compressed data."""
    with reported(path, f"{WHAT}, compressed", zlib.error):
        whole = zlib.decompress(content)
    if len(whole) < 8 or struct.unpack(f"{order}II", whole[:8]) != (_ARRAY, len(whole) - 8):
        raise _damaged(path, "compressed data that are not an array")
    return whole[8:]


def _elements(path: Path, content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the data of every element within another."""
    at = 0
    while at + 8 <= len(content):
        kind, n_bytes = struct.unpack_from(f"{order}II", content, at)
        start = at + 8
        if kind >> 16:  # up to 4 bytes of data are stored in the tag
            kind, n_bytes, start = kind & 0xFFFF, kind >> 16, at + 4
        data = content[start : start + n_bytes]
        if len(data) < n_bytes or (start == at + 4 and n_bytes > 4):
            raise _damaged(path, f"{n_bytes} bytes that are not there")
        yield kind, data
        at = at + 8 if start == at + 4 else start + n_bytes + -n_bytes % 8  # a multiple of 8


def _array(
    path: Path, content: memoryview, order: str, names: Collection[str]
) -> tuple[str, NDArray[Any] | None]:
    """Return the name of an array, and the array itself if it is wanted."""
    elements = _elements(path, content, order)
    parts = [data for _, data in (next(elements, (0, memoryview(b""))) for _ in range(3))]
    flags, sizes, called = parts
    name = bytes(called).decode("latin1")
    if len(flags) != 8 or not sizes or len(sizes) % 4 or not name:
        raise _damaged(path, "an array without flags, sizes or name")
    if name not in names:
        return name, None
    word = struct.unpack_from(f"{order}I", flags)[0]
    dtype = _CLASSES.get(word & 0xFF)
    if dtype is None or word & _IS_COMPLEX:
        raise UnreadableFile(path, f"expected real numbers in {name}, got another class of array")
    shape = tuple(np.frombuffer(sizes, f"{order}i4").tolist())
    kind, data = next(elements, (0, memoryview(b"")))
    stored = np.dtype(_STORED.get(kind, "V1")).newbyteorder(order)  # type: ignore[arg-type]
    expected = prod(shape) * stored.itemsize
    if (
        stored.kind == "V"
        or min(shape) < 0
        or expected != len(data)
        or len(shape) > _MAX_DIMENSIONS
    ):
        raise _damaged(path, f"{name} of shape {shape}, type {kind} and {len(data)} bytes")
    with reported(path, WHAT, ValueError):  # sizes next to a 0 may exceed NumPy's limits
        numbers = np.frombuffer(data, stored).reshape(shape, order="F")
    with np.errstate(invalid="ignore"):  # NaN in place of integers, in a damaged file
        return name, numbers.astype(dtype, copy=False)
