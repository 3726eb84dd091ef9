"""The loss of the linear classifier with its gradients, and the penalty of its weights.

Notation as in `fastsoftmax.loss`.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.threads import resolve_n_threads
from .._arrays.validation import FloatArray
from ..backends import get_backend, in_default_float_state
from .options import LossOptions, objective_of


class LinearGradients(NamedTuple):
    """Gradients of `linear_cross_entropy`; None for those that were not requested."""

    W: FloatArray | None
    intercept: FloatArray | None
    X: FloatArray | None


def linear_cross_entropy(
    X: ArrayLike,
    W: ArrayLike,
    targets: ArrayLike,
    intercept: ArrayLike | None = None,
    *,
    wrt: tuple[str, ...] = ("W", "intercept", "X"),
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    mask: ArrayLike | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
    metrics: Collection[str] = (),
    top_k: int = 5,
    upstream: ArrayLike | None = None,
    backend: str = "auto",
    n_threads: int | None = None,
) -> Any:
    """Return the cross-entropy of the linear classifier ``softmax(X @ W + intercept)`` and its gradients.

    With ``G = dlogits`` of `softmax_cross_entropy`: ``dW = X.T @ G``, ``dintercept = sum_i G_i``,
    ``dX = G @ W.T``.

    Parameters
    ----------
    X : array_like of real numbers, shape (n_samples, n_features)
        Computed in float32 if both `X` and `W` are floats of at most 32 bits, else in float64.
    W : array_like of real numbers, shape (n_features, n_classes)
        The weights.
    targets : array_like
        Integer labels (n_samples,) or probabilities (n_samples, n_classes), as in `cross_entropy`.
    intercept : array_like of real numbers, shape (n_classes,), optional
        Added to every row of logits. -inf masks a class; at least one class must remain.
    wrt : tuple of {"W", "intercept", "X"}
        The gradients to compute, by default all. That of the intercept needs an intercept.
    sample_weight, class_weight, label_smoothing, ignore_index, reduction
        As in `cross_entropy`. With ``reduction="none"`` the gradients are those of the sum.
    mask, temperature, softcap, z_loss, return_lse, metrics, top_k
        As in `cross_entropy`; `mask` of shape (n_classes,) or (n_samples, n_classes).
    upstream : array_like of real numbers, of the shape of `loss`, optional
        The gradient, with respect to `loss`, of what is made of it: the gradients are multiplied by it, row
        by row with ``reduction="none"``, and `loss` is not. Of any sign, so that it takes the rewards of a
        policy gradient; what is not finite gives gradients that are not, but for rows that do not count.
    backend, n_threads
        As in `softmax`.

    Returns
    -------
    loss : float, or ndarray of float64 and shape (n_samples,) with ``reduction="none"``
        In nats; NaN if a mean divides by 0, as it does without rows.
    gradients : LinearGradients
        The named tuple ``(W, intercept, X)``, each of the shape of its argument, None if not requested.
        float16 or bfloat16 if the argument is, else of the compute dtype.
    lse : ndarray of float64, shape (n_samples,)
        With `return_lse`, as `cross_entropy` returns.
    metrics : RowMetrics
        With `metrics`, as `cross_entropy` returns: of the logits, which are never in memory as a whole.

    Raises
    ------
    ValueError
        If shapes do not fit, a label is out of range, `X`, `W` or a row's logits are not finite except for
        masked classes, or `intercept` contains a NaN or +inf, or only -inf.
    TypeError
        If an argument is not of real numbers or labels are not integers.

    Examples
    --------
    A step of a policy gradient gives each row's reward as ``upstream=-rewards / n``.

    >>> import numpy as np
    >>> from fastsoftmax import linear_cross_entropy
    >>> loss, gradients = linear_cross_entropy([[1.0, 2.0]], np.zeros((2, 2)), [0])
    >>> gradients.W
    array([[-0.5,  0.5],
           [-1. ,  1. ]])
    """
    return linear_loss(
        X,
        W,
        targets,
        intercept,
        wrt,
        LossOptions(
            sample_weight,
            class_weight,
            label_smoothing,
            ignore_index,
            reduction,
            mask,
            temperature,
            softcap,
            z_loss,
            return_lse,
            metrics,
            top_k,
            upstream,
        ),
        backend,
        n_threads,
    )


@in_default_float_state
def linear_loss(
    X: ArrayLike,
    W: ArrayLike,
    targets: ArrayLike,
    intercept: ArrayLike | None,
    wrt: tuple[str, ...],
    options: LossOptions,
    backend: str,
    n_threads: int | None,
) -> Any:
    """Return the result of `linear_cross_entropy`."""
    features = _matrix("X", X)
    weights = _matrix("W", W)
    if weights.shape[0] != features.shape[1]:
        raise ValueError(
            f"W: expected one row for each of the {features.shape[1]} columns of X, "
            f"got shape {weights.shape}"
        )
    n_classes = weights.shape[1]
    if n_classes == 0:
        raise ValueError("W: expected at least one class (column), got 0")
    _check_wrt(wrt)
    dtype = _common_dtype(features, weights)
    came = [weights.dtype, dtype, features.dtype]
    features = validation.as_native(features, dtype)
    weights = weights.astype(dtype, copy=False)
    validation.check_finite("W", weights)
    offsets = None
    if intercept is not None:
        offsets = validation.as_array("intercept", intercept)
        if offsets.shape != (n_classes,):
            raise ValueError(f"intercept: expected shape ({n_classes},), got {offsets.shape}")
        came[1] = offsets.dtype
        masked = offsets == -np.inf
        offsets = validation.as_native(offsets, dtype)
        _check_intercept(offsets, masked)
    objective = objective_of(targets, features.shape[:1], n_classes, dtype, options)
    features = _without_uncounted(features, objective.counted())
    gradients = LinearGradients(
        np.empty_like(weights) if "W" in wrt else None,
        np.empty(n_classes, dtype) if "intercept" in wrt and offsets is not None else None,
        np.empty(features.shape, dtype) if "X" in wrt else None,
    )
    losses = np.empty(len(features))
    if len(features):
        invalid = get_backend(backend).linear_cross_entropy(
            features,
            weights,
            offsets,
            objective.targets,
            objective.scale,
            losses,
            *gradients,
            resolve_n_threads(n_threads),
            objective.weights,
            objective.logit_options,
        )
        if invalid >= 0:
            raise ValueError(validation.why_row_is_invalid(invalid, features[invalid], dtype))
    else:  # nothing to sum
        get_backend(backend)
        for gradient in gradients:
            if gradient is not None:
                gradient[...] = 0
    undefined = objective.undefined()
    if undefined is not None and undefined.any():
        for gradient in gradients[:2]:
            if gradient is not None:
                gradient.fill(np.nan)
        if gradients.X is not None:
            gradients.X[undefined] = np.nan
    found = LinearGradients(
        *(
            _in_argument_dtype(gradient, dtype)
            for gradient, dtype in zip(gradients, came, strict=True)
        )
    )
    return objective.results(losses, losses.shape, found)


@in_default_float_state
def penalty(
    W: ArrayLike,
    l2: float = 0.0,
    l1: float = 0.0,
    *,
    backend: str = "auto",
    n_threads: int | None = None,
) -> tuple[float, FloatArray]:
    """Return the lecture's penalty ``R(W) = l2 * sum(W**2) + l1 * sum(|W|)`` and its gradient.

    The gradient is ``2 * l2 * W + l1 * sign(W)``, with 0 as the subgradient at 0.

    Parameters
    ----------
    W : array_like of real numbers
        Weights of any shape. float32 and float16 are computed in float32, other dtypes in float64; sums are
        in float64.
    l2, l1 : float, default 0.0
        The strengths, finite and not negative.
    backend, n_threads
        As in `softmax`.

    Returns
    -------
    value : float
    gradient : ndarray
        The shape of `W`.

    Raises
    ------
    ValueError
        If `l2` or `l1` is negative or not finite, or `W` contains a number that is not finite.
    TypeError
        If an argument is not of real numbers.

    Examples
    --------
    >>> from fastsoftmax import penalty
    >>> penalty([1.0, -2.0], l2=0.5, l1=1.0)
    (5.5, array([ 2., -3.]))
    """
    array = validation.as_array("W", W)
    weights = validation.as_native(array, validation.compute_dtype(array.dtype))
    strengths = validation.as_non_negative("l2", l2), validation.as_non_negative("l1", l1)
    for name, slope in (("l2", 2 * strengths[0]), ("l1", strengths[1])):
        if slope > float(np.finfo(weights.dtype).max):  # else compared in float32
            raise ValueError(f"{name}: the gradient's factor {slope} overflows {weights.dtype}")
    validation.check_finite("W", weights)
    gradient = np.empty_like(weights)
    value = get_backend(backend).penalty(
        weights.reshape(-1), *strengths, gradient.reshape(-1), resolve_n_threads(n_threads)
    )
    return value, gradient


def _in_argument_dtype(gradient: FloatArray | None, dtype: np.dtype[Any]) -> FloatArray | None:
    """Return the gradient in the dtype of its argument, if that is float16 or bfloat16."""
    if gradient is None or not validation.is_half(dtype):
        return gradient
    return gradient.astype(validation.gradient_dtype(dtype))


def _check_intercept(intercept: FloatArray, masked: NDArray[np.bool_]) -> None:
    """Raise unless the intercept is finite for all unmasked classes, of which there must be one."""
    valid = np.isfinite(intercept) | masked
    if not valid.all():
        raise ValueError(
            "intercept: expected finite numbers, or -inf for a masked class, "
            f"got {intercept[~valid][0]} for class {int(np.argmin(valid))}"
        )
    if masked.all():
        raise ValueError("intercept: expected a class that is not masked, got nothing but -inf")


def _without_uncounted(X: FloatArray, counted: NDArray[np.bool_]) -> FloatArray:
    """Return `X` with zeros in uncounted rows that are not finite, as 0 * NaN is not 0."""
    invalid = [row for row in np.flatnonzero(~counted) if not np.isfinite(X[row]).all()]
    if not invalid:
        return X
    X = X.copy()
    X[invalid] = 0
    return X


def _check_wrt(wrt: object) -> None:
    fields = LinearGradients._fields
    accepted = f"wrt: expected a tuple of names out of {fields}, got {validation.shown(wrt)}"
    if isinstance(wrt, str):  # its letters would pass as names: "W" is one
        raise ValueError(accepted)
    if not isinstance(wrt, tuple | list | set | frozenset):
        raise TypeError(accepted)
    for name in wrt:
        if not isinstance(name, str | int):
            raise TypeError(accepted)
        if name not in LinearGradients._fields:
            raise ValueError(accepted)


def _matrix(name: str, value: ArrayLike) -> NDArray[Any]:
    array = validation.as_array(name, value)
    if array.ndim != 2:
        raise ValueError(f"{name}: expected two dimensions, got shape {array.shape}")
    return array


def _common_dtype(*arrays: NDArray[Any]) -> np.dtype[Any]:
    return np.result_type(*(validation.compute_dtype(array.dtype) for array in arrays))
