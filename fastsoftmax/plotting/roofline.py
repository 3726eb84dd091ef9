"""The roofline plot: work under the machine's two limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ._figure import colours_of, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_roofline(
    peak_flops: float,
    peak_bandwidth: float,
    phases: Mapping[str, tuple[float, float]],
    wholes: Mapping[str, tuple[float, float]],
    title: str = "",
) -> Figure:
    """Plot work under a machine's two limits, arithmetic and memory, on logarithmic axes.

    Parameters
    ----------
    peak_flops : float
        The maximum floating-point operations per second.
    peak_bandwidth : float
        The maximum bytes per second from memory: a slope that meets the other limit at the intensity above
        which arithmetic is the limit.
    phases, wholes : mapping of str to (float, float)
        By name, the intensity, in operations per byte, and the operations per second: of single phases,
        drawn as dots, and of whole epochs, drawn as squares.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is nothing to plot.

    References
    ----------
    Williams, Waterman, Patterson: Roofline (2009), Communications of the ACM 52(4).
    """
    if not phases and not wholes:
        raise ValueError("phases: expected at least one, got none")
    figure = new_figure(9.8, 5.4)
    _draw_roofline(figure.add_subplot(), peak_flops, peak_bandwidth, phases, wholes, title)
    return figure


def _draw_roofline(
    axes: Axes,
    peak_flops: float,
    peak_bandwidth: float,
    phases: Mapping[str, tuple[float, float]],
    wholes: Mapping[str, tuple[float, float]],
    title: str,
) -> None:
    from matplotlib.ticker import EngFormatter

    points = {**phases, **wholes}
    colours = colours_of(points)
    ridge = peak_flops / peak_bandwidth
    intensities = [*(x for x, _ in points.values()), ridge]
    left, right = min(intensities) / 4, max(intensities) * 4
    roofs = {
        f"multiply-adds: {_flops(peak_flops)}": ((ridge, peak_flops), (right, peak_flops), "--"),
        f"memory: {peak_bandwidth / 1e9:.0f} GB/s (above: from caches)": (
            (left, left * peak_bandwidth),
            (ridge, peak_flops),
            "-",
        ),
    }
    for label, (start, end, style) in roofs.items():
        axes.plot(*zip(start, end, strict=True), style, color="black", linewidth=2, label=label)
    for name, (x, flops) in points.items():
        marker = "o" if name in phases else "s"
        axes.plot(
            x, flops, marker, color=colours[name], markersize=9, label=f"{name}: {_flops(flops)}"
        )
    axes.set(xscale="log", yscale="log", xlim=(left, right))
    lowest = min(flops for _, flops in points.values())
    # At least two decades: on less, matplotlib labels the lines between powers of ten too.
    axes.set_ylim(min(lowest / 3, peak_flops / 50), peak_flops * 2.5)
    axes.set(
        xlabel="intensity: operations per byte of X and, if they are large, of the weights",
        ylabel="floating-point operations per second",
    )
    axes.set_title(title, fontsize="medium")
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")


def _flops(flops: float) -> str:
    return f"{flops / 1e9:.3g} GFLOP/s"
