"""What `make quick` runs: compiles what is newer than the core, and runs tests of the changed files.

    python tests/builds/quick_loop.py [EXPRESSION]

Changed is what differs from the last commit. Of a C or Cython file, csrc/README.md names the tests, of
which those of the compiled backend run; of a module, the test file of its name in its room, or else the
room; of a test file, itself. Tests run in the quick selection and, where an EXPRESSION of pytest's -k is
given, those alone that it selects. Kernels are compiled for one instruction set, which FASTSOFTMAX_ISA
may name; setup.py leaves a note of that, from which make knows to compile the others before anything
else runs.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "fastsoftmax" / "backends" / "compiled"
TABLE = ROOT / "csrc" / "README.md"
INPUTS = ("csrc/**/*.[ch]", "csrc/build_flags.sh", "fastsoftmax/**/*.p[yx][xdi]", "setup.py")
NATIVE = (".c", ".h", ".pyx", ".pxd", ".pxi")
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
    return [f"tests/{room}"] if room != "*" else []


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
    command = ["-m", "pytest", "-q", "-x", "-n0", "--quick=always", *selection, *tests]
    return subprocess.run([sys.executable, *command], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
