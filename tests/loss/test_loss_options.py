"""Weights, label smoothing, ignored rows and reductions of the losses, in every combination."""

import itertools

import ml_dtypes
import numpy as np
import oracle
import pytest

from fastsoftmax import cross_entropy, linear_cross_entropy, softmax_cross_entropy

# More classes than go by columns, and fewer; c = 1.
SHAPES = [(7, 5), (21, 40), (3, 1), (19, 32)]
# Exact in float32: the weights of the oracle are those of the computation.
SMOOTHING = [0.0, 0.125]


def problem(rng, n, c, dtype, soft):
    logits = rng.normal(scale=4, size=(n, c)).astype(dtype)
    labels, probabilities = rng.integers(c, size=n), rng.integers(8, size=(n, c)) / 8
    targets = probabilities.astype(dtype) if soft else labels
    rows = rng.integers(4, size=n) / 4
    return logits, targets, rows, rng.integers(1, 9, size=c) / 8


def denominator(targets, rows, classes):
    rows = np.ones(len(targets)) if rows is None else rows
    if targets.ndim == 2 or classes is None:
        return rows.sum()
    return (rows * classes[targets]).sum()


def check_mean(expected, total, loss, dlogits):
    """Bounds of the sum over the total; `total` itself and the division are a few roundings more."""
    losses, bounds = expected.losses
    rounding = (len(losses) + 4) * oracle.DOUBLE * np.abs(losses).sum()
    oracle.Expected(
        np.array(losses.sum() / total), np.array((bounds.sum() + rounding) / total)
    ).check(loss)
    value, bound = expected.dlogits
    u = np.finfo(dlogits.dtype).eps / 2
    oracle.Expected(value / total, (bound + 3 * u * np.abs(value)) / total).check(dlogits)


@pytest.mark.parametrize("smoothing", SMOOTHING)
@pytest.mark.parametrize(
    ("of_rows", "of_classes"), list(itertools.product([False, True], repeat=2))
)
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize(("n", "c"), SHAPES)
def test_weights(backend, dtype, rng, n, c, soft, of_rows, of_classes, smoothing):
    logits, targets, rows, classes = problem(rng, n, c, dtype, soft)
    rows, classes = rows if of_rows else None, classes if of_classes else None
    options = {"sample_weight": rows, "class_weight": classes, "label_smoothing": smoothing}
    expected = oracle.weighted(logits, targets, rows, classes, smoothing)
    total = denominator(targets, rows, classes)
    loss, dlogits = softmax_cross_entropy(logits, targets, backend=backend, **options)
    assert dlogits.dtype == dtype
    check_mean(expected, total, loss, dlogits)
    assert cross_entropy(logits, targets, backend=backend, **options) == loss

    loss, dlogits = softmax_cross_entropy(
        logits, targets, backend=backend, reduction="sum", **options
    )
    check_mean(expected, 1, loss, dlogits)
    losses, same = softmax_cross_entropy(
        logits, targets, backend=backend, reduction="none", **options
    )
    assert losses.dtype == np.float64
    expected.losses.check(losses)
    np.testing.assert_array_equal(same, dlogits)
    assert losses.sum() == pytest.approx(loss, rel=1e-14)


@pytest.mark.parametrize("smoothing", SMOOTHING)
@pytest.mark.parametrize("ignored", [-100, 1, 10**6])
def test_ignored_rows(backend, dtype, rng, ignored, smoothing):
    """They are as if they were not there, whatever they hold."""
    for n, c in SHAPES:
        logits, labels, rows, classes = problem(rng, n, c, dtype, False)
        labels[:: 2 if n > 2 else 1] = ignored
        there = labels != ignored
        logits[~there] = np.nan
        options = {"class_weight": classes, "label_smoothing": smoothing, "backend": backend}
        for reduction in ("mean", "sum", "none"):
            options["reduction"] = reduction
            loss, dlogits = softmax_cross_entropy(
                logits, labels, sample_weight=rows, ignore_index=ignored, **options
            )
            fewer, expected = softmax_cross_entropy(
                logits[there], labels[there], sample_weight=rows[there], **options
            )
            np.testing.assert_array_equal(dlogits[~there], 0)
            np.testing.assert_array_equal(dlogits[there], expected)
            if reduction == "none":
                np.testing.assert_array_equal(loss[~there], 0)
                np.testing.assert_array_equal(loss[there], fewer)
            else:
                assert loss == pytest.approx(fewer, rel=1e-14, nan_ok=True)


def test_an_empty_mean_is_nan(backend, dtype):
    logits = np.zeros((2, 3), dtype)
    options = {"ignore_index": 1, "backend": backend}
    loss, dlogits = softmax_cross_entropy(logits, [1, 1], **options)
    assert np.isnan(loss)
    np.testing.assert_array_equal(dlogits, 0)
    assert softmax_cross_entropy(logits, [1, 1], reduction="sum", **options)[0] == 0
    loss, dlogits = softmax_cross_entropy(logits, [1, 0], class_weight=[0, 1, 1], **options)
    assert np.isnan(loss)
    np.testing.assert_array_equal(np.isnan(dlogits), [[False] * 3, [True] * 3])
    X = np.ones((2, 4), dtype)
    loss, gradients = linear_cross_entropy(
        X, np.zeros((4, 3), dtype), [1, 0], class_weight=[0, 1, 1], **options
    )
    assert np.isnan(loss)
    assert np.isnan(gradients.W).all()
    np.testing.assert_array_equal(np.isnan(gradients.X)[:, 0], [False, True])


def test_a_weight_of_two_is_two_copies(backend, dtype, rng):
    logits, labels, _, _ = problem(rng, 9, 6, dtype, False)
    weights = rng.integers(4, size=9)
    loss, _ = softmax_cross_entropy(logits, labels, sample_weight=weights, backend=backend)
    copies = np.repeat(np.arange(9), weights)
    expected, _ = softmax_cross_entropy(logits[copies], labels[copies], backend=backend)
    assert loss == pytest.approx(expected, rel=20 * float(np.finfo(dtype).eps))


def test_smoothed_labels_are_smoothed_probabilities(backend, dtype, rng):
    logits, labels, rows, classes = problem(rng, 11, 9, dtype, False)
    smooth = (0.875 * np.eye(9)[labels] + 0.125 / 9).astype(dtype)
    options = {"sample_weight": rows, "class_weight": classes, "reduction": "none"}
    losses, dlogits = softmax_cross_entropy(
        logits, labels, label_smoothing=0.125, backend=backend, **options
    )
    expected, gradient = softmax_cross_entropy(logits, smooth, backend=backend, **options)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(losses, expected, rtol=40 * eps)
    np.testing.assert_allclose(dlogits, gradient, rtol=0, atol=20 * eps)


def test_leading_shapes(backend, rng):
    logits, labels = rng.normal(size=(2, 3, 4)), rng.integers(4, size=(2, 3))
    weights = rng.random((2, 3))
    flat, gradient = softmax_cross_entropy(
        logits.reshape(6, 4),
        labels.ravel(),
        sample_weight=weights.ravel(),
        reduction="none",
        backend=backend,
    )
    losses, dlogits = softmax_cross_entropy(
        logits, labels, sample_weight=weights, reduction="none", backend=backend
    )
    np.testing.assert_array_equal(losses, flat.reshape(2, 3))
    np.testing.assert_array_equal(dlogits, gradient.reshape(2, 3, 4))
    single = cross_entropy(logits[0, 0], labels[0, 0], reduction="none", backend=backend)
    assert np.shape(single) == ()


@pytest.mark.parametrize("half", [np.float16, ml_dtypes.bfloat16])
def test_half_floats(backend, rng, half):
    """Computed in float32 and rounded once, to the nearest."""
    logits, labels, rows, _ = problem(rng, 9, 6, np.float32, False)
    logits = logits.astype(half)
    options = {"sample_weight": rows, "label_smoothing": 0.125, "backend": backend}
    expected, gradient = softmax_cross_entropy(logits.astype(np.float32), labels, **options)
    loss, dlogits = softmax_cross_entropy(logits, labels, **options)
    assert loss == expected == cross_entropy(logits, labels, **options)
    assert dlogits.dtype == half
    np.testing.assert_array_equal(dlogits, gradient.astype(half))
    _, result = softmax_cross_entropy(logits, labels, out=logits, **options)
    assert result is logits
    np.testing.assert_array_equal(logits, dlogits)

    X, W = rng.normal(size=(9, 4)).astype(half), rng.normal(size=(4, 6)).astype(half)
    b = rng.normal(size=6).astype(half)
    loss, gradients = linear_cross_entropy(X, W, labels, b, **options)
    expected, wide = linear_cross_entropy(
        *(array.astype(np.float32) for array in (X, W)), labels, b.astype(np.float32), **options
    )
    assert loss == expected
    for ours, theirs in zip(gradients, wide, strict=True):
        assert ours.dtype == half
        np.testing.assert_array_equal(ours, theirs.astype(half))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_the_linear_classifier_has_them_too(backend, dtype, rng, soft, reduction):
    """Its gradients follow from that of the logits, which are the same."""
    n, d, c = 12, 3, 5
    X = (rng.integers(-4, 5, size=(n, d)) / 4).astype(dtype)
    W = (rng.integers(-4, 5, size=(d, c)) / 4).astype(dtype)
    _, targets, rows, classes = problem(rng, n, c, dtype, soft)
    options = {"sample_weight": rows, "class_weight": classes, "label_smoothing": 0.125}
    options |= {"reduction": reduction, "backend": backend}
    if not soft:
        targets[3] = -1
        options["ignore_index"] = -1
    loss, gradients = linear_cross_entropy(X, W, targets, **options)
    expected, G = softmax_cross_entropy(X @ W, targets, **options)  # the products are exact
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(loss, expected, rtol=8 * eps)
    size = np.abs(G).sum()
    np.testing.assert_allclose(gradients.W, X.T @ G, rtol=0, atol=4 * n * eps * size)
    np.testing.assert_allclose(gradients.X, G @ W.T, rtol=0, atol=4 * c * eps * size)


def test_the_same_bits_for_every_number_of_threads(dtype, rng):
    logits, labels, rows, classes = problem(rng, 700, 80, dtype, False)
    results = [
        softmax_cross_entropy(
            logits,
            labels,
            sample_weight=rows,
            class_weight=classes,
            label_smoothing=0.1,
            backend="compiled",
            n_threads=n,
        )
        for n in (1, 2, 3, 8)
    ]
    for loss, dlogits in results[1:]:
        assert loss == results[0][0]
        np.testing.assert_array_equal(dlogits, results[0][1])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"reduction": "average"}, ValueError, "reduction: expected one of mean, sum, none"),
        ({"reduction": None}, ValueError, "reduction"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing: expected a number from 0 to 1"),
        ({"label_smoothing": -0.1}, ValueError, "label_smoothing"),
        ({"label_smoothing": "much"}, TypeError, "label_smoothing"),
        ({"ignore_index": 1.0}, TypeError, "ignore_index: expected an integer"),
        ({"ignore_index": True}, TypeError, "ignore_index"),
        ({"class_weight": [1, 2]}, ValueError, r"class_weight: expected shape \(3,\)"),
        ({"class_weight": [1, 2, -1]}, ValueError, "class_weight: .*got -1.0 in row 2"),
        ({"class_weight": [1, 2, np.inf]}, ValueError, "class_weight: .*got inf"),
        ({"sample_weight": [1]}, ValueError, r"sample_weight: expected shape \(2,\)"),
        ({"sample_weight": [1, np.nan]}, ValueError, "sample_weight: .*got nan in row 1"),
        ({"sample_weight": ["a", "b"]}, TypeError, "sample_weight"),
    ],
)
def test_options_that_cannot_be(backend, options, error, message):
    logits = np.zeros((2, 3), np.float32)
    for function in (cross_entropy, softmax_cross_entropy):
        with pytest.raises(error, match=message):
            function(logits, [0, 1], backend=backend, **options)
    with pytest.raises(error, match=message):
        linear_cross_entropy(logits, np.eye(3, dtype=np.float32), [0, 1], **options)


def test_ignore_index_with_probabilities():
    logits, targets = np.zeros((2, 3)), np.full((2, 3), 1 / 3)
    assert cross_entropy(logits, targets, ignore_index=-100) == cross_entropy(logits, targets)
    with pytest.raises(ValueError, match="ignore_index: expected None for targets that are prob"):
        cross_entropy(logits, targets, ignore_index=0)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [([0.5, -100], TypeError, "float64"), ([-100], ValueError, r"\(2,\).*got shape \(1,\)")],
)
def test_ignore_index_with_targets_that_are_no_labels(targets, error, message):
    with pytest.raises(error, match=f"^targets: expected integer labels.*{message}"):
        cross_entropy(np.zeros((2, 3)), targets, ignore_index=-100)


def test_a_label_out_of_range_is_an_error_unless_it_is_the_ignored_one(backend):
    logits = np.zeros((2, 3))
    with pytest.raises(ValueError, match="labels from 0 to 2, got -100 in row 1"):
        cross_entropy(logits, [0, -100], backend=backend)
    with pytest.raises(ValueError, match="labels from 0 to 2, got 7 in row 1"):
        cross_entropy(logits, [-100, 7], ignore_index=-100, backend=backend)


UNCOUNTED = {
    "ignored": {"targets": [0, -100, 1], "ignore_index": -100},
    "no weight of its own": {"targets": [0, 1, 1], "sample_weight": [1, 0, 2]},
    "no weight of its class": {"targets": [0, 2, 1], "class_weight": [1.0, 2.0, 0.0]},
    "smoothed": {"targets": [0, -100, 1], "ignore_index": -100, "label_smoothing": 0.125},
    "probabilities": {"targets": np.eye(3)[[0, 1, 1]], "sample_weight": [1, 0, 2]},
    "classes of no weight": {"targets": np.eye(3)[[0, 2, 1]], "class_weight": [1.0, 2.0, 0.0]},
}


@pytest.mark.parametrize("kind", UNCOUNTED)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, "max"])
def test_a_row_that_does_not_count_may_hold_anything(backend, dtype, kind, bad):
    for reduction in ("mean", "sum", "none"):
        check_uncounted(backend, dtype, kind, bad, reduction)


def check_uncounted(backend, dtype, kind, bad, reduction):
    bad = np.finfo(dtype).max if bad == "max" else bad
    X, W = np.array([[1, 2], [0, 0], [3, -1]], dtype), np.eye(2, 3, dtype=dtype)
    options = UNCOUNTED[kind] | {"backend": backend, "reduction": reduction}
    b = np.array([0, 1, 0], dtype)
    expected, gradients = linear_cross_entropy(X, W, intercept=b, **options)
    X[1] = bad
    before = X.copy()
    loss, found = linear_cross_entropy(X, W, intercept=b, **options)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(loss, expected)
    for actual, value in zip(found, gradients, strict=True):
        np.testing.assert_array_equal(actual, value)
    np.testing.assert_array_equal(found.X[1], 0)
    logits = np.where(np.arange(3)[:, np.newaxis] == 1, bad, 0).astype(dtype) + b
    loss, dlogits = softmax_cross_entropy(logits, **options)
    assert np.isfinite(loss).all()
    np.testing.assert_array_equal(dlogits[1], 0)


def exact_mean(logits, targets, rows, classes, smoothing):
    """In extended precision, whatever the size of the weights."""
    number = oracle.exact.mpf
    rows, classes = [number(w) for w in rows], [number(w) for w in classes]
    labels = targets if np.ndim(targets) == 1 else None
    t = (np.eye(len(classes))[targets] if labels is not None else np.asarray(targets)).tolist()
    unweighted = oracle.exact.mpf(0)
    for weight, row, z in zip(
        rows, t, oracle.rows(logits, np.array(t)).log_softmax.value, strict=True
    ):
        for v, x, log_p in zip(classes, row, z.tolist(), strict=True):
            u = (1 - number(smoothing)) * number(x) + number(smoothing) / len(classes)
            unweighted -= weight * v * u * number(log_p)
    total = rows if labels is None else [w * classes[k] for w, k in zip(rows, labels, strict=True)]
    return float(unweighted / oracle.exact.fsum(total))


EXTREME_TARGETS = [[0, 1], [1, 1], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0]] * 2]
EXTREME_CLASSES = [
    *([1e-50, 1e-50], [1, 1e-50], [1e300, 1e-300], [1.7e308] * 2, [5e-324] * 2, [3e38, 1e39]),
]
EXTREME_ROWS = [[1, 1], [1e-50, 1e-50], [1e-200, 1e-300], [1.7e308, 1.7e308]]


@pytest.mark.parametrize("smoothing", SMOOTHING)
@pytest.mark.parametrize("classes", EXTREME_CLASSES, ids=str)
@pytest.mark.parametrize("targets", EXTREME_TARGETS, ids=str)
def test_extreme_weights_give_the_right_mean(backend, dtype, targets, classes, smoothing):
    logits, W = np.array([[1, 0], [0, 0.5]], dtype), np.eye(2, dtype=dtype)
    rtol = 1e-6 if dtype == np.float32 else 1e-14
    for rows in EXTREME_ROWS:
        options = {"class_weight": classes, "sample_weight": rows, "label_smoothing": smoothing}
        options["backend"] = backend
        expected = exact_mean(logits, targets, rows, classes, smoothing)
        loss = cross_entropy(logits, targets, **options)
        np.testing.assert_allclose(loss, expected, rtol=rtol, atol=1e-320)
        assert linear_cross_entropy(logits, W, targets, **options)[0] == loss
        same, dlogits = softmax_cross_entropy(logits, targets, **options)
        assert same == loss
        # As of ones, where all weights are the same
        if len({*classes}) == len({*rows}) == np.ndim(targets) == 1:
            plain = {"label_smoothing": smoothing, "backend": backend}
            _, gradient = softmax_cross_entropy(logits, targets, **plain)
            np.testing.assert_allclose(dlogits, gradient, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("weight", [1e-50, 1e50, 1e300])
@pytest.mark.parametrize("of", ["sample_weight", "class_weight"])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_extreme_weights_without_a_mean(backend, dtype, soft, of, weight):
    logits = np.array([[0.5, -1.0], [2.0, 0.0]], dtype)
    targets = np.eye(2)[[1, 0]] if soft else [1, 0]
    options = {of: [weight, weight], "backend": backend}
    rtol = 1e-6 if dtype == np.float32 else 1e-14
    expected = weight * cross_entropy(logits, targets, reduction="none", backend=backend)
    losses = cross_entropy(logits, targets, reduction="none", **options)
    np.testing.assert_allclose(losses, expected, rtol=rtol)
    total = cross_entropy(logits, targets, reduction="sum", **options)
    np.testing.assert_allclose(total, expected.sum(), rtol=rtol)
    if dtype == np.float64:
        plain = softmax_cross_entropy(logits, targets, reduction="sum", backend=backend)[1]
        dlogits = softmax_cross_entropy(logits, targets, reduction="sum", **options)[1]
        np.testing.assert_allclose(dlogits, weight * plain, rtol=rtol)


def test_sums_of_weights_beyond_float64_are_named(backend):
    weights = {"sample_weight": [1e200, 1.0], "class_weight": [1e200, 1.0], "backend": backend}
    with pytest.raises(ValueError, match="sample_weight: expected weights whose products"):
        cross_entropy(np.zeros((2, 2)), [0, 1], reduction="sum", **weights)


@pytest.mark.parametrize("power", [-1070, -300, 1000])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
def test_a_mean_is_the_same_on_any_scale_of_the_weights(backend, dtype, soft, power):
    logits = np.array([[0.5, -1.0], [2.0, 0.0], [0.0, 1.0]], dtype)
    targets = np.eye(2)[[0, 1, 1]] if soft else np.array([0, 1, 1])
    weights = np.array([3.0, 0.0, 1.0])
    expected = softmax_cross_entropy(logits, targets, sample_weight=weights, backend=backend)
    found = softmax_cross_entropy(
        logits, targets, sample_weight=np.ldexp(weights, power), backend=backend
    )
    rtol = 1e-6 if dtype == np.float32 else 1e-14
    for actual, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=rtol)
    if not soft and dtype == np.float64:
        classes = np.array([3.0, 1.0])
        expected = cross_entropy(logits, targets, class_weight=classes, backend=backend)
        classes = np.ldexp(classes, power)
        loss = cross_entropy(logits, targets, class_weight=classes, backend=backend)
        assert loss == pytest.approx(expected, rel=1e-14)
