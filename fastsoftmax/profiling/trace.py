"""Spans of a profile as trace events of Chrome, for https://ui.perfetto.dev, with the rates that are known.

The work of an epoch is that of the cost model. A span that says how many rows it is of has their share.
The kernels record times alone, so that their rates are known for whole epochs.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ..backends.recorder import Epoch, Span
from .cost_model import Work, work_of

_EPOCHS = 0  # the thread that shows the epochs


def trace_events(
    spans: Sequence[Span], epochs: Sequence[Epoch], start: int, n_threads: int, is_complete: bool
) -> list[dict[str, Any]]:
    """Return the events in the types of JSON.

    Parameters
    ----------
    spans : sequence of Span
        The phases.
    epochs : sequence of Epoch
        The epochs that the phases belong to.
    start : int
        The time that the trace begins with.
    n_threads : int
        The number of threads by which the time of a phase is divided, for the rates of an epoch.
    is_complete : bool
        Whether the spans are all that there were; an epoch has no rates otherwise.
    """
    inside, outside = _by_epoch(spans, epochs)
    shown = [(span, _facts(span)) for span in outside]
    for number, epoch in enumerate(epochs):
        shown += _of_epoch(number, epoch, inside[number], n_threads if is_complete else None)
    shown.sort(key=lambda one: (one[0].start, -one[0].end))
    names = dict.fromkeys(span.thread for span, _ in shown)
    threads = {thread: number for number, thread in enumerate(names)}
    return [
        *(
            {
                "name": "thread_name",
                "ph": "M",
                "pid": 1,
                "tid": number,
                "args": {"name": thread_name(thread)},
            }
            for thread, number in threads.items()
        ),
        *(
            {
                "name": span.phase,
                "ph": "X",
                "pid": 1,
                "tid": threads[span.thread],
                "ts": (span.start - start) / 1e3,
                "dur": (span.end - span.start) / 1e3,
                "args": facts,
            }
            for span, facts in shown
        ),
    ]


def thread_name(thread: int) -> str:
    """Return the title of a thread: 0 shows epochs, a negative one is of the kernels."""
    if thread == _EPOCHS:
        return "epochs"
    return f"kernels {-thread}" if thread < 0 else f"Python thread {thread}"


def _by_epoch(
    spans: Sequence[Span], epochs: Sequence[Epoch]
) -> tuple[dict[int, list[Span]], list[Span]]:
    """Return the spans of each epoch, by its number, and those of none, or of an unknown one.

    Threads of the kernels work for any thread that trains: for which one is known as long as there is one.
    """
    by_thread: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, epoch in enumerate(epochs):
        by_thread[epoch.thread].append((epoch.start, number))
    only = next(iter(by_thread)) if len(by_thread) == 1 else None
    for of_thread in by_thread.values():
        of_thread.sort()
    inside: dict[int, list[Span]] = defaultdict(list)
    outside = []
    for span in spans:
        begun = by_thread.get(span.thread if span.thread >= 0 or only is None else only, [])
        place = bisect_right(begun, (span.start, len(epochs))) - 1
        if place >= 0 and span.start < epochs[begun[place][1]].end:
            inside[begun[place][1]].append(span)
        else:
            outside.append(span)
    return inside, outside


def _of_epoch(
    number: int, epoch: Epoch, spans: Sequence[Span], n_threads: int | None
) -> Iterator[tuple[Span, dict[str, Any]]]:
    """Yield an epoch and its spans, each with what is known of it."""
    work, seconds = work_of(epoch), defaultdict[str, float](float)
    for span in spans:
        seconds[span.phase] += (span.end - span.start) * 1e-9
    phases = {}
    if n_threads is not None:
        phases = {
            name: _rates(work[name], total / n_threads)
            for name, total in seconds.items()
            if any(work.get(name, Work()))
        }
    shape = {
        "epoch": number,
        "rows": epoch.n_samples,
        "features": epoch.n_features,
        "classes": epoch.n_classes,
        "steps": epoch.n_steps,
        "threads": epoch.n_threads,
    }
    # What a phase reads from the caches is not read by the epoch once more.
    whole = Work(*map(sum, zip(*work.values(), strict=True)))
    rates = _rates(whole._replace(bytes=whole.memory), (epoch.end - epoch.start) * 1e-9)
    yield epoch.as_span()._replace(thread=_EPOCHS), {**shape, **rates, "phases": phases}
    # Where some spans of a phase are of weights, not of rows, the parts of its work are unknown.
    are_known = set(work) - {span.phase for span in spans if span.rows is None}
    for span in spans:
        facts = {"epoch": number, **_facts(span)}
        if span.rows is not None and span.phase in are_known:
            share = span.rows / epoch.n_samples
            part = Work(*(share * amount for amount in work[span.phase]))
            facts |= _rates(part, (span.end - span.start) * 1e-9)
        yield span, facts


def _facts(span: Span) -> dict[str, Any]:
    known = {"step": span.step, "rows": span.rows}
    return {name: value for name, value in known.items() if value is not None}


def _rates(work: Work, seconds: float) -> dict[str, float]:
    """Return the operations and the bytes, and both per second, as far as there are any."""
    rates = {}
    for name, unit, amount in (("flop", "GFLOP/s", work.flop), ("bytes", "GB/s", work.bytes)):
        if amount:
            rates[name] = amount
            if seconds:
                rates[unit] = 1e-9 * amount / seconds
    return rates
