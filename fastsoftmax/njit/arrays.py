"""Checks of arguments, when Numba compiles and at run time, and what all functions here do with arrays.

Numba frees an array after its last use, which may be that of its address: an array whose address goes to C
is an argument of the function that takes the address.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit, types
from numba.core.errors import TypingError
from numba.extending import overload

from . import symbols

# Those of the caller would be inherited: bits and the checks for NaN do not depend on them.
_OPTIONS: Any = {"fastmath": False, "error_model": "numpy"}
FLOATS = (types.float32, types.float64)

Function = TypeVar("Function", bound=Callable[..., Any])


def strict(function: Function) -> Function:
    """Compile a function that Python does not call."""
    compiled: Function = njit(**_OPTIONS)(function)
    return compiled


def compiles(function: Callable[..., Any]) -> Callable[[Function], Function]:
    """Register what returns, for the types of the arguments, the code that Numba compiles."""
    register: Callable[[Function], Function] = overload(
        function, strict=False, prefer_literal=True, jit_options=_OPTIONS
    )
    return register


def is_absent(value: Any) -> bool:
    """Return whether an argument is None when Numba compiles."""
    return (
        value is None
        or isinstance(value, types.NoneType)
        or (isinstance(value, types.Omitted) and value.value is None)
    )


def is_default(value: Any, default: object) -> bool:
    """Return whether an argument is left out."""
    if isinstance(value, types.Omitted):
        value = value.value
    return not isinstance(value, types.Type) and bool(value == default)


def constant(name: str, value: Any) -> Any:
    """Return the value of an argument that decides what is compiled."""
    if isinstance(value, types.Omitted):
        return value.value
    if isinstance(value, types.Literal):
        return value.literal_value
    if isinstance(value, types.NoneType):
        return None
    if isinstance(value, types.BaseTuple):
        parts: Any = value
        return tuple(constant(name, part) for part in parts)
    if isinstance(value, types.Type):
        raise TypingError(f"{name}: expected a constant, got {value}")
    return value


def check_array(
    name: str, array: Any, ndim: int, dtypes: tuple[Any, ...], any_strides: bool = False
) -> None:
    """Raise unless it is an array of these axes and types, and C-contiguous unless `any_strides`."""
    is_array = isinstance(array, types.Array) and array.ndim == ndim and array.aligned
    if is_array and array.dtype in dtypes and (any_strides or array.layout == "C"):
        return
    kind = "an array" if any_strides else "a C-contiguous array"
    raise TypingError(
        f"{name}: expected {kind} of {ndim} axes and of {' or '.join(map(str, dtypes))}, got {array}"
    )


def check_logits(logits: Any, least_axes: int = 1) -> None:
    """Raise unless they have that many axes and a type that the kernels take."""
    if isinstance(logits, types.Array) and logits.ndim >= least_axes:
        check_array("logits", logits, logits.ndim, FLOATS)
        return
    raise TypingError(
        f"logits: expected a C-contiguous array of {least_axes} or more axes and of float32 or float64, "
        f"got {logits}"
    )


def check_output(name: str, array: Any, ndim: int, dtype: Any) -> None:
    """Raise unless a result can be written to it."""
    check_array(name, array, ndim, (dtype,))
    if not array.mutable:
        raise TypingError(f"{name}: expected an array that can be written, got {array}")


def check_number(name: str, value: Any, kinds: Any = types.Number) -> None:
    """Raise unless the type is one of `kinds`, or a number is the default."""
    if isinstance(value, types.Literal):
        value = value.literal_value
    elif isinstance(value, types.Omitted):
        value = value.value
    is_type = isinstance(value, types.Type)
    python = int if kinds is types.Integer else int | float
    allowed = isinstance(value, kinds) if is_type else isinstance(value, python)
    if not allowed or isinstance(value, bool | types.Complex):
        raise TypingError(f"{name}: expected a number, got {value}")


def check_n_threads(value: Any) -> None:
    """Raise unless it is an integer."""
    check_number("n_threads", value, types.Integer)


@strict
def threads(n_threads: Any) -> Any:
    """Return the number of threads as C takes it."""
    if n_threads < 1:
        raise ValueError("n_threads: expected 1 or more")
    return np.int32(min(n_threads, 1 << 16))


def address(array: Any) -> int:
    """Return where the elements of an array are, 0 for None and for an array without elements."""
    raise NotImplementedError


@compiles(address)
def _address(array: Any) -> Any:
    if is_absent(array):
        return lambda array: np.uintp(0)
    return lambda array: np.uintp(array.ctypes.data if array.size > 0 else 0)


def overlaps(a: Any, b: Any) -> bool:
    """Return whether two contiguous arrays have memory in common; None has none."""
    raise NotImplementedError


@compiles(overlaps)
def _overlaps(a: Any, b: Any) -> Any:
    if is_absent(a) or is_absent(b):
        return lambda a, b: False

    def overlap(a: Any, b: Any) -> bool:
        start, other = a.ctypes.data, b.ctypes.data
        return bool(start < other + b.nbytes and other < start + a.nbytes)

    return overlap


def output_like(logits: Any, out: Any) -> Any:
    """Return `out`, which may be the logits themselves, or an array of their shape."""
    raise NotImplementedError


@compiles(output_like)
def _output_like(logits: Any, out: Any) -> Any:
    if is_absent(out):
        return lambda logits, out: np.empty(logits.shape, logits.dtype)

    def checked(logits: Any, out: Any) -> Any:
        if out.shape != logits.shape:
            raise ValueError("out: expected the shape of logits")
        if out.ctypes.data != logits.ctypes.data and overlaps(out, logits):
            raise ValueError("out: expected logits itself or an array that does not overlap it")
        return out

    return checked


@strict
def check_rows(invalid: int) -> None:
    """Raise for the first invalid row, if there is one."""
    if invalid >= 0:
        raise ValueError("logits: expected a finite log-sum-exp in every row")


@strict
def sum_of(values: Any) -> float:
    """Return the sum of contiguous float64, with the bits of NumPy's."""
    total: float = symbols.pairwise_sum(address(values), values.size)
    return total
