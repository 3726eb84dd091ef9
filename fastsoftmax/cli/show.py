"""`fastsoftmax show`: what a model file holds."""

import argparse
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays.labels import listed
from ..classifier.classifier import SoftmaxClassifier
from ..classifier.model_files.save_load import FORMATS
from ..datasets.files import printable
from . import files, models
from .errors import CommandError
from .numbers import count, size
from .tables import print_pairs, shortened

DESCRIPTION = """\
Print what a model file holds: its format, classes, features, parameters, weights, and
how it was trained. No data are needed, and nothing in the file is executed.
"""
USAGE = "fastsoftmax show MODEL [options]"
EXAMPLES = """\
examples:
  fastsoftmax show flowers.npz
        a summary
  fastsoftmax show flowers.npz --json -
        all of it for a program, without the weights
"""
_MAX_NAMES = 10  # of classes or features
_MAX_NAME_LENGTH = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("file", type=Path, nargs="?", metavar="MODEL", help="a model file saved by `train`")
    add("--model", type=Path, metavar="FILE", help="the same, as in other commands")
    add("--json", metavar="FILE", help="save all of it; - for standard output")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    if (arguments.file is None) == (arguments.model is None):
        raise CommandError("argument MODEL: expected one model file")
    path = arguments.file or arguments.model
    models.check_no_clash("--json", arguments.json, {"the model": path})
    model = models.load("MODEL", path)
    content = path.read_bytes()
    text, _ = FORMATS[path.suffix.lower()].unpack(content)
    metadata = json.loads(text)
    record = _record(path, content, metadata, model)
    if arguments.json != "-":
        print_pairs(_summary(record, metadata, model))
    if arguments.json is not None:
        written = json.dumps(record, indent=2, default=str) + "\n"
        files.write_text("--json", arguments.json, written)
    return 0


def _record(
    path: Path, content: bytes, metadata: dict[str, Any], model: SoftmaxClassifier
) -> dict[str, Any]:
    """Return the content of the file but for its arrays, in the types of JSON."""
    names = getattr(model, "feature_names_in_", None)
    return {
        "file": str(path),
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
        "version": metadata["version"],
        "package": metadata["package"],
        "classes": listed(model.classes_),
        "n_features": model.n_features_in_,
        "feature_names": None if names is None else names.tolist(),
        "dtype": str(model.coef_.dtype),
        "n_zeros": int(np.count_nonzero(model.coef_ == 0)),
        "parameters": metadata["parameters"],
        "left_out": metadata["left_out"],
        "n_iter": model.n_iter_,
        "n_steps": model.t_,
        "loss_curve": model.loss_curve_,
        "validation_scores": model.validation_scores_,
        "best_validation_score": model.best_validation_score_,
        "alpha": model.alpha_,
        "alpha_path": model.alpha_path_,
        "eta0": model.eta0_,
        "gap": model.optimality_.gap,
        "temperature": model.temperature_,
        "is_standardized": model.scale_ is not None,
        "is_average": model._average is not None,
        "accepts_new_classes": model._grows,
    }


def _summary(
    record: dict[str, Any], metadata: dict[str, Any], model: SoftmaxClassifier
) -> list[tuple[str, str]]:
    written = f"version {metadata['version']} of the format"
    pairs = [
        ("file", f"{record['file']}: {size(record['bytes'])}, {written}"),
        ("written by", f"fastsoftmax {printable(metadata['package'])}"),
        ("SHA-256", record["sha256"]),
        ("classes", _listing(record["classes"])),
        ("features", _features(record)),
        ("weights", _weights(record, model)),
        ("parameters", _parameters(model)),
    ]
    if metadata["left_out"]:
        pairs.append(("not stored", ", ".join(map(printable, metadata["left_out"]))))
    pairs += _training(record, model)
    if model.temperature_ != 1:
        pairs.append(("temperature", f"{model.temperature_:.6g}, of probabilities"))
    more = "takes new classes" if model._grows else "takes these classes alone"
    pairs.append(("partial_fit", more))
    return pairs


def _listing(values: list[Any]) -> str:
    """Return the number of the values, and the first of them."""
    texts = [shortened(printable(str(value)), _MAX_NAME_LENGTH) for value in values[:_MAX_NAMES]]
    return f"{len(values)}: {', '.join(texts)}{', …' if len(values) > _MAX_NAMES else ''}"


def _features(record: dict[str, Any]) -> str:
    names = record["feature_names"]
    return f"{record['n_features']}, without names" if names is None else _listing(names)


def _weights(record: dict[str, Any], model: SoftmaxClassifier) -> str:
    n_classes, n_features = model.coef_.shape
    text = f"{record['dtype']} ({n_classes}, {n_features})"
    if record["n_zeros"]:
        text += f", {record['n_zeros']} of them 0"
    if record["is_average"]:
        text += ", the average of the steps"
    return text + (", trained on standardised features" if record["is_standardized"] else "")


def _parameters(model: SoftmaxClassifier) -> str:
    changed = repr(model).partition("(")[2].removesuffix(")")
    return printable(changed) or "the defaults"


def _training(record: dict[str, Any], model: SoftmaxClassifier) -> list[tuple[str, str]]:
    curve = model.loss_curve_
    if not curve:
        return [("training", "none: the weights were set by hand")]
    is_sgd = model.eta0_ is not None
    unit = "epoch" if is_sgd else "iteration"
    text = count(model.n_iter_, unit)
    if is_sgd:
        text += f", {count(model.t_, 'step')}, eta0 {model.eta0_:.3g}"
    if model.alpha_ is not None:
        text += f", alpha {model.alpha_:.3g}"
        if model.alpha_path_ is not None:
            text += f", the best of {len(model.alpha_path_)}"
    losses = f"{curve[0]:.4f} in the first {unit}, {curve[-1]:.4f} in the last, penalty included"
    pairs = [("training", text), ("loss", losses)]
    if record["gap"] is not None:
        pairs.append(("optimality", f"at most {record['gap']:.2g} above the minimum"))
    if model.best_validation_score_ is not None:
        pairs.append(
            ("held out", f"accuracy {100 * model.best_validation_score_:.2f} %, the best epoch")
        )
    return pairs
