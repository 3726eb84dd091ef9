"""Functions of rows of logits: softmax, log-softmax and log-sum-exp; and what every loss checks of rows.

Notation as in `fastsoftmax.loss.functional`.
"""

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.memory_mapping import may_share
from .._arrays.threads import resolve_n_threads
from .._arrays.validation import FloatArray
from ..backends import (
    Backend,
    LogitOptions,
    TargetWeights,
    fast_paths,
    get_backend,
    in_default_float_state,
)
from .options import Objective

Axis = int | tuple[int, ...] | None

# The default, which a small call recognises by its identity.
_ONE = 1.0


def softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    out: FloatArray | None = None,
    *,
    mask: ArrayLike | None = None,
    temperature: float = _ONE,
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
    # Here and below inlined: each function call adds a tenth to the time of a small call.
    if mask is None and temperature is _ONE:
        try:
            found = fast_paths[backend].map_rows("softmax", logits, axis, out, n_threads)
        except (KeyError, TypeError):
            found = None
        if found is not None:
            if found is not out and isinstance(found, int):
                _refuse(found, logits, out)
            return found
    return _map_rows("softmax", logits, axis, out, (mask, temperature), backend, n_threads)


def log_softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    out: FloatArray | None = None,
    *,
    mask: ArrayLike | None = None,
    temperature: float = _ONE,
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
    if mask is None and temperature is _ONE:
        try:
            found = fast_paths[backend].map_rows("log_softmax", logits, axis, out, n_threads)
        except (KeyError, TypeError):
            found = None
        if found is not None:
            if found is not out and isinstance(found, int):
                _refuse(found, logits, out)
            return found
    return _map_rows("log_softmax", logits, axis, out, (mask, temperature), backend, n_threads)


def logsumexp(
    logits: ArrayLike,
    axis: Axis = -1,
    out: FloatArray | None = None,
    *,
    keepdims: bool = False,
    mask: ArrayLike | None = None,
    temperature: float = _ONE,
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
    is_usual = mask is b is None and keepdims is return_sign is False
    if is_usual and temperature is _ONE:
        try:
            found = fast_paths[backend].map_rows("logsumexp", logits, axis, out, n_threads)
        except (KeyError, TypeError):
            found = None
        if found is not None:
            return found  # an infinite or undefined sum is a result
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
    array = float_logits(logits)
    axes = _axes_of(array, axis)
    rows, moved_shape = _as_rows(array, axes)
    shape = moved_shape[: max(array.ndim, 1) - len(axes)]
    if keepdims and array.ndim:
        shape = tuple(1 if i in axes else n for i, n in enumerate(array.shape))
    if out is not None:
        check_out(out, shape, rows.dtype)
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


def _refuse(invalid: int, logits: ArrayLike, out: object) -> NoReturn:
    """Raise for a row for which a fast path has found no result."""
    rows = np.asarray(logits)
    check_rows(invalid, np.atleast_2d(rows), rows.shape[:-1], overwritten=out is not None)
    raise AssertionError(f"row {invalid} has a result")


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
    array = float_logits(logits)
    axes = _axes_of(array, axis)
    rows, moved_shape = _as_rows(array, axes)
    if out is not None:
        check_out(out, array.shape, rows.dtype)
    last = _last(array.shape, axes)
    direct = out is not None and axes == last and is_direct(out, rows)
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
        check_rows(invalid, seen, leading, overwritten)
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


def float_logits(logits: ArrayLike) -> FloatArray:
    """Return logits in their compute dtype."""
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


def class_rows(array: FloatArray) -> tuple[FloatArray, tuple[int, ...]]:
    """Return logits with the classes on the last axis as rows (n, c), and the shape before that axis."""
    if array.ndim == 0:
        raise ValueError("logits: expected shape (..., n_classes), got a scalar")
    rows, shape = _as_rows(array, (array.ndim - 1,))
    return rows, shape[:-1]


def check_rows(
    invalid: int, rows: FloatArray, leading_shape: tuple[int, ...], overwritten: bool = False
) -> None:
    """Raise about the row without a softmax that a backend has found, if it has."""
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


def is_direct(out: FloatArray, rows: FloatArray, objective: Objective | None = None) -> bool:
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
    options = objective.logit_options or LogitOptions()
    others = objective.targets, weights.rows, weights.classes, weights.upstream, options.mask
    return not any(other is not None and may_share(out, other) for other in others)


def check_out(out: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise unless `out` can take a result of that shape and dtype."""
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
