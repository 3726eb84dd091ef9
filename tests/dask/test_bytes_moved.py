"""Rows stay where they are: only weights, gradients and sums travel, and their bytes are counted."""

import io
import re

import cloudpickle
import pytest
from dask_cases import (
    COMMON,
    C,
    D,
    alone,
    cut,
    local_sgd,
    made_up,
    synchronous,
)


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
    # Messages of the client go through the scheduler, and are not in the workers' logs.
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
    assert model.bytes_moved_ == [2 * n_workers * state] * COMMON["max_iter"]


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
    of_epoch = (n_workers + 1) * state + others + state
    assert model.bytes_moved_ == [of_epoch] * COMMON["max_iter"]


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


def test_persisted_rows_stay_where_they_are_whatever_they_share(processes):
    """Each partition of `X - X.mean(0)` is made where its rows of X are, not where others are."""
    X, _, (lazy, labels) = persisted(processes)
    with processes.as_current():
        centred = lazy - lazy.mean(axis=0)
    before = sent(processes)
    local_sgd(processes, max_iter=2, eta0=1e-3).fit(centred, labels)
    assert sent(processes) - before < X.nbytes / 4
