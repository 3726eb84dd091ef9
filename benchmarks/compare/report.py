"""A comparison as a table on the terminal, as Markdown for a pull request, and as JSON."""

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from fastsoftmax.cli.numbers import count, duration
from fastsoftmax.cli.significance import Verdict

from ..peers import tables
from .rounds import NEW, OLD, Compared, Measured

_STYLES = {Verdict.SLOWER: "bold red", Verdict.FASTER: "green", Verdict.NOT_FOUND: "dim"}
_WIDTH = 108
_COLUMNS = ("row", "old", "new", "new / old", "95 % interval", "verdict")
LEGEND = (
    "New / old: the time of a call, above 1 is slower. The interval is that of the row alone; the "
    "verdict is corrected for the number of rows: of 200 comparisons of equal versions one, at "
    "most, says that any row differs."
)


@dataclass(frozen=True)
class Report:
    """All that is shown."""

    titles: Mapping[str, str]  # of both versions
    conditions: str
    notes: Sequence[str]
    compared: Sequence[Compared]
    missing: Sequence[Measured]

    def summary(self) -> str:
        """Return how many rows have which verdict, in a sentence."""
        n = Counter(row.verdict for row in self.compared)
        differing = f"{n[Verdict.SLOWER]} slower, {n[Verdict.FASTER]} faster"
        rest = f"no difference found in {n[Verdict.NOT_FOUND]}"
        return f"{count(len(self.compared), 'row')}: {differing}; {rest}."

    def lines_of_missing(self) -> list[str]:
        """Return a line for each row that is not compared, with the reason."""
        lines = []
        for row in self.missing:
            reason = next(iter(row.missing.values()))
            where = {OLD: "only in new", NEW: "only in old"}
            place = where[next(iter(row.missing))] if len(row.missing) == 1 else "in neither"
            lines.append(f"{row.row}: {place}, not compared: {reason}")
        return lines

    def print(self, console: Console) -> None:
        """Print the table, and how to read it."""
        table = tables.new_table(*_COLUMNS)
        for row in self.compared:
            style = _STYLES[row.verdict]
            *cells, verdict = _cells(row)
            table.add_row(*cells, Text(verdict, style=style))
        for version, title in self.titles.items():
            console.print(Text(f"{version}  {title}"))
        console.print(Text(self.conditions), "", table, "", sep="\n")
        for line in [self.summary(), *self.lines_of_missing(), *self.notes, LEGEND]:
            console.print(Text(textwrap.fill(line, min(console.width, _WIDTH))))

    def markdown(self) -> str:
        """Return a section for a pull request: what differs, and the other rows folded."""
        differing = [row for row in self.compared if row.verdict != Verdict.NOT_FOUND]
        others = [row for row in self.compared if row.verdict == Verdict.NOT_FOUND]
        lines = ["### Benchmarks", "", f"**{self.summary()}**", ""]
        lines += [f"- {version}: {_code(title)}" for version, title in self.titles.items()]
        lines += ["", *_table(differing)] if differing else []
        lines += ["", *(f"- {_plain(line)}" for line in self.lines_of_missing())]
        lines += [""] * bool(self.missing)
        if others:
            heading = f"{count(len(others), 'row')} without a difference"
            lines += [f"<details><summary>{heading}</summary>", "", *_table(others), "</details>"]
        lines += ["", *(f"{_plain(line)}\n" for line in (self.conditions, *self.notes, LEGEND))]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))

    def as_record(self) -> dict[str, Any]:
        """Return all numbers in the types of JSON."""
        return {
            "versions": dict(self.titles),
            "conditions": self.conditions,
            "notes": list(self.notes),
            "rows": [
                {
                    "row": row.measured.row,
                    "verdict": str(row.verdict),
                    **row.difference._asdict(),
                    "log_ratios": row.measured.log_ratios(),
                    "seconds": row.measured.seconds,
                }
                for row in self.compared
            ],
            "not_compared": [{"row": row.row, "missing": row.missing} for row in self.missing],
        }


def _cells(row: Compared) -> list[str]:
    ratio, low, high, _ = row.difference
    times = [duration(row.measured.typical(version)) for version in (OLD, NEW)]
    interval = f"{low:.3f} to {high:.3f}"
    return [row.measured.row, *times, f"{ratio:.3f}", interval, str(row.verdict)]


def _table(rows: Sequence[Compared]) -> list[str]:
    head = [_COLUMNS, ["---", *["---:"] * (len(_COLUMNS) - 2), "---"]]
    bold = [
        [*cells[:-1], f"**{cells[-1]}**" if row.verdict != Verdict.NOT_FOUND else cells[-1]]
        for row in rows
        for cells in [_cells(row)]
    ]
    return [*(f"| {' | '.join(cells)} |" for cells in [*head, *bold]), ""]


def _code(text: str) -> str:
    return "`" + text.replace("`", "'") + "`"


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
