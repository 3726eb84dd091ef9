"""A picture with two axes, in SVG that follows the colours of the page."""

from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from .markup import Markup, element

# The width of a phone screen: there the text of the picture is as large as that of the page.
WIDTH, HEIGHT = 360, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 8, 10, 38


class Axis(NamedTuple):
    """An axis from `low` to `high`, linear or logarithmic."""

    low: float
    high: float
    is_logarithmic: bool = False

    def share(self, value: float) -> float:
        """Return the position of a value on the axis, from 0 to 1."""
        if self.is_logarithmic:
            return log10(value / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return about five round numbers on the axis."""
        if self.is_logarithmic:
            low, high = ceil(log10(self.low)), floor(log10(self.high))
            step = max(1, round((high - low) / 6))
            return [10.0**exponent for exponent in range(low, high + 1, step)]
        rough = (self.high - self.low) / 4
        decade = 10.0 ** floor(log10(rough))
        step_size = next(decade * factor for factor in (1, 2, 5, 10) if decade * factor >= rough)
        first, last = ceil(self.low / step_size), floor(self.high / step_size)
        return [i * step_size for i in range(first, last + 1)]


class Axes(NamedTuple):
    """Two axes; `x` and `y` return coordinates in the picture."""

    horizontal: Axis
    vertical: Axis

    def x(self, value: float) -> float:
        """Return the distance of a value from the left edge."""
        return _LEFT + self.horizontal.share(value) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return the distance of a value from the top edge."""
        return HEIGHT - _BOTTOM - self.vertical.share(value) * (HEIGHT - _TOP - _BOTTOM)

    def line(self, points: Sequence[tuple[float, float]], class_name: str, **look: str) -> Markup:
        """Return a line through points."""
        places = " ".join(f"{self.x(x):.2f},{self.y(y):.2f}" for x, y in points)
        return element("polyline", points=places, class_=class_name, **look)

    def frame(self, titles: tuple[str, str], texts: Callable[[float], str]) -> list[Markup]:
        """Return grid, frame, numbers and titles."""
        left, right = _LEFT, WIDTH - _RIGHT
        top, bottom = _TOP, HEIGHT - _BOTTOM
        parts = []
        for value in self.horizontal.ticks():
            x = f"{self.x(value):.2f}"
            parts.append(element("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
            parts.append(text(self.x(value), bottom + 14, texts(value), "middle", "soft"))
        for value in self.vertical.ticks():
            y = f"{self.y(value):.2f}"
            parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
            parts.append(text(left - 5, self.y(value) + 4, texts(value), "end", "soft"))
        frame = element(
            "rect", x=left, y=top, width=right - left, height=bottom - top, class_="frame"
        )
        middle = (top + bottom) / 2
        rotated = element(
            "text",
            titles[1],
            transform=f"translate(11 {middle:.2f}) rotate(-90)",
            text_anchor="middle",
        )
        return [*parts, frame, text((left + right) / 2, HEIGHT - 6, titles[0], "middle"), rotated]


def text(x: float, y: float, content: str, anchor: str, class_name: str | None = None) -> Markup:
    """Return a line of text."""
    return element(
        "text", content, x=f"{x:.2f}", y=f"{y:.2f}", text_anchor=anchor, class_=class_name
    )


def picture(parts: Sequence[Markup], description: str) -> Markup:
    """Return the parts as one picture."""
    return element(
        "svg",
        *parts,
        class_="plot",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=description,
    )
