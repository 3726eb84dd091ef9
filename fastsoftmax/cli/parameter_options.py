"""The options of `train` and `search` that are parameters of the classifier, read from their rows."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ..classifier.parameters import PARAMETERS, Option, Parameter
from . import options
from .errors import CommandError

# The rows whose parameters each command takes as options.
TRAIN = tuple(row for row in PARAMETERS if row.option is not None)
SEARCH = tuple(row for row in TRAIN if row.in_search)
_GROUPS = ("steps", "objective", "when it ends", "the run")
# Options that have an effect with some penalties only.
_OF_PENALTIES = {
    **dict.fromkeys(("alpha", "regs"), ("l2", "l1", "elasticnet")),
    "l1-ratio": ("elasticnet",),
}
_TYPES: dict[str, Any] = {
    "integer from 0": options.seed,
    "integer from 1": options.positive_integer,
    "number from 0": options.non_negative_number,
    "number above 0": options.positive_number,
}


def parameters_of(arguments: argparse.Namespace, rows: Sequence[Parameter]) -> dict[str, Any]:
    """Return the classifier's parameters that were given as options.

    An option that was not given is None in the parsed arguments. Its parameter then keeps the classifier's
    default or, with --warm-start-from, the value of that model.
    """
    given = {}
    for row in rows:
        value = getattr(arguments, row.option_name)
        if value is not None and row.option is not None:
            words = row.option.words or {}
            given[row.name] = words.get(value, value) if isinstance(value, str) else value
    return given


def check_penalty(penalty: str | None, given: Mapping[str, object]) -> None:
    """Raise if an option has a value, which is in `given`, but no effect with this penalty."""
    for option, penalties in _OF_PENALTIES.items():
        if given.get(option) is not None and penalty not in penalties:
            raise CommandError(
                f"argument --{option}: has no effect with --penalty {penalty or 'none'}, "
                f"only with {' or '.join(penalties)}"
            )


def add_arguments(parser: argparse.ArgumentParser, rows: Sequence[Parameter]) -> dict[str, Any]:
    """Declare the options of these rows, and return the groups that `--help` shows them in, by title."""
    groups = {title: parser.add_argument_group(title) for title in _GROUPS}
    for row in rows:
        if row.option is not None:
            name = row.option_name.replace("_", "-")
            groups[row.option.group].add_argument(f"--{name}", **_argument(row.option))
    return groups


def _argument(option: Option) -> dict[str, Any]:
    """Return the keywords of argparse's `add_argument` for an option."""
    if option.kind == "flag":
        return {"action": argparse.BooleanOptionalAction, "help": option.help}
    if not option.kind:
        return {"choices": tuple(option.words or ()), "help": option.help}
    read = _TYPES[option.kind]
    for word in option.words or ():
        read = options.or_word(word, read)
    return {"type": read, "metavar": option.metavar, "help": option.help}
