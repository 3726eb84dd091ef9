"""`fastsoftmax predict`: the labels of new samples, or the probabilities of the classes."""

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays.labels import listed
from ..classifier.classifier import SoftmaxClassifier
from . import data, files, models
from .error_translation import as_command_error
from .errors import CommandError
from .numbers import count

DESCRIPTION = """\
Predict the labels of DATA, which needs no labels; any that it contains are ignored.
The output has a line, or in .npy an element, for each sample, in the order of DATA.
"""
USAGE = "fastsoftmax predict --model FILE DATA [options]"
EXAMPLES = """\
examples:
  fastsoftmax predict --model flowers.npz new.csv
        CSV on standard output: a line "label", then one for each sample
  fastsoftmax predict --model flowers.npz new.csv --probabilities --output p.csv
        the label, and the probability of every class in a column with its name
  fastsoftmax predict --model cifar.npz images.npy --output labels.npy
        the labels as a NumPy array; images.npy may be larger than memory
  fastsoftmax predict --model flowers.npz test.csv --target species
        the column species is not a feature
"""
_SUFFIXES = (".csv", ".npy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="a file or folder with samples")
    models.add_arguments(parser)
    add(
        "--output",
        default="-",
        metavar="FILE",
        help=".csv or .npy; - for CSV on standard output (default); an existing file is replaced",
    )
    add(
        "--probabilities",
        action="store_true",
        help="probabilities of every class: in CSV with the label, in .npy (samples, classes) without it",
    )
    data.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    output = arguments.output
    if output != "-" and Path(output).suffix.lower() not in _SUFFIXES:
        raise CommandError(
            f"argument --output: expected a file name that ends in {' or '.join(_SUFFIXES)}, "
            f"or -, got {output!r}"
        )
    inputs = {"the model": arguments.model, "DATA": arguments.data}
    models.check_no_clash("--output", output, inputs)
    model = models.load_to_use(arguments)
    samples = data.load_for(model, arguments.data, arguments, require_labels=False)
    try:
        probabilities = model.predict_proba(samples.X) if arguments.probabilities else None
        labels = None
        if probabilities is None or Path(output).suffix.lower() != ".npy":
            labels = model.predict(samples.X)
    except (ValueError, TypeError, MemoryError) as error:
        raise as_command_error(error, {"X": arguments.data}) from None
    if output == "-":
        _write_csv(sys.stdout, model, labels, probabilities)
        return 0
    path = Path(output)
    if path.suffix.lower() == ".npy":
        content = _as_npy(labels if probabilities is None else probabilities)
    else:
        text = io.StringIO()
        _write_csv(text, model, labels, probabilities)
        content = text.getvalue().encode("utf-8", "surrogateescape")
    files.write_bytes("--output", path, content)
    print(f"Predictions of {count(samples.X.shape[0], 'sample')}: {output}")
    return 0


def _write_csv(stream: Any, model: SoftmaxClassifier, labels: Any, probabilities: Any) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    if probabilities is None:
        writer.writerow(["label"])
        writer.writerows([label] for label in listed(labels))
        return
    writer.writerow(["label", *listed(model.classes_)])
    rows = zip(listed(labels), probabilities, strict=True)
    # `str` gives the shortest digits that identify the number in its dtype.
    writer.writerows([label, *map(str, row)] for label, row in rows)


def _as_npy(array: Any) -> bytes:
    stream = io.BytesIO()
    if array.dtype.kind in "OT":
        array = np.array(array.tolist(), np.str_)
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
