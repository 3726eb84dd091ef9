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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backends.recorder import BOUND, timed
from .linear_algebra import dot
from .objective import Evaluation, Objective

Doubles = NDArray[np.float64]

# A lower limit of the share e of the constant row, so that the division by it stays accurate.
_MIN_SHARE = 1e-14


class Optimality(NamedTuple):
    """How far the objective is from its minimum at most: `gap`, in nats, or None for the `reason`."""

    gap: float | None
    reason: str = ""


NO_BOUND = Optimality(None, "solver='sgd' does not compute a bound")


@dataclass(frozen=True, eq=False)
class Dual:
    """The means over the rows that dual points are made of, and the penalty."""

    targets: Doubles  # (n_classes,)
    target_features: Doubles  # (n_classes, n_features)
    features: Doubles  # (n_features,)
    l2: float
    l1: float
    has_intercept: bool

    @classmethod
    def of(cls, objective: Objective, l2: float, l1: float) -> Dual:
        """Take the means over the rows of the objective."""
        return cls(*objective.target_sums(), l2, l1, objective.like.intercept is not None)

    @property
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

    @timed(BOUND)
    def gap(self, weights: Doubles, at: Evaluation) -> tuple[float, float]:
        """Return the gap, and the part of it that is there even for an intercept at its optimum."""
        n_features = self.target_features.shape[1]
        W, slope = weights[:, :n_features].astype(np.float64), at.gradient[:, :n_features]
        share, gap, G = 0.0, dot(slope, W), slope
        if self.has_intercept:
            b, of_b = weights[:, -1].astype(np.float64), at.gradient[:, -1]
            means = self.targets + of_b  # of p
            with np.errstate(
                divide="ignore"
            ):  # a class whose probabilities underflow needs no share
                needed = float((1 - self.targets / means).max())
            share = min(1.0, max(0.0, needed) + _MIN_SHARE)
            gap += float((of_b * b).sum())
            q = np.maximum((self.targets - (1 - share) * means) / share, 0)
            q /= q.sum()
            entropy = -float((q * np.log(np.where(q > 0, q, 1))).sum())
            offset = q[:, np.newaxis] * self.features - self.target_features
            G = (1 - share) * slope + share * offset
            gap = (1 - share) * gap + share * (at.loss - entropy)
        # gap is loss - mean(entropy); what is left is the penalty and its conjugate, without cancellation.
        entropy_of_rows = at.loss - gap
        curvature = 2 * self.l2
        if not curvature:
            largest = float(np.abs(G).max(initial=0))
            scale = 1.0 if largest <= self.l1 else self.l1 / largest
            total = at.loss - scale * entropy_of_rows + self.l1 * float(np.abs(W).sum())
            return total, total
        magnitudes = np.abs(G)
        best = -np.copysign(np.maximum(magnitudes - self.l1, 0), G) / curvature
        parts = curvature / 2 * np.square(W - best)
        if self.l1:
            parts += self.l1 * np.abs(W) + W * np.clip(G, -self.l1, self.l1)
        total = float(parts.sum()) + gap - dot(G, W)
        of_coef = (
            curvature / 2 * float(np.square(W + slope / curvature).sum()) if not self.l1 else total
        )
        return total, of_coef
