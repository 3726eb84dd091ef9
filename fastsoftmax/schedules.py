"""Learning-rate schedules: from the number of the step to its learning rate."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from . import validation

# Called with the number of the step, counted from 0 over all epochs; returns the learning rate.
Schedule = Callable[[int], float]

NAMES = ("constant", "invscaling")


def rates(
    schedule: str | Schedule, eta0: float, power_t: float, first_step: int, n_steps: int
) -> NDArray[np.float64]:
    """Return the learning rates of the steps `first_step`, `first_step` + 1, ...

    ``constant``: eta0. ``invscaling``: eta0 / (step + 1) ** power_t. A callable: what it returns.

    Raises
    ------
    ValueError, TypeError
        If a callable returns something else than a finite number of 0 or more.
    """
    if callable(schedule):
        steps = range(first_step, first_step + n_steps)
        return np.array([_checked(schedule(step), step) for step in steps])
    if schedule == "constant":
        return np.full(n_steps, eta0)
    counts = np.arange(first_step + 1, first_step + n_steps + 1, dtype=np.float64)
    with np.errstate(over="ignore"):  # divided by infinity, the rate is 0
        return eta0 / counts**power_t


def _checked(rate: object, step: int) -> float:
    return validation.as_non_negative(f"learning_rate: the rate of step {step}", rate)
