"""The weights of a fitted model as images."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ._model import as_display_labels, fitted, is_of_lecture, lecture_coef
from .templates import as_coef, as_image_shape, as_templates, figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_weights(
    model: object,
    image_shape: Sequence[int] = (32, 32, 3),
    display_labels: Sequence[object] | None = None,
) -> Figure:
    """Plot the weights of each class as an image: what the model looks for.

    The weights of a class are divided by the largest of them, so that each image has full contrast.
    For the rest see `plot_templates`.

    Parameters
    ----------
    model : fitted classifier
        With `coef_` of shape (n_classes, n_features) and `classes_`, or a trained classifier of
        `fastsoftmax.lecture`, with `W` of shape (n_features, n_classes); at most 100 classes. The row of
        `W` for a column of ones after the pixels, as the notebooks append it, is left out.
    image_shape : (int, int) or (int, int, 3)
        Height and width, and 3 for colours. The product is n_features; the features of a sample are
        ``image.ravel()``.
    display_labels : sequence, optional
        The names of the classes, in the order of `classes_`; by default the labels.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        If the model is not fitted, or `image_shape` or `display_labels` does not fit it.

    Examples
    --------
    >>> from fastsoftmax import SoftmaxClassifier, plotting
    >>> model = SoftmaxClassifier().fit([[0, 1, 0, 1], [1, 0, 1, 0]], ["right", "left"])
    >>> figure = plotting.plot_weights(model, image_shape=(2, 2))
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['left', 'right']
    """
    if is_of_lecture(model):
        weights = as_coef("W", lecture_coef(model, prod(as_image_shape(image_shape))))
        classes: Sequence[object] = range(len(weights))
    else:
        coef, classes = fitted(model, "coef_"), np.asarray(fitted(model, "classes_")).tolist()
        weights = as_coef("coef_", coef)
    if len(classes) != len(weights):
        raise ValueError(
            f"model: expected a row of coef_ for each of {len(classes)} classes, got {weights.shape}"
        )
    largest = np.abs(weights).max(axis=1, keepdims=True, initial=0.0)
    weights /= np.where(largest > 0, largest, 1.0)
    titles = as_display_labels(display_labels, classes)
    return figure_of(as_templates(weights, image_shape, titles), "relative weight")
