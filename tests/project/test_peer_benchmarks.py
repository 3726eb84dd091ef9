"""The comparison with the peers: it runs, its record is whole, and its contenders compute the same.

PyTorch and JAX are no part of the tests' environment, and are taken for missing where they are there. Times
are measured as briefly as can be: what they are is no matter here.
"""

import json
import subprocess
import sys
from signal import SIGKILL
from types import SimpleNamespace

import numpy as np
import pytest
from paths import ROOT

PROGRAM = """
import sys
from benchmarks.peers import busy, contender, epochs, ladder, loss
from benchmarks.peers.__main__ import main
busy._SECONDS_A_TURN = epochs._SECONDS_A_TURN = loss._SECONDS_A_TURN = 0.001
ladder._MIN_SECONDS, ladder._ENOUGH_SECONDS = 0.03, 100.0
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
    shapes = "600x20x3x64,1797x64x10x32,600x8x2x64"
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
    assert [row["least_times"] for row in record["rows"]] == [None, 3, None]
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
@pytest.mark.parametrize("held_out", [(), ("--held-out", "0.2")])
def test_optimum(tmp_path, held_out):
    random = np.random.default_rng(0)
    X = random.normal(size=(90, 4)).astype(np.float32)
    file, picture = tmp_path / "samples.npz", tmp_path / "gaps.png"
    np.savez(file, X=X, y=np.array(["a", "b"])[(X @ [1, 2, 0, 1] + random.normal(size=90) > 0) * 1])
    contenders = "sklearn-lbfgs,sklearn-newton-cholesky,fastsoftmax-sgd,torch-lbfgs"
    arguments = ("--sets", "iris,text=60x80x3", "--files", str(file), "--contenders", contenders)
    limits = ("--threads", "1", "--rounds", "2", "--budget", "0.05", "--plot", str(picture))
    output, record = record_of(tmp_path, "optimum", *arguments, *limits, *held_out)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert record["missing"].keys() == {"torch-lbfgs"}
    sets = record["sets"]
    assert [found["set"] for found in sets] == ["iris", "text", str(file)]
    assert [found["least_times"] for found in sets] == [2, 2, 2]
    assert [found["alpha"] for found in sets] == [1e-3, 1e-4, 1e-4]
    for found in sets:
        assert f"{found['set']}: {found['samples']} x {found['features']} x " in output
        assert found["agrees"] is True
        assert 0 <= found["bound"] <= 1e-9 * found["minimum"]
        names = ["fastsoftmax", "fastsoftmax-f64", "fastsoftmax-sgd", "sklearn-lbfgs"]
        assert list(found["contenders"]) == [*names, "sklearn-newton-cholesky"]
        # What reaches a gap is timed in every round, and of the fits that do it is the shortest.
        for name in ("fastsoftmax", "fastsoftmax-f64"):
            climb = found["contenders"][name]
            for fit in climb["fits"]:
                assert fit["gap"] <= 10.0 ** (1 - fit["limit"]) * (1 + 1e-6)
            for gap, seconds in climb["seconds_to"].items():
                first = next(fit for fit in climb["fits"] if fit["gap"] <= float(gap))
                assert first["median_seconds"] == seconds
                assert len(first["seconds"]) == 2
        for name, climb in found["contenders"].items():
            assert name in output
            limits = [fit["limit"] for fit in climb["fits"]]
            assert limits == sorted(set(limits))
            assert all(fit["gap"] > -1e-9 for fit in climb["fits"])
            losses = [fit["held_out_loss"] for fit in climb["fits"]]
            assert all(loss > 0 if held_out else loss is None for loss in losses)


def test_rows_are_held_out_of_a_set(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.peers.optimum_sets import SETS

    whole = SETS["iris"].problem(None, False, None)
    part = SETS["iris"].problem(None, False, None, held_out=0.2)
    X, y = part.held_out
    assert whole.held_out is None
    assert (part.shape, X.shape) == ((120, 4, 3), (30, 4))
    together = {(*row, label) for row, label in zip([*part.X64, *X], [*part.y, *y], strict=True)}
    assert together == {(*row, label) for row, label in zip(whole.X64, whole.y, strict=True)}


def test_defaults(tmp_path):
    output, record = record_of(tmp_path, "defaults", "--sets", "iris", "--splits", "2")
    assert list(record["parts"]) == ["a", "b", "c"]
    gaps, quality, chosen = (part["iris"] for part in record["parts"].values())
    assert gaps["defaults, 30 epochs"] < gaps["constant, 30"]
    assert quality["log loss"] < 0.2
    assert chosen["log loss"] < chosen["best of the grid"] + 0.05
    for name in (*gaps, *quality, *chosen):
        assert name in output


@pytest.mark.parametrize("name", ["iris", "breast-cancer"])
@pytest.mark.parametrize(
    ("contender", "limit", "gap"),
    [
        ("ScikitLearnLbfgs", 1000, 1e-6),
        ("ScikitLearnLbfgs64", 1000, 1e-8),
        ("ScikitLearnNewtonCholesky", 50, 1e-8),
        ("ScikitLearnNewtonCG", 50, 1e-8),
        ("ScikitLearnSaga", 3000, 1e-2),
        ("FastSoftmax", 6, 1e-5),
        ("FastSoftmax64", 6, 1e-5),
    ],
)
def test_solvers_have_the_same_minimum(monkeypatch, name, contender, limit, gap):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.peers import ladder, minimizers, optimum_sets
    from benchmarks.peers.problem import objective

    problem = optimum_sets.SETS[name].problem(None, quick=False, alpha=None)
    weights, _ = minimizers.FastSoftmax64(problem, 1).minimum(1e-9)
    minimum = objective(problem.X64, problem.y, *weights, problem.alpha)
    solver = getattr(minimizers, contender)(problem, 1)
    ladder.timed_fit(solver, limit)
    found = objective(problem.X64, problem.y, *solver.weights(), problem.alpha)
    assert -1e-9 <= found / minimum - 1 <= gap


def test_a_value_below_the_minimum_is_found(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.peers.ladder import Climb, Outcome, Rung
    from benchmarks.peers.optimum_sets import OptimumProblem

    X = np.zeros((10, 2))
    problem = OptimumProblem(X.astype(np.float32), X, np.arange(10) % 2, 2, 1e-3)
    climb = Climb(None, [Rung(1, 0.9, [0.1])])
    assert Outcome("made up", problem, 1.0, 0.11, [climb], {}).agrees
    assert not Outcome("made up", problem, 1.0, 0.09, [climb], {}).agrees


def test_the_time_of_a_contender_that_does_not_arrive(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.peers.ladder import Climb, Rung

    contender = SimpleNamespace(has_other_objective=False)
    climb = Climb(contender, [Rung(1, 9.0, [0.1]), Rung(2, 3.0, [0.3, 0.2])])
    assert climb.seconds_to(5.0) == climb.at_least_to(5.0) == 0.25
    assert climb.seconds_to(1.0) is None
    assert climb.at_least_to(1.0) == 0.2
    climb.has_stopped = True
    assert climb.at_least_to(1.0) == np.inf


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
        (["optimum", "--sets", "irises"], "--sets: expected none or names out of iris, wine"),
        (["optimum", "--sets", "wide=9x9"], "--sets: expected three whole numbers of at least 2"),
        (["optimum", "--sets", "iris=9x9x9"], "--sets: iris has a size of its own"),
        (["optimum", "--sets", "none"], "--sets: expected a set, or --files, got none"),
        (["optimum", "--files", "no/such"], "--files: there is no file 'no/such'"),
        (["defaults", "--sets", "irises"], "--sets: expected names out of iris, wine"),
        (["defaults", "--parts", "d"], "--parts: expected a, b or c, got 'd'"),
        (["optimum", "--budget", "0"], "--budget: expected a number greater than 0, got '0'"),
        (["optimum", "--held-out", "1"], "--held-out: expected a number below 1, got '1'"),
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
