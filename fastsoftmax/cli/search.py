"""`fastsoftmax search`: every learning rate with every penalty, side by side."""

import argparse
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..backends import NAMES
from ..exceptions import DivergenceError
from ..searching import SearchResult, search
from . import data, files, models, options
from .blame import as_command_error
from .errors import FAILED, CommandError
from .numbers import count, duration
from .tables import lines_of, print_note, print_pairs

DESCRIPTION = """\
Train a softmax classifier on DATA for every learning rate and every strength of the
penalty, all on the same minibatches in the same order, and compare them on samples
that are held out. On the compiled backend they are trained at once, over one reading
of the data.
"""
USAGE = "fastsoftmax search DATA [options]"
EXAMPLES = """\
examples:
  fastsoftmax search flowers.csv --target species --standardize
        4 learning rates and 4 penalties, and a table of what they give
  fastsoftmax search images.npy --target labels.npy --learning-rates 1e-8,1e-7,1e-6
        --regs 0,1e-4,1e-2 --epochs 30 --plot search.png
        a grid of one's own, and a heat map
  fastsoftmax search digits.npz --standardize --model best.npz
        the best model, saved: fastsoftmax evaluate --model best.npz DATA
"""
_RATES, _REGS = "0.001,0.01,0.1,1", "1e-05,0.0001,0.001,0.01"
_MOST_ROWS = 20
# Parameters of `search`, by the names of the options.
_PARAMETERS = {
    "max_iter": "epochs",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "momentum": "momentum",
    "penalty": "penalty",
    "class_weight": "class_weight",
    "n_jobs": "threads",
    "backend": "backend",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="a file or folder with samples and their labels")
    add("--model", type=Path, metavar="FILE", help="where to save the best model")
    add("--plot", type=Path, metavar="FILE", help="save a heat map (needs matplotlib)")
    add("--force", action="store_true", help="replace a model of that name")
    data.add_arguments(parser)
    grid = parser.add_argument_group("the grid").add_argument
    grid(
        "--learning-rates",
        type=_numbers,
        default=_RATES,
        metavar="A,B,...",
        help="first step sizes (default: %(default)s)",
    )
    grid(
        "--regs",
        type=_numbers,
        default=_REGS,
        metavar="A,B,...",
        help="strengths of the penalty (default: %(default)s)",
    )
    grid(
        "--validation-fraction",
        type=options.share,
        default=0.2,
        metavar="SHARE",
        help="of DATA that is held out, of every class alike (default: %(default)s)",
    )
    _add_common(parser.add_argument_group("what all have in common"))


def _add_common(group: Any) -> None:
    add = group.add_argument
    add("--epochs", type=options.positive_integer, metavar="N", help="(default: 20)")
    add("--batch-size", type=options.positive_integer, metavar="N", help="(default: 200)")
    add(
        "--learning-rate",
        choices=("constant", "invscaling", "step", "cosine"),
        help="how the step size goes on (default: constant)",
    )
    add("--momentum", type=options.non_negative_number, metavar="M", help="(default: 0)")
    add(
        "--standardize",
        action="store_true",
        help="train on features of mean 0 and deviation 1",
    )
    add("--penalty", choices=("l2", "l1", "elasticnet"), help="(default: l2)")
    add("--class-weight", choices=("balanced",), help="all classes count the same")
    add("--seed", type=options.seed, default=0, metavar="N", help="(default: %(default)s)")
    add("--threads", type=options.positive_integer, metavar="N", help="(default: all CPUs)")
    add("--backend", choices=("auto", *NAMES), help="what computes it (default: auto)")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    _check(arguments)
    samples = data.load(arguments.data, arguments)
    parameters = {
        parameter: getattr(arguments, name)
        for parameter, name in _PARAMETERS.items()
        if getattr(arguments, name) is not None
    }
    begun = perf_counter()
    try:
        found = search(
            samples.X,
            samples.y,
            learning_rates=arguments.learning_rates,
            regs=arguments.regs,
            validation=arguments.validation_fraction,
            random_state=arguments.seed,
            standardize=arguments.standardize,
            **parameters,
        )
    except DivergenceError as error:
        raise CommandError(str(as_command_error(error)), FAILED) from None
    except (ValueError, TypeError, MemoryError) as error:
        path = arguments.data
        raise as_command_error(error, {"X": path, "y": path}) from None
    seconds = perf_counter() - begun
    model = found.best_model
    if samples.feature_names is not None:
        model.feature_names_in_ = np.array(samples.feature_names, object)
    n_models = found.scores.size
    print_pairs(
        [
            ("data", f"{arguments.data}: {data.describe(samples)}, {len(model.classes_)} classes"),
            (
                "training",
                f"{count(n_models, 'model')}, {model.max_iter} epochs, {duration(seconds)}",
            ),
        ]
    )
    _print_table(found)
    _save(arguments, found)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Find out before the training that something is wrong with the arguments."""
    models.check_backend(arguments.backend or "auto")
    if 0 in arguments.learning_rates:
        raise CommandError("argument --learning-rates: expected numbers greater than 0, got 0")
    if arguments.model is not None:
        models.check_name("--model", arguments.model)
        models.check_no_clash("--model", arguments.model, {"DATA": arguments.data})
        if arguments.model.exists() and not arguments.force:
            raise CommandError(
                f"argument --model: {str(arguments.model)!r} is there already; --force replaces it"
            )
    if arguments.plot is not None:
        files.require_matplotlib()
        files.check_picture("--plot", arguments.plot)
        models.check_no_clash("--plot", arguments.plot, {"DATA": arguments.data})


def _print_table(found: SearchResult) -> None:
    rows = [["", "learning rate", "penalty", "validation", "loss"]]
    for place, row in enumerate(found.rows()[:_MOST_ROWS]):
        diverged = np.isnan(row["score"])
        rows.append(
            [
                "best" if place == 0 else "",
                f"{row['learning_rate']:.4g}",
                f"{row['reg']:.4g}",
                "diverged" if diverged else f"{100 * row['score']:.2f} %",
                "-" if diverged else f"{row['loss']:.4f}",
            ]
        )
    print("", *lines_of(rows), sep="\n")
    left = found.scores.size - _MOST_ROWS
    if left > 0:
        print(f"and {left} more")
    at_edge = [
        name
        for name, best, tried in (
            ("--learning-rates", found.best_learning_rate, found.learning_rates),
            ("--regs", found.best_reg, found.regs),
        )
        if len(tried) > 2 and best in (tried.min(), tried.max())
    ]
    if at_edge:
        print_note(
            f"The best one is at the edge of {' and of '.join(at_edge)}: others beyond it may be better."
        )


def _save(arguments: argparse.Namespace, found: SearchResult) -> None:
    saved = []
    if arguments.model is not None:  # first: a picture that cannot be saved does not cost the model
        found.best_model.set_params(n_jobs=None)
        models.save(found.best_model, arguments.model)
        saved.append(("model", f"{arguments.model}, trained on all but what was held out"))
    if arguments.plot is not None:
        from .. import plotting

        files.save_picture("--plot", arguments.plot, plotting.plot_search(found))
        saved.append(("picture", str(arguments.plot)))
    if saved:
        print()
        print_pairs(saved)


def _numbers(text: str) -> list[float]:
    """Return the numbers of a list with commas."""
    return [options.non_negative_number(part) for part in text.split(",")]
