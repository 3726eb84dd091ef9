"""Samples per second, as bars."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from typing import TYPE_CHECKING

from .._arrays.validation import shown
from ._figure import colours_of, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES_PER_BAR = 0.55


def plot_speed(
    samples_per_second: Mapping[str, float], extrapolated: Collection[str] = ()
) -> Figure:
    """Plot how many samples are trained on per second, as bars on a logarithmic axis.

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
            with_prefix(float(f"{speed:.3g}")) + (" (extrapolated)" if is_extrapolated else ""),
            (speed, place),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    axes.set_xscale("log")
    # On a logarithmic axis a bar's length has a meaning only relative to its start: one decade below
    # the slowest. On the right, room for the label of each: 0.2 of its bar, 0.6 for a long one.
    start = min(speeds) / 10
    ends = [
        start * (speed / start) ** (1.6 if name in extrapolated else 1.2)
        for name, speed in samples_per_second.items()
    ]
    axes.set_xlim(start, max(ends))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set(title="speed of training", xlabel="samples per second (logarithmic; more is better)")
