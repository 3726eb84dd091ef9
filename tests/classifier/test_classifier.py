"""`SoftmaxClassifier` as an estimator: labels, predictions, stopping, seeds and parameters."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import oracle
import pytest

from fastsoftmax import NotFittedError, SoftmaxClassifier


@pytest.fixture
def data(rng):
    """Three clouds of points, not quite apart."""
    y = np.arange(60) % 3
    return rng.normal(size=(60, 5)) + 2 * np.eye(5)[y], y


def classifier(backend="auto", **parameters):
    defaults = {"max_iter": 5, "tol": None, "eta0": 0.1, "batch_size": 16, "random_state": 0}
    defaults["learning_rate"] = "constant"
    defaults["n_jobs"] = 1  # as fast on a busy machine
    return SoftmaxClassifier(backend=backend, **defaults | parameters)


LABELS = {
    "integers with gaps": [-5, 0, 10**12],
    "numpy integers": np.array([3, 1, 2], np.int8),
    "large unsigned": np.array([2**64 - 1, 0, 1], np.uint64),
    "strings": ["dog", "cat", "ant"],
    "bytes": [b"b", b"a", b"c"],
    "objects": np.array(["x", "yy", "z"], object),
    "big-endian": np.array([7, 8, 9], ">i4"),
    "whole floats": [1.0, -2.0, 5.0],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_labels_of_any_kind(backend, data, labels):
    X, indices = data
    classes = np.unique(labels)
    y = classes[indices]
    model = classifier(backend).fit(X, y)
    expected = classifier(backend).fit(X, indices)
    np.testing.assert_array_equal(model.classes_, classes)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict(X), classes[expected.predict(X)])
    assert model.score(X, y) == expected.score(X, indices) > 0.8
    assert model.predict(X).dtype == classes.dtype
    in_parts = classifier(backend).partial_fit(X, y.tolist(), classes=labels)
    np.testing.assert_array_equal(in_parts.classes_, classes)


def test_two_classes(backend, data):
    X, y = data
    model = classifier(backend).fit(X, y == 1)
    assert model.classes_.tolist() == [False, True]
    decision, p = model.decision_function(X), model.predict_proba(X)
    assert model.coef_.shape == (2, 5)
    assert decision.shape == (60,)
    np.testing.assert_array_equal(decision > 0, model.predict(X))
    np.testing.assert_allclose(decision, np.log(p[:, 1] / p[:, 0]), rtol=1e-10)


def test_predictions_match_the_oracle(backend, dtype, data):
    X, y = data[0].astype(dtype), data[1]
    model = classifier(backend).fit(X, y)
    logits = model.decision_function(X)
    assert logits.dtype == dtype
    exact = X.astype(np.longdouble) @ model.coef_.T.astype(np.longdouble) + model.intercept_
    error = (5 + 2) * np.finfo(dtype).eps * (np.abs(X) @ np.abs(model.coef_.T) + 1).max()
    np.testing.assert_allclose(logits, exact.astype(float), rtol=0, atol=error)
    expected = oracle.rows(logits, y)
    expected.softmax.check(model.predict_proba(X))
    expected.log_softmax.check(model.predict_log_proba(X))
    np.testing.assert_array_equal(model.predict(X), logits.argmax(axis=1))
    assert model.score(X, y) == np.mean(logits.argmax(axis=1) == y)


def test_predictions_in_blocks_are_those_of_the_whole(data, monkeypatch):
    X, y = data
    model = classifier().fit(X, y)
    whole = model.decision_function(X)
    monkeypatch.setattr("fastsoftmax.training.prediction._BLOCK_BYTES", 1)
    np.testing.assert_allclose(model.decision_function(X), whole, rtol=0, atol=1e-14)


def test_no_samples_give_no_predictions(backend, data):
    X, y = data
    model = classifier(backend).fit(X, y)
    assert model.predict(X[:0]).shape == (0,)
    assert model.predict(X[:0]).dtype == y.dtype
    assert model.predict_proba(X[:0]).shape == (0, 3)
    assert model.predict_log_proba(X[:0]).shape == (0, 3)
    assert model.decision_function(X[:0]).shape == (0, 3)


METHODS = ["decision_function", "predict", "predict_proba", "predict_log_proba", "score"]


@pytest.mark.parametrize("method", METHODS)
def test_before_fit(data, method):
    arguments = data if method == "score" else data[:1]
    with pytest.raises(NotFittedError, match=r"not fitted.*fit"):
        getattr(classifier(), method)(*arguments)


def test_attributes(backend, dtype, data):
    X, y = data[0].astype(dtype), data[1]
    model = classifier(backend)
    assert model.fit(X, y) is model
    assert model.coef_.shape == (3, 5)
    assert model.intercept_.shape == (3,)
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    assert (model.n_features_in_, model.n_iter_, model.t_) == (5, 5, 20)
    assert all(type(loss) is float for loss in model.loss_curve_)
    assert model.loss_curve_[0] > model.loss_curve_[-1]
    without = classifier(backend, fit_intercept=False).fit(X, y)
    np.testing.assert_array_equal(without.intercept_, np.zeros(3))
    # Another fit starts anew.
    assert model.fit(X, y).t_ == 20


def test_tol_stops(data):
    curve = classifier(max_iter=200).fit(*data).loss_curve_
    for tol, patience in ((2e-2, 1), (2e-3, 3), (0.0, 5), (10.0, 2)):
        model = classifier(max_iter=200, tol=tol, n_iter_no_change=patience).fit(*data)
        best, without_gain, expected = np.inf, 0, 0
        for loss in curve:
            expected += 1
            fall = np.log(3) - min(best, loss)
            without_gain = 0 if loss < best - tol * fall else without_gain + 1
            best = min(best, loss)
            if without_gain == patience:
                break
        assert model.n_iter_ == expected
        assert model.loss_curve_ == curve[:expected]
    assert classifier(max_iter=200, tol=10.0, n_iter_no_change=2).fit(*data).n_iter_ == 3


def test_a_first_partial_fit_that_fails_draws_nothing_from_the_generator(backend):
    X, y = np.ones((4, 2)), [0, 1, 0, 1]
    bad = X.copy()
    bad[1, 0] = np.nan
    after_a_failure, fresh = np.random.default_rng(5), np.random.default_rng(5)
    with pytest.raises(ValueError, match=r"^X: .* NaN in row 1"):
        classifier(backend, random_state=after_a_failure).partial_fit(bad, y, [0, 1])
    assert after_a_failure.bit_generator.state == fresh.bit_generator.state
    classifier(backend, random_state=fresh).partial_fit(X, y, [0, 1])
    assert after_a_failure.bit_generator.state != fresh.bit_generator.state


def test_the_seed_fixes_the_trajectory(backend, data):
    def curve(seed):
        return classifier(backend, random_state=seed).fit(*data).loss_curve_

    assert curve(1) == curve(1) == curve(np.uint8(1))
    assert curve(1) != curve(2)
    assert curve(np.random.default_rng(1)) == curve(np.random.default_rng(1))
    assert curve(np.random.RandomState(1)) == curve(np.random.RandomState(1))
    generator = np.random.default_rng(1)
    assert curve(generator) != curve(generator)  # drawn from
    assert curve(None) != curve(None)


def test_fit_is_that_of_any_order_of_calls(data):
    model = classifier()
    first = model.fit(*data).coef_
    copied = first.copy()
    model.partial_fit(*data)
    np.testing.assert_array_equal(first, copied)  # arrays handed out are not written to
    np.testing.assert_array_equal(model.fit(*data).coef_, copied)


def test_partial_fit_with_other_parameters(backend, data):
    model = classifier(backend).partial_fit(*data, classes=[0, 1, 2])
    before = model.coef_.copy()
    model.set_params(momentum=0.9, penalty="l1").partial_fit(*data)
    model.set_params(momentum=0.0, penalty=None, batch_size=60).partial_fit(*data)
    assert model.n_iter_ == 3
    assert model.t_ == 4 + 4 + 1
    assert not np.array_equal(model.coef_, before)


def test_partial_fit_keeps_the_dtype_of_the_first_call(backend, data):
    X, y = data
    model = classifier(backend).partial_fit(X.astype(np.float32), y, classes=[0, 1, 2])
    assert model.partial_fit(X, y).coef_.dtype == np.float32
    model = classifier(backend).partial_fit(X, y, classes=[0, 1, 2])
    assert model.partial_fit(X.astype(np.float32), y).coef_.dtype == np.float64


@pytest.mark.parametrize("kind", [np.ndarray.tolist, np.asfortranarray, lambda a: a.astype(">f8")])
def test_attributes_may_be_replaced(backend, data, kind):
    models = [classifier(backend, momentum=0.5).fit(*data) for _ in range(2)]
    models[0].coef_, models[0].intercept_ = kind(models[0].coef_), kind(models[0].intercept_)
    for model in models:
        model.partial_fit(*data)
    np.testing.assert_array_equal(models[0].coef_, models[1].coef_)
    np.testing.assert_array_equal(models[0].intercept_, models[1].intercept_)


def test_attributes_may_be_replaced_by_other_numbers(backend, dtype, data):
    model = classifier(backend, momentum=0.5).fit(data[0].astype(dtype), data[1])
    twin = copy.deepcopy(model)
    model.coef_, model.intercept_ = np.ones((3, 5), int), np.arange(3, dtype=np.float32)
    twin.coef_, twin.intercept_ = np.ones((3, 5), dtype), np.arange(3, dtype=dtype)
    for one in (model, twin):
        one.partial_fit(*data)
    np.testing.assert_allclose(model.coef_, twin.coef_, rtol=1e-5)
    np.testing.assert_allclose(model.intercept_, twin.intercept_, rtol=1e-5)


def test_the_penalty_of_many_classes_loses_no_digits(backend, dtype):
    n_classes = 2000
    X, y = np.eye(4, 20).astype(dtype), np.arange(4)
    model = SoftmaxClassifier(backend=backend, alpha=1.0, eta0=1e-6, n_jobs=1)
    model.partial_fit(X, y, classes=np.arange(n_classes))
    model.coef_ = np.full((n_classes, 20), 0.3, dtype)
    objective = model.partial_fit(X, y).loss_curve_[-1]
    # Equal weights: log(n_classes), up to the intercept's first step of 1e-6, and the penalty.
    expected = np.log(n_classes) + n_classes * 20 * float(dtype(0.3)) ** 2 / 2
    assert objective == pytest.approx(expected, rel=float(np.finfo(dtype).eps) + 1e-8)


class Twice(SoftmaxClassifier):
    def __init__(self, *, times=2, **parameters):
        super().__init__(**parameters)
        self.times = times


def test_a_subclass_has_its_own_parameters_too():
    model = Twice(times=3, alpha=0.5)
    assert repr(model) == "Twice(alpha=0.5, times=3)"
    assert model.get_params() == SoftmaxClassifier(alpha=0.5).get_params() | {"times": 3}
    assert model.set_params(times=4).times == 4


def test_a_broken_pipe_in_partial_fit_leaves_the_model(data, monkeypatch):
    model = SoftmaxClassifier(max_iter=1, n_jobs=1).fit(*data)
    before = model.coef_.copy()

    def broken(*words):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", broken)
    with pytest.raises(BrokenPipeError):
        model.set_params(verbose=1).partial_fit(*data)
    np.testing.assert_array_equal(model.coef_, before)
    assert model.n_iter_ == 1


def test_a_number_beyond_the_dtype_of_the_model_is_named(backend):
    model = SoftmaxClassifier(backend=backend, max_iter=1)
    model.fit(np.float32([[1], [2]]), [0, 1])
    for call in (lambda X: model.partial_fit(X, [0, 1]), model.predict):
        with pytest.raises(ValueError, match=r"^X: a number in row 1 overflows float32"):
            call([[1.0], [1e300]])


# In a process of its own: a kernel that trusts the shapes would take this one along.
WRONG_SHAPES = """
import sys
import numpy as np
from fastsoftmax import SoftmaxClassifier

X, y = np.eye(6), [0, 1, 2] * 2
for name, shape in (("coef_", (3, 2)), ("coef_", (2, 6)), ("coef_", (6,)), ("intercept_", (1,))):
    model = SoftmaxClassifier(backend=sys.argv[1], max_iter=1, n_jobs=1).fit(X, y)
    setattr(model, name, np.zeros(shape))
    for call in (lambda: model.partial_fit(X, y), lambda: model.predict(X)):
        try:
            call()
        except ValueError as error:
            assert str(error).startswith(name + ":"), error
        else:
            raise AssertionError((name, shape))
"""


@pytest.mark.costly
def test_attributes_of_a_wrong_shape_are_named(backend):
    command = [sys.executable, "-c", WRONG_SHAPES, backend]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_partial_fit_may_see_some_classes_only(backend, data):
    X, y = data
    model = classifier(backend).partial_fit(X[y == 1], y[y == 1], classes=[2, 1, 0])
    assert model.classes_.tolist() == [0, 1, 2]
    # Neither was seen. A BLAS may sum equal columns in different orders: n roundings of the largest.
    atol = len(X) * np.finfo(X.dtype).eps * np.abs(model.coef_).max()
    np.testing.assert_allclose(model.coef_[0], model.coef_[2], rtol=0, atol=atol)
    assert (model.coef_[0] != model.coef_[1]).all()
    assert model.score(X[y == 1], y[y == 1]) > 0.9


def test_verbose_prints_every_epoch(data, capsys):
    model = classifier(max_iter=3, verbose=1).fit(*data)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"epoch {i + 1}: loss {loss:.6g}" for i, loss in enumerate(model.loss_curve_)]
    model.partial_fit(*data)
    assert capsys.readouterr().out.startswith("epoch 4: loss ")
    model.set_params(verbose=0).fit(*data)
    assert capsys.readouterr().out == ""


def test_parameters():
    model = classifier(eta0=0.3)
    parameters = model.get_params()
    assert parameters["eta0"] == 0.3
    assert SoftmaxClassifier(**parameters).get_params(deep=False) == parameters
    assert model.set_params(eta0=0.5, alpha=0.1) is model
    assert (model.eta0, model.alpha) == (0.5, 0.1)
    before = model.get_params()
    with pytest.raises(ValueError, match=r"^leaning_rate: not a parameter.*learning_rate"):
        model.set_params(eta0=0.7, leaning_rate="constant")
    assert model.get_params() == before
    assert repr(SoftmaxClassifier(eta0=0.5, penalty=None)) == (
        "SoftmaxClassifier(penalty=None, eta0=0.5)"
    )
    with pytest.raises(TypeError):
        SoftmaxClassifier("naive")  # by name only


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_go_on_alike(backend, data, duplicate):
    model = classifier(backend, momentum=0.9).partial_fit(*data, classes=[0, 1, 2])
    twin = duplicate(model)
    model.partial_fit(*data)
    twin.partial_fit(*data)
    np.testing.assert_array_equal(model.coef_, twin.coef_)
    assert model.loss_curve_ == twin.loss_curve_


def test_scikit_learn_clones_it(data):
    from sklearn.base import clone

    model = classifier(eta0=0.3).fit(*data)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "coef_")


def test_it_inherits_nothing():
    bases = SoftmaxClassifier.__mro__[:-1]
    assert all(base.__module__.startswith("fastsoftmax.") for base in bases)


SHARED = {
    "SGDClassifier": {"penalty", "alpha", "l1_ratio", "fit_intercept", "max_iter", "tol"}
    | {"n_iter_no_change", "shuffle", "learning_rate", "eta0", "power_t", "random_state"}
    | {"n_jobs", "verbose"},
    "MLPClassifier": {"alpha", "batch_size", "max_iter", "tol", "n_iter_no_change", "momentum"}
    | {"learning_rate", "power_t", "shuffle", "random_state", "verbose"},
}


def test_parameters_have_the_names_of_scikit_learn():
    from sklearn.linear_model import SGDClassifier
    from sklearn.neural_network import MLPClassifier

    ours = SoftmaxClassifier().get_params()
    for peer in (SGDClassifier, MLPClassifier):
        assert SHARED[peer.__name__] <= ours.keys() & peer().get_params().keys()
