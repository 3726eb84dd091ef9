"""The training loop: epochs until a stopping rule, a callback or an error ends the fit."""

from __future__ import annotations  # they name np.random, which is imported on first use

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from .._arrays.validation import FloatArray
from ..backends import State
from ..schedules import Schedule
from .averaging import Average
from .callbacks import EpochEnd, Tasks, line, progress_bar, should_stop
from .checkpoints import Checkpoint
from .duality_gap import NO_BOUND, Optimality
from .epoch import check_progress, check_weights, train_epoch
from .problem import Problem
from .state import copy_of
from .step_size import root_mean_square

# "adaptive" divides the learning rate by _FALL, until it would fall below this share of the first one.
_FALL = 5
_MIN_SHARE = 1e-3
# More epochs help where the second half of them, as the rate falls to 0, has more than this share of the
# fall of the loss. (Where the loss falls in proportion to the rates, it has a quarter.)
_LATE_SHARE = 0.2


@dataclass
class TrainingRun:
    """A training run: the problem, and the state that its epochs change.

    `is_publishable` says whether the run holds a result to publish after an error.
    """

    keeps_completed_steps: ClassVar[bool] = True  # of an epoch that Ctrl-C interrupts

    problem: Problem
    state: State
    average: Average | None
    random: np.random.Generator
    schedule: Schedule
    curve: list[float] = field(default_factory=list)
    n_steps: int = 0
    scores: list[float] = field(default_factory=list)
    is_publishable: bool = False
    # The state of the stopping rules.
    starting_loss: float = np.inf
    best: float = np.inf
    epochs_without_gain: int = 0
    best_weights: tuple[State, Average | None] | None = None
    optimality: Optimality = NO_BOUND

    @classmethod
    def of(
        cls,
        problem: Problem,
        state: State,
        random: np.random.Generator,
        average: Average | None = None,
        **more: Any,
    ) -> Self:
        """Return a run that has not begun."""
        averaged_from = problem.config.averaged_from
        if average is None and averaged_from is not None:
            average = Average.of(state, averaged_from)
        return cls(problem, state, average, random, problem.schedule, **more)

    def epoch(self) -> float:
        """Train for one epoch and return its objective; `keep` adds it to the history."""
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
        if weights[0] is not self.state.coef:  # the epoch has checked the weights of the state
            check_weights(weights, self.steps_of_epoch - 1, self.rates)
        score = None if self.problem.held_out is None else self.problem.held_out.score(*weights)
        self.n_steps += self.steps_of_epoch
        self.curve.append(objective)
        if score is not None:
            self.scores.append(score)

    @property
    def steps_of_epoch(self) -> int:
        """The number of steps of an epoch."""
        return self.problem.config.sampling.n_steps(len(self.problem.samples))

    @property
    def rates(self) -> Schedule | None:
        """The learning rates, for advice, or None if steps do not follow them."""
        return self.schedule

    @property
    def score(self) -> float | None:
        """The last validation score, if there are any."""
        return self.scores[-1] if self.scores else None

    @property
    def remark(self) -> str:
        """Extra text for the progress line of the last epoch, or empty."""
        return ""

    def weights(self) -> tuple[FloatArray, FloatArray | None]:
        """Return the weights, averaged with `average`, in the units of X."""
        if self.average is None:
            return self.in_units_of_X(self.state.coef, self.state.intercept)
        return self.in_units_of_X(*self.average.weights_of(self.state))

    def in_units_of_X(
        self, coef: FloatArray, intercept: FloatArray | None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return weights in the units of X, given in those of training."""
        units = self.problem.samples.units
        return (coef, intercept) if units is None else units.to_original(coef, intercept)

    def copy(self) -> tuple[State, Average | None]:
        """Return copies of the state and the average."""
        return copy_of(self.state), None if self.average is None else self.average.copy()

    def snapshot(self) -> Any:
        """Return what `restore` needs to undo an epoch."""
        return self.copy()

    def restore(self, before: Any) -> None:
        """Return to a snapshot."""
        self.state, self.average = before

    @property
    def stopped_by_tol(self) -> bool:
        """True after `n_iter_no_change` epochs without improvement."""
        return self.epochs_without_gain >= self.problem.config.n_iter_no_change

    @property
    def has_converged(self) -> bool:
        """True once a stopping rule has ended the run."""
        return self.stopped_by_tol

    def apply_stopping_rules(self, value: float) -> bool:
        """Update the stopping rules after an epoch, and return whether one of them ends the fit."""
        config = self.problem.config
        if config.early_stopping and value < self.best:
            self.best_weights = self.copy()
        self.epochs_without_gain = 0 if self._has_gained(value) else self.epochs_without_gain + 1
        self.best = min(self.best, value)
        if self.stopped_by_tol and self.lower_rate():
            self.epochs_without_gain = 0
        return self.stopped_by_tol

    def _has_gained(self, value: float) -> bool:
        """Return whether an epoch counts as an improvement.

        The loss has to fall by the share `tol` of its fall since the start, however slowly the scale of the
        features lets it fall; a score by `tol`. A rate that falls to 0 lowers the loss until its end.
        """
        config = self.problem.config
        if config.tol is None or (self.schedule.ends_at_0 and not config.early_stopping):
            return True
        best = min(value, self.best)
        fall = 1.0 if config.early_stopping else max(self.starting_loss - best, 0.0)
        return value < self.best - config.tol * fall

    @property
    def gap_left_by_rounding(self) -> float | None:
        """The gap, relative to the objective, if rounding kept it above tol; SGD does not compute one."""
        return None

    def solver_values(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of a solver that has a memory."""
        names = (
            "solver_counts",
            "solver_steps",
            "solver_gradients",
            "solver_classes",
            "solver_points",
        )
        return dict.fromkeys(names)

    def restore_solver(self, values: Mapping[str, Any]) -> None:
        """Continue with the values of a checkpoint."""

    def finish(self) -> None:
        """Complete what is published of a run that no error has ended."""

    def norm_of_rows(self) -> float:
        """Return the root mean square of the norms of an evenly spaced subset of the training rows."""
        return root_mean_square(self.problem.samples.X, self.problem.samples.rows)

    @property
    def ends_as_planned(self) -> bool:
        """Whether `max_iter` is where the fit is meant to end, rather than too early."""
        if self.problem.config.tol is None:
            return True
        if not self.schedule.ends_at_0:
            return False
        losses = [self.starting_loss, *self.curve]
        late_fall = losses[len(self.curve) // 2] - losses[-1]
        fall = losses[0] - losses[-1]
        return fall > 0 and late_fall <= _LATE_SHARE * fall

    def lower_rate(self) -> bool:
        """Lower the rate of the schedule "adaptive", and return whether that was possible."""
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
    watch: Callable[[Any], None] | None = None,
    tasks: Tasks | None = None,
) -> bool:
    """Train until a stopping rule, a callback or `max_iter` ends the fit; return False if `max_iter` did.

    `watch` gets the run after each epoch, if it is given, and `tasks` is told of each.

    Raises
    ------
    DivergenceError
        If an epoch was far worse than `starting_loss` or, if training does not start from zeros, than
        the first epoch; `run` is as after the epoch before.
    KeyboardInterrupt
        On Ctrl-C; `run` is as after the last completed step.
    BaseException
        Whatever a callback or a signal handler raises, MemoryError, and ValueError for data that are not
        finite; `run` is as after the epoch before.
    """
    config = run.problem.config
    run.starting_loss = starting_loss if from_zeros else np.inf
    is_done = checkpoint is not None and checkpoint.restore(run)
    run.is_publishable = bool(run.curve)
    with progress_bar(config.progress_bar, config.max_iter, len(run.curve)) as bar:
        while not is_done and len(run.curve) < config.max_iter:
            if tasks is not None:
                tasks.begin(lambda: make_model(run))
            value = _train_one_epoch(run)
            if np.isinf(run.starting_loss):
                run.starting_loss = max(starting_loss, run.curve[-1])
            if config.verbose:
                print(line(len(run.curve), run.curve[-1], run.score, run.remark))
            bar.update(len(run.curve), run.curve[-1], run.score, run.remark)
            if watch is not None:
                watch(run)
            stops = should_stop(config.callbacks, lambda: _epoch_end(run, make_model))
            if tasks is not None:
                stops = tasks.end(lambda: make_model(run)) or stops
            is_done = run.apply_stopping_rules(value) or stops
            if checkpoint is not None and (is_done or checkpoint.is_due(len(run.curve))):
                checkpoint.save(run, is_done)
    if checkpoint is not None and not is_done and not checkpoint.is_due(len(run.curve)):
        checkpoint.save(run, is_done)
    if run.best_weights is not None:
        run.state, run.average = run.best_weights
    run.finish()
    return is_done or run.ends_as_planned


def _train_one_epoch(run: TrainingRun) -> float:
    """Train for one epoch, and return the quantity to minimise: the loss, or minus the validation score.

    If an error ends it early, `run` is as after the epoch before; after Ctrl-C it keeps the completed
    steps.
    """
    before, n_epochs, n_steps = run.snapshot(), len(run.curve), run.n_steps
    run.is_publishable = False
    try:
        objective = run.epoch()
        check_progress(objective, run.starting_loss, n_epochs + 1, run.rates)
        run.keep(objective)
    except BaseException as error:
        del run.curve[n_epochs:], run.scores[n_epochs:]
        run.n_steps, run.is_publishable = n_steps, True
        if not (run.keeps_completed_steps and isinstance(error, KeyboardInterrupt)):
            run.restore(before)
            run.is_publishable = bool(run.curve)
        raise
    run.is_publishable = True
    return objective if run.score is None else -run.score


def _epoch_end(run: TrainingRun, make_model: Callable[[TrainingRun], Any]) -> EpochEnd:
    """Return the state that callbacks get."""
    schedule, last, n_steps = run.schedule, run.n_steps - 1, run.steps_of_epoch
    return EpochEnd(
        len(run.curve),
        run.n_steps,
        run.curve[-1],
        run.score,
        lambda: float(schedule.rates(last, 1, n_steps)[0]),
        lambda: make_model(run),
    )
