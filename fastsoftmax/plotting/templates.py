"""The weights of every class as an image."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from operator import index
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays.validation import as_array, check_finite, shown
from ._figure import WIDTH, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

MAX_TEMPLATES = 100
# Up to this number of images, and how many of them are in a row: few images are large.
_PER_ROW = {15: 5, 35: 7, MAX_TEMPLATES: 10}
# Inches: the width of the colour bar, the maximum width of an image, and the gap between images.
_BAR, _MAX_IMAGE, _GAP = 1.0, 2.0, 0.2
_LINE = 0.17  # inches, the height of a line of text
# Inches: room for the colour bar with its upright name, and for the sentence in its place.
_MIN_HEIGHT, _MIN_WIDTH = 1.9, 3.9
_KEY = 0.25  # inches, the height of the sentence that explains the colours
_SHADES = 33  # of red, green and blue in the key of templates in colour
# Titles that do not fit on one line over their images are smaller, and wrapped.
_CHARACTERS_PER_INCH, _SMALL_CHARACTERS_PER_INCH = 10, 12


class Templates(NamedTuple):
    """The images with their titles, and the space that they need."""

    # (n_classes, height, width), or with one more axis for red, green and blue.
    images: NDArray[np.float64]
    titles: list[str]
    fontsize: str  # of the titles
    columns: int
    width: float  # in inches
    height: float


def plot_templates(
    coef: ArrayLike, image_shape: Sequence[int], labels: Sequence[object] | None = None
) -> Figure:
    """Plot the weights of every class as an image, all on one scale.

    The logit of a class is the sum of the pixels with these weights: where its template is positive, a
    bright pixel is evidence for the class, and where it is negative, against it. In a template with colours
    a weight of 0 is half of the brightest red, green or blue; brighter means evidence for the class. A key
    beside the templates shows which weight has which colour.

    Parameters
    ----------
    coef : array_like of float, shape (n_classes, n_features)
        `coef_` of a classifier; at most 100 classes.
    image_shape : (int, int) or (int, int, 3)
        Height and width, and 3 for colours; the product is n_features, the last index varies fastest.
    labels : sequence, optional
        The titles of the images, one for each class; by default 0, 1, ...

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        If shapes do not fit, or a weight is not finite.
    """
    return figure_of(as_templates(coef, image_shape, labels))


def as_templates(
    coef: ArrayLike, image_shape: Sequence[int], labels: Sequence[object] | None = None
) -> Templates:
    """Return the images and how they are laid out."""
    weights = as_coef("coef", coef)
    shape = as_image_shape(image_shape, weights.shape[1])
    if labels is None:
        labels = range(len(weights))
    if len(labels) != len(weights):
        raise ValueError(f"labels: expected {len(weights)}, one for each class, got {len(labels)}")
    return _laid_out(weights.reshape(-1, *shape), labels)


def _laid_out(images: NDArray[np.float64], labels: Sequence[object]) -> Templates:
    per_row = next(n for most, n in _PER_ROW.items() if len(images) <= most)
    rows = ceil(len(images) / per_row)
    columns = ceil(len(images) / rows)
    width = min(_MAX_IMAGE, (WIDTH - _BAR) / columns - _GAP)
    fit = all(len(str(label)) <= width * _CHARACTERS_PER_INCH for label in labels)
    characters_per_line = int(width * _SMALL_CHARACTERS_PER_INCH)
    titles = [_wrapped(label, characters_per_line) for label in labels]
    lines = 1 + max(title.count("\n") for title in titles)
    aspect = min(max(images.shape[1] / images.shape[2], 0.25), 3.0)
    return Templates(
        images,
        titles,
        fontsize="medium" if fit else "small",
        columns=columns,
        width=max(_MIN_WIDTH, columns * (width + _GAP) + _BAR),
        height=max(_MIN_HEIGHT, rows * (width * aspect + _LINE * (lines + 1) + _GAP) + 0.3 + _KEY),
    )


def draw_templates(figure: FigureBase, templates: Templates, what: str = "weight") -> None:
    """Draw all images, and the colour scale."""
    images, titles = templates.images, templates.titles
    rows = ceil(len(images) / templates.columns)
    grid = figure.subplots(rows, templates.columns, squeeze=False)
    limit = float(np.abs(images).max()) or 1.0  # the same scale for all, with 0 in the middle
    in_colour = images.ndim == 4
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, title in zip(grid.flat, images, titles, strict=False):
        if in_colour:
            axes.imshow(0.5 + 0.5 * (image / limit))
        else:
            drawn = axes.imshow(image, cmap="PuOr", vmin=-limit, vmax=limit)
        axes.set_title(title, fontsize=templates.fontsize, parse_math=False)
    if not in_colour:
        figure.colorbar(drawn, ax=grid, label=what, fraction=0.02, pad=0.01)
    else:
        _draw_key(figure, grid, limit, what)
    figure.supxlabel(
        "above 0: a bright pixel is evidence for the class; below 0: against it", fontsize="x-small"
    )


def _draw_key(figure: FigureBase, grid: NDArray[Any], limit: float, what: str) -> None:
    """Draw the colours of a weight of red, green or blue alone, beside the templates."""
    from matplotlib.cm import ScalarMappable

    axes = figure.colorbar(ScalarMappable(), ax=grid, fraction=0.08, pad=0.01, aspect=5).ax
    axes.clear()
    shades = np.full((_SHADES, 3, 3), 0.5)
    for channel in range(3):
        shades[:, channel, channel] = np.linspace(0.0, 1.0, _SHADES)
    axes.pcolormesh(np.arange(4), np.linspace(-limit, limit, _SHADES + 1), shades)
    axes.set(ylim=(-limit, limit), ylabel=what)
    axes.set_xticks([0.5, 1.5, 2.5], ["R", "G", "B"])
    axes.yaxis.set_label_position("right")
    axes.tick_params(bottom=False, labelsize="small")


def figure_of(templates: Templates, what: str = "weight") -> Figure:
    """Return a figure of the templates alone."""
    figure = new_figure(templates.width, templates.height)
    draw_templates(figure, templates, what)
    return figure


def as_coef(name: str, coef: ArrayLike) -> NDArray[np.float64]:
    """Return a checked copy of the weights in float64."""
    weights = as_array(name, coef).astype(np.float64)
    if weights.ndim != 2 or not 1 <= len(weights) <= MAX_TEMPLATES:
        raise ValueError(
            f"{name}: expected shape (n_classes, n_features) with 1 to {MAX_TEMPLATES} classes, "
            f"got {weights.shape}"
        )
    check_finite(name, weights)
    return weights


def as_image_shape(image_shape: Sequence[int], n_features: int | None = None) -> tuple[int, ...]:
    """Return the shape of an image, checked, with `n_features` pixels or values of colours if given."""
    expected = "(height, width) or (height, width, 3)"
    try:
        shape = tuple(index(size) for size in image_shape)
    except TypeError:
        raise TypeError(
            f"image_shape: expected integers {expected}, got {shown(image_shape)}"
        ) from None
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or min(shape) < 1:
        raise ValueError(f"image_shape: expected {expected}, got {shown(image_shape)}")
    if n_features is not None and prod(shape) != n_features:
        raise ValueError(
            f"image_shape: expected {expected} with the product {n_features}, the number of features, "
            f"got {shown(image_shape)} with the product {prod(shape)}"
        )
    return shape


def _wrapped(label: object, width: int) -> str:
    """Return a title on at most three lines of `width` characters."""
    return "\n".join(wrap(shortened(label, 2 * width), width))
