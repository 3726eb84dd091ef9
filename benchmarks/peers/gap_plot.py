"""The picture of `optimum`: gaps and held-out losses against the seconds of a fit, a panel for each set."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from fastsoftmax.plotting._figure import colours_of, new_figure

from .ladder import GAPS, Climb, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_WIDTH, _HEIGHT, _LEGEND_HEIGHT = 3.4, 2.7, 0.9
# Of gaps: the true minimum and one above all of a fit from zeros.
_SMALLEST, _LARGEST = 3e-8, 20.0
_MARKERS = "osDv^<>Ph*X"


def plot_gaps(outcomes: Sequence[Outcome]) -> Figure:
    """Return the figure: logarithmic axes, a line for each contender, one legend.

    If rows were held out, their losses are in panels of their own, below the gaps.
    """
    names = list(dict.fromkeys(climb.name for outcome in outcomes for climb in outcome.climbs))
    styles = _styles(names)
    n_columns = min(_COLUMNS, len(outcomes))
    n_rows = -(-len(outcomes) // n_columns)
    has_losses = any(outcome.problem.held_out is not None for outcome in outcomes)
    width = max(_WIDTH * n_columns, 7.0)
    figure = new_figure(width, _HEIGHT * n_rows * (1 + has_losses) + _LEGEND_HEIGHT)
    every = figure.subplots(n_rows * (1 + has_losses), n_columns, squeeze=False)
    grid, of_losses = every[:n_rows].ravel(), every[n_rows:].ravel()
    for axes, outcome in zip(grid, outcomes, strict=False):
        _draw(axes, outcome, styles)
    for axes, outcome in zip(of_losses, outcomes, strict=False):
        _draw_losses(axes, outcome, styles)
    for axes in (*grid[len(outcomes) :], *of_losses[len(outcomes) :]):
        axes.set_axis_off()
    for axes in every[:n_rows, 1:].ravel():
        axes.tick_params(labelleft=False)
    for row in every[:n_rows]:
        row[0].set_ylabel("above the minimum, relative")
    for row in every[n_rows:]:
        row[0].set_ylabel("loss of rows held out")
    figure.supxlabel("seconds of a fit")
    handles: dict[str, Any] = {}
    for axes in grid[: len(outcomes)]:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    shown = [name for name in names if name in handles]
    figure.legend(
        [handles[name] for name in shown],
        shown,
        loc="outside upper center",
        ncols=min(len(shown), 2 if n_columns < 3 else 5),
        frameon=False,
    )
    return figure


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the look of each line: solid and wide for fastsoftmax, colours again with dashes."""
    colours = colours_of(names)
    n_colours = len(set(colours.values()))
    return {
        name: {
            "color": colours[name],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linestyle": "-" if i < n_colours else "--",
            "linewidth": 2.0 if name.startswith("fastsoftmax") else 1.0,
            "markersize": 3.5,
        }
        for i, name in enumerate(names)
    }


def _draw(axes: Axes, outcome: Outcome, styles: dict[str, dict[str, Any]]) -> None:
    n_samples, n_features, n_classes = outcome.problem.shape
    axes.set_title(f"{outcome.name}: {n_samples}x{n_features}x{n_classes}", fontsize="medium")
    axes.set(xscale="log", yscale="log", ylim=(_SMALLEST, _LARGEST))
    axes.set_yticks([10.0**k for k in range(-7, 2)])
    for gap in GAPS:
        axes.axhline(gap, color="0.8", linewidth=0.8, zorder=0)
    seconds = []
    for climb in outcome.climbs:
        points = _points(climb, outcome)
        if points:
            axes.plot(*zip(*points, strict=True), label=climb.name, **styles[climb.name])
            seconds += [time for time, _ in points]
    _span(axes, seconds)


def _draw_losses(axes: Axes, outcome: Outcome, styles: dict[str, dict[str, Any]]) -> None:
    """Draw the losses of the rows that were held out, up to twice that of the minimum."""
    axes.set_title(outcome.name, fontsize="medium")
    at_minimum = [climb.rungs[-1].held_out_loss for climb in outcome.climbs if climb.rungs]
    seconds = []
    for climb in outcome.climbs:
        points = [
            (rung.median, rung.held_out_loss)
            for rung in climb.rungs
            if rung.held_out_loss is not None and outcome.gap(rung.value) < _LARGEST
        ]
        if points:
            axes.plot(*zip(*points, strict=True), **styles[climb.name])
            seconds += [time for time, _ in points]
    axes.set_xscale("log")
    if at_minimum[0]:  # fastsoftmax's own: the climbs begin with it
        lowest = min(loss for line in axes.lines for loss in line.get_ydata())
        axes.set_ylim(0.95 * lowest, 2 * at_minimum[0])
    _span(axes, seconds)


def _span(axes: Axes, seconds: Sequence[float]) -> None:
    """Show whole decades, so that each panel has labelled ticks, and the small ones need no labels."""
    axes.set_xlim(10.0 ** floor(log10(min(seconds))), 10.0 ** ceil(log10(max(seconds))))
    axes.xaxis.set_minor_formatter("")


def _points(climb: Climb, outcome: Outcome) -> list[tuple[float, float]]:
    """Return seconds and gaps; those at the minimum are drawn at the lower edge."""
    return [
        (rung.median, max(outcome.gap(rung.value), _SMALLEST))
        for rung in climb.rungs
        if outcome.gap(rung.value) < _LARGEST
    ]
