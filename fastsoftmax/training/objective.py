"""The objective of a whole training set: value, gradient, and the sums that its solvers start from.

    f(W, b) = mean_i w_i l_i(W, b) + l2 * sum(W**2),        F = f + l1 * sum(|W|)

One evaluation is one pass over the rows, by blocks that are converted and standardised as they come, so
that memory does not depend on their number. Sums over blocks are in float64 and in order: bits depend on
neither threads nor, among those with FMA, the instruction set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.validation import FloatArray
from ..backends import Backend, Data, State
from ..backends.minibatches import read_rows, weights_of_rows
from . import gradient_sums
from .epoch import TrainingSet, check_rows, data_of
from .gradient_sums import RowNumbers
from .linear_algebra import product

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The mean loss at some weights, and its gradient, with the intercept's in the last column."""

    loss: float
    gradient: Doubles  # (n_classes, n_features [+ 1])
    of_logits: Doubles | None = (
        None  # the gradient of the sum in the logits, if Newton's method needs it
    )


@dataclass
class Objective:
    """Evaluates the mean loss over the rows of a training set, in the dtype of `like`."""

    backend: Backend
    samples: TrainingSet
    like: State  # for shapes, dtype, and whether there is an intercept
    n_threads: int
    data: Data = field(default=None)  # type: ignore[assignment]  # the samples, as the backends take them
    _whole: Data | None = field(default=None, init=False)  # `whole`, once it has been read

    def __post_init__(self) -> None:
        if self.data is None:
            self.data = data_of(self.samples, self.like)

    def __len__(self) -> int:
        return len(self.samples)

    def in_float64(self) -> Objective:
        """Return the objective of the same rows, converted, standardised and evaluated in float64."""
        double, data = np.dtype(np.float64), self.data
        if self.like.coef.dtype == double:
            return self
        if isinstance(data.X, SparseRows):
            data = data._replace(X=data.X.astype(double))
        if data.targets.ndim == 2:
            data = data._replace(targets=data.targets.astype(double))
        intercept = None if self.like.intercept is None else self.like.intercept.astype(double)
        like = State(self.like.coef.astype(double), intercept, None, None)
        return replace(self, like=like, data=data)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of weights with their intercept: classes x (features, and one for the intercept)."""
        n_classes, n_features = self.like.coef.shape
        return n_classes, n_features + (self.like.intercept is not None)

    def state_of(self, weights: FloatArray) -> State:
        """Return the weights, whose last column is the intercept if there is one, as a state."""
        n_features, dtype = self.like.coef.shape[1], self.like.coef.dtype
        coef = np.ascontiguousarray(weights[:, :n_features], dtype)
        if self.like.intercept is None:
            return State(coef, None, None, None)
        return State(coef, np.ascontiguousarray(weights[:, n_features], dtype), None, None)

    def weights_of(self, state: State) -> FloatArray:
        """Return the weights of a state, with the intercept as the last column."""
        if state.intercept is None:
            return state.coef.copy()
        return np.hstack([state.coef, state.intercept[:, np.newaxis]])

    def __call__(self, weights: FloatArray) -> Evaluation:
        """Evaluate the mean loss and its gradient.

        Raises
        ------
        ValueError
            If a row of X is not finite; the message names it.
        """
        whole = self.whole
        if whole is not None:
            found = self._of_one_block(whole, weights)
            if found is not None:
                return found
        total, invalid = gradient_sums.sum_over_rows(
            self.backend, self.data, self.samples.rows, self.state_of(weights), self.n_threads
        )
        if invalid >= 0:
            check_rows(self.samples.X, np.array([invalid]), self.like.coef.dtype)
            return Evaluation(np.inf, np.zeros(self.shape))
        gradient = np.empty(self.shape)
        gradient[:, : self.like.coef.shape[1]] = total.coef
        if total.intercept is not None:
            gradient[:, -1] = total.intercept
        gradient /= len(self)
        return Evaluation(total.loss / len(self), gradient)

    @property
    def whole(self) -> Data | None:
        """All rows as training sees them, converted once, if they are dense and make one block."""
        if self._whole is not None or isinstance(self.data.X, SparseRows):
            return self._whole
        dtype = self.like.coef.dtype
        if len(self) <= gradient_sums.rows_per_block(self.data.X, self.like.coef):
            (rows,) = self._row_numbers()
            x = np.ascontiguousarray(read_rows(self.data, rows, dtype))
            weights = weights_of_rows(self.data, rows)
            self._whole = Data(x, self.data.targets[rows], None, None, weights)
        return self._whole

    def _of_one_block(self, whole: Data, weights: FloatArray) -> Evaluation | None:
        """Evaluate it without what the sum over many blocks needs; None if a row is invalid."""
        n_features, dtype = self.like.coef.shape[1], weights.dtype
        losses, sums = np.empty(len(self)), np.empty(self.shape, dtype)
        intercept = of_intercept = None
        if self.like.intercept is not None:
            intercept, of_intercept = weights[:, -1].copy(), np.empty(len(weights), dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            invalid = self.backend.linear_cross_entropy(
                whole.X,  # type: ignore[arg-type]  # dense
                *(weights[:, :n_features].T, intercept, whole.targets, 1.0, losses),
                *(sums[:, :n_features].T, of_intercept, None, self.n_threads, whole.weights),
            )
            if invalid >= 0:
                return None
            if of_intercept is not None:
                sums[:, -1] = of_intercept
            loss = float(np.add.reduce(losses))
        return Evaluation(loss / len(self), np.divide(sums, len(self), dtype=np.float64))

    def blocks(self, max_rows: int | None = None) -> Iterator[FloatArray]:
        """Yield dense rows as training sees them, in blocks: `max_rows` of them, evenly spread."""
        for rows in self._row_numbers(max_rows):
            yield read_rows(self.data, rows, self.like.coef.dtype)

    def row_blocks(
        self, max_rows: int | None = None
    ) -> Iterator[tuple[FloatArray | SparseRows, RowNumbers]]:
        """Yield the same with the rows' numbers, and sparse rows as such."""
        read = gradient_sums.read_sparse_rows if isinstance(self.data.X, SparseRows) else read_rows
        for rows in self._row_numbers(max_rows):
            yield read(self.data, rows, self.like.coef.dtype), rows

    def masses(self, rows: RowNumbers) -> Doubles | None:
        """Return the weights of some rows, (n_rows, 1), or None if all are 1."""
        weights = self.data.weights
        return None if weights is None or weights.rows is None else weights.rows[rows, np.newaxis]

    def mean_squares(self) -> Doubles:
        """Return the means of the squares of the features, (n_features,)."""
        squares = np.zeros(self.like.coef.shape[1])
        for x, _ in self.row_blocks():
            if isinstance(x, SparseRows):
                weights = np.square(x.values, dtype=np.float64)
                squares += np.bincount(x.indices, weights, len(squares))
            else:
                squares += np.square(x, dtype=np.float64).sum(axis=0)
        return squares / len(self)

    def target_sums(self) -> tuple[Doubles, Doubles, Doubles]:
        """Return the means of t (n_classes,), of t x' (n_classes, n_features) and of x (n_features,).

        Each row counts its weight; t are its targets, smoothed.
        """
        n_classes, n_features = self.like.coef.shape
        sums = np.zeros((n_classes + 1, n_features))
        masses = np.zeros(n_classes)
        dtype = self.like.coef.dtype
        for rows in self._row_numbers():
            targets = targets_of(self.data, rows, n_classes)
            masses += targets.sum(axis=0)
            columns = np.hstack([targets, targets.sum(axis=1, keepdims=True)]).astype(dtype)
            sums += self._transposed_product(rows, columns)
        return masses / len(self), sums[:-1] / len(self), sums[-1] / len(self)

    def _row_numbers(self, max_rows: int | None = None) -> Iterator[RowNumbers]:
        n_rows, some = len(self), self.samples.rows
        if max_rows is not None and max_rows < n_rows:
            spread = np.arange(max_rows) * n_rows // max_rows
            some = spread if some is None else some[spread]
        size = gradient_sums.rows_per_block(self.data.X, self.like.coef)
        for _, rows in gradient_sums.row_blocks(self.data.X, some, size):
            yield rows

    def _transposed_product(self, rows: RowNumbers, columns: FloatArray) -> FloatArray:
        """Return columns' @ X over some rows, (n_columns, n_features)."""
        n_features, dtype = self.like.coef.shape[1], self.like.coef.dtype
        if isinstance(self.data.X, SparseRows):
            out = np.empty((columns.shape[1], n_features), dtype)
            sparse = gradient_sums.read_sparse_rows(self.data, rows, dtype)
            sparse.transposed_product(columns, out)
            return out
        x = read_rows(self.data, rows, dtype)
        return product(self.backend, columns.T, x.T, self.n_threads)


def targets_of(data: Data, rows: RowNumbers, n_classes: int) -> Doubles:
    """Return the targets of some rows as probabilities, times the rows' weights, and smoothed."""
    targets = data.targets[rows]
    if targets.ndim == 1:
        t = np.zeros((len(targets), n_classes))
        t[np.arange(len(targets)), targets] = 1
    else:
        t = targets.astype(np.float64)
    weights = weights_of_rows(data, rows)
    if weights is not None:
        if weights.smoothing:
            t = (1 - weights.smoothing) * t + weights.smoothing / n_classes
        if weights.rows is not None:
            t *= weights.rows[:, np.newaxis]
    return t
