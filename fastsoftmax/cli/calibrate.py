"""`fastsoftmax calibrate`: fit the temperature of a model's probabilities on held-out data."""

import argparse
from pathlib import Path

from . import data, models
from .error_translation import as_command_error
from .errors import CommandError
from .evaluate import evaluate
from .numbers import count
from .tables import print_note, print_pairs

DESCRIPTION = """\
Fit the temperature by which the logits are divided in probabilities: the one with the
smallest log loss on DATA, labelled samples that the model was not trained on. The
predicted labels do not change. The model is saved in another file.
"""
USAGE = "fastsoftmax calibrate --model FILE DATA --output FILE [options]"
EXAMPLES = """\
examples:
  fastsoftmax calibrate --model flowers.npz held-out.csv --target species \\
      --output calibrated.npz
        log loss and calibration error on the held-out samples, before and after
  fastsoftmax calibrate --model m.npz held-out.npz --output calibrated.npz --force
        replace what an earlier calibration has saved
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "data",
        type=Path,
        metavar="DATA",
        help="a file or folder with held-out samples and their labels; - for standard input",
    )
    models.add_arguments(parser)
    add(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the calibrated model, .npz or .safetensors",
    )
    add("--force", action="store_true", help="replace an existing file")
    data.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    output = arguments.output
    models.check_name("--output", output)
    models.check_no_clash(
        "--output", output, {"the model": arguments.model, "DATA": arguments.data}
    )
    if output.exists() and not arguments.force:
        raise CommandError(
            f"argument --output: {str(output)!r} already exists; --force replaces it"
        )
    calibrated = models.load("--model", arguments.model)
    model = models.load_to_use(arguments)
    samples = data.load_for(model, arguments.data, arguments)
    before = evaluate(model, arguments.data, samples, n_resamples=0)
    try:
        model.calibrate(samples.X, samples.y)
    except (ValueError, TypeError, MemoryError) as error:
        raise as_command_error(error, {"X": arguments.data, "y": arguments.data}) from None
    after = evaluate(model, arguments.data, samples, n_resamples=0)
    calibrated.temperature_ = model.temperature_
    models.save(calibrated, output, "--output")
    errors = [100 * found.expected_calibration_error for found in (before, after)]
    print_pairs(
        [
            ("data", f"{arguments.data}: {count(before.n_samples, 'sample')}"),
            ("temperature", f"{model.temperature_:.6g}"),
            ("log loss", f"{before.log_loss:.4f} before, {after.log_loss:.4f} after"),
            ("calibration error", f"{errors[0]:.2f} % before, {errors[1]:.2f} % after"),
            ("model", str(output)),
        ]
    )
    print_note(
        "The temperature is the best for these samples: other ones show what it is worth "
        "(fastsoftmax evaluate)."
    )
    return 0
