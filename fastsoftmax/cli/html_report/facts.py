"""The facts of a comparison that the sections of the page need."""

from collections.abc import Mapping
from typing import Any

from ...backends.recorder import NAMES, TOGETHER
from ...profiling.profiler import BETWEEN, OUTSIDE

Record = Mapping[str, Any]
# The phases in the order of a step, and the CSS class that sets the colour of each.
PHASES = {
    **dict(zip(NAMES[:3], ("convert", "scores", "loss"), strict=True)),
    TOGETHER: "together",
    **dict(zip(NAMES[3:], ("update", "waiting"), strict=True)),
    BETWEEN: "between",
    OUTSIDE: "outside",
}


class Facts:
    """A record, and the numbers that follow from it."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.settings: Record = record["settings"]
        self.n: int = self.settings["n_train"]
        self.d: int = self.settings["n_features"]
        self.c: int = self.settings["n_classes"]
        self.batch_size: int = self.settings["batch_size"]
        self.itemsize = 8 if self.settings["dtype"] == "float64" else 4
        self.steps = -(-self.n // self.batch_size)
        # The scores and the gradient have equally many.
        self.multiply_adds = 2 * self.n * self.d * self.c
        self.results: dict[str, Record] = {r["backend"]: r for r in record["results"]}
        self.profiles: dict[str, Record] = {p["backend"]: p for p in record["profiles"]}

    def seconds(self, backend: str) -> float:
        """Return the time of the median epoch, in seconds."""
        return float(self.results[backend]["median_epoch_seconds"])

    def about(self, backend: str) -> str:
        """Return the mark before a number that is extrapolated."""
        return "~" if self.results[backend]["extrapolated"] else ""

    def whole_epoch(self, backend: str) -> float:
        """Return the seconds of an epoch of all samples under the profile."""
        return float(self.profiles[backend]["seconds"]) * self._factor(backend)

    def phases(self, backend: str) -> dict[str, Record]:
        """Return the phases of a backend that took time, by name."""
        phases = self.profiles[backend]["phases"]
        return {phase["name"]: phase for phase in phases if phase["seconds"]}

    def phase_seconds(self, backend: str, phase: str) -> float | None:
        """Return the seconds of a phase in an epoch of all samples; None if the backend lacks the phase."""
        found = self.phases(backend).get(phase)
        return None if found is None else float(found["seconds"]) * self._factor(backend)

    def peaks(self) -> Record | None:
        """Return the machine's limits, if they were measured."""
        return next((p["peaks"] for p in self.profiles.values() if p["peaks"]), None)

    def peak_flops(self) -> float:
        """Return the peak floating-point operations per second; needs `peaks`."""
        peaks = self.peaks()
        assert peaks is not None
        return float(peaks[self.settings["dtype"]])

    def _factor(self, backend: str) -> float:
        profile = self.profiles[backend]
        return float(self.n / profile["n_rows"] / profile["n_epochs"])
