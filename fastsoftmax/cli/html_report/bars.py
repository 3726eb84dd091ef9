"""Bars as wide as the window permits: the text beside them is HTML, not part of a picture."""

from collections.abc import Iterable, Sequence
from math import log10

from .markup import Markup, element, joined

_WIDTH, _HEIGHT = 1000, 10
# The space between two parts of one bar.
_GAP = 3


def bars(rows: Iterable[tuple[str, Markup, str]]) -> Markup:
    """Return bars below each other: a name, the bar and the amount in words."""
    parts: list[Markup] = []
    for name, bar, amount in rows:
        parts += [element("span", name), bar, element("span", amount, class_="amount")]
    return element("div", *parts, class_="bars")


def logarithmic_lengths(amounts: Sequence[float]) -> list[float]:
    """Return lengths up to 1; a bar starts one decade below the smallest amount."""
    start = log10(min(amounts)) - 1
    most = log10(max(amounts)) - start
    return [(log10(amount) - start) / most for amount in amounts]


def bar(parts: Iterable[tuple[str, float]], description: str) -> Markup:
    """Return a bar of parts, each with a CSS class, which sets its colour, and its share of the width."""
    rectangles, left = [], 0.0
    for name, share in parts:
        width = share * _WIDTH
        rectangles.append(
            element(
                "rect",
                class_=f"area {name}",
                x=f"{left:.2f}",
                y=0,
                width=f"{max(0.0, width - (_GAP if width > 2 * _GAP else 0)):.2f}",
                height=_HEIGHT,
            )
        )
        left += width
    return element(
        "svg",
        *rectangles,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=description,
    )


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """Return the legend of the colours: the CSS class and the name of each."""
    return element(
        "ul",
        joined(element("li", _swatch(class_name), name) for class_name, name in entries),
        class_="legend",
    )


def _swatch(class_name: str) -> Markup:
    square = element("rect", class_=f"area {class_name}", width=10, height=10)
    return element("svg", square, viewBox="0 0 10 10", aria_hidden="true")
