"""Make and copy `State`, the arrays that training changes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import validation
from .._arrays.validation import FloatArray
from ..backends import State
from .standardization import Standardization


def zero_state(
    shape: tuple[int, int], dtype: np.dtype[Any], fit_intercept: bool, momentum: float
) -> State:
    """Return zero weights of shape (n_classes, n_features), and zero velocities if there is momentum."""
    coef = np.zeros(shape, dtype)
    return with_velocities(coef, np.zeros(shape[0], dtype) if fit_intercept else None, momentum)


def with_velocities(
    coef: FloatArray,
    intercept: FloatArray | None,
    momentum: float,
    coef_velocity: FloatArray | None = None,
    intercept_velocity: FloatArray | None = None,
) -> State:
    """Return a state with these weights; with momentum, velocities that are None become zeros."""
    if not momentum:
        return State(coef, intercept, None, None)
    if coef_velocity is None:
        coef_velocity = np.zeros_like(coef)
    if intercept is None:
        return State(coef, None, coef_velocity, None)
    if intercept_velocity is None:
        intercept_velocity = np.zeros_like(intercept)
    return State(coef, intercept, coef_velocity, intercept_velocity)


def state_at(coef: Any, intercept: Any, state: State, units: Standardization | None) -> State:
    """Return `state` with these weights, checked and in the units of X; None keeps those of `state`.

    Raises
    ------
    ValueError, TypeError
        If they are not finite numbers of the right shapes.
    """
    if coef is None and intercept is None:
        return state
    if intercept is not None and state.intercept is None:
        raise ValueError("intercept_init: expected None with fit_intercept=False")
    dtype, shape = state.coef.dtype, state.coef.shape
    coef = state.coef if coef is None else weights_as("coef_init", coef, shape, dtype)
    if intercept is None:
        intercept = state.intercept
    else:
        intercept = weights_as("intercept_init", intercept, shape[:1], dtype)
    if units is not None:
        coef, intercept = units.to_standardized(coef, intercept)
    return copy_of(state._replace(coef=coef, intercept=intercept))


def copy_of(state: State) -> State:
    """Return a copy of the state that shares no arrays."""
    coef, *others = state
    copies = [None if array is None else array.copy() for array in others]
    return State(coef.copy(), *copies)


def with_sums(state: State) -> State:
    """Return the state with zero sums, to which each step adds its weights; other arrays are shared."""
    intercept = None if state.intercept is None else np.zeros_like(state.intercept)
    return state._replace(coef_sum=np.zeros_like(state.coef), intercept_sum=intercept)


def weights_as(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> FloatArray:
    """Return weights in `dtype`, checked to be finite and of this shape."""
    weights = shaped(name, value, shape, dtype)
    validation.check_finite(name, weights)
    return weights


def shaped(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array in `dtype`, checked to have this shape.

    Raises
    ------
    ValueError, TypeError
        If it has another shape, or is not of real numbers.
    """
    array = validation.as_array(name, value)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return validation.as_native(array, dtype)
