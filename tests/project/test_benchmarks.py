"""The benchmark suites, the soak and the guard run, small, and find what they should."""

import importlib
import json
import re
import subprocess
import sys
import tomllib

import pytest
from paths import ROOT

from fastsoftmax.backends import NAMES, why_unavailable

LOOPS = ("numpy_plain", "numpy_buffered")


def test_the_suites_run_with_every_backend():
    smallest = "128x10- or 32x64x10- or 1347x64x10x32-"
    command = [sys.executable, "-m", "pytest", "benchmarks", "-v", "-k", smallest]
    command += ["--benchmark-disable", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = set(re.findall(r"::test_(\w+)\[\w+-(float\d\d)-(\w+)\] PASSED", ran.stdout))
    functions = ("softmax", "logsumexp", "softmax_cross_entropy", "linear_cross_entropy")
    functions += ("transposed_product", "epoch")
    available = [name for name in NAMES if why_unavailable(name) is None]
    assert passed == {
        (function, dtype, backend)
        for function in functions
        for dtype in ("float32", "float64")
        for backend in [*available, *(LOOPS if function == "epoch" else ())]
    }


def run(*arguments):
    command = [sys.executable, "-W", "error", "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)


# On two of the inputs, whose repetitions are what takes time.
SOAK = """
import sys
from benchmarks import service, soak
service.Service.N_VARIANTS = 2
sys.exit(soak.main())
"""


def test_the_soak_runs():
    command = [sys.executable, "-W", "error", "-c", SOAK, "--rounds", "20", "--threads", "2"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    # So few rounds say nothing about memory: all else has to be as it was.
    faults = [line for line in ran.stdout.splitlines() if line.startswith("FAILED")]
    assert all(line.startswith("FAILED: resident memory") for line in faults), ran.stdout
    assert ran.returncode == bool(faults), ran.stdout + ran.stderr
    assert ran.stderr == ""
    digests = re.findall(r"^([a-z_ ]+?) +20 +([0-9a-f]{12})$", ran.stdout, re.MULTILINE)
    assert len(dict(digests)) == 13
    # The same weights, saved and loaded, and after a fit that was stopped and went on.
    assert dict(digests)["save and load"] == dict(digests)["fit with a checkpoint"]


@pytest.fixture
def soak_module(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.soak")


def samples_of(soak_module, resident, **last):
    """A sample every 10 rounds, of that many MiB, and what else is different in the last one."""
    fixed = {"files": 5, "threads": 3, "temporary": 2}
    samples = [
        soak_module.Sample(10 * i, float(i), int(mib * 2**20), **fixed)
        for i, mib in enumerate(resident)
    ]
    return [*samples[:-1], samples[-1]._replace(**last)]


@pytest.mark.parametrize(
    ("resident", "last", "fault"),
    [
        ([100 + 0.005 * i for i in range(100)], {}, None),  # 0.5 MiB in a thousand rounds
        ([100 + 0.02 * i for i in range(100)], {}, r"grows by 2\.00 MiB in a thousand rounds"),
        ([100 + 0.9 * (i % 2) for i in range(200)], {}, None),  # pages that come and go
        ([100, 100.1, 100.15, 100.1, 100.2], {}, None),  # steep, but short
        ([100] * 900 + [109] * 10, {}, r"has grown by 9\.00 MiB in 9090 rounds"),
        ([100] * 5, {"files": 6}, "open files: 6, after the warm-up there were 5"),
        ([100] * 5, {"threads": 4}, "threads: 4, "),
        ([100] * 5, {"temporary": 3}, "files in the temporary folder: 3, "),
        ([100] * 5, {"files": 4}, None),
    ],
)
def test_what_the_soak_finds(soak_module, resident, last, fault):
    faults = soak_module.faults_of(samples_of(soak_module, resident, **last))
    assert [bool(re.search(fault or "", line)) for line in faults] == [True] * (fault is not None)


LEAK = """
import json, pathlib, sys
import numpy as np
from benchmarks import soak

folder, kept = pathlib.Path(sys.argv[1]), []


def leak(variant):
    kept.append((bytearray(2**20), (folder / f"{len(kept)}").open("w")))
    return [variant, "" if len(kept) < 40 else "other"]


operations = {"leak": leak, "sound": lambda variant: [np.arange(variant)]}
samples, answers = soak.soak(operations, folder, lambda n_rounds, _: n_rounds / 60)
print(json.dumps([soak.faults_of(samples), answers.changed, answers.calls]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_soak_sees_its_process(tmp_path):
    """A leak of memory and of files, and an answer that changes; alone, as garbage of others takes long."""
    command = [sys.executable, "-c", LEAK, tmp_path]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    faults, changed, calls = json.loads(ran.stdout)
    for what in ("resident memory grows", "resident memory has grown", "open files", "temporary"):
        assert what in " ".join(faults)
    assert (changed, calls) == ({"leak": 39}, {"leak": 60, "sound": 60})


@pytest.mark.parametrize("length", [["--minutes", "0"], ["--rounds", "9"], ["--threads", "0"]])
@pytest.mark.costly
def test_a_soak_too_short_is_refused(length):
    ran = run("benchmarks.soak", *length)
    assert ran.returncode == 2
    assert "expected more than 0 minutes, 50 rounds or more" in ran.stderr


SMALL = """
import importlib, sys
from benchmarks import guard_cases
vars(guard_cases).update(guard_cases.TINY)
sys.exit(importlib.import_module(f"benchmarks.{sys.argv.pop(1)}").main())
"""


def small(module, *arguments):
    """Of tiny sizes, in a process of its own, as it confines the one that it runs in."""
    command = [sys.executable, "-c", SMALL, module, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)


def guard(*arguments):
    return small("guard", *arguments)


@pytest.fixture
def table(tmp_path):
    """A function that writes a table with these figures of the loss core, and returns its path."""

    def write(figure, section="at_least", name="softmax_cross_entropy 16x10"):
        figures = {"at_least": "", "at_most": ""} | {section: f'"{name}" = {figure}\n'}
        text = "".join(f"[{name}]\n{lines}" for name, lines in figures.items())
        (tmp_path / "guard.toml").write_text(f"share = 0.5\n{text}")
        return tmp_path / "guard.toml"

    return write


def test_the_guard_measures_what_its_table_knows(table):
    ran = guard("--update", "--rounds", 1, "--table", table(1))
    assert ran.returncode == 0, ran.stderr
    figures = tomllib.loads(ran.stdout)
    assert figures["share"] == 0.5
    assert all(
        ratio > 0 for section in ("at_least", "at_most") for ratio in figures[section].values()
    )
    epoch = "epoch 300x20x3x32"
    beside = [f"{epoch} beside {n} busy" for n in (1, 2, 4)]
    assert list(figures["at_most"]) == ["iteration of lbfgs 300x20x3x32 over an epoch", *beside]
    names = [epoch, f"{epoch} uint8", "epoch 200x300x3x32 sparse", "softmax_cross_entropy 16x10"]
    names += ["linear_cross_entropy 16x8x3"]
    assert list(figures["at_least"])[:5] == names


def test_the_committed_table_has_all_ratios(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    guard_cases = importlib.import_module("benchmarks.guard_cases")
    monkeypatch.setattr(guard_cases, "allowed_cpus", lambda: 2)
    table = importlib.import_module("benchmarks.guard").Table.read(ROOT / "benchmarks/guard.toml")
    names = {"at_least": set(), "at_most": set()}
    for of_group, section, _ in guard_cases.groups():
        names[section] |= set(of_group)
    assert names == {"at_least": table.at_least.keys(), "at_most": table.at_most.keys()}


@pytest.mark.costly
@pytest.mark.parametrize(
    ("figure", "section", "code"),
    [(1e-6, "at_least", 0), (1e6, "at_least", 1), (1e6, "at_most", 0), (1e-6, "at_most", 1)],
)
def test_the_guard_fails_where_a_ratio_is_beyond_its_bound_twice(table, figure, section, code):
    ran = guard("--only", "softmax_cross", "--rounds", 1, "--table", table(figure, section))
    assert ran.returncode == code, ran.stdout + ran.stderr
    failed = re.findall(
        r"^FAILED: (.+): (\S+x) and (\S+x), expected (.+)$", ran.stdout, re.MULTILINE
    )
    assert len(failed) == code
    if code:
        bound = {"at_least": "at least 500000x", "at_most": "at most 0.00000200x"}[section]
        assert failed[0][0] == "softmax_cross_entropy 16x10"
        assert failed[0][3] == bound
    else:
        assert "Every ratio keeps its bound." in ran.stdout


def test_a_ratio_beyond_its_bound_is_measured_once_more(monkeypatch, table):
    monkeypatch.syspath_prepend(ROOT)
    module = importlib.import_module("benchmarks.guard")
    found = iter([{"softmax_cross_entropy 16x10": 1.0}, {"softmax_cross_entropy 16x10": 3.0}])
    group = module.Group(("softmax_cross_entropy 16x10",), "at_least", lambda _: next(found))
    read = module.Table.read(table(4))  # at least 2, that is
    assert list(module.check([group], read, 1)) == [(*group.names, (2.0, True), [1.0, 3.0])]
    assert (
        module.print_checked(
            [group._replace(measure=lambda _: dict.fromkeys(group.names, 2.0))], read, 1
        )
        == 0
    )


@pytest.mark.costly
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"figure": "true"}, "expected a number above 0, got True"),
        ({"figure": "-1"}, "expected a number above 0, got -1"),
        ({"figure": "1", "name": "epoch 1x1x1x1"}, "nothing measures 'epoch 1x1x1x1'"),
        ({"figure": ""}, "guard.toml: Invalid value"),
    ],
)
def test_a_bad_table_is_one_line(table, arguments, message):
    ran = guard("--only", "softmax_cross", "--table", table(**arguments))
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith(
        "python -m benchmarks.guard: error: argument --table: "
    )
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_history_keeps_a_file_for_each_version(tmp_path):
    import fastsoftmax

    machine = {"cpu": "another"}
    for version, ratio in (("0.0.10", 3.5), ("0.0.9", 2.0)):
        text = json.dumps(
            {"version": version, "date": "2020-01-01", "machine": machine, "ratios": {"r": ratio}}
        )
        (tmp_path / f"{version}.json").write_text(text)
    ran = small("history", "--only", "cross_entropy", "--rounds", 1, "--folder", tmp_path)
    assert ran.returncode == 0, ran.stderr
    written = json.loads((tmp_path / f"{fastsoftmax.__version__}.json").read_text())
    assert written["ratios"].keys() == {
        "softmax_cross_entropy 16x10",
        "linear_cross_entropy 16x8x3",
    }
    assert all(ratio > 0 for ratio in written["ratios"].values())
    assert written["machine"]["cpus"] >= 1
    page = (tmp_path / "README.md").read_text()
    assert f"| ratio | 0.0.9 | 0.0.10 | {fastsoftmax.__version__} |" in page
    assert "| r | 2 | 3.5 |  |" in page
    ran = small("history", "--only", "no such ratio", "--folder", tmp_path)
    assert (ran.returncode, ran.stderr.count("Traceback")) == (2, 0)
    assert "--only" in ran.stderr


def test_the_sweep_measures_and_draws(tmp_path):
    files = {"--json": tmp_path / "sweep.json", "--picture": tmp_path / "sweep.png"}
    sizes = ["--features", "3", "70", "--classes", "2", "41", "--batch", "16", "--threads", "1"]
    ran = run(
        "benchmarks.sweep", *sizes, "--mib", "1", "--rows", "200", *map(str, sum(files.items(), ()))
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(files["--json"].read_text())
    sizes = [(row["shape"]["n_features"], row["shape"]["n_classes"]) for row in found["shapes"]]
    assert sizes == [(3, 2), (3, 41), (70, 2), (70, 41)]
    assert [row["chosen"] for row in found["shapes"]] == ["short_rows", "packed"] * 2
    assert [len(row["nanoseconds"]) for row in found["shapes"]] == [3, 1] * 2
    assert all(0 < row["share"] < 1 and 0 < row["forced"] <= 1 for row in found["shapes"])
    assert files["--picture"].read_bytes().startswith(b"\x89PNG")


def test_what_the_sweep_calls_a_cliff(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    sweep = importlib.import_module("benchmarks.sweep")

    def result(n_features, n_classes, nanoseconds, batch_size=256):
        shape = sweep.Shape(1000, n_features, n_classes, batch_size, "float32", 2)
        return sweep.Measured(shape, 1.0, {"panels": nanoseconds})

    results = [result(8, 9, 10.5), result(8, 10, 10.0), result(9, 9, 9.0), result(7, 10, 20, 128)]
    assert list(sweep.cliffs(results)) == [
        "8x9 batch 256 float32 threads 2 takes 1.17 times 9x9 batch 256 float32 threads 2"
    ]


def test_the_floor_of_the_sweep(monkeypatch):
    """Rows of 16 float32 lie in a cache line each, those of 17 in two; many classes wait for the CPU."""
    monkeypatch.syspath_prepend(ROOT)
    sweep = importlib.import_module("benchmarks.sweep")
    peaks = sweep.Peaks(1, float32=1e9, float64=1e9, read=64e9, copy=1.0)

    def floor(n_features, n_classes):
        return sweep.floor_of(sweep.Shape(100, n_features, n_classes, 1, "float32", 1), peaks)

    monkeypatch.setattr(peaks.__class__, "flops", lambda *_: 1e15)
    assert floor(16, 2) == pytest.approx(1.0)
    assert floor(17, 2) == pytest.approx(2.0)
    monkeypatch.setattr(peaks.__class__, "flops", lambda *_: 1e9)
    assert floor(17, 1000) == pytest.approx(4 * 17 * 1000)
