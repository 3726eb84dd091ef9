"""The functions of a backend themselves, on validated arrays, without the checks before them."""

import numpy as np
import oracle
import pytest
from cases import SHAPES, case

THREADS = (1, 2, 3, 8)


def stale(shape, dtype):
    """An output with old content, which must be overwritten and never read."""
    return np.full(shape, np.nan, dtype)


@pytest.mark.parametrize("masked", [False, True], ids=["finite", "masked"])
@pytest.mark.parametrize(("n_rows", "n_classes"), SHAPES)
def test_rows_match_the_oracle(kernels, dtype, n_rows, n_classes, masked):
    logits, _, expected = case(n_rows, n_classes, dtype, masked)
    for name in ("softmax", "log_softmax"):
        out = stale(logits.shape, dtype)
        assert getattr(kernels, name)(logits, out, 1) == -1
        getattr(expected, name).check(out)
    out = stale(n_rows, dtype)
    assert kernels.logsumexp(logits, out, 1) is None
    expected.logsumexp.check(out)


@pytest.mark.parametrize(
    ("masked", "soft"),
    [(False, False), (True, False), (True, True)],
    ids=["labels", "labels, masked", "probabilities, masked"],
)
@pytest.mark.parametrize(("n_rows", "n_classes"), SHAPES)
def test_losses_and_gradients_match_the_oracle(kernels, dtype, n_rows, n_classes, masked, soft):
    logits, targets, expected = case(n_rows, n_classes, dtype, masked, soft)
    losses, dlogits = stale(n_rows, np.float64), stale(logits.shape, dtype)
    scale = 1 / n_rows
    assert kernels.softmax_cross_entropy(logits, targets, scale, losses, dlogits, 1) == -1
    expected.losses.check(losses)
    expected.dlogits.check(dlogits)

    without_gradient = stale(n_rows, np.float64)
    assert kernels.softmax_cross_entropy(logits, targets, 0.0, without_gradient, None, 1) == -1
    np.testing.assert_array_equal(without_gradient, losses)

    in_place = logits.copy()
    assert kernels.softmax_cross_entropy(in_place, targets, scale, losses, in_place, 1) == -1
    np.testing.assert_array_equal(in_place, dlogits)


RISES = [(5,), (41,), (60,), (300,), (5000,), (30, 80), (36, 72), (30, 720), (60, 130)]


@pytest.mark.parametrize("rises", RISES, ids=str)
@pytest.mark.parametrize("n_classes", [300, 603])
def test_logits_that_rise_along_a_row(kernels, dtype, rng, n_classes, rises):
    """Far above the power of 2 that earlier terms are relative to, elsewhere in each row."""
    starts = np.array([100, 128, 129, 255, 256, 290])
    logits = rng.normal(size=(len(starts), n_classes))
    for rise, places in zip(rises, (starts, (starts + n_classes) // 2), strict=False):
        logits[np.arange(n_classes) >= places[:, None]] += rise
    logits, targets = logits.astype(dtype), np.arange(len(starts)) * 59 % n_classes
    expected = oracle.rows(logits, targets)
    for name in ("softmax", "log_softmax"):
        out = stale(logits.shape, dtype)
        assert getattr(kernels, name)(logits, out, 1) == -1
        getattr(expected, name).check(out)
    losses, dlogits = stale(len(starts), np.float64), stale(logits.shape, dtype)
    assert kernels.softmax_cross_entropy(logits, targets, 1 / 6, losses, dlogits, 1) == -1
    expected.losses.check(losses)
    expected.dlogits.check(dlogits)


def call(kernels, name, logits, n_threads, soft=False):
    """Call a function over rows with new outputs; return its result and the outputs."""
    n, c = logits.shape
    targets = np.full((n, c), 1 / c, logits.dtype) if soft else np.arange(n) % c
    losses, out = np.empty(n), np.empty_like(logits)
    if name == "logsumexp":
        return kernels.logsumexp(logits, losses := np.empty(n, logits.dtype), n_threads), losses
    if name == "softmax_cross_entropy":
        invalid = kernels.softmax_cross_entropy(logits, targets, 1.0, losses, out, n_threads)
        return invalid, losses, out
    if name == "linear_cross_entropy":  # logits = X @ identity
        W, d = np.eye(c, dtype=logits.dtype), np.empty((c, c), logits.dtype)
        invalid = kernels.linear_cross_entropy(
            logits, W, None, targets, 1.0, losses, d, None, out, n_threads
        )
        return invalid, losses, d, out
    return getattr(kernels, name)(logits, out, n_threads), out


ROW_FUNCTIONS = [
    ("softmax", False),
    ("log_softmax", False),
    ("softmax_cross_entropy", False),
    ("softmax_cross_entropy", True),
    ("linear_cross_entropy", False),
    ("linear_cross_entropy", True),
]
NO_SOFTMAX = {
    "NaN first": (np.nan, 0.0, 1.0),
    "NaN last": (5.0, 0.0, np.nan),
    "+inf": (0.0, np.inf, -np.inf),
    "two +inf": (np.inf, 0.0, np.inf),
    "+inf and NaN": (np.inf, 0.0, np.nan),
    "only -inf": (-np.inf, -np.inf, -np.inf),
}


@pytest.mark.parametrize(("name", "soft"), ROW_FUNCTIONS)
@pytest.mark.parametrize("bad", NO_SOFTMAX.values(), ids=NO_SOFTMAX.keys())
def test_the_first_row_without_a_softmax_is_returned(kernels, dtype, rng, name, soft, bad):
    for n_rows, bad_rows in ((1, [0]), (2, [1]), (37, [0, 36]), (37, [36])):
        logits = rng.normal(size=(n_rows, 3)).astype(dtype)
        logits[bad_rows] = bad
        with np.errstate(all="ignore"):
            assert call(kernels, name, logits, 1, soft)[0] == bad_rows[0]


@pytest.mark.parametrize(("name", "soft"), ROW_FUNCTIONS)
@pytest.mark.parametrize("n_threads", THREADS)
def test_the_first_of_many_is_returned_by_any_number_of_threads(
    kernels, dtype, rng, name, soft, n_threads
):
    logits = rng.normal(size=(7000, 3)).astype(dtype)
    for first in (3511, 2):
        logits[[first, 6999]] = np.nan
        assert call(kernels, name, logits, n_threads, soft)[0] == first


@pytest.mark.parametrize(("name", "soft"), [*ROW_FUNCTIONS[:4], ("logsumexp", False)])
@pytest.mark.parametrize("shape", [(7, 1), (64, 10), (7000, 3), (21, 1000)])
def test_the_number_of_threads_changes_no_bit(kernels, dtype, rng, name, soft, shape):
    logits = rng.normal(scale=4, size=shape).astype(dtype)
    one_thread = call(kernels, name, logits, 1, soft)
    for n_threads in THREADS[1:]:
        several = call(kernels, name, logits, n_threads, soft)
        for ours, theirs in zip(several, one_thread, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_rows_spread_over_threads_match_the_oracle(kernels, dtype, soft, n_threads):
    logits, targets, expected = case(37, 33, dtype, True, soft)
    times = 20
    logits, targets = np.tile(logits, (times, 1)), np.tile(targets, (times, 1) if soft else times)
    losses, out = stale(len(logits), np.float64), stale(logits.shape, dtype)
    assert kernels.softmax(logits, out, n_threads) == -1
    tiled = oracle.Expected(*(np.tile(array, (times, 1)) for array in expected.softmax))
    tiled.check(out)
    invalid = kernels.softmax_cross_entropy(logits, targets, 1 / 37, losses, out, n_threads)
    assert invalid == -1
    oracle.Expected(*(np.tile(array, times) for array in expected.losses)).check(losses)
    oracle.Expected(*(np.tile(array, (times, 1)) for array in expected.dlogits)).check(out)


INF, NAN = np.inf, np.nan
# Rows of logits and their log-sum-exp.
EDGES = [
    ([-INF, -INF, -INF], -INF),
    ([0.0, INF, 1.0], INF),
    ([-INF, INF, INF], INF),
    ([0.0, NAN, 1.0], NAN),
    ([NAN, INF, -INF], NAN),
    ([INF, 0.0, NAN], NAN),
    ([-INF, 3.0, -INF], 3.0),
]


def test_logsumexp_of_rows_that_are_not_finite(kernels, dtype):
    logits, expected = (np.array(column, dtype) for column in zip(*EDGES, strict=True))
    for n_threads in THREADS:
        out = np.zeros(len(logits), dtype)
        kernels.logsumexp(logits, out, n_threads)
        np.testing.assert_array_equal(out, expected)


def test_logits_as_far_apart_as_the_dtype_allows(kernels, dtype):
    largest = np.finfo(dtype).max
    logits = np.array([[largest, -largest, 0], [-largest, -largest, -largest]], dtype)
    out = stale((2, 3), dtype)
    assert kernels.softmax(logits, out, 1) == -1
    np.testing.assert_allclose(out, [[1, 0, 0], [1 / 3] * 3], rtol=4 * np.finfo(dtype).eps)
    out = stale(2, dtype)
    kernels.logsumexp(logits, out, 1)
    np.testing.assert_array_equal(out, [largest, -largest])  # log(3) is far below their rounding
    losses, dlogits = stale(2, np.float64), stale((2, 3), dtype)
    targets = np.array([2, 0])
    assert kernels.softmax_cross_entropy(logits, targets, 1.0, losses, dlogits, 1) == -1
    np.testing.assert_allclose(losses, [largest, np.log(3)], rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(
        dlogits, [[1, 0, -1], [-2 / 3, 1 / 3, 1 / 3]], rtol=8 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_weights_and_their_gradient_of_any_strides(kernels, dtype, rng, order):
    n, d, c = 9, 19, 7
    X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, c)).astype(dtype)
    b, targets = rng.normal(size=c).astype(dtype), rng.integers(c, size=n)
    expected = oracle.linear(X, W, targets, b, dtype)

    def laid_out(array):
        if order == "strided":
            return np.repeat(np.repeat(array, 2, axis=0), 3, axis=1)[::2, ::3]
        return np.array(array, order=order)

    dW, db, dX = laid_out(stale((d, c), dtype)), stale(c, dtype), stale((n, d), dtype)
    losses = stale(n, np.float64)
    invalid = kernels.linear_cross_entropy(X, laid_out(W), b, targets, 1 / n, losses, dW, db, dX, 2)
    assert invalid == -1
    expected.loss.check(losses.mean())
    expected.W.check(dW)
    expected.intercept.check(db)
    expected.X.check(dX)


@pytest.mark.parametrize(
    ("x", "weights"),
    [(np.inf, (1, -1)), (np.inf, (-1, 1)), (-np.inf, (1, -1)), (np.inf, (1, 0)), (np.nan, (0, 0))],
)
@pytest.mark.parametrize("label", [0, 1])
def test_scores_that_are_not_finite_are_found_whatever_the_label(kernels, dtype, x, weights, label):
    X, W = np.array([[1], [x]], dtype), np.array([weights], dtype)
    losses, dW = np.zeros(2), np.zeros((1, 2), dtype)
    for targets in (np.array([0, label]), np.eye(2, dtype=dtype)[[0, label]]):
        invalid = kernels.linear_cross_entropy(X, W, None, targets, 1.0, losses, dW, None, None, 1)
        assert invalid == 1


def test_penalty_without_a_gradient(kernels, dtype):
    W = np.array([1, -2, 0, 0.5], dtype)
    assert kernels.penalty(W, 0.5, 0.25, None, 1) == 0.5 * 5.25 + 0.25 * 3.5
