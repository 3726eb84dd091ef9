"""Taking the time of several contenders, fairly.

After a warm-up, which compiles and starts threads, there are rounds, and in each every contender has a
turn: what else disturbs the machine for a while disturbs all of them. The order in a round is shuffled,
so that nobody always follows the same neighbour.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from statistics import median
from time import perf_counter
from timeit import Timer
from typing import Any

from fastsoftmax.cli.machine import wait_for_sleeping_threads


@dataclass(frozen=True)
class Timing:
    """The seconds of one unit of work (an epoch, a call), one for each round."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return median(self.seconds)

    def divided_by(self, units: int) -> "Timing":
        """Return the time of one of `units` that were timed together."""
        return Timing([seconds / units for seconds in self.seconds])

    def as_record(self) -> dict[str, Any]:
        """Return the numbers in the types of JSON."""
        return {
            "seconds": list(self.seconds),
            "median_seconds": self.median,
            "min_seconds": min(self.seconds),
            "max_seconds": max(self.seconds),
        }


def repeats_for(
    run: Callable[[], object], seconds: float, clock: Callable[[], float] = perf_counter
) -> int:
    """Return how many runs take at least about so many seconds; `run` has been warmed up."""
    n_runs = 1
    while True:
        taken = Timer(run, timer=clock).timeit(n_runs)
        if taken >= seconds / 10:
            return max(1, ceil(seconds * n_runs / taken))
        n_runs *= 10


def measure(
    runs: Mapping[str, Callable[[], object]],
    n_rounds: int,
    seconds_a_turn: float,
    begin_round: Callable[[int], object] = lambda _: None,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, Timing]:
    """Return the time of one run of each, from rounds in which all take turns.

    Parameters
    ----------
    runs : mapping of callables
        What is timed, by name; a turn repeats it for about `seconds_a_turn`, and counts the mean.
    n_rounds : int
    seconds_a_turn : float
        So many that neither the clock nor a switch of tasks matters.
    begin_round : callable, optional
        Called, untimed, with the number of the round before each round, and with 0 for the warm-up.
    clock : callable, optional
        What tells the seconds: `time.process_time` counts those of the CPUs alone, so that of work on one
        thread others on the machine change little.
    """
    begin_round(0)
    repeats = {}
    for name, run in runs.items():
        run()
        repeats[name] = repeats_for(run, seconds_a_turn, clock)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    shuffle = Random(0).shuffle
    for i in range(n_rounds):
        begin_round(i)
        shuffle(order)
        for name in order:
            wait_for_sleeping_threads()
            taken = Timer(runs[name], timer=clock).timeit(repeats[name])
            seconds[name].append(taken / repeats[name])
    return {name: Timing(times) for name, times in seconds.items()}
