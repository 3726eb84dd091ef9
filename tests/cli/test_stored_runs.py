"""`bench --compare` and `profile --compare`: runs that are stored, and the test that compares two runs."""

import copy
import json

import numpy as np
import pytest
from command_line import error_of, output_of, run
from scipy.stats import mannwhitneyu, wilcoxon

from fastsoftmax.cli import machine, stored_runs
from fastsoftmax.cli.significance import Verdict, min_pairs, of_pairs, of_runs, verdicts

BENCH = ("bench", "--shape", "300x5x3", "--batch-size", "50", "--no-plot", "--epochs", "10")
PROFILE = ("profile", "--shape", "300x5x3", "--batch-size", "50", "--epochs", "10")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(machine, "load", lambda: 0.1)


@pytest.fixture(scope="module")
def records():
    """The record of each command that has run."""
    return {}


@pytest.fixture
def stored(tmp_path, capsys, records):
    """A function that stores a run of a command, changed as a function says, and returns its path."""

    def store(command, name="old.json", change=lambda record: None):
        if command not in records:
            code, out, _ = run(capsys, *command, "--json", "-")
            assert code == 0
            records[command] = json.loads(out)
        record = copy.deepcopy(records[command])
        change(record)
        (tmp_path / name).write_text(json.dumps(record))
        return tmp_path / name

    return store


def set_times(seconds):
    """Give every backend these times of epochs."""

    def change(record):
        for result in record["results"]:
            result["epoch_seconds"] = list(seconds)

    return change


TIMES = 1e-3 * (1 + 0.001 * np.array([3, 1, 4, 1.5, 9, 2, 6, 5, 3.5, 8]))


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, "no difference found"), (1.04, "no difference found"), (1.3, "slower"), (0.7, "faster")],
)
def test_two_stored_runs(stored, capsys, tmp_path, factor, verdict):
    old = stored(BENCH, "old.json", set_times(TIMES))
    new = stored(BENCH, "new.json", set_times(factor * TIMES[::-1]))
    table = output_of(capsys, "bench", "--compare", old, new, "--json", tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["verdict"] for row in rows] == [verdict] * 4
    for row in rows:
        assert row["difference"]["ratio"] == pytest.approx(factor, rel=2e-3)
        assert row["difference"]["low"] < factor / 1.05
        assert row["difference"]["high"] > factor * 1.05
        assert f"\n{row['name']} " in table
    assert f"old  {old}: fastsoftmax" in table
    assert "not measured side by side" in table


@pytest.mark.costly
def test_a_run_is_compared_with_a_stored_one(stored, capsys):
    old = stored(BENCH, "old.json", set_times([1e9] * 10))
    code, out, err = run(capsys, *BENCH, "--backends", "compiled", "--compare", old, "--json", "-")
    assert code == 0
    (row,) = json.loads(out)["comparison"]["rows"]
    assert (row["name"], row["verdict"]) == ("compiled", "faster")
    assert "Only in" in err
    assert "naive, numba, vectorized" in err


@pytest.mark.costly
def test_profiles(stored, capsys):
    code, out, _ = run(capsys, *PROFILE, "--compare", stored(PROFILE), "--json", "-")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)["comparison"]["rows"]}
    assert rows["epoch, compiled"]["difference"] is not None
    # A phase has one time a run: a ratio, and no verdict.
    assert (rows["scores, mean"]["difference"], rows["scores, mean"]["verdict"]) == (None, "-")
    assert rows["total, mean"]["old_seconds"] > 0


def test_the_iterations_of_a_solver_have_one_time(stored, capsys):
    command = ("profile", "--shape", "300x5x3", "--solver", "lbfgs", "--epochs", "2")
    out = output_of(capsys, "profile", "--compare", stored(command), stored(command, "new.json"))
    assert "total, mean" in out
    assert "epoch" not in out.partition("The runs were")[0]
    other = stored((*command[:-1], "3"), "other.json")
    assert "epochs 2 and 3" in error_of(
        capsys, "profile", "--compare", stored(command), other, code=1
    )


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("machine", "cpu", "another"),
        ("machine", "instruction_set", "sse2"),
        ("machine", "cpus", 64),
        ("settings", "n_threads", 63),
        ("settings", "dtype", "float64"),
        ("settings", "n_classes", 4),
        ("settings", "batch_size", 51),
        ("settings", "a new setting", 1),
    ],
)
def test_runs_of_other_work_or_another_machine_are_refused(stored, capsys, part, name, value):
    old = stored(BENCH, "old.json", lambda record: record[part].update({name: value}))
    message = error_of(capsys, "bench", "--compare", old, stored(BENCH, "new.json"), code=1)
    assert "cannot be compared" in message
    assert f"{name.replace('_', ' ')} {value} and " in message


def test_a_run_that_would_be_refused_is_not_begun(stored, capsys, monkeypatch):
    old = stored(BENCH)
    monkeypatch.setattr("fastsoftmax.cli.comparing.train", lambda *_: pytest.fail("trains"))
    message = error_of(capsys, *BENCH, "--dtype", "float64", "--compare", old, code=1)
    assert "dtype float32 and float64" in message


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [("versions", "numpy", "1.0"), ("machine", "system", "other"), ("settings", "seed", 5)],
)
def test_other_differences_are_said(stored, capsys, part, name, value):
    old = stored(BENCH, "old.json", lambda record: record[part].update({name: value}))
    out = output_of(capsys, "bench", "--compare", old, stored(BENCH, "new.json"))
    assert f"The runs differ in more than the code: {name} {value} and " in " ".join(out.split())


def test_there_is_no_verdict_on_a_busy_machine(stored, capsys):
    def change(record):
        set_times(2 * TIMES)(record)
        record["machine"]["load_before"] = 50.0

    old, new = stored(BENCH, "old.json", set_times(TIMES)), stored(BENCH, "new.json", change)
    out = output_of(capsys, "bench", "--compare", old, new)
    assert out.count("busy machine") == 4
    assert "The machine was busy before this run (load 50.00" in " ".join(out.split())


def test_few_epochs_give_no_verdict(stored, capsys):
    old = stored(BENCH, "old.json", set_times([1.0] * 3))
    out = output_of(
        capsys, "bench", "--compare", old, stored(BENCH, "new.json", set_times([9.0] * 3))
    )
    assert out.count("too few epochs") == 4
    assert "a verdict needs 4 in each run" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("results"), "expected a file that `fastsoftmax bench --json` has written"),
        (lambda r: r.pop("machine"), "has no 'machine'"),
        (lambda r: r.update(settings=[]), "settings: expected an object"),
        (lambda r: r["settings"].update(x=[1]), "settings: 'x': expected a number or a text"),
        (lambda r: r["settings"].update({"a\x7f": 1}), "printable names, got 'a\\x7f'"),
        (lambda r: r["machine"].update(cpu="a\x1b[2J"), "cpu: expected a printable text"),
        (lambda r: r["machine"].update(cpus="2"), "cpus: expected a number"),
        (lambda r: r.update(results={}), "results: expected a list"),
        (lambda r: set_times([])(r), "epoch_seconds: expected at least one time"),
        (lambda r: set_times([1, -1])(r), "expected a number greater than 0, got -1"),
        (lambda r: set_times([True])(r), "expected a number"),
        (lambda r: set_times([10**400])(r), "expected a number"),
        (lambda r: r["results"][0].update(n_rows_timed=0), "n_rows_timed: expected a number"),
    ],
)
def test_a_file_that_is_no_record(stored, capsys, change, message):
    error = error_of(capsys, "bench", "--compare", stored(BENCH, "old.json", change), code=1)
    assert error.startswith("fastsoftmax bench: error: argument --compare: ")
    assert message in error


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_a_file_that_is_not_json(capsys, tmp_path, content):
    (tmp_path / "old.json").write_bytes(content)
    assert "old.json" in error_of(capsys, "bench", "--compare", tmp_path / "old.json", code=1)


def test_options_that_do_not_fit(stored, capsys, tmp_path):
    old = stored(BENCH)
    assert "expected one file or two, got 3" in error_of(
        capsys, "bench", "--compare", old, old, old
    )
    message = error_of(capsys, "bench", "--compare", old, old, "--epochs", "3")
    assert "argument --epochs: nothing is run if --compare names two files" in message
    assert "No such file" in error_of(capsys, "bench", "--compare", tmp_path / "none", code=1)


def test_the_tests_are_those_of_scipy(rng):
    d = rng.normal(size=15)
    assert of_pairs(d).p_value == wilcoxon(d).pvalue
    old, new = np.exp(rng.normal(size=(2, 9)))
    found = of_runs(old, new, 0.0)
    assert found.p_value == pytest.approx(min(1, mannwhitneyu(old, new).pvalue))
    # The other way round the ratio is the inverse, and so is the interval.
    other = of_runs(new, old, 0.0)
    assert [1 / x for x in other[:3]] == pytest.approx([found.ratio, found.high, found.low])


def test_equal_times_do_not_differ():
    assert of_pairs([0.0] * 9) == (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("n", [8, 14, 30])
def test_intervals_cover_the_ratio(rng, n):
    """95 % of them do; of 600 fewer than 92 % would be 3.4 standard deviations away."""
    covered = 0
    for _ in range(300):
        pairs, runs = rng.standard_t(3, size=n), np.exp(rng.standard_t(3, size=(2, n)))
        for found in (of_pairs(pairs), of_runs(*runs, 0.0)):
            covered += found.low <= 1 <= found.high
    assert covered / 600 > 0.92


def test_an_allowance_widens_the_interval_and_weakens_the_test():
    old, new = np.linspace(1, 1.01, 10), np.linspace(1.08, 1.09, 10)
    exact, allowed = of_runs(old, new, 0.0), of_runs(old, new, 0.05)
    assert allowed.low == pytest.approx(exact.low / 1.05)
    assert allowed.high == pytest.approx(exact.high * 1.05)
    assert exact.p_value == pytest.approx(allowed.p_value)  # all are beyond it: ranks are the same
    assert of_runs(old, new, 0.1).p_value == 1.0


def test_verdicts_are_corrected_step_by_step():
    """Holm's: the smallest p-value is multiplied by 4, the next by 3, up to the first that is too large."""
    slower, faster = of_pairs([0.1] * 9), of_pairs([-0.1] * 9)
    p_values = [0.012, 0.0126, 0.02, 0.0124]
    rows = [d._replace(p_value=p) for d, p in zip([slower, faster] * 2, p_values, strict=True)]
    assert verdicts(rows, 0.05) == [Verdict.SLOWER, Verdict.FASTER, Verdict.SLOWER, Verdict.FASTER]
    rows[0] = rows[0]._replace(p_value=0.013)
    rows[3] = rows[3]._replace(p_value=0.013)
    assert set(verdicts(rows, 0.05)) == {Verdict.NOT_FOUND}
    assert verdicts([], 0.05) == []


@pytest.mark.parametrize("n_rows", [1, 4, 46])
def test_so_many_pairs_find_something(n_rows):
    n = min_pairs(n_rows, 0.01)
    assert of_pairs(np.arange(1.0, n + 1)).p_value * n_rows <= 0.01
    assert of_pairs(np.arange(1.0, n)).p_value * n_rows > 0.01


def test_a_sample_counts_for_all_rows(stored, capsys):
    def change(record):
        set_times([1.0] * 10)(record)
        record["results"][0]["n_rows_timed"] = 30

    path = stored(BENCH, "old.json", change)
    found = stored_runs.read(path, "bench")
    assert [*found.seconds["naive"]] == [10.0] * 10
    assert [*found.seconds["compiled"]] == [1.0] * 10
