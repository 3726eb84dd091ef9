"""Clusters, made once for all tests: of threads in this process, and of two processes."""

import pytest
from distributed import Client, LocalCluster

OF_A_CLUSTER = {"threads_per_worker": 1, "dashboard_address": ":0"}


@pytest.fixture(scope="session")
def clients():
    """A function from a number of workers to a client of such a cluster, within this process."""
    opened = {}

    def client_of(n_workers):
        if n_workers not in opened:
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


@pytest.fixture(scope="session")
def processes():
    """A client of two workers that are processes."""
    with (
        LocalCluster(n_workers=2, processes=True, **OF_A_CLUSTER) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
