"""linear_cross_entropy inside functions compiled by Numba."""

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ..loss import linear as _linear
from ..loss.linear import LinearGradients
from . import logit_options, symbols
from .arrays import (
    FLOATS,
    address,
    check_array,
    check_n_threads,
    check_number,
    compiles,
    constant,
    is_absent,
    strict,
    threads,
)
from .objective import (
    REDUCE,
    check_options,
    class_of,
    plain_objective,
    rows_of_targets,
    scale_of,
    target_of,
    weighted_objective,
    weights_or_none,
    without_ignored,
)


def linear_cross_entropy(
    X: Any,
    W: Any,
    targets: Any,
    intercept: Any = None,
    wrt: Any = ("W", "intercept", "X"),
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    mask: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
    metrics: Any = (),
    top_k: int = 5,
    upstream: Any = None,
    n_threads: int = 1,
) -> Any:
    """Return the cross-entropy of ``softmax(X @ W + intercept)`` and its gradients; from inside Numba.

    Loss and gradients have the bits of `fastsoftmax.linear_cross_entropy`, which has the formulas.

    Parameters
    ----------
    X : array of float32 or float64, shape (n_samples, n_features), C-contiguous
    W : array of the dtype of `X`, shape (n_features, n_classes), of any strides
    targets : array, C-contiguous
        Labels of int64, (n_samples,), or probabilities of the dtype of `X`, (n_samples, n_classes).
    intercept : array of the dtype of `X`, shape (n_classes,), C-contiguous, optional
    wrt : tuple of {"W", "intercept", "X"}, a constant; default all
    sample_weight, class_weight, label_smoothing, ignore_index, reduction, n_threads
        As in `softmax_cross_entropy`.
    mask, temperature, softcap, z_loss, return_lse, metrics, top_k
        As in `softmax_cross_entropy`; the mask broadcasts to (n_samples, n_classes).
    upstream : float, or array of float32 or float64, of the shape of `loss`, C-contiguous, optional
        What the gradients are multiplied by.

    Returns
    -------
    loss : float, or array of float64 and shape (n_samples,) with ``reduction="none"``
    gradients : LinearGradients
        The named tuple ``(W, intercept, X)``; None for those that were not requested.
    lse : array of float64, shape (n_samples,)
        With `return_lse`: the log-sum-exp of each row.
    metrics : RowMetrics
        With `metrics`.

    Raises
    ------
    ValueError
        As `softmax_cross_entropy` does, and if `W`, `intercept` or the logits of a row are not finite.
    MemoryError
        If there is no memory to work in.
    numba.TypingError
        When Numba compiles the call, as of `softmax_cross_entropy`.

    Examples
    --------
    >>> import numba, numpy as np
    >>> from fastsoftmax.njit import linear_cross_entropy
    >>> @numba.njit
    ... def gradient(X, W, labels):
    ...     return linear_cross_entropy(X, W, labels, wrt=("W",))[1].W
    >>> gradient(np.array([[1.0, 2.0]]), np.zeros((2, 2)), np.array([0]))
    array([[-0.5,  0.5],
           [-1. ,  1. ]])
    """
    return _linear.linear_cross_entropy(
        X,
        W,
        targets,
        intercept,
        wrt=wrt,
        sample_weight=sample_weight,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
        mask=mask,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        return_lse=return_lse,
        metrics=metrics,
        top_k=top_k,
        upstream=upstream,
        n_threads=n_threads,
    )


@strict
def _check_weights(X: Any, W: Any, targets: Any) -> None:
    if W.shape[0] != X.shape[1]:
        raise ValueError("W: expected one row for each column of X")
    if W.shape[1] == 0:
        raise ValueError("W: expected at least one class (column)")
    if targets.shape[0] != X.shape[0] or (targets.ndim == 2 and targets.shape[-1] != W.shape[1]):
        raise ValueError("targets: expected a label or probabilities for each row of X")
    for row in W:
        for weight in row:
            if not np.isfinite(weight):
                raise ValueError("W: expected finite numbers")


def _check_intercept(intercept: Any, n_classes: int) -> None:
    raise NotImplementedError


@compiles(_check_intercept)
def _compiled_check_intercept(intercept: Any, n_classes: int) -> Any:
    if is_absent(intercept):
        return lambda intercept, n_classes: None

    def check(intercept: Any, n_classes: int) -> None:
        if intercept.size != n_classes:
            raise ValueError("intercept: expected a number for each column of W")
        n_masked = 0
        for number in intercept:
            if number == -np.inf:
                n_masked += 1
            elif not np.isfinite(number):
                raise ValueError("intercept: expected finite numbers, or -inf for a masked class")
        if n_masked == n_classes:
            raise ValueError("intercept: expected a class that is not masked")

    return check


@strict
def _factor(upstream: Any) -> float:
    return np.float64(upstream)


@strict
def _no_factor(upstream: Any) -> float:
    return 1.0


@strict
def _factors(upstream: Any, n: int) -> Any:
    if upstream.size != n:
        raise ValueError("upstream: expected the shape of the loss")
    return upstream.astype(np.float64)


@strict
def _no_factors(upstream: Any, n: int) -> Any:
    return np.zeros(0)


@strict
def _counts(targets: Any, i: int, samples: Any, classes: Any, smoothing: float) -> bool:
    """Return whether a row has a target with weight."""
    if samples.size > 0 and not samples[i] > 0:
        return False
    if classes.size == 0:
        return True
    if targets.ndim == 1 and smoothing == 0:
        return bool(classes[class_of(targets, i)] > 0)
    for k in range(classes.size):
        if classes[k] > 0 and (smoothing > 0 or target_of(targets, i, k) > 0):
            return True
    return False


@strict
def _is_finite(row: Any) -> bool:
    for number in row:
        if not np.isfinite(number):
            return False
    return True


@strict
def _without_uncounted(X: Any, targets: Any, samples: Any, classes: Any, smoothing: float) -> Any:
    """Return a copy of X with zeros in uncounted rows that are not finite; empty if there are none."""
    copy = np.empty((0, 0), X.dtype)
    if samples.size == 0 and classes.size == 0:
        return copy
    for i in range(len(X)):
        if not _is_finite(X[i]) and not _counts(targets, i, samples, classes, smoothing):
            if copy.size == 0:
                copy = X.copy()
            copy[i] = 0
    return copy


@strict
def _call(
    X: Any,
    W: Any,
    targets: Any,
    intercept: Any,
    weights: Any,
    mixed: Any,
    upstream: Any,
    scale: float,
    losses: Any,
    dW: Any,
    dintercept: Any,
    dX: Any,
    has_logit_options: bool,
    mask: Any,
    of_rows: Any,
    linear: Any,
    options: Any,
    n_threads: Any,
) -> None:
    """Call the C function; what has no elements is not there. Arrays in `options` are arguments."""
    samples, classes, smoothing = weights
    finite = _without_uncounted(X, targets, samples, classes, smoothing)
    _fill(
        linear,
        X,
        finite,
        W,
        targets,
        intercept,
        mixed,
        scale,
        losses,
        dW,
        dintercept,
        dX,
        n_threads,
    )
    has_options = samples.size > 0 or classes.size > 0 or smoothing > 0 or upstream.size > 0
    has_options = has_options or has_logit_options
    options[0].size, options[0].smoothing = options.itemsize, smoothing
    options[0].row_weights, options[0].class_weights = address(samples), address(classes)
    options[0].upstream = address(upstream)
    invalid = _invoke(linear, options, has_options, finite)
    if invalid == symbols.NO_MEMORY:
        raise MemoryError("no memory for the compiled kernels to work in")
    if invalid >= 0:
        raise ValueError("X: expected rows whose logits have a finite log-sum-exp")


@strict
def _invoke(linear: Any, options: Any, has_options: bool, finite: Any) -> int:
    """Call the C function while `finite` is there."""
    invalid: int = symbols.linear_cross_entropy(
        address(linear), address(options) if has_options else np.uintp(0)
    )
    return invalid


@strict
def _fill(
    linear: Any,
    X: Any,
    finite: Any,
    W: Any,
    targets: Any,
    intercept: Any,
    mixed: Any,
    scale: float,
    losses: Any,
    dW: Any,
    dintercept: Any,
    dX: Any,
    n_threads: Any,
) -> None:
    itemsize = X.itemsize
    linear[0].size, linear[0].type = linear.itemsize, np.int32(itemsize == 8)
    linear[0].n_threads, linear[0].n_rows = n_threads, X.shape[0]
    linear[0].n_features, linear[0].n_classes = W.shape
    linear[0].X = address(finite) if finite.size else address(X)
    linear[0].W, linear[0].intercept = address(W), address(intercept)
    linear[0].W_feature_stride = W.strides[0] // itemsize
    linear[0].W_class_stride = W.strides[1] // itemsize
    if targets.ndim == 1 and mixed.size == 0:
        linear[0].labels = address(targets)
    else:
        linear[0].probabilities = address(mixed) if mixed.size else address(targets)
    linear[0].scale, linear[0].losses = scale, address(losses)
    linear[0].dW, linear[0].dintercept, linear[0].dX = address(dW), address(dintercept), address(dX)
    linear[0].dW_feature_stride, linear[0].dW_class_stride = W.shape[1], 1


def _set_undefined(gradient: Any, ignored: Any, of_rows: bool) -> None:
    """Put NaN into a gradient: into rows that are not ignored, or if there is one everywhere."""
    raise NotImplementedError


@compiles(_set_undefined)
def _compiled_set_undefined(gradient: Any, ignored: Any, of_rows: bool) -> Any:
    if is_absent(gradient):
        return lambda gradient, ignored, of_rows: None

    def set_undefined(gradient: Any, ignored: Any, of_rows: bool) -> None:
        if not of_rows:
            if not ignored.size or not ignored.all():
                gradient[:] = np.nan
            return
        for i in range(len(gradient)):
            if not ignored.size or not ignored[i]:
                gradient[i] = np.nan

    return set_undefined


@strict
def _array_of(shape: Any, like: Any) -> Any:
    return np.empty(shape, like.dtype)


@strict
def _no_array(shape: Any, like: Any) -> None:
    return None


def _wanted(wrt: Any, intercept: Any) -> tuple[Any, Any, Any]:
    """Return the functions that make the arrays of W, intercept and X."""
    chosen = constant("wrt", wrt)
    if not isinstance(chosen, tuple) or not set(chosen) <= set(LinearGradients._fields):
        raise TypingError(
            f"wrt: expected a tuple of names out of {LinearGradients._fields}, got {chosen!r}"
        )
    wanted = [_array_of if name in chosen else _no_array for name in LinearGradients._fields]
    if is_absent(intercept):
        wanted[1] = _no_array
    return wanted[0], wanted[1], wanted[2]


@compiles(linear_cross_entropy)
def _compiled_linear_cross_entropy(
    X: Any,
    W: Any,
    targets: Any,
    intercept: Any = None,
    wrt: Any = ("W", "intercept", "X"),
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: Any = 0.0,
    ignore_index: Any = None,
    reduction: Any = "mean",
    mask: Any = None,
    temperature: Any = 1.0,
    softcap: Any = None,
    z_loss: Any = 0.0,
    return_lse: Any = False,
    metrics: Any = (),
    top_k: Any = 5,
    upstream: Any = None,
    n_threads: Any = 1,
) -> Any:
    check_array("X", X, 2, FLOATS)
    check_array("W", W, 2, (X.dtype,), any_strides=True)
    check_n_threads(n_threads)
    if not is_absent(intercept):
        check_array("intercept", intercept, 1, (X.dtype,))
    options = sample_weight, class_weight, label_smoothing, ignore_index, reduction
    chosen, has_options = check_options(2, X.dtype, targets, *options)
    on_logits = mask, temperature, softcap, z_loss, return_lse, metrics, top_k
    mask_of, fitting, record_of, rows_of, has_logit_options = logit_options.choose(
        2, targets, *on_logits
    )
    factor, factors = _no_factor, _no_factors
    if not is_absent(upstream):
        if chosen == "none":
            check_array("upstream", upstream, 1, FLOATS)
            factors = _factors
        else:
            check_number("upstream", upstream, (types.Integer, types.Float))
            factor = _factor
    make_dW, make_dintercept, make_dX = _wanted(wrt, intercept)
    objective = weighted_objective if has_options else plain_objective
    reduce, is_mean = REDUCE[chosen], chosen == "mean"

    def compiled(
        X: Any,
        W: Any,
        targets: Any,
        intercept: Any = None,
        wrt: Any = ("W", "intercept", "X"),
        sample_weight: Any = None,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        ignore_index: Any = None,
        reduction: str = "mean",
        mask: Any = None,
        temperature: float = 1.0,
        softcap: Any = None,
        z_loss: float = 0.0,
        return_lse: bool = False,
        metrics: Any = (),
        top_k: int = 5,
        upstream: Any = None,
        n_threads: int = 1,
    ) -> Any:
        _check_weights(X, W, targets)
        n, n_classes = len(X), W.shape[1]
        _check_intercept(intercept, n_classes)
        rows = rows_of_targets(targets, n, n_classes)
        kept, ignored = without_ignored(rows, ignore_index, n_classes)
        takes_part = mask_of(mask, (n, n_classes), n_classes)
        given = weights_or_none(sample_weight, "sample_weight", n)
        of_classes = weights_or_none(class_weight, "class_weight", n_classes)
        kept = fitting(kept, takes_part, given, ignored)
        samples, classes, mixed, smoothing, total, power = objective(
            kept, ignored, given, of_classes, X, label_smoothing, is_mean, takes_part
        )
        dW, dintercept, dX = make_dW(W.shape, X), make_dintercept(n_classes, X), make_dX(X.shape, X)
        losses, of_rows, record = np.empty(n), rows_of(n), np.zeros(1, symbols.OPTIONS)
        record_of(record, takes_part, temperature, softcap, z_loss, top_k, of_rows, mixed)
        _call(
            X,
            W,
            kept,
            intercept,
            (samples, classes, smoothing),
            mixed,
            factors(upstream, n),
            scale_of(total, power, is_mean) * factor(upstream),
            losses,
            dW,
            dintercept,
            dX,
            has_logit_options,
            takes_part,
            of_rows,
            np.zeros(1, symbols.LINEAR),
            record,
            threads(n_threads),
        )
        if n > 0 and is_mean and not total > 0:
            _set_undefined(dW, ignored, False)
            _set_undefined(dintercept, ignored, False)
            _set_undefined(dX, ignored, True)
        gradients = LinearGradients(dW, dintercept, dX)
        return logit_options.results((reduce(losses, total, power, n), gradients), of_rows, n)

    return compiled
