"""The comparison with the peers: it runs, its record is whole, and its contenders compute the same.

PyTorch and JAX are no part of the tests' environment, and are taken for missing where they are there.
"""

import json
import subprocess
import sys
from signal import SIGKILL

import numpy as np
import pytest
from paths import ROOT

PROGRAM = """
import sys
from benchmarks.peers import contender
from benchmarks.peers.__main__ import main
find_spec = contender.find_spec
contender.find_spec = lambda name: None if name in ("torch", "jax") else find_spec(name)
sys.exit(main())
"""


def peers(*arguments):
    """Run the command in a process of its own, as it confines the one that it runs in to few CPUs."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)


def record_of(tmp_path, *arguments):
    """What the command has printed, and what it has saved."""
    target = tmp_path / "peers.json"
    ran = peers(*arguments, "--json", str(target))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout, json.loads(target.read_text())


def assert_timed(contender, n_rounds):
    assert len(contender["seconds"]) == n_rounds
    assert 0 < contender["min_seconds"] <= contender["median_seconds"] <= contender["max_seconds"]


def test_epochs(tmp_path):
    shapes = "600x20x3x64,1797x64x10x32"
    output, record = record_of(
        tmp_path, "epochs", "--shapes", shapes, "--rounds", "2", "--threads", "1"
    )
    assert record["command"] == "epochs"
    assert record["settings"] == {"threads": 1, "rounds": 2, "dtype": "float32"}
    assert record["versions"]["numpy"] == np.__version__
    assert record["peak_flops"] > 0
    assert record["missing"].keys() == {"torch", "torch.compile", "jax"}
    assert [row["shape"] for row in record["rows"]] == shapes.split(",")
    for row in record["rows"]:
        contenders = row["contenders"]
        assert list(contenders) == ["fastsoftmax", "numpy", "sklearn"]
        for name, contender in contenders.items():
            assert name in output
            assert_timed(contender, 2)
            assert contender["agrees"] is True
        # The same orders of the samples give the same weights to rounding, other orders do not.
        assert contenders["numpy"]["tolerance"] < 1e-4 < contenders["sklearn"]["difference"]
        n_samples, n_features, n_classes, _ = map(int, row["shape"].split("x"))
        ours, fastest = contenders["fastsoftmax"], contenders[row["fastest_peer"]]
        assert row["fastest_peer"] in {"numpy", "sklearn"}
        assert row["fastest_peer_over_ours"] == fastest["over_ours"]
        assert fastest["over_ours"] == fastest["median_seconds"] / ours["median_seconds"]
        flop = 4 * n_samples * n_features * n_classes
        assert row["flops"] == pytest.approx(flop / ours["median_seconds"])
        assert row["share_of_peak"] == row["flops"] / record["peak_flops"]
    assert [row["least_times"] for row in record["rows"]] == [None, 3]
    assert "jax: missing: needs jax: pip install jax" in output
    assert "DIFFERS" not in output


def test_text(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.peers import tables, text

    problem = text.made_up_text(600, 300, 3, 32)
    assert problem.X.shape == (600, 300)
    assert problem.X_test.shape == (120, 300)
    assert problem.X.dtype == np.float32
    squares = problem.X.multiply(problem.X).sum(axis=1)
    # Each is a sum of up to 40 squares of rounded numbers.
    np.testing.assert_allclose(squares[squares > 0], 1, rtol=50 * np.finfo(np.float32).eps)
    outcome = text.outcome_of(problem, text.PEERS, n_rounds=1, n_threads=1)
    record = text.as_record(outcome)
    assert list(record["contenders"]) == ["fastsoftmax", "sgd", "sgd-tuned"]
    assert 0.5 < record["target_accuracy"] < 1
    for contender in record["contenders"].values():
        assert_timed(contender, 1)
        assert contender["reaches"] == (contender["accuracy"] >= record["target_accuracy"])
        assert contender["reaches"] or contender["accuracy"] > 0.9 * record["target_accuracy"]
    text.print_table(tables.new_console(None), outcome)
    output = capsys.readouterr().out
    assert all(name in output for name in record["contenders"])


def test_loss(tmp_path):
    shapes = "128x10,7x100"
    output, record = record_of(tmp_path, "loss", "--shapes", shapes, "--rounds", "1")
    assert record["missing"].keys() == {"torch"}
    assert [row["shape"] for row in record["rows"]] == shapes.split(",")
    for row in record["rows"]:
        assert list(row["contenders"]) == ["fastsoftmax", "numpy", "numpy-transposed", "sklearn"]
        for name, contender in row["contenders"].items():
            assert name in output
            assert_timed(contender, 1)
            assert contender["agrees"] is True
    least = {name: c["least_times"] for name, c in record["rows"][0]["contenders"].items()}
    assert least == {"fastsoftmax": None, "numpy": 10, "numpy-transposed": None, "sklearn": 4.5}


def test_busy(tmp_path):
    output, record = record_of(
        tmp_path, "busy", "--shape", "600x20x3x64", "--rounds", "1", "--threads", "1"
    )
    assert record["settings"]["cpus"] == 1
    assert [load["busy_processes"] for load in record["loads"]] == [0, 1, 2, 4]
    quiet, *_ = (load["contenders"] for load in record["loads"])
    for load in record["loads"]:
        assert list(load["contenders"]) == ["fastsoftmax", "numpy"]
        for name, contender in load["contenders"].items():
            assert_timed(contender, 1)
            ratio = contender["median_seconds"] / quiet[name]["median_seconds"]
            assert contender["over_quiet"] == ratio
    assert "2.50x" in output


def test_busy_processes_end_with_their_context(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.peers.busy import busy_neighbours

    processes = []

    def fail_beside_them():
        with busy_neighbours(2) as neighbours:
            processes.extend(neighbours)
            assert [process.poll() for process in processes] == [None, None]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_beside_them()
    assert [process.returncode for process in processes] == [-SIGKILL, -SIGKILL]


def test_memory(tmp_path):
    output, record = record_of(tmp_path, "memory", "--shapes", "100000x10x3x256")
    (row,) = record["rows"]
    assert row["shape"] in output
    assert row["inputs"] == 100_000 * (10 * 4 + 8)
    assert row["bound"] == (16 << 20) + 24 * 100_000 + 4 * 10 * 3 * 4
    # An epoch's order of the samples alone is of 64-bit integers.
    assert 8 * 100_000 <= row["peak_over_inputs"] <= row["bound"]


@pytest.mark.costly
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["epochs", "--shapes", "10x20"], "--shapes: expected 4 whole numbers of at least 1"),
        (["loss", "--shapes", "10x0"], "--shapes: expected 2 whole numbers of at least 1"),
        (["busy", "--shape", "9x9x9x9,8x8x8x8"], "--shape: expected one shape"),
        (["epochs", "--contenders", "numpi"], "--contenders: expected names out of numpy, torch"),
        (["epochs", "--rounds", "0"], "--rounds: expected a whole number of at least 1"),
        (["memory", "--json", "no/such/folder/file"], "--json: 'no/such/folder/file' cannot be"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message):
    ran = peers(*arguments)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("python -m benchmarks.peers: error: ")
    assert message in ran.stderr


@pytest.mark.parametrize(
    "changed", [{"alpha": 0.0}, {"learning_rate": 0.3}, {"batch_size": 32}], ids=str
)
def test_a_contender_that_does_something_else_is_found(monkeypatch, changed):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.peers import epochs, trainers
    from benchmarks.peers.problem import made_up

    class Other(trainers.NumPy):
        def __init__(self, problem, n_threads):
            super().__init__(problem._replace(**changed), n_threads)

    row = epochs.Row(lambda: made_up(600, 20, 3, 64), contenders=(trainers.FastSoftmax, Other))
    outcome = epochs.outcome_of("other", row, row.contenders, n_rounds=1, n_threads=1)
    assert outcome.agrees("fastsoftmax")
    assert not outcome.agrees("numpy")
