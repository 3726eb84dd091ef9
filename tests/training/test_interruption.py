"""What is left after Ctrl-C, divergence and failed calls: whole steps, or the model as it was."""

import signal
import sys
import time
from itertools import count

import numpy as np
import pytest
from trajectories import interrupt_by_signal

from fastsoftmax import DivergenceError, SoftmaxClassifier
from fastsoftmax.backends import Data, Rule, State, get_backend
from fastsoftmax.training.holdout import HeldOut

ATTRIBUTES = ("coef_", "intercept_", "classes_", "loss_curve_", "n_iter_", "t_", "n_features_in_")


@pytest.fixture
def data(dtype, rng):
    return rng.normal(size=(40, 9)).astype(dtype), np.arange(40) % 3


def classifier(backend, **parameters):
    defaults = {"max_iter": 5, "tol": None, "batch_size": 8, "momentum": 0.5, "random_state": 3}
    defaults |= {"eta0": 0.01, "n_jobs": 1}  # as fast on a busy machine
    defaults["learning_rate"] = "constant"
    return SoftmaxClassifier(backend=backend, **defaults | parameters)


def attributes(model):
    """Copies of all that a model has learned."""
    return {name: np.copy(getattr(model, name)) for name in ATTRIBUTES if hasattr(model, name)}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


class Bomb:
    """A learning rate that is constant but for what it does at one step."""

    def __init__(self, step, blow, rate=0.1):
        self.step, self.blow, self.rate = step, blow, rate

    def __call__(self, step):
        return self.blow() if step == self.step else self.rate


def interrupt():
    raise KeyboardInterrupt


def test_ctrl_c_between_epochs_of_fit_keeps_them(backend, data):
    bomb = Bomb(13, interrupt)  # asked for before the third epoch of 5 steps
    model = classifier(backend, learning_rate=bomb)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data)
    two_epochs = classifier(backend, max_iter=2, eta0=0.1).fit(*data)
    assert_same(attributes(model), attributes(two_epochs))


class TimeIsUpError(Exception):
    """What a signal handler may raise."""


@pytest.mark.parametrize("error", [TimeIsUpError, ValueError, SystemExit])
@pytest.mark.parametrize("options", [{}, {"standardize": True}, {"average": True}], ids=str)
def test_what_a_signal_handler_raises_in_an_epoch_keeps_the_epochs_before(
    backend, data, options, error
):
    def handle(number, frame):
        raise error("enough")

    bomb = Bomb(11, lambda: signal.raise_signal(signal.SIGUSR1))  # in the third epoch of 5 steps
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        model = classifier(backend, learning_rate=bomb, **options)
        with pytest.raises(error, match="enough"):
            model.fit(*data)
    finally:
        signal.signal(signal.SIGUSR1, before)
    two_epochs = classifier(backend, max_iter=2, eta0=0.1, **options).fit(*data)
    assert_same(attributes(model), attributes(two_epochs))


def test_an_error_after_the_steps_of_an_epoch_takes_it_back(backend, data, monkeypatch):
    """A fault between the parts of the history: they stay as long as each other."""
    model = classifier(backend, early_stopping=True)
    score, calls = HeldOut.score, []

    def failing(self, *weights):
        calls.append(1)
        if len(calls) == 3:
            raise TimeIsUpError
        return score(self, *weights)

    monkeypatch.setattr(HeldOut, "score", failing)
    with pytest.raises(TimeIsUpError):
        model.fit(*data)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_scores_) == 2


def test_a_signal_in_an_epoch_leaves_a_whole_step(trainer, dtype, rng):
    kernels = get_backend(trainer.backend)
    n, d, c, batch_size, n_steps = 64, 784, 10, 32, 20_000
    data = Data(rng.normal(size=(n, d)).astype(dtype), rng.integers(c, size=n))
    order, rates = np.arange(n_steps * batch_size) % n, np.full(n_steps, 1e-3)
    rule = Rule(1e-3, 1e-6, 0.5, False)

    def zeros():
        return State(*(np.zeros(size, dtype) for size in ((c, d), c, (c, d), c)))

    kernels.sgd_epoch(data, zeros(), rule, order[:batch_size], batch_size, rates[:1], 2)  # warm
    interrupted = zeros()
    interrupt_by_signal(kernels, data, interrupted, rule, order, batch_size, rates)
    # Step by step to where all four arrays are, bit for bit.
    state, deadline = zeros(), time.monotonic() + 60
    for step in range(n_steps + 1):
        if all(np.array_equal(*pair) for pair in zip(state, interrupted, strict=True)):
            break
        assert time.monotonic() < deadline
        rows = order[step * batch_size : (step + 1) * batch_size]
        assert len(rows), "the weights are not those after any whole step"
        kernels.sgd_epoch(data, state, rule, rows, batch_size, rates[:1], 2)
    assert step < n_steps, "the epoch ended before the signal"


PYTHON_EPOCHS = {"naive": "minibatches", "vectorized": "vectorized_epoch", "numba": "numba_epoch"}


@pytest.mark.parametrize("penalty", ["l2", "elasticnet"])
@pytest.mark.parametrize("backend", PYTHON_EPOCHS)
def test_ctrl_c_on_any_line_of_an_epoch_leaves_a_whole_step(backend, rng, penalty):
    """A signal is handled between two lines, at the earliest: raise on each line of the module in turn."""
    kernels = get_backend(backend)
    n, d, c, size = 20, 3, 4, 4
    data = Data(rng.normal(size=(n, d)), rng.integers(c, size=n))
    rule = Rule(0.1, 0.05 if penalty == "elasticnet" else 0.0, 0.0, False)
    order, rates = np.arange(n), np.full(n // size, 0.1)

    def zeros():
        return State(np.zeros((c, d)), np.zeros(c), None, None)

    def after(n_steps):
        state = zeros()
        if n_steps:
            kernels.sgd_epoch(data, state, rule, order[: n_steps * size], size, rates[:n_steps], 1)
        return state

    whole = [after(n_steps) for n_steps in range(n // size + 1)]
    file = f"{PYTHON_EPOCHS[backend]}.py"
    ends = set()
    for line in count():
        left = line

        def trace(frame, event, argument):
            nonlocal left
            if not frame.f_code.co_filename.endswith(file):
                return None
            if event == "line":
                left -= 1
                if left == -1:
                    raise KeyboardInterrupt
            return trace

        state, before = zeros(), sys.gettrace()
        sys.settrace(trace)
        try:
            kernels.sgd_epoch(data, state, rule, order, size, rates, 1)
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            sys.settrace(before)
        steps = [i for i, w in enumerate(whole) if np.array_equal(w.coef, state.coef)]
        assert steps, f"the weights are not those after any whole step: line event {line}"
        assert np.array_equal(whole[steps[0]].intercept, state.intercept)
        ends.add(steps[0])
    assert ends >= ({0, 5} if backend == "numba" else {0, 1, 2, 3, 4, 5})


def too_fast(dtype):
    """A learning rate that takes the weights beyond the largest number in one step."""
    return float(np.finfo(dtype).max)


@pytest.mark.parametrize("penalty", [None, "l2", "l1"])
def test_divergence_keeps_the_last_good_epoch(trainer, dtype, data, penalty):
    X, y, backend = 100 * data[0], data[1], trainer.backend
    bomb = Bomb(11, lambda: too_fast(dtype), rate=1e-5)  # the second step of the third epoch
    parameters = {"penalty": penalty, "alpha": 1e-3}
    model = classifier(backend, learning_rate=bomb, **parameters)
    with pytest.raises(DivergenceError, match=r"^the loss became .* lower the learning rates"):
        model.fit(X, y)
    two_epochs = classifier(backend, max_iter=2, eta0=1e-5, **parameters).fit(X, y)
    assert_same(attributes(model), attributes(two_epochs))


def test_the_last_step_may_diverge_too(backend, dtype, data):
    X, y = 100 * data[0], data[1]
    bomb = Bomb(9, lambda: too_fast(dtype), rate=1e-5)  # no loss comes after it, to tell
    model = classifier(backend, learning_rate=bomb, max_iter=2)
    with pytest.raises(DivergenceError):
        model.fit(X, y)
    assert_same(attributes(model), attributes(classifier(backend, max_iter=1, eta0=1e-5).fit(X, y)))
    before = attributes(model)
    with pytest.raises(DivergenceError):
        model.partial_fit(X, y)
    assert_same(attributes(model), before)


@pytest.mark.parametrize("parameters", [{"eta0": 1e300}, {"alpha": 1e300, "eta0": 0.1}], ids=str)
def test_divergence_in_the_first_epoch_leaves_the_model_as_it_was(backend, dtype, data, parameters):
    model = classifier(backend, **parameters)
    with pytest.raises(DivergenceError):
        model.fit(*data)
    assert attributes(model) == {}
    fitted = classifier(backend).fit(*data)
    before = attributes(fitted)
    for method in (fitted.set_params(**parameters).fit, fitted.partial_fit):
        with pytest.raises(DivergenceError):
            method(*data)
        assert_same(attributes(fitted), before)


def bad_rows():
    """What may go wrong with X, y, or on the way: (name, error, message, change of data)."""

    def with_value(value, row):
        def change(X, y):
            X[row, 4] = value

        return change

    def with_label(X, y):
        y[5] = 77

    yield "NaN", ValueError, r"^X: .*NaN in row 17$", with_value(np.nan, 17)
    yield "inf", ValueError, r"^X: .*inf in row 39$", with_value(np.inf, 39)
    yield "-inf", ValueError, r"^X: .*inf in row 0$", with_value(-np.inf, 0)
    yield "label", ValueError, r"^y: .*77", with_label


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [entry[1:] for entry in bad_rows()],
    ids=[entry[0] for entry in bad_rows()],
)
@pytest.mark.parametrize("replacement", [False, True], ids=["", "replacement"])
def test_a_failed_partial_fit_never_was(backend, dtype, data, error, message, change, replacement):
    X, y = data
    # With replacement a sample may not be drawn: one batch of many copies has them all.
    models = [classifier(backend, replacement=replacement) for _ in range(2)]
    for model in models:
        model.partial_fit(X, y, classes=[0, 1, 2])
    before = attributes(models[0])
    bad_X, bad_y = X.copy(), y.copy()
    change(bad_X, bad_y)
    if replacement and error is ValueError and message.startswith("^X"):
        bad_X[:] = bad_X[np.isnan(bad_X).any(axis=1) | np.isinf(bad_X).any(axis=1)][0]
        message = "^X: .*row"
    copies = bad_X.copy(), bad_y.copy()
    with pytest.raises(error, match=message):
        models[0].partial_fit(bad_X, bad_y)
    np.testing.assert_array_equal(bad_X, copies[0])
    np.testing.assert_array_equal(bad_y, copies[1])
    assert_same(attributes(models[0]), before)
    for model in models:
        model.partial_fit(X, y)
    assert_same(attributes(models[0]), attributes(models[1]))


@pytest.mark.parametrize(
    ("blow", "error"),
    [
        (interrupt, KeyboardInterrupt),
        (lambda: np.nan, ValueError),
        (lambda: "fast", TypeError),
        (lambda: None, TypeError),
        (lambda: 1j, TypeError),
    ],
    ids=["Ctrl-C", "NaN", "str", "None", "complex"],
)
def test_a_partial_fit_that_fails_on_the_way_never_was(backend, data, blow, error):
    models = [classifier(backend) for _ in range(2)]
    for model in models:
        model.partial_fit(*data, classes=[0, 1, 2])
    before = attributes(models[0])
    models[0].set_params(learning_rate=Bomb(7, blow))
    message = None if error is KeyboardInterrupt else "^learning_rate: .*step 7"
    with pytest.raises(error, match=message):
        models[0].partial_fit(*data)
    assert_same(attributes(models[0]), before)
    models[0].set_params(learning_rate="constant")
    for model in models:
        model.partial_fit(*data)
    assert_same(attributes(models[0]), attributes(models[1]))


def test_a_failed_first_partial_fit_leaves_nothing(backend, data):
    X, y = data
    model = classifier(backend)
    with pytest.raises(ValueError, match=r"^X: .*NaN in row 3"):
        model.partial_fit(np.where(np.arange(40)[:, None] == 3, np.nan, X), y, classes=[0, 1, 2])
    assert attributes(model) == {}
    model.partial_fit(X, y, classes=[0, 1, 2])
    assert_same(
        attributes(model),
        attributes(classifier(backend).partial_fit(X, y, classes=[0, 1, 2])),
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 7, 8, 39])
@pytest.mark.parametrize("convert", [np.asarray, np.asfortranarray, lambda X: X.astype(">f8")])
def test_fit_names_the_row_that_is_not_finite(backend, data, value, row, convert):
    X, y = data
    X = X.copy()
    X[row, 2] = value
    fitted = classifier(backend, max_iter=1).fit(*data)
    before = attributes(fitted)
    kind = "NaN" if np.isnan(value) else "inf"
    with pytest.raises(ValueError, match=rf"^X: expected finite numbers, got {kind} in row {row}$"):
        fitted.fit(convert(X), y)
    assert_same(attributes(fitted), before)
