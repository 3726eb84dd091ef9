"""The parameters of the classifier: one row for each, read by all code that needs to know about them.

The constructor of `SoftmaxClassifier` repeats names and defaults, for `help()` and type checkers; a test
compares them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import schedules
from .._arrays import validation
from ..backends import NAMES, get_backend
from ..training.callbacks import callbacks_of
from ..training.config import TrainingConfig, n_threads_of, uses_subgradient

Check = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Option:
    """The option of `fastsoftmax train` and `search` that sets a parameter."""

    group: str  # the heading in `--help`
    help: str
    # "flag", "integer from 0", "integer from 1", "number from 0" or "number above 0"; empty: the words are
    # all that is accepted.
    kind: str = ""
    metavar: str | None = None
    words: Mapping[str, Any] | None = None  # each word that is accepted, and its value
    name: str = ""  # with _ for -; empty if it is the parameter's


@dataclass(frozen=True, slots=True)
class Parameter:
    """A row of the table: `check(name, value)` returns the value for `TrainingConfig`, or raises."""

    name: str
    default: Any
    check: Check
    option: Option | None = None
    # Whether it may change the weights: then a checkpoint can be resumed with the same value only.
    in_checkpoint: bool = True
    in_search: bool = True  # whether `search` takes it, for all of its models
    is_of_sgd: bool = False  # whether another solver than "sgd" takes its default alone
    default_varies: bool = False  # whether the meaning of the default may change within a process
    checked_default: Any = field(init=False)

    def __post_init__(self) -> None:
        checked = None if self.default_varies else self.check(self.name, self.default)
        object.__setattr__(self, "checked_default", checked)

    @property
    def option_name(self) -> str:
        """The name of the option among the parsed arguments; empty if there is none."""
        return "" if self.option is None else self.option.name or self.name


def config_of(model: Any) -> TrainingConfig:
    """Return the checked configuration of a classifier's training.

    Raises
    ------
    ValueError, TypeError, ImportError
        If a parameter is not as described, or the backend is not available; the message names it.
    """
    values = {}
    for row in PARAMETERS:
        value = getattr(model, row.name)
        # Most parameters have their default, whose check was made when this module was imported.
        is_default = type(value) is type(row.default) and value == row.default
        if is_default and not row.default_varies:
            values[row.name] = row.checked_default
        else:
            values[row.name] = row.check(row.name, value)
    if values["solver"] != "sgd":
        for row in PARAMETERS:
            if row.is_of_sgd and values[row.name] != row.checked_default:
                raise ValueError(
                    f"{row.name}: expected its default, {row.default!r}, with solver={values['solver']!r}, "
                    f"which does not use it; got {validation.shown(getattr(model, row.name))}"
                )
    return TrainingConfig.of(values)


def checkpoint_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that may change the weights; `verbose`, for example, does not."""
    return {
        name: value
        for name, value in values.items()
        if name not in BY_NAME or BY_NAME[name].in_checkpoint  # subclasses may add parameters
    }


def takes_sparse(model: Any) -> bool:
    """Return whether the model's parameters allow a sparse X."""
    try:
        config_of(model).for_rows(is_sparse=True)
    except (ValueError, TypeError, ImportError):
        return False
    return True


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {validation.shown(value)}")
    return bool(value)


def _positive_integer(name: str, value: Any) -> int:
    return validation.as_integer(name, value, 1)


def _share(name: str, value: Any) -> float:
    number = validation.as_non_negative(name, value)
    if number > 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {validation.shown(value)}")
    return number


def _or_none(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def _unchecked(name: str, value: Any) -> Any:
    return value


def _penalty(name: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value in ("l2", "l1", "elasticnet")):
        return value
    raise (ValueError if isinstance(value, str) else TypeError)(
        f"{name}: expected 'l2', 'l1', 'elasticnet' or None, got {validation.shown(value)}"
    )


def _solver(name: str, value: Any) -> str:
    if isinstance(value, str) and value in SOLVERS:
        return value
    raise (ValueError if isinstance(value, str) else TypeError)(
        f"{name}: expected {' or '.join(map(repr, SOLVERS))}, got {validation.shown(value)}"
    )


def _shuffle(name: str, value: Any) -> bool | str:
    if isinstance(value, str) and value == "blocks":
        return value
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True, False or 'blocks', got {validation.shown(value)}")
    return bool(value)


def _learning_rate(name: str, value: Any) -> Any:
    if callable(value) or (isinstance(value, str) and value in _LEARNING_RATES):
        return value
    raise ValueError(
        f"{name}: expected one of {', '.join(_LEARNING_RATES)} or a callable, got {validation.shown(value)}"
    )


def _eta0(name: str, value: Any) -> float | str:
    if isinstance(value, str):
        if value == "auto":
            return value
        raise ValueError(f"{name}: expected 'auto' or a number, got {validation.shown(value)}")
    number = validation.as_non_negative(name, value)
    if number == 0:
        raise ValueError(f"{name}: expected 'auto' or a number greater than 0, got 0")
    return number


def _alpha(name: str, value: Any) -> float | str:
    if isinstance(value, str):
        if value in ("auto", "size"):
            return value
        raise ValueError(
            f"{name}: expected 'auto', 'size' or a number, got {validation.shown(value)}"
        )
    return validation.as_non_negative(name, value)


def _max_iter(name: str, value: Any) -> int | str:
    if isinstance(value, str) and value == "auto":
        return value
    return validation.as_integer(name, value, 1, "'auto' or an integer of at least 1")


def _momentum(name: str, value: Any) -> float | str:
    if isinstance(value, str):
        if value == "auto":
            return value
        raise ValueError(f"{name}: expected 'auto' or a number, got {validation.shown(value)}")
    number = validation.as_non_negative(name, value)
    if number >= 1:
        raise ValueError(
            f"{name}: expected 0 or more and less than 1, got {validation.shown(value)}"
        )
    return number


def _averaged_from(name: str, value: Any) -> int | None:
    """Return the first sample whose step is averaged, counted from 0; None for no averaging."""
    if isinstance(value, bool | np.bool_):
        return 0 if value else None
    accepted = "True, False or a number of samples of at least 1"
    return validation.as_integer(name, value, 1, accepted) - 1


def _fraction(name: str, value: Any) -> float:
    number = validation.as_non_negative(name, value)
    if not 0 < number < 1:
        raise ValueError(
            f"{name}: expected a number between 0 and 1, got {validation.shown(value)}"
        )
    return number


def _verbosity(name: str, value: Any) -> int:
    is_flag = isinstance(value, bool | np.bool_)
    return validation.as_integer(name, int(value) if is_flag else value, 0)


def _words(*words: str) -> Mapping[str, Any]:
    return MappingProxyType({word: None if word == "none" else word for word in words})


_LEARNING_RATES = ("auto", *schedules.NAMES)
_SHUFFLES = MappingProxyType({"yes": True, "blocks": "blocks", "no": False})

SOLVERS = ("sgd", "lbfgs")

PARAMETERS = (
    Parameter(
        "backend",
        "auto",
        lambda name, value: get_backend(value),  # noqa: ARG005 - its messages begin with the name
        Option("the run", "backend (default: auto)", words=_words("auto", *NAMES)),
        default_varies=True,
    ),
    Parameter(
        "solver",
        "sgd",
        _solver,
        Option(
            "the run",
            "sgd: steps on minibatches; lbfgs: iterations to the minimum (default: sgd)",
            words=_words(*SOLVERS),
        ),
    ),
    Parameter(
        "penalty",
        "l2",
        _penalty,
        Option(
            "objective",
            "penalty of the weights (default: l2)",
            words=_words("l2", "l1", "elasticnet", "none"),
        ),
    ),
    Parameter(
        "alpha",
        "size",
        _alpha,
        Option(
            "objective",
            "strength of the penalty; auto: the best on held-out samples; size: from the size of DATA with "
            "--standardize, else 0.0001 (default: size)",
            *("number from 0", "A", _words("auto", "size")),
        ),
        in_search=False,
    ),
    Parameter(
        "l1_ratio",
        0.15,
        _or_none(_share),
        Option(
            "objective",
            "share of L1 in elasticnet, from 0 to 1 (default: 0.15)",
            *("number from 0", "R"),
        ),
    ),
    Parameter("l1_step", "proximal", lambda name, value: uses_subgradient(value), is_of_sgd=True),  # noqa: ARG005
    Parameter(
        "class_weight",
        None,
        _unchecked,
        Option(
            "objective",
            "balanced: give all classes the same total weight (default: none)",
            words=_words("balanced", "none"),
        ),
    ),
    Parameter(
        "label_smoothing",
        0.0,
        _share,
        Option(
            "objective",
            "share of every target that is spread evenly over the classes (default: 0)",
            *("number from 0", "E"),
        ),
    ),
    Parameter(
        "fit_intercept",
        True,
        _flag,
        Option("objective", "learn an intercept (default: yes)", "flag", name="intercept"),
    ),
    Parameter(
        "standardize",
        False,
        _flag,
        Option(
            "steps",
            "train on features of mean 0 and standard deviation 1; the model takes raw features",
            "flag",
        ),
    ),
    Parameter(
        "max_iter",
        "auto",
        _max_iter,
        Option(
            "when it ends",
            "maximum number of epochs; auto: with --learning-rate auto 10 to 30, else 200 (default: auto)",
            *("integer from 1", "N", _words("auto")),
            name="epochs",
        ),
    ),
    Parameter(
        "tol",
        1e-4,
        _or_none(validation.as_non_negative),
        Option(
            "when it ends",
            "stop when the loss has not fallen by T of its fall so far for 5 epochs; none: never; unused "
            "while --learning-rate leads to 0 (default: 0.0001)",
            *("number above 0", "T", _words("none")),
        ),
    ),
    Parameter("n_iter_no_change", 5, _positive_integer, is_of_sgd=True),
    Parameter(
        "batch_size",
        64,
        _positive_integer,
        Option("steps", "samples per minibatch (default: 64)", "integer from 1", "N"),
        is_of_sgd=True,
    ),
    Parameter(
        "shuffle",
        True,
        _shuffle,
        Option(
            "steps",
            "draw a new order of the samples for each epoch; blocks: for files larger than memory "
            "(default: yes)",
            words=_SHUFFLES,
        ),
        is_of_sgd=True,
    ),
    Parameter("replacement", False, _flag, is_of_sgd=True),
    Parameter(
        "learning_rate",
        "auto",
        _learning_rate,
        Option(
            "steps",
            "schedule of the step size; auto: linear, to 0 at the last epoch (default: auto)",
            words=_words(*_LEARNING_RATES),
        ),
        is_of_sgd=True,
    ),
    Parameter(
        "eta0",
        "auto",
        _eta0,
        Option(
            "steps",
            "first step size; auto: computed from the data (default: auto)",
            *("number above 0", "RATE", _words("auto")),
        ),
        in_search=False,
        is_of_sgd=True,
    ),
    Parameter("power_t", 0.5, validation.as_non_negative, is_of_sgd=True),
    Parameter("step_every", 30, _positive_integer, is_of_sgd=True),
    Parameter("step_factor", 0.1, validation.as_non_negative, is_of_sgd=True),
    Parameter(
        "warmup_epochs",
        0.0,
        validation.as_non_negative,
        Option(
            "steps",
            "epochs in which the step size rises to its first value (default: 0)",
            *("number from 0", "N"),
        ),
        is_of_sgd=True,
    ),
    Parameter(
        "momentum",
        "auto",
        _momentum,
        Option(
            "steps",
            "from 0 to less than 1; auto: 0.9 with --learning-rate auto, else 0 (default: auto)",
            *("number from 0", "M", _words("auto")),
        ),
        is_of_sgd=True,
    ),
    Parameter(
        "nesterov", False, _flag, Option("steps", "use Nesterov's momentum", "flag"), is_of_sgd=True
    ),
    Parameter(
        "average",
        False,
        _averaged_from,
        Option("steps", "save the mean of the weights over all steps", "flag"),
        in_search=False,
        is_of_sgd=True,
    ),
    Parameter(
        "early_stopping",
        False,
        _flag,
        Option(
            "when it ends",
            "hold out a share of DATA, stop by the accuracy on it, and keep the best epoch",
            "flag",
        ),
        in_search=False,
        is_of_sgd=True,
    ),
    Parameter("validation_fraction", 0.1, _fraction, in_search=False, is_of_sgd=True),
    Parameter("warm_start", False, _flag, in_search=False),
    Parameter(
        "random_state",
        None,
        _unchecked,
        Option(
            "the run",
            "seed of the order of the samples (default: 0)",
            *("integer from 0", "N"),
            name="seed",
        ),
    ),
    Parameter(
        "n_jobs",
        None,
        lambda name, value: n_threads_of(value),  # noqa: ARG005 - its messages begin with the name
        Option(
            "the run",
            "number of threads (default: see `fastsoftmax info`)",
            *("integer from 1", "N"),
            name="threads",
        ),
        in_checkpoint=False,
        default_varies=True,
    ),
    Parameter("verbose", 0, _verbosity, in_checkpoint=False),
    Parameter("progress_bar", False, _flag, in_checkpoint=False),
    Parameter(
        "callbacks",
        None,
        lambda name, value: callbacks_of(value),  # noqa: ARG005 - its messages begin with the name
        in_checkpoint=False,
        in_search=False,
    ),
)
BY_NAME = MappingProxyType({row.name: row for row in PARAMETERS})
