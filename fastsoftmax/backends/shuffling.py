"""A random order of the samples of an epoch.

The shuffle of Fisher and Yates in its inside-out form (Knuth, The Art of Computer Programming, volume 2,
section 3.4.2): sample i takes the place of a sample j <= i, drawn uniformly, which moves to the next free
place. NumPy draws the numbers, and compiled code, if available, does the rest in a fraction of the time of
`Generator.permutation`, which would take almost as long as an epoch over short rows.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Random numbers drawn together: few enough for the L1 cache.
_NUMBERS_PER_BLOCK = 2048


def permutation(n: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the numbers below n in random order; the order is the same with and without compiled code.

    It draws n numbers by `random.random`.
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
    n: int, rows_of_block: int, n_mixed_blocks: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the numbers below n in an order that reads a file in long runs.

    Blocks of consecutive numbers come in random order; each `n_mixed_blocks` blocks are shuffled together.
    """
    blocks = permutation(-(-n // rows_of_block), random)
    order = np.empty(n, np.int64)
    done = 0
    for first in range(0, len(blocks), n_mixed_blocks):
        starts = rows_of_block * blocks[first : first + n_mixed_blocks]
        rows = (starts[:, np.newaxis] + np.arange(rows_of_block)).reshape(-1)
        rows = rows[rows < n]
        order[done : done + len(rows)] = rows[permutation(len(rows), random)]
        done += len(rows)
    return order


@cache
def _compiled() -> Any:
    try:
        from .compiled._core import shuffle_in as compiled
    except Exception:  # not built, broken, or set to an instruction set that the CPU lacks
        return shuffle_in
    return compiled


def shuffle_in(order: NDArray[np.int64], first: int, uniforms: NDArray[np.float64]) -> None:
    """Insert the samples from `first` on, one for each number in [0, 1), at random places of `order`."""
    # The rounded product is less than i + 1: the exact one differs from it by more than half an ulp.
    for i, uniform in zip(range(first, len(order)), uniforms.tolist(), strict=False):
        j = int(uniform * (i + 1))
        order[i] = order[j]
        order[j] = i
