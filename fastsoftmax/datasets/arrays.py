"""NumPy's files: `.npy`, mapped into memory, and `.npz`. Objects in them are never unpickled."""

import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import shown
from .dataset import Samples
from .files import UnreadableFile, as_path, check_is_file, comma_separated, read_up_to, reported
from .shapes import as_file_labels, as_rows

SPLITS = ("train", "test")


def read_npy(path: Path, target: object = None, require_labels: bool = True) -> Samples:
    """Return the samples of one file, mapped into memory read-only, with the labels of another.

    Parameters
    ----------
    path : Path
        The samples, (n_samples, ...) of real numbers.
    target : str or os.PathLike
        The `.npy` file with the labels.
    require_labels : bool, default True
        Whether labels are required.
    """
    if target is None and not require_labels:
        X, image_shape = _samples(path, _mapped(path))
        return Samples(X, None, image_shape=image_shape)
    if target is None:
        raise ValueError(f"target: expected the .npy file with the labels of {path}, got None")
    labels = as_path("target", target)
    X, image_shape = _samples(path, _mapped(path))
    return Samples(X, as_file_labels(labels, _mapped(labels)), image_shape=image_shape)


def read_npz(
    path: Path, target: object = None, split: str | None = None, require_labels: bool = True
) -> Samples:
    """Return the samples `X` (or `x`) and the labels `y` of one file, or `X_train` and `y_train`.

    Parameters
    ----------
    path : Path
        The file.
    target : str, optional
        The name of the array of labels, in place of those above.
    split : {"train", "test"}, optional
        The part, if there are two. By default `X`, or else `X_train`.
    require_labels : bool, default True
        Whether labels are required.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {shown(split)}")
    what = "an .npz file"
    check_is_file(path, what)
    with reported(path, what, Exception), zipfile.ZipFile(path) as archive:
        present = [name.removesuffix(".npy") for name in archive.namelist()]
        ends = [""] if split is None else []
        ends.append(f"_{split or 'train'}")
        name_of_X = _choose(path, present, [f"{x}{end}" for end in ends for x in "Xx"], "samples")
        end = name_of_X[1:]
        wanted = [f"y{end}"] if target is None else [str(target)]
        y = None
        if require_labels or target is not None or wanted[0] in present:
            y = _member(path, archive, _choose(path, present, wanted, "labels"))
        X = _member(path, archive, name_of_X)
    rows, image_shape = _samples(path, X)
    labels = None if y is None else as_file_labels(path, y)
    return Samples(rows, labels, image_shape=image_shape)


class _Header(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]

    @property
    def n_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def _header(path: Path, stream: IO[bytes]) -> _Header:
    with reported(path, "NumPy's .npy format", Exception):
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:  # 3.0 is for field names, of structured arrays
            raise UnreadableFile(path, f"expected the .npy format 1.0 or 2.0, got {version}")
        shape, fortran_order, dtype = readers[version](stream)
    if dtype.hasobject:
        raise UnreadableFile(
            path, "refused: it contains pickled objects; only numbers and text are read"
        )
    if min(shape, default=0) < 0 or dtype.itemsize == 0:
        raise UnreadableFile(path, f"expected numbers, got shape {shape} of dtype {dtype}")
    return _Header(dtype, shape, "F" if fortran_order else "C")


def _mapped(path: Path) -> NDArray[Any]:
    """Return the array of a file, mapped into memory read-only."""
    check_is_file(path, "an .npy file")
    with path.open("rb") as stream:
        header = _header(path, stream)
        offset = stream.tell()
    _check_size(path, header, path.stat().st_size - offset)
    if header.n_bytes == 0:  # nothing to map; sizes next to a 0 may exceed NumPy's limits
        with reported(path, "NumPy's .npy format", ValueError):
            return np.empty(header.shape, header.dtype)
    return np.memmap(path, header.dtype, "r", offset, header.shape, header.order)


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    member = path / f"{name}.npy"
    with archive.open(member.name) as stream:
        header = _header(member, stream)
        content = read_up_to(stream, header.n_bytes)
    _check_size(member, header, len(content))
    return np.frombuffer(content, header.dtype).reshape(header.shape, order=header.order)


def _check_size(path: Path, header: _Header, n_bytes: int) -> None:
    if n_bytes != header.n_bytes:
        found = f"only {n_bytes}" if n_bytes < header.n_bytes else "more"
        raise UnreadableFile(
            path,
            f"expected {header.n_bytes} bytes after the header, which says shape {header.shape} of "
            f"{header.dtype}, got {found}",
        )


def _samples(path: Path, samples: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, ...] | None]:
    if samples.ndim < 2 or samples.dtype.kind not in "fiub" or samples.dtype.itemsize > 8:
        raise UnreadableFile(
            path,
            "expected samples, real numbers of shape (n_samples, n_features) or more dimensions, "
            f"got shape {samples.shape} of dtype {samples.dtype}",
        )
    return as_rows(samples)


def _choose(path: Path, present: Sequence[str], wanted: Sequence[str], what: str) -> str:
    found = next((name for name in wanted if name in present), None)
    if found is None:
        raise UnreadableFile(
            path,
            f"expected the {what} in an array {' or '.join(wanted)}, "
            f"got {comma_separated(present) or 'none'}",
        )
    return found
