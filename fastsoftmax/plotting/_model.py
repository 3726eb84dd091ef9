"""Attributes of a fitted model that pictures need, whatever its class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..exceptions import NotFittedError


def fitted(model: object, attribute: str) -> Any:
    """Return an attribute that a fitted model has.

    Raises
    ------
    NotFittedError
        If the model does not have it.
    """
    try:
        return getattr(model, attribute)
    except AttributeError:
        raise NotFittedError(
            f"model: expected a fitted classifier, which has {attribute}, "
            f"got {type(model).__name__} without it; call fit or partial_fit first"
        ) from None


def is_of_lecture(model: object) -> bool:
    """Return whether a model has its weights as the lecture's classifiers do: `W`, and no `coef_`."""
    return hasattr(model, "W") and not hasattr(model, "coef_")


def lecture_coef(model: Any, n_pixels: int) -> Any:
    """Return the weights `W` of the lecture's model as (n_classes, n_pixels).

    The weight of a last feature beyond the pixels, the notebooks' column of ones, is left out.

    Raises
    ------
    NotFittedError
        If the model has no weights yet.
    """
    if model.W is None:
        raise NotFittedError(
            f"model: expected trained weights W, got None; train this {type(model).__name__} first"
        )
    coef = np.asarray(model.W).T
    return coef[:, :-1] if coef.ndim == 2 and coef.shape[1] == n_pixels + 1 else coef


def as_display_labels(
    display_labels: Sequence[object] | None, classes: Sequence[object]
) -> Sequence[object]:
    """Return the texts to draw for the classes: those given, or the classes themselves.

    Raises
    ------
    ValueError
        If there is not one for each class.
    """
    if display_labels is None:
        return classes
    if isinstance(display_labels, str) or len(display_labels) != len(classes):
        got = 1 if isinstance(display_labels, str) else len(display_labels)
        raise ValueError(f"display_labels: expected {len(classes)}, one for each class, got {got}")
    return [*display_labels]
