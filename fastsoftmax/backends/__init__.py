"""Four ways to compute the same thing: naive, numba, vectorized, compiled."""

from .floating_point import in_default_float_state
from .protocol import Backend, Data, Rule, Shortcuts, State, TargetWeights
from .registry import NAMES, get_backend, shortcuts_of, why_unavailable

__all__ = [
    "NAMES",
    "Backend",
    "Data",
    "Rule",
    "Shortcuts",
    "State",
    "TargetWeights",
    "get_backend",
    "in_default_float_state",
    "shortcuts_of",
    "why_unavailable",
]
