"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays.labels import as_labels, find_classes, joined, listed, positions_of
from .._arrays.validation import shown
from ._figure import new_figure, shortened
from ._model import as_display_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_MAX_CLASSES = 1000  # a cell is then still about a pixel
_MAX_CHARACTERS = 24  # of a label
_POINTS_PER_INCH = 72.0
_BAR_WIDTH = 0.2  # inches, of a colour bar
_MIN_FONT, _MAX_FONT = 6.0, 10.0  # points
_MIN_CELL_FONT = 7.0  # larger than for labels: numbers stand between other numbers
_CHARACTER_WIDTH = 0.6  # of the font's size
_BRIGHT = 0.5  # the luminance above which black text is easier to read
_MAX_ERRORS = 3  # that the title names
_TITLE_CHARACTERS = 12  # per inch


class _Size(NamedTuple):
    """The sizes of the parts, in points."""

    cell: float
    ticks: float  # font of the labels at the axes
    step: int  # every step-th class has a label
    labels: float  # length of the longest label


def plot_confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    labels: ArrayLike | None = None,
    normalize: bool = False,
    display_labels: Sequence[object] | None = None,
) -> Figure:
    """Plot how many samples of each class were predicted as which class.

    Rows are the true classes, columns the predicted ones. If cells are too small for numbers, errors have
    colours of their own, on a scale of their own, so that a single one among many hits can be seen, and
    the title names the most common ones.

    Parameters
    ----------
    y_true, y_pred : array_like of labels, shape (n_samples,)
        Integers, strings, booleans or dates; as `predict` returns them.
    labels : array_like of labels, shape (n_classes,), optional
        The classes in the order in which they are drawn: all that occur, and possibly others. By default
        those that occur, sorted. At most 1000.
    normalize : bool, default False
        Whether to draw shares of the samples of a true class, rather than numbers of samples. A class
        without samples has none, and its row stays empty.
    display_labels : sequence, optional
        The names to draw, one for each of `labels`, or of the labels that occur, sorted; by default the
        labels.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        If labels are not as described, there are none, or the numbers of labels differ.

    Examples
    --------
    >>> from fastsoftmax import plotting
    >>> figure = plotting.plot_confusion_matrix(["cat", "dog", "dog"], ["cat", "dog", "cat"])
    >>> figure.axes[0].images[0].get_array().tolist()
    [[1, 0], [1, 1]]
    """
    if not isinstance(normalize, bool | np.bool_):
        raise TypeError(f"normalize: expected True or False, got {shown(normalize)}")
    classes, counts = _count(y_true, y_pred, labels)
    return draw_confusion(as_display_labels(display_labels, classes), counts, normalize)


def draw_confusion(labels: Sequence[Any], counts: NDArray[Any], normalize: bool) -> Figure:
    """Plot a confusion matrix, true classes in rows; see `check_n_classes`."""
    names = [shortened(text, _MAX_CHARACTERS) for text in labels]
    size = _size(names)
    side = size.cell * len(names) / _POINTS_PER_INCH
    room = 0.6 + size.labels / _POINTS_PER_INCH
    if normalize:
        samples = counts.sum(axis=1, keepdims=True)
        values = np.ma.masked_invalid(counts / np.where(samples > 0, samples, np.nan))
    else:
        values = np.ma.asarray(counts)
    numbers = [[_number(value) for value in row] for row in values]
    font = _font_of_numbers(numbers, size.cell)
    errors = values.filled(0) * ~np.eye(len(names), dtype=bool)
    shows_errors = font is None and errors.any()
    figure = new_figure(
        side + room + (2.4 if shows_errors else 1.3), side + room + 0.5 * shows_errors
    )
    axes = figure.add_subplot()
    vmax = 1.0 if normalize else max(1, counts.max())
    drawn = axes.imshow(values, cmap="Blues", vmin=0, vmax=vmax)
    what = "share of the true class" if normalize else "samples"
    bar: dict[str, Any] = {"fraction": _BAR_WIDTH / side, "aspect": side / _BAR_WIDTH, "pad": 0.02}
    if shows_errors:
        drawn_errors = _draw_errors(axes, np.ma.masked_equal(errors, 0))
        figure.colorbar(drawn_errors, ax=axes, label=f"errors: {what}", **bar)
        title = wrap(_most_common_errors(counts, names), int(_TITLE_CHARACTERS * side))
        axes.set_title("\n".join(title), fontsize="medium", parse_math=False)
    figure.colorbar(
        drawn, ax=axes, label=f"on the diagonal: {what}" if shows_errors else what, **bar
    )
    axes.set(xlabel="predicted class", ylabel="true class")
    _draw_ticks(axes, names, size)
    if font is not None:
        _draw_numbers(axes, numbers, font, drawn.to_rgba(values))
    return figure


def check_n_classes(n_classes: int, name: str) -> None:
    """Raise ValueError if there are more classes than cells have pixels."""
    if n_classes > _MAX_CLASSES:
        raise ValueError(f"{name}: expected at most {_MAX_CLASSES} classes, got {n_classes}")


def _count(
    y_true: ArrayLike, y_pred: ArrayLike, labels: ArrayLike | None
) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the classes, and the samples of each (rows) predicted as each (columns)."""
    true, predicted = as_labels(y_true, "y_true"), as_labels(y_pred, "y_pred")
    if len(true) != len(predicted):
        raise ValueError(
            f"y_pred: expected {len(true)} labels, one for each of y_true, got {len(predicted)}"
        )
    if labels is None:
        classes = joined(find_classes(true, "y_true"), predicted, "y_pred")
    else:
        classes = _as_classes(labels)
    check_n_classes(len(classes), "y_true, y_pred" if labels is None else "labels")
    order = np.argsort(classes)
    rows, columns = (
        order[_places(found, classes[order], name)]
        for name, found in (("y_true", true), ("y_pred", predicted))
    )
    n = len(classes)
    counts = np.bincount(rows * n + columns, minlength=n * n).reshape(n, n)
    return listed(classes), counts


def _places(found: NDArray[Any], classes: NDArray[Any], name: str) -> NDArray[np.int64]:
    places = positions_of(found, classes, name)
    unknown = found[places < 0]
    if len(unknown):
        raise ValueError(
            f"labels: expected all that occur in {name}, but {listed(unknown)[0]!r} is not among them"
        )
    return places


def _as_classes(labels: ArrayLike) -> NDArray[Any]:
    """Return the classes in the requested order."""
    classes = as_labels(labels, "labels")
    if not len(classes):
        raise ValueError("labels: expected at least one, got none")
    seen = set()
    for label in listed(classes):
        if label in seen:
            raise ValueError(f"labels: expected each label once, got {label!r} twice")
        seen.add(label)
    return classes


def _size(names: list[str]) -> _Size:
    """Return sizes: large cells for few classes, a larger picture for many."""
    n = len(names)
    side = min(max(min(max(0.5 * n, 2.4), 6.0), 0.12 * n), 12.0)  # inches
    cell = side * _POINTS_PER_INCH / n
    font = min(max(0.75 * cell, _MIN_FONT), _MAX_FONT)
    step = next(k for k in (1, 2, 5, 10) if k * cell >= 1.2 * font)
    return _Size(cell, font, step, _CHARACTER_WIDTH * font * max(map(len, names)))


def _draw_ticks(axes: Axes, names: list[str], size: _Size) -> None:
    places, shown = range(0, len(names), size.step), names[:: size.step]
    style: dict[str, Any] = {"fontsize": size.ticks, "parse_math": False}
    axes.set_yticks(places, shown, **style)
    upright = size.labels <= 0.8 * size.step * size.cell
    axes.set_xticks(places, shown, rotation=0 if upright else 90, **style)


def _draw_errors(axes: Axes, errors: NDArray[Any]) -> AxesImage:
    """Draw the errors over the rest; the colour of the smallest one differs from that of none."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    colours = ListedColormap(colormaps["YlOrRd"](np.linspace(0.3, 1.0, 256)))
    return axes.imshow(errors, cmap=colours, vmin=0, vmax=errors.max())


def _most_common_errors(counts: NDArray[np.int64], names: list[str]) -> str:
    """Return how many samples are predicted wrongly, and the most common errors."""
    errors = counts * ~np.eye(len(counts), dtype=bool)
    order = np.argsort(-errors, axis=None, kind="stable")[:_MAX_ERRORS]
    cells = zip(*np.unravel_index(order, errors.shape), strict=True)
    common = [f"{names[i]} as {names[j]} ({errors[i, j]})" for i, j in cells if errors[i, j]]
    return f"errors: {errors.sum()} of {counts.sum()} samples; most common: {', '.join(common)}"


def _font_of_numbers(numbers: list[list[str]], cell: float) -> float | None:
    """Return the size in points of the numbers in cells, or None if it would be illegible."""
    longest = max(len(text) for row in numbers for text in row)
    font = min(_MAX_FONT, 0.9 * cell / (_CHARACTER_WIDTH * max(longest, 2)))
    return None if font < _MIN_CELL_FONT else font


def _draw_numbers(axes: Axes, numbers: list[list[str]], font: float, colours: NDArray[Any]) -> None:
    """Write the number into each cell: white if the cell is dark, else black."""
    luminance = colours[..., :3] @ (0.299, 0.587, 0.114)
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": font, "clip_on": True}
    for (row, column), bright in np.ndenumerate(luminance > _BRIGHT):
        colour = "black" if bright else "white"
        axes.text(column, row, numbers[row][column], color=colour, **style)


def _number(value: Any) -> str:
    """Return a count, or a share with two digits; nothing for a masked value."""
    if value is np.ma.masked:
        return ""
    if isinstance(value, np.floating):
        return f"{value:.2f}" if value else "0"
    return str(value)
