"""Learning-rate schedules: from the number of the step to its learning rate."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._arrays import validation

NAMES = ("constant", "invscaling", "adaptive", "step", "cosine", "linear")


class Schedule(NamedTuple):
    """The learning rate of every step.

    With t the number of the step, counted from 0 over all epochs, and e = t / (steps of an epoch)::

        constant, adaptive   eta0       (of "adaptive", the training loop lowers eta0)
        invscaling           eta0 / (t + 1)**power_t
        step                 eta0 * step_factor**floor(e / step_every)
        cosine               eta0 * (1 + cos(pi * (e - warmup) / (n_epochs - warmup))) / 2
        linear               eta0 * (1 - (e - warmup) / (n_epochs - warmup))
        a callable           what it returns for t

    All but a callable rise linearly first, while e < warmup: times (t + 1) / (steps of the warm-up).
    """

    learning_rate: str | Callable[[int], float]
    eta0: float
    power_t: float = 0.5
    step_every: int = 30
    step_factor: float = 0.1
    warmup: float = 0.0
    n_epochs: int = 1

    @property
    def ends_at_0(self) -> bool:
        """Whether the rate falls to 0 at the last epoch."""
        return self.learning_rate in ("cosine", "linear")

    def rates(self, first_step: int, n_steps: int, steps_of_epoch: int) -> NDArray[np.float64]:
        """Return the learning rates of the steps `first_step`, `first_step` + 1, ...

        Raises
        ------
        ValueError, TypeError
            If a callable returns something else than a finite number of 0 or more.
        """
        if callable(self.learning_rate):
            steps = range(first_step, first_step + n_steps)
            return np.array([_checked(self.learning_rate(step), step) for step in steps])
        if self.learning_rate in ("constant", "adaptive") and not self.warmup:
            return np.full(n_steps, self.eta0)
        t = np.arange(first_step, first_step + n_steps, dtype=np.float64)
        rates = self.eta0 * self._share(t, steps_of_epoch)
        if self.warmup:
            rates *= np.minimum((t + 1) / (self.warmup * steps_of_epoch), 1)
        return rates

    def _share(self, t: NDArray[np.float64], steps_of_epoch: int) -> NDArray[np.float64]:
        """Return the rates of the steps `t`, as shares of eta0."""
        if self.learning_rate == "invscaling":
            with np.errstate(over="ignore"):  # divided by infinity, the rate is 0
                return 1 / (t + 1) ** self.power_t
        if self.learning_rate == "step":
            return self.step_factor ** np.floor(t / (steps_of_epoch * self.step_every))
        if self.ends_at_0:
            n_steps = max((self.n_epochs - self.warmup) * steps_of_epoch, 1)
            done = np.clip((t - self.warmup * steps_of_epoch) / n_steps, 0, 1)
            return 1 - done if self.learning_rate == "linear" else (1 + np.cos(np.pi * done)) / 2
        return np.ones_like(t)


def _checked(rate: object, step: int) -> float:
    return validation.as_non_negative(f"learning_rate: the rate of step {step}", rate)
