"""The floating-point state of a public call: round to nearest, keep subnormal numbers, no traps.

Compiled kernels set this state themselves. Python, NumPy and the other backends compute in the state of the
caller's thread, which `torch.set_flush_denormal` or a library compiled with -ffast-math may have changed:
without this module the bits of a result would depend on it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def in_default_float_state(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that it computes in the default state, and restores the caller's.

    Only the compiled backend can set the state; without it the function computes in the caller's.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with _float_state()():
            return function(*args, **kwargs)

    return call


@cache
def _float_state() -> Callable[[], AbstractContextManager[object]]:
    try:
        from .compiled._core import FloatState
    except Exception:  # not installed, or refused at import: `get_backend` says why
        return nullcontext
    return FloatState
