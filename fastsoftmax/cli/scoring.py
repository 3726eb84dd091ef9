"""Accuracy and log loss of a model's predictions, for parts of the samples."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.labels import encode
from ..classifier.classifier import SoftmaxClassifier
from ..datasets import Samples
from ..training.prediction import hits_of
from . import data
from .error_translation import as_command_error


class Scores(NamedTuple):
    """Accuracy and log loss in nats, and the number of samples."""

    n_samples: int
    accuracy: float
    log_loss: float

    def __str__(self) -> str:
        return f"accuracy {100 * self.accuracy:.2f} %, log loss {self.log_loss:.4f}"


class Predictions(NamedTuple):
    """A model's predictions for samples, with their labels."""

    targets: NDArray[
        Any
    ]  # indices of classes (n_samples,), or probabilities (n_samples, n_classes)
    predicted: NDArray[np.int64]
    losses: NDArray[np.float64]  # -log of the probability of the target

    @classmethod
    def of(cls, model: SoftmaxClassifier, X: Any, y: NDArray[Any]) -> "Predictions":
        """Return the predictions for samples whose labels are among the model's classes."""
        classes = model.classes_
        logarithms = model.predict_log_proba(X)
        predicted = encode(model.predict(X), classes)
        if y.ndim == 2:
            with np.errstate(invalid="ignore"):  # 0 * -inf
                terms = np.where(y > 0, y * -logarithms.astype(np.float64), 0.0)
            return cls(y, predicted, terms.sum(axis=1))
        targets = encode(y, classes)
        losses = -logarithms[np.arange(len(y)), targets].astype(np.float64)
        return cls(targets, predicted, losses)

    def scores(self, rows: NDArray[Any] | slice = slice(None)) -> Scores:
        """Return the scores of some rows, by default of all."""
        targets, predicted, losses = self.targets[rows], self.predicted[rows], self.losses[rows]
        hits = hits_of(predicted[:, np.newaxis], targets)
        return Scores(len(predicted), float(hits.mean(dtype=np.float64)), float(losses.mean()))


def predict(model: SoftmaxClassifier, path: Path, samples: Samples) -> Predictions:
    """Return the model's predictions with the labels, all of which must be its classes.

    Raises
    ------
    CommandError
        If a label is not among the classes, or the data are not finite.
    """
    data.check_labels(path, samples.y, model.classes_)
    try:
        return Predictions.of(model, samples.X, samples.y)
    except (ValueError, TypeError, MemoryError) as error:
        raise as_command_error(error, {"X": path, "y": path}) from None
