"""`python -m benchmarks.soak`: whether a process that serves for long keeps its size, and its answers.

All that a service would do, over and over in one process: fits of samples of every kind, chunks,
predictions, losses of many shapes, files, searches, bad input, threads that come and go. Every call has
one of a few fixed inputs, so that its results must have the bits that they had the first time. After a
warm-up, resident memory may not grow, nor open files, threads and files in the temporary folder.
"""

import argparse
import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax.cli.errors import FAILED, INTERRUPTED, CommandError
from fastsoftmax.cli.numbers import duration, size

from .peers import tables
from .peers.memory import give_back_free_memory
from .service import Service

_MIB = 1 << 20
# A leak of 1 KiB a round, the smallest that anybody would notice in a service of weeks: less than a row
# of a minibatch. Without one the size stays within some dozens of KiB.
MAX_SLOPE = _MIB  # bytes in a thousand rounds
# In all, however long it takes: what a heap may grow by once, as fragments of it stay in use.
MAX_GROWTH = 8 * _MIB
# A line through few samples is steep by chance, as a few pages more or less are.
MIN_GROWTH = _MIB // 4
_M_ARENA_MAX = -8  # of malloc.h
_WARM_UP = 0.2  # of the time: caches fill, threads start, the heap finds its size
_SAMPLES = 200
_LINES = 12


class Sample(NamedTuple):
    """What the process holds after that many rounds."""

    round: int
    seconds: float
    resident: int  # bytes
    files: int  # open
    threads: int
    temporary: int  # files


class Answers:
    """The digests of all results, by the call and its input, and where they have changed."""

    def __init__(self) -> None:
        self.digests: dict[tuple[str, int], str] = {}
        self.changed: dict[str, int] = {}  # the first round by the name of the call
        self.calls: dict[str, int] = {}

    def add(self, name: str, variant: int, results: Sequence[Any], n_rounds: int) -> None:
        """Compare the results of a call with those of the first time."""
        digest = digest_of(results)
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.digests.setdefault((name, variant), digest) != digest:
            self.changed.setdefault(name, n_rounds)

    def of_call(self, name: str) -> str:
        """Return one digest of all that a call has answered."""
        return digest_of([digest for (of, _), digest in sorted(self.digests.items()) if of == name])


def digest_of(results: Sequence[Any]) -> str:
    """Return a digest of arrays, numbers and texts: of their bits."""
    digest = sha256()
    for result in results:
        if isinstance(result, str):
            digest.update(result.encode())
        else:
            array = np.asarray(result)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:12]


def share_one_heap() -> None:
    """Let threads that come and go take their memory from the one heap, where this is glibc's.

    Otherwise it gives threads heaps of their own, up to 8 a CPU, and each keeps fragments: 5 to 10 MiB in
    the first thousand rounds, in which a leak would hide.
    """
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "mallopt"):
        c_library.mallopt(_M_ARENA_MAX, 1)


def sample_now(n_rounds: int, seconds: float, folder: Path) -> Sample:
    """Look at this process, after what is free has been given back."""
    gc.collect()
    give_back_free_memory()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    files = len(os.listdir("/proc/self/fd")) - 1  # without that of the list itself
    threads = len(os.listdir("/proc/self/task"))
    temporary = sum(path.is_file() for path in folder.rglob("*"))
    return Sample(n_rounds, seconds, resident, files, threads, temporary)


def slope_of(samples: Sequence[Sample]) -> float:
    """Return bytes a round: the slope of the least-squares line through rounds and resident memory."""
    rounds = np.array([sample.round for sample in samples], np.float64)
    resident = np.array([sample.resident for sample in samples], np.float64)
    rounds -= rounds.mean()
    return float(rounds @ resident / (rounds @ rounds))


def faults_of(samples: Sequence[Sample]) -> list[str]:
    """Return what has grown since the warm-up, of which these are the samples, in a line each."""
    first, last = samples[0], samples[-1]
    n_rounds = last.round - first.round
    slope, growth = slope_of(samples), last.resident - first.resident
    faults = []
    if 1000 * slope > MAX_SLOPE and slope * n_rounds > MIN_GROWTH:
        faults.append(
            f"resident memory grows by {size(1000 * slope)} in a thousand rounds, "
            f"more than {size(MAX_SLOPE)}"
        )
    if growth > MAX_GROWTH:
        faults.append(
            f"resident memory has grown by {size(growth)} in {n_rounds} rounds, "
            f"more than {size(MAX_GROWTH)}"
        )
    for name, what in (
        ("files", "open files"),
        ("threads", "threads"),
        ("temporary", "files in the temporary folder"),
    ):
        before, after = getattr(first, name), getattr(last, name)
        if after > before:
            faults.append(f"{what}: {after}, after the warm-up there were {before}")
    return faults


def soak(
    operations: dict[str, Callable[[int], Sequence[Any]]],
    folder: Path,
    done: Callable[[int, float], float],
) -> tuple[list[Sample], Answers]:
    """Run rounds of all operations until `done`, a share of 0 to 1 by rounds and seconds, is 1.

    Return the samples from the end of the warm-up on.
    """
    samples: list[Sample] = []
    answers = Answers()
    begun, n_rounds, next_sample = perf_counter(), 0, _WARM_UP
    share = 0.0
    while share < 1:
        for name, operation in operations.items():
            variant = n_rounds % Service.N_VARIANTS
            answers.add(name, variant, operation(variant), n_rounds)
        n_rounds += 1
        seconds = perf_counter() - begun
        share = done(n_rounds, seconds)
        if share >= next_sample or share >= 1:
            samples.append(sample_now(n_rounds, seconds, folder))
            next_sample = share + (1 - _WARM_UP) / _SAMPLES
    return samples, answers


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; 1 where something has grown or an answer has changed."""
    if sys.platform != "linux":
        raise CommandError("soak: what a process holds can be read on Linux only", FAILED)
    share_one_heap()
    console = tables.new_console(None)

    def done(n_rounds: int, seconds: float) -> float:
        if arguments.rounds is not None:
            return n_rounds / arguments.rounds
        return seconds / (60 * arguments.minutes)

    with tempfile.TemporaryDirectory() as name:
        folder, tempfile.tempdir = Path(name), name
        try:
            service = Service(folder, arguments.threads)
            samples, answers = soak(service.operations(), folder, done)
        finally:
            tempfile.tempdir = None
    table = tables.new_table(
        "rounds", "time", "resident", "since", "files", "threads", "temporary", names=0
    )
    every = max(1, (len(samples) - 1) // (_LINES - 1))
    for sample in [*samples[:-1:every], samples[-1]]:
        since = sample.resident - samples[0].resident
        table.add_row(
            *(str(sample.round), duration(sample.seconds), size(sample.resident)),
            _signed(since),
            *(str(sample.files), str(sample.threads), str(sample.temporary)),
        )
    of_calls = tables.new_table("call", "calls", "digest of its answers")
    for name in service.operations():
        of_calls.add_row(name, str(answers.calls[name]), answers.of_call(name))
    console.print("", table, "", of_calls, "", sep="\n")
    faults = faults_of(samples)
    faults += [
        f"{name}: other bits than before in round {round_}"
        for name, round_ in answers.changed.items()
    ]
    slope = 1000 * slope_of(samples)
    console.print(
        f"From the end of the warm-up on: {_signed(slope)} in a thousand rounds by least squares; "
        f"at most {size(MAX_SLOPE)}, and {size(MAX_GROWTH)} in all.",
        markup=False,
    )
    for fault in faults:
        console.print(f"FAILED: {fault}", markup=False)
    if not faults:
        console.print("Flat, and every answer has kept its bits.")
    return FAILED if faults else 0


def _signed(n_bytes: float) -> str:
    return ("-" if n_bytes < 0 else "+") + size(abs(n_bytes))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=(__doc__ or "").split(": ", 1)[1]
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=5.0, help="default: %(default)s")
    length.add_argument("--rounds", type=int, help="that many rounds instead, at least 10")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    # Two samples at least, after a warm-up in which every input has come.
    least = 2 * Service.N_VARIANTS / _WARM_UP
    if (
        not arguments.minutes > 0
        or not (arguments.rounds or least) >= least
        or arguments.threads < 1
    ):
        parser.error(
            f"expected more than 0 minutes, {least:.0f} rounds or more, and 1 thread or more"
        )
    try:
        return run(arguments)
    except CommandError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
