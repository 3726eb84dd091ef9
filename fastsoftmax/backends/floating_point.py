"""The floating-point state of a public call: to nearest, subnormal numbers kept, no traps.

Compiled kernels see to it themselves. What Python and NumPy compute around them, and what the other
backends do, would follow what the caller's thread is set to (by `torch.set_flush_denormal`, by a library
compiled with -ffast-math), and so would the bits.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def in_default_float_state(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that it computes in the default state, and leaves the caller's as it was.

    Without the compiled backend there is nothing to set it with, and the call has the caller's state.
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
