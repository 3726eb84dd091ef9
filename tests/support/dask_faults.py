"""Shared by the tests of faults on Dask: clusters of processes, and fits with and without faults."""

import importlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context
from paths import SUPPORT

from fastsoftmax.dask import SoftmaxClassifier

# Unequal partitions, one of them empty; rows are sorted by label, so that each misses some.
SIZES = (100, 0, 300, 200)

N_EPOCHS = 4


def first_of(first, *others):
    """Parameters, of which the first is tested always, and the others by `-m slow`."""
    return [first, *(pytest.param(other, marks=pytest.mark.slow) for other in others)]


MODES = {
    "synchronous": {"algorithm": "synchronous", "batch_size": 150},
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
    """Return X whose partitions a function of (number, rows) returns on a worker, and y."""
    X, y = samples()
    X = da.from_array(X[: sum(sizes)], chunks=(sizes, 5))

    def of_block(rows, block_id):
        return make_part(block_id[0], rows)

    made = X.map_blocks(of_block, dtype=X.dtype, meta=np.empty((0, 5)))
    return made, da.from_array(y[: sum(sizes)], chunks=(sizes,))


def classifier(site, mode, **parameters):
    defaults = {"max_iter": N_EPOCHS, "tol": None, "random_state": 0, "n_jobs": 1, "eta0": 0.1}
    defaults["learning_rate"] = "constant"
    return SoftmaxClassifier(client=site.client, **defaults | MODES[mode] | parameters)


def fit_on(client, mode="synchronous", **parameters):
    return classifier(SimpleNamespace(client=client), mode, **parameters).fit(*collections())


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

    def start_missing(self):
        """Start a worker for each that has ended."""
        self.processes = [process for process in self.processes if process.poll() is None]
        while len(self.processes) < self.n_workers:
            self.start_worker()

    def fill(self):
        """Have all workers alive, and wait for them."""
        self.start_missing()
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
        """Return the keys that are left on the workers, the scheduler and in the client."""
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

    def start_missing(self):
        """Nannies start them."""


ALONE = ("--no-nanny", "--nthreads", "1", "--no-dashboard")


class Forked:
    """A command of Dask in a fork of a process that has imported what it needs, which takes seconds.

    With the methods of `subprocess.Popen` that tests call.
    """

    def __init__(self, module, arguments):
        self.process = get_mp_context().Process(target=_run, args=(module, arguments), daemon=True)
        self.process.start()
        self.pid, self.kill, self.wait = self.process.pid, self.process.kill, self.process.join

    def poll(self):
        return self.process.exitcode


def _run(module, arguments):
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    importlib.import_module(f"distributed.cli.{module}").main(arguments)


def start(module, *arguments, folder=None):
    """Start a command of Dask; with `folder` from there, with nothing imported before."""
    if folder is None:
        return Forked(module, arguments)
    # Workers import functions of the test modules, and from `folder` first.
    path = os.pathsep.join(filter(None, [str(SUPPORT), *sys.path]))
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
        cwd=folder,
    )


def until(condition, seconds, what=lambda: "timed out"):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def undisturbed(mode, n_epochs=N_EPOCHS):
    """Return the model after `n_epochs` without faults."""
    return epochs_undisturbed(mode)[n_epochs - 1]


@cache
def epochs_undisturbed(mode):
    """Return the models after every epoch without faults, on as many workers with the same partitions."""
    size = {"n_workers": Site.n_workers, "threads_per_worker": 1}
    models = []
    with (
        LocalCluster(**size, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        options = {"learning_rate": "constant", "eta0": 0.1, "tol": None, "random_state": 0}
        model = SoftmaxClassifier(client=client, n_jobs=1, **options)
        model.set_params(callbacks=lambda end: models.append(end.model))
        model.set_params(**MODES[mode], max_iter=N_EPOCHS).fit(*collections())
    return models


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
    """Return whether the result is independent of the workers after the first round.

    With "local", partitions that are read again are distributed again.
    """
    return mode != "local, read again"


def at_epoch(number, do):
    """A callback."""

    def callback(end):
        if end.epoch == number:
            do()

    return callback


def in_a_moment(do, seconds=0.03):
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
