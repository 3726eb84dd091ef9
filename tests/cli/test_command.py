"""The command itself and `fastsoftmax info`: what they print, and how they say no."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from command_line import error_of, python, run

from fastsoftmax import __version__, cli
from fastsoftmax._arrays.threads import default_n_threads
from fastsoftmax.backends import NAMES, why_unavailable
from fastsoftmax.cli import machine, timing, workload
from fastsoftmax.cli.results import ORDER
from fastsoftmax.profiling import provenance

SMALL = ("bench", "--shape", "300x5x3", "--epochs", "2", "--batch-size", "50", "--no-plot")


AVAILABLE = [name for name in ORDER if why_unavailable(name) is None]


def record_of(capsys, *arguments):
    code, out, _ = run(capsys, *arguments, "--json", "-")
    assert code == 0
    return json.loads(out)


def test_without_arguments_it_prints_help(capsys):
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert out.startswith("usage: fastsoftmax")
    assert "bench" in out
    assert "info" in out


@pytest.mark.parametrize(
    "command",
    [(), *((name,) for name in cli._MODULES)],
)
def test_help_has_examples(capsys, command):
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0
    assert "examples:\n" in out
    assert all(len(line) <= 88 for line in out.split("examples:")[1].splitlines())


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"fastsoftmax {__version__}\n", "")


def test_it_runs_as_a_module():
    ran = subprocess.run(
        [sys.executable, "-m", "fastsoftmax", "--version"], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (0, f"fastsoftmax {__version__}\n")


def test_a_reader_that_closes_its_pipe_sees_no_traceback():
    command = [sys.executable, "-m", "fastsoftmax", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("command", ["info", "bench"])
def test_ctrl_c_ends_without_a_traceback(capsys, monkeypatch, command):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "why_unavailable", interrupted)
    arguments = SMALL if command == "bench" else ("info",)
    assert error_of(capsys, *arguments, code=130) == f"fastsoftmax {command}: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--epochs", "0"), "--epochs"),
        (("--epochs", "many"), "--epochs"),
        (("--epochs",), "--epochs"),
        (("--batch-size", "-1"), "--batch-size"),
        (("--threads", "0"), "--threads"),
        (("--threads", "1.5"), "--threads"),
        (("--seed", "-1"), "--seed"),
        (("--seed", "x"), "--seed"),
        (("--eta0", "0"), "--eta0"),
        (("--eta0", "x"), "--eta0"),
        (("--eta0", "nan"), "--eta0"),
        (("--eta0", "inf"), "--eta0"),
        (("--dtype", "float16"), "--dtype"),
        (("--shape", "10x10"), "--shape"),
        (("--shape", "10x-1x3"), "--shape"),
        (("--shape", "10x0x3"), "--shape"),
        (("--shape", "10x3x1"), "--shape"),
        (("--shape", "9" * 5000 + "x3x3"), "--shape"),
        (("--shape", "1000000000000x1000x2"), "--shape"),
        (("--shape", "9x3x1000000000000"), "--shape"),
        (("--backends", "fast"), "--backends"),
        (("--backends", ""), "--backends"),
        (("--backends", "naive,naive"), "--backends"),
        (("--backends", "auto"), "--backends"),
        (("--plot", "no/such/folder/bench.png"), "--plot"),
        (("--plot", "bench.nonsense"), "--plot"),
        (("--plot", "bench"), "--plot"),
        (("--plot", "."), "--plot"),
        (("--json", "no/such/folder/bench.json"), "--json"),
        (("--json", "."), "--json"),
        (("--json", "a" * 300), "--json"),
        (("--json", "one.png", "--plot", "one.png"), "--json"),
        (("--json", "./fastsoftmax-bench.png"), "--json"),
        (("--plot", "one.png", "--no-plot"), "--no-plot"),
        (("--no-plot", "--plot", "one.png"), "--plot"),
        (("--nonsense",), "--nonsense"),
        (("--epoch", "3"), "--epoch"),  # no abbreviations: they break when an option is added
    ],
)
def test_bad_arguments_are_one_line_that_names_the_option(capsys, monkeypatch, arguments, names):
    monkeypatch.setattr(timing.Run, "run_epoch", None)  # nothing is trained before the error
    err = error_of(capsys, "bench", *arguments)
    assert names in err
    assert err.startswith("fastsoftmax")
    assert ": error: " in err


def test_unknown_commands_are_an_error_that_lists_those_there_are(capsys):
    err = error_of(capsys, "learn")
    assert "learn" in err
    assert "bench" in err
    assert "train" in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("trian a.csv", "did you mean train?"),
        ("train a.csv --model m.npz --epoch 3", "--epoch 3; did you mean --epochs?"),
        ("train a.csv --model m.npz --ignored=id", "; did you mean --ignore?"),
        ("train a.csv --model m.npz --lr 0.1", "--lr 0.1; did you mean --eta0?"),
        ("search a.csv --lr 0.1", "--lr 0.1; did you mean --learning-rates?"),
        ("search a.csv --learning-rate 0.1", "; did you mean --learning-rates?"),
        ("train a.csv --model m.npz --learning-rate cosin", "; did you mean cosine?"),
        ("train a.csv --model m.npz --learning-rate 0.1", "; did you mean --eta0?"),
        ("train a.csv --model m.npz --learning-rate 1e-3", "; did you mean --eta0?"),
        ("bench --learning-rate 0.1", "--learning-rate 0.1; did you mean --eta0?"),
    ],
)
def test_a_near_miss_gets_a_suggestion(capsys, arguments, hint):
    err = error_of(capsys, *arguments.split())
    assert err.endswith(f"{hint}\n")


def test_a_word_that_is_like_nothing_gets_no_suggestion(capsys):
    assert "did you mean" not in error_of(capsys, "info", "--nonsense")


def test_a_file_that_is_missing_where_none_is_expected_to_be_is_one_line(capsys, monkeypatch):
    def damaged_install(**_):
        raise FileNotFoundError(2, "No such file or directory", "digits.csv.gz")

    monkeypatch.setattr(workload.datasets, "load_digits", damaged_install)
    err = error_of(capsys, "bench", "--no-plot", code=1)
    assert err == "fastsoftmax bench: error: digits.csv.gz: no such file or directory\n"


def test_a_file_that_may_not_be_written_is_one_line(capsys, monkeypatch, tmp_path):
    # What the system says to others than root.
    monkeypatch.setattr(os, "access", lambda *_: False)
    err = error_of(capsys, *SMALL, "--json", str(tmp_path / "a.json"))
    assert f"argument --json: '{tmp_path / 'a.json'}' cannot be written" in err


def test_info_names_versions_machine_and_backends(capsys):
    code, out, err = run(capsys, "info")
    assert (code, err) == (0, "")
    values = dict(line.split("  ", 1) for line in out.splitlines())
    values = {key: value.strip() for key, value in values.items()}
    assert values["fastsoftmax"] == __version__
    assert values["NumPy"] == np.__version__
    assert values["Python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert values["CPU"] == provenance.cpu_name() != ""
    assert values["threads"].startswith(f"{default_n_threads()} (")
    for name in NAMES:
        assert values[f"backend {name}"].startswith("available" if name in AVAILABLE else "not ")
    assert sum('("auto")' in value for value in values.values()) == 1


def test_info_needs_numpy_alone():
    packages = ("numba", "scipy", "sklearn", "matplotlib", "rich", "threadpoolctl")
    ran = python(
        f"import sys; sys.modules.update(dict.fromkeys({packages}));"
        "from fastsoftmax.cli import main; sys.exit(main(['info']))"
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("backend numba")]
    assert "not available: " in line
    assert line.endswith("; pip install numba")


def test_info_says_where_the_number_of_threads_comes_from(capsys, monkeypatch):
    monkeypatch.delenv("FASTSOFTMAX_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert "7 (from OMP_NUM_THREADS)" in run(capsys, "info")[1]
    monkeypatch.setenv("FASTSOFTMAX_NUM_THREADS", "3")
    assert "3 (from FASTSOFTMAX_NUM_THREADS)" in run(capsys, "info")[1]
    monkeypatch.delenv("FASTSOFTMAX_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert "(from the CPUs that this process may use)" in run(capsys, "info")[1]


@pytest.mark.parametrize("command", ["info", "bench"])
def test_an_invalid_number_of_threads_in_the_environment_is_one_line(capsys, monkeypatch, command):
    monkeypatch.setenv("FASTSOFTMAX_NUM_THREADS", "none")
    assert "FASTSOFTMAX_NUM_THREADS" in error_of(capsys, command)


@pytest.mark.parametrize("command", ["info", "bench"])
def test_an_invalid_instruction_set_in_the_environment_is_one_line(capsys, monkeypatch, command):
    def refused(name):
        if name == "compiled":
            raise ValueError("FASTSOFTMAX_ISA must be one of avx2, portable")

    monkeypatch.setattr(machine, "why_unavailable", refused)
    assert "FASTSOFTMAX_ISA" in error_of(capsys, command)


def test_the_instruction_set_in_use_is_among_those_listed(capsys):
    sets = machine.instruction_sets()
    out = run(capsys, "info")[1]
    if "compiled" in AVAILABLE:
        used, available = sets
        assert used in available
        assert f"{used} (this CPU can run {', '.join(available)})" in out
    else:
        assert sets is None
        assert "there is no compiled backend" in out


def test_without_the_compiled_backend_info_says_there_is_no_instruction_set(capsys, monkeypatch):
    reason = "no C compiler was there"
    monkeypatch.setattr(
        machine, "why_unavailable", lambda name: reason if name == "compiled" else None
    )
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert re.search(r"^instruction set +none: there is no compiled backend$", out, re.MULTILINE)
    assert re.search(rf"^backend compiled +not available: {reason}", out, re.MULTILINE)


def test_a_system_without_proc_tells_the_architecture_and_no_memory(monkeypatch):
    def none(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(machine.Path, "read_text", none)
    monkeypatch.setattr(provenance.platform, "processor", str)
    monkeypatch.setattr(provenance.platform, "machine", lambda: "arm64")
    assert provenance.cpu_name() == "arm64"
    assert machine.available_memory() is None
