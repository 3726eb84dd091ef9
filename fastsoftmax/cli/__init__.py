"""The command `fastsoftmax`."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from .._version import __version__
from . import bench, info, profile, roofline
from .errors import FAILED, INTERRUPTED, CommandError

_DESCRIPTION = """\
Softmax regression by minibatch SGD on the CPU, by four backends that compute the
same: naive loops, numba, NumPy (vectorized) and compiled.
"""
_EXAMPLES = """\
examples:
  fastsoftmax info             what is installed, and what it runs on
  fastsoftmax bench            train on real images with every backend and compare
  fastsoftmax bench --help     its options, with more examples
  fastsoftmax profile          where the time of a training goes
"""


_MODULES: dict[str, Any] = {"bench": bench, "info": info, "profile": profile, "roofline": roofline}
_SUMMARIES = {
    "bench": "train with every backend and compare them",
    "info": "print what is installed and what it runs on",
    "profile": "say where the time of a training goes, phase by phase",
    "roofline": "measure the most that this machine can do",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(message, command=self.prog)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, by default the process's, and return its exit code.

    0 for success, 1 where something is missing or cannot be saved, 2 for bad arguments, 130 after
    Ctrl-C.
    """
    parser = _parser()
    command = parser.prog
    try:
        arguments = parser.parse_args(argv)
        if arguments.command is None:
            parser.print_help()
            return 0
        command += f" {arguments.command}"
        code: int = _MODULES[arguments.command].run(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as end:  # argparse, after --help and --version
        return int(end.code or 0)
    except CommandError as error:
        print(f"{error.command or command}: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


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
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
    return parser
