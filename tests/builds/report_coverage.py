"""Python, Cython and C in one report of the lines that the tests run: what `make coverage` ends with.

    python tests/builds/report_coverage.py PYTHON.json

in a tree whose core counts its lines (FASTSOFTMAX_BUILD=coverage) and has run. The file is coverage.py's;
of C and Cython gcov tells. Cython's output says in comments of which line it is made, so lines of Cython
are counted where the GIL is not held, too, and no thread is slowed by tracing.

Every line that did not run is printed. What `not_covered.toml` says of it, by the file and a part of the
line, is its argument, and that of the lines below that are indented deeper; a line without one, and an
argument without a line, are an error.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

CYTHON_OUTPUT = "fastsoftmax/backends/compiled/_core.c"
OURS = ("csrc/", "fastsoftmax/")
ARGUMENTS = Path(__file__).with_name("not_covered.toml")
LANGUAGES = {
    ".py": "Python",
    ".pyx": "Cython",
    ".pxi": "Cython",
    ".pxd": "Cython",
    ".c": "C",
    ".h": "C",
}


def of_python(report):
    """Lines that ran and lines that did not, by file."""
    return {
        path: (set(file["executed_lines"]), set(file["missing_lines"]))
        for path, file in report["files"].items()
    }


def of_gcov():
    """The same of C and Cython. A header is compiled several times: a line ran where one of them did."""
    counts = {}
    for data in Path("build").glob("objects/**/*.gcda"):
        told = subprocess.run(
            ["gcov", "--json-format", "--stdout", str(data)], capture_output=True, check=True
        )
        for file in json.loads(told.stdout)["files"]:
            source_of = cython_lines(file["file"]) if file["file"] == CYTHON_OUTPUT else None
            for line in file["lines"]:
                place = file["file"], line["line_number"]
                if source_of is not None:
                    place = source_of.get(line["line_number"])
                if place is not None and place[0].startswith(OURS):
                    counts[place] = counts.get(place, 0) + line["count"]
    files = {}
    for (path, line), count in counts.items():
        files.setdefault(path, (set(), set()))[0 if count else 1].add(line)
    return files


def cython_lines(output):
    """The file and line of Cython of every line of its output that has one."""
    place, places = None, {}
    for number, line in enumerate(Path(output).read_text().splitlines(), 1):
        if begins := re.match(r'\s*/\* "([^"]+)":(\d+)$', line):
            place = begins[1], int(begins[2])
        elif "#### Code section:" in line:  # what follows is Cython's own
            place = None
        if place is not None:
            places[number] = place
    return places


def end_of_block(source, number):
    """The first line that is no deeper than line `number`, but for brackets that close."""
    depth = len(source[number - 1]) - len(source[number - 1].lstrip())
    for at, text in enumerate(source[number:], number + 1):
        if re.match(rf"\s{{0,{depth}}}(?![)\]}}]\S*(?:$| ->|:))[^\s#]", text):
            return at
    return len(source) + 1


def argued(lines, source, arguments):
    """Each line and the argument for it, or None."""
    argument, end = None, 0
    for number in lines:
        found = [one for one in arguments if one["line"] in source[number - 1]]
        if found:
            argument, end = found[0], end_of_block(source, number)
        elif number >= end:
            argument = None
        yield number, source[number - 1].strip(), argument


def table_of(files):
    """Lines by language."""
    lines, ran = Counter(), Counter()
    for path, (of_file, did_not) in files.items():
        language = LANGUAGES[Path(path).suffix]
        lines[language] += len(of_file) + len(did_not)
        ran[language] += len(of_file)
    table = Table("language", "lines", "ran", "did not", "ran, %", title="lines that the tests run")
    for column in table.columns[1:]:
        column.justify = "right"
    for language in ("Python", "Cython", "C"):
        share = (
            f"{100 * ran[language] / lines[language]:.2f}" if lines[language] else "none measured"
        )
        missing = lines[language] - ran[language]
        table.add_row(language, f"{lines[language]}", f"{ran[language]}", f"{missing}", share)
    return table


def main(python_path):
    """Print the report; 1 where a line has no argument, or an argument no line."""
    files = of_python(json.loads(Path(python_path).read_text()))
    files |= of_gcov()
    arguments = tomllib.loads(ARGUMENTS.read_text())["not_covered"]
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    console.print(table_of(files))
    used, bare = set(), 0
    for path in sorted(files):
        source = Path(path).read_text().splitlines()
        of_file = [argument for argument in arguments if argument["file"] == path]
        missing = argued(sorted(files[path][1]), source, of_file)
        # One argument may speak of many lines.
        for argument, lines in groupby(missing, key=lambda line: line[2]):
            for number, text, _ in lines:
                console.print(f"{path}:{number}: {text}", markup=False)
                bare += argument is None
            reason = argument["because"] if argument else "NO ARGUMENT"
            console.print(f"    {reason}", markup=False, style=None if argument else "red")
            used.add(id(argument))
    idle = [argument for argument in arguments if id(argument) not in used]
    for argument in idle:
        console.print(f"runs, or is gone: {argument['file']}: {argument['line']}", markup=False)
    console.print(f"{bare} lines did not run and have no argument in {ARGUMENTS.name}")
    return 1 if bare or idle else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
