"""The results of a comparison of backends, which the table, the JSON and the picture show."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from ..backends import NAMES
from ..backends.protocol import FloatArray

# From the simplest to the fastest; the first is the reference.
ORDER = tuple(reversed(NAMES))
# What each is, in a line.
DESCRIPTIONS = {
    "naive": "a Python loop over the samples, one dot product for the scores of each",
    "numba": "loops compiled by Numba, many steps in a call",
    "vectorized": "NumPy on whole minibatches, in arrays that are made once",
    "compiled": "Cython over vector kernels in C, an epoch in a call",
}
# How far the loss curves of two backends may differ, relative to the loss.
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}


@dataclass(frozen=True)
class Result:
    """The training run of one backend; values that need all rows are None after training on a sample."""

    backend: str
    n_samples: int
    n_rows_timed: int
    epoch_seconds: Sequence[float]  # as measured, over `n_rows_timed` rows
    loss_curve: Sequence[float] | None = None
    test_accuracy: float | None = None
    coef: FloatArray | None = None

    @property
    def extrapolated(self) -> bool:
        """True if the backend trained on only a sample of the rows."""
        return self.n_rows_timed < self.n_samples

    @property
    def samples_per_second(self) -> float:
        """The number of samples per second in the median epoch."""
        return self.n_rows_timed / median(self.epoch_seconds)

    @property
    def seconds_per_epoch(self) -> float:
        """The seconds of the median epoch, extrapolated to all samples."""
        return self.n_samples / self.samples_per_second


class LeftOut(NamedTuple):
    """A backend that did not train, and why."""

    backend: str
    status: str  # in two words
    reason: str


class Comparison:
    """Results side by side."""

    def __init__(
        self, results: Sequence[Result], left_out: Sequence[LeftOut], tolerance: float
    ) -> None:
        self.results = sorted(results, key=lambda result: ORDER.index(result.backend))
        self.left_out = sorted(left_out, key=lambda absent: ORDER.index(absent.backend))
        self.tolerance = tolerance
        complete = [result for result in self.results if result.loss_curve is not None]
        self.reference = complete[0] if complete else None

    def speedup(self, result: Result, over: str) -> float | None:
        """Return the time of the backend `over` divided by that of `result`; None if not measured."""
        for other in self.results:
            if other.backend == over:
                return other.seconds_per_epoch / result.seconds_per_epoch
        return None

    def difference(self, result: Result) -> float | None:
        """Return the largest relative difference of the loss curve from the reference's."""
        if self.reference is None or self.reference.loss_curve is None or result.loss_curve is None:
            return None
        expected = np.asarray(self.reference.loss_curve)
        return float(np.max(np.abs(np.asarray(result.loss_curve) - expected) / np.abs(expected)))

    def agrees(self, result: Result) -> bool | None:
        """Return whether the loss curve is the reference's up to rounding; None if it was not measured."""
        difference = self.difference(result)
        return None if difference is None else difference <= self.tolerance
