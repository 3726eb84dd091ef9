"""Sums over partitions, in an order that their number alone decides.

Partitions are the leaves of a binary tree, in their order; a node is the sum of the left one and the right
one below it, and one without a neighbour moves up. Who holds both sides of a node adds them, so that a
worker whose partitions follow each other sends few sums, and the bits do not depend on who held what.
"""

from collections.abc import Mapping
from typing import Any

# A node by its level, leaves being 0, and its place there: anything that adds up, and None where no row
# below it has a part.
Nodes = Mapping[tuple[int, int], Any]


def summed(nodes: Nodes, n_leaves: int) -> dict[tuple[int, int], Any]:
    """Return the nodes with every pair added up that is there."""
    found, level, n = dict(nodes), 0, n_leaves
    while n > 1:
        # Only nodes that are here are looked at: a worker has few of many partitions.
        for left in [(at, place) for at, place in found if at == level and place % 2 == 0]:
            right, above = (level, left[1] + 1), (level + 1, left[1] // 2)
            if right[1] == n:
                found[above] = found.pop(left)
            elif right in found:
                found[above] = _sum_of(found.pop(left), found.pop(right))
        level, n = level + 1, (n + 1) // 2
    return found


def root(nodes: Nodes) -> Any:
    """Return the sum of all, of nodes that are summed."""
    (value,) = nodes.values()
    return value


def _sum_of(left: Any, right: Any) -> Any:
    if left is None or right is None:
        return right if left is None else left
    return left + right
