"""Model files as NumPy archives: an uncompressed ZIP of arrays, with the digest as its comment.

`numpy.load(path, allow_pickle=False)` can read them too. This module does not use NumPy's parser of
headers, which evaluates them, and accepts only the three dtypes that it writes.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checksum import ZEROS, check_seal, sealed

_METADATA = "metadata"
_SEAL = b"fastsoftmax sha256 "
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a ZIP: equal models give equal bytes
_HEADER = re.compile(
    rb"\{'descr': '(<f4|<f8|\|u1)', 'fortran_order': False, 'shape': "
    rb"\(((?:\d{1,19}, )*(?:\d{1,19},?)?)\), \} *\n"
)


def require() -> None:
    """Do nothing, as this format needs only NumPy."""


def pack(metadata: str, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        text = np.frombuffer(metadata.encode("ascii"), np.uint8)
        for name, array in {_METADATA: text, **tensors}.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), member.getbuffer())
        archive.comment = _SEAL + ZEROS
    data = stream.getvalue()
    return sealed(data, len(data) - len(ZEROS))


def unpack(data: bytes) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Return the metadata and the tensors of a file; the tensors are read-only.

    Raises
    ------
    ValueError
        If the file is not as `pack` writes it.
    """
    if not data.startswith(b"PK\x03\x04"):
        raise ValueError("is not an .npz file")
    end = len(data) - len(ZEROS)
    if data[max(end - len(_SEAL), 0) : max(end, 0)] != _SEAL:
        raise ValueError(
            "does not end in a checksum: it is truncated, or not a model that fastsoftmax has saved"
        )
    check_seal(data, end)
    arrays = {name.removesuffix(".npy"): _array(name, array) for name, array in _members_of(data)}
    if _METADATA not in arrays or arrays[_METADATA].dtype != np.uint8:
        raise ValueError(f"contains no bytes named {_METADATA}.npy")
    return arrays.pop(_METADATA).tobytes(), arrays


def _members_of(data: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = archive.infolist()
    except Exception as error:  # zipfile raises many types for invalid archives
        raise ValueError(f"its archive is damaged: {error}") from None
    _check_members(members, len(data))
    for member in members:
        try:
            array = archive.read(member)
        except Exception as error:
            raise ValueError(f"its archive is damaged: {error}") from None
        yield member.filename, array


def _check_members(members: list[zipfile.ZipInfo], n_bytes: int) -> None:
    """Check the directory of the archive before any member is read."""
    seen: set[str] = set()
    for member in members:
        name = member.orig_filename  # as written in the archive
        if not re.fullmatch(r"[a-z_]{1,64}\.npy", name):
            raise ValueError(f"contains a member named {name[:80]!r}, which no model has")
        if name in seen:
            raise ValueError(f"contains two members named {name!r}")
        seen.add(name)
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"{name}: is compressed; a model file is not")
    if sum(member.file_size for member in members) > n_bytes:
        raise ValueError("its members are longer than the file")


def _array(name: str, data: bytes) -> NDArray[Any]:
    """Return a view of the array in the bytes of an .npy file."""
    length = int.from_bytes(data[8:10], "little")
    if data[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError(f"{name}: is not an array of version 1.0 of NumPy's format")
    header = data[10 : 10 + length]
    if b"'|O'" in header:
        raise ValueError(f"{name}: contains Python objects (a pickle), which are never read")
    match = _HEADER.fullmatch(header)
    if match is None:
        raise ValueError(f"{name}: is not a C-ordered array of float32, float64 or bytes")
    dtype = np.dtype(match[1].decode())
    shape = tuple(int(size) for size in match[2].decode().split(",") if size.strip())
    if prod(shape) * dtype.itemsize != len(data) - 10 - length or len(shape) > 2:
        raise ValueError(f"{name}: its shape {shape} does not fit its {len(data)} bytes")
    array: NDArray[Any] = np.ndarray(shape, dtype, data, offset=10 + length)
    return array
