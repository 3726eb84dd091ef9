"""Which worker has which partitions: in its memory, or to be read by it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import dask
from dask.sizeof import sizeof

from ..sgd import Samples
from .cluster import Cluster, Worker
from .partitions import Collection, Partition
from .rows import Problem, Scored, rows_of, samples_of, split_of
from .survey import T, over


class Bundle(list[Any]):
    """The partitions of a worker, in its memory. Dask is told how many bytes they have of their own."""

    nbytes: int = 0


sizeof.register(Bundle, lambda bundle: bundle.nbytes)


@dataclass(frozen=True)
class Group:
    """The partitions of a worker: a future of a `Bundle`, or what it takes to read them."""

    indices: list[int]
    source: Any
    worker: str | None

    @property
    def is_held(self) -> bool:
        """Whether the rows are in memory."""
        return not isinstance(self.source, list)


def groups_to_read(partitions: list[Partition], workers: list[Worker]) -> list[Group]:
    """Return partitions that follow each other for every worker, as many as its threads' share."""
    n_threads, ends = sum(each.n_threads for each in workers), [0]
    for each in workers:
        ends.append(ends[-1] + each.n_threads)
    cuts = [len(partitions) * end // n_threads for end in ends]
    return [
        Group(list(range(start, stop)), partitions[start:stop], worker.address)
        for worker, (start, stop) in zip(workers, pairwise(cuts), strict=True)
        if start < stop
    ]


def groups_held(collection: Collection, cluster: Cluster) -> list[Group]:
    """Have the partitions in the memory of the workers: where they lie, if they lie there already."""
    if not collection.holds_futures:
        return [
            replace(group, source=cluster.submit(_read, group.source, worker=group.worker))
            for group in groups_to_read(collection.lazy(), cluster.workers())
        ]
    # One task for each worker: of several, one that has nothing to do would take some, and their rows.
    return [
        Group(
            indices,
            cluster.compute(
                dask.delayed(_together, pure=False)(
                    indices, [collection.delayed[index] for index in indices]
                ),
                worker=worker,
            ),
            worker,
        )
        for worker, indices in _by_holder(collection, cluster).items()
    ]


def _by_holder(collection: Collection, cluster: Cluster) -> dict[str, list[int]]:
    """Return which partitions each worker has, or gets: those of which none has anything go round."""
    futures = collection.futures()
    cluster.wait([future for of_partition in futures for future in of_partition])
    workers, found = cluster.workers(), dict[str, list[int]]()
    holders = iter(
        cluster.holders_of([of_partition[0] for of_partition in futures if of_partition])
    )
    for index, of_partition in enumerate(futures):
        holder = next(holders) if of_partition else None
        worker = holder or workers[index * len(workers) // len(futures)].address
        found.setdefault(worker, []).append(index)
    return found


def prepared(group: Group, problem: Problem, cluster: Cluster) -> Group:
    """Return the group with what rows are split in in their place, of those that are held."""
    if not group.is_held:
        return group
    return replace(
        group, source=cluster.submit(_prepare, group.source, problem, worker=group.worker)
    )


def where_it_is(group: Group, workers: list[Worker], cluster: Cluster) -> Group:
    """Return the group with the worker that has it, after the one that had it has gone."""
    if group.worker in {each.address for each in workers}:
        return group
    return replace(group, worker=cluster.holders_of([group.source])[0])


def over_samples(source: Any, problem: Problem, function: Callable[[int, Samples], object]) -> None:
    """Call a function with the partitions of a group and their numbers, on the worker."""
    if isinstance(source, Bundle):
        for number, (samples, _) in source:
            function(number, samples)
    else:
        over(source, lambda rows: function(rows.number, samples_of(rows, problem)))


def over_scored(source: Any, problem: Problem, function: Callable[[Scored], T]) -> list[T]:
    """Return what a function says of the rows that are held out, on the worker."""
    if isinstance(source, Bundle):
        return [function(scored) for _, (_, scored) in source]
    return over(source, lambda rows: function(split_of(rows, problem)[1]))


def _read(partitions: list[Partition]) -> Bundle:
    bundle = Bundle(over(partitions, lambda rows: rows))
    bundle.nbytes = sum(rows.nbytes for rows in bundle)
    return bundle


def _together(indices: list[int], partitions: list[list[Any]]) -> Bundle:
    # Dask knows their bytes as those of the user's collection.
    return Bundle(rows_of(index, *parts) for index, parts in zip(indices, partitions, strict=True))


def _prepare(source: Bundle, problem: Problem) -> Bundle:
    bundle = Bundle((rows.number, split_of(rows, problem)) for rows in source)
    bundle.nbytes = source.nbytes
    return bundle
