"""`--loss` of `fastsoftmax bench` and `profile`: the time of a call of the loss core, by backend."""

import argparse
import json
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .._optional import import_optional
from ..profiling.loss_calls import LossCall, LossData
from ..profiling.provenance import cpu_name, provenance
from ..profiling.roofline import Peaks, measure_peaks
from . import files, machine
from .errors import FAILED, CommandError
from .numbers import count, duration, size, three_digits
from .results import ORDER
from .tables import lines_of, print_note
from .timing import Timing, measure

_ROUNDS = 5
_SECONDS_A_TURN = 0.05
# A call that would take more than _MAX_SECONDS is timed on the rows that take about _SAMPLE_SECONDS.
_MAX_SECONDS, _SAMPLE_SECONDS = 2.0, 0.25
_WARM_SECONDS = 0.02
_TITLES = ("backend", "per call", "GFLOP/s", "GB/s", "of peak", "limit")
_ARRAYS = 3  # of the size of the logits: they, their gradient, and what NumPy writes between them
_NOTE = """\
Of peak: the share of the machine's nearer limit. GB/s counts the bytes that a call has to
read and to write, once each; arrays that fit the caches may exceed the limit of memory."""


class _Timed(NamedTuple):
    """A call of a backend, with its time on `n_rows` of the rows."""

    backend: str
    call: LossCall
    n_rows: int
    timing: Timing


def run(
    arguments: argparse.Namespace,
    backends: Sequence[str],
    dtype: str,
    seed: int,
    load: float | None,
) -> int:
    """Time the loss core on random data of the shape `arguments.loss`, print a table and save JSON."""
    shape: tuple[int, ...] = arguments.loss
    _check_memory(shape, dtype)
    n_threads = arguments.threads or machine.threads()[0]
    data = LossData(shape, dtype, seed)
    timed = _time(data, backends, n_threads)
    peaks = None
    if machine.reason_against("compiled") is None:
        machine.wait_for_sleeping_threads()
        peaks = measure_peaks(n_threads)
    if arguments.json != "-":
        _print(data, timed, peaks, n_threads)
    machine.warn_of_load(load, to_stderr=arguments.json == "-")
    if arguments.json is not None:
        record: dict[str, Any] = {
            **provenance(load),
            "settings": {
                "loss": list(shape),
                "dtype": dtype,
                "n_threads": n_threads,
                "seed": seed,
            },
            "calls": [_record(data, one, peaks) for one in timed],
            "peaks": None if peaks is None else peaks._asdict(),
        }
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        files.write_text("--json", arguments.json, text)
    return 0


def _check_memory(shape: tuple[int, ...], dtype: str) -> None:
    n, *others = shape
    if len(shape) == 2:
        numbers = _ARRAYS * n * others[0]
    else:
        d, c = others
        numbers = n * d + _ARRAYS * d * c + _ARRAYS * n * c
    needed, available = numbers * np.dtype(dtype).itemsize, machine.available_memory()
    if available is not None and needed > available:
        raise CommandError(
            f"argument --loss: the calls need {size(needed)} of memory in {dtype}, "
            f"{size(available)} are available: choose smaller numbers"
        )


def _time(data: LossData, backends: Sequence[str], n_threads: int) -> list[_Timed]:
    """Time every call with every backend, which take turns; a slow backend has fewer rows."""
    try:
        threadpoolctl = import_optional("threadpoolctl", "timing needs")
    except ImportError as error:
        raise CommandError(str(error), FAILED) from None
    timed = []
    n_calls = len(data.calls(backends[0], n_threads, 1))
    with threadpoolctl.threadpool_limits(n_threads, user_api="blas"):
        for i in range(n_calls):
            calls: dict[str, tuple[LossCall, int]] = {}
            for backend in sorted(backends, key=ORDER.index):
                n_rows = _affordable_rows(data, backend, n_threads, i)
                calls[backend] = data.calls(backend, n_threads, n_rows)[i], n_rows
            runs = {backend: call.run for backend, (call, _) in calls.items()}
            timings = measure(runs, _ROUNDS, _SECONDS_A_TURN)
            timed += [
                _Timed(backend, *calls[backend], timing) for backend, timing in timings.items()
            ]
    return timed


def _affordable_rows(data: LossData, backend: str, n_threads: int, i: int) -> int:
    """Return how many rows a timed call takes: all, or as many as a sample of about a quarter second."""
    n, n_rows = data.shape[0], 1
    while True:
        call = data.calls(backend, n_threads, n_rows)[i]
        call.run()  # numba compiles
        start = perf_counter()
        call.run()
        seconds = perf_counter() - start
        if seconds >= _WARM_SECONDS or n_rows == n:
            break
        n_rows = min(4 * n_rows, n)
    if seconds / n_rows * n <= _MAX_SECONDS:
        return n
    return max(1, min(n, int(_SAMPLE_SECONDS / seconds * n_rows)))


def _seconds(data: LossData, one: _Timed) -> float:
    """Return the time of a call on all rows."""
    return one.timing.median / one.n_rows * data.shape[0]


def _print(data: LossData, timed: Sequence[_Timed], peaks: Peaks | None, n_threads: int) -> None:
    shape = "x".join(map(str, data.shape))
    print(f"loss core, {shape}, {data.dtype}; {cpu_name()}, {count(n_threads, 'thread')}")
    for name in dict.fromkeys(one.call.name for one in timed):
        rows = [one for one in timed if one.call.name == name]
        first = _seconds(data, rows[0])
        # One backend is compared with none.
        n_columns = len(_TITLES) + (len(rows) > 1)
        table = [(*_TITLES, f"over {rows[0].backend}")[:n_columns]]
        for one in rows:
            about = "~" if one.n_rows < data.shape[0] else ""
            share, limit = _share(data, one, peaks)
            table.append(
                (
                    one.backend,
                    about + duration(_seconds(data, one)),
                    three_digits(one.call.flop / one.timing.median / 1e9),
                    three_digits((one.call.read + one.call.written) / one.timing.median / 1e9),
                    "-" if share is None else f"{three_digits(100 * share)} %",
                    limit or "-",
                    f"{three_digits(first / _seconds(data, one))}x",
                )[:n_columns]
            )
        print("", name, *lines_of(table), sep="\n")
    print()
    if any(one.n_rows < data.shape[0] for one in timed):
        print("~: extrapolated from fewer rows.")
    if peaks is not None:
        flops = peaks.flops(str(data.dtype)) / 1e9
        print(
            f"Peak of {count(peaks.n_threads, 'thread')}: {flops:.0f} GFLOP/s, "
            f"{peaks.read / 1e9:.1f} GB/s read, {peaks.copy / 1e9:.1f} GB/s copied."
        )
        print(_NOTE)
        if (note := peaks.note()) is not None:
            print_note(note)


def _share(data: LossData, one: _Timed, peaks: Peaks | None) -> tuple[float | None, str | None]:
    """Return the share of the nearer limit, and which that is."""
    if peaks is None:
        return None, None
    shares = one.call.limits(one.timing.median, peaks, str(data.dtype))
    limit = max(shares, key=lambda name: shares[name])
    return shares[limit], limit


def _record(data: LossData, one: _Timed, peaks: Peaks | None) -> dict[str, Any]:
    share, limit = _share(data, one, peaks)
    median = one.timing.median
    return {
        "call": one.call.name,
        "backend": one.backend,
        "n_rows_timed": one.n_rows,
        "seconds_per_call": _seconds(data, one),
        "flops": one.call.flop / median,
        "bandwidth": (one.call.read + one.call.written) / median,
        "of_peak": share,
        "limit": limit,
        **one.timing.as_record(),
    }
