"""`fastsoftmax evaluate`: score a model file on labelled data."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import plotting
from .._arrays.labels import listed
from ..classifier.classifier import SoftmaxClassifier
from ..datasets import Samples
from . import data, files, models
from .error_translation import as_command_error
from .errors import FAILED, CommandError
from .numbers import count
from .scoring import ClassScores, Predictions, Scores, class_scores, most_confused
from .tables import lines_of, percent, print_pairs, shortened, width_of_output

DESCRIPTION = """\
Compare a model's predictions with the labels of DATA: accuracy, log loss (the mean
of -log of the probability of the label), precision and recall of every class, and
the confusion matrix.
"""
USAGE = "fastsoftmax evaluate --model FILE DATA [options]"
EXAMPLES = """\
examples:
  fastsoftmax evaluate --model flowers.npz test.csv --target species
        the accuracy, a line for each class, and the confusion matrix
  fastsoftmax evaluate --model cifar.npz cifar-10-batches-py --split test
        the test images of CIFAR-10
  fastsoftmax evaluate --model m.npz test.npz --plot confusion.png --json scores.json
        the matrix as a picture too, and all numbers for a program
"""
_MAX_CLASSES = 30  # with a line for each class
_MAX_ERRORS = 10  # listed if the matrix does not fit
_HEADINGS = (
    16,
    10,
    8,
    6,
    5,
    4,
    3,
)  # maximum lengths of column headings, in the order in which they are tried


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "data",
        type=Path,
        metavar="DATA",
        help="a file or folder with samples and their labels; - for standard input",
    )
    models.add_arguments(parser)
    add("--plot", type=Path, metavar="FILE", help="save a picture of the confusion matrix")
    add("--json", metavar="FILE", help="save all numbers; - for standard output")
    data.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    inputs = {"the model": arguments.model, "DATA": arguments.data}
    for option in ("json", "plot"):
        models.check_no_clash(f"--{option}", getattr(arguments, option), inputs)
    if arguments.json not in (None, "-"):
        models.check_no_clash("--json", arguments.json, {"where the picture goes": arguments.plot})
    if arguments.plot is not None:
        files.require_matplotlib()
        files.check_picture("--plot", arguments.plot)
    model = models.load_to_use(arguments)
    samples = data.load_for(model, arguments.data, arguments)
    if arguments.plot is not None and samples.y.ndim == 2:
        raise CommandError(
            f"argument --plot: the labels of {arguments.data} are probabilities", FAILED
        )
    predictions = predict(model, arguments.data, samples)
    scores, confusion = predictions.scores(), predictions.confusion(len(model.classes_))
    names = data.class_names(model.classes_, samples, arguments.class_names)
    if arguments.json != "-":
        print_scores(arguments.data, scores, confusion, names)
    if arguments.plot is not None:
        save_confusion("--plot", arguments.plot, predictions, names)
        if arguments.json != "-":
            print(f"Picture: {arguments.plot}")
    if arguments.json is not None:
        record = as_record(arguments, model, scores, confusion)
        files.write_text("--json", arguments.json, json.dumps(record, indent=2) + "\n")
    return 0


def predict(model: SoftmaxClassifier, path: Path, samples: Samples) -> Predictions:
    """Return the model's predictions with the labels, all of which must be its classes.

    Raises
    ------
    CommandError
        If a label is not among the classes, or the data are not finite.
    """
    data.check_labels(path, samples.y, model.classes_)
    try:
        return Predictions.of(model, samples.X, samples.y)
    except (ValueError, TypeError, MemoryError) as error:
        raise as_command_error(error, {"X": path, "y": path}) from None


def print_scores(
    path: Path, scores: Scores, confusion: NDArray[np.int64] | None, names: Sequence[str]
) -> None:
    """Print the scores, and the confusion matrix if it fits the terminal."""
    pairs = [
        ("data", f"{path}: {count(scores.n_samples, 'sample')}, {len(names)} classes"),
        ("accuracy", f"{100 * scores.accuracy:.2f} %"),
        ("log loss", f"{scores.log_loss:.4f}"),
    ]
    if confusion is None:
        print_pairs(pairs)
        return
    n_right = int(confusion.trace())
    pairs[1] = ("accuracy", f"{pairs[1][1]} ({n_right} of {scores.n_samples})")
    print_pairs(pairs)
    if len(names) <= _MAX_CLASSES:
        print("", *_class_lines(names, class_scores(confusion)), sep="\n")
        matrix = _matrix_lines(names, confusion, width_of_output())
        if matrix is not None:
            print("", *matrix, sep="\n")
            return
    _print_errors(names, confusion)


def _class_lines(names: Sequence[str], scores: Sequence[ClassScores]) -> list[str]:
    rows = [("class", "precision", "recall", "F1", "samples")]
    for name, of_class in zip(names, scores, strict=True):
        shares = (percent(of_class.precision), percent(of_class.recall), percent(of_class.f1))
        rows.append((name, *shares, str(of_class.n_samples)))
    return lines_of(rows)


def _matrix_lines(
    names: Sequence[str], confusion: NDArray[np.int64], width: int
) -> list[str] | None:
    """Return the confusion matrix as text, with names shortened to fit, or None if it does not fit."""
    cells = [[str(n) if n else "." for n in row] for row in confusion.tolist()]
    for most in _HEADINGS:
        heads = [shortened(name, most) for name in names]
        if len(set(heads)) < len(heads):
            return None
        rows = [("true \\ predicted", *heads)]
        rows += [(name, *row) for name, row in zip(names, cells, strict=True)]
        lines = lines_of(rows)
        if max(map(len, lines)) <= width:
            return lines
    return None


def _print_errors(names: Sequence[str], confusion: NDArray[np.int64]) -> None:
    errors = most_confused(confusion, _MAX_ERRORS)
    if errors:
        rows = [("true class", "predicted as", "samples")]
        rows += [(names[row], names[column], str(n)) for row, column, n in errors]
        print("", "Most common confusions:", *lines_of(rows), sep="\n")
    print(
        "", "--plot FILE draws the whole confusion matrix, --json FILE has its numbers.", sep="\n"
    )


def save_confusion(
    option: str,
    path: Path,
    predictions: Predictions,
    names: Sequence[str],
    normalize: bool = False,
) -> None:
    """Save a picture of the confusion matrix."""
    unique = names if len(set(names)) == len(names) else [str(i) for i in range(len(names))]
    labels = np.array(unique)
    try:
        figure = plotting.plot_confusion_matrix(
            labels[predictions.targets], labels[predictions.predicted], labels, normalize
        )
    except ValueError as error:
        raise CommandError(f"argument {option}: {error}", FAILED) from None
    files.save_picture(option, path, figure)


def as_record(
    arguments: argparse.Namespace,
    model: SoftmaxClassifier,
    scores: Scores,
    confusion: NDArray[np.int64] | None,
) -> dict[str, Any]:
    """Return all numbers, for JSON."""
    record: dict[str, Any] = {
        "model": str(arguments.model),
        "data": str(arguments.data),
        **scores._asdict(),
        "log_loss": scores.log_loss if np.isfinite(scores.log_loss) else None,
        "labels": listed(model.classes_),
    }
    if confusion is not None:
        record["classes"] = [of_class._asdict() for of_class in class_scores(confusion)]
        record["confusion"] = confusion.tolist()
    return record
