"""`python -m benchmarks.compare`: what it says of made-up times; it builds, measures and prints."""

import importlib
import json
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from paths import ROOT

from fastsoftmax.cli import machine
from fastsoftmax.cli.errors import CommandError
from fastsoftmax.cli.significance import Difference, Verdict

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture(scope="module")
def module():
    """A function that imports a module of the comparison."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        yield lambda name: importlib.import_module(f"benchmarks.{name}")


def made_up(rounds, rng, n_rows, n_rounds, slower, loud):
    """Times like those of real processes, without a clock.

    A process has its memory somewhere: all times that it measures of a row are shifted, by about 1 %, of
    some rows by more. The clock of the CPU wanders from turn to turn. A turn is delayed now and then, by a
    share of its time that has no mean; on a loud machine often, and by more.
    """
    found = []
    for i in range(n_rows):
        row = rounds.Measured(f"row {i}")
        shape = (n_rounds, rounds.PAIRS)
        wander = np.cumsum(rng.normal(scale=0.003, size=(n_rounds, 2 * rounds.PAIRS)), axis=1)
        for k, version in enumerate((rounds.OLD, rounds.NEW)):
            place = rng.normal(scale=0.008, size=(n_rounds, 1))
            place += 0.05 * (rng.random((n_rounds, 1)) < 0.05)
            late = 0.002 * np.abs(rng.standard_cauchy(shape))
            if loud:
                late += (rng.random(shape) < 0.2) * rng.random(shape)
            times = np.exp(place + wander[:, k::2]) * (1 + late)
            if version == rounds.NEW and i == 0:
                times *= 1 + slower
            row.seconds[version] = times.tolist()
        found.append(row)
    return found


def comparisons(module, n, n_rows, slower=0.0, n_rounds=None, loud=False):
    """How many of n comparisons find the planted slowdown, and how many say that any other row differs."""
    rounds, rng = module("compare.rounds"), np.random.default_rng(0)
    suites, check = module("suites"), module("compare.self_check").check
    rows = [suites.Row("s", "test_f", "compiled", (i,), "float32") for i in range(n_rows)]

    def compare(_, planted):
        made = made_up(rounds, rng, n_rows, n_rounds or rounds.default_rounds(n_rows), slower, loud)
        names = [*planted, *(row.name for row in rows if row.name not in planted)]
        for row, name in zip(made, names, strict=True):
            row.row = name
        return made

    tally = check(rows, n, slower, compare, lambda _: None)
    assert tally.n_comparisons == n
    return tally.n_found, tally.n_wrong


@pytest.mark.parametrize(("n_rows", "loud"), [(3, False), (3, True), (12, False)])
def test_a_build_does_not_differ_from_itself(module, n_rows, loud):
    """Asked for: of 200 comparisons at most 5 that say that any row differs."""
    _, n_wrong = comparisons(module, 200, n_rows, loud=loud)
    assert n_wrong <= 5


def test_a_slowdown_is_found(module):
    """Asked for: of 5 % in 95 of 100 comparisons; of 2 % in 80, with more rounds."""
    assert comparisons(module, 100, 12, 0.05)[0] >= 95
    assert comparisons(module, 100, 12, 0.02, n_rounds=40)[0] >= 80


def test_turns_of_a_process_are_not_independent(module):
    """The made-up times would deceive a test that took each turn for evidence of its own."""
    rounds, rng = module("compare.rounds"), np.random.default_rng(0)
    of_pairs, n_wrong = importlib.import_module("fastsoftmax.cli.significance").of_pairs, 0
    for _ in range(200):
        (row,) = made_up(rounds, rng, 1, 12, 0.0, False)
        old, new = (np.log(row.seconds[version]) for version in (rounds.OLD, rounds.NEW))
        n_wrong += of_pairs((new - old).ravel()).p_value < rounds.ALPHA
    assert n_wrong > 10


@pytest.fixture
def rows(module, monkeypatch):
    """Tiny rows of the suites: a plain call, one with a set-up, and one that no version has."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    row = module("suites").Row
    return [
        row("bench_loss", "test_softmax", "compiled", (16, 10), "float32"),
        row("bench_epoch", "test_epoch", "compiled", (40, 5, 3, 8), "float32"),
        row("bench_loss", "test_of_tomorrow", "compiled", (16, 10), "float32"),
    ]


def test_rows_are_measured_in_processes_of_both_versions(module, rows):
    rounds = module("compare.rounds")
    started, seen = [], []
    found = rounds.measure(
        {rounds.OLD: ROOT, rounds.NEW: ROOT},
        rows,
        2,
        clock="process_time",
        n_pairs=3,
        seconds_a_turn=0.002,
        slower={rows[0].name: 3.0},
        on_row=lambda n_done, row: seen.append(n_done),
        on_start=lambda version, about: started.append((version, about["folder"])),
    )
    assert sorted(started) == [(version, str(ROOT)) for version in ("new", "new", "old", "old")]
    assert len(seen) == 5  # the missing one was not asked for again
    softmax, epoch, missing = found
    for measured in (softmax, epoch):
        for version in (rounds.OLD, rounds.NEW):
            assert np.shape(measured.seconds[version]) == (2, 3)
            assert np.all(np.array(measured.seconds[version]) > 0)
    # Four times as long, but for what others do to either.
    assert np.median(softmax.log_ratios()) > np.log(2)
    assert missing.missing.keys() == {rounds.OLD, rounds.NEW}
    assert "test_of_tomorrow" in missing.missing[rounds.OLD]
    assert missing.seconds == {rounds.OLD: [], rounds.NEW: []}


def test_a_version_that_ends_is_an_error(module, rows, monkeypatch, tmp_path):
    rounds = module("compare.rounds")
    worker = tmp_path / "worker.py"
    worker.write_text("import sys; print('{}', flush=True); input(); sys.exit('gone')")
    monkeypatch.setattr(rounds, "_WORKER", worker)
    with pytest.raises(
        CommandError, match=r"^the (old|new) version ended during softmax .*: gone$"
    ):
        rounds.measure({"old": ROOT, "new": ROOT}, rows[:1], 1, clock="process_time")
    worker.write_text("import fastsoftmax.no_such_module")
    with pytest.raises(CommandError, match=r"ended during its start: ModuleNotFoundError"):
        rounds.measure({"old": ROOT, "new": ROOT}, rows[:1], 1, clock="process_time")


@pytest.fixture
def repository(module, monkeypatch, tmp_path):
    """A repository of two commits, of which the second one does not build."""
    folder = tmp_path / "repository"
    (folder / "fastsoftmax" / "backends").mkdir(parents=True)
    monkeypatch.setattr(module("compare.builds"), "ROOT", folder)
    git = partial(subprocess.run, cwd=folder, check=True, capture_output=True)
    name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    git(["git", "init", "-q"])
    for name_of_file in ("__init__.py", "backends/__init__.py", "backends/compiled.py"):
        (folder / "fastsoftmax" / name_of_file).write_text("")
    (folder / "setup.py").write_text("open('built', 'w')")
    (folder / ".gitignore").write_text("ignored\n")
    git(["git", "add", "."])
    git(["git", *name, "commit", "-qm", "The first one"])
    (folder / "setup.py").write_text("import sys; print('line'); sys.exit('no compiler')")
    git(["git", *name, "commit", "-qam", "The second one"])
    return folder


@needs_git
def test_versions_are_built_in_folders_of_their_own(module, repository, tmp_path):
    builds = module("compare.builds")
    first = builds.of_commit("HEAD~1")
    assert first.title.endswith(" The first one")
    built = builds.build(first, tmp_path / "old")
    assert (built / "built").exists()
    assert not (repository / "built").exists()
    with pytest.raises(CommandError, match=r"(?s)The second one: does not build:\n.*no compiler"):
        builds.build(builds.of_commit("HEAD"), tmp_path / "new")
    with pytest.raises(CommandError, match=r"^'--all' is not a commit of this repository$"):
        builds.of_commit("--all")


@needs_git
def test_the_working_tree_is_a_version(module, repository, tmp_path):
    builds = module("compare.builds")
    clean = builds.of_working_tree(tmp_path)
    assert clean == builds.of_commit("HEAD")
    (repository / "setup.py").write_text("")
    (repository / "new file").write_text("a")
    (repository / "ignored").write_text("b")
    (repository / ".gitignore").unlink()
    (repository / ".gitignore").write_text("ignored\n")
    changed = builds.of_working_tree(tmp_path)
    assert changed.title.startswith("working tree, on ")
    folder = builds.build(changed, tmp_path / "new")
    assert (folder / "new file").read_text() == "a"
    assert not (folder / "ignored").exists()
    # What is staged is as before.
    staged = ["git", "diff", "--cached", "--name-only"]
    assert subprocess.run(staged, cwd=repository, capture_output=True).stdout == b""


@pytest.fixture
def report(module):
    """Of a row that is slower, one without a difference, and one that the old version does not have."""
    rounds, shown = module("compare.rounds"), module("compare.report")
    measured = [
        rounds.Measured(f"{name} 16x10", {"old": [[1e-3]], "new": [[ratio * 1e-3]]})
        for name, ratio in (("softmax", 1.25), ("loss", 1.0))
    ]
    compared = [
        rounds.Compared(measured[0], Difference(1.25, 1.2, 1.3, 1e-5), Verdict.SLOWER),
        rounds.Compared(measured[1], Difference(1.0, 0.99, 1.01, 0.5), Verdict.NOT_FOUND),
    ]
    missing = [rounds.Measured("new 16x10", missing={"old": "TypeError: <mask> | `x`"})]
    titles = {"old": "abc `The` <first>", "new": "working tree"}
    return shown.Report(titles, "a CPU, 14 rounds", ["A note."], compared, missing)


def test_the_table(module, report, capsys):
    report.print(module("peers.tables").new_console(None))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "old  abc `The` <first>"
    assert (
        "softmax 16x10  1.00 ms  1.25 ms      1.250  1.200 to 1.300               slower" in lines
    )
    assert "2 rows: 1 slower, 0 faster; no difference found in 1." in lines
    assert "new 16x10: only in new, not compared: TypeError: <mask> | `x`" in lines
    assert "A note." in lines


def test_markdown_for_a_pull_request(report):
    text = report.markdown()
    before, _, folded = text.partition("<details>")
    assert before.startswith(
        "### Benchmarks\n\n**2 rows: 1 slower, 0 faster; no difference found in 1.**\n"
    )
    assert "- old: `abc 'The' <first>`" in before
    assert "| softmax 16x10 | 1.00 ms | 1.25 ms | 1.250 | 1.200 to 1.300 | **slower** |" in before
    assert "- new 16x10: only in new, not compared: TypeError: &lt;mask> \\| `x`" in before
    assert "<summary>1 row without a difference</summary>\n\n| row | old |" in folded
    assert "| loss 16x10 |" in folded.partition("</details>")[0]
    json.dumps(report.as_record(), allow_nan=False)


@pytest.mark.parametrize(("share", "code"), [(None, 0), (0.3, 0), (0.05, 3), (0.0, 3)])
def test_exit_codes(module, report, capsys, share, code):
    main = module("compare.__main__")
    assert main._exit_code(share, report.compared) == code
    assert ("softmax 16x10: 1.250 times as long" in capsys.readouterr().err) == (code == 3)


@pytest.fixture
def command(module, monkeypatch):
    """The command line, in this process, which must not be confined, on builds that are there already."""
    main = module("compare.__main__")
    monkeypatch.setattr(main, "confine", lambda _: None)
    monkeypatch.setattr(main, "default_rounds", lambda _: 2)
    monkeypatch.setattr(main, "measure", partial(main.measure, n_pairs=1, seconds_a_turn=0.001))
    monkeypatch.setattr(machine, "load", lambda: 0.1)
    monkeypatch.setattr(main.builds, "build", lambda version, folder: ROOT)
    monkeypatch.setattr(main.builds, "of_commit", lambda name: main.builds.Version("t", name))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return main.main


SMALL = ("--only", "softmax 128x10 float32", "--only", "epoch 1347x64x10x32 float32")


def test_the_command(command, capsys, tmp_path):
    file = tmp_path / "out.json"
    assert command(["main", "HEAD", *SMALL, "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "\nsoftmax 128x10 float32 compiled " in out
    assert "2 rounds of 3 pairs" in out
    assert "Both versions have the same files." in out
    record = json.loads(file.read_text())
    assert [len(row["log_ratios"]) for row in record["comparison"]["rows"]] == [2, 2]
    assert record["machine"]["load_before"] is None or record["machine"]["load_before"] >= 0


def test_markdown_and_the_exit_code_of_the_command(command, capsys):
    arguments = ["a", "b", *SMALL[:2], "--markdown", "--fail-if-slower", "900%"]
    assert command(arguments) == 0
    assert capsys.readouterr().out.startswith("### Benchmarks\n")


def test_the_self_check_of_the_command(command, module, capsys, monkeypatch):
    builds = module("compare.builds")
    monkeypatch.setattr(builds, "of_working_tree", lambda _: builds.Version("t", "files"))
    assert command(["--self-check", "2", "--plant", "5%", *SMALL[:2]]) == 0
    out = capsys.readouterr().out
    assert "1: softmax 128x10 float32 compiled planted, not found\n" in out  # in two rounds
    assert "of 2 planted slowdowns of 5 % were found." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "BASE: expected a commit to compare with"),
        (["main", "--only", "no such row"], "no row's name contains 'no such row': see --list"),
        (["main", "--rounds", "13"], "among 46 rows in fewer than 15 rounds, got 13"),
        (["main", "--fail-if-slower", "5"], "expected a percentage such as 5%, got '5'"),
        (["main", "--fail-if-slower", "x%"], "expected a percentage such as 5%, got 'x%'"),
        (["main", "--plant", "5%"], "argument --plant: is of --self-check"),
        (["main", "--self-check", "2"], "argument BASE: cannot be combined with --self-check"),
        (["main", "--markdown", "--json", "-"], "--markdown goes to standard output, too"),
        (
            ["main", "--json", "no/such/folder"],
            "argument --json: 'no/such/folder' cannot be written",
        ),
    ],
)
def test_bad_arguments_are_one_line(command, capsys, arguments, message):
    assert command(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m benchmarks.compare: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_the_rows_are_those_of_the_suites(command, capsys):
    assert command(["--list"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert len(names) == len(set(names)) == 46
    assert "epoch 1347x64x10x32 float32 compiled" in names
