"""The base of both courses' classifiers: the scores, and the SGD steps."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.validation import FloatArray
from ..backends.minibatches import descend
from ..exceptions import NotFittedError
from ..loss.gradcheck import check_finite
from .losses import as_class_indices, as_matrix

Loss = Callable[[NDArray[Any], NDArray[Any], float], tuple[float, FloatArray]]

# Rows whose scores are computed together: an X of another dtype is never converted as a whole.
_ROWS_PER_BLOCK = 1024


class LinearModel:
    """The base class of both courses' classifiers: the scores X @ W, and the SGD steps on W."""

    def __init__(self) -> None:
        self.W: FloatArray | None = None

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the class with the highest score ``X @ W`` for every sample.

        Parameters
        ----------
        X : array_like of real numbers, shape (n_samples, n_features)

        Returns
        -------
        ndarray of int64, shape (n_samples,)

        Raises
        ------
        NotFittedError
            If `W` is None.
        ValueError
            If the shape of `X` does not fit, or scores are not finite.
        TypeError
            If `X` is not of real numbers.
        """
        W = self._weights()
        matrix = validation.as_array("X", X)
        if matrix.ndim != 2 or matrix.shape[1] != len(W):
            raise ValueError(f"X: expected shape (n_samples, {len(W)}), got {matrix.shape}")
        labels = np.empty(len(matrix), np.int64)
        for start in range(0, len(matrix), _ROWS_PER_BLOCK):
            block = matrix[start : start + _ROWS_PER_BLOCK]
            with np.errstate(over="ignore", invalid="ignore"):  # reported below
                scores = block @ W
            invalid = ~np.isfinite(scores).all(axis=1)
            if invalid.any():
                i = int(np.argmax(invalid))
                validation.check_finite("W", W)
                raise ValueError(validation.why_row_is_invalid(start + i, block[i], scores.dtype))
            labels[start : start + _ROWS_PER_BLOCK] = scores.argmax(axis=1)
        return labels

    def _weights(self) -> FloatArray:
        """Return `W`, which the caller may have set, after checking that it is a matrix."""
        if self.W is None:
            raise NotFittedError(f"this {type(self).__name__} has no weights W yet: train it first")
        W = validation.as_array("W", self.W)
        if W.ndim != 2 or not W.shape[1]:
            raise ValueError(
                f"W: expected shape (n_features, n_classes), with at least one class, got {W.shape}"
            )
        return W

    def _prepare(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Check the training data, and draw initial weights if there are none."""
        matrix = as_matrix("X", X)
        if self.W is None:
            labels = as_class_indices("y", y, len(matrix))
            shape = matrix.shape[1], int(labels.max()) + 1
            self.W = 0.001 * np.random.randn(*shape)  # noqa: NPY002  # the notebooks seed this one
            return matrix, labels
        W = self._weights()
        check_finite("W", W)
        if matrix.shape[1] != len(W):
            raise ValueError(f"X: expected {len(W)} features, the rows of W, got {matrix.shape[1]}")
        return matrix, as_class_indices("y", y, len(matrix), W.shape[1])

    def _descend(
        self,
        loss: Loss,
        X: NDArray[Any],
        y: NDArray[Any],
        minibatches: Iterable[NDArray[np.int64]],
        learning_rate: float,
        reg: float,
    ) -> Iterator[float]:
        """Take a step ``W - learning_rate * dW`` for each minibatch of rows, and yield the loss before it.

        A loss that is not finite is the last one, and resets W to the weights of the last finite loss.
        """

        def gradient_of(W: FloatArray, rows: NDArray[np.int64]) -> tuple[float, FloatArray]:
            return _loss_of_rows(loss, X, y, rows, W, reg)

        def step(W: FloatArray, gradient: FloatArray, rate: float) -> FloatArray:
            with np.errstate(over="ignore", invalid="ignore"):  # shows in the next loss
                after: FloatArray = W - rate * gradient
            return after

        at_learning_rate = ((rows, learning_rate) for rows in minibatches)
        last_finite, current = self.W, self._weights()
        for value, after in descend(current, at_learning_rate, gradient_of, step):
            if np.isfinite(value):
                last_finite, current, self.W = current, after, after  # `loss` reads the attribute
            else:
                self.W = last_finite
            yield value


def _loss_of_rows(
    loss: Loss, X: NDArray[Any], y: NDArray[Any], rows: NDArray[np.int64], W: FloatArray, reg: float
) -> tuple[float, FloatArray]:
    """Return the loss of a minibatch and its gradient; +inf and zeros if the scores overflow.

    The loss core raises an error in that case.
    """
    minibatch = X[rows]
    try:
        return loss(minibatch, y[rows], reg)
    except ValueError:
        finite = np.isfinite(minibatch).all(axis=1)
        if not finite.all():  # the loss names the row of the minibatch, not that of X
            row = int(rows[int(np.argmin(finite))])
            raise ValueError(validation.why_row_is_invalid(row, X[row], W.dtype)) from None
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(minibatch @ W).all():
                raise
        return np.inf, np.zeros_like(W)


def warn_of_divergence(history: list[float], what: str, learning_rate: float, reg: float) -> None:
    """Warn the caller of `train` or `fit` if training ended early: where, and why.

    It is not an error, because notebooks try learning rates in a loop, some of which are too large.
    """
    if history and not np.isfinite(history[-1]):
        warnings.warn(
            f"the loss became {history[-1]} at {what} {len(history) - 1}, where the training stopped; W is "
            f"that of the last finite loss: lower learning_rate (now {learning_rate:g}) or reg (now "
            f"{reg:g}), or scale the columns of X to a common range",
            RuntimeWarning,
            stacklevel=4,
        )
