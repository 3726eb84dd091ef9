"""`python -m benchmarks.guard`: ratios of times that may not get worse, each measured in one run.

Absolute times are a machine's; ratios are more its libraries' and ours: how many times as long as the
compiled backend NumPy takes (the vectorized one), how much faster two threads are than one, and how much
longer an epoch takes beside busy processes. guard.toml has the figures that have been seen on a quiet
machine. A ratio may fall to `share` of its figure, or rise to the figure over `share`: noise stays within
that, and what makes the code one and a half times as slow does not. One that is beyond is measured once
more before it counts.
"""

import argparse
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastsoftmax.cli import machine
from fastsoftmax.cli.errors import BAD_ARGUMENTS, FAILED, INTERRUPTED, CommandError

try:
    from rich.text import Text

    from .guard_cases import Ratios, groups
    from .peers import tables
    from .peers.threads import confine
except ModuleNotFoundError as error:  # rich, threadpoolctl or SciPy
    sys.exit(f'benchmarks.guard: error: needs {error.name}: pip install -e ".[test]"')

_COMMAND = "python -m benchmarks.guard"
_TABLE = Path(__file__).with_name("guard.toml")
_SECTIONS = ("at_least", "at_most")
CPUS = 2


class Table(NamedTuple):
    """What guard.toml says."""

    share: float
    at_least: Mapping[str, float]
    at_most: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Return the checked content of a file."""
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # of TOML or of UTF-8
            raise CommandError(f"argument --table: {path}: {error}") from None
        share = content.get("share")
        if set(content) != {"share", *_SECTIONS} or not _is_number(share) or not 0 < share < 1:
            raise CommandError(
                f"argument --table: {path}: expected a share between 0 and 1, [at_least] and [at_most]"
            )
        for section in _SECTIONS:
            for name, figure in content[section].items():
                if not _is_number(figure) or not figure > 0:
                    raise CommandError(
                        f"argument --table: {path}: {name!r}: expected a number above 0, got {figure!r}"
                    )
        return cls(share, content["at_least"], content["at_most"])

    def bound_of(self, name: str) -> "Bound | None":
        """Return what a ratio must keep, or None where the table does not know it."""
        if name in self.at_least:
            return Bound(self.at_least[name] * self.share, is_floor=True)
        if name in self.at_most:
            return Bound(self.at_most[name] / self.share, is_floor=False)
        return None


class Bound(NamedTuple):
    """The least or the most that a ratio may be."""

    value: float
    is_floor: bool

    def holds(self, ratio: float) -> bool:
        """Whether a ratio keeps it."""
        return ratio >= self.value if self.is_floor else ratio <= self.value

    def __str__(self) -> str:
        return f"{'at least' if self.is_floor else 'at most'} {tables.times(self.value)}"


class Group(NamedTuple):
    """Ratios that are found in one measurement."""

    names: Sequence[str]
    section: str  # of the table
    measure: Callable[[int], Ratios]  # from the number of rounds


def check(
    chosen: Sequence[Group], table: Table, n_rounds: int
) -> Iterator[tuple[str, Bound, list[float]]]:
    """Yield of every ratio its name, its bound, and its value: two where the first one failed."""
    for group in chosen:
        tables.report_progress(", ".join(group.names))
        found = [group.measure(n_rounds)]
        bounds = {name: table.bound_of(name) for name in group.names}
        if any(not bound.holds(found[0][name]) for name, bound in bounds.items() if bound):
            found.append(group.measure(n_rounds))
        for name, bound in bounds.items():
            if bound is None:
                raise CommandError(f"the table has no figure for {name!r}: see --update", FAILED)
            again = found if not bound.holds(found[0][name]) else found[:1]
            yield name, bound, [ratios[name] for ratios in again]


def print_checked(chosen: Sequence[Group], table: Table, n_rounds: int) -> int:
    """Print all ratios with their bounds; 1 where one is beyond it, twice."""
    console = tables.new_console(None)
    shown = tables.new_table("ratio", "seen before", "now", "again", "bound")
    failed = []
    for name, bound, values in check(chosen, table, n_rounds):
        holds = bound.holds(values[-1])
        if not holds:
            failed.append(f"{name}: {' and '.join(map(tables.times, values))}, expected {bound}")
        figure = (table.at_least if bound.is_floor else table.at_most)[name]
        now = [Text(tables.times(value), style="" if holds else "bold red") for value in values]
        shown.add_row(name, tables.times(figure), *now, *[Text("-")] * (2 - len(now)), str(bound))
    console.print("", shown, "", sep="\n")
    for line in failed:
        console.print(f"FAILED: {line}", markup=False)
    if not failed:
        console.print("Every ratio keeps its bound.")
    return FAILED if failed else 0


def print_update(chosen: Sequence[Group], share: float, n_rounds: int) -> None:
    """Print the present ratios as a table."""
    sections: dict[str, dict[str, float]] = {section: {} for section in _SECTIONS}
    for group in chosen:
        tables.report_progress(", ".join(group.names))
        sections[group.section] |= group.measure(n_rounds)
    print(f"share = {share}")
    for section, figures in sections.items():
        print(f"\n[{section}]")
        for name, figure in figures.items():
            print(f'"{name}" = {figure:.3g}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return its exit code."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description=(__doc__ or "").split(": ", 1)[1])
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: %(default)s")
    parser.add_argument("--only", default="", metavar="TEXT", help="ratios whose names hold this")
    parser.add_argument("--table", type=Path, default=_TABLE, help="default: %(default)s")
    parser.add_argument("--update", action="store_true", help="print the present ratios as a table")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error(f"argument --rounds: expected at least 1, got {arguments.rounds}")
    try:
        return _run(arguments)
    except CommandError as error:
        print(f"{_COMMAND}: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{_COMMAND}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    table = Table.read(arguments.table)
    if (reason := machine.reason_against("compiled")) is not None:
        raise CommandError(f"the compiled backend is what is measured: {reason}", FAILED)
    if (note := machine.note_of_load(machine.load(), machine.cpus())) is not None:
        print(note, file=sys.stderr)
    everything = [Group(*group) for group in groups()]
    names = {name for group in everything for name in group.names}
    unknown = sorted({*table.at_least, *table.at_most} - names)
    if unknown:
        raise CommandError(f"argument --table: nothing measures {unknown[0]!r}")
    chosen = [group for group in everything if any(arguments.only in name for name in group.names)]
    if not chosen:
        raise CommandError(f"argument --only: no ratio's name holds {arguments.only!r}")
    confine(CPUS)
    if arguments.update:
        print_update(chosen, table.share, arguments.rounds)
        return 0
    missing = [name for group in chosen for name in group.names if table.bound_of(name) is None]
    if missing:
        raise CommandError(
            f"argument --table: no figure for {missing[0]!r}: see --update", BAD_ARGUMENTS
        )
    return print_checked(chosen, table, arguments.rounds)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


if __name__ == "__main__":
    sys.exit(main())
