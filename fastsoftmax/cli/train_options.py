"""The options of `fastsoftmax train` that are parameters of the classifier."""

import argparse
from typing import Any

from ..backends import NAMES
from . import options

# Parameters of `SoftmaxClassifier`, by the names of the options in the parsed arguments. What is not given
# is None there: the classifier's default, or with --warm-start-from what that model has.
_PARAMETERS = {
    "max_iter": "epochs",
    "batch_size": "batch_size",
    "shuffle": "shuffle",
    "learning_rate": "learning_rate",
    "eta0": "eta0",
    "warmup_epochs": "warmup_epochs",
    "momentum": "momentum",
    "nesterov": "nesterov",
    "average": "average",
    "tol": "tol",
    "early_stopping": "early_stopping",
    "penalty": "penalty",
    "alpha": "alpha",
    "l1_ratio": "l1_ratio",
    "label_smoothing": "label_smoothing",
    "class_weight": "class_weight",
    "standardize": "standardize",
    "fit_intercept": "intercept",
    "random_state": "seed",
    "n_jobs": "threads",
    "backend": "backend",
}
_SCHEDULES = ("constant", "invscaling", "adaptive", "step", "cosine")
_NONE = "none"
_SHUFFLES: dict[str, bool | str] = {"yes": True, "blocks": "blocks", "no": False}


def parameters_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the classifier's parameters that were given."""
    given = {
        parameter: getattr(arguments, name)
        for parameter, name in _PARAMETERS.items()
        if getattr(arguments, name) is not None
    }
    for parameter in ("tol", "penalty", "class_weight"):
        if given.get(parameter) == _NONE:
            given[parameter] = None
    if "shuffle" in given:
        given["shuffle"] = _SHUFFLES[given["shuffle"]]
    return given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    _add_steps(parser.add_argument_group("steps"))
    _add_objective(parser.add_argument_group("objective"))
    _add_end(parser.add_argument_group("when it ends"))
    add = parser.add_argument_group("the run").add_argument
    add("--seed", type=options.seed, metavar="N", help="of the order of the samples (default: 0)")
    add(
        "--threads",
        type=options.positive_integer,
        metavar="N",
        help="default: as `fastsoftmax info` says",
    )
    add("--backend", choices=("auto", *NAMES), help="what computes it (default: auto)")
    add("--verbose", action="store_true", help="print the loss of every epoch, and draw no bar")


def _add_steps(group: Any) -> None:
    add, flag = group.add_argument, argparse.BooleanOptionalAction
    add(
        "--batch-size",
        type=options.positive_integer,
        metavar="N",
        help="samples of a minibatch (default: 200)",
    )
    add(
        "--shuffle",
        choices=tuple(_SHUFFLES),
        help="whether each epoch takes the samples in a new order; blocks for files larger than "
        "memory (default: yes)",
    )
    add(
        "--learning-rate",
        choices=_SCHEDULES,
        help="how the step size goes on from --eta0 (default: constant)",
    )
    add(
        "--eta0",
        type=options.positive_number_or("auto"),
        metavar="RATE",
        help="the first step size; auto is a safe one for the data (default: auto)",
    )
    add(
        "--warmup-epochs",
        type=options.non_negative_number,
        metavar="N",
        help="in which the step size rises to --eta0 (default: 0)",
    )
    add(
        "--momentum",
        type=options.non_negative_number,
        metavar="M",
        help="from 0 to less than 1; 0.9 often takes fewer epochs (default: 0)",
    )
    add("--nesterov", action=flag, help="Nesterov's momentum")
    add("--average", action=flag, help="the model is the mean of the weights of all steps")
    add(
        "--standardize",
        action=flag,
        help="train on features of mean 0 and deviation 1; the model takes them as they are",
    )


def _add_objective(group: Any) -> None:
    add = group.add_argument
    add(
        "--penalty",
        choices=("l2", "l1", "elasticnet", _NONE),
        help="on the weights (default: l2)",
    )
    add(
        "--alpha",
        type=options.non_negative_number,
        metavar="A",
        help="strength of the penalty (default: 0.0001)",
    )
    add(
        "--l1-ratio",
        type=options.non_negative_number,
        metavar="R",
        help="share of L1 in elasticnet, from 0 to 1 (default: 0.15)",
    )
    add(
        "--class-weight",
        choices=("balanced", _NONE),
        help="balanced: all classes count the same, however many samples they have",
    )
    add(
        "--label-smoothing",
        type=options.non_negative_number,
        metavar="E",
        help="share of a target that all classes get alike (default: 0)",
    )
    add(
        "--intercept",
        action=argparse.BooleanOptionalAction,
        help="whether to learn an intercept (default: yes)",
    )


def _add_end(group: Any) -> None:
    add = group.add_argument
    add("--epochs", type=options.positive_integer, metavar="N", help="at the most (default: 200)")
    add(
        "--tol",
        type=options.positive_number_or(_NONE),
        metavar="T",
        help="end when the loss has not fallen by T for 5 epochs; none: never (default: 0.0001)",
    )
    add(
        "--early-stopping",
        action=argparse.BooleanOptionalAction,
        help="hold out a share of DATA, end by the accuracy on it, and keep the best epoch",
    )
