"""Files larger than the memory of the workers, which a nanny ends at 95 % of it.

Most of that memory is what a worker takes by itself: it has room for about a third of the rows.
"""

import os

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr
from distributed import Client, LocalCluster

from fastsoftmax.dask import SoftmaxClassifier

# A partition has 16 MB in memory, and so have copies while it is read. Few rows with many features: labels
# that are text take more time than the features.
MEMORY_LIMIT = "420MB"
N_PARTITIONS, N_ROWS, N_FEATURES = 40, 10_000, 400


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit=MEMORY_LIMIT, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def numbers(seed):
    """Return few distinct numbers: the file is small, the rows in memory are not."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, (N_ROWS, N_FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parquet")
    X = numbers(0)
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(N_FEATURES)])
    frame["label"] = np.where(X[:, 0] > X[:, 1], "more", "less")
    frame.to_parquet(folder / "part-000.parquet")
    for number in range(1, N_PARTITIONS):
        (folder / f"part-{number:03}.parquet").hardlink_to(folder / "part-000.parquet")
    return folder


def bytes_limit(client):
    (worker,) = client.scheduler_info()["workers"].values()
    return worker["memory_limit"]


def processes_of(client):
    """Those of the workers, which a nanny replaces if they take too much."""
    return client.run(os.getpid)


def test_parquet_larger_than_memory(client, parquet):
    frame = dd.read_parquet(parquet)
    assert 1.5 * bytes_limit(client) < N_PARTITIONS * N_ROWS * N_FEATURES * 4
    before = processes_of(client)
    # Of large minibatches, as steps are not what is tested.
    model = SoftmaxClassifier(client=client, max_iter=1, tol=None, random_state=0, batch_size=1000)
    model.fit(frame.drop(columns="label"), frame["label"])
    assert model.loss_curve_[0] < 0.7
    assert processes_of(client) == before


@pytest.mark.slow
def test_zarr_larger_than_memory(client, tmp_path):
    store = zarr.create_array(
        str(tmp_path / "X.zarr"),
        shape=(N_PARTITIONS * N_ROWS, N_FEATURES),
        chunks=(N_ROWS, N_FEATURES),
        dtype="uint8",
    )
    for number in range(N_PARTITIONS):
        store[number * N_ROWS : (number + 1) * N_ROWS] = numbers(0)
    X = da.from_zarr(str(tmp_path / "X.zarr"))
    y = (X[:, 0] > X[:, 1]).astype(int)
    before = processes_of(client)
    model = SoftmaxClassifier(
        client=client,
        algorithm="synchronous",
        batch_size=len(X),
        standardize=True,
        max_iter=3,
        tol=None,
        random_state=0,
    )
    model.fit(X.astype(np.float32), y)
    assert model.loss_curve_[2] < model.loss_curve_[0]
    assert processes_of(client) == before
