"""Which worker has which partitions: in its memory, or to be read by it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from uuid import uuid4

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.sizeof import sizeof

from ..training.epoch import TrainingSet
from .cluster import Cluster, Worker
from .dataset_statistics import Counts, counts_of, over
from .partitions import Collection, Recipe, T, delayed_in
from .rows import Rows, Scored, TrainingContext, rows_of, samples_of, split_of
from .sharing import Key


class Bundle(list[Any]):
    """The partitions of a worker, in its memory. Dask is told how many bytes they have of their own."""

    nbytes: int = 0
    counts: tuple[Counts, ...] = ()  # of those that were counted as they were read


sizeof.register(Bundle, lambda bundle: bundle.nbytes)


@dataclass(frozen=True)
class Group:
    """The partitions of a worker: a future of a `Bundle`, or of a `Recipe`."""

    indices: list[int]
    source: Any
    worker: str
    is_held: bool  # whether the rows are in memory


class Reading:
    """Partitions that workers make whenever they need them."""

    def __init__(self, collection: Collection, cluster: Cluster) -> None:
        self._cluster = cluster
        self._partitions = collection.lazy()
        hubs = collection.sharing.hubs
        futures = cluster.compute(delayed_in(collection.graph, hubs)) if hubs else []
        self._hubs = dict(zip(hubs, futures, strict=True))
        self._groups: list[Group] = []

    def groups(self) -> list[Group]:
        """Return groups for the workers that there are now; a recipe is sent to a worker once."""
        there = {(group.worker, *group.indices): group for group in self._groups}
        self._groups = [
            there.get((worker, *indices)) or self._group(worker, indices)
            for worker, indices in _shares(len(self._partitions), self._cluster.workers())
        ]
        return self._groups

    def _group(self, worker: str, indices: list[int]) -> Group:
        partitions = self._partitions[indices[0] : indices[-1] + 1]
        source = self._cluster.send(Recipe(partitions, {}), worker=worker)
        if self._hubs:
            hubs = list(self._hubs), list(self._hubs.values())
            source = self._cluster.submit(_with_hubs, source, *hubs, worker=worker)
        return Group(indices, source, worker, False)


def _shares(n_partitions: int, workers: list[Worker]) -> list[tuple[str, list[int]]]:
    """Return partitions that follow each other for every worker, as many as its threads' share."""
    n_threads, ends = sum(each.n_threads for each in workers), [0]
    for each in workers:
        ends.append(ends[-1] + each.n_threads)
    cuts = [n_partitions * end // n_threads for end in ends]
    return [
        (worker.address, list(range(start, stop)))
        for worker, (start, stop) in zip(workers, pairwise(cuts), strict=True)
        if start < stop
    ]


def groups_held(reading: Reading, cluster: Cluster) -> list[Group]:
    """Have the partitions read, and in the memory of the workers."""
    return [_held(group, cluster, _read) for group in reading.groups()]


def groups_held_if_few(
    groups: list[Group], room: float, cluster: Cluster
) -> tuple[list[Counts], list[Group] | None]:
    """Count rows that are read, and have them held if they have at most `room` bytes in all.

    A worker holds what it reads while all of its rows can be expected to fit into its share of the room: so
    they are read once. Those that it does not hold are read again if there is room for them after all.
    """
    limit = room / len(groups)
    tried = [_held(group, cluster, _read_if_few, limit) for group in groups]
    found = cluster.results(
        [cluster.submit(_counts_in, group.source, worker=group.worker) for group in tried]
    )
    counts = [each for of_group, _ in found for each in of_group]
    if sum(each.nbytes for each in counts) > room:
        return counts, None
    return counts, [
        held if is_held else _held(group, cluster, _read)
        for group, held, (_, is_held) in zip(groups, tried, found, strict=True)
    ]


def _held(group: Group, cluster: Cluster, read: Callable[..., Any], *args: Any) -> Group:
    source = cluster.submit(read, group.source, *args, worker=group.worker)
    return replace(group, source=source, is_held=True)


def groups_computed(collection: Collection, cluster: Cluster) -> list[Group]:
    """Have the partitions computed by the scheduler, and in the memory of the workers.

    Where they lie, if they lie there already. For each worker there is one task that takes them: of
    several, one that has nothing to do would take some, and their rows.
    """
    if collection.holds_futures:
        shares = list(_by_holder(collection, cluster).items())
    else:
        shares = _shares(len(collection.keys), cluster.workers())
    owner, graph = collection.sharing.owner, collection.graph
    worker_of = {index: worker for worker, indices in shares for index in indices}
    tasks: dict[str | None, dict[Key, Any]] = {None: {}}
    for key, task in graph.items():
        worker = worker_of[owner[key]] if key in owner else None
        tasks.setdefault(worker, {})[key] = task
    ends = {}
    for worker, indices in shares:
        ends[worker] = f"fastsoftmax-{uuid4()}"
        parts = [list(collection.keys[index]) for index in indices]
        tasks.setdefault(worker, {})[ends[worker]] = (_together, indices, parts)
    layers = {
        f"{uuid4()}": MaterializedLayer(
            own,
            None if worker is None else {"workers": [worker], "allow_other_workers": True},
        )
        for worker, own in tasks.items()
    }
    whole = HighLevelGraph(layers, {name: set() for name in layers})
    layer = next(iter(layers))
    futures = cluster.compute([Delayed(end, whole, layer=layer) for end in ends.values()])
    return [
        Group(indices, future, worker, True)
        for (worker, indices), future in zip(shares, futures, strict=True)
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


def prepared(group: Group, context: TrainingContext, cluster: Cluster) -> Group:
    """Return the group with what rows are split in in their place, of those that are held."""
    if not group.is_held:
        return group
    return replace(
        group, source=cluster.submit(_prepare, group.source, context, worker=group.worker)
    )


def where_it_is(group: Group, workers: list[Worker], cluster: Cluster) -> Group:
    """Return the group with the worker that has it, after the one that had it has gone."""
    if group.worker in {each.address for each in workers}:
        return group
    return replace(group, worker=cluster.holders_of([group.source])[0] or group.worker)


def over_samples(
    source: Any, context: TrainingContext, function: Callable[[int, TrainingSet], object]
) -> None:
    """Call a function with the partitions of a group and their numbers, on the worker."""
    if isinstance(source, Bundle):
        for number, (samples, _) in source:
            function(number, samples)
    else:
        over(source, lambda rows: function(rows.number, samples_of(rows, context)))


def over_scored(source: Any, context: TrainingContext, function: Callable[[Scored], T]) -> list[T]:
    """Return what a function says of the rows that are held out, on the worker."""
    if isinstance(source, Bundle):
        return [function(scored) for _, (_, scored) in source]
    return over(source, lambda rows: function(split_of(rows, context)[1]))


def _with_hubs(recipe: Recipe, keys: list[Key], results: list[Any]) -> Recipe:
    return Recipe(recipe.partitions, dict(zip(keys, results, strict=True)))


def _read(recipe: Recipe) -> Bundle:
    bundle = Bundle(over(recipe, lambda rows: rows))
    bundle.nbytes = sum(rows.nbytes for rows in bundle)
    return bundle


def _read_if_few(recipe: Recipe, limit: float) -> Bundle:
    """Read and count all, and return none as soon as they can be expected to have more bytes than that.

    From the first partition on: where rows are many, memory may be short.
    """
    bundle, n_bytes, n_read, n_partitions = Bundle(), 0, 0, len(recipe.partitions)

    def add(rows: Rows) -> Counts:
        nonlocal n_bytes, n_read
        n_bytes, n_read = n_bytes + rows.nbytes, n_read + 1
        if len(bundle) == n_read - 1 and n_bytes * n_partitions <= limit * n_read:
            bundle.append(rows)
        else:
            bundle.clear()
        return counts_of(rows)

    bundle.counts = tuple(recipe.each(add))
    bundle.nbytes = n_bytes if bundle else 0
    return bundle


def _counts_in(bundle: Bundle) -> tuple[tuple[Counts, ...], bool]:
    """Return what has been counted, and whether all of it is held."""
    return bundle.counts, len(bundle) == len(bundle.counts)


def _together(indices: list[int], partitions: list[list[Any]]) -> Bundle:
    # Dask knows their bytes as those of the user's collection.
    return Bundle(rows_of(index, *parts) for index, parts in zip(indices, partitions, strict=True))


def _prepare(source: Bundle, context: TrainingContext) -> Bundle:
    bundle = Bundle((rows.number, split_of(rows, context)) for rows in source)
    bundle.nbytes = source.nbytes
    return bundle
