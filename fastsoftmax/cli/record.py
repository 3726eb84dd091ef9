"""The JSON record of a comparison."""

from typing import Any

from ..profiling.provenance import provenance
from .results import Comparison, Result
from .timing import Settings
from .workload import Workload


def as_record(
    work: Workload,
    comparison: Comparison,
    settings: Settings,
    load: float | None,
) -> dict[str, Any]:
    """Return the comparison in the types of JSON; times are in seconds, losses in nats.

    `load` is the load of the machine before training.
    """
    return {
        **head_of_record(work, settings, load),
        "tolerance": comparison.tolerance,
        "reference": comparison.reference.backend if comparison.reference else None,
        "results": [_result(comparison, result) for result in comparison.results],
        "left_out": [absent._asdict() for absent in comparison.left_out],
    }


def head_of_record(work: Workload, settings: Settings, load: float | None) -> dict[str, Any]:
    """Return what is known before the training: provenance and settings."""
    data = work.data
    n_train, n_features = data.X_train.shape
    return {
        **provenance(load),
        "settings": {
            "data": work.name,
            "n_train": n_train,
            "n_test": len(data.X_test),
            "n_features": n_features,
            "n_classes": data.n_classes,
            "dtype": str(data.X_train.dtype),
            **settings._asdict(),
        },
    }


def _result(comparison: Comparison, result: Result) -> dict[str, Any]:
    curve = result.loss_curve
    return {
        "backend": result.backend,
        "n_rows_timed": result.n_rows_timed,
        "extrapolated": result.extrapolated,
        "epoch_seconds": list(result.epoch_seconds),
        "median_epoch_seconds": result.seconds_per_epoch,
        "samples_per_second": result.samples_per_second,
        "speed_over_naive": comparison.speedup(result, "naive"),
        "speed_over_vectorized": comparison.speedup(result, "vectorized"),
        "loss_curve": None if curve is None else list(curve),
        "final_loss": None if curve is None else curve[-1],
        "test_accuracy": result.test_accuracy,
        "largest_relative_difference": comparison.difference(result),
        "agrees": comparison.agrees(result),
    }
