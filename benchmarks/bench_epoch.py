"""One epoch of minibatch SGD: samples x features x classes x batch size."""

from copy import copy
from functools import cache

import numpy as np

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.datasets import make_linear_teacher

# The sizes of the digits, Covertype in part, CIFAR-10 in part, MNIST, and a thousand classes.
SHAPES = {
    "test_epoch": [
        (1347, 64, 10, 32),
        (100_000, 54, 7, 256),
        (20_000, 3073, 10, 256),
        (60_000, 784, 10, 128),
        (1_024, 2048, 1000, 256),
    ]
}
_ROUNDS = 5


def work(shape):
    n_samples, n_features, n_classes, _ = shape
    return 2 * n_samples * n_features * n_classes


@cache
def _data(n_samples, n_features, n_classes, dtype):
    return make_linear_teacher(n_samples, n_features, n_classes, dtype=dtype)


def test_epoch(benchmark, backend, shape, dtype):
    *data_shape, batch_size = shape
    data = _data(*data_shape, dtype)
    model = SoftmaxClassifier(
        backend=backend, batch_size=batch_size, learning_rate="constant", random_state=0
    )
    # Compiles, and starts the threads; then every round goes on from this same model.
    model.partial_fit(data.X_train[:1], data.y_train[:1], np.arange(data.n_classes))

    def a_model_and_the_data():
        return (copy(model), data.X_train, data.y_train), {}

    benchmark.pedantic(
        SoftmaxClassifier.partial_fit, setup=a_model_and_the_data, rounds=_ROUNDS, warmup_rounds=1
    )
