"""`fastsoftmax plot`: pictures of a model file."""

import argparse
from math import isqrt
from pathlib import Path

from .. import plotting
from ..classifier.classifier import SoftmaxClassifier
from ..datasets import Samples
from . import data, evaluate, files, models, options
from .error_translation import as_command_error
from .errors import FAILED, CommandError

DESCRIPTION = """\
Draw a picture of a model file: the training loss of every epoch, the weights of each
class as an image, or the confusion matrix or the reliability diagram on DATA.
"""
USAGE = "fastsoftmax plot --model FILE WHAT [DATA] [options]"
EXAMPLES = """\
examples:
  fastsoftmax plot --model digits.npz loss
        the loss curve, in fastsoftmax-loss.png
  fastsoftmax plot --model digits.npz weights --image-shape 8x8 --output weights.svg
        what the model looks for in an image of each class
  fastsoftmax plot --model digits.npz confusion test.npz --normalize
        the confusion matrix, as shares of the true class
  fastsoftmax plot --model digits.npz reliability test.npz
        how often predictions of which confidence are right
"""
_KINDS = ("loss", "weights", "confusion", "reliability")
_OF_DATA = ("confusion", "reliability")
_COLOURS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("kind", choices=_KINDS, metavar="WHAT", help=f"one of {', '.join(_KINDS)}")
    add(
        "data",
        type=Path,
        nargs="?",
        metavar="DATA",
        help="labelled samples, for confusion and reliability; for weights optional, to give their shape "
        "and names",
    )
    models.add_arguments(parser)
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help=".png, .svg or .pdf (default: fastsoftmax-WHAT.png); an existing file is replaced",
    )
    add(
        "--image-shape",
        type=options.image_shape,
        metavar="HxW[x3]",
        help="shape of the weights as images (default: that of DATA, else a square)",
    )
    add("--normalize", action="store_true", help="draw confusion as shares of the true class")
    data.add_arguments(parser)


def take_data(arguments: argparse.Namespace, rest: list[str]) -> list[str]:
    """Take DATA from the arguments that were not parsed, and return the rest.

    After an option that follows WHAT, argparse no longer looks for an optional positional argument.
    """
    if arguments.data is None and rest and (rest[0] == "-" or not rest[0].startswith("-")):
        arguments.data, rest = Path(rest[0]), rest[1:]
    return rest


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    kind, path = arguments.kind, arguments.output or Path(f"fastsoftmax-{arguments.kind}.png")
    _check(arguments)
    files.require_matplotlib()
    inputs = {"the model": arguments.model, "DATA": arguments.data}
    models.check_no_clash("--output", path, inputs)
    files.check_picture("--output", path)
    model = models.load_to_use(arguments)
    samples = None
    if arguments.data is not None:
        needs_labels = kind in _OF_DATA
        samples = data.load_for(model, arguments.data, arguments, needs_labels)
    if kind in _OF_DATA:
        _save_evaluation(arguments, path, model, samples)
    else:
        _save_model(arguments, path, model, samples)
    print(f"Picture: {path}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    kind = arguments.kind
    if kind in _OF_DATA and arguments.data is None:
        raise CommandError(f"argument DATA: {kind} compares predictions with the labels of DATA")
    if kind == "loss" and arguments.data is not None:
        raise CommandError("argument DATA: the loss is in the model file, and needs no DATA")
    if kind != "weights" and arguments.image_shape is not None:
        raise CommandError(f"argument --image-shape: is for weights, not for {kind}")
    if kind == "loss" and arguments.class_names is not None:
        raise CommandError("argument --class-names: is for weights and confusion, not for loss")
    if kind != "confusion" and arguments.normalize:
        raise CommandError(f"argument --normalize: is for confusion, not for {kind}")


def _save_evaluation(
    arguments: argparse.Namespace, path: Path, model: SoftmaxClassifier, samples: Samples | None
) -> None:
    assert samples is not None  # ensured by `_check`
    if arguments.kind == "confusion" and samples.y.ndim == 2:
        raise CommandError(f"{arguments.data}: the labels are probabilities", FAILED)
    found = evaluate.evaluate(model, arguments.data, samples, n_resamples=0)
    if arguments.kind == "reliability":
        files.save_picture("--output", path, plotting.plot_reliability(found))
    else:
        names = data.class_names(model.classes_, samples, arguments.class_names)
        evaluate.save_confusion("--output", path, found, names, arguments.normalize)


def _save_model(
    arguments: argparse.Namespace, path: Path, model: SoftmaxClassifier, samples: Samples | None
) -> None:
    try:
        if arguments.kind == "loss":
            figure = plotting.plot_loss_curve(model)
        else:
            shape = arguments.image_shape or _image_shape(model, samples)
            names = data.class_names(model.classes_, samples, arguments.class_names)
            figure = plotting.plot_weights(model, shape, names)
    except (ValueError, TypeError) as error:
        raise as_command_error(error, {"model": arguments.model}) from None
    files.save_picture("--output", path, figure)


def _image_shape(model: SoftmaxClassifier, samples: Samples | None) -> tuple[int, ...]:
    """Return the image shape of DATA, else a square, grey or in colours, with as many features."""
    if samples is not None and samples.image_shape is not None:
        return samples.image_shape
    n_features = model.n_features_in_
    for channels in ((), (_COLOURS,)):
        side = isqrt(n_features // (channels[0] if channels else 1))
        if side * side * (channels[0] if channels else 1) == n_features:
            return (side, side, *channels)
    raise CommandError(
        f"argument --image-shape: needed, as no square image has {n_features} features: "
        "height x width, or height x width x 3, such as 32x32x3"
    )
