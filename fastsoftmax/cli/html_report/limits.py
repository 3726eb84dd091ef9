"""The share of the machine's peak performance that every backend reaches."""

from typing import Any

from ...profiling.roofline import Peaks
from ..numbers import size, three_digits
from .facts import Facts, Record
from .markup import NOTHING, Markup, element, filled, number, paragraphs, section, table
from .roofline import roofline

_TITLES = ("backend and phase", "GFLOP/s", "GB/s", "share of the limit", "nearer limit")
_TEXT = """
A machine has two limits: how many operations it computes per second, <var>P</var>, and how many bytes it
reads from memory per second, <var>β</var>. They were measured in the same process, with {threads}:
<var>P</var> = {peak} GFLOP/s in {dtype} (multiply-adds in registers and nothing else; each counts as two
operations) and <var>β</var> = {read} GB/s.

Work with the <em>intensity</em> <var>I</var>, operations per byte from memory, can run at no more than

<span class="formula">min(<var>P</var>, <var>I</var>·<var>β</var>)</span>

operations per second. Drawn over <var>I</var> this is a roof with a slope and a flat part,
which meet at <var>P</var>/<var>β</var> = {ridge} operations per byte. An epoch has
4·<var>N</var>·<var>D</var>·<var>C</var> operations and has to read <var>N</var>·<var>D</var> numbers of
{itemsize} bytes, so that <var>I</var> = 4·{c}/{itemsize} = {intensity}: {side}.
"""
_CACHED = """
The data here are {data}. If they fit the caches they come from there rather than from memory, which is
faster, and a point may be above the slope, its share above 100 %. The share is of the nearer limit, and
all backends are compared with the same limits, however many threads they use.
"""
_UNKNOWN = """
The limits of this machine are not known here: they are measured by the compiled backend, which is not
available.
"""
_BELOW = "less than {ridge}, so that memory is the nearer limit"
_ABOVE = "at least {ridge}, so that arithmetic is the nearer limit"


def limits_section(facts: Facts) -> Markup:
    """Return the section."""
    title = "How close to the machine's limits"
    peaks = facts.peaks()
    rows = [row for backend in facts.profiles for row in _rows(facts, backend)]
    caption = "Operations and bytes per second, and their share of the machine's limits"
    numbers = table("limits-table", caption, _TITLES, rows)
    if peaks is None:
        return section("limits", title, paragraphs(_UNKNOWN), numbers)
    return section("limits", title, _explained(facts, peaks), roofline(facts), numbers)


def _explained(facts: Facts, peaks: Record) -> Markup:
    peak, read = facts.peak_flops(), float(peaks["read"])
    intensity, ridge = 4 * facts.c / facts.itemsize, peak / read
    side = _BELOW if intensity < ridge else _ABOVE
    text = paragraphs(
        _TEXT,
        threads=f"{peaks['n_threads']} threads" if peaks["n_threads"] > 1 else "1 thread",
        peak=three_digits(peak / 1e9),
        dtype=facts.settings["dtype"],
        read=three_digits(read / 1e9),
        ridge=three_digits(ridge),
        itemsize=facts.itemsize,
        c=facts.c,
        intensity=f"{intensity:g}",
        side=side.format(ridge=three_digits(ridge)),
    )
    data = size(facts.n * facts.d * facts.itemsize)
    note = Peaks(**peaks).note()
    warning = "" if note is None else element("p", note, class_="note", role="note")
    return element("div", text, warning, paragraphs(_CACHED, data=data))


def _rows(facts: Facts, backend: str) -> list[list[Markup | str]]:
    computing = [p for p in facts.phases(backend).values() if p["flops"] or p["bandwidth"]]
    rows: list[list[Markup | str]] = [[filled("<strong>{b}</strong>, whole epoch", b=backend)]]
    rows[0] += [*_whole(facts, backend)]
    return rows + [[f"{backend}, {phase['name']}", *_cells(phase)] for phase in computing]


def _whole(facts: Facts, backend: str) -> list[Markup | str]:
    """Return the row of the two products and one pass over the data, in the time of a whole epoch."""
    seconds, peaks = facts.whole_epoch(backend), facts.peaks()
    flops = 2 * facts.multiply_adds / seconds
    bandwidth = facts.n * facts.d * facts.itemsize / seconds
    phase: dict[str, Any] = {"flops": flops, "bandwidth": bandwidth, "of_peak": None, "limit": None}
    if peaks is not None:
        shares = {"compute": flops / facts.peak_flops(), "memory": bandwidth / peaks["read"]}
        phase["limit"] = max(shares, key=lambda limit: shares[limit])
        phase["of_peak"] = shares[phase["limit"]]
    return _cells(phase)


def _cells(phase: Record) -> list[Markup | str]:
    flops, bandwidth, share = phase["flops"], phase["bandwidth"], phase["of_peak"]
    return [
        number(flops, "" if flops is None else three_digits(flops / 1e9)),
        number(bandwidth, "" if bandwidth is None else three_digits(bandwidth / 1e9)),
        number(share, "" if share is None else f"{three_digits(100 * share)} %"),
        {"compute": "arithmetic", "memory": "memory", None: NOTHING}[phase["limit"]],
    ]
