"""`python -m benchmarks.history`: what the guard measures, kept for each version.

Measures the ratios of guard_cases.py and writes them to benchmarks/history/VERSION.json, with the date and the
machine, and all versions beside each other to README.md in the same folder. A version that is there already is
measured again. Ratios are comparable where the machines are alike, and measured with nothing else running.
"""

import argparse
import datetime
import json
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax.cli import machine
from fastsoftmax.cli.errors import FAILED, INTERRUPTED, CommandError

from . import guard
from .guard_cases import groups
from .peers import tables
from .peers.threads import confine

_COMMAND = "python -m benchmarks.history"
_FOLDER = Path(__file__).with_name("history")
_INTRODUCTION = """# Ratios over versions

`make history` writes this page and the file of the present version: see `benchmarks/history.py`. A number says how
many times as long as the compiled backend NumPy takes; of "threads", one thread over two; of "beside", an epoch
beside that many busy processes over one on a quiet machine, where less is better.
"""


def machine_of_run() -> dict[str, Any]:
    """Describe the machine and the libraries that ratios depend on."""
    found = machine.instruction_sets()
    return {
        "cpu": _cpu_name(),
        "cpus": machine.cpus(),
        "instruction_set": found[0] if found else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _cpu_name() -> str:
    try:
        name = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        name = None
    return name[1] if name else platform.processor() or "unknown"


def measured(only: str, n_rounds: int) -> dict[str, float]:
    """Return the ratios whose names contain `only`, to three digits."""
    ratios: dict[str, float] = {}
    for group in (guard.Group(*group) for group in groups()):
        if any(only in name for name in group.names):
            tables.report_progress(", ".join(group.names))
            ratios |= {name: float(f"{x:.3g}") for name, x in group.measure(n_rounds).items()}
    if not ratios:
        raise CommandError(f"argument --only: no ratio's name contains {only!r}")
    return ratios


def page(versions: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of README.md: a row for each ratio, a column for each version."""
    names = list(dict.fromkeys(name for version in versions for name in version["ratios"]))
    rows = [
        ["ratio", *(version["version"] for version in versions)],
        ["---", *["---:"] * len(versions)],
        ["date", *(version["date"] for version in versions)],
        *([name, *(_cell(version["ratios"].get(name)) for version in versions)] for name in names),
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    machines = [
        f"- {version['version']}: {', '.join(f'{k} {v}' for k, v in version['machine'].items())}"
        for version in versions
    ]
    return "\n".join([_INTRODUCTION, *lines, "", "Machines:", "", *machines, ""])


def _cell(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:g}"


def _order(version: str) -> list[tuple[int, str]]:
    # Numbers by value, whatever else ("dev", "rc") before them.
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"[.+-]", version)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return its exit code."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description=(__doc__ or "").split(": ", 1)[1])
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="ratios whose names contain this"
    )
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error(f"argument --rounds: expected at least 1, got {arguments.rounds}")
    try:
        if (reason := machine.reason_against("compiled")) is not None:
            raise CommandError(f"the compiled backend is what is measured: {reason}", FAILED)
        if (note := machine.note_of_load(machine.load(), machine.cpus())) is not None:
            print(note, file=sys.stderr)
        found = {
            "version": fastsoftmax.__version__,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": machine_of_run(),
        }
        confine(guard.CPUS)
        found["ratios"] = measured(arguments.only, arguments.rounds)
    except CommandError as error:
        print(f"{_COMMAND}: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{_COMMAND}: interrupted", file=sys.stderr)
        return INTERRUPTED
    arguments.folder.mkdir(exist_ok=True)
    written = arguments.folder / f"{found['version']}.json"
    written.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    files = sorted(arguments.folder.glob("*.json"), key=lambda path: _order(path.stem))
    versions = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    (arguments.folder / "README.md").write_text(page(versions), encoding="utf-8")
    print(f"{len(found['ratios'])} ratios: {written}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
