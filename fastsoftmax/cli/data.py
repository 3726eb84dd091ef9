"""The data of a command: options for the readers, and checks that they fit a model."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import datasets
from .._arrays.labels import find_classes, listed, positions_of
from ..classifier.classifier import SoftmaxClassifier
from ..datasets import Samples, tables
from ..datasets.files import comma_separated, printable
from ..datasets.formats import FORMATS, load_batches
from ..datasets.formats import format_of as found_format
from ..training.targets import as_probabilities
from . import options
from .error_translation import as_command_error
from .errors import FAILED, CommandError

OPTIONS = (
    *("target", "ignore", "features", "format", "split", "header", "delimiter"),
    *("zero_based", "n_features"),
)
_MAX_NAME_LENGTH = 24  # of a class name in a table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `fastsoftmax.datasets.load`."""
    add = parser.add_argument_group(
        "how DATA is read (by default determined by its name and content)"
    )
    add.add_argument(
        "--target",
        metavar="NAME",
        help="where the labels are: name or index of a column (CSV, Parquet; -1 is the last), "
        "name of an array (.npz), another file (.npy, IDX)",
    )
    columns = add.add_mutually_exclusive_group()
    columns.add_argument(
        "--ignore",
        type=options.columns,
        metavar="COLUMN,...",
        help="columns of CSV or Parquet that are not features, by name or index",
    )
    columns.add_argument(
        "--features",
        type=options.columns,
        metavar="COLUMN,...",
        help="columns that are features; all others are not, except the labels",
    )
    add.add_argument("--format", choices=tuple(FORMATS), help="format of the file")
    add.add_argument(
        "--split",
        choices=("train", "test"),
        help="the part to read, if DATA has both (default: train)",
    )
    add.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first row of a CSV file contains names",
    )
    add.add_argument("--delimiter", metavar="CHARACTER", help="field separator of CSV")
    add.add_argument(
        "--zero-based",
        action=argparse.BooleanOptionalAction,
        help="whether feature indices of a LIBSVM file start at 0",
    )
    add.add_argument(
        "--n-features",
        type=options.positive_integer,
        metavar="N",
        help="number of features of a LIBSVM file, if its last ones do not occur",
    )


def load(
    path: Path, arguments: argparse.Namespace, require_labels: bool = True, **others: Any
) -> Samples:
    """Read samples as the options say, except for `others`.

    Raises
    ------
    CommandError
        If reading fails; the error names the file or the option.
    """
    with _reported():
        return datasets.load(path, **_given(arguments, others), require_labels=require_labels)


def load_for(
    model: SoftmaxClassifier,
    path: Path,
    arguments: argparse.Namespace,
    require_labels: bool = True,
) -> Samples:
    """Read samples for a model, and raise unless they fit it.

    If the model and a table have names of features, those of the model are its features, in their order.
    """
    names = getattr(model, "feature_names_in_", None)
    others = _options_for(model, path, arguments, names)
    samples = load(path, arguments, require_labels, **others)
    check_features(path, samples, model.n_features_in_, names)
    forget_names(model)
    return samples


def batches_for(
    model: SoftmaxClassifier, path: Path, arguments: argparse.Namespace, keep_ignored: bool
) -> Iterator[Samples]:
    """Yield what `load_for` returns, of a table in batches of rows; labels are not required."""
    names = getattr(model, "feature_names_in_", None)
    given = _given(arguments, _options_for(model, path, arguments, names))
    with _reported():
        for samples in load_batches(path, **given, require_labels=False, keep_ignored=keep_ignored):
            check_features(path, samples, model.n_features_in_, names)
            forget_names(model)
            yield samples


def _given(arguments: argparse.Namespace, others: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in OPTIONS} | others


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except (OSError, ImportError, ValueError, TypeError, MemoryError) as error:
        raise as_command_error(error) from None


def _options_for(
    model: SoftmaxClassifier,
    path: Path,
    arguments: argparse.Namespace,
    names: NDArray[Any] | None,
) -> dict[str, Any]:
    """Return the options of `load` that follow from a model and the names of its features."""
    file_format = format_of(path, arguments.format)
    found: dict[str, Any] = {}
    if arguments.n_features is None and file_format == "libsvm":
        # If the last features do not occur, only the model knows their number.
        found["n_features"] = model.n_features_in_
    if names is not None and arguments.features is None and arguments.ignore is None:
        found["features"] = columns_of(path, file_format, arguments, names)
    return found


def columns_of(
    path: Path,
    file_format: str | None,
    arguments: argparse.Namespace,
    known: NDArray[Any] | tuple[str, ...],
) -> list[str] | None:
    """Return the columns of a table that contain the known features; None if it has no names.

    Raises
    ------
    CommandError
        If a feature is missing.
    """
    if file_format not in ("csv", "parquet") or len(set(known)) < len(known):
        return None
    given = arguments.header, arguments.delimiter, arguments.target
    try:
        names = tables.column_names(path, file_format == "csv", *given)
    except (OSError, ImportError, ValueError, TypeError) as error:
        raise as_command_error(error) from None
    if names is None:
        return None
    # A feature of a column of lists is called name[0].
    found = {name: name if name in names else name.rpartition("[")[0] for name in map(str, known)}
    missing = [name for name, column in found.items() if column not in names]
    if missing:
        others = [name for name in names if name not in {*found.values(), arguments.target}]
        reason = f"the model also expects {comma_separated(missing)}"
        reason += f", and does not know {comma_separated(others)}" if others else ""
        raise CommandError(f"{path}: {reason}", FAILED)
    return list(dict.fromkeys(found.values()))


def forget_names(model: SoftmaxClassifier) -> None:
    """Make the model accept arrays without feature names, after those of the files were compared."""
    model.__dict__.pop("feature_names_in_", None)


def format_of(path: Path, named: str | None) -> str | None:
    """Return the format that a file is read as; None if `load` will report an error."""
    try:
        return named or found_format(path)
    except (OSError, ValueError):
        return None


def check_features(
    path: Path, samples: Samples, expected: int, known: NDArray[Any] | tuple[str, ...] | None
) -> None:
    """Raise unless the number of features agrees, and their names if both sides have names."""
    names = samples.feature_names
    n_features = samples.X.shape[1]
    reason = f"expected {expected} features, as the model has, got {n_features}"
    if names is not None and known is not None:
        if list(names) == list(known):
            return
        strange = [name for name in names if name not in set(known)]
        missing = [str(name) for name in known if name not in set(names)]
        if strange:
            reason = f"the model does not know {comma_separated(strange)}"
            reason += "; --target NAME for a column of labels" if samples.y is None else ""
        elif missing:
            reason = f"the model also expects {comma_separated(missing)}"
        else:
            reason = (
                f"expected the columns in the model's order: {comma_separated([*map(str, known)])}"
            )
    elif n_features == expected:
        return
    elif samples.y is None and n_features == expected + 1:
        reason += "; --target names the column of labels, if there is one"
    raise CommandError(f"{path}: {reason}", FAILED)


def check_labels(path: Path, y: NDArray[Any], classes: NDArray[Any], grows: bool = False) -> None:
    """Raise unless all labels are among the classes of a model, or of their type if it accepts new ones.

    Probabilities have a column for each of the classes.
    """
    if y.ndim == 2:
        try:
            as_probabilities(y, len(y), np.dtype(np.float64), None, classes)
        except (ValueError, TypeError) as error:
            raise as_command_error(error, {"y": path}) from None
        return
    found = find_classes(y)
    try:
        strangers = found[positions_of(found, classes, "y") < 0]
    except TypeError as error:
        raise as_command_error(error, {"y": path}) from None
    if len(strangers) and not grows:
        raise CommandError(
            f"{path}: the label {strangers.tolist()[0]!r} is not among the model's classes: "
            f"{comma_separated([repr(label) for label in listed(classes)])}",
            FAILED,
        )


def known_names(
    classes: NDArray[Any], samples: Samples | None, given: Sequence[str] | None
) -> list[str] | None:
    """Return the names of the classes: those of --class-names, else those in DATA, or None.

    Raises
    ------
    CommandError
        If there is not one name for each class.
    """
    if given is not None:
        if len(given) != len(classes):
            raise CommandError(
                f"argument --class-names: expected {len(classes)} names, one for each class of the model, "
                f"got {len(given)}"
            )
        return [*given]
    labels = listed(classes)
    names = (samples.class_names if samples is not None else None) or ()
    if classes.dtype.kind not in "iu" or len(set(names)) < len(names):
        return None
    if labels[0] >= 0 and labels[-1] < len(names):
        return [names[label] for label in labels]
    return None


def class_names(
    classes: NDArray[Any], samples: Samples | None, given: Sequence[str] | None = None
) -> list[str]:
    """Return the names of the classes for a table: those that are known, or their labels."""
    labels = known_names(classes, samples, given) or listed(classes)
    texts = [printable(str(label)) for label in labels]
    return [t if len(t) <= _MAX_NAME_LENGTH else f"{t[: _MAX_NAME_LENGTH - 1]}…" for t in texts]


def describe(samples: Samples) -> str:
    """Return "1347 samples, 64 features"."""
    n_samples, n_features = samples.X.shape
    dtype = np.dtype(samples.X.dtype).name
    kind = "" if isinstance(samples.X, np.ndarray) else ", sparse"
    return f"{n_samples} samples, {n_features} features ({dtype}{kind})"
