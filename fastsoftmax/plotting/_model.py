"""Attributes of a fitted model that pictures need, whatever its class."""

from typing import Any

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
