"""Sums over partitions, in an order that their number alone decides.

Partitions are the leaves of a binary tree, in their order; a node is the sum of the left one and the right
one below it, and one without a neighbour moves up. Who holds both sides of a node adds them, so that a
worker whose partitions follow each other sends few sums, and the bits do not depend on who held what.
"""

from collections.abc import Mapping
from typing import Any

# What adds up: gradient sums, or arrays.
Sum = Any
# A node by its level, leaves being 0, and its place there; None where no row below it has a part.
Nodes = Mapping[tuple[int, int], Sum | None]


def summed(nodes: Nodes, n_leaves: int) -> dict[tuple[int, int], Sum | None]:
    """Return the nodes with every pair added up that is there."""
    found, level, n = dict(nodes), 0, n_leaves
    while n > 1:
        for place in range(0, n, 2):
            left, right = (level, place), (level, place + 1)
            above = (level + 1, place // 2)
            if place + 1 == n:
                if left in found:
                    found[above] = found.pop(left)
            elif left in found and right in found:
                found[above] = _sum_of(found.pop(left), found.pop(right))
        level, n = level + 1, (n + 1) // 2
    return found


def root(nodes: Nodes) -> Any:
    """Return the sum of all, of nodes that are summed."""
    (value,) = nodes.values()
    return value


def _sum_of(left: Sum | None, right: Sum | None) -> Sum | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right
