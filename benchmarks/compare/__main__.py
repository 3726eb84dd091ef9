"""The command line of the comparison of two versions."""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fastsoftmax.backends import NAMES
from fastsoftmax.cli import machine
from fastsoftmax.cli.errors import FAILED, INTERRUPTED, CommandError
from fastsoftmax.cli.numbers import count, duration
from fastsoftmax.cli.options import backends, positive_integer
from fastsoftmax.profiling.provenance import cpu_name

try:
    import scipy.stats  # noqa: F401

    from .. import suites
    from ..peers import tables
    from ..peers.threads import confine
    from . import builds, self_check
    from .report import Report
    from .rounds import ALPHA, NEW, OLD, PAIRS, Compared, default_rounds, judged, measure, min_pairs
except ModuleNotFoundError as error:  # rich, threadpoolctl or SciPy
    sys.exit(f'benchmarks.compare: error: needs {error.name}: pip install -e ".[test]"')

_COMMAND = "python -m benchmarks.compare"
_SLOWER = 3
_DESCRIPTION = """\
Build two versions and say row by row of the suites (benchmarks/bench_*.py) which
one is faster: their times, the ratio new / old with its 95 % interval, and a
verdict: slower, faster, or no difference found. Both versions take turns, in a
random order, in processes that are started anew for each round. With one thread
the times are those of the CPU, else of the wall clock. Other programs should rest.
"""
_EXAMPLES = """\
examples:
  make compare BASE=main
        the working tree against main; the same as: python -m benchmarks.compare main
  python -m benchmarks.compare HEAD~3 HEAD --only epoch
        two commits, and only the rows whose names contain "epoch"
  make -s compare BASE=main ARGS="--markdown --fail-if-slower 5%" > comment.md
        a table for a pull request; exit code 3 if a row is slower by more than 5 %
  python -m benchmarks.compare --self-check 200 --only "cross_entropy 128x10"
        how often a build differs from itself; --plant 5% slows a row down: is it found?

exit codes:
  0  compared    1  a version does not build or run    2  bad arguments, unknown commit
  3  --fail-if-slower: a row is slower    130  Ctrl-C
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(message)


def _percent(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else -1.0
    except ValueError:
        share = -1.0
    if not 0 <= share < 10:
        raise argparse.ArgumentTypeError(f"expected a percentage such as 5%, got {text!r}")
    return share


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_COMMAND,
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("base", nargs="?", metavar="BASE", help="the old version: a commit, tag or branch")
    add("new", nargs="?", metavar="NEW", help="the new version (default: the files as they are)")
    add(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="only rows whose names contain this; may be given several times",
    )
    add(
        "--backends",
        type=backends,
        default=("compiled",),
        metavar="NAMES",
        help=f"out of {','.join(NAMES)} (default: compiled)",
    )
    add("--threads", type=positive_integer, default=1, metavar="N", help="default: %(default)s")
    add(
        "--rounds",
        type=positive_integer,
        metavar="N",
        help="more of them find smaller differences (default: 19 for 46 rows, fewer for fewer)",
    )
    add("--markdown", action="store_true", help="print Markdown, for a pull request")
    add("--json", metavar="FILE", help="save all numbers; - for standard output")
    add(
        "--fail-if-slower",
        type=_percent,
        metavar="P%",
        help="exit code 3 if a row has the verdict slower and a ratio above 1 + P %%",
    )
    add("--list", action="store_true", help="print the names of the rows, and measure nothing")
    add(
        "--self-check",
        type=positive_integer,
        metavar="N",
        help="compare the working tree with itself N times, and count the differences found",
    )
    add(
        "--plant",
        type=_percent,
        default=0.0,
        metavar="P%",
        help="of --self-check: slow one row down by this in each comparison",
    )
    return parser


def _check(arguments: argparse.Namespace) -> None:
    if arguments.self_check is None:
        if arguments.base is None and not arguments.list:
            raise CommandError("BASE: expected a commit to compare with, such as main or HEAD~1")
        if arguments.plant:
            raise CommandError("argument --plant: is of --self-check")
    else:
        for option in ("base", "markdown", "json", "fail_if_slower"):
            if getattr(arguments, option):
                name = option.upper() if option == "base" else f"--{option.replace('_', '-')}"
                raise CommandError(f"argument {name}: cannot be combined with --self-check")
    if arguments.markdown and arguments.json == "-":
        raise CommandError("argument --json: --markdown goes to standard output, too")
    tables.check_target(arguments.json)


def _rows(arguments: argparse.Namespace) -> list[suites.Row]:
    sys.path.append(str(Path(suites.__file__).parent))
    rows = [
        row
        for row in suites.rows(arguments.backends)
        if not arguments.only or any(text in row.name for text in arguments.only)
    ]
    if not rows:
        raise CommandError(
            f"argument --only: no row's name contains {' or '.join(map(repr, arguments.only))}: "
            "see --list"
        )
    least = min_pairs(len(rows), ALPHA)
    if arguments.rounds is not None and arguments.rounds < least:
        raise CommandError(
            f"argument --rounds: no difference can be found among {count(len(rows), 'row')} in "
            f"fewer than {count(least, 'round')}, got {arguments.rounds}"
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return its exit code."""
    try:
        arguments = _parser().parse_args(argv)
        _check(arguments)
        rows = _rows(arguments)
        if arguments.list:
            print(*(row.name for row in rows), sep="\n")
            return 0
        with tempfile.TemporaryDirectory(prefix="compare-") as folder:
            if arguments.self_check is not None:
                return _self_check(arguments, rows, Path(folder))
            return _compare(arguments, rows, Path(folder))
    except CommandError as error:
        print(f"{_COMMAND}: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{_COMMAND}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _compare(arguments: argparse.Namespace, rows: Sequence[suites.Row], folder: Path) -> int:
    notes = _Notes()
    versions = {OLD: builds.of_commit(arguments.base)}
    named = arguments.new
    versions[NEW] = builds.of_commit(named) if named else builds.of_working_tree(folder)
    trees = {}
    for name, version in versions.items():
        tables.report_progress(f"building {name}: {version.title}")
        trees[name] = builds.build(version, folder / name)
    if versions[OLD].tree == versions[NEW].tree:
        notes.add("Both versions have the same files.")
    n_rounds = arguments.rounds or default_rounds(len(rows))
    start = time.monotonic()
    measured = _measure(arguments, rows, trees, n_rounds, notes)
    compared = judged(measured)
    if not compared:
        notes.add("Nothing was compared: no row runs in both versions.")
    report = Report(
        {name: version.title for name, version in versions.items()},
        f"{cpu_name()}, {notes.instruction_set}, {count(arguments.threads, 'thread')}, NumPy "
        f"{np.__version__}; {count(n_rounds, 'round')} of {PAIRS} pairs, "
        f"{duration(time.monotonic() - start)}",
        notes.lines,
        compared,
        [row for row in measured if row.missing],
    )
    _show(arguments, report)
    return _exit_code(arguments.fail_if_slower, compared)


def _show(arguments: argparse.Namespace, report: Report) -> None:
    if arguments.markdown:
        print(report.markdown(), end="")
    else:
        report.print(tables.new_console(arguments.json))
    settings = {name: getattr(arguments, name) for name in ("threads", "only", "backends")}
    tables.save_json(arguments.json, "compare", settings, {"comparison": report.as_record()})


def _exit_code(share: float | None, compared: Sequence[Compared]) -> int:
    if share is None:
        return 0
    slower = [row for row in compared if row.is_slower_by(share)]
    for row in slower:
        text = f"{row.measured.row}: {row.difference.ratio:.3f} times as long"
        print(f"{_COMMAND}: slower by more than {100 * share:g} %: {text}", file=sys.stderr)
    return _SLOWER if slower else 0


def _self_check(arguments: argparse.Namespace, rows: Sequence[suites.Row], folder: Path) -> int:
    notes = _Notes()
    version = builds.of_working_tree(folder)
    tables.report_progress(f"building {version.title}")
    tree = builds.build(version, folder / NEW)
    n_rounds = arguments.rounds or default_rounds(len(rows))

    def compare(seed: int, slower: dict[str, float]) -> Any:
        trees = {OLD: tree, NEW: tree}
        return _measure(arguments, rows, trees, n_rounds, notes, seed=seed, slower=slower)

    start = time.monotonic()
    said = partial(print, flush=True)
    tally = self_check.check(rows, arguments.self_check, arguments.plant, compare, said)
    seconds = (time.monotonic() - start) / arguments.self_check
    print(tally.summary(arguments.plant), *notes.lines, sep="\n")
    print(f"A comparison: {count(len(rows), 'row')}, {n_rounds} rounds, {duration(seconds)}.")
    return 0


class _Notes:
    """What a reader has to know besides, each line once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        # Before the build, which keeps all CPUs busy itself.
        self.add(machine.note_of_load(machine.load(), machine.cpus()))
        self.instruction_sets: dict[str, str] = {}

    def add(self, line: str | None) -> None:
        if line is not None and line not in self.lines:
            self.lines.append(line)

    @property
    def instruction_set(self) -> str:
        return ", ".join(dict.fromkeys(self.instruction_sets.values()))

    def of_process(self, trees: Mapping[str, Path], name: str, about: Mapping[str, Any]) -> None:
        """Check what a process measures, and note where the versions differ besides their code."""
        if Path(about["folder"]).resolve() != trees[name].resolve():
            raise CommandError(
                f"the {name} version imports fastsoftmax from {about['folder']}", FAILED
            )
        self.instruction_sets[name] = about["instruction_set"]
        if len({*self.instruction_sets.values()}) > 1:
            sets = ", ".join(f"{name} {isa}" for name, isa in self.instruction_sets.items())
            self.add(f"The versions use different instruction sets: {sets}.")


def _measure(
    arguments: argparse.Namespace,
    rows: Sequence[suites.Row],
    trees: Mapping[str, Path],
    n_rounds: int,
    notes: _Notes,
    **others: Any,
) -> Any:
    """Measure all rows, with a line on the terminal that says how long it will take."""
    confine(arguments.threads)
    start, n_turns = time.monotonic(), n_rounds * len(rows)

    def on_row(n_done: int, row: str) -> None:
        elapsed = time.monotonic() - start
        left = f"; about {duration(elapsed * (n_turns / n_done - 1))} left" if n_done else ""
        tables.report_progress(f"round {1 + n_done // len(rows)} of {n_rounds}: {row}{left}")

    return measure(
        trees,
        rows,
        n_rounds,
        clock="process_time" if arguments.threads == 1 else "perf_counter",
        on_row=on_row,
        on_start=partial(notes.of_process, trees),
        **others,
    )


if __name__ == "__main__":
    sys.exit(main())
