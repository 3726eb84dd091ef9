"""What `fit` is given, as partitions: each a small graph that makes its rows, wherever it is run."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from dask.optimization import cull
from dask.utils import ensure_dict
from distributed.client import futures_of

from .rows import Rows, rows_of

_HINT_ON_FILES = (
    "; Dask may read several files together where it needs few of their columns: give the dataframe and "
    "the series, not their arrays"
)


@dataclass(frozen=True)
class Partition:
    """Rows of X, y and sample weights that can be made anywhere, from a file for example.

    No tuple: in one that is an argument, Dask would take the tasks of the graph for tasks of its own.
    """

    number: int
    graph: dict[Any, Any]
    keys: list[Any]

    def read(self) -> Rows:
        """Make the rows, in the thread that calls."""
        return rows_of(self.number, *dask.get(self.graph, self.keys))


class Collection(NamedTuple):
    """The partitions of X, y and sample weights."""

    delayed: list[list[Any]]  # of each partition, as Dask has them
    holds_futures: bool  # whether some of it lies on workers
    nbytes: float  # of X, NaN where that is not known

    def lazy(self) -> list[Partition]:
        """Return partitions that any worker can make by itself."""
        graphs = [self._graphs(place) for place in range(len(self.delayed[0]))]
        return [
            Partition(
                index, {k: v for g in own for k, v in g.items()}, [part.key for part in parts]
            )
            for index, (parts, *own) in enumerate(zip(self.delayed, *graphs, strict=True))
        ]

    def futures(self) -> list[list[Any]]:
        """Return, of each partition, the futures that X is made of or, where it has none, the others."""
        found: list[list[Any]] = [[] for _ in self.delayed]
        for place in range(len(self.delayed[0])):
            for futures, graph in zip(found, self._graphs(place), strict=True):
                if not futures:
                    futures += futures_of(list(graph.values()))
        return found

    def _graphs(self, place: int) -> list[dict[Any, Any]]:
        """Return the tasks of every partition of X (0), y (1) or the weights (2)."""
        parts = [parts[place] for parts in self.delayed]
        wholes = {id(part.dask): part.dask for part in parts}  # they share one
        wholes = {key: ensure_dict(whole) for key, whole in wholes.items()}
        return [cull(wholes[id(part.dask)], [part.key])[0] for part in parts]


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
    columns = [delayed_of(X)]
    for name, value in list(named.items())[1:]:
        if value.ndim == 0:
            raise ValueError(f"{name}: expected one for each row of X, got a single number")
        parts = delayed_of(_cut_as(name, value, X))
        if len(parts) != len(columns[0]):
            raise ValueError(
                f"{name}: expected the {len(columns[0])} partitions of X, got {len(parts)}{_HINT_ON_FILES}"
            )
        columns.append(parts)
    # That of an array of sparse chunks counts zeros as well.
    knows_bytes = is_array(X) and isinstance(X._meta, np.ndarray)
    nbytes = float(X.nbytes) if knows_bytes else np.nan
    held = bool(futures_of(list(named.values())))
    return Collection([list(parts) for parts in zip(*columns, strict=True)], held, nbytes)


def check_collection(name: str, value: Any) -> None:
    """Raise unless it is a Dask array, frame or series."""
    # A lazy value of Dask's says that it has any attribute, and a bag has no rows.
    if not all(hasattr(type(value), name) for name in ("to_delayed", "ndim")):
        raise TypeError(
            f"{name}: expected a Dask array or dataframe, got {type(value).__name__}: "
            "dask.array.from_array makes one, and fastsoftmax.SoftmaxClassifier takes what is in memory"
        )


def is_array(value: Any) -> bool:
    """Whether a collection is an array, not a frame or series."""
    return isinstance(value, da.Array)  # a frame may have a column of any name: it tells nothing


def check_rows_are_whole(X: Any) -> None:
    """Raise if X is no matrix, or the chunks of an array are parts of rows."""
    if X.ndim != 2 or (is_array(X) and len(X.chunks[1]) != 1):
        if X.ndim != 2:
            raise ValueError(f"X: expected two dimensions, got {X.ndim}")
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
    return value.rechunk({0: X.chunks[0]})


def delayed_of(value: Any) -> list[Any]:
    """Return the partitions of an array, frame or series, lazily."""
    if not is_array(value):
        # Not optimised: Dask may read several files together where it needs few of their columns, as of y.
        return list(value.simplify().to_delayed(optimize_graph=False))
    # Dask's optimisation of an array forgets the futures that it is made of.
    return list(value.to_delayed(optimize_graph=not futures_of(value)).ravel())
