"""Logits and targets with what the oracle expects of them; computed once for all backends."""

from functools import cache
from typing import NamedTuple

import numpy as np
import oracle

# Below, at and above the lengths of vectors, half of them and multiples of them.
CLASSES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100)
SHAPES = [(n, c) for n in (1, 2, 5, 37) for c in CLASSES] + [(1, 1000), (5, 1000)]
SHAPES += [(1, 2500)]  # a sum of more than one block, in float32 too


class Case(NamedTuple):
    logits: np.ndarray
    targets: np.ndarray
    expected: oracle.Rows


def case(n_rows, n_classes, dtype, masked=False, soft=False):
    """Rows of logits on scales from 1e-3 to 1e4; masked ones are -inf but for one a row at least."""
    logits, targets, expected = _case(n_rows, n_classes, dtype, masked, soft)
    return Case(logits.copy(), targets.copy(), expected)


@cache
def _case(n_rows, n_classes, dtype, masked, soft):
    rng = np.random.default_rng([n_rows, n_classes, masked])
    scales = np.logspace(-3, 4, n_rows)[:, None]
    logits = (scales * rng.normal(size=(n_rows, n_classes))).astype(dtype)
    labels = rng.integers(n_classes, size=n_rows)
    targets = labels
    if soft:
        targets = rng.exponential(size=(n_rows, n_classes))
        targets[rng.random(targets.shape) < 0.3] = 0
        targets = (targets / (targets.sum(axis=1, keepdims=True) + 0.1)).astype(dtype)
    if masked:
        mask = rng.random(logits.shape) < 0.4
        mask[np.arange(n_rows), labels] = False
        logits[mask] = -np.inf
        if soft:  # 0 * log(0) is 0
            targets[mask] = 0
    return Case(logits, targets, oracle.rows(logits, targets))
