"""Workers that die, join, stop or have too little memory, on real processes.

A fit goes on from its last whole round with the right result, or ends with ClusterError and the weights of
that round. Whatever happens, nothing of it is left on the workers.
"""

import os
import signal
import threading
import time
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
from dask_faults import (
    ALONE,
    MODES,
    N_EPOCHS,
    assert_as_undisturbed,
    at_epoch,
    classifier,
    collections,
    die,
    first_of,
    in_a_moment,
    keeps_groups,
    made_of,
    once,
    samples,
    slow_rate,
    start,
    undisturbed,
    until,
)
from distributed import Client, LocalCluster, wait

from fastsoftmax import ClusterError
from fastsoftmax.dask import cluster as cluster_module

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("checks_often")]


@pytest.mark.parametrize("mode", first_of(*MODES))
def test_a_worker_dies_while_rows_are_read(site, mode, tmp_path):
    X, y = made_of(once(str(tmp_path / "marker"), die))
    model = classifier(site, mode).fit(X, y)
    assert_as_undisturbed(model, mode, exactly=not mode.startswith("local"))
    assert len(site.processes_by_worker()) == site.n_workers - 1


@pytest.mark.parametrize("mode", first_of(*MODES))
def test_a_worker_dies_between_rounds(site, mode):
    model = classifier(site, mode, callbacks=at_epoch(2, site.kill)).fit(*collections())
    assert_as_undisturbed(model, mode, exactly=keeps_groups(mode))


@pytest.mark.costly
@pytest.mark.parametrize("mode", list(MODES))
def test_a_worker_dies_within_a_round(site, mode):
    dies = at_epoch(2, in_a_moment(site.kill))
    model = classifier(site, mode, callbacks=dies, learning_rate=slow_rate())
    assert_as_undisturbed(model.fit(*collections()), mode, exactly=keeps_groups(mode))
    assert len(site.processes_by_worker()) == site.n_workers - 1


@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
def test_workers_that_die_are_started_anew(nannied_site, mode):
    def callback(end):
        if end.epoch in (1, 2):
            in_a_moment(nannied_site.kill)()

    model = classifier(nannied_site, mode, callbacks=callback, learning_rate=slow_rate())
    assert_as_undisturbed(model.fit(*collections()), mode, exactly=keeps_groups(mode))


@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
def test_what_is_persisted_is_computed_again(site, mode):
    X, y = collections()
    with site.client.as_current():
        X, y = X.persist(), y.persist()
        wait([X, y])
    model = classifier(site, mode, callbacks=at_epoch(2, site.kill)).fit(X, y)
    assert_as_undisturbed(model, mode, exactly=mode == "synchronous")


@pytest.mark.slow
@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
def test_statistics_of_a_worker_that_dies_have_the_same_bits(site, mode):
    parameters = {"eta0": "auto", "standardize": True, "max_iter": 1}
    X, y = collections()
    first = classifier(site, mode, **parameters).fit(X, y)
    with site.client.as_current():
        X, y = X.persist(), y.persist()
        wait([X, y])
    threading.Timer(0.1, site.kill).start()
    second = classifier(site, mode, **parameters).fit(X, y)
    assert second.eta0_ == first.eta0_
    np.testing.assert_array_equal(second.mean_, first.mean_)
    np.testing.assert_array_equal(second.scale_, first.scale_)


@pytest.mark.slow
@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
def test_more_workers_than_partitions(site, mode):
    X, y = made_of(lambda number, rows: rows, sizes=(400, 200))
    first = classifier(site, mode).fit(X, y)
    both = at_epoch(2, lambda: site.kill(2))  # so that one with rows is among them
    second = classifier(site, mode, callbacks=both).fit(X, y)
    np.testing.assert_array_equal(second.coef_, first.coef_)


@pytest.mark.parametrize("moment", first_of("within a round", "between rounds"))
@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
def test_rows_that_cannot_be_made_again(site, mode, moment):
    holders = list(site.processes_by_worker())
    futures = [
        site.client.scatter(part, workers=[worker], hash=False)
        for part, worker in zip(np.split(samples()[0], 3), holders, strict=True)
    ]
    X = da.concatenate([da.from_delayed(future, (200, 5), float) for future in futures])
    y = da.from_array(samples()[1], chunks=200)
    two_epochs = classifier(site, mode, max_iter=2).fit(X, y)
    do = site.kill if moment == "between rounds" else in_a_moment(site.kill)
    model = classifier(site, mode, callbacks=at_epoch(2, do), learning_rate=slow_rate())
    with pytest.raises(
        ClusterError, match=r"after epoch 2: data that cannot be computed again were on"
    ):
        model.fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.bytes_moved_) == 2
    assert np.isfinite(model.coef_).all()
    if mode == "synchronous":  # else it counts where the rows are
        assert model.loss_curve_ == two_epochs.loss_curve_
        np.testing.assert_array_equal(model.coef_, two_epochs.coef_)
        np.testing.assert_array_equal(model.intercept_, two_epochs.intercept_)


@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
def test_all_workers_die(site, mode, monkeypatch):
    monkeypatch.setattr(cluster_module, "_SECONDS_WITHOUT_WORKERS", 0.5)
    model = classifier(site, mode, callbacks=at_epoch(3, lambda: site.kill(3)))
    with pytest.raises(ClusterError, match=r"after epoch 3: no worker has come for 0\.5 seconds"):
        model.fit(*collections())
    assert_as_undisturbed(model, mode, 3)


@pytest.mark.slow
@pytest.mark.parametrize("moment", first_of("within a round", "between rounds"))
def test_all_workers_die_and_another_one_comes(site, moment):
    def change_workers():
        site.kill(3)
        threading.Timer(0.5, site.start_worker).start()

    do = change_workers if moment == "between rounds" else in_a_moment(change_workers)
    model = classifier(site, "synchronous", callbacks=at_epoch(2, do)).fit(*collections())
    assert_as_undisturbed(model, "synchronous")
    assert len(site.processes_by_worker()) == 1


def test_there_are_no_workers_at_all(monkeypatch):
    monkeypatch.setattr(cluster_module, "_SECONDS_WITHOUT_WORKERS", 0.5)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        model = classifier(SimpleNamespace(client=client), "local")
        with pytest.raises(ClusterError, match=r"^no worker has come for 0\.5 seconds$"):
            model.fit(*collections())
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("mode", first_of("local", "local, read again"))
def test_a_partition_that_kills_its_worker_each_time(nannied_site, mode):
    def make_part(number, rows):
        if number == 2:
            os._exit(1)  # as the kernel ends a process that takes too much memory
        return rows

    scheduler = nannied_site.cluster.scheduler
    scheduler.allowed_failures, before = 1, scheduler.allowed_failures
    model = classifier(nannied_site, mode)
    try:
        with pytest.raises(
            ClusterError, match=r"^2 workers died while they ran the same task, .* was tcp://"
        ):
            model.fit(*made_of(make_part))
    finally:
        scheduler.allowed_failures = before
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize(
    "mode", first_of("synchronous", "synchronous, read again", "local, read again")
)
def test_a_worker_joins(site, mode, tmp_path):
    def make_part(number, rows):
        (tmp_path / str(os.getpid())).touch()
        return rows

    def come():
        site.start_worker()
        until(lambda: len(site.processes_by_worker()) == site.n_workers + 1, 30)

    model = classifier(site, mode, callbacks=at_epoch(2, come)).fit(*made_of(make_part))
    assert_as_undisturbed(model, mode, exactly=keeps_groups(mode))
    readers = {int(path.name) for path in tmp_path.iterdir()}
    assert (site.processes[-1].pid in readers) == mode.endswith("read again")
    first = site.processes.pop(0)
    first.kill()
    first.wait()


@pytest.mark.costly
@pytest.mark.parametrize("others_die", [False, True])
@pytest.mark.parametrize("mode", first_of("local, read again", "synchronous", "local"))
def test_a_worker_without_the_package_joins(site, without_package, monkeypatch, mode, others_die):
    monkeypatch.setattr(cluster_module, "_SECONDS_WITHOUT_WORKERS", 0.5)
    joined = []

    def come():
        before = set(site.client.scheduler_info(n_workers=-1)["workers"])
        site.processes.append(
            start("dask_worker", site.cluster.scheduler_address, *ALONE, folder=without_package)
        )

        def has_come():
            joined[:] = set(site.client.scheduler_info(n_workers=-1)["workers"]) - before
            return bool(joined)

        until(has_come, 30)

    def callback(end):
        if end.epoch == 2:
            come()
        if end.epoch == 3 and others_die:
            for process in site.processes[:-1]:
                process.kill()

    model = classifier(site, mode, callbacks=callback)
    try:
        if others_die:
            # It may have closed itself at a task before anybody looks.
            with pytest.raises(ClusterError, match=r"^training stopped after epoch 3: ") as caught:
                model.fit(*collections())
            message = str(caught.value)
        else:
            with pytest.warns(UserWarning, match="fit has gone on without it$") as seen:
                model.fit(*collections())
            message = str(seen[0].message)
            assert [warning.filename for warning in seen] == [__file__]
        assert_as_undisturbed(model, mode, 3 if others_die else N_EPOCHS)
        expected = f"fastsoftmax cannot be imported on {joined[0]} (No fastsoftmax): install it on"
        assert expected in message
    finally:
        last = site.processes.pop()
        last.kill()
        last.wait()


@pytest.mark.slow
@pytest.mark.parametrize("mode", first_of("synchronous", "local, read again"))
def test_a_worker_stops_for_a_while(site, mode):
    def pause():
        process = next(iter(site.processes_by_worker().values()))
        os.kill(process, signal.SIGSTOP)
        threading.Timer(1, os.kill, (process, signal.SIGCONT)).start()

    begun = time.monotonic()
    model = classifier(site, mode, callbacks=at_epoch(2, pause)).fit(*collections())
    assert time.monotonic() - begun > 1
    np.testing.assert_array_equal(model.coef_, undisturbed(mode).coef_)
