"""Tests the wheel that `make wheel` has built on every platform that this machine can be.

`python platforms.py [PLATFORM ...] [--allow-missing]`: each has an environment of its own under
build/platforms/, with the installed package and the extra `test`; the tests come from the sdist, without
the package beside them. Prints a table, and fails where a test did or a Python was not found.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "platforms"
SOURCE = FOLDER / "source"
NEWEST = "3.13"
PROGRAMS = "Scripts" if os.name == "nt" else "bin"  # of an environment
ALL_BACKENDS = ("naive", "vectorized", "numba", "compiled")
# What is left out of the core tests: commands, pictures, pages, and what other packages do.
NOT_CORE = {
    *("cli", "dask", "datasets", "peers", "plotting"),
    *("project/test_benchmarks", "project/test_docs", "project/test_examples"),
    "project/test_linear_probe",
    *("project/test_peer_benchmarks", "project/test_setup"),
    *("training/test_gradient_sums", "training/test_gradient_sums_steps"),
}
# What tests nothing but the compiled backend, from its C API to its instruction sets.
OF_THE_COMPILED = {
    *("backends/test_allocation", "backends/test_c_api", "backends/test_instruction_sets"),
    *("backends/test_processes", "backends/test_properties_of_bits"),
    *("loss/test_accuracy", "loss/test_njit", "profiling/test_profiler"),
}
# The extras that a user may have; the oldest of each, and of NumPy, has to do.
USERS_EXTRAS = ("numba", "sklearn", "data", "progress", "plot", "safetensors", "onnx")


class Platform(NamedTuple):
    """What is installed and run."""

    python: str
    what: str
    full: bool = False
    pure: bool = False
    bits: bool = False
    isa: str = ""
    numpy: str = ""  # "oldest", "newest", or what comes with the other packages

    def environment(self):
        """The name of the environment, one for all platforms that differ in nothing that is installed."""
        parts = ("python" + self.python, "pure" if self.pure else "", self.numpy)
        return "-".join(filter(None, parts))


PLATFORMS = {
    "python3.11": Platform("3.11", "core tests"),
    "python3.12": Platform("3.12", "core tests"),
    "python3.13": Platform(NEWEST, "all tests", full=True),
    "portable": Platform(NEWEST, "core tests, FASTSOFTMAX_ISA=portable", isa="portable"),
    "pure": Platform(NEWEST, "core tests, FASTSOFTMAX_PURE=1", pure=True),
    "oldest": Platform("3.11", "core tests, oldest NumPy and extras", numpy="oldest"),
    "newest": Platform(NEWEST, "core tests, newest NumPy", numpy="newest"),
    "bits": Platform(NEWEST, "same bits as what CC builds here", bits=True),
}


made = set()  # the environments of this run


class Row(NamedTuple):
    """A line of the table."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    note: str = ""


def output_of(*command, **options):
    """What a command prints, or None if it fails. It runs in a folder without the package."""
    ran = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, **options)
    return ran.stdout.strip() if ran.returncode == 0 else None


def find_python(version):
    """A path to Python `version`, or None: on the PATH, of pyenv, whose shims may not run, or this one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python")]
    candidates += [sys.executable]
    program = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        if output_of(candidate, "-c", program) == version:
            return str(candidate)
    return None


def the_one(pattern):
    found = list((ROOT / "dist").glob(pattern))
    if len(found) != 1:
        sys.exit(f"platforms: dist/ has {len(found)} files {pattern}: run `make wheel` first")
    return found[0]


def unpack_tests(sdist):
    """All of the sdist but the package, which must come from the environment."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        top = archive.getnames()[0].split("/")[0]
        archive.extractall(FOLDER, filter="data")
    (FOLDER / top).rename(SOURCE)
    shutil.rmtree(SOURCE / "fastsoftmax")


def oldest_requirements():
    """The lower bounds of pyproject.toml, of the package and of the extras that users have."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][e] for e in USERS_EXTRAS)]
    return sorted({requirement.replace(">=", "==") for each in lists for requirement in each})


def install(platform, python, artifacts, log):
    """Make the environment, or take the one that another platform has made; return its Python."""
    wheel, sdist = artifacts
    folder = FOLDER / platform.environment()
    inside = folder / PROGRAMS / "python"
    if folder in made:
        return inside
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    # Compiled as it is imported: most of what the extra brings never is.
    pip = [inside, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    pip += ["--prefer-binary"]
    environment = os.environ | ({"FASTSOFTMAX_PURE": "1"} if platform.pure else {})

    def run(*arguments):
        command = [*pip, *arguments]
        subprocess.run(command, check=True, env=environment, stdout=log, stderr=log)

    constraints = []
    if platform.numpy == "oldest":
        (FOLDER / "oldest.txt").write_text("\n".join(oldest_requirements()) + "\n")
        constraints = ["--constraint", FOLDER / "oldest.txt"]
    run(f"{sdist if platform.pure else wheel}[test]", *constraints)
    if platform.numpy == "newest":
        run("--upgrade", "numpy")
    made.add(folder)
    return inside


def installed(inside, package):
    program = f"import importlib.metadata as m; print(m.version({package!r}))"
    return output_of(inside, "-c", program)


def backends_of(platform, inside):
    """The backends that must work there; only numba may be too old for a new NumPy."""
    names = [name for name in ALL_BACKENDS if not (platform.pure and name == "compiled")]
    if platform.numpy == "newest" and output_of(inside, "-c", "import numba") is None:
        names.remove("numba")
    return names


def files_of(platform):
    """The files of tests, as arguments."""
    if platform.full:
        return ["tests"]
    left_out = NOT_CORE | (OF_THE_COMPILED if platform.pure else set())
    tests = SOURCE / "tests"
    files = [path.relative_to(tests).with_suffix("") for path in sorted(tests.glob("*/test_*.py"))]
    return [f"tests/{file}.py" for file in files if left_out.isdisjoint({str(file), file.parts[0]})]


def run_tests(name, platform, inside, log):
    """Run pytest; return the row."""
    program = "import fastsoftmax; print(fastsoftmax.__file__)"
    found = output_of(inside, "-c", program) or "nothing"
    if FOLDER / platform.environment() not in Path(found).parents:
        return Row(name, failed=1, note=f"the package that is imported is {found}")
    backends = backends_of(platform, inside)
    environment = (
        os.environ | {"FASTSOFTMAX_ISA": platform.isa} if platform.isa else dict(os.environ)
    )
    notes = [f"NumPy {installed(inside, 'numpy')}", platform.what]
    if len(backends) < len(ALL_BACKENDS):
        environment["FASTSOFTMAX_TEST_BACKENDS"] = " ".join(backends)
        missing = sorted(set(ALL_BACKENDS) - set(backends))
        notes.append(f"without {', '.join(missing)}")
        if "numba" in missing:
            notes.append(f"numba {installed(inside, 'numba')} does not take this NumPy")
    report = FOLDER / f"{name}.xml"
    report.unlink(missing_ok=True)
    # The machine may be busy: five times the time that a test has elsewhere.
    command = [inside, "-m", "pytest", "-q", "--override-ini=timeout=600", f"--junitxml={report}"]
    if platform.numpy == "oldest":
        command.append("-Wdefault::DeprecationWarning")  # of old packages next to newer ones
    command += files_of(platform)
    ran = subprocess.run(command, cwd=SOURCE, env=environment, stdout=log, stderr=log)
    if not report.exists():
        return Row(name, failed=1, note=f"pytest ended with {ran.returncode} and no report")
    suite = ET.parse(report).getroot().find("testsuite")
    total, failures, errors, skipped = (
        int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors or int(ran.returncode != 0)
    return Row(name, total - failures - errors - skipped, failed, skipped, "; ".join(notes))


def compare_bits(name, python, artifacts, log):
    """Compare results of the wheel with those of a build by this machine's compiler; return the row."""
    wheel, sdist = artifacts
    folder = FOLDER / name
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    inside = folder / PROGRAMS / "python"
    pip = [inside, "-m", "pip", "install", "--disable-pip-version-check"]
    here = folder / "built-here"
    for arguments in (
        [wheel, "scipy"],
        ["--no-deps", "--no-binary=fastsoftmax", "--target", here, sdist],
    ):
        subprocess.run([*pip, *arguments], check=True, stdout=log, stderr=log)
    program = "from fastsoftmax.backends import get_backend as b; print(*b('compiled').instruction_sets())"
    names = {place: sets_of(inside, program, place) for place in (None, here)}
    if names[None] != names[here]:
        return Row(
            name, failed=1, note=f"instruction sets: {names[None]}; built here {names[here]}"
        )
    differing = [
        isa for isa in names[None] if digests(inside, isa, None) != digests(inside, isa, here)
    ]
    note = f"{PLATFORMS[name].what}, by instruction set: {', '.join(names[None])}"
    if differing:
        note += f"; other bits: {', '.join(differing)}"
    return Row(name, len(names[None]) - len(differing), len(differing), note=note)


def sets_of(inside, program, place):
    return output_of(inside, "-c", program, env=environment_of(place)).split()


def environment_of(place, **variables):
    """The environment in which the package in a folder, or None: the installed one, is imported."""
    return os.environ | ({"PYTHONPATH": str(place)} if place else {}) | variables


def digests(inside, isa, place):
    """SHA-256 of what every function and many fits give, see instruction_set_results.py."""
    program = SOURCE / "tests" / "support" / "instruction_set_results.py"
    with zipfile.ZipFile(FOLDER / "none.npz", "w"):
        pass  # no given arrays: those are for the oracle
    command = [inside, "-W", "ignore", program, FOLDER / "none.npz", FOLDER / "results.npz"]
    printed = output_of(*command, env=environment_of(place, FASTSOFTMAX_ISA=isa))
    if printed is None:
        sys.exit(f"platforms: {' '.join(map(str, command))} failed with FASTSOFTMAX_ISA={isa}")
    return json.loads(printed)


def test_platform(name, python, artifacts):
    platform, path = PLATFORMS[name], FOLDER / f"{name}.log"
    if python is None:
        return Row(name, note=f"NOT RUN: Python {platform.python} was not found")
    print(f"{name}: {platform.what} (build/platforms/{path.name})", flush=True)
    with path.open("w") as log:
        try:
            if platform.bits:
                return compare_bits(name, python, artifacts, log)
            inside = install(platform, python, artifacts, log)
        except subprocess.CalledProcessError:
            return Row(name, failed=1, note="pip could not install: " + last_error(path))
        return run_tests(name, platform, inside, log)


def last_error(path):
    errors = re.findall(r"^ERROR: (.*)$", path.read_text(), re.MULTILINE)
    return errors[-1] if errors else f"see {path.relative_to(ROOT)}"


def print_table(rows):
    print(f"\n{'platform':12} {'passed':>7} {'failed':>7} {'skipped':>8}  notes")
    for row in rows:
        print(f"{row.name:12} {row.passed:7} {row.failed:7} {row.skipped:8}  {row.note}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help=", ".join(PLATFORMS))
    parser.add_argument("--allow-missing", action="store_true", help="a Python may be missing")
    arguments = parser.parse_args()
    unknown = set(arguments.platforms) - PLATFORMS.keys()
    if unknown:
        parser.error(f"no platform {', '.join(sorted(unknown))}; there are {', '.join(PLATFORMS)}")
    names = arguments.platforms or list(PLATFORMS)
    artifacts = the_one("fastsoftmax-*.whl"), the_one("fastsoftmax-*.tar.gz")
    FOLDER.mkdir(parents=True, exist_ok=True)
    unpack_tests(artifacts[1])
    for variable in ("PYTHONPATH", "PYTHONHOME", "FASTSOFTMAX_ISA", "FASTSOFTMAX_PURE"):
        os.environ.pop(variable, None)
    pythons = {name: find_python(PLATFORMS[name].python) for name in names}
    rows = [test_platform(name, pythons[name], artifacts) for name in names]
    print_table(rows)
    missing = None in pythons.values() and not arguments.allow_missing
    sys.exit(missing or any(row.failed for row in rows))


if __name__ == "__main__":
    main()
