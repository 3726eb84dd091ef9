"""Fits that are interrupted, fail or diverge, that wait for results, and that run within tasks and threads.

They keep the weights of the last whole round, and nothing of them is left on the workers.
"""

import signal
import threading
import time
import warnings
from contextlib import nullcontext
from copy import deepcopy

import dask
import distributed
import numpy as np
import pytest
from dask_faults import (
    MODES,
    N_EPOCHS,
    assert_as_undisturbed,
    at_epoch,
    classifier,
    collections,
    first_of,
    fit_on,
    in_a_moment,
    made_of,
    slow_rate,
    undisturbed,
    until,
)
from distributed import get_client, secede, worker_client

from fastsoftmax import DivergenceError
from fastsoftmax.dask import cluster as cluster_module

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("checks_often")]


@pytest.mark.parametrize("mode", first_of(*MODES))
def test_ctrl_c_within_a_round(site, mode):
    def press():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    pressed = at_epoch(2, in_a_moment(press, 0.02))
    model = classifier(site, mode, callbacks=pressed, learning_rate=slow_rate(0.1))
    with pytest.raises(KeyboardInterrupt):
        model.fit(*collections())
    assert_as_undisturbed(model, mode, 2)
    assert_as_undisturbed(classifier(site, mode).fit(*collections()), mode)


def test_ctrl_c_before_a_whole_round_leaves_the_model_as_it_was(site):
    def rate(step):
        raise KeyboardInterrupt

    model = classifier(site, "synchronous", learning_rate=rate)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*collections())
    assert not hasattr(model, "coef_")


@pytest.mark.slow
@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
def test_an_error_of_a_callback(site, mode):
    def fail():
        raise LookupError("nothing there")

    model = classifier(site, mode, callbacks=at_epoch(3, fail))
    with pytest.raises(LookupError, match="nothing there"):
        model.fit(*collections())
    assert_as_undisturbed(model, mode, 3)
    assert_as_undisturbed(classifier(site, mode).fit(*collections()), mode)


@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
def test_divergence_keeps_the_last_good_round(site, mode):
    steps = undisturbed(mode, 2).t_

    def rate(step):
        return 1e-5 if step < steps else np.finfo(float).max

    X, y = collections()
    model = classifier(site, mode, learning_rate=rate)
    with pytest.raises(DivergenceError):
        model.fit(100 * X, y)
    assert model.n_iter_ == 2
    assert np.isfinite(model.coef_).all()
    assert_as_undisturbed(classifier(site, mode).fit(*collections()), mode)


def test_rows_that_fail_while_they_are_read(site):
    def make_part(number, rows):
        if number == 3:
            raise FileNotFoundError("rows.parquet")
        return rows

    with pytest.raises(FileNotFoundError, match=r"rows\.parquet"):
        classifier(site, "local").fit(*made_of(make_part))


@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
def test_nothing_is_held_by_what_outlives_a_fit(site, mode):
    ends, errors = [], []

    def callback(end):
        ends.append(end)  # which knows the run
        if end.epoch == 3:
            raise LookupError

    model = classifier(site, mode, callbacks=callback)
    try:
        model.fit(*collections())
    except LookupError as error:
        errors.append(error)  # with the frames of the fit
    until(lambda: not site.left(), 5)
    assert len(ends) == 3
    assert len(errors) == 1


@pytest.mark.costly
@pytest.mark.parametrize("mode", ["synchronous", "local"])
def test_results_that_take_their_time(client, monkeypatch, mode):
    rate = slow_rate(0.02)  # in a round of local SGD; a synchronous step takes 10 ms
    expected = fit_on(client, mode, learning_rate=rate)
    look, looks = cluster_module.Cluster.workers, []

    def count(cluster):
        looks.append(cluster)
        return look(cluster)

    monkeypatch.setattr(cluster_module, "_SECONDS_BETWEEN_CHECKS", 0.001)
    monkeypatch.setattr(cluster_module.Cluster, "workers", count)
    model = fit_on(client, mode, learning_rate=rate)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert len(looks) > 2 * N_EPOCHS  # more than once a round


def seceded():
    client = get_client()
    secede()
    return nullcontext(client)


TASKS = {
    "worker_client": worker_client,
    "secede": seceded,
    "get_client": lambda: nullcontext(get_client()),
    "no client": nullcontext,
}


@pytest.mark.costly
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_a_fit_within_a_task(clients, task):
    def fit():
        with task() as client:
            model = fit_on(client, "local", persist="auto")
            return model.coef_, model.score(*collections())

    client = clients(1)  # whose only thread has the task
    expected = fit_on(client, "local")
    futures = [client.submit(fit, pure=False) for _ in range(2)]
    try:
        for coef, score in client.gather(futures):
            np.testing.assert_array_equal(coef, expected.coef_)
            assert score == expected.score(*collections())
    finally:
        # A worker makes its client the default one of the process, which is that of the tests here.
        for default in set(distributed.client._global_clients.values()):
            distributed.client._del_global_client(default)
        dask.config.config.pop("scheduler", None)  # which is that client's


def test_fits_in_threads_leave_no_filter_of_warnings(client, monkeypatch):
    submit, delays = client.submit, iter([0.2, 0.4])

    def slowly(*args, **kwargs):
        time.sleep(next(delays, 0))
        return submit(*args, **kwargs)

    monkeypatch.setattr(client, "submit", slowly)
    before, settings = list(warnings.filters), deepcopy(dask.config.config)
    threads = [threading.Thread(target=fit_on, args=(client, "local")) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert warnings.filters == before
    assert dask.config.config == settings
