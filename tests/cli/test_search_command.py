"""`fastsoftmax search`, in process."""

import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax import __version__, load, search
from fastsoftmax.classifier.parameters import PARAMETERS
from fastsoftmax.cli import main
from fastsoftmax.cli import search as search_module
from fastsoftmax.profiling.provenance import cpu_name


@pytest.fixture
def flowers(rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = rng.normal(size=(120, 3)).round(3)
    y = np.array(["iris", "lily", "rose"])[X.argmax(axis=1)]
    rows = [",".join([*map(str, row), name]) for row, name in zip(X.tolist(), y, strict=True)]
    (tmp_path / "flowers.csv").write_text("\n".join(["a,b,c,species", *rows]))
    return X, y


def test_the_table_and_the_model_are_those_of_the_function(flowers, capsys):
    X, y = flowers
    options = "--learning-rates 0.01,0.5 --regs 0,0.1 --epochs 5 --seed 3 --momentum 0.5"
    command = f"search flowers.csv --target species {options} --model best.npz --plot heat.svg"
    assert main(command.split()) == 0
    found = search(
        *(X, y),
        learning_rates=[0.01, 0.5],
        regs=[0, 0.1],
        max_iter=5,
        random_state=3,
        momentum=0.5,
    )
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if re.match("(best)? .* % ", line)]
    assert len(lines) == 4
    assert lines[0].split()[:3] == ["best", f"{found.best_learning_rate:g}", f"{found.best_reg:g}"]
    assert [float(line.split()[-4]) for line in lines] == [
        round(100 * row["score"], 2) for row in found.rows()
    ]
    model = load("best.npz")
    np.testing.assert_array_equal(model.coef_, found.best_model.coef_)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert "<svg" in Path("heat.svg").read_text()
    assert main(["evaluate", "--model", "best.npz", "flowers.csv", "--target", "species"]) == 0


def test_the_best_at_the_edge_is_said(flowers, capsys):
    main(
        [
            "search",
            "flowers.csv",
            "--target",
            "species",
            "--learning-rates",
            "1e-4,1e-3,1e-2",
            "--regs",
            "0",
        ]
    )
    assert "at the edge of --learning-rates:" in " ".join(capsys.readouterr().out.split())


def test_a_long_table_is_cut_and_says_so(flowers, capsys):
    options = "--learning-rates 0.1,0.2,0.3,0.4,0.5,0.6 --regs 0,0.1,0.2,0.3 --epochs 1"
    assert main(["search", "flowers.csv", "--target", "species", *options.split()]) == 0
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert len(table) == 1 + 20 + 1
    assert table[-1] == "and 4 more"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--learning-rates 0.1,x", 2, "argument --learning-rates: expected a number"),
        ("--regs -1,0", 2, "argument --regs: expected a number of at least 0, got '-1'"),
        ("--regs 0,1 --penalty none", 2, "argument --regs: has no effect with --penalty none"),
        ("--l1-ratio 0.5", 2, "argument --l1-ratio: has no effect with --penalty l2"),
        ("--learning-rates 0", 2, "argument --learning-rates: expected a number greater than 0"),
        ("--regs -1", 2, "argument --regs: "),
        ("--validation-fraction 1", 2, "argument --validation-fraction: "),
        ("--validation-fraction 0.0001", 2, "argument --validation-fraction: .*leaves none"),
        ("--momentum 1", 2, "argument --momentum: "),
        ("--model best.pkl", 2, r"argument --model: .*\.npz"),
        ("--model nowhere/best.npz", 2, "argument --model: there is no folder"),
        ("--plot heat.xyz", 2, "argument --plot: "),
        ("--learning-rates 1e30 --regs 0", 1, "diverged with every learning rate"),
        ("--target colour", 2, "argument --target: .*colour"),
    ],
)
def test_wrong_arguments(flowers, capsys, options, code, message):
    command = ["search", "flowers.csv", "--target", "species", *options.split()]
    assert main(command) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert re.match(rf"fastsoftmax search: error: .*{message}", line)


def test_a_model_is_replaced_with_force_alone(flowers, capsys, tmp_path):
    command = [
        "search",
        "flowers.csv",
        "--target",
        "species",
        "--epochs",
        "1",
        "--model",
        "best.npz",
    ]
    (tmp_path / "best.npz").write_bytes(b"mine")
    assert main(command) == 2
    assert (tmp_path / "best.npz").read_bytes() == b"mine"
    assert "--force replaces it" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    load(tmp_path / "best.npz")


def searched(options):
    return main(f"search flowers.csv --target species {options}".split())


def test_all_numbers_for_a_program(flowers, capsys):
    X, y = flowers
    assert searched("--learning-rates 1e30,0.1 --regs 0,0.1 --epochs 5 --seed 3 --json -") == 0
    record = json.loads(capsys.readouterr().out)  # and no table
    found = search(X, y, learning_rates=[1e30, 0.1], regs=[0, 0.1], max_iter=5, random_state=3)
    assert record["best"] == record["results"][0] == found.rows()[0]
    assert (record["learning_rates"], record["regs"]) == ([1e30, 0.1], [0, 0.1])
    assert record["results"][-1]["score"] is record["results"][-1]["loss"] is None
    assert record["versions"]["fastsoftmax"] == __version__
    assert record["machine"]["cpu"] == cpu_name()
    assert datetime.fromisoformat(record["date"]).tzinfo is not None
    settings = record["settings"]
    assert (settings["seed"], settings["max_iter"], settings["validation_fraction"]) == (3, 5, 0.2)
    assert (settings["n_samples"], settings["n_features"], settings["n_classes"]) == (120, 3, 3)
    assert searched("--epochs 2 --json all.json") == 0
    assert "numbers  all.json" in capsys.readouterr().out
    assert len(json.loads(Path("all.json").read_text())["results"]) == 20


def test_by_default_the_best_is_no_worse_than_that_of_train(flowers, capsys):
    assert (
        main(["train", "flowers.csv", "--target", "species", "--model", "t.npz", "--seed", "3"])
        == 0
    )
    _, *lines = Path("flowers.csv").read_text().splitlines()
    Path("dev.csv").write_text("\n".join(["a,b,c,species", *lines[::3]]))
    capsys.readouterr()
    for options in ("--validation dev.csv", "--validation-fraction 0.3"):
        command = f"train flowers.csv --target species --model t.npz --force --seed 3 {options}"
        assert main(command.split()) == 0
        summary = capsys.readouterr().out
        of_train = re.search(
            r"^(?:validation|held out) +accuracy (.*) %, log loss (.{6})", summary, re.M
        )
        assert searched(f"--seed 3 --json - {options}") == 0
        record = json.loads(capsys.readouterr().out)
        assert round(100 * record["best"]["score"], 2) >= float(of_train[1])
        rate = record["learning_rates"][1]
        (same,) = (
            row for row in record["results"] if (row["learning_rate"], row["reg"]) == (rate, 1e-4)
        )
        assert f"{100 * same['score']:.2f}" == of_train[1]
        assert same["validation_loss"] == pytest.approx(float(of_train[2]), abs=1e-4)


def test_another_file_to_score_on_is_read_as_that_of_train(flowers, capsys):
    X, y = flowers
    rows = [f"{c},{a},{b},{name}" for (a, b, c), name in zip(X[:40].tolist(), y, strict=False)]
    Path("dev.csv").write_text("\n".join(["c,a,b,kind", *rows]))
    options = "--learning-rates 0.1 --regs 0 --validation dev.csv --validation-target kind"
    assert searched(f"{options} --json s.json --epochs 7") == 0
    assert "validation  dev.csv: 40 samples" in capsys.readouterr().out
    record = json.loads(Path("s.json").read_text())
    found = search(
        *(X, y),
        learning_rates=[0.1],
        regs=[0],
        validation=(X[:40], y[:40]),
        max_iter=7,
        random_state=0,
    )
    assert record["best"] == found.rows()[0]
    assert record["settings"]["validation"] == "dev.csv"
    np.savez("dev.npz", X=[[1.0, np.inf, 3.0]], y=["rose"])
    assert searched("--validation dev.npz --validation-target y") == 1
    error = capsys.readouterr().err
    assert error.startswith("fastsoftmax search: error: dev.npz: X: expected finite numbers")


def test_all_files_are_there_before_anything_is_printed(flowers):
    command = [sys.executable, "-m", "fastsoftmax", "search", "flowers.csv"]
    options = "--target species --epochs 2 --model best.npz --plot heat.svg --json all.json"
    with subprocess.Popen([*command, *options.split()], stdout=subprocess.PIPE) as program:
        program.stdout.close()
        assert program.wait(60) == 1
    assert load("best.npz").n_iter_ == 2
    assert "<svg" in Path("heat.svg").read_text()
    assert json.loads(Path("all.json").read_text())["results"]


def test_a_model_that_cannot_be_saved_does_not_cost_the_table(flowers, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastsoftmax.SoftmaxClassifier.save", full)
    assert searched("--epochs 2 --model best.npz --json all.json") == 1
    printed = capsys.readouterr()
    assert "best " in printed.out
    assert "argument --model: 'best.npz' cannot be written" in printed.err
    assert Path("all.json").exists()


def test_a_bar_is_asked_for_where_rich_is_there(flowers, monkeypatch):
    def seen(*_, progress_bar, **__):
        wanted.append(progress_bar)
        raise ValueError

    wanted = []
    monkeypatch.setattr(search_module, "search", seen)
    searched("")
    monkeypatch.setitem(sys.modules, "rich", None)
    searched("")
    assert wanted == [True, False]


def test_a_best_one_that_still_learns_is_said(flowers, capsys):
    assert searched("--learning-rates 1e-3 --regs 0 --epochs 3") == 0
    assert "had not converged after 3 epochs" in " ".join(capsys.readouterr().out.split())


def test_parameters_of_all_models_are_those_that_were_given(flowers, monkeypatch):
    def seen(*_, learning_rates, regs, validation, progress_bar, **parameters):
        given.append(parameters)
        raise ValueError

    given = []
    monkeypatch.setattr(search_module, "search", seen)
    searched("")
    searched(
        "--no-intercept --nesterov --momentum 0.5 --penalty none --class-weight balanced --tol none "
        "--shuffle blocks --label-smoothing 0.1 --warmup-epochs 2 --learning-rate adaptive --seed 7"
    )
    assert given[0] == {"random_state": 0}
    assert given[1] == {
        "fit_intercept": False,
        "nesterov": True,
        "momentum": 0.5,
        "penalty": None,
        "class_weight": "balanced",
        "tol": None,
        "shuffle": "blocks",
        "label_smoothing": 0.1,
        "warmup_epochs": 2.0,
        "learning_rate": "adaptive",
        "random_state": 7,
    }


def test_the_settings_of_the_record_name_every_parameter(flowers):
    options = (
        "--epochs 1 --label-smoothing 0.2 --nesterov --momentum 0.5 --penalty l1 --json s.json"
    )
    assert searched(options) == 0
    settings = json.loads(Path("s.json").read_text())["settings"]
    names = {row.name for row in PARAMETERS if row.option is not None and row.in_search}
    assert names - {"n_jobs", "random_state"} <= settings.keys()
    assert (settings["label_smoothing"], settings["nesterov"]) == (0.2, True)
    assert settings["penalty"] == "l1"
