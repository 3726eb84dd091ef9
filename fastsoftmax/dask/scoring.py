"""The accuracy on Dask collections, counted where the rows lie."""

from __future__ import annotations

from typing import Any

import dask
import numpy as np

from ..labels import as_labels
from .cluster import Cluster
from .partitions import Collection
from .predictions import of_rows
from .rows import rows_of


def accuracy(model: Any, cluster: Cluster, collection: Collection) -> float:
    """Return the share of the samples that a local model predicts right, each counting its weight.

    Raises
    ------
    ValueError
        If there is no sample, or all weights are 0.
    """
    lazy_model = dask.delayed(model, pure=False)
    tasks = [
        dask.delayed(_hits, pure=False)(index, lazy_model, *parts)
        for index, parts in enumerate(collection.delayed)
    ]
    with cluster:
        hits, mass = np.array(cluster.results(cluster.compute(tasks))).sum(axis=0)
    if not mass > 0:
        raise ValueError("X: expected at least one sample to score, of a weight above 0")
    return float(hits / mass)


def _hits(index: int, model: Any, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, float]:
    rows = rows_of(index, X, y, sample_weight)
    if not len(rows):
        return 0.0, 0.0
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    right = of_rows(X, model, "predict") == as_labels(rows.y, "y")
    return float(weights[right].sum()), float(weights.sum())
