"""`profile`: the time of a training run by phase, compared to the limits of the machine."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from .._arrays.validation import shown
from ..backends import get_backend, recorder, why_unavailable
from ..backends.recorder import NAMES, TOGETHER, Epoch, Span
from . import flame_graph
from .cost_model import Work, work_of
from .hardware_counters import HardwareCounters, HardwareCounts
from .provenance import provenance
from .roofline import Peaks, measure_peaks
from .trace import thread_name, trace_events

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAITING, BETWEEN, OUTSIDE = NAMES[recorder.WAIT], "between phases", "Python outside"
_WIDTH = 79  # of a note, as wide as the table may be
# The order in which a step runs the phases.
_ORDER = (*NAMES[: recorder.UPDATE], TOGETHER, NAMES[recorder.UPDATE], WAITING)


class PhaseTime(NamedTuple):
    """The time of a phase: a line of the table."""

    name: str
    seconds: float  # of wall time: the sum over all threads divided by their number
    share: float  # of the total
    flops: float | None  # per second; None if the phase has no arithmetic
    bandwidth: float | None  # bytes per second
    of_peak: float | None  # of the nearer of the two limits
    limit: str | None  # "compute" or "memory"


class PartTime(NamedTuple):
    """The time of a part of a solver's fit, without the parts within it."""

    name: str
    seconds: float
    share: float  # of the total
    calls: int


class profile:  # noqa: N801 - used as a function is: with fastsoftmax.profile() as p
    """Context manager that measures training on any backend, and the loss core.

    Afterwards `table` and `plot` show the result, and `as_record`, `save_trace` and `save_flame_graph`
    export it. Only one profile can be active at a time; it covers all threads of the process.

    Parameters
    ----------
    trace : bool, default False
        Whether to record every interval of work, for `save_trace` and `save_flame_graph`: about 25 bytes
        each, at most 65536 per thread.
    settings : mapping of str to JSON values, optional
        Further facts about the run for the files, such as the seed. The date, the versions, the machine and
        the shapes are always included.

    Attributes
    ----------
    seconds : float
        The wall time from entering to leaving the context.
    n_threads : int
        The number of threads by which the time is divided: those that the timers saw, and their helpers.
    times : list of PhaseTime
        The phases; the time in which threads waited for each other; the time of epochs between phases; and
        the time in Python outside of epochs. Their seconds add up to `seconds`.
    epochs : list of Epoch
        The calls of a backend's epoch; a `fit` that converts `X` in blocks makes several calls per epoch.
    parts : list of PartTime
        The parts of fits with solver "lbfgs": passes for the loss and its gradient, the preconditioner,
        directions and steps, the bound of the gap, and the rest of the iterations. The phases of `times`
        are within them.
    counts : HardwareCounts or None
        Cycles, instructions and misses of the last cache, of all threads in user mode, from the counters of
        the CPU: on Linux, where there are some and the system permits them.
    why_no_counts : str or None
        The reason for which there are none.
    n_dropped : int
        The number of intervals for which the trace had no room. They are missing in the flame graph too.

    Raises
    ------
    RuntimeError
        On entering, if another profile is active.

    Notes
    -----
    For `vectorized`, the timers surround the calls of NumPy for a minibatch, regardless of the threads
    within. `naive` and `numba` process one sample after another, so that scores, loss and gradient are one
    phase; for `numba`, which takes many steps in a call, the step belongs to it. Waiting is measured in the
    compiled backend's thread pool: the time in which a thread had no chunk of work while an epoch held the
    pool. A thread that the system preempts within a chunk is not waiting; that time is part of the phase.

    References
    ----------
    Williams, Waterman, Patterson: Roofline (2009), Communications of the ACM 52(4).

    Examples
    --------
    >>> import fastsoftmax
    >>> model = fastsoftmax.SoftmaxClassifier(max_iter=5)
    >>> with fastsoftmax.profile() as p:
    ...     model = model.fit([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    >>> len(p.epochs)
    5
    """

    seconds: float
    n_threads: int
    times: list[PhaseTime]
    epochs: list[Epoch]
    parts: list[PartTime]
    counts: HardwareCounts | None
    why_no_counts: str | None
    n_dropped: int

    def __init__(self, trace: bool = False, settings: Mapping[str, Any] | None = None) -> None:
        if not isinstance(trace, bool):
            raise TypeError(f"trace: expected True or False, got {shown(trace)}")
        if not isinstance(settings, Mapping | None):
            raise TypeError(f"settings: expected a mapping or None, got {shown(settings)}")
        self.trace = trace
        self.settings = dict(settings or {})

    def __enter__(self) -> Self:
        if recorder.recorder is not None:
            raise RuntimeError("profile: another profile is active in this process")
        self._recorder = recorder.recorder = recorder.Recorder()
        self._provenance = provenance()
        self._kernels: Any = None
        if why_unavailable("compiled") is None:
            kernels: Any = get_backend("compiled")
            if kernels.start_phases(self.trace):
                self._kernels = kernels
        self._counters = HardwareCounters()
        self._start = perf_counter_ns()
        return self

    def __exit__(self, *exception: object) -> None:
        end = perf_counter_ns()
        self.counts = self._counters.stop()
        self.why_no_counts = self._counters.why_not
        recorder.recorder = None
        threads, offset = [], 0
        if self._kernels is not None:
            threads = self._kernels.stop_phases()
            # Where both clocks are the same one, 0 is between two readings around one of the other.
            before, clock, after = perf_counter_ns(), self._kernels.phase_clock(), perf_counter_ns()
            offset = min(max(0, before - clock), after - clock)
        self._end = end
        self.seconds = (end - self._start) * 1e-9
        self.epochs = list(self._recorder.epochs)
        self.n_dropped = sum(dropped for *_, dropped, _ in threads)
        self._spans = list(self._recorder.spans)
        self.parts = self._part_times()
        for number, (_, _, events, _, _) in enumerate(threads):
            self._spans += [
                Span(NAMES[phase], start + offset, stop + offset, -1 - number)
                for phase, start, stop in events
            ]
        totals: dict[str, float] = defaultdict(float)
        for nanoseconds, *_ in threads:
            for name, amount in zip(NAMES, nanoseconds, strict=True):
                totals[name] += amount * 1e-9
        for span in self._recorder.spans:
            totals[span.phase] += (span.end - span.start) * 1e-9
        python_threads = {span.thread for span in self._recorder.spans}
        team = 1 + max((helpers for *_, helpers in threads), default=0)
        # The threads that helped another one, and until when all of their intervals are known.
        self._helpers = {
            -1 - number: events[-1][2] + offset if dropped else end
            for number, (_, _, events, dropped, helpers) in enumerate(threads)
            if team > 1 and not helpers
        }
        self.n_threads = max(team, len(threads), len(python_threads))
        self._totals = dict(totals)
        self.times = self._phase_times(None)

    def table(self, peaks: Peaks | None = None) -> str:
        """Return the phases as a text table, with the time of each per epoch.

        Parameters
        ----------
        peaks : Peaks, optional
            The machine's limits; by default the compiled backend, if available, measures them, which takes
            about a second.

        Returns
        -------
        str
        """
        peaks = peaks or self._peaks()
        per = "epoch" if self.epochs else "profile"
        n_epochs = self._n_epochs()
        lines: list[tuple[str, ...]] = [
            ("phase", f"ms per {per}", "share", "GFLOP/s", "GB/s", "of peak", "limit")
        ]
        lines += [
            (
                time.name,
                f"{1e3 * time.seconds / n_epochs:.3f}",
                f"{100 * time.share:.1f} %",
                "-" if time.flops is None else _short(time.flops / 1e9),
                "-" if time.bandwidth is None else _short(time.bandwidth / 1e9),
                "-" if time.of_peak is None else f"{100 * time.of_peak:.0f} %",
                time.limit or "-",
            )
            for time in self._phase_times(peaks)
        ]
        lines.append(("total", f"{1e3 * self.seconds / n_epochs:.3f}", "100.0 %", *("",) * 4))
        text = _aligned(lines)
        if self.parts:
            text += "\n" + self._table_of_parts()
        if peaks is not None:
            text += (
                f"\npeak of {_count(peaks.n_threads, 'thread')}: "
                f"{peaks.flops(self._dtype()) / 1e9:.0f} GFLOP/s in {self._dtype()}, "
                f"{peaks.read / 1e9:.1f} GB/s read from memory\n"
            )
            if (note := peaks.note()) is not None:
                text += textwrap.fill(note, _WIDTH) + "\n"
        return text + "\n" + self._table_of_counts(per, n_epochs)

    def plot(self, peaks: Peaks | None = None, peers: dict[str, float] | None = None) -> Figure:
        """Return a roofline plot: the machine's limits, and the phases below them.

        Parameters
        ----------
        peaks : Peaks, optional
            As for `table`.
        peers : dict of str to float, optional
            The seconds of the same epoch in other libraries, by name.

        Returns
        -------
        matplotlib.figure.Figure
            Save it with its method ``savefig``.

        Raises
        ------
        ImportError
            If matplotlib is not installed, or the compiled backend, which measures the limits, is missing.
        ValueError
            If no epoch was trained.
        """
        from ..plotting import plot_roofline

        if not self.epochs:
            raise ValueError("profile: no epoch was trained in it, so there is nothing to plot")
        peaks = peaks or measure_peaks(self._peak_threads())
        work = self._work()
        points = {
            time.name: (work[time.name].flop / work[time.name].bytes, time.flops)
            for time in self._phase_times(peaks)
            if time.flops is not None and work.get(time.name, Work()).bytes
        }
        # A whole epoch has to read X once and to compute both products.
        first = self.epochs[0]
        flop = sum(4.0 * e.n_values * e.n_classes for e in self.epochs)
        stored = sum(e.n_values * e.bytes_of_value for e in self.epochs)
        seconds = {f"whole epoch ({first.backend})": self.seconds / self._n_epochs()}
        wholes = {
            name: (flop / stored, flop / self._n_epochs() / taken)
            for name, taken in {**seconds, **(peers or {})}.items()
        }
        title = (
            f"{first.n_samples}x{first.n_features}x{first.n_classes}, {self._dtype()}, "
            f"{_count(peaks.n_threads, 'thread')}\n{self._origin()}"
        )
        return plot_roofline(peaks.flops(self._dtype()), peaks.read, points, wholes, title)

    def as_record(self, peaks: Peaks | None = None) -> dict[str, Any]:
        """Return all numbers with their provenance, in the types of JSON."""
        peaks = peaks or self._peaks()
        return {
            **self._provenance,
            "settings": self.settings,
            "seconds": self.seconds,
            "n_threads": self.n_threads,
            "n_epochs": self._n_epochs() if self.epochs else 0,
            "phases": [time._asdict() for time in self._phase_times(peaks)],
            "parts": [part._asdict() for part in self.parts],
            "epochs": [epoch._asdict() for epoch in self.epochs],
            "peaks": None if peaks is None else peaks._asdict(),
            "counts": None if self.counts is None else self.counts._asdict(),
            "why_no_counts": self.why_no_counts,
            "n_dropped": self.n_dropped,
        }

    def save_trace(self, path: str | Path) -> None:
        """Write every interval of work to a JSON file for https://ui.perfetto.dev.

        The format is that of Chrome's trace events: "X" events, times in microseconds. Their arguments are
        what is known: of an epoch its shape, and operations and bytes (from memory) with their rates, by
        phase too; of a phase the number of its epoch, and in `vectorized`, `naive` and `numba` also its
        rows, the step, and the rates.

        Raises
        ------
        ValueError
            If the profile was made without ``trace=True``.
        """
        Path(path).write_text(self.as_trace(), encoding="utf-8")

    def as_trace(self) -> str:
        """Return the text that `save_trace` writes.

        Raises
        ------
        ValueError
            As `save_trace` does.
        """
        import json

        self._check_trace()
        events = trace_events(
            self._spans, self.epochs, self._start, self.n_threads, self.n_dropped == 0
        )
        shapes = [epoch._asdict() for epoch in self.epochs]
        origin = {**self._provenance, "settings": self.settings, "epochs": shapes}
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ns", "otherData": origin})

    def save_flame_graph(self, path: str | Path) -> None:
        """Write the intervals of work to a JSON file for https://www.speedscope.app, as a flame graph.

        It has a profile for each thread, of type "evented", in nanoseconds. Phases are within their epoch
        or within the parts of a solver's iteration; those of the kernels' threads as long as one thread
        trains, since of several it is unknown which one they work for. For a thread that helps, the time of
        an epoch in which it had no phase is "waiting".

        Raises
        ------
        ValueError
            If the profile was made without ``trace=True``.
        """
        Path(path).write_text(self.as_flame_graph(), encoding="utf-8")

    def as_flame_graph(self) -> str:
        """Return the text that `save_flame_graph` writes.

        Raises
        ------
        ValueError
            As `save_flame_graph` does.
        """
        import json

        self._check_trace()
        epochs = [epoch.as_span() for epoch in self.epochs]
        parts = [
            part._replace(phase="iteration") if part.phase == recorder.REST else part
            for part in self._recorder.parts
        ]
        threads: dict[int, list[Span]] = defaultdict(list)
        for span in (*epochs, *parts):
            threads[span.thread].append(span)
        is_known = len(threads) == 1
        for span in self._spans:
            threads[span.thread].append(span)
        for thread, spans in threads.items():
            if thread >= 0 or not is_known:
                continue
            outer = [*epochs, *parts]
            if (until := self._helpers.get(thread)) is not None:
                outer = flame_graph.around(spans, outer)
                spans += flame_graph.waits(spans, epochs, until)
            spans[:0] = outer
        named = {thread_name(thread): spans for thread, spans in threads.items()}
        shape = ""
        if self.epochs:
            first = self.epochs[0]
            shape = f"{first.n_samples}x{first.n_features}x{first.n_classes}, {first.dtype}; "
        name = shape + self._origin().replace("\n", "; ")
        return json.dumps(flame_graph.speedscope(named, name, self._start, self._end))

    def _check_trace(self) -> None:
        if not self.trace:
            raise ValueError("trace: the profile was made without trace=True")

    def _origin(self) -> str:
        """Return two lines: the machine, and version, date and seed."""
        described = self._provenance
        cpu, package = described["machine"]["cpu"], described["versions"]["fastsoftmax"]
        seed = f", seed {self.settings['seed']}" if "seed" in self.settings else ""
        return f"{cpu}\nfastsoftmax {package}, {described['date']}{seed}"

    def _n_epochs(self) -> int:
        """Return the number of passes over the data; calls for blocks of one pass count together."""
        return max(1, sum(epoch.is_last for epoch in self.epochs))

    def _dtype(self) -> str:
        return self.epochs[0].dtype if self.epochs else "float32"

    def _peaks(self) -> Peaks | None:
        return None if self._kernels is None else measure_peaks(self._peak_threads())

    def _peak_threads(self) -> int:
        """Return the number of threads that may have run; timers do not see those of NumPy and numba."""
        others = [epoch.n_threads for epoch in self.epochs if epoch.backend != "compiled"]
        return max(self.n_threads, *others) if others else self.n_threads

    def _work(self) -> dict[str, Work]:
        total: dict[str, Work] = defaultdict(Work)
        for epoch in self.epochs:
            for name, work in work_of(epoch).items():
                total[name] += work
        return dict(total)

    def _phase_times(self, peaks: Peaks | None) -> list[PhaseTime]:
        work = self._work()
        busy = {name: total / self.n_threads for name, total in self._totals.items() if total}
        # Calls of the loss core may run outside of epochs.
        inside = min(self.seconds, max(_union(self.epochs), sum(busy.values())))
        seconds = {name: busy[name] for name in _ORDER if name in busy}
        seconds[BETWEEN] = max(0.0, inside - sum(busy.values()))
        seconds[OUTSIDE] = self.seconds - inside
        return [
            self._phase_time(name, taken, work.get(name, Work()), peaks)
            for name, taken in seconds.items()
        ]

    def _part_times(self) -> list[PartTime]:
        """Return the parts of solvers' fits, of which each span within another one is taken out of that."""
        seconds: dict[str, float] = defaultdict(float)
        calls: dict[str, int] = defaultdict(int)
        around: dict[int, list[Span]] = defaultdict(list)  # by thread
        for span in sorted(self._recorder.parts, key=lambda span: (span.start, -span.end)):
            within = around[span.thread]
            while within and within[-1].end <= span.start:
                within.pop()
            taken = (span.end - span.start) * 1e-9
            seconds[span.phase] += taken
            calls[span.phase] += 1
            if within:
                seconds[within[-1].phase] -= taken
            within.append(span)
        return [
            PartTime(name, seconds[name], seconds[name] / self.seconds, calls[name])
            for name in (*recorder.PARTS, recorder.REST)
            if name in calls
        ]

    def _table_of_parts(self) -> str:
        n = next((part.calls for part in self.parts if part.name == recorder.REST), 1)
        lines: list[tuple[str, ...]] = [
            ("part of the solver", "ms per iteration", "share", "calls")
        ]
        lines += [
            (
                part.name,
                f"{1e3 * part.seconds / n:.3f}",
                f"{100 * part.share:.1f} %",
                f"{part.calls}",
            )
            for part in self.parts
        ]
        return _aligned(lines)

    def _table_of_counts(self, per: str, n_epochs: int) -> str:
        if self.counts is None:
            return f"hardware counters: not available ({self.why_no_counts})\n"
        cycles, instructions, misses = self.counts
        of_cycles = f"{instructions / cycles:.2f} per cycle" if cycles else ""
        of_instructions = (
            f"{1e3 * misses / instructions:.2f} per 1000 instructions" if instructions else ""
        )
        return _aligned(
            [
                ("hardware counter", f"per {per}", ""),
                ("cycles", f"{cycles / n_epochs:.3g}", ""),
                ("instructions", f"{instructions / n_epochs:.3g}", of_cycles),
                ("cache misses", f"{misses / n_epochs:.3g}", of_instructions),
            ]
        )

    def _phase_time(self, name: str, seconds: float, work: Work, peaks: Peaks | None) -> PhaseTime:
        share = seconds / self.seconds if self.seconds else 0.0
        flops = work.flop / seconds if work.flop and seconds else None
        bandwidth = work.bytes / seconds if work.bytes and seconds else None
        of_peak = limit = None
        if peaks is not None and (flops or bandwidth):
            of_compute = (flops or 0.0) / peaks.flops(self._dtype())
            of_memory = work.memory / seconds / peaks.read
            of_peak = max(of_compute, of_memory)
            limit = "compute" if of_compute >= of_memory else "memory"
        return PhaseTime(name, seconds, share, flops, bandwidth, of_peak, limit)


def _union(epochs: list[Epoch]) -> float:
    """Return the seconds in which at least one epoch ran; several Python threads may train at a time."""
    total, until = 0, 0
    for epoch in sorted(epochs, key=lambda epoch: epoch.start):
        total += max(0, epoch.end - max(epoch.start, until))
        until = max(until, epoch.end)
    return total * 1e-9


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _short(number: float) -> str:
    return f"{number:.1f}" if number >= 1 else f"{number:.2g}"


def _aligned(lines: list[tuple[str, ...]]) -> str:
    """Return a table as wide as its content; all columns but the first are right-aligned."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )
