"""Lazy predictions for Dask collections, computed on the workers that have the partitions."""

from typing import Any

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from .partitions import delayed_of, is_array
from .rows import naming_partition


def predict_lazily(model: Any, method: str, X: Any) -> Any:
    """Return the lazy predictions of a method of the local `model`, which has no feature names."""
    meta = predict_rows(np.zeros((0, model.n_features_in_)), model, method)
    lazy_model = dask.delayed(model, pure=False)
    if not is_array(X):
        parts = [
            da.from_delayed(
                dask.delayed(predict_partition, pure=False)(index, part, lazy_model, method),
                shape=(np.nan, *meta.shape[1:]),
                meta=meta,
            )
            for index, part in enumerate(delayed_of(X))
        ]
        return da.concatenate(parts, allow_unknown_chunksizes=True)
    return X.map_blocks(
        _predict_chunk,
        lazy_model,
        method,
        dtype=meta.dtype,
        meta=meta,
        drop_axis=1 if meta.ndim == 1 else None,
        chunks=None if meta.ndim == 1 else (X.chunks[0], (meta.shape[1],)),
    )


def predict_partition(index: int, rows: Any, model: Any, method: str) -> NDArray[Any]:
    """Return the predictions for a partition; an error names its number."""
    with naming_partition(index):
        return predict_rows(rows, model, method)


def _predict_chunk(rows: Any, model: Any, method: str, block_info: Any = None) -> NDArray[Any]:
    return predict_partition(block_info[0]["chunk-location"][0], rows, model, method)


def predict_rows(rows: Any, model: Any, method: str) -> NDArray[Any]:
    """Return the predictions for the rows of a partition, which may be empty."""
    X = np.asarray(rows) if hasattr(rows, "columns") else rows
    n_rows = X.shape[0]
    found: NDArray[Any] = getattr(model, method)(X if n_rows else np.zeros((1, X.shape[1])))
    return found[:n_rows]
