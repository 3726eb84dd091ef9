"""Metrics of rows besides their loss, for the backends that are not optimised for speed.

    entropy = log(1 + others / e_m) + sum_k e_k * (m - q_k) / total

with m the largest logit of a row, e_k = exp(q_k - m) and others the sum of the e_k but e_m: no term is
negative, so that nothing cancels. Everything is computed in float64.
"""

import numpy as np
from numpy.typing import NDArray

from .protocol import FloatArray, LabelArray, LogitOptions


def fill_row_metrics(
    options: LogitOptions,
    logits: FloatArray,
    labels: LabelArray | None,
    q: NDArray[np.float64],
    counts: NDArray[np.bool_],
) -> None:
    """Fill `options.metrics` of a block of rows; q is what the options make of the logits."""
    metrics = options.metrics
    if metrics is None:
        return
    rows = np.arange(len(logits))
    z = logits if options.mask is None else np.where(options.mask, logits, -np.inf)
    if metrics.argmax is not None:
        metrics.argmax[...] = np.where(counts, z.argmax(axis=1), -1)
    if metrics.top_k_correct is not None:
        n_larger = (z > z[rows, labels][:, np.newaxis]).sum(axis=1)
        metrics.top_k_correct[...] = counts & (n_larger < options.top_k)
    if metrics.label_log_prob is None and metrics.entropy is None:
        return
    with np.errstate(over="ignore", invalid="ignore"):  # classes without probability
        gaps = q.max(axis=1, keepdims=True) - q
        terms = np.exp(-gaps)
        if metrics.label_log_prob is not None:
            gap, term = gaps[rows, labels], terms[rows, labels]
            log_prob = 0 - (gap + np.log1p(_sum_without(terms, labels) + (term - 1)))
            metrics.label_log_prob[...] = np.where(counts, log_prob, 0)
        if metrics.entropy is not None:
            others = _sum_without(terms, q.argmax(axis=1))
            expected_gap = np.where(terms > 0, terms * gaps, 0).sum(axis=1) / (1 + others)
            metrics.entropy[...] = np.where(counts, np.log1p(others) + expected_gap, 0)


def _sum_without(terms: NDArray[np.float64], classes: LabelArray | None) -> NDArray[np.float64]:
    """Return the sum of each row without one of its terms."""
    others = terms.copy()
    others[np.arange(len(terms)), classes] = 0
    sums: NDArray[np.float64] = others.sum(axis=1)
    return sums
