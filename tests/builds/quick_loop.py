"""What `make quick` runs: compiles what is newer than the core, and runs tests of the changed files.

    python tests/builds/quick_loop.py [EXPRESSION]

Changed is what differs from the last commit. Of a C or Cython file, csrc/README.md names the tests, of
which those of the compiled backend run; of a module, the test file of its name in its room, or else those
that name most often what it defines, or else the room; of a test file, itself. Tests run in the quick
selection and, where an EXPRESSION of pytest's -k is given, those alone that it selects. Those of modules
run for some seconds: first one item of each test, then the others as far as the time goes. Kernels are
compiled for one instruction set, which FASTSOFTMAX_ISA may name; setup.py leaves a note of that, from
which make knows to compile the others before anything else runs.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter

import pytest

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "fastsoftmax" / "backends" / "compiled"
TABLE = ROOT / "csrc" / "README.md"
INPUTS = ("csrc/**/*.[ch]", "csrc/build_flags.sh", "fastsoftmax/**/*.p[yx][xdi]", "setup.py")
NATIVE = (".c", ".h", ".pyx", ".pxd", ".pxi")
# Of the test files that name what a module defines, so many run, for about so long.
FILES_PER_MODULE, SECONDS = 2, 1.5
# Where a file is in no table: the core, in a second.
SMOKE = ["tests/backends/test_kernels.py"]


def table():
    """The tests of each C and Cython file, as csrc/README.md has them."""
    rows = re.findall(r"^\| `(\S+)` \|.*\| (`tests/.*`) \|$", TABLE.read_text(), re.MULTILINE)
    return {file: re.findall(r"`(\S+?)`", tests) for file, tests in rows}


def changed():
    """The files that differ from the last commit, those not committed included."""
    commands = (["diff", "--name-only", "HEAD"], ["ls-files", "--others", "--exclude-standard"])
    listed = [
        subprocess.run(["git", *c], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for c in commands
    ]
    return [name for name in "".join(listed).splitlines() if (ROOT / name).exists()]


def tests_of(name):
    """The tests of a file that is no C or Cython."""
    path = Path(name)
    if path.parts[0] == "tests" and re.fullmatch(r"test_\w+\.py", path.name):
        return [name]
    if path.parts[0] != "fastsoftmax" or path.suffix != ".py":
        return []
    # The files whose names begin with its name; else those whose names have it; else the whole room.
    room = path.parts[1].lstrip("_") if len(path.parts) > 2 else "*"
    for names in (f"test_{path.stem}.py", f"test_{path.stem}_*.py"), (f"test_*{path.stem}*.py",):
        found = [each for name in names for each in sorted(ROOT.glob(f"tests/{room}/{name}"))]
        if found:
            return [str(each.relative_to(ROOT)) for each in found]
    if room == "*":
        return []
    defined = re.findall(r"^(?:def|class) ([A-Za-z]\w+)", (ROOT / name).read_text(), re.MULTILINE)
    named = [path.stem, *defined, *filter(lambda word: len(word) > 2, path.stem.split("_"))]
    words = re.compile(rf"\b({'|'.join(named)})", re.IGNORECASE)
    mentions = {
        each: len(words.findall(each.read_text())) for each in ROOT.glob(f"tests/{room}/test_*.py")
    }
    most = sorted(filter(mentions.get, mentions), key=lambda each: (-mentions[each], each))
    return [str(each.relative_to(ROOT)) for each in most[:FILES_PER_MODULE]] or [f"tests/{room}"]


def chosen_set():
    """The instruction set to compile for: the one that is asked for, or the best of those of this CPU."""
    if wanted := os.environ.get("FASTSOFTMAX_ISA"):
        return wanted
    flags = re.search(r"^flags.*", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    has = set(flags[0].split()) if flags else set()
    if not has:
        return "neon" if os.uname().machine == "aarch64" else "portable"
    if {"avx512f", "avx512dq", "avx512vl"} <= has:
        return "avx512"
    return "avx2" if {"avx2", "fma", "f16c"} <= has else "portable"


def compile_core():
    """Compile what is newer than the core, if anything is."""
    core = [
        path.stat().st_mtime for path in COMPILED.glob("_core.*") if path.suffix in (".so", ".pyd")
    ]
    inputs = [path.stat().st_mtime for pattern in INPUTS for path in ROOT.glob(pattern)]
    if core and max(inputs) < max(core):
        return
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=ROOT,
        check=True,
        env={**os.environ, "FASTSOFTMAX_KERNELS": chosen_set()},
    )


class TimeLimit:
    """A plugin of pytest: the first item of each test runs, then the others, and none after the limit."""

    def __init__(self, seconds):
        self.seconds, self.end, self.n_left = seconds, None, 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        counts, ranks = Counter(), {}
        for item in items:
            test = item.nodeid.partition("[")[0]
            ranks[item.nodeid] = counts[test]
            counts[test] += 1
        items.sort(key=lambda item: ranks[item.nodeid])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self):
        now = perf_counter()
        self.end = self.end or now + self.seconds
        if now < self.end:
            return None
        self.n_left += 1
        return True

    def pytest_terminal_summary(self, terminalreporter):
        if self.n_left:
            left = f"{self.n_left} more items were left after {self.seconds:g} s"
            terminalreporter.write_line(f"quick: {left}; K=<expression> selects some")


def main(expression=""):
    files = changed()
    tests, of_file = [], table()
    native = [name for name in files if name.endswith(NATIVE)]
    for name in native:
        tests += of_file.get(name, SMOKE)
    for name in files:
        tests += [] if name in native else tests_of(name)
    try:
        compile_core()
    except subprocess.CalledProcessError as error:
        return error.returncode
    tests = list(dict.fromkeys(tests))
    if not tests:
        print("quick: no file with tests of its own differs from the last commit")
        return 0
    python = [name for name in files if name not in native and tests_of(name)]
    terms = [] if python or not native else ["compiled"]
    terms += [f"({expression})"] if expression else []
    selection = ["-k", " and ".join(terms)] if terms else []
    print("quick:", *tests, *selection, flush=True)
    # Nothing of the package is imported yet: what has been compiled is what is tested.
    plugins = [TimeLimit(SECONDS)] if python and not expression else []
    os.chdir(ROOT)
    sys.path[0] = str(ROOT)  # as `python -m pytest` does
    return pytest.main(["-q", "-x", "-n0", "--quick=always", *selection, *tests], plugins)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
