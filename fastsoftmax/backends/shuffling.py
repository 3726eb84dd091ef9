"""A random order of the samples of an epoch.

The shuffle of Fisher and Yates in its inside-out form (Knuth, The Art of Computer Programming, volume 2,
section 3.4.2): sample i takes the place of a sample j <= i drawn evenly, which takes the next free one.
The numbers are drawn by NumPy and the rest is done in compiled code where there is some, in a fraction of
the time of `Generator.permutation`; an epoch over short rows takes little longer than that.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Numbers drawn at once: they stay in the first level of the cache.
_NUMBERS_PER_BLOCK = 2048


def permutation(n: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the numbers below n in random order; the same whether or not there is compiled code.

    It takes n numbers of `random.random`, in order.
    """
    order = np.empty(n, np.int64)
    shuffle_in = _compiled()
    numbers = np.empty(min(n, _NUMBERS_PER_BLOCK))
    for first in range(0, n, _NUMBERS_PER_BLOCK):
        uniforms = numbers[: n - first]
        random.random(out=uniforms)
        shuffle_in(order, first, uniforms)
    return order


def permutation_by_blocks(
    n: int, rows_of_block: int, blocks_at_once: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the numbers below n in an order that reads a file in long runs.

    Blocks of consecutive numbers come in random order, and those of `blocks_at_once` blocks are mixed.
    """
    blocks = permutation(-(-n // rows_of_block), random)
    order = np.empty(n, np.int64)
    done = 0
    for first in range(0, len(blocks), blocks_at_once):
        starts = rows_of_block * blocks[first : first + blocks_at_once]
        rows = (starts[:, np.newaxis] + np.arange(rows_of_block)).reshape(-1)
        rows = rows[rows < n]
        order[done : done + len(rows)] = rows[permutation(len(rows), random)]
        done += len(rows)
    return order


@cache
def _compiled() -> Any:
    try:
        from .compiled._core import shuffle_in as compiled
    except Exception:  # not built or broken, or told to use instructions that are not there
        return shuffle_in
    return compiled


def shuffle_in(order: NDArray[np.int64], first: int, uniforms: NDArray[np.float64]) -> None:
    """Shuffle the samples from `first` on, one for each number in [0, 1), in among those before."""
    # Rounded, the product stays below i + 1: it is further away than half a unit in the last place.
    for i, uniform in zip(range(first, len(order)), uniforms.tolist(), strict=False):
        j = int(uniform * (i + 1))
        order[i] = order[j]
        order[j] = i
