"""`fastsoftmax search`: grid search over learning rates and strengths of the penalty."""

import argparse
import json
import warnings
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .. import plotting
from .._optional import why_missing
from ..classifier.grid_search import AUTOMATIC_FACTORS, DEFAULT_REGS, SearchResult, search
from ..classifier.parameters import config_of
from ..datasets import Samples
from ..exceptions import DivergenceError
from ..profiling.provenance import provenance
from . import data, files, machine, models, options, parameter_options, validation_data
from .error_translation import as_command_error, ended_at_max_iter
from .errors import FAILED, CommandError
from .numbers import count, duration
from .tables import lines_of, print_note, print_pairs

DESCRIPTION = """\
Train a softmax classifier on DATA for every learning rate and every strength of the
penalty, all on the same minibatches in the same order, and compare them on held-out
samples. On the compiled backend they are trained together, over one reading of the
data. Each training run is that of `train` with --eta0 and --alpha; the defaults of
`train` are among the defaults.
"""
USAGE = "fastsoftmax search DATA [options]"
EXAMPLES = """\
examples:
  fastsoftmax search flowers.csv --target species --standardize
        5 learning rates and 4 penalties, and a table of the results
  fastsoftmax search images.npy --target labels.npy --learning-rates 1e-8,1e-7,1e-6
        --regs 0,1e-4,1e-2 --epochs 30 --plot search.png
        your own grid, and a heat map
  fastsoftmax search digits.npz --standardize --model best.npz
        the best model, saved: fastsoftmax evaluate --model best.npz DATA
  fastsoftmax search train.csv --validation dev.csv --json search.json
        scored on a separate file, and all numbers for a program
"""
_AUTO = "auto"
_SHARE = 0.2
_MAX_ROWS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "data",
        type=Path,
        metavar="DATA",
        help="a file or folder with samples and their labels; - for standard input",
    )
    add("--model", type=Path, metavar="FILE", help="where to save the best model")
    add("--force", action="store_true", help="replace an existing model file")
    add("--plot", type=Path, metavar="FILE", help="save a heat map (needs matplotlib)")
    add("--json", metavar="FILE", help="save all numbers; - for standard output, and no table")
    data.add_arguments(parser)
    grid = parser.add_argument_group("the grid").add_argument
    factors = ", ".join(f"{factor:g}" for factor in AUTOMATIC_FACTORS)
    grid(
        "--learning-rates",
        type=_rates,
        default=_AUTO,
        metavar="A,B,...",
        help="first step sizes, which are not scaled by the data, like --eta0 of `train` (default: auto, "
        f"{factors} times the one that `train` computes from the data)",
    )
    grid(
        "--regs",
        type=_numbers,
        metavar="A,B,...",
        help="strengths of the penalty, like --alpha of `train`; the lecture's reg is half of it "
        f"(default: {','.join(f'{reg:g}' for reg in DEFAULT_REGS)})",
    )
    validation_data.add_arguments(
        parser,
        "validation: the samples that models are compared on",
        f"hold out this share of DATA, stratified by class (default: {_SHARE:g})",
    )
    parameter_options.add_arguments(parser, parameter_options.SEARCH)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    load = machine.load()  # first, as this run will add its own
    _check(arguments)
    samples = data.load(arguments.data, arguments)
    others = None
    if arguments.validation is not None:
        others = validation_data.load(arguments, samples)
    begun = perf_counter()
    found, notes = _search(arguments, samples, others)
    seconds = perf_counter() - begun
    model = found.best_model
    if samples.feature_names is not None:
        model.feature_names_in_ = np.array(samples.feature_names, object)
    # These belong to this run, not to the model.
    model.set_params(progress_bar=False, n_jobs=None)
    record = {**provenance(load), **_record(arguments, samples, found, seconds)}
    saved, failed = _save(arguments, found, record)
    if arguments.json != "-":
        n_classes, n_models = len(model.classes_), found.scores.size
        epochs = f"up to {count(config_of(model).max_iter, 'epoch')} each"
        print_pairs(
            [
                ("data", f"{arguments.data}: {data.describe(samples)}, {n_classes} classes"),
                ("validation", _scored_on(arguments, others)),
                ("training", f"{count(n_models, 'model')}, {epochs}, {duration(seconds)}"),
            ]
        )
        _print_table(found)
        for note in notes:
            print_note(note)
        if saved:
            print()
            print_pairs(saved)
    if failed is not None:
        raise failed
    return 0


def _search(
    arguments: argparse.Namespace, samples: Samples, others: Samples | None
) -> tuple[SearchResult, list[str]]:
    """Train, and return the results and notes on them."""
    validation: Any = arguments.validation_fraction or _SHARE
    sources = {"X": arguments.data, "y": arguments.data}
    if others is not None:
        validation, sources["validation"] = (others.X, others.y), arguments.validation
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = search(
                samples.X,
                samples.y,
                learning_rates=arguments.learning_rates,
                regs=_regs(arguments),
                validation=validation,
                # No bar was requested: without rich there is none.
                progress_bar=why_missing("rich.progress") is None,
                **{"random_state": 0} | _parameters_of(arguments),
            )
    except DivergenceError as error:
        raise CommandError(str(as_command_error(error)), FAILED) from None
    except (ValueError, TypeError, MemoryError) as error:
        raise as_command_error(error, sources) from None
    return found, [_note(found, warning) for warning in caught]


def _note(found: SearchResult, warning: warnings.WarningMessage) -> str:
    if not ended_at_max_iter(warning):
        return str(warning.message)
    epochs = count(found.best_model.n_iter_, "epoch")
    return f"The best model had not converged after {epochs}: more --epochs may improve it."


def _regs(arguments: argparse.Namespace) -> list[float]:
    if arguments.regs is not None:
        return list(arguments.regs)
    return [0.0] if arguments.penalty == "none" else list(DEFAULT_REGS)


def _parameters_of(arguments: argparse.Namespace) -> dict[str, Any]:
    return parameter_options.parameters_of(arguments, parameter_options.SEARCH)


def _scored_on(arguments: argparse.Namespace, others: Samples | None) -> str:
    if others is not None:
        return f"{arguments.validation}: {count(others.X.shape[0], 'sample')}"
    return f"{100 * (arguments.validation_fraction or _SHARE):g} % of DATA, held out"


def _check(arguments: argparse.Namespace) -> None:
    """Check the arguments before training."""
    models.check_backend(arguments.backend or "auto")
    validation_data.check(arguments)
    penalty = _parameters_of(arguments).get("penalty", "l2")
    given = {"regs": arguments.regs, "l1-ratio": arguments.l1_ratio}
    parameter_options.check_penalty(penalty, given)
    inputs = {"DATA": arguments.data, "that of --validation": arguments.validation}
    if arguments.model is not None:
        models.check_name("--model", arguments.model)
        models.check_no_clash("--model", arguments.model, inputs)
        if arguments.model.exists() and not arguments.force:
            raise CommandError(
                f"argument --model: {str(arguments.model)!r} already exists; --force replaces it"
            )
    inputs["that of --model"] = arguments.model
    models.check_no_clash("--json", arguments.json, inputs)
    if arguments.plot is not None:
        files.require_matplotlib()
        files.check_picture("--plot", arguments.plot)
        if arguments.json not in (None, "-"):
            inputs["that of --json"] = Path(arguments.json)
        models.check_no_clash("--plot", arguments.plot, inputs)


def _print_table(found: SearchResult) -> None:
    rows = [["", "learning rate", "alpha", "accuracy", "log loss", "training loss"]]
    for place, row in enumerate(found.rows()[:_MAX_ROWS]):
        diverged = np.isnan(row["score"])
        rows.append(
            [
                "best" if place == 0 else "",
                "-" if np.isnan(row["learning_rate"]) else f"{row['learning_rate']:.4g}",
                f"{row['reg']:.4g}",
                "diverged" if diverged else f"{100 * row['score']:.2f} %",
                "-" if diverged else f"{row['validation_loss']:.4f}",
                "-" if diverged else f"{row['loss']:.4f}",
            ]
        )
    print("", *lines_of(rows), sep="\n")
    left = found.scores.size - _MAX_ROWS
    if left > 0:
        print(f"and {left} more")
    print_note(
        "Accuracy and log loss are those of the validation samples; among equal accuracies "
        "the smallest log loss is the best. The training loss includes the penalty."
    )
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
            f"The best model is at the edge of {' and of '.join(at_edge)}: values beyond it may be better."
        )


def _record(
    arguments: argparse.Namespace, samples: Samples, found: SearchResult, seconds: float
) -> dict[str, Any]:
    """Return the results in the types of JSON."""
    n_samples, n_features = samples.X.shape
    rows = [
        {name: None if np.isnan(number) else number for name, number in row.items()}
        for row in found.rows()
    ]
    validation = arguments.validation
    parameters = found.best_model.get_params()
    # Those of the machine and of the random numbers have names of their own.
    names = {row.name for row in parameter_options.SEARCH} - {"n_jobs", "random_state"}
    return {
        "settings": {
            "data": str(arguments.data),
            "n_samples": n_samples,
            "n_features": n_features,
            "n_classes": len(found.best_model.classes_),
            "dtype": str(samples.X.dtype),
            "validation": str(validation) if validation else None,
            "validation_fraction": None if validation else arguments.validation_fraction or _SHARE,
            **{name: parameters[name] for name in names},
            "seed": parameters["random_state"],
            "n_threads": arguments.threads or machine.threads()[0],
        },
        "learning_rates": found.learning_rates[~np.isnan(found.learning_rates)].tolist(),
        "regs": found.regs.tolist(),
        "best": rows[0],
        "results": rows,
        "seconds": seconds,
        "model": None if arguments.model is None else str(arguments.model),
    }


def _save(
    arguments: argparse.Namespace, found: SearchResult, record: dict[str, Any]
) -> tuple[list[tuple[str, str]], CommandError | None]:
    """Write the files before anything is printed; return those that were saved, and the first error.

    So neither a closed terminal or pipe nor a failure of one file prevents the others from being written.
    """
    saved, failed = [], None
    if arguments.model is not None:
        try:
            models.save(found.best_model, arguments.model)
            saved.append(("model", f"{arguments.model}, trained on all but the validation samples"))
        except CommandError as error:
            failed = error
    if arguments.plot is not None:
        try:
            files.save_picture("--plot", arguments.plot, plotting.plot_search(found))
            saved.append(("picture", str(arguments.plot)))
        except CommandError as error:
            failed = failed or error
    if arguments.json is not None:
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        try:
            files.write_text("--json", arguments.json, text)
            saved.append(("numbers", str(arguments.json)))
        except CommandError as error:
            failed = failed or error
    return saved, failed


def _rates(text: str) -> list[float] | str:
    """Return the numbers, greater than 0, of a comma-separated list, or "auto"."""
    if text == _AUTO:
        return text
    return [options.positive_number(part) for part in text.split(",")]


def _numbers(text: str) -> list[float]:
    """Return the numbers of a comma-separated list."""
    return [options.non_negative_number(part) for part in text.split(",")]
