"""examples/linear_probe.py: what it trains, measures and saves, and that it continues."""

import json
import runpy
import sys

import numpy as np
import pytest
from paths import ROOT

import fastsoftmax
from fastsoftmax.training.checkpoints import Checkpoint
from fastsoftmax.training.path_checkpoint import PathCheckpoint

STRENGTHS = ("1e-1", "1e-2", "1e-3")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it asks Unix for its peak memory")


@pytest.fixture
def probe(monkeypatch, tmp_path):
    """Run the example in a folder of its own, and return its names."""
    monkeypatch.chdir(tmp_path)

    def run(model, *more):
        files = ("--embeddings", "X.npy", "--labels", "y.npy", "--model", model)
        words = ["linear_probe.py", *files, "--strengths", *STRENGTHS, *more]
        monkeypatch.setattr(sys, "argv", words)
        return runpy.run_path(str(ROOT / "examples" / "linear_probe.py"), run_name="__main__")

    return run


def test_a_probe_is_trained_to_the_minimum_and_tested_on_other_rows(probe, tmp_path, capsys):
    tenth_of = probe("probe.npz", "--make-up", "2000", "40", "8")["tenth_of"]
    report = json.loads((tmp_path / "probe.json").read_text())
    model, X, y = fastsoftmax.load("probe.npz"), np.load("X.npy"), np.load("y.npy")
    assert X.dtype == np.float16
    assert {row["reg"] for row in report["search"]} == set(map(float, STRENGTHS))
    assert model.alpha == report["search"][0]["reg"]

    test_rows = tenth_of(y)
    trained = np.delete(np.arange(len(y)), test_rows)
    assert len(test_rows) == 200
    alone = fastsoftmax.SoftmaxClassifier(solver="lbfgs", alpha=model.alpha, standardize=True)
    alone.fit(X[trained], y[trained])
    # Either ends within tol = 1e-4 of the minimum, of this share.
    assert model.loss_curve_[-1] == pytest.approx(alone.loss_curve_[-1], rel=2e-4)

    hits = model.predict(X[test_rows]) == y[test_rows]
    best = np.argsort(-model.predict_proba(X[test_rows]), axis=1)[:, :5]
    assert report["test"]["top_1"] == hits.mean() > 0.5
    assert report["test"]["top_5"] == (best == y[test_rows, np.newaxis]).any(axis=1).mean()
    for k, accuracy in report["test"]["classes"].items():
        assert accuracy == pytest.approx(hits[y[test_rows] == int(k)].mean())
    assert f"top-1 {hits.mean():.2%}" in capsys.readouterr().out


def test_one_that_is_interrupted_goes_on_with_the_same_bits(probe, monkeypatch, capsys):
    probe("whole.npz", "--make-up", "2000", "40", "8")
    capsys.readouterr()
    save = Checkpoint.save

    def interrupted(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", interrupted)
        with pytest.raises(SystemExit, match="goes on"):
            probe("probe.npz")
    assert "was done before" not in capsys.readouterr().out
    probe("probe.npz")
    assert "was done before" in capsys.readouterr().out
    whole, model = (fastsoftmax.load(file) for file in ("whole.npz", "probe.npz"))
    assert whole.n_iter_ > 5  # the first checkpoint is within the fit
    np.testing.assert_array_equal(model.coef_, whole.coef_)
    assert model.loss_curve_ == whole.loss_curve_
    with pytest.raises(SystemExit):
        probe("probe.npz", "--make-up", "2000", "40", "8")
    assert "--make-up: --embeddings" in capsys.readouterr().err


def test_a_search_that_is_interrupted_goes_on_after_the_last_strength(probe, monkeypatch, capsys):
    save, saved = PathCheckpoint.save, []

    def interrupted(checkpoint, runs):
        save(checkpoint, runs)
        saved.append(len(runs))
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(PathCheckpoint, "save", interrupted)
    with pytest.raises(SystemExit, match="goes on"):
        probe("probe.npz", "--make-up", "2000", "40", "8")
    assert "strength 2 of 3" in capsys.readouterr().out
    probe("probe.npz")
    assert saved == [1, 2, 3]
    out = capsys.readouterr().out
    assert "strength 3 of 3, alpha 0.001, epoch 1" in out
    assert "strength 2 of 3, alpha 0.01, epoch 1" not in out
    assert out.count("held-out log loss") == 3


def test_test_samples_have_files_of_their_own_and_labels_are_words(probe, rng, tmp_path):
    for name, n in (("", 300), ("_test", 60)):
        X = rng.normal(size=(n, 6)).astype(np.float16)
        np.save(f"X{name}.npy", X)
        np.save(f"y{name}.npy", np.array(["ant", "bee", "cat"])[X[:, :3].argmax(axis=1)])
    probe("probe.npz", "--test", "X_test.npy", "y_test.npy")
    model = fastsoftmax.load("probe.npz")
    test = json.loads((tmp_path / "probe.json").read_text())["test"]
    assert test["top_1"] == model.score(np.load("X_test.npy"), np.load("y_test.npy")) > 0.8
    assert test["top_5"] == 1
    assert test["classes"].keys() == {"ant", "bee", "cat"}
