"""What data may be, and that they stay where they are: only weights, gradients and sums travel."""

import io
import re
from collections import Counter
from itertools import pairwise

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from dask_cases import (
    SIZES,
    C,
    D,
    N,
    alone,
    assert_same_model,
    cut,
    cut_frame,
    frame_of,
    in_delayed,
    local_sgd,
    made_up,
    of_unknown_sizes,
    synchronous,
)

from fastsoftmax.dask import cluster as cluster_module

# Frames and arrays


def test_frames(client):
    X, y = made_up()
    frame, labels = frame_of(X), pd.Series(y, name="label")
    model = synchronous(client, batch_size=20).fit(cut_frame(frame), cut_frame(labels))
    expected = alone(batch_size=20).fit(frame, labels)
    assert_same_model(model, expected)
    assert model.feature_names_in_.tolist() == expected.feature_names_in_.tolist()
    model.fit(cut(X), cut(y))
    assert not hasattr(model, "feature_names_in_")


NAMES = np.array(["oak", "ash", "elm", "yew"])
STRINGS = {
    "objects": lambda y: pd.Series(NAMES[y].astype(object), dtype=object),
    "string": lambda y: pd.Series(NAMES[y], dtype="string"),
    "str": lambda y: pd.Series(NAMES[y], dtype="str"),
    "string of PyArrow": lambda y: pd.Series(NAMES[y], dtype="string[pyarrow]"),
    "category": lambda y: pd.Series(NAMES[y]).astype("category"),
    "Int64": lambda y: pd.Series(y, dtype="Int64"),
    "boolean": lambda y: pd.Series(y > 1),
}


@pytest.mark.parametrize("make", STRINGS.values(), ids=STRINGS.keys())
def test_labels_of_pandas(client, make):
    X, y = made_up()
    labels = make(y)
    model = synchronous(client, batch_size=N).fit(cut_frame(frame_of(X)), cut_frame(labels))
    assert_same_model(model, alone(batch_size=N).fit(frame_of(X), labels))
    with client.as_current():
        assert model.score(cut_frame(frame_of(X)), cut_frame(labels)) > 0.5


OTHERS_IN_SOME_PARTITIONS = {
    "integers, objects": (np.arange(C), object),
    "integers, floats": (np.arange(C), float),
    "text, objects": (NAMES, object),
}
if hasattr(np.dtypes, "StringDType"):  # NumPy 2 has them
    OTHERS_IN_SOME_PARTITIONS["text, strings"] = (NAMES, np.dtypes.StringDType())


@pytest.mark.parametrize(
    ("labels", "dtype"), OTHERS_IN_SOME_PARTITIONS.values(), ids=OTHERS_IN_SOME_PARTITIONS.keys()
)
@pytest.mark.parametrize("other", [0, 1])
def test_labels_of_other_dtypes_in_some_partitions(client, labels, dtype, other):
    X, y = made_up()
    parts = np.split(labels[y], np.cumsum(SIZES)[:-1])
    given = in_delayed([v.astype(dtype) if i % 2 == other else v for i, v in enumerate(parts)], ())
    model = synchronous(client, batch_size=N).fit(of_unknown_sizes(X), given)
    assert_same_model(model, alone(batch_size=N).fit(X, labels[y]))
    with client.as_current():
        assert model.score(of_unknown_sizes(X), given) > 0.5


def test_a_column_of_any_name(client):
    X, y = made_up()
    frame = frame_of(X, ["chunks", "dask", "columns", "shape", "_meta", "ndim"])
    model = synchronous(client, batch_size=N).fit(cut_frame(frame), cut_frame(pd.Series(y)))
    expected = alone(batch_size=N).fit(frame, y)
    assert_same_model(model, expected)
    predicted = model.predict_proba(cut_frame(frame)).compute()
    np.testing.assert_allclose(predicted, expected.predict_proba(frame), rtol=1e-9)


def test_columns_of_several_types(client):
    X, y = made_up()
    frame = frame_of(X)
    frame["column 0"] = (X[:, 0] * 10).astype(int)
    frame["column 1"] = (X[:, 1] > 0).astype(np.uint8)
    frame["column 2"] = X[:, 2].astype(np.float32)
    labels = pd.Series(y)
    model = synchronous(client, batch_size=N).fit(cut_frame(frame), cut_frame(labels))
    assert_same_model(model, alone(batch_size=N).fit(frame, labels))


def test_probabilities_and_weights_in_frames(client, rng):
    X, _ = made_up()
    y, weight = rng.dirichlet(np.ones(C), size=N), rng.exponential(size=N)
    collections = cut_frame(frame_of(X)), cut_frame(frame_of(y)), cut_frame(pd.Series(weight))
    model = synchronous(client, batch_size=20).fit(*collections)
    assert_same_model(model, alone(batch_size=20).fit(X, y, weight))


@pytest.mark.parametrize("sizes", [SIZES, (20, 1, 0, 40)], ids=["some", "whole partitions"])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2}], ids=str)
def test_a_label_whose_samples_all_weigh_zero_is_a_class(client, sizes, class_weight):
    X, y = made_up()
    y[20] = C  # all of the second partition, and of no other
    weight = np.where((y == 1) | (y == C), 0, np.arange(N) % 3.0 + 1)
    words = np.array(["a", "b", "c", "d", "e"])[y]
    rows = np.where(weight[:, np.newaxis] > 0, X, np.nan)
    model = synchronous(client, batch_size=20, class_weight=class_weight)
    collections = (cut(each, sizes) for each in (rows, y, weight))
    if class_weight != {0: 2}:  # also of another type
        collections = (cut(each, sizes) for each in (rows, words, weight))
        y = words
    model.fit(*collections)
    assert len(model.classes_) == C + 1
    expected = alone(batch_size=20, class_weight=class_weight).fit(rows, y, weight)
    assert_same_model(model, expected)


def test_one_class_of_two_that_has_weight_is_trained_on(client):
    X, y = made_up()
    y = y == 0
    weight = 1.0 - y
    model = synchronous(client, batch_size=20).fit(cut(X), cut(y), cut(weight))
    assert_same_model(model, alone(batch_size=20).fit(X, y, weight))
    by_local_sgd = model.set_params(algorithm="local", standardize=True)
    assert not by_local_sgd.fit(cut(X), cut(y), cut(weight)).predict(X).any()
    with pytest.raises(ValueError, match=r"^y: .* got one class: .*0"):
        model.fit(cut(X), cut(0 * y), cut(weight))


def test_balanced_probabilities_of_which_one_column_is_empty(client):
    X, y = made_up()
    shares = np.eye(C + 1)[y]
    model = synchronous(client, batch_size=20, class_weight="balanced").fit(cut(X), cut(shares))
    assert_same_model(model, alone(batch_size=20, class_weight="balanced").fit(X, shares))


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_sizes_that_dask_does_not_know(client, sparse):
    X, y = made_up()
    given = scipy.sparse.csr_matrix(X) if sparse else X
    weight = np.arange(N) % 3.0
    collections = [of_unknown_sizes(each) for each in (given, y, weight)]
    model = synchronous(client, persist="auto").fit(*collections)
    assert_same_model(model, alone().fit(X, y, weight))
    mixed = synchronous(client).fit(cut(given), of_unknown_sizes(y), cut(weight))
    assert_same_model(mixed, alone().fit(X, y, weight))


@pytest.mark.parametrize("kind", ["csr_array", "csc_matrix", "coo_array"])
def test_sparse_chunks_of_every_kind(client, rng, kind):
    X, y = made_up()
    X[rng.random(X.shape) < 0.6] = 0
    chunks = cut(X).map_blocks(getattr(scipy.sparse, kind))
    rule = {"batch_size": 20, "momentum": 0.8}
    model = synchronous(client, **rule).fit(chunks, cut(y))
    expected = alone(**rule).fit(scipy.sparse.csr_matrix(X), y)
    assert_same_model(model, expected, curve=False)
    found = model.predict(chunks).compute(scheduler="sync")
    np.testing.assert_array_equal(found, expected.predict(X))


def test_a_frame_with_labels_in_an_array(client):
    X, y = made_up()
    model = synchronous(client).fit(cut_frame(frame_of(X)), cut(y))
    assert_same_model(model, alone().fit(X, y))


def test_labels_in_other_partitions_of_known_sizes_are_cut_anew(client):
    X, y = made_up()
    model = synchronous(client).fit(cut(X), cut(y, (40, 21)), cut(np.ones(N), (N,)))
    assert_same_model(model, alone().fit(X, y))


def test_chunks_that_take_several_tasks(client):
    X, y = made_up()
    lazy = (da.concatenate([cut(X, (30, 31)), cut(X, (30, 31))]) * 2 + 1).rechunk((25, D))
    labels = da.concatenate([cut(y, (30, 31)), cut(y, (30, 31))]).rechunk(25)
    twice = np.concatenate([X, X]) * 2 + 1, np.concatenate([y, y])
    for persist in (True, False, "auto"):
        model = synchronous(client, persist=persist, batch_size=2 * N).fit(lazy, labels)
        assert_same_model(model, alone(batch_size=2 * N).fit(*twice))


@pytest.mark.parametrize("persisted", [["X"], ["y"], ["X", "y"]], ids="+".join)
def test_some_persisted_and_some_not(client, persisted):
    X, y = made_up()
    collections = {"X": cut(X), "y": cut(y)}
    collections |= {name: client.persist(collections[name]) for name in persisted}
    model = synchronous(client).fit(**collections)
    assert_same_model(model, alone().fit(X, y))
    lazily = collections | {"X": collections["X"] + 1}
    assert_same_model(synchronous(client).fit(**lazily), alone().fit(X + 1, y))


def test_what_is_persisted_may_still_be_on_its_way(client):
    X, y = made_up()

    def slowly(rows):
        from time import sleep

        sleep(0.05)
        return rows

    lazy = cut(X).map_blocks(slowly, dtype=X.dtype, meta=X[:0])
    model = synchronous(client).fit(client.persist(lazy), client.persist(cut(y)))
    assert_same_model(model, alone().fit(X, y))


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


# Bytes that travel


def sent(client):
    """Bytes that each worker has sent so far, on the wire: to other ones, and results to the client."""

    def log(dask_worker):
        return sum(each["compressed"] for each in dask_worker.transfer_outgoing_log)

    return sum(client.run(log).values())


def persisted(client, rows=4000, d=200, sizes=None, workers=None):
    """X of 6.4 MB by default, and labels, on the workers."""
    from distributed import wait

    X, y = made_up(n=rows, d=d, c=5)
    sizes = (rows // 8,) * 8 if sizes is None else sizes
    collections = client.persist([cut(X, sizes), cut(y, sizes)], workers=workers)
    with client.as_current():
        wait(collections)
    return X, y, collections


def weights_of(model):
    return model.coef_.nbytes + model.intercept_.nbytes


# Of a round, at most: a message is more than its arrays by some hundred bytes, and the counts, which travel
# once, are some thousand.
OVERHEAD = 20_000


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (local_sgd, {}),
        (local_sgd, {"local_epochs": 2}),
        (synchronous, {"batch_size": 4000}),
        (synchronous, {"batch_size": 1000}),
    ],
    ids=["local", "two epochs a round", "all at once", "minibatches"],
)
@pytest.mark.costly
def test_what_travels_between_processes_is_what_is_said(processes, make, parameters):
    X, _, collections = persisted(processes)
    before = sent(processes)
    model = make(processes, max_iter=6, eta0=1e-3, **parameters).fit(*collections)
    travelled = sent(processes) - before
    n_rounds = len(model.bytes_moved_)
    # What the client sends goes by the scheduler, and is not in the logs.
    said = sum(model.bytes_moved_) - n_rounds * weights_of(model)
    assert said / 2 < travelled < said + n_rounds * OVERHEAD
    assert travelled < X.nbytes / 4


def test_no_rows_go_to_workers_that_have_none(processes):
    workers = sorted(processes.scheduler_info()["workers"])
    X, _, collections = persisted(processes, workers=workers[:1])
    before = sent(processes)
    model = local_sgd(processes, max_iter=6, eta0=1e-3).fit(*collections)
    assert sent(processes) - before < 6 * (3 * weights_of(model) + OVERHEAD) < X.nbytes / 4


def test_labels_come_to_the_rows(processes):
    """And not the rows to the labels, where these lie elsewhere."""
    workers = sorted(processes.scheduler_info()["workers"])
    _, y, (X, _) = persisted(processes, workers=workers[:1])
    labels = processes.persist(cut(y, X.chunks[0]), workers=workers[1:])
    before = sent(processes)
    model = local_sgd(processes, max_iter=2, eta0=1e-3).fit(X, labels)
    assert (
        sent(processes) - before < y.nbytes + 4 * (3 * weights_of(model) + OVERHEAD) < X.nbytes / 4
    )


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_bytes_of_local_sgd_by_hand(clients, n_workers, momentum):
    X, y = made_up()
    sizes = (11, 20, 30)[:n_workers]
    rows = sum(sizes)
    model = local_sgd(clients(n_workers), momentum=momentum, n_iter_no_change=5)
    model.fit(cut(X[:rows], sizes), cut(y[:rows], sizes))
    state = (2 if momentum else 1) * (C * D + C) * 8
    # From the client to every worker, and as many sums back.
    assert model.bytes_moved_ == [2 * n_workers * state] * 3


@pytest.mark.parametrize("n_workers", [1, 2])
def test_bytes_of_synchronous_steps_by_hand(clients, n_workers):
    X, y = made_up()
    sizes = (30, 31)[:n_workers]
    rows = sum(sizes)
    model = synchronous(clients(n_workers), batch_size=16, shuffle=True)
    model.fit(cut(X[:rows], sizes), cut(y[:rows], sizes))
    state, n_steps = (C * D + C) * 8, -(-rows // 16)
    # To all who have a part in the first step, the one who takes it too, and back; in each step a sum of
    # the other worker, and but for the first the weights to it.
    others = (n_workers - 1) * (n_steps + n_steps - 1) * state
    assert model.bytes_moved_ == [(n_workers + 1) * state + others + state] * 3


# What is shown of them


def test_the_lines_say_how_much_has_moved(client, capsys):
    X, y = made_up()
    model = local_sgd(client, verbose=1, local_epochs=2, max_iter=5).fit(cut(X), cut(y))
    lines = capsys.readouterr().out.splitlines()
    assert [int(re.match(r"epoch (\d+): loss \d", each)[1]) for each in lines] == [2, 4, 5]
    assert all(each.endswith((" B moved this round", " kiB moved this round")) for each in lines)
    assert f"{model.bytes_moved_[0]} B moved this round" in lines[0]
    X, y = made_up(n=100, d=500, c=20)
    parameters = {"verbose": 1, "max_iter": 1, "eta0": 1e-3}
    model = synchronous(client, batch_size=10, **parameters).fit(cut(X, (50, 50)), cut(y, (50, 50)))
    [line] = capsys.readouterr().out.splitlines()
    moved = float(re.search(r", (\d+\.\d+) MiB moved this round$", line)[1])
    assert moved * 2**20 == pytest.approx(model.bytes_moved_[0], abs=2**20 / 100)


def test_one_process_moves_nothing(capsys):
    X, y = made_up()
    alone(verbose=1).fit(X, y)
    assert "moved" not in capsys.readouterr().out


def test_the_bar_counts_epochs_and_says_it_too(client, monkeypatch):
    import rich.console

    screen = io.StringIO()
    console = rich.console.Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(rich.console, "Console", lambda stderr: console)
    X, y = made_up()
    model = local_sgd(client, progress_bar=True, local_epochs=2, max_iter=6).fit(cut(X), cut(y))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "6/6" in shown
    assert re.search(rf"loss {model.loss_curve_[-1]:.4g}, .*B moved", shown)


# Collections that are not computed yet


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
    assert n_reads_with(persist=False) == times(n_shared + 1 + 3)

    def leave_room_for(n_rows):
        n_bytes = 3 * n_rows * X[0].nbytes
        monkeypatch.setattr(cluster_module.Cluster, "memory_left", lambda _: n_bytes)

    # There is room for all, but those of the second worker seem to be more after 27 rows than they are.
    leave_room_for(80.5)
    assert n_reads_with(persist="auto") - times(n_shared + 1) == Counter({0: 1, 27: 1, 13: 1})
    leave_room_for(N + 0.5)
    assert n_reads_with(persist="auto") == times(n_shared + 2)
    leave_room_for(N - 0.5)
    assert n_reads_with(persist="auto") == times(n_shared + 1 + 3)


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


@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_rows_in_memory_are_sent_once_where_they_are_not_held(client, monkeypatch, make):
    X, y = made_up(n=4000, d=50)
    sent, submit = [], client.submit

    def count(function, *args, **kwargs):
        buffers = []
        size = len(cloudpickle.dumps(args, protocol=5, buffer_callback=buffers.append))
        sent.append(size + sum(buffer.raw().nbytes for buffer in buffers))
        return submit(function, *args, **kwargs)

    monkeypatch.setattr(client, "submit", count)
    sizes = (1000,) * 4
    model = make(client, persist=False, batch_size=4000).fit(cut(X, sizes), cut(y, sizes))
    assert X.nbytes < sum(sent) < 1.2 * X.nbytes
    assert X.nbytes < model.bytes_moved_[0] < 1.1 * X.nbytes
    assert max(model.bytes_moved_[1:]) < X.nbytes / 50


# The index of frames


def permuted(values, rng):
    """In another order within each partition."""
    cuts = np.cumsum([0, *SIZES])
    orders = [i + rng.permutation(j - i) for i, j in pairwise(cuts)]
    return values.iloc[np.concatenate(orders)]


@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_labels_in_another_order_go_to_their_rows(client, rng, make):
    X, y = made_up()
    frame, labels = frame_of(X), pd.Series(y)
    weight = pd.Series(rng.exponential(size=N))
    expected = make(client).fit(cut_frame(frame), cut_frame(labels), cut_frame(weight))
    given = cut_frame(permuted(labels, rng)), cut_frame(permuted(weight, rng))
    model = make(client).fit(cut_frame(frame), *given)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    with client.as_current():
        assert model.score(cut_frame(frame), *given) == expected.score(
            cut_frame(frame), cut_frame(labels), cut_frame(weight)
        )


@pytest.mark.parametrize("name", ["y", "sample_weight"])
def test_labels_of_other_rows(client, name):
    X, y = made_up()
    given = {"y": pd.Series(y), "sample_weight": pd.Series(np.ones(N))}
    given[name] = given[name].iloc[::-1]
    given = {key: cut_frame(value) for key, value in given.items()}
    model = local_sgd(client)
    with pytest.raises(ValueError, match=rf"^{name}: expected the index of X.*\(partition \d\)$"):
        model.fit(cut_frame(frame_of(X)), **given)
    given[name] = given[name].values
    model.fit(cut_frame(frame_of(X)), **given)


def test_persisted_rows_stay_where_they_are_whatever_they_share(processes):
    """Each partition of `X - X.mean(0)` is made where its rows of X are, not where others are."""
    X, _, (lazy, labels) = persisted(processes)
    with processes.as_current():
        centred = lazy - lazy.mean(axis=0)
    before = sent(processes)
    local_sgd(processes, max_iter=2, eta0=1e-3).fit(centred, labels)
    assert sent(processes) - before < X.nbytes / 4
