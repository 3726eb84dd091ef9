"""A fit: epoch after epoch, until a rule, a callback or an error ends it."""

from __future__ import annotations  # np.random, imported on first use, stands in them

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from .._arrays.validation import FloatArray
from ..backends import State
from ..schedules import Schedule
from .averaging import Average
from .callbacks import EpochEnd, line, progress_bar, should_stop
from .checkpoints import Checkpoint
from .config import TrainingConfig
from .epoch import check_progress, check_weights, train_epoch
from .problem import Problem
from .state import copy_of
from .step_size import root_mean_square

# "adaptive" divides the learning rate by this, until it would be less than a share of the first one.
_FALL = 5
_MIN_SHARE = 1e-3


@dataclass
class TrainingRun:
    """A training that goes on: the problem, and all that its epochs change.

    `is_publishable` says whether an error leaves something worth keeping.
    """

    problem: Problem
    state: State
    average: Average | None
    random: np.random.Generator
    schedule: Schedule
    curve: list[float] = field(default_factory=list)
    n_steps: int = 0
    scores: list[float] = field(default_factory=list)
    is_publishable: bool = False
    # what the rules that end a fit have seen so far
    starting_loss: float = np.inf
    best: float = np.inf
    epochs_without_gain: int = 0
    best_weights: tuple[State, Average | None] | None = None

    @classmethod
    def of(
        cls,
        problem: Problem,
        state: State,
        random: np.random.Generator,
        average: Average | None = None,
        **more: Any,
    ) -> Self:
        """Return one that has yet to begin."""
        averaged_from = problem.config.averaged_from
        if average is None and averaged_from is not None:
            average = Average.of(state, averaged_from)
        return cls(problem, state, average, random, problem.schedule, **more)

    def epoch(self) -> float:
        """Run one epoch and return its objective, which is not in the history yet."""
        config = self.problem.config
        return train_epoch(
            config.backend,
            self.problem.samples,
            self.state,
            config.rule,
            config.sampling,
            self.schedule,
            self.n_steps,
            self.random,
            config.n_threads,
            self.average,
        )

    def keep(self, objective: float) -> None:
        """Add the last epoch to the history, unless the weights in the units of X are not finite."""
        weights = self.weights()
        if weights[0] is not self.state.coef:  # which the epoch has looked at
            check_weights(weights, self.steps_of_epoch - 1, self.schedule)
        score = None if self.problem.held_out is None else self.problem.held_out.score(*weights)
        self.n_steps += self.steps_of_epoch
        self.curve.append(objective)
        if score is not None:
            self.scores.append(score)

    @property
    def steps_of_epoch(self) -> int:
        """Number of steps of an epoch."""
        return self.problem.config.sampling.n_steps(len(self.problem.samples))

    @property
    def score(self) -> float | None:
        """The last validation score, if there are any."""
        return self.scores[-1] if self.scores else None

    @property
    def remark(self) -> str:
        """Extra text for the progress line of the last epoch, or empty."""
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
        units = self.problem.samples.units
        return (coef, intercept) if units is None else units.to_original(coef, intercept)

    def copy(self) -> tuple[State, Average | None]:
        """Return state and average in arrays of their own."""
        return copy_of(self.state), None if self.average is None else self.average.copy()

    @property
    def stopped_by_tol(self) -> bool:
        """Whether `n_iter_no_change` epochs without improvement have passed."""
        return self.epochs_without_gain >= self.problem.config.n_iter_no_change

    def norm_of_rows(self) -> float:
        """Return the root mean square of the norms of some rows that are trained on, evenly spread."""
        return root_mean_square(self.problem.samples.X, self.problem.samples.rows)

    def lower_rate(self) -> bool:
        """Divide the learning rate, where the schedule has it so, and return whether it did."""
        lower = self.schedule.eta0 / _FALL
        if self.schedule.learning_rate != "adaptive" or (
            lower < _MIN_SHARE * self.problem.schedule.eta0
        ):
            return False
        self.schedule = self.schedule._replace(eta0=lower)
        return True


def train(
    run: TrainingRun,
    starting_loss: float,
    from_zeros: bool,
    make_model: Callable[[TrainingRun], Any],
    checkpoint: Checkpoint | None = None,
) -> bool:
    """Run epochs until a rule, a callback or `max_iter` ends training; return False if `max_iter` did.

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
    config = run.problem.config
    run.starting_loss = starting_loss if from_zeros else np.inf
    is_done = checkpoint is not None and checkpoint.restore(run)
    run.is_publishable = bool(run.curve)
    with progress_bar(config.progress_bar, config.max_iter, len(run.curve)) as bar:
        while not is_done and len(run.curve) < config.max_iter:
            value = _train_one_epoch(run)
            if np.isinf(run.starting_loss):
                run.starting_loss = max(starting_loss, run.curve[-1])
            if config.verbose:
                print(line(len(run.curve), run.curve[-1], run.score, run.remark))
            bar.update(len(run.curve), run.curve[-1], run.score, run.remark)
            stops = should_stop(config.callbacks, lambda: _epoch_end(run, make_model))
            is_done = apply_stopping_rules(run, value) or stops
            if checkpoint is not None and (is_done or checkpoint.is_due(len(run.curve))):
                checkpoint.save(run, is_done)
    if checkpoint is not None and not is_done and not checkpoint.is_due(len(run.curve)):
        checkpoint.save(run, is_done)
    if run.best_weights is not None:
        run.state, run.average = run.best_weights
    return is_done or stops_as_planned(config)


def stops_as_planned(config: TrainingConfig) -> bool:
    """Return whether a fit is meant to end at `max_iter`: without `tol`, or the schedule is made for it."""
    return config.tol is None or config.schedule.learning_rate == "cosine"


def apply_stopping_rules(run: TrainingRun, value: float) -> bool:
    """Note the epoch that has run, and return whether one of the rules ends the fit with it."""
    config = run.problem.config
    if config.early_stopping and value < run.best:
        run.best_weights = run.copy()
    gained = config.tol is None or value < run.best - config.tol
    run.epochs_without_gain = 0 if gained else run.epochs_without_gain + 1
    run.best = min(run.best, value)
    if run.stopped_by_tol and run.lower_rate():
        run.epochs_without_gain = 0
    return run.stopped_by_tol


def _train_one_epoch(run: TrainingRun) -> float:
    """Run one epoch; return the quantity to minimise: the loss, or minus the validation score.

    Whatever ends it early, `run` keeps the epochs before, and with Ctrl-C the steps of this one.
    """
    before, n_epochs, n_steps = run.copy(), len(run.curve), run.n_steps
    run.is_publishable = False
    try:
        objective = run.epoch()
        check_progress(objective, run.starting_loss, n_epochs + 1, run.schedule)
        run.keep(objective)
    except BaseException as error:
        del run.curve[n_epochs:], run.scores[n_epochs:]
        run.n_steps, run.is_publishable = n_steps, True
        if not isinstance(error, KeyboardInterrupt):
            run.state, run.average = before
            run.is_publishable = bool(run.curve)
        raise
    run.is_publishable = True
    return objective if run.score is None else -run.score


def _epoch_end(run: TrainingRun, make_model: Callable[[TrainingRun], Any]) -> EpochEnd:
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
