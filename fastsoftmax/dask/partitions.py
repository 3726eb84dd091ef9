"""What `fit` is given, as partitions: each a small graph that makes its rows, wherever it is run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.core import flatten
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.optimization import cull
from dask.utils import ensure_dict
from distributed.client import futures_of

from .rows import Rows, rows_of
from .sharing import Key, Sharing, sharing_of, shuffles_of

T = TypeVar("T")

_HINT_ON_FILES = (
    "; Dask may read several files together where it needs few of their columns: give the dataframe and "
    "the series, not their arrays"
)


_IN_MEMORY = ", and fastsoftmax.SoftmaxClassifier takes what is in memory"


@dataclass(frozen=True)
class Partition:
    """Rows of X, y and sample weights that can be made anywhere, from a file for example.

    No tuple: in one that is an argument, Dask would take the tasks of the graph for tasks of its own.
    """

    number: int
    graph: dict[Key, Any]
    keys: list[Key]  # of X, y and, if there are some, the weights
    kept: list[Key]  # of the graph: what a later partition needs as well
    last: list[Key]  # what no later partition needs

    def read(self, known: dict[Key, Any]) -> Rows:
        """Make the rows, in the thread that calls, from results that are known, and keep `known` so."""
        graph = self.graph | {key: (partial(_itself, value),) for key, value in known.items()}
        wanted = [*self.keys, *self.kept]
        parts = dask.get(cull(graph, wanted)[0], wanted)
        known.update(zip(self.kept, parts[len(self.keys) :], strict=True))
        for key in self.last:
            known.pop(key, None)
        return rows_of(self.number, *parts[: len(self.keys)])


def _itself(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Recipe:
    """The partitions of a worker, to be read, and the results of the hubs."""

    partitions: list[Partition]
    hubs: dict[Key, Any]

    def each(self, function: Callable[[Rows], T]) -> list[T]:
        """Return what a function says of every partition.

        The rows are an argument alone, no variable of a loop: they are let go of before the next are read.
        """
        known = dict(self.hubs)
        return [function(partition.read(known)) for partition in self.partitions]


@dataclass(frozen=True)
class Collection:
    """The partitions of X, y and sample weights."""

    graph: dict[Key, Any]  # the tasks of all of them
    keys: list[list[Key]]  # of each partition: of X, y and, if there are some, the weights
    holds_futures: bool  # whether some of it lies on workers
    nbytes: float  # of X, NaN where that is not known

    @cached_property
    def sharing(self) -> Sharing:
        """What partitions have in common."""
        return sharing_of(self.graph, self.keys)

    def lazy(self) -> list[Partition]:
        """Return partitions that any worker can make by itself, given the hubs."""
        sharing, found = self.sharing, []
        graph = self.graph | dict.fromkeys(sharing.hubs)
        for number, keys in enumerate(self.keys):
            own = cull(graph, keys)[0]
            kept, last = sharing.kept[number], sharing.last[number]
            own = {key: task for key, task in own.items() if key not in sharing.hubs}
            found.append(Partition(number, own, keys, kept, last))
        return found

    def futures(self) -> list[list[Any]]:
        """Return, of each partition, the futures that X is made of or, where it has none, the others.

        Without those that make hubs.
        """
        graph = self.graph | dict.fromkeys(self.sharing.hubs)

        def found(key: Key) -> list[Any]:
            return list(futures_of(list(cull(graph, [key])[0].values())))

        return [next(filter(None, map(found, keys)), []) for keys in self.keys]

    def delayed(self) -> list[list[Delayed]]:
        """Return the partitions as values of Dask's."""
        return [delayed_in(self.graph, keys) for keys in self.keys]


def collection_of(X: Any, y: Any, sample_weight: Any) -> Collection:
    """Check what `fit` is given, and bring y and the weights into the partitions of X.

    Raises
    ------
    TypeError
        If something is no Dask collection.
    ValueError
        If X is cut along its features, or the partitions do not fit each other.
    """
    named = {"X": X, "y": y}
    if sample_weight is not None:
        named["sample_weight"] = sample_weight
    for name, value in named.items():
        check_collection(name, value)
    check_rows_are_whole(X)
    for name in list(named)[1:]:
        if named[name].ndim == 0:
            raise ValueError(f"{name}: expected one for each row of X, got a single number")
        named[name] = _cut_as(name, named[name], X)
    graphs = dict(zip(named, _graphs_of(list(named.values())), strict=True))
    n_partitions, shuffles = len(graphs["X"][1]), shuffles_of(graphs["X"][0])
    for name, (graph, keys) in graphs.items():
        if len(keys) != n_partitions:
            raise ValueError(
                f"{name}: expected the {n_partitions} partitions of X, got {len(keys)}"
                f"{_hint_on_files(X, named[name])}"
            )
        if shuffles_of(graph) != shuffles:
            raise ValueError(
                f"{name}: expected rows in the order of X, got rows of another shuffle, merge or the like, "
                "whose order is arbitrary: persist that dataframe, and take X, y and sample_weight from it"
            )
    # That of an array of sparse chunks counts zeros as well.
    knows_bytes = is_array(X) and isinstance(X._meta, np.ndarray)
    nbytes = float(X.nbytes) if knows_bytes else np.nan
    held = bool(futures_of(list(named.values())))
    together = {key: task for graph, _ in graphs.values() for key, task in graph.items()}
    keys_of_parts = [
        list(keys) for keys in zip(*(keys for _, keys in graphs.values()), strict=True)
    ]
    return Collection(together, keys_of_parts, held, nbytes)


def _hint_on_files(*values: Any) -> str:
    of_frames = any(is_array(each) and np.isnan(each.shape[0]) for each in values)
    return _HINT_ON_FILES if of_frames else ""


def check_collection(name: str, value: Any) -> None:
    """Raise unless it is a Dask array, frame or series."""
    # A lazy value of Dask's says that it has any attribute, and a bag has no rows.
    if not all(hasattr(type(value), name) for name in ("to_delayed", "ndim")):
        raise TypeError(
            f"{name}: expected a Dask array or dataframe, got {type(value).__name__}{_advice(name, value)}"
        )


def _advice(name: str, value: Any) -> str:
    """Return how a collection is made of what has been given instead."""
    if dask.is_dask_collection(value):
        maker = (
            "its method to_dataframe"
            if hasattr(type(value), "to_dataframe")
            else ("dask.array.from_delayed")
        )
        return f": {maker} makes one"
    if hasattr(type(value), "iloc"):
        return f": dask.dataframe.from_pandas makes one{_IN_MEMORY if name == 'X' else ''}"
    if value is None or not hasattr(value, "__len__"):
        return ""
    return f": dask.array.from_array makes one{_IN_MEMORY if name == 'X' else ''}"


def is_array(value: Any) -> bool:
    """Whether a collection is an array, not a frame or series."""
    return isinstance(value, da.Array)  # a frame may have a column of any name: it tells nothing


def check_rows_are_whole(X: Any) -> None:
    """Raise if X is no matrix, or the chunks of an array are parts of rows."""
    if X.ndim != 2 or (is_array(X) and len(X.chunks[1]) != 1):
        if X.ndim != 2:
            advice = "" if is_array(X) else ": X.to_frame() has one column"
            raise ValueError(f"X: expected two dimensions, got {X.ndim}{advice}")
        raise ValueError(
            f"X: expected one chunk along the features, got {len(X.chunks[1])}: "
            "X.rechunk({1: -1}) makes whole rows"
        )


def _cut_as(name: str, value: Any, X: Any) -> Any:
    """Return `value` in the chunks of X, where both are known."""
    if not (is_array(value) and is_array(X)):
        return value
    if value.ndim == 2 and len(value.chunks[1]) != 1:
        value = value.rechunk({1: -1})
    if value.chunks[0] == X.chunks[0] or np.isnan([*value.chunks[0], *X.chunks[0]]).any():
        return value
    if value.shape[0] != X.shape[0]:
        raise ValueError(
            f"{name}: expected {X.shape[0]} rows, one for each of X, got {value.shape[0]}"
        )
    return value.rechunk({0: X.chunks[0]}, method="tasks")


def delayed_of(value: Any) -> list[Any]:
    """Return the partitions of an array, frame or series, lazily."""
    [(graph, keys)] = _graphs_of([value])
    return delayed_in(graph, keys)


def delayed_in(graph: Mapping[Key, Any], keys: Sequence[Key]) -> list[Delayed]:
    """Return results of a graph as values of Dask's."""
    layer = f"delayed-{tokenize(*keys)}"
    whole = HighLevelGraph.from_collections(layer, graph, dependencies=())
    return [Delayed(key, whole, layer=layer) for key in keys]


def _graphs_of(values: Sequence[Any]) -> list[tuple[dict[Key, Any], list[Key]]]:
    """Return the tasks that make each collection, and the keys of its partitions.

    What collections have in common has the same keys.
    """
    arrays = [each for each in values if is_array(each)]
    of_arrays = _graph_of_arrays(arrays)
    # Frames are not optimised: Dask may read several files together where it needs few of their columns, as
    # of y.
    frames = [each.simplify() for each in values if not is_array(each)]
    if any(shuffles_of(ensure_dict(each.__dask_graph__())) for each in frames):
        # Each would be shuffled apart, and in another order, with the columns that it needs.
        frames = [each for each in values if not is_array(each)]
    found = []
    for value in values:
        is_frame = not is_array(value)
        frame = frames.pop(0) if is_frame else value
        graph = ensure_dict(frame.__dask_graph__()) if is_frame else of_arrays
        keys = list(flatten(frame.__dask_keys__()))
        found.append((dict(cull(graph, keys)[0]), keys))
    return found


def _graph_of_arrays(arrays: Sequence[Any]) -> dict[Key, Any]:
    if not arrays:
        return {}
    whole: Any = HighLevelGraph.merge(*(each.__dask_graph__() for each in arrays))
    # Dask's optimisation forgets the futures that arrays are made of.
    if not futures_of(list(arrays)):
        keys = [key for each in arrays for key in flatten(each.__dask_keys__())]
        whole = arrays[0].__dask_optimize__(whole, keys)
    graph: dict[Key, Any] = ensure_dict(whole)
    return graph
