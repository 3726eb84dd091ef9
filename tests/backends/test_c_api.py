"""The C API: the table in the capsule, and the example that is built against the installed package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import c_table
import numpy as np
import pytest
from c_table import Options, Weights, arguments, linear_of, options_of
from paths import ROOT

import fastsoftmax
from fastsoftmax import (
    cross_entropy,
    linear_cross_entropy,
    log_softmax,
    logsumexp,
    softmax,
    softmax_cross_entropy,
)
from fastsoftmax.loss import RowMetrics

EXAMPLE = ROOT / "examples" / "extension"
# The header of version 1, as it was published.
OLD_HEADER = Path(__file__).parent / "c_api_v1"


@pytest.fixture
def table():
    return c_table.functions()


def test_without_the_compiled_backend_there_is_none():
    code = """
import sys
sys.modules["fastsoftmax.backends.compiled._core"] = None
import fastsoftmax
assert not hasattr(fastsoftmax, "C_API")
assert fastsoftmax.softmax([0.0]).tolist() == [1.0]
try:
    import fastsoftmax.njit
except ImportError as error:
    assert "'compiled' is not available" in str(error)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize(("n", "c"), [(5, 3), (40, 1000), (0, 2)])
def test_functions_of_rows(table, rng, dtype, n, c, gap, n_threads):
    logits = rng.normal(scale=5, size=(n, c + gap)).astype(dtype)[:, :c]
    out = np.full((n, c + 2 * gap), 7, dtype)
    expected = {"softmax": softmax, "log_softmax": log_softmax}
    for name, function in expected.items():
        invalid = getattr(table, name)(*arguments(logits), out.ctypes.data, c + 2 * gap, n_threads)
        assert invalid == -1
        np.testing.assert_array_equal(out[:, :c], function(logits) if n else out[:, :c])
        assert (out[:, c:] == 7).all()
    lse = np.empty(n, dtype)
    table.logsumexp(*arguments(logits), lse.ctypes.data, n_threads)
    np.testing.assert_array_equal(lse, logsumexp(logits, axis=1) if n else lse)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "c"), [(21, 10), (5, 70)])
def test_cross_entropy(table, rng, dtype, n, c, weighted, soft):
    logits = rng.normal(scale=5, size=(n, c + 1)).astype(dtype)[:, :c]
    labels, targets = rng.integers(c, size=n), rng.dirichlet(np.ones(c), n).astype(dtype)
    rows, classes = rng.random(n), rng.random(c).astype(dtype)
    weights = Weights(rows.ctypes.data, classes.ctypes.data, 0.1) if weighted else None
    losses, dlogits = np.empty(n), np.full((n, c + 2), 7, dtype)
    invalid = table.cross_entropy(
        *arguments(logits),
        None if soft else labels.ctypes.data,
        targets.ctypes.data if soft else None,
        weights,
        1.0,
        losses.ctypes.data,
        dlogits.ctypes.data,
        c + 2,
        2,
    )
    assert invalid == -1
    options = {"sample_weight": rows, "class_weight": classes, "label_smoothing": 0.1}
    expected, gradient = softmax_cross_entropy(
        logits, targets if soft else labels, reduction="none", **options if weighted else {}
    )
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(dlogits[:, :c], gradient)
    assert (dlogits[:, c:] == 7).all()


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_options_of_cross_entropy(table, rng, dtype, soft):
    logits, labels = rng.normal(scale=5, size=(21, 7)).astype(dtype), rng.integers(7, size=21)
    targets = rng.dirichlet(np.ones(7), 21).astype(dtype)
    rows, classes, upstream = rng.random(21), rng.random(7).astype(dtype), rng.normal(size=21)
    losses, dlogits = np.empty(21), np.empty_like(logits)
    out = losses.ctypes.data, dlogits.ctypes.data, 7, 1
    chosen = (None, targets.ctypes.data) if soft else (labels.ctypes.data, None)
    common = *arguments(logits), *chosen
    options = options_of(rows, classes, 0.1, upstream)
    assert table.softmax_cross_entropy(*common, options, 1.0, *out) == -1
    expected, gradient = softmax_cross_entropy(
        logits,
        targets if soft else labels,
        sample_weight=rows,
        class_weight=classes,
        label_smoothing=0.1,
        reduction="none",
    )
    np.testing.assert_array_equal(losses, expected)
    bound = 2 * np.finfo(dtype).eps
    np.testing.assert_allclose(dlogits, gradient * upstream[:, np.newaxis], bound, bound)
    # A caller whose header has less: the fields that it lacks are not read.
    options.size = Options.class_weights.offset
    assert table.softmax_cross_entropy(*common, options, 1.0, *out) == -1
    expected, gradient = softmax_cross_entropy(
        logits, targets if soft else labels, sample_weight=rows, reduction="none"
    )
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(dlogits, gradient)
    assert table.softmax_cross_entropy(*common, None, 1.0, *out) == -1
    expected, gradient = softmax_cross_entropy(
        logits, targets if soft else labels, reduction="none"
    )
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(dlogits, gradient)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
# Two classes, few, and many; the gradient of X chooses another way
@pytest.mark.parametrize(("n", "d", "c"), [(21, 5, 2), (700, 9, 10), (70, 33, 90), (0, 3, 4)])
@pytest.mark.parametrize("wrt", ["W intercept", "W X", "", "W intercept X"])
@pytest.mark.costly
def test_linear_cross_entropy(table, rng, dtype, n, d, c, wrt, weighted, soft):
    X, W = (
        rng.normal(size=(n, d)).astype(dtype),
        rng.normal(size=(c, 2 * d)).astype(dtype)[:, ::2].T,
    )
    b, labels = rng.normal(size=c).astype(dtype), rng.integers(c, size=n)
    targets = rng.dirichlet(np.ones(c), n).astype(dtype) if soft else labels
    rows, classes, upstream = rng.random(n), rng.random(c).astype(dtype), rng.normal(size=n)
    has = {name: name in wrt.split() for name in ("W", "intercept", "X")}
    losses, dX = np.full(n, np.nan), np.full_like(X, np.nan) if has["X"] else None
    dW = np.full((c, d + 1), 7, dtype).T[:d] if has["W"] else None
    db = np.full_like(b, np.nan) if has["intercept"] else None
    linear = linear_of(X, W, targets, losses, b, dW, db, dX)
    options = options_of(rows, classes, 0.1, upstream) if weighted else None
    given = {"sample_weight": rows, "class_weight": classes, "label_smoothing": 0.1}
    expected, gradients = linear_cross_entropy(
        X,
        W,
        targets,
        b,
        wrt=wrt.split(),
        reduction="none",
        upstream=upstream if weighted else None,
        **given if weighted else {},
    )
    for linear.scale in (1.0, 0.5):
        assert table.linear_cross_entropy(linear, options) == -1
        np.testing.assert_array_equal(losses, expected)
        for ours, theirs in zip((dW, db, dX), gradients, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                np.testing.assert_array_equal(ours, theirs * dtype(linear.scale))
    if dW is not None:
        assert (dW.base[:, d] == 7).all()


@pytest.mark.parametrize("per_row", [False, True], ids=["one mask", "a mask for each row"])
@pytest.mark.parametrize("c", [2, 5, 50])
def test_options_on_logits(table, rng, dtype, c, per_row):
    n, d = 40, 3
    X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(scale=3, size=(d, c)).astype(dtype)
    labels, rows = np.zeros(n, np.int64), rng.integers(0, 3, n).astype(float)
    mask = rng.random((n, c) if per_row else c) < 0.6
    mask[..., 0] = True
    on_logits = {"mask": mask, "temperature": 0.7, "softcap": 4.0, "z_loss": 0.01}
    losses, lse, dW, dX = np.empty(n), np.empty(n), np.empty_like(W), np.empty_like(X)
    options = options_of(rows, None, 0.1, None)
    options.size = Options.of_a_later_version.offset
    options.temperature, options.softcap, options.z_loss = 0.7, 4.0, 0.01
    options.mask, options.mask_stride = mask.ctypes.data, c * per_row
    options.lse = lse.ctypes.data
    given = on_logits | {"sample_weight": rows, "label_smoothing": 0.1, "return_lse": True}
    expected, gradients, of_rows = linear_cross_entropy(X, W, labels, reduction="none", **given)
    linear = linear_of(X, W, labels, losses, dW=dW, dX=dX)
    assert table.linear_cross_entropy(linear, options) == -1
    for ours, theirs in ((losses, expected), (lse, of_rows), (dW, gradients.W), (dX, gradients.X)):
        np.testing.assert_array_equal(ours, theirs)
    logits, dlogits = X @ W, np.empty((n, c), dtype)
    expected, gradient, of_rows = softmax_cross_entropy(logits, labels, reduction="none", **given)
    common = *arguments(logits), labels.ctypes.data, None
    out = losses.ctypes.data, dlogits.ctypes.data, c, 2
    assert table.softmax_cross_entropy(*common, options, 1.0, *out) == -1
    for ours, theirs in ((losses, expected), (lse, of_rows), (dlogits, gradient)):
        np.testing.assert_array_equal(ours, theirs)
    # With a factor for the gradient of lse alone, the gradient is that of lse.
    factors = rng.normal(size=n)
    options.lse_upstream, options.row_weights = factors.ctypes.data, None
    assert table.softmax_cross_entropy(*common, options, 1.0, *out) == -1
    with_factors = dlogits.copy()
    options.lse_upstream = None
    assert table.softmax_cross_entropy(*common, options, 1.0, *out) == -1
    q = 4 * np.tanh(logits.astype(float) / 0.7 / 4)
    p = softmax(np.where(mask, q, -np.inf))
    slopes = (1 - (q / 4) ** 2) / 0.7
    expected = factors[:, np.newaxis] * p * slopes
    np.testing.assert_allclose(with_factors - dlogits, expected, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("c", [2, 5, 50])
def test_metrics_of_rows(table, rng, dtype, c):
    n, d = 40, 3
    X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(scale=3, size=(d, c)).astype(dtype)
    labels, rows = rng.integers(0, c, n), rng.integers(0, 2, n).astype(float)
    names = ("argmax", "top_k_correct", "label_log_prob", "entropy")
    given = {"sample_weight": rows, "reduction": "none", "metrics": names, "top_k": 2}
    logits = X @ W
    for is_linear, expected in (
        (True, linear_cross_entropy(X, W, labels, **given)[2]),
        (False, softmax_cross_entropy(logits, labels, **given)[2]),
    ):
        call = table.linear_cross_entropy if is_linear else table.softmax_cross_entropy
        for asked in (names, *((name,) for name in names)):
            losses, dW = np.empty(n), np.empty_like(W)
            found = RowMetrics(np.zeros(n, int), np.zeros(n, bool), np.zeros(n), np.zeros(n))
            options = options_of(rows, None, 0.0, None)
            options.size, options.top_k = Options.of_a_later_version.offset, 2
            for name in asked:
                setattr(options, name, getattr(found, name).ctypes.data)
            if is_linear:
                given_to_c = linear_of(X, W, labels, losses, dW=dW), options
            else:
                at = losses.ctypes.data, None, 0, 2
                given_to_c = *arguments(logits), labels.ctypes.data, None, options, 1.0, *at
            assert call(*given_to_c) == -1
            for name in names:
                wanted = getattr(expected, name) if name in asked else 0
                np.testing.assert_array_equal(getattr(found, name), wanted)
            # The struct of a header that ends before: what follows it in memory is not looked at.
            options.size = Options.argmax.offset
            options.argmax = options.entropy = 1
            assert call(*given_to_c) == -1


@pytest.mark.parametrize("c", [2, 5, 50])
def test_the_first_row_of_X_without_a_loss(table, dtype, c):
    X, W, losses = np.ones((6, 3), dtype), np.ones((3, c), dtype), np.empty(6)
    X[2, 1] = X[4, 0] = np.inf
    for dW in (None, np.empty_like(W)):
        linear = linear_of(X, W, np.zeros(6, np.int64), losses, dW=dW)
        assert table.linear_cross_entropy(linear, None) == 2


def test_no_memory_for_the_linear_loss(table):
    """Sizes that no machine has memory for; nothing is read."""
    X, W, losses = np.ones((6, 3)), np.ones((3, 50)), np.empty(6)
    linear = linear_of(X, W, np.zeros(6, np.int64), losses)
    linear.n_features = 1 << 59
    assert table.linear_cross_entropy(linear, None) == -2
    linear.n_classes = 7
    assert table.linear_cross_entropy(linear, None) == -2


def test_the_first_row_without_a_softmax(table, dtype):
    logits = np.zeros((6, 8), dtype)[:, :5]
    logits[3], logits[5] = np.nan, -np.inf
    out = np.empty((6, 5), dtype)
    assert table.softmax(*arguments(logits), out.ctypes.data, 5, 1) == 3
    assert table.log_softmax(*arguments(logits), out.ctypes.data, 5, 1) == 3
    losses, labels = np.empty(6), np.zeros(6, np.int64)
    common = (*arguments(logits), labels.ctypes.data, None, None, 1.0, losses.ctypes.data)
    assert table.cross_entropy(*common, None, 0, 1) == 3


def run_with(folder, program):
    return subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
    ).stdout.split()


def build(folder, *flags):
    subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", folder],
        check=True,
        cwd=folder / "source",
        env=os.environ | {"PYTHONWARNINGS": "ignore", "CFLAGS": " ".join(("-O0", *flags))},
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("version", [1, 2])
def test_the_example_is_built_against_a_header_of_any_version(tmp_path, version):
    """The library runs what was compiled for an older table."""
    shutil.copytree(EXAMPLE, tmp_path / "source")
    if version == 1:
        (tmp_path / "source" / "linear_losses.pyx").unlink()  # that has no linear loss
    build(tmp_path, *[f"-I{OLD_HEADER}"] * (version == 1))
    program = """
import numpy as np, losses
print(losses.API_VERSION)
wide = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
tokens = np.arange(20) % 9
print(losses.bits_per_token(wide[:, :9], tokens, 2))
wide[4, 2] = np.nan
print(losses.bits_per_token(wide[:, :9], tokens))
"""
    printed = run_with(tmp_path, program)
    logits = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)[:, :9]
    expected = cross_entropy(logits, np.arange(20) % 9) / np.log(2)
    assert printed[0] == str(version)
    assert float(printed[1]) == pytest.approx(expected, rel=1e-14)
    assert printed[2] == "nan"
    if version == 2:
        check_policy_gradient(tmp_path)


def check_policy_gradient(folder):
    program = """
import numpy as np, linear_losses, fastsoftmax
rng = np.random.default_rng(0)
hidden, head = (rng.normal(size=(n, 8)).astype(np.float32) for n in (20, 70))
tokens, rewards = np.arange(20), rng.normal(size=20)
loss, *gradients = linear_losses.policy_gradient(hidden, head, tokens, rewards, 0.1, n_threads=2)
losses, expected = fastsoftmax.linear_cross_entropy(
    hidden, head.T, tokens, label_smoothing=0.1, reduction="none", upstream=rewards / 20)
np.testing.assert_allclose(loss, (losses * rewards).mean(), rtol=1e-12)
for ours, theirs in zip(gradients, (expected.X, expected.W.T)):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
hidden[3, 3] = np.inf
assert np.isnan(linear_losses.policy_gradient(hidden, head, tokens, rewards)[0])
print("done")
"""
    assert run_with(folder, program) == ["done"]


def test_the_header_is_where_get_include_says():
    header = Path(fastsoftmax.get_include(), "fastsoftmax.h").read_text()
    assert "#define FASTSOFTMAX_API_VERSION 2" in header


def test_old_headers_are_a_beginning_of_the_new_one():
    """The table and the structs of an older version, and what stands around them, are still there."""
    new = Path(fastsoftmax.get_include(), "fastsoftmax.h").read_text()
    old = (OLD_HEADER / "fastsoftmax.h").read_text()
    table = old[old.index("struct fastsoftmax_api {") : old.index("};\n\nstatic inline")]
    weights = old[old.index("enum fastsoftmax_type") : old.index("struct fastsoftmax_api {")]
    assert table in new
    assert weights in new
