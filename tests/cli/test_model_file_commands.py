"""`fastsoftmax calibrate`, `export` and `show`: what becomes of a model file, and what is in it."""

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from command_line import error_of, output_of

import fastsoftmax
from fastsoftmax import SoftmaxClassifier, datasets, load


def pairs_of(out):
    return dict(re.findall(r"^(\S.*?)  +(\S.*)$", out, re.MULTILINE))


def test_calibrate_saves_the_model_with_a_temperature(capsys, here):
    arguments = ("calibrate", "--model", "digits.npz", "test.npz", "--output")
    shown = pairs_of(output_of(capsys, *arguments, "c.npz"))
    model, calibrated, test = load("digits.npz"), load("c.npz"), datasets.load("test.npz")
    expected = load("digits.npz").calibrate(test.X, test.y)
    assert calibrated.temperature_ == expected.temperature_ != 1
    assert np.array_equal(calibrated.predict_proba(test.X), expected.predict_proba(test.X))
    for name, value in vars(model).items():  # with the parameters and the names of features
        if name != "temperature_":
            np.testing.assert_equal(str(getattr(calibrated, name)), str(value))
    assert shown["temperature"] == f"{calibrated.temperature_:.6g}"
    before, after = (fastsoftmax.evaluate(m, test.X, test.y) for m in (model, calibrated))
    assert after.log_loss < before.log_loss
    assert shown["log loss"] == f"{before.log_loss:.4f} before, {after.log_loss:.4f} after"
    assert shown["model"] == "c.npz"
    err = error_of(capsys, *arguments, "c.npz")
    assert "argument --output: 'c.npz' already exists; --force replaces it" in err
    output_of(capsys, *arguments, "c.npz", "--force", "--threads", 1, "--backend", "vectorized")
    assert load("c.npz").get_params() == model.get_params()


def test_the_features_of_a_calibrated_model_keep_their_names(capsys, here):
    wrong = Path("wine-test.csv").read_text().replace("barolo\n", "barbera\n", 3)
    Path("held-out.csv").write_text(wrong)
    arguments = ("calibrate", "--model", "wine.safetensors", "held-out.csv", "--target", "grape")
    output_of(capsys, *arguments, "--output", "c.safetensors")
    names = load("wine.safetensors").feature_names_in_.tolist()
    assert load("c.safetensors").feature_names_in_.tolist() == names


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("test.npz",), 2, "the following arguments are required: --output"),
        (("test.npz", "--output", "digits.npz"), 2, "'digits.npz' is also the model"),
        (("test.npz", "--output", "test.npz"), 2, "'test.npz' is also DATA"),
        (("test.npz", "--output", "c.onnx"), 2, "expected a file name that ends in .npz or"),
        (("test.npz", "--output", "no/c.npz"), 2, "there is no folder 'no'"),
        (("test.npz", "--ouput", "c.npz"), 2, "--output"),
        (("wine.csv", "--target", "grape", "--output", "c.npz"), 1, "expected 64 features"),
        (("right.npz", "--output", "c.npz"), 1, "right.npz: all 300 samples are predicted corr"),
    ],
)
def test_what_cannot_be_calibrated_is_one_line(capsys, here, arguments, code, reason):
    X = datasets.load("test.npz").X
    np.savez("right.npz", X=X, y=load("digits.npz").predict(X))
    err = error_of(capsys, "calibrate", "--model", "digits.npz", *arguments, code=code)
    assert reason in err
    assert not Path("c.npz").exists()


def test_export_writes_the_predictions(capsys, here):
    out = output_of(capsys, "export", "--model", "wine.safetensors", "--output", "w.onnx")
    assert out.splitlines()[:3] == [
        "input    X: float32 (samples, 13)",
        "outputs  label: string (samples)",
        "         probabilities: float32 (samples, 3)",
    ]
    assert re.fullmatch(r"graph    w\.onnx: \d+ bytes", out.splitlines()[3])
    session = onnxruntime.InferenceSession("w.onnx", providers=["CPUExecutionProvider"])
    X = datasets.load("wine-new.csv", require_labels=False).X.astype(np.float32)
    labels, probabilities = session.run(None, {"X": X})
    model = load("wine.safetensors")
    del model.feature_names_in_
    assert labels.tolist() == model.predict(X).tolist()
    np.testing.assert_allclose(probabilities, model.predict_proba(X), rtol=1e-6)


def test_what_cannot_be_exported_is_one_line(capsys, here, monkeypatch):
    dates = np.array(["2020-01-01", "2021-01-01"], "M8[D]")
    SoftmaxClassifier(max_iter=2, tol=None).fit(np.eye(2), dates).save("dates.npz")
    for arguments, code, reason in (
        (("digits.npz", "--output", "m.npz"), 2, "expected a file name that ends in .onnx"),
        (("digits.npz", "--output", "no/m.onnx"), 2, "there is no folder 'no'"),
        (("digits.npz",), 2, "the following arguments are required: --output"),
        (("train.npz", "--output", "m.onnx"), 1, "train.npz: does not end in a checksum"),
        (("dates.npz", "--output", "m.onnx"), 1, "dates.npz: its classes: expected integers or"),
    ):
        assert reason in error_of(capsys, "export", "--model", *arguments, code=code)
    monkeypatch.setitem(sys.modules, "onnx", None)
    err = error_of(capsys, "export", "--model", "digits.npz", "--output", "m.onnx", code=1)
    assert "pip install" in err
    assert not Path("m.onnx").exists()


@pytest.mark.parametrize("name", ["digits.npz", "wine.safetensors"])
def test_show_prints_what_a_file_holds(capsys, here, name):
    model, content = load(name), Path(name).read_bytes()
    shown = pairs_of(output_of(capsys, "show", name))
    assert shown["file"].startswith(f"{name}: ")
    assert shown["file"].endswith("version 4 of the format")
    assert shown["written by"] == f"fastsoftmax {fastsoftmax.__version__}"
    assert shown["SHA-256"] == hashlib.sha256(content).hexdigest()
    names = [str(label) for label in model.classes_]
    assert shown["classes"] == f"{len(names)}: {', '.join(names)}"
    assert shown["weights"].startswith(
        f"{model.coef_.dtype} ({len(names)}, {model.coef_.shape[1]})"
    )
    assert shown["training"].startswith(f"{model.n_iter_} epochs, {model.t_} steps, eta0 ")
    assert f"{model.loss_curve_[-1]:.4f} in the last" in shown["loss"]
    assert "temperature" not in shown
    if name == "wine.safetensors":
        assert shown["features"].startswith("13: alcohol, malic_acid, ")
        assert "standardize=True" in shown["parameters"]
        assert shown["weights"].endswith("trained on standardised features")
    else:
        assert shown["features"] == "64, without names"
    assert output_of(capsys, "show", "--model", name) == output_of(capsys, "show", name)
    record = json.loads(output_of(capsys, "show", name, "--json", "-"))
    assert record["parameters"] == model.get_params() | {"callbacks": None} or record["left_out"]
    assert record["loss_curve"] == model.loss_curve_
    assert record["bytes"] == len(content)
    assert record["classes"] == model.classes_.tolist()


def test_show_has_what_is_special(capsys, here):
    model = load("digits.npz")
    model.temperature_ = 2.5
    model.callbacks = print
    with pytest.warns(UserWarning, match="not stored"):
        model.save("special.npz")
    shown = pairs_of(output_of(capsys, "show", "special.npz"))
    assert shown["temperature"] == "2.5, of probabilities"
    assert shown["not stored"] == "callbacks"
    train = ("train", "wine.csv", "--target", "grape", "--standardize", "--solver", "lbfgs")
    output_of(capsys, *train, "--penalty", "l1", "--alpha", "auto", "--model", "l.npz")
    shown = pairs_of(output_of(capsys, "show", "l.npz", "--json", "l.json"))
    assert re.search(r"iterations?, alpha [\d.e-]+, the best of \d+$", shown["training"])
    assert re.search(r"above the minimum$", shown["optimality"])
    assert re.search(r" of them 0", shown["weights"])
    assert json.loads(Path("l.json").read_text())["alpha"] == load("l.npz").alpha_
    by_hand = SoftmaxClassifier()
    by_hand.classes_, by_hand.intercept_ = (
        np.array(["a\x1b[31m", *map(str, range(20))]),
        np.zeros(21),
    )
    by_hand.classes_.sort()
    by_hand.coef_ = np.ones((21, 3))
    by_hand.save("hand.npz")
    out = output_of(capsys, "show", "hand.npz")
    assert "\x1b" not in out
    shown = pairs_of(out)
    assert shown["training"] == "none: the weights were set by hand"
    assert shown["classes"].endswith(", …")
    assert shown["partial_fit"] == "takes these classes alone"
    dates = np.array(["2020-01-01", "2021-01-01"], "M8[D]")
    SoftmaxClassifier(max_iter=2, tol=None).fit(np.eye(2), dates).save("dates.npz")
    record = json.loads(output_of(capsys, "show", "dates.npz", "--json", "-"))
    assert record["classes"] == ["2020-01-01", "2021-01-01"]


def test_what_cannot_be_shown_is_one_line(capsys, here):
    Path("damaged.npz").write_bytes(Path("digits.npz").read_bytes()[:-1])
    for arguments, code, reason in (
        ((), 2, "argument MODEL: expected one model file"),
        (("digits.npz", "--model", "digits.npz"), 2, "argument MODEL: expected one model file"),
        (("nothing.npz",), 1, "nothing.npz: no such file or directory"),
        (("train.npz",), 1, "train.npz: does not end in a checksum"),
        (("damaged.npz",), 1, "damaged.npz: "),
        (("wine.csv",), 2, "argument MODEL: expected a file name that ends in .npz or"),
        (("digits.npz", "--jsn", "-"), 2, "did you mean --json?"),
        (("digits.npz", "--json", "digits.npz"), 2, "'digits.npz' is also the model"),
    ):
        assert reason in error_of(capsys, "show", *arguments, code=code)
    assert "did you mean show?" in error_of(capsys, "shwo", "digits.npz")
