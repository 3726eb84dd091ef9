"""The method of a classifier that calibrates its probabilities."""

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from .._arrays.inputs import as_samples
from ..backends import get_backend, in_default_float_state
from ..training.calibration import find_temperature
from ..training.config import n_threads_of
from ..training.targets import targets_of
from . import sklearn_api
from .fitted_model import check_n_features, parameters_of


class Calibration:
    """The method of `SoftmaxClassifier` and `LogisticRegression` that fits a temperature."""

    temperature_: float
    _snapshot: Any

    @in_default_float_state
    def calibrate(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the temperature of the probabilities on held-out samples.

        `temperature_` becomes the number ``T > 0`` that minimises the log loss, the weighted mean of
        ``-log softmax(z / T)_y`` with the logits z of the fitted model. `predict_proba` and
        `predict_log_proba` then divide the logits by it; `predict`, `score` and `decision_function`, which
        returns z, are as before. One calibration replaces the one before it.

        The minimum is accurate to about ten digits. X is read once if the logits take at most 256 MiB, and
        otherwise once for each of about ten iterations.

        Parameters
        ----------
        X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)
            Samples that the model was not trained on; on its training data a model looks better than it is.
        y : array_like of labels, shape (n_samples,), or of probabilities, shape (n_samples, n_classes)
            All labels have to be among `classes_`; some of the classes may be missing.
        sample_weight : array_like of real numbers, shape (n_samples,), optional
            0 or more, and at least one above 0; only their ratios matter.

        Returns
        -------
        self
            This object.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or no temperature minimises the loss: all samples are
            predicted correctly, or equal probabilities would be better. The model is as before the call.
        NotFittedError
            If the model is not fitted.

        References
        ----------
        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks (2017), section 4.2.

        Examples
        --------
        >>> from fastsoftmax import LogisticRegression
        >>> model = LogisticRegression().fit([[-1.0], [1.0]], ["no", "yes"])
        >>> X, y = [[-2.0], [-1.0], [1.0], [2.0]], ["no", "yes", "yes", "yes"]
        >>> round(model.calibrate(X, y).temperature_, 4)
        0.6668
        """
        now = self._snapshot()
        sklearn_api.check_feature_names(now, X, stacklevel=4)
        matrix = as_samples(X, to_train=False)
        check_n_features(now, matrix)
        if not len(matrix):
            raise ValueError("X: expected at least one sample, got none")
        coef, intercept = parameters_of(now)
        targets = targets_of(
            *(sklearn_api.as_vector(y), len(matrix), np.dtype(np.float64)),
            *(sample_weight, None, now.classes_),
        )
        self.temperature_ = find_temperature(
            *(get_backend(now.backend), matrix, targets, coef, intercept),
            n_threads_of(now.n_jobs),
        )
        return self


def warn_of_dropped(model: Any, stacklevel: int = 4) -> None:
    """Warn that further training of a model with a temperature resets it to 1."""
    if getattr(model, "temperature_", 1.0) != 1:
        warnings.warn(
            f"temperature_: {model.temperature_:.6g} belongs to the weights before this training, and is "
            "reset to 1: call calibrate again",
            UserWarning,
            stacklevel=stacklevel,
        )
