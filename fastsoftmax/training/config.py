"""`TrainingConfig`: the checked parameters of the classifier in the terms of the training loop."""

from __future__ import annotations  # np.random, imported on first use, stands in them

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from .._arrays import validation
from .._arrays.threads import default_n_threads, resolve_n_threads
from ..backends import Backend, Rule
from ..schedules import Schedule
from .callbacks import Callback
from .epoch import Sampling

# learning_rate="auto", max_iter="auto" and alpha="size": decision 29 has the measurements.
_MOMENTUM = 0.9
_N_EPOCHS, _MIN_EPOCHS, _N_STEPS = 30, 10, 6000
_MAX_ITER = 200
_PER_FEATURE = 0.05
_MAX_ALPHA = 1.0  # weights so small that their sum is hardly a sample must not overflow
_ALPHA = 1e-4


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The configuration of a training run, which does not depend on the data."""

    backend: Backend
    solver: str
    n_threads: int
    alpha: float | None  # None if the data are to choose it
    takes_alpha_of_size: bool  # whether `alpha` stands for that of the size of the data
    penalty_of_unit: tuple[float, float]  # the rule's l2 and l1 for alpha = 1
    rule: Rule  # with alpha = 1 if that is to be chosen
    sampling: Sampling
    schedule: Schedule  # its eta0 is 1 if the step size comes from the data
    finds_step_size: bool
    has_automatic_momentum: bool
    has_automatic_rate: bool
    takes_epochs_of_size: bool  # whether `max_iter` is at most that for the size of the data
    fit_intercept: bool
    standardize: bool
    label_smoothing: float
    class_weight: Any  # checked together with the labels
    averaged_from: int | None  # the first sample whose step is averaged, counted from 0
    max_iter: int
    tol: float | None
    n_iter_no_change: int
    early_stopping: bool
    validation_fraction: float | None  # None without early_stopping
    warm_start: bool
    verbose: int
    progress_bar: bool
    callbacks: Sequence[Callback]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration for checked values of the classifier's parameters.

        Raises
        ------
        ValueError, TypeError
            If two values contradict each other.
        """
        v = values
        is_automatic, learning_rate = False, v["learning_rate"]
        if learning_rate == "auto":
            is_automatic = v["solver"] == "sgd"
            learning_rate = "linear" if is_automatic else "constant"
        momentum = v["momentum"]
        if momentum == "auto":
            momentum = _MOMENTUM if is_automatic else 0.0
        max_iter = v["max_iter"]
        if max_iter == "auto":
            max_iter = _N_EPOCHS if is_automatic else _MAX_ITER
        if v["nesterov"]:
            check_nesterov(True, momentum)
        if v["penalty"] == "elasticnet" and v["l1_ratio"] is None:
            validation.as_non_negative("l1_ratio", None)
        # As l2 and l1 of l2 * sum(w**2) + l1 * sum(|w|).
        share = {"l1": 1.0, "elasticnet": v["l1_ratio"]}.get(v["penalty"], 0.0)
        l2, l1 = 0.0 if v["penalty"] is None else (1 - share) / 2, share
        alpha = {"auto": None, "size": _ALPHA}.get(v["alpha"], v["alpha"])
        if alpha is None and v["penalty"] is None:
            raise ValueError("alpha: expected a number with penalty=None, got 'auto'")
        takes_alpha_of_size = v["alpha"] == "size" and v["penalty"] == "l2" and v["standardize"]
        eta0, early_stopping = v["eta0"], v["early_stopping"]
        derived = {
            "n_threads": v["n_jobs"],
            "alpha": alpha,
            "takes_alpha_of_size": takes_alpha_of_size,
            "penalty_of_unit": (l2, l1),
            "rule": Rule(
                l2=l2 if alpha is None else alpha * l2,
                l1=l1 if alpha is None else alpha * l1,
                momentum=momentum,
                nesterov=v["nesterov"],
                subgradient=v["l1_step"],
            ),
            "sampling": Sampling(
                batch_size=v["batch_size"], shuffle=v["shuffle"], replacement=v["replacement"]
            ),
            "schedule": Schedule(
                learning_rate=learning_rate,
                eta0=1.0 if eta0 == "auto" else eta0,
                power_t=v["power_t"],
                step_every=v["step_every"],
                step_factor=v["step_factor"],
                warmup=v["warmup_epochs"],
                n_epochs=max_iter,
            ),
            "finds_step_size": eta0 == "auto" and v["solver"] == "sgd",
            "has_automatic_momentum": v["momentum"] == "auto",
            "has_automatic_rate": is_automatic,
            "takes_epochs_of_size": is_automatic and v["max_iter"] == "auto",
            "averaged_from": v["average"],
            "max_iter": max_iter,
            "validation_fraction": v["validation_fraction"] if early_stopping else None,
        }
        # All other fields are parameters of the same names.
        return cls(**{name: v[name] for name in _FIELDS if name not in derived}, **derived)

    def with_alpha(self, alpha: float) -> Self:
        """Return the configuration with this strength of the penalty."""
        l2, l1 = self.penalty_of_unit
        rule = self.rule._replace(l2=alpha * l2, l1=alpha * l1)
        return replace(self, alpha=alpha, rule=rule, takes_alpha_of_size=False)

    def with_epochs(self, n_epochs: int) -> Self:
        """Return the configuration with this number of epochs."""
        schedule = self.schedule._replace(n_epochs=n_epochs)
        return replace(self, max_iter=n_epochs, schedule=schedule, takes_epochs_of_size=False)

    def for_size(
        self, n_samples: int, total_weight: float, n_features: int, is_sparse: bool
    ) -> Self:
        """Return the configuration with what follows from the size of the data, if it is to.

        Epochs of many steps need not be as many. Weights of standardised features that give logits of a
        certain size have a variance of about 1 / n_features; with that as the variance of their prior, the
        penalty that is best on average is proportional to n_features over the number of samples: the sum of
        their weights, so that a weight is a number of copies. Of sparse rows few features count.
        """
        config = self
        if self.takes_epochs_of_size:
            n_epochs = _N_STEPS // self.sampling.n_steps(n_samples)
            config = config.with_epochs(min(max(n_epochs, _MIN_EPOCHS), _N_EPOCHS))
        if self.takes_alpha_of_size:
            alpha = (1.0 if is_sparse else _PER_FEATURE * n_features) / total_weight
            config = config.with_alpha(min(alpha, _MAX_ALPHA))
        return config

    @property
    def reason_not_converged(self) -> str:
        """The reason, for a warning, why `fit` had not converged at `max_iter`."""
        if self.solver != "sgd":
            return "before the gap to the minimum was at most tol times the objective"
        if self.schedule.ends_at_0:
            return "while the loss was still falling"
        if self.schedule.learning_rate == "adaptive":
            return "while the learning rate was still to be lowered"
        what = "validation score" if self.early_stopping else "loss"
        return f"before the {what} went {self.n_iter_no_change} epochs without improving by tol"

    def check_sgd(self, what: str) -> None:
        """Raise unless the solver is SGD, which alone does `what`."""
        if self.solver != "sgd":
            raise ValueError(
                f"solver: expected 'sgd' for {what}, got {validation.shown(self.solver)}"
            )

    def check_alpha(self, what: str) -> None:
        """Raise if the data are to choose the strength of the penalty, which they cannot in `what`."""
        if self.alpha is None:
            raise ValueError(f"alpha: expected a number for {what}, got 'auto'")

    def for_rows(self, is_sparse: bool) -> Self:
        """Return the configuration for dense or for sparse rows, which allow no momentum with L1.

        Raises
        ------
        ValueError
            If X is sparse and the update rule that was asked for does not support sparse rows.
        """
        if not is_sparse or not self.rule.l1 or self.solver != "sgd":
            return self
        if self.rule.subgradient:
            raise ValueError("l1_step: expected 'proximal' for a sparse X, got 'subgradient'")
        if self.rule.momentum and not self.has_automatic_momentum:
            raise ValueError(
                f"momentum: expected 0 for a sparse X with an L1 penalty, got {self.rule.momentum:g}: "
                "over several steps, soft thresholding with momentum has no closed form. Use momentum with "
                "penalty='l2' or penalty=None"
            )
        return replace(self, rule=self.rule._replace(momentum=0.0, nesterov=False))

    def for_stream(self, alpha: float | None) -> Self:
        """Return the configuration for a stream, whose length is unknown, after a fit with `alpha`, if any.

        The automatic rate is constant there, without momentum, and a strength that would follow from the
        size is that of the fit.
        """
        config = self
        if config.takes_alpha_of_size:
            config = config.with_alpha(_ALPHA if alpha is None else alpha)
        if not config.has_automatic_rate:
            return config
        rule, schedule = config.rule, config.schedule._replace(learning_rate="constant")
        if config.has_automatic_momentum:
            rule = rule._replace(momentum=0.0, nesterov=False)
        return replace(config, schedule=schedule, rule=rule)


_FIELDS = tuple(each.name for each in fields(TrainingConfig))


def check_nesterov(nesterov: Any, momentum: float) -> None:
    """Raise unless `nesterov` is a flag, which is False without momentum."""
    if not isinstance(nesterov, bool | np.bool_):
        raise TypeError(f"nesterov: expected True or False, got {validation.shown(nesterov)}")
    if nesterov and not momentum:
        raise ValueError("nesterov: expected False without momentum, got True; set momentum=0.9")


def uses_subgradient(l1_step: Any) -> bool:
    """Return whether `l1_step` selects the subgradient, after a check."""
    if not isinstance(l1_step, str) or l1_step not in ("proximal", "subgradient"):
        raise ValueError(f"l1_step: expected 'proximal' or 'subgradient', got {l1_step!r}")
    return l1_step == "subgradient"


def n_threads_of(n_jobs: int | None) -> int:
    """Return scikit-learn's n_jobs as a number of threads: -1 is all, -2 all but one, and so on."""
    if n_jobs is None:
        return default_n_threads()
    if isinstance(n_jobs, int | np.integer) and not isinstance(n_jobs, bool) and n_jobs < 0:
        return max(1, default_n_threads() + 1 + int(n_jobs))
    return resolve_n_threads(n_jobs, "n_jobs")


def copy_of_generator(random: np.random.Generator) -> np.random.Generator:
    """Return a generator in the same state; for that of a model, a fifth of the time of deepcopy."""
    bits = random.bit_generator
    if type(bits) is not np.random.PCG64:
        return deepcopy(random)
    seed: Any = bits.seed_seq
    copied = np.random.PCG64(seed)
    copied.state = bits.state
    return np.random.Generator(copied)


def generator_of(random_state: Any, *, draws: bool = True) -> np.random.Generator:
    """Return a new generator for the model, seeded by `random_state`.

    The seed is drawn from a generator that is given or, with `draws=False`, from a copy of it, so that the
    next call returns the same.
    """
    if random_state is np.random:  # NumPy's global state, as in scikit-learn
        random_state = np.random.mtrand._rand
    seed = random_state
    if isinstance(random_state, np.random.Generator | np.random.RandomState):
        if not draws:
            random_state = deepcopy(random_state)
        if isinstance(random_state, np.random.Generator):
            seed = int(random_state.integers(1 << 63))
        else:
            seed = int(random_state.randint(1 << 31))
    elif random_state is not None:
        accepted = "an integer of at least 0, a Generator, a RandomState, numpy.random or None"
        seed = validation.as_integer("random_state", random_state, 0, accepted)
    return np.random.default_rng(seed)
