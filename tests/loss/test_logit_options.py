"""Mask, temperature, softcap, z_loss and the log-sum-exp of the losses, with their other options."""

import ml_dtypes
import numpy as np
import pytest

from fastsoftmax import cross_entropy, linear_cross_entropy, softmax_cross_entropy


def by_formula(z, targets, options):
    """Losses, gradients in z and log-sum-exps of rows in float64, as docs/loss-core.md writes them."""
    n, c = z.shape
    mask = np.broadcast_to(True if options["mask"] is None else options["mask"], (n, c))
    q = z / options["temperature"]
    slopes = 1 / options["temperature"]
    if options["softcap"]:
        slopes = slopes / np.cosh(q / options["softcap"]) ** 2
        q = options["softcap"] * np.tanh(q / options["softcap"])
    t = np.eye(c)[targets] if targets.ndim == 1 else targets.astype(np.float64)
    e = options["label_smoothing"]
    u = ((1 - e) * t + e / mask.sum(axis=1, keepdims=True)) * mask
    for name, axis in (("sample_weight", 1), ("class_weight", 0)):
        if options[name] is not None:
            u = u * np.expand_dims(options[name], axis)
    shifted = np.where(mask, q, -np.inf)
    largest = shifted.max(axis=1, keepdims=True)
    lse = largest + np.log(np.exp(shifted - largest).sum(axis=1, keepdims=True))
    mass = u.sum(axis=1, keepdims=True)
    losses = (u * (lse - q + options["z_loss"] * lse**2)).sum(axis=1)
    gradient = mass * (1 + 2 * options["z_loss"] * lse) * np.exp(shifted - lse) - u
    lse = np.where(mass > 0, lse, 0)[:, 0]
    return losses, np.where(mask, gradient * slopes, 0), lse


def drawn(rng):
    """A linear problem with random options; every row has a class that takes part."""
    n, c, d = int(rng.integers(1, 40)), int(rng.choice([1, 2, 3, 7, 33, 41, 60])), 4
    X, W, b = rng.normal(size=(n, d)), rng.normal(size=(d, c)), 3 * rng.normal(size=c)
    mask = rng.random((n, c) if rng.random() < 0.5 else (1, c)) < 0.7
    mask[~mask.any(axis=1), 0] = True
    if rng.random() < 0.3:
        mask = None
    rows = np.broadcast_to(True if mask is None else mask, (n, c))
    if rng.random() < 0.5:
        targets = np.array([rng.choice(np.flatnonzero(row)) for row in rows])
    else:
        targets = rng.integers(8, size=(n, c)) / 8
    options = {
        "sample_weight": rng.integers(4, size=n) / 4 if rng.random() < 0.5 else None,
        "class_weight": rng.integers(4, size=c) / 4 if rng.random() < 0.5 else None,
        "label_smoothing": float(rng.choice([0, 0.125])),
        "mask": mask,
        "temperature": float(rng.choice([1, 0.5, 3])),
        "softcap": [None, 2.0, 30.0][rng.integers(3)],
        "z_loss": float(rng.choice([0, 0.01])),
    }
    return X, W, b, targets, options


def assert_near(found, expected, dtype):
    """Up to some dozen roundings of the largest element."""
    tolerance = 64 * float(np.finfo(dtype).eps)
    scale = 1 + np.abs(expected).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("seed", range(40))
def test_random_combinations_by_the_formula(backend, dtype, seed):
    rng = np.random.default_rng(seed)
    X, W, b, targets, options = drawn(rng)
    given = targets if targets.ndim == 1 else targets.astype(dtype)
    z = (X @ W + b).astype(dtype)
    run = options | {"backend": backend, "return_lse": True, "reduction": "none"}
    expected = by_formula(z.astype(np.float64), targets, options)
    found = softmax_cross_entropy(z, given, **run)
    for ours, exact in zip(found, expected, strict=True):
        assert_near(ours, exact, dtype)
    again, lse = cross_entropy(z, given, **run)
    np.testing.assert_array_equal(again, found[0])
    np.testing.assert_array_equal(lse, found[2])
    place = z.copy()
    loss, dlogits, _ = softmax_cross_entropy(place, given, place, **run | {"reduction": "sum"})
    assert loss == pytest.approx(found[0].sum(), rel=1e-14)
    np.testing.assert_array_equal(dlogits, found[1])

    X, W, b = (array.astype(dtype) for array in (X, W, b))
    wide = [array.astype(np.float64) for array in (X, W, b)]
    losses, G, lse = by_formula(wide[0] @ wide[1] + wide[2], targets, options)
    upstream = rng.normal(size=len(X))
    G = G * upstream[:, np.newaxis]
    loss, gradients, found = linear_cross_entropy(X, W, given, b, upstream=upstream, **run)
    assert_near(loss, losses, dtype)
    assert_near(found, lse, dtype)
    assert_near(gradients.W, wide[0].T @ G, dtype)
    assert_near(gradients.intercept, G.sum(axis=0), dtype)
    assert_near(gradients.X, G @ wide[1].T, dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.125])
@pytest.mark.parametrize("c", [5, 48])
def test_masked_classes_are_as_if_they_were_not_there(backend, dtype, rng, c, smoothing):
    """Whatever their logits are."""
    z = rng.normal(scale=4, size=(19, c)).astype(dtype)
    mask = np.arange(c) % 3 != 1
    left = np.flatnonzero(mask)
    labels = rng.integers(len(left), size=19)
    probabilities = rng.integers(8, size=(19, c)) / 8
    z[:, ~mask] = np.array([np.nan, np.inf, -np.inf])[rng.integers(3, size=(19, c - len(left)))]
    weights = rng.integers(1, 4, size=c) / 4
    options = {"label_smoothing": smoothing, "softcap": 5.0, "z_loss": 0.01}
    options |= {"return_lse": True, "backend": backend}
    for targets, fewer in (
        (left[labels], labels),
        (probabilities.astype(dtype), probabilities[:, mask].astype(dtype)),
    ):
        expected = softmax_cross_entropy(z[:, mask], fewer, class_weight=weights[mask], **options)
        for shape in (mask, np.tile(mask, (19, 1))):
            loss, dlogits, lse = softmax_cross_entropy(
                z, targets, mask=shape, class_weight=weights, **options
            )
            np.testing.assert_array_equal(dlogits[:, ~mask], 0)
            for ours, exact in zip((loss, dlogits[:, mask], lse), expected, strict=True):
                assert_near(ours, exact, dtype)


def test_a_masked_label_is_refused_whatever_the_weights_are(backend, dtype):
    """Weights of any magnitude with smoothing go another way: they become part of the targets."""
    z, mask = np.zeros((2, 3), dtype), np.array([True, True, False])
    for weight in (1.0, 1e30, 1e-30):
        options = {"sample_weight": [1.0, weight], "class_weight": [1.0, 1.0, weight]}
        options |= {"label_smoothing": 0.1, "mask": mask, "backend": backend}
        with pytest.raises(ValueError, match=r"targets: expected a class that takes part, got 2"):
            softmax_cross_entropy(z, [0, 2], **options)
        assert np.isfinite(softmax_cross_entropy(z, [0, 1], **options)[0])


def test_options_that_change_nothing_keep_the_bits(rng, dtype):
    z, labels = rng.normal(size=(50, 9)).astype(dtype), rng.integers(9, size=50)
    X, W = rng.normal(size=(50, 3)).astype(dtype), rng.normal(size=(3, 9)).astype(dtype)
    for targets in (labels, rng.random((50, 9)).astype(dtype)):
        loss, dlogits = softmax_cross_entropy(z, targets)
        same, again, _ = softmax_cross_entropy(
            z, targets, mask=np.ones(9, bool), temperature=1, return_lse=True
        )
        assert same == loss
        np.testing.assert_array_equal(again, dlogits)
        loss, gradients = linear_cross_entropy(X, W, targets)
        same, again, _ = linear_cross_entropy(X, W, targets, return_lse=True)
        assert same == loss
        for ours, theirs in zip(gradients[::2], again[::2], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("c", [7, 130])
def test_the_bits_do_not_depend_on_the_threads(dtype, rng, c):
    n, d = 700, 40
    X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, c)).astype(dtype)
    mask = rng.random((n, c)) < 0.5
    labels = rng.integers(c, size=n)
    mask[np.arange(n), labels] = True
    options = {"mask": mask, "temperature": 0.7, "softcap": 20.0, "z_loss": 1e-3}
    options |= {"return_lse": True, "reduction": "none"}
    z = np.tile(X @ W, (1 + 40_000 // (n * c), 1))
    times = len(z) // n
    tiled = options | {"mask": np.tile(mask, (times, 1))}
    first = softmax_cross_entropy(z, np.tile(labels, times), n_threads=1, **tiled)
    one = linear_cross_entropy(X, W, labels, n_threads=1, **options)
    for n_threads in (2, 3, 8):
        again = softmax_cross_entropy(z, np.tile(labels, times), n_threads=n_threads, **tiled)
        for ours, theirs in zip(again, first, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        loss, gradients, lse = linear_cross_entropy(X, W, labels, n_threads=n_threads, **options)
        np.testing.assert_array_equal(loss, one[0])
        np.testing.assert_array_equal(lse, one[2])
        np.testing.assert_array_equal(gradients.W, one[1].W)
        np.testing.assert_array_equal(gradients.X, one[1].X)


def test_rows_that_do_not_count_may_be_fully_masked(backend, dtype):
    z = np.array([[1, 2], [np.nan, 0], [3, 4]], dtype)
    mask = np.array([[True, True], [False, False], [False, True]])
    for labels, options in (
        ([0, -1, 1], {"ignore_index": -1}),
        ([0, 0, 1], {"sample_weight": [1, 0, 1]}),
    ):
        loss, dlogits, lse = softmax_cross_entropy(
            z, labels, mask=mask, z_loss=0.5, return_lse=True, backend=backend, **options
        )
        np.testing.assert_array_equal(dlogits[1:], 0 * dlogits[1:] + [[0, 0], [0, 2]])
        assert lse[1] == 0
        assert lse[2] == 4
        assert np.isfinite(loss)
    with pytest.raises(ValueError, match=r"^mask: .* got none in row 1$"):
        softmax_cross_entropy(z, [0, 0, 1], mask=mask, backend=backend)
    with pytest.raises(ValueError, match=r"^mask: .* got none in row 1$"):
        cross_entropy(z, np.ones((3, 2), dtype), mask=mask, backend=backend)
    with pytest.raises(ValueError, match=r"^targets: .* got 0 in row 2, masked$"):
        cross_entropy(z, [0, -1, 0], mask=mask, ignore_index=-1, backend=backend)


@pytest.mark.parametrize("smoothing", [0.0, 0.125])
@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_class_0_may_be_masked_where_rows_are_ignored(backend, dtype, shape, smoothing):
    """Ignored rows have the label 0 inside."""
    z = np.array([[5, 2, 3], [1, 0, 1]], dtype)
    mask = np.broadcast_to([False, True, True], shape)
    options = {"mask": mask, "label_smoothing": smoothing, "backend": backend}
    loss, dlogits = softmax_cross_entropy(z, [-1, 2], ignore_index=-1, **options)
    assert loss == cross_entropy(
        z[1:], [2], **options | {"mask": mask[-1:] if mask.ndim == 2 else mask}
    )
    assert not dlogits[0].any()
    X, W = np.zeros((2, 1), dtype), np.zeros((1, 3), dtype)
    linear_cross_entropy(X, W, [-1, 2], ignore_index=-1, **options)


def test_leading_shapes_halves_and_a_scalar(backend, rng):
    z, labels = rng.normal(size=(2, 3, 4)), rng.integers(4, size=(2, 3))
    options = {"z_loss": 0.1, "softcap": 1.0, "return_lse": True, "backend": backend}
    loss, dlogits, lse = softmax_cross_entropy(z, labels, reduction="none", **options)
    flat = softmax_cross_entropy(z.reshape(6, 4), labels.ravel(), reduction="none", **options)
    assert loss.shape == lse.shape == (2, 3)
    np.testing.assert_array_equal(dlogits.reshape(6, 4), flat[1])
    mask = np.ones((1, 3, 4), bool)
    mask[0, 1] = labels[0, 1] == np.arange(4)
    labels[1, 1] = labels[0, 1]
    _, dlogits, _ = softmax_cross_entropy(z, labels, mask=mask, **options | {"z_loss": 0.0})
    assert not dlogits[:, 1].any()
    half = z.astype(ml_dtypes.bfloat16)
    _, dlogits, lse = softmax_cross_entropy(half, labels, **options)
    wide = softmax_cross_entropy(half.astype(np.float32), labels, **options)
    np.testing.assert_array_equal(dlogits, wide[1].astype(half.dtype))
    np.testing.assert_array_equal(lse, wide[2])
    _, lse = cross_entropy(z[0, 0], labels[0, 0], **options)
    assert np.shape(lse) == ()


def test_extreme_weights_and_a_mask(backend):
    z, mask = np.array([[0.0, 1, 2], [2, 1, 0]]), np.array([True, False, True])
    options = {"mask": mask, "label_smoothing": 0.25, "backend": backend, "reduction": "none"}
    plain = cross_entropy(z, [0, 2], class_weight=[1, 1, 0.5], **options)
    huge = cross_entropy(z, [0, 2], class_weight=[2.0**80, 1, 2.0**79], **options)
    np.testing.assert_allclose(huge, np.ldexp(plain, 80), rtol=1e-14)


def test_infinite_logits_stay_what_they_are(backend, dtype):
    z = np.array([[0, -np.inf, 1]], dtype)
    options = {"softcap": 2.0, "backend": backend}
    loss = cross_entropy(z, [0], **options)
    assert loss == pytest.approx(cross_entropy(z[:, ::2], [0], **options), rel=1e-6)
    assert cross_entropy(z, [1], **options) == np.inf
    for wrong in (np.nan, np.inf):
        z[0, 1] = wrong
        with pytest.raises(ValueError, match=r"^logits: .* got (NaN|\+inf) in row 0"):
            cross_entropy(z, [0], **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": 0}, ValueError, "^temperature: .* got 0"),
        ({"temperature": np.nan}, ValueError, "^temperature: .* got nan"),
        ({"temperature": -1.0}, ValueError, "^temperature: .* got -1"),
        ({"temperature": "1"}, TypeError, "^temperature: "),
        ({"temperature": 1e-38}, ValueError, "^temperature: .* overflow float32 in row 0"),
        ({"softcap": 0.0}, ValueError, "^softcap: .* got 0"),
        ({"softcap": -2}, ValueError, "^softcap: .* got -2"),
        ({"softcap": np.inf}, ValueError, "^softcap: "),
        ({"softcap": [1.0]}, TypeError, "^softcap: "),
        ({"z_loss": -1.0}, ValueError, "^z_loss: .* got -1"),
        ({"z_loss": np.nan}, ValueError, "^z_loss: "),
        ({"return_lse": 1}, TypeError, "^return_lse: .* got 1"),
        ({"mask": [1, 1, 0]}, TypeError, "^mask: expected booleans, got int64"),
        ({"mask": [True, False]}, ValueError, r"^mask: .* got \(2,\)"),
        ({"mask": np.ones((3, 3), bool)}, ValueError, r"^mask: .* got \(3, 3\)"),
        ({"mask": [False] * 3}, ValueError, "^mask: .* got none in row 0"),
        ({"mask": [True, True, False]}, ValueError, "^targets: .* got 2 in row 0, masked"),
    ],
)
def test_what_is_refused(options, error, message):
    z = np.full((2, 3), 9, np.float32)
    with pytest.raises(error, match=message):
        cross_entropy(z, [2, 0], **options)
    with pytest.raises(error, match=message):
        softmax_cross_entropy(z, [2, 0], **options)
    if "overflow" not in message:
        with pytest.raises(error, match=message):
            linear_cross_entropy(z, np.zeros((3, 3), np.float32), [2, 0], **options)
