"""What `fit` is given, as partitions: each a small graph that makes its rows, wherever it is run."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import dask
import numpy as np
from dask.base import is_dask_collection
from dask.optimization import cull
from dask.utils import ensure_dict
from distributed.client import futures_of

from .rows import Rows, rows_of


@dataclass(frozen=True)
class Partition:
    """Rows of X, y and sample weights that can be made anywhere, from a file for example.

    No tuple: Dask would look into it, and take what the graph needs for keys that are to be on the cluster.
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

    def __len__(self) -> int:
        return len(self.delayed)

    def lazy(self) -> list[Partition]:
        """Return partitions that any worker can make by itself."""
        graphs: dict[int, dict[Any, Any]] = {}
        found = []
        for index, parts in enumerate(self.delayed):
            graph: dict[Any, Any] = {}
            for part in parts:
                # The partitions of a collection share one graph.
                whole = graphs.setdefault(id(part.dask), ensure_dict(part.dask))
                graph.update(cull(whole, [part.key])[0])
            found.append(Partition(index, graph, [part.key for part in parts]))
        return found


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
    columns = [_delayed(X)]
    for name, value in list(named.items())[1:]:
        parts = _delayed(_cut_as(value, X))
        if len(parts) != len(columns[0]):
            raise ValueError(
                f"{name}: expected the {len(columns[0])} partitions of X, got {len(parts)}"
            )
        columns.append(parts)
    nbytes = float(X.nbytes) if hasattr(X, "chunks") else np.nan
    held = bool(futures_of(list(named.values())))
    return Collection([list(parts) for parts in zip(*columns, strict=True)], held, nbytes)


def check_collection(name: str, value: Any) -> None:
    """Raise unless it is a Dask array, frame or series."""
    if not is_dask_collection(value) or not hasattr(value, "to_delayed"):
        raise TypeError(
            f"{name}: expected a Dask array or dataframe, got {type(value).__name__}: "
            "dask.array.from_array makes one, and fastsoftmax.SoftmaxClassifier takes what is in memory"
        )


def check_rows_are_whole(X: Any) -> None:
    """Raise if the chunks of an array X are parts of rows."""
    if hasattr(X, "chunks") and (X.ndim != 2 or len(X.chunks[1]) != 1):
        shape = f"got {X.ndim} dimensions" if X.ndim != 2 else f"got {len(X.chunks[1])} along them"
        raise ValueError(
            f"X: expected two dimensions and one chunk along the features, {shape}: "
            "X.rechunk({1: -1}) makes whole rows"
        )


def _cut_as(value: Any, X: Any) -> Any:
    """Return `value` in the chunks of X, where both are known."""
    if not (hasattr(value, "chunks") and hasattr(X, "chunks")):
        return value
    if value.ndim == 2 and len(value.chunks[1]) != 1:
        value = value.rechunk({1: -1})
    if value.chunks[0] == X.chunks[0] or np.isnan([*value.chunks[0], *X.chunks[0]]).any():
        return value
    if value.shape[0] != X.shape[0]:
        return value  # the partitions tell
    return value.rechunk({0: X.chunks[0]})


def _delayed(value: Any) -> list[Any]:
    parts = value.to_delayed()
    return list(parts.ravel()) if isinstance(parts, np.ndarray) else list(parts)
