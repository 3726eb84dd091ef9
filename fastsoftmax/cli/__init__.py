"""The command `fastsoftmax`."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from .._version import __version__
from . import (
    bench,
    calibrate,
    evaluate,
    export,
    info,
    plot,
    predict,
    profile,
    roofline,
    search,
    show,
    standard_input,
    train,
)
from .error_translation import as_command_error
from .errors import FAILED, INTERRUPTED, CommandError

_DESCRIPTION = """\
Softmax regression by minibatch SGD on the CPU: train on a data file, use the model,
and compare the four backends, which compute the same thing: naive loops, numba,
NumPy (vectorized) and compiled.
"""
_EXAMPLES = """\
examples:
  fastsoftmax train train.csv --target species --model flowers.npz
        train on a table whose column species contains the labels
  fastsoftmax evaluate --model flowers.npz test.csv --target species
        accuracy, log loss, calibration, and the confusion matrix
  fastsoftmax predict --model flowers.npz new.csv
        the labels of new samples
  fastsoftmax bench
        train on real images with every backend and compare
  fastsoftmax train --help
        its options, with more examples; likewise for every command
"""


_MODULES: dict[str, Any] = {
    "train": train,
    "predict": predict,
    "evaluate": evaluate,
    "plot": plot,
    "calibrate": calibrate,
    "export": export,
    "show": show,
    "search": search,
    "bench": bench,
    "info": info,
    "profile": profile,
    "roofline": roofline,
}
_SUMMARIES = {
    "train": "train on a data file and save the model",
    "predict": "predict the labels of new samples",
    "evaluate": "compare a model's predictions with labels",
    "plot": "draw the loss, the weights, the confusion matrix or the reliability of a model",
    "calibrate": "fit the temperature of a model's probabilities on held-out data",
    "export": "write the predictions of a model as an ONNX graph",
    "show": "print what a model file holds",
    "search": "try learning rates and penalties, and keep the best model",
    "bench": "train with every backend and compare them",
    "info": "print versions, backends and the CPU",
    "profile": "show where the time of a training run goes, phase by phase",
    "roofline": "measure the peak performance of this machine",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with a suggestion for a near miss."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        # -1,0 is a value too, as in newer versions of Python, and gets the error of its option.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        raise CommandError(message, command=self.prog)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            choices = [str(choice) for choice in action.choices or ()]
            if action.dest == "learning_rate" and _is_number(value):
                error.message += _suggestion("--lr", list(self._option_string_actions))
            else:
                error.message += _suggestion(str(value), choices)
            raise


# What others call the step size; it is `--learning-rates` for `search`.
_STEP_SIZES = ("--lr", "--learning-rate")
_OUR_STEP_SIZES = ("--eta0", "--learning-rates")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _suggestion(word: str, known: Sequence[str]) -> str:
    """Return "; did you mean train?" for trian, and nothing for a word that is like none."""
    close = difflib.get_close_matches(word, known, n=1)
    if word in _STEP_SIZES:
        close = [option for option in _OUR_STEP_SIZES if option in known]
    return f"; did you mean {close[0]}?" if close else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, by default the process's, and return its exit code.

    0 for success, 1 if something is missing or cannot be read, trained or saved, 2 for bad
    arguments, 130 after Ctrl-C.
    """
    parser = _parser()
    command = parser.prog
    try:
        arguments, rest = parser.parse_known_args(argv)
        if arguments.command == "plot":
            rest = plot.take_data(arguments, rest)
        if rest:
            hint = _suggestion(rest[0].partition("=")[0], _options_of(parser, arguments.command))
            parser.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
        if arguments.command is None:
            parser.print_help()
            return 0
        command += f" {arguments.command}"
        with standard_input.replaced(arguments):
            code: int = _MODULES[arguments.command].run(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as end:  # argparse, after --help and --version
        return int(end.code or 0)
    except CommandError as error:
        print(f"{error.command or command}: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        print(f"{command}: interrupted", *interrupt.args, sep="; ", file=sys.stderr)
        return INTERRUPTED
    except UnicodeEncodeError as error:
        character = ascii(error.object[error.start])
        print(
            f"{command}: error: {error.encoding}, the output encoding, cannot represent {character}: "
            "set PYTHONIOENCODING=utf-8",
            file=sys.stderr,
        )
        return FAILED
    except MemoryError as error:
        print(f"{command}: error: {as_command_error(error)}", file=sys.stderr)
        return FAILED
    except OSError as error:
        if error.filename is not None:
            print(f"{command}: error: {as_command_error(error)}", file=sys.stderr)
            return FAILED
        # A closed pipe means that its reader is done; a full disk is an error.
        if not isinstance(error, BrokenPipeError):
            reason = f"the output cannot be written: {error.strerror}"
            print(f"{command}: error: {reason}", file=sys.stderr)
        # Otherwise Python reports the error again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _options_of(parser: argparse.ArgumentParser, command: str | None) -> list[str]:
    """Return the options of a command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and command in action.choices:
            parser = action.choices[command]
    return [option for option in parser._option_string_actions if option.startswith("--")]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastsoftmax",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastsoftmax {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, module in _MODULES.items():
        summary = _SUMMARIES[name]
        command = commands.add_parser(
            name,
            help=summary,
            usage=getattr(
                module, "USAGE", None
            ),  # argparse's own usage would list too many options
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
    return parser
