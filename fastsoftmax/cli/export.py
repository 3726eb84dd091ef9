"""`fastsoftmax export`: the predictions of a model file as an ONNX graph."""

import argparse
from pathlib import Path

from .._optional import why_missing
from . import models
from .error_translation import as_command_error
from .errors import FAILED, CommandError
from .numbers import size
from .tables import print_pairs

DESCRIPTION = """\
Write the predictions of a model as an ONNX graph, which other programs and languages
run: the input X, float32 rows of features, the outputs label and probabilities.
"""
USAGE = "fastsoftmax export --model FILE --output FILE"
EXAMPLES = """\
examples:
  fastsoftmax export --model flowers.npz --output flowers.onnx
        for onnxruntime: InferenceSession("flowers.onnx").run(None, {"X": X})
"""
_SUFFIX = ".onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="FILE", help="a model file saved by `train`")
    add(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="where to write the graph, .onnx; an existing file is replaced",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    output = arguments.output
    if output.suffix.lower() != _SUFFIX:
        raise CommandError(
            f"argument --output: expected a file name that ends in {_SUFFIX}, got {str(output)!r}"
        )
    models.check_no_clash("--output", output, {"the model": arguments.model})
    if (reason := why_missing("onnx")) is not None:
        raise CommandError(f"needs onnx, which is not available: {reason}", FAILED)
    model = models.load("--model", arguments.model)
    try:
        model.to_onnx(output)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandError(
            f"argument --output: {str(output)!r} cannot be written: {reason}", FAILED
        ) from None
    except (ValueError, TypeError, MemoryError) as error:
        message = as_command_error(error, {"classes_": f"{arguments.model}: its classes"})
        raise CommandError(str(message), FAILED) from None
    n_classes, n_features = model.coef_.shape
    label = "string" if model.classes_.dtype.kind in "UOST" else "int64"
    print_pairs(
        [
            ("input", f"X: float32 (samples, {n_features})"),
            ("outputs", f"label: {label} (samples)"),
            ("", f"probabilities: float32 (samples, {n_classes})"),
            ("graph", f"{output}: {size(output.stat().st_size)}"),
        ]
    )
    return 0
