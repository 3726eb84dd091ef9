"""The data and default settings of `fastsoftmax bench`."""

import argparse
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import datasets
from ..datasets import Dataset
from ..profiling.provenance import cpu_name
from . import machine
from .errors import CommandError
from .numbers import count, size
from .timing import Settings

Shape = tuple[int, int, int]

_MAX_TEST_SAMPLES = 10_000
_TRIAL_MINIBATCHES = 5  # of which the curvature of the student's own data is estimated


class Workload(NamedTuple):
    """What is trained on: samples, and how they are called."""

    data: Dataset
    name: str  # in the record: digits, made-up, or the file
    title: str  # in a sentence
    class_names: tuple[str, ...] | None = None


def bundled(shape: Shape | None, dtype: str, seed: int, n_backends: int) -> Workload:
    """Return the digits, or synthetic data if there is a shape, with their names."""
    data = load(shape, dtype, seed, n_backends)
    if shape is None:
        return Workload(data, "digits", "scikit-learn's digits")
    return Workload(data, "made-up", "synthetic data")


def load(shape: Shape | None, dtype: str, seed: int, n_backends: int) -> Dataset:
    """Return the digits, or synthetic data if there is a shape."""
    if shape is None:
        return datasets.load_digits(dtype=dtype, random_state=seed)
    n_samples, n_features, n_classes = shape
    n_test = max(1, min(n_samples // 10, _MAX_TEST_SAMPLES))
    itemsize = 4 if dtype == "float32" else 8
    # Memory: the rows once, and for each model its weights, their gradient and the copies of an update.
    numbers = (n_samples + n_test) * n_features + (4 * n_backends + 1) * n_features * n_classes
    available = machine.available_memory()
    if available is not None and numbers * itemsize > available:
        raise CommandError(
            f"argument --shape: the data need {size(numbers * itemsize)} of memory in {dtype}, "
            f"{size(available)} are available: choose smaller numbers"
        )
    try:
        return datasets.make_linear_teacher(
            n_samples, n_features, n_classes, n_test, dtype=dtype, random_state=seed
        )
    except (MemoryError, ValueError) as error:  # if the available memory is unknown
        raise CommandError(f"argument --shape: the data do not fit into memory: {error}") from None


def settings(arguments: argparse.Namespace, work: Workload) -> Settings:
    """Return the settings, with defaults that suit the data."""
    are_digits = work.name == "digits"
    n_samples, n_features = work.data.X_train.shape
    batch_size = min(arguments.batch_size or (32 if are_digits else 256), n_samples)
    learning_rate = arguments.eta0
    if learning_rate is None:
        learning_rate = 0.5
        if work.name == "made-up":
            learning_rate = _safe_learning_rate(n_features, batch_size)
        elif not are_digits:
            learning_rate = _learning_rate_of(work.data.X_train, batch_size, arguments.seed)
    n_threads = arguments.threads or machine.threads()[0]
    epochs = arguments.epochs or (30 if are_digits else 5)
    return Settings(batch_size, epochs, learning_rate, n_threads, arguments.seed)


def description(work: Workload, settings: Settings, instruction_set: str | None) -> dict[str, str]:
    """Return a description of the data, the training and the machine."""
    data = work.data
    n_train, n_features = data.X_train.shape
    what = (
        f"{work.title}, {n_features} features, {data.n_classes} classes, {data.X_train.dtype}: "
        f"{n_train} samples to train on, {len(data.X_test)} to test on"
    )
    how = (
        f"{count(settings.epochs, 'epoch')}, batch size {settings.batch_size}, "
        f"learning rate {settings.learning_rate:g}, seed {settings.seed}"
    )
    where = (cpu_name(), instruction_set, count(settings.n_threads, "thread"))
    return {"data": what, "training": how, "machine": ", ".join(filter(None, where))}


def _safe_learning_rate(n_features: int, batch_size: int) -> float:
    """Return a quarter of the largest rate at which steps on synthetic data contract.

    The Hessian of the cross-entropy is at most half the covariance of the minibatch, whose largest
    eigenvalue is about ``(1 + sqrt(n_features / batch_size))**2`` for standard normal features
    (Marchenko and Pastur), and gradient descent contracts up to 2 over the Hessian's.
    """
    return float(f"{1 / (1 + sqrt(n_features / batch_size)) ** 2:.2g}")


def _learning_rate_of(X: NDArray[Any], batch_size: int, seed: int) -> float:
    """Return the same for given samples, from the largest eigenvalue of a few random minibatches."""
    random = np.random.default_rng(seed)
    largest = max(
        float(np.linalg.norm(X[random.choice(len(X), batch_size, replace=False)], 2))
        for _ in range(_TRIAL_MINIBATCHES)
    )
    return float(f"{batch_size / largest**2:.2g}") if largest else 1.0
