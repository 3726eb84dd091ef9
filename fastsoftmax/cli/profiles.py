"""The phases of every backend's training run, for the report."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from ..datasets import Dataset
from ..profiling.profiler import profile
from ..profiling.roofline import Peaks, measure_peaks
from . import machine
from .timing import ProgressListener, Run, Settings

# Maximum seconds of epochs under a profile; at least one epoch is run.
_SECONDS = 1.0


def profile_runs(
    runs: Sequence[Run], data: Dataset, settings: Settings, listener: ProgressListener
) -> list[dict[str, Any]]:
    """Train every backend once more under a profile, and return the records.

    All backends are compared with the same limits, those of `settings.n_threads` threads, regardless of the
    number that a backend uses. Without the compiled backend, which measures them, there are no limits.
    """
    peaks = None
    if machine.reason_against("compiled") is None:
        machine.wait_for_sleeping_threads()
        peaks = measure_peaks(settings.n_threads)
    n_epochs = [_n_epochs(run, settings) for run in runs]
    listener.on_start(sum(n_epochs))
    return [
        _profile(run, data, settings, count, peaks, listener)
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
    listener: ProgressListener,
) -> dict[str, Any]:
    listener.on_turn(run.backend)
    again = Run(run.backend, data, len(run.X), settings)
    again.run_epoch()  # creates the weights and warms the caches
    machine.wait_for_sleeping_threads()
    with profile(settings=settings._asdict()) as p:
        for _ in range(n_epochs):
            again.run_epoch()
            listener.on_epoch_end()
    return {"backend": run.backend, "n_rows": len(run.X), **p.as_record(peaks)}
