"""What a fit does to loss, penalty and validation loss, epoch by epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays.labels import as_labels, positions_of
from ..backends.penalties import value


class TrainingHistory:
    """A callback of `fit` that keeps what `plot_loss_curve` draws: the loss, the penalty and validation.

    A fitted classifier has the objective of every epoch, loss and penalty together. This callback computes
    the penalty and, on samples that it is given, the loss and the accuracy, from a copy of the model after
    each epoch. It changes nothing in the training.

    Parameters
    ----------
    X_validation : array_like, shape (n_samples, n_features), optional
        Samples that the model does not train on, given together with `y_validation`.
    y_validation : array_like of labels, shape (n_samples,), optional
        Their labels, each a class of the model.

    Attributes
    ----------
    loss_curve_ : list of float
        The objective of every epoch, penalty included, as in the fitted classifier.
    penalty_curve_ : list of float
        The penalty of the weights after every epoch.
    validation_losses_ : list of float, or None
        The mean of ``-log p(y)`` on the validation samples after every epoch, in nats, without a penalty;
        None without such samples.
    validation_scores_ : list of float, or None
        The accuracy on them, or the one that `early_stopping` computes on the samples that it holds out.

    Examples
    --------
    >>> from fastsoftmax import SoftmaxClassifier, plotting
    >>> history = plotting.TrainingHistory([[0.2], [0.9]], [0, 1])
    >>> model = SoftmaxClassifier(max_iter=3, tol=None, callbacks=history).fit([[0.0], [1.0]], [0, 1])
    >>> len(history.validation_losses_)
    3
    >>> figure = plotting.plot_loss_curve(history)
    """

    def __init__(
        self, X_validation: ArrayLike | None = None, y_validation: ArrayLike | None = None
    ) -> None:
        if (X_validation is None) != (y_validation is None):
            raise ValueError(
                "X_validation, y_validation: expected both, samples and their labels, or neither"
            )
        self.X_validation = X_validation
        self.y_validation = (
            None if y_validation is None else as_labels(y_validation, "y_validation")
        )
        self.loss_curve_: list[float] = []
        self.penalty_curve_: list[float] = []
        self.validation_losses_: list[float] | None = None
        self.validation_scores_: list[float] | None = None

    def on_epoch_end(self, state: Any) -> None:
        """Add an epoch; the first one of a fit forgets those before it."""
        if state.epoch == 1:
            self.loss_curve_, self.penalty_curve_ = [], []
            self.validation_losses_ = self.validation_scores_ = None
        model, score = state.model, state.validation_score
        self.loss_curve_.append(state.loss)
        self.penalty_curve_.append(_penalty(model))
        if self.y_validation is not None:
            loss, accuracy = _loss_and_accuracy(model, self.X_validation, self.y_validation)
            self.validation_losses_ = [*(self.validation_losses_ or []), loss]
            score = accuracy if score is None else score
        if score is not None:
            self.validation_scores_ = [*(self.validation_scores_ or []), score]


def _penalty(model: Any) -> float:
    """Return the penalty of a model's weights, which acts on those of standardised features."""
    share = {None: 0.0, "l2": 0.0, "l1": 1.0, "elasticnet": model.l1_ratio}[model.penalty]
    alpha = 0.0 if model.penalty is None else model.alpha_
    coef = model.coef_ if model.scale_ is None else model.coef_ * model.scale_
    return value(coef, alpha * (1 - share) / 2, alpha * share)


def _loss_and_accuracy(model: Any, X: Any, y: Any) -> tuple[float, float]:
    logarithms = model.predict_log_proba(X)
    targets = positions_of(y, model.classes_, "y_validation")
    if (targets < 0).any():
        stranger = y[targets < 0].tolist()[0]
        raise ValueError(f"y_validation: expected classes of the model, got {stranger!r}")
    losses = -logarithms[np.arange(len(y)), targets].astype(np.float64)
    return float(losses.mean()), float(np.mean(logarithms.argmax(axis=1) == targets))
