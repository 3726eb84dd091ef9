"""Time several contenders fairly, side by side; those of `bench` are backends that train the same model.

Other programs disturb a machine for seconds at a time. Therefore the contenders take turns, in rounds in
which each has one turn, so that a disturbance affects all of them. Every round has a new random order, so
that no contender always follows the same one. A turn begins when no thread of the previous turn is still
spinning.

`bench` measures the wall-clock time of `SoftmaxClassifier.partial_fit`, which runs one epoch; in each of up
to ten rounds every backend runs its share of the epochs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from statistics import median
from time import perf_counter
from timeit import Timer
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from ..classifier.classifier import SoftmaxClassifier
from ..datasets import Dataset
from ..exceptions import DivergenceError
from .errors import CommandError
from .machine import wait_for_sleeping_threads
from .numbers import duration
from .results import LeftOut, Result

T = TypeVar("T")

_ROUNDS = 10
_SLOW = "naive"
# If all epochs of the naive backend would take more than _MAX_SECONDS, it trains on a sample of the rows,
# whose size is chosen for _SAMPLE_SECONDS.
_MAX_SECONDS, _SAMPLE_SECONDS = 30.0, 10.0
# A warm-up shorter than this is repeated with more rows, as it is too short for an estimate.
_WARM_SECONDS = 0.05
# A warm-up shorter than this is timed twice: another program may have disturbed it, which would affect the
# estimate for every row.
_CHECKED_SECONDS = 3.0


@dataclass(frozen=True)
class Timing:
    """The seconds of one unit of work (an epoch, a call), one for each round."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return median(self.seconds)

    def divided_by(self, units: int) -> "Timing":
        """Return the time of one of `units` that were timed together."""
        return Timing([seconds / units for seconds in self.seconds])

    def as_record(self) -> dict[str, Any]:
        """Return the numbers in the types of JSON."""
        return {
            "seconds": list(self.seconds),
            "median_seconds": self.median,
            "min_seconds": min(self.seconds),
            "max_seconds": max(self.seconds),
        }


def turns(contenders: Sequence[T], n_rounds: int, seed: int = 0) -> Iterator[tuple[int, T]]:
    """Yield the number of the round and the next contender, once the threads of the previous turn sleep."""
    order = list(contenders)
    shuffle = Random(seed).shuffle
    for i in range(n_rounds):
        shuffle(order)
        for contender in order:
            wait_for_sleeping_threads()
            yield i, contender


def warmed_up(
    run: Callable[[], object], seconds: float, clock: Callable[[], float] = perf_counter
) -> Callable[[], float]:
    """Warm `run` up, and return a timer of one turn: the mean of runs that take about `seconds`."""
    run()
    timer, n_runs = Timer(run, timer=clock), 1
    if seconds:
        while (taken := timer.timeit(n_runs)) < seconds / 10:
            n_runs *= 10
        n_runs = max(1, ceil(seconds * n_runs / taken))
    return lambda: timer.timeit(n_runs) / n_runs


def measure(
    runs: Mapping[str, Callable[[], object]],
    n_rounds: int,
    seconds_a_turn: float = 0,
    begin_turn: Callable[[int], object] = lambda _: None,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, Timing]:
    """Return the time of one run of each contender, from rounds in which all take turns.

    Parameters
    ----------
    runs : mapping of callables
        The contenders by name; each is timed after a warm-up.
    n_rounds : int
    seconds_a_turn : float, optional
        A turn repeats the run for about this long and counts the mean, so that neither the resolution of
        the clock nor a context switch matters. By default a turn is one run.
    begin_turn : callable, optional
        Called, untimed, with the number of the round before each turn, and with 0 for the warm-up.
    clock : callable, optional
        The clock, in seconds. `time.process_time` counts CPU time only, so that other programs hardly
        affect work on one thread.
    """
    begin_turn(0)
    turn_of = {name: warmed_up(run, seconds_a_turn, clock) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for i, name in turns([*runs], n_rounds):
        begin_turn(i)
        seconds[name].append(turn_of[name]())
    return {name: Timing(times) for name, times in seconds.items()}


class Settings(NamedTuple):
    """The settings of training, the same for all backends."""

    batch_size: int
    epochs: int
    learning_rate: float
    n_threads: int
    seed: int


class ProgressListener(Protocol):
    """An object that is told about the progress of a comparison."""

    def on_warm_up(self, backend: str) -> None: ...

    def on_start(self, n_epochs: int) -> None: ...

    def on_turn(self, backend: str) -> None: ...

    def on_epoch_end(self) -> None: ...


class Run:
    """The training of one backend, with the time of each epoch."""

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
                f"argument --eta0: {self.model.eta0:g} is too large: {error}"
            ) from None
        self.seconds.append(perf_counter() - start)

    def result(self, data: Dataset) -> Result:
        """Return the result; after training on a sample of the rows it has only the time."""
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
    backends: Sequence[str], data: Dataset, settings: Settings, listener: ProgressListener
) -> tuple[list[Run], list[LeftOut]]:
    """Warm every backend up.

    Returns
    -------
    runs : list of Run
        Ready to train, in the order of `backends`.
    left_out : list of LeftOut
        The backends that would take too long.
    """
    listener.on_start(settings.epochs * len(backends))
    runs, left_out = [], []
    for backend in backends:
        listener.on_warm_up(backend)
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


def train(runs: Sequence[Run], settings: Settings, listener: ProgressListener) -> None:
    """Run the epochs of all backends, which take turns."""
    listener.on_start(settings.epochs * len(runs))
    rounds = by_round(range(settings.epochs))
    for i, run in turns(runs, len(rounds), settings.seed):
        listener.on_turn(run.backend)
        for _ in rounds[i]:
            run.run_epoch()
            listener.on_epoch_end()


def by_round(epochs: Sequence[T]) -> list[Sequence[T]]:
    """Divide epochs among the rounds: as evenly as possible, and at least one for each."""
    n, rounds = len(epochs), min(_ROUNDS, len(epochs))
    return [epochs[n * i // rounds : n * (i + 1) // rounds] for i in range(rounds)]


def _model(backend: str, settings: Settings) -> SoftmaxClassifier:
    return SoftmaxClassifier(
        backend=backend,
        batch_size=settings.batch_size,
        learning_rate="constant",
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
    if seconds_a_row * n_rows * settings.epochs <= _MAX_SECONDS:
        return n_rows
    seconds_a_minibatch = seconds_a_row * min(settings.batch_size, n_rows) * settings.epochs
    if seconds_a_minibatch > _MAX_SECONDS:
        return 0
    minibatches = max(1, int(_SAMPLE_SECONDS / seconds_a_minibatch))
    return min(n_rows, minibatches * settings.batch_size)
