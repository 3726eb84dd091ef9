"""Grid search over learning rates and penalties, with all models trained in one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation as checks
from .._arrays.csr import SparseRows
from .._arrays.inputs import as_samples
from .._arrays.labels import listed
from .._arrays.validation import FloatArray
from ..backends import State, in_default_float_state
from ..exceptions import DivergenceError
from ..training.callbacks import Bar, PathProgress, line, progress_bar
from ..training.checkpoints import identity_of
from ..training.config import TrainingConfig, generator_of
from ..training.epoch import check_progress, check_weights
from ..training.holdout import HeldOut
from ..training.loop import TrainingRun
from ..training.multi_model import (
    Penalties,
    extract_state,
    models_per_pass,
    repeat_state,
    select_states,
    train_epoch_of_models,
)
from ..training.path import run_from_zeros, solve_path
from ..training.path_checkpoint import PathCheckpoint
from ..training.prediction import Scores
from ..training.problem import Problem, prepare
from ..training.solver_run import SolverRun
from ..training.state import copy_of
from ..training.targets import Targets, targets_of
from . import sklearn_api
from .classifier import SoftmaxClassifier, warn_of_end
from .parameters import BY_NAME, checkpoint_parameters, config_of

# The default grid. It includes the classifier's defaults, eta0="auto" as a factor of 1, so that the best
# model scores no worse than that of `fit`.
AUTOMATIC_FACTORS = (0.3, 1.0, 3.0, 10.0, 30.0)
DEFAULT_REGS = (1e-5, 1e-4, 1e-3, 1e-2)

# A strength can no longer be the best if its log loss is by so many times `tol` above the smallest one, and
# its accuracy by once that below the largest, while the next step promises to lower the objective by less.
_TOLS_TO_LOSE = 5


@dataclass(frozen=True)
class SearchResult:
    """The result of `search`, which prints as a table.

    Attributes
    ----------
    learning_rates, regs : ndarray, shapes (n_rates,) and (n_regs,)
        The grid: values of the classifier's `eta0` and `alpha`. With solver "lbfgs", which has no learning
        rate, `learning_rates` is one NaN.
    scores : ndarray, shape (n_rates, n_regs)
        The accuracy on the validation samples; NaN, as the other scores, if training diverged or `patience`
        has ended the path before.
    validation_losses : ndarray, shape (n_rates, n_regs)
        The mean cross-entropy on the validation samples, in nats and without a penalty; NaN if training
        diverged.
    losses : ndarray, shape (n_rates, n_regs)
        The objective of the last epoch on the training samples, penalty included; NaN if training
        diverged.
    balanced_accuracies, top_5_accuracies : ndarray, shape (n_rates, n_regs)
        The mean of the classes' accuracies, and the accuracy of the five most probable classes, on the
        validation samples; NaN if training diverged.
    best_index : tuple of two int
        The index of the best combination in these arrays: that of the largest score; among ties, that of
        the smallest validation loss; among ties again, the first.
    best_learning_rate, best_reg, best_score : float
        The values at `best_index`.
    best_model : SoftmaxClassifier
        The model of the best combination, trained without the validation samples.
    """

    learning_rates: NDArray[np.float64]
    regs: NDArray[np.float64]
    scores: NDArray[np.float64]
    validation_losses: NDArray[np.float64]
    losses: NDArray[np.float64]
    balanced_accuracies: NDArray[np.float64]
    top_5_accuracies: NDArray[np.float64]
    best_index: tuple[int, int]
    best_model: SoftmaxClassifier = field(repr=False)

    @property
    def best_learning_rate(self) -> float:
        return float(self.learning_rates[self.best_index[0]])

    @property
    def best_reg(self) -> float:
        return float(self.regs[self.best_index[1]])

    @property
    def best_score(self) -> float:
        return float(self.scores[self.best_index])

    def rows(self) -> list[dict[str, float]]:
        """Return a row for each combination, best first; ``pandas.DataFrame(found.rows())`` shows them."""
        table = [
            {
                "learning_rate": float(rate),
                "reg": float(reg),
                "score": float(self.scores[i, j]),
                "validation_loss": float(self.validation_losses[i, j]),
                "loss": float(self.losses[i, j]),
                "balanced_accuracy": float(self.balanced_accuracies[i, j]),
                "top_5_accuracy": float(self.top_5_accuracies[i, j]),
            }
            for i, rate in enumerate(self.learning_rates)
            for j, reg in enumerate(self.regs)
        ]
        return sorted(
            table,
            key=lambda row: (np.isnan(row["score"]), -row["score"], row["validation_loss"]),
        )

    def __str__(self) -> str:
        lines = [
            f"{'learning rate':>13}  {'alpha':>9}  {'validation':>10}  {'log loss':>9}  {'objective':>9}"
        ]
        for row in self.rows():
            rate = "-" if np.isnan(row["learning_rate"]) else f"{row['learning_rate']:.4g}"
            line = f"{rate:>13}  {row['reg']:>9.4g}  "
            if np.isnan(row["score"]):
                line += f"{'diverged' if rate != '-' else '-':>10}"  # else `patience` has ended the path
            else:
                losses = f"{row['validation_loss']:>9.4g}  {row['loss']:>9.4g}"
                line += f"{row['score']:>10.1%}  {losses}"
            lines.append(line)
        return "\n".join(lines)


class _Grid(NamedTuple):
    """The data and the start that all models share."""

    problem: Problem
    targets: Targets
    held_out: HeldOut
    held_out_name: str  # the beginning of messages about its samples
    random: np.random.Generator
    start: State


@in_default_float_state
def search(
    X: ArrayLike,
    y: ArrayLike,
    *,
    learning_rates: Sequence[float] | str = "auto",
    regs: Sequence[float] = DEFAULT_REGS,
    validation: float | tuple[ArrayLike, ArrayLike] = 0.2,
    sample_weight: ArrayLike | None = None,
    patience: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    resume: bool = False,
    **parameters: Any,
) -> SearchResult:
    """Train a classifier for each learning rate and each strength of the penalty, and compare them.

    All models see the same minibatches in the same order. On the compiled backend and dense data they are
    trained together: a minibatch is read, converted and standardised once for all models, and their
    weights are stored side by side in the matrix products. The steps are those of
    ``SoftmaxClassifier(eta0=learning_rate, alpha=reg, ...).fit`` on the samples that are not held out, to
    rounding, and so is the epoch at which `tol` or `max_iter` ends each model. The classifier's defaults
    are among the default values, so that the best model scores no worse.

    With ``solver="lbfgs"`` there are no learning rates. The strengths are a path: each minimum is found
    from those before, the strongest penalty first, which takes fewer passes than as many fits.

    Parameters
    ----------
    X, y
        As in `SoftmaxClassifier.fit`.
    learning_rates : sequence of float or "auto", default "auto"
        Values of `eta0`, greater than 0, which are not scaled by the data. "auto" is 0.3, 1, 3, 10 and 30
        times the rate of ``eta0="auto"`` for these samples (with the default of `alpha`). Solver "lbfgs"
        takes "auto" alone.
    regs : sequence of float, default (1e-5, 1e-4, 1e-3, 1e-2)
        Values of `alpha`, 0 or more: strengths of the classifier's penalty, by default
        ``alpha / 2 * sum(coef_**2)``. The lecture's `reg`, of ``reg * sum(W**2)``, is half of it:
        ``alpha = 2 * reg``.
    validation : float or tuple of array_like, default 0.2
        The share of the samples that is held out for the scores, stratified by class, or other samples
        (X, y).
    sample_weight : array_like of real numbers, shape (n_samples,), optional
        As in `SoftmaxClassifier.fit`; they also weight the scores of held-out samples, which ignore
        `class_weight`.
    patience : int, optional
        Of solver "lbfgs": end the path when that many strengths in a row improved neither the accuracy nor
        the log loss on the validation samples. Weak penalties cost the most passes. To compare strengths
        for few passes, each of them then ends where two iterations in a row promise to lower the objective
        by a tenth of `tol` at most, or where it can no longer be the best, and not first at a bound of
        `tol`. `best_model.optimality_` is the bound that the best one has, which may be above `tol`.
    checkpoint : str or path-like, optional
        Of solver "lbfgs": a file, whose name ends in .npz, in which the minima are saved atomically after
        each strength. X is read once more for its digest.
    resume : bool, default False
        Whether to go on after the last strength in the checkpoint, if it exists. The minima after it are as
        near as `tol` asks for, but not the same bits.
    **parameters
        Other parameters of `SoftmaxClassifier`, with its defaults: `solver`, `max_iter`, `tol`, `momentum`,
        `learning_rate` (the schedule), `standardize`, `penalty`, `batch_size`, `random_state`, `n_jobs`,
        `backend`, ... `progress_bar` shows one bar for all models, which counts all of their epochs, or the
        strengths with solver "lbfgs". `verbose` prints a line for each epoch of each model.

    Warns
    -----
    ConvergenceWarning
        If the best model had not converged, as in `fit`.

    Returns
    -------
    SearchResult

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message names it.
    DivergenceError
        If all models diverged.
    ModelFileError
        If the checkpoint to resume from is damaged, or is not one of this search.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax import search
    >>> X, y = load_iris(return_X_y=True)
    >>> found = search(X, y, learning_rates=[1e-3, 0.1], regs=[1e-4, 1.0], random_state=0)
    >>> found.best_learning_rate, found.best_reg
    (0.1, 0.0001)
    """
    rates = None
    if not (isinstance(learning_rates, str) and learning_rates == "auto"):
        rates = _numbers("learning_rates", learning_rates, above_zero=True)
    strengths = _numbers("regs", regs, above_zero=False)
    for name in parameters:
        if name in BY_NAME and not BY_NAME[name].in_search:
            raise ValueError(f"{name}: not a parameter of search")
    model = SoftmaxClassifier(**parameters)
    common = config_of(model)
    common = replace(common, finds_step_size=common.finds_step_size and rates is None)
    if common.solver != "sgd" and rates is not None:
        raise ValueError(
            f"learning_rates: expected 'auto' with solver={common.solver!r}, which has none, "
            f"got {checks.shown(learning_rates)}"
        )
    saving = PathCheckpoint.of(checkpoint, resume)
    if common.solver == "sgd" and (patience is not None or saving is not None):
        name = "patience" if saving is None else "checkpoint"
        raise ValueError(
            f"{name}: expected None with solver='sgd', whose models are trained together"
        )
    if patience is not None:
        patience = checks.as_integer("patience", patience, 1)
    grid = _grid_of(model, common, X, y, sample_weight, validation)
    if common.solver != "sgd":
        rates = np.array([np.nan])
    elif rates is None:
        rates = grid.problem.schedule.eta0 * np.array(AUTOMATIC_FACTORS)
    # Score once before training: a row that cannot be scored would waste it.
    _scores_of(grid.start.coef, np.zeros_like(grid.start.coef[:, 0]), 1, grid)
    given = model.get_params()
    models = [
        SoftmaxClassifier(
            **given | {"alpha": float(reg), "eta0": "auto" if np.isnan(rate) else float(rate)}
        )
        for rate in rates
        for reg in strengths
    ]
    is_sparse = isinstance(grid.problem.samples.X, SparseRows)
    max_iter = grid.problem.config.max_iter
    configs = [config_of(each).for_rows(is_sparse).with_epochs(max_iter) for each in models]
    problems = [grid.problem.with_config(each) for each in configs]
    if common.solver == "sgd":
        with progress_bar(common.progress_bar, max_iter * len(models), 0) as bar:
            runs = _trained(problems, grid, _Progress(bar, common.verbose, len(models)))
    else:
        if saving is not None:
            parameters = checkpoint_parameters(given) | {"backend": common.backend.name}
            data = grid.problem.samples.X, grid.targets, sample_weight
            scored: Any = validation
            if isinstance(validation, tuple):
                scored = identity_of({}, grid.held_out.X, grid.held_out.targets, None)
            saving.identity = identity_of(parameters, *data)
            saving.identity |= {"regs": strengths.tolist(), "validation": scored}
        with progress_bar(common.progress_bar, len(models), 0, "strengths") as bar:
            progress = PathProgress(bar, common.verbose, len(models))
            runs = _trained_along_a_path(problems, grid, progress, patience, saving)
    good = [i for i, run in enumerate(runs) if run is not None]
    if not good:
        raise DivergenceError(
            f"training diverged with every learning rate, the smallest being {rates.min():g}: lower them, "
            "or bring the columns of X to a common range, with standardize=True for example"
        )
    losses = np.full(len(runs), np.nan)
    losses[good] = [runs[i].curve[-1] for i in good]
    all_scores = Scores(*np.full((len(Scores._fields), len(runs)), np.nan))
    for values, found in zip(all_scores, _scores([runs[i] for i in good], grid), strict=True):
        values[good] = found
    scores, validation_losses = all_scores.accuracy, all_scores.log_loss
    best = min(good, key=lambda i: (-scores[i], validation_losses[i]))
    if common.solver != "sgd" and runs[best].is_compared:
        runs[best].confirm()
    generator_of(model.random_state)  # as fit draws from a caller's generator
    models[best]._publish(runs[best], sklearn_api.feature_names_of(X), True)
    warn_of_end(runs[best], runs[best].has_converged or runs[best].ends_as_planned)
    shape = (len(rates), len(strengths))
    return SearchResult(
        *(rates, strengths),
        *(scores.reshape(shape), validation_losses.reshape(shape), losses.reshape(shape)),
        all_scores.balanced_accuracy.reshape(shape),
        all_scores.top_5_accuracy.reshape(shape),
        divmod(best, len(strengths)),
        models[best],
    )


def _numbers(name: str, values: Any, above_zero: bool) -> NDArray[np.float64]:
    if np.ndim(values) != 1 or not len(values):
        raise ValueError(
            f"{name}: expected a sequence of at least one number, got {checks.shown(values)}"
        )
    numbers = np.array([checks.as_non_negative(name, value) for value in values])
    if above_zero and not numbers.all():
        raise ValueError(f"{name}: expected numbers greater than 0, got 0")
    return numbers


def _grid_of(
    model: SoftmaxClassifier,
    config: TrainingConfig,
    X: Any,
    y: Any,
    sample_weight: Any,
    validation: Any,
) -> _Grid:
    matrix = as_samples(X)
    config = config.for_rows(isinstance(matrix, SparseRows))
    dtype = checks.training_dtype(matrix.dtype)
    targets = targets_of(
        sklearn_api.as_vector(y), len(matrix), dtype, sample_weight, config.class_weight
    )
    if len(targets.classes) < 2:
        raise ValueError(
            f"y: expected at least two classes, got one class: {listed(targets.classes)[0]!r}"
        )
    name = ""
    if isinstance(validation, tuple):
        name = "validation: "
        rows, held_out = targets.rows, _other_samples(config, X, matrix, targets, validation)
    else:
        fraction = checks.as_non_negative("validation", validation)
        if not 0 < fraction < 1:
            raise ValueError(
                "validation: expected a share between 0 and 1 or a tuple (X, y), "
                f"got {checks.shown(validation)}"
            )
        drawn = generator_of(model.random_state, draws=False)
        rows, held_out = HeldOut.drawn(
            *(config.backend, config.n_threads, matrix, targets),
            *(fraction, drawn),
        )
    problem = prepare(config, matrix, targets, rows)
    # A fresh generator: the order of the samples is that of a fit on these rows.
    random = generator_of(model.random_state, draws=False)
    return _Grid(problem, targets, held_out, name, random, problem.zero_state())


def _other_samples(
    config: TrainingConfig, X: Any, trained: Any, targets: Targets, validation: tuple[Any, ...]
) -> HeldOut:
    if len(validation) != 2:
        raise ValueError(
            f"validation: expected a tuple (X, y), got one of {len(validation)} elements"
        )
    try:
        matrix = as_samples(validation[0])
        if matrix.shape[1] != trained.shape[1]:
            raise ValueError(f"X: expected {trained.shape[1]} features, got {matrix.shape[1]}")
        names, others = (sklearn_api.feature_names_of(each) for each in (X, validation[0]))
        if names is not None and others is not None and names.tolist() != others.tolist():
            raise ValueError("X: expected the columns of the training X, in the same order")
        dtype = checks.training_dtype(matrix.dtype)
        scored = targets_of(
            sklearn_api.as_vector(validation[1]), len(matrix), dtype, None, None, targets.classes
        )
    except (ValueError, TypeError) as error:
        raise type(error)(f"validation: {error}") from None
    return HeldOut(config.backend, config.n_threads, matrix, scored, np.arange(len(matrix)))


class _Progress:
    """The number of completed epochs of all models and the smallest objective so far, shown by a bar."""

    def __init__(self, bar: Bar, verbose: int, n_models: int) -> None:
        self._bar, self._done, self._least = bar, 0, np.inf
        self._verbose, self._n_models = verbose, n_models

    def epoch(self, model: int, epoch: int, objective: float) -> None:
        """Show an epoch of a model, both counted from 1."""
        if self._verbose:
            print(f"model {model} of {self._n_models}, {line(epoch, objective, None)}")
        self.advance(1, objective)

    def advance(self, n_epochs: int, objective: float) -> None:
        """Advance the bar; a model that has ended advances it by all of its remaining epochs."""
        self._done += n_epochs
        self._least = min(self._least, objective) if np.isfinite(objective) else self._least
        self._bar.update(self._done, self._least, None, "")


def _trained(problems: list[Problem], grid: _Grid, progress: _Progress) -> list[Any]:
    """Return the run of each combination, or None if it diverged."""
    n_together = models_per_pass(problems[0], grid.start)
    if n_together == 1:
        return [_trained_alone(i, each, grid, progress) for i, each in enumerate(problems)]
    runs: list[Any] = []
    for first in range(0, len(problems), n_together):
        runs += _trained_together(problems[first : first + n_together], grid, progress, first)
    return runs


def _trained_along_a_path(
    problems: list[Problem],
    grid: _Grid,
    progress: PathProgress,
    patience: int | None,
    saving: PathCheckpoint | None,
) -> list[TrainingRun | None]:
    """Return the runs of problems with different strengths, which are solved from strong to weak.

    Those that `patience` leaves out are None.
    """
    order = sorted(range(len(problems)), key=lambda i: -(problems[i].config.alpha or 0.0))
    # Lines and the one bar are those of the path.
    path = [
        problems[i].with_config(replace(problems[i].config, progress_bar=False, verbose=0))
        for i in order
    ]
    runs: list[SolverRun] = [] if saving is None else saving.restore(path)
    best_accuracy, best_loss, n_without_gain = -np.inf, np.inf, 0

    def begin(problem: Problem) -> SolverRun:
        run = run_from_zeros(problem)
        run.is_compared = patience is not None
        return run

    def is_over(run: SolverRun) -> bool:
        nonlocal best_accuracy, best_loss, n_without_gain
        found = _scores([run], grid)
        score, loss = float(found.accuracy[0]), float(found.log_loss[0])
        progress.strength(run.problem.config.alpha or 0.0, loss, score)
        n_without_gain = 0 if score > best_accuracy or loss < best_loss else n_without_gain + 1
        best_accuracy, best_loss = max(best_accuracy, score), min(best_loss, loss)
        return patience is not None and n_without_gain >= patience

    def watch(run: SolverRun) -> None:
        progress.iteration(run.problem.config.alpha or 0.0, "", run)
        tol = run.problem.config.tol or 0.0
        if patience is None or not run.promises_at_most(tol):
            return
        found = _scores([run], grid)
        loses = found.log_loss[0] > (1 + _TOLS_TO_LOSE * tol) * best_loss
        if loses and found.accuracy[0] < (1 - tol) * best_accuracy:
            run.is_at_rest = True

    for run in runs:
        run.is_compared = patience is not None
    are_over = [is_over(run) for run in runs]
    if not any(are_over):
        last = runs[-1] if runs else None
        for run in solve_path(path[len(runs) :], begin, watch, last):
            runs.append(run)
            if saving is not None:
                saving.save(runs)
            if is_over(run):
                break
    by_problem: dict[int, TrainingRun] = dict(zip(order, runs, strict=False))
    return [by_problem.get(i) for i in range(len(problems))]


def _trained_alone(
    number: int, problem: Problem, grid: _Grid, progress: _Progress
) -> TrainingRun | None:
    start: dict[str, Any] = {"starting_loss": _starting_loss(grid)}
    run = TrainingRun.of(problem, copy_of(grid.start), deepcopy(grid.random), **start)
    max_iter = problem.config.max_iter
    try:
        for epoch in range(max_iter):
            objective = run.epoch()
            check_progress(objective, _starting_loss(grid), epoch + 1, run.schedule)
            run.keep(objective)
            progress.epoch(number + 1, epoch + 1, objective)
            if run.apply_stopping_rules(objective):
                break
    except DivergenceError:
        return None
    finally:
        progress.advance(max_iter - len(run.curve), np.inf)
    return run


def _trained_together(
    problems: list[Problem], grid: _Grid, progress: _Progress, first: int
) -> list[TrainingRun | None]:
    """Train all models in one pass over the data per epoch; one that ends does not affect the others.

    `first` is the number of the first one among all of the search.
    """
    max_iter, random = problems[0].config.max_iter, deepcopy(grid.random)
    start: dict[str, Any] = {"starting_loss": _starting_loss(grid)}
    runs = [TrainingRun.of(each, grid.start, random, **start) for each in problems]
    states = repeat_state(grid.start, len(runs))
    active = list(range(len(runs)))
    ended: dict[int, TrainingRun | None] = {}
    for epoch in range(1, max_iter + 1):
        rules = [problems[i].config.rule for i in active]
        objectives = train_epoch_of_models(
            *(problems[0], states),
            Penalties(*np.array([(rule.l2, rule.l1) for rule in rules]).T.copy()),
            [runs[i].schedule for i in active],
            runs[active[0]].n_steps,
            random,
        ).tolist()
        going_on = []
        for place, i in enumerate(active):
            run, objective = runs[i], objectives[place]
            progress.epoch(first + i + 1, epoch, objective)
            if not _is_good(run, objective, grid):
                ended[i] = None
            else:
                run.curve.append(objective)
                run.n_steps += run.steps_of_epoch
                if not run.apply_stopping_rules(objective) and epoch < max_iter:
                    going_on.append(place)
                    continue
                run.state = extract_state(states, place, len(active))
                run.random = deepcopy(random)
                ended[i] = run if _has_good_weights(run) else None
            progress.advance(max_iter - epoch, np.inf)
        if len(going_on) < len(active):
            states = select_states(states, going_on, len(active))
            active = [active[place] for place in going_on]
        if not active:
            break
    return [ended[i] for i in range(len(runs))]


def _is_good(run: TrainingRun, objective: float, grid: _Grid) -> bool:
    if not np.isfinite(objective):
        return False
    return not _raises_divergence(
        check_progress, objective, _starting_loss(grid), len(run.curve) + 1, run.schedule
    )


def _has_good_weights(run: TrainingRun) -> bool:
    return not _raises_divergence(
        check_weights, run.weights(), run.steps_of_epoch - 1, run.schedule
    )


def _raises_divergence(check: Callable[..., None], *arguments: Any) -> bool:
    try:
        check(*arguments)
    except DivergenceError:
        return True
    return False


def _starting_loss(grid: _Grid) -> float:
    return float(np.log(len(grid.problem.classes)))


def _scores(runs: list[TrainingRun], grid: _Grid) -> Scores:
    """Return the scores of each run on the held-out samples."""
    weights = [run.weights() for run in runs]
    coef = np.concatenate([coef for coef, _ in weights])
    intercept = np.concatenate(
        [np.zeros(len(coef), coef.dtype) if b is None else b for coef, b in weights]
    )
    return _scores_of(coef, intercept, len(runs), grid)


def _scores_of(coef: FloatArray, intercept: FloatArray, n_models: int, grid: _Grid) -> Scores:
    try:
        return grid.held_out.scores(coef, intercept, n_models)
    except ValueError as error:
        raise ValueError(f"{grid.held_out_name}{error}") from None
