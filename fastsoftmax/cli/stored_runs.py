"""Compare runs that `bench --json` or `profile --json` have stored: `--compare OLD.json [NEW.json]`.

The runs were not measured side by side. Each is one process, at its time, and runs of the same code differ
by where their memory is and what the machine does besides: an interval is wider by `BETWEEN_RUNS` on either
side, and a row is slower or faster only beyond that. Runs of other work or another machine are refused,
where libraries differ that is said, and of a run on a busy machine there is no verdict.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import IO, Any, NamedTuple

from ..persistence.strict_json import parsed
from . import files
from .errors import FAILED, CommandError
from .machine import note_of_load
from .numbers import count, duration
from .significance import Difference, of_runs, verdicts
from .tables import lines_of, print_note
from .timing import by_round

# By how much runs of the same code may differ. An allowance, not a measurement of this machine.
BETWEEN_RUNS = 0.05
_ALPHA = 0.05
# With fewer rounds on each side no times, however different, are evidence.
_MIN_ROUNDS = 4
_OPTION = "argument --compare"
_REFUSED = ("cpu", "instruction_set", "cpus")
# Settings that hardly change the time, or that the record of a row accounts for.
_LABELLED_SETTINGS = ("learning_rate", "seed")
_IGNORED_SETTINGS = ("epochs", "n_test")
_PACKAGES = ("python", "numpy", "numba", "threadpoolctl")
_TOO_FEW = "too few epochs"
_BUSY = "busy machine"
# Ratios of numbers within these do not overflow. None of a real run is beyond them.
_MIN_POSITIVE, _MAX = 1e-15, 1e15
# Members of records that only those of the command have.
_MEMBERS = {"bench": "results", "profile": "phases"}
_HOW = (
    "The runs were not measured side by side: the intervals are wider by "
    f"{100 * BETWEEN_RUNS:.0f} % on either side than what the epochs within each run show, and the "
    "verdicts, corrected for the number of rows, are about differences beyond that. In a checkout, "
    "`make compare BASE=COMMIT` measures two versions side by side, and finds smaller ones."
)


class StoredRun(NamedTuple):
    """What a comparison needs of a record."""

    name: str
    version: str
    date: str
    machine: Mapping[str, Any]
    packages: Mapping[str, str | None]
    settings: Mapping[str, Any]
    seconds: Mapping[str, Sequence[float]]  # of an epoch, one for each round, by row
    totals: Mapping[str, float]  # seconds of an epoch by phase, without the times of single ones


class ComparedRow(NamedTuple):
    """A row that both runs have."""

    name: str
    old_seconds: float
    new_seconds: float
    difference: Difference | None  # None where there are too few rounds
    verdict: str


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        metavar=("OLD.json", "NEW.json"),
        help="compare with a run that --json has stored; with two files nothing is run",
    )


def old_run(arguments: argparse.Namespace) -> StoredRun | None:
    """Return the run to compare with, or None if there is none."""
    return None if arguments.compare is None else read(arguments.compare[0], arguments.command)


def compare_files(arguments: argparse.Namespace, conflicting: Sequence[str]) -> bool:
    """Carry out the command if the option names two files; return whether it does.

    `conflicting` are the options that would be of no use then.
    """
    paths = arguments.compare or []
    if len(paths) > 2:
        raise CommandError(f"{_OPTION}: expected one file or two, got {len(paths)}")
    if len(paths) < 2:
        return False
    for name in conflicting:
        if getattr(arguments, name):
            option = f"--{name.replace('_', '-')}"
            raise CommandError(f"argument {option}: nothing is run if --compare names two files")
    files.check_target("--json", arguments.json)
    old, new = (read(path, arguments.command) for path in paths)
    comparison = print_comparison(old, new, sys.stderr if arguments.json == "-" else None)
    if arguments.json is not None:
        text = json.dumps(comparison, indent=2, allow_nan=False) + "\n"
        files.write_text("--json", arguments.json, text)
    return True


def read(path: Path, command: str) -> StoredRun:
    """Read and check a record of a command, "bench" or "profile".

    Raises
    ------
    CommandError
        If the file cannot be read, or is not such a record.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{_OPTION}: {str(path)!r}: {error.strerror}", FAILED) from None
    try:
        return of_record(parsed(content, "expected JSON"), str(path), command)
    except ValueError as error:
        text = " ".join(str(error).split())
        reason = text if text.isprintable() else ascii(text)
        raise CommandError(f"{_OPTION}: {str(path)!r}: {reason}", FAILED) from None


def of_record(record: Any, name: str, command: str | None) -> StoredRun:
    """Check a record, in the types of JSON; without a command one that has no times yet.

    Raises
    ------
    ValueError
        If it is not one of that command.
    """
    top = _Members(record, "the record")
    if command is not None and _MEMBERS[command] not in top.values:
        raise ValueError(f"expected a file that `fastsoftmax {command} --json` has written")
    machine, versions = top.members("machine"), top.members("versions")
    settings = top.members("settings")
    for setting, value in settings.values.items():
        if not setting.isprintable():
            raise ValueError(f"settings: expected printable names, got {setting[:80]!a}")
        if not isinstance(value, str | int | float | None):
            raise ValueError(f"settings: {setting[:80]!r}: expected a number or a text")
    readers = {None: _without_times, "bench": _of_bench, "profile": _of_profile}
    seconds, totals = readers[command](top)
    return StoredRun(
        name,
        versions.text("fastsoftmax"),
        top.text("date"),
        {
            "cpu": machine.text("cpu"),
            "instruction_set": machine.optional_text("instruction_set"),
            "cpus": machine.number("cpus"),
            "system": machine.text("system"),
            "load_before": machine.optional_number("load_before"),
        },
        {package: versions.optional_text(package) for package in _PACKAGES},
        dict(settings.values),
        seconds,
        totals,
    )


def check_comparable(old: StoredRun, new: StoredRun) -> list[str]:
    """Return what differs besides the code, as notes.

    Raises
    ------
    CommandError
        If times cannot be compared: other work, or another machine.
    """
    names = dict.fromkeys([*old.settings, *new.settings])
    ignored = {*_LABELLED_SETTINGS, *_IGNORED_SETTINGS}
    if new.settings.get("solver") == "lbfgs":  # whose first iterations are not like the last
        ignored.remove("epochs")
    work = [name for name in names if name not in ignored]
    refused = [
        *_differing(old.machine, new.machine, _REFUSED),
        *_differing(old.settings, new.settings, work),
    ]
    if refused:
        raise CommandError(
            f"{_OPTION}: {old.name!r} and {new.name!r} cannot be compared: {', '.join(refused)}",
            FAILED,
        )
    labels = [
        *_differing(old.packages, new.packages, _PACKAGES),
        *_differing(old.machine, new.machine, ["system"]),
        *_differing(old.settings, new.settings, _LABELLED_SETTINGS),
    ]
    notes = [f"The runs differ in more than the code: {', '.join(labels)}."] if labels else []
    return notes + [f"{run.name}: {load}" for run in (old, new) if (load := _load_of(run))]


def compare(old: StoredRun, new: StoredRun) -> list[ComparedRow]:
    """Return the rows that both runs have, in the order of the new one."""
    common = [name for name in new.seconds if name in old.seconds]
    enough = [
        name for name in common if min(len(run.seconds[name]) for run in (old, new)) >= _MIN_ROUNDS
    ]
    differences = {n: of_runs(old.seconds[n], new.seconds[n], BETWEEN_RUNS) for n in enough}
    found = dict(zip(enough, verdicts([*differences.values()], _ALPHA), strict=True))
    is_busy = _load_of(old) is not None or _load_of(new) is not None
    rows = [
        ComparedRow(
            name,
            median(old.seconds[name]),
            median(new.seconds[name]),
            differences.get(name),
            _BUSY if is_busy else str(found.get(name, _TOO_FEW)),
        )
        for name in common
    ]
    return rows + [
        ComparedRow(name, old.totals[name], new.totals[name], None, "-")
        for name in new.totals
        if name in old.totals
    ]


def print_comparison(old: StoredRun, new: StoredRun, file: IO[str] | None = None) -> dict[str, Any]:
    """Print the table with notes, and return them in the types of JSON.

    Raises
    ------
    CommandError
        If times cannot be compared, as `check_comparable` says.
    """
    notes = check_comparable(old, new)
    rows = compare(old, new)
    cells: list[tuple[str, ...]] = [("", "old", "new", "new / old", "interval", "verdict")]
    cells += [_cells(row) for row in rows]
    heading = [f"{key}  {run.name}: {_origin(run)}" for key, run in (("old", old), ("new", new))]
    print(*heading, "", *lines_of(cells), sep="\n", file=file)
    only = [
        f"Only in {where.name}, not compared: {', '.join(missing)}."
        for where, other in ((old, new), (new, old))
        if (missing := [n for n in where.seconds if n not in other.seconds])
    ]
    if any(row.verdict == _TOO_FEW for row in rows):
        only.append(
            f"{_TOO_FEW[0].upper()}{_TOO_FEW[1:]}: a verdict needs {_MIN_ROUNDS} in each run."
        )
    notes = [*only, *notes, _HOW]
    for note in notes:
        print_note(note, file)
    records = [
        {
            **row._asdict(),
            "difference": None if row.difference is None else row.difference._asdict(),
        }
        for row in rows
    ]
    return {"old": old.name, "new": new.name, "rows": records, "notes": notes}


def _cells(row: ComparedRow) -> tuple[str, ...]:
    ratio, interval = row.new_seconds / row.old_seconds, "-"
    if row.difference is not None:
        ratio, low, high, _ = row.difference
        interval = f"{low:.3f} to {high:.3f}"
    times = (duration(row.old_seconds), duration(row.new_seconds))
    return (row.name, *times, f"{ratio:.3f}", interval, row.verdict)


def _origin(run: StoredRun) -> str:
    rows = len(next(iter(run.seconds.values()), ()))
    return f"fastsoftmax {run.version}, {run.date}, {count(rows, 'round')}"


def _load_of(run: StoredRun) -> str | None:
    """Return the warning that the machine was busy before a run, if it was."""
    return note_of_load(run.machine["load_before"], int(run.machine["cpus"]))


def _differing(old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [
        f"{name.replace('_', ' ')} {_shown(old.get(name))} and {_shown(new.get(name))}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value[:80] if value.isprintable() else ascii(value[:80])
    return "none" if value is None else f"{value}"


def _without_times(_: "_Members") -> tuple[dict[str, list[float]], dict[str, float]]:
    return {}, {}


def _of_bench(top: "_Members") -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the times of an epoch of all samples by backend, one for each round."""
    n_train = top.members("settings").positive("n_train")
    seconds = {}
    for result in top.list_of_members("results"):
        scale = n_train / result.positive("n_rows_timed")
        times = [scale * time for time in result.times("epoch_seconds")]
        seconds[result.text("backend")] = [median(of_round) for of_round in by_round(times)]
    return seconds, {}


def _of_profile(top: "_Members") -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the times of an epoch by backend, and the mean of every phase, and of everything."""
    times: list[float] = []
    taken, backend = 0.0, ""
    for epoch in top.list_of_members("epochs"):
        # Blocks of rows that are one epoch.
        taken += 1e-9 * (epoch.number("end") - epoch.number("start"))
        backend = epoch.text("backend")
        if epoch.values.get("is_last"):
            times.append(_positive(taken, "epochs: the time of an epoch"))
            taken = 0.0
    n = max(1, top.number("n_epochs"))
    totals = {
        f"{phase.text('name')}, mean": seconds / n
        for phase in top.list_of_members("phases")
        if (seconds := phase.number("seconds")) > 0
    }
    totals["total, mean"] = top.positive("seconds") / n
    rows = {f"epoch, {backend}": [median(of_round) for of_round in by_round(times)]}
    return rows if times else {}, totals


def _positive(number: float, what: str) -> float:
    if number < _MIN_POSITIVE:
        raise ValueError(f"{what}: expected a number greater than 0, got {number}")
    return number


class _Members:
    """The members of a JSON object, each of which has to be what is expected."""

    def __init__(self, values: Any, place: str) -> None:
        if not isinstance(values, dict):
            raise ValueError(f"{place}: expected an object")
        self.values: dict[str, Any] = values
        self._place = place

    def members(self, name: str) -> "_Members":
        return _Members(self._get(name), name)

    def list_of_members(self, name: str) -> list["_Members"]:
        return [_Members(value, name) for value in self._list(name)]

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError(f"{self._place}: {name}: expected a printable text")
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self.values.get(name) is None else self.text(name)

    def number(self, name: str) -> float:
        return self._as_number(self._get(name), name)

    def optional_number(self, name: str) -> float | None:
        return None if self.values.get(name) is None else self.number(name)

    def positive(self, name: str) -> float:
        return _positive(self.number(name), f"{self._place}: {name}")

    def times(self, name: str) -> list[float]:
        times = [self._as_number(value, name) for value in self._list(name)]
        if not times:
            raise ValueError(f"{self._place}: {name}: expected at least one time")
        return [_positive(time, f"{self._place}: {name}") for time in times]

    def _as_number(self, value: Any, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _MAX:
            raise ValueError(f"{self._place}: {name}: expected a number up to {_MAX:g}")
        return value

    def _list(self, name: str) -> list[Any]:
        value = self._get(name)
        if not isinstance(value, list):
            raise ValueError(f"{self._place}: {name}: expected a list")
        return value

    def _get(self, name: str) -> Any:
        if name not in self.values:
            raise ValueError(f"{self._place}: has no {name!r}")
        return self.values[name]
