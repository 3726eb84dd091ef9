"""The functions of the C API, as symbols that code compiled by Numba refers to by name.

Numba caches code that calls a symbol, but not code that contains an address of this process. Another
process finds the symbols if it has imported this module.
"""

import ctypes
from ctypes import c_int, c_void_p
from typing import Any

import numpy as np

from .._optional import unavailable
from ..backends import get_backend
from ..loss import RowMetrics

try:
    from llvmlite.binding import add_symbol
    from numba import types
except Exception as error:
    raise unavailable("numba", "fastsoftmax.njit: needs", error) from error

_FUNCTIONS = (
    "softmax",
    "log_softmax",
    "logsumexp",
    "cross_entropy",
    "softmax_cross_entropy",
    "linear_cross_entropy",
)


class _Table(ctypes.Structure):
    """struct fastsoftmax_api of fastsoftmax.h."""

    _fields_ = (("version", c_int), *((name, c_void_p) for name in _FUNCTIONS))


# struct fastsoftmax_options and struct fastsoftmax_linear
OPTIONS = np.dtype(
    [
        ("size", np.uintp),
        ("row_weights", np.uintp),
        ("class_weights", np.uintp),
        ("smoothing", np.float64),
        ("upstream", np.uintp),
        *((name, np.float64) for name in ("temperature", "softcap", "z_loss")),
        *((name, np.uintp) for name in ("mask", "mask_stride", "lse", "lse_upstream")),
        *((name, np.uintp) for name in (*RowMetrics._fields, "top_k")),
    ],
    align=True,
)
LINEAR = np.dtype(
    [
        ("size", np.uintp),
        ("type", np.intc),
        ("n_threads", np.intc),
        *((name, np.uintp) for name in ("n_rows", "n_features", "n_classes", "X", "W")),
        *((name, np.intp) for name in ("W_feature_stride", "W_class_stride")),
        *((name, np.uintp) for name in ("intercept", "labels", "probabilities")),
        ("scale", np.float64),
        *((name, np.uintp) for name in ("losses", "dW")),
        *((name, np.intp) for name in ("dW_feature_stride", "dW_class_stride")),
        *((name, np.uintp) for name in ("dintercept", "dX")),
    ],
    align=True,
)
NO_MEMORY = -2


def _address(capsule: object, name: bytes) -> int:
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = c_void_p, (ctypes.py_object, ctypes.c_char_p)
    address: int = get_pointer(capsule, name)
    return address


_kernels: Any = get_backend("compiled")
_table = _Table.from_address(_address(_kernels.C_API, b"fastsoftmax.C_API"))


def _function(name: str, address: int, result: Any, *arguments: Any) -> Any:
    symbol = f"fastsoftmax_{name}"
    add_symbol(symbol, address)
    return types.ExternalFunction(symbol, result(*arguments))


_ROWS = (types.intc, types.uintp, types.intp, types.uintp, types.uintp)
_MAP = (types.intp, *_ROWS, types.uintp, types.intp, types.intc)
softmax = _function("softmax", _table.softmax, *_MAP)
log_softmax = _function("log_softmax", _table.log_softmax, *_MAP)
logsumexp = _function("logsumexp", _table.logsumexp, types.void, *_ROWS, types.uintp, types.intc)
softmax_cross_entropy = _function(
    "softmax_cross_entropy",
    _table.softmax_cross_entropy,
    types.intp,
    *_ROWS,
    *(types.uintp, types.uintp, types.uintp),  # labels, probabilities, options
    types.float64,
    types.uintp,
    types.uintp,
    types.intp,
    types.intc,
)
linear_cross_entropy = _function(
    "linear_cross_entropy", _table.linear_cross_entropy, types.intp, types.uintp, types.uintp
)
# The sum of float64 in the order of NumPy's.
pairwise_sum = _function(
    "pairwise_sum",
    _address(_kernels.PAIRWISE_SUM, b"fastsoftmax.pairwise_sum"),
    types.float64,
    types.uintp,
    types.uintp,
)
