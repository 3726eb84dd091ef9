"""README and docs: every block of code runs alone, and what is to be typed is there to be typed.

Blocks that need PyTorch run in the environment that has it, in tests/peers.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pages import blocks
from paths import ROOT
from pyarrow import parquet

import fastsoftmax
from fastsoftmax import cli

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
MPIEXEC = Path(sys.executable).parent / "mpiexec"
# Of these, text is output and formulas, and no code.
LANGUAGES = {"text", "python", "bash", "cython", "c"}
# What makes a block take a moment instead of seconds.
SHORTENED = {
    "60_000": "60",
    "(20_000": "(400",
    "(5_000": "(100",
    "client=client, random_state=0": "client=client, max_iter=2, tol=None, random_state=0",
    "max_iter=150": "max_iter=1",
    "max_iter=200": "max_iter=2",
}


def examples(language):
    without_mpi = sys.platform != "linux"
    reason = "the package mpich has wheels for Linux alone"
    return [
        pytest.param(
            code,
            id=f"{page.name}:{line}",
            marks=[pytest.mark.skipif(without_mpi and "mpi4py" in code, reason=reason)],
        )
        for page in PAGES
        for line, code in blocks(page, language)
    ]


def python_examples(with_torch):
    return [e for e in examples("python") if ("import torch" in e.values[0]) is with_torch]


def run_alone(code, monkeypatch):
    """Run a block in a namespace and a folder of its own."""
    for written, shorter in SHORTENED.items():
        code = code.replace(written, shorter)
    if "mpi4py" in code:
        command = [MPIEXEC, "-n", "2", sys.executable, "-c", code]
        path = os.pathsep.join([str(ROOT), *sys.path])
        environment = os.environ | {"PYTHONPATH": path}
        subprocess.run(command, check=True, timeout=60, env=environment)
        return
    if "line_profiler" in code and find_spec("line_profiler") is None:
        monkeypatch.setitem(sys.modules, "line_profiler", stand_in_for_line_profiler())
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})


def stand_in_for_line_profiler():
    class LineProfiler:
        def __init__(self, function):
            assert callable(function)

        def runcall(self, function, *arguments):
            return function(*arguments)

        def print_stats(self, *, output_unit):
            pass

    module = types.ModuleType("line_profiler")
    module.LineProfiler = LineProfiler
    return module


@pytest.mark.parametrize("code", python_examples(with_torch=False))
def test_every_block_of_python_runs_alone(code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # for those that save something
    run_alone(code, monkeypatch)


@pytest.mark.parametrize("code", examples("cython"))
def test_every_block_of_cython_compiles_alone(code, tmp_path):
    (tmp_path / "block.pyx").write_text(code)
    command = [sys.executable, "-m", "cython", "-3", "-I", ROOT, tmp_path / "block.pyx"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("code", examples("c"))
def test_every_block_of_c_compiles_in_a_function(code, tmp_path):
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        pytest.skip("needs a C compiler")
    program = f"#include <fastsoftmax.h>\nvoid f(void);\nvoid f(void) {{\n{code}\n}}\n"
    (tmp_path / "block.c").write_text(program)
    folders = [f"-I{ROOT / 'fastsoftmax' / 'include'}", f"-I{sysconfig.get_paths()['include']}"]
    command = [*compiler, "-std=c99", "-fsyntax-only", "-Werror", *folders, tmp_path / "block.c"]
    subprocess.run(command, check=True, timeout=60)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_has_a_language_that_is_looked_at(page):
    fences = re.findall(r"^ *```(.*)$", page.read_text("utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= LANGUAGES
    assert set(fences[1::2]) <= {""}
    for _, code in blocks(page, "text"):
        assert not re.search(r"^(import|from|for|def) ", code, re.MULTILINE), "code has a language"


def parser_of(command):
    actions = cli._parser()._actions
    (commands,) = (a for a in actions if isinstance(a, argparse._SubParsersAction))
    return commands.choices[command]


def commands_of(text):
    """Yield the commands of a block, without comments, prompts and variables before them."""
    for line in text.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        while "&&" in words:
            yield words[: words.index("&&")]
            words = words[words.index("&&") + 1 :]
        if words:
            yield words


@pytest.fixture
def files(monkeypatch, tmp_path, rng):
    """The files that pages call by name."""
    monkeypatch.chdir(tmp_path)
    X, y = rng.integers(0, 17, size=(60, 64)).astype(np.uint8), np.arange(60) % 3
    for name in ("digits.npz", "test.npz"):
        np.savez(name, X=X, y=y)
    np.save("new.npy", X[:5].reshape(-1, 8, 8))
    header = ",".join(f"f{i}" for i in range(4))
    rows = [",".join(map(str, row)) for row in X[:, :4]]
    Path("new.csv").write_text("\n".join([header, *rows]))
    labelled = [f"{row},{'abc'[label]}" for row, label in zip(rows, y, strict=True)]
    for name in ("train.csv", "test.csv"):
        Path(name).write_text("\n".join([f"{header},species", *labelled]))
    flowers = "id,length,width,species\n007,1,2,a\n008,3,4,b\n"
    Path("flowers.csv").write_text(flowers)
    table = {"id": list("abcdef"), "embedding": X[:6].tolist(), "topic": [True, False] * 3}
    for name, n in (("texts.parquet", 3), ("new.parquet", 2)):
        parquet.write_table(pyarrow.table(dict([*table.items()][:n])), name)


def extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"]


def check_command(words):
    """Look that a command can be typed; one of `fastsoftmax` that trains on a file is run."""
    name, *rest = words
    if name == "fastsoftmax":
        parser_of(rest[0]).parse_known_args(rest[1:])
        if rest[0] in (
            "train",
            "predict",
            "evaluate",
            "plot",
            "calibrate",
            "export",
            "show",
            "search",
        ):
            assert cli.main(rest) == 0
    elif name == "make":
        for target in (word for word in rest if "=" not in word):
            assert re.search(
                rf"^([\w-]+ )*{target}( [\w-]+)*:", (ROOT / "Makefile").read_text(), re.MULTILINE
            )
    elif name == "pip":
        assert rest[0] == "install"
        for package in (word for word in rest[1:] if not word.startswith("-")):
            assert package != "fastsoftmax"
            path, _, named = package.rstrip("]").partition("[")
            if path.startswith(".") or "/" in path:
                assert (ROOT / path).is_dir()
                assert set(filter(None, named.split(","))) <= extras().keys()
    elif "python" in Path(name).name or name == "mpiexec":
        for script in (word for word in rest if word.endswith(".py")):
            assert (ROOT / script).exists()


@pytest.mark.parametrize("block", examples("bash"))
def test_every_block_of_commands_can_be_typed(block, files, capsys):
    commands = list(commands_of(block))
    assert commands
    for words in commands:
        check_command(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_have_the_options_that_they_name(page):
    text = page.read_text("utf-8")
    for typed in re.findall(r"`fastsoftmax ([a-z]+ [^`]*)`|^\$ fastsoftmax (.*)$", text, re.M):
        command, *words = shlex.split("".join(typed))
        options = parser_of(command)._option_string_actions
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert option in options, f"fastsoftmax {command} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_text_says_to_install_is_there(page):
    for command in re.findall(r"`([A-Z_= \w]*pip install [^`]*)`", page.read_text("utf-8")):
        for words in commands_of(command):
            check_command(words)


def test_the_reference_has_every_public_name():
    listed = set(
        re.findall(r"^   ([\w.]+)$", (ROOT / "docs" / "api.rst").read_text(), re.MULTILINE)
    )
    assert set(fastsoftmax.__all__) - {"__version__", "datasets", "lecture", "plotting"} <= listed
    for room in (fastsoftmax.datasets, fastsoftmax.lecture, fastsoftmax.plotting):
        assert {name.rpartition(".")[2] for name in listed} >= set(room.__all__)


def test_the_readme_begins_with_the_main_job_and_the_tests():
    readme = [code for _, code in blocks(ROOT / "README.md", "bash")]
    assert readme[:2] == ["make bench\n", "make test\n"]
