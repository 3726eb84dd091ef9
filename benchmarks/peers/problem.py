"""What an epoch trains on, and the objective that tells whether everybody trained the same."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.datasets import load_digits, make_linear_teacher

Floats = NDArray[np.float32]

# So strong that after a few epochs a contender who forgot the penalty, or divided it by the size of the
# minibatch, would end with another loss.
_ALPHA = 0.01
_BLOCK_ROWS = 4096
_BLOCK_COLUMNS = 64


class Problem(NamedTuple):
    """Data and settings, the same for all contenders.

    The objective is ``mean(-log softmax(X @ coef.T + intercept)_y) + alpha / 2 * sum(coef**2)``, and a
    step subtracts `learning_rate` times its gradient over a minibatch. Labels are 0 to n_classes - 1.
    """

    X: Floats
    y: NDArray[np.int64]
    n_classes: int
    batch_size: int
    learning_rate: float
    alpha: float = _ALPHA
    pixels: NDArray[np.uint8] | None = None  # what X is the standardised matrix of

    @property
    def n_steps(self) -> int:
        """Minibatches in an epoch; the last may be smaller."""
        return -(-len(self.X) // self.batch_size)

    @property
    def flop(self) -> float:
        """Floating-point operations of an epoch's two matrix products."""
        return 4.0 * self.X.size * self.n_classes

    def loss(self, coef: Floats, intercept: Floats) -> float:
        """Return the objective over all data; the logits in float32, the rest in float64."""
        return objective(self.X, self.y, coef, intercept, self.alpha)


def objective(
    X: Any, y: NDArray[np.int64], coef: NDArray[Any], intercept: NDArray[Any], alpha: float
) -> float:
    """Return the objective of `Problem`, block by block; `X` may be a CSR matrix.

    The logits are in the dtype of the products, the rest is in float64.
    """
    total = 0.0
    for start in range(0, len(y), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        logits = (X[block] @ coef.T + intercept).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        labels = y[block]
        total += np.log(np.exp(logits).sum(axis=1)).sum()
        total -= logits[np.arange(len(labels)), labels].sum()
    penalty = alpha / 2 * np.square(coef, dtype=np.float64).sum()
    return float(total / len(y) + penalty)


def digits(batch_size: int) -> Problem:
    """Return the handwritten digits that scikit-learn bundles."""
    data = load_digits()
    X = np.concatenate([data.X_train, data.X_test])
    y = np.concatenate([data.y_train, data.y_test])
    return Problem(X, y, data.n_classes, batch_size, learning_rate=0.2)


def pixels(n_samples: int, n_features: int, n_classes: int, batch_size: int) -> Problem:
    """Return the same as bytes, and in `X` what scikit-learn's StandardScaler would make of them."""
    problem = made_up(n_samples, n_features, n_classes, batch_size)
    bytes_ = np.clip(np.rint(problem.X * 40 + 128), 0, 255).astype(np.uint8)
    for start in range(0, n_features, _BLOCK_COLUMNS):
        columns = bytes_[:, start : start + _BLOCK_COLUMNS].astype(np.float64)
        scaled = (columns - columns.mean(axis=0)) / columns.std(axis=0)
        problem.X[:, start : start + _BLOCK_COLUMNS] = scaled
    return problem._replace(pixels=bytes_)


def made_up(n_samples: int, n_features: int, n_classes: int, batch_size: int) -> Problem:
    """Return normal features, labelled by a random linear classifier with some noise."""
    data = make_linear_teacher(n_samples, n_features, n_classes)
    # With many classes and few samples some never occur, and `fit` cannot know of them.
    labels, y = np.unique(data.y_train, return_inverse=True)
    # A quarter of the largest rate that contracts: the covariance of a minibatch has no eigenvalue much
    # above this square (Marchenko and Pastur), the Hessian none above half of it.
    rate = 1 / (1 + np.sqrt(n_features / batch_size)) ** 2
    return Problem(data.X_train, y, len(labels), batch_size, learning_rate=float(rate))
