"""Loss, penalty and validation of every epoch, and the pictures of them."""

import numpy as np
import pytest

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.lecture import LinearSoftmaxClassifier, Softmax
from fastsoftmax.plotting import TrainingHistory, plot_loss_curve


@pytest.fixture
def samples(rng):
    X = rng.normal(size=(120, 5)) * [1, 2, 3, 4, 5]
    return X, np.array(["a", "b", "c"])[(X @ rng.normal(size=(5, 3))).argmax(axis=1)]


def lines_of(axes):
    return {line.get_label(): line.get_ydata() for line in axes.lines}


@pytest.mark.parametrize(
    "penalty",
    [
        {"penalty": "l2"},
        {"penalty": "l1"},
        {"penalty": "elasticnet", "l1_ratio": 0.3},
        {"penalty": None},
        {"penalty": "l2", "standardize": True},
        {"penalty": "l2", "solver": "lbfgs"},
    ],
    ids=str,
)
def test_a_history_has_loss_penalty_and_validation(samples, penalty):
    X, y = samples
    history = TrainingHistory(X[80:], y[80:])
    model = SoftmaxClassifier(
        max_iter=4, tol=None, alpha=0.05, callbacks=[history], random_state=0, **penalty
    ).fit(X[:80], y[:80])
    assert history.loss_curve_ == model.loss_curve_
    columns = np.searchsorted(model.classes_, y[80:])
    log_loss = -model.predict_log_proba(X[80:])[np.arange(40), columns].mean()
    assert history.validation_losses_[-1] == pytest.approx(log_loss, rel=1e-12)
    assert history.validation_scores_[-1] == model.score(X[80:], y[80:])
    coef = model.coef_ * (1 if model.scale_ is None else model.scale_)
    share = {"l1": 1, "elasticnet": 0.3}.get(penalty["penalty"], 0)
    expected = 0.05 * ((1 - share) / 2 * (coef**2).sum() + share * np.abs(coef).sum())
    expected *= penalty["penalty"] is not None
    assert history.penalty_curve_[-1] == pytest.approx(expected, rel=1e-12)
    assert len(history.penalty_curve_) == len(history.validation_losses_) == 4


def test_a_history_changes_nothing_and_forgets_the_fit_before(samples):
    X, y = samples
    settings = {"max_iter": 3, "tol": None, "random_state": 0}
    history = TrainingHistory()
    for _ in range(2):
        model = SoftmaxClassifier(**settings, callbacks=history).fit(X, y)
    assert np.array_equal(model.coef_, SoftmaxClassifier(**settings).fit(X, y).coef_)
    assert len(history.loss_curve_) == 3
    assert history.validation_losses_ is None
    assert history.validation_scores_ is None


def test_a_history_keeps_the_scores_of_early_stopping(samples):
    X, y = samples
    history = TrainingHistory(X, y)
    model = SoftmaxClassifier(
        max_iter=5, early_stopping=True, random_state=0, callbacks=history
    ).fit(X, y)
    assert history.validation_scores_ == model.validation_scores_
    assert len(history.validation_losses_) == len(model.loss_curve_)


def test_a_strange_validation_label_is_an_error(samples):
    X, y = samples
    history = TrainingHistory(X[:2], ["a", "x"])
    with pytest.raises(ValueError, match="y_validation: expected classes of the model, got 'x'"):
        SoftmaxClassifier(max_iter=1, tol=None, callbacks=history).fit(X, y)


def test_loss_and_penalty_are_told_apart_and_the_best_epoch_is_marked():
    history = TrainingHistory()
    history.loss_curve_, history.penalty_curve_ = [3.0, 2.0, 1.5], [0.5, 0.25, 0.25]
    history.validation_losses_ = [2.0, 1.0, 1.2]
    (axes,) = plot_loss_curve(history).axes
    drawn = lines_of(axes)
    assert drawn["training objective: loss + penalty"].tolist() == [3.0, 2.0, 1.5]
    assert drawn["training loss"].tolist() == [2.5, 1.75, 1.25]
    assert drawn["validation loss"].tolist() == [2.0, 1.0, 1.2]
    assert [text.get_text() for text in axes.texts] == ["best epoch: 2"]
    entries = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(entries) == 4
    assert "penalty" in entries

    history.validation_scores_ = [
        0.5,
        0.6,
        0.6,
    ]  # the first of the largest counts, as early stopping has it
    figure = plot_loss_curve(history)
    for axes in figure.axes:
        (line,) = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert list(line.get_xdata()) == [2, 2]
    assert figure.axes[1].get_ylabel() == "validation accuracy"


def test_a_picture_of_one_epoch_has_dots():
    history = TrainingHistory()
    history.loss_curve_, history.penalty_curve_ = [3.0], [0.5]
    history.validation_losses_, history.validation_scores_ = [2.0], [0.5]
    figure = plot_loss_curve(history)
    figure.draw_without_rendering()
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", "o", "o", "None"]


def test_histories_of_the_lecture_are_drawn(samples):
    X, y = samples
    labels = np.searchsorted(["a", "b", "c"], y)
    np.random.seed(0)  # noqa: NPY002
    history = Softmax().train(X, labels, learning_rate=1e-3, num_iters=30)
    (axes,) = plot_loss_curve(history, per="iteration").axes
    assert axes.lines[0].get_ydata().tolist() == history
    assert axes.get_xlabel() == "iteration"
    history = LinearSoftmaxClassifier().fit(X, labels, epochs=2)
    (axes,) = plot_loss_curve(np.array(history)).axes
    assert axes.lines[0].get_ydata().tolist() == history
    assert axes.get_xlabel() == "epoch"
    plot_loss_curve([1.0, np.inf]).draw_without_rendering()  # of a training run that diverged


def test_a_model_of_the_lecture_keeps_no_losses():
    with pytest.raises(
        TypeError, match=r"^model: Softmax keeps no losses; expected the loss history"
    ):
        plot_loss_curve(Softmax())
