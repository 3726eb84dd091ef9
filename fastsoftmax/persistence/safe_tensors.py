"""Model files in the format of the library safetensors.

A file consists of a length in 8 bytes, a header in JSON, and the values of the tensors. The header's
metadata contains the metadata of the model, as a string, and the digest of the file.

https://github.com/huggingface/safetensors#format
"""

from collections.abc import Mapping
from math import prod
from typing import Any

from numpy.typing import NDArray

from .._optional import import_optional
from .checksum import ZEROS, check_seal, sealed
from .strict_json import parsed

_METADATA = "fastsoftmax"
_SEAL = b'"sha256":"'  # unique: JSON within a JSON string has escaped quotes
_ITEMSIZE = {"F32": 4, "F64": 8}


def require() -> None:
    """Raise ImportError unless the library safetensors is installed."""
    import_optional("safetensors.numpy", "path: files that end in .safetensors need")


def pack(metadata: str, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the file."""
    from safetensors.numpy import save

    data = save(dict(tensors), {_METADATA: metadata, "sha256": ZEROS.decode()})
    return sealed(data, _place_of_seal(data, _header_of(data)))


def unpack(data: bytes) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Return the metadata and the tensors of a file.

    Raises
    ------
    ValueError
        If the file is not as `pack` writes it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    text = _header_of(data)
    check_seal(data, _place_of_seal(data, text))
    header = parsed(text, "its header")
    metadata = header.pop("__metadata__", None)
    if (
        not isinstance(metadata, dict)
        or metadata.keys() != {_METADATA, "sha256"}
        or not isinstance(metadata[_METADATA], str)
    ):
        raise ValueError(f"its metadata is not {_METADATA} and sha256")
    _check_tensors(header, len(data) - 8 - len(text))
    try:
        return metadata[_METADATA].encode(), load(data)
    except (SafetensorError, UnicodeError) as error:
        raise ValueError(f"its header or its tensors are damaged: {error}") from None


def _header_of(data: bytes) -> bytes:
    """Return the JSON header of a file."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8 or data[8:9] != b"{":
        raise ValueError("is not a .safetensors file, or is truncated")
    return data[8 : 8 + length]


def _place_of_seal(data: bytes, header: bytes) -> int:
    if header.count(_SEAL) != 1:
        raise ValueError("contains no checksum: it is not a model that fastsoftmax has saved")
    place = 8 + header.index(_SEAL) + len(_SEAL)
    if place + len(ZEROS) > len(data):
        raise ValueError("is truncated")
    return place


def _check_tensors(header: dict[str, Any], n_bytes: int) -> None:
    """Check the header's description of the tensors before any is read."""
    ends = [0]
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name[:80]!r}: expected dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _ITEMSIZE:
            raise ValueError(f"{name[:80]!r}: expected F32 or F64, got {str(dtype)[:80]!r}")
        if not _are_sizes(shape) or not _are_sizes(offsets) or len(shape) > 2 or len(offsets) != 2:
            raise ValueError(f"{name[:80]!r}: its shape or data_offsets are invalid")
        if prod(shape) * _ITEMSIZE[dtype] != offsets[1] - offsets[0]:
            raise ValueError(f"{name[:80]!r}: its shape {shape} does not fit its bytes")
        ends.append(offsets[1])
    if max(ends) != n_bytes or sum(_length(entry) for entry in header.values()) != n_bytes:
        raise ValueError("its tensors do not fill the file")


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in value)


def _length(entry: dict[str, Any]) -> int:
    start, end = entry["data_offsets"]
    length: int = end - start
    return length
