"""Model files on the command line."""

import argparse
import warnings
from pathlib import Path

from ..backends import NAMES
from ..classifier.classifier import SoftmaxClassifier
from ..classifier.model_files import load as load_model
from ..classifier.model_files.save_load import FORMATS
from . import files, machine, options
from .error_translation import as_command_error
from .errors import FAILED, CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the model and of its backend."""
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="FILE", help="a model file saved by `train`")
    add("--backend", choices=("auto", *NAMES), help="backend (default: the model's)")
    add(
        "--threads",
        type=options.positive_integer,
        metavar="N",
        help="number of threads (default: see `fastsoftmax info`)",
    )
    add(
        "--class-names",
        type=options.class_names,
        metavar="NAME,...",
        help="names of the classes, in the order of the labels (default: those in DATA, else the labels)",
    )


def check_name(option: str, path: Path) -> None:
    """Raise unless a model can be saved or loaded under this name."""
    if path.suffix.lower() not in FORMATS:
        raise CommandError(
            f"argument {option}: expected a file name that ends in {' or '.join(FORMATS)}, "
            f"got {str(path)!r}"
        )
    try:
        FORMATS[path.suffix.lower()].require()
    except ImportError as error:
        raise as_command_error(error) from None


def load(option: str, path: Path) -> SoftmaxClassifier:
    """Return the model of a file."""
    check_name(option, path)
    try:
        with warnings.catch_warnings():
            # The warnings are about parameters that a file cannot store, which do not affect a command.
            warnings.simplefilter("ignore", UserWarning)
            return load_model(path)
    except (OSError, ImportError, ValueError, MemoryError) as error:
        raise as_command_error(error) from None


def load_to_use(arguments: argparse.Namespace) -> SoftmaxClassifier:
    """Return the model of --model, to predict with as --backend and --threads say."""
    model = load("--model", arguments.model)
    check_backend(arguments.backend or model.backend)
    if arguments.backend is not None:
        model.set_params(backend=arguments.backend)
    model.set_params(n_jobs=arguments.threads)
    return model


def check_backend(name: str) -> None:
    """Raise unless the backend is available."""
    if name in NAMES and (reason := machine.reason_against(name)) is not None:
        raise CommandError(f"argument --backend: {name!r} is not available: {reason}")


def save(model: SoftmaxClassifier, path: Path, option: str = "--model") -> None:
    """Write a model file, atomically."""
    try:
        model.save(path)
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(
            f"argument {option}: {str(path)!r} cannot be written: {reason}", FAILED
        ) from None
    except (ValueError, TypeError, MemoryError) as error:
        reason = f"{str(path)!r} cannot be written: {as_command_error(error)}"
        raise CommandError(f"argument {option}: {reason}", FAILED) from None


def check_no_clash(option: str, path: Path | str | None, inputs: dict[str, Path | None]) -> None:
    """Raise if an output file would replace an input file."""
    if path is None or path == "-":
        return
    files.check_target(option, path)
    for name, other in inputs.items():
        if other is not None and Path(other).resolve() == Path(path).resolve():
            raise CommandError(f"argument {option}: {str(path)!r} is also {name}")
