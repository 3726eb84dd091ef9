"""Sums over partitions, in an order that depends on their number alone.

Partitions are the leaves of a binary tree, in their order; a node is the sum of its two children, and a
node without a sibling moves up. A worker that has both children adds them: workers with consecutive
partitions send few sums, and the bits do not depend on the placement of the partitions.
"""

from collections.abc import Mapping
from typing import Any

# Nodes by level (0 for leaves) and place in the level: anything that can be added; None if no row below the
# node contributes.
Nodes = Mapping[tuple[int, int], Any]


def summed(nodes: Nodes, n_leaves: int) -> dict[tuple[int, int], Any]:
    """Return the nodes after adding all pairs of siblings that are present."""
    found, level, n = dict(nodes), 0, n_leaves
    while n > 1:
        # Only the present nodes are visited: a worker has few of many partitions.
        for left in [(at, place) for at, place in found if at == level and place % 2 == 0]:
            right, above = (level, left[1] + 1), (level + 1, left[1] // 2)
            if right[1] == n:
                found[above] = found.pop(left)
            elif right in found:
                found[above] = _add(found.pop(left), found.pop(right))
        level, n = level + 1, (n + 1) // 2
    return found


def root(nodes: Nodes) -> Any:
    """Return the sum of all leaves, from the result of `summed`."""
    (value,) = nodes.values()
    return value


def _add(left: Any, right: Any) -> Any:
    if left is None or right is None:
        return right if left is None else left
    return left + right
