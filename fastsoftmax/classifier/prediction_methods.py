"""The methods of a classifier that predict and score."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.inputs import as_samples
from .._arrays.labels import are_equal, as_labels
from .._arrays.validation import FloatArray
from ..backends import get_backend, in_default_float_state
from ..loss import functional
from ..training.config import n_threads_of
from ..training.prediction import hits_of, logits_by_block, logits_of
from ..training.targets import as_probabilities, is_soft
from . import sklearn_api
from .fitted_model import check_n_features, parameters_of, shaped_parameters_of, snapshot_of


class PredictionMethods:
    """The methods of `SoftmaxClassifier` that predict labels and probabilities, and score them."""

    backend: str
    n_jobs: int | None

    @in_default_float_state
    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Return the logits; with two classes, as in scikit-learn, the second minus the first.

        Parameters
        ----------
        X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples, n_classes), or (n_samples,) with two classes
        """
        logits, now = self._logits_and_model(X)
        if len(now.classes_) != 2:
            return logits
        with np.errstate(over="ignore"):  # an infinite difference is a valid answer
            difference: FloatArray = logits[:, 1] - logits[:, 0]
        return difference

    @in_default_float_state
    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable label of every sample, shape (n_samples,)."""
        logits, now = self._logits_and_model(X)
        labels: NDArray[Any] = now.classes_[logits.argmax(axis=1)]
        return labels

    @in_default_float_state
    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return the probability of every class, ``softmax(z / temperature_)``, (n_samples, n_classes)."""
        logits, now = self._logits_and_model(X)
        return functional.softmax(logits, **_softmax_options(now))

    @in_default_float_state
    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Return the natural logarithm of the probabilities, shape (n_samples, n_classes)."""
        logits, now = self._logits_and_model(X)
        return functional.log_softmax(logits, **_softmax_options(now))

    @in_default_float_state
    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy: the weighted share of samples that are predicted correctly.

        A label is predicted correctly or not. A row of probabilities counts by its probability of the
        predicted class, as if the sample were split into one for each label.

        Parameters
        ----------
        X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)
        y : array_like of labels, shape (n_samples,), or of probabilities, shape (n_samples, n_classes)
            As in `fit`, but a label that is not among the classes counts as a wrong prediction. Labels have
            to be of the type of the classes: text instead of integers is a TypeError. Integers, booleans
            and whole floats are compared by value. Columns of probabilities are in the order of `classes_`.
        sample_weight : array_like of real numbers, shape (n_samples,), optional
            0 or more, and at least one above 0.

        Returns
        -------
        float

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or there are no samples; the message names it.
        """
        hits, weights = self._hits(X, sklearn_api.as_vector(y), sample_weight)
        if not hits.size:
            raise ValueError("X: expected at least one sample to score, got none")
        if weights is not None and not weights.any():
            raise ValueError(
                "sample_weight: expected at least one weight that is not zero, got only zeros"
            )
        if weights is not None:
            weights, _ = validation.scaled_weights(weights)
        return float(np.average(hits.astype(np.float64), weights=weights))

    def _hits(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Return the accuracy of the prediction of every sample, from 0 to 1, and the samples' weights."""
        logits, now = self._logits_and_model(X, stacklevel=6)
        predicted, classes, weights = logits.argmax(axis=1), now.classes_, None
        if sample_weight is not None:
            double = np.dtype(np.float64)
            weights = validation.as_weights("sample_weight", sample_weight, predicted.shape, double)
        if is_soft(y):
            counted = None if weights is None else np.flatnonzero(weights)
            targets = as_probabilities(y, len(predicted), logits.dtype, counted, classes)
            return hits_of(predicted[:, np.newaxis], targets)[:, 0], weights
        expected = as_labels(y, "y")
        if expected.shape != predicted.shape:
            raise ValueError(f"y: expected shape {predicted.shape}, got {expected.shape}")
        return are_equal(expected, classes[predicted]), weights

    def _predictions_by_block(
        self, X: Any
    ) -> Iterator[tuple[slice, NDArray[np.int64], FloatArray]]:
        """Yield slices of the rows, with the predicted classes and the logarithms of the probabilities."""
        now = self._snapshot()
        sklearn_api.check_feature_names(now, X, stacklevel=6)
        matrix = as_samples(X, to_train=False)
        check_n_features(now, matrix)
        options = _softmax_options(now)
        blocks = logits_by_block(
            *(get_backend(now.backend), matrix, np.arange(len(matrix)), *parameters_of(now)),
            options["n_threads"],
        )
        for here, logits in blocks:
            yield here, logits.argmax(axis=1), functional.log_softmax(logits, **options)

    def _logits_and_model(self, X: ArrayLike, stacklevel: int = 5) -> tuple[FloatArray, Any]:
        """Return the logits, and the snapshot of the model that has made them."""
        now = self._snapshot()
        sklearn_api.check_feature_names(now, X, stacklevel)
        matrix = as_samples(X, to_train=False)
        check_n_features(now, matrix)
        n_threads = n_threads_of(now.n_jobs)
        logits = logits_of(get_backend(now.backend), matrix, *shaped_parameters_of(now), n_threads)
        return logits, now

    def _snapshot(self) -> Any:
        """Return a consistent copy of the model, with a row of weights for each class."""
        return snapshot_of(self)


def _softmax_options(now: Any) -> dict[str, Any]:
    return {
        "temperature": now.temperature_,
        "backend": now.backend,
        "n_threads": n_threads_of(now.n_jobs),
    }
