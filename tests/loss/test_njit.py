"""The loss core inside functions that Numba compiles: the same bits, errors and caching."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from covering import few
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paths import ROOT

import fastsoftmax
from fastsoftmax import njit

# The names that a jitted function refers to
softmax, log_softmax, logsumexp = njit.softmax, njit.log_softmax, njit.logsumexp
cross_entropy, softmax_cross_entropy = njit.cross_entropy, njit.softmax_cross_entropy
linear_cross_entropy = njit.linear_cross_entropy


def assert_same(ours, theirs):
    """The same bits, in the same structure."""
    if isinstance(theirs, tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif theirs is None:
        assert ours is None
    else:
        assert np.shape(ours) == np.shape(theirs)
        np.testing.assert_array_equal(ours, theirs)


# fastmath would take the checks for NaN away, and bits with them.
@numba.njit(fastmath=True)
def functions_of_rows(z, mask, temperature, n_threads):
    return (
        softmax(z, n_threads=n_threads),
        log_softmax(z, 0, temperature=temperature),
        softmax(z, axis=(0, 1), mask=mask, temperature=temperature),
        logsumexp(z, n_threads=n_threads),
        logsumexp(z, None),
        logsumexp(z, (1, 0), keepdims=True, mask=mask),
        logsumexp(z[0, 0], temperature=temperature),
    )


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("shape", [(3, 1, 5), (2, 70, 130), (1, 3, 1)])
@pytest.mark.costly
def test_functions_of_rows_are_those_of_python(rng, dtype, shape, n_threads):
    z = rng.normal(scale=4, size=shape).astype(dtype)
    mask = rng.random((shape[1], 1)) > 0.4
    mask[0] = True
    z.setflags(write=False)
    expected = (
        fastsoftmax.softmax(z),
        fastsoftmax.log_softmax(z, 0, temperature=0.7),
        fastsoftmax.softmax(z, (0, 1), mask=mask, temperature=0.7),
        fastsoftmax.logsumexp(z),
        fastsoftmax.logsumexp(z, None),
        fastsoftmax.logsumexp(z, (1, 0), keepdims=True, mask=mask),
        fastsoftmax.logsumexp(z[0, 0], temperature=0.7),
    )
    assert_same(functions_of_rows(z, mask, 0.7, n_threads), expected)


@numba.njit
def into(z, out, lse, mask):
    return softmax(z, out=out, mask=mask), logsumexp(z, out=lse)


@pytest.mark.costly
def test_out_of_functions_of_rows(rng, dtype):
    z, mask = rng.normal(size=(6, 4)).astype(dtype), np.array([True, False, True, True])
    expected, lse = fastsoftmax.softmax(z, mask=mask), fastsoftmax.logsumexp(z)
    out, sums = np.empty_like(z), np.empty(6, dtype)
    assert into(z, out, sums, mask)[0] is not None
    assert_same((out, sums), (expected, lse))
    for other, name in ((out[:5], "shape of logits"), (z.reshape(-1)[2:].reshape(-1, 2), "shape")):
        with pytest.raises(ValueError, match=f"out: expected the .*{name}"):
            into(z, other, sums, mask)
    memory = np.zeros(30, dtype)
    with pytest.raises(ValueError, match=r"out: expected logits itself or .* does not overlap"):
        into(memory[:24].reshape(6, 4), memory[4:28].reshape(6, 4), sums, mask)
    with pytest.raises(ValueError, match="out: expected an array that does not overlap logits"):
        into(z, out, z.reshape(-1)[:6], mask)
    with pytest.raises(ValueError, match="out: expected an array that does not overlap mask"):
        into(z, out, sums, out.view(bool).reshape(-1)[:4])
    with pytest.raises(ValueError, match="mask: expected a shape that broadcasts"):
        into(z, out, sums, mask[:3])
    into(z, z, sums, mask)
    assert_same(z, expected)


@numba.njit
def with_options(z, targets, s, v, smoothing, ignored, n_threads):
    loss, gradient = softmax_cross_entropy(
        z, targets, None, s, v, smoothing, ignored, n_threads=n_threads
    )
    total, of_total = softmax_cross_entropy(
        z, targets, None, s, v, smoothing, ignored, reduction="sum"
    )
    losses = cross_entropy(z, targets, s, v, smoothing, ignored, reduction="none")
    return loss, gradient, total, of_total, losses


@numba.njit
def without_options(z, targets, n_threads):
    return softmax_cross_entropy(z, targets, n_threads=n_threads), cross_entropy(z, targets)


def expected_with_options(z, targets, s, v, smoothing, ignored):
    options = {"sample_weight": s, "class_weight": v, "label_smoothing": smoothing}
    options["ignore_index"] = ignored
    losses = fastsoftmax.cross_entropy(z, targets, reduction="none", **options)
    mean = fastsoftmax.softmax_cross_entropy(z, targets, **options)
    return *mean, *fastsoftmax.softmax_cross_entropy(z, targets, reduction="sum", **options), losses


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except ValueError as error:
        return str(error).split(":")[0]


sizes = st.tuples(st.sampled_from((0, 1, 7, 130, 300)), st.sampled_from((1, 2, 5, 33, 60)))
# Types of logits and targets together: each is another minute of the compiler on a busy machine.
KINDS = few((("float32", False), ("float64", True)), 1)
KINDS_OF_LINEAR = few((("float64", False), ("float32", True)), 1)
magnitudes = st.sampled_from((1.0, 1e-30, 1e-200, 1e200, 0.0))


@given(
    sizes,
    st.sampled_from(KINDS),
    magnitudes,
    magnitudes,
    st.sampled_from((0.0, 0.1, 1.0)),
    st.sampled_from((-100, 0)),
    st.integers(0, 1000),
)
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.timeout(900)
def test_losses_are_those_of_python(size, kind, rows, classes, smoothing, ignored, seed):
    """Whatever the options are: weights of any magnitude and of 0, ignored rows, empty means."""
    (n, c), (dtype, soft), rng = size, kind, np.random.default_rng(seed)
    z = rng.normal(scale=4, size=(n, c)).astype(dtype)
    targets = rng.dirichlet(np.ones(c), n).astype(dtype) if soft else rng.integers(c, size=n)
    s, v = rng.integers(0, 4, size=n) * rows, rng.integers(0, 4, size=c) * classes
    ignored = -100 if soft else ignored
    ours = outcome(with_options, z, targets, s, v, smoothing, ignored, 2)
    assert_same(ours, outcome(expected_with_options, z, targets, s, v, smoothing, ignored))
    expected = fastsoftmax.softmax_cross_entropy(z, targets)
    assert_same(without_options(z, targets, 2), (expected, expected[0]))


@numba.njit
def linear_with_options(X, W, targets, b, s, v, smoothing, ignored, upstream):
    return (
        linear_cross_entropy(
            X, W, targets, b, ("W", "intercept"), s, v, smoothing, ignored, upstream=-0.5
        ),
        linear_cross_entropy(
            X,
            W,
            targets,
            sample_weight=s,
            class_weight=v,
            label_smoothing=smoothing,
            ignore_index=ignored,
            reduction="none",
            upstream=upstream,
        ),
    )


@numba.njit
def linear_without_options(X, W, targets, b):
    return linear_cross_entropy(X, W, targets, b), linear_cross_entropy(
        X, W, targets, wrt=("W",), reduction="sum", n_threads=2
    )


def expected_linear(X, W, targets, b, s, v, smoothing, ignored, upstream):
    options = {"sample_weight": s, "class_weight": v, "label_smoothing": smoothing}
    options["ignore_index"] = ignored
    call = fastsoftmax.linear_cross_entropy
    return (
        call(X, W, targets, b, wrt=("W", "intercept"), upstream=-0.5, **options),
        call(X, W, targets, reduction="none", upstream=upstream, **options),
    )


@given(
    sizes,
    st.sampled_from((1, 5, 40)),
    st.sampled_from(KINDS_OF_LINEAR),
    magnitudes,
    st.sampled_from((0.0, 0.1)),
    st.sampled_from((-100, 0)),
    st.integers(0, 1000),
)
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.timeout(900)
def test_the_linear_loss_is_that_of_python(size, d, kind, rows, smoothing, ignored, seed):
    """Also where rows that do not count are not finite."""
    (n, c), (dtype, soft), rng = size, kind, np.random.default_rng(seed)
    X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, 2 * c)).astype(dtype)[:, ::2]
    b, upstream = rng.normal(size=c).astype(dtype), rng.normal(size=n)
    targets = rng.dirichlet(np.ones(c), n).astype(dtype) if soft else rng.integers(c, size=n)
    s, v = rng.integers(0, 4, size=n) * rows, np.ones(c)
    plain = fastsoftmax.linear_cross_entropy(X, W, targets, b)
    total = fastsoftmax.linear_cross_entropy(X, W, targets, wrt=("W",), reduction="sum")
    assert_same(linear_without_options(X, W, targets, b), (plain, total))
    if rng.random() < 0.5:
        X[s == 0] = np.nan
    arguments = X, W, targets, b, s, v, smoothing, -100 if soft else ignored, upstream
    assert_same(outcome(linear_with_options, *arguments), outcome(expected_linear, *arguments))


@numba.njit
def with_logit_options(z, targets, s, v, e, ignored, mask, temperature, softcap, z_loss):
    every = softmax_cross_entropy(
        z, targets, None, s, v, e, ignored, "sum", mask, temperature, softcap, z_loss, True
    )
    return *every, cross_entropy(z, targets, ignore_index=ignored, mask=mask, return_lse=True)


@numba.njit
def linear_with_logit_options(X, W, targets, s, v, e, ignored, mask, temperature, softcap, z_loss):
    return linear_cross_entropy(
        X,
        W,
        targets,
        wrt=("W", "X"),
        sample_weight=s,
        class_weight=v,
        label_smoothing=e,
        ignore_index=ignored,
        mask=mask,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        return_lse=True,
    )


@given(
    sizes,
    st.sampled_from(KINDS),
    magnitudes,
    st.sampled_from((0.0, 0.1)),
    st.booleans(),
    st.floats(0.1, 10),
    st.sampled_from((1.0, 30.0)),
    st.sampled_from((0.0, 0.01)),
    st.integers(0, 1000),
)
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.timeout(900)
def test_options_on_logits_are_those_of_python(
    size, kind, weight, e, shared, temperature, softcap, z_loss, seed
):
    """Also where rows that do not count are masked in full, or have labels that are."""
    (n, c), (dtype, soft), rng = size, kind, np.random.default_rng(seed)
    z = rng.normal(scale=4, size=(n, c)).astype(dtype)
    targets = rng.dirichlet(np.ones(c), n).astype(dtype) if soft else rng.integers(c, size=n)
    mask = rng.random(c if shared else (n, c)) > 0.3
    if rng.random() < 0.9 and not (soft or shared):
        mask[np.arange(n), targets] = True
    s, v = (rng.random(n) > 0.1) * weight, rng.integers(0, 4, size=c) * weight
    ignored = -100 if soft else int(rng.integers(c)) - 1
    if shared and not soft:
        s[~mask[targets]] = 0
    given = {"ignore_index": ignored, "mask": mask, "return_lse": True}
    options = {"temperature": temperature, "softcap": softcap, "z_loss": z_loss, **given}
    options |= {"sample_weight": s, "class_weight": v, "label_smoothing": e}

    def expected():
        every = fastsoftmax.softmax_cross_entropy(z, targets, reduction="sum", **options)
        return *every, fastsoftmax.cross_entropy(z, targets, **given)

    arguments = targets, s, v, e, ignored, mask, temperature, softcap, z_loss
    assert_same(outcome(with_logit_options, z, *arguments), outcome(expected))
    X, W = z[:, :3].copy(), rng.normal(size=(min(3, c), c)).astype(dtype)
    assert_same(
        outcome(linear_with_logit_options, X, W, *arguments),
        outcome(lambda: fastsoftmax.linear_cross_entropy(X, W, targets, wrt=("W", "X"), **options)),
    )


@numba.njit
def loss_of(X, W, labels):
    return linear_cross_entropy(X, W, labels, wrt=("W",))[0]


# Numba takes constants out of a parallel loop, where they are variables then: those are in a function.
@numba.njit(parallel=True)
def in_parallel(logits, labels, X, W, out):
    losses = np.empty((len(logits), 3))
    for i in numba.prange(len(logits)):
        losses[i, 0] = softmax_cross_entropy(logits[i], labels[i], out[i])[0]
        losses[i, 1] = loss_of(X[i], W, labels[i])
        losses[i, 2] = logsumexp(softmax(logits[i]), None)
    return losses


@pytest.mark.costly
@pytest.mark.timeout(300)
def test_in_a_parallel_loop(rng, dtype):
    logits, labels = rng.normal(size=(5, 30, 4)).astype(dtype), rng.integers(4, size=(5, 30))
    X, W = rng.normal(size=(5, 30, 3)).astype(dtype), rng.normal(size=(3, 4)).astype(dtype)
    out = np.full_like(logits, np.nan)
    losses = in_parallel(logits, labels, X, W, out)
    for i in range(5):
        expected, gradient = fastsoftmax.softmax_cross_entropy(logits[i], labels[i])
        linear, _ = fastsoftmax.linear_cross_entropy(X[i], W, labels[i], wrt=("W",))
        lse = fastsoftmax.logsumexp(fastsoftmax.softmax(logits[i]), None)
        assert_same(tuple(losses[i]), (expected, linear, float(lse)))
        assert_same(out[i], gradient)


@numba.njit
def alone(logits, labels, out):
    return softmax_cross_entropy(logits, labels, out)[0]


@numba.njit(parallel=True)
def in_parallel_code(logits, labels, out):
    loss = softmax_cross_entropy(logits, labels, out)[0]
    return loss + (2 * out).sum()


def over(kind):
    """Arguments of which `out` overlaps another one."""
    memory = np.zeros(100)
    logits, labels = memory[:6].reshape(2, 3), memory[50:52].view(np.int64)
    starts = {
        "logits, later": 1,
        "logits, a row later": 3,
        "targets": 47,
        "targets, at their end": 51,
    }
    start = starts[kind]
    return logits, labels, memory[start : start + 6].reshape(2, 3), memory


@pytest.mark.parametrize("function", [alone, in_parallel_code])
@pytest.mark.parametrize(
    "kind", ["logits, later", "logits, a row later", "targets", "targets, at their end"]
)
@pytest.mark.costly
def test_a_gradient_that_overlaps_is_refused(function, kind):
    logits, labels, out, memory = over(kind)
    before = memory.copy()
    name = kind.split(",")[0]
    with pytest.raises(ValueError, match=f"out: expected .*overlap.*{name}|{name}.*overlap"):
        function(logits, labels, out)
    np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize("function", [alone, in_parallel_code])
def test_a_read_only_gradient_is_refused(function, tmp_path):
    unwritten = bytes(48)
    mapped = np.memmap(tmp_path / "out", float, "w+", shape=(2, 3))
    mapped.flush()
    for out in (
        np.frombuffer(unwritten).reshape(2, 3),
        np.memmap(tmp_path / "out", float, "r", shape=(2, 3)),
    ):
        with pytest.raises(numba.TypingError, match="out: expected an array that can be writ"):
            function(np.zeros((2, 3)), np.array([0, 1]), out)
    assert unwritten == bytes(48)


@pytest.mark.costly
def test_read_only_inputs_and_in_place(dtype):
    logits, labels = np.zeros((2, 3), dtype), np.array([0, 1])
    expected, gradient = fastsoftmax.softmax_cross_entropy(logits, labels)
    for array in (logits, labels):
        array.setflags(write=False)
    out = np.empty_like(logits)
    assert alone(logits, labels, out) == expected
    np.testing.assert_array_equal(out, gradient)
    again = logits.copy()
    assert alone(again, labels, again) == expected
    np.testing.assert_array_equal(again, gradient)


@numba.njit
def of_everything(logits, targets, out, n_threads):
    return softmax_cross_entropy(logits, targets, out, n_threads=n_threads)


GIVEN = {
    "logits": np.zeros((2, 3)),
    "targets": np.array([0, 1]),
    "out": np.zeros((2, 3)),
    "n_threads": 1,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": np.array([0, 3])}, "targets: expected labels from 0"),
        ({"targets": np.array([0, -1])}, "targets: expected labels from 0"),
        ({"targets": np.array([0])}, "targets: expected a label or probabilities for each row"),
        ({"targets": np.full((2, 3), -1.0)}, "targets: expected probabilities, finite and not neg"),
        ({"out": np.zeros((3, 3))}, "out: expected the shape"),
        ({"logits": np.full((2, 3), np.nan)}, "logits: expected a finite"),
        ({"n_threads": 0}, "n_threads: expected 1 or more"),
    ],
)
def test_bad_values(change, message):
    with pytest.raises(ValueError, match=message):
        of_everything(*(GIVEN | change).values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": np.zeros((2, 3), np.float32)}, "out: expected a C-contiguous .* float64"),
        ({"logits": np.zeros((2, 3), np.int8)}, "logits: expected a C-contiguous .* float32 or"),
        ({"targets": np.array([0, 1], np.int32)}, "targets: expected a C-contiguous .* int64"),
        ({"logits": np.zeros((2, 6))[:, ::2]}, "logits: expected a C-contiguous"),
        ({"n_threads": 1.5}, "n_threads: expected a number"),
    ],
)
def test_bad_types(change, message):
    with pytest.raises(numba.TypingError, match=message):
        of_everything(*(GIVEN | change).values())


@numba.njit
def axis_of(logits, axis):
    return softmax(logits, axis)


@numba.njit
def reduction_of(logits, labels, reduction):
    return cross_entropy(logits, labels, reduction=reduction)


@numba.njit
def of_an_axis_that_is_not_there(logits):
    return softmax(logits, 2)


@numba.njit
def of_another_reduction(logits, labels):
    return cross_entropy(logits, labels, reduction="median")


@numba.njit
def with_respect_to(X, W, labels):
    return linear_cross_entropy(X, W, labels, wrt=("W", "b"))


def test_what_decides_the_type_is_a_constant():
    logits, labels = np.zeros((2, 3)), np.array([0, 1])
    for function, arguments, message in (
        (axis_of, (logits, 1.5), "axis: expected a"),
        (reduction_of, (logits, labels, "mean"), "reduction: expected a constant"),
        (of_an_axis_that_is_not_there, (logits,), "axis: 2 is out of range"),
        (of_another_reduction, (logits, labels), "reduction: expected one of mean, sum, none"),
        (with_respect_to, (logits, logits.T.copy(), labels), "wrt: expected a tuple of names"),
    ):
        with pytest.raises(numba.TypingError, match=message):
            function(*arguments)


@numba.njit
def options_checked(z, y, s, v, smoothing, temperature):
    softmax(z, temperature=temperature)
    return cross_entropy(z, y, s, v, smoothing)


@numba.njit
def logit_options_checked(z, y, mask, softcap, z_loss):
    return cross_entropy(z, y, mask=mask, softcap=softcap, z_loss=z_loss)


@numba.njit
def lse_if(z, y, wanted):
    return cross_entropy(z, y, return_lse=wanted)


def test_bad_options_on_logits():
    z, y, mask = np.zeros((2, 3)), np.array([0, 1]), np.array([True, True, False])
    for arguments, error, message in (
        ((z, y, mask[:2], 1.0, 0.0), ValueError, "mask: expected a shape that broadcasts"),
        ((z, y + 1, mask, 1.0, 0.0), ValueError, "targets: expected a class that takes part"),
        ((z, y, mask & False, 1.0, 0.0), ValueError, "mask: expected a class that takes part"),
        ((z, y, mask, 0.0, 0.0), ValueError, "softcap: expected a positive"),
        ((z, y, mask, 1.0, -1.0), ValueError, "z_loss: expected a finite number, 0 or more"),
        ((z, y, mask * 1.0, 1.0, 0.0), numba.TypingError, "mask: expected a C-contiguous"),
        ((z, y, np.zeros((1, 2, 3), bool), 1.0, 0.0), numba.TypingError, "mask: expected 1 to 2"),
    ):
        with pytest.raises(error, match=message):
            logit_options_checked(*arguments)
    with pytest.raises(numba.TypingError, match="return_lse: expected a constant"):
        lse_if(z, y, True)


@numba.njit
def linear_checked(X, W, y, b, upstream):
    return linear_cross_entropy(X, W, y, b, reduction="none", upstream=upstream)[0]


def test_bad_options():
    z, y, s, v = np.zeros((2, 3)), np.array([0, 1]), np.ones(2), np.ones(3)
    for arguments, message in (
        ((z, y, s[:1], v, 0.1, 1.0), "sample_weight: expected another shape"),
        ((z, y, -s, v, 0.1, 1.0), "sample_weight: expected finite weights"),
        ((z, y, s, v * np.nan, 0.1, 1.0), "class_weight: expected finite weights"),
        ((z, y, s, v[:2], 0.1, 1.0), "class_weight: expected another shape"),
        ((z, y, s, v, 1.1, 1.0), "label_smoothing: expected a number from 0 to 1"),
        ((z, y, s, v, 0.1, 0.0), "temperature: expected a positive"),
        ((z, y, s, v, 0.1, np.nan), "temperature: expected a positive"),
    ):
        with pytest.raises(ValueError, match=message):
            options_checked(*arguments)
    X, W, b = np.zeros((2, 4)), np.zeros((4, 3)), np.zeros(3)
    for arguments, message in (
        ((X, W[:3], y, b, s), "W: expected one row for each column"),
        ((X, W[:, :0], y, b, s), "W: expected at least one class"),
        ((X, W + np.inf, y, b, s), "W: expected finite"),
        ((X, W, y, b[:2], s), "intercept: expected a number for each"),
        ((X, W, y, b + np.inf, s), "intercept: expected finite"),
        ((X, W, y, b - np.inf, s), "intercept: expected a class that is not masked"),
        ((X, W, y, b, s[:1]), "upstream: expected the shape of the loss"),
        ((X + np.nan, W, y, b, s), "X: expected rows whose logits"),
        ((X, W, y + 2, b, s), "targets: expected labels from 0"),
    ):
        with pytest.raises(ValueError, match=message):
            linear_checked(*arguments)


def test_from_python(rng):
    """Outside of a compiled function they are those of the package."""
    z, y, W = rng.normal(size=(6, 4)), rng.integers(4, size=6), rng.normal(size=(4, 3))
    for name in ("softmax", "log_softmax", "logsumexp"):
        assert_same(getattr(njit, name)(z), getattr(fastsoftmax, name)(z))
    assert_same(njit.cross_entropy(z, y), fastsoftmax.cross_entropy(z, y))
    ours = njit.softmax_cross_entropy(z, y, label_smoothing=0.1)
    assert_same(ours, fastsoftmax.softmax_cross_entropy(z, y, label_smoothing=0.1))
    ours = njit.linear_cross_entropy(z, W, y % 3, wrt=("W",))
    assert_same(ours, fastsoftmax.linear_cross_entropy(z, W, y % 3, wrt=("W",)))


CACHED = """
import sys
import numba, numpy as np
from fastsoftmax.njit import linear_cross_entropy, softmax, softmax_cross_entropy

@numba.njit(cache=True)
def step(z, y, X, W):
    loss, dz = softmax_cross_entropy(softmax(z), y, label_smoothing=0.1)
    return loss, dz, linear_cross_entropy(X, W, y, wrt=("W",))[1].W

rng = np.random.default_rng(0)
z, X, W, y = rng.normal(size=(6, 5)), rng.normal(size=(6, 3)), rng.normal(size=(3, 5)), np.arange(6) % 5
loss, dz, dW = step(z, y, X, W)
print(loss.hex(), dz.tobytes().hex(), dW.tobytes().hex(), sum(step.stats.cache_hits.values()))
"""


@pytest.mark.timeout(300)
def test_another_process_finds_what_is_cached(tmp_path):
    (tmp_path / "cached.py").write_text(CACHED)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
    first, second = (
        subprocess.run(
            [sys.executable, tmp_path / "cached.py"],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        ).stdout.split()
        for _ in range(2)
    )
    assert first[-1] == "0"
    assert second[-1] == "1"
    assert first[:-1] == second[:-1]
    rng = np.random.default_rng(0)
    z, X, W = rng.normal(size=(6, 5)), rng.normal(size=(6, 3)), rng.normal(size=(3, 5))
    y = np.arange(6) % 5
    loss, dz = fastsoftmax.softmax_cross_entropy(fastsoftmax.softmax(z), y, label_smoothing=0.1)
    dW = fastsoftmax.linear_cross_entropy(X, W, y, wrt=("W",))[1].W
    assert second[:-1] == [loss.hex(), dz.tobytes().hex(), dW.tobytes().hex()]
