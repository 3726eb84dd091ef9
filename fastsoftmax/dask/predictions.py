"""Predictions of Dask collections: lazy, partition by partition, where they lie."""

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from .partitions import check_rows_are_whole

# Of a model and rows.
Method = Callable[[Any, Any], NDArray[Any]]


def predicted(model: Any, method: str, X: Any, meta: NDArray[Any]) -> Any:
    """Return what a method of the local `model` says of every row, as a lazy array.

    `meta` is such a result of no rows.
    """
    check_rows_are_whole(X)
    lazy_model = dask.delayed(model, pure=False)
    if not hasattr(X, "chunks"):
        parts = [
            da.from_delayed(
                dask.delayed(_of_rows, pure=False)(part, lazy_model, method),
                shape=(np.nan, *meta.shape[1:]),
                meta=meta,
            )
            for part in X.to_delayed()
        ]
        return da.concatenate(parts, allow_unknown_chunksizes=True)
    return X.map_blocks(
        _of_rows,
        lazy_model,
        method,
        dtype=meta.dtype,
        meta=meta,
        drop_axis=1 if meta.ndim == 1 else None,
        chunks=None if meta.ndim == 1 else (X.chunks[0], (meta.shape[1],)),
    )


def _of_rows(rows: Any, model: Any, method: str) -> NDArray[Any]:
    if not rows.shape[0]:
        rows = np.zeros((1, rows.shape[1]), np.float32)
        found: NDArray[Any] = getattr(model, method)(rows)[:0]
        return found
    found = getattr(model, method)(rows)
    return found
