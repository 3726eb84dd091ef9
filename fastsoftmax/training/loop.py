"""A fit: epoch after epoch, until a rule, a callback or an error ends it."""

from __future__ import annotations  # np.random, imported on first use, stands in them

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.validation import FloatArray
from ..backends import State
from ..schedules import Schedule
from .averaging import Average
from .callbacks import EpochEnd, line, progress_bar, should_stop
from .checkpoints import Checkpoint
from .config import Settings
from .epoch import Samples, check_progress, check_weights, copy_of, run_epoch
from .prediction import accuracy, log_loss
from .step_size import root_mean_square
from .targets import Targets

# "adaptive" divides the learning rate by this, until it would be less than a share of the first one.
_FALL = 5
_LEAST_SHARE = 1e-3


@dataclass
class Run:
    """A training that goes on. `is_whole` says whether an error leaves something worth keeping."""

    settings: Settings
    samples: Samples
    state: State
    average: Average | None
    random: np.random.Generator
    curve: list[float]
    n_steps: int
    schedule: Schedule
    held_out: HeldOut | None = None
    scores: list[float] = field(default_factory=list)
    is_whole: bool = False
    # what the rules that end a fit have seen so far
    starting_loss: float = np.inf
    best: float = np.inf
    epochs_without_gain: int = 0
    best_weights: tuple[State, Average | None] | None = None

    @classmethod
    def of(
        cls,
        settings: Settings,
        samples: Samples,
        state: State,
        random: np.random.Generator,
        average: Average | None = None,
    ) -> Run:
        """Return one that has yet to begin."""
        if average is None and settings.averaged_from is not None:
            average = Average.of(state, settings.averaged_from)
        return cls(settings, samples, state, average, random, [], 0, settings.schedule)

    def epoch(self) -> float:
        """Run an epoch, and return its objective, which has no part in the history yet."""
        settings = self.settings
        return run_epoch(
            settings.backend,
            self.samples,
            self.state,
            settings.rule,
            settings.sampling,
            self.schedule,
            self.n_steps,
            self.random,
            settings.n_threads,
            self.average,
        )

    def keep(self, objective: float) -> None:
        """Add the epoch that has run to the history, unless weights for X are no numbers."""
        weights = self.weights()
        if weights[0] is not self.state.coef:  # which the epoch has looked at
            check_weights(weights, self.steps_of_epoch - 1, self.schedule)
        score = None if self.held_out is None else self.held_out.score(*weights)
        self.n_steps += self.steps_of_epoch
        self.curve.append(objective)
        if score is not None:
            self.scores.append(score)

    @property
    def steps_of_epoch(self) -> int:
        return self.settings.sampling.n_steps(len(self.samples))

    @property
    def score(self) -> float | None:
        """The last validation score, if there are any."""
        return self.scores[-1] if self.scores else None

    @property
    def remark(self) -> str:
        """What else there is to say of the last epoch to who watches; maybe nothing."""
        return ""

    def weights(self) -> tuple[FloatArray, FloatArray | None]:
        """Return the weights, averaged where they are to be, in the units of X."""
        if self.average is None:
            return self.in_units_of_X(self.state.coef, self.state.intercept)
        return self.in_units_of_X(*self.average.weights_of(self.state))

    def in_units_of_X(
        self, coef: FloatArray, intercept: FloatArray | None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return weights of training as those for X."""
        units = self.samples.units
        return (coef, intercept) if units is None else units.to_original(coef, intercept)

    def copy(self) -> tuple[State, Average | None]:
        """Return state and average in arrays of their own."""
        return copy_of(self.state), None if self.average is None else self.average.copy()

    @property
    def stopped_by_tol(self) -> bool:
        """Whether that many epochs without gain have ended it."""
        return self.epochs_without_gain >= self.settings.n_iter_no_change

    def norm_of_rows(self) -> float:
        """Return the root mean square of the norms of some rows that are trained on, evenly spread."""
        return root_mean_square(self.samples.X, self.samples.rows)

    def lower_rate(self) -> bool:
        """Divide the learning rate, where the schedule has it so, and return whether it did."""
        lower = self.schedule.eta0 / _FALL
        if self.schedule.learning_rate != "adaptive" or (
            lower < _LEAST_SHARE * self.settings.schedule.eta0
        ):
            return False
        self.schedule = self.schedule._replace(eta0=lower)
        return True


@dataclass(frozen=True)
class HeldOut:
    """Samples that are not trained on, to score with."""

    settings: Settings
    X: NDArray[Any] | SparseRows
    targets: Targets
    rows: NDArray[np.int64]

    def score(self, coef: FloatArray, intercept: FloatArray | None) -> float:
        """Return the accuracy of these weights."""
        if intercept is None:
            intercept = np.zeros(len(coef), coef.dtype)
        return float(self.scores(coef, intercept, 1)[0])

    def scores(self, coef: FloatArray, intercept: FloatArray, n_models: int) -> NDArray[np.float64]:
        """Return the accuracy of each of several models, whose classes lie one after another."""
        return self._mean(accuracy, coef, intercept, n_models)

    def log_losses(
        self, coef: FloatArray, intercept: FloatArray, n_models: int
    ) -> NDArray[np.float64]:
        """Return the mean cross-entropy in nats of each of them."""
        return self._mean(log_loss, coef, intercept, n_models)

    def _mean(
        self,
        of: Callable[..., NDArray[np.float64]],
        coef: FloatArray,
        intercept: FloatArray,
        n_models: int,
    ) -> NDArray[np.float64]:
        """Return what a function of `scores` says of each model."""
        targets, settings = self.targets, self.settings
        return of(
            *(settings.backend, self.X, targets.given, targets.of_samples, self.rows),
            *(coef, intercept, settings.n_threads, n_models),
        )


def hold_out(
    targets: Targets, fraction: float, n_samples: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the rows to train on and those to score with; of labels, a like share of every class.

    A class keeps at least one row to train on.

    Raises
    ------
    ValueError
        If one of both would be empty.
    """
    rows = np.arange(n_samples) if targets.rows is None else targets.rows
    n_held_out = round(fraction * len(rows))
    if not 0 < n_held_out < len(rows):
        raise ValueError(
            f"validation_fraction: {fraction:g} of {len(rows)} samples leaves none to "
            f"{'score with' if n_held_out == 0 else 'train on'}"
        )
    mixed = random.permutation(rows)
    held_out = mixed[:n_held_out]
    if targets.values.ndim == 1:
        labels = targets.values[mixed]
        counts = np.bincount(labels)
        share = _shares(counts, n_held_out, random)
        by_class = np.argsort(labels, kind="stable")
        within = np.empty(len(rows), np.int64)  # which of its class a row is
        within[by_class] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        held_out = mixed[within < share[labels]]
    if not len(held_out):
        raise ValueError(
            "validation_fraction: no class has a sample to score with besides one to train on"
        )
    taken = np.zeros(n_samples, bool)
    taken[held_out] = True
    return rows[~taken[rows]], np.flatnonzero(taken)


def _shares(
    counts: NDArray[np.int64], n_held_out: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return how many of each class are held out: in proportion, rounded at random, and never all."""
    quotas = counts * (n_held_out / counts.sum())
    shares = quotas.astype(np.int64)
    # The largest remainders are rounded up; ties, as of classes of the same size, by lot.
    remainders = np.where(counts > 0, quotas - shares, -1.0)
    order = np.lexsort((random.random(len(counts)), -remainders))
    shares[order[: n_held_out - shares.sum()]] += 1
    fewer: NDArray[np.int64] = np.minimum(shares, np.maximum(counts - 1, 0))
    return fewer


def train(
    run: Run,
    starting_loss: float,
    from_zeros: bool,
    make_model: Callable[[Run], Any],
    checkpoint: Checkpoint | None = None,
) -> bool:
    """Run epochs until one of the rules ends it, and return whether that is not `max_iter`.

    Raises
    ------
    DivergenceError
        If an epoch was far worse than `starting_loss` or, where training does not start from zeros, than
        its first epoch; `run` is as after the epoch before.
    KeyboardInterrupt
        `run` is as after the last whole step.
    BaseException
        What a callback or a signal handler raises, MemoryError, and ValueError for data that are not
        finite; `run` is as after the epoch before, too.
    """
    settings = run.settings
    run.starting_loss = starting_loss if from_zeros else np.inf
    is_done = checkpoint is not None and checkpoint.restore(run)
    run.is_whole = bool(run.curve)
    with progress_bar(settings.progress_bar, settings.max_iter, len(run.curve)) as bar:
        while not is_done and len(run.curve) < settings.max_iter:
            value = _one_epoch(run)
            if np.isinf(run.starting_loss):
                run.starting_loss = max(starting_loss, run.curve[-1])
            if settings.verbose:
                print(line(len(run.curve), run.curve[-1], run.score, run.remark))
            bar.has_run_epoch(len(run.curve), run.curve[-1], run.score, run.remark)
            stops = should_stop(settings.callbacks, lambda: _seen(run, make_model))
            is_done = ends(run, value) or stops
            if checkpoint is not None and (is_done or checkpoint.is_due(len(run.curve))):
                checkpoint.save(run, is_done)
    if checkpoint is not None and not is_done and not checkpoint.is_due(len(run.curve)):
        checkpoint.save(run, is_done)
    if run.best_weights is not None:
        run.state, run.average = run.best_weights
    return is_done or ends_by_intention(settings)


def ends_by_intention(settings: Settings) -> bool:
    """Return whether a fit is meant to end at `max_iter`: without `tol`, or the schedule is made for it."""
    return settings.tol is None or settings.schedule.learning_rate == "cosine"


def ends(run: Run, value: float) -> bool:
    """Note the epoch that has run, and return whether one of the rules ends the fit with it."""
    settings = run.settings
    if settings.early_stopping and value < run.best:
        run.best_weights = run.copy()
    gained = settings.tol is None or value < run.best - settings.tol
    run.epochs_without_gain = 0 if gained else run.epochs_without_gain + 1
    run.best = min(run.best, value)
    if run.stopped_by_tol and run.lower_rate():
        run.epochs_without_gain = 0
    return run.stopped_by_tol


def _one_epoch(run: Run) -> float:
    """Run it; return what is to fall, the loss or minus the validation score.

    Whatever ends it early, `run` keeps the epochs before, and with Ctrl-C the steps of this one.
    """
    before, n_epochs, n_steps = run.copy(), len(run.curve), run.n_steps
    run.is_whole = False
    try:
        objective = run.epoch()
        check_progress(objective, run.starting_loss, n_epochs + 1, run.schedule)
        run.keep(objective)
    except BaseException as error:
        del run.curve[n_epochs:], run.scores[n_epochs:]
        run.n_steps, run.is_whole = n_steps, True
        if not isinstance(error, KeyboardInterrupt):
            run.state, run.average = before
            run.is_whole = bool(run.curve)
        raise
    run.is_whole = True
    return objective if run.score is None else -run.score


def _seen(run: Run, make_model: Callable[[Run], Any]) -> EpochEnd:
    """Return what callbacks get to see."""
    schedule, last, n_steps = run.schedule, run.n_steps - 1, run.steps_of_epoch
    return EpochEnd(
        len(run.curve),
        run.n_steps,
        run.curve[-1],
        run.score,
        lambda: float(schedule.rates(last, 1, n_steps)[0]),
        lambda: make_model(run),
    )
