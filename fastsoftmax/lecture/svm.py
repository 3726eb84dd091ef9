"""The lecture's SVM loss, to compare the softmax loss with; plain NumPy, no backend computes it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.validation import FloatArray
from ..backends import in_default_float_state
from .classifiers import LinearClassifier
from .losses import as_class_indices, as_matrix, course_names, l2_regularization


@in_default_float_state
def svm_loss_naive(
    W: ArrayLike, X: ArrayLike, y: ArrayLike, reg: float
) -> tuple[float, FloatArray]:
    """Return the multiclass SVM loss with an L2 penalty and its gradient, sample by sample.

    ``loss = mean_i(sum over k != y_i of max(0, z_ik - z_iy + 1)) + reg * sum(W**2)`` with the scores
    ``z = X @ W``: every class but the true one should score at least 1 less than that. Where a margin is
    exactly 0 the gradient is that of 0.

    Parameters
    ----------
    W : array_like of real numbers, shape (n_features, n_classes)
    X : array_like of real numbers, shape (n_samples, n_features)
    y : array_like of int, shape (n_samples,)
        Labels from 0 to n_classes - 1.
    reg : float
        The strength of the penalty, 0 or more.

    Returns
    -------
    loss : float
    dW : ndarray
        The shape of `W`; float32 if `X` and `W` are, else float64.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or scores are not finite; the message names it.

    References
    ----------
    Weston, Watkins: Support Vector Machines for Multi-Class Pattern Recognition (1999), ESANN.

    Examples
    --------
    >>> from fastsoftmax.lecture import svm_loss_naive
    >>> svm_loss_naive([[0.0, 0.0]], [[2.0]], [1], 0.0)
    (1.0, array([[ 2., -2.]]))
    """
    weights, matrix, labels = _checked(W, X, y)
    total, gradient = 0.0, np.zeros_like(weights)
    for row, (sample, label) in enumerate(zip(matrix, labels, strict=True)):
        x = sample.astype(weights.dtype)
        scores = _scores(x[np.newaxis], weights, row)[0]
        for k in range(weights.shape[1]):
            margin = scores[k] - scores[label] + 1
            if k != label and margin > 0:
                total += float(margin)
                gradient[:, k] += x
                gradient[:, label] -= x
    return _with_penalty(total, gradient, len(matrix), weights, reg)


@in_default_float_state
def svm_loss_vectorized(
    W: ArrayLike, X: ArrayLike, y: ArrayLike, reg: float
) -> tuple[float, FloatArray]:
    """Return the result of `svm_loss_naive`, computed by NumPy on all samples together."""
    weights, matrix, labels = _checked(W, X, y)
    samples = matrix.astype(weights.dtype, copy=False)
    scores, rows = _scores(samples, weights, 0), np.arange(len(labels))
    margins = np.maximum(scores - scores[rows, labels][:, np.newaxis] + 1, 0)
    margins[rows, labels] = 0
    sides = (margins > 0).astype(weights.dtype)
    sides[rows, labels] = -sides.sum(axis=1)
    total = float(margins.sum(dtype=np.float64))
    return _with_penalty(total, samples.T @ sides, len(labels), weights, reg)


class LinearSVM(LinearClassifier):
    """`LinearClassifier` with the SVM loss of `svm_loss_vectorized`, under the course's name.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.lecture import LinearSVM
    >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.9, 0.1]]), np.array([1, 0, 1, 0])
    >>> svm = LinearSVM()
    >>> loss_history = svm.train(X, y, learning_rate=0.5, num_iters=50)
    >>> svm.predict(X)
    array([1, 0, 1, 0])
    """

    def __init__(self) -> None:
        super().__init__()

    def loss(self, X_batch: ArrayLike, y_batch: ArrayLike, reg: float) -> tuple[float, FloatArray]:
        """Return the SVM loss of a minibatch with the penalty, and its gradient; see `svm_loss_naive`."""
        W = self._weights()
        with course_names(X="X_batch", y="y_batch"):
            return svm_loss_vectorized(W, X_batch, y_batch, reg)


def _checked(
    W: ArrayLike, X: ArrayLike, y: ArrayLike
) -> tuple[FloatArray, NDArray[Any], NDArray[Any]]:
    """Return the weights in the dtype of the result, the samples and the labels."""
    weights, matrix = validation.as_array("W", W), as_matrix("X", X)
    if weights.ndim != 2 or weights.shape[0] != matrix.shape[1] or not weights.shape[1]:
        raise ValueError(
            f"W: expected shape ({matrix.shape[1]}, n_classes), a row for each feature of X, "
            f"got {weights.shape}"
        )
    is_single = weights.dtype == matrix.dtype == np.float32
    labels = as_class_indices("y", y, len(matrix), weights.shape[1])
    return weights.astype(np.float32 if is_single else np.float64), matrix, labels


def _scores(samples: FloatArray, weights: FloatArray, first: int) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):  # reported below
        scores: FloatArray = samples @ weights
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        validation.check_finite("W", weights)
        raise ValueError(validation.why_row_is_invalid(first + row, samples[row], scores.dtype))
    return scores


def _with_penalty(
    total: float, gradient: FloatArray, n_samples: int, weights: FloatArray, reg: float
) -> tuple[float, FloatArray]:
    penalty, dpenalty = l2_regularization(weights, validation.as_non_negative("reg", reg))
    gradient /= n_samples
    gradient += dpenalty
    return total / n_samples + penalty, gradient
