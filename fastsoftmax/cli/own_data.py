"""The student's own data for `fastsoftmax bench`: samples of a file or of arrays, scaled and split."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import datasets
from .._arrays.labels import encode, find_classes, listed
from ..datasets import Dataset, Samples
from ..datasets.digits import stratified_split
from ..datasets.files import UnreadableFile
from . import data, machine
from .error_translation import as_command_error
from .errors import FAILED, CommandError
from .numbers import size
from .workload import Workload

_TEST_SHARE = 0.25
_HAS_SPLITS = ("cifar", "idx", "npz")
_MAX_PIXEL = 255


def load(arguments: argparse.Namespace, n_backends: int) -> Workload:
    """Return the samples of --data: its own test part, or a quarter of the samples, to test on.

    Raises
    ------
    CommandError
        If the file cannot be read, or does not fit into memory.
    """
    path: Path = arguments.data
    train = data.load(path, arguments)
    return prepare(str(path), train, _test_part(path, arguments), arguments, n_backends)


def _test_part(path: Path, arguments: argparse.Namespace) -> Samples | None:
    """Return the test part of a path that has one, or None."""
    file_format = data.format_of(path, arguments.format)
    if arguments.split is not None or file_format not in _HAS_SPLITS:
        return None
    try:
        return datasets.load(path, format=file_format, target=arguments.target, split="test")
    except FileNotFoundError:
        return None
    except UnreadableFile as error:
        if (
            file_format == "npz"
        ):  # no arrays X_test and y_test; that it is damaged would be known by now
            return None
        raise as_command_error(error) from None
    except ValueError:  # a single batch or file, which has no parts
        return None
    except (OSError, ImportError, TypeError, MemoryError) as error:
        raise as_command_error(error) from None


def prepare(
    name: str,
    train: Samples,
    test: Samples | None,
    arguments: argparse.Namespace,
    n_backends: int,
) -> Workload:
    """Return the samples as floats, pixels as 0 to 1 less their mean and other columns standardised."""
    for samples in filter(None, (train, test)):
        if not isinstance(samples.X, np.ndarray):
            raise CommandError(f"{name}: the samples are sparse, bench compares dense ones", FAILED)
        if samples.y.ndim != 1:
            raise CommandError(f"{name}: the labels are probabilities", FAILED)
    if test is not None and test.X.shape[1] != train.X.shape[1]:
        raise CommandError(
            f"{name}: expected as many features to test on as to train on, {train.X.shape[1]}, "
            f"got {test.X.shape[1]}",
            FAILED,
        )
    try:
        classes = find_classes(train.y)
        y = encode(train.y, classes)
        y_test = None if test is None else encode(test.y, classes)
    except (ValueError, TypeError) as error:
        raise as_command_error(error, {"y": name}) from None
    if len(classes) < 2:
        raise CommandError(f"{name}: expected at least two classes, got {len(classes)}", FAILED)
    _check_memory(name, train, test, len(classes), arguments.dtype, n_backends)
    if test is None or y_test is None:
        rows, held_out = stratified_split(y, _TEST_SHARE, np.random.default_rng(arguments.seed))
        if not len(held_out):
            raise CommandError(
                f"{name}: no class has a sample to test on besides one to train on", FAILED
            )
        parts = train.X[rows], train.X[held_out]
        y, y_test = y[rows], y[held_out]
    else:
        parts = train.X, test.X
    X, X_test = _scaled(name, *parts, np.dtype(arguments.dtype))
    names = data.known_names(classes, train, None) or [str(label) for label in listed(classes)]
    return Workload(
        Dataset(X, y, X_test, y_test, len(classes), train.image_shape),
        name=name,
        title=name,
        class_names=tuple(names),
    )


def _check_memory(
    name: str, train: Samples, test: Samples | None, n_classes: int, dtype: str, n_backends: int
) -> None:
    n_samples, n_features = train.X.shape
    n_samples += 0 if test is None else len(test.X)
    numbers = n_samples * n_features + (4 * n_backends + 1) * n_features * n_classes
    needed, available = numbers * np.dtype(dtype).itemsize, machine.available_memory()
    if available is not None and needed > available:
        raise CommandError(
            f"{name}: the data need {size(needed)} of memory in {dtype}, {size(available)} are available",
            FAILED,
        )


def _scaled(
    name: str, train: NDArray[Any], test: NDArray[Any], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    are_pixels = train.dtype == np.uint8
    X, X_test = train.astype(dtype), test.astype(dtype)
    mean = X.mean(axis=0, dtype=np.float64)
    scale: Any = _MAX_PIXEL
    if not are_pixels:
        scale = X.std(axis=0, dtype=np.float64)
        scale[scale == 0] = 1
    for part in (X, X_test):
        part -= mean.astype(dtype)
        part /= np.asarray(scale, dtype)
    if not (np.isfinite(X).all() and np.isfinite(X_test).all()):
        raise CommandError(f"{name}: expected finite numbers", FAILED)
    return np.ascontiguousarray(X), np.ascontiguousarray(X_test)
