"""Four ways to compute the same thing: naive, numba, vectorized, compiled."""

from .protocol import Backend, Data, Rule, State
from .registry import NAMES, get_backend, why_unavailable

__all__ = ["NAMES", "Backend", "Data", "Rule", "State", "get_backend", "why_unavailable"]
