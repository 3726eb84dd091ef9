"""The loss of every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._figure import colours_of, new_figure
from ._model import fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_loss_curve(model: object) -> Figure:
    """Plot the loss of every epoch of a model, and its validation scores if it has any.

    Parameters
    ----------
    model : fitted classifier
        With `loss_curve_`, in nats, in the order of the epochs. `validation_scores_`, if present, are
        accuracies from 0 to 1 from the first epoch on; they get a panel of their own.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the model is not fitted, or not for a whole epoch.

    Examples
    --------
    >>> from fastsoftmax import SoftmaxClassifier, plotting
    >>> model = SoftmaxClassifier(max_iter=3, tol=None).fit([[0.0], [1.0]], ["low", "high"])
    >>> figure = plotting.plot_loss_curve(model)
    >>> figure.axes[0].lines[0].get_ydata().tolist() == model.loss_curve_
    True
    """
    losses = fitted(model, "loss_curve_")
    if not len(losses):
        raise ValueError("model: expected at least one epoch in its loss_curve_, got none")
    scores = getattr(model, "validation_scores_", None)
    panels = {"training loss (nats)": losses}
    if scores is not None and len(scores):
        panels["validation accuracy"] = scores
    figure = new_figure(6.4, 1.2 + 2.7 * len(panels))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    colours = colours_of(panels)
    for axes, (name, values) in zip(grid, panels.items(), strict=True):
        _draw_epochs(axes, values, color=colours[name], linewidth=1.5, markersize=4)
        axes.set_ylabel(name)
        _set_epoch_ticks(axes)
    grid[-1].set_xlabel("epoch")
    return figure


def plot_loss_curves(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Plot the loss of every epoch, one curve for each name.

    Equal curves overlap: each is drawn thinner than the one before, so that all of them are visible.

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
    check_curves(curves)
    figure = new_figure(6.4, 4.2)
    draw_loss_curves(figure.add_subplot(), curves, colours_of(curves))
    return figure


def check_curves(curves: Mapping[str, Sequence[float]]) -> None:
    """Raise unless there are curves, and each has an epoch."""
    if not curves:
        raise ValueError("curves: expected at least one, got none")
    for name, curve in curves.items():
        if not len(curve):
            raise ValueError(f"curves: expected at least one epoch, got none for {name!r}")


def draw_loss_curves(
    axes: Axes, curves: Mapping[str, Sequence[float]], colours: Mapping[str, str]
) -> None:
    """Draw the curves over each other, and a legend."""
    for place, (name, curve) in enumerate(curves.items()):
        later = len(curves) - 1 - place
        width, size = 1.5 + 2.5 * later, 4 + 4 * later
        _draw_epochs(axes, curve, label=name, color=colours[name], linewidth=width, markersize=size)
    axes.set(title="training loss (equal curves overlap)", xlabel="epoch", ylabel="loss (nats)")
    _set_epoch_ticks(axes)
    axes.legend(frameon=False)


def _draw_epochs(axes: Axes, values: Sequence[float], **line: Any) -> None:
    """Draw one value per epoch, from epoch 1; a single value as a dot."""
    marker = "o" if len(values) == 1 else ""
    axes.plot(range(1, len(values) + 1), values, marker=marker, solid_capstyle="round", **line)


def _set_epoch_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.3)
