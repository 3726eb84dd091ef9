"""CSV in blocks of rows, through PyArrow, with the types that the columns of the whole file have."""

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from .._optional import import_optional
from .files import open_binary

# Bytes of text in a block: PyArrow's default. A row has to fit.
_BLOCK_BYTES = 1 << 20
# The order in which PyArrow tries types: that of a column is the first that fits all of its values.
_TYPES = (
    *("null", "int64", "bool", "date32[day]", "time32[s]", "timestamp[s]", "timestamp[ns]"),
    *("double", "string", "binary"),
)


class CsvBlocks(NamedTuple):
    """A CSV file."""

    path: Path
    header: bool
    delimiter: str
    texts: Mapping[str, Any]  # the types of the columns that are texts whatever they contain

    def types(self) -> tuple[dict[str, Any] | None, int]:
        """Return the type of each column, the same as of `pyarrow.csv.read_csv`, and the number of rows.

        There are no types, as PyArrow takes them by name, if two columns have the same.

        A reader of blocks infers the types from the first one. When a later block does not fit them, they
        are widened, and the file is read again from the start, as a wider type need not fit what the
        narrower one does: 2 is an integer, but not a Boolean.

        Raises
        ------
        pyarrow.ArrowInvalid
            If a row has another number of columns, or a text is not UTF-8.
        """
        invalid = import_optional("pyarrow", "CSV is read with").ArrowInvalid
        types = dict(self.texts)
        while True:
            n_rows = n_blocks = 0
            try:
                with self._opened(types) as blocks:
                    types = dict(zip(blocks.schema.names, blocks.schema.types, strict=True))
                    if len(types) < len(blocks.schema):
                        return None, 0
                    for block in blocks:
                        n_rows, n_blocks = n_rows + block.num_rows, n_blocks + 1
                return types, n_rows
            except invalid:
                wider = self._widened(types, n_blocks)
                if wider == types:
                    raise
                types = wider

    def read(self, types: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the blocks."""
        with self._opened(types) as blocks:
            yield from blocks

    @contextmanager
    def _opened(self, types: Mapping[str, Any]) -> Iterator[Any]:
        arrow = import_optional("pyarrow.csv", "CSV is read with")
        with (
            open_binary(self.path) as stream,
            arrow.open_csv(
                stream,
                read_options=arrow.ReadOptions(
                    block_size=_BLOCK_BYTES, autogenerate_column_names=not self.header
                ),
                parse_options=parse_options(self.delimiter),
                convert_options=arrow.ConvertOptions(column_types=types),
            ) as blocks,
        ):
            yield blocks

    def _widened(self, types: dict[str, Any], number: int) -> dict[str, Any]:
        """Return types that fit the block of that number as well; `types` if none do."""
        arrow = import_optional("pyarrow", "CSV is read with")
        with self._opened(dict.fromkeys(types, arrow.binary())) as blocks:
            block = next(islice(blocks, number, None))
        columns = {name: block.column(name) for name in types if name not in self.texts}
        inferred = {name: _read_again(column).type for name, column in columns.items()}
        wider = {name: max(types[name], found, key=_rank) for name, found in inferred.items()}
        wider |= self.texts
        if wider != types:
            return wider
        # Values that have different types, such as 2 and true, are texts.
        unfit = [name for name, column in columns.items() if not _fits(column, types[name])]
        return types | dict.fromkeys(unfit, arrow.string())


def parse_options(delimiter: str) -> Any:
    """Return options by which a text in quotes may contain line breaks, also where a block ends."""
    arrow = import_optional("pyarrow.csv", "CSV is read with")
    return arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True)


def _rank(kind: Any) -> int:
    """Return the place of a type in the order of PyArrow; other kinds of timestamp precede numbers."""
    name = str(kind)
    return _TYPES.index(name if name in _TYPES else "timestamp[ns]")


def _fits(column: Any, kind: Any) -> bool:
    try:
        _read_again(column, kind)
    except import_optional("pyarrow", "CSV is read with").ArrowInvalid:
        return False
    return True


def _read_again(column: Any, kind: Any = None) -> Any:
    """Return a column of bytes as PyArrow reads them from a CSV file, as `kind` or as it infers."""
    arrow = import_optional("pyarrow.csv", "CSV is read with")
    text = io.StringIO()
    values = (value.decode("utf-8", "surrogateescape") for value in column.to_pylist())
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([value] for value in values)
    content = text.getvalue().encode("utf-8", "surrogateescape")
    return arrow.read_csv(
        io.BytesIO(content),
        read_options=arrow.ReadOptions(column_names=["values"], block_size=len(content) + 1),
        parse_options=parse_options(","),
        convert_options=arrow.ConvertOptions(column_types={} if kind is None else {"values": kind}),
    ).column(0)
