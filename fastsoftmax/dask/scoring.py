"""The accuracy on Dask collections and on held-out rows, counted on the workers."""

from __future__ import annotations

from typing import Any

import dask
import numpy as np

from .._arrays.validation import FloatArray
from ..backends import get_backend
from ..training import prediction
from .cluster import Cluster, threads_here
from .groups import map_held_out
from .partitions import Collection
from .rows import HeldOutRows, TrainingContext, naming_partition, rows_of


def accuracy(model: Any, cluster: Cluster, collection: Collection) -> float:
    """Return the weighted share of samples that a local model predicts correctly.

    Raises
    ------
    ValueError
        If there is no sample, or all weights are 0.
    """
    lazy_model = dask.delayed(model, pure=False)
    tasks = [
        dask.delayed(_count_hits, pure=False)(index, lazy_model, *parts)
        for index, parts in enumerate(collection.delayed())
    ]
    with cluster:
        cluster.workers()  # raises if there is none
        hits, mass = np.array(cluster.results(cluster.compute(tasks))).sum(axis=0)
    if not mass > 0:
        raise ValueError("X: expected at least one sample to score, of a weight above 0")
    return float(hits / mass)


def held_out_hits(
    source: Any,
    context: TrainingContext,
    coef: FloatArray,
    intercept: FloatArray,
    backend: str,
    n_threads: int | None,
) -> list[tuple[float, float]]:
    """Return, for every partition, the weights of correctly predicted held-out rows, and of all of them."""

    def of(scored: HeldOutRows) -> tuple[float, float]:
        if not len(scored.rows):
            return 0.0, 0.0
        share = prediction.accuracy(
            *(get_backend(backend), scored.X, scored.targets, scored.weights, scored.rows),
            *(coef, intercept, threads_here(n_threads)),
        )
        mass = float(len(scored.rows))
        if scored.weights is not None:
            mass = float(scored.weights[scored.rows].sum())
        return share * mass, mass

    return map_held_out(source, context, of)


def _count_hits(
    index: int, model: Any, X: Any, y: Any, sample_weight: Any = None
) -> tuple[float, float]:
    rows = rows_of(index, X, y, sample_weight)
    if not len(rows):
        return 0.0, 0.0
    with naming_partition(index):
        hits, weights = model._hits(rows.X, rows.y, rows.weights)
    if weights is None:
        weights = np.ones(len(rows))
    return float(weights @ hits), float(weights.sum())
