"""Tasks that several partitions need, and that are computed once.

A *hub* is a task whose result more than half of the partitions use, such as the mean of all rows. The
scheduler computes hubs once. Other shared tasks are, for example, chunks that were cut into parts: a worker
keeps their results while it computes these partitions one after another.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from dask.core import get_dependencies, istask, toposort
from dask.utils import key_split

Key = Hashable

# The maximum number of results that a worker keeps while it computes one partition after another.
_MAX_KEPT = 16
# Dask's name of the task between the two halves of a P2P shuffle, which exists on its scheduler alone.
_BARRIER = "shuffle-barrier-"


class Sharing(NamedTuple):
    """The tasks that partitions share."""

    hubs: list[Key]
    kept: list[list[Key]]  # by partition: results that a later one needs as well
    released: list[list[Key]]  # by partition: such results that no later one needs
    owner: dict[Key, int]  # the partition of every task that no other one needs, given the hubs
    can_be_read_singly: bool  # whether a worker can compute one partition after another

    @property
    def is_empty(self) -> bool:
        """Whether no partitions share a task."""
        return self.can_be_read_singly and not self.hubs and not any(self.kept)


def sharing_of(graph: Mapping[Key, Any], wanted: Sequence[Sequence[Key]]) -> Sharing:
    """Find the tasks that partitions share.

    Parameters
    ----------
    graph : mapping
        The tasks of all partitions.
    wanted : sequence of sequences of keys
        The keys of X, y and the weights, by partition.
    """
    needs = {key: (set(get_dependencies(graph, key)) & graph.keys()) - {key} for key in graph}
    order = toposort(graph, dependencies=needs)
    shuffled = _behind_barriers(needs, order)
    hubs: list[Key] = []
    while True:
        users, direct = _users(needs, order, wanted)
        shared = {
            key: _places(places)
            for key, places in direct.items()
            if places & (places - 1) and key not in hubs and _is_task(graph[key])
        }
        found = [key for key, places in shared.items() if 2 * len(places) > len(wanted)]
        if not found:
            break
        hubs += found
        needs |= {key: set() for key in found}
    kept: list[list[Key]] = [[] for _ in wanted]
    released: list[list[Key]] = [[] for _ in wanted]
    n_kept = np.zeros(len(wanted) + 1, np.int64)
    for key, places in shared.items():
        for place in places[:-1]:
            kept[place].append(key)
        released[places[-1]].append(key)
        n_kept[places[0]] += 1
        n_kept[places[-1]] -= 1
    owner = {
        key: places.bit_length() - 1
        for key, places in users.items()
        if not places & (places - 1) and key not in shuffled
    }
    max_kept = len(hubs) + n_kept.cumsum().max()
    return Sharing(hubs, kept, released, owner, not shuffled and max_kept <= _MAX_KEPT)


def shuffles_of(graph: Mapping[Key, Any]) -> set[Key]:
    """Return the shuffles in a graph that bring rows into an arbitrary order."""
    return {
        key
        for key in graph
        if _is_barrier(key)
        and not any(key_split(need).startswith("rechunk") for need in get_dependencies(graph, key))
    }


def _is_barrier(key: Key) -> bool:
    return isinstance(key, str) and key.startswith(_BARRIER)


def _is_task(value: Any) -> bool:
    return bool(istask(value)) or hasattr(value, "func")  # and not data


def _behind_barriers(needs: Mapping[Key, set[Key]], order: Sequence[Key]) -> set[Key]:
    found: set[Key] = set()
    for key in order:
        if _is_barrier(key) or not found.isdisjoint(needs[key]):
            found.add(key)
    return found


def _users(
    needs: Mapping[Key, set[Key]], order: Sequence[Key], wanted: Sequence[Sequence[Key]]
) -> tuple[dict[Key, int], dict[Key, int]]:
    """Return, as bits, the partitions that need each task, and those with an own task that needs it.

    An own task is one that no other partition needs.
    """
    users: dict[Key, int] = {}
    direct: dict[Key, int] = {}
    for place, keys in enumerate(wanted):
        for key in keys:
            users[key] = users.get(key, 0) | 1 << place
            direct[key] = direct.get(key, 0) | 1 << place
    for key in reversed(order):
        places = users.get(key, 0)
        for need in needs[key] if places else ():
            users[need] = users.get(need, 0) | places
            if not places & (places - 1):
                direct[need] = direct.get(need, 0) | places
    return users, direct


def _places(bits: int) -> list[int]:
    return [place for place in range(bits.bit_length()) if bits >> place & 1]
