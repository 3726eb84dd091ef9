"""Samples per second, as bars."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from .._arrays.validation import shown
from ._figure import colours_of, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES_PER_BAR = 0.55
_POINTS_PER_INCH = 72.0
_CHARACTER_WIDTH = 6.0  # points, of the labels
_BESIDE_LABEL = 12.0  # points, between it, its bar and the edge
_BESIDE_AXES = 100.0  # points, for the names of the bars and the edges


def plot_speed(
    samples_per_second: Mapping[str, float], extrapolated: Collection[str] = ()
) -> Figure:
    """Plot how many samples are trained on per second, as bars on a logarithmic axis.

    Beside each bar are the number and how many times that of the first bar it is.

    Parameters
    ----------
    samples_per_second : mapping of str to float
        Greater than 0, one for each name.
    extrapolated : collection of str
        The names whose number was extrapolated; their bars are hatched and labelled.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no number, or one is not finite and greater than 0.
    """
    check_speed(samples_per_second)
    figure = new_figure(6.4, 1.2 + _INCHES_PER_BAR * len(samples_per_second))
    colours = colours_of(samples_per_second)
    draw_speed(figure.add_subplot(), samples_per_second, extrapolated, colours)
    return figure


def check_speed(samples_per_second: Mapping[str, float]) -> None:
    """Raise unless there are numbers that a logarithmic axis can show."""
    if not samples_per_second:
        raise ValueError("samples_per_second: expected at least one, got none")
    for name, speed in samples_per_second.items():
        if not (isfinite(speed) and speed > 0):
            raise ValueError(
                "samples_per_second: expected finite numbers greater than 0, "
                f"got {shown(speed)} for {name!r}"
            )


def draw_speed(
    axes: Axes,
    samples_per_second: Mapping[str, float],
    extrapolated: Collection[str],
    colours: Mapping[str, str],
) -> None:
    """Draw the bars, each with its number beside it."""
    from matplotlib.ticker import EngFormatter

    with_prefix = EngFormatter(sep="")
    names, speeds = list(samples_per_second), list(samples_per_second.values())
    about = "~" if names[0] in extrapolated else ""
    for place, (name, speed) in enumerate(samples_per_second.items()):
        is_extrapolated = name in extrapolated
        axes.barh(
            place,
            speed,
            height=0.6,
            color="white" if is_extrapolated else colours[name],
            edgecolor=colours[name],
            hatch="///" if is_extrapolated else "",
        )
        axes.annotate(
            with_prefix(float(f"{speed:.3g}"))
            + (" (extrapolated)" if is_extrapolated else "")
            + (f"  {about}{_times(speed / speeds[0])}" if place else ""),
            (speed, place),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    axes.set_xscale("log")
    # On a logarithmic axis a bar's length has a meaning only relative to its start: one decade below
    # the slowest. On the right, room for the label of each.
    start = min(speeds) / 10
    axes.set_xlim(start, _right_end(axes, start, speeds))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    title = "speed of training" if len(names) < 2 else f"speed of training, and × over {names[0]}"
    axes.set(title=title, xlabel="samples per second (logarithmic; more is better)")


def _right_end(axes: Axes, start: float, speeds: Sequence[float]) -> float:
    """Return where the axis has to end so that every label fits beside its bar."""
    figure, spec = axes.figure, axes.get_subplotspec()
    assert figure is not None
    assert spec is not None
    columns = spec.get_gridspec().ncols
    width: float = figure.bbox.width / figure.dpi * _POINTS_PER_INCH / columns - _BESIDE_AXES
    labels = [_CHARACTER_WIDTH * len(text.get_text()) + _BESIDE_LABEL for text in axes.texts]
    ends = (
        start * (speed / start) ** (1 / (1 - label / width))
        for speed, label in zip(speeds, labels, strict=True)
    )
    return float(max(ends))


def _times(ratio: float) -> str:
    """Return the ratio with three digits and the sign of multiplication."""
    return f"{ratio:.0f}×" if ratio >= 100 else f"{ratio:.3g}×"
