"""The command line of the comparison with the peers."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from fastsoftmax.cli import machine
from fastsoftmax.cli.errors import FAILED, INTERRUPTED, CommandError
from fastsoftmax.cli.options import positive_integer

try:
    from . import busy, defaults, epochs, loss, memory, optimum, tables, text
    from .threads import confine
except ModuleNotFoundError as error:  # rich or threadpoolctl
    sys.exit(f'benchmarks.peers: error: needs {error.name}: pip install -e ".[peers]"')

_COMMAND = "python -m benchmarks.peers"
_EXAMPLES = """\
examples:
  make peers                                     install the peers, then: epochs
  make peers ARGS="loss"                         another command, with its options
  python -m benchmarks.peers epochs --shapes 60000x784x10x128,5000x300x20x64
  make peers ARGS="optimum --plot optimum.png"   time to the minimum, and a picture
  python -m benchmarks.peers epochs --contenders numpy,jax --threads 1 --json epochs.json
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return its exit code."""
    try:
        arguments = _parser().parse_args(argv)
        tables.check_target(arguments.json)
        if (reason := machine.reason_against("compiled")) is not None:
            raise CommandError(f"the compiled backend is what is measured: {reason}", FAILED)
        confine(arguments.threads)
        code: int = arguments.run(arguments)
        return code
    except CommandError as error:
        print(f"{_COMMAND}: error: {error}", file=sys.stderr)
        return error.exit_code
    except ImportError as error:  # the digits are in scikit-learn
        print(f"{_COMMAND}: error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"{_COMMAND}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_COMMAND,
        description="Compare fastsoftmax with NumPy, PyTorch, JAX and scikit-learn.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", required=True)

    def new_command(module: object, name: str, summary: str) -> argparse.ArgumentParser:
        options = commands.add_parser(name, help=summary, description=f"{summary}.")
        options.set_defaults(run=module.run)  # type: ignore[attr-defined]
        options.add_argument(
            "--json", metavar="FILE", help="save all numbers; - for standard output"
        )
        return options

    def command(
        module: object, name: str, summary: str, n_sizes: int, default: Mapping[str, object]
    ) -> argparse.ArgumentParser:
        options = new_command(module, name, summary)
        words = ("N", "D", "C", "BATCH") if n_sizes == 4 else ("N", "C")
        options.add_argument(
            "--shapes" if name != "busy" else "--shape",
            dest="shapes",
            type=_shapes(
                n_sizes,
                most=1 if name == "busy" else None,
                suffix=epochs.OF_BYTES if name == "epochs" else "",
            ),
            default=",".join(default),
            metavar="x".join(words) + (",..." if name != "busy" else ""),
            help="default: %(default)s",
        )
        return options

    def add_threads(options: argparse.ArgumentParser) -> None:
        options.add_argument(
            "--threads", type=positive_integer, default=2, metavar="N", help="default: %(default)s"
        )

    def add_rounds(options: argparse.ArgumentParser, default: int) -> None:
        options.add_argument(
            "--rounds",
            type=positive_integer,
            default=default,
            metavar="N",
            help="default: %(default)s",
        )

    def add_contenders(
        options: argparse.ArgumentParser, names: Sequence[str], default: Sequence[str]
    ) -> None:
        options.add_argument(
            "--contenders",
            type=_contenders(names),
            default=",".join(default),
            metavar="NAMES",
            help=f"besides fastsoftmax, out of {','.join(names)} (default: %(default)s)",
        )

    def add_epochs(options: argparse.ArgumentParser) -> None:
        options.add_argument(
            "--epochs",
            type=positive_integer,
            metavar="N",
            help="of one fit, whose time is divided by it (default: 3, with a few exceptions)",
        )

    options = command(
        epochs, "epochs", "an epoch of minibatch SGD with L2", 4, {**epochs.ROWS, text.NAME: None}
    )
    add_threads(options)
    add_rounds(options, 7)
    add_contenders(options, epochs.NAMES, epochs.NAMES)
    add_epochs(options)
    options = command(loss, "loss", "loss and gradient on logits, on one thread", 2, loss.ROWS)
    add_rounds(options, 21)
    add_contenders(options, loss.NAMES, loss.NAMES)
    options.set_defaults(threads=1)
    options = command(busy, "busy", "an epoch beside busy processes", 4, {busy.SHAPE: None})
    add_threads(options)
    add_rounds(options, 7)
    add_contenders(options, epochs.NAMES, ("numpy",))
    add_epochs(options)
    of_floats = {
        name: row for name, row in epochs.ROWS.items() if not name.endswith(epochs.OF_BYTES)
    }
    options = command(memory, "memory", "what a second fit takes over its inputs", 4, of_floats)
    add_threads(options)
    options = new_command(optimum, "optimum", "time until the objective is near its minimum")
    add_threads(options)
    add_rounds(options, 3)
    add_contenders(options, optimum.NAMES, optimum.NAMES)
    optimum.add_options(options)
    options = new_command(defaults, "defaults", "how good the defaults of solver sgd are")
    options.set_defaults(threads=2)
    defaults.add_options(options)
    return parser


def _shapes(
    n_sizes: int, most: int | None, suffix: str = ""
) -> Callable[[str], dict[str, tuple[int, ...]]]:
    """Return the type of an option: sizes by their name, "60000x784x10x128", which may have a suffix."""

    def parse(text: str) -> dict[str, tuple[int, ...]]:
        shapes = {}
        for name in text.lower().split(","):
            sizes = name.strip().removesuffix(suffix).split("x")
            if len(sizes) != n_sizes or not all(part.isdecimal() and int(part) for part in sizes):
                raise argparse.ArgumentTypeError(
                    f"expected {n_sizes} whole numbers of at least 1, with x between, got {name!r}"
                )
            shapes[name.strip()] = tuple(int(part) for part in sizes)
        if most is not None and len(shapes) > most:
            raise argparse.ArgumentTypeError(f"expected one shape, got {text!r}")
        return shapes

    return parse


def _contenders(names: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Return the type of an option: some of the names."""

    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(name.strip() for name in text.split(","))
        for name in chosen:
            if name not in names:
                raise argparse.ArgumentTypeError(
                    f"expected names out of {', '.join(names)}, got {name!r}"
                )
        return chosen

    return parse


if __name__ == "__main__":
    sys.exit(main())
