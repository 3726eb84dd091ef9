"""Mask, temperature, softcap, z_loss and log-sum-exp of the losses, next to autograd in float64."""

import numpy as np
import pytest
import torch
from torch.func import grad, vmap
from torch.nn import functional as F  # noqa: N812  # the name in PyTorch's documentation

import fastsoftmax
from fastsoftmax.torch import cross_entropy, linear_cross_entropy

ALL = fastsoftmax.RowMetrics._fields


def plain(logits, target, mask, options):
    """Losses, as the option `reduction` says, and log-sum-exps, by the formula of docs/loss-core.md.

    The classes are on the last axis.
    """
    n, c = logits.shape
    mask = torch.ones(n, c, dtype=torch.bool) if mask is None else mask.broadcast_to(n, c)
    q = logits / options["temperature"]
    if options["softcap"] is not None:
        q = options["softcap"] * torch.tanh(q / options["softcap"])
    counts = torch.ones(n, dtype=torch.bool)
    if target.ndim == 1:
        counts = target != options["ignore_index"]
        target = torch.where(counts, target, 0)
    # A row that does not count may be masked in full.
    seen = torch.where(counts[:, None], mask, True)
    q = torch.where(counts[:, None], q, torch.zeros_like(q))
    t = F.one_hot(target, c).to(q.dtype) if target.ndim == 1 else target
    e = options["label_smoothing"]
    t = ((1 - e) * t + e / seen.sum(1, keepdim=True).to(q.dtype)) * seen
    weight = options["class_weight"]
    u = (t if weight is None else t * weight) * counts[:, None]
    lse = torch.logsumexp(q.masked_fill(~seen, -torch.inf), 1)
    losses = (u * (lse[:, None] - q + options["z_loss"] * lse[:, None] ** 2)).sum(1)
    lse = torch.where(u.sum(1) > 0, lse, 0)
    total = torch.tensor(float(n), dtype=q.dtype)
    if target.ndim == 1:
        weights = torch.ones(c, dtype=q.dtype) if weight is None else weight
        total = (weights[target] * counts).sum()
    reduced = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / total}
    return reduced[options["reduction"]], lse


def problem(seed):
    """A linear problem with random options; every row that counts has a class that takes part."""
    rng = np.random.default_rng(seed)
    n, c, d = int(rng.integers(1, 30)), int(rng.choice([2, 3, 7, 33, 41, 60])), 5
    X, W, b = (
        torch.tensor(rng.normal(size=shape) * scale)
        for shape, scale in (((n, d), 1), ((c, d), 1), ((c,), 3))
    )
    mask = rng.random((n, c) if rng.random() < 0.5 else (1, c)) < 0.7
    mask[~mask.any(axis=1), 0] = True
    ignored = rng.random(n) < 0.2
    rows = np.broadcast_to(mask, (n, c))
    if rng.random() < 0.6:
        target = torch.tensor([int(rng.choice(np.flatnonzero(row))) for row in rows])
        target[torch.tensor(ignored)] = -100
        if len(mask) == n:
            mask[ignored] = False
    else:
        target = torch.tensor(rng.integers(8, size=(n, c)) / 8)
    options = {
        "class_weight": torch.tensor(rng.integers(1, 4, size=c) / 4)
        if rng.random() < 0.5
        else None,
        "label_smoothing": float(rng.choice([0, 0.125])),
        "temperature": float(rng.choice([1, 0.5, 3])),
        "softcap": [None, 2.0, 30.0][rng.integers(3)],
        "z_loss": float(rng.choice([0, 0.01])),
        "reduction": ["mean", "sum", "none"][rng.integers(3)],
        "ignore_index": -100,
    }
    return X, W, b, target, torch.tensor(mask) if rng.random() < 0.7 else None, options


def assert_close(ours, theirs):
    for actual, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12, equal_nan=True)


def gradients(values, leaves, seed):
    """Those of a loss, of a log-sum-exp, or of both, for random gradients from above."""
    generator = torch.Generator().manual_seed(seed)
    above = [torch.randn(v.shape, generator=generator, dtype=torch.float64) for v in values]
    total = sum((value * factor).sum() for value, factor in zip(values, above, strict=True))
    return torch.autograd.grad(total, leaves, retain_graph=True)


@pytest.mark.parametrize("backend", ["naive", "vectorized", "numba", "compiled"])
@pytest.mark.parametrize("seed", range(30))
def test_random_combinations(seed, backend):
    X, W, b, target, mask, options = problem(seed)
    leaves = [x.requires_grad_() for x in (X, W, b)]
    logits = F.linear(X, W, b).detach().requires_grad_()
    run = options | {"mask": mask, "backend": backend}
    class_weight = run.pop("class_weight")

    def of_linear(**more):
        return linear_cross_entropy(X, W, target, b, class_weight=class_weight, **run, **more)

    def of_logits(**more):
        return cross_entropy(logits, target, class_weight, **run, **more)

    for function, inputs in ((of_linear, leaves), (of_logits, [logits])):
        expected = plain(
            logits if function is of_logits else F.linear(X, W, b), target, mask, options
        )
        alone, both = function(), function(return_lse=True)
        assert_close([alone, *both], [expected[0], *expected])
        assert_close(gradients([alone], inputs, seed), gradients(expected[:1], inputs, seed))
        for part in (slice(0, 1), slice(1, 2), slice(0, 2)):
            found = gradients(both[part], inputs, seed)
            assert_close(found, gradients(expected[part], inputs, seed))


def test_axes_and_shapes():
    """Classes on the second axis of logits, and on the last one of a linear layer's output."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randint(6, (2, 5), generator=generator)
    mask = torch.rand(2, 6, 5, generator=generator) < 0.6
    mask.scatter_(1, target.unsqueeze(1), True)
    loss, lse = cross_entropy(
        logits, target, mask=mask, z_loss=0.1, return_lse=True, reduction="none"
    )
    expected = torch.logsumexp(logits.masked_fill(~mask, -torch.inf), 1)
    assert_close([lse], [expected])
    nll = expected - logits.gather(1, target.unsqueeze(1)).squeeze(1)
    assert_close([loss], [nll + 0.1 * expected**2])
    hidden = torch.randn(2, 5, 4, generator=generator)
    weight = torch.randn(6, 4, generator=generator)
    one = linear_cross_entropy(
        hidden, weight, target, mask=mask.movedim(1, -1), temperature=2, reduction="none"
    )
    other = cross_entropy(
        F.linear(hidden, weight).movedim(-1, 1), target, mask=mask, temperature=2, reduction="none"
    )
    torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match=r"^mask: expected shape"):
        cross_entropy(logits, target, mask=mask[0])
    with pytest.raises(TypeError, match=r"^mask: expected booleans"):
        cross_entropy(logits, target, mask=mask.double())
    with pytest.raises(TypeError, match=r"^mask: expected a tensor"):
        linear_cross_entropy(hidden, weight, target, mask=[True] * 6)


def test_gradcheck_of_loss_and_log_sum_exp():
    leaves = [x.requires_grad_() for x in problem(3)[:3]]
    leaves[0] = leaves[0].detach()[:8].requires_grad_()
    options = {"softcap": 3.0, "temperature": 1.5, "z_loss": 0.1, "return_lse": True}
    labels = torch.arange(len(leaves[0])) % len(leaves[1])
    for reduction in ("mean", "none"):
        assert torch.autograd.gradcheck(
            lambda x, w, a, how=reduction: linear_cross_entropy(
                x, w, labels, a, reduction=how, **options
            ),
            leaves,
        )


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision(half):
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).to(half)
    target = torch.tensor([0, 1, -100, 3])
    leaf, wide = logits.clone().requires_grad_(), logits.float().requires_grad_()
    options = {"softcap": 3.0, "z_loss": 0.1, "return_lse": True}
    loss, lse = cross_entropy(leaf, target, **options)
    assert (loss.dtype, lse.dtype) == (half, torch.float32)
    (loss.float() + lse.sum()).backward()
    expected, other = cross_entropy(wide, target, **options)
    (expected + other.sum()).backward()
    torch.testing.assert_close(leaf.grad, wide.grad.to(half), rtol=0, atol=0)


def test_transforms_and_compile():
    X, W, *_ = problem(1)
    labels = torch.zeros(len(X), dtype=torch.int64)
    options = {"softcap": 3.0, "z_loss": 0.1, "return_lse": True}

    def total(w, x):
        loss, lse = linear_cross_entropy(x, w, labels, reduction="none", **options)
        return (loss * lse).sum()

    def of_formula(w, x):
        logits = x @ w.T
        q = 3 * torch.tanh(logits / 3)
        lse = torch.logsumexp(q, -1)
        return ((lse - q[..., 0] + 0.1 * lse**2) * lse).sum()

    torch.testing.assert_close(grad(total)(W, X), grad(of_formula)(W, X))
    many = torch.stack([W, -W])
    torch.testing.assert_close(
        vmap(grad(total), (0, None))(many, X), vmap(grad(of_formula), (0, None))(many, X)
    )
    with pytest.raises(RuntimeError, match="second derivative"):
        grad(lambda w: grad(total)(w, X).sum())(W)


@pytest.mark.filterwarnings("ignore:.*(instantiated|torch.jit):DeprecationWarning")
def test_compiled_as_one_graph():
    torch.compiler.reset()
    X, W, *_ = problem(5)
    labels = torch.zeros(len(X), dtype=torch.int64)

    def total(x, w):
        loss, lse = linear_cross_entropy(x, w, labels, z_loss=0.1, return_lse=True)
        other, _ = cross_entropy(x @ w.T, labels, softcap=2.0, return_lse=True)
        return loss + lse.sum() + other

    leaves = X.requires_grad_(), W.requires_grad_()
    expected = torch.autograd.grad(total(*leaves), leaves)
    found = torch.autograd.grad(
        torch.compile(total, fullgraph=True, backend="aot_eager")(*leaves), leaves
    )
    assert_close(found, expected)


def assert_metrics(found, expected, dtype):
    """Tensors without a gradient, of the bits of the NumPy call."""
    assert isinstance(found, fastsoftmax.RowMetrics)
    for ours, theirs in zip(found, expected, strict=True):
        if theirs is None:
            assert ours is None
            continue
        assert not ours.requires_grad
        theirs = torch.from_numpy(theirs)
        torch.testing.assert_close(
            ours, theirs.to(dtype) if theirs.is_floating_point() else theirs, rtol=0, atol=0
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("return_lse", [False, True])
@pytest.mark.parametrize("metrics", [ALL, ("entropy", "argmax")])
def test_metrics(dtype, reduction, return_lse, metrics):
    """Those of the NumPy functions; loss and gradients stay what they are."""
    generator = torch.Generator().manual_seed(0)
    hidden, head = (
        torch.randn(size, generator=generator).to(dtype).requires_grad_()
        for size in ((3, 4, 5), (7, 5))
    )
    logits = torch.randn(3, 7, 4, generator=generator).to(dtype).requires_grad_()
    target = torch.randint(7, (3, 4), generator=generator)
    target[1, 2] = -100
    options = {"temperature": 0.7, "softcap": 3.0, "reduction": reduction, "return_lse": return_lse}
    asked = {"metrics": metrics, "top_k": 2}
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    numbers = {"temperature": 0.7, "softcap": 3.0, "ignore_index": -100, **asked}
    x, w, z = (each.detach().to(wide).numpy() for each in (hidden, head, logits))
    *_, of_logits = fastsoftmax.cross_entropy(z.swapaxes(1, 2), target.numpy(), **numbers)
    *_, of_linear = fastsoftmax.linear_cross_entropy(
        x.reshape(12, 5), w.T, target.numpy().ravel(), **numbers
    )
    of_linear = [None if each is None else each.reshape(3, 4) for each in of_linear]
    for function, arguments, leaves, expected in (
        (cross_entropy, (logits, target), [logits], of_logits),
        (linear_cross_entropy, (hidden, head, target), [hidden, head], of_linear),
    ):
        plain = function(*arguments, **options)
        *found, metrics_of_rows = function(*arguments, **options, **asked)
        assert_metrics(metrics_of_rows, expected, wide)
        plain = list(plain) if return_lse else [plain]
        for ours, theirs in zip(found, plain, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        both = (torch.autograd.grad(sum(v.sum() for v in each), leaves) for each in (found, plain))
        for ours, theirs in zip(*both, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*(instantiated|torch.jit):DeprecationWarning")
def test_metrics_in_transforms_and_compiled():
    torch.compiler.reset()
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 5, 7, generator=generator, requires_grad=True)
    target = torch.randint(7, (2, 5), generator=generator)
    head = torch.randn(9, 7, generator=generator, requires_grad=True)

    def of_logits(logits, target):
        return cross_entropy(logits, target, metrics=ALL)

    def of_linear(logits, target):
        loss, metrics = linear_cross_entropy(logits, head, target, metrics=("entropy",))
        return loss, (metrics.entropy,)  # vmap takes no None

    for function in (of_logits, of_linear):
        rows = [function(z, y) for z, y in zip(logits, target, strict=True)]
        _, metrics = vmap(function)(logits, target)
        _, same = vmap(grad(function, has_aux=True))(logits, target)
        leaf = logits[0].detach().requires_grad_()
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        loss, one = compiled(leaf, target[0])
        loss.backward()
        torch.testing.assert_close(loss, rows[0][0])
        for i, expected in enumerate(zip(*(found for _, found in rows), strict=True)):
            torch.testing.assert_close(metrics[i], torch.stack(expected))
            torch.testing.assert_close(same[i], torch.stack(expected))
            torch.testing.assert_close(one[i], expected[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": "argmax"}, ValueError, "^metrics: expected a tuple of names"),
        ({"metrics": ("accuracy",)}, ValueError, "^metrics: "),
        ({"metrics": None}, TypeError, "^metrics: "),
        ({"metrics": ("argmax",), "top_k": 0}, ValueError, "^top_k: "),
    ],
)
def test_metrics_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), **options)
    with pytest.raises(error, match=message):
        linear_cross_entropy(torch.zeros(2, 3), torch.zeros(4, 3), torch.tensor([0, 1]), **options)
