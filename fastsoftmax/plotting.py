"""Pictures of a training run: loss curves, speed, and what the weights have learned.

Every function takes plain numbers and returns a `matplotlib.figure.Figure` with no global state behind
it: nothing is shown, and it works without a display. Save one with its method ``savefig``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import cycle
from math import ceil, isfinite
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

# Okabe and Ito's palette, which colour-blind people can tell apart as well; one colour a curve.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
_WIDTH = 11.0
_INCHES_A_BAR = 0.55
_TEMPLATES_A_ROW = 10
_MOST_TEMPLATES = 100


def plot_loss_curves(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Plot the loss of every epoch, one curve for each name.

    Curves that agree lie on top of each other: each is drawn thinner than the one before, so that
    all can be seen.

    Parameters
    ----------
    curves : mapping of str to sequence of float
        The loss in nats, in the order of the epochs, as `loss_curve_` of a classifier.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no curve, or one has no epochs.
    """
    _check_curves(curves)
    figure = _figure(6.4, 4.2)
    _draw_loss_curves(figure.add_subplot(), curves, _colours(curves))
    return figure


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
        Floating-point operations a second at the most.
    peak_bandwidth : float
        Bytes a second from memory at the most: a slope, which meets the other limit at the intensity
        from which on arithmetic is the limit.
    phases, wholes : mapping of str to (float, float)
        By name, the intensity, in operations a byte, and the operations a second; of single phases,
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
    figure = _figure(8.6, 5.4)
    _draw_roofline(figure.add_subplot(), peak_flops, peak_bandwidth, phases, wholes, title)
    return figure


def plot_speed(
    samples_per_second: Mapping[str, float], extrapolated: Collection[str] = ()
) -> Figure:
    """Plot how many samples are trained on in a second, as bars on a logarithmic axis.

    Parameters
    ----------
    samples_per_second : mapping of str to float
        Greater than 0, one for each name.
    extrapolated : collection of str
        The names whose number was not measured as a whole; their bars are hatched and say so.

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
    _check_speed(samples_per_second)
    figure = _figure(6.4, 1.2 + _INCHES_A_BAR * len(samples_per_second))
    colours = _colours(samples_per_second)
    _draw_speed(figure.add_subplot(), samples_per_second, extrapolated, colours)
    return figure


def plot_templates(
    coef: ArrayLike, image_shape: tuple[int, int], labels: Sequence[object] | None = None
) -> Figure:
    """Plot the weights of every class as an image.

    The logit of a class is the sum of the pixels weighted so: where its template is positive, ink
    speaks for the class, and where it is negative, against it.

    Parameters
    ----------
    coef : array_like of float, shape (n_classes, n_features)
        `coef_` of a classifier; at most 100 classes.
    image_shape : (int, int)
        Height and width, whose product is n_features.
    labels : sequence, optional
        The titles of the images, one for each class; by default 0, 1, ...

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If shapes do not fit.
    """
    images, titles = _templates(coef, image_shape, labels)
    figure = _figure(_WIDTH, _templates_height(len(images)))
    _draw_templates(figure, images, titles)
    return figure


def plot_bench(
    curves: Mapping[str, Sequence[float]],
    samples_per_second: Mapping[str, float],
    extrapolated: Collection[str] = (),
    coef: ArrayLike | None = None,
    image_shape: tuple[int, int] | None = None,
    title: str = "",
    templates_title: str = "learned weight templates",
) -> Figure:
    """Plot a comparison of backends: loss curves, speed and, for images, the learned templates.

    Parameters
    ----------
    curves, samples_per_second, extrapolated
        As in `plot_loss_curves` and `plot_speed`.
    coef, image_shape
        As in `plot_templates`; None where the data are no images: the templates are left out.
    title : str
        Above everything.
    templates_title : str
        Above the templates.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError, ValueError
        As the functions for the parts do.
    """
    _check_curves(curves)
    _check_speed(samples_per_second)
    curves_height = 4.6
    if coef is None or image_shape is None:
        figure = _figure(_WIDTH, curves_height)
        _draw_curves_and_speed(figure, curves, samples_per_second, extrapolated, title)
    else:
        images, titles = _templates(coef, image_shape)
        height = _templates_height(len(images))
        figure = _figure(_WIDTH, curves_height + height)
        ratios = [curves_height, height]
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=ratios).flat
        _draw_curves_and_speed(upper, curves, samples_per_second, extrapolated, title)
        _draw_templates(lower, images, titles)
        lower.suptitle(templates_title, fontsize="large")
    return figure


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise ImportError(
            f'plots need matplotlib: pip install "fastsoftmax[bench]" ({error})'
        ) from error
    # Inches between the parts and at the edges; matplotlib's default cuts it fine.
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    return Figure(figsize=(width, height), layout=layout)


def _check_curves(curves: Mapping[str, Sequence[float]]) -> None:
    if not curves:
        raise ValueError("curves: expected at least one, got none")
    for name, curve in curves.items():
        if not len(curve):
            raise ValueError(f"curves: expected at least one epoch, got none for {name!r}")


def _check_speed(samples_per_second: Mapping[str, float]) -> None:
    if not samples_per_second:
        raise ValueError("samples_per_second: expected at least one, got none")
    for name, speed in samples_per_second.items():
        if not (isfinite(speed) and speed > 0):
            raise ValueError(
                "samples_per_second: expected finite numbers greater than 0, "
                f"got {speed!r} for {name!r}"
            )


def _templates(
    coef: ArrayLike, image_shape: tuple[int, int], labels: Sequence[object] | None = None
) -> tuple[NDArray[np.float64], list[str]]:
    weights = np.asarray(coef, dtype=np.float64)
    if weights.ndim != 2 or not 1 <= len(weights) <= _MOST_TEMPLATES:
        raise ValueError(
            f"coef: expected shape (n_classes, n_features) with 1 to {_MOST_TEMPLATES} classes, "
            f"got {weights.shape}"
        )
    height, width = image_shape
    if height < 1 or width < 1 or height * width != weights.shape[1]:
        raise ValueError(
            f"image_shape: expected height and width with the product {weights.shape[1]}, "
            f"the columns of coef, got {image_shape!r}"
        )
    if labels is None:
        labels = range(len(weights))
    if len(labels) != len(weights):
        raise ValueError(f"labels: expected {len(weights)}, one for each class, got {len(labels)}")
    return weights.reshape(-1, height, width), [str(label) for label in labels]


def _templates_height(n_templates: int) -> float:
    """Inches: for each row of images their height and a title, and one title above all."""
    return 0.4 + 1.25 * ceil(n_templates / _TEMPLATES_A_ROW)


def _draw_curves_and_speed(
    figure: FigureBase,
    curves: Mapping[str, Sequence[float]],
    samples_per_second: Mapping[str, float],
    extrapolated: Collection[str],
    title: str,
) -> None:
    left, right = figure.subplots(1, 2)
    if title:
        figure.suptitle(title, fontsize="medium")
    colours = _colours([*samples_per_second, *curves])
    _draw_loss_curves(left, curves, colours)
    _draw_speed(right, samples_per_second, extrapolated, colours)


def _colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in the order of the names."""
    return dict(zip(dict.fromkeys(names), cycle(_COLOURS), strict=False))


def _draw_loss_curves(
    axes: Axes, curves: Mapping[str, Sequence[float]], colours: Mapping[str, str]
) -> None:
    from matplotlib.ticker import MaxNLocator

    for place, (name, curve) in enumerate(curves.items()):
        epochs = range(1, len(curve) + 1)
        axes.plot(
            epochs,
            curve,
            label=name,
            color=colours[name],
            linewidth=1.5 + 2.5 * (len(curves) - 1 - place),
            marker="o" if len(curve) == 1 else "",
            markersize=4 + 4 * (len(curves) - 1 - place),
            solid_capstyle="round",
        )
    axes.set(title="training loss (equal curves overlap)", xlabel="epoch", ylabel="loss (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _draw_speed(
    axes: Axes,
    samples_per_second: Mapping[str, float],
    extrapolated: Collection[str],
    colours: Mapping[str, str],
) -> None:
    from matplotlib.ticker import EngFormatter

    with_prefix = EngFormatter(sep="")
    names, speeds = list(samples_per_second), list(samples_per_second.values())
    for place, (name, speed) in enumerate(samples_per_second.items()):
        guessed = name in extrapolated
        axes.barh(
            place,
            speed,
            height=0.6,
            color="white" if guessed else colours[name],
            edgecolor=colours[name],
            hatch="///" if guessed else "",
        )
        axes.annotate(
            with_prefix(float(f"{speed:.3g}")) + (" (extrapolated)" if guessed else ""),
            (speed, place),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    axes.set_xscale("log")
    # A bar's length says nothing on a logarithmic axis but relative to its start: one decade below
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
    colours = _colours(points)
    ridge = peak_flops / peak_bandwidth
    intensities = [*(x for x, _ in points.values()), ridge]
    left, right = min(intensities) / 4, max(intensities) * 4
    axes.plot(
        [left, ridge, right],
        [left * peak_bandwidth, peak_flops, peak_flops],
        color="black",
        linewidth=2,
    )
    for name, (x, flops) in points.items():
        marker = "o" if name in phases else "s"
        axes.plot(
            x, flops, marker, color=colours[name], markersize=9, label=f"{name}: {_flops(flops)}"
        )
    axes.set(xscale="log", yscale="log", xlim=(left, right))
    axes.set_ylim(min(flops for _, flops in points.values()) / 3, peak_flops * 2.5)
    for text, place, offset in (
        (f"multiply-adds: {_flops(peak_flops)}", right, (-4, 6)),
        (f"memory: {peak_bandwidth / 1e9:.0f} GB/s\n(above it: from the caches)", ridge, (-30, -4)),
    ):
        axes.annotate(
            text,
            (place, peak_flops),
            xytext=offset,
            textcoords="offset points",
            horizontalalignment="right",
            fontsize="small",
        )
    axes.set(
        xlabel="intensity: operations for a byte of X and, where they are large, of the weights",
        ylabel="floating-point operations a second",
        title=title,
    )
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")


def _flops(flops: float) -> str:
    return f"{flops / 1e9:.3g} GFLOP/s"


def _draw_templates(figure: FigureBase, images: NDArray[np.float64], titles: Sequence[str]) -> None:
    columns = min(len(images), _TEMPLATES_A_ROW)
    rows = ceil(len(images) / columns)
    grid = figure.subplots(rows, columns, squeeze=False)
    limit = float(np.abs(images).max()) or 1.0  # the same scale for all, with 0 in the middle
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, title in zip(grid.flat, images, titles, strict=False):
        drawn = axes.imshow(image, cmap="PuOr", vmin=-limit, vmax=limit)
        axes.set_title(title, fontsize="medium")
    figure.colorbar(drawn, ax=grid, label="weight", fraction=0.02, pad=0.01)
