"""The distance from the minimum against the time of whole fits, contender by contender.

A contender climbs a ladder of limits. A rung is a fit as its user calls it, from zeros, so that what it
does once, such as a conversion of `X`, is part of the time. The objective is computed after it, in float64.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from statistics import median
from time import perf_counter
from warnings import catch_warnings, simplefilter

import numpy as np

from fastsoftmax.cli.timing import turns

from .minimizers import FastSoftmax, FastSoftmax64, Minimizer
from .optimum_sets import OptimumProblem
from .problem import objective

# Distances from the minimum, relative to it.
GAPS = (1e-2, 1e-4, 1e-6)
# The tolerance of the fit that gives the minimum.
_TOL_OF_MINIMUM = 1e-9
# Others may take that many times as long as is asked of them at least, relative to fastsoftmax, and so long
# at any rate: a fit of a small set is short.
_MARGIN, _MIN_SECONDS = 1.1, 0.3
_DEFAULT_TIMES = 4.0
# The limit that a fit's time allows is tried only if it is that much larger than the last.
_MIN_GROWTH = 1.1
# The ladder is refined until the limits on both sides of a gap differ by less than this factor.
_FINE = 1.25
# A fit is not timed again when its times add up to this: a disturbance is short beside it.
_ENOUGH_SECONDS = 1.0


@dataclass
class Rung:
    """Fits with one limit."""

    limit: int
    value: float  # of the objective, infinite if the fit has diverged
    seconds: list[float]
    held_out_loss: float | None = None  # the mean loss of rows that were held out, if any were

    @property
    def median(self) -> float:
        """The median of the times."""
        return median(self.seconds)


@dataclass
class Climb:
    """The rungs of one contender, in ascending order of their limits."""

    contender: Minimizer
    rungs: list[Rung] = field(default_factory=list)
    has_stopped: bool = False  # larger limits change nothing
    failure: str | None = None

    @property
    def name(self) -> str:
        """The name of the contender."""
        return self.contender.name

    @property
    def best(self) -> float:
        """The smallest objective."""
        return min((rung.value for rung in self.rungs), default=np.inf)

    def first(self, target: float) -> Rung | None:
        """Return the rung of the smallest limit whose objective is at most `target`."""
        return next((rung for rung in self.rungs if rung.value <= target), None)

    def seconds_to(self, target: float) -> float | None:
        """Return the time of that rung."""
        rung = self.first(target)
        return None if rung is None else rung.median

    def at_least_to(self, target: float) -> float:
        """Return a lower bound of the time to `target`, infinite if the contender ends above it."""
        if (seconds := self.seconds_to(target)) is not None:
            return seconds
        never = self.has_stopped or self.failure is not None or self.contender.has_other_objective
        if never or not self.rungs:
            return np.inf
        return min(self.rungs[-1].seconds)

    def run(self, limit: int) -> Rung | None:
        """Add a rung; None if the fit fails."""
        try:
            seconds = timed_fit(self.contender, limit)
        except Exception as error:  # whatever other libraries raise
            self.failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return None
        problem = self.contender.problem
        weights, loss = self.contender.weights(), None
        with np.errstate(all="ignore"):
            value = objective(problem.X64, problem.y, *weights, problem.alpha)
            if problem.held_out is not None:
                loss = objective(*problem.held_out, *weights, 0.0)
        rung = Rung(limit, value if np.isfinite(value) else np.inf, [seconds], loss)
        self.rungs = sorted([*self.rungs, rung], key=lambda rung: rung.limit)
        return rung

    def climb(self, target: float, max_seconds: float) -> bool:
        """Run the next rung, and return whether another one follows."""
        limit = self._next_limit(max_seconds * self.contender.share_of_time)
        if limit is None:
            return False
        rung = self.run(limit)
        if rung is None:
            return False
        self.has_stopped = self.contender.has_stopped
        return rung.value > target and not self.has_stopped

    def _next_limit(self, max_seconds: float) -> int | None:
        """Return the next limit, or a smaller one whose fit takes about `max_seconds`; None at the end."""
        if not self.rungs:
            return 1
        last = self.rungs[-1]
        limit = self.contender.next_limit(last.limit)
        if limit is None or self.contender.is_ours:
            return limit
        growth = max_seconds / min(last.seconds)
        if growth < _MIN_GROWTH and sum(last.seconds) < _ENOUGH_SECONDS:  # was it disturbed?
            last.seconds.append(timed_fit(self.contender, last.limit))
            growth = max_seconds / min(last.seconds)
        if growth < _MIN_GROWTH:
            return None
        return min(limit, max(last.limit + 1, int(growth * last.limit)))

    def refine(self, target: float) -> bool:
        """Halve, on a logarithmic scale, the limits around `target`; return whether there was a need."""
        rung = self.first(target)
        if rung is None or self.failure is not None:
            return False
        below = max((r.limit for r in self.rungs if r.limit < rung.limit), default=rung.limit)
        limit = round((below * rung.limit) ** 0.5)
        if rung.limit <= _FINE * below or limit in (below, rung.limit):
            return False
        return self.run(limit) is not None


@dataclass(frozen=True)
class Outcome:
    """What was found for one set; `climbs` begin with those of fastsoftmax."""

    name: str
    problem: OptimumProblem
    minimum: float
    bound: float | None  # of the distance of `minimum` from the true one
    climbs: Sequence[Climb]
    left_out: dict[str, str]
    seconds: float = 0.0  # of the whole measurement

    @property
    def agrees(self) -> bool:
        """Whether no contender is below the minimum by more than its bound, and the rounding of float64."""
        best = min(climb.best for climb in self.climbs)
        rounding = float(np.finfo(np.float64).eps) * len(self.problem.y)
        return self.minimum - best <= (self.bound or 0) + rounding * self.minimum

    def gap(self, value: float) -> float:
        """Return how far an objective is above the minimum, relative to it."""
        return (value - self.minimum) / self.minimum

    def target(self, gap: float) -> float:
        """Return the objective with that relative gap."""
        return self.minimum * (1 + gap)

    def ours_to(self, gap: float) -> float | None:
        """Return the time of the faster of the two dtypes of fastsoftmax."""
        times = [climb.seconds_to(self.target(gap)) for climb in self.climbs if _is_ours(climb)]
        return min((seconds for seconds in times if seconds is not None), default=None)

    def fastest_sklearn(self, gap: float) -> Climb | None:
        """Return scikit-learn's solver that is there first, as far as is known; None without any."""
        target = self.target(gap)
        climbs = [climb for climb in self.climbs if climb.contender.is_sklearn]
        fastest = min(climbs, key=lambda climb: climb.at_least_to(target), default=None)
        if fastest is None or np.isinf(fastest.at_least_to(target)):
            return None
        return fastest

    def ratio(self, gap: float) -> tuple[float, bool] | None:
        """Return its time over ours, and whether it is a lower bound, as its fits were cut off."""
        fastest, ours = self.fastest_sklearn(gap), self.ours_to(gap)
        if fastest is None or ours is None:
            return None
        target = self.target(gap)
        return fastest.at_least_to(target) / ours, fastest.first(target) is None


def _is_ours(climb: Climb) -> bool:
    return climb.contender.is_ours


def timed_fit(contender: Minimizer, limit: int) -> float:
    """Return the seconds of a fit, whose warnings are no matter here: that it ends early is the aim."""
    with _quiet():
        start = perf_counter()
        contender.fit(limit)
        return perf_counter() - start


@contextmanager
def _quiet() -> Iterator[None]:
    with catch_warnings(), np.errstate(all="ignore"):
        simplefilter("ignore")
        yield


def outcome_of(
    name: str,
    problem: OptimumProblem,
    ours: Sequence[type[FastSoftmax]],
    peers: Sequence[type[Minimizer]],
    n_rounds: int,
    n_threads: int,
    max_seconds: float,
) -> Outcome:
    """Measure one set: first fastsoftmax, whose time limits that of the others."""
    start = perf_counter()
    left_out = {p.name: why for p in peers if (why := p.why_left_out(problem)) is not None}
    with _quiet():
        weights, bound = FastSoftmax64(problem, n_threads).minimum(_TOL_OF_MINIMUM)
    minimum = objective(problem.X64, problem.y, *weights, problem.alpha)
    climbs = [Climb(contender(problem, n_threads)) for contender in ours]
    others = [Climb(p(problem, n_threads)) for p in peers if p.name not in left_out]
    outcome = Outcome(name, problem, minimum, bound, [*climbs, *others], left_out)
    last = outcome.target(GAPS[-1])
    _climb(climbs, last, np.inf)
    taken = outcome.ours_to(GAPS[-1])
    if taken is not None:
        times = problem.least_times or _DEFAULT_TIMES
        max_seconds = min(max_seconds, max(_MIN_SECONDS, _MARGIN * times * taken))
    _climb(others, last, max_seconds)
    for gap in GAPS:
        refined = [climb for climb in others if climb.contender.is_sklearn]
        while refined:
            refined = [c for _, c in turns(refined, 1) if c.refine(outcome.target(gap))]
    _repeat(outcome, n_rounds)
    return replace(outcome, seconds=perf_counter() - start)


def _climb(climbs: Sequence[Climb], target: float, max_seconds: float) -> None:
    """Let all climb, in rounds in which each runs a rung, after a first fit that is not timed."""
    for climb in climbs:
        if climb.run(1) is not None:  # starts threads, imports what is imported late
            climb.rungs.clear()
    climbing = [climb for climb in climbs if climb.failure is None]
    for i in count():
        climbing = [c for _, c in turns(climbing, 1, seed=i) if c.climb(target, max_seconds)]
        if not climbing:
            return


def _repeat(outcome: Outcome, n_rounds: int) -> None:
    """Time again the rungs that are the first to reach a gap, in rounds, for the medians."""
    deciding = {
        (climb.name, rung.limit): (climb, rung)
        for climb in outcome.climbs
        for gap in GAPS
        if (rung := climb.first(outcome.target(gap))) is not None
    }
    for i in range(1, n_rounds):
        short = [key for key, (_, r) in deciding.items() if sum(r.seconds) < _ENOUGH_SECONDS]
        for _, key in turns(short, 1, seed=i):
            climb, rung = deciding[key]
            rung.seconds.append(timed_fit(climb.contender, rung.limit))
