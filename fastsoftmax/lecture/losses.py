"""The lecture's loss functions: the loss core under the course's names and arguments."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.validation import FloatArray
from ..backends import in_default_float_state
from ..loss import functional, linear

# A probability may exceed 1 by rounding; a number that exceeds it by more is a score.
_ROUNDING = 1e-6


def softmax(predictions: ArrayLike) -> FloatArray:
    """Return probabilities from scores, ``exp(z_k) / sum_j exp(z_j)`` in every row.

    Parameters
    ----------
    predictions : array_like of real numbers, shape (n_classes,) or (n_samples, n_classes)
        The scores; integers are converted to float64.

    Returns
    -------
    ndarray
        Same shape as `predictions`, float32 or float64; every row sums to 1.

    Raises
    ------
    ValueError
        If the shape is another one, or a row contains a NaN, a +inf or nothing but -inf.
    TypeError
        If `predictions` are not real numbers.

    Examples
    --------
    >>> from fastsoftmax.lecture import softmax
    >>> softmax([1000, 0, 0])
    array([1., 0., 0.])
    """
    with course_names(logits="predictions"):
        return functional.softmax(_rows("predictions", predictions))


@in_default_float_state
def cross_entropy_loss(probs: ArrayLike, target_index: ArrayLike) -> float:
    """Return the mean cross-entropy of probabilities, ``mean_i -log(probs[i, target_index[i]])``.

    Parameters
    ----------
    probs : array_like of real numbers, shape (n_classes,) or (n_samples, n_classes)
        Probabilities, as `softmax` returns them.
    target_index : int or array_like of int, shape (n_samples,) or (n_samples, 1)
        The true classes; a single number or shape (1,) for a single sample.

    Returns
    -------
    float
        In nats; +inf where the probability of a true class is 0. `softmax_with_cross_entropy` takes the
        scores themselves and stays exact there.

    Raises
    ------
    ValueError
        If shapes do not fit, there are no samples, an index is out of range, or a number is not between
        0 and 1.
    TypeError
        If `probs` are not real numbers or indices not integers.

    Examples
    --------
    >>> from fastsoftmax.lecture import cross_entropy_loss
    >>> cross_entropy_loss([0.5, 0.25, 0.25], 0)
    0.6931471805599453
    """
    array = np.atleast_2d(_rows("probs", probs))
    labels = as_class_indices("target_index", target_index, len(array), array.shape[1])
    valid = (array >= 0) & (array <= 1 + _ROUNDING)  # False for NaN as well
    if not valid.all():
        row, column = np.unravel_index(int(np.argmin(valid)), valid.shape)
        raise ValueError(
            f"probs: expected probabilities from 0 to 1, got {array[row, column]} in row {row}, "
            f"class {column}"
        )
    with np.errstate(divide="ignore"):
        losses = -np.log(array[np.arange(len(array)), labels], dtype=np.float64)
    return float(losses.mean())


def softmax_with_cross_entropy(
    predictions: ArrayLike, target_index: ArrayLike
) -> tuple[float, FloatArray]:
    """Return the mean cross-entropy of softmax(predictions), and its gradient in the predictions.

    ``dprediction_ik = (softmax(z_i)_k - [k = target_i]) / n`` with n samples.

    Parameters
    ----------
    predictions
        As in `softmax`.
    target_index
        As in `cross_entropy_loss`.

    Returns
    -------
    loss : float
        In nats.
    dprediction : ndarray
        Same shape as `predictions`, float32 or float64.

    Raises
    ------
    ValueError, TypeError
        As `softmax` and `cross_entropy_loss` do.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning (2006), equations 4.108 and 4.109.

    Examples
    --------
    >>> from fastsoftmax.lecture import softmax_with_cross_entropy
    >>> loss, dprediction = softmax_with_cross_entropy([1, 1], 0)
    >>> dprediction
    array([-0.5,  0.5])
    """
    array = _rows("predictions", predictions)
    rows = np.atleast_2d(array)
    labels = as_class_indices("target_index", target_index, len(rows), rows.shape[1])
    with course_names(logits="predictions"):
        loss, gradient = functional.softmax_cross_entropy(rows, labels)
    return loss, gradient.reshape(array.shape)


@in_default_float_state
def l2_regularization(W: ArrayLike, reg_strength: float) -> tuple[float, FloatArray]:
    """Return the L2 penalty ``reg_strength * sum(W**2)`` and its gradient ``2 * reg_strength * W``.

    Parameters
    ----------
    W : array_like of real numbers
        Weights of any shape.
    reg_strength : float
        Finite, 0 or more.

    Returns
    -------
    loss : float
    gradient : ndarray
        Same shape as `W`, float32 or float64.

    Raises
    ------
    ValueError
        If `reg_strength` is negative or not finite.
    TypeError
        If an argument is not of real numbers.

    Examples
    --------
    >>> from fastsoftmax.lecture import l2_regularization
    >>> l2_regularization([1.0, -2.0], 0.5)
    (2.5, array([ 1., -2.]))
    """
    with course_names(l2="reg_strength"):
        return linear.penalty(W, l2=reg_strength)


def linear_softmax(X: ArrayLike, W: ArrayLike, target_index: ArrayLike) -> tuple[float, FloatArray]:
    """Return the mean cross-entropy of softmax(X @ W), without penalty, and its gradient in `W`.

    Parameters
    ----------
    X : array_like of real numbers, shape (n_samples, n_features)
    W : array_like of real numbers, shape (n_features, n_classes)
    target_index
        As in `cross_entropy_loss`.

    Returns
    -------
    loss : float
        In nats.
    dW : ndarray
        Same shape as `W`; float32 if `X` and `W` are, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit, there are no samples, an index is out of range, or scores are not finite.
    TypeError
        If `X` or `W` are not of real numbers or indices not integers.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.lecture import linear_softmax
    >>> loss, dW = linear_softmax([[1.0, 2.0]], np.zeros((2, 2)), [0])
    >>> dW
    array([[-0.5,  0.5],
           [-1. ,  1. ]])
    """
    return _linear_loss(X, W, "target_index", target_index, "auto")


def softmax_loss_naive(
    W: ArrayLike, X: ArrayLike, y: ArrayLike, reg: float
) -> tuple[float, FloatArray]:
    """Return the softmax loss with penalty, and its gradient, computed by plain Python loops.

    ``mean_i (lse(z_i) - z_i[y_i]) + reg * sum(W**2)`` with the scores ``z = X @ W``.

    Parameters
    ----------
    W : array_like of real numbers, shape (n_features, n_classes)
    X : array_like of real numbers, shape (n_samples, n_features)
    y : array_like of int, shape (n_samples,) or (n_samples, 1)
        Labels from 0 to n_classes - 1.
    reg : float
        The strength of the penalty, finite, 0 or more.

    Returns
    -------
    loss : float
        In nats.
    dW : ndarray
        Same shape as `W`; float32 if `X` and `W` are, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit, there are no samples, a label is out of range, scores are not finite, or
        `reg` is negative or not finite.
    TypeError
        If an argument is not of real numbers or labels not integers.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning (2006), equations 4.108 and 4.109.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.lecture import softmax_loss_naive
    >>> softmax_loss_naive(np.ones((2, 2)), [[1.0, 2.0]], [0], reg=0.25)
    (1.6931471805599454, array([[ 0. ,  1. ],
           [-0.5,  1.5]]))
    """
    return softmax_loss(W, X, y, reg, "naive")


def softmax_loss_vectorized(
    W: ArrayLike, X: ArrayLike, y: ArrayLike, reg: float
) -> tuple[float, FloatArray]:
    """Return the result of `softmax_loss_naive`, computed by NumPy on all samples together."""
    return softmax_loss(W, X, y, reg, "vectorized")


def softmax_loss_numba(
    W: ArrayLike, X: ArrayLike, y: ArrayLike, reg: float
) -> tuple[float, FloatArray]:
    """Return the result of `softmax_loss_naive`, computed by parallel loops that Numba compiles.

    The first call compiles them. Without Numba it raises ImportError, which says how to install it.
    """
    return softmax_loss(W, X, y, reg, "numba")


def softmax_loss_compiled(
    W: ArrayLike, X: ArrayLike, y: ArrayLike, reg: float
) -> tuple[float, FloatArray]:
    """Return the result of `softmax_loss_naive`, computed by the package's compiled kernels.

    If the package was installed without them, it raises ImportError, which says what to do.
    """
    return softmax_loss(W, X, y, reg, "compiled")


@in_default_float_state
def softmax_loss(
    W: ArrayLike, X: ArrayLike, y: ArrayLike, reg: float, backend: str
) -> tuple[float, FloatArray]:
    """Return the loss and gradient of `softmax_loss_naive`, computed by `backend`."""
    with course_names(l2="reg"):
        penalty, dpenalty = linear.penalty(W, l2=reg, backend=backend)
    loss, dW = _linear_loss(X, W, "y", y, backend)
    dW += dpenalty
    return loss + penalty, dW


def as_matrix(name: str, X: ArrayLike) -> NDArray[Any]:
    """Return `X` as an array in its own dtype: two dimensions, at least one row."""
    matrix = validation.as_array(name, X)
    if matrix.ndim != 2:
        raise ValueError(f"{name}: expected shape (n_samples, n_features), got {matrix.shape}")
    if not len(matrix):
        raise ValueError(f"{name}: expected at least one sample, got shape {matrix.shape}")
    return matrix


def as_class_indices(
    name: str, labels: ArrayLike, n_samples: int, n_classes: int | None = None
) -> NDArray[Any]:
    """Return the labels as int64 (n_samples,), checked to be less than `n_classes` if that is given."""
    array = validation.as_array(name, labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer labels, got dtype {array.dtype}")
    single = array.ndim == 0 and n_samples == 1
    if not single and array.shape not in ((n_samples,), (n_samples, 1)):
        raise ValueError(
            f"{name}: expected one label for each of {n_samples} samples, shape ({n_samples},) or "
            f"({n_samples}, 1), got shape {array.shape}"
        )
    if not n_samples:
        raise ValueError(f"{name}: expected at least one sample, got none")
    array = array.reshape(n_samples)
    if n_classes is None:
        n_classes = max(int(array.max()), 0) + 1
    with course_names(targets=name):
        return validation.as_targets(array, array.shape, n_classes, np.dtype(np.float64))


@contextmanager
def course_names(**names: str) -> Iterator[None]:
    """Name arguments as the course does in the errors of the loss core, which begin with the name."""
    try:
        yield
    except (TypeError, ValueError) as error:
        argument, colon, reason = str(error).partition(":")
        if not colon or argument not in names:
            raise
        raise type(error)(f"{names[argument]}:{reason}") from None


def _rows(name: str, values: ArrayLike) -> NDArray[Any]:
    array = validation.as_array(name, values)
    if array.ndim not in (1, 2) or array.shape[-1] == 0:
        raise ValueError(
            f"{name}: expected shape (n_classes,) or (n_samples, n_classes) with at least one class, "
            f"got {array.shape}"
        )
    return array


def _linear_loss(
    X: ArrayLike, W: ArrayLike, label_name: str, labels: ArrayLike, backend: str
) -> tuple[float, FloatArray]:
    matrix = as_matrix("X", X)
    targets = as_class_indices(label_name, labels, len(matrix))
    with course_names(targets=label_name):
        loss, gradients = linear.linear_cross_entropy(
            matrix, W, targets, wrt=("W",), backend=backend
        )
    assert gradients.W is not None  # asked for
    return loss, gradients.W
