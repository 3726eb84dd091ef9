"""What builds, tests and releases have to agree on: the version, and the Pythons."""

import importlib
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from paths import ROOT

import fastsoftmax

PACKAGE = Path(fastsoftmax.__file__).parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = [
    classifier.rpartition(" ")[2]
    for classifier in PYPROJECT["project"]["classifiers"]
    if re.search(r":: 3\.\d+$", classifier)
]


@pytest.fixture
def script(monkeypatch):
    """The scripts of tests/builds, by name."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "builds")
    names = []

    def load(name):
        names.append(name)
        return importlib.import_module(name)

    yield load
    for name in names:
        del sys.modules[name]


@pytest.fixture
def platforms(script):
    """What `make platforms` runs."""
    return script("platforms")


def test_the_version_is_in_one_place():
    version = fastsoftmax.__version__
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "fastsoftmax._version.__version__"
    }
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.p[yx][xid]"), *ROOT.glob("csrc/**/*.[ch]")]
    files += [ROOT / "setup.py", ROOT / "pyproject.toml", ROOT / "Makefile", ROOT / "README.md"]
    files += [*ROOT.glob("docs/*.md")]
    literal = re.compile(rf"(?<![\d.=]){re.escape(version)}(?![\d.])")
    assert [path.name for path in files if literal.search(path.read_text())] == ["_version.py"]
    assert importlib.metadata.version("fastsoftmax") == version


def test_the_first_section_of_the_changelog_is_of_this_version():
    sections = re.findall(
        r"^## \[(.*)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    version, date = sections[0]
    assert version == fastsoftmax.__version__
    assert date == "Unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", date)


def test_every_python_that_is_declared_is_tested(platforms):
    assert PYPROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"
    assert [p for p in platforms.PLATFORMS if p.startswith("python")] == [
        f"python{v}" for v in PYTHONS
    ]
    assert PYTHONS[-1] == platforms.NEWEST
    build = PYPROJECT["tool"]["cibuildwheel"]["build"]
    assert build == f"cp{PYTHONS[0].replace('.', '')}-*"
    workflow = ROOT / ".github" / "workflows" / "wheels.yml"
    if workflow.exists():  # an sdist has none
        listed = re.search(r"^ +python: \[(.*)\]$", workflow.read_text(), re.MULTILINE)[1]
        assert [version.strip(' "') for version in listed.split(",")] == PYTHONS


def test_every_group_of_platforms_has_a_target():
    table = re.search(
        r"^table='\n(.*?)'$", (ROOT / "tests/c/check_platforms").read_text(), re.M | re.S
    )
    rows = [[cell.strip() for cell in row.split(";")] for row in table[1].splitlines()]
    assert {len(row) for row in rows} == {6}
    targets = re.findall(r"^(\w+)-check: ##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {row[1] for row in rows} == {*targets} - {"exp"}
    sets = set(re.findall(r'^(\w+)="', (ROOT / "csrc/build_flags.sh").read_text(), re.MULTILINE))
    assert {name.upper() for row in rows for name in row[4].split()} == sets - {"COMMON", "RELEASE"}


@pytest.mark.skipif(not (ROOT / ".github").exists(), reason="an sdist has no workflows")
def test_workflows_pin_what_they_use_and_may_only_read():
    for path in (ROOT / ".github" / "workflows").iterdir():
        workflow = path.read_text()
        used = re.findall(r"uses: (\S+)", workflow)
        assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used), path.name
        assert "\npermissions:\n  contents: read\n" in workflow
        assert set(re.findall(r"([\w-]+): write", workflow)) <= {"id-token"}


def test_the_tests_that_are_left_out_exist(platforms):
    for name in platforms.NOT_CORE | platforms.OF_THE_COMPILED:
        path = ROOT / "tests" / name
        assert path.is_dir() or path.with_suffix(".py").is_file(), name


needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an sdist has no git")


@pytest.mark.skipif(
    not (ROOT / "fastsoftmax").is_dir(),
    reason="the installed package is tested, of which the sources are not here",
)
def test_every_bug_can_be_planted(script):
    for mutant in script("mutants").MUTANTS:
        assert (ROOT / mutant.file).read_text().count(mutant.old) == 1, mutant.name


@needs_git
def test_bugs_are_planted_in_a_copy_that_the_next_run_mends(script, monkeypatch, tmp_path):
    mutants = script("mutants")
    mutant = mutants.MUTANTS[0]
    original, planted = ROOT / mutant.file, tmp_path / mutant.file
    seen = []
    monkeypatch.setattr(mutants, "COPY", tmp_path)
    monkeypatch.setattr(
        mutants, "compile_copy", lambda: seen.extend([original.read_text(), planted.read_text()])
    )
    monkeypatch.setattr(mutants, "failing_test", lambda options: "a test")
    mutants.copy_of_the_tree()
    mutants.test_mutant(mutant, [])
    assert [mutant.new in text for text in seen] == [False, True]
    # As a run that is killed leaves it, and a file that has been renamed since.
    planted.write_text(seen[1])
    renamed = tmp_path / "csrc" / "renamed.h"
    renamed.touch()
    mutants.copy_of_the_tree()
    assert planted.read_bytes() == original.read_bytes()
    assert not renamed.exists()


def test_what_is_fuzzed_has_the_flags_of_what_ships(script, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from tests.fuzz import c_targets, fuzz

    shipped = dict(re.findall(r'^(\w+)="(.*)"$', (ROOT / "csrc/build_flags.sh").read_text(), re.M))
    assert {*shipped["COMMON"].split(), *shipped["RELEASE"].split()} <= {*c_targets.FLAGS}
    compiled = {}
    monkeypatch.setattr(
        c_targets, "_compile", lambda _, *job: compiled.update({job[0].name: job[1]})
    )
    c_targets.compiled_kernels(fuzz.LIBFUZZER)
    for name in ("portable", "avx2", "avx512"):
        for unit in ("kernel_table", "kernels_loss", "kernels_panels", "kernels_slabs"):
            flags = compiled[f"{name}.FLOAT32.{unit}.o"]
            assert {*shipped[name.upper()].split()} <= {*flags}
    # What comes last counts: nothing else changes the optimisation.
    for name, flags in compiled.items():
        levels = [flag for flag in flags if flag.startswith("-O")]
        assert levels == (["-O2"] if name.startswith("portable") else []), name


def test_the_oldest_requirements_are_those_declared(platforms, monkeypatch):
    monkeypatch.setattr(platforms, "SOURCE", ROOT)
    oldest = platforms.oldest_requirements()
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", requirement) for requirement in oldest)
    assert [r for r in oldest if r.startswith("numpy")] == ["numpy==1.26"]
