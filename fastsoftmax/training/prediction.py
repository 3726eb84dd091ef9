"""Logits and scores of a linear model, in blocks of rows, so that little of X is converted at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.memory_mapping import bytes_of_row, release
from .._arrays.validation import (
    FloatArray,
    as_native,
    check_finite,
    reads_as,
    scaled_weights,
    why_row_is_invalid,
)
from ..backends import Backend

# Size of a block of rows that the backend cannot read in place, and of other blocks: between two of these,
# Python handles signals.
_BLOCK_BYTES = 1 << 22
_BYTES_IN_PLACE = 1 << 27
# Classes that `top_5_accuracy` counts.
_N_BEST = 5


def logits_of(
    backend: Backend,
    X: NDArray[Any] | SparseRows,
    coef: FloatArray,
    intercept: FloatArray,
    n_threads: int,
) -> FloatArray:
    """Return ``X @ coef.T + intercept``, in the dtype of `coef`.

    Raises
    ------
    ValueError
        If a row has logits that are not finite; the message names the row, or the weights if these are not
        finite. Weights are checked only then: a pass over them would take longer than a few sparse rows.
    """
    dtype = coef.dtype
    logits = np.empty((len(X), len(coef)), dtype)
    if isinstance(X, SparseRows):
        backend.linear_scores(X.astype(dtype), coef, intercept, logits, n_threads)
    else:
        is_read_in_place = reads_as(X, dtype)
        n_bytes = _BYTES_IN_PLACE if is_read_in_place else _BLOCK_BYTES
        n_rows = max(1, n_bytes // (coef.shape[1] * dtype.itemsize))
        for start in range(0, len(X), n_rows):
            here = slice(start, start + n_rows)
            block = X[here] if is_read_in_place else as_native(X[here], dtype)
            backend.linear_scores(block, coef, intercept, logits[here], n_threads)
            release(X)
    invalid = ~np.isfinite(logits).all(axis=1)
    if invalid.any():
        check_finite("coef_", coef)
        check_finite("intercept_", intercept)
        row = int(np.argmax(invalid))
        raise ValueError(why_row_is_invalid(row, X[row], dtype))
    return logits


def hits_of(predicted: NDArray[np.int64], targets: NDArray[Any]) -> NDArray[Any]:
    """Return the accuracy of each prediction: 1 or 0, or the target's probability of that class.

    Parameters
    ----------
    predicted : ndarray of int64, shape (n_samples, n_models)
        Indices of classes.
    targets : ndarray, shape (n_samples,) of indices or (n_samples, n_classes) of probabilities
    """
    hits: NDArray[Any]
    if targets.ndim == 1:
        hits = predicted == targets[:, np.newaxis]
    else:
        hits = np.take_along_axis(targets, predicted, axis=1)
    return hits


def accuracy(
    backend: Backend,
    X: NDArray[Any] | SparseRows,
    targets: NDArray[Any],
    weights: NDArray[np.float64] | None,
    rows: NDArray[np.int64],
    coef: FloatArray,
    intercept: FloatArray,
    n_threads: int,
) -> float:
    """Return the weighted mean of `hits_of` over the samples at `rows`.

    Raises
    ------
    ValueError
        As `logits_of` does.
    """
    hits = np.empty((len(rows), 1))
    for here, logits in logits_by_block(backend, X, rows, coef, intercept, n_threads):
        predicted = logits.argmax(axis=1, keepdims=True)
        hits[here] = hits_of(predicted, targets[rows[here]])
    of_rows = None if weights is None else scaled_weights(weights[rows])[0]
    return float(np.average(hits, axis=0, weights=of_rows)[0])


class Scores(NamedTuple):
    """Scores of several models on the same samples, each of shape (n_models,)."""

    accuracy: NDArray[np.float64]
    log_loss: NDArray[np.float64]  # mean cross-entropy, in nats
    balanced_accuracy: NDArray[np.float64]  # mean of the classes' accuracies
    top_5_accuracy: NDArray[np.float64]  # of the five most probable classes


def scores(
    backend: Backend,
    X: NDArray[Any] | SparseRows,
    targets: NDArray[Any],
    weights: NDArray[np.float64] | None,
    rows: NDArray[np.int64],
    coef: FloatArray,
    intercept: FloatArray,
    n_threads: int,
    n_models: int = 1,
) -> Scores:
    """Return all scores of each model over the samples at `rows`.

    The log loss averages ``-sum_k t_k * log(p_k)``; a row of probabilities t counts as t_k samples of class
    k each. `coef` and `intercept` have the classes of all models, one model after another; other arguments
    and errors are those of `accuracy`.
    """
    n_classes = len(coef) // n_models
    hits, top, losses = np.empty((3, len(rows), n_models))
    mass = np.ones(len(rows)) if weights is None else scaled_weights(weights[rows])[0]
    mass_of, hits_in = np.zeros(n_classes), np.zeros((n_models, n_classes))
    for here, logits in logits_by_block(backend, X, rows, coef, intercept, n_threads):
        z = logits.reshape(len(logits), n_models, -1).astype(np.float64)
        z -= z.max(axis=2, keepdims=True)
        t, w = targets[rows[here]], mass[here]
        predicted = z.argmax(axis=2)
        hits[here] = hits_of(predicted, t)
        top[here] = hits_of_best(z, t, _N_BEST)
        if t.ndim == 1:
            z_of_targets = np.take_along_axis(z, t[:, np.newaxis, np.newaxis], axis=2)[..., 0]
            of_rows = np.ones((len(z), 1))
            mass_of += np.bincount(t, w, n_classes)
        else:
            z_of_targets = np.einsum("smk,sk->sm", z, t.astype(np.float64))
            of_rows = t.sum(axis=1, dtype=np.float64, keepdims=True)
            mass_of += w @ t
        losses[here] = of_rows * np.log(np.exp(z).sum(axis=2)) - z_of_targets
        for of_model, classes, hit in zip(hits_in, predicted.T, hits[here].T, strict=True):
            of_model += np.bincount(classes, w * hit, n_classes)
    of_classes = hits_in[:, mass_of > 0] / mass_of[mass_of > 0]
    means = (np.average(values, axis=0, weights=mass) for values in (hits, losses, top))
    accuracies, log_losses, best = means
    return Scores(accuracies, log_losses, of_classes.mean(axis=1), best)


def hits_of_best(z: NDArray[np.float64], targets: NDArray[Any], n_best: int) -> NDArray[np.float64]:
    """Return, for each sample and model, the target's share of the `n_best` largest of the logits z."""
    if z.shape[2] <= n_best:
        mass = np.ones(len(z)) if targets.ndim == 1 else targets.sum(axis=1, dtype=np.float64)
        return np.repeat(mass[:, np.newaxis], z.shape[1], axis=1)
    best = np.argpartition(z, -n_best, axis=2)[..., -n_best:]
    return sum(hits_of(best[..., i], targets).astype(np.float64) for i in range(n_best))  # type: ignore[return-value]


def logits_by_block(
    backend: Backend,
    X: NDArray[Any] | SparseRows,
    rows: NDArray[np.int64],
    coef: FloatArray,
    intercept: FloatArray,
    n_threads: int,
) -> Iterator[tuple[slice, FloatArray]]:
    """Yield slices of `rows` with the logits of their samples."""
    row_bytes = bytes_of_row(X) if isinstance(X, SparseRows) else coef.shape[1] * coef.itemsize
    n_rows = max(1, _BLOCK_BYTES // max(row_bytes, coef.shape[0] * coef.itemsize))
    for start in range(0, len(rows), n_rows):
        here = rows[start : start + n_rows]
        if isinstance(X, SparseRows):
            block: NDArray[Any] | SparseRows = X.take(here).astype(coef.dtype)
        else:
            block = as_native(X[here], coef.dtype)
        logits = np.empty((len(here), len(coef)), coef.dtype)
        backend.linear_scores(block, coef, intercept, logits, n_threads)
        invalid = ~np.isfinite(logits).all(axis=1)
        if invalid.any():
            row = int(here[np.argmax(invalid)])
            raise ValueError(why_row_is_invalid(row, X[row], coef.dtype))
        yield slice(start, start + len(here)), logits
        release(X)
