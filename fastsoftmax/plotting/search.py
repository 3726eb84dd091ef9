"""A heat map of the results of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BRIGHT = 0.6  # of the range of colours, above which black numbers are easier to read
_INCHES_PER_CELL = (0.75, 0.5)
_MAX_NUMBERS = 400  # cells; with more, numbers would be too small


def plot_search(result: Any) -> Figure:
    """Plot the validation accuracy of every learning rate (rows) and strength of the penalty (columns).

    The best model is framed; the smallest validation loss breaks ties. A cell without a colour is a
    training run that diverged.

    Parameters
    ----------
    result : SearchResult
        What `fastsoftmax.search` returns, or anything with its attributes `learning_rates`, `regs`,
        `scores` and `best_index`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are no scores, or their number is not that of the combinations.
    """
    rates, regs = np.asarray(result.learning_rates), np.asarray(result.regs)
    scores = np.asarray(result.scores, np.float64)
    if not scores.size or scores.shape != (len(rates), len(regs)):
        raise ValueError(
            f"result: expected a score for each of {len(rates)} x {len(regs)} combinations, "
            f"got shape {scores.shape}"
        )
    rows, columns = np.argsort(rates)[::-1], np.argsort(regs)
    shown = np.ma.masked_invalid(scores[np.ix_(rows, columns)])
    width, height = _INCHES_PER_CELL[0] * len(regs), _INCHES_PER_CELL[1] * len(rates)
    figure = new_figure(max(4.5, width + 2.2), max(2.6, height + 1.4))
    axes = figure.add_subplot()
    axes.set_facecolor("#dddddd")
    image = axes.imshow(shown, cmap="viridis", aspect="auto")
    figure.colorbar(image, ax=axes, label="validation accuracy")
    axes.set_xticks(range(len(regs)), [f"{reg:.3g}" for reg in regs[columns]])
    axes.set_xlabel("strength of the penalty (alpha)")
    if np.isnan(rates).any():  # of a solver that has none
        axes.set_yticks([])
    else:
        axes.set_yticks(range(len(rates)), [f"{rate:.3g}" for rate in rates[rows]])
        axes.set_ylabel("learning rate")
    axes.set_title(
        "framed: the best score, of equal ones that with the smallest log loss", fontsize=8
    )
    axes.tick_params(axis="x", rotation=90 if len(regs) > 8 else 0)
    low, high = image.get_clim()
    if shown.size <= _MAX_NUMBERS:
        for (i, j), score in np.ndenumerate(shown.filled(np.nan)):
            text = "diverged" if np.isnan(score) else f"{score:.1%}"
            bright = np.isnan(score) or (score - low) > _BRIGHT * (high - low)
            axes.text(
                *(j, i, text),
                ha="center",
                va="center",
                fontsize=7 if np.isnan(score) else 8,
                color="black" if bright else "white",
            )
    from matplotlib.patches import Rectangle

    i, j = (
        int(np.flatnonzero(places == best)[0])
        for places, best in zip((rows, columns), result.best_index, strict=True)
    )
    frame = Rectangle(
        *((j - 0.5, i - 0.5), 1, 1), fill=False, edgecolor="#D55E00", linewidth=2.5, clip_on=False
    )
    axes.add_patch(frame)
    return figure
