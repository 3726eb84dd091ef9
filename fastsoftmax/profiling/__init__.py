"""Profiling of training runs: the profiler, the cost model, and the roofline of the machine."""

from .profiler import profile

__all__ = ["profile"]
