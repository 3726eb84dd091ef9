"""Validation samples: those of another file, or a share of DATA."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.labels import find_classes, joined
from ..datasets import Samples
from . import data, options
from .errors import CommandError


def add_arguments(parser: argparse.ArgumentParser, title: str, share_help: str) -> None:
    """Declare --validation and related options; `share_help` is the help of --validation-fraction."""
    scored = parser.add_argument_group(title)
    ways = scored.add_mutually_exclusive_group()
    ways.add_argument(
        "--validation", type=Path, metavar="DATA2", help="samples, read in the same way as DATA"
    )
    ways.add_argument("--validation-fraction", type=options.share, metavar="SHARE", help=share_help)
    scored.add_argument(
        "--validation-split", choices=("train", "test"), help="which samples of DATA2"
    )
    scored.add_argument(
        "--validation-target",
        metavar="NAME",
        help="where the labels of DATA2 are (default: --target)",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raise if there are options for a file that is not given."""
    for name in ("split", "target"):
        if arguments.validation is None and getattr(arguments, f"validation_{name}") is not None:
            raise CommandError(f"argument --validation-{name}: needs --validation")


def load(
    arguments: argparse.Namespace, samples: Samples, known: NDArray[Any] | None = None
) -> Samples:
    """Read the samples to score with, and compare them with those to train on.

    `known` are the classes of the model from which training continues.
    """
    path, n_features = arguments.validation, samples.X.shape[1]
    others: dict[str, Any] = {}
    if arguments.validation_split is not None:
        others["split"] = arguments.validation_split
    file_format = data.format_of(path, arguments.format)
    # If --target is a file, its labels belong to DATA.
    if arguments.validation_target is not None or file_format in ("npy", "idx"):
        others["target"] = arguments.validation_target
    if file_format == "libsvm":
        others["n_features"] = n_features
    if samples.feature_names is not None:
        columns = data.columns_of(path, file_format, arguments, samples.feature_names)
        others |= {} if columns is None else {"features": columns, "ignore": None}
    validation = data.load(path, arguments, **others)
    data.check_features(path, validation, n_features, samples.feature_names)
    if samples.y.ndim == 2:
        classes = np.arange(samples.y.shape[1]) if known is None else known
    else:
        classes = find_classes(samples.y) if known is None else joined(known, samples.y)
    data.check_labels(path, validation.y, classes)
    return validation
