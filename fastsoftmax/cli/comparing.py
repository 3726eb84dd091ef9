"""Compare the backends on one workload: what `fastsoftmax bench` and `fastsoftmax.bench` do alike."""

import argparse
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import plotting
from . import machine, workload
from .errors import CommandError
from .profiles import profile_runs
from .record import as_record
from .results import ORDER, TOLERANCES, Comparison, LeftOut
from .timing import ProgressListener, Settings, prepare, train
from .workload import Workload


class Outcome(NamedTuple):
    """A comparison with all that its table, its record and its pictures need."""

    comparison: Comparison
    work: Workload
    settings: Settings
    heading: dict[str, str]  # of the data, the training and the machine
    record: dict[str, Any]  # for JSON; with "profiles" if they were asked for

    def picture(self) -> Any:
        """Return the figure of losses, speed and templates; None if no backend trained on all samples."""
        if self.comparison.reference is None:
            return None
        results, names = self.comparison.results, self.work.class_names
        shown = results[-1]
        what = "each digit" if self.work.name == "digits" else "each class"
        has_templates = self._has_templates
        return plotting.plot_bench(
            {
                result.backend: result.loss_curve
                for result in results
                if result.loss_curve is not None
            },
            {result.backend: result.samples_per_second for result in results},
            [result.backend for result in results if result.extrapolated],
            title=f"{self.heading['data']}\n{self.heading['training']}; {self.heading['machine']}",
            coef=shown.coef if has_templates else None,
            image_shape=self.work.data.image_shape if has_templates else None,
            templates_title=f"weight of every pixel for {what}, as learned by {shown.backend}",
            labels=names,
        )

    def weights(self) -> bytes | None:
        """Return the picture of the learned weights for the report, if samples are images."""
        if not self._has_templates:
            return None
        coef, shape = self.comparison.results[-1].coef, self.work.data.image_shape
        assert coef is not None
        assert shape is not None
        try:
            figure = plotting.plot_templates(coef, shape, self.work.class_names)
        except ImportError:  # without --plot, matplotlib may be missing
            return None
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=110)
        return picture.getvalue()

    @property
    def _has_templates(self) -> bool:
        coef, shape = self.comparison.results[-1].coef, self.work.data.image_shape
        return (
            coef is not None and shape is not None and len(coef) <= plotting.templates.MAX_TEMPLATES
        )


def available(named: Sequence[str] | None) -> tuple[list[str], list[LeftOut]]:
    """Return the backends that are available, and the others, which it is an error to name."""
    present, missing = [], []
    for name in ORDER:
        if named is not None and name not in named:
            continue
        reason = machine.reason_against(name)
        if reason is None:
            present.append(name)
        elif named is None:
            missing.append(LeftOut(name, "not available", reason))
        else:
            raise CommandError(f"argument --backends: {name!r} is not available: {reason}")
    return present, missing


def compare(
    arguments: argparse.Namespace,
    work: Workload,
    backends: tuple[list[str], list[LeftOut]],
    listener: ProgressListener,
    load: float | None,
    with_profiles: bool,
) -> Outcome:
    """Train with every available backend; `load` is that of the machine before.

    Raises
    ------
    CommandError
        If a backend that was named is too slow, or the learning rate is too large.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    (present, missing), data = backends, work.data
    settings = workload.settings(arguments, work)
    # The vectorized backend has no other control over the number of threads.
    with threadpool_limits(settings.n_threads, user_api="blas"):
        runs, too_slow = prepare(present, data, settings, listener)
        if arguments.backends and too_slow:
            name, _, reason = too_slow[0]
            raise CommandError(f"argument --backends: {name!r} is too slow here: {reason}")
        train(runs, settings, listener)
        results = [run.result(data) for run in runs]
        profiles = profile_runs(runs, data, settings, listener) if with_profiles else None
    comparison = Comparison(results, [*too_slow, *missing], TOLERANCES[arguments.dtype])
    sets = machine.instruction_sets() if "compiled" in present else None
    heading = workload.description(work, settings, None if sets is None else sets[0])
    record = as_record(work, comparison, settings, load)
    if profiles is not None:
        record["profiles"] = profiles
    return Outcome(comparison, work, settings, heading, record)
