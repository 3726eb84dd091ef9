"""`--loss` of `bench` and `profile`: calls of the loss core, their work and their times."""

import json

import numpy as np
import pytest
from command_line import error_of, output_of

from fastsoftmax.backends import why_unavailable
from fastsoftmax.cli import loss_core, machine
from fastsoftmax.cli.results import ORDER
from fastsoftmax.profiling.loss_calls import LossCall, LossData
from fastsoftmax.profiling.roofline import Peaks

CALLS = ["softmax_cross_entropy", "cross_entropy", "softmax", "logsumexp"]
AVAILABLE = [name for name in ORDER if why_unavailable(name) is None]
PEAKS = Peaks(2, 2e11, 1e11, 2e10, 1e10)


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch):
    """No test needs the peaks of this machine, or depends on what else runs on it."""
    monkeypatch.setattr(machine, "load", lambda: 0.0)
    monkeypatch.setattr(loss_core, "measure_peaks", lambda n_threads: PEAKS)
    monkeypatch.setattr(loss_core, "_SECONDS_A_TURN", 0.0)


def test_every_backend_is_timed_on_every_call(capsys):
    out = output_of(capsys, "bench", "--loss", "20x30")
    assert out.startswith("loss core, 20x30, float32;")
    for name in CALLS:
        table = out.partition(f"\n{name}\n")[2].splitlines()
        assert [line.split()[0] for line in table[: len(AVAILABLE) + 1]] == ["backend", *AVAILABLE]
        assert table[1].endswith("1.00x")
    assert "Peak of 2 threads: 200 GFLOP/s, 20.0 GB/s read, 10.0 GB/s copied." in out


def test_numbers_follow_from_the_work_and_the_times(capsys):
    arguments = ("bench", "--loss", "20x30", "--backends", "vectorized", "--dtype", "float64")
    record = json.loads(output_of(capsys, *arguments, "--json", "-"))
    assert record["settings"]["loss"] == [20, 30]
    assert [call["call"] for call in record["calls"]] == CALLS
    first = record["calls"][0]
    seconds = np.median(first["seconds"])
    assert first["seconds_per_call"] == first["median_seconds"] == seconds
    assert first["flops"] == pytest.approx(5 * 20 * 30 / seconds)
    assert first["bandwidth"] == pytest.approx(2 * 20 * 30 * 8 / seconds)
    shares = {"compute": 5 * 600 / seconds / 1e11, "memory": 2 * 600 * 8 / seconds / 1e10}
    assert first["of_peak"] == pytest.approx(max(shares.values()))
    assert shares[first["limit"]] == max(shares.values())


def test_profile_times_one_backend_and_the_linear_loss(capsys):
    out = output_of(capsys, "profile", "--loss", "20x8x3", "--backend", "vectorized")
    table = out.partition("\nlinear_cross_entropy\n")[2].splitlines()
    assert table[0].split()[0] == "backend"
    assert "over" not in table[0]
    assert table[1].startswith("vectorized")


def test_a_slow_backend_is_timed_on_fewer_rows(capsys, monkeypatch):
    monkeypatch.setattr(loss_core, "_MAX_SECONDS", 0.0)
    monkeypatch.setattr(loss_core, "_SAMPLE_SECONDS", 0.0)
    arguments = ("bench", "--loss", "50x10", "--backends", "vectorized")
    record = json.loads(output_of(capsys, *arguments, "--json", "-"))
    for call in record["calls"]:
        assert call["n_rows_timed"] == 1
        assert call["seconds_per_call"] == pytest.approx(50 * call["median_seconds"])
    assert "~: extrapolated from fewer rows." in output_of(capsys, *arguments)


def test_the_limit_of_memory_is_between_reading_and_copying():
    def share(read, written):
        return LossCall("call", print, 0.0, read, written).limits(1.0, PEAKS, "float32")["memory"]

    assert share(2e10, 0.0) == pytest.approx(1)
    assert share(5e9, 5e9) == pytest.approx(1)
    assert share(1.25e10, 2.5e9) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(6, 5), (6, 4, 3)])
def test_calls_are_on_the_first_rows_and_give_the_same(shape):
    data = LossData(shape, "float64", seed=0)
    results = [data.calls(name, 1, 3)[0].run() for name in AVAILABLE]
    losses = [result[0] for result in results]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-12)
    whole = data.calls("vectorized", 1, 6)[0]
    assert whole.flop == pytest.approx(2 * data.calls("vectorized", 1, 3)[0].flop)


def test_memory_is_asked_for_before_it_is_taken(capsys, monkeypatch):
    monkeypatch.setattr(machine, "available_memory", lambda: 1000)
    for shape in ("1000x10", "100x10x10"):
        error = error_of(capsys, "bench", "--loss", shape, code=2)
        assert "argument --loss: the calls need" in error


def test_without_the_compiled_backend_there_are_no_peaks(capsys, monkeypatch):
    known = machine.reason_against
    monkeypatch.setattr(
        machine, "reason_against", lambda name: "no compiler" if name == "compiled" else known(name)
    )
    out = output_of(capsys, "bench", "--loss", "20x30")
    assert "compiled: not available: no compiler" in out
    assert "Peak" not in out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("bench", "--loss", "3"), "argument --loss: expected rows x classes"),
        (("bench", "--loss", "3x1"), "argument --loss: expected at least 1 row"),
        (("bench", "--loss", "3x3", "--epochs", "3"), "argument --epochs: is not of --loss"),
        (("bench", "--loss", "3x3", "--target", "y"), "argument --target: is not of --loss"),
        (("bench", "--loss", "3x3", "--plot", "a.png"), "argument --plot: is not of --loss"),
        (("bench", "--loss", "3x3", "--shape", "3x3x3"), "not allowed with argument"),
        (("profile", "--loss", "3x3", "--peers"), "argument --peers: is not of --loss"),
        (("profile", "--loss", "3x3", "--dtype", "uint8"), "argument --dtype: expected float32"),
    ],
)
def test_options_that_do_not_fit_are_one_line(capsys, arguments, reason):
    assert reason in error_of(capsys, *arguments, code=2)
