"""Where the time of a training goes: the profiler, the cost model, the roofline of the machine."""

from .profiler import profile

__all__ = ["profile"]
