"""The training speed of the backends, side by side."""

from ..numbers import duration, three_digits, with_prefix
from .bars import bar, bars, logarithmic_lengths
from .facts import Facts
from .markup import Markup, element, filled, number, paragraphs, section, table

_TITLES = (
    "backend",
    "time per epoch",
    "samples per second",
    "speed over naive",
    "speed over vectorized",
    "ns per multiply-add",
)
_TEXT = """
The time of an epoch is the median of {epochs}. The backends took turns, after a warm-up that is not
counted (numba compiles during it), so that other programs on the machine disturb all of them alike. The
last column is the time of an epoch divided by its {multiply_adds} multiply-adds: what one of them costs
with everything around it.
"""
_SAMPLED = """
{backend}: ~ is extrapolated. It trained on {rows} of {n} samples, as all of them would have taken too
long.
"""


def speed_section(facts: Facts) -> Markup:
    """Return the section."""
    sampled = [
        paragraphs(_SAMPLED, backend=name, rows=result["n_rows_timed"], n=facts.n)
        for name, result in facts.results.items()
        if result["extrapolated"]
    ]
    epochs = facts.settings["epochs"]
    return section(
        "speed",
        "Speed, side by side",
        _bars(facts),
        table("speed-table", "Speed of training", _TITLES, [_row(facts, b) for b in facts.results]),
        paragraphs(
            _TEXT,
            epochs=f"{epochs} epochs" if epochs > 1 else "1 epoch",
            multiply_adds=f"{facts.multiply_adds:,}",
        ),
        *sampled,
    )


def _bars(facts: Facts) -> Markup:
    speeds = [result["samples_per_second"] for result in facts.results.values()]
    rows, first = [], next(iter(facts.results))
    for backend, length in zip(facts.results, logarithmic_lengths(speeds), strict=True):
        amount = facts.about(backend) + with_prefix(facts.results[backend]["samples_per_second"])
        description = f"{backend}: {amount} samples per second"
        words = f"{amount}/s"
        if backend != first:
            words += (
                f", {facts.about(first)}{_times(facts.seconds(first) / facts.seconds(backend))}"
            )
        rows.append((backend, bar([(backend, length)], description), words))
    caption = (
        "Samples trained on per second, on a logarithmic scale: equal lengths are equal factors. "
        f"Longer is faster; × is how many times as fast as {first}."
    )
    return element("figure", element("figcaption", caption), bars(rows))


def _times(ratio: float) -> str:
    return f"{three_digits(ratio)}×"


def _row(facts: Facts, backend: str) -> list[Markup | str]:
    result, about = facts.results[backend], facts.about(backend)
    seconds, samples = facts.seconds(backend), result["samples_per_second"]
    ratios = (result["speed_over_naive"], result["speed_over_vectorized"])
    nanoseconds = 1e9 * seconds / facts.multiply_adds
    return [
        backend,
        number(seconds, about + duration(seconds)),
        number(samples, about + with_prefix(samples)),
        *(number(ratio, "" if ratio is None else _times(ratio)) for ratio in ratios),
        number(nanoseconds, about + three_digits(nanoseconds)),
    ]


def summary(facts: Facts) -> Markup:
    """Return the result in a sentence."""
    first, *_, last = [*facts.results, *facts.results]
    if first == last:
        return filled(
            "<strong>{backend}</strong> takes {time} for an epoch.",
            backend=last,
            time=_time(facts, last),
        )
    return filled(
        "<strong>{first}</strong> takes {slow} for an epoch, <strong>{last}</strong> {fast}: "
        "{ratio} times as fast, by the same formulas.",
        first=first,
        slow=_time(facts, first),
        last=last,
        fast=_time(facts, last),
        ratio=three_digits(facts.seconds(first) / facts.seconds(last)),
    )


def _time(facts: Facts, backend: str) -> str:
    return facts.about(backend) + duration(facts.seconds(backend))
