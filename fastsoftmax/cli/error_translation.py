"""Translate the library's errors so that they name the command-line option or the file."""

import re
from collections.abc import Mapping
from warnings import WarningMessage

from ..classifier.parameters import BY_NAME
from ..datasets.files import UnreadableFile, printable
from ..exceptions import ConvergenceWarning
from .errors import FAILED, CommandError

# Options that are not parameters of the classifier, but arguments of `fit`, `search` or `datasets.load`.
_OTHERS = {
    "n_threads": "--threads",
    "validation": "--validation-fraction",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in (
            *(
                "checkpoint",
                "checkpoint_every",
                "delimiter",
                "features",
                "format",
                "header",
                "ignore",
            ),
            *(
                "image_shape",
                "learning_rates",
                "n_features",
                "regs",
                "resume",
                "split",
                "target",
                "zero_based",
            ),
            "validation_fraction",
        )
    },
}


def option_of(parameter: str) -> str | None:
    """Return the option that stands for a parameter of the library, if there is one."""
    row = BY_NAME.get(parameter)
    if row is None or row.option is None:
        return _OTHERS.get(parameter)
    return f"--{row.option_name.replace('_', '-')}"


def as_command_error(
    error: Exception, sources: Mapping[str, object] | None = None, first_row: int = 0
) -> CommandError:
    """Return the error of one line for an exception of the library.

    The library's messages begin with the name of an argument, which is replaced by that of its option.
    `sources` maps arguments such as X and y to the files that they come from, the rows of which begin with
    `first_row`.
    """
    if isinstance(error, MemoryError):
        reason = f": {error}" if str(error) else ""
        return CommandError(f"the data do not fit into memory{reason}", FAILED)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return CommandError(f"{error.filename}: {error.strerror.lower()}", FAILED)
    of_system = error.strerror if isinstance(error, OSError) else None
    text = printable(" ".join(str(of_system or error).split()))
    name, colon, rest = text.partition(": ")
    if isinstance(error, UnreadableFile | ImportError | OSError):
        if of_system and (option := option_of(name)) is not None:
            text = f"argument {option}: {rest}"
        return CommandError(_with_options(text), FAILED)
    if colon and sources is not None and name in sources:
        rest = re.sub(r"(?<=\brow )\d+", lambda row: str(first_row + int(row[0])), rest)
        return CommandError(_with_options(f"{sources[name]}: {rest}"), FAILED)
    if colon and (option := option_of(name)) is not None:
        if name == "resume":  # which lists the parameters that differ
            rest = re.sub(r"\b(\w+)(?= \(there )", lambda word: option_of(word[1]) or word[1], rest)
        return CommandError(f"argument {option}: {_with_options(rest)}")
    return CommandError(_with_options(text), FAILED)


def _with_options(text: str) -> str:
    """Name options where a message of the library advises an argument."""
    for written, option in (
        ("target= ", "--target "),
        ("ignore= ", "--ignore "),
        ("format= ", "--format "),
        ("standardize=True", "--standardize"),
        ("eta0 (", "--eta0 ("),
        (", got None", ", got none"),
        ("expected True or False, as ", "expected --header or --no-header, as "),
        ("or resume=False to start again", "or --force without --resume to start again"),
    ):
        text = text.replace(written, option)
    return text


def ended_at_max_iter(warning: WarningMessage) -> bool:
    """Return whether a warning says that a fit ended at its last epoch, which commands call `--epochs`."""
    is_of_convergence = issubclass(warning.category, ConvergenceWarning)
    return is_of_convergence and str(warning.message).startswith("fit ended at max_iter")
