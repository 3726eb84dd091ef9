"""Coordinate descent on a quadratic model with L1, in NumPy.

After every few sweeps, the step that they suggest together is taken, if the model is smaller there
(Bertrand, Massias: Anderson Acceleration of Coordinate Descent, 2021).
"""

import numpy as np
from numpy.typing import NDArray

from .protocol import QuadraticModel

Doubles = NDArray[np.float64]

# The extrapolation takes the differences of that many sweeps.
_N_EXTRAPOLATED = 5


def coordinate_descent(
    model: QuadraticModel, weights: Doubles, tolerance: float, max_sweeps: int
) -> int:
    """Implement `Backend.coordinate_descent`."""
    descent = _Descent(model, weights)
    takes_all, first, history = True, 0.0, list[Doubles]()
    for n_sweeps in range(1, max_sweeps + 1):
        largest = descent.sweep(takes_all)
        if takes_all:
            if n_sweeps == 1:
                first = largest
            if largest <= tolerance * first and (n_sweeps > 1 or first == 0):
                break
            takes_all, history = False, []
        elif largest <= 0.3 * tolerance * first:
            takes_all = True
            continue
        history.append(descent.state.copy())
        if len(history) > _N_EXTRAPOLATED:
            descent.extrapolate(np.array(history))
            history = [descent.state.copy()]
    weights[...] = descent.weights
    return n_sweeps


class _Descent:
    """The weights, the product of the step with G and that with the pairs, in one array."""

    def __init__(self, model: QuadraticModel, weights: Doubles) -> None:
        self.model, self.start, n = model, weights.copy(), len(weights)
        shape = len(model.S), model.G.shape[-1]
        self.shape, self.state = shape, np.zeros(n + shape[0] * shape[1] + len(model.signs))
        self.weights = self.state[:n]
        self.weights[...] = weights
        self.is_moving = np.ones(n, bool)

    def parts(self, state: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        n, (n_classes, n_features) = len(self.start), self.shape
        end = n + n_classes * n_features
        return state[:n], state[n:end].reshape(self.shape), state[end:]

    def sweep(self, takes_all: bool) -> float:
        model, (weights, moved, shares), largest = self.model, self.parts(self.state), 0.0
        is_taken = (model.diagonal > 0) & (self.is_moving | takes_all)
        for i in np.flatnonzero(is_taken):
            k, j, h, w = model.classes[i], model.features[i], model.diagonal[i], weights[i]
            slope = model.slopes[i] + model.curvature[i] * (w - self.start[i])
            slope += (model.S[k] * moved[:, j]).sum() + (model.pairs[i] * shares).sum()
            unshrunk = w - slope / h
            new = np.copysign(max(abs(unshrunk) - model.thresholds[i] / h, 0.0), unshrunk)
            if takes_all:
                self.is_moving[i] = new != 0 or w != 0
            weights[i] = new
            step = new - w
            if not step:
                continue
            largest = max(largest, float(abs(h * step)))
            if model.G.ndim == 1:
                moved[k, j] += step * model.G[j]
            else:
                moved[k] += step * model.G[j]
            shares += model.signs * model.pairs[i] * step
        return largest

    def value(self, state: Doubles) -> float:
        model, (weights, moved, shares) = self.model, self.parts(state)
        step = weights - self.start
        curved = (model.S[model.classes] * moved[:, model.features].T).sum(axis=1)
        parts = step * (model.slopes + (model.curvature * step + curved) / 2)
        parts += model.thresholds * (np.abs(weights) - np.abs(self.start))
        return float(parts.sum() + (model.signs * shares * shares).sum() / 2)

    def extrapolate(self, history: Doubles) -> None:
        differences = np.diff(history[:, : len(self.start)], axis=0)
        A = (differences[:, np.newaxis] * differences).sum(axis=2)
        A.flat[:: len(A) + 1] += 1e-10 * np.trace(A)
        shares = _solution_for_ones(A)
        if shares is None:
            return
        state = (shares[:, np.newaxis] * history[1:]).sum(axis=0)
        if self.value(state) < self.value(self.state):
            self.state[...] = state


def _solution_for_ones(A: Doubles) -> Doubles | None:
    """Return x with A x = 1, divided by its sum; None if A is not positive definite."""
    n, x = len(A), np.ones(len(A))
    for i in range(n):
        if not A[i, i] > 0:
            return None
        factors = A[i + 1 :, i] / A[i, i]
        A[i + 1 :] -= factors[:, np.newaxis] * A[i]
        x[i + 1 :] -= factors * x[i]
    for i in reversed(range(n)):
        x[i] = (x[i] - (A[i, i + 1 :] * x[i + 1 :]).sum()) / A[i, i]
    total = x.sum()
    return x / total if total else None
