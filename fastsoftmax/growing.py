"""Room for classes that were not there when training began."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .averaging import Average
from .backends import State


def grown_state(state: State, places: NDArray[np.int64], n_classes: int) -> State:
    """Return the state of more classes: the old ones at `places`, and zeros for the others."""
    return State(
        *(None if array is None else _grown(array, places, n_classes) for array in state)  # type: ignore[arg-type]
    )


def grown_average(average: Average, places: NDArray[np.int64], n_classes: int) -> Average:
    """Return the average of more classes: new ones have been 0 in all steps."""
    grown = average.copy()
    grown.coef = _grown(average.coef, places, n_classes)
    if average.intercept is not None:
        grown.intercept = _grown(average.intercept, places, n_classes)
    return grown


def _grown(array: NDArray[Any], places: NDArray[np.int64], n_classes: int) -> NDArray[Any]:
    grown = np.zeros((n_classes, *array.shape[1:]), array.dtype)
    grown[places] = array
    return grown
