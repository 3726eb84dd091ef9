"""Clusters, made once for all tests: of threads in this process, and of two processes."""

import gc

import dask
import pytest
from dask_faults import ALONE, NanniedSite, Site, start, until
from distributed import Client, LocalCluster
from distributed.batched import BatchedSend

from fastsoftmax.dask import cluster as cluster_module

OF_A_CLUSTER = {"threads_per_worker": 1, "dashboard_address": ":0"}
dask.config.set(
    {
        # Workers that are processes are forked from one that has imported distributed, once.
        "distributed.worker.multiprocessing-method": "forkserver",
        # What clusters measure of themselves, while they last: a tenth of a CPU.
        "distributed.worker.profile.enabled": False,
        "distributed.worker.memory.monitor-interval": "1s",
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.scheduler.work-stealing-interval": "1s",
    }
)

_initialise = BatchedSend.__init__


def send_promptly(self, interval, *args, **kwargs):
    """Initialise without the 2 to 10 ms that messages wait for others, half of the time of a small fit."""
    _initialise(self, 0, *args, **kwargs)


@pytest.fixture(scope="package")
def clients():
    """A function from a number of workers to a client of such a cluster, within this process."""
    opened = {}

    def client_of(n_workers):
        if n_workers not in opened:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(BatchedSend, "__init__", send_promptly)
                cluster = LocalCluster(n_workers=n_workers, processes=False, **OF_A_CLUSTER)
                opened[n_workers] = cluster, Client(cluster, set_as_default=False)
        return opened[n_workers][1]

    yield client_of
    for cluster, client in opened.values():
        client.close()
        cluster.close()


@pytest.fixture
def client(clients):
    """A client of two workers."""
    return clients(2)


@pytest.fixture(scope="package")
def processes():
    """A client of two workers that are processes."""
    with (
        LocalCluster(n_workers=2, processes=True, **OF_A_CLUSTER) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="package")
def lasting_site():
    site = Site()
    yield site
    site.close()


@pytest.fixture(scope="package")
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


def whole(site):
    site.fill()
    yield site
    until(lambda: gc.collect() >= 0 and not site.left(), 10, site.left)
    site.start_missing()  # the next test waits for them


@pytest.fixture
def checks_often(monkeypatch):
    monkeypatch.setattr(cluster_module, "_SECONDS_BETWEEN_CHECKS", 0.3)


@pytest.fixture
def without_package(tmp_path):
    """A folder in which a process cannot import this package."""
    (tmp_path / "fastsoftmax.py").write_text("raise ModuleNotFoundError('No fastsoftmax')")
    return tmp_path


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
