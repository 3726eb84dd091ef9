"""`fastsoftmax profile` and `fastsoftmax roofline`, as they are typed."""

import json
import sys
from datetime import datetime

import numpy as np
import pytest

from fastsoftmax import SoftmaxClassifier, __version__
from fastsoftmax.backends.recorder import PARTS
from fastsoftmax.cli import machine, main
from fastsoftmax.profiling.provenance import cpu_name
from fastsoftmax.profiling.roofline import Peaks

SMALL = ["profile", "--shape", "300x20x3", "--epochs", "2"]


@pytest.fixture
def arrays(tmp_path, rng):
    """Files of all kinds, good and bad."""
    X, y = rng.integers(0, 255, size=(90, 7)).astype(np.uint8), rng.integers(3, size=90)
    np.savez(tmp_path / "good.npz", X=X, y=y)
    np.savez(tmp_path / "other.npz", Z=X)
    np.savez(tmp_path / "short.npz", X=X, y=y[:5])
    np.savez(tmp_path / "objects.npz", X=np.array([{}, 1], object), y=y)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "objects.npy", np.array([{}, 1], object))
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npy").write_bytes(b"")
    return tmp_path


def assert_has_origin(record):
    assert datetime.fromisoformat(record["date"]).tzinfo is not None
    assert record["versions"]["fastsoftmax"] == __version__
    assert record["versions"]["numpy"] == np.__version__
    assert record["machine"]["cpu"] == cpu_name()
    assert record["machine"]["instruction_set"] in machine.instruction_sets()[1]


@pytest.mark.costly
def test_a_table(capsys, monkeypatch, backend):
    monkeypatch.setattr(machine, "load", lambda: None)  # of a busy machine there is a note
    assert main([*SMALL, "--backend", backend]) == 0
    printed = capsys.readouterr().out.splitlines()
    algorithm = " (short_rows)" if backend == "compiled" else ""
    assert printed[0].startswith(
        f"{backend}{algorithm}: 300x20x3, float32, batch size 128, 2 epochs;"
    )
    titles = "phase ms per epoch share GFLOP/s GB/s of peak limit"
    assert " ".join(printed[2].split()) == titles
    assert any(line.startswith("total ") for line in printed)
    assert max(map(len, printed[2:])) <= 80


@pytest.mark.costly
def test_the_solvers_parts(capsys, monkeypatch, backend):
    monkeypatch.setattr(machine, "load", lambda: None)
    command = ["profile", "--shape", "1000x40x10", "--solver", "lbfgs", "--backend", backend]
    assert main([*command, "--epochs", "2", "--dtype", "float16"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{backend}: 1000x40x10, float16, lbfgs, 2 iterations;")
    for name in PARTS:
        assert f"\n{name} " in printed
    assert "passes for loss and gradient: 0.0016 GFLOP each, " in printed
    assert main([*command, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["settings"]["solver"] == "lbfgs"
    assert record["settings"]["batch_size"] is None
    assert {part["name"] for part in record["parts"]} >= set(PARTS)


def test_json_and_a_trace_and_a_picture(capsys, tmp_path):
    outputs = {name: tmp_path / name for name in ("p.json", "trace.json", "flame.json", "p.png")}
    options = ["--json", "p.json", "--trace", "trace.json", "--plot", "p.png"]
    options += ["--flame-graph", "flame.json"]
    options = [str(outputs.get(option, option)) for option in options]
    assert main([*SMALL, *options, "--dtype", "uint8", "--standardize", "--threads", "1"]) == 0
    record = json.loads(outputs["p.json"].read_text())
    assert record["n_epochs"] == 2
    trace = json.loads(outputs["trace.json"].read_text())["otherData"]
    for origin in (record, trace):
        assert_has_origin(origin)
        assert origin["settings"]["seed"] == 0
        assert origin["settings"]["dtype"] == "uint8"
        shape = (origin["epochs"][0][f"n_{name}"] for name in ("samples", "features", "classes"))
        assert tuple(shape) == (300, 20, 3)
    assert {phase["name"] for phase in record["phases"]} >= {"scores", "between phases"}
    assert record["peaks"]["float32"] > 0
    assert json.loads(outputs["trace.json"].read_text())["traceEvents"]
    assert outputs["p.png"].read_bytes().startswith(b"\x89PNG")
    flames = json.loads(outputs["flame.json"].read_text())
    assert flames["name"].startswith("300x20x3, float32; ")
    assert {"name": "epoch (compiled)"} in flames["shared"]["frames"]
    printed = capsys.readouterr().out
    assert "Picture: " in printed
    assert f"\nFlame graph: {outputs['flame.json']}\n" in printed


def test_a_flame_graph_without_a_trace(tmp_path):
    assert main([*SMALL, "--flame-graph", str(tmp_path / "flame.json")]) == 0
    assert json.loads((tmp_path / "flame.json").read_text())["profiles"]


def test_json_on_standard_output_is_all_there_is(capsys):
    assert main([*SMALL, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["n_epochs"] == 2


@pytest.mark.parametrize(
    "names", [["--data", "good.npz"], ["--data", "X.npy", "--labels", "y.npy"]]
)
def test_own_data(capsys, arrays, names):
    options = [str(arrays / name) if "." in name else name for name in names]
    assert main(["profile", *options, "--epochs", "1"]) == 0
    assert "compiled (short_rows): 90x7x3, uint8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shape", "10x3"], "argument --shape: expected samples x features x classes"),
        (["--data", "nothing.npz"], "there is no such file"),
        (["--data", "good.csv"], "argument --data: expected a .npz or .npy file"),
        (["--data", "other.npz"], "expected the arrays X and y in"),
        (["--data", "short.npz"], "argument --data: y: expected 90 labels"),
        (["--data", "objects.npz"], "argument --data: "),
        (["--data", "cut.npz"], "argument --data: "),
        (["--data", "X.npy"], "argument --labels: needed where --data is a .npy file"),
        (["--data", "empty.npy", "--labels", "y.npy"], "argument --data: "),
        (["--data", "objects.npy", "--labels", "y.npy"], "argument --data: "),
        (["--data", "X.npy", "--labels", "good.npz"], "argument --labels: expected a .npy file"),
        (["--data", "good.npz", "--labels", "y.npy"], "argument --labels: a .npz file has its"),
        (["--labels", "y.npy"], "argument --labels: needs --data"),
        (
            ["--data", "good.npz", "--dtype", "float32"],
            "argument --dtype: with --data it is that of",
        ),
        (["--plot", "p.unknown"], "argument --plot: expected a file name that ends in one of"),
        (["--trace", "no/such/folder/t.json"], "argument --trace: there is no folder"),
        (["--flame-graph", "no/such/f.json"], "argument --flame-graph: there is no folder"),
        (["--loss", "9x5", "--flame-graph", "f"], "argument --flame-graph: is not of --loss"),
        (["--solver", "lbfgs", "--batch-size", "32"], "argument --batch-size: is of --solver sgd"),
        (["--solver", "lbfgs", "--plot", "p.png"], "argument --plot: is of --solver sgd"),
        (["--backend", "fast"], "argument --backend: invalid choice"),
    ],
)
def test_bad_arguments(capsys, arrays, options, message):
    names = {path.name for path in arrays.iterdir()} | {"nothing.npz", "good.csv", "p.unknown"}
    options = [str(arrays / option) if option in names else option for option in options]
    assert main(["profile", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("fastsoftmax profile: error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (SMALL, 2, "argument --backend: 'compiled' is not available: no C compiler"),
        (["roofline"], 1, "measuring needs the compiled backend: no C compiler"),
    ],
)
def test_without_the_compiled_backend(capsys, monkeypatch, command, code, message):
    monkeypatch.setattr(machine, "why_unavailable", lambda name: "no C compiler")
    assert main(command) == code
    assert capsys.readouterr().err == f"fastsoftmax {command[0]}: error: {message}\n"


def test_without_matplotlib_a_picture_is_refused_at_once(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(SoftmaxClassifier, "fit", None)
    assert main([*SMALL, "--plot", "p.png"]) == 1
    assert "needs matplotlib, which is not available: " in capsys.readouterr().err


def test_memory_that_runs_out_is_one_line(capsys, monkeypatch):
    def fit(*_):
        raise MemoryError("cannot allocate 80.0 GB")

    monkeypatch.setattr(SoftmaxClassifier, "fit", fit)
    assert main(SMALL) == 1
    reason = "the data do not fit into memory: cannot allocate 80.0 GB"
    assert capsys.readouterr() == ("", f"fastsoftmax profile: error: {reason}\n")


def test_the_peers_that_are_installed(capsys):
    assert main([*SMALL, "--peers"]) == 0
    printed = capsys.readouterr().out
    assert "NumPy: " in printed
    assert "scikit-learn: " in printed


def test_roofline(capsys, tmp_path):
    target = tmp_path / "roofline.json"
    assert main(["roofline", "--threads", "1", "--json", str(target)]) == 0
    assert "threads  float32 GFLOP/s" in capsys.readouterr().out
    record = json.loads(target.read_text())
    assert [peak["n_threads"] for peak in record["peaks"]] == [1]
    assert_has_origin(record)
    assert record["settings"]["n_threads"] == [1]
    assert record["settings"]["buffer_bytes"] == 1 << 28
    assert main(["roofline", "--threads", "0"]) == 2
    assert "argument --threads" in capsys.readouterr().err
    assert main(["roofline", "--threads", "100000"]) == 2
    assert "this process may use" in capsys.readouterr().err


@pytest.mark.parametrize("command", [SMALL, ["roofline", "--threads", "1"]])
@pytest.mark.parametrize(
    ("cpus", "load", "busy"), [(2, 1.01, True), (2, 0.99, False), (2, None, False)]
)
def test_a_busy_machine_is_told_of(capsys, monkeypatch, command, cpus, load, busy):
    monkeypatch.setattr(machine, "cpus", lambda: cpus)
    monkeypatch.setattr(machine, "load", lambda: load)
    assert main(command) == 0
    assert ("The machine was busy before this run" in capsys.readouterr().out) is busy
    assert main([*command, "--json", "-"]) == 0
    printed = capsys.readouterr()
    assert ("The machine was busy before this run" in printed.err) is busy
    assert json.loads(printed.out)["machine"]["load_before"] == load


def test_a_peak_that_fewer_threads_have_reached_is_marked(capsys, monkeypatch):
    peaks = [Peaks(1, 2e11, 1e11, 3e10, 3e10), Peaks(2, 4e11, 2e11, 3e10, 4e10, ("read",))]
    monkeypatch.setattr(machine, "cpus", lambda: 2)
    monkeypatch.setattr("fastsoftmax.cli.roofline.measure_peaks", lambda n: peaks[n - 1])
    assert main(["roofline"]) == 0
    printed = capsys.readouterr().out
    assert "      2              400              200      30.0*       40.0\n" in printed
    assert "\n* read: 2 threads together were slower than fewer threads" in printed
    assert printed.count("*") == 2
