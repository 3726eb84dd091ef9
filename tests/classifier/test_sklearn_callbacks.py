"""scikit-learn's callbacks see the epochs of a fit, score them, and stop it."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastsoftmax import DivergenceError, LogisticRegression, LogisticRegressionCV, SoftmaxClassifier

callback = pytest.importorskip("sklearn.callback")
X, Y = load_iris(return_X_y=True)
OPTIONS = {"random_state": 0, "max_iter": 6, "tol": None}


class Recorder:
    """Keeps what its hooks were called with."""

    # ruff: noqa: ARG002 - the protocol names the arguments

    max_propagation_depth = None

    def __init__(self, stops_after=None):
        self.stops_after, self.seen = stops_after, []

    def setup(self, estimator, context):
        self.seen.append(("setup", context, None))

    def teardown(self, estimator, context):
        self.seen.append(("teardown", context, None))

    def on_fit_task_begin(self, estimator, context, *, fitted_estimator=None):
        self.seen.append(("begin", context, fitted_estimator))

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self.data = (X, y, metadata)
        self.seen.append(("end", context, fitted_estimator))
        return self.stops_after is not None and context.task_id + 1 == self.stops_after

    def names(self):
        return [(what, context.task_name) for what, context, _ in self.seen]


class Own(Recorder):
    """A callback that meta-estimators do not pass on."""

    max_propagation_depth = property()


ESTIMATORS = {
    "sgd": (SoftmaxClassifier(**OPTIONS), "epoch"),
    "lbfgs": (SoftmaxClassifier(solver="lbfgs", **OPTIONS), "iteration"),
    "logistic": (LogisticRegression(max_iter=6, tol=0), "iteration"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.filterwarnings("ignore:fit ended")
def test_every_epoch_is_a_task_of_the_fit(name):
    estimator, unit = ESTIMATORS[name]
    recorder = Recorder()
    plain = clone(estimator).fit(X, Y)
    model = clone(estimator)
    assert model.set_callbacks(recorder) is model
    model.fit(X, Y, np.full(150, 2.0))
    expected = [("setup", "fit"), ("begin", "fit")]
    expected += [("begin", unit), ("end", unit)] * 6
    assert recorder.names() == [*expected, ("end", "fit"), ("teardown", "fit")]
    ids = [context.task_id for what, context, _ in recorder.seen if context.task_name == unit]
    assert ids == [i for i in range(6) for _ in range(2)]
    assert recorder.data[0] is X
    assert recorder.data[1] is Y
    assert recorder.data[2]["sample_weight"].tolist() == [2.0] * 150
    if name != "logistic":  # whose penalty is next to the sum of the weights
        assert np.array_equal(model.coef_, plain.coef_)
    ends = [m for what, context, m in recorder.seen if (what, context.task_name) == ("end", unit)]
    begins = [
        m for what, context, m in recorder.seen if (what, context.task_name) == ("begin", unit)
    ]
    assert np.array_equal(ends[-1].predict_proba(X), model.predict_proba(X))
    for end, begin in zip(ends[:-1], begins[1:], strict=True):
        assert np.array_equal(end.coef_, begin.coef_)
    assert begins[0].predict(X).shape == (150,)
    assert type(ends[0]) is type(model)
    kept = {key for key in vars(model) if key.startswith("_") and "callback" in key}
    assert kept == {"_skl_callbacks"}  # and no context of the fit
    model.set_callbacks()
    assert "_skl_callbacks" not in vars(model)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.filterwarnings("ignore:fit ended")
def test_a_callback_stops_the_fit_beside_ours(name):
    estimator, _ = ESTIMATORS[name]
    model = clone(estimator).set_callbacks(Recorder(), Recorder(stops_after=3), Recorder())
    seen = []
    if name != "logistic":
        model.set_params(callbacks=lambda state: seen.append(state.epoch))
    model.fit(X, Y)
    assert np.ravel(model.n_iter_).tolist() == [3]
    assert seen == ([] if name == "logistic" else [1, 2, 3])


def test_callbacks_of_scikit_learn_work():
    monitor = callback.ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    model = SoftmaxClassifier(**OPTIONS).set_callbacks(monitor)
    model.fit(X, Y)
    rows = monitor.get_logs().data
    epochs = [row for row in rows if row["task_name"] == "epoch"]
    assert len(epochs) == 6
    assert epochs[-1]["accuracy"] == model.score(X, Y)
    assert epochs[-1]["neg_log_loss"] > epochs[0]["neg_log_loss"]


def test_a_pipeline_passes_its_callbacks_on():
    recorder = Recorder()
    model = make_pipeline(StandardScaler(), SoftmaxClassifier(**OPTIONS))
    model.set_callbacks(recorder).fit(X, Y)
    assert recorder.names().count(("end", "epoch")) == 6
    (context,) = {c for what, c, _ in recorder.seen if (what, c.task_name) == ("setup", "fit")}
    root = next(c for what, c, _ in recorder.seen if c.task_name == "epoch")
    while root.parent is not None:
        root = root.parent
    assert root is context  # one tree of tasks
    assert recorder.names().count(("setup", "fit")) == 1
    kept = {key for key in vars(model[-1]) if key.startswith("_") and "callback" in key}
    assert kept == set()


def test_a_grid_search_uses_a_callback_in_every_fit():
    own = Own()
    model = SoftmaxClassifier(**OPTIONS).set_callbacks(own)
    GridSearchCV(model, {"alpha": [1e-3, 1e-2]}, cv=2).fit(X, Y)
    assert own.names().count(("setup", "fit")) == 5
    assert own.names().count(("end", "epoch")) == 5 * 6


def test_an_error_tears_down_and_keeps_the_model_of_its_epoch():
    class Failing(Recorder):
        def on_fit_task_end(self, estimator, context):
            super().on_fit_task_end(estimator, context)
            if context.task_id == 2:
                raise RuntimeError("enough")

    failing = Failing()
    model = SoftmaxClassifier(**OPTIONS).set_callbacks(failing)
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(X, Y)
    assert failing.names()[-1] == ("teardown", "fit")
    assert model.n_iter_ == 3
    assert not any("context" in key or "ctx" in key for key in vars(model))
    recorder = Recorder()
    model = SoftmaxClassifier(eta0=1e9, learning_rate="constant").set_callbacks(recorder)
    with pytest.raises(DivergenceError):
        model.fit(X, Y)
    assert recorder.names()[-1] == ("teardown", "fit")
    recorder.seen.clear()
    with pytest.raises(ValueError, match="max_iter"):
        model.set_params(max_iter=-1).fit(X, Y)
    assert recorder.seen == []  # nothing has begun


def test_clones_and_pickles_keep_callbacks_and_files_do_not(tmp_path):
    recorder = Recorder()
    model = SoftmaxClassifier(**OPTIONS).set_callbacks(recorder).fit(X, Y)
    assert clone(model)._skl_callbacks == [recorder]
    recorder.seen.clear()
    assert len(pickle.loads(pickle.dumps(model))._skl_callbacks) == 1
    model.save(tmp_path / "model.npz")
    assert not hasattr(SoftmaxClassifier.load(tmp_path / "model.npz"), "_skl_callbacks")


def test_what_is_no_callback_is_refused():
    for wrong in (print, Recorder, "progress"):
        with pytest.raises(TypeError, match="FitCallback"):
            SoftmaxClassifier().set_callbacks(wrong)
    assert hasattr(LogisticRegression(), "set_callbacks")
    assert not hasattr(LogisticRegressionCV(), "set_callbacks")  # as in scikit-learn
