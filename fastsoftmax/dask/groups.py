"""Groups of partitions, one per worker: in its memory, or read by it whenever they are needed."""

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
from .dataset_statistics import Counts, counts_of, map_partitions
from .partitions import Collection, Recipe, T, delayed_in
from .rows import HeldOutRows, Rows, TrainingContext, rows_of, samples_of, split_rows
from .sharing import Key


class Bundle(list[Any]):
    """The partitions of a worker, in its memory; Dask takes `nbytes` as their size."""

    nbytes: int = 0
    counts: tuple[Counts, ...] = ()  # of partitions that were counted while they were read


sizeof.register(Bundle, lambda bundle: bundle.nbytes)


@dataclass(frozen=True)
class Group:
    """The partitions of a worker: a future of a `Bundle`, or of a `Recipe`."""

    indices: list[int]
    source: Any
    worker: str
    is_in_memory: bool  # on the worker


class PartitionReader:
    """Partitions that workers read whenever they need them."""

    def __init__(self, collection: Collection, cluster: Cluster) -> None:
        self._cluster = cluster
        self._partitions = collection.lazy()
        hubs = collection.sharing.hubs
        futures = cluster.compute(delayed_in(collection.graph, hubs)) if hubs else []
        self._hubs = dict(zip(hubs, futures, strict=True))
        self._groups: list[Group] = []

    def groups(self) -> list[Group]:
        """Return groups for the present workers; a recipe is sent to a worker only once."""
        existing = {(group.worker, *group.indices): group for group in self._groups}
        self._groups = [
            existing.get((worker, *indices)) or self._group(worker, indices)
            for worker, indices in _assign_partitions(
                len(self._partitions), self._cluster.workers()
            )
        ]
        return self._groups

    def _group(self, worker: str, indices: list[int]) -> Group:
        partitions = self._partitions[indices[0] : indices[-1] + 1]
        source = self._cluster.send(Recipe(partitions, {}), worker=worker)
        if self._hubs:
            hubs = list(self._hubs), list(self._hubs.values())
            source = self._cluster.submit(_with_hubs, source, *hubs, worker=worker)
        return Group(indices, source, worker, False)


def _assign_partitions(n_partitions: int, workers: list[Worker]) -> list[tuple[str, list[int]]]:
    """Return consecutive partitions for every worker, in proportion to its threads."""
    n_threads, ends = sum(each.n_threads for each in workers), [0]
    for each in workers:
        ends.append(ends[-1] + each.n_threads)
    cuts = [n_partitions * end // n_threads for end in ends]
    return [
        (worker.address, list(range(start, stop)))
        for worker, (start, stop) in zip(workers, pairwise(cuts), strict=True)
        if start < stop
    ]


def read_into_memory(reader: PartitionReader, cluster: Cluster) -> list[Group]:
    """Read the partitions into the memory of the workers."""
    return [_read_on_worker(group, cluster, _read) for group in reader.groups()]


def read_into_memory_if_small(
    groups: list[Group], max_bytes: float, cluster: Cluster
) -> tuple[list[Counts], list[Group] | None]:
    """Read and count the rows, and keep them in memory if they have at most `max_bytes` in all.

    A worker keeps what it reads as long as its rows are expected to fit into its share of `max_bytes`, so
    that they are read once. Rows that it has not kept are read again if all rows fit after all.
    """
    limit = max_bytes / len(groups)
    tried = [_read_on_worker(group, cluster, _read_if_small, limit) for group in groups]
    found = cluster.results(
        [cluster.submit(_bundle_counts, group.source, worker=group.worker) for group in tried]
    )
    counts = [each for group_counts, _ in found for each in group_counts]
    if sum(each.nbytes for each in counts) > max_bytes:
        return counts, None
    return counts, [
        kept if is_kept else _read_on_worker(group, cluster, _read)
        for group, kept, (_, is_kept) in zip(groups, tried, found, strict=True)
    ]


def _read_on_worker(group: Group, cluster: Cluster, read: Callable[..., Any], *args: Any) -> Group:
    source = cluster.submit(read, group.source, *args, worker=group.worker)
    return replace(group, source=source, is_in_memory=True)


def compute_into_memory(collection: Collection, cluster: Cluster) -> list[Group]:
    """Compute the partitions by one graph, into the memory of the workers.

    Partitions that are on a worker already stay there. For each worker there is one task that collects its
    partitions: of several tasks an idle worker would steal some, together with their rows.
    """
    if collection.holds_futures:
        shares = list(_partitions_by_holder(collection, cluster).items())
    else:
        shares = _assign_partitions(len(collection.keys), cluster.workers())
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
        tasks.setdefault(worker, {})[ends[worker]] = (_make_bundle, indices, parts)
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


def _partitions_by_holder(collection: Collection, cluster: Cluster) -> dict[str, list[int]]:
    """Return the partitions of each worker; those that no worker has are distributed evenly."""
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


def with_split_rows(group: Group, context: TrainingContext, cluster: Cluster) -> Group:
    """Return the group with its rows in memory split into training and held-out rows."""
    if not group.is_in_memory:
        return group
    return replace(
        group, source=cluster.submit(_split_bundle, group.source, context, worker=group.worker)
    )


def with_current_worker(group: Group, workers: list[Worker], cluster: Cluster) -> Group:
    """Return the group with a worker that has it now, if its worker is lost."""
    if group.worker in {each.address for each in workers}:
        return group
    return replace(group, worker=cluster.holders_of([group.source])[0] or group.worker)


def for_each_training_set(
    source: Any, context: TrainingContext, function: Callable[[int, TrainingSet], object]
) -> None:
    """Call a function with the number and the training set of each partition, on the worker."""
    if isinstance(source, Bundle):
        for number, (samples, _) in source:
            function(number, samples)
    else:
        map_partitions(source, lambda rows: function(rows.number, samples_of(rows, context)))


def map_held_out(
    source: Any, context: TrainingContext, function: Callable[[HeldOutRows], T]
) -> list[T]:
    """Return the results of a function for the held-out rows of each partition, on the worker."""
    if isinstance(source, Bundle):
        return [function(scored) for _, (_, scored) in source]
    return map_partitions(source, lambda rows: function(split_rows(rows, context)[1]))


def _with_hubs(recipe: Recipe, keys: list[Key], results: list[Any]) -> Recipe:
    return Recipe(recipe.partitions, dict(zip(keys, results, strict=True)))


def _read(recipe: Recipe) -> Bundle:
    bundle = Bundle(map_partitions(recipe, lambda rows: rows))
    bundle.nbytes = sum(rows.nbytes for rows in bundle)
    return bundle


def _read_if_small(recipe: Recipe, limit: float) -> Bundle:
    """Read and count all rows; keep none once they are expected to have more than `limit` bytes.

    The first partition counts already: with many rows, memory may be short.
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


def _bundle_counts(bundle: Bundle) -> tuple[tuple[Counts, ...], bool]:
    """Return the counts, and whether all counted rows are in memory."""
    return bundle.counts, len(bundle) == len(bundle.counts)


def _make_bundle(indices: list[int], partitions: list[list[Any]]) -> Bundle:
    # Its nbytes is 0: Dask counts the bytes in the user's collection.
    return Bundle(rows_of(index, *parts) for index, parts in zip(indices, partitions, strict=True))


def _split_bundle(source: Bundle, context: TrainingContext) -> Bundle:
    bundle = Bundle((rows.number, split_rows(rows, context)) for rows in source)
    bundle.nbytes = source.nbytes
    return bundle
