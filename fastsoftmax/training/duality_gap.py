"""How far weights are from the optimum at most: a duality gap.

With targets t, weights w of mean 1, p = softmax(W x + b), and the penalty a / 2 |W|**2 + l1 |W|_1, any rows
of probabilities p* whose weighted mean is that of the targets (the intercept is free) bound the minimum
from below by

    mean(w entropy(p*)) - sum(conjugate(G*)),
    G* = mean(w (p* - t) x'),    conjugate(g) = max(|g| - l1, 0)**2 / (2 a)

(Fenchel duality; Boyd, Vandenberghe: Convex Optimization, section 5.7.1). The rows p of a loss and a
gradient that are known satisfy it up to the gradient of the intercept. Mixed with a constant row q,
p* = (1 - e) p + e q, for the smallest e that allows it, they satisfy it exactly, and as entropy is concave
no further pass over the rows is needed:

    entropy(p*) >= (1 - e) entropy(p) + e entropy(q),    mean(w entropy(p)) = loss - <gradient, weights>

Where a = 0, G* must be at most l1 everywhere: then p* goes as far towards t as that takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import FloatArray
from ..backends import Backend
from ..backends.recorder import BOUND, timed
from ..backends.solver_vectors import repaired_row
from .linear_algebra import dot
from .objective import Evaluation, Objective

Doubles = NDArray[np.float64]

# A lower limit of the share e of the constant row, so that the division by it stays accurate.
_MIN_SHARE = 1e-14
# With L1 alone, G is scaled down to l1, above which the share may take it: 1e-14 is 1e-9 of an l1 of 1e-5.
_MIN_SHARE_OF_L1 = 1e-15


class Optimality(NamedTuple):
    """How far the objective is from its minimum at most: `gap`, in nats, or None for the `reason`."""

    gap: float | None
    reason: str = ""


NO_BOUND = Optimality(None, "solver='sgd' does not compute a bound")


@dataclass(frozen=True, eq=False)
class Dual:
    """The means over the rows that dual points are made of, and the penalty."""

    backend: Backend
    targets: Doubles  # (n_classes,)
    target_features: Doubles  # (n_classes, n_features)
    features: Doubles  # (n_features,)
    l2: float
    l1: float
    has_intercept: bool

    @classmethod
    def of(cls, objective: Objective, l2: float, l1: float) -> Dual:
        """Take the means over the rows of the objective."""
        has_intercept = objective.like.intercept is not None
        return cls(objective.backend, *objective.target_sums(), l2, l1, has_intercept)

    @cached_property
    def why_none(self) -> str:
        """Why no weights have a bound, or empty."""
        if not self.l2 and not self.l1:
            return "without a penalty (alpha = 0) no bound of the minimum is computed"
        if self.has_intercept and not (self.targets > 0).all():
            k = int(np.argmin(self.targets))
            return (
                f"class {k} has no weight: its intercept falls without end, and there is no minimum"
            )
        return ""

    @cached_property
    def _means(self) -> tuple[Doubles, Doubles, Doubles]:
        return self.targets, self.target_features, self.features

    @timed(BOUND)
    def gap(self, weights: FloatArray, at: Evaluation) -> float:
        """Return the gap."""
        if self.l2:
            return self.backend.duality_gap(
                weights, at.gradient, at.loss, self._means, _MIN_SHARE, self.l2, self.l1
            )
        n_features = len(self.features)
        W, slopes = weights[:, :n_features], at.gradient[:, :n_features]
        share, q, entropy, of_intercept = 0.0, self.targets, 0.0, 0.0
        if self.has_intercept:
            of_b = at.gradient[:, -1]
            means = self.targets.tolist(), (self.targets + of_b).tolist()
            share, row, entropy = repaired_row(*means, _MIN_SHARE_OF_L1)
            of_intercept, q = float(np.add.reduce(of_b * weights[:, -1])), np.array(row)
        G = (1 - share) * slopes + share * (
            np.multiply.outer(q, self.features) - self.target_features
        )
        gap = (1 - share) * (dot(slopes, W) + of_intercept) + share * (at.loss - entropy)
        largest = float(np.abs(G).max(initial=0))
        scale = 1.0 if largest <= self.l1 else self.l1 / largest
        return at.loss - scale * (at.loss - gap) + self.l1 * float(np.abs(W).sum())
