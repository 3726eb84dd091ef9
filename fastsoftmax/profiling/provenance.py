"""The provenance of measurements: date, versions and machine."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays.threads import allowed_cpus
from .._version import __version__
from ..backends import get_backend, why_unavailable

_PACKAGES = ("numba", "scikit-learn", "threadpoolctl", "matplotlib", "rich")


def provenance(load: float | None = None) -> dict[str, Any]:
    """Return the date, versions and machine of a measurement, in the types of JSON.

    Parameters
    ----------
    load : float, optional
        The load of the machine before the run: the mean number of runnable threads over a minute.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "fastsoftmax": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            **{name: _version_of(name) for name in _PACKAGES},
        },
        "machine": {
            "system": platform.platform(),
            "cpu": cpu_name(),
            "instruction_set": _instruction_set(),
            "cpus": allowed_cpus(),
            "load_before": load,
        },
    }


def cpu_name() -> str:
    """Return the model of the CPU, or the architecture if the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _instruction_set() -> str | None:
    """Return the instruction set of the compiled backend, or None without one."""
    if why_unavailable("compiled") is not None:
        return None
    compiled: Any = get_backend("compiled")
    name: str = compiled.instruction_set()
    return name


def _version_of(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
