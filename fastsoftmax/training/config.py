"""The parameters of a classifier, checked, in the terms of the training loop."""

from __future__ import annotations  # np.random, imported on first use, stands in them

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import schedules
from .._arrays import validation
from .._arrays.csr import SparseRows
from .._arrays.threads import resolve_n_threads
from .._arrays.validation import FloatArray
from ..backends import Backend, Rule, State, TargetWeights, get_backend
from ..schedules import Schedule
from . import standardization
from .averaging import Average
from .callbacks import callbacks_of
from .epoch import Samples, Sampling, copy_of
from .standardization import Standardization
from .step_size import StepSizes, step_size
from .targets import Targets

_FLAGS = (
    *("fit_intercept", "standardize", "replacement", "warm_start", "early_stopping"),
    "progress_bar",
)


class Settings:
    """The parameters of a classifier, checked, in the terms of the training loop."""

    backend: Backend

    def __init__(self, model: Any) -> None:
        self.backend = get_backend(model.backend)
        self.n_threads = n_threads_of(model.n_jobs)
        for flag in _FLAGS:
            if not isinstance(getattr(model, flag), bool | np.bool_):
                raise TypeError(f"{flag}: expected True or False, got {getattr(model, flag)!r}")
        self.fit_intercept = bool(model.fit_intercept)
        self.standardize = bool(model.standardize)
        self.early_stopping = bool(model.early_stopping)
        self.warm_start = bool(model.warm_start)
        self.progress_bar = bool(model.progress_bar)
        self.verbose = _verbosity(model.verbose)
        self.max_iter = validation.as_integer("max_iter", model.max_iter, 1)
        self.tol = None if model.tol is None else validation.as_non_negative("tol", model.tol)
        self.n_iter_no_change = validation.as_integer("n_iter_no_change", model.n_iter_no_change, 1)
        self.sampling = Sampling(
            validation.as_integer("batch_size", model.batch_size, 1),
            _shuffle_of(model.shuffle),
            bool(model.replacement),
        )
        l2, l1 = _strengths(model)
        momentum = validation.as_non_negative("momentum", model.momentum)
        if momentum >= 1:
            raise ValueError(
                f"momentum: expected 0 or more and less than 1, got {model.momentum!r}"
            )
        check_nesterov(model.nesterov, momentum)
        self.rule = Rule(l2, l1, momentum, bool(model.nesterov))
        self.rule = self.rule._replace(subgradient=uses_subgradient(model.l1_step))
        self.schedule, self.finds_step_size = _schedule_of(model, self.max_iter)
        self.step_sizes: StepSizes | None = None
        self.label_smoothing = validation.as_non_negative("label_smoothing", model.label_smoothing)
        if self.label_smoothing > 1:
            raise ValueError(
                f"label_smoothing: expected a number from 0 to 1, got {model.label_smoothing!r}"
            )
        self.class_weight = model.class_weight
        self.averaged_from = _averaged_from(model.average)
        fraction = validation.as_non_negative("validation_fraction", model.validation_fraction)
        if not 0 < fraction < 1:
            raise ValueError(
                "validation_fraction: expected a number between 0 and 1, "
                f"got {model.validation_fraction!r}"
            )
        self.validation_fraction = fraction if self.early_stopping else None
        self.callbacks = callbacks_of(model.callbacks)

    @property
    def what_goes_on(self) -> str:
        """What has not come to its end where `fit` ends at `max_iter`."""
        if self.schedule.learning_rate == "adaptive":
            return "while the learning rate was still to be lowered"
        what = "validation score" if self.early_stopping else "loss"
        return f"before the {what} went {self.n_iter_no_change} epochs without improving by tol"

    def check_rule_for(self, matrix: NDArray[Any] | SparseRows) -> None:
        """Raise if `matrix` is sparse and the rule is one that sparse rows do not take."""
        self.check_rule(isinstance(matrix, SparseRows))

    def check_rule(self, is_sparse: bool) -> None:
        """Raise if X is sparse and the rule is one that sparse rows do not take."""
        if not is_sparse or not self.rule.l1:
            return
        if self.rule.subgradient:
            raise ValueError("l1_step: expected 'proximal' for a sparse X, got 'subgradient'")
        if self.rule.momentum:
            raise ValueError(
                f"momentum: expected 0 for a sparse X with an L1 penalty, got {self.rule.momentum:g}: "
                "what thresholds and velocities do to a weight over many steps has no closed form. "
                "penalty='l2' and penalty=None go with momentum"
            )

    def find_step_size(self, samples: Samples, before: StepSizes | None = None) -> None:
        """Where `eta0` is "auto", take it from the data; `before` is of the chunks that have been."""
        self.step_sizes = before
        if self.finds_step_size:
            found = step_size(
                samples.X,
                self.sampling.batch_size,
                samples.units,
                self.fit_intercept,
                self.rule.l2,
                replacement=self.sampling.replacement,
                weights=None if samples.weights is None else samples.weights.rows,
                of=samples.rows,
            )
            self.take_step_size(found, len(samples))

    def take_step_size(self, found: float, n_samples: int) -> None:
        """Take what has been found of so many samples, or the mean of all so far where that is less.

        So a chunk that is unlike the others makes no steps that are too long for it, nor for them, and
        those after it are no shorter for long.
        """
        found = max(found, np.finfo(np.float64).tiny)
        if self.step_sizes is None:
            self.step_sizes = StepSizes(found, n_samples)
        else:
            self.step_sizes = self.step_sizes.with_chunk(found, n_samples)
        self.schedule = self.schedule._replace(eta0=min(found, self.step_sizes.mean))

    def samples_of(
        self,
        matrix: NDArray[Any] | SparseRows,
        targets: Targets,
        rows: NDArray[np.int64] | None,
        before: Standardization | None = None,
    ) -> Samples:
        """What is trained on, with the standardisation of these rows and those that `before` is of."""
        weights = None
        if targets.weights is not None or self.label_smoothing:
            weights = TargetWeights(targets.weights, None, self.label_smoothing)
        units = None
        if self.standardize:
            dtype = validation.training_dtype(matrix.dtype)
            units = standardization.of_columns(
                self.backend, matrix, dtype, self.n_threads, targets.weights, rows, before
            )
            if isinstance(matrix, SparseRows) and units.is_centred and self.fit_intercept:
                raise ValueError(
                    "X: expected a dense X, got a sparse one: standardize=True goes on with the means "
                    "of the dense X that came first, and with these subtracted no zero would be left. "
                    "Where a sparse X comes first, features are scaled only"
                )
        return Samples(matrix, targets.values, weights, rows, units)

    def initial_state(self, n_classes: int, matrix: NDArray[Any] | SparseRows) -> State:
        """Weights and velocities of zeros."""
        dtype = validation.training_dtype(matrix.dtype)
        return self.zero_state((n_classes, matrix.shape[1]), dtype)

    def zero_state(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> State:
        """The same, of a shape (n_classes, n_features)."""
        coef = np.zeros(shape, dtype)
        intercept = np.zeros(len(coef), dtype) if self.fit_intercept else None
        return self._with_velocities(coef, intercept, None, None)

    def state_at(
        self,
        coef: Any,
        intercept: Any,
        state: State,
        units: Standardization | None,
    ) -> State:
        """Return `state` with other weights, given in the units of X, checked; None keeps its own.

        Raises
        ------
        ValueError, TypeError
            If they are not finite numbers of the right shape.
        """
        if intercept is not None and state.intercept is None:
            raise ValueError("intercept_init: expected None with fit_intercept=False")
        if coef is None and intercept is None:
            return state
        dtype, shape = state.coef.dtype, state.coef.shape
        coef = state.coef if coef is None else weights_as("coef_init", coef, shape, dtype)
        if intercept is None:
            intercept = state.intercept
        else:
            intercept = weights_as("intercept_init", intercept, shape[:1], dtype)
        if units is not None:
            coef, intercept = units.to_standardized(coef, intercept)
        return copy_of(state._replace(coef=coef, intercept=intercept))

    def state_of(
        self, model: Any, before: Standardization | None, units: Standardization | None
    ) -> State:
        """A copy of the fitted model's weights and velocities, in the units of training.

        Where it has published averaged weights, of the last ones. `before` is what its velocities are of.
        """
        coef, intercept = parameters_of(model)
        if model._last is not None:
            coef, last_intercept = model._last
            intercept = (
                np.zeros(len(coef), coef.dtype) if last_intercept is None else last_intercept
            )
        of_coef, of_intercept = model._velocity
        if of_coef is not None:
            of_coef, of_intercept = standardization.carried(
                of_coef, of_intercept, before, units, coef.dtype
            )
        velocities = [
            None if velocity is None else velocity.astype(coef.dtype)
            for velocity in (of_coef, of_intercept)
        ]
        kept = intercept if self.fit_intercept else None
        if units is not None:
            coef, kept = units.to_standardized(coef, kept)
        return copy_of(self._with_velocities(coef, kept, *velocities))

    def average_of(
        self, model: Any, before: Standardization | None, units: Standardization | None
    ) -> Average | None:
        """A copy of the average of the fitted model's weights, in the units of training.

        None where it ends.
        """
        average: Average | None = model._average
        if average is None or self.averaged_from is None:
            return None
        dtype = parameters_of(model)[0].dtype if model._last is None else model._last[0].dtype
        coef, intercept = standardization.carried(
            average.coef, average.intercept, before, units, dtype
        )
        return replace(average, coef=coef, intercept=intercept).copy()

    def _with_velocities(
        self,
        coef: FloatArray,
        intercept: FloatArray | None,
        coef_velocity: FloatArray | None,
        intercept_velocity: FloatArray | None,
    ) -> State:
        if not self.rule.momentum:
            return State(coef, intercept, None, None)
        if coef_velocity is None:
            coef_velocity = np.zeros_like(coef)
        if intercept is None:
            return State(coef, None, coef_velocity, None)
        if intercept_velocity is None:
            intercept_velocity = np.zeros_like(intercept)
        return State(coef, intercept, coef_velocity, intercept_velocity)


def takes_sparse(model: Any) -> bool:
    """Return whether the model's parameters go with a sparse X."""
    try:
        Settings(model).check_rule(is_sparse=True)
    except (ValueError, TypeError, ImportError):
        return False
    return True


def _strengths(model: Any) -> tuple[float, float]:
    """Penalty, alpha and l1_ratio as l2 and l1 of l2 * sum(w**2) + l1 * sum(|w|)."""
    alpha = validation.as_non_negative("alpha", model.alpha)
    share = 0.0
    if model.l1_ratio is not None or model.penalty == "elasticnet":
        share = validation.as_non_negative("l1_ratio", model.l1_ratio)
    if share > 1:
        raise ValueError(f"l1_ratio: expected a number from 0 to 1, got {model.l1_ratio!r}")
    by_name = {None: (0.0, 0.0), "l2": (alpha / 2, 0.0), "l1": (0.0, alpha)}
    by_name["elasticnet"] = (alpha * (1 - share) / 2, alpha * share)
    if model.penalty is not None and not isinstance(model.penalty, str):
        raise TypeError(
            f"penalty: expected 'l2', 'l1', 'elasticnet' or None, got {model.penalty!r}"
        )
    if model.penalty not in by_name:
        raise ValueError(
            f"penalty: expected 'l2', 'l1', 'elasticnet' or None, got {model.penalty!r}"
        )
    return by_name[model.penalty]


def check_nesterov(nesterov: Any, momentum: float) -> None:
    """Raise unless `nesterov` is a flag, and False where there is no momentum for it to change."""
    if not isinstance(nesterov, bool | np.bool_):
        raise TypeError(f"nesterov: expected True or False, got {nesterov!r}")
    if nesterov and not momentum:
        raise ValueError("nesterov: expected False without momentum, got True; set momentum=0.9")


def uses_subgradient(l1_step: Any) -> bool:
    """Return what `l1_step` means for a `Rule`."""
    if not isinstance(l1_step, str) or l1_step not in ("proximal", "subgradient"):
        raise ValueError(f"l1_step: expected 'proximal' or 'subgradient', got {l1_step!r}")
    return l1_step == "subgradient"


def _schedule_of(model: Any, n_epochs: int) -> tuple[Schedule, bool]:
    """The learning rates, and whether eta0 is still to be found."""
    is_auto = isinstance(model.eta0, str) and model.eta0 == "auto"
    if isinstance(model.eta0, str) and not is_auto:
        raise ValueError(f"eta0: expected 'auto' or a number, got {model.eta0!r}")
    eta0 = 1.0 if is_auto else validation.as_non_negative("eta0", model.eta0)
    if eta0 == 0:
        raise ValueError("eta0: expected 'auto' or a number greater than 0, got 0")
    learning_rate = model.learning_rate
    named = isinstance(learning_rate, str) and learning_rate in schedules.NAMES
    if not callable(learning_rate) and not named:
        raise ValueError(
            f"learning_rate: expected one of {', '.join(schedules.NAMES)} or a callable, "
            f"got {learning_rate!r}"
        )
    schedule = Schedule(
        learning_rate,
        eta0,
        validation.as_non_negative("power_t", model.power_t),
        validation.as_integer("step_every", model.step_every, 1),
        validation.as_non_negative("step_factor", model.step_factor),
        validation.as_non_negative("warmup_epochs", model.warmup_epochs),
        n_epochs,
    )
    return schedule, is_auto


def _averaged_from(average: Any) -> int | None:
    """The sample that averaging begins with, counted from 0; None for no averaging."""
    if isinstance(average, bool | np.bool_):
        return 0 if average else None
    accepted = "True, False or a number of samples of at least 1"
    return validation.as_integer("average", average, 1, accepted) - 1


def parameters_of(model: Any) -> tuple[FloatArray, FloatArray]:
    """The weights and the intercept of a fitted model, which the user may have replaced, checked."""
    coef, intercept = shaped_parameters_of(model)
    validation.check_finite("intercept_", intercept)
    validation.check_finite("coef_", coef)
    return coef, intercept


def shaped_parameters_of(model: Any) -> tuple[FloatArray, FloatArray]:
    """Return the same at no cost of the weights' size: some of them may not be finite."""
    shape = (len(model.classes_), model.n_features_in_)
    coef = validation.as_array("coef_", model.coef_)
    dtype = validation.compute_dtype(coef.dtype)
    intercept = _shaped("intercept_", model.intercept_, shape[:1], dtype)
    return _shaped("coef_", coef, shape, dtype), intercept


def weights_as(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> FloatArray:
    """Return weights that are given, checked."""
    weights = _shaped(name, value, shape, dtype)
    validation.check_finite(name, weights)
    return weights


def _shaped(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> FloatArray:
    array = validation.as_array(name, value)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return validation.as_native(array, dtype)


def _shuffle_of(shuffle: Any) -> bool | str:
    if isinstance(shuffle, str) and shuffle == "blocks":
        return shuffle
    if not isinstance(shuffle, bool | np.bool_):
        raise TypeError(f"shuffle: expected True, False or 'blocks', got {shuffle!r}")
    return bool(shuffle)


def _verbosity(verbose: Any) -> int:
    return validation.as_integer(
        "verbose", int(verbose) if isinstance(verbose, bool | np.bool_) else verbose, 0
    )


def n_threads_of(n_jobs: int | None) -> int:
    """scikit-learn's n_jobs as a number of threads: -1 for all, -2 for all but one, and so on."""
    if isinstance(n_jobs, int | np.integer) and not isinstance(n_jobs, bool) and n_jobs < 0:
        return max(1, resolve_n_threads(None) + 1 + int(n_jobs))
    return resolve_n_threads(n_jobs, "n_jobs")


def generator_of(random_state: Any, *, draws: bool = True) -> np.random.Generator:
    """Return a generator of the model's own, seeded by `random_state`.

    An instance is drawn from, or with `draws=False` a copy of it: what the next call will return.
    """
    if random_state is np.random:  # NumPy's global state, as in scikit-learn
        random_state = np.random.mtrand._rand
    if not draws:
        random_state = deepcopy(random_state)
    seed = random_state
    if isinstance(random_state, np.random.Generator):
        seed = int(random_state.integers(1 << 63))
    elif isinstance(random_state, np.random.RandomState):
        seed = int(random_state.randint(1 << 31))
    elif random_state is not None:
        accepted = "an integer of at least 0, a Generator, a RandomState, numpy.random or None"
        seed = validation.as_integer("random_state", random_state, 0, accepted)
    return np.random.default_rng(seed)
