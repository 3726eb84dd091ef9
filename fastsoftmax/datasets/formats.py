"""Detect the format of a file, and call its reader."""

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._arrays.validation import shown
from .arrays import read_npy, read_npz
from .cifar import has_cifar, is_archive, read_cifar
from .dataset import Samples
from .files import UnreadableFile, as_path, open_binary
from .idx import has_idx, read_idx
from .libsvm import is_libsvm, read_libsvm
from .svhn import read_svhn
from .tables import csv_batches, parquet_batches, read_csv, read_parquet

_REQUIRE_LABELS = "require_labels"
_KEEP_IGNORED = "keep_ignored"


class _Format(NamedTuple):
    read: Callable[..., Samples]
    suffixes: tuple[str, ...] = ()
    signatures: tuple[bytes, ...] = ()  # the first bytes of its files
    has_folders: bool = False
    batches: Callable[..., Iterator[Samples]] | None = None  # with the options of `read`

    @property
    def options(self) -> list[str]:
        return [n for n in self._parameters if n not in (_REQUIRE_LABELS, _KEEP_IGNORED)]

    @property
    def has_labels(self) -> bool:
        """Whether every file contains labels."""
        return _REQUIRE_LABELS not in self._parameters

    @property
    def has_columns(self) -> bool:
        """Whether a file is a table, some columns of which may be ignored."""
        return _KEEP_IGNORED in self._parameters

    @property
    def _parameters(self) -> list[str]:
        return list(inspect.signature(self.read).parameters)[1:]


FORMATS = {
    "cifar": _Format(
        read_cifar, signatures=(b"\x80\x02", b"\x80\x03", b"\x80\x04"), has_folders=True
    ),
    "svhn": _Format(read_svhn, (".mat",), (b"MATLAB 5.0",)),
    "idx": _Format(
        read_idx, (), tuple(bytes([0, 0, t]) for t in (8, 9, 11, 12, 13, 14)), has_folders=True
    ),
    "libsvm": _Format(read_libsvm, (".svm", ".libsvm", ".svmlight", ".txt")),
    "npy": _Format(read_npy, (".npy",), (b"\x93NUMPY",)),
    "npz": _Format(read_npz, (".npz",), (b"PK\x03\x04",)),
    "csv": _Format(read_csv, (".csv", ".tsv"), batches=csv_batches),
    "parquet": _Format(read_parquet, (".parquet", ".pq"), (b"PAR1",), batches=parquet_batches),
}
_COMPRESSED = (".gz", ".bz2")
_MAX_FIRST_LINE_BYTES = 1 << 16  # of the line that determines the format


def load(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002  # the usual name of this parameter
    target: str | int | os.PathLike[str] | None = None,
    split: str | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    zero_based: bool | str | None = None,
    n_features: int | None = None,
    ignore: Sequence[str | int] | None = None,
    features: Sequence[str | int] | None = None,
    require_labels: bool = True,
    keep_ignored: bool = False,
) -> Samples:
    """Read samples and their labels from a file or folder.

    Dtypes are kept: uint8 stays uint8, and an `.npy` file is mapped into memory, read-only.
    Nothing in a file is executed: only plain data are read from pickles.

    Parameters
    ----------
    path : str or os.PathLike
        The file or folder.
    format : {"cifar", "svhn", "idx", "libsvm", "npy", "npz", "csv", "parquet"}, optional
        By default determined by the suffix, else by the content.
    target : str, int or os.PathLike, optional
        The place of the labels. "csv", "parquet": the name or the index of a column, by default the one
        called label, labels, target, class or y. "npz": the name of an array, by default the one that
        belongs to X. "npy": the file of the labels. "idx": the same, by default by its name. "cifar":
        "fine_labels" (the default) or "coarse_labels" of CIFAR-100.
    split : {"train", "test"}, optional
        The part, if the path has both: folders and archives ("cifar", "idx") and "npz". "train"
        by default.
    header, delimiter
        For "csv": whether the first row names columns, by default guessed (ValueError if that is
        ambiguous); the field separator, by default a comma, or in `.tsv` a tab.
    zero_based, n_features
        For "libsvm": whether the first feature has the index 0 (True, False, or by default "auto": if that
        index occurs); the number of features, by default the largest index.
    ignore, features : sequence of str or int, optional
        For "csv" and "parquet", names or indices of columns: those that are not features, such as an
        identifier, or those that are, in this order. By default all except that of the labels are.
    require_labels : bool, default True
        Whether a file without labels is an error. If False, `y` is None for such a file: `target` is not
        given, and no column, array or file has the default name of labels.
    keep_ignored : bool, default False
        Whether the result contains the columns of a table that are neither features nor labels.

    Returns
    -------
    Samples
        A named tuple of `X` (n_samples, n_features), `y` (n_samples,), `class_names`, `image_shape`,
        `feature_names` and `ignored`, the last four None if the file does not contain them. `X` is an
        array of the file's dtype or, from "libsvm", a CSR matrix of float32. `y` is int64, bool or text;
        see also `require_labels`. `ignored` is a `pyarrow.Table`; see `keep_ignored`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If a library that reads the format is not installed; it names the extra to install.
    ValueError
        If the file is damaged or contains something else, or an option is invalid or not one of the format.
    TypeError
        If an option has the wrong type.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> from fastsoftmax import datasets
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "flowers.npz"
    >>> np.savez(file, X=np.eye(3, dtype=np.uint8), y=np.array(["iris", "rose", "iris"]))
    >>> X, y, *_ = datasets.load(file)
    >>> X.dtype, y.tolist()
    (dtype('uint8'), ['iris', 'rose', 'iris'])
    """
    file, chosen, given = _reader(
        path,
        format,
        require_labels,
        keep_ignored,
        target=target,
        split=split,
        header=header,
        delimiter=delimiter,
        zero_based=zero_based,
        n_features=n_features,
        ignore=ignore,
        features=features,
    )
    samples = chosen.read(file, **given)
    _check(file, samples)
    return samples


def load_batches(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002  # as in `load`
    require_labels: bool = True,
    keep_ignored: bool = False,
    **options: Any,
) -> Iterator[Samples]:
    """Yield the samples that `load` returns: of a table in batches of rows, else all of them.

    A batch has a bounded number of rows of Parquet, and of bytes of CSV. Its `X` may have a wider dtype
    than that of `load`, in which the numbers are the same. Errors are those of `load`; one of a later batch
    comes after the earlier ones.
    """
    file, chosen, given = _reader(path, format, require_labels, keep_ignored, **options)
    read = chosen.batches or (lambda *args, **given: iter([chosen.read(*args, **given)]))
    for samples in read(file, **given):
        _check(file, samples)
        yield samples


def _reader(
    path: str | os.PathLike[str],
    format: str | None,  # noqa: A002
    require_labels: bool,
    keep_ignored: bool,
    **options: Any,
) -> tuple[Path, _Format, dict[str, Any]]:
    """Return the file, its format, and the options for its reader, all of them checked."""
    file = as_path("path", path)
    if format is not None and format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {shown(format)}")
    if not isinstance(require_labels, bool):
        raise TypeError(f"require_labels: expected True or False, got {shown(require_labels)}")
    if not isinstance(keep_ignored, bool):
        raise TypeError(f"keep_ignored: expected True or False, got {shown(keep_ignored)}")
    name = format or format_of(file)
    chosen = FORMATS[name]
    if file.is_dir() and not chosen.has_folders:
        raise UnreadableFile(file, f"expected a file of format {name!r}, got a folder")
    given = {option: value for option, value in options.items() if value is not None}
    for option in given.keys() - set(chosen.options):
        accepted = " and ".join(chosen.options) or "none"
        raise ValueError(
            f"{option}: expected none for the format {name!r} of {file}, whose options are: {accepted}"
        )
    if not chosen.has_labels:
        given[_REQUIRE_LABELS] = require_labels
    if chosen.has_columns:
        given[_KEEP_IGNORED] = keep_ignored
    return file, chosen, given


def format_of(path: Path) -> str:
    """Return the name of the format of a file or folder, by its suffix or else by its content.

    Raises
    ------
    ValueError
        If the format is unknown.
    """
    if path.is_dir():
        found = "cifar" if has_cifar(path) else "idx" if has_idx(path) else None
    else:
        found = _by_suffix(path) or _by_content(path)
    if found is None:
        what = (
            "a folder of CIFAR's or MNIST's files" if path.is_dir() else "a file of a known format"
        )
        raise UnreadableFile(path, f"expected {what}; format= names one of {', '.join(FORMATS)}")
    return found


def _by_suffix(path: Path) -> str | None:
    if is_archive(path):
        return "cifar"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    last = suffixes[-1] if suffixes else ""
    return next((name for name, known in FORMATS.items() if last in known.suffixes), None)


def _by_content(path: Path) -> str | None:
    if not path.is_file():
        return None
    with open_binary(path) as stream:
        line = stream.readline(_MAX_FIRST_LINE_BYTES)
    for name, known in FORMATS.items():
        if line.startswith(known.signatures):
            return name
    return "libsvm" if is_libsvm(line.strip()) else None


def _check(path: Path, samples: Samples) -> None:
    """Raise unless there are samples, and a label for each."""
    n_samples, n_features = samples.X.shape
    if n_samples == 0 or n_features == 0:
        raise UnreadableFile(
            path, f"expected at least one sample and one feature, got shape {samples.X.shape}"
        )
    if samples.y is not None and len(samples.y) != n_samples:
        raise UnreadableFile(
            path, f"expected {n_samples} labels, one for each sample, got {len(samples.y)}"
        )
