"""`linear_cross_entropy`: the loss of a linear classifier and its gradients."""

from functools import cache

import numpy as np
import oracle
import pytest

from fastsoftmax import linear_cross_entropy, softmax_cross_entropy
from fastsoftmax.backends import get_backend

FEATURES = (1, 2, 15, 16, 17, 31, 33, 54, 100, 784)
# (n_samples, n_features, n_classes)
SHAPES = [(5, d, 10) for d in FEATURES]
SHAPES += [(1, 17, 2), (2, 16, 1), (37, 5, 3), (3, 4, 33), (4, 3, 100)]
SHAPES += [(300, 5, 3)]  # more rows than the compiled backend takes at once


@cache
def problem(n, d, c, dtype, soft=False):
    """X, W, targets, intercept, and what the oracle expects."""
    rng = np.random.default_rng([n, d, c])
    X, W, b = rng.normal(size=(n, d)), rng.normal(size=(d, c)), rng.normal(size=c)
    targets = rng.integers(c, size=n)
    if soft:
        targets = rng.dirichlet(np.ones(c), size=n).astype(dtype)
    arrays = X.astype(dtype), W.astype(dtype), targets, b.astype(dtype)
    return *arrays, oracle.linear(*arrays, dtype)


def check(expected, loss, gradients, dtype):
    assert type(loss) is float
    expected.loss.check(loss)
    for name, gradient in gradients._asdict().items():
        if gradient is not None:
            assert gradient.dtype == dtype
            getattr(expected, name).check(gradient)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_gradients_match_the_oracle(backend, dtype, shape, soft):
    X, W, targets, b, expected = problem(*shape, dtype, soft)
    loss, gradients = linear_cross_entropy(X, W, targets, b, backend=backend)
    assert all(gradient is not None for gradient in gradients)
    check(expected, loss, gradients, dtype)


@pytest.mark.parametrize(
    "wrt", [(), ("W",), ("intercept",), ("X",), ("X", "W"), ("intercept", "W"), ("X", "intercept")]
)
def test_only_the_gradients_asked_for(backend, dtype, wrt):
    X, W, targets, b, expected = problem(5, 17, 10, dtype)
    loss, gradients = linear_cross_entropy(X, W, targets, b, wrt=wrt, backend=backend)
    assert {name for name, g in gradients._asdict().items() if g is not None} == set(wrt)
    check(expected, loss, gradients, dtype)


def test_without_an_intercept(backend, dtype):
    X, W, targets, b, _ = problem(5, 17, 10, dtype)
    expected = oracle.linear(X, W, targets, np.zeros_like(b), dtype)
    loss, gradients = linear_cross_entropy(X, W, targets, backend=backend)
    assert gradients.intercept is None
    check(expected, loss, gradients, dtype)


def test_layouts(backend, dtype, layout):
    X, W, targets, b, expected = problem(5, 17, 10, dtype)
    *_, probabilities, _, of_probabilities = problem(5, 17, 10, dtype, soft=True)
    came = [layout(array) for array in (X, W, targets, b, probabilities)]
    check(expected, *linear_cross_entropy(*came[:4], backend=backend), dtype)
    soft = linear_cross_entropy(came[0], came[1], came[4], came[3], backend=backend)
    check(of_probabilities, *soft, dtype)
    for array, original in zip(came, (X, W, targets, b, probabilities), strict=True):
        np.testing.assert_array_equal(array, original)


def test_X_and_W_may_share_memory(backend, dtype, rng):
    square = rng.normal(size=(6, 6)).astype(dtype)
    targets = np.arange(6)
    expected = oracle.linear(square, square.T, targets, np.zeros(6, dtype), dtype)
    check(expected, *linear_cross_entropy(square, square.T, targets, backend=backend), dtype)


SINGLE, DOUBLE = np.float32, np.float64


@pytest.mark.parametrize(
    ("of_X", "of_W", "computed"),
    [
        ("float16", "float32", SINGLE),
        ("float32", "float16", SINGLE),
        ("float16", "float16", SINGLE),
        ("float32", "float64", DOUBLE),
        ("float64", "float32", DOUBLE),
        ("float32", "int64", DOUBLE),
        ("int64", "float32", DOUBLE),
        # an integer is not "a float of at most that size", however small
        ("int8", "float32", DOUBLE),
        ("uint8", "float16", DOUBLE),
        ("bool", "float32", DOUBLE),
        ("int8", "int8", DOUBLE),
        ("uint64", "int64", DOUBLE),
        (">f4", ">f8", DOUBLE),
    ],
)
def test_other_dtypes(backend, rng, of_X, of_W, computed):
    X = rng.integers(2, size=(5, 7)).astype(of_X)
    W = rng.integers(2, size=(7, 3)).astype(of_W)
    b, targets = np.array([0.5, -1, 2]), [0, 2, 1, 1, 0]
    arrays = X.astype(computed), W.astype(computed), np.array(targets), b.astype(computed)
    loss, gradients = linear_cross_entropy(X, W, targets, b, backend=backend)
    expected = oracle.linear(*arrays, computed)
    for name, came in (("X", of_X), ("W", of_W)):
        if (
            came == "float16"
        ):  # the gradient is rounded to it, and then exact in the dtype computed in
            value, bound = getattr(expected, name)
            assert getattr(gradients, name).dtype == came
            bound += np.finfo(came).eps / 2 * np.abs(value)
            gradients = gradients._replace(**{name: getattr(gradients, name).astype(computed)})
    check(expected, loss, gradients, computed)


def test_lists(backend):
    X, W, targets, b, expected = problem(5, 17, 10, DOUBLE)
    lists = (array.tolist() for array in (X, W, targets, b))
    check(expected, *linear_cross_entropy(*lists, backend=backend), DOUBLE)


@pytest.mark.parametrize("targets", [np.zeros(0, int), np.zeros((0, 2)), []])
def test_no_samples(backend, dtype, targets):
    X, W, b = np.empty((0, 3), dtype), np.ones((3, 2), dtype), np.ones(2, dtype)
    loss, gradients = linear_cross_entropy(X, W, targets, b, backend=backend)
    assert np.isnan(loss)
    for gradient, shape in zip(gradients, [(3, 2), (2,), (0, 3)], strict=True):
        np.testing.assert_array_equal(gradient, np.zeros(shape, dtype))


def test_no_features(backend, dtype):
    b = np.array([0, 1, 2], dtype)
    X, W = np.empty((2, 0), dtype), np.empty((0, 3), dtype)
    loss, gradients = linear_cross_entropy(X, W, [0, 2], b, backend=backend)
    expected = oracle.rows(np.array([b, b]), np.array([0, 2]))
    expected.mean_loss().check(loss)
    assert gradients.W.shape == (0, 3)
    assert gradients.X.shape == (2, 0)
    total = oracle.Expected(*(array.sum(axis=0) for array in expected.dlogits))
    total.check(gradients.intercept)


def test_a_row_of_zeros_gives_the_intercept_alone(backend, dtype):
    X, W = np.zeros((1, 33), dtype), np.full((33, 2), 1e30, dtype)
    loss, gradients = linear_cross_entropy(X, W, [0], backend=backend)
    np.testing.assert_allclose(loss, np.log(2), rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(gradients.W, np.zeros((33, 2)))


@pytest.mark.parametrize("n_threads", [2, 3, 8])
@pytest.mark.parametrize("shape", [(37, 5, 3), (300, 60, 10), (20, 784, 10), (300, 5, 101)])
def test_the_number_of_threads_changes_no_bit(backend, dtype, rng, shape, n_threads):
    n, d, c = shape
    X, W, b = (rng.normal(size=size).astype(dtype) for size in ((n, d), (d, c), c))
    targets = rng.integers(c, size=n)
    loss, gradients = linear_cross_entropy(X, W, targets, b, backend=backend, n_threads=1)
    again, same = linear_cross_entropy(X, W, targets, b, backend=backend, n_threads=n_threads)
    assert again == loss
    for ours, theirs in zip(gradients, same, strict=True):
        np.testing.assert_array_equal(ours, theirs)


LAYOUTS_OF_W = {
    "by features": lambda W: W,
    "by classes": np.asfortranarray,
    "neither": lambda W: np.repeat(np.repeat(W, 2, axis=0), 2, axis=1)[::2, ::2],
}


@pytest.mark.parametrize("layout_of_W", LAYOUTS_OF_W.values(), ids=LAYOUTS_OF_W.keys())
@pytest.mark.parametrize("shape", [(530, 290, 45), (300, 19, 45), (40, 33, 1100)], ids=str)
def test_many_classes_go_by_blocks_of_rows(dtype, rng, shape, layout_of_W):
    """More rows than a block has, more features than dW and more classes than dX takes at a time."""
    n, d, c = shape
    X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, c)).astype(dtype)
    b, targets = rng.normal(size=c).astype(dtype), rng.integers(c, size=n)
    weights = rng.integers(3, size=n) / 2
    logits = X.astype(np.longdouble) @ W.astype(np.longdouble) + b
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    G = e / e.sum(axis=1, keepdims=True) - np.eye(c)[targets]
    G *= (weights / weights.sum())[:, np.newaxis]

    results = [
        linear_cross_entropy(
            X,
            layout_of_W(W),
            targets,
            b,
            sample_weight=weights,
            backend="compiled",
            n_threads=n_threads,
        )
        for n_threads in (1, 2, 3, 8)
    ]
    loss, gradients = results[0]
    # A logit is a sum of d + 1 terms, and moves a probability by twice its error of its size; a gradient
    # is a sum of n or c of them, each off by as much again for its own roundings.
    u = np.finfo(dtype).eps / 2
    of_logits = (d + 2) * u * (np.abs(X) @ np.abs(W) + np.abs(b)).max()
    of_G = 2 * (of_logits + (c + 10) * u)
    for actual, expected, size in (
        (gradients.W, X.T @ G, np.abs(X).T @ np.abs(G)),
        (gradients.intercept, G.sum(axis=0), np.abs(G).sum(axis=0)),
        (gradients.X, G @ W.T, np.abs(G) @ np.abs(W).T),
    ):
        assert (np.abs(actual - expected) <= (of_G + (n + c) * u) * size.max()).all()
    for other_loss, others in results[1:]:
        assert other_loss == loss
        for ours, theirs in zip(gradients, others, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_every_gradient_alone_with_many_classes(rng, dtype):
    X, W = rng.normal(size=(20, 5)).astype(dtype), rng.normal(size=(5, 50)).astype(dtype)
    b, targets = np.zeros(50, dtype), rng.integers(50, size=20)
    loss, gradients = linear_cross_entropy(X, W, targets, b, backend="compiled")
    for name in ("W", "intercept", "X"):
        same, alone = linear_cross_entropy(X, W, targets, b, wrt=(name,), backend="compiled")
        assert same == loss
        assert sum(gradient is not None for gradient in alone) == 1
        np.testing.assert_array_equal(getattr(alone, name), getattr(gradients, name))
    # A gradient may be written anywhere.
    dW = np.full((10, 100), 7, dtype)[::2, ::2]
    kernels = get_backend("compiled")
    kernels.linear_cross_entropy(
        X, W, b, targets, 1 / 20, np.empty(20), dW, None, None, n_threads=2
    )
    np.testing.assert_array_equal(dW, gradients.W)
    assert (dW.base[1::2] == 7).all()


LABELLED = [(1, 1, 2), (65, 3, 2), (200, 15, 2), (130, 16, 2), (1000, 37, 2)]
LABELLED += [(70, 1, 3), (300, 5, 3), (3000, 20, 7), (90, 39, 40), (33, 1500, 3)]


@pytest.mark.parametrize("row_weights", ["none", "positive", "some 0"])
@pytest.mark.parametrize("shape", LABELLED, ids=str)
def test_rows_with_labels_go_by_chunks_where_no_gradient_in_X_is_asked_for(
    dtype, rng, shape, row_weights
):
    """Two classes by the difference of their logits."""
    n, d, c = shape
    X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, c)).astype(dtype) / d**0.5
    b, targets = rng.normal(size=c).astype(dtype), rng.integers(c, size=n)
    weights = None
    if row_weights != "none":
        weights = rng.uniform(0.5, 2, size=n)
        weights[::3] = 0 if row_weights == "some 0" and n > 1 else 1
    arrays, options = (X, W, targets, b), {"sample_weight": weights, "backend": "compiled"}
    expected_loss, expected = linear_cross_entropy(*arrays, **options)
    options["wrt"] = ("W", "intercept")
    loss, gradients = linear_cross_entropy(*arrays, n_threads=1, **options)
    eps = float(np.finfo(dtype).eps)
    assert loss == pytest.approx(expected_loss, rel=20 * float(eps))
    for ours, theirs in zip(gradients[:2], expected[:2], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=(20 + d) * eps * abs(X).mean() * 4)
    for n_threads in (2, 3):
        again, same = linear_cross_entropy(*arrays, n_threads=n_threads, **options)
        assert again == loss
        for ours, theirs in zip(gradients[:2], same[:2], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    # W and its gradient may have any strides, and each gradient may be asked for alone.
    options["wrt"] = ("W",)
    _, alone = linear_cross_entropy(X, LAYOUTS_OF_W["neither"](W), targets, b, **options)
    np.testing.assert_array_equal(alone.W, gradients.W)
    options["wrt"] = ("intercept",)
    _, alone = linear_cross_entropy(X, np.asfortranarray(W), targets, b, **options)
    np.testing.assert_array_equal(alone.intercept, gradients.intercept)


@pytest.mark.parametrize("shape", [(100, 3, 2), (100, 20, 2), (100, 20, 3)], ids=str)
def test_the_first_row_without_a_softmax_by_chunks(dtype, rng, shape):
    n, d, c = shape
    X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, c)).astype(dtype)
    b, targets = np.zeros(c, dtype), rng.integers(c, size=n)
    kernels, losses, dW = get_backend("compiled"), np.empty(n), np.empty_like(W)
    for bad in (np.nan, np.inf, -np.inf):
        X[70, -1] = bad
        found = kernels.linear_cross_entropy(X, W, b, targets, 1.0, losses, dW, None, None, 1)
        assert found == 70
    b[0], X[70] = -np.inf, 0  # masks a class
    targets[:] = 1
    assert kernels.linear_cross_entropy(X, W, b, targets, 1.0, losses, dW, None, None, 1) == -1
    assert np.isfinite(losses).all()
    np.testing.assert_array_equal(dW[:, 0], 0)


MASKED = [(5, 7, 3), (300, 4, 10), (20, 40, 50)]


@pytest.mark.costly
@pytest.mark.parametrize("shape", MASKED, ids=str)
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_an_intercept_of_minus_infinity_masks_a_class(backend, dtype, shape, soft):
    """Loss and gradients are those of the other classes, and that of the class is 0."""
    X, W, targets, b, _ = problem(*shape, dtype, soft)
    if soft:
        targets = targets.copy()
        targets[:, 1] = 0
    else:
        targets = np.where(targets == 1, 0, targets)
    others = np.arange(shape[2]) != 1
    fewer = targets[:, others] if soft else targets - (targets > 1)
    expected = oracle.linear(X, W[:, others], fewer, b[others], dtype)
    masked = np.where(others, b, -np.inf).astype(dtype)
    loss, gradients = linear_cross_entropy(X, W, targets, masked, backend=backend)
    expected.loss.check(loss)
    expected.W.check(gradients.W[:, others])
    expected.intercept.check(gradients.intercept[others])
    expected.X.check(gradients.X)
    np.testing.assert_array_equal(gradients.W[:, 1], 0)
    assert gradients.intercept[1] == 0


@pytest.mark.parametrize("n_classes", [3, 50])
def test_a_target_on_a_class_that_the_intercept_masks_has_an_infinite_loss(
    backend, dtype, n_classes
):
    X, W, b = np.ones((2, 2), dtype), np.zeros((2, n_classes), dtype), np.zeros(n_classes, dtype)
    b[1] = -np.inf
    losses, gradients = linear_cross_entropy(X, W, [0, 1], b, reduction="none", backend=backend)
    np.testing.assert_allclose(losses, [np.log(n_classes - 1), np.inf], rtol=1e-6)
    assert np.isfinite(gradients.W).all()
    assert gradients.intercept[1] == -1


@pytest.mark.parametrize(
    ("intercept", "message"),
    [
        ([0, np.nan, 0], "intercept: expected finite numbers, or -inf .* got nan for class 1"),
        ([0, 0, np.inf], "intercept: expected finite numbers, or -inf .* got inf for class 2"),
        ([-np.inf] * 3, "intercept: expected a class that is not masked"),
        ([0, -1e39, 0], "intercept: expected finite numbers, or -inf .* got -inf for class 1"),
    ],
)
def test_an_intercept_that_cannot_be(backend, intercept, message):
    X, W = np.ones((2, 2), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(X, W, [0, 1], intercept, backend=backend)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("c", [2, 5, 50])
def test_a_number_from_above_multiplies_the_gradients(backend, dtype, c, soft, reduction):
    X, W, targets, b, _ = problem(7, 9, c, dtype, soft)
    options = {"reduction": reduction, "backend": backend}
    loss, gradients = linear_cross_entropy(X, W, targets, b, **options)
    # A small one as well, whose products float32 must not lose.
    for factor in (-2.0, 0.0, -(2.0**-70)):
        same, multiplied = linear_cross_entropy(X, W, targets, b, upstream=factor, **options)
        assert same == loss
        for actual, expected in zip(multiplied, gradients, strict=True):
            scaled = expected.astype(np.float64) * factor
            tolerance = 64 * np.finfo(dtype).eps * np.abs(scaled).max()
            np.testing.assert_allclose(actual, scaled, rtol=0, atol=tolerance)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("c", [3, 50])
def test_rows_that_do_not_count_take_nothing_from_above(backend, dtype, c, soft):
    X, W, targets, b, _ = problem(7, 9, c, dtype, soft)
    weights = np.array([0, 1, 2, 0, 1, 1, 0.5])
    options = {"reduction": "none", "sample_weight": weights, "backend": backend}
    _, expected = linear_cross_entropy(X, W, targets, b, upstream=-weights, **options)
    _, G = softmax_cross_entropy(
        X.astype(float) @ W + b, targets, reduction="none", sample_weight=weights**2
    )
    np.testing.assert_allclose(expected.W, -X.astype(float).T @ G, atol=100 * np.finfo(dtype).eps)
    np.testing.assert_allclose(expected.X, -G @ W.astype(float).T, atol=100 * np.finfo(dtype).eps)
    upstream = np.where(weights > 0, -weights, np.nan)
    _, gradients = linear_cross_entropy(X, W, targets, b, upstream=upstream, **options)
    for ours, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("upstream", "reduction", "error", "message"),
    [
        (
            [1.0],
            "none",
            ValueError,
            r"upstream: expected the shape of the loss, \(5,\), got \(1,\)",
        ),
        (2.0, "none", ValueError, "upstream: expected the shape"),
        (np.ones(5), "mean", ValueError, r"upstream: expected the shape of the loss, \(\)"),
        ("a", "none", TypeError, "upstream: expected real numbers"),
        (1j, "sum", TypeError, "upstream: expected real numbers"),
    ],
)
def test_bad_gradients_from_above(backend, upstream, reduction, error, message):
    X, W, targets, b, _ = problem(5, 17, 10, np.float64)
    with pytest.raises(error, match=message):
        linear_cross_entropy(
            X, W, targets, b, upstream=upstream, reduction=reduction, backend=backend
        )
