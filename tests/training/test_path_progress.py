"""Progress of a path of strengths, its early end, its checkpoints, and interruptions."""

import re

import numpy as np
import pytest
from terminal import output_on_terminal

from fastsoftmax import ModelFileError, SoftmaxClassifier, search
from fastsoftmax.training import alpha_choice
from fastsoftmax.training.callbacks import PathProgress

REGS = [1e-4, 1.0, 1e-1, 1e-2, 1e-3]
GIVEN = {"regs": REGS, "solver": "lbfgs", "random_state": 0, "tol": 1e-5}


@pytest.fixture
def data(rng):
    """Few noisy samples, which a weak penalty overfits."""
    X = rng.normal(size=(150, 20)).astype(np.float32)
    return X, (X[:, :3] @ rng.normal(size=(3, 3)) + rng.gumbel(size=(150, 3))).argmax(axis=1)


def after(monkeypatch, n_strengths):
    """Raise KeyboardInterrupt in the first iteration after that many strengths."""
    seen = PathProgress.iteration

    def iteration(progress, *arguments):
        if progress._n_done == n_strengths:
            raise KeyboardInterrupt
        seen(progress, *arguments)

    monkeypatch.setattr(PathProgress, "iteration", iteration)


@pytest.mark.parametrize("backend", ["compiled", "naive"])
def test_lines_of_each_iteration_and_of_each_strength(backend, data, capsys):
    found = search(*data, verbose=1, backend=backend, **GIVEN)
    lines = capsys.readouterr().out.splitlines()
    iterations = [line for line in lines if "epoch" in line]
    pattern = r"strength (\d) of 5, alpha (\S+), epoch \d+: loss \S+, gap \S+, \d+ passes"
    places = [re.fullmatch(pattern, line).groups() for line in iterations]
    assert sorted(set(places)) == [
        ("1", "1"), ("2", "0.1"), ("3", "0.01"), ("4", "0.001"), ("5", "0.0001"),
    ]  # fmt: skip
    losses = dict(zip(REGS, found.validation_losses[0], strict=True))
    for line in set(lines) - set(iterations):
        alpha, loss = re.search(r"alpha (\S+): held-out log loss (\S+), accuracy", line).groups()
        assert float(loss) == pytest.approx(losses[float(alpha)], rel=1e-5)
    assert len(lines) == len(iterations) + 5
    search(*data, backend=backend, **GIVEN)
    assert capsys.readouterr().out == ""


def test_lines_of_sgd_name_the_model(data, capsys):
    for backend in ("compiled", "vectorized"):
        given = {"regs": [0.1, 1.0], "learning_rates": [0.1], "max_iter": 2, "tol": None}
        search(*data, backend=backend, verbose=1, **given)
        lines = capsys.readouterr().out.splitlines()
        assert sorted(line.partition(": loss")[0] for line in lines) == [
            f"model {i} of 2, epoch {epoch}" for i in (1, 2) for epoch in (1, 2)
        ]


@pytest.mark.parametrize("n_parts", [1, 5])
def test_lines_of_alpha_auto(data, capsys, monkeypatch, n_parts):
    if n_parts == 1:
        monkeypatch.setattr(alpha_choice, "_MAX_ROWS_FOR_FOLDS", 100)
    model = SoftmaxClassifier(solver="lbfgs", alpha="auto", verbose=1, random_state=0).fit(*data)
    text = capsys.readouterr().out
    assert text.count("held-out log loss") == len(model.alpha_path_)
    fold = ", fold 5 of 5" if n_parts == 5 else ""
    assert re.search(rf"^strength 2, alpha [^,]+{fold}, epoch 1: loss .* passes$", text, re.M)
    assert ("fold" in text) == (n_parts == 5)
    assert text.splitlines()[-1].startswith("epoch ")  # of the fit after it


PROGRAM = """
import numpy as np
from fastsoftmax import SoftmaxClassifier, search
X = np.random.default_rng(0).normal(size=(200, 8))
if {auto}:
    SoftmaxClassifier(solver="lbfgs", alpha="auto", progress_bar=True).fit(X, np.arange(200) % 3)
else:
    search(X, np.arange(200) % 3, regs=[1, 0.1, 0.01], solver="lbfgs", progress_bar=True)
"""


@pytest.mark.parametrize("auto", [False, True])
def test_a_bar_on_a_terminal_counts_strengths(auto):
    text = output_on_terminal(PROGRAM.format(auto=auto))
    assert b"strengths" in text
    assert (b"/?" if auto else b"3/3") in text


def test_patience_ends_the_path_after_strengths_without_gain(data):
    whole, short = search(*data, **GIVEN), search(*data, patience=2, **GIVEN)
    done = ~np.isnan(short.scores[0])
    assert 3 <= done.sum() < 5
    assert min(np.array(REGS)[done]) > max(np.array(REGS)[~done])  # from strong to weak
    np.testing.assert_array_equal(short.losses[0, done], whole.losses[0, done])
    assert short.best_reg == whole.best_reg
    assert str(short).count("diverged") == 0


@pytest.mark.usefixtures("without_newton")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_patience_ends_strengths_by_an_estimate_of_their_gaps(rng, tmp_path, monkeypatch, dtype):
    """Fewer iterations, nearly the same scores, and the bound that is published holds."""
    y = rng.integers(40, size=2500)
    X = (0.7 * rng.standard_normal((40, 10))[y] + rng.standard_normal((2500, 10))).astype(dtype)
    given = GIVEN | {"tol": 1e-2, "regs": [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]}
    seen, file = [], tmp_path / "search.npz"
    monkeypatch.setattr(PathProgress, "iteration", lambda *_: seen.append(1))
    whole, n_whole = search(X, y, **given), len(seen)
    short, n_short = search(X, y, patience=9, **given), len(seen) - n_whole
    assert n_short < 0.8 * n_whole
    assert short.best_reg == whole.best_reg
    best = short.best_index
    np.testing.assert_allclose(
        short.validation_losses[best], whole.validation_losses[best], rtol=1e-2
    )
    # A tenth of tol is what two steps in a row promise; the bound may be larger, and is told.
    assert (short.losses[best] - whole.losses[best]) <= 1e-2 * whole.losses[best]
    assert short.best_model.optimality_.gap >= short.losses[best] - whole.losses[best]
    again = search(X, y, patience=9, checkpoint=file, **given)
    resumed = search(X, y, patience=9, checkpoint=file, resume=True, **given)
    assert again.best_model.optimality_ == resumed.best_model.optimality_
    np.testing.assert_array_equal(again.losses, short.losses)


@pytest.mark.usefixtures("without_newton")
def test_patience_ends_a_strength_that_can_no_longer_be_the_best(data, monkeypatch):
    given = GIVEN | {"tol": 1e-3, "regs": [1e-1, 1e-2, 1e-6]}
    ends = {}
    monkeypatch.setattr(
        PathProgress, "iteration", lambda _, alpha, __, run: ends.update({alpha: len(run.curve)})
    )
    losing = search(*data, patience=3, **given)
    early = dict(ends)
    monkeypatch.setattr("fastsoftmax.classifier.grid_search._TOLS_TO_LOSE", 1e9)
    alone = search(*data, patience=3, **given)
    assert early[1e-6] < ends[1e-6]
    assert losing.best_reg == alone.best_reg
    assert losing.losses[0, 0] == alone.losses[0, 0]


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_search_goes_on_after_the_last_strength(data, tmp_path, monkeypatch, fit_intercept):
    given = GIVEN | {"fit_intercept": fit_intercept, "standardize": True}
    whole = search(*data, **given)
    file = tmp_path / "search.npz"
    with monkeypatch.context() as patch:
        after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            search(*data, checkpoint=file, **given)
    seen = []
    monkeypatch.setattr(PathProgress, "iteration", lambda _, alpha, *__: seen.append(alpha))
    found = search(*data, checkpoint=file, resume=True, **given)
    assert set(seen) == {1e-3, 1e-4}
    assert found.best_reg == whole.best_reg
    # Either is within tol of the minimum, of this share.
    np.testing.assert_allclose(found.losses, whole.losses, rtol=2e-5)
    again = search(*data, checkpoint=file, resume=True, **given)
    np.testing.assert_array_equal(again.scores, found.scores)
    for name in ("coef_", "intercept_", "loss_curve_", "optimality_"):
        expected = getattr(found.best_model, name)
        np.testing.assert_array_equal(getattr(again.best_model, name), expected)
    np.testing.assert_array_equal(found.best_model.coef_, whole.best_model.coef_)


def test_a_checkpoint_belongs_to_one_search(data, tmp_path):
    X, y = data
    file = tmp_path / "search.npz"
    search(X, y, checkpoint=file, **GIVEN)
    others = [
        (X, GIVEN | {"regs": [1.0]}, "other regs"),
        (X, GIVEN | {"validation": 0.3}, "other validation"),
        (X, GIVEN | {"validation": (X, y)}, "other validation"),
        (2 * X, GIVEN, "other X"),
        (X, GIVEN | {"sample_weight": np.arange(150)}, "sample_weight"),
    ]
    for matrix, given, match in others:
        with pytest.raises(ValueError, match=match):
            search(matrix, y, checkpoint=file, resume=True, **given)
    found = file.read_bytes()
    SoftmaxClassifier(solver="lbfgs").fit(X, y, checkpoint=file)
    with pytest.raises(ModelFileError, match="is not a fastsoftmax checkpoint of a path"):
        search(X, y, checkpoint=file, resume=True, **GIVEN)
    file.write_bytes(found)
    with pytest.raises(ModelFileError, match="is not a fastsoftmax checkpoint"):
        SoftmaxClassifier(solver="lbfgs").fit(X, y, checkpoint=file, resume=True)


def test_what_is_of_a_path_is_refused_for_sgd(data, tmp_path):
    with pytest.raises(ValueError, match=r"^patience: expected None with solver='sgd'"):
        search(*data, patience=2)
    with pytest.raises(ValueError, match=r"^checkpoint: expected None with solver='sgd'"):
        search(*data, checkpoint=tmp_path / "search.npz")
    with pytest.raises(ValueError, match=r"^patience: .*0"):
        search(*data, patience=0, **GIVEN)
    with pytest.raises(ValueError, match=r"^resume: expected False without a checkpoint"):
        search(*data, resume=True, **GIVEN)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupted_choice_of_alpha_leaves_the_model_as_it_was(data, monkeypatch, n_jobs):
    generator = np.random.default_rng(5)
    model = SoftmaxClassifier(solver="lbfgs", alpha="auto", n_jobs=n_jobs, random_state=generator)
    for fitted in (False, True):
        if fitted:
            model.fit(*data)
        before, state = dict(vars(model)), generator.bit_generator.state
        with monkeypatch.context() as patch:
            after(patch, 2)
            with pytest.raises(KeyboardInterrupt):
                model.fit(*data)
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is value for name, value in before.items())
        assert generator.bit_generator.state == state
