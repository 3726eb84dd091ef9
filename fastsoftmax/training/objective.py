"""The objective of a whole training set: value, gradient, and the sums that its solvers start from.

    f(W, b) = mean_i w_i l_i(W, b) + l2 * sum(W**2),        F = f + l1 * sum(|W|)

One evaluation is one pass over the rows, by blocks that are converted and standardised as they come, so
that memory does not depend on their number; of few rows, which the kernels could not read in place, a
converted copy is kept. Sums over blocks are in float64 and in order: bits depend on neither threads nor,
among those with FMA, the instruction set, nor on whether there is a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.memory_mapping import is_mapped, take_rows
from .._arrays.validation import FloatArray
from ..backends import Backend, Data, State
from ..backends.minibatches import weights_of_rows
from ..backends.recorder import BOUND, PASS, PRECONDITIONER, timed
from . import gradient_sums
from .epoch import TrainingSet, check_rows, data_of
from .gradient_sums import RowNumbers

Doubles = NDArray[np.float64]

# Up to that size a copy of the rows is kept, so that they are converted once.
_MAX_KEPT_BYTES = 1 << 28
# Waking another thread takes as long as this many products of a value and a class, of a pass: in between an
# iteration takes so long that all have fallen asleep.
_MIN_PRODUCTS_FOR_THREADS = 2_000_000
# Sparse rows with more features are not made dense, to bound memory.
_MAX_DENSE_FEATURES = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The mean loss at some weights, and its gradient, with the intercept's in the last column."""

    loss: float
    gradient: Doubles  # (n_classes, n_features [+ 1])
    # The gradient of the sum in the logits, if Newton's method needs it.
    of_logits: Doubles | None = None


@dataclass
class Objective:
    """Evaluates the mean loss over the rows of a training set, in the dtype of `like`."""

    backend: Backend
    samples: TrainingSet
    like: State  # for shapes, dtype, and whether there is an intercept
    n_threads: int
    keeps: bool = True  # whether a copy of few rows may be kept, for more than one pass
    data: Data = field(default=None)  # type: ignore[assignment]  # as the backends take the samples
    _data: Data = field(init=False)  # what passes read: `data`, or a copy of its rows
    _rows: NDArray[np.int64] | None = field(init=False)  # of it
    # Blocks of sparse rows, transposed, by their first row and end; None where they are not kept.
    _columns: dict[tuple[int, int], SparseRows] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.data is None:
            self.data = data_of(self.samples, self.like)
        self._data, self._rows = self.data, self.samples.rows
        kept = None
        if self.keeps:
            dtype, n_threads = self.like.coef.dtype, self.n_threads
            kept = _kept(self.backend, self.data, self._rows, dtype, n_threads)
        if kept is not None:
            self._data, self._rows = kept, None
        X, (n_classes, n_features) = self._data.X, self.like.coef.shape
        if self.values_per_feature * n_features * n_classes < _MIN_PRODUCTS_FOR_THREADS:
            self.n_threads = 1
        if isinstance(X, SparseRows) and self.keeps and self._rows is None:
            is_small = X.values.nbytes + X.indices.nbytes <= _MAX_KEPT_BYTES
            self._columns = {} if is_small else None

    def __len__(self) -> int:
        return len(self.samples)

    def in_float64(self, keeps: bool = False) -> Objective:
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
        doubled = replace(self, like=like, data=data, keeps=keeps)
        if self._columns is not None and self._data is self.data:  # of the same values, not scaled
            doubled._columns = {at: each.astype(double) for at, each in self._columns.items()}
        return doubled

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of weights with their intercept: classes x (features, and one for the intercept)."""
        n_classes, n_features = self.like.coef.shape
        return n_classes, n_features + (self.like.intercept is not None)

    @property
    def values_per_feature(self) -> float:
        """The mean number of rows that a feature has stored values in."""
        X = self._data.X
        share = (
            len(X.values) / max(1, X.shape[0] * X.shape[1]) if isinstance(X, SparseRows) else 1.0
        )
        return share * len(self)

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

    @timed(PASS)
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
        elif self._columns is not None:
            found = self._of_one_sparse_block(weights)
            if found is not None:
                return found
        total, invalid = gradient_sums.sum_over_rows(
            *(self.backend, self._data, self._rows, self.state_of(weights), self.n_threads),
            self._columns_of,
        )
        if invalid >= 0:
            if self._rows is None and self.samples.rows is not None:
                invalid = int(self.samples.rows[invalid])
            check_rows(self.samples.X, np.array([invalid]), self.like.coef.dtype)
            return Evaluation(np.inf, np.zeros(self.shape))
        gradient = np.empty(self.shape)
        gradient[:, : self.like.coef.shape[1]] = total.coef
        if total.intercept is not None:
            gradient[:, -1] = total.intercept
        gradient /= len(self)
        return Evaluation(total.loss / len(self), gradient)

    @property
    def has_dense_rows(self) -> bool:
        """Whether the rows can be read here, and made dense a block at a time."""
        is_sparse = isinstance(self._data.X, SparseRows)
        return not is_sparse or self.shape[1] <= _MAX_DENSE_FEATURES

    def n_blocks(self, n_rows: int) -> int:
        """Return how many blocks so many rows are read in, at least."""
        return -(-n_rows // gradient_sums.rows_per_block(self._data.X, self.like.coef))

    @cached_property
    def whole(self) -> Data | None:
        """The data, if the kernels read them in place, and as one block."""
        X, data = self._data.X, self._data
        if isinstance(X, SparseRows) or self._rows is not None:
            return None
        if data.mean is not None or data.inverse_scale is not None:
            return None
        is_read_in_place = X.dtype == self.like.coef.dtype and X.flags.c_contiguous
        n_rows = gradient_sums.rows_per_block(X, self.like.coef)
        return self._data if is_read_in_place and len(X) <= n_rows else None

    def _of_one_block(self, whole: Data, weights: FloatArray) -> Evaluation | None:
        """Evaluate it without what the sum over many blocks needs; None if a row is invalid."""
        n_features, dtype = self.like.coef.shape[1], weights.dtype
        order = gradient_sums.memory_order(whole.X, len(weights))
        losses, sums = np.empty(len(self)), np.empty(self.shape, dtype, order)
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
        return Evaluation(loss / len(self), np.divide(sums, len(self), dtype=np.float64, order="C"))

    def _of_one_sparse_block(self, weights: FloatArray) -> Evaluation | None:
        """Evaluate it over sparse rows as `_of_one_block` does; None if they are not one block."""
        state, X, n_features = self.state_of(weights), self._data.X, self.like.coef.shape[1]
        if len(X) > gradient_sums.rows_per_block(X, state.coef):
            return None
        losses, sums = np.empty(len(X)), np.empty(self.shape, weights.dtype)
        of_intercept = None if state.intercept is None else sums[:, -1]
        with np.errstate(over="ignore", invalid="ignore"):
            invalid = gradient_sums.sums_of_sparse(
                *(self.backend, self._data, slice(0, len(X)), state, losses),
                *(sums[:, :n_features], of_intercept, self.n_threads, self._columns_of),
            )
            if invalid >= 0:
                return None
            loss = float(np.add.reduce(losses))
        return Evaluation(loss / len(X), np.divide(sums, len(X), dtype=np.float64))

    def _columns_of(self, x: SparseRows, rows: RowNumbers) -> SparseRows:
        """Return a block of sparse rows transposed, as it is kept after the first pass."""
        if self._columns is None or not isinstance(rows, slice):
            return x.transposed()
        block = rows.start, rows.stop
        if block not in self._columns:
            self._columns[block] = x.transposed()
        return self._columns[block]

    def blocks(self, max_rows: int | None = None) -> Iterator[FloatArray]:
        """Yield dense rows as training sees them, in blocks: `max_rows` of them, evenly spread."""
        for x, _ in self.row_blocks(max_rows):
            yield x[np.arange(len(x))] if isinstance(x, SparseRows) else x

    def row_blocks(
        self, max_rows: int | None = None
    ) -> Iterator[tuple[FloatArray | SparseRows, RowNumbers]]:
        """Yield the same with the rows' numbers, and sparse rows as such."""
        data, X, dtype = self._data, self._data.X, self.like.coef.dtype
        for rows in self._row_numbers(max_rows):
            if isinstance(X, SparseRows):
                yield gradient_sums.read_sparse_rows(data, rows, dtype), rows
            elif max_rows is None or isinstance(rows, slice):
                yield self._dense_rows(data, rows), rows
            else:
                yield self._dense_rows(data._replace(X=take_rows(X, rows)), slice(None)), rows

    def masses(self, rows: RowNumbers) -> Doubles | None:
        """Return the weights of some rows, (n_rows, 1), or None if all are 1."""
        weights = self._data.weights
        return None if weights is None or weights.rows is None else weights.rows[rows, np.newaxis]

    @timed(PRECONDITIONER)
    def mean_squares(self) -> Doubles:
        """Return the means of the squares of the features, (n_features,)."""
        squares, zeros = np.zeros(self.like.coef.shape[1]), np.zeros(self.like.coef.shape[1])
        for x, _ in self.row_blocks():
            if isinstance(x, SparseRows):
                weights = np.square(x.values, dtype=np.float64)
                squares += np.bincount(x.indices, weights, len(squares))
            else:
                of_block = np.empty_like(squares)
                self.backend.column_moments(
                    np.ascontiguousarray(x), zeros, np.empty_like(squares), of_block, self.n_threads
                )
                squares += of_block
        return squares / len(self)

    @timed(PRECONDITIONER)
    def second_moments(self, max_rows: int | None = None) -> Doubles:
        """Return the mean of x x' over some rows, each counted once; x ends with 1 for the intercept."""
        n_features = self.like.coef.shape[1]
        total, n_rows = np.zeros((self.shape[1], self.shape[1])), 0
        of_block, origin = np.empty((n_features, n_features)), np.zeros(n_features)
        sums, squares = np.empty_like(origin), np.empty_like(origin)
        for x in self.blocks(max_rows):
            x = np.ascontiguousarray(x)
            self.backend.transposed_product(x, x, of_block, self.n_threads)
            total[:n_features, :n_features] += of_block
            if self.like.intercept is not None:
                self.backend.column_moments(x, origin, sums, squares, self.n_threads)
                total[-1, :-1] += sums
            n_rows += len(x)
        if self.like.intercept is not None:
            total[:-1, -1], total[-1, -1] = total[-1, :-1], n_rows
        return total / n_rows

    @timed(PRECONDITIONER)
    def sketch(self, directions: FloatArray, max_rows: int | None = None) -> Doubles:
        """Return the mean of (directions x) x' over some rows, with x as in `second_moments`."""
        n_features, dtype = self.like.coef.shape[1], self.like.coef.dtype
        total, n_rows = np.zeros(directions.shape), 0
        for x, rows in self.row_blocks(max_rows):
            along = np.empty((len(x), len(directions)), dtype)
            intercept = np.zeros(len(directions), dtype)
            if self.like.intercept is not None:
                intercept = directions[:, -1].copy()
            coef = np.ascontiguousarray(directions[:, :n_features])
            self.backend.linear_scores(x, coef, intercept, along, self.n_threads)
            total[:, :n_features] += self._transposed_product(rows, along)
            if self.like.intercept is not None:
                total[:, -1] += along.sum(axis=0, dtype=np.float64)
            n_rows += len(x)
        return total / n_rows

    @timed(PRECONDITIONER)
    def class_curvature(self, weights: FloatArray, max_rows: int | None = None) -> Doubles:
        """Return the mean of diag(p) - p p' over some rows, with their weights; p are probabilities."""
        n_classes = len(weights)
        shares, products, n_rows = np.zeros(n_classes), np.zeros((n_classes, n_classes)), 0
        of_block = np.empty_like(products)
        for _, p, mass in self._probabilities(weights, max_rows):
            weighted = p if mass is None else p * mass.astype(p.dtype)
            self.backend.transposed_product(p, weighted, of_block, self.n_threads)
            products += of_block
            shares += weighted.sum(axis=0, dtype=np.float64)
            n_rows += len(p)
        return (np.diag(shares) - products) / n_rows

    def probabilities(
        self, weights: FloatArray, max_rows: int | None = None
    ) -> Iterator[tuple[FloatArray, FloatArray, Doubles | None]]:
        """Yield blocks of dense rows, with 1 for the intercept; their probabilities; and their weights."""
        for x, p, mass in self._probabilities(weights, max_rows):
            dense = x[np.arange(len(x))] if isinstance(x, SparseRows) else x
            if self.like.intercept is not None:
                dense = np.hstack([dense, np.ones((len(x), 1), dense.dtype)])
            yield dense, p, mass

    def _probabilities(
        self, weights: FloatArray, max_rows: int | None
    ) -> Iterator[tuple[FloatArray | SparseRows, FloatArray, Doubles | None]]:
        state, n_classes = self.state_of(weights), len(weights)
        zeros = np.zeros(n_classes, weights.dtype) if state.intercept is None else state.intercept
        for x, rows in self.row_blocks(max_rows):
            p = np.empty((len(x), n_classes), weights.dtype)
            self.backend.linear_scores(x, state.coef, zeros, p, self.n_threads)
            self.backend.softmax(p, p, self.n_threads)
            yield x, p, self.masses(rows)

    @timed(BOUND)
    def target_sums(self) -> tuple[Doubles, Doubles, Doubles]:
        """Return the means of t (n_classes,), of t x' (n_classes, n_features) and of x (n_features,).

        Each row counts its weight; t are its targets, smoothed.
        """
        n_classes, n_features = self.like.coef.shape
        masses, sums, data = np.zeros(n_classes), np.zeros((n_classes, n_features)), self._data
        by_class = data.targets.ndim == 1 and not isinstance(data.X, SparseRows)
        for rows in self._row_numbers():
            if by_class:
                weights, labels = weights_of_rows(data, rows), data.targets[rows]
                of_rows = None if weights is None else weights.rows
                masses += np.bincount(labels, of_rows, n_classes)
                x = self._unchanged_rows(rows)
                self.backend.add_class_sums(x, labels, of_rows, sums, self.n_threads)
            else:
                targets = targets_of(data, rows, n_classes)
                masses += targets.sum(axis=0)
                sums += self._transposed_product(rows, targets.astype(self.like.coef.dtype))
        masses, sums = masses / len(self), sums / len(self)
        features = sums.sum(axis=0)
        if by_class and data.weights is not None and data.weights.smoothing:
            share = data.weights.smoothing
            masses = (1 - share) * masses + share / n_classes * masses.sum()
            sums = (1 - share) * sums + share / n_classes * features
        return masses, sums, features

    def _unchanged_rows(self, rows: RowNumbers) -> FloatArray:
        """Return dense rows as they are, converted only if they are of few bits, or standardised."""
        data = self._data
        if data.mean is None and data.inverse_scale is None and data.X.dtype.itemsize >= 4:
            return data.X[rows]  # type: ignore[index]  # dense
        return self._dense_rows(data, rows)

    def _dense_rows(self, data: Data, rows: RowNumbers) -> FloatArray:
        """Return some rows as training sees them, contiguous."""
        given = self.backend, data, rows, self.like.coef.dtype, self.n_threads
        return gradient_sums.read_dense_rows(*given)

    def _row_numbers(self, max_rows: int | None = None) -> Iterator[RowNumbers]:
        n_rows, some = len(self), self._rows
        if max_rows is not None and max_rows < n_rows:
            spread = np.arange(max_rows) * n_rows // max_rows
            some = spread if some is None else some[spread]
        size = gradient_sums.rows_per_block(self._data.X, self.like.coef)
        for _, rows in gradient_sums.row_blocks(self._data.X, some, size):
            yield rows

    def _transposed_product(self, rows: RowNumbers, columns: FloatArray) -> FloatArray:
        """Return columns' @ X over some rows, (n_columns, n_features)."""
        n_features, dtype = self.like.coef.shape[1], self.like.coef.dtype
        if isinstance(self._data.X, SparseRows):
            out = np.empty((columns.shape[1], n_features), dtype)
            sparse = gradient_sums.read_sparse_rows(self._data, rows, dtype)
            transposed = self._columns_of(sparse, rows)
            gradient_sums.transposed_product(self.backend, transposed, columns, out, self.n_threads)
            return out
        x = self._dense_rows(self._data, rows)
        total = np.empty((columns.shape[1], n_features))
        self.backend.transposed_product(columns, x, total, self.n_threads)
        return total


def _kept(
    backend: Backend,
    data: Data,
    rows: NDArray[np.int64] | None,
    dtype: np.dtype[Any],
    n_threads: int,
) -> Data | None:
    """Return the data with a copy of some rows, converted and standardised, if that is small and helps."""
    X, n_rows = data.X, len(data.X) if rows is None else len(rows)
    is_read_in_place = rows is None and data.mean is None and data.inverse_scale is None
    if isinstance(X, SparseRows):
        n_stored = X.indptr[-1] if rows is None else (X.indptr[rows + 1] - X.indptr[rows]).sum()
        n_bytes = int(n_stored) * (dtype.itemsize + X.indices.itemsize)
        if is_read_in_place or n_bytes > _MAX_KEPT_BYTES:
            return None
        some = slice(0, n_rows) if rows is None else rows
        kept: FloatArray | SparseRows = gradient_sums.read_sparse_rows(data, some, dtype)
    else:
        is_read_in_place = is_read_in_place and X.dtype == dtype and X.flags.c_contiguous
        if (is_read_in_place and not is_mapped(X)) or (
            n_rows * X.shape[1] * dtype.itemsize > _MAX_KEPT_BYTES
        ):
            return None
        kept = np.empty((n_rows, X.shape[1]), dtype)
        size = gradient_sums.rows_per_block(X, kept[:1])
        for start, block in gradient_sums.row_blocks(X, rows, size):
            out = kept[start : start + size]
            converted = gradient_sums.read_dense_rows(backend, data, block, dtype, n_threads, out)
            if not np.may_share_memory(converted, out):
                out[...] = converted
    weights, targets = data.weights, data.targets
    if rows is not None:
        weights, targets = weights_of_rows(data, rows), targets[rows]
    return Data(kept, targets, weights=weights)


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
