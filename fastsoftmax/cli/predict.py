"""`fastsoftmax predict`: the labels of new samples, or the probabilities of the classes."""

import argparse
import csv
import io
import json
import sys
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.labels import listed
from .._optional import import_optional
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
        as a filter: - is standard input
  fastsoftmax predict --model cifar.npz images.npy --output labels.npy
        the labels as a NumPy array; images.npy may be larger than memory
  fastsoftmax predict --model digits.npz new.npy --class-names zero,one,two,three,four
        the names beside the labels; DATA that has names of its own needs no option
  fastsoftmax predict --model flowers.npz test.csv --target species --output p.parquet
        the column species contains labels, which are left out
"""


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
    samples = data.load_for(
        model, arguments.data, arguments, require_labels=False, keep_ignored=suffix != ".npy"
    )
    try:
        probabilities = model.predict_proba(samples.X) if arguments.probabilities else None
        labels = model.predict(samples.X)
    except (ValueError, TypeError, MemoryError) as error:
        raise as_command_error(error, {"X": arguments.data}) from None
    class_names = data.known_names(model.classes_, samples, arguments.class_names)
    found = _Predictions(samples.ignored, labels, model.classes_, class_names, probabilities)
    found.check_names(arguments.data)
    try:
        content = _WRITERS[suffix](found)
    except (ImportError, MemoryError) as error:
        raise as_command_error(error) from None
    if output == "-":
        sys.stdout.write(content.decode("utf-8", "surrogateescape"))
        return 0
    files.write_bytes("--output", Path(output), content)
    print(f"Predictions of {count(samples.X.shape[0], 'sample')}: {output}")
    return 0


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


def _as_csv(found: _Predictions) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*found.kept_names, *found.names])
    names = found.predicted_names()
    named = [] if names is None else [names]
    rows: Any = zip(*found.kept(), listed(found.labels), *named, strict=True)
    if found.probabilities is not None:
        # `str` gives the shortest digits that identify the number in its dtype.
        shares = (map(str, row) for row in found.probabilities)
        rows = ((*row, *share) for row, share in zip(rows, shares, strict=True))
    writer.writerows(rows)
    return stream.getvalue().encode("utf-8", "surrogateescape")


def _as_json_lines(found: _Predictions) -> bytes:
    class_names = found.predicted_names()
    named = [] if class_names is None else [class_names]
    names = [*found.kept_names, "label", *(["class_name"] if named else [])]
    stream = io.StringIO()
    for place, row in enumerate(zip(*found.kept(), listed(found.labels), *named, strict=True)):
        record = {name: _plain(value) for name, value in zip(names, row, strict=True)}
        if found.probabilities is not None:
            shares = [float(str(share)) for share in found.probabilities[place]]
            classes = found.names[-len(shares) :]
            record["probabilities"] = dict(zip(classes, shares, strict=True))
        stream.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
    return stream.getvalue().encode("utf-8", "surrogateescape")


def _plain(value: Any) -> Any:
    """Return a value without NaN and infinity, which JSON does not have."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value


def _as_parquet(found: _Predictions) -> bytes:
    arrow = import_optional("pyarrow", "Parquet is written with")
    parquet = import_optional("pyarrow.parquet", "Parquet is written with")
    kept = [] if found.ignored is None else found.ignored.columns
    labels = found.labels if found.labels.dtype.kind == "M" else found.labels.tolist()
    shares = [] if found.probabilities is None else [*found.probabilities.T]
    names = found.predicted_names()
    named = [] if names is None else [arrow.array(names)]
    columns = [*kept, arrow.array(labels), *named, *map(arrow.array, shares)]
    stream = io.BytesIO()
    parquet.write_table(arrow.table(columns, [*found.kept_names, *found.names]), stream)
    return stream.getvalue()


def _as_npy(found: _Predictions) -> bytes:
    stream = io.BytesIO()
    array = found.labels if found.probabilities is None else found.probabilities
    if array.dtype.kind in "OT":
        array = np.array(array.tolist(), np.str_)
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


_WRITERS = {
    ".csv": _as_csv,
    ".jsonl": _as_json_lines,
    ".parquet": _as_parquet,
    ".npy": _as_npy,
}
