"""The mean of the weights after every step, which is steadier than the last ones.

Polyak, Juditsky: Acceleration of stochastic approximation by averaging (1992).
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from ..backends import State


@dataclass
class Average:
    """Sums of the weights, in the units of training, over the steps from one on.

    `first_sample` samples are to have been seen before that step, and `n_samples` have been so far.
    """

    first_sample: int
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64] | None
    n_samples: int = 0
    n_steps: int = 0

    @classmethod
    def of(cls, state: State, first_sample: int) -> Self:
        """Return one of no steps yet."""
        intercept = None if state.intercept is None else np.zeros(state.intercept.shape)
        return cls(first_sample, np.zeros(state.coef.shape), intercept)

    def steps_before(self, batch_size: int, n_steps: int) -> int:
        """Return how many of the next `n_steps` steps have no part in it."""
        return min(max(0, -(-(self.first_sample - self.n_samples) // batch_size)), n_steps)

    def add(self, state: State) -> None:
        """Add the sums that `state` holds; the caller counts their steps when the epoch is done."""
        if state.coef_sum is not None:
            self.coef += state.coef_sum
        if self.intercept is not None and state.intercept_sum is not None:
            self.intercept += state.intercept_sum

    def weights_of(self, state: State) -> tuple[FloatArray, FloatArray | None]:
        """Return the mean weights; those of `state` where there has been no step yet."""
        if not self.n_steps:
            return state.coef, state.intercept
        dtype = state.coef.dtype
        coef = (self.coef / self.n_steps).astype(dtype)
        if self.intercept is None:
            return coef, None
        return coef, (self.intercept / self.n_steps).astype(dtype)

    def copy(self) -> "Average":
        """Return one with arrays of its own."""
        intercept = None if self.intercept is None else self.intercept.copy()
        return replace(self, coef=self.coef.copy(), intercept=intercept)
