"""The time of an epoch by phase."""

from ...backends.recorder import NAMES, TOGETHER, WAIT
from ...profiling.profiler import BETWEEN, OUTSIDE
from ..numbers import duration, three_digits
from .bars import bar, bars, legend
from .facts import PHASES, Facts
from .markup import Markup, element, filled, joined, number, paragraphs, section, table

_TEXT = """
For this, every backend trained once more, with timers around the parts of a step (the profile). A time is
that of all threads divided by their number, so that a column adds up to the wall time of an epoch. This is
a different run from that of the speed table, often with fewer epochs, and its times differ.
"""
_MEANINGS = {
    NAMES[0]: "the rows of a minibatch are located and, if necessary, copied or converted",
    NAMES[1]: "the products of weights and samples",
    NAMES[2]: "exponentials, their sums, logarithms, and the gradient of the scores",
    TOGETHER: "naive and numba process one sample after another, so that these cannot be separated; "
    "numba takes many steps in one call, and the steps belong to this time too",
    NAMES[3]: "the gradient of the weights, the penalty, and the step itself",
    NAMES[WAIT]: "a thread of the compiled backend is idle until others are ready",
    BETWEEN: "the rest of an epoch: calls between the parts, sums of losses",
    OUTSIDE: "what happens around an epoch, such as drawing the order of the samples",
}


def phases_section(facts: Facts) -> Markup:
    """Return the section."""
    present = [p for p in PHASES if any(p in facts.phases(b) for b in facts.profiles)]
    meanings = joined(
        joined([element("dt", name), element("dd", _MEANINGS[name])]) for name in present
    )
    return section(
        "phases",
        "Where the time goes, by phase",
        paragraphs(_TEXT),
        _bars(facts, present),
        table(
            "phases-table",
            "Time of each phase in an epoch, in milliseconds",
            ["phase", *(facts.about(b) + b for b in facts.profiles)],
            _rows(facts, present),
        ),
        element("ul", joined(_largest(facts, backend) for backend in facts.profiles)),
        element("h3", "What the phases are"),
        element("dl", meanings, class_="short"),
    )


def _bars(facts: Facts, present: list[str]) -> Markup:
    rows = []
    for backend in facts.profiles:
        shares = {name: phase["share"] for name, phase in facts.phases(backend).items()}
        words = ", ".join(f"{name} {_percent(share)}" for name, share in shares.items())
        parts = [(PHASES[name], share) for name, share in shares.items()]
        time = facts.about(backend) + duration(facts.whole_epoch(backend))
        rows.append((backend, bar(parts, f"{backend}: {words}"), time))
    caption = (
        "Shares of the phases in an epoch. All bars are equally long; the time of the whole epoch "
        "is beside each."
    )
    colours = legend((PHASES[name], name) for name in present)
    return element("figure", element("figcaption", caption), bars(rows), colours)


def _rows(facts: Facts, present: list[str]) -> list[list[Markup | str]]:
    rows: list[list[Markup | str]] = []
    for name in present:
        times = (facts.phase_seconds(backend, name) for backend in facts.profiles)
        rows.append([name, *(_milliseconds(time) for time in times)])
    rows.append(
        [
            filled("<strong>whole epoch</strong>"),
            *(_milliseconds(facts.whole_epoch(b)) for b in facts.profiles),
        ]
    )
    return rows


def _milliseconds(seconds: float | None) -> Markup:
    if seconds is None:
        return number(None, "")
    return number(1e3 * seconds, three_digits(1e3 * seconds))


def _largest(facts: Facts, backend: str) -> Markup:
    largest = max(facts.phases(backend).values(), key=lambda phase: float(phase["share"]))
    return filled(
        "<li><strong>{backend}</strong>: the largest part is <em>{phase}</em>, {share}.</li>",
        backend=backend,
        phase=largest["name"],
        share=_percent(largest["share"]),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
