"""`fastsoftmax.lecture`: the classifiers and their training, by the oracle and by the notebooks' checks."""

import numpy as np
import oracle
import pytest

from fastsoftmax import NotFittedError
from fastsoftmax.lecture import LinearClassifier, LinearSoftmaxClassifier, Softmax

EPS = np.finfo(np.float64).eps


@pytest.fixture
def seed():
    """Seed NumPy's global generator, as a notebook does."""
    return np.random.seed


@pytest.fixture
def images(rng):
    """Made-up images in ten classes that are far apart, 8x8x3 less their mean and a column of ones."""
    y = rng.integers(10, size=300)
    pixels = rng.integers(256, size=(10, 192))[y] + rng.normal(scale=20, size=(300, 192))
    return np.hstack([pixels - pixels.mean(axis=0), np.ones((300, 1))]), y


@pytest.fixture
def small(rng):
    return rng.normal(size=(23, 4)), rng.integers(3, size=23)


def first_weights(n_features, n_classes):
    return 0.001 * np.random.randn(n_features, n_classes)  # noqa: NPY002


def training(model):
    """The method that trains it."""
    return model.train if isinstance(model, LinearClassifier) else model.fit


def trajectory(X, y, W, orders, batch_size, rate, reg):
    """The oracle's SGD from the weights W, one epoch for each of `orders`."""
    none = np.zeros(W.shape[1])
    start = oracle.Trajectory(W.T, none, np.zeros(W.T.shape), none, [])
    return oracle.sgd(
        X,
        y,
        orders,
        batch_size,
        lambda _: rate,
        start=start,
        n_classes=W.shape[1],
        l2=reg,
        fit_intercept=False,
    )


# --- against the oracle, from the same seed


@pytest.mark.parametrize("batch_size", [5, 40])
def test_train_draws_and_steps_as_the_course_does(backend, small, seed, batch_size):
    X, y = small
    seed(1)
    W = first_weights(4, 3)
    orders = [np.random.choice(23, batch_size) for _ in range(30)]  # noqa: NPY002
    expected = trajectory(X, y, W, orders, batch_size, rate=0.1, reg=0.01)
    seed(1)
    softmax = Softmax(backend=backend)
    history = softmax.train(X, y, learning_rate=0.1, reg=0.01, num_iters=30, batch_size=batch_size)
    assert len(history) == 30
    # A step multiplies the error of W by at most 1 (the loss is convex, the rate small) and adds that
    # of a gradient, sums of at most 40 numbers below 10; 1e-12 is 30 steps of it and some.
    np.testing.assert_allclose(history, expected.curve, rtol=1e-12)
    np.testing.assert_allclose(softmax.W, expected.coef.T.astype(float), rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_fit_shuffles_and_steps_as_the_course_does(backend, small, seed, batch_size, capsys):
    X, y = small
    seed(2)
    W, orders = first_weights(4, 3), []
    for _ in range(3):
        order = np.arange(23)
        np.random.shuffle(order)  # noqa: NPY002
        orders.append(order)
    expected = trajectory(X, y, W, orders, batch_size, rate=0.1, reg=0.01)
    seed(2)
    classifier = LinearSoftmaxClassifier(backend=backend)
    history = classifier.fit(X, y, batch_size=batch_size, learning_rate=0.1, reg=0.01, epochs=3)
    # as above, with at most 69 steps
    np.testing.assert_allclose(history, expected.curve, rtol=1e-12)
    np.testing.assert_allclose(classifier.W, expected.coef.T.astype(float), rtol=0, atol=1e-12)
    printed = capsys.readouterr().out
    assert printed == "".join(f"Epoch {i}, loss: {loss:f}\n" for i, loss in enumerate(history))


@pytest.mark.parametrize("classifier", [Softmax, LinearSoftmaxClassifier])
def test_the_first_weights_are_those_of_the_seed(classifier, small, seed):
    X, y = small
    seed(3)
    expected = first_weights(4, 3)
    seed(3)
    model = classifier()
    assert model.W is None
    none = model.train(X, y, num_iters=0) if classifier is Softmax else model.fit(X, y, epochs=0)
    assert none == []
    np.testing.assert_array_equal(model.W, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_labels_of_any_integer_type(small, seed, dtype, capsys):
    X, y = small
    histories = []
    for labels in (y, y.astype(dtype), y.astype(dtype).reshape(-1, 1)):
        seed(4)
        histories.append(Softmax().train(X, labels, num_iters=3))
        seed(4)
        assert LinearSoftmaxClassifier().fit(X, labels, epochs=2)[-1] > 0
    assert histories[0] == histories[1] == histories[2]
    seed(4)
    model = Softmax()
    model.train(X[:1], np.array([255], np.uint8), num_iters=1)
    assert model.W.shape == (4, 256)
    capsys.readouterr()


# --- the checks of the notebooks


def test_the_loss_falls_and_the_predictions_are_good(images, seed, capsys):
    X, y = images
    X_val, y_val, X, y = X[:100], y[:100], X[100:], y[100:]
    seed(5)
    softmax = Softmax()
    loss_hist = softmax.train(X, y, learning_rate=1e-6, reg=100.0, num_iters=201, verbose=True)
    assert len(loss_hist) == 201
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"iteration {i} / 201: loss {loss_hist[i]:f}" for i in (0, 100, 200)]
    assert np.mean(loss_hist[-20:]) < 0.5 * loss_hist[0]
    # The means of the classes are some 1400 apart, the noise is 20 in each direction.
    assert np.mean(softmax.predict(X) == y) == 1
    predicted = softmax.predict(X_val)
    assert predicted.shape == (100,)
    assert predicted.dtype == np.int64
    assert np.mean(predicted == y_val) == 1
    templates = softmax.W[:-1, :].reshape(8, 8, 3, 10)
    assert np.isfinite(templates).all()


def test_the_loss_of_an_epoch_falls_and_a_second_fit_goes_on(images, seed, capsys):
    X, y = images
    X = X / 255
    seed(6)
    classifier = LinearSoftmaxClassifier()
    history = classifier.fit(X, y, epochs=10, learning_rate=0.05, batch_size=30, reg=1e-3)
    assert len(history) == 10
    assert history == sorted(history, reverse=True)
    assert history[-1] < 0.5 * history[0]
    more = classifier.fit(X, y, epochs=10, learning_rate=0.05, batch_size=30, reg=1e-3)
    assert more[0] < history[-1]
    assert np.mean(classifier.predict(X) == y) == 1
    assert capsys.readouterr().out.count("Epoch 0, loss: ") == 2


def test_training_twice_goes_on_from_the_weights(small, seed):
    X, y = small
    seed(7)
    once = Softmax()
    all_at_once = once.train(X, y, num_iters=20)
    seed(7)
    twice = Softmax()
    parts = twice.train(X, y, num_iters=12) + twice.train(X, y, num_iters=8)
    assert parts == all_at_once
    np.testing.assert_array_equal(twice.W, once.W)


def test_training_leaves_the_data_and_the_weights_it_was_given(small):
    X, y = small
    W = np.zeros((4, 3))
    before = X.copy(), y.copy(), W.copy()
    softmax = Softmax()
    softmax.W = W
    softmax.train(X, y, num_iters=3)
    for now, then in zip((X, y, W), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert softmax.W is not W


def test_a_subclass_defines_its_own_loss(small):
    class Pull(LinearClassifier):
        """Pulls W to 1; counts the minibatches that it gets."""

        seen = ()

        def loss(self, X_batch, y_batch, reg):
            self.seen += ((X_batch.shape, y_batch.shape, reg),)
            return float(np.sum((self.W - 1) ** 2)), 2 * (self.W - 1)

    X, y = small
    model = Pull()
    history = model.train(X, y, learning_rate=0.25, reg=0.5, num_iters=40, batch_size=7)
    assert model.seen == (((7, 4), (7,), 0.5),) * 40
    # each step halves the distance to 1, to which the weights are rounded
    np.testing.assert_allclose(model.W, 1, rtol=0, atol=2.0**-39 + 2 * EPS)
    assert history[-1] < history[0]


def test_softmax_loss_is_that_of_its_weights(small):
    X, y = small
    softmax = Softmax()
    softmax.W = np.zeros((4, 3))
    loss, dW = softmax.loss(X, y, reg=1.0)
    assert loss == pytest.approx(np.log(3), rel=30 * EPS)
    assert dW.shape == (4, 3)


@pytest.mark.parametrize("cast", [np.float32, np.float16, lambda X: (X * 50).astype(np.int8)])
@pytest.mark.parametrize("n_rows", [0, 1, 1025])
def test_predict_takes_any_numbers_and_any_number_of_rows(rng, cast, n_rows):
    X = cast(rng.normal(size=(n_rows, 4)))
    softmax = Softmax()
    softmax.W = rng.normal(size=(4, 3))
    expected = [int(np.argmax(x @ softmax.W)) for x in X.astype(float)]
    assert softmax.predict(X).tolist() == expected


def test_the_weights_are_saved_and_loaded(tmp_path, monkeypatch, small, capsys):
    monkeypatch.chdir(tmp_path)
    softmax, loaded = Softmax(), Softmax()
    softmax.train(*small, num_iters=2)
    assert loaded.load("softmax.npy") is False
    assert loaded.W is None
    softmax.save("softmax.npy")
    assert loaded.load("softmax.npy") is True
    np.testing.assert_array_equal(loaded.W, softmax.W)
    softmax.save(tmp_path / "other")
    assert loaded.load(tmp_path / "other") is True
    assert (tmp_path / "other.npy").is_file()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["softmax.npy not available.", "softmax.npy saved.", "softmax.npy loaded."]


# --- rates that are too large, as those in the notebooks' search for the best


def test_divergence_warns_and_leaves_the_last_good_weights(backend, images):
    X, y = images
    softmax = Softmax(backend=backend)
    with pytest.warns(
        RuntimeWarning, match="loss became .* lower learning_rate .*1e-06.* reg"
    ) as w:
        # each step multiplies the weights by 1 - 2 * 1e-6 * 5e7 = -99
        history = softmax.train(X[:20], y[:20], 1e-6, reg=5e7, num_iters=300, batch_size=20)
    assert w[0].filename == __file__
    assert len(history) < 300
    assert np.isfinite(history[:-1]).all()
    assert not np.isfinite(history[-1])
    loss, dW = softmax.loss(X, y, 5e7)
    assert np.isfinite(loss)
    assert np.isfinite(dW).all()
    assert softmax.predict(X).shape == (300,)


def test_divergence_in_the_middle_of_an_epoch(images, capsys):
    X, y = images
    classifier = LinearSoftmaxClassifier()
    with pytest.warns(RuntimeWarning, match="at epoch 7, where the training stopped"):
        # 10 steps an epoch, each 99 times the last: the loss passes 1e308 after 76 of them
        history = classifier.fit(X, y, batch_size=30, learning_rate=1e-6, reg=5e7, epochs=50)
    assert np.isfinite(history[:-1]).all()
    assert history[-1] == np.inf
    assert classifier.predict(X).shape == (300,)
    assert len(capsys.readouterr().out.splitlines()) == len(history) == 8


def test_scores_that_overflow_are_divergence(small):
    softmax = Softmax()
    with pytest.warns(RuntimeWarning, match="loss became inf at iteration 1"):
        softmax.train(small[0] * 1e10, small[1], learning_rate=1e300, reg=0, num_iters=10)
    assert np.abs(softmax.W).max() < 0.01  # the first weights: the first step was too long


# --- what is refused, in the course's words


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"X": np.ones(23)}, ValueError, r"X: expected shape \(n_samples, n_features\)"),
        ({"X": np.ones((0, 4)), "y": []}, ValueError, "X: expected at least one sample"),
        ({"X": [["a"] * 4] * 23}, TypeError, "X: expected real numbers"),
        ({"y": np.zeros(22, int)}, ValueError, r"y: expected one label for each of 23 samples"),
        ({"y": np.zeros(23)}, TypeError, "y: expected integer labels, got dtype float64"),
        ({"y": np.arange(23) - 3}, ValueError, "y: expected labels .* got -3 in row 0"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate: "),
        ({"learning_rate": None}, TypeError, "learning_rate: "),
        ({"reg": -1.0}, ValueError, "reg: "),
        ({"reg": np.inf}, ValueError, "reg: "),
        ({"batch_size": 0}, ValueError, "batch_size: "),
        ({"batch_size": 2.5}, TypeError, "batch_size: "),
        ({"num_iters": -1}, ValueError, "num_iters: "),
    ],
)
@pytest.mark.parametrize("classifier", [Softmax, LinearSoftmaxClassifier])
def test_training_refuses_and_the_model_stays_untrained(
    classifier, small, arguments, error, message
):
    model = classifier()
    arguments = {"X": small[0], "y": small[1]} | arguments
    if classifier is LinearSoftmaxClassifier:
        arguments = {name.replace("num_iters", "epochs"): a for name, a in arguments.items()}
        message = message.replace("num_iters", "epochs")
    with pytest.raises(error, match=message):
        training(model)(**arguments)
    assert model.W is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("run", [lambda X, y: Softmax().train(X, y), LinearSoftmaxClassifier().fit])
def test_training_names_the_row_of_X_that_is_not_finite(small, bad, run):
    X, y = small
    X = X.copy()
    X[17, 2] = bad
    kind = "NaN" if np.isnan(bad) else "inf"
    with pytest.raises(ValueError, match=f"X: expected finite numbers, got {kind} in row 17"):
        run(X, y)


@pytest.mark.parametrize("classifier", [Softmax, LinearSoftmaxClassifier])
def test_further_training_fits_the_weights(classifier, small):
    X, y = small
    model = classifier()
    model.W = W = np.zeros((4, 3))
    run = training(model)
    with pytest.raises(ValueError, match="X: expected 4 features, the rows of W, got 3"):
        run(X[:, :3], y)
    with pytest.raises(ValueError, match="y: expected labels from 0 to 2, got 3 in row 5"):
        run(X, np.where(np.arange(23) == 5, 3, y))
    assert model.W is W
    model.W = np.full((4, 3), np.nan)
    with pytest.raises(ValueError, match=r"W: expected finite numbers, got nan at index \(0, 0\)"):
        run(X, y)
    model.W = np.zeros(4)
    with pytest.raises(ValueError, match=r"W: expected shape \(n_features, n_classes\)"):
        run(X, y)


@pytest.mark.parametrize("classifier", [Softmax, LinearSoftmaxClassifier])
def test_predict_refuses(classifier):
    model = classifier()
    with pytest.raises(NotFittedError, match="has no weights W yet: train it first"):
        model.predict(np.ones((2, 4)))
    model.W = np.ones((4, 3))
    with pytest.raises(ValueError, match=r"X: expected shape \(n_samples, 4\), got \(2, 3\)"):
        model.predict(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"X: expected shape \(n_samples, 4\), got \(4,\)"):
        model.predict(np.ones(4))
    with pytest.raises(TypeError, match="X: expected real numbers"):
        model.predict([["a"] * 4])
    X = np.ones((1100, 4))
    X[1050, 0] = np.inf
    with pytest.raises(ValueError, match="X: expected finite numbers, got inf in row 1050"):
        model.predict(X)


def test_the_base_class_trains_on_the_softmax_loss(small):
    histories = []
    for kind in (LinearClassifier, Softmax):
        np.random.seed(3)  # noqa: NPY002
        histories.append(kind().train(*small, num_iters=5))
    assert histories[0] == histories[1]


def test_a_loss_before_the_training(small):
    with pytest.raises(NotFittedError):
        Softmax().loss(*small, 0.0)
    softmax = Softmax()
    softmax.W = np.zeros((4, 3))
    with pytest.raises(ValueError, match="y_batch: expected one label for each of 23 samples"):
        softmax.loss(small[0], small[1][:3], 0.0)
    with pytest.raises(ValueError, match="X_batch: expected shape"):
        softmax.loss(small[0][0], small[1], 0.0)
    with pytest.raises(ValueError, match="backend: expected one of"):
        Softmax(backend="fast").train(*small)


def test_files_that_are_no_weights_are_refused(tmp_path):
    softmax = Softmax()
    with pytest.raises(NotFittedError):
        softmax.save(tmp_path / "none.npy")
    assert not (tmp_path / "none.npy").exists()
    path = tmp_path / "bad.npy"
    np.save(path, np.ones((3, 3)))
    whole = path.read_bytes()
    np.save(path, {"W": np.ones((3, 3))}, allow_pickle=True)
    pickled = path.read_bytes()
    for content in (b"", b"text", whole[:40], whole[:-8], pickled):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"fname: .*bad\.npy is not a file that save wrote"):
            softmax.load(path)
    for array in (np.ones(3), np.ones((3, 3), int), np.array([["a"]])):
        np.save(path, array)
        with pytest.raises(ValueError, match=r"fname: expected a matrix of floats in .*bad\.npy"):
            softmax.load(path)
    assert softmax.W is None
