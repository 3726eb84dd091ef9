"""`fastsoftmax predict`, `evaluate` and `plot`, as people use them and as they mistype them."""

import csv
import gzip
import io
import json
import os
import pickle
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from command_line import (
    DTYPES_OF_TEXT,
    WINES,
    error_of,
    in_terminal,
    output_of,
    write_table,
)
from paths import ROOT
from pyarrow import parquet
from sklearn.datasets import load_wine
from sklearn.metrics import log_loss, precision_recall_fscore_support

import fastsoftmax
from fastsoftmax import SoftmaxClassifier, datasets, load, plotting
from fastsoftmax.cli import evaluate, machine
from fastsoftmax.cli.evaluate import most_confused
from fastsoftmax.cli.scoring import Predictions

PAGE = ROOT / "docs" / "command-line.md"


def test_labels_go_to_standard_output(capsys, here):
    out = output_of(capsys, "predict", "--model", "wine.safetensors", "wine-new.csv")
    assert out.splitlines() == ["label", *["barbera"] * 9]


def test_probabilities_are_columns_by_name(capsys, here):
    arguments = ("predict", "--model", "wine.safetensors", "wine-new.csv", "--probabilities")
    rows = list(csv.DictReader(output_of(capsys, *arguments).splitlines()))
    assert list(rows[0]) == ["label", *WINES]
    given = np.array([[float(row[name]) for name in WINES] for row in rows])
    model = load("wine.safetensors")
    del model.feature_names_in_
    X = datasets.load("wine-new.csv", require_labels=False).X
    assert np.array_equal(given, model.predict_proba(X))


@pytest.mark.parametrize("data", ["images.npy", "train.npz"])
def test_predictions_are_saved_as_csv_and_npy(capsys, here, data):
    arguments = ("predict", "--model", "digits.npz", data)
    out = output_of(capsys, *arguments, "--output", "labels.csv")
    assert out == "Predictions of 600 samples: labels.csv\n"
    output_of(capsys, *arguments, "--output", "mine.npy")
    output_of(capsys, *arguments, "--output", "p.npy", "--probabilities")
    model, X = load("digits.npz"), datasets.load("train.npz").X
    assert np.array_equal(np.load("mine.npy"), model.predict(X))
    assert np.array_equal(np.load("p.npy"), model.predict_proba(X))
    lines = Path("labels.csv").read_text().splitlines()
    assert lines == ["label", *map(str, model.predict(X).tolist())]


@pytest.mark.parametrize("dtype", DTYPES_OF_TEXT)
def test_labels_of_text_of_any_length_are_saved_as_npy(capsys, here, dtype):
    words = np.array(["zero", "one"], dtype)
    SoftmaxClassifier(max_iter=2, tol=None).fit(np.eye(2), words).save("words.npz")
    assert load("words.npz").classes_.dtype == words.dtype
    np.save("X.npy", np.eye(2))
    output_of(capsys, "predict", "--model", "words.npz", "X.npy", "--output", "words.npy")
    saved = np.load("words.npy", allow_pickle=False)
    assert (saved.dtype.kind, saved.tolist()) == ("U", ["zero", "one"])


def test_the_backend_may_be_another_one_if_it_is_there(capsys, here, monkeypatch):
    used = []
    set_params = SoftmaxClassifier.set_params

    def watched(self, **parameters):
        used.append(parameters.get("backend"))
        return set_params(self, **parameters)

    monkeypatch.setattr(SoftmaxClassifier, "set_params", watched)
    arguments = ("predict", "--model", "digits.npz", "images.npy", "--backend", "naive")
    assert output_of(capsys, *arguments).count("\n") == 601
    assert "naive" in used
    monkeypatch.setattr(machine, "why_unavailable", lambda name: f"no {name} here")
    err = error_of(capsys, *arguments)
    assert "argument --backend: 'naive' is not available: no naive here" in err


def test_a_column_of_labels_is_no_feature(capsys, here):
    arguments = ("predict", "--model", "wine.safetensors", "wine-test.csv")
    with_grape = output_of(capsys, *arguments).splitlines()
    assert with_grape[0] == "grape,label"
    lines = output_of(capsys, *arguments, "--target", "grape").splitlines()
    assert lines == [line.partition(",")[2] for line in with_grape]


def test_features_are_found_by_name(capsys, here):
    names = load_wine().feature_names
    X, label = load_wine().data[:5], [["a,b"], ["007"], [""], ["ż"], ["1.0"]]
    write_table(here / "wine-5.csv", X, names, [[]] * 5)
    write_table(here / "shuffled.csv", X[:, ::-1], [*names[::-1], "id"], label)
    arguments = ("predict", "--model", "wine.safetensors", "--probabilities")
    expected = output_of(capsys, *arguments, "wine-5.csv").splitlines()
    rows = list(csv.reader(output_of(capsys, *arguments, "shuffled.csv").splitlines()))
    assert rows[0] == ["id", "label", *WINES]
    assert [row[:1] for row in rows[1:]] == label
    assert [",".join(row[1:]) for row in rows] == expected


def test_identifiers_are_written_with_the_labels(capsys, here):
    Path("a.csv").write_text("id,x,kind\n007,0.5,cat\n8,2.5,dog\n,0.7,cat\n")
    arguments = ("a.csv", "--target", "kind", "--model", "m.npz")
    err = error_of(capsys, "train", *arguments, code=1)
    assert "--ignore other columns" not in err  # the identifiers are numbers, but for one
    err = error_of(capsys, "train", *arguments, "--features", "kind,x")
    assert "argument --features: expected each column once, and not that of the labels" in err
    assert "--features" in error_of(capsys, "train", *arguments, "--features", "x,,y")
    assert "--ignore" in error_of(capsys, "train", *arguments, "--features", "x", "--ignore", "id")
    output_of(capsys, "train", *arguments, "--ignore", "id")
    assert load("m.npz").feature_names_in_.tolist() == ["x"]
    assert output_of(capsys, "predict", *arguments) == "id,label\n007,cat\n8,dog\n,cat\n"
    assert output_of(capsys, "predict", *arguments, "--ignore", "0").startswith("id,label\n007,")
    assert "accuracy           100.00 %" in output_of(capsys, "evaluate", *arguments)
    for name in ("p.jsonl", "p.parquet", "p.csv"):
        output_of(capsys, "predict", *arguments, "--probabilities", "--output", name)
    records = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == ["007", "8", ""]
    table = parquet.read_table("p.parquet")
    assert table.column_names == ["id", "label", "cat", "dog"]
    lines = list(csv.DictReader(Path("p.csv").read_text().splitlines()))
    for record, row, line in zip(records, table.to_pylist(), lines, strict=True):
        shares = record.pop("probabilities")
        assert shares == {name: row.pop(name) for name in shares}
        assert shares == {name: float(line.pop(name)) for name in shares}
        assert record == row == line


def test_embeddings_in_parquet(capsys, here, rng):
    X = rng.normal(size=(40, 3)).astype(np.float32)
    kinds = np.where(X[:, 0] > 0, "cat", "dog")
    columns = {"when": [datetime(2020, 1, 1)] * 40, "e": X.tolist(), "score": [np.nan] * 40}
    parquet.write_table(pyarrow.table({**columns, "kind": kinds}), "train.pq")
    parquet.write_table(pyarrow.table(columns), "new.pq")
    arguments = ("--target", "kind", "--features", "e", "--model", "m.npz")
    output_of(capsys, "train", "train.pq", *arguments, "--validation", "train.pq")
    model = load("m.npz")
    assert model.feature_names_in_.tolist() == ["e[0]", "e[1]", "e[2]"]
    output_of(capsys, "predict", "new.pq", "--model", "m.npz", "--output", "p.jsonl")
    first = json.loads(Path("p.jsonl").read_text().splitlines()[0])
    del model.feature_names_in_
    expected = {"when": "2020-01-01 00:00:00", "score": None, "label": model.predict(X[:1])[0]}
    assert first == expected


@pytest.mark.parametrize("name", ["wine-test.csv", "wine.csv.gz", "digits.svm", "test.npz", "i.pq"])
def test_data_from_standard_input(capsys, here, monkeypatch, name):
    parquet.write_table(pyarrow.table({"x": [1.0, 2.0], "label": [0, 1]}), "i.pq")
    output_of(capsys, "train", "i.pq", "--model", "i.npz")
    Path("wine.csv.gz").write_bytes(gzip.compress(Path("wine-test.csv").read_bytes()))
    content = Path(name).read_bytes()
    models = {"digits.svm": "sparse.npz", "test.npz": "digits.npz", "i.pq": "i.npz"}
    model = models.get(name, "wine.safetensors")
    target = ("--target", "grape") if "wine" in name else ()
    for command in ("predict", "evaluate"):
        expected = output_of(capsys, command, name, "--model", model, *target)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        out = output_of(capsys, command, "--model", model, "-", *target)
        assert out == expected.replace(f"{name}:", "standard input:")


def test_bad_data_from_standard_input_is_one_line(capsys, here, monkeypatch):
    for content, reason in (
        (b"", "standard input: expected a CSV file, got an empty file"),
        (b"a,label\nx,1\n", "standard input: the model also expects alcohol"),
        (b"PK\3\4", "standard input: expected an .npz file, got damaged"),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        err = error_of(capsys, "predict", "--model", "wine.safetensors", "-", code=1)
        assert reason in err


def test_two_columns_of_one_name_are_not_written(capsys, here):
    Path("a.csv").write_text("label,x,kind\n7,0.5,cat\n8,2.5,dog\n")
    arguments = ("a.csv", "--target", "kind", "--model", "m.npz")
    output_of(capsys, "train", *arguments, "--ignore", "label")
    assert "the column label is not a feature" in error_of(capsys, "predict", *arguments, code=1)


def test_sparse_data_may_lack_the_last_features(capsys, here):
    # The first row ends with feature 3; the model has learned from 64.
    Path("short.svm").write_text("0 1:5 3:1\n1 2:4\n")
    assert load("sparse.npz").n_features_in_ > 3
    assert output_of(capsys, "predict", "--model", "sparse.npz", "short.svm").count("\n") == 3


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("--model", "digits.npz", "wine-new.csv"), 1, "expected 64 features"),
        (("--model", "digits.npz", "none.csv"), 1, "none.csv: no such file"),
        (("--model", "digits.npz", "none"), 1, "none: no such file or folder"),
        (("--model", "digits.npz", "strange"), 1, "known format; --format names one of cifar"),
        (("--model", "digits.npz", "wide.npy"), 1, "got 65; --target names the column"),
        (("--model", "none.npz", "images.npy"), 1, "none.npz: no such file"),
        (("--model", "images.npy", "images.npy"), 2, "--model: expected a file name that ends in"),
        (("--model", "train.npz", "images.npy"), 1, "train.npz: "),
        (("--model", "digits.npz", "images.npy", "--output", "a.txt"), 2, "--output"),
        (("--model", "digits.npz", "images.npy", "--output", "no/a.csv"), 2, "--output"),
        (("--model", "digits.npz", "images.npy", "--output", "images.npy"), 2, "is also DATA"),
        (("--model", "digits.npz", "images.npy", "--threads", "0"), 2, "--threads"),
        (("images.npy",), 2, "--model"),
        (("--model", "digits.npz"), 2, "DATA"),
        (("--model", "wine.safetensors", "other.csv"), 1, "proline, and does not know sugar"),
        (("--model", "wine.safetensors", "order.csv", "--ignore", "ash"), 1, "also expects ash"),
        (("--model", "wine.safetensors", "fewer.csv"), 1, "the model also expects proline"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(capsys, here, arguments, code, reason):
    names = load_wine().feature_names
    X, none = np.ones((2, 13)), [[]] * 2
    (here / "strange").write_bytes(b"\1\2\3")
    np.save("wide.npy", np.ones((2, 65)))
    write_table(here / "other.csv", X, [*names[:-1], "sugar"], none)
    write_table(here / "order.csv", X, names[::-1], none)
    write_table(here / "fewer.csv", X[:, 1:], names[:-1], none)
    assert reason in error_of(capsys, "predict", *arguments, code=code)


def test_an_output_that_cannot_hold_a_label_is_one_line(here):
    model = SoftmaxClassifier(max_iter=2, tol=None).fit([[0.0], [1.0]], ["żółw", "kot"])
    model.save("polish.npz")
    np.save("X.npy", [[0.0], [1.0]])
    command = [sys.executable, "-m", "fastsoftmax", "predict", "--model", "polish.npz", "X.npy"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "PYTHONIOENCODING=utf-8" in ran.stderr


def test_scores_are_those_of_scikit_learn(capsys, here):
    arguments = ("evaluate", "--model", "digits.npz", "test.npz")
    record = json.loads(output_of(capsys, *arguments, "--json", "-"))
    model, test = load("digits.npz"), datasets.load("test.npz")
    predicted = model.predict(test.X)
    assert record["accuracy"] == model.score(test.X, test.y)
    assert record["log_loss"] == pytest.approx(log_loss(test.y, model.predict_proba(test.X)), 1e-5)
    expected = precision_recall_fscore_support(test.y, predicted, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "n_samples"), expected, strict=True):
        assert [c[name] for c in record["classes"]] == pytest.approx(values.tolist())
    assert np.array(record["confusion"]).trace() == (predicted == test.y).sum()
    assert record["labels"] == list(range(10))
    out = output_of(capsys, *arguments)
    assert f"accuracy           {100 * record['accuracy']:.2f} %" in out
    rows = out.split("true \\ predicted")[1].splitlines()[1:]
    shown = [[int(cell) if cell != "." else 0 for cell in row.split()[1:]] for row in rows]
    assert shown == record["confusion"]


def test_evaluate_saves_a_picture_and_all_numbers(capsys, here):
    arguments = ("evaluate", "--model", "wine.safetensors", "wine-test.csv", "--target", "grape")
    out = output_of(capsys, *arguments, "--plot", "c.png", "--json", "scores.json")
    assert "grignolino" in out
    assert "Picture: c.png" in out
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(Path("scores.json").read_text())["labels"] == WINES.tolist()


def test_probabilities_as_labels_have_an_accuracy_too(capsys, here):
    shares = np.full((600, 10), 0.02)
    shares[np.arange(600), np.load("labels.npy")] = 0.82
    np.save("shares.npy", shares)
    arguments = ("--model", "m.npz", "images.npy", "--target", "shares.npy")
    output_of(capsys, "train", *arguments, "--epochs", 20)
    out = output_of(capsys, "evaluate", *arguments)
    model, X = load("m.npz"), datasets.load("images.npy", target="labels.npy").X
    logarithms = model.predict_log_proba(X).astype(np.float64)
    assert f"{-(shares * logarithms).sum(axis=1).mean():.4f}" in out
    assert f"accuracy           {100 * model.score(X, shares):.2f} %\n" in out
    assert "predicted" not in out
    err = error_of(capsys, "plot", "confusion", *arguments, code=1)
    assert "the labels are probabilities" in err
    err = error_of(capsys, "evaluate", *arguments, "--plot", "c.png", code=1)
    assert "argument --plot: the labels of images.npy are probabilities" in err
    np.save("shares.npy", shares[:, :7])
    err = error_of(capsys, "evaluate", *arguments, code=1)
    assert "images.npy: expected 10 columns of probabilities, one a class, got 7" in err
    for wrong, message in (
        (2 * shares, "which sum to 1, got the sum 2 in row 0"),
        (-shares, "-0."),
    ):
        np.save("shares.npy", wrong)
        err = error_of(capsys, "evaluate", *arguments, code=1)
        assert "images.npy: expected " in err
        assert message in err


def test_many_classes_are_told_by_their_commonest_errors(capsys, here):
    y = np.arange(120) % 40
    X = np.eye(40)[y]
    SoftmaxClassifier(max_iter=50, eta0=5.0, tol=None).fit(X, y).save("m.npz")
    np.savez("many.npz", X=X, y=np.where(y == 7, 9, y))
    out = output_of(capsys, "evaluate", "--model", "m.npz", "many.npz")
    table, note = out.split("Most common confusions:\n")[1].split("\n\n")
    assert table.splitlines() == [
        "true class  predicted as  samples",
        "9                      7        3",
    ]
    assert note.startswith("--plot FILE")
    assert "precision" not in out


def test_the_matrix_fits_a_narrow_terminal(here):
    arguments = ["evaluate", "--model", "digits.npz", "test.npz"]
    code, shown = in_terminal(arguments, columns="60")
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 60
    assert "true \\ predicted" in shown
    code, shown = in_terminal(arguments, columns="40")
    assert "true \\ predicted" not in shown
    assert "--plot FILE" in shown


def test_names_that_begin_alike_are_never_headings_cut_to_the_same(capsys, here, monkeypatch):
    y = np.array(["grapefruit, pink", "grapefruit, red"])
    SoftmaxClassifier(max_iter=9, tol=None).fit(np.eye(2), y).save("m.npz")
    np.savez("fruit.npz", X=np.eye(2), y=y[::-1])
    arguments = ("evaluate", "--model", "m.npz", "fruit.npz")
    for width, has_matrix in ((88, True), (40, False)):
        monkeypatch.setattr(evaluate, "width_of_output", lambda columns=width: columns)
        out = output_of(capsys, *arguments)
        assert ("true \\ predicted" in out) is has_matrix
        assert ("Most common confusions:" in out) is not has_matrix


def test_a_confusion_matrix_of_too_many_classes_is_one_line(capsys, here):
    X, y = np.zeros((1001, 1)), np.arange(1001)
    np.savez("many.npz", X=X, y=y)
    SoftmaxClassifier(max_iter=1, tol=None).fit(X, y).save("m.npz")
    err = error_of(capsys, "plot", "confusion", "many.npz", "--model", "m.npz", code=1)
    assert "argument --output: labels: expected at most 1000 classes, got 1001" in err


def test_classes_have_the_names_that_the_file_has_for_them(capsys, here):
    names = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    X, y = np.zeros((10, 3072), np.uint8), list(range(10))
    Path("cifar").mkdir()
    for i in range(1, 6):
        batch = {b"data": X, b"labels": y}
        Path(f"cifar/data_batch_{i}").write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"label_names": [name.encode() for name in names]}
    Path("cifar/batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    SoftmaxClassifier(max_iter=1, tol=None).fit(X, y).save("m.npz")
    out = output_of(capsys, "evaluate", "--model", "m.npz", "cifar")
    table = out.split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in table] == ["class", *names]
    arguments = ("predict", "--model", "m.npz", "cifar", "--probabilities")
    rows = list(csv.DictReader(output_of(capsys, *arguments).splitlines()))
    assert list(rows[0]) == ["label", "class_name", *names]
    assert all(row["class_name"] == names[int(row["label"])] for row in rows)


NAMES = [f"number {k}" for k in range(10)]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_predictions_have_the_names_of_classes_that_are_given(capsys, here, suffix):
    arguments = ("predict", "--model", "digits.npz", "images.npy", "--class-names", ",".join(NAMES))
    output_of(capsys, *arguments, "--probabilities", "--output", f"named{suffix}")
    if suffix == ".csv":
        rows = list(csv.DictReader(Path("named.csv").read_text().splitlines()))
    elif suffix == ".jsonl":
        rows = [json.loads(line) for line in Path("named.jsonl").read_text().splitlines()]
        rows = [row | row.pop("probabilities") for row in rows]
    else:
        rows = parquet.read_table("named.parquet").to_pylist()
    assert list(rows[0]) == ["label", "class_name", *NAMES]
    assert all(row["class_name"] == NAMES[int(row["label"])] for row in rows)


def test_names_of_classes_reach_weights_and_confusion(capsys, here, monkeypatch):
    given = []
    for module, name in ((plotting, "plot_weights"), (evaluate, "draw_confusion")):
        plot = getattr(module, name)
        spy = lambda *args, plot=plot: given.append(args) or plot(*args)  # noqa: E731
        monkeypatch.setattr(module, name, spy)
    arguments = ("plot", "--model", "digits.npz", "--class-names", ",".join(NAMES))
    output_of(capsys, *arguments, "weights")
    output_of(capsys, *arguments, "confusion", "test.npz")
    assert given[0][2] == NAMES
    assert list(given[1][0]) == NAMES
    out = output_of(
        capsys, "evaluate", "--model", "digits.npz", "test.npz", "--class-names", ",".join(NAMES)
    )
    assert "number 7" in out


@pytest.mark.parametrize(
    ("names", "command", "reason"),
    [
        (
            "a,b",
            ("predict", "images.npy"),
            "expected 10 names, one for each class of the model, got 2",
        ),
        ("a,a", ("predict", "images.npy"), "expected each name once, got 'a,a'"),
        (",", ("predict", "images.npy"), "expected names of classes, separated by commas, got ','"),
        ("a,b", ("plot", "loss"), "is for weights and confusion, not for loss"),
    ],
)
def test_wrong_names_of_classes_are_one_line(capsys, here, names, command, reason):
    error = error_of(capsys, *command, "--model", "digits.npz", "--class-names", names, code=2)
    assert f"argument --class-names: {reason}" in error


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("images.npy",), 2, "--target"),
        (("wine.csv", "--target", "grape"), 1, "expected 64 features"),
        (("strange.npz",), 1, "the label 12 is not among the model's classes: 0, 1"),
        (
            ("words.npz",),
            1,
            "words.npz: expected labels of one type with the classes, int64, got str",
        ),
        (("test.npz", "--plot", "a.nonsense"), 2, "--plot"),
        (("test.npz", "--plot", "no/a.png"), 2, "--plot"),
        (("test.npz", "--json", "test.npz"), 2, "--json"),
        (("test.npz", "--json", "a.png", "--plot", "a.png"), 2, "--json"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(capsys, here, arguments, code, reason):
    np.savez("strange.npz", X=np.ones((2, 64)), y=[1, 12])
    np.savez("words.npz", X=np.ones((2, 64)), y=["cat", "dog"])
    arguments = ("evaluate", "--model", "digits.npz", *arguments)
    assert reason in error_of(capsys, *arguments, code=code)


def test_without_matplotlib_pictures_are_refused_at_once(capsys, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for arguments in (("evaluate", "test.npz", "--plot", "c.png"), ("plot", "loss")):
        err = error_of(capsys, *arguments, "--model", "digits.npz", code=1)
        assert "pip install matplotlib" in err
    assert output_of(capsys, "evaluate", "test.npz", "--model", "digits.npz")


def test_without_safetensors_the_extra_is_named_before_the_training(capsys, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setattr(SoftmaxClassifier, "fit", None)
    arguments = ("train", "train.npz", "--model", "m.safetensors")
    assert "pip install safetensors" in error_of(capsys, *arguments, code=1)


def test_predictions_next_to_labels():
    predictions = Predictions(
        np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), np.array([0, 1, 2, 5.0])
    )
    assert predictions.scores() == (4, 0.5, 2.0)
    assert predictions.scores(np.array([1, 3])) == (2, 0.0, 3.0)
    confusion = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0]])
    assert most_confused(confusion, 5) == [(0, 1, 1), (2, 1, 1)]
    assert most_confused(confusion, 1) == [(0, 1, 1)]


@pytest.mark.costly
@pytest.mark.parametrize("kind", ["loss", "weights", "confusion", "reliability"])
def test_pictures_of_a_model(capsys, here, kind):
    data = ["test.npz"] if kind in ("confusion", "reliability") else []
    out = output_of(capsys, "plot", "--model", "digits.npz", kind, *data)
    assert out == f"Picture: fastsoftmax-{kind}.png\n"
    assert Path(f"fastsoftmax-{kind}.png").read_bytes().startswith(b"\x89PNG")
    output_of(capsys, "plot", kind, *data, "--model", "digits.npz", "--output", "a.svg")
    assert b"<svg" in Path("a.svg").read_bytes()


def test_weights_are_drawn_in_the_shape_of_the_images(capsys, here):
    X = np.arange(30.0).reshape(3, 2, 5)
    np.save("wide.npy", X)
    SoftmaxClassifier(max_iter=1, tol=None).fit(X.reshape(3, 10), [0, 1, 2]).save("m.npz")
    assert "--image-shape" in error_of(capsys, "plot", "weights", "--model", "m.npz")
    arguments = ("plot", "weights", "wide.npy", "--model", "m.npz", "--output", "a.png")
    assert output_of(capsys, *arguments) == "Picture: a.png\n"


def test_a_picture_that_matplotlib_cannot_make_is_one_line(capsys, here, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no LaTeX
    err = error_of(capsys, "plot", "loss", "--model", "digits.npz", "--output", "a.pgf", code=1)
    assert "argument --output: 'a.pgf' cannot be drawn: 'xelatex' not found" in err
    assert not Path("a.pgf").exists()


def test_data_may_come_after_options(capsys, here):
    arguments = ("plot", "confusion", "--model", "digits.npz", "test.npz")
    assert output_of(capsys, *arguments, "--output", "a.png") == "Picture: a.png\n"
    assert "unrecognized arguments: more" in error_of(capsys, *arguments, "more")


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("templates",), 2, "loss"),
        ((), 2, "WHAT"),
        (("confusion",), 2, "DATA"),
        (("loss", "test.npz"), 2, "DATA"),
        (("loss", "--image-shape", "8x8"), 2, "--image-shape"),
        (("weights", "--normalize"), 2, "--normalize"),
        (("weights", "--image-shape", "8"), 2, "--image-shape"),
        (("weights", "--image-shape", "0x8"), 2, "--image-shape"),
        (("weights", "--image-shape", "9x9"), 2, "--image-shape"),
        (("weights", "--model", "wine.safetensors"), 2, "--image-shape"),
        (("loss", "--output", "a.nonsense"), 2, "--output"),
        (("loss", "--output", "digits.npz"), 2, "also the model"),
        (("loss", "--output", "no/a.png"), 2, "--output"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(capsys, here, arguments, code, reason):
    arguments = ("plot", "--model", "digits.npz", *arguments)
    assert reason in error_of(capsys, *arguments, code=code)


def test_the_commands_of_the_page_run(capsys, monkeypatch, tmp_path):
    text = PAGE.read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(python|bash)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks][:2] == ["python", "bash"]
    n_commands = 0
    for language, block in blocks:
        if language == "python":
            exec(compile(block, PAGE.name, "exec"), {})
            continue
        for line in block.replace("\\\n", " ").splitlines():
            program, *arguments = line.split()
            if program == "fastsoftmax":
                output_of(capsys, *arguments)
                n_commands += 1
    assert n_commands >= 5


def test_evaluate_reports_calibration(capsys, here):
    arguments = ("evaluate", "--model", "digits.npz", "test.npz")
    record = json.loads(output_of(capsys, *arguments, "--json", "-", "--top-k", 3, "--bins", 4))
    model, test = load("digits.npz"), datasets.load("test.npz")
    found = fastsoftmax.evaluate(model, test.X, test.y, top_k=3, n_bins=4)
    for name in ("balanced_accuracy", "top_k", "top_k_accuracy", "expected_calibration_error"):
        assert record[name] == getattr(found, name)
    assert record["log_loss_interval"] == [*found.log_loss_interval]
    assert record["reliability"] == found.reliability
    assert len(record["reliability"]) == 4
    out = output_of(capsys, *arguments, "--reliability", "r.svg", "--top-k", 3, "--bins", 4)
    assert f"top-3 accuracy     {100 * found.top_k_accuracy:.2f} %\n" in out
    assert f"calibration error  {100 * found.expected_calibration_error:.2f} %, in 4 bins" in out
    assert out.endswith("Picture: r.svg\n")
    assert b"<svg" in Path("r.svg").read_bytes()
    other = json.loads(output_of(capsys, *arguments, "--json", "-", "--seed", 1))
    assert other["log_loss_interval"] != record["log_loss_interval"]
    for wrong, reason in (
        (("--top-k", "0"), "argument --top-k: expected a whole number of at least 1"),
        (("--reliability", "a.nonsense"), "argument --reliability: expected a file name that ends"),
        (("--reliability", "a.png", "--plot", "a.png"), "'a.png' is also that of --plot"),
        (("--reliabilty", "a.png"), "did you mean --reliability?"),
    ):
        assert reason in error_of(capsys, *arguments, *wrong)
