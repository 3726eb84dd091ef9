"""The loss core inside functions compiled by `numba.njit`, through the C API.

A function that calls these holds the addresses of this process: Numba cannot cache it on disk.
"""

import ctypes
from ctypes import c_double, c_int, c_size_t, c_ssize_t, c_void_p
from typing import Any

import numpy as np

from ._optional import unavailable
from .backends import get_backend
from .loss import functional as _functional

try:
    from numba import njit, types
    from numba.core.errors import TypingError
    from numba.extending import overload
except Exception as error:
    raise unavailable("numba", "fastsoftmax.njit: needs", error) from error

__all__ = ["softmax_cross_entropy"]


class _Table(ctypes.Structure):
    """struct fastsoftmax_api of fastsoftmax.h."""

    _fields_ = (
        ("version", c_int),
        ("softmax", c_void_p),
        ("log_softmax", c_void_p),
        ("logsumexp", c_void_p),
        ("cross_entropy", c_void_p),
    )


def _address(capsule: object, name: bytes) -> int:
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = c_void_p, (ctypes.py_object, ctypes.c_char_p)
    address: int = get_pointer(capsule, name)
    return address


_kernels: Any = get_backend("compiled")
_table = _Table.from_address(_address(_kernels.C_API, b"fastsoftmax.C_API"))

# The sum of the losses in the order that the Python function takes it in.
_sum = ctypes.CFUNCTYPE(c_double, c_void_p, c_size_t)(
    _address(_kernels.PAIRWISE_SUM, b"fastsoftmax.pairwise_sum")
)

_cross_entropy = ctypes.CFUNCTYPE(
    c_ssize_t,
    c_int,  # type
    c_void_p,  # logits
    c_ssize_t,
    c_size_t,
    c_size_t,
    c_void_p,  # labels
    c_void_p,  # probabilities
    c_void_p,  # weights
    c_double,  # scale
    c_void_p,  # losses
    c_void_p,  # dlogits
    c_ssize_t,
    c_int,
)(_table.cross_entropy)


def softmax_cross_entropy(logits: Any, labels: Any, dlogits: Any, n_threads: int = 1) -> float:
    """Mean cross-entropy of softmax(logits), whose gradient goes to `dlogits`; from inside Numba.

    ``mean_i (lse(z_i) - z_i[y_i])`` and ``dlogits_ik = (p_ik - [k = y_i]) / n``, as
    `fastsoftmax.softmax_cross_entropy` has them, with the same bits.

    Parameters
    ----------
    logits : array of float32 or float64, shape (n, n_classes), C-contiguous
    labels : array of int64, shape (n,), contiguous
    dlogits : array of the shape and dtype of `logits`, C-contiguous
        Where the gradient goes; it may be `logits`, and overlaps no argument in another way.
    n_threads : int, default 1
        At most that many threads. Within `numba.prange`, 1.

    Returns
    -------
    float
        In nats; NaN where there are no rows.

    Raises
    ------
    ValueError
        If shapes do not fit, a label is no class, a row of logits holds a NaN, +inf or nothing but -inf, or
        `dlogits` overlaps `labels`, or `logits` without being the same array.
    numba.TypingError
        When Numba compiles the call: if an array is not of the dtype above or not C-contiguous, or
        `dlogits` is read-only.

    Examples
    --------
    >>> import numba, numpy as np
    >>> from fastsoftmax.njit import softmax_cross_entropy
    >>> @numba.njit
    ... def step(logits, labels, rate):
    ...     dlogits = np.empty_like(logits)
    ...     loss = softmax_cross_entropy(logits, labels, dlogits)
    ...     return loss, logits - rate * dlogits
    >>> step(np.zeros((1, 2)), np.array([1]), 1.0)
    (0.6931471805599453, array([[-0.5,  0.5]]))
    """
    loss: float
    loss, _ = _functional.softmax_cross_entropy(logits, labels, out=dlogits, n_threads=n_threads)
    return loss


def _check_type(name: str, array: Any, ndim: int, dtypes: tuple[Any, ...]) -> None:
    is_plain = isinstance(array, types.Array) and array.ndim == ndim and array.layout == "C"
    if is_plain and array.dtype in dtypes:
        return
    raise TypingError(
        f"{name}: expected a C-contiguous array of {ndim} axes and of "
        f"{' or '.join(map(str, dtypes))}, got {array}"
    )


@njit
def _overlap(a: Any, b: Any) -> bool:
    """Whether two contiguous arrays have memory in common."""
    start, other = a.ctypes.data, b.ctypes.data
    return bool(start < other + b.nbytes and other < start + a.nbytes)


@overload(softmax_cross_entropy)
def _compiled(logits: Any, labels: Any, dlogits: Any, n_threads: int = 1) -> Any:
    _check_type("logits", logits, 2, (types.float32, types.float64))
    _check_type("labels", labels, 1, (types.int64,))
    _check_type("dlogits", dlogits, 2, (logits.dtype,))
    if not dlogits.mutable:
        raise TypingError(f"dlogits: expected an array that can be written, got {dlogits}")
    number = 0 if logits.dtype == types.float32 else 1

    def mean_cross_entropy(logits: Any, labels: Any, dlogits: Any, n_threads: int = 1) -> float:
        n, n_classes = logits.shape
        if labels.shape[0] != n:
            raise ValueError("labels: expected one for each row of logits")
        if dlogits.shape != logits.shape:
            raise ValueError("dlogits: expected the shape of logits")
        if _overlap(dlogits, labels):
            raise ValueError("dlogits: expected an array that does not overlap labels")
        if dlogits.ctypes.data != logits.ctypes.data and _overlap(dlogits, logits):
            raise ValueError("dlogits: expected logits itself or an array that does not overlap it")
        for i in range(n):
            if labels[i] < 0 or labels[i] >= n_classes:
                raise ValueError("labels: expected labels from 0 to n_classes - 1")
        if n == 0:
            return float(np.nan)
        losses = np.empty(n, np.float64)
        invalid = _cross_entropy(
            number,
            logits.ctypes.data,
            n_classes,
            n,
            n_classes,
            labels.ctypes.data,
            0,
            0,
            1.0 / n,
            losses.ctypes.data,
            dlogits.ctypes.data,
            n_classes,
            n_threads,
        )
        if invalid >= 0:
            raise ValueError("logits: expected a finite log-sum-exp in every row")
        return _sum(losses.ctypes.data, n) / n  # type: ignore[no-any-return]

    return mean_cross_entropy
