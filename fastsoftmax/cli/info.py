"""`fastsoftmax info`: versions, backends and the machine. It needs only NumPy."""

import argparse
import platform

import numpy as np

from .._version import __version__
from ..backends import NAMES, get_backend
from ..profiling.provenance import cpu_name
from . import machine

DESCRIPTION = """\
Print versions, the CPU and its instruction sets, the number of threads, and the
backends: for one that is missing, why and what to install.
"""
EXAMPLES = """\
examples:
  fastsoftmax info
        what is installed, and what is used by default
  FASTSOFTMAX_NUM_THREADS=1 fastsoftmax info
        how an environment variable changes it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options: there are none."""


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    count, origin = machine.threads()
    lines = [
        ("fastsoftmax", __version__),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("NumPy", np.__version__),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("CPU", cpu_name()),
        ("instruction set", _instruction_set()),
        ("threads", f"{count} (from {origin})"),
    ]
    reasons = {name: machine.reason_against(name) for name in NAMES}
    automatic = get_backend("auto").name
    for name, reason in reasons.items():
        state = "available" if reason is None else f"not available: {reason}"
        lines.append((f"backend {name}", state + (' ("auto")' if name == automatic else "")))
    width = max(len(key) for key, _ in lines)
    for key, value in lines:
        print(f"{key:<{width}}  {value}")
    return 0


def _instruction_set() -> str:
    sets = machine.instruction_sets()
    if sets is None:
        return "none: there is no compiled backend"
    used, available = sets
    return f"{used} (this CPU can run {', '.join(available)})"
