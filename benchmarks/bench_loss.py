"""The loss core: logits (rows, classes), and the linear classifier (rows, features, classes)."""

from math import prod

import numpy as np

import fastsoftmax
from fastsoftmax.backends import get_backend

# A minibatch of digits, many rows of few classes, ImageNet's classes, a language model's vocabulary.
_LOGITS = [(128, 10), (20000, 10), (256, 1000), (64, 50257)]
# Minibatches of digits, CIFAR-10 with its column of ones, and wide features of a thousand classes.
_LINEAR = [(32, 64, 10), (256, 3073, 10), (256, 2048, 1000)]

SHAPES = {
    "test_softmax": _LOGITS,
    "test_logsumexp": _LOGITS,
    "test_softmax_cross_entropy": _LOGITS,
    "test_linear_cross_entropy": _LINEAR,
    "test_transposed_product": _LINEAR,
}


def work(shape):
    return prod(shape)


def _logits(shape, dtype):
    return np.random.default_rng(0).normal(scale=3, size=shape).astype(dtype)


def _targets(n_rows, n_classes):
    return np.random.default_rng(1).integers(n_classes, size=n_rows)


def test_softmax(benchmark, backend, shape, dtype):
    logits = _logits(shape, dtype)
    fastsoftmax.softmax(logits[:1], backend=backend)  # numba compiles
    benchmark(fastsoftmax.softmax, logits, backend=backend)


def test_logsumexp(benchmark, backend, shape, dtype):
    logits = _logits(shape, dtype)
    fastsoftmax.logsumexp(logits[:1], backend=backend)
    benchmark(fastsoftmax.logsumexp, logits, backend=backend)


def test_softmax_cross_entropy(benchmark, backend, shape, dtype):
    logits, targets = _logits(shape, dtype), _targets(*shape)
    out = np.empty_like(logits)
    fastsoftmax.softmax_cross_entropy(logits[:1], targets[:1], backend=backend)
    benchmark(fastsoftmax.softmax_cross_entropy, logits, targets, out, backend=backend)


def test_linear_cross_entropy(benchmark, backend, shape, dtype):
    n_rows, n_features, n_classes = shape
    X = _logits((n_rows, n_features), dtype)
    W = np.zeros((n_features, n_classes), dtype)
    intercept = np.zeros(n_classes, dtype)
    targets = _targets(n_rows, n_classes)
    options = {"wrt": ("W", "intercept"), "backend": backend}
    fastsoftmax.linear_cross_entropy(X[:1], W, targets[:1], intercept, **options)
    benchmark(fastsoftmax.linear_cross_entropy, X, W, targets, intercept, **options)


def test_transposed_product(benchmark, backend, shape, dtype):
    n_rows, n_features, n_columns = shape
    A, B = _logits((n_rows, n_features), dtype), _logits((n_rows, n_columns), dtype)
    out = np.empty((n_features, n_columns))
    benchmark(get_backend(backend).transposed_product, A, B, out, 1)
