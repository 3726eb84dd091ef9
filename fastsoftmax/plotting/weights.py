"""The weights of a fitted model as images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._model import fitted
from .templates import as_coef, as_templates, figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_weights(model: object, image_shape: Sequence[int] = (32, 32, 3)) -> Figure:
    """Plot the weights of each class as an image: what the model looks for.

    The weights of a class are divided by the largest of them, so that each image has full contrast.
    For the rest see `plot_templates`.

    Parameters
    ----------
    model : fitted classifier
        With `coef_` of shape (n_classes, n_features) and `classes_`; at most 100 classes.
    image_shape : (int, int) or (int, int, 3)
        Height and width, and 3 for colours. The product is n_features; the features of a sample are
        ``image.ravel()``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        If the model is not fitted, or `image_shape` does not fit its features.

    Examples
    --------
    >>> from fastsoftmax import SoftmaxClassifier, plotting
    >>> model = SoftmaxClassifier().fit([[0, 1, 0, 1], [1, 0, 1, 0]], ["right", "left"])
    >>> figure = plotting.plot_weights(model, image_shape=(2, 2))
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['left', 'right']
    """
    coef, classes = fitted(model, "coef_"), fitted(model, "classes_")
    weights = as_coef("coef_", coef)
    if len(classes) != len(weights):
        raise ValueError(
            f"model: expected a row of coef_ for each of {len(classes)} classes, got {weights.shape}"
        )
    largest = np.abs(weights).max(axis=1, keepdims=True, initial=0.0)
    weights /= np.where(largest > 0, largest, 1.0)
    what = "relative weight"
    return figure_of(as_templates(weights, image_shape, np.asarray(classes).tolist()), what)
