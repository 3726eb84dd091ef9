"""Two versions take turns: in a round each has a new process, and in it every row a few pairs of turns."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from random import Random
from statistics import median
from types import TracebackType
from typing import Any

import numpy as np

from fastsoftmax.cli.errors import FAILED, CommandError
from fastsoftmax.cli.significance import Difference, Verdict, min_pairs, of_pairs, verdicts
from fastsoftmax.cli.timing import turns

from ..suites import Row

# How often, at most, a comparison of two equal versions says that any row differs: of 200 of them, once.
ALPHA = 0.005
PAIRS = 3
# Rounds beyond those that the test needs when all of them agree.
_MORE_ROUNDS = 4
_SECONDS_A_TURN = 0.03
_WORKER = Path(__file__).with_name("worker.py")
OLD, NEW = "old", "new"
# Libraries whose threads spin after their work would take the CPU from the other version.
_ENVIRONMENT = {"OPENBLAS_THREAD_TIMEOUT": "4", "OMP_WAIT_POLICY": "PASSIVE"}


def default_rounds(n_rows: int) -> int:
    """Return how many rounds are measured of that many rows."""
    return min_pairs(n_rows, ALPHA) + _MORE_ROUNDS


@dataclass
class Measured:
    """The seconds of a call of a row: for each round and version one for each turn."""

    row: str
    seconds: dict[str, list[list[float]]] = field(default_factory=lambda: {OLD: [], NEW: []})
    missing: dict[str, str] = field(default_factory=dict)  # by version, why it has no such row

    def log_ratios(self) -> list[float]:
        """Return of each round the median over its pairs of log(new / old)."""
        old, new = (np.log(self.seconds[version]) for version in (OLD, NEW))
        return [float(ratio) for ratio in np.median(new - old, axis=1)]

    def typical(self, version: str) -> float:
        """Return the median seconds of a call."""
        return median(median(of_round) for of_round in self.seconds[version])


@dataclass(frozen=True)
class Compared:
    """A row, and what the comparison says of it."""

    measured: Measured
    difference: Difference
    verdict: Verdict

    def is_slower_by(self, share: float) -> bool:
        """Whether it is slower beyond doubt, and the estimate by more than a share."""
        return self.verdict == Verdict.SLOWER and self.difference.ratio > 1 + share


def judged(measured: Sequence[Measured], alpha: float = ALPHA) -> list[Compared]:
    """Return the verdict on every row that both versions have, corrected for their number."""
    common = [row for row in measured if not row.missing]
    differences = [of_pairs(row.log_ratios()) for row in common]
    found = zip(common, differences, verdicts(differences, alpha), strict=True)
    return [Compared(*of_row) for of_row in found]


class Worker:
    """A process of one version."""

    def __init__(self, version: str, tree: Path, clock: str) -> None:
        self.version, self._row = version, "its start"
        environment = os.environ | _ENVIRONMENT | {"PYTHONPATH": str(tree)}
        environment.pop("FASTSOFTMAX_NUM_THREADS", None)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), clock],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            process_group=0,  # Ctrl-C is for the parent, which ends it
        )
        try:
            self.about = self._answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def ask(self, **request: Any) -> None:
        """Send a request, which begins the work."""
        try:
            assert self._process.stdin is not None
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._ended() from None

    def answer_to(self, row: str) -> dict[str, Any]:
        """Wait for the answer to what it was asked about a row."""
        self._row = row
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> CommandError:
        self._errors.seek(0)
        lines = self._errors.read().splitlines()
        reason = lines[-1] if lines else f"exit code {self._process.wait()}"
        return CommandError(
            f"the {self.version} version ended during {self._row}: {reason}", FAILED
        )


def measure(
    trees: Mapping[str, Path],
    rows: Sequence[Row],
    n_rounds: int,
    *,
    clock: str,
    n_pairs: int = PAIRS,
    seconds_a_turn: float = _SECONDS_A_TURN,
    seed: int = 0,
    slower: Mapping[str, float] | None = None,
    on_row: Callable[[int, str], object] = lambda *_: None,
    on_start: Callable[[str, Mapping[str, Any]], object] = lambda *_: None,
) -> list[Measured]:
    """Measure all rows.

    Parameters
    ----------
    trees : mapping
        The folders of the versions `OLD` and `NEW`.
    rows : sequence of Row
    n_rounds : int
        In each, both versions have new processes, and the rows a new order.
    clock : {"process_time", "perf_counter"}
    n_pairs : int
        Pairs of turns of a row in a round; the order within a pair is random.
    seconds_a_turn : float
        A turn repeats the call for about this long, as often for both versions and in all rounds.
    seed : int
    slower : mapping, optional
        A share of its time by which the new version of a row is made slower, by the name of the row.
    on_row : callable, optional
        Called with the number of rows that were measured before, and the name of the next one.
    on_start : callable, optional
        Called with the version and what a new process says about itself.
    """
    random, slower = Random(seed), slower or {}
    found = {row: Measured(row.name) for row in rows}
    n_calls: dict[Row, int] = {}
    for i in range(n_rounds):
        versions = [OLD, NEW]
        random.shuffle(versions)
        with ExitStack() as stack:
            workers = {v: stack.enter_context(Worker(v, trees[v], clock)) for v in versions}
            for version, worker in workers.items():
                on_start(version, worker.about)
            for n, row in enumerate(random.sample(rows, len(rows))):
                measured = found[row]
                if measured.missing:
                    continue
                on_row(i * len(rows) + n, row.name)
                ready = _prepared(workers, row)
                measured.missing = {v: a["missing"] for v, a in ready.items() if "missing" in a}
                if measured.missing:
                    continue
                fastest = min(answer["seconds"] for answer in ready.values())
                n_calls.setdefault(row, max(1, ceil(seconds_a_turn / fastest)))
                seconds: dict[str, list[float]] = {OLD: [], NEW: []}
                for _, version in turns([OLD, NEW], n_pairs, seed=random.getrandbits(32)):
                    share = slower.get(row.name, 0.0) if version == NEW else 0.0
                    workers[version].ask(time=n_calls[row], slower=share)
                    seconds[version].append(workers[version].answer_to(row.name)["seconds"])
                for version in (OLD, NEW):
                    measured.seconds[version].append(seconds[version])
    return list(found.values())


def _prepared(workers: Mapping[str, Worker], row: Row) -> dict[str, dict[str, Any]]:
    for worker in workers.values():
        worker.ask(prepare=row)
    return {version: worker.answer_to(row.name) for version, worker in workers.items()}
