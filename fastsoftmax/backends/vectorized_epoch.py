"""An epoch of minibatch SGD in NumPy, a whole minibatch at a time, as fast as NumPy allows.

For minibatches of a few samples the calls of NumPy take longer than the arithmetic, for larger ones the
arrays that it would allocate do. So results go into buffers that are made once (`out=`), and what does not
depend on the weights is done for several minibatches together: rows are read and losses summed for a block
of steps.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows, steps_between_penalties
from . import penalties, recorder
from .minibatches import read_rows, stepped, store, weights_of_rows
from .protocol import Data, FloatArray, Rule, State

# The buffers of a block of steps have about this size: they stay in the cache until they are used. For the
# logits, whose losses are computed together, and for the rows, which are read together.
_BLOCK_BYTES = 1 << 18
# With fewer classes the softmax is computed on classes by samples: NumPy's sums and maxima over a short
# last axis are slow.
_FEW_CLASSES = 64


class _Epoch:
    """The steps of an epoch over `cross_entropy`, the loss core of rows of logits.

    Weights are (n_features, n_classes) here, which is faster for the scores. Two models take turns: a step
    reads one and writes the other, so that an interrupted step leaves a whole one.
    """

    def __init__(
        self,
        cross_entropy: Callable[..., int],
        data: Data,
        state: State,
        rule: Rule,
        rates: NDArray[np.float64],
    ) -> None:
        self.cross_entropy, self.data, self.rule = cross_entropy, data, rule
        self.rates = rates.tolist()
        self.dtype = state.coef.dtype
        self.model, self.spare = _copied(_transposed(state)), _copied(_transposed(state))
        self.dW = np.empty_like(self.model.coef)
        self.wide = np.empty_like(self.dW, dtype=np.float64)
        self.dintercept = None if state.intercept is None else np.empty_like(state.intercept)
        # Then the step is one multiplication of the weights, by 1 - 2 * l2 * rate, and one addition.
        self.is_plain = not (rule.l1 or rule.momentum or state.coef_sum is not None)
        self.is_plain = self.is_plain and state.coef_velocity is None
        with np.errstate(over="ignore"):
            self.decays = (1 - 2 * rule.l2 * rates).astype(self.dtype)
        self.has_labels = data.targets.ndim == 1 and data.weights is None
        self.penalty, self.penalty_interval = 0.0, 1

    def run(
        self, block: "_Block", order: NDArray[np.int64], first: int, n_steps: int
    ) -> FloatArray:
        """Take the steps from `first` on, over the rows in `order`, and return their objectives."""
        model, begun = self.model, recorder.begin()
        objectives, size = np.empty(n_steps), len(block.scores)
        x, scores = block.x, block.scores
        block.read_labels(self.data, order)
        for i in range(n_steps):
            rate, place = self.rates[first + i], i % len(x)
            if place == 0:
                block.read_rows(self.data, order[i * size : (i + len(x)) * size])
                n_read = min(len(x), n_steps - i) * size
                begun = begun and recorder.add(
                    recorder.NAMES[recorder.CONVERT], begun, n_read, first + i
                )
            if (first + i) % self.penalty_interval == 0:
                self.penalty = self.penalty_of(model.coef)
            objectives[i] = self.penalty
            np.dot(x[place], model.coef, out=scores)
            begun = begun and recorder.add(recorder.NAMES[recorder.SCORES], begun, size, first + i)
            # The gradient times -rate is what a plain step adds.
            scale = (-rate if self.is_plain else 1.0) / size
            if self.has_labels:
                block.label_gradient(i, model.intercept, scale)
            else:
                self.other_gradient(block, i, order[i * size : (i + 1) * size], scale)
            begun = begun and recorder.add(recorder.NAMES[recorder.LOSS], begun, size, first + i)
            np.dot(x[place].T, scores, out=self.dW)
            if self.dintercept is not None:
                np.dot(block.one_a_sample, scores, out=self.dintercept)
            if self.is_plain:
                after = self.spare
                np.multiply(model.coef, self.decays[first + i], out=after.coef)
                np.add(after.coef, self.dW, out=after.coef)
                if model.intercept is not None and self.dintercept is not None:
                    np.add(model.intercept, self.dintercept, out=after.intercept)
            else:
                after = stepped(model, self.dW, self.dintercept, self.rule, rate)
            # The model changes by one assignment: a signal between two bytecodes finds the old or the new.
            self.model = after
            self.spare, model = model, after
            begun = begun and recorder.add(recorder.NAMES[recorder.UPDATE], begun, size, first + i)
        if self.has_labels:
            block.label_losses(n_steps)
        objectives += np.add.reduce(block.losses[:n_steps], axis=1) / size
        return objectives

    def penalty_of(self, W: FloatArray) -> float:
        """Return `penalties.value`, by a product in float64 if there is L2 alone."""
        if self.rule.l1 or not self.rule.l2:
            return penalties.value(W, self.rule.l2, self.rule.l1)
        np.copyto(self.wide, W)
        weights = self.wide.reshape(-1)
        return self.rule.l2 * float(weights.dot(weights))

    def other_gradient(
        self, block: "_Block", i: int, rows: NDArray[np.int64], scale: float
    ) -> None:
        """Replace the scores of step `i` by the gradient for probabilities or weights."""
        scores, losses = block.scores, block.losses[i]
        if self.model.intercept is not None:
            scores += self.model.intercept
        targets, weights = self.data.targets[rows], weights_of_rows(self.data, rows)
        if self.cross_entropy(scores, targets, scale, losses, scores, 1, weights) >= 0:
            losses.fill(np.nan)


class _Block:
    """Buffers of `n_steps` minibatches of `size` samples each."""

    def __init__(self, n_steps: int, size: int, data: Data, n_classes: int, dtype: np.dtype[Any]):
        n_features = data.X.shape[1]
        n_read = max(1, _BLOCK_BYTES // max(1, size * n_features * dtype.itemsize))
        self.rows = np.empty((min(n_read, n_steps) * size, n_features), dtype)
        self.x = list(self.rows.reshape(-1, size, n_features))
        self.one_a_sample, self.one_a_class = np.ones(size, dtype), np.ones(n_classes, dtype)
        self.scores = np.empty((size, n_classes), dtype)  # then the gradient
        self.losses = np.empty((n_steps, size))
        self.maxima, self.label_scores = np.empty((2, n_steps, size), dtype)
        self.total = np.empty(size, dtype)
        # The exponentials of all steps, for the losses, as classes by samples.
        few = n_classes < _FEW_CLASSES
        logits = np.empty((n_steps, n_classes, size) if few else (n_steps, size, n_classes), dtype)
        self.logits = logits if few else logits.transpose(0, 2, 1)
        # Where the entries of the labels are in the flat arrays of scores and logits.
        self.flat, self.samples = self.scores.reshape(-1), np.arange(size)
        self.in_scores = np.empty((n_steps, size), np.int64)
        self.in_logits = np.empty((n_steps, size), np.int64) if few else self.in_scores
        # What belongs to a step, as views, which take time to make.
        self.steps = list(
            zip(
                *(self.logits, logits.reshape(n_steps, -1), self.maxima, self.label_scores),
                *(self.in_scores, self.in_logits),
                strict=True,
            )
        )

    def read_labels(self, data: Data, order: NDArray[np.int64]) -> None:
        """Find the places of the labels of all minibatches."""
        if data.targets.ndim == 1:
            size, n_classes = self.scores.shape
            labels = data.targets[order].reshape(-1, size)
            np.add(labels, self.samples * n_classes, out=self.in_scores[: len(labels)])
            if self.in_logits is not self.in_scores:
                labels *= size
                np.add(labels, self.samples, out=self.in_logits[: len(labels)])

    def read_rows(self, data: Data, order: NDArray[np.int64]) -> None:
        """Read the rows of some minibatches."""
        X, order = data.X, order[: len(self.rows)]
        rows = self.rows[: len(order)]
        if isinstance(X, np.ndarray) and X.flags.c_contiguous and X.dtype == rows.dtype:
            X.take(order, axis=0, out=rows, mode="clip")  # mode="raise" would copy once more
            if data.mean is not None:
                rows -= data.mean
            if data.inverse_scale is not None:
                rows *= data.inverse_scale
        else:
            rows[...] = read_rows(data, order, rows.dtype)

    def label_gradient(self, i: int, intercept: FloatArray | None, scale: float) -> None:
        """Replace the scores of step `i` by the gradient, scale * (p - onehot(label))."""
        logits, flat_logits, maximum, label_score, in_scores, in_logits = self.steps[i]
        scores, total = self.scores.T, self.total
        if intercept is None:
            np.copyto(logits, scores)
        else:
            np.add(scores, intercept[:, np.newaxis], out=logits)
        flat_logits.take(in_logits, out=label_score, mode="clip")
        np.maximum.reduce(logits, axis=0, out=maximum)
        np.subtract(logits, maximum, out=logits)
        np.exp(logits, out=logits)
        np.dot(self.one_a_class, logits, out=total)
        np.divide(scale, total, out=total)
        np.multiply(logits, total, out=scores)
        self.flat[in_scores] -= scale

    def label_losses(self, n_steps: int) -> None:
        """Compute losses[:n_steps] = log(sum(exp(z - m))) + m - z[label], in float64.

        The loss of a dominating label is log(1 + x) with an x that float32 would round away.
        """
        losses = self.losses[:n_steps]
        np.add.reduce(self.logits[:n_steps], axis=1, dtype=np.float64, out=losses)
        np.log(losses, out=losses)
        losses += self.maxima[:n_steps].astype(np.float64) - self.label_scores[:n_steps]


def _copied(model: State) -> State:
    return State(*[None if array is None else array.copy() for array in model])  # type: ignore[arg-type]


def _transposed(model: State) -> State:
    return State(*[None if array is None else array.T for array in model])  # type: ignore[arg-type]


def _is_finite(model: State) -> bool:
    return all(array is None or bool(np.isfinite(array).all()) for array in model)


def sgd_epoch(
    cross_entropy: Callable[..., int],
    data: Data,
    state: State,
    rule: Rule,
    order: NDArray[np.int64],
    batch_size: int,
    rates: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Implement `Backend.sgd_epoch`, one block of steps after another.

    Losses are known at the end of a block. If one is not finite, the block is repeated up to that step.
    """
    size, n_classes, dtype = min(batch_size, len(order)), len(state.coef), state.coef.dtype
    epoch = _Epoch(cross_entropy, data, state, rule, rates)
    if isinstance(data.X, SparseRows):
        epoch.penalty_interval = steps_between_penalties(data.X, batch_size)
    n_whole, objectives, done = len(order) // size, np.empty(len(rates)), 0
    per_block = min(n_whole, max(1, _BLOCK_BYTES // (size * n_classes * dtype.itemsize)))
    block = _Block(per_block, size, data, n_classes, dtype)
    before = epoch.model, epoch.penalty
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            while done < len(rates):
                end = min(done + per_block, n_whole)
                if done == n_whole:  # the last minibatch is a smaller one
                    end = done + 1
                    block = _Block(1, len(order) - done * size, data, n_classes, dtype)
                rows = order[done * size : end * size]
                before = _copied(epoch.model), epoch.penalty
                objectives[done:end] = epoch.run(block, rows, done, end - done)
                valid = np.isfinite(objectives[done:end])
                if not valid.all():
                    n_valid = int(np.argmin(valid))
                    epoch.model, epoch.penalty = before
                    epoch.run(block, rows[: n_valid * size], done, n_valid)
                    return objectives[: done + n_valid + 1]
                done = end
    except BaseException:
        if not _is_finite(epoch.model):  # after a step whose loss was not finite
            epoch.model = before[0]
        raise
    finally:
        store(_transposed(epoch.model), state)
    return objectives
