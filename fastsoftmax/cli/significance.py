"""Decide whether two versions differ in speed, without assuming a distribution of the times.

Measured times have long tails, drift with the temperature and the clock of the CPU, and are shifted by
where a process happens to have its memory. The tests are therefore of ranks: Wilcoxon's signed-rank test
for pairs of times that were measured side by side, Mann and Whitney's for the times of two runs. A ratio is
estimated by Hodges and Lehmann's median, of the means of all two pairs or of the differences between all
times of the runs, and its interval by the ranks of those that the test would not reject, in the normal
approximation of Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", chapters 3 and 4. Holm's
step-down method corrects for the number of rows.
"""

from collections.abc import Sequence
from enum import StrEnum
from math import ceil, exp, log, log2, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._optional import import_optional

_Z_95 = 1.959964  # of the standard normal distribution: 95 % are within
_NEEDED_BY = "a comparison of times needs"


class Verdict(StrEnum):
    """What a comparison says of a row."""

    SLOWER = "slower"
    FASTER = "faster"
    NOT_FOUND = "no difference found"


class Difference(NamedTuple):
    """The new time over the old one, its 95 % interval, and the p-value of no difference."""

    ratio: float
    low: float
    high: float
    p_value: float


def of_pairs(log_ratios: Sequence[float] | NDArray[Any]) -> Difference:
    """Compare pairs of times by Wilcoxon's signed-rank test.

    Parameters
    ----------
    log_ratios : array-like of shape (n,)
        The logarithm of the new time over the old one, one for each independent pair.
    """
    d = np.asarray(log_ratios, np.float64)
    n = len(d)
    means = np.sort(((d[:, np.newaxis] + d) / 2)[np.triu_indices(n)])
    spread = sqrt(n * (n + 1) * (2 * n + 1) / 24)
    p_value = float(_stats().wilcoxon(d).pvalue) if d.any() else 1.0
    return _difference(means, spread, p_value)


def of_runs(
    old: Sequence[float] | NDArray[Any], new: Sequence[float] | NDArray[Any], allowance: float
) -> Difference:
    """Compare the times of two runs, which were not measured side by side, by Mann and Whitney's test.

    Parameters
    ----------
    old, new : array-like of shape (n,) and (m,)
        Times greater than 0.
    allowance : float
        A share of the time by which runs of the same code may differ: the interval is wider by as much on
        either side, and the p-value is that of a difference beyond it.
    """
    of_old, of_new = (np.log(np.asarray(times, np.float64)) for times in (old, new))
    shift = log(1 + allowance)
    differences = np.sort((of_new[:, np.newaxis] - of_old).ravel())
    spread = sqrt(len(of_old) * len(of_new) * (len(of_old) + len(of_new) + 1) / 12)
    test = _stats().mannwhitneyu
    one_sided = (
        test(of_new - shift, of_old, alternative="greater"),
        test(of_new + shift, of_old, alternative="less"),
    )
    p_value = min(1.0, 2 * min(float(found.pvalue) for found in one_sided))
    found = _difference(differences, spread, p_value)
    return found._replace(low=found.low / (1 + allowance), high=found.high * (1 + allowance))


def verdicts(differences: Sequence[Difference], alpha: float) -> list[Verdict]:
    """Return a verdict on each row; the probability that any of them is wrong is `alpha` at most."""
    found = [Verdict.NOT_FOUND] * len(differences)
    order = sorted(range(len(differences)), key=lambda i: differences[i].p_value)
    for n_before, i in enumerate(order):
        ratio, *_, p_value = differences[i]
        if p_value * (len(order) - n_before) > alpha:
            break
        found[i] = Verdict.SLOWER if ratio > 1 else Verdict.FASTER
    return found


def min_pairs(n_rows: int, alpha: float) -> int:
    """Return how many pairs of each row Wilcoxon's test needs to find anything at all among `n_rows` rows.

    If all n pairs have the same sign, the p-value is ``2 / 2**n``.
    """
    return ceil(log2(2 * n_rows / alpha))


def _difference(shifts: NDArray[Any], spread: float, p_value: float) -> Difference:
    """Return the median of sorted shifts, and the interval between the k-th of them from either end."""
    k = max(0, min(round(len(shifts) / 2 - _Z_95 * spread), (len(shifts) - 1) // 2))
    low, high = shifts[max(0, k - 1)], shifts[len(shifts) - max(1, k)]
    return Difference(exp(np.median(shifts)), exp(low), exp(high), p_value)


def _stats() -> Any:
    return import_optional("scipy.stats", _NEEDED_BY)
