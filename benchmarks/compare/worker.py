"""A process of one version: reads requests, a line of JSON each, and answers each with a line of JSON.

`{"prepare": [suite, function, backend, shape, dtype]}` makes a row's data and calls it once; the answer has
the "seconds" of a call, or, where this version cannot run it, what is "missing". `{"time": n}` times n
calls; the answer has the "seconds" of one. With "slower": 0.05 it waits for 5 % of the time and adds that,
for the self-check. The package is the one in PYTHONPATH, the suites are those in the folder above.
"""

import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from timeit import Timer
from typing import Any

SUITES = Path(__file__).resolve().parents[1]
# Calls that take less are too short for an estimate of one.
_SECONDS_OF_AN_ESTIMATE = 0.003


class Recorder:
    """Stands for the fixture of pytest-benchmark: keeps what it is told to time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._call: Callable[..., object] = lambda: None
        self._setup: Callable[[], Any] | None = None

    def __call__(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        self._call = partial(function, *args, **kwargs)

    def pedantic(
        self, target: Callable[..., object], setup: Callable[[], Any], **_: object
    ) -> None:
        self._call, self._setup = target, setup

    def seconds(self, n: int) -> float:
        """Return the seconds of a call, the mean of n."""
        if self._setup is None:
            return Timer(self._call, timer=self._clock).timeit(n) / n
        total = 0.0
        for _ in range(n):
            args, kwargs = self._setup()
            total += Timer(partial(self._call, *args, **kwargs), timer=self._clock).timeit(1)
        return total / n

    def estimate(self) -> float:
        """Return about how long a call takes, from as many as are long enough."""
        n = 1
        while (seconds := self.seconds(n)) * n < _SECONDS_OF_AN_ESTIMATE:
            n *= 4
        return seconds


def prepared(row: list[Any], clock: Callable[[], float]) -> Recorder:
    """Make the data of a row, and warm it up."""
    suite, function, backend, shape, dtype = row
    module = importlib.import_module(suite)
    for value in vars(module).values():  # the data of earlier rows
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    recorder = Recorder(clock)
    getattr(module, function)(recorder, backend, tuple(shape), dtype)
    recorder.seconds(1)
    return recorder


def slowed_down(seconds: float, share: float, clock: Callable[[], float]) -> float:
    """Wait for a share of the seconds, and return them with what that took."""
    start = clock()
    while clock() - start < share * seconds:
        pass
    return seconds + clock() - start


def answers(clock: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Yield the answer to each request."""
    recorder = Recorder(clock)
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            recorder = Recorder(clock)  # whose data can go
            try:
                recorder = prepared(request["prepare"], clock)
                yield {"seconds": recorder.estimate()}
            except Exception as error:  # whatever a version says that does not know the row
                yield {"missing": f"{type(error).__name__}: {error}".splitlines()[0]}
        else:
            n, share = request["time"], request.get("slower", 0)
            seconds = recorder.seconds(n)
            if share:
                seconds = slowed_down(n * seconds, share, clock) / n
            yield {"seconds": seconds}


def about() -> dict[str, Any]:
    """Return what this process measures."""
    import numpy as np

    import fastsoftmax
    from fastsoftmax.backends import get_backend

    try:
        compiled: Any = get_backend("compiled")
        instruction_set = compiled.instruction_set()
    except Exception as error:
        instruction_set = f"none: {error}"
    folder = Path(fastsoftmax.__file__).parents[1]
    return {"folder": str(folder), "numpy": np.__version__, "instruction_set": instruction_set}


def main() -> None:
    # What anything prints goes where errors do: standard output is for answers.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    sys.path.append(str(SUITES))
    clock = time.process_time if sys.argv[1] == "process_time" else time.perf_counter
    print(json.dumps(about()), file=channel, flush=True)
    for answer in answers(clock):
        print(json.dumps(answer), file=channel, flush=True)


if __name__ == "__main__":
    main()
