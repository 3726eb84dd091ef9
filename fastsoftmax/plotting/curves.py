"""The loss of every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays.validation import as_array
from ._figure import colours_of, new_figure
from ._model import fitted, is_of_lecture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What `plot_loss_curve` draws; each has a colour, whichever others there are. The last one is dashed.
_ALL_CURVES = (
    "training loss",
    "validation accuracy",
    "validation loss",
    "training objective: loss + penalty",
)


def plot_loss_curve(model: object, per: str = "epoch") -> Figure:
    """Plot the loss of every epoch of a model, and what is known of its validation.

    The best epoch is marked: that with the largest validation score, the first of equal ones, as
    `early_stopping` chooses it; without scores, that with the smallest validation loss.

    Parameters
    ----------
    model : fitted classifier, TrainingHistory, or sequence of float
        With `loss_curve_`, in nats, in the order of the epochs: loss and penalty together. Optional are
        `penalty_curve_`, by which the two are told apart, `validation_losses_` in nats, and
        `validation_scores_`, accuracies from 0 to 1, which get a panel of their own, all from the first
        epoch on; a `TrainingHistory` has them. A sequence is the loss history that `train` and `fit` of
        `fastsoftmax.lecture` return.
    per : str, default "epoch"
        What the losses are of, "iteration" for those of `fastsoftmax.lecture.Softmax.train`.

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
    losses = _history_of(model)
    if not len(losses):
        raise ValueError("model: expected at least one epoch in its loss_curve_, got none")
    penalties, validation_losses, scores = (
        _known(model, name)
        for name in ("penalty_curve_", "validation_losses_", "validation_scores_")
    )
    figure = new_figure(6.4, 1.2 + 2.7 * (2 if scores else 1))
    grid = figure.subplots(2 if scores else 1, 1, sharex=True, squeeze=False)[:, 0]
    curves: dict[str, Sequence[float]] = {"training loss": losses}
    if any(penalties):
        curves = {
            "training objective: loss + penalty": losses,
            "training loss": np.subtract(losses, penalties).tolist(),
        }
    if validation_losses:
        curves["validation loss"] = validation_losses
    _draw_panel(grid[0], curves, "loss (nats)" if len(curves) > 1 else "training loss (nats)")
    if any(penalties):
        _shade_penalty(grid[0], *curves.values())
    if scores:
        _draw_panel(grid[1], {"validation accuracy": scores}, "validation accuracy")
    if scores or validation_losses:
        _mark_best(
            grid, int(np.argmax(scores) if scores else np.argmin(validation_losses)) + 1, per
        )
    if len(curves) > 1:
        grid[0].legend(frameon=False, fontsize="small")
    grid[-1].set_xlabel(per)
    return figure


def _history_of(model: object) -> Sequence[float]:
    """Return the losses of a model, or a sequence of losses as it is."""
    if isinstance(model, list | tuple | np.ndarray):
        history = as_array("model", model)
        if history.ndim != 1:
            raise ValueError(f"model: expected a history of shape (n_epochs,), got {history.shape}")
        losses: Sequence[float] = history.tolist()
        return losses
    if is_of_lecture(model):
        raise TypeError(
            f"model: {type(model).__name__} keeps no losses; expected the loss history that its training "
            "returns"
        )
    found: Sequence[float] = fitted(model, "loss_curve_")
    return found


def _known(model: object, name: str) -> list[float]:
    """Return a curve that a model may have; empty if it has none."""
    values = getattr(model, name, None)
    return [] if values is None else list(values)


def _draw_panel(axes: Axes, curves: Mapping[str, Sequence[float]], title: str) -> None:
    colours = colours_of(_ALL_CURVES)
    for name, values in curves.items():
        look = {"linestyle": "--"} if name == _ALL_CURVES[-1] else {}
        _draw_epochs(
            axes, values, label=name, color=colours[name], linewidth=1.5, markersize=4, **look
        )
    axes.set_ylabel(title)
    _set_epoch_ticks(axes)


def _shade_penalty(
    axes: Axes, objectives: Sequence[float], losses: Sequence[float], *_: Any
) -> None:
    epochs = range(1, len(losses) + 1)
    axes.fill_between(epochs, losses, objectives, color="0.85", label="penalty")


def _mark_best(grid: Iterable[Axes], epoch: int, per: str) -> None:
    """Draw a line through all panels at the best epoch, with its number in the lowest."""
    for axes in grid:
        axes.axvline(epoch, color="0.5", linewidth=1, linestyle=":")
    n_epochs = max(np.size(line.get_xdata()) for line in axes.lines)
    is_late = epoch > (n_epochs + 1) / 2
    axes.annotate(
        f"best {per}: {epoch}",
        (epoch, 0.04),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if is_late else 4, 0),
        textcoords="offset points",
        horizontalalignment="right" if is_late else "left",
        fontsize="small",
    )


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
