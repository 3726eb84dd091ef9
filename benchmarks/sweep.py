"""`python -m benchmarks.sweep`: how close an epoch comes to the machine's floor, over many shapes.

The floor of a row is the longer of its multiply-adds at their peak and of reading its cache lines, in a
random order, as fast as memory delivers them in order; both peaks are measured in this run. An epoch with
the step algorithm that is chosen takes turns with one by each other algorithm that can train the shape:
"forced" is the fastest of all over the chosen one, 1 where the choice is right. A cliff is an epoch that
takes more than 1.1 times as long as one with more classes or features. Measure on a machine that does
nothing else; a run is short if the options name few shapes.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsoftmax.backends import get_backend
from fastsoftmax.backends.protocol import Data, Rule, State
from fastsoftmax.cli import machine
from fastsoftmax.cli.timing import measure
from fastsoftmax.plotting._figure import new_figure
from fastsoftmax.profiling.provenance import provenance
from fastsoftmax.profiling.roofline import Peaks, measure_peaks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COMMAND = "python -m benchmarks.sweep"
_CACHE_LINE = 64
_CLIFF = 1.1
_RATE, _RULE = 1e-3, Rule(l2=1e-4, l1=0.0, momentum=0.0, nesterov=False)


@dataclass(frozen=True)
class Shape:
    """What an epoch trains, and by how many threads."""

    n_samples: int
    n_features: int
    n_classes: int
    batch_size: int
    dtype: str
    n_threads: int


@dataclass(frozen=True)
class Measured:
    """The nanoseconds of a row of a shape, by step algorithm; the one that is chosen is the first."""

    shape: Shape
    floor: float
    nanoseconds: dict[str, float]

    @property
    def chosen(self) -> str:
        """The step algorithm that trains this shape unless another one is forced."""
        return next(iter(self.nanoseconds))

    @property
    def share(self) -> float:
        """How much of the time is the floor."""
        return self.floor / self.nanoseconds[self.chosen]

    @property
    def forced(self) -> float:
        """The time of the fastest algorithm over that of the chosen one."""
        return min(self.nanoseconds.values()) / self.nanoseconds[self.chosen]


def floor_of(shape: Shape, peaks: Peaks) -> float:
    """Return the nanoseconds that a row takes at least.

    A score and its gradient are a multiply-add each for every product of a feature and a class. Rows lie
    next to each other, so that some begin and end within a cache line, which is read as a whole.
    """
    row_bytes = shape.n_features * np.dtype(shape.dtype).itemsize
    starts = np.arange(_CACHE_LINE) * row_bytes
    n_lines = np.mean((starts + row_bytes - 1) // _CACHE_LINE - starts // _CACHE_LINE + 1)
    multiply_adds = 4 * shape.n_features * shape.n_classes / peaks.flops(shape.dtype)
    return 1e9 * max(multiply_adds, float(n_lines) * _CACHE_LINE / peaks.read)


def epoch_of(shape: Shape, numbers: np.ndarray[Any, Any]) -> Callable[[], object]:
    """Return what runs an epoch of a shape, on the first of these numbers; a random order is drawn once."""
    size = shape.n_samples * shape.n_features
    X = numbers[:size].reshape(shape.n_samples, shape.n_features)
    labels = np.arange(shape.n_samples) % shape.n_classes
    order = np.random.default_rng(0).permutation(shape.n_samples)
    coef = np.zeros((shape.n_classes, shape.n_features), shape.dtype)
    state = State(coef, np.zeros(shape.n_classes, shape.dtype), None, None)
    rates = np.full(-(-shape.n_samples // shape.batch_size), _RATE)
    epoch = get_backend("compiled").sgd_epoch
    data = Data(X, labels)
    return partial(
        epoch, data, state, _RULE, order, shape.batch_size, rates, n_threads=shape.n_threads
    )


def algorithms(shape: Shape) -> tuple[str, ...]:
    """Return the step algorithms that can train a shape, first the one that is chosen."""
    compiled: Any = get_backend("compiled")
    dtype = np.dtype(shape.dtype)
    names = [compiled.step_algorithm(shape.n_features, shape.n_classes, dtype)]
    for name in ("short_rows", "panels", "packed"):
        with _Forced(name):
            try:
                names.append(compiled.step_algorithm(shape.n_features, shape.n_classes, dtype))
            except ValueError:
                continue
    return tuple(dict.fromkeys(names))


class _Forced:
    """Within it, all problems are trained by one step algorithm."""

    def __init__(self, name: str) -> None:
        self._force: Callable[[str], str] = get_backend("compiled").force_step_algorithm  # type: ignore[attr-defined]
        self._name = name

    def __enter__(self) -> None:
        self._before = self._force(self._name)

    def __exit__(self, *_: object) -> None:
        self._force(self._before)


def measured(
    shape: Shape, numbers: np.ndarray[Any, Any], peaks: Peaks, chosen_only: bool, n_rounds: int
) -> Measured:
    """Measure a shape: all algorithms that can train it, or the chosen one alone."""

    def run(name: str) -> None:
        with _Forced(name):
            epoch()

    epoch = epoch_of(shape, numbers)
    names = algorithms(shape)
    runs = {name: partial(run, name) for name in (names[:1] if chosen_only else names)}
    timings = measure(runs, n_rounds)
    of_row = {name: 1e9 * min(timing.seconds) / shape.n_samples for name, timing in timings.items()}
    return Measured(shape, floor_of(shape, peaks), of_row)


def cliffs(results: Sequence[Measured]) -> Iterator[str]:
    """Yield a line for each shape that takes longer than one with more classes or features."""
    for low, high in product(results, results):
        a, b = asdict(low.shape), asdict(high.shape)
        grown = {name for name in a if a[name] != b[name]} - {"n_samples"}
        if grown not in ({"n_features"}, {"n_classes"}) or any(a[x] > b[x] for x in grown):
            continue
        times = [result.nanoseconds[result.chosen] for result in (low, high)]
        if times[0] > _CLIFF * times[1]:
            yield f"{_name(low.shape)} takes {times[0] / times[1]:.2f} times {_name(high.shape)}"


def _name(shape: Shape) -> str:
    return (
        f"{shape.n_features}x{shape.n_classes} batch {shape.batch_size} {shape.dtype} "
        f"threads {shape.n_threads}"
    )


def plot_shares(results: Sequence[Measured]) -> "Figure":
    """Return heat maps of the share of the floor, features by classes; one for every other setting."""
    maps: dict[str, dict[tuple[int, int], Measured]] = {}
    for result in results:
        shape = result.shape
        title = f"minibatch {shape.batch_size}, {shape.dtype}, threads: {shape.n_threads}"
        maps.setdefault(title, {})[shape.n_features, shape.n_classes] = result
    features = sorted({result.shape.n_features for result in results})
    classes = sorted({result.shape.n_classes for result in results})
    height, width = 1.5 + 0.3 * len(features), 2.0 + 0.5 * len(classes)
    figure = new_figure(max(width, 5.0), height * len(maps))
    grid = figure.subplots(len(maps), 1, squeeze=False).ravel()
    for axes, (title, of_map) in zip(grid, maps.items(), strict=True):
        shares = np.full((len(features), len(classes)), np.nan)
        for (d, c), result in of_map.items():
            place = features.index(d), classes.index(c)
            shares[place] = result.share
            axes.text(*place[::-1], f"{result.share:.2f}", ha="center", va="center", fontsize=8)
        axes.imshow(shares, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(features)), features)
        axes.set(title=f"share of the floor: {title}", xlabel="classes", ylabel="features")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return its exit code."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description=(__doc__ or "").split(": ", 1)[1])
    add = partial(parser.add_argument, nargs="+")
    add("--features", type=int, default=[2, 8, 18, 30, 54, 100, 255, 784, 3073], metavar="D")
    add("--classes", type=int, default=[2, 3, 5, 7, 10, 20, 40, 41, 100], metavar="C")
    add("--batch", type=int, default=[256], metavar="B")
    add("--dtype", choices=("float32", "float64"), default=["float32"])
    add("--threads", type=int, default=[machine.cpus()], metavar="T")
    parser.add_argument(
        "--mib", type=int, default=64, help="the size of X, at most (default: %(default)s)"
    )
    parser.add_argument("--rows", type=int, default=400_000, help="at most (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--chosen", action="store_true", help="only the step algorithm that is chosen"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to it")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw heat maps into it")
    a = parser.parse_args(argv)
    found = provenance(machine.load())
    numbers = {
        dtype: np.random.default_rng(0).random(
            (a.mib << 20) // np.dtype(dtype).itemsize, np.dtype(dtype)
        )
        for dtype in a.dtype
    }
    results = []
    print(f"{'shape':40} {'ns a row':>9} {'share':>6} {'forced':>6}  step algorithm")
    for n_threads, dtype, batch, d, c in product(
        a.threads, a.dtype, a.batch, a.features, a.classes
    ):
        n_samples = min(a.rows, numbers[dtype].size // d)
        shape = Shape(n_samples, d, c, batch, dtype, n_threads)
        result = measured(shape, numbers[dtype], measure_peaks(n_threads), a.chosen, a.rounds)
        results.append(result)
        others = "".join(f", {name} {ns:.1f}" for name, ns in [*result.nanoseconds.items()][1:])
        print(
            f"{_name(shape):40} {result.nanoseconds[result.chosen]:9.1f} {result.share:6.2f} "
            f"{result.forced:6.2f}  {result.chosen}{others}",
            flush=True,
        )
    found_cliffs = list(cliffs(results))
    print("\n".join(f"cliff: {line}" for line in found_cliffs) or "no cliffs")
    if a.json:
        peaks = [measure_peaks(n_threads)._asdict() for n_threads in a.threads]
        shapes = [
            asdict(r) | {"chosen": r.chosen, "share": r.share, "forced": r.forced} for r in results
        ]
        found |= {"peaks": peaks, "shapes": shapes, "cliffs": found_cliffs}
        a.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if a.picture:
        plot_shares(results).savefig(a.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
