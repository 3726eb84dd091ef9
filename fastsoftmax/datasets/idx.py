"""IDX, the format of MNIST and similar data sets: a file of images and another of labels.

Either may be compressed.

Bytes 0 and 1 are 0, byte 2 is the type of the numbers, byte 3 the number of dimensions. The sizes of the
dimensions follow as big-endian 32-bit integers, then the numbers, the last index varying fastest.

LeCun, Cortes, Burges: The MNIST database of handwritten digits.
"""

from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import shown
from .dataset import Samples
from .files import (
    UnreadableFile,
    as_path,
    check_is_file,
    compression_of,
    open_binary,
    read_up_to,
    reported,
)
from .shapes import as_file_labels, as_rows

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 4  # samples, height, width, channels

# The prefixes of the names of MNIST's files.
SPLITS = {"train": "train", "test": "t10k"}


def read_idx(
    path: Path, target: object = None, split: str | None = None, require_labels: bool = True
) -> Samples:
    """Return images and their labels.

    Parameters
    ----------
    path : Path
        The file of the images, or a folder of files with MNIST's names.
    target : str or os.PathLike, optional
        The file of the labels. By default its name is that of the images with ``labels`` for ``images`` and
        ``idx1`` for ``idx3``; it may be compressed.
    split : {"train", "test"}, optional
        The part of a folder; "train" by default.
    require_labels : bool, default True
        Whether a file of labels is required.
    """
    if path.is_dir():
        path = _images_in(path, split or "train")
    elif split is not None:
        raise ValueError(f"split: expected none if the path is a file, {path}, got {shown(split)}")
    labels = _labels_of(path, require_labels) if target is None else as_path("target", target)
    images = read_array(path)
    if images.ndim < 2:
        raise UnreadableFile(path, f"expected images, got an array of shape {images.shape}")
    X, image_shape = as_rows(images)
    y = None if labels is None else as_file_labels(labels, read_array(labels))
    return Samples(X, y, image_shape=image_shape)


def has_idx(folder: Path) -> bool:
    """Return whether a folder contains files with the names of MNIST's."""
    return any(_find_images(folder, split) is not None for split in SPLITS)


def read_array(path: Path) -> NDArray[Any]:
    """Return the array of one IDX file, in its dtype and native byte order."""
    check_is_file(path, "an IDX file")
    compressed = compression_of(path) is not None
    with open_binary(path) as stream:
        dtype, shape = _header(path, stream)
        n_bytes = prod(shape) * dtype.itemsize
        if not compressed:  # otherwise unknown until everything has been read
            _check_size(path, dtype, shape, path.stat().st_size - stream.tell())
        content = read_up_to(stream, n_bytes)
    _check_size(path, dtype, shape, len(content))
    # Sizes next to a 0 may exceed NumPy's limits.
    with reported(path, "an IDX file", ValueError):
        numbers = np.frombuffer(content, dtype).reshape(shape)
    return numbers.astype(dtype.newbyteorder("="), copy=False)


def _header(path: Path, stream: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    n_dimensions = magic[3] if len(magic) == 4 else 0
    known = magic[:2] == b"\0\0" and magic[2:3] and magic[2] in _DTYPES
    if not known or not 1 <= n_dimensions <= _MAX_DIMENSIONS:
        raise UnreadableFile(
            path,
            f"expected an IDX file, which begins with two zeros, a type ({', '.join(map(hex, _DTYPES))}) "
            f"and 1 to {_MAX_DIMENSIONS} dimensions, got the bytes {magic.hex(' ')}",
        )
    sizes = stream.read(4 * n_dimensions)
    if len(sizes) < 4 * n_dimensions:
        raise UnreadableFile(
            path, f"expected {n_dimensions} sizes after the first 4 bytes, got the end of the file"
        )
    return np.dtype(_DTYPES[magic[2]]), tuple(np.frombuffer(sizes, ">u4").tolist())


def _check_size(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], n_bytes: int) -> None:
    expected = prod(shape) * dtype.itemsize
    if n_bytes != expected:
        found = f"only {n_bytes}" if n_bytes < expected else "more"
        raise UnreadableFile(
            path,
            f"expected {expected} bytes after the header, which says shape {shape} of {dtype.name}, "
            f"got {found}",
        )


def _images_in(folder: Path, split: str) -> Path:
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {shown(split)}")
    images = _find_images(folder, split)
    if images is None:
        raise FileNotFoundError(f"{folder / f'{SPLITS[split]}-images-idx3-ubyte'}: no such file")
    return images


def _find_images(folder: Path, split: str) -> Path | None:
    stems = (f"{SPLITS[split]}-images{separator}idx3-ubyte" for separator in "-.")
    names = [folder / f"{stem}{suffix}" for stem in stems for suffix in ("", ".gz")]
    return next((name for name in names if name.is_file()), None)


def _labels_of(images: Path, required: bool) -> Path | None:
    plain = images.name.removesuffix(".gz")
    name = plain.replace("images", "labels").replace("idx3", "idx1")
    if name == plain:
        if not required:
            return None
        raise ValueError(
            f"target: expected the file with the labels of {images}, "
            "whose name has no 'images' to replace by 'labels'"
        )
    found = [images.with_name(name + suffix) for suffix in ("", ".gz")]
    labels = next((file for file in found if file.is_file()), None)
    if labels is None and required:
        raise FileNotFoundError(
            f"{found[0]}: no such file, nor with .gz: the labels of {images.name}"
        )
    return labels
