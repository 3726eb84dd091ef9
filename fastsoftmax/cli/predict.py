"""`fastsoftmax predict`: the labels of new samples, or the probabilities of the classes."""

import argparse
import csv
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .._arrays.labels import listed
from .._optional import import_optional
from ..classifier.classifier import SoftmaxClassifier
from ..datasets.files import printable
from . import data, files, models
from .error_translation import as_command_error
from .errors import FAILED, CommandError
from .numbers import count

DESCRIPTION = """\
Predict the labels of DATA, which needs no labels; any that it contains are ignored.
The output has a row for each sample, in the order of DATA: the columns of DATA that are
not features, such as an identifier, the label and, if the classes have names, the name.
In .npy there are only labels.
"""
USAGE = "fastsoftmax predict --model FILE DATA [options]"
EXAMPLES = """\
examples:
  fastsoftmax predict --model flowers.npz new.csv
        CSV on standard output: a header, then a line for each sample
  fastsoftmax predict --model flowers.npz new.csv --probabilities --output p.csv
        the label, and the probability of every class in a column with its name
  zcat new.csv.gz | fastsoftmax predict --model flowers.npz - > labels.csv
        as a filter: - is standard input; tables may be larger than memory
  fastsoftmax predict --model cifar.npz images.npy --output labels.npy
        the labels as a NumPy array; images.npy may be larger than memory
  fastsoftmax predict --model digits.npz new.npy --class-names zero,one,two,three,four
        the names beside the labels; DATA that has names of its own needs no option
  fastsoftmax predict --model flowers.npz test.csv --target species --output p.parquet
        the column species contains labels, which are left out
"""
# Predictions for standard output that do not go to a temporary file.
_BYTES_IN_MEMORY = 1 << 24
# A row group of Parquet.
_ROWS_OF_GROUP = 1 << 20
_BYTES_OF_GROUP = 1 << 27


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "data",
        type=Path,
        metavar="DATA",
        help="a file or folder with samples; - for standard input",
    )
    models.add_arguments(parser)
    add(
        "--output",
        default="-",
        metavar="FILE",
        help=".csv, .jsonl, .parquet or .npy; - for CSV on standard output (default); an existing file is "
        "replaced",
    )
    add(
        "--probabilities",
        action="store_true",
        help="probabilities of every class: with the label, but in .npy (samples, classes) without it",
    )
    data.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    output = arguments.output
    suffix = ".csv" if output == "-" else Path(output).suffix.lower()
    if suffix not in _WRITERS:
        raise CommandError(
            f"argument --output: expected a file name that ends in {', '.join(_WRITERS)}, "
            f"or -, got {output!r}"
        )
    inputs = {"the model": arguments.model, "DATA": arguments.data}
    models.check_no_clash("--output", output, inputs)
    model = models.load_to_use(arguments)
    batches = _Batches(model, arguments, keep_ignored=suffix != ".npy")
    try:
        with _opened(output) as stream:
            _WRITERS[suffix](stream, iter(batches))
    except (ImportError, MemoryError) as error:
        raise as_command_error(error) from None
    if output != "-":
        print(f"Predictions of {count(batches.n_samples, 'sample')}: {output}")
    return 0


@contextmanager
def _opened(output: str) -> Iterator[IO[bytes]]:
    """Yield the stream of --output, which receives all predictions or, if an error occurs, none."""
    if output != "-":
        with files.replaced("--output", Path(output)) as stream:
            yield stream
        return
    with tempfile.SpooledTemporaryFile(_BYTES_IN_MEMORY) as stream:
        yield cast(IO[bytes], stream)
        stream.seek(0)
        with io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="") as text:
            shutil.copyfileobj(text, sys.stdout)


class _Batches:
    """The predictions for batches of rows of DATA, so that a table may be larger than memory."""

    def __init__(
        self, model: SoftmaxClassifier, arguments: argparse.Namespace, keep_ignored: bool
    ) -> None:
        self.n_samples = 0
        self._model = model
        self._arguments = arguments
        self._keeps_ignored = keep_ignored

    def __iter__(self) -> Iterator["_Predictions"]:
        model, path = self._model, self._arguments.data
        for samples in data.batches_for(model, path, self._arguments, self._keeps_ignored):
            try:
                probabilities = None
                if self._arguments.probabilities:
                    probabilities = model.predict_proba(samples.X)
                labels = model.predict(samples.X)
            except (ValueError, TypeError, MemoryError) as error:
                raise as_command_error(error, {"X": path}, self.n_samples) from None
            names = data.known_names(model.classes_, samples, self._arguments.class_names)
            found = _Predictions(samples.ignored, labels, model.classes_, names, probabilities)
            found.check_names(path)
            self.n_samples += len(labels)
            yield found


class _Predictions(NamedTuple):
    """The columns of the output."""

    ignored: Any  # a table of PyArrow, or None
    labels: NDArray[Any]
    classes: NDArray[Any]
    class_names: list[str] | None  # one for each class
    probabilities: NDArray[Any] | None

    @property
    def kept_names(self) -> list[str]:
        """The names of the columns of DATA that are not features."""
        return [] if self.ignored is None else list(self.ignored.column_names)

    @property
    def names(self) -> list[str]:
        """The names of the columns that are predicted."""
        classes = [] if self.probabilities is None else self.class_names or listed(self.classes)
        return ["label", *(["class_name"] if self.class_names else []), *map(str, classes)]

    def predicted_names(self) -> list[str] | None:
        """Return the name of each label, or None if classes have no names."""
        if self.class_names is None:
            return None
        name_of = dict(zip(listed(self.classes), self.class_names, strict=True))
        return [name_of[label] for label in listed(self.labels)]

    def kept(self) -> list[list[Any]]:
        """Return the columns of DATA that are not features."""
        return [] if self.ignored is None else [c.to_pylist() for c in self.ignored.columns]

    def check_names(self, path: Path) -> None:
        """Raise if two columns of the output have the same name."""
        common = [name for name in self.kept_names if name in self.names]
        if common:
            raise CommandError(
                f"{path}: the column {printable(common[0])} is not a feature, so the output has it, "
                "and another of that name: rename it, or name it by --target",
                FAILED,
            )


def _write_csv(stream: IO[bytes], batches: Iterator[_Predictions]) -> None:
    with _as_text(stream) as text:
        writer = csv.writer(text, lineterminator="\n")
        for number, found in enumerate(batches):
            if number == 0:
                writer.writerow([*found.kept_names, *found.names])
            names = found.predicted_names()
            named = [] if names is None else [names]
            rows: Any = zip(*found.kept(), listed(found.labels), *named, strict=True)
            if found.probabilities is not None:
                # `str` gives the shortest digits that identify the number in its dtype.
                shares = (map(str, row) for row in found.probabilities)
                rows = ((*row, *share) for row, share in zip(rows, shares, strict=True))
            writer.writerows(rows)


def _write_json_lines(stream: IO[bytes], batches: Iterator[_Predictions]) -> None:
    with _as_text(stream) as text:
        for found in batches:
            class_names = found.predicted_names()
            named = [] if class_names is None else [class_names]
            names = [*found.kept_names, "label", *(["class_name"] if named else [])]
            columns = [*found.kept(), listed(found.labels), *named]
            for place, row in enumerate(zip(*columns, strict=True)):
                record = {name: _plain(value) for name, value in zip(names, row, strict=True)}
                if found.probabilities is not None:
                    shares = [float(str(share)) for share in found.probabilities[place]]
                    classes = found.names[-len(shares) :]
                    record["probabilities"] = dict(zip(classes, shares, strict=True))
                text.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


@contextmanager
def _as_text(stream: IO[bytes]) -> Iterator[IO[str]]:
    text = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="")
    yield text
    text.detach()  # which writes what is left, and leaves the stream open


def _plain(value: Any) -> Any:
    """Return a value without NaN and infinity, which JSON does not have."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value


def _write_parquet(stream: IO[bytes], batches: Iterator[_Predictions]) -> None:
    """Write groups of as many rows as PyArrow puts into one, or fewer that are large."""
    arrow = import_optional("pyarrow", "Parquet is written with")
    parquet = import_optional("pyarrow.parquet", "Parquet is written with")
    tables = (_as_table(arrow, found) for found in batches)
    rest = next(tables)  # the rows that are not yet written
    with parquet.ParquetWriter(stream, rest.schema) as writer:
        for table in chain([rest.slice(rest.num_rows)], tables):
            rest = arrow.concat_tables([rest, table])
            while rest.num_rows >= _ROWS_OF_GROUP or rest.nbytes >= _BYTES_OF_GROUP:
                writer.write_table(rest.slice(0, _ROWS_OF_GROUP).combine_chunks())
                rest = rest.slice(_ROWS_OF_GROUP)
        if rest.num_rows:
            writer.write_table(rest.combine_chunks())


def _as_table(arrow: Any, found: _Predictions) -> Any:
    kept = [] if found.ignored is None else found.ignored.columns
    labels = found.labels if found.labels.dtype.kind == "M" else found.labels.tolist()
    shares = [] if found.probabilities is None else [*found.probabilities.T]
    names = found.predicted_names()
    named = [] if names is None else [arrow.array(names)]
    columns = [*kept, arrow.array(labels), *named, *map(arrow.array, shares)]
    return arrow.table(columns, [*found.kept_names, *found.names])


def _write_npy(stream: IO[bytes], batches: Iterator[_Predictions]) -> None:
    """Write the array of all batches, which are kept until their number is known: it comes first."""
    arrays = [f.labels if f.probabilities is None else f.probabilities for f in batches]
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    if array.dtype.kind in "OT":
        array = np.array(array.tolist(), np.str_)
    saved = io.BytesIO()  # what NumPy says of a full disk has no reason
    np.save(saved, array, allow_pickle=False)
    stream.write(saved.getbuffer())


_WRITERS = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
    ".npy": _write_npy,
}
