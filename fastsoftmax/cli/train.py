"""`fastsoftmax train`: from a data file to a model file."""

import argparse
import warnings
from pathlib import Path
from shlex import quote
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._optional import why_missing
from ..classifier.classifier import SoftmaxClassifier
from ..classifier.parameters import config_of
from ..datasets import Samples
from ..exceptions import DivergenceError
from ..training.holdout import hold_out
from ..training.targets import targets_of
from . import data, models, options, parameter_options, validation_data
from .error_translation import as_command_error, ended_at_max_iter
from .errors import FAILED, CommandError
from .numbers import count, duration
from .scoring import Predictions, predict
from .tables import print_note, print_pairs

DESCRIPTION = """\
Train a softmax classifier on DATA and save it: CIFAR, SVHN, MNIST (IDX), LIBSVM,
NumPy's .npy and .npz, CSV or Parquet. The model is saved when training has ended; an
existing file is replaced only with --force.
"""
USAGE = "fastsoftmax train DATA --model FILE [options]"
EXAMPLES = """\
examples:
  fastsoftmax train flowers.csv --target species --standardize --model flowers.npz
        features of different scales: --standardize
  fastsoftmax train images.npy --target labels.npy --momentum 0.9 --model m.npz
        a NumPy array of any number of dimensions, with its labels
  fastsoftmax train cifar-10-batches-py --validation cifar-10-batches-py
        --validation-split test --learning-rate cosine --epochs 50 --model c.npz
        scored on the test images at the end
  fastsoftmax train news.svm --penalty l1 --early-stopping --model news.npz
        sparse; a tenth is held out, and the best epoch on it is kept
  fastsoftmax train more.npz --warm-start-from m.npz --epochs 5 --model m2.npz
        from the weights of a model, with its parameters unless others are given
  fastsoftmax train big.npy --target y.npy --model m.npz --checkpoint state.npz
        the same command with --resume continues after Ctrl-C
"""
_CHECKPOINT_SUFFIX = ".npz"


class Task(NamedTuple):
    """The samples to train on, and the validation samples."""

    samples: Samples
    held_out: NDArray[np.bool_] | None  # mask of the rows that are not trained on
    validation: Samples | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "data",
        type=Path,
        metavar="DATA",
        help="a file or folder with samples and their labels; - for standard input",
    )
    add(
        "--model",
        type=Path,
        required=True,
        metavar="FILE",
        help="where to save it; .npz or .safetensors",
    )
    add("--force", action="store_true", help="replace an existing model file, and a checkpoint")
    add("--warm-start-from", type=Path, metavar="MODEL", help="start from this model's weights")
    data.add_arguments(parser)
    validation_data.add_arguments(
        parser,
        "validation: accuracy and loss on other samples, at the end",
        "hold out this share of DATA, stratified by class (with --early-stopping: 0.1)",
    )
    groups = parameter_options.add_arguments(parser, parameter_options.TRAIN)
    groups["the run"].add_argument(
        "--verbose",
        action="store_true",
        help="print the loss of every epoch instead of drawing a bar",
    )
    kept = parser.add_argument_group("long runs")
    kept.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="save the training state in this .npz",
    )
    kept.add_argument(
        "--checkpoint-every",
        type=options.positive_integer,
        metavar="K",
        help="save it after every K epochs",
    )
    kept.add_argument(
        "--resume", action="store_true", help="continue from the checkpoint, if there is one"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    _check(arguments)
    model = _new_model(arguments)
    task = _load(arguments, model)
    begun = perf_counter()
    notes = _fit(arguments, model, task)
    seconds = perf_counter() - begun
    if task.samples.feature_names is not None:
        model.feature_names_in_ = np.array(task.samples.feature_names, object)
    # These belong to this run, not to the model.
    model.set_params(progress_bar=False, verbose=0, warm_start=False, n_jobs=None)
    models.save(model, arguments.model)
    model.set_params(n_jobs=arguments.threads)
    data.forget_names(model)
    try:
        summary = _summary(arguments, model, task, seconds)
    except CommandError as error:  # held-out rows may not be finite
        text = f"the model is saved in {arguments.model}, but cannot be scored: {error}"
        raise CommandError(text, FAILED) from None
    print_pairs(summary)
    for note in notes:
        print_note(note)
    print(f"\nNext: fastsoftmax evaluate --model {quote(str(arguments.model))} DATA")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Check the arguments before training, not after it."""
    inputs = {"DATA": arguments.data, "that of --validation": arguments.validation}
    models.check_name("--model", arguments.model)
    models.check_no_clash("--model", arguments.model, inputs)
    if arguments.model.exists() and not arguments.force:
        raise CommandError(
            f"argument --model: {str(arguments.model)!r} already exists; --force replaces it"
        )
    validation_data.check(arguments)
    if arguments.checkpoint is None:
        for name in ("checkpoint_every", "resume"):
            if getattr(arguments, name):
                option = f"--{name.replace('_', '-')}"
                raise CommandError(f"argument {option}: needs --checkpoint FILE")
        return
    if arguments.checkpoint.suffix.lower() != _CHECKPOINT_SUFFIX:
        raise CommandError(
            f"argument --checkpoint: expected a file name that ends in {_CHECKPOINT_SUFFIX}, "
            f"got {str(arguments.checkpoint)!r}"
        )
    inputs |= {"that of --model": arguments.model, "--warm-start-from": arguments.warm_start_from}
    models.check_no_clash("--checkpoint", arguments.checkpoint, inputs)
    if arguments.checkpoint.exists() and not (arguments.resume or arguments.force):
        raise CommandError(
            f"argument --checkpoint: {str(arguments.checkpoint)!r} already exists; "
            "--resume continues from it, --force starts again"
        )


def _new_model(arguments: argparse.Namespace) -> SoftmaxClassifier:
    """Return the classifier to fit, its parameters checked."""
    parameters = parameter_options.parameters_of(arguments, parameter_options.TRAIN)
    if arguments.warm_start_from is None:
        model = SoftmaxClassifier(random_state=0)
    else:
        model = models.load("--warm-start-from", arguments.warm_start_from)
        model.warm_start = True
    model.set_params(**parameters)
    given = {"alpha": arguments.alpha, "l1-ratio": arguments.l1_ratio}
    parameter_options.check_penalty(model.penalty, given)
    if model.early_stopping and arguments.validation_fraction is not None:
        model.validation_fraction = arguments.validation_fraction
    model.verbose = int(arguments.verbose)
    # No bar was requested: without rich there is none.
    model.progress_bar = not arguments.verbose and why_missing("rich.progress") is None
    models.check_backend(model.backend)
    try:
        config_of(model)
    except (ValueError, TypeError, ImportError) as error:
        raise as_command_error(error) from None
    return model


def _load(arguments: argparse.Namespace, model: SoftmaxClassifier) -> Task:
    is_fitted = arguments.warm_start_from is not None
    if is_fitted:
        samples = data.load_for(model, arguments.data, arguments)
        data.check_labels(arguments.data, samples.y, model.classes_, model._grows)
    else:
        samples = data.load(arguments.data, arguments)
    validation = None
    if arguments.validation is not None:
        known = model.classes_ if is_fitted else None
        validation = validation_data.load(arguments, samples, known)
    held_out = None
    if arguments.validation_fraction is not None and not model.early_stopping:
        held_out = _held_out(arguments, model, samples)
    return Task(samples, held_out, validation)


def _held_out(
    arguments: argparse.Namespace, model: SoftmaxClassifier, samples: Samples
) -> NDArray[np.bool_]:
    n_samples = samples.X.shape[0]
    seed = model.random_state if isinstance(model.random_state, int) else 0
    try:
        targets = targets_of(samples.y, n_samples, np.dtype(np.float32), None, None)
        random = np.random.default_rng(seed)
        _, scored = hold_out(targets, arguments.validation_fraction, n_samples, random)
    except (ValueError, TypeError) as error:
        raise as_command_error(error, {"y": arguments.data}) from None
    mask = np.zeros(n_samples, bool)
    mask[scored] = True
    return mask


def _fit(arguments: argparse.Namespace, model: SoftmaxClassifier, task: Task) -> list[str]:
    """Train, and return notes on the result.

    Raises
    ------
    CommandError
        If training fails.
    KeyboardInterrupt
        On Ctrl-C; the message names the checkpoint to continue from, if there is one.
    """
    given: dict[str, Any] = {}
    if task.held_out is not None:
        # Features of rows of weight 0 are not read, and the others are not copied.
        given["sample_weight"] = np.where(task.held_out, 0.0, 1.0)
    if arguments.checkpoint is not None:
        given |= {"checkpoint": arguments.checkpoint, "resume": arguments.resume}
        if arguments.checkpoint_every is not None:
            given["checkpoint_every"] = arguments.checkpoint_every
    path = arguments.data
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(task.samples.X, task.samples.y, **given)
    except DivergenceError as error:
        raise CommandError(f"training diverged: {as_command_error(error)}", FAILED) from None
    except (ValueError, TypeError, OSError, MemoryError) as error:
        raise as_command_error(error, {"X": path, "y": path, "sample_weight": path}) from None
    except KeyboardInterrupt:
        if arguments.checkpoint is None or not arguments.checkpoint.exists():
            raise KeyboardInterrupt("no model is saved") from None
        raise KeyboardInterrupt(
            f"the same command with --resume continues from {arguments.checkpoint}"
        ) from None
    notes = [_note(model, task.samples, warning) for warning in caught]
    return list(dict.fromkeys(notes))


def _note(model: SoftmaxClassifier, samples: Samples, warning: warnings.WarningMessage) -> str:
    if not ended_at_max_iter(warning):
        return str(warning.message)
    ways = ["more --epochs"]
    is_sparse = not isinstance(samples.X, np.ndarray)
    is_sgd = model.solver == "sgd"
    if is_sgd:
        ways.append("a larger --eta0")
    if (
        is_sgd
        and not config_of(model).rule.momentum
        and not (is_sparse and model.penalty in ("l1", "elasticnet"))
    ):
        ways.append("--momentum 0.9")
    if not model.standardize:
        ways.append("--standardize, if features are on different scales")
    return (
        f"Training stopped after {count(model.n_iter_, 'epoch')} before it converged. To continue: "
        f"{'; '.join(ways)}."
    )


def _summary(
    arguments: argparse.Namespace, model: SoftmaxClassifier, task: Task, seconds: float
) -> list[tuple[str, str]]:
    unit = "epoch" if model.solver == "sgd" else "iteration"
    epochs = count(model.n_iter_, unit)
    n_classes = len(model.classes_)
    pairs = [
        ("data", f"{arguments.data}: {data.describe(task.samples)}, {n_classes} classes"),
        ("training", f"{epochs} in {duration(seconds)}{_end(model)}"),
        ("loss", f"{model.loss_curve_[-1]:.4f} in the last {unit}, penalty included"),
    ]
    if model.alpha_path_ is not None:
        tried = count(len(model.alpha_path_), "strength")
        pairs.append(("alpha", f"{model.alpha_:.3g}, the best of {tried} on held-out samples"))
    predictions = predict(model, arguments.data, task.samples)
    pairs += _scores(arguments, model, task, predictions)
    if task.validation is not None:
        scores = predict(model, arguments.validation, task.validation).scores()
        pairs.append(("validation", f"{scores} ({count(scores.n_samples, 'sample')})"))
    pairs.append(("model", str(arguments.model)))
    if arguments.checkpoint is not None:
        pairs.append(("checkpoint", str(arguments.checkpoint)))
    return pairs


def _end(model: SoftmaxClassifier) -> str:
    if model.eta0_ is not None:
        return f", eta0 {model.eta0_:.3g}"
    gap = model.optimality_.gap
    return "" if gap is None else f", at most {gap:.2g} above the minimum"


def _scores(
    arguments: argparse.Namespace, model: SoftmaxClassifier, task: Task, predictions: Predictions
) -> list[tuple[str, str]]:
    if task.held_out is None:
        if model.best_validation_score_ is None:
            return [("trained on", f"{predictions.scores()}")]
        best, share = 100 * model.best_validation_score_, 100 * model.validation_fraction
        return [
            ("all of DATA", f"{predictions.scores()}"),
            ("held out", f"accuracy {best:.2f} % ({share:g} % of DATA, best epoch)"),
        ]
    trained, scored = predictions.scores(~task.held_out), predictions.scores(task.held_out)
    return [
        ("trained on", f"{trained} ({count(trained.n_samples, 'sample')})"),
        ("held out", f"{scored} ({count(scored.n_samples, 'sample')})"),
    ]
