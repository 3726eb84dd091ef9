"""The search: every combination is trained as a fit of its own would be, at once or one by one."""

import warnings
from contextlib import contextmanager

import numpy as np
import pandas
import pytest
from scipy.sparse import csr_array

from fastsoftmax import (
    ConvergenceWarning,
    DivergenceError,
    SearchResult,
    SoftmaxClassifier,
    lecture,
    plotting,
    search,
)
from fastsoftmax.classifier import grid_search as searching_module
from fastsoftmax.training import multi_model as several_module
from fastsoftmax.training.holdout import hold_out
from fastsoftmax.training.targets import targets_of

RATES, REGS = [0.3, 0.01, 0.1], [0.0, 1e-3, 0.5]
FIXED = {"max_iter": 4, "batch_size": 16, "random_state": 3}


@pytest.fixture
def data(rng):
    X = rng.normal(size=(150, 19))
    return X, np.array(["a", "b", "c", "d", "e"])[
        (X[:, :5] + rng.normal(size=(150, 5))).argmax(axis=1)
    ]


CASES = {
    "plain": {},
    "l1": {"penalty": "l1"},
    "elasticnet, momentum": {"penalty": "elasticnet", "momentum": 0.8, "nesterov": True},
    "standardize": {"standardize": True},
    "cosine": {"learning_rate": "cosine", "warmup_epochs": 1},
    "no intercept": {"fit_intercept": False},
    "weights": {"class_weight": "balanced", "label_smoothing": 0.1},
    "replacement": {"replacement": True},
    "its own end": {
        "max_iter": 60,
        "tol": 0.02,
        "n_iter_no_change": 2,
        "learning_rate": "constant",
    },
    "adaptive": {"max_iter": 60, "tol": 0.02, "n_iter_no_change": 1, "learning_rate": "adaptive"},
}


def log_loss_of(model, X, y):
    of_labels = np.searchsorted(model.classes_, y)
    return -model.predict_log_proba(X)[np.arange(len(y)), of_labels].mean()


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_every_combination_is_a_fit(backend, data, options):
    X, y = data
    options = FIXED | {"backend": backend} | options
    found = search(X, y, learning_rates=RATES, regs=REGS, validation=(X, y), **options)
    for i, rate in enumerate(RATES):
        for j, reg in enumerate(REGS):
            model = SoftmaxClassifier(eta0=rate, alpha=reg, **options).fit(X, y)
            assert found.losses[i, j] == pytest.approx(model.loss_curve_[-1], rel=1e-9)
            assert found.scores[i, j] == pytest.approx(model.score(X, y), abs=1e-12)
            log_loss = log_loss_of(model, X, y)
            assert found.validation_losses[i, j] == pytest.approx(log_loss, rel=1e-9)
            if (i, j) == found.best_index:
                best = found.best_model
                np.testing.assert_allclose(best.coef_, model.coef_, rtol=0, atol=1e-9)
                np.testing.assert_allclose(best.intercept_, model.intercept_, rtol=0, atol=1e-9)
                np.testing.assert_allclose(best.loss_curve_, model.loss_curve_, rtol=1e-9)
                assert best.get_params() == model.get_params()
                assert (best.t_, best.n_iter_) == (model.t_, model.n_iter_)
                assert best.score(X, y) == found.best_score
    assert found.best_score == found.scores.max()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_by_default_the_best_is_no_worse_than_a_fit(backend, data, rng, scale):
    X, y = scale * data[0][:, :3], data[1]
    others = scale * rng.normal(size=(90, 3)), rng.choice(y, 90)
    given = {"backend": backend, "random_state": 3}
    if backend == "naive":
        given["max_iter"] = 5
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = SoftmaxClassifier(**given).fit(X, y)
        found = search(X, y, validation=others, **given)
    assert all(warning.filename == __file__ for warning in caught)
    np.testing.assert_allclose(found.learning_rates / model.eta0_, [0.3, 1, 3, 10, 30])
    i, j = 1, found.regs.tolist().index(model.alpha_)
    assert found.losses[i, j] == pytest.approx(model.loss_curve_[-1], rel=1e-6)
    assert found.scores[i, j] == model.score(*others)
    assert found.best_score >= model.score(*others)


def test_a_share_held_out_changes_nothing_else(data):
    X, y = data
    rows, scored = hold_out(
        targets_of(y, len(X), X.dtype, None, None), 0.2, len(X), np.random.default_rng(7)
    )
    model = SoftmaxClassifier(random_state=7).fit(X[rows], y[rows])
    found = search(X, y, random_state=7)
    assert found.learning_rates[1] == model.eta0_
    assert found.scores[1, 1] == model.score(X[scored], y[scored])
    assert found.validation_losses[1, 1] == pytest.approx(log_loss_of(model, X[scored], y[scored]))


@pytest.mark.parametrize("n_at_once", [1, 100])
def test_ties_go_to_the_better_held_out_loss(data, monkeypatch, n_at_once):
    X, y = np.repeat([[-1.0], [1.0]], 20, axis=0), np.repeat(["no", "yes"], 20)
    monkeypatch.setattr(several_module, "_BYTES_OF_WEIGHTS", n_at_once * 2 * 8)
    # All are right. Those that go on are surer and, of the samples to score with, wrongly so.
    others = [[-1.0], [1.0], [1.0], [1.0]], ["no", "yes", "no", "no"]
    found = search(
        *(X, y),
        learning_rates=[3.0, 0.03, 0.3],
        regs=[0.5, 0.0],
        validation=others,
        max_iter=10,
        learning_rate="constant",
        batch_size=40,
        random_state=0,
    )
    assert np.ptp(found.scores) == 0
    assert found.best_index == np.unravel_index(
        found.validation_losses.argmin(), found.scores.shape
    )
    assert found.best_index != np.unravel_index(found.losses.argmin(), found.scores.shape)
    first, last = found.rows()[0], found.rows()[-1]
    assert (first["learning_rate"], first["reg"]) == (found.best_learning_rate, found.best_reg)
    assert first["validation_loss"] < last["validation_loss"] == found.validation_losses.max()


def test_the_held_out_loss_knows_weights_and_soft_labels(rng, backend):
    X, y, weights = rng.normal(size=(60, 4)), rng.dirichlet(np.ones(3), 60), rng.uniform(1, 3, 60)
    given = FIXED | {"learning_rates": [0.1], "regs": [0.0], "backend": backend}
    found = search(X, y, validation=(X, y), **given)
    model = found.best_model
    expected = -(y * model.predict_log_proba(X)).sum(axis=1)
    assert found.validation_losses[0, 0] == pytest.approx(expected.mean())
    found = search(X, y, sample_weight=weights, validation=0.5, **given)
    random = np.random.default_rng(FIXED["random_state"])
    _, scored = hold_out(targets_of(y, 60, X.dtype, weights, None), 0.5, 60, random)
    of_rows = -(y * found.best_model.predict_log_proba(X)).sum(axis=1)[scored]
    expected = np.average(of_rows, weights=weights[scored])
    assert found.validation_losses[0, 0] == pytest.approx(expected)


def test_the_lectures_reg_is_half_of_a_reg(data):
    X, y = data[0], np.unique(data[1], return_inverse=True)[1]
    given = {"learning_rates": [0.1], "regs": [0.3], "batch_size": 150, "fit_intercept": False}
    after_a_step, found = (search(X, y, validation=(X, y), max_iter=n, **given) for n in (1, 2))
    W = after_a_step.best_model.coef_.T.copy()
    assert found.losses[0, 0] == pytest.approx(lecture.softmax_loss_naive(W, X, y, 0.15)[0])
    assert "alpha = 2 * reg" in search.__doc__
    assert "alpha = 2 * reg" in lecture.__doc__


def test_a_bar_counts_the_epochs_of_all(data, monkeypatch):
    class Bar:
        def update(self, epoch, *_):
            seen.append(epoch)

    @contextmanager
    def progress_bar(wanted, n_epochs, n_done):
        assert (wanted, n_epochs, n_done) == (True, 300, 0)
        yield Bar()

    monkeypatch.setattr(searching_module, "progress_bar", progress_bar)
    given = {"learning_rates": [1e30, 0.1, 0.01], "regs": [0.0], "max_iter": 100, "tol": 0.1}
    for backend in ("compiled", "vectorized"):
        seen = []
        search(*data, backend=backend, progress_bar=True, **given)
        assert seen == sorted(seen)
        assert seen[-1] == 300


def test_the_best_model_that_still_learns_is_warned_of(data):
    given = {"learning_rates": [1e-3], "regs": [0.0], "max_iter": 3, "learning_rate": "constant"}
    with pytest.warns(ConvergenceWarning, match=r"^fit ended at max_iter "):
        search(*data, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(*data, **given, tol=None)
        search(*data, **given | {"max_iter": 50, "tol": 10.0})


def test_rows_that_cannot_be_scored_are_found_before_the_training(data, monkeypatch):
    X, y = data
    others = X[:9].copy()
    others[4, 2] = np.inf
    monkeypatch.setattr(searching_module, "_trained", None)
    with pytest.raises(ValueError, match=r"^validation: X: expected finite numbers.* row 4"):
        search(X, y, validation=(others, y[:9]))


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8", "int64", "fortran", "sparse"])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
def test_data_as_they_lie(data, rng, kind, soft):
    X, y = data
    X = np.round(100 + 20 * X)
    convert = {"fortran": np.asfortranarray, "sparse": csr_array}.get(
        kind, lambda X: X.astype(kind)
    )
    if soft:
        y = rng.dirichlet(np.ones(5), 150)
    weights = rng.integers(0, 3, 150)
    given = {"learning_rates": [1e-6, 1e-5], "regs": [1e-3, 1e-2]} | FIXED
    given |= {"standardize": True, "sample_weight": weights}
    found = search(convert(X), y, **given)
    expected = search(convert(X), y, **given, backend="vectorized")
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-9)


def test_a_label_whose_samples_all_weigh_zero_is_a_class(backend, data):
    X, y = data[0], np.unique(data[1], return_inverse=True)[1]
    given = {"learning_rates": [0.1, 1.0], "regs": [1e-3]} | FIXED | {"backend": backend}
    found = search(X, y, **given, sample_weight=(y != 1).astype(float))
    by_class = search(X, y, **given, class_weight={1: 0})
    assert found.best_model.classes_.tolist() == by_class.best_model.classes_.tolist()
    assert len(found.best_model.classes_) == 5
    np.testing.assert_array_equal(found.losses, by_class.losses)
    np.testing.assert_array_equal(found.scores, by_class.scores)
    np.testing.assert_array_equal(found.best_model.coef_, by_class.best_model.coef_)
    with pytest.raises(ValueError, match=r"^y: expected at least two classes, got one class"):
        search(X, 0 * y, **given, sample_weight=(y != 1).astype(float))


def test_the_bits_do_not_depend_on_threads_or_company(data, monkeypatch):
    X, y = data
    X = np.tile(X, (4, 10)).astype(np.float32)
    y = np.tile(y, 4)
    given = {"learning_rates": [1e-3, 1e-2, 0.03], "regs": [1e-3, 1e-2]} | FIXED
    results = [search(X, y, **given, n_jobs=n_jobs) for n_jobs in (1, 2, 7)]
    monkeypatch.setattr(several_module, "_BYTES_OF_WEIGHTS", 4 * 5 * 190 * 4)  # four models at once
    results.append(search(X, y, **given))
    for other in results[1:]:
        np.testing.assert_array_equal(other.losses, results[0].losses)
        np.testing.assert_array_equal(other.best_model.coef_, results[0].best_model.coef_)


def test_what_diverges_leaves_the_others_alone(backend, data):
    X, y = data
    given = FIXED | {"backend": backend, "regs": [1e-4, 1e-3]}
    found = search(X, y, learning_rates=[1e30, 0.1, 1e4], **given)
    assert np.isnan(found.scores[[0, 2]]).all()
    assert np.isnan(found.losses[[0, 2]]).all()
    alone = search(X, y, learning_rates=[0.1], **given)
    np.testing.assert_allclose(found.losses[1], alone.losses[0], rtol=1e-12)
    assert found.best_learning_rate == 0.1
    assert found.rows()[0]["score"] == found.best_score
    assert str(found).count("diverged") == 4
    with pytest.raises(DivergenceError, match=r"every learning rate, the smallest being 1e\+30"):
        search(X, y, learning_rates=[1e30], **given)


def test_an_objective_that_overflows_has_diverged_though_its_weights_are_finite(data):
    X, y = data
    given = FIXED | {"max_iter": 2, "batch_size": 150, "regs": [1e-3]}
    found = search(X, y, learning_rates=[1e155, 0.1], **given)
    assert np.isnan(found.losses).tolist() == [[True], [False]]
    assert found.best_learning_rate == 0.1


def test_a_share_is_held_out(backend, data):
    X, y = data
    y = np.random.default_rng(0).integers(2, size=150)  # nothing to learn
    X = np.eye(150)  # but by heart
    found = search(
        *(X, y),
        learning_rates=[10.0],
        regs=[0.0],
        backend=backend,
        max_iter=50,
        tol=None,
        random_state=0,
    )
    assert found.best_model.score(X, y) > 0.8
    assert found.best_score < 0.75


def test_frames_to_score_with_have_the_same_columns(data):
    X, y = data
    frame = pandas.DataFrame(X).add_prefix("x")
    given = {"learning_rates": [0.1], "regs": [0.0]} | FIXED
    found = search(frame, y, validation=(frame, y), **given)
    assert found.best_model.feature_names_in_.tolist() == list(frame.columns)
    with pytest.raises(ValueError, match=r"^validation: X: expected the columns of the training X"):
        search(frame, y, validation=(frame[frame.columns[::-1]], y), **given)


def test_scores_know_nothing_of_class_weights(data):
    X, y = data
    given = {"learning_rates": [0.3], "regs": [0.0], "class_weight": {"a": 50.0}} | FIXED
    found = search(X, y, validation=0.5, **given)
    n_scored = 75
    assert round(found.best_score * n_scored) == pytest.approx(
        found.best_score * n_scored, abs=1e-9
    )


def test_a_row_that_is_not_finite_is_named(backend, data):
    X, y = data
    X[77, 3] = np.nan
    with pytest.raises(ValueError, match=r"^X: expected finite numbers, got NaN in row 77"):
        search(X, y, learning_rates=RATES, regs=REGS, backend=backend, validation=(X[:50], y[:50]))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"learning_rates": []}, ValueError, "^learning_rates: .*at least one"),
        ({"learning_rates": 0.1}, ValueError, "^learning_rates: "),
        ({"learning_rates": "automatic"}, ValueError, "^learning_rates: "),
        ({"learning_rates": [0.0]}, ValueError, "^learning_rates: .*greater than 0"),
        ({"learning_rates": ["a"]}, TypeError, "^learning_rates: "),
        ({"regs": [-1.0]}, ValueError, "^regs: "),
        ({"validation": 0.0}, ValueError, "^validation: "),
        ({"validation": 1.5}, ValueError, "^validation: "),
        ({"validation": "half"}, TypeError, "^validation: "),
        ({"validation": ([[1.0]], ["a"])}, ValueError, "^validation: X: expected 19 features"),
        ({"validation": ([[1.0] * 19], ["z"])}, ValueError, "^validation: y: .*'z'"),
        (
            {"validation": ([[1.0] * 19], [1])},
            TypeError,
            "^validation: y: .*type .* str, got int64",
        ),
        ({"validation": ([[1.0] * 19], [b"a"])}, TypeError, "^validation: y: .* str, got bytes"),
        (
            {"validation": ([[1.0] * 19] * 2, csr_array([[1], [2]]))},
            TypeError,
            "^validation: y: .*csr_array",
        ),
        ({"validation": (1, 2, 3)}, ValueError, "^validation: expected a tuple"),
        ({"eta0": 0.1}, ValueError, "^eta0: not a parameter of search"),
        ({"early_stopping": True}, ValueError, "^early_stopping: not a parameter"),
        ({"momentum": 2}, ValueError, "^momentum: "),
        ({"learning": 1}, TypeError, "learning"),
        ({"max_iter": 0}, ValueError, "^max_iter: "),
        ({"y": ["a"] * 150}, ValueError, "^y: expected at least two classes, got one class: .*'a'"),
    ],
)
def test_bad_arguments(data, arguments, error, message):
    given = {"X": data[0], "y": data[1], "learning_rates": RATES, "regs": REGS} | FIXED | arguments
    with pytest.raises(error, match=message):
        search(**given)


def cell_of(frame):
    return round(frame.get_y() + 0.5), round(frame.get_x() + 0.5)


def test_the_picture_has_the_scores(data):
    found = search(*data, learning_rates=[1e30, 0.01, 0.1], regs=[0.5, 1e-3], **FIXED)
    figure = plotting.plot_search(found)
    axes = figure.axes[0]
    shown = axes.images[0].get_array()
    # Rates fall from above, penalties rise to the right.
    np.testing.assert_array_equal(shown.filled(np.nan), found.scores[[0, 2, 1]][:, [1, 0]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1e+30", "0.1", "0.01"]
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("diverged") == 2
    assert f"{found.best_score:.1%}" in texts
    i, j = found.best_index
    assert cell_of(axes.patches[-1]) == ([0, 2, 1].index(i), [1, 0].index(j))
    with pytest.raises(ValueError, match=r"^result: expected a score for each of 2 x 1"):
        plotting.plot_search(
            type("R", (), {"learning_rates": [1, 2], "regs": [1], "scores": [[1]]})
        )


def test_the_best_model_takes_new_classes(data):
    X, y = data
    model = search(X, y, learning_rates=[0.1], regs=[0.0], **FIXED).best_model
    coef = model.coef_
    model.set_params(learning_rate=lambda step: 0.0).partial_fit(X[:2], ["b", "bb"])
    assert model.classes_.tolist() == ["a", "b", "bb", "c", "d", "e"]
    np.testing.assert_array_equal(model.coef_, np.insert(coef, 2, 0, axis=0))


@pytest.mark.parametrize("best", [(0, 0), (0, 1), (1, 0), (2, 1)])
def test_the_frame_is_around_the_best_of_equal_ones(best):
    scores = np.array([[1.0, 1.0], [1.0, 0.5], [np.nan, 1.0]])
    losses = np.where(np.isnan(scores), np.nan, 2.0)
    losses[best] = 1.0
    rates, regs = np.array([0.1, 10.0, 1.0]), np.array([1.0, 0.0])
    found = SearchResult(rates, regs, scores, losses, -losses, scores, scores, best, None)
    frame = plotting.plot_search(found).axes[0].patches[-1]
    assert cell_of(frame) == ([1, 2, 0].index(best[0]), [1, 0].index(best[1]))
    row = found.rows()[0]
    assert (row["learning_rate"], row["reg"]) == (rates[best[0]], regs[best[1]])
