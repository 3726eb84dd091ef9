"""`fastsoftmax roofline`: the peak performance of this machine."""

import argparse
import json
from typing import Any

from ..profiling.provenance import cpu_name, provenance
from ..profiling.roofline import BUFFER_BYTES, REPEATS, Peaks, measure_peaks
from . import files, machine, options
from .errors import FAILED, CommandError
from .numbers import count, three_digits

DESCRIPTION = """\
Measure the peak performance of this machine: fused multiply-adds in float32 and
float64, with the instruction set in use, and reading and copying memory, for each
number of threads. No training run can be faster; `fastsoftmax profile` shows how
close one comes.
"""
EXAMPLES = """\
examples:
  fastsoftmax roofline
        for 1 thread up to the number of CPUs
  fastsoftmax roofline --threads 2 --json -
        for two threads, for a program to read
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--threads",
        type=options.positive_integer,
        metavar="N",
        help="measure this number of threads alone (default: 1 to the number of CPUs)",
    )
    parser.add_argument("--json", metavar="FILE", help="save the numbers; - for standard output")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    load = machine.load()  # first, as this run will add its own
    files.check_target("--json", arguments.json)
    require_compiled()
    if arguments.threads and arguments.threads > machine.cpus():
        raise CommandError(
            f"argument --threads: this process may use {count(machine.cpus(), 'CPU')}, "
            f"more threads would only take turns; got {arguments.threads}"
        )
    machine.wait_for_sleeping_threads()
    wanted = [arguments.threads] if arguments.threads else range(1, machine.cpus() + 1)
    peaks = [measure_peaks(n_threads) for n_threads in wanted]
    if arguments.json != "-":
        print_peaks(peaks)
    machine.warn_of_load(load, to_stderr=arguments.json == "-")
    if arguments.json is not None:
        record: dict[str, Any] = {
            **provenance(load),
            # The settings of the measurement, which uses no random numbers.
            "settings": {
                "n_threads": [peak.n_threads for peak in peaks],
                "buffer_bytes": BUFFER_BYTES,
                "tries": REPEATS,
                "seed": None,
            },
            "peaks": [peak._asdict() for peak in peaks],
        }
        files.write_text("--json", arguments.json, json.dumps(record, indent=2) + "\n")
    return 0


def require_compiled() -> None:
    """Raise unless the compiled backend, which measures the peaks, is available."""
    if (reason := machine.reason_against("compiled")) is not None:
        raise CommandError(f"measuring needs the compiled backend: {reason}", FAILED)


def print_peaks(peaks: list[Peaks]) -> None:
    """Print a table, a line for each number of threads."""
    sets = machine.instruction_sets()
    print(f"{cpu_name()}, {sets[0] if sets else 'no instruction set'}")
    print()
    print("threads  float32 GFLOP/s  float64 GFLOP/s  read GB/s  copy GB/s")
    for peak in peaks:
        cells = [
            three_digits(getattr(peak, name) / 1e9) + ("*" if name in peak.by_fewer else "")
            for name in ("float32", "float64", "read", "copy")
        ]
        print(f"{peak.n_threads:>7}  {cells[0]:>15}  {cells[1]:>15}  {cells[2]:>9}  {cells[3]:>9}")
    print()
    print("The best of several runs, in 1e9. Copy counts the bytes read and the bytes written.")
    for note in filter(None, (peak.note() for peak in peaks)):
        print(f"* {note}")
