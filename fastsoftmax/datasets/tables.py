"""Tables, CSV and Parquet, through PyArrow: a column of labels, and features in the others.

A table is read whole, or as batches of rows whose samples are those of the whole table.
"""

import codecs
import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import as_integer, shown
from .._optional import import_optional
from .csv_blocks import CsvBlocks, parse_options
from .dataset import Samples
from .files import UnreadableFile, check_is_file, comma_separated, open_binary, reported
from .shapes import as_file_labels

# The names of the column of labels if `target` is not given; case does not matter.
TARGET_NAMES = ("label", "labels", "target", "class", "y")
_MAX_LINE_BYTES = 1 << 24
_ROWS_PER_BATCH = 1 << 14  # of Parquet
_CSV = "CSV rows of equal length"
_NO_VALUE = "expected a value in every row, got none or NaN in "
_UNEQUAL = "expected lists of equal length, got another length in "
_DELIMITERS = (",", ";", "\t", "|")


def read_csv(
    path: Path,
    target: object = None,
    header: bool | None = None,
    delimiter: str | None = None,
    ignore: object = None,
    features: object = None,
    require_labels: bool = True,
    keep_ignored: bool = False,
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
        Whether the first row contains the names of the columns. By default it does if a column is given by
        its name, if one of its fields is in `TARGET_NAMES`, or if none is a number. It does not if all are.
    delimiter : str, optional
        By default a comma, and a tab in `.tsv`.
    ignore, features : sequence of str or int, optional
        The columns that are not features, besides that of the labels; or those that are, in this order.
    require_labels : bool, default True
        Whether a column of labels is required; if not, and `target` is None and no column has a name in
        `TARGET_NAMES`, no column contains labels.
    keep_ignored : bool, default False
        Whether the ignored columns are returned too, as the texts of the file.
    """
    header, delimiter, first = _csv_layout(path, header, delimiter, (target, ignore, features))
    arrow = import_optional("pyarrow.csv", "CSV is read with")
    wanted = _Wanted(target, ignore, features, require_labels)
    texts = wanted.texts(path, first, header)
    with open_binary(path) as stream, reported(path, _CSV, Exception):
        table = arrow.read_csv(
            stream,
            read_options=arrow.ReadOptions(autogenerate_column_names=not header),
            parse_options=parse_options(delimiter),
            convert_options=arrow.ConvertOptions(column_types=texts),
        )
    chosen = wanted.choose(path, _names_of(path, table.schema), header)
    with reported(path, "numbers, and texts in UTF-8", Exception):
        batches = [batch.columns for batch in table.combine_chunks().to_batches()]
    n_rows = table.num_rows
    del table
    samples = _samples(path, chosen, _checked(path, chosen, batches, n_rows), n_rows, keep_ignored)
    X = samples.X
    if X.dtype.kind in "iu" and X.min() >= 0 and X.max() <= np.iinfo(np.uint8).max:
        return samples._replace(X=X.astype(np.uint8))
    return samples


def csv_batches(
    path: Path,
    target: object = None,
    header: bool | None = None,
    delimiter: str | None = None,
    ignore: object = None,
    features: object = None,
    require_labels: bool = True,
    keep_ignored: bool = False,
) -> Iterator[Samples]:
    """Yield the samples of `read_csv` in batches of rows. The file is read twice, or again if types change.

    Features are not narrowed to uint8. A file in which two columns have the same name is one batch.
    """
    columns = (target, ignore, features)
    has_names, separator, first = _csv_layout(path, header, delimiter, columns)
    wanted = _Wanted(*columns, require_labels)
    blocks = CsvBlocks(path, has_names, separator, wanted.texts(path, first, has_names))
    with reported(path, _CSV, Exception):
        types, n_rows = blocks.types()
    if types is None:
        options = (target, header, delimiter, ignore, features, require_labels, keep_ignored)
        yield read_csv(path, *options)
        return
    chosen = wanted.choose(path, list(types), has_names)
    yield from _sample_batches(path, chosen, _csv_columns(blocks, types), n_rows, keep_ignored)


def read_parquet(
    path: Path,
    target: object = None,
    ignore: object = None,
    features: object = None,
    require_labels: bool = True,
    keep_ignored: bool = False,
) -> Samples:
    """Return the samples and labels of a Parquet file, in a dtype that can represent all features.

    A column of lists, all of the same length, is that many features: `embedding[0]`, `embedding[1]`, ...

    Parameters
    ----------
    path : Path
        The file. Only the columns that are needed are read, a batch of rows at a time.
    target : str or int, optional
        The column of the labels: its name or its index; -1 is the last one.
    ignore, features, require_labels, keep_ignored
        As in `read_csv`, but ignored columns keep their types.
    """
    with _parquet(path, target, ignore, features, require_labels, keep_ignored) as table:
        return _samples(path, table.chosen, _checked(path, *table), table.n_rows, keep_ignored)


def parquet_batches(
    path: Path,
    target: object = None,
    ignore: object = None,
    features: object = None,
    require_labels: bool = True,
    keep_ignored: bool = False,
) -> Iterator[Samples]:
    """Yield the samples of `read_parquet` in batches of rows."""
    with _parquet(path, target, ignore, features, require_labels, keep_ignored) as table:
        yield from _sample_batches(path, *table, keep_ignored)


def column_names(
    path: Path, is_csv: bool, header: bool | None, delimiter: str | None, target: object
) -> list[str] | None:
    """Return the names of the columns of a CSV or Parquet file; None if it has none."""
    if is_csv:
        header, _, names = _csv_layout(path, header, delimiter, (target, None, None))
        return [name.strip() for name in names] if header else None
    check_is_file(path, "a Parquet file")
    parquet = import_optional("pyarrow.parquet", "Parquet is read with")
    with path.open("rb") as stream, reported(path, "a Parquet file", Exception):
        schema = parquet.ParquetFile(stream).schema_arrow
    return [name.strip() for name in _names_of(path, schema)]


def _csv_layout(
    path: Path, header: bool | None, delimiter: str | None, columns: Sequence[object]
) -> tuple[bool, str, list[str]]:
    """Return whether there is a header, the delimiter, and the fields of the first row."""
    if header not in (None, True, False):
        raise TypeError(f"header: expected True, False or None, got {shown(header)}")
    used = delimiter
    if used is None:
        used = "\t" if ".tsv" in path.suffixes[-2:] else ","
    if not isinstance(used, str) or len(used) != 1 or used in '"\r\n':
        raise ValueError(f"delimiter: expected one character, got {shown(used)}")
    check_is_file(path, "a CSV file")
    first = _first_row(path, used)
    if delimiter is None and len(first) == 1:
        other = next((character for character in _DELIMITERS if character in first[0]), None)
        if other is not None:
            raise ValueError(
                f"delimiter: expected the separator of {path}, perhaps {other!r}, got {shown(used)}, "
                f"with which the first row is one field: {comma_separated(first)}"
            )
    if header is None:
        named = [_name_or_index(c, first) for column in columns for c in _listed(column)]
        header = _has_header(path, first, any(isinstance(column, str) for column in named))
    return header, used, first


class _Table(NamedTuple):
    chosen: "_Chosen"
    batches: Iterator[Any]  # of rows: columns by their indices
    n_rows: int


@contextmanager
def _parquet(
    path: Path,
    target: object,
    ignore: object,
    features: object,
    require_labels: bool,
    keep_ignored: bool,
) -> Iterator[_Table]:
    check_is_file(path, "a Parquet file")
    parquet = import_optional("pyarrow.parquet", "Parquet is read with")
    with path.open("rb") as stream:
        with reported(path, "a Parquet file", Exception):
            file = parquet.ParquetFile(stream)
            schema, n_rows = file.schema_arrow, file.metadata.num_rows
        names = _names_of(path, schema)
        chosen = _Wanted(target, ignore, features, require_labels).choose(path, names, True)
        yield _Table(chosen, _parquet_batches(path, file, names, chosen, keep_ignored), n_rows)


def _csv_columns(blocks: CsvBlocks, types: dict[str, Any]) -> Iterator[Any]:
    with reported(blocks.path, _CSV, Exception):
        for block in blocks.read(types):
            yield block.columns


def _parquet_batches(
    path: Path, file: Any, names: Sequence[str], chosen: "_Chosen", keep_ignored: bool
) -> Iterator[Any]:
    """Yield batches of rows: the columns that are needed, by their indices."""
    places = [*chosen.features, *(chosen.ignored if keep_ignored else ())]
    places += [] if chosen.target is None else [chosen.target]
    is_unique = len(set(names)) == len(names)
    needed = [names[place] for place in sorted(places)] if is_unique else None
    with reported(path, "a Parquet file", Exception):
        for batch in file.iter_batches(_ROWS_PER_BATCH, columns=needed):
            yield {place: batch.column(names[place] if is_unique else place) for place in places}


def _names_of(path: Path, schema: Any) -> list[str]:
    with reported(path, "names of columns in UTF-8", UnicodeDecodeError):
        return list(schema.names)


def _listed(columns: object) -> list[object]:
    """Return one column, or several, as a list."""
    if columns is None:
        return []
    if isinstance(columns, Sequence | np.ndarray) and not isinstance(columns, str | bytes):
        return list(columns)
    return [columns]


def _name_or_index(column: object, names: Sequence[str]) -> object:
    """Return text such as "-1", from a command line, as an integer, unless it is a name."""
    if isinstance(column, str) and column not in names and column.removeprefix("-").isdecimal():
        return int(column)
    return column


def _first_row(path: Path, delimiter: str) -> list[str]:
    with open_binary(path) as stream, reported(path, "CSV text in UTF-8", ValueError, csv.Error):
        line = b"\n"
        while line in (b"\n", b"\r\n"):
            line = stream.readline(_MAX_LINE_BYTES).removeprefix(codecs.BOM_UTF8)
        return next(csv.reader([line.decode()], delimiter=delimiter), [])


def _has_header(path: Path, fields: Sequence[str], is_named: bool) -> bool:
    if is_named or any(field.strip().lower() in TARGET_NAMES for field in fields):
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


class _Chosen(NamedTuple):
    """The indices of the columns of a table, by their use."""

    called: list[str]  # all columns, for messages
    names: list[str] | None
    target: int | None
    features: list[int]
    ignored: list[int]


class _Wanted(NamedTuple):
    """The columns as a caller names them."""

    target: object
    ignore: object
    features: object
    requires_labels: bool

    def choose(self, path: Path, names: Sequence[str], has_names: bool) -> _Chosen:
        """Return their indices in a table."""
        if self.ignore is not None and self.features is not None:
            raise ValueError("ignore: expected None if features are given")
        columns = _Columns(path, [name.strip() if has_names else None for name in names])
        features = [columns.place("features", column) for column in _listed(self.features)]
        ignored = [columns.place("ignore", column) for column in _listed(self.ignore)]
        if self.target is None:
            target = columns.place_of_labels({*features, *ignored}, self.requires_labels)
        else:
            target = columns.place("target", self.target)
        for option, places in (("features", features), ("ignore", ignored)):
            if len({*places, target}) <= len(places):
                given = comma_separated([str(column) for column in _listed(getattr(self, option))])
                raise ValueError(
                    f"{option}: expected each column once, and not that of the labels, got {given}"
                )
        rest = [i for i in range(len(names)) if i not in {target, *features, *ignored}]
        if self.features is None:
            features = rest
        else:
            ignored = rest
        return _Chosen(columns.called, columns.known or None, target, features, ignored)

    def texts(self, path: Path, first: Sequence[str], header: bool) -> dict[str, Any]:
        """Return the columns of CSV that are read as texts: an identifier such as 007 keeps its zeros."""
        if self.ignore is None and self.features is None:
            return {}
        ignored = self.choose(path, first, header).ignored
        names = [first[place] if header else f"f{place}" for place in ignored]
        return dict.fromkeys(names, _arrow().string())


class _Columns(NamedTuple):
    """The columns of a table."""

    path: Path
    names: list[str | None]

    @property
    def known(self) -> list[str]:
        """The names, if there are any."""
        return [name for name in self.names if name is not None]

    @property
    def called(self) -> list[str]:
        """What messages call the columns."""
        return [f"column {i if name is None else repr(name)}" for i, name in enumerate(self.names)]

    def __str__(self) -> str:
        text = f": {comma_separated(self.known)}" if self.known else " without names"
        return f"{len(self.names)} columns{text}"

    def place(self, option: str, column: object) -> int:
        """Return the index of a column that is given by its name or its index."""
        column = _name_or_index(column, self.known)
        if not isinstance(column, str):
            accepted = f"an index of the {self}, in {self.path}"
            index = as_integer(option, column, -len(self.names), accepted)
            if index >= len(self.names):
                raise ValueError(f"{option}: expected {accepted}, got {shown(column)}")
            return index % len(self.names)
        if self.names.count(column) != 1:
            raise ValueError(
                f"{option}: expected the name of one column in {self.path}, got {str(column)!r}. "
                f"It has {self}"
            )
        return self.names.index(column)

    def place_of_labels(self, others: set[int], is_required: bool) -> int | None:
        """Return the index of the column that has a usual name of labels."""
        found = [
            place
            for place, name in enumerate(self.names)
            if name is not None and name.lower() in TARGET_NAMES and place not in others
        ]
        if len(found) == 1:
            return found[0]
        if not found and not is_required:
            return None
        got = " and ".join(repr(self.names[place]) for place in found) or "None"
        raise ValueError(
            f"target: expected the name or the index of the column of labels in {self.path}, unless "
            f"exactly one is called {' or '.join(TARGET_NAMES)}, got {got}. It has {self}"
        )


class _Batch(NamedTuple):
    first: int  # the row of the table with which the batch begins
    columns: Any
    features: list[NDArray[Any]]  # of each column (n_rows, n_numbers)


def _checked(path: Path, chosen: _Chosen, batches: Iterable[Any], n_rows: int) -> Iterator[_Batch]:
    """Yield batches that have rows, and a valid number for each feature.

    Raises
    ------
    UnreadableFile
        If something else is found. The error names the row of the table.
    """
    if not chosen.features or n_rows == 0:
        raise UnreadableFile(
            path,
            "expected at least one row, and one column besides that of the labels, "
            f"got {n_rows} rows and {len(chosen.called)} columns",
        )
    row, widths = 0, None
    for columns in batches:
        if not len(columns[chosen.features[0]]):
            continue
        # Parquet text is decoded only here.
        with reported(path, "numbers, and texts in UTF-8", Exception):
            blocks = _numbers(path, chosen, columns, row)
        widths = widths or [block.shape[1] for block in blocks]
        for place, block, width in zip(chosen.features, blocks, widths, strict=True):
            if block.shape[1] != width:
                reason = _UNEQUAL + chosen.called[place]
                raise UnreadableFile(path, f"{reason}, row {row}; rows count from 0")
        first, row = row, row + len(blocks[0])
        if row > n_rows:
            break
        yield _Batch(first, columns, blocks)
    if row != n_rows:
        raise UnreadableFile(path, f"expected {n_rows} rows, as it says, got {row}")


def _sample_batches(
    path: Path, chosen: _Chosen, batches: Iterable[Any], n_rows: int, keep_ignored: bool
) -> Iterator[Samples]:
    """Yield the samples of each batch of rows."""
    for batch in _checked(path, chosen, batches, n_rows):
        yield _samples(path, chosen, [batch], len(batch.features[0]), keep_ignored)


def _samples(
    path: Path, chosen: _Chosen, batches: Iterable[_Batch], n_rows: int, keep_ignored: bool
) -> Samples:
    """Return the samples of batches that have so many rows together."""
    ignored = chosen.ignored if keep_ignored else []
    parts: dict[int, list[Any]] = {place: [] for place in ignored}
    if chosen.target is not None:
        parts[chosen.target] = []
    X, names, first, begin = np.empty((0, 0)), None, None, 0
    for batch in batches:
        blocks = batch.features
        if first is None:
            first, width = batch.first, sum(block.shape[1] for block in blocks)
            X = _empty(path, (n_rows, width), np.result_type(*{b.dtype for b in blocks}))
            names = _feature_names(chosen, batch.columns, blocks)
        end = begin + len(blocks[0])
        np.concatenate(blocks, axis=1, out=X[begin:end])
        begin = end
        for place, arrays in parts.items():
            arrays.append(batch.columns[place])
    y, kept = None, None
    with reported(path, "numbers, and texts in UTF-8", Exception):
        if chosen.target is not None:
            labels = _chunked(parts[chosen.target])
            y = _labels(path, chosen.called[chosen.target], labels, first or 0)
        if ignored:
            called = [(chosen.names or chosen.called)[place] for place in ignored]
            kept = _arrow().table([_chunked(parts[place]) for place in ignored], called)
    return Samples(X, y, feature_names=names, ignored=kept)


def _arrow() -> Any:
    return import_optional("pyarrow", "tables are read with")


def _chunked(arrays: list[Any]) -> Any:
    return _arrow().chunked_array(arrays)


def _empty(path: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array for as many rows as the file says that it has, which may be wrong."""
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError):
        what = f"expected numbers that fit into memory, got shape {shape} of dtype {dtype}"
        raise UnreadableFile(path, what) from None


def _feature_names(
    chosen: _Chosen, batch: Any, blocks: Sequence[NDArray[Any]]
) -> tuple[str, ...] | None:
    """Return the names of columns, and for a column of lists `name[0]`, `name[1]`, ..."""
    if chosen.names is None:
        return None
    found: list[str] = []
    for place, block in zip(chosen.features, blocks, strict=True):
        name = chosen.names[place]
        is_list = _is_list(batch[place].type)
        found += [f"{name}[{i}]" for i in range(block.shape[1])] if is_list else [name]
    return tuple(found)


def _is_list(kind: Any) -> bool:
    types = _arrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _numbers(path: Path, chosen: _Chosen, batch: Any, first: int) -> list[NDArray[Any]]:
    """Return the features of a batch of rows: an array (n_rows, n_numbers) for each column.

    Raises
    ------
    UnreadableFile
        If a column does not contain numbers, or if there is a row, counted from `first`, in which a feature
        or the label is missing, or a feature is NaN, infinite or a list of another length. The error names
        the first such row.
    """
    blocks, wrong = [], []
    for place in chosen.features:
        called, column = chosen.called[place], batch[place]
        if column.null_count:
            wrong.append((_first_null(column), _NO_VALUE + called))
            continue
        n_numbers = 1
        if _is_list(column.type):
            n_numbers, row = _list_length(column)
            if row is not None:
                wrong.append((row, _UNEQUAL + called))
                continue
            column = column.flatten()
            if column.null_count:
                wrong.append((_first_null(column) // n_numbers, _NO_VALUE + called))
                continue
        values = _as_numpy(column)
        if values.dtype.kind not in "fiub" or n_numbers == 0:
            raise UnreadableFile(
                path,
                f"expected numbers in {called}, got {batch[place].type}; target= names the labels, "
                "ignore= other columns that are not features",
            )
        finite = np.isfinite(values)
        if not finite.all():
            index = int(np.argmin(finite))
            row = index // n_numbers
            wrong.append((row, f"expected finite numbers, got {values[index]} in {called}"))
        blocks.append(values.reshape(-1, n_numbers))
    if chosen.target is not None and batch[chosen.target].null_count:
        wrong.append((_first_null(batch[chosen.target]), _NO_VALUE + chosen.called[chosen.target]))
    if wrong:
        row, reason = min(wrong, key=lambda found: found[0])
        raise UnreadableFile(path, f"{reason}, row {first + row}; rows count from 0")
    return blocks


def _first_null(column: Any) -> int:
    return int(column.is_null().index(True).as_py())


def _list_length(column: Any) -> tuple[int, int | None]:
    """Return the length of the first list, and the row of the first one of another length."""
    if _arrow().types.is_fixed_size_list(column.type):
        return column.type.list_size, None
    lengths = column.value_lengths().to_numpy()
    differs = lengths != lengths[0]
    return int(lengths[0]), int(np.argmax(differs)) if differs.any() else None


def _labels(path: Path, called: str, column: Any, first: int) -> NDArray[Any]:
    """Return the labels of rows, the first of which is the row `first` of the table."""
    values = _as_numpy(column)
    if values.dtype.kind == "O":
        texts = values.tolist()
        for row, text in enumerate(texts, first):
            if not isinstance(text, str) or not text:
                reason = f"expected labels, got {text!r} in {called}, row {row}; rows count from 0"
                raise UnreadableFile(path, reason)
        values = np.array(texts, dtype=np.str_)
    elif values.dtype.kind not in "iufb":
        raise UnreadableFile(
            path, f"expected labels, integers or texts, got {column.type} in {called}"
        )
    return as_file_labels(path, values, first)


def _as_numpy(column: Any) -> NDArray[Any]:
    if _arrow().types.is_dictionary(column.type):  # categorical in pandas and polars
        column = column.cast(column.type.value_type)
    return np.asarray(column)
