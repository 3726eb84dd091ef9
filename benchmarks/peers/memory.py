"""`memory`: the peak resident memory that a second `fit` takes over its inputs."""

import argparse
import ctypes
import gc
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from fastsoftmax.cli.errors import FAILED, CommandError
from fastsoftmax.cli.numbers import size

from . import tables
from .epochs import ROWS, made_up_row
from .problem import made_up
from .threads import confine
from .trainers import FastSoftmax

_MIB = 1 << 20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Usage(NamedTuple):
    """Bytes of one shape."""

    inputs: int  # X and y
    peak_over_inputs: int  # of the second fit
    bound: int


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; 1 where a bound is not kept."""
    if sys.platform != "linux":
        raise CommandError("memory: the peak can be read on Linux only", FAILED)
    usages = {}
    for name, shape in arguments.shapes.items():
        tables.report_progress(name)
        # A fresh process: no earlier training has left memory that could be used again.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            usages[name] = process.submit(_usage, name, shape, arguments.threads).result()
    table = tables.new_table("shape", "X and y", "peak over them", "at most", "share")
    for name, usage in usages.items():
        share = usage.peak_over_inputs / usage.bound
        table.add_row(
            name,
            size(usage.inputs),
            tables.at_most(size(usage.peak_over_inputs), share, 1),
            size(usage.bound),
            tables.percent(share),
        )
    console = tables.new_console(arguments.json)
    console.print("", table, "", sep="\n")
    console.print(
        f"Peak resident memory of a second fit, less what was resident before the first, with X and y "
        f"there; threads: {arguments.threads}.\n"
        "At most: 16 MiB + 24 bytes a sample + 4 x the size of coef_.",
        markup=False,
    )
    record = {"rows": [{"shape": name, **usage._asdict()} for name, usage in usages.items()]}
    tables.save_json(arguments.json, "memory", {"threads": arguments.threads}, record)
    return 0 if all(usage.peak_over_inputs <= usage.bound for usage in usages.values()) else 1


def _usage(name: str, shape: tuple[int, int, int, int], n_threads: int) -> Usage:
    confine(n_threads)
    # What is done once in a process is no matter of the data: imports, the kernels' threads.
    FastSoftmax(made_up(1024, 64, 10, 256), n_threads).fit(1, 0)
    problem = (ROWS.get(name) or made_up_row(shape)).load()
    give_back_free_memory()
    before = _reset_peak()
    trainer: Any = FastSoftmax(problem, n_threads)
    trainer.fit(2, 0)
    _reset_peak()
    trainer.fit(2, 1)
    coef, _ = trainer.weights()
    bound = 16 * _MIB + 24 * len(problem.X) + 4 * coef.nbytes
    return Usage(problem.X.nbytes + problem.y.nbytes, _peak() - before, bound)


def give_back_free_memory() -> None:
    """Return to the system what is free, or a process would not show what it takes."""
    gc.collect()
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "malloc_trim"):  # glibc's
        c_library.malloc_trim(0)


def _reset_peak() -> int:
    """Make the peak what is resident now, and return it."""
    _CLEAR.write_text("5")
    return _peak()


def _peak() -> int:
    """Return the most bytes that have been resident since the last reset."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} does not tell the peak")
