"""Argmax, top-k, label log-probability and entropy of rows, from the same pass as their loss."""

import hard_logits
import ml_dtypes
import numpy as np
import oracle
import pytest

from fastsoftmax import RowMetrics, cross_entropy, linear_cross_entropy, softmax_cross_entropy

ALL = RowMetrics._fields


def by_formula(z, labels, counts, options, top_k):
    """The metrics of rows in float64, as docs/loss-core.md writes them."""
    rows = np.arange(len(z))
    mask = np.broadcast_to(True if options["mask"] is None else options["mask"], z.shape)
    q = z / options["temperature"]
    if options["softcap"]:
        q = options["softcap"] * np.tanh(q / options["softcap"])
    z, q = np.where(mask, z, -np.inf), np.where(mask, q, -np.inf)
    log_p = q - q.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    entropy = -(np.exp(log_p) * np.where(mask, log_p, 0)).sum(axis=1)
    return RowMetrics(
        np.where(counts, z.argmax(axis=1), -1),
        counts & ((z > z[rows, labels][:, np.newaxis]).sum(axis=1) < top_k),
        np.where(counts, log_p[rows, labels], 0),
        np.where(counts, entropy, 0),
    )


def drawn(rng):
    """A linear problem whose labels take part, with random options, and which rows count."""
    n, c, d = int(rng.integers(1, 40)), int(rng.choice([1, 2, 3, 7, 33, 41, 60, 150])), 4
    X, W, b = rng.normal(size=(n, d)), rng.normal(size=(d, c)), 3 * rng.normal(size=c)
    mask = rng.random((n, c) if rng.random() < 0.5 else (1, c)) < 0.7
    mask[~mask.any(axis=1), 0] = True
    if rng.random() < 0.3:
        mask = None
    rows = np.broadcast_to(True if mask is None else mask, (n, c))
    labels = np.array([rng.choice(np.flatnonzero(row)) for row in rows])
    options = {
        "sample_weight": rng.integers(4, size=n) / 4 if rng.random() < 0.5 else None,
        "class_weight": rng.integers(1, 4, size=c) / 4 if rng.random() < 0.5 else None,
        "label_smoothing": float(rng.choice([0, 0.125])),
        "mask": mask,
        "temperature": float(rng.choice([1, 0.5, 3])),
        "softcap": [None, 2.0, 30.0][rng.integers(3)],
        "z_loss": float(rng.choice([0, 0.01])),
        "return_lse": bool(rng.integers(2)),
    }
    weight = options["sample_weight"]
    return X, W, b, labels, options, np.ones(n, bool) if weight is None else weight > 0


def assert_near(found, expected, dtype):
    """Ranks are exact, logarithms within some dozen roundings of the largest."""
    for name in ("argmax", "top_k_correct"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.argmax.dtype == np.int64
    assert found.top_k_correct.dtype == bool
    for name in ("label_log_prob", "entropy"):
        exact = getattr(expected, name)
        atol = 64 * float(np.finfo(dtype).eps) * (1 + np.abs(exact).max(initial=0))
        np.testing.assert_allclose(getattr(found, name), exact, rtol=0, atol=atol)


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("seed", range(40))
def test_random_combinations_by_the_formula(backend, dtype, seed):
    rng = np.random.default_rng(seed)
    X, W, b, labels, options, counts = drawn(rng)
    top_k = int(rng.integers(1, 8))
    run = options | {"backend": backend, "metrics": ALL, "top_k": top_k, "reduction": "none"}
    z = (X @ W + b).astype(dtype)
    *_, found = cross_entropy(z, labels, **run)
    assert_near(found, by_formula(z.astype(np.float64), labels, counts, options, top_k), dtype)
    *_, again = softmax_cross_entropy(z, labels, **run)
    assert_same(again, found)
    place = z.copy()
    *_, again = softmax_cross_entropy(place, labels, place, **run)
    assert_same(again, found)
    # Integers: logits are exact, in whatever order they are added up.
    X, W, b = (np.rint(array).astype(dtype) for array in (2 * X, 8 * W, b))
    z = X.astype(np.float64) @ W + b
    *_, found = linear_cross_entropy(X, W, labels, b, **run)
    assert_near(found, by_formula(z, labels, counts, options, top_k), dtype)


@pytest.mark.parametrize("n_classes", [2, 17, 40, 41, 300])
@pytest.mark.parametrize("family", hard_logits.NAMES)
def test_digits_of_hard_rows(backend, dtype, family, n_classes):
    """Relative errors, however small the entropy and however sure the label."""
    z, labels = hard_logits.rows(family, 8, n_classes, dtype)
    expected = oracle.log_metrics(z, labels)
    _, found = cross_entropy(z, labels, metrics=ALL, backend=backend)
    # A term e_k is off by 2 units of eps / 2, of which an entropy takes 4; then come a difference, a
    # product and a quotient. Elsewhere a difference of logits is rounded before the exponential.
    spread = 0 if backend == "compiled" else 745
    rtol = (8 + spread) * np.finfo(np.float64 if backend != "compiled" else dtype).eps / 2
    tiny = float(np.finfo(dtype).tiny)  # of terms that underflow
    np.testing.assert_allclose(found.label_log_prob, expected[0], rtol, tiny)
    np.testing.assert_allclose(found.entropy, expected[1], rtol, tiny)


@pytest.mark.parametrize("c", [3, 60])
def test_metrics_change_nothing_else_and_do_not_depend_on_one_another(backend, dtype, rng, c):
    z, labels = rng.normal(size=(50, c)).astype(dtype), rng.integers(c, size=50)
    X, W = rng.normal(size=(50, 3)).astype(dtype), rng.normal(size=(3, c)).astype(dtype)
    for options in (
        {"return_lse": True},
        {"return_lse": True, "z_loss": 0.1, "softcap": 2.0, "mask": np.arange(c) >= 0},
    ):
        options = options | {"backend": backend}
        plain = softmax_cross_entropy(z, labels, **options)
        linear = linear_cross_entropy(X, W, labels, **options)
        *found, metrics = softmax_cross_entropy(z, labels, metrics=ALL, **options)
        assert_same(found, plain)
        loss, gradients, lse, of_linear = linear_cross_entropy(X, W, labels, metrics=ALL, **options)
        assert_same((loss, *gradients[::2], lse), (linear[0], *linear[1][::2], linear[2]))
        for name in ALL:
            *_, one = softmax_cross_entropy(z, labels, metrics=(name,), **options)
            np.testing.assert_array_equal(getattr(one, name), getattr(metrics, name))
            assert [each for each in ALL if getattr(one, each) is not None] == [name]
            *_, one = linear_cross_entropy(X, W, labels, wrt=(), metrics=[name], **options)
            np.testing.assert_array_equal(getattr(one, name), getattr(of_linear, name))


@pytest.mark.parametrize("c", [7, 130])
def test_the_bits_do_not_depend_on_the_threads(dtype, rng, c):
    n, d = 700, 40
    X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, c)).astype(dtype)
    labels = rng.integers(c, size=n)
    mask = rng.random((n, c)) < 0.5
    mask[np.arange(n), labels] = True
    z = np.tile(X @ W, (1 + 40_000 // (n * c), 1))
    times = len(z) // n
    for options in ({"temperature": 0.7, "softcap": 20.0}, {"mask": mask}):
        options = options | {"metrics": ALL}
        tiled = dict(options)
        if "mask" in options:
            tiled["mask"] = np.tile(mask, (times, 1))
        _, expected = cross_entropy(z, np.tile(labels, times), n_threads=1, **tiled)
        *_, linear = linear_cross_entropy(X, W, labels, n_threads=1, **options)
        for n_threads in (2, 3, 8):
            _, found = cross_entropy(z, np.tile(labels, times), n_threads=n_threads, **tiled)
            assert_same(found, expected)
            *_, found = linear_cross_entropy(X, W, labels, n_threads=n_threads, **options)
            assert_same(found, linear)


@pytest.mark.parametrize("mask", [None, [True] * 4, [True, True, True, False]])
def test_ties(backend, dtype, mask):
    """The first of equal ones is the argmax; a label is among k if fewer than k are larger."""
    z = np.array([[1, 2, 2, 9], [2, 2, 2, 9], [0, -0.0, 0, 9]], dtype)
    z[:, 3] = 9 if mask is not None and not mask[3] else -9
    for labels, of_1, of_2 in (
        ([0, 0, 0], [False, True, True], [False, True, True]),
        ([2, 2, 2], [True, True, True], [True, True, True]),
    ):
        all_3 = [True] * 3
        for top_k, expected in ((1, of_1), (2, of_2), (np.int64(3), all_3), (2**70, all_3)):
            _, found = cross_entropy(
                z, labels, mask=mask, metrics=ALL, top_k=top_k, backend=backend
            )
            np.testing.assert_array_equal(found.argmax, [1, 0, 0])
            np.testing.assert_array_equal(found.top_k_correct, expected)


def test_a_softcap_keeps_the_ranks(backend, dtype):
    """Though q is 1 for both."""
    z = np.array([[30, 40, 0]], dtype)
    _, found = cross_entropy(z, [0], softcap=1.0, metrics=ALL, top_k=1, backend=backend)
    assert found.argmax == 1
    assert not found.top_k_correct
    assert found.label_log_prob == pytest.approx(-np.log(2 + np.exp(-1)), rel=1e-6)


def test_classes_without_probability(backend, dtype):
    z = np.array([[-np.inf, 1, -np.inf, 1], [0, -np.inf, -np.inf, -np.inf]], dtype)
    losses, found = cross_entropy(
        z, [0, 0], metrics=ALL, top_k=2, reduction="none", backend=backend
    )
    np.testing.assert_array_equal(losses, [np.inf, 0])
    np.testing.assert_array_equal(found.argmax, [1, 0])
    np.testing.assert_array_equal(found.top_k_correct, [False, True])
    np.testing.assert_array_equal(found.label_log_prob, [-np.inf, 0])
    assert not np.signbit(found.label_log_prob[1])
    np.testing.assert_allclose(found.entropy, [np.log(2), 0], rtol=1e-15)
    X, W = np.zeros((1, 2), dtype), np.zeros((2, 3), dtype)
    *_, found = linear_cross_entropy(
        X, W, [0], np.array([-np.inf, 0, 0], dtype), metrics=ALL, top_k=2, backend=backend
    )
    assert found.argmax == 1
    assert not found.top_k_correct
    assert found.label_log_prob == -np.inf
    assert found.entropy == pytest.approx(np.log(2), rel=1e-15)


@pytest.mark.parametrize("c", [3, 60])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_rows_that_do_not_count(backend, dtype, rng, c, soft):
    """Ignored, of weight 0, with a class of weight 0, or fully masked."""
    z = rng.normal(size=(4, c)).astype(dtype)
    z[2] = np.nan
    weight = np.ones(c)
    weight[0] = 0
    names = ("argmax", "entropy") if soft else ALL
    cases = [(np.array([1, 1, 1, 0]), {"sample_weight": [1, 1, 0, 1], "class_weight": weight})]
    if soft:
        cases[0] = np.eye(c, dtype=dtype)[cases[0][0]], cases[0][1]
    else:
        cases.append((np.array([1, 1, -1, -1]), {"ignore_index": -1}))
        mask = np.ones((4, c), bool)
        mask[2] = mask[3] = False
        cases.append((np.array([1, 1, -1, -1]), {"ignore_index": -1, "mask": mask}))
    for targets, options in cases:
        options = options | {"metrics": names, "backend": backend}
        _, found = cross_entropy(z, targets, **options)
        _, _, again = softmax_cross_entropy(z, targets, **options)
        assert_same(filter_none(again), filter_none(found))
        np.testing.assert_array_equal(found.argmax[:2], z[:2].argmax(axis=1))
        np.testing.assert_array_equal(found.argmax[2:], -1)
        np.testing.assert_array_equal(found.entropy[2:], 0)
        if not soft:
            assert not found.top_k_correct[2:].any()
            np.testing.assert_array_equal(found.label_log_prob[2:], 0)


def filter_none(metrics):
    return [each for each in metrics if each is not None]


def test_leading_shapes_halves_a_scalar_and_no_rows(backend, rng):
    z, labels = rng.normal(size=(2, 3, 4)), rng.integers(4, size=(2, 3))
    options = {"metrics": set(ALL), "top_k": 2, "backend": backend}
    _, found = cross_entropy(z, labels, **options)
    _, flat = cross_entropy(z.reshape(6, 4), labels.ravel(), **options)
    assert {each.shape for each in found} == {(2, 3)}
    assert_same([each.ravel() for each in found], flat)
    for half in (np.float16, ml_dtypes.bfloat16):
        _, found = cross_entropy(z.astype(half), labels, **options)
        _, wide = cross_entropy(z.astype(half).astype(np.float32), labels, **options)
        assert_same(found, wide)
    _, found = cross_entropy(z[0, 0], labels[0, 0], **options)
    assert [np.shape(each) for each in found] == [()] * 4
    _, found = cross_entropy(z[:0], labels[:0], **options)
    assert {each.shape for each in found} == {(0, 3)}
    *_, found = linear_cross_entropy(np.zeros((0, 2)), np.zeros((2, 3)), [], **options)
    assert {each.shape for each in found} == {(0,)}


def test_no_metrics(rng):
    z, labels = rng.normal(size=(5, 4)), rng.integers(4, size=5)
    for nothing in ((), [], set()):
        assert isinstance(cross_entropy(z, labels, metrics=nothing), float)
        assert len(softmax_cross_entropy(z, labels, metrics=nothing)) == 2
        assert len(linear_cross_entropy(z, z[:4], labels, metrics=nothing)) == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": "argmax"}, ValueError, r"^metrics: expected a tuple of names .* got 'argmax'"),
        ({"metrics": ("accuracy",)}, ValueError, "^metrics: expected .*'entropy'.* got"),
        ({"metrics": None}, TypeError, "^metrics: .* got None"),
        ({"metrics": 0}, TypeError, "^metrics: .* got 0"),
        ({"metrics": (1,)}, TypeError, "^metrics: "),
        ({"metrics": ("argmax",), "top_k": 0}, ValueError, "^top_k: expected at least 1, got 0"),
        ({"metrics": ("argmax",), "top_k": 1.0}, TypeError, "^top_k: expected an integer, got 1.0"),
        ({"metrics": ("argmax",), "top_k": True}, TypeError, "^top_k: "),
    ],
)
def test_what_is_refused(options, error, message):
    z = np.zeros((2, 3))
    for call in (cross_entropy, softmax_cross_entropy):
        with pytest.raises(error, match=message):
            call(z, [2, 0], **options)
    with pytest.raises(error, match=message):
        linear_cross_entropy(z, np.zeros((3, 3)), [2, 0], **options)


@pytest.mark.parametrize("name", ["top_k_correct", "label_log_prob"])
def test_probabilities_have_no_label(name):
    message = f"^metrics: {name} needs labels, got targets that are probabilities"
    with pytest.raises(ValueError, match=message):
        cross_entropy(np.zeros((2, 3)), np.ones((2, 3)) / 3, metrics=("argmax", name))
