"""Scores of a model's predictions: accuracy, log loss, and precision and recall of the classes."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.labels import encode
from ..classifier.classifier import SoftmaxClassifier
from ..training.prediction import hits_of


class Scores(NamedTuple):
    """Accuracy and log loss in nats, and the number of samples."""

    n_samples: int
    accuracy: float
    log_loss: float

    def __str__(self) -> str:
        return f"accuracy {100 * self.accuracy:.2f} %, log loss {self.log_loss:.4f}"


class ClassScores(NamedTuple):
    """Precision, recall and F1 of one class; None for 0 / 0."""

    precision: float | None
    recall: float | None
    f1: float | None
    n_samples: int


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

    def confusion(self, n_classes: int) -> NDArray[np.int64] | None:
        """Return the confusion matrix, true classes in rows; None if the targets are probabilities."""
        if self.targets.ndim == 2:
            return None
        cells = self.targets * n_classes + self.predicted
        return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def class_scores(confusion: NDArray[np.int64]) -> list[ClassScores]:
    """Return precision, recall and F1 of every class."""
    right, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassScores(_ratio(hit, said), _ratio(hit, n), _ratio(2 * hit, n + said), n)
        for hit, n, said in zip(right.tolist(), true.tolist(), predicted.tolist(), strict=True)
    ]


def most_confused(confusion: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """Return the true class, the predicted one and the number of samples of the most common errors."""
    errors = confusion.copy()
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, errors.shape)
    found = zip(rows.tolist(), columns.tolist(), errors[rows, columns].tolist(), strict=True)
    return [(row, column, n) for row, column, n in found if n]


def _ratio(part: int, total: int) -> float | None:
    return part / total if total else None
