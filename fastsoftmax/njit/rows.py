"""softmax, log_softmax and logsumexp inside functions compiled by Numba."""

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.cpython.unsafe import tuple as tuples

from ..loss import functional
from . import symbols
from .arrays import (
    address,
    check_array,
    check_logits,
    check_n_threads,
    check_number,
    check_output,
    check_rows,
    compiles,
    constant,
    is_absent,
    is_default,
    output_like,
    overlaps,
    strict,
    threads,
)


def softmax(
    logits: Any,
    axis: Any = -1,
    out: Any = None,
    mask: Any = None,
    temperature: float = 1.0,
    n_threads: int = 1,
) -> Any:
    """Return the probabilities of logits; from inside Numba, with the bits of `fastsoftmax.softmax`.

    Parameters
    ----------
    logits : array of float32 or float64, C-contiguous
    axis : int, tuple of int or None, a constant; default -1
        Other axes than the last ones cost a copy.
    out : array of the shape and dtype of `logits`, C-contiguous, optional
        Where the result goes; it may be `logits`, and overlaps no argument in another way.
    mask : array of bool, C-contiguous, optional
        True where a class takes part, broadcast to the shape of `logits`.
    temperature : float, default 1.0
        What the logits are divided by.
    n_threads : int, default 1
        The maximum number of threads. Within `numba.prange`, 1.

    Returns
    -------
    array of the shape and dtype of `logits`

    Raises
    ------
    ValueError
        If shapes do not fit, a row contains a NaN or +inf, or only -inf and masked classes, `temperature`
        is not positive and finite, or `out` overlaps an argument without being `logits`.
    numba.TypingError
        When Numba compiles the call: if an array is of another dtype or not C-contiguous, `out` is
        read-only, or `axis` is not a constant.

    Examples
    --------
    >>> import numba, numpy as np
    >>> from fastsoftmax.njit import softmax
    >>> @numba.njit
    ... def most_probable(logits):
    ...     return softmax(logits, temperature=0.5).max()
    >>> most_probable(np.zeros(4))
    0.25
    """
    return functional.softmax(
        logits, axis, out, mask=mask, temperature=temperature, n_threads=n_threads
    )


def log_softmax(
    logits: Any,
    axis: Any = -1,
    out: Any = None,
    mask: Any = None,
    temperature: float = 1.0,
    n_threads: int = 1,
) -> Any:
    """Return the logarithms of the probabilities; from inside Numba, as `fastsoftmax.log_softmax` does.

    Parameters, results and errors are those of `softmax`.
    """
    return functional.log_softmax(
        logits, axis, out, mask=mask, temperature=temperature, n_threads=n_threads
    )


def logsumexp(
    logits: Any,
    axis: Any = -1,
    out: Any = None,
    keepdims: bool = False,
    mask: Any = None,
    temperature: float = 1.0,
    n_threads: int = 1,
) -> Any:
    """Return the logarithm of the sum of exponentials; from inside Numba, as `fastsoftmax.logsumexp` does.

    Parameters and errors are those of `softmax`, but `out` has the shape of the result and overlaps no
    argument, `keepdims` is a constant, and no row is an error. There is no `b` and no `return_sign`: their
    bits depend on NumPy's own logarithms.

    Returns
    -------
    array or scalar
        `logits` without `axis`, of their dtype.
    """
    return functional.logsumexp(
        logits,
        axis,
        out,
        keepdims=keepdims,
        mask=mask,
        temperature=temperature,
        n_threads=n_threads,
    )


# Copy a tuple with another element in one place.
_set_item: Any = tuples.tuple_setitem


def _axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    chosen = constant("axis", axis)
    if chosen is None:
        return tuple(range(ndim))
    given = chosen if isinstance(chosen, tuple) else (chosen,)
    for one in given:
        if not isinstance(one, int) or isinstance(one, bool):
            raise TypingError(f"axis: expected an int, a tuple of ints or None, got {chosen!r}")
        if not -ndim <= one < ndim:
            raise TypingError(f"axis: {one} is out of range for logits with {ndim} axes")
    positive = sorted({one % ndim for one in given})
    if len(positive) != len(given) or not given:
        raise TypingError(f"axis: expected one or more different axes, got {chosen!r}")
    return tuple(positive)


def _check_options(logits: Any, mask: Any, temperature: Any, n_threads: Any) -> bool:
    """Check the arguments that all functions have; return whether mask or temperature is given."""
    check_logits(logits)
    check_n_threads(n_threads)
    if not is_absent(mask):
        axes = mask.ndim if isinstance(mask, types.Array) else logits.ndim
        check_array("mask", mask, axes, (types.boolean,))
        if axes > logits.ndim:
            raise TypingError(
                f"mask: expected at most the {logits.ndim} axes of logits, got {mask}"
            )
    check_number("temperature", temperature)
    return not is_absent(mask) or not is_default(temperature, 1.0)


@strict
def _n_classes(shape: Any, axes: Any) -> int:
    n_classes = 1
    for axis in axes:
        n_classes *= shape[axis]
    if n_classes == 0:
        raise ValueError("logits: expected at least one class")
    return n_classes


@strict
def _divide(logits: Any, temperature: float, work: Any) -> None:
    """Write the logits, divided by the temperature in their dtype, to `work`; both contiguous."""
    if not 0 < temperature < np.inf:
        raise ValueError("temperature: expected a positive, finite number")
    divisor = work.dtype.type(temperature)
    given, flat = logits.reshape(logits.size), work.reshape(work.size)
    for i in range(flat.size):
        flat[i] = given[i] / divisor


@strict
def _permute(given: Any, shape: Any, order: Any, is_back: bool, result: Any) -> None:
    """Copy the elements of an array of that shape, all axes in that order; or back. Both arrays are flat.

    A transposed view would do the same; for one of any axes Numba takes seconds to compile.
    """
    n_axes, stride = len(shape), 1
    strides, place = np.empty(n_axes, np.int64), np.zeros(n_axes, np.int64)
    for axis in range(n_axes - 1, -1, -1):
        strides[axis] = stride
        stride *= shape[axis]
    at = 0
    for i in range(result.size):
        if is_back:
            result[at] = given[i]
        else:
            result[i] = given[at]
        for k in range(n_axes - 1, -1, -1):
            axis = order[k]
            place[axis] += 1
            at += strides[axis]
            if place[axis] < shape[axis]:
                break
            place[axis] = 0
            at -= strides[axis] * shape[axis]


@strict
def _identity(array: Any) -> Any:
    return array


@strict
def _nothing(work: Any, result: Any) -> None:
    return None


def _movers(order: tuple[int, ...]) -> tuple[Any, Any]:
    """Return what brings the axes of a contiguous array in that order, and what brings them back."""
    if order == tuple(range(len(order))):
        return _identity, _nothing

    @strict
    def move(array: Any) -> Any:
        result = np.empty(array.size, array.dtype)
        _permute(array.reshape(array.size), array.shape, order, False, result)
        return result

    @strict
    def move_back(work: Any, result: Any) -> None:
        _permute(work, result.shape, order, True, result.reshape(result.size))

    return move, move_back


def _mask_out(work: Any, mask: Any, shape: Any, move: Any) -> None:
    """Put -inf where a mask of the shape of the logits is False, whose axes `move` brings in order."""
    raise NotImplementedError


@compiles(_mask_out)
def _compiled_mask_out(work: Any, mask: Any, shape: Any, move: Any) -> Any:
    if is_absent(mask):
        return lambda work, mask, shape, move: None

    def mask_out(work: Any, mask: Any, shape: Any, move: Any) -> None:
        missing = len(shape) - mask.ndim
        for axis in range(mask.ndim):
            if mask.shape[axis] != 1 and mask.shape[axis] != shape[missing + axis]:
                raise ValueError("mask: expected a shape that broadcasts to that of the logits")
        takes_part, flat = move(np.broadcast_to(mask, shape).copy()), work.reshape(work.size)
        for i, takes in enumerate(takes_part.reshape(takes_part.size)):
            if not takes:
                flat[i] = -np.inf

    return mask_out


def _overload_map(function: Any, external: Any) -> None:
    """Compile a function from rows to rows."""

    @strict
    def compute(logits: Any, result: Any, n_classes: int, n_threads: Any) -> None:
        kind, n = np.int32(logits.itemsize == 8), logits.size // n_classes
        z, out = address(logits), address(result)
        check_rows(external(kind, z, n_classes, n, n_classes, out, n_classes, n_threads))

    @compiles(function)
    def compiled(
        logits: Any,
        axis: Any = -1,
        out: Any = None,
        mask: Any = None,
        temperature: Any = 1.0,
        n_threads: Any = 1,
    ) -> Any:
        has_options = _check_options(logits, mask, temperature, n_threads)
        if not is_absent(out):
            check_output("out", out, logits.ndim, logits.dtype)
        axes = _axes_of(axis, logits.ndim)
        order = (*(i for i in range(logits.ndim) if i not in axes), *axes)

        def plain(
            logits: Any,
            axis: Any = -1,
            out: Any = None,
            mask: Any = None,
            temperature: float = 1.0,
            n_threads: int = 1,
        ) -> Any:
            n_classes = _n_classes(logits.shape, axes)
            result = output_like(logits, out)
            compute(logits, result, n_classes, threads(n_threads))
            return result

        moves = order != tuple(range(logits.ndim))
        move, move_back = _movers(order)

        def changed(
            logits: Any,
            axis: Any = -1,
            out: Any = None,
            mask: Any = None,
            temperature: float = 1.0,
            n_threads: int = 1,
        ) -> Any:
            n_classes = _n_classes(logits.shape, axes)
            result = output_like(logits, out)
            if overlaps(out, mask):
                raise ValueError("out: expected an array that does not overlap mask")
            given = move(logits)
            work = np.empty_like(given) if moves else result
            _divide(given, temperature, work)
            _mask_out(work, mask, logits.shape, move)
            compute(work, work, n_classes, threads(n_threads))
            move_back(work, result)
            return result

        return changed if has_options or moves else plain


_overload_map(softmax, symbols.softmax)
_overload_map(log_softmax, symbols.log_softmax)


@strict
def _compute_sums(logits: Any, result: Any, n_classes: int, n_threads: Any) -> None:
    kind, n = np.int32(logits.itemsize == 8), logits.size // n_classes
    symbols.logsumexp(kind, address(logits), n_classes, n, n_classes, address(result), n_threads)


def _output_of(logits: Any, out: Any, mask: Any, shape: Any) -> Any:
    raise NotImplementedError


@compiles(_output_of)
def _compiled_output_of(logits: Any, out: Any, mask: Any, shape: Any) -> Any:
    if is_absent(out):
        return lambda logits, out, mask, shape: np.empty(shape, logits.dtype)

    def checked(logits: Any, out: Any, mask: Any, shape: Any) -> Any:
        if out.shape != shape:
            raise ValueError("out: expected the shape of the result")
        if overlaps(out, logits):
            raise ValueError("out: expected an array that does not overlap logits")
        if overlaps(out, mask):
            raise ValueError("out: expected an array that does not overlap mask")
        return out

    return checked


@compiles(logsumexp)
def _compiled_logsumexp(
    logits: Any,
    axis: Any = -1,
    out: Any = None,
    keepdims: Any = False,
    mask: Any = None,
    temperature: Any = 1.0,
    n_threads: Any = 1,
) -> Any:
    has_options = _check_options(logits, mask, temperature, n_threads)
    keeps = bool(constant("keepdims", keepdims))
    axes = _axes_of(axis, logits.ndim)
    order = (*(i for i in range(logits.ndim) if i not in axes), *axes)
    n_kept = logits.ndim if keeps else logits.ndim - len(axes)
    if not is_absent(out):
        check_output("out", out, n_kept, logits.dtype)
    is_plain = not has_options and order == tuple(range(logits.ndim))
    is_scalar = n_kept == 0 and is_absent(out)

    @strict
    def kept_shape(logits: Any) -> Any:
        shape = logits.shape
        for one in axes:
            shape = _set_item(shape, one, 1)
        return shape

    @strict
    def remaining_shape(logits: Any) -> Any:
        shape = logits.shape
        for k in range(n_kept):
            shape = _set_item(shape, k, logits.shape[order[k]])
        return shape[:n_kept]

    move, _ = _movers(order)

    @strict
    def ordered(logits: Any, mask: Any, temperature: float) -> Any:
        given = move(logits)
        work = np.empty_like(given)
        _divide(given, temperature, work)
        _mask_out(work, mask, logits.shape, move)
        return work

    @strict
    def unchanged(logits: Any, mask: Any, temperature: float) -> Any:
        return logits

    @strict
    def scalar(result: Any) -> Any:
        return result[()]

    @strict
    def array(result: Any) -> Any:
        return result

    shape_of = kept_shape if keeps else remaining_shape
    rows_of = unchanged if is_plain else ordered
    returned = scalar if is_scalar else array

    def compiled(
        logits: Any,
        axis: Any = -1,
        out: Any = None,
        keepdims: bool = False,
        mask: Any = None,
        temperature: float = 1.0,
        n_threads: int = 1,
    ) -> Any:
        n_classes = _n_classes(logits.shape, axes)
        result = _output_of(logits, out, mask, shape_of(logits))
        work = rows_of(logits, mask, temperature)
        _compute_sums(work, result, n_classes, threads(n_threads))
        return returned(result)

    return compiled
