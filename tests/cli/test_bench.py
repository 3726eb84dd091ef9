"""`fastsoftmax bench`: what it measures, prints and saves, and how it says no."""

import io
import json
import os
import pty
import subprocess
import sys
from functools import partial
from statistics import median

import numpy as np
import pytest
from command_line import (
    error_of,
    run,
)
from rich.console import Console
from threadpoolctl import threadpool_info, threadpool_limits

from fastsoftmax import SoftmaxClassifier, __version__
from fastsoftmax._arrays.threads import default_n_threads
from fastsoftmax.backends import NAMES, why_unavailable
from fastsoftmax.cli import files, machine, main, timing, workload
from fastsoftmax.cli.numbers import duration, size, three_digits, with_prefix
from fastsoftmax.cli.report import print_comparison
from fastsoftmax.cli.results import ORDER, Comparison, LeftOut, Result
from fastsoftmax.cli.timing import Settings
from fastsoftmax.datasets import load_digits
from fastsoftmax.profiling import provenance

SMALL = ("bench", "--shape", "300x5x3", "--epochs", "2", "--batch-size", "50", "--no-plot")


AVAILABLE = [name for name in ORDER if why_unavailable(name) is None]


def record_of(capsys, *arguments):
    code, out, _ = run(capsys, *arguments, "--json", "-")
    assert code == 0
    return json.loads(out)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run on the digits with every backend: standard output, the record, the picture."""
    folder = tmp_path_factory.mktemp("bench")
    json_file, plot = folder / "bench.json", folder / "bench.png"
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        code = main(("bench", "--epochs", "3", "--json", str(json_file), "--plot", str(plot)))
    assert code == 0
    return out.getvalue(), json.loads(json_file.read_text()), plot


def test_the_digits_are_trained_by_every_backend(digits):
    out, record, _ = digits
    assert [result["backend"] for result in record["results"]] == AVAILABLE
    assert all(f"\n{name} " in out for name in AVAILABLE)
    settings = record["settings"]
    assert (settings["data"], settings["n_train"], settings["n_test"]) == ("digits", 1347, 450)
    assert (settings["n_features"], settings["n_classes"]) == (64, 10)
    assert (settings["epochs"], settings["n_threads"]) == (3, default_n_threads())
    assert record["versions"]["fastsoftmax"] == __version__


def test_the_losses_and_accuracies_are_those_of_the_classifier(digits):
    _, record, _ = digits
    settings, data = record["settings"], load_digits()
    for result in record["results"]:
        model = SoftmaxClassifier(
            backend=result["backend"],
            batch_size=settings["batch_size"],
            learning_rate="constant",
            eta0=settings["learning_rate"],
            random_state=settings["seed"],
            n_jobs=settings["n_threads"],
            max_iter=settings["epochs"],
            tol=None,
        ).fit(data.X_train, data.y_train)
        # The same path, epoch by epoch: only NumPy's BLAS may sum in another order.
        assert result["loss_curve"] == pytest.approx(model.loss_curve_, rel=1e-5)
        assert result["final_loss"] == result["loss_curve"][-1]
        difference = abs(result["test_accuracy"] - model.score(data.X_test, data.y_test))
        assert difference <= 1 / len(data.y_test), "a tie may fall the other way, for one image"


def test_times_and_ratios_follow_from_the_times_of_the_epochs(digits):
    _, record, _ = digits
    seconds = {}
    for result in record["results"]:
        assert len(result["epoch_seconds"]) == 3
        assert min(result["epoch_seconds"]) > 0
        seconds[result["backend"]] = median(result["epoch_seconds"])
    for result in record["results"]:
        own = seconds[result["backend"]]
        assert result["median_epoch_seconds"] == pytest.approx(own)
        assert result["samples_per_second"] == pytest.approx(1347 / own)
        for other in ("naive", "vectorized"):
            assert result[f"speed_over_{other}"] == pytest.approx(seconds[other] / own)


def test_the_picture_is_saved(digits):
    out, _, plot = digits
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert f"Picture: {plot}" in out


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_all_backends_agree(capsys, dtype, tolerance):
    record = record_of(capsys, "bench", "--no-plot", "--epochs", "3", "--dtype", dtype)
    assert (record["tolerance"], record["settings"]["dtype"]) == (tolerance, dtype)
    assert record["reference"] == "naive"
    expected = np.array(record["results"][0]["loss_curve"])
    for result in record["results"]:
        difference = np.max(np.abs(np.array(result["loss_curve"]) - expected) / expected)
        assert result["largest_relative_difference"] == pytest.approx(difference)
        assert result["agrees"] is True
        assert difference <= tolerance


def test_json_on_standard_output_is_alone_there(capsys):
    code, out, err = run(capsys, *SMALL, "--json", "-")
    assert code == 0
    assert json.loads(out)["settings"]["data"] == "made-up"
    assert "samples" in err


def test_nothing_but_the_table_is_printed_where_there_is_no_terminal(capsys):
    code, out, err = run(capsys, *SMALL)
    assert (code, err) == (0, "")
    assert "\x1b" not in out


def test_a_terminal_shows_how_far_it_is():
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fastsoftmax", *SMALL, "--backends", "vectorized"]
    environment = {**os.environ, "TERM": "xterm"}
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert ran.returncode == 0
    assert "preparing the data" in shown
    assert b"vectorized" in ran.stdout


def test_settings_are_those_asked_for(capsys):
    options = {"batch-size": 7, "eta0": 0.01, "threads": 1, "seed": 5, "epochs": 4}
    text = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    record = record_of(capsys, *SMALL, "--backends", "vectorized", *text)
    assert record["settings"] == {
        "data": "made-up",
        "n_train": 300,
        "n_test": 30,
        "n_features": 5,
        "n_classes": 3,
        "dtype": "float32",
        "batch_size": 7,
        "epochs": 4,
        "learning_rate": 0.01,
        "n_threads": 1,
        "seed": 5,
    }
    assert len(record["results"][0]["epoch_seconds"]) == 4


def test_a_minibatch_is_at_most_all_samples(capsys):
    record = record_of(capsys, *SMALL, "--batch-size", "1000000", "--backends", "vectorized")
    assert record["settings"]["batch_size"] == 300


def test_the_default_learning_rate_suits_every_shape(capsys):
    for shape in ("400x1x2", "100x2000x3", "1x1x2"):
        record = record_of(
            capsys, "bench", "--no-plot", "--shape", shape, "--backends", "vectorized"
        )
        curve = record["results"][0]["loss_curve"]
        assert curve[-1] < curve[0]


def test_backends_are_those_named_from_the_plainest_to_the_fastest(capsys):
    record = record_of(capsys, *SMALL, "--backends", "vectorized, naive")
    assert [result["backend"] for result in record["results"]] == ["naive", "vectorized"]


def test_threads_hold_for_the_model_and_for_blas(capsys, monkeypatch):
    seen = []

    def run_epoch(self):
        blas = [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]
        seen.append((self.model.n_jobs, *blas))
        original(self)

    original = timing.Run.run_epoch
    monkeypatch.setattr(timing.Run, "run_epoch", run_epoch)
    with threadpool_limits(2):  # whatever the environment says
        before = threadpool_info()
        assert run(capsys, *SMALL, "--threads", "1", "--backends", "vectorized")[0] == 0
        after = threadpool_info()
    assert seen
    assert set(sum(seen, ())) == {1}
    assert [lib["num_threads"] for lib in after] == [lib["num_threads"] for lib in before]
    assert 2 in {lib["num_threads"] for lib in before}


@pytest.mark.parametrize("backend", AVAILABLE)
def test_too_large_a_learning_rate_is_one_line(capsys, backend):
    # The penalty makes the weights grow without bound: 1e9 * alpha is more than 2.
    arguments = ("--eta0", "1e9", "--epochs", "50", "--backends", backend)
    assert "--eta0" in error_of(capsys, *SMALL, *arguments)


@pytest.mark.parametrize(
    ("module", "arguments", "named"),
    [
        ("rich", SMALL, "rich"),
        ("threadpoolctl", SMALL, "threadpoolctl"),
        ("matplotlib", ("bench",), "matplotlib"),
        ("sklearn", ("bench", "--no-plot"), "scikit-learn"),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(
    capsys, monkeypatch, module, arguments, named
):
    monkeypatch.setitem(sys.modules, module, None)
    err = error_of(capsys, *arguments, code=1)
    assert f"needs what is not available: {named} (" in err
    assert f"pip install {named})" in err


def missing_numba(name):
    return "No module named numba; pip install numba" if name == "numba" else None


def test_a_missing_backend_is_a_row_that_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(machine, "why_unavailable", missing_numba)
    code, out, _ = run(capsys, *SMALL)
    assert code == 0
    (row,) = [line for line in out.splitlines() if line.startswith("numba ")]
    assert row.split()[1:3] == ["not", "available"]
    assert f"numba: not available: {missing_numba('numba')}" in out.replace("\n", " ")


def test_a_package_that_is_not_installed_has_no_version_in_the_record(capsys, monkeypatch):
    def version(name):
        if name == "numba":
            raise provenance.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(provenance, "version", version)
    versions = record_of(capsys, *SMALL, "--backends", "vectorized")["versions"]
    assert (versions["numba"], versions["rich"]) == (None, "1.0")


def test_a_missing_backend_that_was_named_is_an_error(capsys, monkeypatch):
    monkeypatch.setattr(machine, "why_unavailable", missing_numba)
    err = error_of(capsys, *SMALL, "--backends", "numba")
    assert "--backends" in err
    assert "pip install numba" in err


def test_one_hiccup_while_warming_up_leaves_no_backend_out(capsys, monkeypatch):
    # 2 seconds for a row are 200 for a minibatch in each of two epochs: too many even for a sample.
    really_run, hiccups = timing.Run.run_epoch, iter([2.0])

    def run_epoch(self):
        really_run(self)
        if self.backend == "naive":
            self.seconds[-1] += next(hiccups, 0.0)

    monkeypatch.setattr(timing.Run, "run_epoch", run_epoch)
    record = record_of(capsys, *SMALL)
    assert next(hiccups, None) is None
    assert record["left_out"] == []
    assert not any(result["extrapolated"] for result in record["results"])


def test_a_warm_up_of_seconds_is_not_repeated(monkeypatch):
    rows = []

    def run_epoch(self):
        rows.append(len(self.X))
        self.seconds.append(4.0)

    monkeypatch.setattr(timing.Run, "run_epoch", run_epoch)
    settings = Settings(batch_size=32, epochs=1, learning_rate=0.1, n_threads=1, seed=0)
    assert timing._warm_up("naive", load_digits(), settings) == 4.0
    assert rows == [1]


@pytest.mark.parametrize(
    ("cpus", "load", "busy"), [(2, 1.01, True), (2, 0.99, False), (2, None, False)]
)
def test_a_busy_machine_is_told_of(capsys, monkeypatch, cpus, load, busy):
    monkeypatch.setattr(machine, "cpus", lambda: cpus)
    monkeypatch.setattr(provenance, "allowed_cpus", lambda: cpus)
    monkeypatch.setattr(machine, "load", lambda: load)
    code, out, err = run(capsys, *SMALL, "--backends", "vectorized", "--json", "-")
    assert code == 0
    assert ("The machine was busy" in err) is busy
    recorded = json.loads(out)["machine"]
    assert (recorded["cpus"], recorded["load_before"]) == (cpus, load)


def test_the_load_is_unknown_where_the_system_does_not_tell(monkeypatch):
    assert machine.load() is None or machine.load() >= 0
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert machine.load() is None


def test_a_default_picture_that_cannot_be_written_can_be_avoided(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fastsoftmax-bench.png").mkdir()
    err = error_of(capsys, "bench")
    assert "choose another with --plot, or --no-plot" in err
    assert "choose" not in error_of(capsys, "bench", "--plot", "./fastsoftmax-bench.png")


def test_a_default_picture_that_could_not_be_saved_can_be_avoided(capsys, monkeypatch, tmp_path):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "write_atomically", full_disk)
    code, _, err = run(capsys, *SMALL[:-1], "--backends", "vectorized")
    assert code == 1
    assert err == (
        "fastsoftmax bench: error: argument --plot: 'fastsoftmax-bench.png' cannot be written: "
        "No space left on device; choose another with --plot, or --no-plot\n"
    )


def test_a_slow_backend_is_timed_on_a_sample_and_labelled(capsys, monkeypatch):
    monkeypatch.setattr(timing, "_affordable_rows", lambda *_: 100)
    code, out, _ = run(capsys, *SMALL)
    assert code == 0
    (row,) = [line for line in out.splitlines() if line.startswith("naive ")]
    assert row.split()[1].startswith("~")
    assert "extrapolated from 100 of 300 samples" in out.replace("\n", " ")
    naive, *others = record_of(capsys, *SMALL)["results"]
    assert naive["extrapolated"]
    assert naive["median_epoch_seconds"] == pytest.approx(3 * median(naive["epoch_seconds"]))
    assert naive["loss_curve"] is naive["test_accuracy"] is naive["agrees"] is None
    assert not any(other["extrapolated"] for other in others)
    assert all(other["agrees"] for other in others)


def test_a_backend_that_would_take_too_long_is_left_out(capsys, monkeypatch):
    monkeypatch.setattr(timing, "_affordable_rows", lambda *_: 0)
    code, out, _ = run(capsys, *SMALL)
    assert code == 0
    assert "naive: left out: an epoch would take about" in out
    record = record_of(capsys, *SMALL)
    assert [absent["backend"] for absent in record["left_out"]] == ["naive"]
    assert record["reference"] == AVAILABLE[1]
    assert "--backends" in error_of(capsys, *SMALL, "--backends", "naive,vectorized")


def test_a_sample_alone_gives_no_picture(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "_affordable_rows", lambda *_: 50)
    plot = tmp_path / "bench.png"
    code, out, _ = run(capsys, *SMALL[:-1], "--backends", "naive", "--plot", str(plot))
    assert code == 0
    assert "No picture" in out
    assert not plot.exists()


@pytest.mark.parametrize(
    ("seconds_a_row", "n_rows", "expected"),
    [
        (1e-3, 3000, 3000),  # 30 seconds for 10 epochs: all of it
        (1e-3, 3001, 1000),  # 10 seconds: 10 minibatches of 100
        (2.9e-3, 10_000, 300),  # 2.9 seconds a minibatch: 3 of them
        (2e-2, 10_000, 100),  # 20 seconds: the one that there must be
        (4e-2, 10_000, 0),  # 40 seconds
        (1.0, 99, 0),  # fewer rows than a minibatch
    ],
)
def test_a_sample_is_of_whole_minibatches(seconds_a_row, n_rows, expected):
    settings = Settings(batch_size=100, epochs=10, learning_rate=0.1, n_threads=1, seed=0)
    assert timing._affordable_rows(seconds_a_row, n_rows, settings) == expected


@pytest.mark.parametrize("epochs", [1, 7, 10, 34])
def test_the_backends_take_turns(epochs):
    order = []

    class FakeRun:
        def __init__(self, backend):
            self.backend = backend

        def run_epoch(self):
            order.append(self.backend)

    class Listener:
        total = shown = done = 0

        def on_start(self, n_epochs):
            self.total = n_epochs

        def on_turn(self, backend):
            self.shown = backend

        def on_epoch_end(self):
            assert order[-1] == self.shown
            self.done += 1

    listener = Listener()
    settings = Settings(1, epochs, 0.1, 1, seed=0)
    timing.train([FakeRun(name) for name in "abc"], settings, listener)
    assert listener.total == listener.done == 3 * epochs
    assert all(order.count(name) == epochs for name in "abc")
    # After any number of epochs no backend is ahead of another by more than its turn.
    turn = -(-epochs // 10)
    for end in range(len(order)):
        counts = [order[:end].count(name) for name in "abc"]
        assert max(counts) - min(counts) <= turn
    if epochs >= 10:
        assert len({tuple(order[i : i + 3 * turn]) for i in range(0, 30, 3 * turn)}) > 1


def test_a_turn_counts_the_mean_of_its_runs():
    now, rounds = [0.0], []
    cost = {"fast": 2**-10, "slow": 0.25}

    def run(name):  # takes twice as long in the second round
        now[0] += cost[name] * (2 if rounds[-1] else 1)

    runs = {name: partial(run, name) for name in cost}
    timings = timing.measure(runs, 2, 0.125, rounds.append, lambda: now[0])
    assert rounds == [0, 0, 0, 1, 1]
    for name, seconds in cost.items():
        assert timings[name].seconds == [seconds, 2 * seconds]
    assert timings["fast"].median == 1.5 * cost["fast"]


def comparison(**changes):
    """Results as wide as they get."""
    curve = [2.302585, 1.25]
    results = [
        Result("naive", 60_000, 2688, [0.2345, 0.2345]),
        Result("numba", 60_000, 60_000, [123.4, 123.4], curve, 1.0),
        Result("vectorized", 60_000, 60_000, [0.0789, 0.0789], curve, 0.9781),
    ]
    compiled = {"epoch_seconds": [9.87e-5, 9.87e-5], "loss_curve": curve, "test_accuracy": 0.9}
    results.append(Result("compiled", 60_000, 60_000, **{**compiled, **changes}))
    return Comparison(results, [], 1e-5)


def printed(comparison, width):
    file = io.StringIO()
    print_comparison(Console(file=file, width=width), comparison, {"data": "none"})
    return file.getvalue()


@pytest.mark.parametrize("width", [30, 40, 60, 70, 80, 120])
def test_the_table_fits_the_terminal_and_cuts_no_number(width):
    out = printed(comparison(), width)
    assert "…" not in out
    assert max(len(line) for line in out.splitlines()) <= width
    assert ("Columns are left out" in out.replace("\n", " ")) == (width < 80)
    assert "0.0987 ms" in out


def test_columns_are_left_out_only_where_they_do_not_fit():
    headings = printed(comparison(), 80).split()
    for word in ("median", "samples", "naive", "vectorized", "final", "accuracy", "same"):
        assert word in headings


def test_losses_that_differ_are_said_to(capsys):
    wrong = comparison(loss_curve=[2.302585, 1.25 * (1 + 2e-5)])
    assert wrong.agrees(wrong.results[-1]) is False
    out = printed(wrong, 80)
    assert "NO 2e-05" in out
    assert "yes 0\n" in out
    right = comparison(loss_curve=[2.302585, 1.25 * (1 + 0.9e-5)])
    assert right.agrees(right.results[-1]) is True


def test_rows_are_in_order_whether_or_not_they_were_run():
    some = Comparison(
        [
            Result("compiled", 9, 9, [1.0], [1.0], 0.5),
            Result("vectorized", 9, 9, [1.0], [1.0], 0.5),
        ],
        [LeftOut("numba", "missing", "why [not]"), LeftOut("naive", "left out", "slow")],
        1e-5,
    )
    out = printed(some, 80)
    rows = [line.split()[0] for line in out.splitlines() if line.split(" ")[0] in NAMES]
    assert rows == list(ORDER)
    assert "numba: missing: why [not]" in out  # brackets are no markup
    assert some.reference.backend == "vectorized"


@pytest.mark.parametrize(
    ("function", "number", "text"),
    [
        (three_digits, 0.0, "0"),
        (three_digits, 0.0399, "0.0399"),
        (three_digits, 1.0, "1.00"),
        (three_digits, 9.999, "10.0"),
        (three_digits, 71.25, "71.2"),
        (three_digits, 999.9, "1000"),
        (three_digits, 123456.0, "123000"),
        (with_prefix, 950.4, "950"),
        (with_prefix, 999.9, "1.00k"),
        (with_prefix, 18_949.0, "18.9k"),
        (with_prefix, 999_900.0, "1.00M"),
        (with_prefix, 4.12e9, "4.12G"),
        (duration, 0.0000851, "0.0851 ms"),
        (duration, 0.0712, "71.2 ms"),
        (duration, 1.234, "1.23 s"),
        (duration, 90.0, "1.50 min"),
        (duration, 3600.0, "1.00 h"),
        (size, 512, "512 bytes"),
        (size, 1536, "1.50 KiB"),
        (size, 3 << 40, "3.00 TiB"),
    ],
)
def test_numbers_have_three_digits_and_a_unit(function, number, text):
    assert function(number) == text


def test_memory_is_asked_for_before_it_is_taken(capsys, monkeypatch):
    monkeypatch.setattr(workload.machine, "available_memory", lambda: 100_000)
    assert run(capsys, *SMALL, "--backends", "naive")[0] == 0  # 330 rows of 5 features: 6.6 kB
    err = error_of(capsys, *SMALL, "--shape", "30000x5x3")
    assert "--shape" in err
    assert "KiB" in err


def test_memory_that_runs_out_is_one_line_where_the_system_does_not_tell_before(
    capsys, monkeypatch
):
    monkeypatch.setattr(workload.machine, "available_memory", lambda: None)
    err = error_of(capsys, *SMALL, "--shape", "1000000000000x1000x2")
    assert "argument --shape: the data do not fit into memory: " in err
