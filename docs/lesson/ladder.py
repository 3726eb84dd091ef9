"""What part 2 of the lesson needs besides its own cells: a stopwatch, a table and the roofline plot."""

from math import floor, log10
from statistics import median
from time import perf_counter

import matplotlib.pyplot as plt


def seconds_of(function, seconds=0.25):
    """Return the seconds that a call takes: the median of several, after one to compile and to warm up."""
    function()
    times, end = [], perf_counter() + seconds
    while len(times) < 3 or perf_counter() < end:
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return median(times)


class Ladder:
    """Predictions and measurements, rung by rung, in microseconds per sample."""

    def __init__(self, units, roofs, peaks, flop):
        self.units = units  # name: seconds
        self.roofs = roofs  # name: bytes per second
        self.peaks = peaks  # name: floating-point operations per second
        self.flop = flop  # of a sample
        self.rungs = {}

    def predict(self, name, samples, **counts):
        """Multiply the counts by the unit costs, and print each product: before anything is measured."""
        terms = {unit: count * self.units[unit] / samples * 1e6 for unit, count in counts.items()}
        total = sum(terms.values())
        print(f"{name}, per sample:")
        for unit, count in counts.items():
            print(f"{count / samples:14,.1f} x {unit:<18}{terms[unit]:12.3f} µs")
        print(f"{'predicted':>35}{total:12.3f} µs")
        self.rungs[name] = {"predicted": total}

    def measure(self, name, function, samples, touched, seconds=None):
        """Measure a function (or take its time), print the table, and draw the roofline with its dot."""
        seconds = seconds or seconds_of(function, 0.6)
        self.rungs[name].update(measured=seconds / samples * 1e6, intensity=self.flop / touched)
        self.table()
        self.plot()

    def _flops(self, rung):
        return self.flop / rung["measured"] * 1e6

    def table(self):
        """Print every rung so far."""
        print(
            f"{'rung':<18}{'predicted':>13}{'measured':>13}{'ratio':>7}{'GFLOP/s':>9}{'speed-up':>10}"
        )
        first = next(iter(self.rungs.values()))
        for name, rung in self.rungs.items():
            predicted, measured = rung["predicted"], rung["measured"]
            print(
                f"{name:<18}{_digits(predicted):>10} µs{_digits(measured):>10} µs"
                f"{predicted / measured:>7.2f}{_digits(self._flops(rung) / 1e9):>9}"
                f"{_digits(first['measured'] / measured):>9}x"
            )

    def plot(self):
        """Draw the rungs under the roofs; the last one in colour."""
        _, axes = plt.subplots(figsize=(8.5, 4), layout="constrained")
        left, right = 0.08, 100
        top = max(self.peaks.values())
        for number, (name, rate) in enumerate(self.roofs.items()):
            ends = [left, top / rate], [left * rate, top]
            axes.plot(
                *ends, color=str(0.2 * number), lw=1.2, label=f"{name}: {rate / 1e9:.0f} GB/s"
            )
        for line, (name, peak) in zip(("--", ":"), self.peaks.items(), strict=False):
            label = f"{name}: {peak / 1e9:.0f} GFLOP/s"
            axes.plot([left, right], [peak, peak], color="black", lw=1.2, ls=line, label=label)
        dots = [(rung["intensity"], self._flops(rung)) for rung in self.rungs.values()]
        axes.plot(*zip(*dots, strict=True), color="tab:blue", lw=0.8, alpha=0.5)
        for number, (name, dot) in enumerate(zip(self.rungs, dots, strict=True), start=1):
            is_last = number == len(dots)
            axes.plot(*dot, "o", color="tab:red" if is_last else "tab:blue", ms=9 if is_last else 6)
            axes.annotate(
                f"{number} {name}" if is_last else str(number),
                dot,
                xytext=(8, -3) if is_last or number % 2 else (-14, -3),  # neighbours may be close
                textcoords="offset points",
                fontsize=9,
                fontweight="bold" if is_last else None,
            )
        axes.set(
            xscale="log",
            yscale="log",
            xlim=(left, right),
            ylim=(min(flops for _, flops in dots) / 3, top * 2.5),
            xlabel="operations per byte that the code reads or writes",
            ylabel="operations per second",
            title="The ladder under the roofs of this machine",
        )
        axes.grid(alpha=0.25)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)


def _digits(number):
    """Return a number with three digits, and not with an exponent."""
    return f"{number:,.{max(0, 2 - floor(log10(number)))}f}"
