"""A comparison of backends, in one picture."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from ._figure import WIDTH, colours_of, new_figure
from .curves import check_curves, draw_loss_curves
from .speed import check_speed, draw_speed
from .templates import as_templates, draw_templates

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase


def plot_bench(
    curves: Mapping[str, Sequence[float]],
    samples_per_second: Mapping[str, float],
    extrapolated: Collection[str] = (),
    coef: ArrayLike | None = None,
    image_shape: Sequence[int] | None = None,
    title: str = "",
    templates_title: str = "learned weight templates",
    labels: Sequence[object] | None = None,
) -> Figure:
    """Plot a comparison of backends: loss curves, speed and, for images, the learned templates.

    Parameters
    ----------
    curves, samples_per_second, extrapolated
        As in `plot_loss_curves` and `plot_speed`.
    coef, image_shape
        As in `plot_templates`; None if the data are not images, which leaves the templates out.
    title : str
        The title of the picture.
    templates_title : str
        The title of the templates.
    labels : sequence, optional
        The names of the classes, over the templates.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError, ValueError, TypeError
        As the functions for the parts do.
    """
    check_curves(curves)
    check_speed(samples_per_second)
    curves_height = 4.6
    if coef is None or image_shape is None:
        figure = new_figure(WIDTH, curves_height)
        _draw_curves_and_speed(figure, curves, samples_per_second, extrapolated, title)
    else:
        templates = as_templates(coef, image_shape, labels)
        figure = new_figure(WIDTH, curves_height + templates.height)
        ratios = [curves_height, templates.height]
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=ratios).flat
        _draw_curves_and_speed(upper, curves, samples_per_second, extrapolated, title)
        draw_templates(lower, templates)
        lower.suptitle(templates_title, fontsize="large")
    return figure


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
    colours = colours_of([*samples_per_second, *curves])
    draw_loss_curves(left, curves, colours)
    draw_speed(right, samples_per_second, extrapolated, colours)
