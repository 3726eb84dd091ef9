"""The functional loss core: validate, allocate, call the backend, return.

Notation: z are logits, one row per sample, with c classes; lse(z) = log(sum_k exp(z_k)); p = softmax(z)
= exp(z - lse(z)); t is a target, a row of probabilities, or for a label y the one-hot row of y.
All logarithms are natural; losses are in nats and summed in float64.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.memory_mapping import may_share
from .._arrays.threads import resolve_n_threads
from .._arrays.validation import FloatArray
from ..backends import Backend, TargetWeights, fast_paths_of, get_backend, in_default_float_state
from .options import LossOptions, Objective, objective_of

Axis = int | tuple[int, ...] | None


def softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    out: FloatArray | None = None,
    *,
    mask: ArrayLike | None = None,
    temperature: float = 1.0,
    backend: str = "auto",
    n_threads: int | None = None,
) -> FloatArray:
    """Return the probabilities of logits.

    ``softmax(z)_k = exp(z_k - m) / sum_j exp(z_j - m)`` with ``m = max_j z_j``, which only prevents
    overflow, and z the logits divided by the temperature.

    Parameters
    ----------
    logits : array_like of real numbers
        Any shape. float32 and float16 are computed in float32, other dtypes in float64.
        -inf is a masked class and gets the probability 0.
    axis : int, tuple of int or None, default -1
        The axes to sum over; None for all.
    out : ndarray, optional
        An array for the result, of its shape and dtype. It may be `logits` itself, or overlap any of the
        arguments. After an error about a row its content is undefined.
    mask : array_like of bool, optional
        True where a class takes part, broadcast to the shape of `logits`. False is a logit of -inf,
        whatever stands there.
    temperature : float, default 1.0
        Positive: what the logits are divided by. Larger ones make the classes more alike.
    backend : {"auto", "compiled", "vectorized", "numba", "naive"}, default "auto"
        The backend; see `fastsoftmax.backends`.
    n_threads : int, optional
        The maximum number of threads. By default ``FASTSOFTMAX_NUM_THREADS``, else ``OMP_NUM_THREADS``,
        else the CPUs this process may use.

    Returns
    -------
    ndarray
        The shape of `logits`, float32 or float64; sums to 1 over `axis`. `out` if given, else C-contiguous.

    Raises
    ------
    ValueError
        If a row contains a NaN or +inf, or only -inf and masked classes, or overflows when it is divided by
        the temperature; if `axis` is out of range or has no elements; if `temperature` is not positive and
        finite; if `mask` does not broadcast, or `out` has another shape or cannot be written.
    TypeError
        If `logits` are not real numbers, `mask` is not of booleans, or `out` has another dtype.

    References
    ----------
    Goodfellow, Bengio, Courville: Deep Learning (2016), sections 4.1 and 6.2.2.3.

    Examples
    --------
    >>> from fastsoftmax import softmax
    >>> softmax([[0.0, 0.0], [1000.0, 0.0]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    # Inlined, here and below: another function call would add a tenth to the time of a small call.
    is_plain = mask is None and type(axis) is int and type(temperature) is float
    is_plain = is_plain and axis == -1 and temperature == 1
    if out is not None and is_plain and _has_mapped("softmax", logits, out, backend, n_threads):
        return out
    return _map_rows("softmax", logits, axis, out, (mask, temperature), backend, n_threads)


def log_softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    out: FloatArray | None = None,
    *,
    mask: ArrayLike | None = None,
    temperature: float = 1.0,
    backend: str = "auto",
    n_threads: int | None = None,
) -> FloatArray:
    """Return the logarithms of the probabilities, ``z_k - lse(z)``, accurate even if these underflow.

    Parameters
    ----------
    logits, axis, out, mask, temperature, backend, n_threads
        As in `softmax`.

    Returns
    -------
    ndarray
        As `softmax` returns, in nats; -inf for masked classes.

    Raises
    ------
    ValueError, TypeError
        As `softmax` does.

    Examples
    --------
    >>> from fastsoftmax import log_softmax
    >>> log_softmax([0.0, -1000.0])
    array([    0., -1000.])
    """
    is_plain = mask is None and type(axis) is int and type(temperature) is float
    is_plain = is_plain and axis == -1 and temperature == 1
    if out is not None and is_plain and _has_mapped("log_softmax", logits, out, backend, n_threads):
        return out
    return _map_rows("log_softmax", logits, axis, out, (mask, temperature), backend, n_threads)


def logsumexp(
    logits: ArrayLike,
    axis: Axis = -1,
    out: FloatArray | None = None,
    *,
    keepdims: bool = False,
    mask: ArrayLike | None = None,
    temperature: float = 1.0,
    b: ArrayLike | None = None,
    return_sign: bool = False,
    backend: str = "auto",
    n_threads: int | None = None,
) -> Any:
    """Return the logarithm of the sum of exponentials, ``m + log(sum_k exp(z_k - m))``, ``m = max_k z_k``.

    With `b`, that of the absolute value of ``sum_k b_k exp(z_k)``.

    Parameters
    ----------
    logits, axis, mask, temperature, backend, n_threads
        As in `softmax`.
    out : ndarray, optional
        An array for the result, of its shape and dtype; it may overlap any of the arguments.
    keepdims : bool, default False
        Keep the summed axes, with length 1.
    b : array_like of real numbers, optional
        The factors of the exponentials, finite, of any sign, broadcast to the shape of `logits`. A logit
        whose factor is 0 is not looked at.
    return_sign : bool, default False
        Return the sign of the sum as well. Without it, the logarithm of a negative sum is NaN.

    Returns
    -------
    ndarray or scalar
        `logits` without `axis`, float32 or float64, in nats; `out` if given. -inf for a row of only -inf
        and for a sum of 0, +inf for a row with a +inf, NaN for one with a NaN.
    sign : ndarray or scalar
        With `return_sign`: 1, 0 or -1, of the same shape and dtype; NaN where the sum is.

    Raises
    ------
    ValueError
        If `axis` is out of range or has no elements; if `temperature` is not positive and finite, `b` is
        not finite, `mask` or `b` do not broadcast, or `out` has another shape or cannot be written.
    TypeError
        If `logits` or `b` are not real numbers, `mask` is not of booleans, or `out` has another dtype.

    References
    ----------
    Blanchard, Higham, Higham: Accurately computing the log-sum-exp and softmax functions,
    IMA Journal of Numerical Analysis 41 (2021). The names `b` and `return_sign` are SciPy's.

    Examples
    --------
    >>> from fastsoftmax import logsumexp
    >>> float(logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    """
    is_plain = mask is b is None and not (keepdims or return_sign)
    is_plain = is_plain and type(axis) is int and type(temperature) is float
    is_plain = is_plain and axis == -1 and temperature == 1
    if out is not None and is_plain and _has_mapped("logsumexp", logits, out, backend, n_threads):
        return out
    return _logsumexp(
        logits, axis, out, keepdims, (mask, temperature), b, return_sign, backend, n_threads
    )


@in_default_float_state
def _logsumexp(
    logits: ArrayLike,
    axis: Axis,
    out: FloatArray | None,
    keepdims: bool,
    options: tuple[ArrayLike | None, float],
    b: ArrayLike | None,
    return_sign: bool,
    backend: str,
    n_threads: int | None,
) -> Any:
    """Return the result of `logsumexp` by its general path."""
    array = _float_logits(logits)
    axes = _axes_of(array, axis)
    rows, moved_shape = _as_rows(array, axes)
    shape = moved_shape[: max(array.ndim, 1) - len(axes)]
    if keepdims and array.ndim:
        shape = tuple(1 if i in axes else n for i, n in enumerate(array.shape))
    if out is not None:
        _check_out(out, shape, rows.dtype)
    changed = _with_options(rows, array.shape, axes, *options)
    sums = functools.partial(_sums, get_backend(backend), resolve_n_threads(n_threads))
    if b is None:
        found = sums(changed)
        sign = np.where(np.isnan(found), found, found > -np.inf).astype(found.dtype)
    else:
        factors = _as_rows(_broadcast("b", _real("b", b, rows.dtype), array.shape), axes)[0]
        found, sign = _signed_sums(sums, changed, factors)
        if not return_sign:
            found[sign < 0] = np.nan
    result, sign = found.reshape(shape), sign.reshape(shape)
    if out is not None:
        out[...] = result
        result = out
    elif result.ndim == 0:
        result, sign = result[()], sign[()]
    return (result, sign) if return_sign else result


@in_default_float_state
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    backend: str = "auto",
    n_threads: int | None = None,
) -> Any:
    """Return the cross-entropy of softmax(logits) against the targets.

    Without options ``mean_i -sum_k t_ik * log(p_ik)``; for labels, ``mean_i (lse(z_i) - z_i[y_i])``.
    With weights s_i of the rows and v_k of the classes and the label smoothing e, the targets t become
    ``u_ik = s_i * v_k * ((1 - e) * t_ik + e / n_classes)`` and ``loss_i = sum_k u_ik * (lse(z_i) - z_ik)``.

    Parameters
    ----------
    logits : array_like of real numbers, shape (..., n_classes)
        As in `softmax`.
    targets : array_like
        Integer labels from 0 to n_classes - 1 of shape (...,), or probabilities (finite, not
        negative, usually of sum 1) of the shape of `logits`.
    sample_weight : array_like of shape (...,), optional
        s_i, finite and not negative. A row of weight 0 is not read.
    class_weight : array_like of shape (n_classes,), optional
        v_k, finite and not negative.
    label_smoothing : float from 0 to 1, default 0.0
        e, the share of every target that is spread evenly over the classes.
    ignore_index : int, optional
        The label of ignored rows, which are not read: their loss and gradient are 0. It need not be a
        class. By default no label is ignored, and a label out of range is an error.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean divides the sum of the losses by ``sum_i s_i * v[y_i]`` over the rows that are not ignored;
        with probabilities by ``sum_i s_i``, whatever the class weights. "none": the loss of every row.
    backend, n_threads
        As in `softmax`.

    Returns
    -------
    float, or ndarray of float64 and shape (...,) with ``reduction="none"``
        In nats; +inf if a target includes a masked class (a logit of -inf), NaN if a mean divides by 0, as
        it does without rows.

    Raises
    ------
    ValueError
        If shapes do not fit, a label is out of range, a probability or weight is negative or not finite,
        an option is out of range, `ignore_index` (other than a negative one) is combined with
        probabilities, or a row of logits contains a NaN or +inf, or only -inf.
    TypeError
        If `logits` are not real numbers or labels not integers.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning (2006), equation 4.108. Combinations of options mean
    the same as in `torch.nn.functional.cross_entropy`; see `fastsoftmax.loss.options`.

    Examples
    --------
    >>> from fastsoftmax import cross_entropy
    >>> cross_entropy([[0.0, 0.0]], [1])
    0.6931471805599453
    >>> cross_entropy([[0.0, 0.0], [5.0, 0.0]], [1, -100], ignore_index=-100, reduction="sum")
    0.6931471805599453
    """
    options = LossOptions(sample_weight, class_weight, label_smoothing, ignore_index, reduction)
    array = _float_logits(logits)
    rows, leading_shape = _class_rows(array)
    objective = objective_of(targets, leading_shape, rows.shape[1], rows.dtype, options)
    losses = np.empty(len(rows))
    invalid = get_backend(backend).softmax_cross_entropy(
        rows,
        objective.targets,
        0.0,
        losses,
        None,
        resolve_n_threads(n_threads),
        objective.weights,
    )
    _check_rows(invalid, rows, leading_shape)
    return objective.reduce(losses, leading_shape)


def softmax_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    out: FloatArray | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    backend: str = "auto",
    n_threads: int | None = None,
) -> tuple[Any, FloatArray]:
    """Return the cross-entropy of softmax(logits) and its gradient for the logits, from one pass.

    ``dlogits_ik = (p_ik * sum_j u_ij - u_ik) / d`` with u of `cross_entropy` (without options the targets
    t) and d the denominator of the mean, or 1; for labels without options ``(p_ik - [k = y_i]) / n`` with
    n rows.

    Parameters
    ----------
    logits, targets, backend, n_threads
        As in `cross_entropy`.
    out : ndarray, optional
        An array for the gradient, of its shape and dtype. It may be `logits` itself, or
        overlap any of the arguments, which are read first. After an error about a row its content is
        undefined.
    sample_weight, class_weight, label_smoothing, ignore_index, reduction
        As in `cross_entropy`. With ``reduction="none"`` the gradient is that of the sum: each row is
        the gradient of its own loss.

    Returns
    -------
    loss : float or ndarray
        As `cross_entropy` returns.
    dlogits : ndarray
        The shape of `logits`; `out` if given. float16 or bfloat16 if `logits` are, else the compute
        dtype, float32 or float64.

    Raises
    ------
    ValueError, TypeError
        As `cross_entropy` does, and if `out` has another shape or dtype or cannot be written.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning (2006), equation 4.109.

    Examples
    --------
    >>> from fastsoftmax import softmax_cross_entropy
    >>> loss, dlogits = softmax_cross_entropy([[0.0, 0.0]], [1])
    >>> dlogits
    array([[ 0.5, -0.5]])
    """
    fast_paths = None
    # Inlined: one more function call would add a tenth to the time of a small call.
    if (
        sample_weight is None
        and class_weight is None
        and ignore_index is None
        and type(label_smoothing) is float
        and label_smoothing == 0
        and type(reduction) is str
        and reduction == "mean"
    ):
        fast_paths = fast_paths_of(backend)
    if fast_paths is not None:
        usual = fast_paths.mean_cross_entropy(logits, targets, out, n_threads)
        if usual is not None:
            loss, dlogits, invalid = usual
            if invalid >= 0:
                rows = np.asarray(logits)
                _check_rows(invalid, rows, rows.shape[:1], overwritten=out is not None)
            return loss, dlogits
    options = LossOptions(sample_weight, class_weight, label_smoothing, ignore_index, reduction)
    return _softmax_cross_entropy(logits, targets, out, options, backend, n_threads)


@in_default_float_state
def _softmax_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    out: FloatArray | None,
    options: LossOptions,
    backend: str,
    n_threads: int | None,
) -> tuple[Any, FloatArray]:
    """Return the result of `softmax_cross_entropy` by its general path."""
    array = validation.as_array("logits", logits)
    dtype = validation.gradient_dtype(array.dtype)
    rows, leading_shape = _class_rows(_float_logits(array))
    objective = objective_of(targets, leading_shape, rows.shape[1], rows.dtype, options)
    shape = (*leading_shape, rows.shape[1])
    direct = False
    if out is not None:
        _check_out(out, shape, dtype)
        direct = out.dtype == rows.dtype and _is_direct(out, rows, objective)
    dlogits = out.reshape(rows.shape) if out is not None and direct else np.empty_like(rows)
    losses = np.empty(len(rows))
    invalid = get_backend(backend).softmax_cross_entropy(
        rows,
        objective.targets,
        objective.scale,
        losses,
        dlogits,
        resolve_n_threads(n_threads),
        objective.weights,
    )
    # In place, the row that the message describes has been overwritten: use the caller's array.
    _check_rows(invalid, rows, leading_shape, overwritten=out is not None)
    undefined = objective.undefined()
    if undefined is not None:
        dlogits[undefined] = np.nan
    result = dlogits.reshape(shape)
    if out is None:
        result = result.astype(dtype, copy=False)
    else:
        if not direct:
            out[...] = result
        result = out
    return objective.reduce(losses, leading_shape), result


def _has_mapped(
    function: str, logits: ArrayLike, out: object, backend: str, n_threads: int | None
) -> bool:
    """Compute the usual call into `out` by a fast path, if there is one that takes it."""
    usual = fast_paths_of(backend)
    invalid = None if usual is None else usual.map_rows(function, logits, out, n_threads)
    if invalid is not None and invalid >= 0:
        rows = np.asarray(logits)
        _check_rows(invalid, rows, rows.shape[:-1], overwritten=True)
    return invalid is not None


@in_default_float_state
def _map_rows(
    function: str,
    logits: ArrayLike,
    axis: Axis,
    out: FloatArray | None,
    options: tuple[ArrayLike | None, float],
    backend: str,
    n_threads: int | None,
) -> FloatArray:
    """Apply a function from rows to rows over `axis`; `options` are mask and temperature."""
    array = _float_logits(logits)
    axes = _axes_of(array, axis)
    rows, moved_shape = _as_rows(array, axes)
    if out is not None:
        _check_out(out, array.shape, rows.dtype)
    last = _last(array.shape, axes)
    direct = out is not None and axes == last and _is_direct(out, rows)
    result = out.reshape(rows.shape) if out is not None and direct else np.empty_like(rows)
    given = _with_options(rows, array.shape, axes, *options, out=result)
    invalid = -1
    compute = getattr(get_backend(backend), function)
    if len(rows):
        invalid = compute(given, result, resolve_n_threads(n_threads))
    if invalid >= 0:
        leading = moved_shape[: max(array.ndim, 1) - len(axes)]
        overwritten = out is not None  # by what the message would describe
        seen = rows if overwritten else _with_options(rows, array.shape, axes, *options)
        if not overwritten and np.isposinf(seen[invalid]).any() > np.isposinf(rows[invalid]).any():
            raise ValueError(
                f"temperature: the logits divided by {options[1]} overflow {rows.dtype} "
                f"{validation.at_row(invalid, leading)}"
            )
        _check_rows(invalid, seen, leading, overwritten)
    if direct and out is not None:
        return out
    moved = np.moveaxis(result.reshape(moved_shape), last, axes).reshape(array.shape)
    if out is None:
        return np.ascontiguousarray(moved).reshape(array.shape)
    out[...] = moved
    return out


def _with_options(
    rows: FloatArray,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    mask: ArrayLike | None,
    temperature: float,
    out: FloatArray | None = None,
) -> FloatArray:
    """Return rows of logits divided by the temperature, with -inf where masked: in `out`, or themselves.

    `shape` and `axes` are those of the array that the rows are of.
    """
    divisor = validation.as_non_negative("temperature", temperature)
    if divisor == 0:
        raise ValueError("temperature: expected a positive number, got 0.0")
    if mask is None and divisor == 1:
        return rows
    left_out = None
    if mask is not None:
        takes_part = validation.as_array("mask", mask)
        if takes_part.dtype != bool:
            raise TypeError(f"mask: expected booleans, got {takes_part.dtype}")
        spread = np.atleast_1d(_broadcast("mask", ~takes_part, shape))
        left_out = np.moveaxis(spread, axes, _last(shape, axes))
    result = np.empty_like(rows) if out is None else out
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows shows in the row
        np.divide(rows, divisor, out=result, casting="same_kind")
    if left_out is not None:
        np.copyto(result.reshape(left_out.shape), -np.inf, where=left_out)
    return result


def _last(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return as many of the last axes as `axes` are; a scalar counts as one row of one class."""
    n_axes = max(len(shape), 1)
    return tuple(range(n_axes - len(axes), n_axes))


def _broadcast(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"{name}: expected a shape that broadcasts to that of the logits, {shape}, got {array.shape}"
        ) from None


def _real(name: str, value: ArrayLike, dtype: np.dtype[Any]) -> FloatArray:
    array = validation.as_array(name, value)
    with np.errstate(over="ignore"):
        array = array.astype(dtype)
    validation.check_finite(name, array)
    return array


def _sums(backend: Backend, n_threads: int, rows: FloatArray) -> FloatArray:
    """Return the log-sum-exp of rows."""
    found = np.empty(len(rows), rows.dtype)
    if len(rows):
        backend.logsumexp(rows, found, n_threads)
    return found


def _signed_sums(
    sums: Callable[[FloatArray], FloatArray], rows: FloatArray, factors: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the logarithm of the absolute value of sum_k b_k exp(z_k), and its sign.

    Terms of either sign are summed apart, relative to the largest logit: where the two sums cancel, their
    difference is as good as their digits.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        counted = np.where(factors == 0, -np.inf, rows)
        largest = counted.max(axis=1)
        shift = np.where(np.isfinite(largest), largest, 0)
        # Before the factors come in: what a sum with the logits rounds off would be much of a difference.
        terms = counted - shift[:, np.newaxis] + np.log(np.abs(factors))
        rise, fall = (
            sums(np.where(of_sign, terms, -np.inf)) for of_sign in (factors > 0, factors < 0)
        )
        apart = np.abs(rise - fall)
        found = np.maximum(rise, fall)
        # With nothing of one sign the other sum is the result; two infinite ones have no difference.
        both = (rise > -np.inf) & (fall > -np.inf)
        found = np.where(both, found + np.log(-np.expm1(-apart)), found) + shift
        alone = (rise > -np.inf).astype(found.dtype) - (fall > -np.inf)
        sign = np.where(np.isnan(found), found, np.where(both, np.sign(rise - fall), alone))
    return found.astype(rows.dtype, copy=False), sign.astype(rows.dtype, copy=False)


def _float_logits(logits: ArrayLike) -> FloatArray:
    array = validation.as_array("logits", logits)
    return array.astype(validation.compute_dtype(array.dtype), copy=False)


def _axes_of(logits: FloatArray, axis: Axis) -> tuple[int, ...]:
    """Return the axes as a sorted tuple of indices from 0; a scalar counts as one row of one class."""
    n_axes = max(logits.ndim, 1)
    if axis is None:
        return tuple(range(n_axes))
    chosen = axis if isinstance(axis, tuple) else (axis,)
    for one in chosen:
        if isinstance(one, bool) or not isinstance(one, int | np.integer):
            raise TypeError(
                f"axis: expected an int, a tuple of ints or None, got {validation.shown(axis)}"
            )
        if not -n_axes <= one < n_axes:
            raise ValueError(f"axis: {one} is out of range for logits with {n_axes} axes")
    positive = sorted({int(one) % n_axes for one in chosen})
    if len(positive) != len(chosen) or not chosen:
        raise ValueError(f"axis: expected one or more different axes, got {validation.shown(axis)}")
    return tuple(positive)


def _as_rows(array: FloatArray, axes: tuple[int, ...]) -> tuple[FloatArray, tuple[int, ...]]:
    """Return the array with `axes` moved to the end, flattened to (n, c), and the shape before that."""
    if axes == (array.ndim - 1,) and array.size:  # nothing moves
        return validation.as_native(array.reshape(-1, array.shape[-1]), array.dtype), array.shape
    array = np.atleast_1d(array)
    moved = np.moveaxis(array, axes, range(array.ndim - len(axes), array.ndim))
    n_classes = int(np.prod(moved.shape[array.ndim - len(axes) :]))
    if n_classes == 0:
        raise ValueError(f"logits: expected at least one class, got shape {array.shape}")
    rows = moved.reshape(moved.size // n_classes, n_classes)
    return validation.as_native(rows, rows.dtype), moved.shape


def _class_rows(array: FloatArray) -> tuple[FloatArray, tuple[int, ...]]:
    """Return logits with the classes on the last axis as rows (n, c), and the shape before that axis."""
    if array.ndim == 0:
        raise ValueError("logits: expected shape (..., n_classes), got a scalar")
    rows, shape = _as_rows(array, (array.ndim - 1,))
    return rows, shape[:-1]


def _check_rows(
    invalid: int, rows: FloatArray, leading_shape: tuple[int, ...], overwritten: bool = False
) -> None:
    if invalid < 0:
        return
    held = "a NaN, +inf or nothing but -inf"
    if not overwritten:
        held = validation.describe_non_finite(rows[invalid])
    where = validation.at_row(invalid, leading_shape)
    raise ValueError(f"logits: expected a finite log-sum-exp in every row, got {held} {where}")


def _overlaps_itself(array: NDArray[Any]) -> bool:
    """Return whether elements may share memory: a stride is smaller than the extent of the inner axes."""
    axes = [(abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1]
    reach = array.itemsize
    for stride, length in sorted(axes):
        if stride < reach:
            return True
        reach += stride * (length - 1)
    return False


def _is_direct(out: FloatArray, rows: FloatArray, objective: Objective | None = None) -> bool:
    """Return whether the kernels can write to `out` itself.

    It must be contiguous, and disjoint from the inputs or exactly the logits, of which every row is read
    before it is written.
    """
    if not (out.flags.c_contiguous and out.flags.aligned):
        return False
    if may_share(out, rows) and out.ctypes.data != rows.ctypes.data:
        return False
    if objective is None:
        return True
    weights = objective.weights or TargetWeights()
    others = objective.targets, weights.rows, weights.classes
    return not any(other is not None and may_share(out, other) for other in others)


def _check_out(out: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out: expected a numpy array, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {out.shape}")
    if out.dtype != dtype:
        raise TypeError(f"out: expected dtype {dtype}, got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out: expected a writable array, got a read-only one")
    if not out.flags.c_contiguous and _overlaps_itself(out):
        raise ValueError("out: expected an array whose elements do not share memory")
