"""A build compared with itself, many times, to count how often a comparison finds what is not there.

With `--plant` one row, drawn for each comparison, is made slower, to count how often that is found.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from fastsoftmax.cli.significance import Verdict

from ..suites import Row
from .rounds import Compared, Measured, judged


@dataclass
class Tally:
    """What the comparisons have found so far."""

    n_comparisons: int = 0
    n_wrong: int = 0  # comparisons that say of any row without a planted slowdown that it differs
    n_found: int = 0  # planted slowdowns that were found

    def summary(self, plant: float) -> str:
        """Return the counts in words."""
        text = (
            f"Of {self.n_comparisons} comparisons of a build with itself, {self.n_wrong} said of a "
            "row that it differs"
        )
        if not plant:
            return f"{text}."
        found = f"{self.n_found} of {self.n_comparisons} planted slowdowns of {100 * plant:g} %"
        return f"{text}, planted ones aside; {found} were found."


def check(
    rows: Sequence[Row],
    n_comparisons: int,
    plant: float,
    compare: Callable[[int, dict[str, float]], Sequence[Measured]],
    on_comparison: Callable[[str], object] = print,
) -> Tally:
    """Compare again and again, and count.

    Parameters
    ----------
    rows : sequence of Row
    n_comparisons : int
    plant : float
        By which share of its time a row is made slower, or 0.
    compare : callable
        Measures all rows, from a seed and from the slowdowns by the names of rows.
    on_comparison : callable, optional
        Called with a line of text after each comparison.
    """
    tally, random = Tally(), Random(0)
    for i in range(n_comparisons):
        planted = {random.choice(rows).name: plant} if plant else {}
        compared = judged(compare(i, planted))
        wrong = [row for row in compared if _differs(row) and row.measured.row not in planted]
        found = [row for row in compared if row.measured.row in planted and row.is_slower_by(0)]
        tally.n_comparisons += 1
        tally.n_wrong += bool(wrong)
        tally.n_found += len(found)
        said = [f"{row.measured.row} {row.verdict}" for row in wrong]
        said += [f"{name} planted, {'found' if found else 'not found'}" for name in planted]
        on_comparison(f"{i + 1}: {'; '.join(said) or 'no row differs'}")
    return tally


def _differs(row: Compared) -> bool:
    return row.verdict != Verdict.NOT_FOUND
