"""The losses next to PyTorch's: every combination of options, values and gradients."""

import doctest
import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy as torch_cross_entropy

import fastsoftmax
import fastsoftmax.torch
from fastsoftmax import linear_cross_entropy, softmax_cross_entropy
from fastsoftmax.torch import cross_entropy

SHAPES = [(7,), (1, 1), (5, 3), (40, 33), (2, 4, 3), (2, 3, 2, 5)]
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


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_floats(half):
    logits, target, _ = problem((9, 6), torch.float32, False, False)
    ours, theirs = both(logits.to(half), target, None)
    for actual, expected in zip(ours, theirs, strict=True):
        assert actual.dtype == half
        torch.testing.assert_close(actual, expected, rtol=4 * torch.finfo(half).eps, atol=1e-3)


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
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(cross_entropy(logits, target), logits, create_graph=True)


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

    monkeypatch.setattr("fastsoftmax.loss.softmax_cross_entropy", record)
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


def test_the_example():
    assert doctest.testmod(fastsoftmax.torch).failed == 0
