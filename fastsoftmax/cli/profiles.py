"""The phases of every backend's training run, for the report."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from ..datasets import Dataset
from ..profiling.profiler import profile
from ..profiling.roofline import Peaks, measure_peaks
from . import machine
from .timing import Run, Settings, Watcher

# The maximum seconds of epochs under a profile, except for one that takes longer.
_SECONDS = 1.0


def profile_runs(
    runs: Sequence[Run], data: Dataset, settings: Settings, watcher: Watcher
) -> list[dict[str, Any]]:
    """Train every backend once more under a profile, and return the records.

    All are compared with the same limits, those of `settings.n_threads` threads, however many a backend
    uses; there are none without the compiled backend, which measures them.
    """
    peaks = None
    if machine.reason_against("compiled") is None:
        machine.wait_for_sleeping_threads()
        peaks = measure_peaks(settings.n_threads)
    n_epochs = [_n_epochs(run, settings) for run in runs]
    watcher.begins(sum(n_epochs))
    return [
        _profile(run, data, settings, count, peaks, watcher)
        for run, count in zip(runs, n_epochs, strict=True)
    ]


def _n_epochs(run: Run, settings: Settings) -> int:
    return max(1, min(settings.epochs, int(_SECONDS / median(run.seconds))))


def _profile(
    run: Run,
    data: Dataset,
    settings: Settings,
    n_epochs: int,
    peaks: Peaks | None,
    watcher: Watcher,
) -> dict[str, Any]:
    watcher.trains(run.backend)
    again = Run(run.backend, data, len(run.X), settings)
    again.run_epoch()  # makes the weights, and brings the rows into the caches
    machine.wait_for_sleeping_threads()
    with profile(settings=settings._asdict()) as p:
        for _ in range(n_epochs):
            again.run_epoch()
            watcher.has_run_epoch()
    return {"backend": run.backend, "n_rows": len(run.X), **p.as_record(peaks)}
