"""`busy`: an epoch on a machine whose CPUs others keep busy, against the time on a quiet one."""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from rich.console import Console

from fastsoftmax._arrays.threads import allowed_cpus
from fastsoftmax.cli.timing import Timing, turns, warmed_up

from . import tables
from .contender import present_and_missing
from .epochs import ROWS, made_up_row
from .threads import limited
from .trainers import PEERS, FastSoftmax, Trainer

SHAPE = "60000x784x10x128"
LOADS = (0, 1, 2, 4)
# On a busy machine the scheduler takes a CPU away for some milliseconds at a time: a turn has many.
_SECONDS_A_TURN = 0.2
# At most that many times the quiet time, with one busy process for each CPU.
_MAX_TIMES = 2.5

# Ends by itself when its parent has gone, however that ended.
_BUSY_LOOP = """
import os
parent = os.getppid()
print("busy", flush=True)
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@contextmanager
def busy_neighbours(n_processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep that many processes in busy loops, on the CPUs that this one may use."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        # In groups of their own, as Ctrl-C at a terminal is for this process, which then ends them.
        command = [sys.executable, "-c", _BUSY_LOOP]
        processes.extend(
            subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0)
            for _ in range(n_processes)
        )
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            with process:  # waits, and closes the pipe
                pass


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    console = tables.new_console(arguments.json)
    ((name, shape),) = arguments.shapes.items()
    row = ROWS.get(name) or made_up_row(shape)
    epochs = arguments.epochs or row.epochs
    peers, missing = present_and_missing([p for p in PEERS if p.name in arguments.contenders])
    problem = row.load()
    contenders: list[type[Trainer]] = [FastSoftmax, *peers]
    trainers = [contender(problem, arguments.threads) for contender in contenders]
    loads = sorted({*LOADS, allowed_cpus()})
    fits = {trainer.name: partial(trainer.fit, epochs, 0) for trainer in trainers}
    tables.report_progress(f"{name}: beside {', '.join(map(str, loads))} busy processes")
    with limited(arguments.threads):
        timings = measure_beside(fits, loads, arguments.rounds, epochs)
    _print(console, name, timings, arguments)
    tables.print_missing(console, missing)
    settings = {
        "threads": arguments.threads,
        "cpus": allowed_cpus(),
        "rounds": arguments.rounds,
        "epochs": epochs,
        "shape": name,
        "dtype": "float32",
        "most_times": _MAX_TIMES,
    }
    record = {
        "loads": [
            {
                "busy_processes": load,
                "contenders": {
                    contender: {
                        **timing.as_record(),
                        "over_quiet": timing.median / timings[0][contender].median,
                    }
                    for contender, timing in of_load.items()
                },
            }
            for load, of_load in timings.items()
        ],
        "missing": missing,
    }
    tables.save_json(arguments.json, "busy", settings, record)
    return 0


def measure_beside(
    fits: Mapping[str, Callable[[], None]], loads: list[int], n_rounds: int, epochs: int
) -> dict[int, dict[str, Timing]]:
    """Return the times of an epoch by load and contender; in a round every load has its turn."""
    turn_of = {name: warmed_up(fit, _SECONDS_A_TURN) for name, fit in fits.items()}
    seconds: dict[int, dict[str, list[float]]] = {
        load: {name: [] for name in fits} for load in loads
    }
    for i, load in turns(loads, n_rounds):
        with busy_neighbours(load):
            for _, name in turns([*fits], 1, seed=i):
                seconds[load][name].append(turn_of[name]() / epochs)
    return {
        load: {name: Timing(times) for name, times in of_load.items()}
        for load, of_load in seconds.items()
    }


def _print(
    console: Console,
    name: str,
    timings: Mapping[int, Mapping[str, Timing]],
    arguments: argparse.Namespace,
) -> None:
    table = tables.new_table(
        "busy processes", "contender", "epoch", "from all rounds", "over quiet", "at most", names=2
    )
    for load, of_load in timings.items():
        for i, (contender, timing) in enumerate(of_load.items()):
            ratio = timing.median / timings[0][contender].median
            asked = contender == FastSoftmax.name and load == allowed_cpus()
            table.add_row(
                "" if i else str(load),
                contender,
                *tables.timing_cells(timing),
                tables.at_most(tables.times(ratio), ratio, _MAX_TIMES if asked else None),
                tables.times(_MAX_TIMES) if asked else "-",
            )
        table.add_section()
    console.print("", table, "", sep="\n")
    console.print(
        f"One epoch of {name}, float32, threads: {arguments.threads}, CPUs: {allowed_cpus()}. Median "
        f"(and range) of {arguments.rounds} rounds.",
        markup=False,
    )
