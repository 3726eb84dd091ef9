"""One epoch of minibatch SGD: samples x features x classes x batch size.

Beside the backends run two hand-written loops over NumPy, `numpy_plain` and `numpy_buffered`.
"""

from copy import copy
from functools import cache

import numpy as np
from numpy_loops import LOOPS

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.datasets import make_linear_teacher

# The sizes of the digits, Covertype in part, CIFAR-10 in part, MNIST in part, and a thousand classes.
SHAPES = {
    "test_epoch": [
        (1347, 64, 10, 32),
        (50_000, 54, 7, 256),
        (20_000, 3073, 10, 256),
        (20_000, 784, 10, 128),
        (1_024, 2048, 1000, 256),
    ]
}
_ROUNDS = 5
_RATE, _ALPHA = 0.01, 1e-4


def work(shape):
    n_samples, n_features, n_classes, _ = shape
    return 2 * n_samples * n_features * n_classes


@cache
def _data(n_samples, n_features, n_classes, dtype):
    return make_linear_teacher(n_samples, n_features, n_classes, dtype=dtype)


def test_epoch(benchmark, backend, shape, dtype):
    *data_shape, batch_size = shape
    data = _data(*data_shape, dtype)
    X, y = data.X_train, data.y_train
    if backend in LOOPS:
        order, random = np.arange(len(X)), np.random.default_rng(0)
        W, b = np.zeros((X.shape[1], data.n_classes), dtype), np.zeros(data.n_classes, dtype)

        def an_order():
            random.shuffle(order)
            return (X, y, W, b, order, batch_size, _RATE, _ALPHA / 2), {}

        benchmark.pedantic(LOOPS[backend], setup=an_order, rounds=_ROUNDS, warmup_rounds=1)
        return
    model = SoftmaxClassifier(
        backend=backend,
        batch_size=batch_size,
        learning_rate="constant",
        eta0=_RATE,
        alpha=_ALPHA,
        random_state=0,
    )
    # Compiles, and starts the threads; then every round goes on from this same model.
    model.partial_fit(X[:1], y[:1], np.arange(data.n_classes))

    def a_model_and_the_data():
        return (copy(model), X, y), {}

    benchmark.pedantic(
        SoftmaxClassifier.partial_fit, setup=a_model_and_the_data, rounds=_ROUNDS, warmup_rounds=1
    )
