"""The parameters of a classifier, checked, in the terms of the training loop."""

from __future__ import annotations  # np.random, imported on first use, stands in them

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import schedules, standardization, validation
from .backends import Backend, Rule, State, get_backend
from .sgd import Sampling, Schedule, copy_of, run_epoch
from .sparse import SparseRows
from .standardization import Standardization
from .step_size import step_size
from .threads import resolve_n_threads
from .validation import FloatArray


class Settings:
    """The parameters of a classifier, checked, in the terms of the training loop."""

    backend: Backend

    def __init__(self, model: Any) -> None:
        self.backend = get_backend(model.backend)
        self.n_threads = n_threads_of(model.n_jobs)
        for flag in ("fit_intercept", "standardize", "shuffle", "replacement", "nesterov"):
            if not isinstance(getattr(model, flag), bool | np.bool_):
                raise TypeError(f"{flag}: expected True or False, got {getattr(model, flag)!r}")
        self.fit_intercept = bool(model.fit_intercept)
        self.standardize = bool(model.standardize)
        self.verbose = _verbosity(model.verbose)
        self.max_iter = validation.as_integer("max_iter", model.max_iter, 1)
        self.tol = None if model.tol is None else validation.as_non_negative("tol", model.tol)
        self.n_iter_no_change = validation.as_integer("n_iter_no_change", model.n_iter_no_change, 1)
        self.sampling = Sampling(
            validation.as_integer("batch_size", model.batch_size, 1),
            bool(model.shuffle),
            bool(model.replacement),
        )
        l2, l1 = _strengths(model)
        momentum = validation.as_non_negative("momentum", model.momentum)
        if momentum >= 1:
            raise ValueError(
                f"momentum: expected 0 or more and less than 1, got {model.momentum!r}"
            )
        self.rule = Rule(l2, l1, momentum, bool(model.nesterov))
        self.finds_step_size = isinstance(model.eta0, str) and model.eta0 == "auto"
        if isinstance(model.eta0, str) and not self.finds_step_size:
            raise ValueError(f"eta0: expected 'auto' or a number, got {model.eta0!r}")
        eta0 = 1.0 if self.finds_step_size else validation.as_non_negative("eta0", model.eta0)
        if eta0 == 0:
            raise ValueError("eta0: expected 'auto' or a number greater than 0, got 0")
        learning_rate = model.learning_rate
        named = isinstance(learning_rate, str) and learning_rate in schedules.NAMES
        if not callable(learning_rate) and not named:
            raise ValueError(
                f"learning_rate: expected one of {', '.join(schedules.NAMES)} or a callable, "
                f"got {learning_rate!r}"
            )
        power_t = validation.as_non_negative("power_t", model.power_t)
        self.schedule = Schedule(learning_rate, eta0, power_t)

    def check_rule_for(self, matrix: NDArray[Any] | SparseRows) -> None:
        """Raise if `matrix` is sparse and the rule is another than plain SGD."""
        if not isinstance(matrix, SparseRows):
            return
        for name in ("momentum", "nesterov"):
            value = getattr(self.rule, name)
            if value:
                raise ValueError(
                    f"{name}: expected {type(value)()} for a sparse X, which is trained on by plain "
                    f"SGD alone, got {value}"
                )

    def find_step_size(
        self,
        matrix: NDArray[Any] | SparseRows,
        units: Standardization | None,
        known: float | None = None,
    ) -> None:
        """Where `eta0` is "auto", take it from the data, or what an earlier call has found."""
        if self.finds_step_size:
            found = known or step_size(
                matrix, self.sampling.batch_size, units, self.fit_intercept, self.rule.l2
            )
            self.schedule = self.schedule._replace(eta0=max(found, np.finfo(np.float64).tiny))

    def initial_state(self, n_classes: int, matrix: NDArray[Any] | SparseRows) -> State:
        """Weights and velocities of zeros."""
        dtype = _dtype_of(matrix)
        coef = np.zeros((n_classes, matrix.shape[1]), dtype)
        intercept = np.zeros(n_classes, dtype) if self.fit_intercept else None
        return self._with_velocities(coef, intercept, None, None)

    def standardization_of(
        self, matrix: NDArray[Any] | SparseRows, known: Standardization | None = None
    ) -> Standardization | None:
        """What is known already, else of this matrix; None where it is not asked for."""
        if not self.standardize:
            return None
        dtype = _dtype_of(matrix)
        units = known or standardization.of_columns(self.backend, matrix, dtype, self.n_threads)
        if isinstance(matrix, SparseRows) and units.is_centred and self.fit_intercept:
            raise ValueError(
                "X: expected a dense X, got a sparse one: standardize=True goes on with the means of the "
                "dense X that came first, and with these subtracted no zero would be left. Where a sparse "
                "X comes first, features are scaled only"
            )
        return units

    def state_of(self, model: Any, units: Standardization | None) -> State:
        """A copy of the fitted model's weights and velocities, the weights in the units of training."""
        coef, intercept = parameters_of(model)
        # A velocity in other units than the weights will have is none.
        kept_velocity = (
            model._velocity if (model.scale_ is None) == (units is None) else (None, None)
        )
        velocities = [
            None if velocity is None else velocity.astype(coef.dtype) for velocity in kept_velocity
        ]
        kept = intercept if self.fit_intercept else None
        if units is not None:
            coef, kept = units.to_standardized(coef, kept)
        return copy_of(self._with_velocities(coef, kept, *velocities))

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

    def run_epoch(
        self,
        matrix: NDArray[Any] | SparseRows,
        targets: NDArray[Any],
        state: State,
        first_step: int,
        random: np.random.Generator,
        units: Standardization | None,
    ) -> float:
        return run_epoch(
            self.backend,
            matrix,
            targets,
            state,
            self.rule,
            self.sampling,
            self.schedule,
            first_step,
            random,
            self.n_threads,
            units,
        )


def _dtype_of(matrix: NDArray[Any] | SparseRows) -> np.dtype[Any]:
    """The dtype to train in: float32 holds every pixel exactly, and is as fast again."""
    if matrix.dtype == np.uint8:
        return np.dtype(np.float32)
    return validation.compute_dtype(matrix.dtype)


def _strengths(model: Any) -> tuple[float, float]:
    """Penalty, alpha and l1_ratio as l2 and l1 of l2 * sum(w**2) + l1 * sum(|w|)."""
    alpha = validation.as_non_negative("alpha", model.alpha)
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


def parameters_of(model: Any) -> tuple[FloatArray, FloatArray]:
    """The weights and the intercept of a fitted model, which the user may have replaced, checked."""
    shape = (len(model.classes_), model.n_features_in_)
    coef = validation.as_array("coef_", model.coef_)
    dtype = validation.compute_dtype(coef.dtype)
    arrays = []
    for name, array, expected in (
        ("coef_", coef, shape),
        ("intercept_", validation.as_array("intercept_", model.intercept_), shape[:1]),
    ):
        if array.shape != expected:
            raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")
        arrays.append(validation.as_native(array, dtype))
        validation.check_finite(name, arrays[-1])
    return arrays[0], arrays[1]


def _verbosity(verbose: Any) -> int:
    return validation.as_integer(
        "verbose", int(verbose) if isinstance(verbose, bool) else verbose, 0
    )


def n_threads_of(n_jobs: int | None) -> int:
    """scikit-learn's n_jobs as a number of threads."""
    return resolve_n_threads(None if n_jobs == -1 else n_jobs, "n_jobs")


def generator_of(random_state: Any) -> np.random.Generator:
    """Return a generator of the model's own, seeded by `random_state`."""
    seed = random_state
    if isinstance(random_state, np.random.Generator):
        seed = int(random_state.integers(1 << 63))
    elif isinstance(random_state, np.random.RandomState):
        seed = int(random_state.randint(1 << 31))
    elif random_state is not None:
        seed = validation.as_integer("random_state", random_state, 0)
    return np.random.default_rng(seed)
