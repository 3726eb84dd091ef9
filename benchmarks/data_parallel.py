"""What training on several workers costs, and where it pays: workers are processes of this machine.

    python -m benchmarks.data_parallel rounds     seconds and bytes of a round, by shape and workers
    python -m benchmarks.data_parallel speed      two workers of a thread, and one process with two
    python -m benchmarks.data_parallel loss       loss by epochs and by time, of the ways to train
    python -m benchmarks.data_parallel predict    10, 100 and 1000 workers, from measured constants

Nothing else should run.
"""

import argparse
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from rich.console import Console
from rich.table import Table

import fastsoftmax
from fastsoftmax.cli.timing import turns
from fastsoftmax.dask import SoftmaxClassifier

_CHUNK_BYTES = 1 << 25


class Rounds(NamedTuple):
    """Of one fit: the median round, and how long client and scheduler, this process, are busy with one."""

    seconds: float
    busy_seconds: float
    bytes_moved: int


@contextmanager
def cluster_of(n_workers: int) -> Iterator[None]:
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        Client(cluster),
    ):
        yield


def rows_of_chunk(shape: tuple[int, int, int], chunk: int) -> np.ndarray:
    """Rows and, in the last column, labels of a linear teacher, a tenth of them any."""
    n, d, c = shape
    rng = np.random.default_rng([1, chunk])
    X = rng.standard_normal((n, d), dtype=np.float32)
    teacher = np.random.default_rng(0).standard_normal((d, c), dtype=np.float32)
    y = (X @ teacher).argmax(axis=1)
    y = np.where(rng.random(n) < 0.1, rng.integers(c, size=n), y)
    return np.column_stack([X, y.astype(np.float32)])


def collections_of(n: int, d: int, c: int, n_chunks: int) -> tuple[Any, Any]:
    """Made on the workers, and held there."""
    sizes = [n * (i + 1) // n_chunks - n * i // n_chunks for i in range(n_chunks)]
    both = da.map_blocks(
        lambda block_info: rows_of_chunk(
            (sizes[block_info[None]["chunk-location"][0]], d, c),
            block_info[None]["chunk-location"][0],
        ),
        chunks=((*sizes,), (d + 1,)),
        dtype=np.float32,
        meta=np.zeros((0, 0), np.float32),
    )
    X, y = both[:, :-1].persist(), both[:, -1].astype(np.int64).persist()
    wait([X, y])
    return X, y


def rounds_of(X: Any, y: Any, n_rounds: int, **parameters: Any) -> Rounds:
    times, busy = [], []

    def note(_: object) -> None:
        times.append(perf_counter())
        busy.append(process_time())

    model = SoftmaxClassifier(
        max_iter=n_rounds * parameters.get("local_epochs", 1),
        tol=None,
        random_state=0,
        learning_rate="constant",
        eta0=0.01,
        callbacks=note,
        **{"batch_size": 200} | parameters,
    ).fit(X, y)
    seconds, of_one = (float(median(np.diff(each))) for each in (times, busy))
    return Rounds(seconds, of_one, int(median(model.bytes_moved_)))


def show(table: Table) -> None:
    Console(width=110).print(table)


def rounds(args: argparse.Namespace) -> None:
    """Vary one thing at a time."""
    base = (40_000, 100, 10)
    shapes = [base, (400_000, 100, 10), (40_000, 1000, 10), (40_000, 100, 1000)]
    table = Table("workers", "rows", "features", "classes", "algorithm", "ms a round", "KB a round")
    for n_workers in args.workers:
        with cluster_of(n_workers):
            for shape in shapes if n_workers <= 2 else [base]:
                X, y = collections_of(*shape, n_workers)
                for algorithm, size in (("local", 200), ("synchronous", shape[0])):
                    found = rounds_of(X, y, args.rounds, algorithm=algorithm, batch_size=size)
                    table.add_row(
                        str(n_workers),
                        *map(str, shape),
                        algorithm,
                        f"{1e3 * found.seconds:.1f}",
                        f"{found.bytes_moved / 1e3:.0f}",
                    )
        table.add_section()
    show(table)


def speed(args: argparse.Namespace) -> None:
    """Epochs of local SGD on two workers of one thread, and of one process with two threads, in turns."""
    n, d, c = args.shape
    n_chunks = max(2, 4 * n * d // _CHUNK_BYTES)
    with cluster_of(2):
        X, y = collections_of(n, d, c, n_chunks)
        local_X, local_y = X.compute(), y.compute()
        ways = {"one process, two threads": lambda: seconds_of_local_epoch(local_X, local_y)}
        for epochs in args.local_epochs:
            name = f"two workers, averaged every {epochs} epochs" if epochs > 1 else "two workers"
            ways[name] = partial(seconds_of_epoch, X, y, epochs)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _, name in turns([*ways], args.rounds):
            seconds[name].append(ways[name]())
    table = Table("way", "ms per epoch", "speed")
    reference = median(seconds["one process, two threads"])
    for name, times in seconds.items():
        table.add_row(name, f"{1e3 * median(times):.1f}", f"{reference / median(times):.2f}")
    show(table)


def seconds_of_epoch(X: Any, y: Any, local_epochs: int) -> float:
    return rounds_of(X, y, 6, algorithm="local", local_epochs=local_epochs).seconds / local_epochs


def seconds_of_local_epoch(X: np.ndarray, y: np.ndarray) -> float:
    times: list[float] = []
    fastsoftmax.SoftmaxClassifier(
        max_iter=6,
        tol=None,
        random_state=0,
        batch_size=200,
        learning_rate="constant",
        eta0=0.01,
        n_jobs=2,
        callbacks=lambda _: times.append(perf_counter()),
    ).fit(X, y)
    return float(median(np.diff(times)))


def loss(args: argparse.Namespace) -> None:
    """Measure the loss over all rows, by epochs and by time."""
    n, d, c = args.shape
    table = Table(
        "way", *(f"epoch {i}" for i in args.epochs), "seconds", title="loss after an epoch"
    )
    with cluster_of(2):
        X, y = collections_of(n, d, c, 8)
        local_X, local_y = X.compute(), y.compute()
        ways = {
            "one process, minibatches of 200": (fastsoftmax.SoftmaxClassifier, {}),
            "local SGD, an epoch a round": (SoftmaxClassifier, {}),
            "local SGD, 4 epochs a round": (SoftmaxClassifier, {"local_epochs": 4}),
            "synchronous, minibatches of 2000": (
                SoftmaxClassifier,
                {"algorithm": "synchronous", "batch_size": 2000},
            ),
            "synchronous, all rows": (
                SoftmaxClassifier,
                {"algorithm": "synchronous", "batch_size": n},
            ),
        }
        for name, (kind, parameters) in ways.items():
            seen: dict[int, Any] = {}

            def note(end: Any, seen: Any = seen) -> None:
                model = end.model
                seen[end.epoch] = model.coef_, model.intercept_

            on_cluster = kind is SoftmaxClassifier
            model = kind(
                max_iter=max(args.epochs),
                tol=None,
                learning_rate="constant",
                random_state=0,
                callbacks=note,
                **{"batch_size": 200} | parameters,
            )
            start = perf_counter()
            model.fit(*((X, y) if on_cluster else (local_X, local_y)))
            total = perf_counter() - start
            losses = []
            for epoch in args.epochs:
                nearest = min((e for e in seen if e >= epoch), default=None)
                if nearest is None or nearest != epoch:
                    losses.append("")
                    continue
                coef, intercept = seen[epoch]
                value = fastsoftmax.linear_cross_entropy(
                    local_X, coef.T, local_y, intercept, wrt=()
                )[0]
                losses.append(f"{value:.4f}")
            table.add_row(name, *losses, f"{total:.2f}")
    show(table)


class Constants(NamedTuple):
    """What a round costs, as measured on this machine."""

    step: float  # seconds for each task of a chain of them, from scheduler to worker and back
    task: float  # seconds that the scheduler is busy with a task: no two at a time
    bandwidth: float  # bytes a second between two processes
    row: float  # seconds a row, of one thread and this shape


def round_seconds(k: Constants, n_workers: int, n_rows: int, state: int, n_epochs: int) -> float:
    """Return the seconds of a round of local SGD: a chain of tasks, or what the scheduler needs for all."""
    depth = int(np.ceil(np.log2(n_workers)))
    compute = n_epochs * k.row * n_rows / n_workers
    chain = (depth + 1) * (k.step + state / k.bandwidth) + compute
    return max(chain, 2 * n_workers * k.task + compute)


def constants_of(shape: tuple[int, int, int], n_rounds: int) -> Constants:
    n, d, c = shape
    few, busy = 2_000, {}
    for n_workers in (1, 2, 8):
        with cluster_of(n_workers):
            X, y = collections_of(few, d, c, n_workers)
            found = rounds_of(X, y, n_rounds)
            busy[n_workers] = found.busy_seconds
            if n_workers == 1:
                step = found.seconds
                X, y = collections_of(n, d, c, 1)
                row = (rounds_of(X, y, n_rounds).seconds - step) / (n - few)
            if n_workers == 2:
                sizes = []
                for n_features in (1_000, 100_000):  # one row: weights that travel, and no work
                    X, y = collections_of(2 * c, n_features, c, 2)
                    sizes.append(rounds_of(X, y, n_rounds))
    light, heavy = sizes
    # On its way up the tree and back a round has half of its bytes one after another.
    bandwidth = (heavy.bytes_moved - light.bytes_moved) / 2 / (heavy.seconds - light.seconds)
    return Constants(step, (busy[8] - busy[2]) / (2 * 6), bandwidth, row)


def predict(args: argparse.Namespace) -> None:
    """Say what a round would take on more workers than there are here."""
    _, d, c = args.shape
    k = constants_of((200_000, d, c), args.rounds)
    print(
        f"{1e3 * k.step:.1f} ms a step of the tree, {1e3 * k.task:.2f} ms a task of the scheduler, "
        f"{k.bandwidth / 1e6:.0f} MB/s, {1e9 * k.row:.0f} ns a row of {d} features and {c} classes"
    )
    state = 4 * c * (d + 1)
    table = Table(
        "rows",
        "epochs a round",
        *(f"{w} workers" if w > 1 else "1 worker" for w in (1, 10, 100, 1000)),
    )
    for n_rows, epochs in itertools.product((10**6, 10**8, 10**10), (1, 10)):
        one = round_seconds(k, 1, n_rows, state, epochs)
        cells = []
        for n_workers in (1, 10, 100, 1000):
            seconds = round_seconds(k, n_workers, n_rows, state, epochs)
            cells.append(f"{seconds:.3g} s, {float(f'{one / seconds:.2g}'):g} x")
        table.add_row(f"{n_rows:.0e}", str(epochs), *cells)
    show(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    def shape(text: str) -> tuple[int, ...]:
        return tuple(int(number) for number in text.split("x"))

    for function in (rounds, speed, loss, predict):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.set_defaults(run=function)
        command.add_argument("--rounds", type=int, default=15)
        command.add_argument("--shape", type=shape, default=(400_000, 100, 10), help="NxDxC")
        command.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
        command.add_argument("--local-epochs", type=int, nargs="+", default=[1, 5])
        command.add_argument("--epochs", type=int, nargs="+", default=[1, 4, 8, 16])
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
