"""Average the weights over the steps: the mean varies less than the last weights do.

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
    """Sums of the weights after each step, in the units of training, from which the mean is computed.

    Steps count once `first_sample` samples have been seen; `n_samples` have been seen so far.
    """

    first_sample: int
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64] | None
    n_samples: int = 0
    n_steps: int = 0

    @classmethod
    def of(cls, state: State, first_sample: int) -> Self:
        """Return an average over no steps yet, of the shapes of `state`."""
        intercept = None if state.intercept is None else np.zeros(state.intercept.shape)
        return cls(first_sample, np.zeros(state.coef.shape), intercept)

    def steps_before(self, batch_size: int, n_steps: int) -> int:
        """Return how many of the next `n_steps` steps come before the averaging begins."""
        return min(max(0, -(-(self.first_sample - self.n_samples) // batch_size)), n_steps)

    def add(self, state: State) -> None:
        """Add the sums in `state`; the caller counts their steps at the end of the epoch."""
        if state.coef_sum is not None:
            self.coef += state.coef_sum
        if self.intercept is not None and state.intercept_sum is not None:
            self.intercept += state.intercept_sum

    def weights_of(self, state: State) -> tuple[FloatArray, FloatArray | None]:
        """Return the mean weights, or those of `state` if no step has been averaged yet."""
        if not self.n_steps:
            return state.coef, state.intercept
        dtype = state.coef.dtype
        coef = (self.coef / self.n_steps).astype(dtype)
        if self.intercept is None:
            return coef, None
        return coef, (self.intercept / self.n_steps).astype(dtype)

    def copy(self) -> "Average":
        """Return a copy that shares no arrays."""
        intercept = None if self.intercept is None else self.intercept.copy()
        return replace(self, coef=self.coef.copy(), intercept=intercept)
