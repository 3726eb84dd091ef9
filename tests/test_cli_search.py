"""`fastsoftmax search`, in process."""

import re
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax import load, search
from fastsoftmax.cli import main


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
    lines = [line for line in printed.splitlines() if "%" in line]
    assert len(lines) == 4
    assert lines[0].split()[:3] == ["best", f"{found.best_learning_rate:g}", f"{found.best_reg:g}"]
    assert [float(line.split()[-3]) for line in lines] == [
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
        ("--learning-rates 0", 2, "argument --learning-rates: expected numbers greater than 0"),
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
