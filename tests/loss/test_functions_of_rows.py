"""`out`, `mask`, `temperature` of softmax, log_softmax and logsumexp, and SciPy's `b` and `return_sign`."""

import tracemalloc

import numpy as np
import oracle
import pytest
import scipy.special

import fastsoftmax
from fastsoftmax import log_softmax, logsumexp, softmax, softmax_cross_entropy

FUNCTIONS = ["softmax", "log_softmax", "logsumexp"]
SHAPES = {(5,): -1, (1, 10): -1, (6, 5): 1, (4, 3): 0, (2, 3, 4): (0, 2), (3, 40): None, (): -1}


def shape_of_result(name, shape, axis):
    if name != "logsumexp":
        return shape
    return np.zeros(shape).sum(axis=axis if shape else None).shape


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_out(backend, dtype, rng, name, shape):
    function, axis = getattr(fastsoftmax, name), SHAPES[shape]
    logits = rng.normal(size=shape).astype(dtype)
    expected = function(logits, axis, backend=backend)
    out = np.full(shape_of_result(name, shape, axis), np.nan, dtype)
    assert function(logits, axis, out, backend=backend) is out
    np.testing.assert_array_equal(out, expected)
    if name != "logsumexp":
        assert function(logits, axis, logits, backend=backend) is logits
        np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize("name", FUNCTIONS[:2])
@pytest.mark.parametrize("options", [{}, {"temperature": 2.0}, {"mask": [True, True, False, True]}])
def test_out_in_any_memory(backend, rng, name, options):
    function, logits = getattr(fastsoftmax, name), rng.normal(size=(6, 4))
    expected = function(logits, backend=backend, **options)
    memory = np.zeros(100)
    memory[3:27] = logits.ravel()
    overlapping = memory[5:29].reshape(6, 4)
    function(memory[3:27].reshape(6, 4), out=overlapping, backend=backend, **options)
    np.testing.assert_array_equal(overlapping, expected)
    strided = np.zeros((4, 12)).T[::2]
    assert function(logits, out=strided, backend=backend, **options) is strided
    np.testing.assert_array_equal(strided, expected)


def test_out_over_the_mask(backend, rng):
    logits, memory = rng.normal(size=(2, 8)).astype(np.float32), np.zeros(16, np.float32)
    mask = memory.view(bool)[:16].reshape(2, 8)
    mask[...] = rng.random((2, 8)) < 0.7
    mask[:, 0] = True
    expected = softmax(logits, mask=mask.copy(), backend=backend)
    np.testing.assert_array_equal(
        softmax(logits, out=memory.reshape(2, 8), mask=mask, backend=backend), expected
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_memory_is_allocated_for_a_result_that_has_some(rng, name):
    function, logits = getattr(fastsoftmax, name), rng.normal(size=(500, 400))
    out = np.empty(shape_of_result(name, logits.shape, -1))
    function(logits, out=out, backend="compiled")
    tracemalloc.start()
    function(logits, out=out, backend="compiled")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < logits.nbytes / 8  # threads that other tests have left behind allocate, too


@pytest.mark.parametrize("temperature", [0.5, 2, 3.0, 1e-3, np.float32(0.75)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_temperature_divides_the_logits(backend, dtype, rng, name, temperature):
    function, logits = getattr(fastsoftmax, name), rng.normal(size=(3, 7)).astype(dtype)
    divided = (logits / dtype(temperature)).astype(dtype)
    np.testing.assert_array_equal(
        function(logits, temperature=temperature, backend=backend),
        function(divided, backend=backend),
    )


@pytest.mark.parametrize("axis", [-1, 0, None, (0, 2)])
@pytest.mark.parametrize("mask_shape", [(2, 3, 4), (4,), (3, 1), (1, 1, 4), (2, 1, 1)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_masked_class_is_a_logit_of_minus_infinity(backend, rng, name, mask_shape, axis):
    function, logits = getattr(fastsoftmax, name), rng.normal(size=(2, 3, 4))
    mask = rng.random(mask_shape) < 0.7
    mask.flat[0] = True
    masked = np.where(mask, logits, -np.inf)
    logits[~np.broadcast_to(mask, logits.shape)] = np.nan  # whatever stands there
    before = logits.copy()
    if name != "logsumexp" and (logsumexp(masked, axis) == -np.inf).any():
        with pytest.raises(ValueError, match="nothing but -inf"):
            function(logits, axis, mask=mask, backend=backend)
    else:
        expected = function(masked, axis, backend=backend)
        np.testing.assert_array_equal(function(logits, axis, mask=mask, backend=backend), expected)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [-1, 0, None])
@pytest.mark.parametrize("signs", ["positive", "any", "none"])
def test_factors_as_in_scipy(backend, dtype, rng, signs, axis, keepdims):
    logits = (5 * rng.normal(size=(6, 9)) + 100).astype(dtype)
    b = rng.integers(-4 if signs == "any" else 0, 5, size=(6, 9) if signs != "none" else (9,)) / 4
    found, sign = logsumexp(logits, axis, b=b, return_sign=True, keepdims=keepdims, backend=backend)
    wide = logits.astype(np.longdouble)
    expected, expected_sign = scipy.special.logsumexp(
        wide, axis, b=b.astype(np.longdouble), return_sign=True, keepdims=keepdims
    )
    np.testing.assert_array_equal(sign, expected_sign)
    assert found.dtype == dtype
    # The sum of absolute values over the sum: what cancels.
    whole = scipy.special.logsumexp(wide, axis, b=np.abs(b), keepdims=keepdims)
    eps, finite = float(np.finfo(dtype).eps), np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite].astype(dtype))
    actual, expected, whole = (np.asarray(x)[finite] for x in (found, expected, whole))
    bound = 40 * eps * np.exp(whole - expected) + 2 * eps * np.abs(expected)
    assert (np.abs(actual - expected) <= bound).all()
    plain = logsumexp(logits, axis, b=b, keepdims=keepdims, backend=backend)
    np.testing.assert_array_equal(plain, np.where(sign < 0, np.nan, found))


def test_signs_at_the_edges(backend):
    inf, nan = np.inf, np.nan
    rows = np.array([[0, 0], [inf, 0], [-inf, 0], [-inf, -inf], [inf, inf], [nan, 0], [nan, 1]])
    b = np.array([[1, -1], [1, -1], [1, -1], [1, -1], [1, -1], [1, 1], [0, 2.0]])
    found, sign = logsumexp(rows, b=b, return_sign=True, backend=backend)
    np.testing.assert_array_equal(found, [-inf, inf, 0, -inf, nan, nan, 1 + np.log(2)])
    np.testing.assert_array_equal(sign, [0, 1, -1, 0, nan, nan, 1])
    found, sign = logsumexp(rows[:4], return_sign=True, backend=backend)
    np.testing.assert_array_equal(sign, [1, 1, 1, 0])
    assert logsumexp([1.0], b=[-1.0], return_sign=True, backend=backend) == (1.0, -1.0)


def test_the_oracle_of_a_sum_with_factors(backend, dtype):
    logits = np.array([[1.0, 2.0, 3.0]], dtype)
    exact = oracle.exact
    expected = exact.log(exact.exp(1) / 2 - exact.exp(2) * 2 + exact.exp(3))
    found = logsumexp(logits, b=[0.5, -2.0, 1.0], backend=backend)
    assert found[0] == pytest.approx(float(expected), rel=20 * float(np.finfo(dtype).eps))


def test_terms_that_cancel_far_from_0(backend, dtype):
    """1 - (1 - 1/64), of logits whose spacing in float32 is 2e-4: a sixtyfourth of a term is left."""
    found = logsumexp([[dtype(3000)] * 2], b=[1, -1 + 1 / 64], backend=backend)
    # One rounding of the result, and of each logarithm 64 times what it is off by.
    eps = float(np.finfo(found.dtype).eps)
    assert abs(found[0] - (3000 - np.log(64))) <= eps * 3000 + 64 * 4 * eps


def test_options_together(backend, rng):
    logits, mask = rng.normal(size=(5, 4)), np.array([True, False, True, True])
    out = np.empty((5, 4))
    log_softmax(logits, 1, out, mask=mask, temperature=0.5, backend=backend)
    np.testing.assert_array_equal(out[:, 1], -np.inf)
    np.testing.assert_allclose(out[:, mask], scipy.special.log_softmax(2 * logits[:, mask], 1))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": 0}, ValueError, "temperature: expected a positive number"),
        ({"temperature": -1.0}, ValueError, "temperature: expected"),
        ({"temperature": np.nan}, ValueError, "temperature: expected"),
        ({"temperature": "1"}, TypeError, "temperature: expected"),
        (
            {"temperature": 1e-320},
            ValueError,
            "temperature: the logits divided by 1e-320 overflow float64 in row 0",
        ),
        ({"mask": [1, 0, 1]}, TypeError, "mask: expected booleans, got int64"),
        ({"mask": [True, False]}, ValueError, r"mask: expected a shape .* \(2, 3\), got \(2,\)"),
        ({"mask": False}, ValueError, "logits: expected a finite log-sum-exp .* -inf"),
        ({"out": np.empty((3, 2))}, ValueError, r"out: expected shape \(2, 3\), got \(3, 2\)"),
        ({"out": np.empty((2, 3), np.float32)}, TypeError, "out: expected dtype float64"),
        ({"out": [[0.0] * 3] * 2}, TypeError, "out: expected a numpy array, got list"),
        ({"out": np.broadcast_to(1.0, (2, 3))}, ValueError, "out: expected a writable array"),
    ],
)
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_bad_options(backend, function, options, error, message):
    logits = np.arange(6.0).reshape(2, 3) + 1
    with pytest.raises(error, match=message):
        function(logits, backend=backend, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"b": [1, 2]}, ValueError, r"b: expected a shape .* \(2, 3\), got \(2,\)"),
        ({"b": [1, np.inf, 2]}, ValueError, "b: "),
        ({"b": ["a", "b", "c"]}, TypeError, "b: expected real numbers"),
        ({"out": np.empty(3)}, ValueError, r"out: expected shape \(2,\), got \(3,\)"),
        ({"out": np.empty(2), "keepdims": True}, ValueError, r"out: expected shape \(2, 1\)"),
        ({"temperature": 0.0}, ValueError, "temperature: expected a positive number"),
        ({"mask": [0, 1, 1]}, TypeError, "mask: expected booleans"),
    ],
)
def test_bad_options_of_logsumexp(backend, options, error, message):
    with pytest.raises(error, match=message):
        logsumexp(np.arange(6.0).reshape(2, 3), backend=backend, **options)


def test_an_invalid_row_with_out_is_an_error_on_every_path(backend):
    logits, out = np.array([[0.0, 1.0], [np.nan, 0.0]]), np.empty((2, 2))
    with pytest.raises(ValueError, match=r"logits: .* row 1"):
        softmax(logits, out=out, backend=backend)
    sums = np.empty(2)
    logsumexp(logits, out=sums, backend=backend)
    assert np.isnan(sums[1])
    assert sums[0] == logsumexp(logits[0])


@pytest.mark.parametrize("name", ["no backend", None, ["compiled"], np.str_("none")])
def test_a_small_call_refuses_what_is_no_backend(name):
    z, labels = np.zeros((1, 3)), np.zeros(1, np.int64)
    softmax(z)  # so that there is a fast path
    for call in (
        lambda: softmax(z, out=z, backend=name),
        lambda: log_softmax(z, out=z, backend=name),
        lambda: logsumexp(z, out=np.empty(1), backend=name),
        lambda: softmax_cross_entropy(z, labels, backend=name),
    ):
        with pytest.raises(ValueError, match=r"^backend: expected one of"):
            call()
    assert not z.any()
