"""`fastsoftmax train`, as people use it and as they mistype it."""

import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from command_line import error_of, in_terminal, output_of
from paths import ROOT
from sklearn.datasets import load_wine

from fastsoftmax import SoftmaxClassifier, datasets, load

PAGE = ROOT / "docs" / "command-line.md"


def test_it_trains_what_the_library_does(capsys, here):
    out = output_of(
        capsys, "train", "train.npz", "--model", "m.npz", "--epochs", 9, "--alpha", 0.01
    )
    data = datasets.load("train.npz")
    with np.errstate(all="raise"):
        expected = SoftmaxClassifier(max_iter=9, alpha=0.01, random_state=0).fit(data.X, data.y)
    model = load("m.npz")
    assert np.array_equal(model.coef_, expected.coef_)
    assert model.loss_curve_ == expected.loss_curve_
    assert "600 samples, 64 features (uint8), 10 classes" in out
    assert "9 epochs in " in out
    assert f"accuracy {100 * expected.score(data.X, data.y):.2f} %" in out
    assert f"{model.loss_curve_[-1]:.4f} in the last epoch" in out
    assert "fastsoftmax evaluate --model m.npz DATA" in out


def test_every_option_reaches_the_classifier(capsys, here):
    options = {
        "batch-size": 50,
        "learning-rate": "invscaling",
        "eta0": 0.01,
        "warmup-epochs": 1.5,
        "momentum": 0.5,
        "penalty": "elasticnet",
        "alpha": 0.001,
        "l1-ratio": 0.3,
        "label-smoothing": 0.1,
        "class-weight": "balanced",
        "epochs": 3,
        "tol": "none",
        "seed": 7,
        "threads": 1,
        "backend": "vectorized",
        "shuffle": "blocks",
    }
    flags = ["--nesterov", "--average", "--standardize", "--no-intercept"]
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    output_of(capsys, "train", "train.npz", "--model", "m.npz", *given, *flags)
    parameters = load("m.npz").get_params()
    renamed = {"epochs": "max_iter", "seed": "random_state", "threads": "n_jobs"}
    expected = {renamed.get(name, name.replace("-", "_")): v for name, v in options.items()}
    # How a run was watched, and on how many threads, is nothing of the model's.
    expected |= {"tol": None, "n_jobs": None, "verbose": 0, "progress_bar": False}
    expected |= {"nesterov": True, "average": True, "standardize": True, "fit_intercept": False}
    assert {name: parameters[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("images.npy", ["--target", "labels.npy"]),
        ("wine.csv", ["--target", "grape", "--standardize"]),
        ("wine.csv", ["--target", "-1"]),
        ("digits.svm", []),
    ],
)
def test_it_reads_what_the_readers_do(capsys, here, data, options):
    out = output_of(capsys, "train", data, *options, "--model", "m.safetensors", "--epochs", 3)
    assert f"data        {data}: " in out
    samples = datasets.load(data, **({"target": options[1]} if options else {}))
    assert load("m.safetensors").n_features_in_ == samples.X.shape[1]


def test_names_of_features_are_in_the_model(here):
    names = load("wine.safetensors").feature_names_in_.tolist()
    assert names == list(load_wine().feature_names)


def test_a_held_out_share_is_not_trained_on(capsys, here):
    arguments = ["train", "train.npz", "--model", "m.npz", "--epochs", 5, "--force"]
    out = output_of(capsys, *arguments, "--validation-fraction", 0.2)
    assert "(480 samples)" in out
    assert "(120 samples)" in out
    assert "held out" in out
    # The same seed holds out the same, another one does not.
    coef = load("m.npz").coef_
    scores = [line for line in out.splitlines() if line.startswith(("trained", "held"))]
    again = output_of(capsys, *arguments, "--validation-fraction", 0.2)
    assert scores == [line for line in again.splitlines() if line.startswith(("trained", "held"))]
    output_of(capsys, *arguments, "--validation-fraction", 0.2, "--seed", 1)
    assert not np.array_equal(load("m.npz").coef_, coef)


def test_early_stopping_holds_out_a_share_too(capsys, here):
    arguments = ("--early-stopping", "--validation-fraction", 0.25)
    out = output_of(capsys, "train", "train.npz", "--model", "m.npz", *arguments)
    model = load("m.npz")
    assert (model.early_stopping, model.validation_fraction) == (True, 0.25)
    assert f"accuracy {100 * model.best_validation_score_:.2f} % (25 % of DATA" in out
    assert "trained on" not in out  # the line is that of all samples, trained on or not
    assert "all of DATA" in out


def test_validation_data_are_scored_at_the_end(capsys, here):
    out = output_of(
        capsys, "train", "train.npz", "--model", "m.npz", "--epochs", 5, "--validation", "test.npz"
    )
    test = datasets.load("test.npz")
    expected = load("m.npz").score(test.X, test.y)
    assert re.search(rf"validation +accuracy {100 * expected:.2f} %.*\(300 samples\)", out)


def test_labels_in_a_file_are_those_of_data_alone(capsys, here):
    arguments = ("train", "images.npy", "--target", "labels.npy", "--model", "m.npz", "--epochs", 2)
    err = error_of(capsys, *arguments, "--validation", "images.npy")
    assert "--target: expected the .npy file with the labels of images.npy, got none" in err
    out = output_of(
        capsys, *arguments, "--validation", "images.npy", "--validation-target", "labels.npy"
    )
    assert "validation" in out


def test_validation_data_may_be_the_test_split_of_a_file(capsys, here):
    train, test = datasets.load("train.npz"), datasets.load("test.npz")
    np.savez("both.npz", X_train=train.X, y_train=train.y, X_test=test.X, y_test=test.y)
    arguments = ("--epochs", 2, "--validation", "both.npz", "--validation-split", "test")
    out = output_of(capsys, "train", "both.npz", "--model", "m.npz", *arguments)
    expected = load("m.npz").score(test.X, test.y)
    assert re.search(rf"validation +accuracy {100 * expected:.2f} %.*\(300 samples\)", out)


def test_sparse_validation_data_may_lack_the_last_features(capsys, here):
    Path("short.svm").write_text("0 1:5 3:1\n1 2:4\n")
    arguments = ("--model", "m.npz", "--epochs", 2, "--validation", "short.svm")
    out = output_of(capsys, "train", "digits.svm", *arguments)
    assert re.search(r"validation +accuracy .*\(2 samples\)", out)


def test_a_warm_start_begins_with_the_weights_and_parameters_of_a_model(capsys, here):
    arguments = ("train", "train.npz", "--warm-start-from", "digits.npz", "--model", "m.npz")
    output_of(capsys, *arguments, "--epochs", 2)
    old, new = load("digits.npz"), load("m.npz")
    assert new.loss_curve_[0] < old.loss_curve_[-1] < old.loss_curve_[0]
    assert new.get_params() == {**old.get_params(), "max_iter": 2}


@pytest.mark.parametrize("share", [(), ("--validation-fraction", 0.3)])
def test_a_warm_start_takes_labels_that_the_model_has_not_seen(capsys, here, share):
    X, y = datasets.load("train.npz")[:2]
    y = np.where(y == 3, 77, y)[y < 7]  # 3 does not occur, nor do those from 7 to 9
    np.savez("more.npz", X=X[datasets.load("train.npz").y < 7], y=y)
    arguments = ("train", "more.npz", "--warm-start-from", "digits.npz", "--model", "m.npz")
    validation = share or ("--validation", "train.npz")
    out = output_of(capsys, *arguments, "--epochs", 3, *validation)
    assert "11 classes" in out
    assert ("held out" if share else "validation") in out
    old, new = load("digits.npz"), load("m.npz")
    assert new.classes_.tolist() == [*range(10), 77]
    assert not np.array_equal(new.coef_[:10], old.coef_)
    output_of(capsys, "evaluate", "--model", "m.npz", "train.npz")
    assert new.partial_fit(X[:2], [1, 78]).classes_.tolist() == [*range(10), 77, 78]


def test_a_model_whose_weights_were_set_by_hand(capsys, here):
    X, y = datasets.load("train.npz")[:2]
    trained = load("digits.npz")
    model = SoftmaxClassifier(random_state=0, max_iter=2)
    for name in ("classes_", "coef_", "intercept_"):
        setattr(model, name, getattr(trained, name).tolist())
    model.save("by_hand.npz")
    np.save("X.npy", X)
    for command in (
        ("evaluate", "train.npz"),
        ("predict", "X.npy"),
        ("plot", "confusion", "train.npz"),
    ):
        found = [
            output_of(capsys, command[0], "--model", name, *command[1:])
            for name in ("by_hand.npz", "digits.npz")
        ]
        assert found[0] == found[1]
    assert "one epoch" in error_of(capsys, "plot", "--model", "by_hand.npz", "loss", code=1)
    arguments = ("train", "train.npz", "--warm-start-from", "by_hand.npz", "--model")
    for options in ((), ("--validation-fraction", 0.3), ("--early-stopping",)):
        out = output_of(capsys, *arguments, "m.npz", "--force", *options)
        assert re.search(r"^training +2 epochs", out, re.MULTILINE)
    output_of(capsys, *arguments, "m.npz", "--force")
    expected = model.set_params(warm_start=True).fit(X, y)
    np.testing.assert_array_equal(load("m.npz").coef_, expected.coef_)
    assert load("m.npz").loss_curve_ == expected.loss_curve_
    np.savez("more.npz", X=X, y=y + 1)
    message = error_of(capsys, "train", "more.npz", *arguments[2:], "n.npz", code=1)
    assert "the label 10 is not among the model's classes" in message


@pytest.mark.parametrize("unit", ["D", "ns"])
def test_labels_that_are_dates_are_written_as_text(capsys, here, unit):
    days = np.array(["1969-07-20", "2020-02-29"], f"M8[{unit}]")
    SoftmaxClassifier(random_state=0).fit(np.eye(2), days).save("dates.npz")
    np.save("X.npy", np.eye(2))
    np.savez("text.npz", X=np.eye(2), y=["1969-07-20", "2020-02-29"])
    texts = np.datetime_as_string(days).tolist()
    arguments = ("--model", "dates.npz", "X.npy")
    assert output_of(capsys, "predict", *arguments).splitlines() == ["label", *texts]
    lines = output_of(capsys, "predict", *arguments, "--probabilities").splitlines()
    assert lines[0] == ",".join(["label", *texts])
    output_of(capsys, "predict", *arguments, "--output", "dates.npy")
    np.testing.assert_array_equal(np.load("dates.npy"), days, strict=True)
    err = error_of(capsys, "evaluate", "--model", "dates.npz", "text.npz", code=1)
    assert f"labels of one type with the classes, datetime64[{unit}], got str" in err


def test_a_fit_that_ends_at_its_epochs_says_so_in_the_words_of_the_command_line(capsys, here):
    constant = ("--learning-rate", "constant")
    out = output_of(capsys, "train", "train.npz", "--model", "m.npz", "--epochs", 2, *constant)
    assert "Training stopped after 2 epochs before it converged" in out
    assert "--standardize" in out
    assert "max_iter" not in out
    assert max(map(len, out.splitlines())) <= 88
    out = output_of(capsys, "train", "digits.svm", "--model", "s.npz", "--epochs", 2, *constant)
    assert "--epochs" in out
    assert "--momentum 0.9" in out
    arguments = ("train", "digits.svm", "--model", "l1.npz", "--epochs", 2, "--penalty", "l1")
    assert "--momentum" not in output_of(
        capsys, *arguments, *constant
    )  # sparse rows take L1 without


def test_other_warnings_are_notes_at_the_end(capsys, here, monkeypatch):
    def warning_fit(self, *arguments, **options):
        for _ in range(2):
            warnings.warn("the CPU is hot", RuntimeWarning, stacklevel=1)
        return fit(self, *arguments, **options)

    fit = SoftmaxClassifier.fit
    monkeypatch.setattr(SoftmaxClassifier, "fit", warning_fit)
    arguments = ("--model", "m.npz", "--epochs", 2, "--learning-rate", "constant")
    out = output_of(capsys, "train", "train.npz", *arguments)
    assert out.count("\n\nthe CPU is hot\n\n") == 1
    assert "before it converged" in out


def test_verbose_prints_a_line_for_every_epoch(capsys, here):
    out = output_of(capsys, "train", "train.npz", "--model", "m.npz", "--epochs", 3, "--verbose")
    assert [line.split(":")[0] for line in out.splitlines()[:3]] == [
        "epoch 1",
        "epoch 2",
        "epoch 3",
    ]


def test_models_are_replaced_when_asked_to_alone(capsys, here):
    arguments = ("train", "train.npz", "--model", "m.npz", "--epochs", 2)
    Path("m.npz").write_text("mine")
    assert "--force replaces it" in error_of(capsys, *arguments)
    assert Path("m.npz").read_text() == "mine"
    output_of(capsys, *arguments, "--force")
    assert load("m.npz").n_iter_ == 2


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--model", "m.txt"), "--model"),
        (("--model", "m"), ".npz or .safetensors"),
        (("--model", "no/m.npz"), "--model"),
        (("--model", "a" * 300 + ".npz"), "cannot be written: File name too long"),
        (("--model", "train.npz", "--force"), "DATA"),
        ((), "--model"),
        (("--epochs", "0"), "--epochs"),
        (("--epoch", "3"), "--epoch"),
        (("--batch-size", "x"), "--batch-size"),
        (("--learning-rate", "fast"), "--learning-rate"),
        (("--penalty", "none", "--alpha", "0.1"), "--alpha: has no effect with --penalty none"),
        (("--penalty", "l1", "--l1-ratio", "0.1"), "--l1-ratio: has no effect with --penalty l1"),
        (("--eta0", "-1"), "--eta0"),
        (("--eta0", "nan"), "--eta0"),
        (("--momentum", "1.5"), "--momentum"),
        (("--momentum", "-1"), "--momentum"),
        (("--penalty", "l3"), "--penalty"),
        (("--alpha", "-1"), "--alpha"),
        (("--l1-ratio", "2"), "--l1-ratio"),
        (("--label-smoothing", "2"), "--label-smoothing"),
        (("--class-weight", "heavy"), "--class-weight"),
        (("--tol", "x"), "--tol"),
        (("--backend", "auto2"), "--backend"),
        (("--shuffle", "x"), "--shuffle"),
        (("--validation-fraction", "1"), "--validation-fraction"),
        (("--validation-fraction", "x"), "--validation-fraction"),
        (("--validation-fraction", "0.0001"), "of 600 samples leaves none to score with"),
        (("--validation-fraction", "0.2", "--validation", "test.npz"), "--validation"),
        (("--validation-split", "test"), "--validation-split"),
        (("--validation-target", "y"), "--validation-target"),
        (("--resume",), "--checkpoint"),
        (("--checkpoint-every", "2"), "--checkpoint"),
        (("--checkpoint", "c.safetensors"), ".npz"),
        (("--checkpoint", "m.npz"), "--checkpoint"),
        (("--checkpoint", "train.npz"), "--checkpoint"),
        (("--format", "xls"), "--format"),
        (("--header",), "--header"),
        (("--delimiter", ";"), "--delimiter"),
        (("--split", "middle"), "--split"),
    ],
)
def test_bad_arguments_are_one_line_that_names_the_option(
    capsys, here, monkeypatch, arguments, names
):
    monkeypatch.setattr(SoftmaxClassifier, "fit", None)  # nothing is trained before the error
    if arguments and "--model" not in arguments:
        arguments = ("--model", "m.npz", *arguments)
    before = sorted(here.iterdir())
    assert names in error_of(capsys, "train", "train.npz", *arguments)
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("data", "arguments", "reason"),
    [
        ("none.npz", (), "none.npz: no such file"),
        ("broken.npz", (), "broken.npz: expected an .npz file"),
        ("nan.npz", (), "nan.npz: expected finite numbers, got NaN in row 1"),
        ("one.npz", (), "one.npz: expected at least two classes"),
        ("words.csv", (), "--target names the labels"),
        ("train.npz", ("--eta0", "1e4"), "training diverged: "),
        ("train.npz", ("--validation", "more.npz"), "more.npz: the label 77 is not among"),
        ("train.npz", ("--validation", "narrow.npz"), "expected 64 features, as the model"),
        ("train.npz", ("--validation", "none.npz"), "none.npz: no such file"),
        ("train.npz", ("--warm-start-from", "none.npz"), "none.npz: no such file"),
        ("train.npz", ("--warm-start-from", "train.npz"), "not a model that fastsoftmax"),
        ("train.npz", ("--warm-start-from", "wine.safetensors"), "expected 13 features"),
        ("more.npz", ("--warm-start-from", "named.npz"), "the label 77 is not among"),
        ("text.npz", ("--warm-start-from", "digits.npz"), "text.npz: expected labels of one type"),
        ("train.npz", ("--validation", "text.npz"), "the classes, int64, got str"),
    ],
)
def test_data_that_cannot_be_trained_on_are_one_line(capsys, here, data, arguments, reason):
    X, y = np.ones((4, 64)), np.array([0, 1, 0, 1])
    (here / "broken.npz").write_bytes((here / "train.npz").read_bytes()[:900])
    np.savez("nan.npz", X=np.where(np.arange(4)[:, None] == 1, np.nan, X), y=y)
    np.savez("one.npz", X=X, y=0 * y)
    np.savez("more.npz", X=X, y=[0, 1, 2, 77])
    np.savez("narrow.npz", X=X[:, :9], y=y)
    np.savez("text.npz", X=X, y=["0", "1", "0", "1"])
    SoftmaxClassifier().partial_fit(X, y, classes=[0, 1, 2]).save("named.npz")
    (here / "words.csv").write_text("a,b,label\n1,red,0\n2,blue,1\n")
    err = error_of(capsys, "train", data, "--model", "m.npz", *arguments, code=1)
    assert reason in err
    assert "max_iter" not in err
    assert not Path("m.npz").exists()


def test_a_table_without_names(capsys, here):
    Path("flat.csv").write_text("1,2,a\n2,3,b\n3,1,a\n")
    arguments = ("train", "flat.csv", "--model", "m.npz", "--epochs", 3)
    err = error_of(capsys, *arguments)
    assert (
        "argument --header: expected --header or --no-header, as the first row of flat.csv" in err
    )
    output_of(capsys, *arguments, "--target", 2, "--no-header")
    assert load("m.npz").classes_.tolist() == ["a", "b"]
    output_of(capsys, *arguments, "--target", -1, "--no-header", "--force")
    Path("new.csv").write_text("1,2\n2,3\n")
    assert output_of(capsys, "predict", "--model", "m.npz", "new.csv").count("\n") == 3
    err = error_of(capsys, "predict", "--model", "m.npz", "train.npz", code=1)
    assert "expected 2 features" in err


def test_validation_data_that_cannot_be_scored_cost_no_model(capsys, here):
    np.savez("nan.npz", X=np.full((2, 64), np.nan), y=[0, 1])
    arguments = ("train", "train.npz", "--model", "m.npz", "--epochs", 2)
    err = error_of(capsys, *arguments, "--validation", "nan.npz", code=1)
    assert "the model is saved in m.npz, but cannot be scored: nan.npz: expected finite" in err
    assert load("m.npz").n_iter_ == 2


def test_a_sparse_file_says_what_it_does_not_go_with(capsys, here):
    arguments = ("train", "digits.svm", "--model", "m.npz", "--momentum", 0.9)
    err = error_of(capsys, *arguments, "--penalty", "l1")
    assert "argument --momentum: expected 0 for a sparse X with an L1 penalty, got 0.9" in err
    output_of(capsys, *arguments, "--nesterov", "--epochs", 2)
    assert load("m.npz").momentum == 0.9


def test_a_training_that_stopped_goes_on_from_its_checkpoint(capsys, here, monkeypatch):
    arguments = ("train", "train.npz", "--epochs", 12, "--tol", "none", "--seed", 3)
    output_of(capsys, *arguments, "--model", "whole.npz")
    kept = (*arguments, "--model", "m.npz", "--checkpoint", "state.npz", "--checkpoint-every", 5)

    from fastsoftmax.training import loop

    def interrupted(run, *rest):
        if len(run.curve) == 8:
            raise KeyboardInterrupt
        return one_epoch(run, *rest)

    one_epoch = loop.TrainingRun.epoch
    monkeypatch.setattr(loop.TrainingRun, "epoch", interrupted)
    err = error_of(capsys, *kept, code=130)
    assert err == (
        "fastsoftmax train: interrupted; the same command with --resume continues from state.npz\n"
    )
    assert not Path("m.npz").exists()
    monkeypatch.setattr(loop.TrainingRun, "epoch", one_epoch)
    assert "--resume continues from it" in error_of(capsys, *kept)
    err = error_of(capsys, *kept, "--resume", "--epochs", 13)
    assert "other --epochs (there 12, here 13)" in err
    out = output_of(capsys, *kept, "--resume")
    assert "12 epochs" in out
    assert np.array_equal(load("m.npz").coef_, load("whole.npz").coef_)


def test_ctrl_c_without_a_checkpoint_says_that_no_model_is_saved(capsys, here, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(SoftmaxClassifier, "fit", interrupted)
    for kept in ((), ("--checkpoint", "state.npz")):  # before the first epoch has ended
        err = error_of(capsys, "train", "train.npz", "--model", "m.npz", *kept, code=130)
        assert err == "fastsoftmax train: interrupted; no model is saved\n"


def test_a_model_that_memory_cannot_hold_twice_is_one_line(capsys, here, monkeypatch):
    def save(*_):
        raise MemoryError("cannot allocate 80.0 GB")

    monkeypatch.setattr(SoftmaxClassifier, "save", save)
    arguments = ("train", "train.npz", "--model", "m.npz", "--epochs", 2)
    err = error_of(capsys, *arguments, code=1)
    assert "argument --model: 'm.npz' cannot be written: the data do not fit into memory" in err
    assert err.endswith(": cannot allocate 80.0 GB\n")


def test_a_checkpoint_that_is_none_is_refused(capsys, here):
    (here / "state.npz").write_bytes((here / "train.npz").read_bytes())
    arguments = ("train", "train.npz", "--model", "m.npz", "--checkpoint", "state.npz", "--resume")
    assert "state.npz: " in error_of(capsys, *arguments, code=1)


def test_without_rich_there_is_no_bar_and_no_error(here):
    code = (
        "import sys; sys.modules['rich'] = None;"
        "from fastsoftmax.cli import main;"
        "sys.exit(main('train train.npz --model m.npz --epochs 2'.split()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_terminal_shows_a_bar(here):
    code, shown = in_terminal(["train", "train.npz", "--model", "m.npz", "--epochs", "4"])
    assert code == 0
    assert "\x1b[" in shown
    assert "4/4" in shown
    assert "trained on" in shown


def test_a_pipe_gets_text_alone(here):
    command = [sys.executable, "-m", "fastsoftmax", "train", "train.npz", "--model", "m.npz"]
    ran = subprocess.run([*command, "--epochs", "4"], capture_output=True)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"\x1b" not in ran.stdout
    assert b"trained on" in ran.stdout


def test_ctrl_c_saves_no_model(here):
    command = [sys.executable, "-m", "fastsoftmax", "train", "train.npz", "--model", "m.npz"]
    options = ["--backend", "naive", "--tol", "none", "--epochs", "100000"]
    kept = ["--checkpoint", "state.npz"]
    with subprocess.Popen([*command, *options, *kept], stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 20
        while not Path("state.npz").exists() and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=20)[1].decode()
    assert process.returncode == 130
    assert err.startswith("fastsoftmax train: interrupted; the same command with --resume")
    assert err.count("\n") == 1
    assert not Path("m.npz").exists()
    assert not list(here.glob(".fastsoftmax-*"))
