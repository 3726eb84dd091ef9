"""The reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#bbbbbb"


def plot_reliability(found: Any) -> Figure:
    """Plot the accuracy of the predictions against their confidence, and how many have which confidence.

    The confidence is the probability of the predicted class. Where the bars end below the diagonal, the
    model is too sure of itself. An orange line joins the accuracy of each bin and the mean confidence in
    it; the mean length of these lines, weighted by the samples, is the expected calibration error.

    Parameters
    ----------
    found : Evaluation
        What `fastsoftmax.evaluate` returns, or anything with its attributes `reliability` and
        `expected_calibration_error`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If no bin has samples.

    Examples
    --------
    >>> from fastsoftmax import LogisticRegression, evaluate, plotting
    >>> X, y = [[-1.0], [0.5], [1.0]], ["no", "yes", "yes"]
    >>> figure = plotting.plot_reliability(evaluate(LogisticRegression().fit(X, y), X, y))
    >>> figure.axes[0].get_ylabel()
    'accuracy'
    """
    rows = [row for row in found.reliability if row["confidence"] is not None]
    if not rows:
        raise ValueError("found: expected at least one bin with samples, got none")
    figure = new_figure(5.2, 6.2)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    low = [row["low"] for row in rows]
    widths = [row["high"] - row["low"] for row in rows]
    accuracies = [row["accuracy"] for row in rows]
    confidences = [row["confidence"] for row in rows]
    bars: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.5}
    top.bar(low, accuracies, widths, color=_BLUE, label="accuracy", **bars)
    top.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="calibrated")
    top.vlines(confidences, accuracies, confidences, color=_ORANGE, linewidth=2)
    top.plot(
        confidences,
        confidences,
        "o",
        color=_ORANGE,
        markersize=4,
        label="mean confidence",
        clip_on=False,
    )
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    error = 100 * found.expected_calibration_error
    top.set_title(f"expected calibration error {error:.2f} %", fontsize=10)
    top.legend(frameon=False, loc="upper left", fontsize=8)
    top.grid(alpha=0.3)
    total = sum(row["n_samples"] for row in rows)
    shares = [100 * row["n_samples"] / total for row in rows]
    bottom.bar(low, shares, widths, color=_GREY, **bars)
    bottom.set(xlabel="confidence", ylabel="samples (%)")
    bottom.grid(alpha=0.3)
    return figure
