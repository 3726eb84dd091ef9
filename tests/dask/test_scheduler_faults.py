"""Schedulers and clients that are lost, do not answer or lack this package, and clusters that change.

A fit ends with ClusterError and the weights of its last whole round, or goes on with the workers that come.
"""

import logging
import os
import threading
import time
from types import SimpleNamespace

import dask
import numpy as np
import pytest
from dask_faults import (
    ALONE,
    MODES,
    at_epoch,
    classifier,
    collections,
    first_of,
    fit_on,
    in_a_moment,
    slow_rate,
    start,
    undisturbed,
    until,
)
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError

from fastsoftmax import ClusterError
from fastsoftmax.dask import SoftmaxClassifier
from fastsoftmax.dask import cluster as cluster_module

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("checks_often")]


@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
@pytest.mark.parametrize("moment", first_of("within a round", "between rounds"))
def test_the_scheduler_is_lost(remote, mode, moment):
    client, scheduler = remote
    do = scheduler.kill if moment == "between rounds" else in_a_moment(scheduler.kill)
    model = SoftmaxClassifier(client=client, tol=None, random_state=0, n_jobs=1)
    model.set_params(**MODES[mode], learning_rate=slow_rate(), callbacks=at_epoch(2, do))
    with pytest.raises(
        ClusterError, match=r"after epoch 2: the connection to the scheduler is lost"
    ):
        model.fit(*collections())
    assert model.n_iter_ == 2
    if mode == "synchronous":
        np.testing.assert_array_equal(model.coef_, undisturbed(mode, 2).coef_)
    with pytest.raises(ClusterError, match=r"^the connection to the scheduler is lost"):
        model.fit(*collections())
    assert model.n_iter_ == 2


@pytest.mark.costly
@pytest.mark.parametrize("place", ["scheduler", "worker"])
def test_a_process_without_the_package(without_package, place):
    folders, file = {place: without_package}, without_package / "scheduler.json"
    ends = "--scheduler-file", str(file)
    processes = [
        start("dask_scheduler", *ends, "--port", "0", folder=folders.get("scheduler")),
        start("dask_worker", *ends, *ALONE, folder=folders.get("worker")),
    ]
    try:
        until(file.exists, 30)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(1)
            [worker] = client.scheduler_info()["workers"]
            where = {"scheduler": "the scheduler", "worker": worker}[place]
            message = rf"^fastsoftmax cannot be imported on {where} \(No fastsoftmax\): install it"
            model = SoftmaxClassifier(client=client)
            for persist in (True, False):
                with pytest.raises(ClusterError, match=message):
                    model.set_params(persist=persist).fit(*collections())
            assert not hasattr(model, "coef_")
            assert worker in client.scheduler_info()["workers"]  # it has not died of it
    finally:
        for process in processes:
            process.kill()
            process.wait()


def fail_with(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    ("method", "answer", "message"),
    [
        ("submit", fail_with(CommClosedError("in\n submit")), "is lost: in submit"),
        ("scheduler_info", lambda **_: {}, "is lost"),
    ],
)
def test_a_scheduler_that_does_not_answer(client, monkeypatch, method, answer, message):
    does_not = at_epoch(2, lambda: monkeypatch.setattr(client, method, answer))
    with pytest.raises(ClusterError, match=f"after epoch 2: .* to the scheduler {message}$"):
        fit_on(client, callbacks=does_not)


@pytest.mark.parametrize("mode", ["synchronous", "local"])
def test_a_client_that_is_closed_within_a_round(clients, mode):
    with Client(clients(2).cluster, set_as_default=False) as client:
        closed = at_epoch(2, in_a_moment(client.close))
        with pytest.raises(ClusterError, match=r"after epoch 2: the connection .* is lost$"):
            fit_on(client, mode, callbacks=closed, learning_rate=slow_rate())


def test_a_task_that_somebody_cancels(client):
    with cluster_module.Cluster(client) as cluster:
        future = cluster.submit(time.sleep, 0.3)
        client.cancel(future)
        with pytest.raises(
            ClusterError, match=r"^data that cannot be computed again .*\(.*cancelled"
        ):
            cluster.wait([future])


@pytest.mark.skipif(not cluster_module._NO_WORKER, reason="this distributed lets tasks wait")
def test_a_scheduler_that_lets_no_task_wait_for_workers(monkeypatch):
    monkeypatch.setattr(cluster_module, "_SECONDS_BETWEEN_CHECKS", 10.0)
    made = {"n_workers": 0, "processes": False, "dashboard_address": ":0"}
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": "50ms"}),
        LocalCluster(**made, silence_logs=logging.CRITICAL) as here,
        Client(here, set_as_default=False) as client,
        cluster_module.Cluster(client) as cluster,
        pytest.raises(ClusterError, match=r"^no worker takes the tasks: .*getpid"),
    ):
        cluster.wait([cluster.submit(os.getpid)])


def test_a_scheduler_that_runs_nothing_it_is_sent(client, monkeypatch):
    cluster = cluster_module.Cluster(client)
    monkeypatch.setattr(client, "run_on_scheduler", fail_with(ValueError("no\n pickles")))
    for workers in ({"a", "b"}, {"b", "c"}):
        cluster._reassign_tasks(workers)  # b has what is left of the tasks
    with pytest.raises(ClusterError, match=r"^all workers are gone, .* their tasks: no pickles$"):
        cluster._reassign_tasks({"d"})


def small_cluster(n_workers):
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=False,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
    )


GROWING = {
    "by need": lambda cluster: cluster.adapt(minimum=0, maximum=1),
    "by somebody": lambda cluster: threading.Timer(0.5, cluster.scale, (1,)).start(),
}


@pytest.mark.parametrize("grow", GROWING.values(), ids=GROWING.keys())
def test_workers_that_come_after_the_fit_has_begun(grow):
    with small_cluster(0) as cluster, Client(cluster, set_as_default=False) as client:
        grow(cluster)
        parameters = {"persist": "auto", "batch_size": 300, "max_iter": 2}
        model = fit_on(client, "synchronous", **parameters)
    assert model.n_iter_ == 2


@pytest.mark.parametrize("mode", list(MODES))
def test_a_cluster_that_is_restarted_between_rounds(mode):
    with small_cluster(2) as cluster, Client(cluster, set_as_default=False) as client:

        def restart():
            client.restart(wait_for_workers=False)
            cluster.scale(0)
            cluster.scale(2)

        model = classifier(SimpleNamespace(client=client), mode, callbacks=at_epoch(2, restart))
        with pytest.raises(ClusterError, match=r"after epoch 2: the cluster has been restarted$"):
            model.fit(*collections())
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("mode", ["synchronous", "local"])
def test_a_cluster_that_is_restarted_within_a_round(mode):
    with small_cluster(2) as cluster, Client(cluster, set_as_default=False) as client:
        restart = in_a_moment(lambda: client.restart(wait_for_workers=False))
        parameters = {"callbacks": at_epoch(2, restart), "learning_rate": slow_rate()}
        model = classifier(SimpleNamespace(client=client), mode, **parameters)
        with pytest.raises(ClusterError, match=r"after epoch 2: the cluster has been restarted$"):
            model.fit(*collections())
    assert model.n_iter_ == len(model.loss_curve_) == 2
