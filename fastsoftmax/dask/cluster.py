"""Run tasks on the workers of a cluster, and handle its failures."""

import threading
import warnings
import weakref
from asyncio import CancelledError, run_coroutine_threadsafe
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any, NamedTuple, Self

import cloudpickle
import dask
import distributed
import distributed.client
import distributed.scheduler
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker
from distributed.threadpoolexecutor import thread_state

from ..exceptions import ClusterError

# How long a fit waits for a worker if there is none, and how often it checks on the workers.
_SECONDS_WITHOUT_WORKERS = 60.0
_SECONDS_BETWEEN_CHECKS = 2.0

_CANCELLED = (CancelledError, FutureCancelledError, FuturesCancelledError)
_SCHEDULER = "the scheduler"
_CONNECTION_LOST = "the connection to the scheduler is lost"
# Dask's configuration is global: only one fit at a time may change it temporarily.
_CONFIGURATION = threading.RLock()
# Errors of tasks that no worker takes; not all versions of distributed have them.
_NO_WORKER = tuple(
    getattr(distributed.scheduler, name)
    for name in ("NoWorkerError", "NoValidWorkerError")
    if hasattr(distributed.scheduler, name)
)
# Errors of a closed client; not all versions of distributed have the second one.
_CLOSED = (
    CommClosedError,
    *(
        getattr(distributed.client, name)
        for name in ("ClosedClientError",)
        if hasattr(distributed.client, name)
    ),
)


class Worker(NamedTuple):
    """A worker of the cluster, and its number of threads for tasks."""

    address: str
    n_threads: int


class Cluster:
    """A client as training uses it; on leaving its context, it releases everything on the workers."""

    def __init__(self, client: Any) -> None:
        self.client = client_of(client)
        self._futures: weakref.WeakSet[Any] = weakref.WeakSet()  # those that are still referenced
        self._last_seen: set[str] = set()  # addresses of workers
        self._able: set[str] = set()  # workers, and the scheduler, that have this package
        self._unable: dict[str, str] = {}  # those that do not, each with the error
        self._generation = self.client.generation  # changes when the cluster is restarted
        self._bytes_sent = 0
        self._has_seceded = False

    def __enter__(self) -> Self:
        self._has_seceded = _secede()
        return self

    def __exit__(self, *_: object) -> None:
        # References may outlive the fit: in the frames of an error, or in the argument of a callback.
        # (`client.cancel` is no alternative: if another task depends on a cancelled one that nobody waits
        # for, the scheduler fails and drops the client.)
        for future in list(self._futures):
            with suppress(Exception):  # without a scheduler they are released already
                future.release()
        if self._has_seceded:
            distributed.rejoin()

    def workers(self) -> list[Worker]:
        """Return the present workers; wait for one if there is none.

        Raises
        ------
        ClusterError
            If no worker comes in time, or the scheduler is lost.
        """
        found = self._find_workers()
        return [Worker(address, found[address]["nthreads"]) for address in sorted(found)]

    def _find_workers(self) -> dict[str, Any]:
        begun, waiting_task = monotonic(), None
        while not (found := self._worker_info()):
            if waiting_task is None:  # an adaptive cluster starts workers for waiting tasks
                with self._connected():
                    waiting_task = self.client.submit(int, pure=False)
            if monotonic() - begun > _SECONDS_WITHOUT_WORKERS:
                why = f"; {self._where_to_install()}" if self._unable else ""
                raise ClusterError(
                    f"no worker has come for {_SECONDS_WITHOUT_WORKERS:g} seconds{why}"
                )
            sleep(_SECONDS_BETWEEN_CHECKS / 10)
        self._check_imports(set(found))
        found = {address: of for address, of in found.items() if address not in self._unable}
        self._reassign_tasks(set(found))
        return found

    def _check_imports(self, workers: set[str]) -> None:
        """Raise if the scheduler or a worker does not have this package.

        Without the check a worker would die of the first task that it cannot unpickle, then the next
        worker. A worker without the package that joins while others have it is left out: its tasks go to
        others.
        """
        is_running = bool(self._able)
        if new := sorted(workers - self._able - self._unable.keys()):
            self._try_imports(new)
        if self._unable and not (is_running and workers & self._able):
            raise ClusterError(self._where_to_install())

    def warn_of_left_out(self, stacklevel: int) -> None:
        """Warn of workers that joined and could not be used."""
        if self._unable:
            message = f"{self._where_to_install()}; the fit has gone on without it"
            warnings.warn(message, UserWarning, stacklevel=stacklevel)

    def _where_to_install(self) -> str:
        places = f"{', '.join(self._unable)} ({next(iter(self._unable.values()))})"
        return (
            f"fastsoftmax cannot be imported on {places}: "
            "install it on the scheduler and on every worker, as it is here"
        )

    def _try_imports(self, new: list[str]) -> None:
        reasons: dict[str, Any] = {}
        with self._connected():
            reasons |= self.client.run(_import_error(), workers=new, on_error="return")
        if _SCHEDULER not in self._able:
            with suppress(Exception):  # schedulers may refuse to run functions
                reasons[_SCHEDULER] = self.client.run_on_scheduler(_import_error())
        # A worker that does not answer is about to leave.
        self._unable |= {place: why for place, why in reasons.items() if isinstance(why, str)}
        self._able |= {*new, _SCHEDULER} - self._unable.keys()

    def _reassign_tasks(self, workers: set[str]) -> None:
        """Reassign the tasks of lost workers in the cases in which Dask does not."""
        before, self._last_seen = self._last_seen, workers
        if not before or before == workers:
            return
        try:
            self.client.run_on_scheduler(_release_stuck_tasks())
        except Exception as error:  # schedulers may refuse to run functions
            if not before & workers:
                raise ClusterError(
                    f"all workers are gone, and others do not get their tasks: {_one_line(error)}"
                ) from None

    def memory_left(self) -> float:
        """Return the bytes of memory that all workers have left; infinity if one has no limit.

        It waits for a worker, as `workers` does.
        """
        workers = self._find_workers().values()
        left = [each["memory_limit"] - each["metrics"].get("memory", 0) for each in workers]
        is_limited = all(each["memory_limit"] for each in workers)
        return float(sum(max(each, 0) for each in left)) if is_limited else float("inf")

    def holders_of(self, futures: Sequence[Any]) -> list[str | None]:
        """Return, for each task, a worker that has its result; None if there is none."""
        with self._connected():
            holders = self.client.who_has(list(futures)) if futures else {}
        return [min(holders.get(future.key, ()), default=None) for future in futures]

    def submit(self, function: Callable[..., Any], *args: Any, worker: str | None = None) -> Any:
        """Start a task on this worker or, if it is lost, on another one."""
        with _large_graphs(), self._connected():
            future = self.client.submit(function, *args, pure=False, **_on(worker))
        self._futures.add(future)
        return future

    def send(self, value: Any, worker: str | None = None) -> Any:
        """Send a value to a worker, and count its bytes."""
        buffers: list[Any] = []
        pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        self._bytes_sent += len(pickled) + sum(each.raw().nbytes for each in buffers)
        return self.submit(_identity, value, worker=worker)

    def count_bytes_sent(self, n_bytes: int) -> None:
        """Count bytes that tasks have sent."""
        self._bytes_sent += n_bytes

    def take_bytes_sent(self) -> int:
        """Return the bytes sent since the last call."""
        taken, self._bytes_sent = self._bytes_sent, 0
        return taken

    def compute(self, tasks: list[Any]) -> list[Any]:
        """Start lazy tasks as one graph: tasks that they share are computed once."""
        with _large_graphs(), self._connected():
            futures: list[Any] = self.client.compute(tasks, optimize_graph=False)
        self._futures.update(futures)
        return futures

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make Dask build graphs, such as those of shuffles, for this cluster."""
        with _CONFIGURATION, self.client.as_current():
            yield

    def result(self, future: Any) -> Any:
        """Wait for a task, and return its result; see `wait` for errors."""
        self._wait(future)
        with self._translated_errors(), self._connected(unless_failed=future):
            # The last worker may be lost during the transfer, for which `future.result()` would wait
            # forever.
            pending = run_coroutine_threadsafe(
                self.client.gather([future], asynchronous=True), self.client.loop.asyncio_loop
            )
            while not pending.done():
                try:
                    pending.result(_SECONDS_BETWEEN_CHECKS)
                except TimeoutError:
                    self.workers()
            return pending.result()[0]

    def wait(self, futures: Sequence[Any]) -> None:
        """Wait for tasks, and leave their results on the workers.

        Raises
        ------
        ClusterError
            If the scheduler, all workers or the inputs of the tasks are lost permanently.
        Exception
            The error of a task.
        """
        for future in futures:
            self._wait(future)

    def _wait(self, future: Any) -> None:
        with self._translated_errors():
            while future.status in ("pending", "lost"):  # Dask recomputes lost results if it can
                try:
                    # Unlike `result`, this leaves the result on the worker.
                    future.exception(timeout=_SECONDS_BETWEEN_CHECKS)
                except TimeoutError:
                    self.workers()
            if future.status == "error":
                raise future.exception()
            if future.status == "cancelled":
                future.result()  # raises

    def results(self, futures: Sequence[Any]) -> list[Any]:
        """Wait for tasks; see `result`."""
        return [self.result(future) for future in futures]

    def _worker_info(self) -> dict[str, Any]:
        with self._connected():
            # By default some versions return the first five workers only.
            info = self.client.scheduler_info(n_workers=-1)
        if self.client.status != "running" or "workers" not in info:
            raise ClusterError(_CONNECTION_LOST)
        found: dict[str, Any] = info["workers"]
        return found

    @contextmanager
    def _connected(self, unless_failed: Any = None) -> Iterator[None]:
        self._check_client()
        try:
            yield
        except _CANCELLED as error:
            raise ClusterError(self._why_cancelled(error)) from None
        except (OSError, *_CLOSED) as error:
            if unless_failed is not None and unless_failed.status == "error":
                raise  # the error of the task, which was computed again
            raise ClusterError(f"{_CONNECTION_LOST}: {_one_line(error)}") from None

    def _check_client(self) -> None:
        if self.client.status != "running":
            raise ClusterError(_CONNECTION_LOST)
        if self.client.generation != self._generation:
            raise ClusterError("the cluster has been restarted")

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Translate errors of the cluster, not those of a task itself, to ClusterError."""
        try:
            yield
        except KilledWorker as error:
            raise ClusterError(
                f"{error.allowed_failures + 1} workers died while they ran the same task, perhaps out of "
                f"memory; the last one was {error.last_worker.address}"
            ) from None
        except _NO_WORKER as error:
            raise ClusterError(f"no worker takes the tasks: {_one_line(error)}") from None
        except _CANCELLED as error:
            raise ClusterError(self._why_cancelled(error)) from None

    def _why_cancelled(self, error: BaseException) -> str:
        self._check_client()
        if "scheduler-connection-lost" in str(error):
            return _CONNECTION_LOST
        return f"data that cannot be computed again were on a lost worker ({_one_line(error)})"


def _release_stuck_tasks() -> Callable[..., None]:
    """Return a function for the scheduler, which may lack this package.

    A task for a certain worker, or another one if that is lost, waits forever once there was no worker at
    all: the scheduler offers it to a new worker only if that has the same address.
    """

    def release(dask_scheduler: Any) -> None:
        stuck = {
            task.key: "processing" for task in dask_scheduler.unrunnable if task.loose_restrictions
        }
        if stuck and dask_scheduler.running:
            dask_scheduler.transitions(stuck, "fastsoftmax: workers have changed")

    return release


def _import_error() -> Callable[[], str | None]:
    """Return a function that returns the import error, for processes that may lack this package."""

    def error() -> str | None:
        import importlib

        try:
            importlib.import_module("fastsoftmax.dask")
        except ImportError as error:
            return " ".join(str(error).split())
        return None

    return error


@contextmanager
def _large_graphs() -> Iterator[None]:
    """Keep Dask from warning of large graphs, which contain weights and small partitions.

    It changes Dask's configuration: a warnings filter would stay behind if fits in threads overlapped.
    """
    with (
        _CONFIGURATION,
        dask.config.set({"distributed.admin.large-graph-warning-threshold": 1 << 60}),
    ):
        yield


def _identity(value: Any) -> Any:
    return value


def _secede() -> bool:
    """Free the worker's thread for the tasks of the fit, if the fit is itself a task.

    Returns whether `distributed.rejoin` is to be called.
    """
    if not getattr(thread_state, "proceed", False):  # not in a task, or it has seceded already
        return False
    distributed.secede()
    return True


def _on(worker: str | None) -> dict[str, Any]:
    if worker is None:
        return {}
    return {"workers": [worker], "allow_other_workers": True}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def client_of(client: Any) -> Any:
    """Return the given client, or the current one for None.

    Raises
    ------
    TypeError, ValueError
        If it is not a synchronous client, or there is none.
    """
    if client is None:
        try:
            client = distributed.get_client()
        except ValueError:
            raise ValueError(
                "client: there is no current Dask client: create one by distributed.Client(), or pass one"
            ) from None
    if not isinstance(client, distributed.Client):
        raise TypeError(f"client: expected a distributed.Client or None, got {client!r}")
    if client.asynchronous:
        raise ValueError("client: expected a synchronous client, got an asynchronous one")
    return client


def here() -> str:
    """Return the address of the worker that a task runs on."""
    address: str = distributed.get_worker().address
    return address


def threads_here(n_threads: int | None) -> int:
    """Return the number of threads of a task: `n_threads`, or that of its worker for None."""
    return n_threads or int(distributed.get_worker().state.nthreads)
