"""`fastsoftmax.torch.linear_cross_entropy` next to PyTorch's linear layer and loss, and the modules."""

import doctest
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import grad, jacrev, jvp, vjp, vmap
from torch.nn import functional as F  # noqa: N812  # the name in PyTorch's documentation
from torch.utils.checkpoint import checkpoint

import fastsoftmax.torch.functional
import fastsoftmax.torch.modules
from fastsoftmax.loss import linear
from fastsoftmax.torch import (
    CrossEntropyLoss,
    LinearCrossEntropyLoss,
    cross_entropy,
    linear_cross_entropy,
)

HALVES = [torch.float16, torch.bfloat16]
# Warnings about its own code.
OF_PYTORCH = pytest.mark.filterwarnings("ignore:.*(instantiated|torch.jit):DeprecationWarning")
REDUCTIONS = ["mean", "sum", "none"]
# Leading axes, features, classes: few classes and many, which go other ways.
SHAPES = [
    ((), 5, 3),
    ((1,), 1, 1),
    ((7,), 5, 2),
    ((40,), 9, 33),
    ((2, 3), 4, 50),
    ((2, 3, 5), 17, 130),
]


def plain(input, weight, target, bias=None, *, class_weight=None, reduction="mean", **options):  # noqa: A002
    """What the loss is: a linear layer, and PyTorch's loss of its output."""
    logits = F.linear(input, weight, bias)
    n_classes = len(weight)
    is_soft = target.shape == logits.shape
    flat = target.reshape(-1, n_classes) if is_soft else target.reshape(-1)
    loss = F.cross_entropy(
        logits.reshape(-1, n_classes), flat, class_weight, reduction=reduction, **options
    )
    return loss.reshape(logits.shape[:-1]) if reduction == "none" else loss


def problem(shape, soft=False, dtype=torch.float64, seed=0):
    """Input, weight, target, bias and weights of the classes."""
    leading, d, c = shape
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    target = torch.rand((*leading, c), generator=generator, dtype=torch.float64).to(dtype)
    if not soft:
        target = torch.randint(c, leading, generator=generator)
        if target.numel() > 2:
            target.view(-1)[::3] = -100
    class_weight = torch.rand(c, generator=generator, dtype=torch.float64).to(dtype)
    return normal(*leading, d), normal(c, d), target, normal(c), class_weight


def signed(loss):
    """Gradients from above, exact in every dtype."""
    return ((torch.arange(loss.numel()) % 9 - 4) / 4).reshape(loss.shape).to(loss.dtype)


def both(input, weight, target, bias=None, **options):  # noqa: A002
    """Value and gradients of the two, after the same backward pass from signed gradients."""
    for function in (linear_cross_entropy, plain):
        leaves = [None if x is None else x.clone().requires_grad_() for x in (input, weight, bias)]
        loss = function(leaves[0], leaves[1], target, leaves[2], **options)
        loss.backward(signed(loss))
        yield loss.detach(), *(leaf.grad for leaf in leaves if leaf is not None)


def assert_close(ours, theirs, shape):
    """All are sums of products of rounded numbers, over rows, features or classes."""
    leading, d, c = shape
    for actual, expected in zip(ours, theirs, strict=True):
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        tolerance = 8 * (c + d + int(np.prod(leading)) + 8) * torch.finfo(expected.dtype).eps
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("soft", "weighted", "has_bias", "smoothing", "reduction"),
    list(itertools.product([False, True], [False, True], [False, True], [0.0, 0.1], REDUCTIONS)),
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_option_matrix(shape, soft, weighted, has_bias, smoothing, reduction, dtype):
    input, weight, target, bias, class_weight = problem(shape, soft, dtype)  # noqa: A001
    ours, theirs = both(
        input,
        weight,
        target,
        bias if has_bias else None,
        class_weight=class_weight if weighted else None,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    assert_close(ours, theirs, shape)


@pytest.mark.parametrize("backend", ["naive", "vectorized", "numba", "compiled"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("soft", [False, True])
def test_every_backend(backend, reduction, soft):
    shape = (9,), 6, 45
    input, weight, target, bias, _ = problem(shape, soft)  # noqa: A001
    options = {"reduction": reduction, "label_smoothing": 0.1}
    leaves = [x.clone().requires_grad_() for x in (input, weight, bias)]
    loss = linear_cross_entropy(*leaves[:2], target, leaves[2], backend=backend, **options)
    loss.backward(signed(loss))
    _, theirs = both(input, weight, target, bias, **options)
    assert_close((loss.detach(), *(leaf.grad for leaf in leaves)), theirs, shape)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("half", HALVES)
def test_half_floats_are_computed_in_float32(half, reduction):
    shape = (30,), 20, 50
    input, weight, target, bias, _ = problem(shape, dtype=half)  # noqa: A001
    ours, _ = both(input, weight, target, bias, reduction=reduction)
    exact, _ = both(
        *(x.float() for x in (input, weight)), target, bias.float(), reduction=reduction
    )
    for actual, expected in zip(ours, exact, strict=True):
        assert actual.dtype == half
        torch.testing.assert_close(actual, expected.to(half), rtol=0, atol=0)


def test_a_head_of_another_dtype():
    input, weight, target, bias, _ = problem(((9,), 6, 5), dtype=torch.float32)  # noqa: A001
    leaves = [input.bfloat16().requires_grad_(), weight.requires_grad_()]
    loss = linear_cross_entropy(*leaves, target, bias)
    loss.backward()
    assert loss.dtype == torch.float32
    assert [leaf.grad.dtype for leaf in leaves] == [torch.bfloat16, torch.float32]
    expected = plain(leaves[0].float(), weight, target, bias)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("cast_to", HALVES)
def test_autocast(cast_to):
    shape = (9,), 6, 5
    input, weight, target, bias, _ = problem(shape, dtype=cast_to)  # noqa: A001
    with torch.autocast("cpu", dtype=cast_to):
        ours, theirs = both(input, weight, target, bias)
    for actual, expected in zip(ours, theirs, strict=True):
        assert actual.dtype == expected.dtype
        torch.testing.assert_close(actual, expected, rtol=0.05, atol=0.02)
    assert ours[0].dtype == torch.float32


def test_a_gradient_scaler_gets_gradients_that_are_rounded_after_the_scaling():
    input, weight, target, bias, _ = problem(((64,), 8, 50), dtype=torch.float32)  # noqa: A001
    input = (input * 1e-4).half()  # noqa: A001  # gradients of the weight below 2**-24
    leaf = weight.half().requires_grad_()
    loss = linear_cross_entropy(input, leaf, target, bias.half())
    (loss.float() * 2.0**15).backward()
    exact = weight.half().float().requires_grad_()
    (plain(input.float(), exact, target, bias.half().float()) * 2.0**15).backward()
    torch.testing.assert_close(leaf.grad, exact.grad.half(), rtol=2e-3, atol=1e-3)
    assert (leaf.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("upstream", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("n_classes", [3, 50])
def test_ignored_rows_have_the_gradient_0_whatever_comes_from_above(n_classes, upstream, reduction):
    input, weight, target, *_ = problem(((6,), 4, n_classes))  # noqa: A001
    input.requires_grad_()
    loss = linear_cross_entropy(input, weight, target, reduction=reduction)
    loss.backward(torch.full_like(loss, upstream))
    assert (input.grad[target == -100] == 0).all()
    assert not torch.isfinite(input.grad[target != -100]).any()


@pytest.mark.parametrize(
    ("soft", "reduction", "n_classes"),
    list(itertools.product([False, True], REDUCTIONS, [2, 4, 45])),
)
def test_gradcheck(soft, reduction, n_classes):
    input, weight, target, bias, class_weight = problem(((5,), 3, n_classes), soft)  # noqa: A001
    leaves = [x.requires_grad_() for x in (input, weight, bias)]
    assert torch.autograd.gradcheck(
        lambda x, w, b: linear_cross_entropy(
            x, w, target, b, class_weight=class_weight, reduction=reduction
        ),
        leaves,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("needed", list(itertools.product([False, True], repeat=3)), ids=str)
def test_only_the_gradients_that_are_needed(monkeypatch, needed, reduction):
    input, weight, target, bias, _ = problem(((6,), 4, 5))  # noqa: A001
    leaves = [
        x.requires_grad_(is_needed)
        for x, is_needed in zip((input, weight, bias), needed, strict=True)
    ]
    asked = []

    def record(*arguments, **options):
        asked.append(set(options["wrt"]))
        return real(*arguments, **options)

    real = linear.linear_cross_entropy
    monkeypatch.setattr(linear, "linear_cross_entropy", record)
    with torch.no_grad():
        assert not linear_cross_entropy(input, weight, target, bias).requires_grad
    loss = linear_cross_entropy(*leaves[:2], target, leaves[2], reduction=reduction)
    names = {
        name for name, is_needed in zip(("X", "W", "intercept"), needed, strict=True) if is_needed
    }
    if names:
        loss.sum().backward()
    passes = [set(), set(), names] if reduction == "none" and names else [set(), names]
    assert asked == passes
    for leaf, is_needed in zip(leaves, needed, strict=True):
        assert (leaf.grad is not None) == is_needed


def test_tensors_are_read_where_they_lie(monkeypatch):
    input, weight, target, *_ = problem(((6,), 4, 50), dtype=torch.float32)  # noqa: A001
    seen = []

    def record(X, W, *arguments, **options):
        seen.extend([X, W])
        return real(X, W, *arguments, **options)

    real = linear.linear_cross_entropy
    monkeypatch.setattr(linear, "linear_cross_entropy", record)
    linear_cross_entropy(input, weight.requires_grad_(), target).backward()
    assert [array.ctypes.data for array in seen] == [input.data_ptr(), weight.data_ptr()]
    assert weight.grad.is_contiguous()


def test_a_graph_may_be_kept_and_checkpointed():
    input, weight, target, *_ = problem(((9,), 6, 5))  # noqa: A001
    weight.requires_grad_()
    for reduction in REDUCTIONS:
        weight.grad = None
        loss = linear_cross_entropy(input, weight, target, reduction=reduction).sum()
        loss.backward(retain_graph=True)
        first = weight.grad.clone()
        loss.backward()
        torch.testing.assert_close(weight.grad, 2 * first, rtol=0, atol=0)
        weight.grad = None
        checkpoint(
            lambda w, of=reduction: linear_cross_entropy(input, w, target, reduction=of).sum(),
            weight,
            use_reentrant=False,
        ).backward()
        torch.testing.assert_close(weight.grad, first, rtol=0, atol=0)


def of_logits(input, weight, target, bias=None, *, reduction="mean"):  # noqa: A002
    return cross_entropy(F.linear(input, weight, bias), target, reduction=reduction)


X, W, LABELS, BIAS, _ = problem(((5,), 4, 3))
MANY = torch.stack([W, 2 * W, -W])
FACTORS = torch.linspace(-1, 1, 5, dtype=torch.float64)
TRANSFORMS = {
    "grad": lambda f: grad(lambda w: f(X, w, LABELS, BIAS))(W),
    "grad of none": lambda f: grad(lambda w: f(X, w, LABELS, reduction="none") @ FACTORS)(W),
    "vmap": lambda f: vmap(lambda w: f(X, w, LABELS, BIAS))(MANY),
    "vmap of grad": lambda f: vmap(grad(lambda w: f(X, w, LABELS, BIAS)))(MANY),
    "grad of each row": lambda f: vmap(grad(lambda w, x, y: f(x, w, y)), (None, 0, 0))(
        W, X[1:3], LABELS[1:3]
    ),
    "grad of vmap": lambda f: grad(lambda v: vmap(lambda w: f(X, w, LABELS))(v).sum())(MANY),
    "grad of vmap of none": lambda f: grad(
        lambda v: vmap(lambda w: f(X, w, LABELS, reduction="none"))(v).square().sum()
    )(MANY),
    "jacrev": lambda f: jacrev(lambda w: f(X, w, LABELS, BIAS, reduction="none"))(W),
    "vjp": lambda f: vjp(lambda x: f(x, W, LABELS, BIAS, reduction="none"), X)[1](FACTORS)[0],
}


@pytest.mark.parametrize("function", [linear_cross_entropy, of_logits])
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_transforms_of_functions(transform, function):
    torch.testing.assert_close(transform(function), transform(plain))


@OF_PYTORCH
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("function", [linear_cross_entropy, of_logits])
def test_compiled_as_one_graph(function, reduction):
    torch.compiler.reset()

    def results(loss_of):
        leaves = [x.clone().requires_grad_() for x in (X, W, BIAS)]
        loss = loss_of(leaves[0], leaves[1], LABELS, leaves[2], reduction=reduction)
        return loss, *torch.autograd.grad(loss.square().sum(), leaves)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(results(compiled), results(plain), strict=True):
        torch.testing.assert_close(ours, theirs)


@OF_PYTORCH
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("function", [linear_cross_entropy, of_logits])
def test_other_derivatives_are_refused_by_name(function, reduction):
    def loss(w):
        return function(X, w, LABELS, BIAS, reduction=reduction).sum()

    leaf = W.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match=r"fastsoftmax.torch: .* no second derivative"):
        gradient.sum().backward()
    with pytest.raises(RuntimeError, match=r"fastsoftmax.torch: .* forward mode"):
        jvp(loss, (W,), (W,))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"input": [[0.0]]}, TypeError, "input: expected a tensor, got list"),
        ({"weight": np.zeros((3, 4))}, TypeError, "weight: expected a tensor, got ndarray"),
        (
            {"weight": torch.zeros(4)},
            ValueError,
            r"weight: expected shape \(n_classes, n_features\)",
        ),
        ({"weight": torch.zeros(3, 4, dtype=torch.int64)}, TypeError, "weight: expected floating"),
        ({"input": torch.zeros(5, 3)}, ValueError, r"input: expected shape \(..., 4\)"),
        ({"input": torch.zeros(5, 4, dtype=torch.int64)}, TypeError, "input: expected floating"),
        ({"input": torch.zeros(5, 4, device="meta")}, ValueError, "input: .*on the CPU"),
        ({"bias": torch.zeros(4)}, ValueError, r"bias: expected shape \(3,\), got \(4,\)"),
        ({"bias": torch.zeros(3, dtype=torch.int32)}, TypeError, "bias: expected floating"),
        ({"target": torch.zeros(4, dtype=torch.int64)}, ValueError, r"target: .*\(5,\) .*\(5, 3\)"),
        ({"target": torch.zeros(5, 3, dtype=torch.int64)}, TypeError, "target: .*torch.int64"),
        ({"target": torch.zeros(5, 3, requires_grad=True)}, ValueError, "target: .*detach"),
        ({"target": torch.full((5,), 3)}, ValueError, "targets: expected labels from 0 to 2"),
        ({"class_weight": torch.ones(3, requires_grad=True)}, ValueError, "class_weight: .*detach"),
        ({"class_weight": -torch.ones(3)}, ValueError, "class_weight: "),
        ({"reduction": "median"}, ValueError, "reduction: expected one of mean, sum, none"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"input": X, "weight": W, "target": LABELS, "bias": BIAS} | change
    with pytest.raises(error, match=message):
        linear_cross_entropy(**arguments)


@pytest.mark.parametrize(
    "options", [{}, {"reduction": "sum", "ignore_index": 1}, {"label_smoothing": 0.1}]
)
def test_the_modules_are_those_of_pytorch(options):
    weight = torch.rand(3)
    input, _, target, *_ = problem(((6,), 4, 3), dtype=torch.float32)  # noqa: A001
    target = target.clamp(min=0)
    ours = LinearCrossEntropyLoss(4, 3, bias=True, weight=weight, **options)
    theirs = nn.LinearCrossEntropyLoss(4, 3, bias=True, weight=weight, **options)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(input, target), theirs(input, target))
    logits = ours.linear(input)
    torch.testing.assert_close(
        CrossEntropyLoss(weight, **options)(logits, target),
        nn.CrossEntropyLoss(weight, **options)(logits, target),
    )
    assert {name for name, _ in ours.named_parameters()} == {"linear.weight", "linear.bias"}


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("shape", [(300, 70, 130), (17, 33, 45), (600, 64, 50), (5, 1, 64)])
def test_the_gradients_have_the_bits_of_the_call_from_numpy(shape, n_threads):
    """That of the weight lies class by class here, and is summed where it lies."""
    n, d, c = shape
    for dtype in (torch.float32, torch.float64):
        input = torch.randn(n, d, dtype=dtype, requires_grad=True)  # noqa: A001
        weight, target = torch.randn(c, d, dtype=dtype, requires_grad=True), torch.arange(n) % c
        linear_cross_entropy(input, weight, target, n_threads=n_threads).backward()
        W = np.ascontiguousarray(weight.detach().numpy().T)
        _, expected = linear.linear_cross_entropy(input.detach().numpy(), W, target.numpy())
        np.testing.assert_array_equal(weight.grad.numpy(), expected.W.T)
        np.testing.assert_array_equal(input.grad.numpy(), expected.X)


def test_the_modules_have_the_options_on_logits():
    options = {"temperature": 0.7, "softcap": 5.0, "z_loss": 0.01, "return_lse": True}
    options |= {"metrics": fastsoftmax.RowMetrics._fields, "top_k": 1}
    input, _, target, *_ = problem(((6,), 4, 3), dtype=torch.float32)  # noqa: A001
    target, mask = target.clamp(min=0), torch.tensor([True, True, False])
    target = target.clamp(max=1)
    module = LinearCrossEntropyLoss(4, 3, bias=True, **options)
    weight, bias, run = module.linear.weight, module.linear.bias, options | {"mask": mask}
    loss, lse, metrics = module(input, target, mask)
    assert not metrics.top_k_correct.all()  # which the default top_k would be, of 3 classes
    torch.testing.assert_close(
        (loss, lse, metrics),
        linear_cross_entropy(input, weight, target, bias, **run),
        rtol=0,
        atol=0,
    )
    loss.backward()
    assert weight.grad.abs().sum() > 0
    logits = module.linear(input)
    expected = cross_entropy(logits, target, **run)
    torch.testing.assert_close(
        CrossEntropyLoss(**options)(logits, target, mask), expected, rtol=0, atol=0
    )


@pytest.mark.parametrize("module", [fastsoftmax.torch.functional, fastsoftmax.torch.modules])
def test_the_examples(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert found.failed == 0


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("of_logits", [True, False])
def test_a_gradient_is_multiplied_in_place_only_where_nobody_asks_for_it_again(scale, of_logits):
    input, weight, target, *_ = problem(((40,), 9, 33))  # noqa: A001
    target[3] = -100
    leaves = (input.requires_grad_(), weight.requires_grad_())

    def loss():
        if of_logits:
            return cross_entropy(input @ weight.T, target) * scale
        return linear_cross_entropy(input, weight, target) * scale

    expected = torch.autograd.grad(plain(input, weight, target) * scale, leaves)
    value = loss()
    first = torch.autograd.grad(value, leaves, retain_graph=True)
    for gradient in first:
        gradient.mul_(2.0)  # as gradient clipping does
    torch.testing.assert_close(torch.autograd.grad(value, leaves), expected)
    value = loss()
    several = torch.autograd.grad(
        value, leaves, torch.tensor([1.0, 2.0, 3.0], dtype=value.dtype), is_grads_batched=True
    )
    torch.testing.assert_close(several[1][2], 3 * expected[1])
    for _ in range(2):  # the gradients of a second call are added to those of the first
        loss().backward()
    torch.testing.assert_close([leaf.grad for leaf in leaves], [2 * each for each in expected])


def test_the_backward_pass_takes_no_second_gradient_of_the_weight():
    kept = {}

    def note(tensor):
        kept[tensor.shape] = tensor.data_ptr()
        return tensor

    input, weight, target, *_ = problem(((40,), 9, 33))  # noqa: A001
    leaf = weight.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = linear_cross_entropy(input, leaf, target)
    (loss * 0.5).backward()
    assert leaf.grad.data_ptr() == kept[leaf.shape]
