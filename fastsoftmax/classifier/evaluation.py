"""`evaluate`: how well the probabilities of a classifier fit labelled samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays.labels import as_labels, encode, listed
from .._arrays.validation import as_integer, as_real, shown
from ..backends import in_default_float_state
from ..training.prediction import hits_of, hits_of_best
from ..training.targets import Targets, targets_of
from . import sklearn_api
from .prediction_methods import PredictionMethods

# Size of a chunk of the probabilities of a classifier that is not of this package, or of its rows.
_CHUNK_BYTES = 1 << 24
# The bootstrap draws so many groups of samples if there are more samples.
_MAX_GROUPS = 10_000
_MAX_CLASSES_OF_CONFUSION = 5_000  # 200 MB
_MAX_CLASSES_IN_TEXT = 30


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of `evaluate`, which prints as a text.

    Attributes
    ----------
    n_samples : int
    accuracy : float
        The share of samples that are predicted correctly, as `score` returns it.
    balanced_accuracy : float
        The mean of the recalls of the classes that occur in `y`.
    top_k : int
    top_k_accuracy : float
        The share of samples whose label is among the `top_k` most probable classes.
    log_loss : float
        The mean of ``-log`` of the probability of the label, in nats. Probabilities are not clipped.
    log_loss_interval : tuple of two float, or None
        The bootstrap interval of `log_loss`; None without resamples, or if the loss is infinite.
    confidence_level : float
        That of the interval.
    expected_calibration_error : float
        ECE: the mean distance of confidence and accuracy over the bins of `reliability`, weighted by their
        samples.
    reliability : list of dict
        A row for each bin of the confidence, which is the probability of the predicted class: its bounds
        "low" (excluded) and "high", the means "confidence" and "accuracy" of its samples, None if it has
        none, and "n_samples".
    classes : list of dict
        A row for each class: "label", "precision", "recall" and "f1", None for 0 / 0, and "n_samples" of
        that label. ``pandas.DataFrame(found.classes)`` shows them.
    confusion : ndarray, shape (n_classes, n_classes), or None
        The samples of each class (rows) that were predicted as each class (columns); None if `y` has
        probabilities, and with more than 5000 classes.
    """

    n_samples: int
    accuracy: float
    balanced_accuracy: float
    top_k: int
    top_k_accuracy: float
    log_loss: float
    log_loss_interval: tuple[float, float] | None
    confidence_level: float
    expected_calibration_error: float
    reliability: list[dict[str, float | None]] = field(repr=False)
    classes: list[dict[str, Any]] = field(repr=False)
    confusion: NDArray[Any] | None = field(repr=False)

    def summary(self) -> list[tuple[str, str]]:
        """Return the names and the values of the scores, as text."""
        accuracy = f"{100 * self.accuracy:.2f} %"
        if self.confusion is not None and self.confusion.dtype.kind == "i":
            accuracy += f" ({self.confusion.trace()} of {self.n_samples})"
        pairs = [
            ("accuracy", accuracy),
            ("balanced accuracy", f"{100 * self.balanced_accuracy:.2f} %"),
        ]
        if self.top_k < len(self.classes):
            pairs.append((f"top-{self.top_k} accuracy", f"{100 * self.top_k_accuracy:.2f} %"))
        log_loss = f"{self.log_loss:.4f}"
        if self.log_loss_interval is not None:
            low, high = self.log_loss_interval
            log_loss += f" ({100 * self.confidence_level:g} % interval: {low:.4f} to {high:.4f})"
        error = f"{100 * self.expected_calibration_error:.2f} %, in {len(self.reliability)} bins"
        return [*pairs, ("log loss", log_loss), ("calibration error", error)]

    def plot(self) -> Any:
        """Return the reliability diagram, a `matplotlib.figure.Figure`: see `plotting.plot_reliability`."""
        from ..plotting import plot_reliability

        return plot_reliability(self)

    def __str__(self) -> str:
        lines = [f"{name:<17}  {value}" for name, value in self.summary()]
        if len(self.classes) <= _MAX_CLASSES_IN_TEXT:
            width = max(5, *(len(str(row["label"])) for row in self.classes))
            lines.append(f"\n{'class':<{width}}  precision   recall       F1  samples")
            for row in self.classes:
                scores = [
                    "-" if row[name] is None else f"{100 * row[name]:.1f} %"
                    for name in ("precision", "recall", "f1")
                ]
                shares = "  ".join(f"{score:>7}" for score in scores)
                lines.append(f"{row['label']!s:<{width}}    {shares}  {row['n_samples']:>7g}")
        return "\n".join(lines)


@in_default_float_state
def evaluate(
    model: Any,
    X: Any,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    top_k: int = 5,
    n_bins: int = 15,
    n_resamples: int = 1000,
    confidence_level: float = 0.95,
    random_state: int = 0,
) -> Evaluation:
    """Compare the probabilities of a fitted classifier with labels.

    Accuracy, balanced accuracy, top-k accuracy, log loss, precision, recall, F1 and the confusion matrix
    are those of `sklearn.metrics`. The calibration error is, with the samples B_m in the m-th of `n_bins`
    bins of equal width ``((m - 1) / n_bins, m / n_bins]`` of the confidence::

        ECE = sum_m |B_m| / n_samples * |accuracy(B_m) - confidence(B_m)|

    The samples are predicted once, a chunk at a time, so that `X` may be larger than memory. A row of
    probabilities as `y` counts as if the sample were split into one for each label.

    The interval of the log loss is a percentile bootstrap: the quantiles of the means of `n_resamples`
    draws of as many samples with replacement. More than 10000 samples are first put into 10000 random
    groups of equal size, which are drawn in their place; the width of the interval then differs by a
    percent or so.

    Parameters
    ----------
    model : fitted classifier
        One of this package, or any with the methods `predict` and `predict_log_proba` and the attribute
        `classes_`, such as a pipeline of scikit-learn's.
    X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)
        Or what else the model predicts, if its rows can be sliced.
    y : array_like of labels, shape (n_samples,), or of probabilities, shape (n_samples, n_classes)
        All labels have to be among the classes of the model.
    sample_weight : array_like of real numbers, shape (n_samples,), optional
        0 or more, and at least one above 0. Samples of a class or of a bin are then counted by weight.
    top_k : int, default 5
        At least 1. If there are no more classes, the top-k accuracy is 1.
    n_bins : int, default 15
        The number of bins of the calibration error, at least 1.
    n_resamples : int, default 1000
        0 for no interval.
    confidence_level : float, default 0.95
        Between 0 and 1.
    random_state : int, default 0
        The seed of the bootstrap: the interval is the same in each call.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message names it.
    NotFittedError
        If the model is not fitted.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks (2017), section 2.
    Efron, Tibshirani: An Introduction to the Bootstrap (1993), section 13.3.

    Examples
    --------
    >>> from fastsoftmax import LogisticRegression, evaluate
    >>> model = LogisticRegression().fit([[-1.0], [1.0]], ["no", "yes"])
    >>> found = evaluate(model, [[-2.0], [-1.0], [1.0], [2.0]], ["no", "yes", "yes", "yes"])
    >>> found.accuracy, found.classes[0]["precision"], found.confusion.tolist()
    (0.75, 0.5, [[1, 0], [1, 2]])
    """
    top_k = as_integer("top_k", top_k, 1)
    n_bins = as_integer("n_bins", n_bins, 1)
    n_resamples = as_integer("n_resamples", n_resamples, 0)
    level = as_real("confidence_level", confidence_level)
    if not 0 < level < 1:
        raise ValueError(
            f"confidence_level: expected a number between 0 and 1, got {shown(confidence_level)}"
        )
    seed = as_integer("random_state", random_state, 0)
    classes = _classes_of(model)
    if hasattr(X, "__dask_graph__"):
        raise TypeError("X: expected rows in memory or in a mapped file, got a Dask collection")
    X = X if hasattr(X, "shape") else np.asarray(X)
    n_samples = X.shape[0]
    if not n_samples:
        raise ValueError("X: expected at least one sample, got none")
    targets = targets_of(
        *(sklearn_api.as_vector(y), n_samples, np.dtype(np.float64), sample_weight, None, classes)
    )
    samples = _Samples(n_samples)
    for here, predicted, logarithms in _predictions(model, X, classes):
        samples.score(here, predicted, logarithms, targets.values[here], top_k)
    weights = _weights_of(targets, n_samples)
    counted = weights > 0  # some may have been rounded to 0
    losses, of_losses = samples.losses[counted], weights[counted]
    reliability = _reliability(samples, weights, targets.mean_weight, n_bins)
    rows, recalls = _class_rows(samples, targets, weights, classes)
    return Evaluation(
        n_samples=n_samples,
        accuracy=float(np.average(samples.hits, weights=weights)),
        balanced_accuracy=float(np.mean(recalls)),
        top_k=top_k,
        top_k_accuracy=float(np.average(samples.top_hits, weights=weights)),
        log_loss=float(np.average(losses, weights=of_losses)),
        log_loss_interval=_bootstrap(losses, of_losses, n_resamples, level, seed),
        confidence_level=level,
        expected_calibration_error=_calibration_error(reliability),
        reliability=reliability,
        classes=rows,
        confusion=_confusion(samples, targets, sample_weight, len(classes)),
    )


def _weights_of(targets: Targets, n_samples: int) -> NDArray[np.float64]:
    """Return the weight of each sample; targets have none if all that count have the same."""
    if targets.weights is not None:
        return targets.weights
    weights = np.zeros(n_samples)
    weights[slice(None) if targets.rows is None else targets.rows] = 1
    return weights


class _Samples:
    """The predictions of all samples, and their scores."""

    def __init__(self, n_samples: int) -> None:
        self.predicted = np.empty(n_samples, np.int64)
        self.hits, self.top_hits, self.losses, self.confidences = np.empty((4, n_samples))

    def score(
        self,
        here: slice,
        predicted: NDArray[np.int64],
        logarithms: NDArray[Any],
        targets: NDArray[Any],
        top_k: int,
    ) -> None:
        """Set the scores of the samples at `here`, given the logarithms of their probabilities."""
        self.predicted[here] = predicted
        self.hits[here] = hits_of(predicted[:, np.newaxis], targets)[:, 0]
        self.confidences[here] = np.exp(logarithms.max(axis=1), dtype=np.float64)
        if targets.ndim == 1:
            of_targets = np.take_along_axis(logarithms, targets[:, np.newaxis], axis=1)
            self.losses[here] = -of_targets[:, 0]
            # Of equal ones the last are first, as in scikit-learn.
            is_later = np.arange(logarithms.shape[1]) > targets[:, np.newaxis]
            is_before = (logarithms > of_targets) | ((logarithms == of_targets) & is_later)
            self.top_hits[here] = is_before.sum(axis=1) < top_k
        else:
            with np.errstate(invalid="ignore"):  # 0 * -inf
                terms = np.where(targets > 0, targets * -logarithms.astype(np.float64), 0.0)
            self.losses[here] = terms.sum(axis=1)
            self.top_hits[here] = hits_of_best(logarithms[:, np.newaxis], targets, top_k)[:, 0]


def _classes_of(model: Any) -> NDArray[Any]:
    if not hasattr(model, "predict") or not hasattr(type(model), "fit"):
        raise TypeError(f"model: expected a fitted classifier, got {shown(model)}")
    if isinstance(model, PredictionMethods):
        classes: NDArray[Any] = model._snapshot().classes_
        return classes
    try:
        return as_labels(model.classes_, "model: classes_")
    except AttributeError:
        raise sklearn_api.not_fitted(
            f"model: expected a fitted classifier, got a {type(model).__name__} without classes_: call fit"
        ) from None


def _predictions(
    model: Any, X: Any, classes: NDArray[Any]
) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[Any]]]:
    """Yield slices of the samples, with the predicted classes and the logarithms of the probabilities."""
    if isinstance(model, PredictionMethods):
        yield from model._predictions_by_block(X)
        return
    if not hasattr(model, "predict_log_proba"):
        raise TypeError(
            f"model: expected a classifier with predict_log_proba, got {type(model).__name__}"
        )
    X = X.tocsr() if hasattr(X, "tocsr") else X
    n_columns = max([len(classes), *X.shape[1:]])
    n_rows = max(1, _CHUNK_BYTES // (8 * n_columns))
    for start in range(0, X.shape[0], n_rows):
        here = slice(start, min(start + n_rows, X.shape[0]))
        chunk = X.iloc[here] if hasattr(X, "iloc") else X[here]
        predicted = encode(as_labels(model.predict(chunk), "model: predict"), classes)
        yield here, predicted, np.asarray(model.predict_log_proba(chunk))


def _reliability(
    samples: _Samples, weights: NDArray[np.float64], mean_weight: float, n_bins: int
) -> list[dict[str, float | None]]:
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], samples.confidences)
    mass = np.bincount(bins, weights, n_bins)
    confidence, accuracy = (
        np.bincount(bins, weights * values, n_bins)
        for values in (samples.confidences, samples.hits)
    )
    return [
        {
            "low": float(edges[i]),
            "high": float(edges[i + 1]),
            "confidence": float(confidence[i] / mass[i]) if mass[i] else None,
            "accuracy": float(accuracy[i] / mass[i]) if mass[i] else None,
            "n_samples": float(mass[i] * mean_weight),
        }
        for i in range(n_bins)
    ]


def _calibration_error(reliability: list[dict[str, Any]]) -> float:
    filled = [row for row in reliability if row["confidence"] is not None]
    gaps = [abs(row["accuracy"] - row["confidence"]) for row in filled]
    return float(np.average(gaps, weights=[row["n_samples"] for row in filled]))


def _class_rows(
    samples: _Samples, targets: Targets, weights: NDArray[np.float64], classes: NDArray[Any]
) -> tuple[list[dict[str, Any]], list[float]]:
    """Return a row for each class, and the recalls that are defined."""
    n_classes = len(classes)
    said = np.bincount(samples.predicted, weights, n_classes)
    right = np.bincount(samples.predicted, weights * samples.hits, n_classes)
    mass: NDArray[Any]
    if targets.values.ndim == 1:
        mass = np.bincount(targets.values, weights, n_classes)
    else:
        mass = weights @ targets.values

    def ratios(part: NDArray[Any], total: NDArray[Any]) -> list[float | None]:
        return [p / t if t else None for p, t in zip(part.tolist(), total.tolist(), strict=True)]

    recalls = ratios(right, mass)
    are_counts = targets.values.ndim == 1 and targets.weights is None and targets.mean_weight == 1
    numbers = (mass * targets.mean_weight).tolist()
    columns = (
        *(listed(classes), ratios(right, said), recalls, ratios(2 * right, mass + said)),
        map(int, numbers) if are_counts else numbers,
    )
    names = ("label", "precision", "recall", "f1", "n_samples")
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return rows, [recall for recall in recalls if recall is not None]


def _confusion(
    samples: _Samples, targets: Targets, sample_weight: ArrayLike | None, n_classes: int
) -> NDArray[Any] | None:
    if targets.values.ndim == 2 or n_classes > _MAX_CLASSES_OF_CONFUSION:
        return None
    weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)
    cells = targets.values * n_classes + samples.predicted
    return np.bincount(cells, weights, n_classes**2).reshape(n_classes, n_classes)


def _bootstrap(
    losses: NDArray[np.float64],
    weights: NDArray[np.float64],
    n_resamples: int,
    level: float,
    seed: int,
) -> tuple[float, float] | None:
    """Return the percentile interval of the weighted mean of the losses."""
    if not n_resamples or not np.isfinite(losses).all():
        return None
    random = np.random.default_rng(seed)
    sums: NDArray[Any] = weights * losses
    mass: NDArray[Any] = weights
    if len(losses) > _MAX_GROUPS:
        groups = random.permutation(len(losses)) % _MAX_GROUPS
        sums, mass = np.bincount(groups, sums), np.bincount(groups, mass)
    means = np.empty(n_resamples)
    for i in range(n_resamples):
        drawn = random.integers(0, len(sums), len(sums))
        means[i] = sums[drawn].sum() / mass[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
