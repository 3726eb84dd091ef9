"""Spans of a profile as a flame graph, in the file format of https://www.speedscope.app.

A profile for each thread is a list of events that open and close frames, in the order of time and balanced
like brackets.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..backends import recorder
from ..backends.recorder import NAMES, Span

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def speedscope(
    threads: Mapping[str, Sequence[Span]], name: str, start: int, end: int
) -> dict[str, Any]:
    """Return the file in the types of JSON; the spans of a thread nest, from `start` to `end`."""
    frames: dict[str, int] = {}
    profiles = [
        {
            "type": "evented",
            "name": thread,
            "unit": "nanoseconds",
            "startValue": 0,
            "endValue": end - start,
            "events": _events(spans, start, end, frames),
        }
        for thread, spans in threads.items()
    ]
    return {
        "$schema": _SCHEMA,
        "name": name,
        "exporter": "fastsoftmax",
        "shared": {"frames": [{"name": frame} for frame in frames]},
        "profiles": profiles,
    }


def around(spans: Iterable[Span], outer: Iterable[Span]) -> list[Span]:
    """Return those of the outer spans, which are of another thread, in which one of the spans begins."""
    starts = sorted(span.start for span in spans)
    return [
        span for span in outer if bisect_left(starts, span.start) < bisect_left(starts, span.end)
    ]


def waits(spans: Iterable[Span], epochs: Iterable[Span], until: int) -> list[Span]:
    """Return the time of a helper in the epochs, and before `until`, in which it had no phase.

    The thread pool counts that time, but no thread records it: a helper learns that it has waited when it
    is given the next chunk.
    """
    inside = sorted(spans, key=lambda span: span.start)
    starts = [span.start for span in inside]
    found = []
    for epoch in epochs:
        first, last = bisect_left(starts, epoch.start), bisect_left(starts, epoch.end)
        if first == last:  # an epoch of fewer threads
            continue
        at = epoch.start
        for span in inside[first:last]:
            found.append(Span(NAMES[recorder.WAIT], at, span.start, span.thread))
            at = span.end
        found.append(Span(NAMES[recorder.WAIT], at, min(epoch.end, until), inside[0].thread))
    return [span for span in found if span.end > span.start]


def _events(
    spans: Iterable[Span], start: int, end: int, frames: dict[str, int]
) -> list[dict[str, Any]]:
    """Return the events of a thread, and number the names of its frames."""
    events: list[dict[str, Any]] = []
    opened: list[tuple[int, int]] = []  # the end and the frame of each open span

    def add(kind: str, at: int, frame: int) -> None:
        events.append({"type": kind, "at": at - start, "frame": frame})

    def close(until: int) -> None:
        while opened and opened[-1][0] <= until:
            add("C", *opened.pop())

    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        begin = min(max(span.start, start), end)
        close(begin)
        frame = frames.setdefault(span.phase, len(frames))
        add("O", begin, frame)
        # The clocks of kernels and of Python may differ by a reading: no span outlasts the one around it.
        opened.append((min(span.end, opened[-1][0] if opened else end), frame))
    close(end)
    return events
