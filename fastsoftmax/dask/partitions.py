"""The collections passed to `fit`, as partitions: small graphs that any worker can run."""

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
    """Rows of X, y and sample weights that any worker can compute, for example from a file.

    It is not a tuple: Dask looks for tasks in tuples that are arguments, and would run those of the graph.
    """

    number: int
    graph: dict[Key, Any]
    keys: list[Key]  # of X, y and, if given, the weights
    kept: list[Key]  # results that a later partition needs as well
    released: list[Key]  # results that no later partition needs

    def read(self, known: dict[Key, Any]) -> Rows:
        """Compute the rows in the calling thread, from the `known` results, and update these."""
        graph = self.graph | {key: (partial(_identity, value),) for key, value in known.items()}
        wanted = [*self.keys, *self.kept]
        parts = dask.get(cull(graph, wanted)[0], wanted)
        known.update(zip(self.kept, parts[len(self.keys) :], strict=True))
        for key in self.released:
            known.pop(key, None)
        return rows_of(self.number, *parts[: len(self.keys)])


def _identity(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Recipe:
    """The partitions that a worker reads, and the results of the hubs."""

    partitions: list[Partition]
    hubs: dict[Key, Any]

    def each(self, function: Callable[[Rows], T]) -> list[T]:
        """Return the results of a function for every partition.

        No variable refers to the rows, so that they are freed before the next partition is read.
        """
        known = dict(self.hubs)
        return [function(partition.read(known)) for partition in self.partitions]


@dataclass(frozen=True)
class Collection:
    """The partitions of X, y and sample weights."""

    graph: dict[Key, Any]  # the tasks of all of them
    keys: list[list[Key]]  # of each partition: of X, y and, if given, the weights
    holds_futures: bool  # whether some results are on workers already
    nbytes: float  # of X; NaN if unknown

    @cached_property
    def sharing(self) -> Sharing:
        """The tasks that partitions share."""
        return sharing_of(self.graph, self.keys)

    def lazy(self) -> list[Partition]:
        """Return partitions that any worker can compute by itself, given the hubs."""
        sharing, found = self.sharing, []
        graph = self.graph | dict.fromkeys(sharing.hubs)
        for number, keys in enumerate(self.keys):
            own = cull(graph, keys)[0]
            kept, released = sharing.kept[number], sharing.released[number]
            own = {key: task for key, task in own.items() if key not in sharing.hubs}
            found.append(Partition(number, own, keys, kept, released))
        return found

    def futures(self) -> list[list[Any]]:
        """Return, for each partition, the futures of X or, if it has none, those of y or the weights.

        Futures that hubs are computed from are left out.
        """
        graph = self.graph | dict.fromkeys(self.sharing.hubs)

        def found(key: Key) -> list[Any]:
            return list(futures_of(list(cull(graph, [key])[0].values())))

        return [next(filter(None, map(found, keys)), []) for keys in self.keys]

    def delayed(self) -> list[list[Delayed]]:
        """Return the partitions as Delayed objects."""
        return [delayed_in(self.graph, keys) for keys in self.keys]


def collection_of(X: Any, y: Any, sample_weight: Any) -> Collection:
    """Check the arguments of `fit`, and bring y and the weights into the partitions of X.

    Raises
    ------
    TypeError
        If an argument is not a Dask collection.
    ValueError
        If X is chunked along its features, or the partitions do not match.
    """
    named = {"X": X, "y": y}
    if sample_weight is not None:
        named["sample_weight"] = sample_weight
    for name, value in named.items():
        check_collection(name, value)
    check_whole_rows(X)
    for name in list(named)[1:]:
        if named[name].ndim == 0:
            raise ValueError(f"{name}: expected one for each row of X, got a single number")
        named[name] = _rechunk_like(name, named[name], X)
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
    # The nbytes of an array of sparse chunks includes the zeros.
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
    """Raise unless `value` is a Dask array, frame or series."""
    # Delayed objects seem to have any attribute, hence the type; a bag has no `ndim`.
    if not all(hasattr(type(value), name) for name in ("to_delayed", "ndim")):
        raise TypeError(
            f"{name}: expected a Dask array or dataframe, got {type(value).__name__}{_advice(name, value)}"
        )


def _advice(name: str, value: Any) -> str:
    """Return how to make a collection from the given value."""
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
    """Return whether a collection is an array, not a frame or series."""
    return isinstance(value, da.Array)  # not by attributes: a frame may have a column of any name


def check_whole_rows(X: Any) -> None:
    """Raise unless X has two dimensions, and its chunks consist of whole rows."""
    if X.ndim != 2 or (is_array(X) and len(X.chunks[1]) != 1):
        if X.ndim != 2:
            advice = "" if is_array(X) else ": X.to_frame() has one column"
            raise ValueError(f"X: expected two dimensions, got {X.ndim}{advice}")
        raise ValueError(
            f"X: expected one chunk along the features, got {len(X.chunks[1])}: "
            "X.rechunk({1: -1}) makes whole rows"
        )


def _rechunk_like(name: str, value: Any, X: Any) -> Any:
    """Return `value` in the chunks of X, if both are known."""
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
    """Return the partitions of an array, frame or series as Delayed objects."""
    [(graph, keys)] = _graphs_of([value])
    return delayed_in(graph, keys)


def delayed_in(graph: Mapping[Key, Any], keys: Sequence[Key]) -> list[Delayed]:
    """Return results of a graph as Delayed objects."""
    layer = f"delayed-{tokenize(*keys)}"
    whole = HighLevelGraph.from_collections(layer, graph, dependencies=())
    return [Delayed(key, whole, layer=layer) for key in keys]


def _graphs_of(values: Sequence[Any]) -> list[tuple[dict[Key, Any], list[Key]]]:
    """Return the tasks of each collection, and the keys of its partitions.

    Tasks that collections share have the same keys.
    """
    arrays = [each for each in values if is_array(each)]
    of_arrays = _graph_of_arrays(arrays)
    # Frames are not optimised: Dask may read several files as one partition if it needs few of their
    # columns, as for y.
    frames = [each.simplify() for each in values if not is_array(each)]
    if any(shuffles_of(ensure_dict(each.__dask_graph__())) for each in frames):
        # Simplified frames would be shuffled separately, each in another order.
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
    # Dask's optimisation loses the references to futures in arrays.
    if not futures_of(list(arrays)):
        keys = [key for each in arrays for key in flatten(each.__dask_keys__())]
        whole = arrays[0].__dask_optimize__(whole, keys)
    graph: dict[Key, Any] = ensure_dict(whole)
    return graph
