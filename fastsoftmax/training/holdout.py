"""Validation samples that a fit holds out, stratified by class."""

from __future__ import annotations  # they name np.random, which is imported on first use

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows
from .._arrays.validation import FloatArray
from ..backends import Backend
from .prediction import Scores, accuracy, scores
from .targets import Targets


@dataclass(frozen=True)
class HeldOut:
    """Samples that are held out from training, for validation scores."""

    backend: Backend
    n_threads: int
    X: NDArray[Any] | SparseRows
    targets: Targets
    rows: NDArray[np.int64]

    @classmethod
    def drawn(
        cls,
        backend: Backend,
        n_threads: int,
        X: NDArray[Any] | SparseRows,
        targets: Targets,
        fraction: float,
        random: np.random.Generator,
    ) -> tuple[NDArray[np.int64], Self]:
        """Return the rows to train on, and the samples that are held out; see `hold_out`."""
        rows, scored = hold_out(targets, fraction, len(X), random)
        return rows, cls(backend, n_threads, X, targets, scored)

    def score(self, coef: FloatArray, intercept: FloatArray | None) -> float:
        """Return the accuracy of these weights."""
        if intercept is None:
            intercept = np.zeros(len(coef), coef.dtype)
        targets = self.targets
        return accuracy(
            *(self.backend, self.X, targets.given, targets.of_samples, self.rows),
            *(coef, intercept, self.n_threads),
        )

    def scores(self, coef: FloatArray, intercept: FloatArray, n_models: int) -> Scores:
        """Return the scores of each of several models, whose classes follow one another."""
        targets = self.targets
        return scores(
            *(self.backend, self.X, targets.given, targets.of_samples, self.rows),
            *(coef, intercept, self.n_threads, n_models),
        )


def hold_out(
    targets: Targets, fraction: float, n_samples: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the rows to train on and the rows to score with, stratified by class if there are labels.

    A class keeps at least one row to train on.

    Raises
    ------
    ValueError
        If either set would be empty.
    """
    rows = np.arange(n_samples) if targets.rows is None else targets.rows
    n_held_out = round(fraction * len(rows))
    if not 0 < n_held_out < len(rows):
        raise ValueError(
            f"validation_fraction: {fraction:g} of {len(rows)} samples leaves none to "
            f"{'score with' if n_held_out == 0 else 'train on'}"
        )
    mixed = random.permutation(rows)
    held_out = mixed[:n_held_out]
    if targets.values.ndim == 1:
        labels = targets.values[mixed]
        counts = np.bincount(labels)
        share = _shares(counts, n_held_out, random)
        by_class = np.argsort(labels, kind="stable")
        within = np.empty(len(rows), np.int64)  # the rank of a row within its class
        within[by_class] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        held_out = mixed[within < share[labels]]
    if not len(held_out):
        raise ValueError(
            "validation_fraction: no class has a sample to score with besides one to train on"
        )
    taken = np.zeros(n_samples, bool)
    taken[held_out] = True
    return rows[~taken[rows]], np.flatnonzero(taken)


def _shares(
    counts: NDArray[np.int64], n_held_out: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the number of held-out rows of each class: proportional, ties broken at random, never all."""
    quotas = counts * (n_held_out / counts.sum())
    shares = quotas.astype(np.int64)
    # The largest remainders are rounded up; ties, such as classes of equal size, are broken at random.
    remainders = np.where(counts > 0, quotas - shares, -1.0)
    order = np.lexsort((random.random(len(counts)), -remainders))
    shares[order[: n_held_out - shares.sum()]] += 1
    fewer: NDArray[np.int64] = np.minimum(shares, np.maximum(counts - 1, 0))
    return fewer


def folds(
    targets: Targets, n_folds: int, n_samples: int, random: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the rows to train on and the rows to score with, those of each class spread over all folds.

    The only row of a class is always trained on.

    Raises
    ------
    ValueError
        If there are no rows to score with.
    """
    rows = np.arange(n_samples) if targets.rows is None else targets.rows
    mixed = random.permutation(rows)
    if targets.values.ndim == 1:
        labels = targets.values[mixed]
        mixed = mixed[np.argsort(labels, kind="stable")]
        mixed = mixed[np.bincount(labels)[targets.values[mixed]] > 1]
    if len(mixed) < n_folds:
        raise ValueError(
            f"alpha: 'auto' needs {n_folds} samples to score with, besides one of each class to train on; "
            f"got {len(mixed)}"
        )
    for first in range(n_folds):
        taken = np.zeros(n_samples, bool)
        taken[mixed[first::n_folds]] = True
        yield rows[~taken[rows]], np.flatnonzero(taken)
