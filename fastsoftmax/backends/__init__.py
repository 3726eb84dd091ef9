"""The backends naive, numba, vectorized and compiled: four implementations of one protocol."""

from .floating_point import in_default_float_state
from .protocol import (
    Backend,
    Data,
    FastPaths,
    LogitOptions,
    NewtonRows,
    QuadraticModel,
    RowMetrics,
    Rule,
    State,
    TargetWeights,
)
from .registry import NAMES, fast_paths, get_backend, why_unavailable

__all__ = [
    "NAMES",
    "Backend",
    "Data",
    "FastPaths",
    "LogitOptions",
    "NewtonRows",
    "QuadraticModel",
    "RowMetrics",
    "Rule",
    "State",
    "TargetWeights",
    "fast_paths",
    "get_backend",
    "in_default_float_state",
    "why_unavailable",
]
