"""Add classes to a training that has begun."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import State
from .averaging import Average


def expand_state(state: State, places: NDArray[np.int64], n_classes: int) -> State:
    """Return the state for `n_classes` classes: the old ones at `places`, zeros for new ones."""
    return State(
        *(None if array is None else expand_rows(array, places, n_classes) for array in state)  # type: ignore[arg-type]
    )


def expand_average(average: Average, places: NDArray[np.int64], n_classes: int) -> Average:
    """Return the average for `n_classes` classes: the weights of new ones were 0 in all steps."""
    intercept = average.intercept
    return replace(
        average,
        coef=expand_rows(average.coef, places, n_classes),
        intercept=None if intercept is None else expand_rows(intercept, places, n_classes),
    )


def expand_rows(array: NDArray[Any], places: NDArray[np.int64], n_classes: int) -> NDArray[Any]:
    """Return an array with a row for each class; the array itself if no class is new."""
    if len(places) == n_classes:
        return array
    expanded = np.zeros((n_classes, *array.shape[1:]), array.dtype)
    expanded[places] = array
    return expanded
