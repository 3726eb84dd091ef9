"""Train the same model with several backends and time them fairly.

The time is the wall-clock time of `SoftmaxClassifier.partial_fit`, which runs one epoch. Other programs
disturb a machine for seconds at a time, so the backends take turns: there are up to ten rounds, and in
each round every backend runs its share of the epochs. The order is shuffled every time, so that no
backend always follows the same neighbour, whose threads may still be busy waiting.
"""

from collections.abc import Sequence
from random import Random
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np

from ..classifier.classifier import SoftmaxClassifier
from ..datasets import Dataset
from ..exceptions import DivergenceError
from .errors import CommandError
from .numbers import duration
from .results import LeftOut, Result

_ROUNDS = 10
_SLOW = "naive"
# If all epochs would take more than the first number of seconds, the naive backend trains on a sample of
# the rows instead, chosen to take the second number.
_MOST_SECONDS, _SAMPLE_SECONDS = 30.0, 10.0
# A warm-up that takes less than this is repeated with more rows, as too short to estimate from.
_WARM_SECONDS = 0.05
# One that takes less than this is repeated as it is: another program may have disturbed it, and that
# would count for every row.
_CHECKED_SECONDS = 3.0


class Settings(NamedTuple):
    """How to train, the same for all backends."""

    batch_size: int
    epochs: int
    learning_rate: float
    n_threads: int
    seed: int


class Watcher(Protocol):
    """An observer of the progress."""

    def warms_up(self, backend: str) -> None: ...

    def begins(self, n_epochs: int) -> None: ...

    def trains(self, backend: str) -> None: ...

    def has_run_epoch(self) -> None: ...


class Run:
    """One backend in training."""

    def __init__(self, backend: str, data: Dataset, n_rows: int, settings: Settings) -> None:
        self.backend = backend
        self.X, self.y = data.X_train[:n_rows], data.y_train[:n_rows]
        self.n_classes = data.n_classes
        self.model = _model(backend, settings)
        self.seconds: list[float] = []

    def run_epoch(self) -> None:
        """Train for one more epoch, and time it."""
        classes = None if self.seconds else np.arange(self.n_classes)
        start = perf_counter()
        try:
            self.model.partial_fit(self.X, self.y, classes)
        except DivergenceError as error:
            raise CommandError(
                f"argument --learning-rate: {self.model.eta0:g} is too large: {error}"
            ) from None
        self.seconds.append(perf_counter() - start)

    def result(self, data: Dataset) -> Result:
        """Return the result; a sample of the rows tells only the time."""
        n_rows, n_samples = len(self.X), len(data.X_train)
        if n_rows < n_samples:
            return Result(self.backend, n_samples, n_rows, self.seconds)
        return Result(
            self.backend,
            n_samples,
            n_rows,
            self.seconds,
            self.model.loss_curve_,
            self.model.score(data.X_test, data.y_test),
            self.model.coef_,
        )


def prepare(
    backends: Sequence[str], data: Dataset, settings: Settings, watcher: Watcher
) -> tuple[list[Run], list[LeftOut]]:
    """Warm every backend up.

    Returns
    -------
    runs : list of Run
        Ready to train, in the order of `backends`.
    left_out : list of LeftOut
        Those that would take too long.
    """
    watcher.begins(settings.epochs * len(backends))
    runs, left_out = [], []
    for backend in backends:
        watcher.warms_up(backend)
        n_rows = len(data.X_train)
        seconds_a_row = _warm_up(backend, data, settings)
        if backend == _SLOW:
            n_rows = _affordable_rows(seconds_a_row, n_rows, settings)
        if n_rows:
            runs.append(Run(backend, data, n_rows, settings))
        else:
            epoch = duration(seconds_a_row * len(data.X_train))
            left_out.append(LeftOut(backend, "left out", f"an epoch would take about {epoch}"))
    return runs, left_out


def train(runs: Sequence[Run], settings: Settings, watcher: Watcher) -> None:
    """Run the epochs of all backends, which take turns."""
    watcher.begins(settings.epochs * len(runs))
    shuffle = Random(settings.seed).shuffle
    order = list(runs)
    rounds = min(_ROUNDS, settings.epochs)
    for i in range(rounds):
        shuffle(order)
        n_epochs = settings.epochs * (i + 1) // rounds - settings.epochs * i // rounds
        for run in order:
            watcher.trains(run.backend)
            for _ in range(n_epochs):
                run.run_epoch()
                watcher.has_run_epoch()


def _model(backend: str, settings: Settings) -> SoftmaxClassifier:
    return SoftmaxClassifier(
        backend=backend,
        batch_size=settings.batch_size,
        eta0=settings.learning_rate,
        random_state=settings.seed,
        n_jobs=settings.n_threads,
    )


def _warm_up(backend: str, data: Dataset, settings: Settings) -> float:
    """Compile, start threads and touch the data, on models that are thrown away.

    Returns the seconds per row, overestimated rather than underestimated, as the work per minibatch is
    divided among few rows.
    """
    n_rows, most = 1, min(len(data.X_train), 2 * settings.batch_size)
    while True:
        seconds = _seconds_of_an_epoch(backend, data, n_rows, settings)
        decides = seconds >= _WARM_SECONDS or n_rows == most
        if decides and seconds < _CHECKED_SECONDS:
            seconds = min(seconds, _seconds_of_an_epoch(backend, data, n_rows, settings))
        if seconds >= _WARM_SECONDS or n_rows == most:
            return seconds / n_rows
        n_rows = min(2 * n_rows, most)


def _seconds_of_an_epoch(backend: str, data: Dataset, n_rows: int, settings: Settings) -> float:
    run = Run(backend, data, n_rows, settings)
    run.run_epoch()
    return run.seconds[0]


def _affordable_rows(seconds_a_row: float, n_rows: int, settings: Settings) -> int:
    """Return how many rows the slow backend trains on in an epoch: all, a sample, or 0 for none.

    A sample is of whole minibatches, so that the work done once per minibatch has its true share.
    """
    if seconds_a_row * n_rows * settings.epochs <= _MOST_SECONDS:
        return n_rows
    seconds_a_minibatch = seconds_a_row * min(settings.batch_size, n_rows) * settings.epochs
    if seconds_a_minibatch > _MOST_SECONDS:
        return 0
    minibatches = max(1, int(_SAMPLE_SECONDS / seconds_a_minibatch))
    return min(n_rows, minibatches * settings.batch_size)
