"""Calls of the loss core, each with the work that it has to do at least.

For n rows, d features and c classes, where an exponential counts as one operation:

=======================  ==========================  ======================================
call                     floating-point operations   bytes read, bytes written
=======================  ==========================  ======================================
logsumexp                ``4 * n * c``               the logits; n results
cross_entropy            ``4 * n * c``               the logits; none
softmax                  ``5 * n * c``               the logits; the probabilities
softmax_cross_entropy    ``5 * n * c``               the logits; their gradient
linear_cross_entropy     ``4 * n * d * c + 5 * n*c`` X and W; the gradients of W and intercept
=======================  ==========================  ======================================

A backend that writes and reads intermediate arrays moves more bytes than these, in the same time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import loss
from .roofline import Peaks

_SCALE = 3.0  # of the logits


class LossCall(NamedTuple):
    """A call of the loss core on `n_rows` rows."""

    name: str
    run: Callable[[], object]
    flop: float
    read: float  # bytes
    written: float

    def limits(self, seconds: float, peaks: Peaks, dtype: str) -> dict[str, float]:
        """Return the share of each of the machine's peaks that a call of this time reaches.

        That of memory is the peak of copying for a call that writes as many bytes as it reads, the peak of
        reading for one that writes none, and between them for others.
        """
        moved = self.read + self.written
        as_copy = 2 * min(self.read, self.written)
        least = as_copy / peaks.copy + (moved - as_copy) / peaks.read
        return {"compute": self.flop / seconds / peaks.flops(dtype), "memory": least / seconds}


class LossData:
    """Random logits, or features and weights, with labels; the same for every backend."""

    def __init__(self, shape: tuple[int, ...], dtype: str, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.shape, self.dtype = shape, np.dtype(dtype)
        n, c = shape[0], shape[-1]
        self.targets = random.integers(c, size=n)
        kind: Any = self.dtype.type
        self.X = random.standard_normal(shape[:2], dtype=kind)  # the logits if there are two sizes
        if len(shape) == 2:
            self.X *= kind(_SCALE)
            self.out = np.empty_like(self.X)
            return
        self.W = random.standard_normal(shape[1:], dtype=kind) / kind(np.sqrt(shape[1]))
        self.intercept = np.zeros(c, self.dtype)

    def calls(self, backend: str, n_threads: int, n_rows: int) -> list[LossCall]:
        """Return the calls of a backend on the first rows."""
        where: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
        n, c, size = n_rows, self.shape[-1], self.dtype.itemsize
        X, targets = self.X[:n], self.targets[:n]
        if len(self.shape) == 3:
            d = self.shape[1]
            weights = float(d * c * size)
            return [
                LossCall(
                    "linear_cross_entropy",
                    lambda: loss.linear_cross_entropy(
                        X, self.W, targets, self.intercept, wrt=("W", "intercept"), **where
                    ),
                    4.0 * n * d * c + 5.0 * n * c,
                    n * d * size + weights,
                    weights + c * size,
                )
            ]
        out, logits = self.out[:n], float(n * c * size)
        return [
            LossCall(
                "softmax_cross_entropy",
                lambda: loss.softmax_cross_entropy(X, targets, out, **where),
                *(5.0 * n * c, logits, logits),
            ),
            LossCall(
                "cross_entropy",
                lambda: loss.cross_entropy(X, targets, **where),
                *(4.0 * n * c, logits, 0.0),
            ),
            LossCall(
                "softmax", lambda: loss.softmax(X, out=out, **where), 5.0 * n * c, logits, logits
            ),
            LossCall(
                "logsumexp",
                lambda: loss.logsumexp(X, **where),
                *(4.0 * n * c, logits, float(n * size)),
            ),
        ]
