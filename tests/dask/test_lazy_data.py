"""Collections that are not computed yet: what is read how often, and rows that Dask shuffles."""

from collections import Counter

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from dask_cases import (
    COMMON,
    NAMES,
    SIZES,
    D,
    N,
    alone,
    assert_same_model,
    cut,
    cut_frame,
    frame_of,
    local_sgd,
    made_up,
    synchronous,
)

from fastsoftmax.dask import cluster as cluster_module


@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_rows_that_are_not_held_are_read_once_an_epoch(client, tmp_path, make):
    X, y = made_up()
    log = tmp_path / "log"

    def read(rows):
        with log.open("a") as file:
            file.write(f"{len(rows)}\n")
        return rows

    lazy = cut(X).map_blocks(read, dtype=X.dtype, meta=X[:0])
    reads = []
    for max_iter in (1, 3):
        log.write_text("")
        make(client, persist=False, batch_size=N, max_iter=max_iter).fit(lazy, cut(y))
        reads.append(sorted(int(line) for line in log.read_text().split()))
    assert reads[1] == sorted(reads[0] + 2 * list(SIZES))
    log.write_text("")
    make(client, persist=True, batch_size=N).fit(lazy, cut(y))
    assert sorted(int(line) for line in log.read_text().split()) == sorted(SIZES)


class Reads:
    """Counts how often chunks are read, in any process."""

    def __init__(self, tmp_path):
        self.log = tmp_path / "log"
        self.log.touch()

    def lazy(self, array, sizes=SIZES):
        return cut(array, sizes).map_blocks(self.read, dtype=array.dtype, meta=array[:0])

    def read(self, rows):
        with self.log.open("a") as file:
            file.write(f"{len(rows)}\n")
        return rows

    def take(self):
        found = sorted(int(line) for line in self.log.read_text().split())
        self.log.write_text("")
        return found


@pytest.mark.costly
@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_what_partitions_share_is_computed_once(client, tmp_path, make):
    X, _ = made_up()
    reads = Reads(tmp_path)
    lazy = reads.lazy(X)
    centred = lazy - lazy.mean(axis=0)
    labels = (centred[:, 0] > centred[:, 1]).astype(int)
    here = X - X.mean(axis=0)
    expected = alone(batch_size=N).fit(here, (here[:, 0] > here[:, 1]).astype(int))
    for persist in (True, "auto"):
        model = make(client, persist=persist, batch_size=N).fit(centred, labels)
        assert reads.take() == sorted(SIZES)
        if make is synchronous:
            assert_same_model(model, expected)
    passes = []
    for max_iter in (1, 2):
        model = make(client, persist=False, batch_size=N, max_iter=max_iter).fit(centred, labels)
        passes.append(len(reads.take()) / len(SIZES))
        # A fit releases its results in the client's thread: another one that begins before that takes the
        # mean, which has the same key, as it is. What is run on the scheduler is run after the release.
        client.run_on_scheduler(bool)
    assert passes == [3, 4]  # the mean, the count, and every epoch


def minus_mean(frame):
    return frame - frame.mean()


def as_it_is(frame):
    return frame


@pytest.mark.costly
@pytest.mark.parametrize("make", [local_sgd, synchronous])
@pytest.mark.parametrize(("change", "n_shared"), [(as_it_is, 0), (minus_mean, 1)])
def test_how_often_frames_are_read(client, monkeypatch, tmp_path, make, change, n_shared):
    """What partitions share, and rows that are held: once each; else the count, and every epoch."""
    X, y = made_up()
    reads, labels = Reads(tmp_path), cut_frame(pd.Series(y))
    frame = cut_frame(frame_of(X)).map_partitions(reads.read, meta=frame_of(X[:0]))
    lazy = change(frame)
    expected = make(client, batch_size=N).fit(cut(np.asarray(change(frame_of(X)))), cut(y))

    def n_reads_with(**parameters):
        model = make(client, batch_size=N, **parameters).fit(lazy, labels)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
        client.run_on_scheduler(bool)  # as above
        return Counter(reads.take())

    def times(n):
        return Counter(dict.fromkeys(SIZES, n))

    assert n_reads_with(persist="auto") == times(n_shared + 1)
    assert n_reads_with(persist=True) == times(1)
    assert n_reads_with(persist=False) == times(n_shared + 1 + COMMON["max_iter"])

    def leave_room_for(n_rows):
        n_bytes = 3 * n_rows * X[0].nbytes
        monkeypatch.setattr(cluster_module.Cluster, "memory_left", lambda _: n_bytes)

    # There is room for all, but those of the second worker seem to be more after 27 rows than they are.
    leave_room_for(80.5)
    assert n_reads_with(persist="auto") - times(n_shared + 1) == Counter({0: 1, 27: 1, 13: 1})
    leave_room_for(N + 0.5)
    assert n_reads_with(persist="auto") == times(n_shared + 2)
    leave_room_for(N - 0.5)
    assert n_reads_with(persist="auto") == times(n_shared + 1 + COMMON["max_iter"])


@pytest.mark.parametrize("persist", [True, False])
def test_a_value_that_all_partitions_take_is_computed_once(client, tmp_path, persist):
    X, y = made_up()
    log = tmp_path / "log"

    def centre():
        with log.open("a") as file:
            file.write("1\n")
        return X.mean(axis=0)

    lazy = cut(X).map_blocks(np.subtract, dask.delayed(centre)(), dtype=X.dtype, meta=X[:0])
    model = synchronous(client, persist=persist, batch_size=N).fit(lazy, cut(y))
    assert_same_model(model, alone(batch_size=N).fit(X - X.mean(axis=0), y))
    assert log.read_text() == "1\n"


@pytest.mark.parametrize("sizes", [(10, 10, 10, 10, 21), (3,) * 20 + (1,)])
def test_chunks_that_neighbours_share_are_read_once_a_pass(clients, tmp_path, sizes):
    X, y = made_up()
    reads, whole = Reads(tmp_path), (15, 15, 15, 16)
    lazy = reads.lazy(X, whole).rechunk({0: sizes}, method="tasks")
    local_sgd(clients(1), persist=False, max_iter=1).fit(lazy, cut(y, sizes))
    assert reads.take() == sorted(2 * whole)


def shuffled(frame):
    return frame.shuffle("key")


def merged(frame):
    keys = cut_frame(pd.DataFrame({"key": np.arange(50)}), (25, 25))
    return frame.merge(keys, on="key", shuffle_method="p2p", broadcast=False)


def without_duplicates(frame):
    return frame.drop_duplicates(subset=["key", "column 0"], split_out=3, shuffle_method="p2p")


@pytest.mark.costly
@pytest.mark.parametrize("persist", ["auto", False])
@pytest.mark.parametrize("change", [shuffled, merged, without_duplicates])
def test_rows_that_dask_shuffles(client, change, persist):
    X, y = made_up()
    frame = frame_of(X).assign(key=np.arange(N) * 7 % 50, label=NAMES[y])
    table, columns = change(cut_frame(frame)), list(frame_of(X).columns)
    model = synchronous(client, persist=persist, batch_size=10 * N)
    model.fit(table[columns], table["label"])
    expected = alone(batch_size=10 * N).fit(frame[columns], frame["label"])
    assert_same_model(model, expected)
    assert model.score(table[columns], table["label"]) == expected.score(
        frame[columns], frame["label"]
    )


@pytest.mark.parametrize("persist", ["auto", False])
@pytest.mark.parametrize("method", ["p2p", "tasks"])
def test_arrays_that_are_cut_from_columns_to_rows(client, method, persist):
    X, y = made_up()
    with client.as_current():
        lazy = da.from_array(X, chunks=(N, 1)).rechunk((3, D), method=method)
    model = synchronous(client, persist=persist, batch_size=N).fit(lazy, cut(y))
    assert_same_model(model, alone(batch_size=N).fit(X, y))


def test_rows_and_labels_of_two_shuffles(client):
    X, y = made_up()
    frame = cut_frame(frame_of(X).assign(label=y))
    with client.as_current():
        labels = frame.shuffle("label")["label"].persist()
    with pytest.raises(ValueError, match=r"^y: expected rows in the order of X, .*persist that"):
        local_sgd(client).fit(frame.shuffle("label").drop(columns="label"), labels)
