"""The losses next to PyTorch's: every combination of options, values and gradients."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy as torch_cross_entropy

import fastsoftmax
from fastsoftmax import linear_cross_entropy, softmax_cross_entropy
from fastsoftmax.torch import cross_entropy

SHAPES = [(7,), (1, 1), (5, 3), (40, 33), (2, 4, 3), (2, 3, 2, 5)]
HALVES = [torch.float16, torch.bfloat16]
DTYPES = [*HALVES, torch.float32]
OPTIONS = list(
    itertools.product([False, True], [False, True], [0.0, 0.1, 1.0], ["mean", "sum", "none"])
)


def problem(shape, dtype, soft, weighted, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=generator, dtype=dtype)
    axis = min(len(shape) - 1, 1)
    c = shape[axis]
    if soft:
        target = torch.rand(shape, generator=generator, dtype=dtype)
    else:
        labels = (*shape[:axis], *shape[axis + 1 :])
        target = torch.randint(c, labels, generator=generator)
        if target.numel() > 2:
            target.view(-1)[::3] = -100
    weight = torch.rand(c, generator=generator, dtype=dtype) if weighted else None
    return logits, target, weight


def both(logits, target, weight, **options):
    """Value and gradient of the two functions, after the same backward pass."""
    for function in (cross_entropy, torch_cross_entropy):
        z = logits.clone().requires_grad_()
        value = function(z, target, weight, **options)
        value.backward(torch.linspace(0.5, 2, value.numel()).reshape(value.shape).to(value))
        yield value.detach(), z.grad


def assert_close(ours, theirs, c, dtype):
    """Both are sums of c terms of rounded numbers."""
    tolerance = 8 * (c + 8) * torch.finfo(dtype).eps
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("soft", "weighted", "smoothing", "reduction"), OPTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_option_matrix(shape, soft, weighted, smoothing, reduction, dtype):
    arguments = problem(shape, dtype, soft, weighted)
    ours, theirs = both(*arguments, label_smoothing=smoothing, reduction=reduction)
    for actual, expected in zip(ours, theirs, strict=True):
        assert actual.dtype == dtype
        assert actual.shape == expected.shape
        assert_close(actual, expected, shape[min(len(shape) - 1, 1)], dtype)


@pytest.mark.parametrize("seed", range(200))
def test_random_combinations(seed):
    rng = np.random.default_rng(seed)
    n, c = int(rng.integers(1, 50)), int(rng.integers(1, 90))
    dtype = [torch.float32, torch.float64][rng.integers(2)]
    soft = bool(rng.integers(2))
    logits, target, weight = problem((n, c), dtype, soft, bool(rng.integers(2)), seed)
    options = {
        "label_smoothing": float(rng.choice([0, 0.05, 0.3])),
        "reduction": str(rng.choice(["mean", "sum", "none"])),
        "ignore_index": -100 if soft else int(rng.choice([-100, 0, c - 1])),
    }
    if not soft and options["ignore_index"] != -100:
        target = target.clamp(min=0)
    ours, theirs = both(logits, target, weight, **options)
    for actual, expected in zip(ours, theirs, strict=True):
        assert_close(actual, expected, c, dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_empty_mean(smoothing):
    logits = torch.randn(3, 4)
    for target, weight in (
        (torch.full((3,), -100), None),
        (torch.tensor([0, -100, 0]), torch.tensor([0.0, 1, 1, 1])),
    ):
        ours, theirs = both(logits, target, weight, label_smoothing=smoothing)
        assert torch.isnan(ours[0])
        assert torch.isnan(theirs[0])
        if smoothing == 0:
            torch.testing.assert_close(ours[1], theirs[1], equal_nan=True)


@pytest.mark.parametrize("backend", ["naive", "vectorized", "numba", "compiled"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("soft", [False, True])
def test_the_linear_classifier(backend, reduction, soft):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(12, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    W = torch.randn(5, 50, generator=generator, dtype=torch.float64, requires_grad=True)
    _, target, weight = problem((12, 50), torch.float64, soft, True)
    options = {"label_smoothing": 0.1, "reduction": reduction}
    expected = torch_cross_entropy(X @ W, target, weight, **options)
    expected.backward()
    loss, gradients = linear_cross_entropy(
        X.detach(),
        W.detach(),
        target,
        class_weight=weight,
        ignore_index=-100,
        backend=backend,
        **options,
    )
    assert loss == pytest.approx(float(expected.detach()), rel=1e-13)
    np.testing.assert_allclose(gradients.W, W.grad, rtol=0, atol=1e-12)
    np.testing.assert_allclose(gradients.X, X.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("half", HALVES)
def test_half_floats(half):
    logits, target, _ = problem((9, 6), torch.float32, False, False)
    ours, theirs = both(logits.to(half), target, None)
    for actual, expected in zip(ours, theirs, strict=True):
        assert actual.dtype == half
        torch.testing.assert_close(actual, expected, rtol=4 * torch.finfo(half).eps, atol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("shape", [(7,), (9, 6), (2, 5, 3)])
def test_the_gradient_is_scaled_in_float32_and_rounded_once(shape, soft, reduction, dtype):
    """What a loss that is scaled up is for: entries that the dtype would round to 0 come back."""
    logits, target, weight = problem(shape, torch.float32, soft, True)
    logits = (4 * logits).to(dtype)  # probabilities down to 1e-9
    options = {"label_smoothing": 0.0, "reduction": reduction}
    exact = logits.float().clone().requires_grad_()
    cross_entropy(exact, target, weight, **options).sum().backward()
    z = logits.clone().requires_grad_()
    loss = cross_entropy(z, target, weight, **options)
    upstream = torch.linspace(2**13, 2**14, loss.numel()).reshape(loss.shape).to(dtype)
    loss.backward(upstream)
    axis = min(logits.ndim - 1, 1)
    factor = upstream.float().unsqueeze(axis) if reduction == "none" else upstream.float()
    assert z.grad.dtype == dtype
    torch.testing.assert_close(z.grad, (exact.grad * factor).to(dtype), rtol=0, atol=0)
    in_float32 = logits.float().clone().requires_grad_()
    torch_cross_entropy(in_float32, target, weight, **options).backward(upstream.float())
    tolerance = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(z.grad, in_float32.grad.to(dtype), rtol=tolerance, atol=2**14 * 1e-6)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
@pytest.mark.parametrize("cast_to", HALVES)
@pytest.mark.parametrize("soft", [False, True])
def test_autocast(soft, cast_to, dtype):
    logits, target, weight = problem((64, 1000), torch.float32, soft, True)
    logits = logits.to(dtype)
    with torch.autocast("cpu", dtype=cast_to):
        ours, theirs = both(logits, target, weight.to(dtype))
        with torch.autocast("cpu", enabled=False):
            assert cross_entropy(logits, target, weight.to(dtype)).dtype == dtype
    assert ours[0].dtype == theirs[0].dtype
    assert ours[1].dtype == theirs[1].dtype == dtype
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=0)
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(ours[1], theirs[1], rtol=tolerance, atol=1e-6)


def scaled_training(function, dtype, is_autocast):
    """Weights and scales of some steps with a gradient scaler that begins much too high."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(40, 8, generator=generator)
    target = torch.randint(5, (40,), generator=generator)
    target[::7] = -100
    W = torch.zeros(5, 8, requires_grad=True)
    optimizer = torch.optim.SGD([W], lr=0.5)
    scaler = torch.amp.GradScaler(
        "cpu", init_scale=2.0**127, growth_interval=5, backoff_factor=2**-8
    )
    scales = []
    for _ in range(40):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=is_autocast):
            logits = X @ W.T if is_autocast else X.to(dtype) @ W.to(dtype).T
            loss = function(logits, target)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    return W.detach(), scales


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_autocast", [False, True])
def test_a_gradient_scaler(dtype, is_autocast):
    is_autocast = is_autocast and dtype != torch.float32
    weights, scales = scaled_training(cross_entropy, dtype, is_autocast)
    expected, expected_scales = scaled_training(torch_cross_entropy, dtype, is_autocast)
    assert scales == expected_scales
    assert weights.abs().max() > 0.3
    torch.testing.assert_close(weights, expected, rtol=0, atol=16 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("upstream", [float("inf"), -float("inf"), float("nan"), 0.0])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 3, 2)])
def test_ignored_rows_have_the_gradient_0_whatever_comes_from_above(
    shape, upstream, reduction, dtype
):
    logits, target, _ = problem(shape, torch.float32, False, False)
    ignored = torch.zeros_like(target, dtype=torch.bool)
    ignored.view(-1)[::2] = True
    target = torch.where(ignored, 1, 2 * (target > 0))
    gradients = []
    for function in (cross_entropy, torch_cross_entropy):
        z = logits.to(dtype).clone().requires_grad_()
        loss = function(z, target, ignore_index=1, reduction=reduction)
        loss.backward(torch.full_like(loss, upstream))
        gradients.append(z.grad)
    ours, theirs = gradients
    assert (ours.movedim(min(ours.ndim - 1, 1), -1)[ignored] == 0).all()
    torch.testing.assert_close(torch.isfinite(ours), torch.isfinite(theirs))


@pytest.mark.parametrize(("soft", "weighted", "smoothing", "reduction"), OPTIONS)
def test_gradcheck(soft, weighted, smoothing, reduction):
    logits, target, weight = problem((4, 5), torch.float64, soft, weighted)
    assert torch.autograd.gradcheck(
        lambda z: cross_entropy(z, target, weight, label_smoothing=smoothing, reduction=reduction),
        logits.requires_grad_(),
    )


def test_without_a_gradient():
    logits, target, _ = problem((9, 6), torch.float32, False, False)
    logits.requires_grad_()
    with torch.no_grad():
        assert not cross_entropy(logits, target).requires_grad
    with torch.inference_mode():
        cross_entropy(logits, target)


def test_a_second_derivative_is_refused():
    logits, target, _ = problem((9, 6), torch.float64, False, False)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(logits, target), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.sum().backward()


def test_a_graph_may_be_kept():
    logits, target, _ = problem((9, 6), torch.float64, False, False)
    logits.requires_grad_()
    loss = cross_entropy(logits, target)
    loss.backward(retain_graph=True)
    first = logits.grad.clone()
    loss.backward()
    torch.testing.assert_close(logits.grad, 2 * first)


def test_tensors_are_read_where_they_lie(monkeypatch):
    logits, target, _ = problem((9, 6), torch.float32, False, False)
    target = target.clamp(min=0)
    seen = []

    def record(array, *arguments, **options):
        seen.append(array)
        return softmax_cross_entropy(array, *arguments, **options)

    monkeypatch.setattr("fastsoftmax.loss.functional.softmax_cross_entropy", record)
    cross_entropy(logits.requires_grad_(), target)
    assert seen[0].__array_interface__["data"][0] == logits.data_ptr()
    loss, dlogits = softmax_cross_entropy(logits.detach(), target)
    assert loss == pytest.approx(float(torch_cross_entropy(logits, target).detach()), rel=1e-6)
    out = torch.empty_like(logits)
    softmax_cross_entropy(logits.detach(), target, out=out.numpy())
    np.testing.assert_array_equal(out, dlogits)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"input": [[0.0]]}, TypeError, "input: expected a tensor, got list"),
        ({"target": None}, TypeError, "target: expected a tensor"),
        ({"input": torch.zeros(9, 6, dtype=torch.int64)}, TypeError, "input: expected floating"),
        ({"input": torch.tensor(1.0)}, ValueError, "input: expected shape"),
        ({"target": torch.zeros(9, 6, requires_grad=True)}, ValueError, "target: .*detach"),
        ({"weight": torch.ones(6, requires_grad=True)}, ValueError, "weight: .*detach"),
        ({"target": torch.zeros(9, 6, dtype=torch.int64)}, TypeError, "target: .*torch.int64 of"),
        ({"target": torch.zeros(9, 6, dtype=torch.int32)}, TypeError, "target: .*torch.int32 of"),
        ({"target": torch.zeros(9, 6, dtype=torch.bool)}, TypeError, "target: .*torch.bool of"),
        (
            {"input": torch.zeros(3), "target": torch.tensor([0, 1, 0])},
            TypeError,
            r"target: expected .*probabilities .*labels .*torch.int64 of shape \(3,\)",
        ),
        ({"size_average": True}, ValueError, "size_average, reduce: expected None"),
        ({"input": torch.zeros(9, 6, device="meta")}, ValueError, "input: .*on the CPU"),
        ({"target": torch.full((9,), 6)}, ValueError, "targets: expected labels from 0 to 5"),
    ],
)
def test_bad_arguments(change, error, message):
    logits, target, _ = problem((9, 6), torch.float32, False, False)
    with pytest.raises(error, match=message):
        cross_entropy(**{"input": logits, "target": target} | change)


def test_a_tensor_that_requires_a_gradient_is_refused_by_name():
    logits, target, _ = problem((9, 6), torch.float32, False, False)
    with pytest.raises(TypeError, match=r"logits: .*detach"):
        fastsoftmax.cross_entropy(logits.requires_grad_(), target.clamp(min=0))
