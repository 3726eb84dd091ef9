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
from ..classifier.evaluation import Evaluation
from ..classifier.evaluation import evaluate as evaluation_of
from ..datasets import Samples
from ..plotting.confusion import check_n_classes, draw_confusion
from . import data, files, models, options
from .error_translation import as_command_error
from .errors import FAILED, CommandError
from .numbers import count
from .tables import lines_of, percent, print_pairs, shortened, width_of_output

DESCRIPTION = """\
Compare a model's probabilities with the labels of DATA: accuracy, log loss (the mean
of -log of the probability of the label) with its 95 % interval, calibration error (how
far confidence and accuracy are apart), precision and recall of every class, and the
confusion matrix.
"""
USAGE = "fastsoftmax evaluate --model FILE DATA [options]"
EXAMPLES = """\
examples:
  fastsoftmax evaluate --model flowers.npz test.csv --target species
        the scores, a line for each class, and the confusion matrix
  fastsoftmax evaluate --model cifar.npz cifar-10-batches-py --split test --top-k 3
        the test images of CIFAR-10, and how often the label is among the first three
  fastsoftmax evaluate --model m.npz test.npz --plot confusion.png --json scores.json
        the matrix as a picture too, and all numbers for a program
  fastsoftmax evaluate --model m.npz test.npz --reliability reliability.png
        the reliability diagram: accuracy against confidence
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
    add(
        "--reliability", type=Path, metavar="FILE", help="save a picture of the reliability diagram"
    )
    add("--json", metavar="FILE", help="save all numbers; - for standard output")
    add(
        "--top-k",
        type=options.positive_integer,
        default=5,
        metavar="K",
        help="how many classes the top-k accuracy takes (default: 5)",
    )
    add(
        "--bins",
        type=options.positive_integer,
        default=15,
        metavar="N",
        help="bins of the calibration error (default: 15)",
    )
    add(
        "--seed",
        type=options.seed,
        default=0,
        metavar="N",
        help="seed of the resamples, from which the interval is computed (default: 0)",
    )
    data.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    _check_files(arguments)
    model = models.load_to_use(arguments)
    samples = data.load_for(model, arguments.data, arguments)
    if arguments.plot is not None and samples.y.ndim == 2:
        raise CommandError(
            f"argument --plot: the labels of {arguments.data} are probabilities", FAILED
        )
    found = evaluate(
        model,
        arguments.data,
        samples,
        top_k=arguments.top_k,
        n_bins=arguments.bins,
        random_state=arguments.seed,
    )
    names = data.class_names(model.classes_, samples, arguments.class_names)
    if arguments.json != "-":
        print_scores(arguments.data, found, names)
    pictures = []
    if arguments.plot is not None:
        save_confusion("--plot", arguments.plot, found, names)
        pictures.append(arguments.plot)
    if arguments.reliability is not None:
        files.save_picture("--reliability", arguments.reliability, plotting.plot_reliability(found))
        pictures.append(arguments.reliability)
    if arguments.json != "-":
        for path in pictures:
            print(f"Picture: {path}")
    if arguments.json is not None:
        record = as_record(arguments, model, found)
        files.write_text("--json", arguments.json, json.dumps(record, indent=2) + "\n")
    return 0


def _check_files(arguments: argparse.Namespace) -> None:
    """Raise unless the outputs can be written, and none is an input or another output."""
    taken = {"the model": arguments.model, "DATA": arguments.data}
    for option in ("plot", "reliability", "json"):
        path = getattr(arguments, option)
        models.check_no_clash(f"--{option}", path, taken)
        if path not in (None, "-"):
            taken[f"that of --{option}"] = path
    for option in ("plot", "reliability"):
        if getattr(arguments, option) is not None:
            files.require_matplotlib()
            files.check_picture(f"--{option}", getattr(arguments, option))


def evaluate(model: SoftmaxClassifier, path: Path, samples: Samples, **options: Any) -> Evaluation:
    """Return the scores of the model; all labels must be its classes.

    Raises
    ------
    CommandError
        If a label is not among the classes, or the data are not finite.
    """
    data.check_labels(path, samples.y, model.classes_)
    try:
        return evaluation_of(model, samples.X, samples.y, **options)
    except (ValueError, TypeError, MemoryError) as error:
        raise as_command_error(error, {"X": path, "y": path}) from None


def print_scores(path: Path, found: Evaluation, names: Sequence[str]) -> None:
    """Print the scores, and the confusion matrix if it fits the terminal."""
    about = f"{path}: {count(found.n_samples, 'sample')}, {len(names)} classes"
    print_pairs([("data", about), *found.summary()])
    if found.confusion is None:
        return
    if len(names) <= _MAX_CLASSES:
        print("", *_class_lines(names, found), sep="\n")
        matrix = _matrix_lines(names, found.confusion, width_of_output())
        if matrix is not None:
            print("", *matrix, sep="\n")
            return
    _print_errors(names, found.confusion)


def _class_lines(names: Sequence[str], found: Evaluation) -> list[str]:
    rows = [("class", "precision", "recall", "F1", "samples")]
    for name, row in zip(names, found.classes, strict=True):
        shares = (percent(row["precision"]), percent(row["recall"]), percent(row["f1"]))
        rows.append((name, *shares, str(row["n_samples"])))
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


def most_confused(confusion: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """Return the true class, the predicted one and the number of samples of the most common errors."""
    errors = confusion.copy()
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, errors.shape)
    found = zip(rows.tolist(), columns.tolist(), errors[rows, columns].tolist(), strict=True)
    return [(row, column, n) for row, column, n in found if n]


def save_confusion(
    option: str, path: Path, found: Evaluation, names: Sequence[str], normalize: bool = False
) -> None:
    """Save a picture of the confusion matrix."""
    unique = names if len(set(names)) == len(names) else [str(i) for i in range(len(names))]
    try:
        check_n_classes(len(names), "labels")
        assert found.confusion is not None  # as the labels are no probabilities
        figure = draw_confusion([*unique], found.confusion, normalize)
    except ValueError as error:
        raise CommandError(f"argument {option}: {error}", FAILED) from None
    files.save_picture(option, path, figure)


def as_record(
    arguments: argparse.Namespace, model: SoftmaxClassifier, found: Evaluation
) -> dict[str, Any]:
    """Return all numbers, for JSON."""
    record: dict[str, Any] = {"model": str(arguments.model), "data": str(arguments.data)}
    for name in (
        *("n_samples", "accuracy", "balanced_accuracy", "top_k", "top_k_accuracy", "log_loss"),
        *("log_loss_interval", "confidence_level", "expected_calibration_error", "reliability"),
    ):
        record[name] = getattr(found, name)
    record["log_loss"] = found.log_loss if np.isfinite(found.log_loss) else None
    record["labels"] = listed(model.classes_)
    if found.confusion is not None:
        record["classes"] = [
            {name: value for name, value in row.items() if name != "label"} for row in found.classes
        ]
        record["confusion"] = found.confusion.tolist()
    return record
