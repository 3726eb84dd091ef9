"""Learning-rate schedules: from the number of the step to its learning rate."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

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
    ValueError
        If a callable returns something else than a finite number of 0 or more.
    """
    if callable(schedule):
        result = np.array(
            [float(schedule(step)) for step in range(first_step, first_step + n_steps)]
        )
        valid = (result >= 0) & np.isfinite(result)
        if not valid.all():
            bad = int(np.argmin(valid))
            raise ValueError(
                "learning_rate: expected a finite rate of 0 or more from the callable, "
                f"got {result[bad]} for step {first_step + bad}"
            )
        return result
    if schedule == "constant":
        return np.full(n_steps, eta0)
    return eta0 / np.arange(first_step + 1, first_step + n_steps + 1, dtype=np.float64) ** power_t
