"""When a fit ends and with which weights: early stopping, warm starts, callbacks, the progress bar."""

import io
import pickle
import sys
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from terminal import output_on_terminal

from fastsoftmax import ConvergenceWarning, DivergenceError, SoftmaxClassifier
from fastsoftmax.training.config import generator_of
from fastsoftmax.training.holdout import hold_out
from fastsoftmax.training.targets import targets_of

OPTIONS = {"batch_size": 16, "eta0": 0.2, "random_state": 0, "learning_rate": "constant"}


@pytest.fixture
def data(rng):
    X = rng.normal(size=(200, 8))
    return X, (X[:, :3] + rng.normal(size=(200, 3))).argmax(axis=1)


def test_early_stopping_keeps_the_best_epoch(backend, data):
    X, y = data
    kept = []
    model = SoftmaxClassifier(
        backend=backend,
        early_stopping=True,
        validation_fraction=0.3,
        callbacks=lambda state: kept.append((state.validation_score, state.model.coef_)),
        **OPTIONS,
    ).fit(X, y)
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_ == len(model.loss_curve_) == len(kept) < 200
    assert [score for score, _ in kept] == scores
    best = int(np.argmax(scores))
    assert best == len(scores) - 6  # 5 more epochs were no better
    assert model.best_validation_score_ == max(scores)
    np.testing.assert_array_equal(model.coef_, kept[best][1])


@pytest.mark.parametrize("of_rows", [False, True], ids=["no weights", "weights"])
def test_the_score_is_that_of_samples_held_out(backend, data, rng, of_rows):
    X, y = data
    weights = rng.integers(1, 4, 200) if of_rows else None
    options = {"backend": backend, "batch_size": 64, "shuffle": False, "max_iter": 1, "tol": None}
    model = SoftmaxClassifier(
        early_stopping=True, validation_fraction=0.25, standardize=True, random_state=3, **options
    ).fit(X, y, weights)
    targets = targets_of(y, 200, X.dtype, weights, None)
    rows, held_out = hold_out(targets, 0.25, 200, generator_of(3))
    of_held_out = weights[held_out] if of_rows else None
    score = model.score(X[held_out], y[held_out], of_held_out)
    assert model.validation_scores_ == [pytest.approx(score, rel=1e-14)]
    if not of_rows:  # with weights, another mean divides those of the rest
        alone = SoftmaxClassifier(standardize=True, **options).fit(X[rows], y[rows])
        np.testing.assert_array_equal(model.coef_, alone.coef_)
        np.testing.assert_array_equal(model.mean_, alone.mean_)


def test_samples_held_out_are_of_every_class_alike_and_not_trained_on(data):
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    for y, weights in ((labels, None), (labels, labels != 2), (np.eye(3)[labels], None)):
        targets = targets_of(y, 200, np.dtype(float), weights, None)
        random = np.random.default_rng(0)
        rows, held_out = hold_out(targets, 0.2, 200, random)
        expected = np.arange(200) if weights is None else np.flatnonzero(weights)
        assert sorted([*rows, *held_out]) == expected.tolist()
        assert len(held_out) == round(0.2 * len(expected))
        if y.ndim == 1:
            assert np.bincount(labels[held_out], minlength=3)[:2].tolist() == [20, 12]
        assert (rows == np.sort(rows)).all()
        assert (held_out != hold_out(targets, 0.2, 200, random)[1]).any()
    for fraction, what in ((0.001, "score with"), (0.999, "train on")):
        with pytest.raises(ValueError, match=f"^validation_fraction: .* of 200 samples .*{what}"):
            hold_out(targets, fraction, 200, random)


def test_every_class_keeps_a_sample_to_train_on():
    random = np.random.default_rng(0)
    for labels in (np.arange(50), np.array([0] * 5 + [1] + [2] * 144), np.repeat(np.arange(10), 5)):
        targets = targets_of(
            np.append(labels, [99, 99]), len(labels) + 2, np.dtype(float), None, None
        )
        held = [hold_out(targets, 0.1, len(labels) + 2, random) for _ in range(20)]
        assert all(set(targets.values[rows]) == set(targets.values) for rows, _ in held)
    classes = [set(targets.values[rows]) for _, rows in held]
    assert len(set.union(*classes)) > len(classes[0])  # not always the same ones
    singles = targets_of(np.arange(50), 50, np.dtype(float), None, None)
    with pytest.raises(ValueError, match=r"^validation_fraction: no class has a sample to score"):
        hold_out(singles, 0.1, 50, random)


def test_an_interrupted_score_loses_no_epoch(backend, data, monkeypatch):
    from fastsoftmax.training import holdout

    X, y = data
    calls = []

    def score(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return np.array([0.1 * len(calls)])

    monkeypatch.setattr(holdout, "accuracy", score)
    model = SoftmaxClassifier(backend=backend, early_stopping=True, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert (model.n_iter_, len(model.validation_scores_)) == (2, 2)
    assert np.isfinite(model.coef_).all()


def test_an_interrupt_while_publishing_loses_nothing(data, monkeypatch):
    X, y = data
    publish, calls = SoftmaxClassifier._publish, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        publish(*arguments)

    monkeypatch.setattr(SoftmaxClassifier, "_publish", interrupted)
    model = SoftmaxClassifier(max_iter=3, tol=None, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.n_iter_ == 3


def test_a_fit_that_fails_has_not_drawn_from_the_callers_generator(data):
    X, y = data
    random = np.random.default_rng(0)
    before = random.bit_generator.state
    with pytest.raises(ValueError, match=r"^validation_fraction"):
        SoftmaxClassifier(early_stopping=True, validation_fraction=0.001, random_state=random).fit(
            X, y
        )
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"^X"):
        SoftmaxClassifier(random_state=random).fit(X, y)
    assert random.bit_generator.state == before
    SoftmaxClassifier(max_iter=1, tol=None, random_state=random).fit(np.nan_to_num(X), y)
    assert random.bit_generator.state != before


def test_sparse_rows_are_scored_as_they_are(data):
    X, y = data
    wide = csr_array((X.ravel(), (np.repeat(np.arange(200), 8), np.arange(1600) * 600)))
    options = OPTIONS | {"early_stopping": True, "max_iter": 1, "tol": None, "standardize": True}
    tracemalloc.start()
    SoftmaxClassifier(**options).fit(wide, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 3 * 8 * wide.shape[1]  # weights, and nothing of 200 dense rows


def test_what_a_callback_returns_is_checked(data):
    with pytest.raises(TypeError, match=r"^callbacks: expected them to return True"):
        SoftmaxClassifier(callbacks=lambda state: np.zeros(2)).fit(*data)


def test_a_row_held_out_that_is_not_finite_is_named(backend, data):
    X, y = data
    X[:, 3] = np.nan
    model = SoftmaxClassifier(backend=backend, early_stopping=True, validation_fraction=0.99)
    with pytest.raises(ValueError, match=r"^X: .*NaN in row \d+"):
        model.fit(X, y)
    assert not hasattr(model, "coef_")


def test_scores_without_an_intercept(backend, data):
    X, y = data
    options = OPTIONS | {"early_stopping": True, "max_iter": 1, "tol": None}
    model = SoftmaxClassifier(**options, backend=backend, fit_intercept=False).fit(X, y)
    _, held_out = hold_out(targets_of(y, 200, X.dtype, None, None), 0.1, 200, generator_of(0))
    expected = model.score(X[held_out], y[held_out])
    assert model.validation_scores_ == [pytest.approx(expected, rel=1e-12)]


@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_one_row_held_out_that_is_not_finite_is_named(backend, data, convert):
    X, y = data
    _, held_out = hold_out(targets_of(y, 200, X.dtype, None, None), 0.1, 200, generator_of(0))
    X[held_out[5], 3] = np.nan
    model = SoftmaxClassifier(**OPTIONS, backend=backend, early_stopping=True)
    with pytest.raises(ValueError, match=rf"^X: .*NaN in row {held_out[5]}$"):
        model.fit(convert(X), y)
    assert not hasattr(model, "coef_")


def test_partial_fit_has_nothing_to_hold_out(data):
    with pytest.raises(ValueError, match=r"^early_stopping: expected False for partial_fit"):
        SoftmaxClassifier(early_stopping=True).partial_fit(*data, [0, 1, 2])


@pytest.mark.parametrize("standardize", [False, True])
def test_a_warm_start_starts_from_the_weights(backend, data, standardize):
    X, y = data
    options = OPTIONS | {"backend": backend, "shuffle": False, "tol": None}
    options["standardize"] = standardize
    whole = SoftmaxClassifier(max_iter=5, **options).fit(X, y)
    parts = SoftmaxClassifier(max_iter=2, warm_start=True, **options).fit(X, y)
    curve = parts.loss_curve_
    parts = pickle.loads(pickle.dumps(parts)).set_params(max_iter=3).fit(X, y)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=0, atol=1e-13)
    np.testing.assert_allclose(curve + parts.loss_curve_, whole.loss_curve_, rtol=1e-13)
    assert (parts.n_iter_, parts.t_) == (3, 3 * 13)
    given = SoftmaxClassifier(max_iter=3, **options)
    first = SoftmaxClassifier(max_iter=2, **options).fit(X, y)
    given.fit(X, y, coef_init=first.coef_, intercept_init=first.intercept_)
    np.testing.assert_array_equal(given.coef_, parts.coef_)
    cold = parts.set_params(warm_start=False, max_iter=5).fit(X, y)
    assert cold.loss_curve_ == whole.loss_curve_


def test_a_warm_start_begins_its_schedule_anew(data):
    X, y = data
    options = OPTIONS | {"learning_rate": "cosine", "momentum": 0.9, "max_iter": 5, "tol": None}
    model = SoftmaxClassifier(warm_start=True, **options).fit(X, y)
    again = SoftmaxClassifier(**model.get_params()).fit(
        X, y, coef_init=model.coef_, intercept_init=model.intercept_
    )
    np.testing.assert_array_equal(model.fit(X, y).coef_, again.coef_)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("coef_init", np.zeros(8), ValueError, r"expected shape \(3, 8\), got \(8,\)"),
        ("coef_init", np.full((3, 8), np.nan), ValueError, "finite"),
        ("coef_init", "zeros", TypeError, "real numbers"),
        ("intercept_init", np.zeros(2), ValueError, r"expected shape \(3,\), got \(2,\)"),
        ("intercept_init", [0, 0, np.inf], ValueError, "finite"),
    ],
)
def test_bad_weights_to_start_from(data, name, value, error, message):
    model = SoftmaxClassifier()
    with pytest.raises(error, match=f"^{name}: .*{message}"):
        model.fit(*data, **{name: value})
    assert not hasattr(model, "coef_")


def test_without_an_intercept_there_is_none_to_start_from(data):
    with pytest.raises(
        ValueError, match=r"^intercept_init: expected None with fit_intercept=False"
    ):
        SoftmaxClassifier(fit_intercept=False).fit(*data, intercept_init=np.zeros(3))


def test_a_warm_start_takes_the_named_classes_and_the_same_features(backend, data):
    X, y = data
    model = SoftmaxClassifier(backend=backend, warm_start=True, max_iter=1, tol=None)
    model.partial_fit(X, y, classes=[0, 1, 2]).fit(X, y)
    before = model.coef_.copy()
    with pytest.raises(
        ValueError, match=r"^y: the label .*3.* is not among the classes \[0, 1, 2\]"
    ):
        model.fit(X, y + 1)
    with pytest.raises(ValueError, match=r"^X has 5 features, but"):
        model.fit(X[:, :5], y)
    np.testing.assert_array_equal(model.coef_, before)


@pytest.mark.parametrize("options", [{}, {"standardize": True}, {"fit_intercept": False}])
def test_a_warm_start_takes_new_classes_with_weights_of_zero(backend, data, options):
    X, y = data
    words = np.array(["m", "z", "a"])[y]
    options = {"backend": backend, "max_iter": 3, "tol": None, **OPTIONS, **options}
    model = SoftmaxClassifier(warm_start=True, **options).fit(X[y < 2], words[y < 2])
    coef, intercept = (np.insert(each, 0, 0, axis=0) for each in (model.coef_, model.intercept_))
    starts = {"coef_init": coef}
    if model.fit_intercept:
        starts["intercept_init"] = intercept
    expected = SoftmaxClassifier(**options).fit(X, words, **starts)
    model.fit(X, words)
    assert model.classes_.tolist() == ["a", "m", "z"]
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.intercept_, expected.intercept_)
    model.fit(X[y < 2], words[y < 2])  # in which one is missing
    assert model.classes_.tolist() == ["a", "m", "z"]


def test_a_warm_start_that_fails_has_no_new_classes(data):
    X, y = data
    model = SoftmaxClassifier(warm_start=True, max_iter=2, tol=None, **OPTIONS).fit(X, y)
    coef = model.coef_
    with pytest.raises(DivergenceError):
        model.set_params(learning_rate=lambda step: 1e300).fit(X, y + 1)
    assert model.coef_ is coef
    assert model.classes_.tolist() == [0, 1, 2]


def test_a_warm_start_from_bad_weights_may_fall(data):
    X, y = data
    model = SoftmaxClassifier(warm_start=True, max_iter=2, tol=None, **OPTIONS).fit(X, y)
    model.coef_ = model.coef_ - 100 * np.eye(3, 8)  # a loss of some dozens
    model.fit(X, y)
    assert model.loss_curve_[0] > model.loss_curve_[1] > 10 * np.log(3)


class Recorder:
    def __init__(self, stop_at=None, error=None):
        self.states, self.stop_at, self.error = [], stop_at, error

    def on_epoch_end(self, state):
        self.states.append(
            (state.epoch, state.n_steps, state.loss, state.learning_rate, repr(state))
        )
        if self.error is not None and state.epoch == 2:
            raise self.error
        return state.epoch == self.stop_at


def test_callbacks_see_and_stop(backend, data):
    X, y = data
    models, recorder = [], Recorder(stop_at=3)
    model = SoftmaxClassifier(
        backend=backend, callbacks=[lambda state: models.append(state.model), recorder], **OPTIONS
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who stops it need not be told
        model.fit(X, y)
    assert model.n_iter_ == 3
    assert [state[:3] for state in recorder.states] == [
        (i + 1, 13 * (i + 1), loss) for i, loss in enumerate(model.loss_curve_)
    ]
    assert {state[3] for state in recorder.states} == {0.2}
    assert recorder.states[0][4].startswith("EpochEnd(epoch=1, loss=")
    short = SoftmaxClassifier(backend=backend, max_iter=2, tol=None, **OPTIONS).fit(X, y)
    np.testing.assert_array_equal(models[1].coef_, short.coef_)
    assert models[1].score(X, y) == short.score(X, y)
    np.testing.assert_array_equal(models[2].coef_, model.coef_)
    models[2].coef_[:] = 0
    assert model.coef_.any()


@pytest.mark.parametrize("error", [RuntimeError("mine"), ValueError("mine"), KeyboardInterrupt()])
def test_what_a_callback_raises_leaves_the_epochs_so_far(backend, data, error):
    X, y = data
    model = SoftmaxClassifier(backend=backend, callbacks=Recorder(error=error), **OPTIONS)
    with pytest.raises(type(error)):
        model.fit(X, y)
    short = SoftmaxClassifier(backend=backend, max_iter=2, tol=None, **OPTIONS).fit(X, y)
    np.testing.assert_array_equal(model.coef_, short.coef_)
    assert (model.n_iter_, model.t_) == (2, short.t_)


@pytest.mark.parametrize("average", [False, True])
def test_divergence_leaves_the_last_good_epoch(backend, data, average):
    X, y = data
    options = OPTIONS | {"backend": backend, "tol": None, "average": average}
    rate = lambda step: 0.2 if step < 26 else 1e4  # noqa: E731
    model = SoftmaxClassifier(**options | {"learning_rate": rate})
    with pytest.raises(DivergenceError, match=r"^the loss of epoch 3 is "):
        model.fit(X, y)
    short = SoftmaxClassifier(max_iter=2, **options).fit(X, y)
    np.testing.assert_array_equal(model.coef_, short.coef_)
    np.testing.assert_array_equal(model.intercept_, short.intercept_)
    assert model.loss_curve_ == short.loss_curve_
    assert (model.n_iter_, model.t_) == (2, 26)


def test_what_is_printed(data, capsys):
    X, y = data
    options = OPTIONS | {"max_iter": 2, "tol": None}
    SoftmaxClassifier(**options, verbose=1, early_stopping=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert "loss " in lines[0]
    assert "validation score 0." in lines[0]
    SoftmaxClassifier(**options, progress_bar=True).fit(X, y)  # nobody would see it
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


PROGRAM = """
import numpy as np
from fastsoftmax import SoftmaxClassifier
X = np.random.default_rng(0).normal(size=(200, 8))
model = SoftmaxClassifier(max_iter=30, tol=None, progress_bar=True, early_stopping=True)
model.fit(X, np.arange(200) % 3)
"""


def test_a_progress_bar_on_a_terminal():
    text = output_on_terminal(PROGRAM)
    assert b"30/30" in text
    assert b"loss 1." in text
    assert b"validation " in text


def test_without_rich_a_progress_bar_is_an_error_that_says_so(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(ImportError, match=r"^progress_bar: needs rich, .*; pip install rich$"):
        SoftmaxClassifier(progress_bar=True).fit(*data)
    SoftmaxClassifier(max_iter=1, tol=None).fit(*data)


def test_progress_bars_of_several_threads(data, monkeypatch):
    from rich.console import Console

    monkeypatch.setattr(
        "rich.console.Console", lambda **_: Console(file=io.StringIO(), force_terminal=True)
    )
    models = [SoftmaxClassifier(progress_bar=True, max_iter=20, tol=None) for _ in range(4)]
    threads = [threading.Thread(target=model.fit, args=data) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(model.n_iter_ == 20 for model in models)


def test_a_progress_bar_where_another_one_has_the_terminal(data, monkeypatch):
    """As with the versions of rich that have no bars within others."""
    from rich.console import Console
    from rich.errors import LiveError

    def refuse(progress):
        raise LiveError("Only one live display may be active at once")

    monkeypatch.setattr(
        "rich.console.Console", lambda **_: Console(file=io.StringIO(), force_terminal=True)
    )
    monkeypatch.setattr("rich.progress.Progress.start", refuse)
    model = SoftmaxClassifier(**OPTIONS, progress_bar=True, max_iter=2, tol=None).fit(*data)
    expected = SoftmaxClassifier(**OPTIONS, max_iter=2, tol=None).fit(*data)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_one_warning_where_it_has_not_converged(data):
    with pytest.warns(ConvergenceWarning, match="standardize=True") as caught:
        SoftmaxClassifier(**OPTIONS, max_iter=2, tol=1e-9).fit(*data)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_scores_of_early_stopping_count_sample_weights_alone(data, rng):
    X, y = data
    weights = rng.integers(1, 4, 200).astype(float)
    options = OPTIONS | {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 1}
    model = SoftmaxClassifier(class_weight={0: 50.0, 1: 0.1}, tol=None, **options).fit(
        X, y, weights
    )
    targets = targets_of(y, 200, X.dtype, weights, {0: 50.0, 1: 0.1})
    _, held_out = hold_out(targets, 0.3, 200, generator_of(0))
    expected = model.score(X[held_out], y[held_out], weights[held_out])
    assert model.validation_scores_ == [pytest.approx(expected, rel=1e-12)]


def test_scores_of_soft_labels_are_their_shares(data, rng):
    X, _ = data
    shares = rng.dirichlet(np.ones(3), 200)
    options = OPTIONS | {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 1}
    model = SoftmaxClassifier(class_weight={0: 50.0, 1: 0.1}, tol=None, **options).fit(X, shares)
    _, held_out = hold_out(targets_of(shares, 200, X.dtype, None, None), 0.3, 200, generator_of(0))
    expected = shares[held_out, model.predict(X[held_out])].mean()
    assert model.validation_scores_ == [pytest.approx(expected, rel=1e-12)]
