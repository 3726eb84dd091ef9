"""Workers that die, come, stop or have too little memory, and a scheduler that goes, on real processes.

A fit goes on from its last whole round with the right result, or ends with ClusterError and the weights of
that round. Whatever happens, nothing of it is left on the workers.
"""

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import nullcontext, suppress
from copy import deepcopy
from functools import cache
from types import SimpleNamespace

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
from distributed import Client, LocalCluster, get_client, secede, wait, worker_client
from distributed.comm import CommClosedError
from paths import SUPPORT

from fastsoftmax import ClusterError, DivergenceError
from fastsoftmax.dask import SoftmaxClassifier
from fastsoftmax.dask import cluster as cluster_module

pytestmark = pytest.mark.timeout(60)

# Unequal partitions, one of them empty; rows are sorted by label, so that each misses some.
SIZES = (100, 0, 250, 50, 150, 50)
N_EPOCHS = 4


def first_of(first, *others):
    """Parameters, of which the first is tested always, and the others by `-m slow`."""
    return [first, *(pytest.param(other, marks=pytest.mark.slow) for other in others)]


MODES = {
    "synchronous": {"algorithm": "synchronous", "batch_size": 100},
    "synchronous, read again": {"algorithm": "synchronous", "batch_size": 600, "persist": False},
    "local": {"algorithm": "local", "batch_size": 20},
    "local, read again": {"algorithm": "local", "batch_size": 20, "persist": False},
}


def samples():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(sum(SIZES), 5))
    y = (X @ rng.normal(size=(5, 3))).argmax(axis=1)
    order = np.argsort(y, kind="stable")
    return X[order], y[order]


def collections():
    X, y = samples()
    return da.from_array(X, chunks=(SIZES, 5)), da.from_array(y, chunks=(SIZES,))


def made_of(make_part, sizes=SIZES):
    """X of what a function of (number, rows) returns on a worker, and y."""
    X, y = samples()
    X = da.from_array(X[: sum(sizes)], chunks=(sizes, 5))

    def of_block(rows, block_id):
        return make_part(block_id[0], rows)

    made = X.map_blocks(of_block, dtype=X.dtype, meta=np.empty((0, 5)))
    return made, da.from_array(y[: sum(sizes)], chunks=(sizes,))


def classifier(site, mode, **parameters):
    defaults = {"max_iter": N_EPOCHS, "tol": None, "random_state": 0, "n_jobs": 1, "eta0": 0.1}
    return SoftmaxClassifier(client=site.client, **defaults | MODES[mode] | parameters)


class Site:
    """Workers that are processes, without nannies: one that is killed stays so."""

    n_workers = 3

    def __init__(self):
        self.cluster = LocalCluster(n_workers=0, dashboard_address=":0", processes=True)
        self.client = Client(self.cluster, set_as_default=False)
        self.processes = []

    def start_worker(self):
        self.processes.append(start("dask_worker", self.cluster.scheduler_address, *ALONE))

    def processes_by_worker(self):
        """The process id of every worker that answers."""
        with suppress(OSError):
            return dict(sorted(self.client.run(os.getpid).items()))
        return {}

    def fill(self):
        """Have all workers that there are to be, alive."""
        self.processes = [process for process in self.processes if process.poll() is None]
        while len(self.processes) < self.n_workers:
            self.start_worker()
        self.wait_for_workers()

    def wait_for_workers(self):
        until(lambda: len(self.processes_by_worker()) == self.n_workers, 30)

    def send(self, which_signal, n=1):
        """Send a signal to some workers, the first in the order of their addresses."""
        found = list(self.processes_by_worker().values())[:n]
        assert len(found) == n
        for process in found:
            os.kill(process, which_signal)

    def kill(self, n=1):
        self.send(signal.SIGKILL, n)

    def left(self):
        """What is on the workers, and in the client."""
        data = self.client.run(lambda dask_worker: list(dask_worker.data))
        tasks = self.client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))
        return [key for keys in data.values() for key in keys] + tasks + list(self.client.futures)

    def close(self):
        self.client.close()
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.cluster.close()


class NanniedSite(Site):
    """Workers with nannies, which start another one for each that is killed."""

    def __init__(self):
        self.cluster = LocalCluster(
            n_workers=self.n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        )
        self.client = Client(self.cluster, set_as_default=False)
        self.processes = []

    def fill(self):
        self.wait_for_workers()


ALONE = ("--no-nanny", "--nthreads", "1", "--no-dashboard")


def start(module, *arguments, folder=None):
    # What workers unpickle may be of this file; what is in the folder they import first.
    path = os.pathsep.join(filter(None, [str(SUPPORT), *sys.path]))
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
        cwd=folder,
    )


def until(condition, seconds, what=lambda: "waited in vain"):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def lasting_site():
    site = Site()
    yield site
    site.close()


@pytest.fixture(scope="module")
def lasting_nannied_site():
    site = NanniedSite()
    yield site
    site.close()


@pytest.fixture
def site(lasting_site):
    """Three workers without nannies; nothing may be left on them after the test."""
    yield from whole(lasting_site)


@pytest.fixture
def nannied_site(lasting_nannied_site):
    yield from whole(lasting_nannied_site)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    monkeypatch.setattr(cluster_module, "_SECONDS_BETWEEN_LOOKS", 0.3)


def whole(site):
    site.fill()
    yield site
    site.fill()
    until(lambda: gc.collect() >= 0 and not site.left(), 10, site.left)


@cache
def undisturbed(mode, n_epochs=N_EPOCHS):
    """A fit on workers to which nothing happens: as many, so that they have the same partitions."""
    size = {"n_workers": Site.n_workers, "threads_per_worker": 1}
    with (
        LocalCluster(**size, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        model = SoftmaxClassifier(client=client, tol=None, random_state=0, n_jobs=1, eta0=0.1)
        return model.set_params(**MODES[mode], max_iter=n_epochs).fit(*collections())


def assert_as_undisturbed(model, mode, n_epochs=N_EPOCHS, exactly=True):
    theirs = undisturbed(mode, n_epochs)
    assert model.n_iter_ == theirs.n_iter_ == n_epochs
    if not exactly:
        assert np.isfinite(model.coef_).all()
        assert abs(model.loss_curve_[-1] - theirs.loss_curve_[-1]) < 0.1
        return
    assert model.t_ == theirs.t_
    assert model.loss_curve_ == theirs.loss_curve_
    np.testing.assert_array_equal(model.coef_, theirs.coef_)
    np.testing.assert_array_equal(model.intercept_, theirs.intercept_)


def keeps_groups(mode):
    """Whether the result does not depend on which workers there are after the first round.

    With "local", partitions that are read again are shared out anew.
    """
    return mode != "local, read again"


def at_epoch(number, do):
    """A callback."""

    def callback(end):
        if end.epoch == number:
            do()

    return callback


def in_a_moment(do, seconds=0.05):
    """Do it from another thread, in the round that begins."""
    return lambda: threading.Timer(seconds, do).start()


def slow_rate(seconds=0.01):
    """A learning rate that takes its time: on the workers with "local", so that a round takes some."""

    def rate(step):
        time.sleep(seconds)
        return 0.1

    return rate


def once(marker, do):
    """A function that does something the first time that any process calls it."""

    def part(number, rows):
        with suppress(FileExistsError):
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            do()
        return rows

    return part


def die():
    os.kill(os.getpid(), signal.SIGKILL)


# A worker that dies.


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
    holders = list(site.processes_by_worker()) * 2
    futures = [
        site.client.scatter(part, workers=[worker], hash=False)
        for part, worker in zip(np.split(samples()[0], 6), holders, strict=True)
    ]
    X = da.concatenate([da.from_delayed(future, (100, 5), float) for future in futures])
    y = da.from_array(samples()[1], chunks=100)
    two_epochs = classifier(site, mode, max_iter=2).fit(X, y)
    do = site.kill if moment == "between rounds" else in_a_moment(site.kill)
    model = classifier(site, mode, callbacks=at_epoch(2, do), learning_rate=slow_rate())
    with pytest.raises(
        ClusterError, match=r"after epoch 2: data that cannot be made again were on"
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


@pytest.mark.parametrize("moment", first_of("within a round", "between rounds"))
def test_all_workers_die_and_another_one_comes(site, moment):
    def change_workers():
        site.kill(3)
        threading.Timer(0.5, site.start_worker).start()

    do = change_workers if moment == "between rounds" else in_a_moment(change_workers)
    model = classifier(site, "synchronous", callbacks=at_epoch(2, do)).fit(*collections())
    assert_as_undisturbed(model, "synchronous")
    assert len(site.processes_by_worker()) == 1


def test_there_are_no_workers_at_all(site, monkeypatch):
    monkeypatch.setattr(cluster_module, "_SECONDS_WITHOUT_WORKERS", 0.5)
    site.kill(3)
    until(lambda: not site.client.scheduler_info()["workers"], 10)
    model = classifier(site, "local")
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
        with pytest.raises(ClusterError, match=r"^2 workers died at one task, .* was tcp://"):
            model.fit(*made_of(make_part))
    finally:
        scheduler.allowed_failures = before
    assert not hasattr(model, "coef_")


# Workers that come, and that stop.


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


@pytest.fixture
def without_package(tmp_path):
    """A folder in which there is no such package for a process that starts there."""
    (tmp_path / "fastsoftmax.py").write_text("raise ModuleNotFoundError('No fastsoftmax')")
    return tmp_path


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


# A scheduler that goes.


@pytest.fixture
def remote(tmp_path):
    """A scheduler, a worker and a client, each a process of its own."""
    file = tmp_path / "scheduler.json"
    processes = [
        start("dask_scheduler", "--scheduler-file", str(file), "--port", "0", "--no-dashboard")
    ]
    until(file.exists, 30)
    processes.append(start("dask_worker", "--scheduler-file", str(file), *ALONE))
    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
        client = Client(scheduler_file=str(file), set_as_default=False)
        client.wait_for_workers(1)
        try:
            yield client, processes[0]
        finally:
            client.close()
            for process in processes:
                process.kill()
                process.wait()


@pytest.mark.parametrize("mode", first_of("synchronous", "local"))
@pytest.mark.parametrize("moment", first_of("within a round", "between rounds"))
def test_the_scheduler_is_lost(remote, mode, moment):
    client, scheduler = remote
    do = scheduler.kill if moment == "between rounds" else in_a_moment(scheduler.kill)
    model = SoftmaxClassifier(client=client, tol=None, random_state=0, n_jobs=1)
    model.set_params(**MODES[mode], learning_rate=slow_rate(), callbacks=at_epoch(2, do))
    begun = time.monotonic()
    with pytest.raises(
        ClusterError, match=r"after epoch 2: the connection to the scheduler is lost"
    ):
        model.fit(*collections())
    assert time.monotonic() - begun < 20
    assert model.n_iter_ == 2
    if mode == "synchronous":
        np.testing.assert_array_equal(model.coef_, undisturbed(mode, 2).coef_)
    with pytest.raises(ClusterError, match=r"^the connection to the scheduler is lost"):
        model.fit(*collections())
    assert model.n_iter_ == 2


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


# What comes from the client's side.


@pytest.mark.parametrize("mode", first_of(*MODES))
def test_ctrl_c_within_a_round(site, mode):
    def press():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    pressed = at_epoch(2, in_a_moment(press, 0.02))
    model = classifier(site, mode, callbacks=pressed, learning_rate=slow_rate(0.02))
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*collections())
    assert time.monotonic() - begun < 20
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


# A cluster that answers as it seldom does: its workers are threads.


def fail_with(error):
    def fail(*_, **__):
        raise error

    return fail


def fit_on(client, mode="synchronous", **parameters):
    return classifier(SimpleNamespace(client=client), mode, **parameters).fit(*collections())


@pytest.mark.parametrize("mode", ["synchronous", "local"])
def test_results_that_take_their_time(client, monkeypatch, mode):
    expected, look, looks = fit_on(client, mode), cluster_module.Cluster.workers, []

    def count(cluster):
        looks.append(cluster)
        return look(cluster)

    monkeypatch.setattr(cluster_module, "_SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(cluster_module.Cluster, "workers", count)
    model = fit_on(client, mode)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert len(looks) > 2 * N_EPOCHS  # more than once a round


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
        with pytest.raises(ClusterError, match=r"^data that cannot be made again .*\(.*cancelled"):
            cluster.wait([future])


@pytest.mark.skipif(not cluster_module._UNWANTED, reason="this distributed lets tasks wait")
def test_a_scheduler_that_lets_no_task_wait_for_workers(monkeypatch):
    monkeypatch.setattr(cluster_module, "_SECONDS_BETWEEN_LOOKS", 10.0)
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
        cluster._has_seen(workers)  # b has what is left of the tasks
    with pytest.raises(ClusterError, match=r"^all workers are gone, .* their tasks: no pickles$"):
        cluster._has_seen({"d"})


# Clusters of threads that change, and fits within their tasks.


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
