"""Metrics of rows from losses inside functions compiled by Numba: bit for bit those of Python's calls."""

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from numba.core.errors import TypingError  # noqa: E402

import fastsoftmax  # noqa: E402
from fastsoftmax import njit  # noqa: E402
from fastsoftmax.loss import RowMetrics  # noqa: E402

ALL = RowMetrics._fields


@numba.njit
def of_logits(logits, labels, weights, mask):
    first = njit.cross_entropy(
        logits, labels, sample_weight=weights, metrics=("argmax", "top_k_correct"), top_k=2
    )
    second = njit.softmax_cross_entropy(
        logits,
        labels,
        mask=mask,
        temperature=0.7,
        return_lse=True,
        metrics=("argmax", "top_k_correct", "label_log_prob", "entropy"),
    )
    return first, second


@numba.njit
def of_linear(X, W, labels):
    return njit.linear_cross_entropy(
        X, W, labels, wrt=("W",), metrics=("entropy", "label_log_prob"), reduction="sum"
    )


def assert_same(ours, theirs):
    assert type(ours) is type(theirs)
    if isinstance(ours, tuple):
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other)
    elif ours is not None:
        np.testing.assert_array_equal(ours, theirs, strict=isinstance(ours, np.ndarray))


@pytest.mark.parametrize("shape", [(7, 3), (2, 5, 50)], ids=str)
def test_metrics_of_logits(rng, dtype, shape):
    logits = rng.normal(size=shape).astype(dtype)
    labels = rng.integers(shape[-1], size=shape[:-1])
    weights = rng.integers(2, size=shape[:-1]).astype(float)
    mask = np.arange(shape[-1]) > 0
    labels[...] = np.maximum(labels, 1)
    first, second = of_logits(logits, labels, weights, mask)
    assert_same(
        first,
        fastsoftmax.cross_entropy(
            logits, labels, sample_weight=weights, metrics=("argmax", "top_k_correct"), top_k=2
        ),
    )
    options = {"mask": mask, "temperature": 0.7, "return_lse": True, "metrics": ALL}
    assert_same(second, fastsoftmax.softmax_cross_entropy(logits, labels, **options))
    assert first[1].entropy is None


@pytest.mark.parametrize("c", [3, 50])
def test_metrics_of_the_linear_loss(rng, dtype, c):
    X, W = rng.normal(size=(9, 4)).astype(dtype), rng.normal(size=(4, c)).astype(dtype)
    labels = rng.integers(c, size=9)
    expected = fastsoftmax.linear_cross_entropy(
        X, W, labels, wrt=("W",), metrics=("entropy", "label_log_prob"), reduction="sum"
    )
    assert_same(of_linear(X, W, labels), expected)


def refused(metrics, targets, top_k=1):
    return numba.njit(
        lambda logits, targets: njit.cross_entropy(logits, targets, metrics=metrics, top_k=top_k)
    )(np.zeros((2, 3)), targets)


@pytest.mark.parametrize(
    ("metrics", "targets", "message"),
    [
        (("no metric",), np.zeros(2, int), "metrics: expected a tuple of names"),
        ("argmax", np.zeros(2, int), "metrics: expected a tuple of names"),
        (("top_k_correct",), np.full((2, 3), 1 / 3), "metrics: top_k_correct needs labels"),
    ],
)
def test_what_numba_refuses_when_it_compiles(metrics, targets, message):
    with pytest.raises(TypingError, match=message):
        refused(metrics, targets)


def test_top_k_is_positive():
    with pytest.raises(ValueError, match="top_k: expected at least 1"):
        refused(("top_k_correct",), np.zeros(2, int), 0)
