"""The options of `fastsoftmax train` that are parameters of the classifier: the rows that have one."""

import argparse
from typing import Any

from ..classifier.parameters import PARAMETERS, Option
from . import options

_GROUPS = ("steps", "objective", "when it ends", "the run")
_TYPES: dict[str, Any] = {
    "integer from 0": options.seed,
    "integer from 1": options.positive_integer,
    "number from 0": options.non_negative_number,
}


def parameters_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the classifier's parameters that were given.

    An option that was not is None in the parsed arguments: the classifier's default, or with
    --warm-start-from what that model has.
    """
    given = {}
    for row in PARAMETERS:
        value = getattr(arguments, row.option_name) if row.option is not None else None
        if value is not None and row.option is not None:
            words = row.option.words or {}
            given[row.name] = words.get(value, value) if isinstance(value, str) else value
    return given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    groups = {title: parser.add_argument_group(title) for title in _GROUPS}
    for row in PARAMETERS:
        if row.option is not None:
            name = row.option_name.replace("_", "-")
            groups[row.option.group].add_argument(f"--{name}", **_meaning(row.option))
    groups["the run"].add_argument(
        "--verbose", action="store_true", help="print the loss of every epoch, and draw no bar"
    )


def _meaning(option: Option) -> dict[str, Any]:
    """Return how argparse is to read an option."""
    if option.kind == "flag":
        return {"action": argparse.BooleanOptionalAction, "help": option.help}
    if not option.kind:
        return {"choices": tuple(option.words or ()), "help": option.help}
    if option.kind == "number above 0":
        read = options.positive_number_or(next(iter(option.words or ())))
    else:
        read = _TYPES[option.kind]
    return {"type": read, "metavar": option.metavar, "help": option.help}
