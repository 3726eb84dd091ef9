"""Tables, CSV and Parquet, through PyArrow: a column of labels, and features in all others."""

import codecs
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import as_integer, shown
from .._optional import import_optional
from .dataset import Samples
from .files import UnreadableFile, check_is_file, comma_separated, open_binary, reported
from .shapes import as_file_labels

# The names of the column of labels if `target` is not given; case does not matter.
TARGET_NAMES = ("label", "labels", "target", "class", "y")
_MAX_LINE_BYTES = 1 << 24


def read_csv(
    path: Path,
    target: object = None,
    header: bool | None = None,
    delimiter: str | None = None,
    require_labels: bool = True,
) -> Samples:
    """Return the samples and labels of a text table in UTF-8.

    Features are float64, or int64 if all are whole numbers, or uint8 if these are from 0 to 255.

    Parameters
    ----------
    path : Path
        The file, plain, gzip or bzip2.
    target : str or int, optional
        The column of the labels: its name or its index; -1 is the last one. Text such as "-1" is an index
        unless it is a name.
    header : bool, optional
        Whether the first row contains the names of the columns. By default it does if `target` is a name,
        if one of its fields is in `TARGET_NAMES`, or if none is a number. It does not if all are.
    delimiter : str, optional
        By default a comma, and a tab in `.tsv`.
    require_labels : bool, default True
        Whether a column of labels is required; if not, and `target` is None and no column has a name in
        `TARGET_NAMES`, all columns are features.
    """
    if header not in (None, True, False):
        raise TypeError(f"header: expected True, False or None, got {shown(header)}")
    if delimiter is None:
        delimiter = "\t" if ".tsv" in path.suffixes[-2:] else ","
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"delimiter: expected one character, got {delimiter!r}")
    check_is_file(path, "a CSV file")
    arrow = import_optional("pyarrow.csv", "CSV is read with")
    first = _first_row(path, delimiter)
    target = _name_or_index(target, [] if header is False else first)
    if header is None:
        header = _has_header(path, first, target)
    with open_binary(path) as stream, reported(path, "CSV rows of equal length", Exception):
        table = arrow.read_csv(
            stream,
            read_options=arrow.ReadOptions(autogenerate_column_names=not header),
            parse_options=arrow.ParseOptions(delimiter=delimiter),
        )
    samples = _samples(path, table, target, header, require_labels)
    X = samples.X
    if X.dtype.kind in "iu" and X.min() >= 0 and X.max() <= np.iinfo(np.uint8).max:
        return samples._replace(X=X.astype(np.uint8))
    return samples


def read_parquet(path: Path, target: object = None, require_labels: bool = True) -> Samples:
    """Return the samples and labels of a Parquet file, in a dtype that can represent all features.

    Parameters
    ----------
    path : Path
        The file.
    target : str or int, optional
        The column of the labels: its name or its index; -1 is the last one.
    require_labels : bool, default True
        As in `read_csv`.
    """
    check_is_file(path, "a Parquet file")
    parquet = import_optional("pyarrow.parquet", "Parquet is read with")
    with path.open("rb") as stream, reported(path, "a Parquet file", Exception):
        table = parquet.ParquetFile(stream).read()
    target = _name_or_index(target, _names_of(path, table))
    return _samples(path, table, target, True, require_labels)


def _names_of(path: Path, table: Any) -> list[str]:
    with reported(path, "names of columns in UTF-8", UnicodeDecodeError):
        return list(table.column_names)


def _name_or_index(target: object, names: Sequence[str]) -> object:
    """Return text such as "-1", from a command line, as an integer, unless it is a name."""
    if isinstance(target, str) and target not in names and target.removeprefix("-").isdecimal():
        return int(target)
    return target


def _first_row(path: Path, delimiter: str) -> list[str]:
    with open_binary(path) as stream, reported(path, "CSV text in UTF-8", ValueError, csv.Error):
        line = b"\n"
        while line in (b"\n", b"\r\n"):
            line = stream.readline(_MAX_LINE_BYTES).removeprefix(codecs.BOM_UTF8)
        return next(csv.reader([line.decode()], delimiter=delimiter), [])


def _has_header(path: Path, fields: Sequence[str], target: object) -> bool:
    if isinstance(target, str) or any(field.strip().lower() in TARGET_NAMES for field in fields):
        return True
    are_numbers = [_is_number(field) for field in fields]
    if any(are_numbers) and not all(are_numbers):
        raise ValueError(
            f"header: expected True or False, as the first row of {path} has numbers and words: "
            f"{comma_separated(fields)}"
        )
    return not any(are_numbers)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _samples(path: Path, table: Any, target: object, named: bool, require_labels: bool) -> Samples:
    names = [name.strip() for name in _names_of(path, table)]
    place = _place_of_target(path, names, target, named, require_labels)
    features = [column for column in range(len(names)) if column != place]
    if not features or table.num_rows == 0:
        raise UnreadableFile(
            path,
            "expected at least one row, and one column besides that of the labels, "
            f"got {table.num_rows} rows and {len(names)} columns",
        )
    called = [f"column {names[i]!r}" if named else f"column {i}" for i in range(len(names))]
    # Parquet text is decoded only here.
    with reported(path, "numbers, and texts in UTF-8", Exception):
        columns = [_numbers(path, called[column], table.column(column)) for column in features]
        y = None if place is None else _labels(path, called[place], table.column(place))
    X = np.empty((table.num_rows, len(features)), np.result_type(*{c.dtype for c in columns}))
    for index, column in enumerate(columns):
        X[:, index] = column
    kept = tuple(names[column] for column in features) if named else None
    return Samples(X, None if y is None else as_file_labels(path, y), feature_names=kept)


def _place_of_target(
    path: Path, names: Sequence[str], target: object, named: bool, required: bool
) -> int | None:
    columns = f"{len(names)} columns" + (
        f": {comma_separated(names)}" if named else " without names"
    )
    if target is None:
        found = [
            place for place, name in enumerate(names) if name.lower() in TARGET_NAMES and named
        ]
        if not found and not required:
            return None
        accepted = f"the name or the index of the column of labels in {path}, unless exactly one is called "
        accepted += " or ".join(TARGET_NAMES)
    elif isinstance(target, str):
        found = [place for place, name in enumerate(names) if name == target and named]
        accepted = f"the name of one column in {path}"
    else:
        index = as_integer("target", target, -len(names), f"an index of the {columns}, in {path}")
        if index >= len(names):
            raise ValueError(
                f"target: expected an index of the {columns}, in {path}, got {shown(target)}"
            )
        return index % len(names)
    if len(found) != 1:
        raise ValueError(f"target: expected {accepted}, got {target!r}. It has {columns}")
    return found[0]


def _numbers(path: Path, called: str, column: Any) -> NDArray[Any]:
    """Return a column as an array of numbers, all of them finite."""
    _check_no_nulls(path, called, column)
    values = _as_numpy(column)
    if values.dtype.kind not in "fiub":
        raise UnreadableFile(
            path, f"expected numbers in {called}, got {column.type}; target= names the labels"
        )
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        raise UnreadableFile(
            path, f"expected finite numbers, got {values[row]} in {called}, row {row}"
        )
    return values


def _labels(path: Path, called: str, column: Any) -> NDArray[Any]:
    _check_no_nulls(path, called, column)
    values = _as_numpy(column)
    if values.dtype.kind != "O":
        return values
    texts = values.tolist()
    blank = next(
        (row for row, text in enumerate(texts) if not isinstance(text, str) or not text), None
    )
    if blank is not None:
        raise UnreadableFile(
            path,
            f"expected labels, got {texts[blank]!r} in {called}, row {blank}; rows count from 0",
        )
    return np.array(texts, dtype=np.str_)


def _as_numpy(column: Any) -> NDArray[Any]:
    if str(column.type).startswith("dictionary"):  # categorical in pandas and polars
        column = column.cast(column.type.value_type)
    return np.asarray(column.to_numpy())


def _check_no_nulls(path: Path, called: str, column: Any) -> None:
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise UnreadableFile(
            path,
            f"expected a value in every row, got none or NaN in {called}, row {row}; rows count from 0",
        )
