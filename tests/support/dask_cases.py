"""Shared by the tests of Dask: rows in partitions, and both estimators on them."""

from itertools import pairwise

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import scipy.sparse

import fastsoftmax
from fastsoftmax.dask import SoftmaxClassifier

# As in trajectories.py: the rounding of some dozens of steps.
AGREEMENT = {np.float32: 1e-5, np.float64: 1e-10}
N, D, C = 61, 6, 4
SIZES = (20, 1, 0, 27, 13)
NAMES = np.array(["oak", "ash", "elm", "yew"])
# A synchronous step takes some 10 ms of Dask: a fit has 8 of them.
COMMON = {"eta0": 0.2, "batch_size": 16, "max_iter": 2, "tol": None, "random_state": 7, "n_jobs": 1}
COMMON["learning_rate"] = "constant"


def made_up(n=N, d=D, c=C, dtype=np.float64):
    rng = np.random.default_rng([n, d, c])
    X = rng.normal(size=(n, d))
    y = (X[:, :c] + rng.normal(size=(n, c)) / 2).argmax(axis=1)
    return X.astype(dtype), y


def cut(array, sizes=SIZES):
    """Return the array in partitions of these sizes; sparse rows in sparse chunks."""
    if scipy.sparse.issparse(array):
        return cut(array.toarray(), sizes).map_blocks(scipy.sparse.csr_matrix)
    return da.from_array(array, chunks=(tuple(sizes), *array.shape[1:]))


def of_unknown_sizes(array, sizes=SIZES):
    """The same, but Dask does not know how many rows are where."""
    collection = cut(array, sizes)
    collection._chunks = ((np.nan,) * len(sizes), *collection.chunks[1:])
    return collection


def frame_of(X, names=None):
    names = [f"column {i}" for i in range(X.shape[1])] if names is None else names
    return pd.DataFrame(X, columns=names)


def cut_frame(frame, sizes=SIZES):
    """Return a pandas frame or series in partitions of these sizes."""
    cuts = np.cumsum([0, *sizes])
    parts = [frame.iloc[i:j] for i, j in pairwise(cuts)]
    return dd.from_map(_itself, parts, meta=frame.iloc[:0])


def _itself(part):
    return part


def in_delayed(parts, shape):
    """An array of partitions that need not fit each other."""
    blocks = [
        da.from_delayed(dask.delayed(part), (np.nan, *shape), meta=parts[0][:0]) for part in parts
    ]
    return da.concatenate(blocks, allow_unknown_chunksizes=True)


def synchronous(client, **parameters):
    return SoftmaxClassifier(
        client=client, algorithm="synchronous", **{"persist": True} | COMMON | parameters
    )


def local_sgd(client, **parameters):
    return SoftmaxClassifier(client=client, **COMMON | parameters)


def alone(**parameters):
    """The estimator of one process."""
    return fastsoftmax.SoftmaxClassifier(**COMMON | parameters)


def assert_same_model(model, expected, dtype=np.float64, curve=True):
    """To rounding, of all that `fit` publishes."""
    assert model.coef_.dtype == expected.coef_.dtype
    allowed = AGREEMENT[dtype]
    size = max(np.abs(expected.coef_).max(), np.abs(expected.intercept_).max())
    for name in ("coef_", "intercept_"):
        actual = getattr(model, name)
        np.testing.assert_allclose(actual, getattr(expected, name), rtol=0, atol=allowed * size)
    if curve:
        np.testing.assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=allowed)
    for name in ("classes_", "n_features_in_", "n_iter_", "t_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))
    np.testing.assert_allclose(model.eta0_, expected.eta0_, rtol=allowed)
    for name in ("mean_", "scale_"):
        actual, wanted = getattr(model, name), getattr(expected, name)
        assert (actual is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-12)


def assert_same_bits(model, expected):
    for name in ("coef_", "intercept_", "loss_curve_", "eta0_", "mean_", "scale_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))
