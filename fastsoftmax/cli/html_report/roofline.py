"""The roofline: whole epochs of all backends and phases of the compiled one, under the limits."""

from ..numbers import three_digits
from .axes import Axes, Axis, picture, text
from .bars import legend
from .facts import PHASES, Facts
from .markup import Markup, element

_TITLES = ("operations per byte of the data", "operations per second")
# The distance between two lines of text.
_LINE = 13.0
_CAPTION = (
    "The roofline of this machine, on logarithmic scales. Squares are whole epochs, dots are phases of "
    "the compiled backend. Work cannot be above the roof, except above the slope for data from the caches; "
    "squares at the same intensity are the same work done at different speeds."
)


def roofline(facts: Facts) -> Markup:
    """Return the picture; needs the limits of the machine."""
    peaks, peak = facts.peaks(), facts.peak_flops()
    assert peaks is not None
    slope = float(peaks["read"])
    ridge = peak / slope
    intensity = 4 * facts.c / facts.itemsize
    wholes = {
        backend: 2 * facts.multiply_adds / facts.whole_epoch(backend) for backend in facts.profiles
    }
    dots = _phases(facts)
    lefts = [x for x, _ in dots.values()] + [intensity, ridge]
    lowest = min([*wholes.values(), *(y for _, y in dots.values())])
    # The axis leaves space on the right for the names of the squares.
    axes = Axes(
        Axis(min(lefts) / 10, max(lefts) * 30, True),
        Axis(lowest / 4, max(peak * 4, lowest * 8), True),
    )
    left, right = axes.horizontal.low, axes.horizontal.high
    start = max(left, axes.vertical.low / slope)
    parts = axes.frame(_TITLES, _power_of_10)
    parts.append(axes.line([(start, start * slope), (ridge, peak), (right, peak)], "roof"))
    top = f"{three_digits(peak / 1e9)} GFLOP/s"
    parts.append(text(axes.x(right) - 4, axes.y(peak) - 5, top, "end", "halo"))
    heights = _apart([axes.y(flops) for flops in wholes.values()])
    for (backend, flops), height in zip(wholes.items(), heights, strict=True):
        parts.append(_square(axes.x(intensity), axes.y(flops), backend))
        label = f"{backend} {three_digits(flops / 1e9)}"
        parts.append(text(axes.x(intensity) + 9, height + 4, label, "start", "halo"))
    parts += [_dot(axes.x(x), axes.y(flops), PHASES[name]) for name, (x, flops) in dots.items()]
    words = ", ".join(f"{name} {three_digits(flops / 1e9)}" for name, flops in wholes.items())
    description = (
        f"Roofline: at most {top} and {three_digits(slope / 1e9)} GB/s; "
        f"whole epochs in GFLOP/s: {words}"
    )
    drawn = picture(parts, description)
    entries = [
        (PHASES[name], f"{name} (compiled): {three_digits(flops / 1e9)} GFLOP/s")
        for name, (_, flops) in dots.items()
    ]
    return element("figure", element("figcaption", _CAPTION), drawn, legend(entries))


def _phases(facts: Facts) -> dict[str, tuple[float, float]]:
    """Return intensity and speed of the compiled backend's phases that read the data."""
    if "compiled" not in facts.profiles:
        return {}
    return {
        name: (phase["flops"] / phase["bandwidth"], phase["flops"])
        for name, phase in facts.phases("compiled").items()
        if phase["flops"] and phase["bandwidth"]
    }


def _square(x: float, y: float, name: str) -> Markup:
    return element(
        "rect", class_=f"area {name}", x=f"{x - 4.5:.2f}", y=f"{y - 4.5:.2f}", width=9, height=9
    )


def _power_of_10(value: float) -> str:
    """Return the text of a tick: 0.1, 10, 1k or 100G."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g}{prefix}"
    return f"{value:g}"


def _dot(x: float, y: float, name: str) -> Markup:
    return element("circle", class_=f"area {name}", cx=f"{x:.2f}", cy=f"{y:.2f}", r=4.5)


def _apart(heights: list[float]) -> list[float]:
    """Return the heights, moved up if necessary, so that labels are at least a line apart."""
    moved, last = list(heights), float("inf")
    for i in sorted(range(len(heights)), key=lambda i: -heights[i]):
        moved[i] = last = min(heights[i], last - _LINE)
    return moved
