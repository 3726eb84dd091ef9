"""`numerical_gradient` and `check_gradient`: errors of the schemes, verdicts, and what is refused."""

import numpy as np
import pytest

from fastsoftmax import (
    check_gradient,
    linear_cross_entropy,
    numerical_gradient,
    penalty,
    softmax_cross_entropy,
)

EPS = np.finfo(np.float64).eps


def cubes(x):
    return float(np.sum(x**3))


def half_squares(x):
    return 0.5 * np.sum(x**2), x.copy()


@pytest.mark.parametrize("h", [1e-2, 1e-4, 1e-5])
def test_the_central_scheme_is_off_by_the_third_derivative(h):
    x = np.array([-1.5, 0.25, 2.0])
    # (f(x+h) - f(x-h)) / 2h of x**3 is 3 x**2 + h**2. A value of f, at most 12, is computed with an
    # error of at most 6 EPS of its largest term, and two of them are divided by 2 h.
    bound = 6 * EPS * 12 / h
    assert np.all(np.abs(numerical_gradient(cubes, x, h) - (3 * x**2 + h**2)) <= bound)


@pytest.mark.parametrize("h", [1e-2, 1e-4, 1e-5])
def test_the_forward_scheme_is_off_by_the_second_derivative(h):
    x = np.array([-1.5, 0.25, 2.0])
    # (f(x+h) - f(x)) / h of x**2 / 2 is x + h/2; f is at most 4, with an error of at most 4 EPS of it.
    bound = 2 * 4 * EPS * 4 / h
    numeric = numerical_gradient(half_squares, x, h, scheme="forward")
    assert np.all(np.abs(numeric - (x + h / 2)) <= bound)


@pytest.mark.parametrize(
    "x",
    [
        np.array(2.0),
        np.arange(3.0),
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0)[::-2],
        np.arange(4, dtype=np.float32),
        np.arange(4, dtype=">f8"),
        np.arange(4),
        [1.0, 2.0],
        [],
    ],
    ids=str,
)
def test_the_gradient_has_the_shape_of_x_and_x_stays(x):
    before = np.array(x)
    gradient = numerical_gradient(half_squares, x)
    assert gradient.shape == before.shape
    assert gradient.dtype == np.float64
    np.testing.assert_array_equal(x, before)
    # x**2 / 2 has no third derivative; its values, at most 50, are off by at most 20 EPS of that.
    np.testing.assert_allclose(gradient, before, rtol=0, atol=20 * EPS * 50 / 1e-5)
    assert check_gradient(half_squares, x)


def test_a_read_only_x_is_copied():
    x = np.ones(3)
    x.flags.writeable = False
    assert check_gradient(half_squares, x)


def test_the_value_may_be_any_array_of_one_number():
    for wrap in (float, np.float32, np.array, lambda v: np.array([[v]]), lambda v: (v, None)):
        gradient = numerical_gradient(lambda x, wrap=wrap: wrap(3.0 * x[0]), [0.0], h=0.5)
        np.testing.assert_array_equal(gradient, [3.0])  # exact in binary


def test_a_right_gradient_passes_and_a_wrong_one_says_where():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])

    def wrong(x):
        value, gradient = half_squares(x)
        gradient[1, 0] *= 2
        return value, gradient

    assert check_gradient(half_squares, x).passed
    outcome = check_gradient(wrong, x)
    assert not outcome
    assert outcome.position == (1, 0)
    assert outcome.analytic == 6
    assert outcome.numeric == pytest.approx(3, abs=20 * EPS * 50 / 1e-5)
    for part in ("failed", "(1, 0)", "analytic 6", "numeric 3", "difference 3"):
        assert part in str(outcome)
    assert "passed" in str(check_gradient(half_squares, x))


@pytest.mark.parametrize(("tol", "off"), [(1e-4, 1e-4), (1e-2, 1e-2), (1e-6, 1e-6)])
def test_the_tolerance_is_relative_to_the_analytic_derivative(tol, off):
    def linear(error):
        return lambda x: (3.0 * float(x[0]), np.array([3.0 * (1 + error)]))

    # 3 x is differenced exactly but for EPS * 3 / h, far below a tenth of the tolerances.
    assert check_gradient(linear(0.9 * off), [1.0], tol=tol)
    assert not check_gradient(linear(1.2 * off), [1.0], tol=tol)


def test_a_derivative_of_zero_passes_within_the_absolute_tolerance():
    assert check_gradient(lambda x: (0.0 * x[0], np.array([0.9e-8])), [1.0])
    assert not check_gradient(lambda x: (0.0 * x[0], np.array([1.1e-8])), [1.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_fails(bad):
    outcome = check_gradient(lambda x: (x.sum(), np.array([1.0, bad])), [1.0, 2.0])
    assert not outcome.passed
    assert outcome.position == (1,)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_fails(bad):
    def f(x):
        return (bad if x[1] != 0 else 0.0), np.zeros(2)

    outcome = check_gradient(f, [0.0, 0.0])
    assert not outcome.passed
    assert outcome.position == (1,)


def test_a_gradient_in_a_buffer_that_is_used_again_is_read_in_time():
    buffer = np.empty(3)

    def f(x):
        buffer[:] = x
        return 0.5 * np.sum(x**2), buffer

    assert check_gradient(f, [1.0, 2.0, 3.0])


def test_the_losses_of_the_package_pass():
    rng = np.random.default_rng(0)
    X, W, b = rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), rng.normal(size=3)
    logits = rng.normal(size=(5, 3))
    labels = np.array([0, 1, 2, 1, 0])
    soft = rng.dirichlet(np.ones(3), size=5)
    for targets in (labels, soft):
        assert check_gradient(lambda z, t=targets: softmax_cross_entropy(z, t), logits)

        def along(name, x, targets=targets):
            arguments = {"X": X, "W": W, "intercept": b} | {name: x}
            loss, gradients = linear_cross_entropy(**arguments, targets=targets)
            return loss, getattr(gradients, name)

        for name, x in (("X", X), ("W", W), ("intercept", b)):
            assert check_gradient(lambda x, name=name: along(name, x), x)
    assert check_gradient(lambda w: penalty(w, l2=0.3, l1=0.7), W)


def add_one(x):
    x += 1
    return 0.0, x.copy()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"h": 0}, ValueError, "h: expected a number greater than 0, got 0"),
        ({"h": -1.0}, ValueError, "h: "),
        ({"h": np.nan}, ValueError, "h: "),
        ({"h": np.inf}, ValueError, "h: "),
        ({"h": "1e-5"}, TypeError, "h: "),
        ({"scheme": "backward"}, ValueError, "scheme: expected 'central' or 'forward', got"),
        ({"x": [0.0, np.nan]}, ValueError, r"x: expected finite numbers, got nan at index \(1,\)"),
        ({"x": [1e12]}, ValueError, r"x: a step of 1e-05 is lost in rounding next to 1.*\(0,\)"),
        ({"x": "text"}, TypeError, "x: expected real numbers"),
        ({"x": [1j]}, TypeError, "x: expected real numbers"),
        ({"f": 3.0}, TypeError, "f: expected a function, got float"),
        ({"f": lambda _: None}, TypeError, "value that f returns: .* NoneType"),
        ({"f": lambda _: 1j}, TypeError, "value that f returns: "),
        ({"f": lambda x: x}, ValueError, r"f: expected to return one number, .* \(2,\)"),
        ({"f": lambda _: ()}, ValueError, "f: expected to return one number"),
        ({"f": lambda x: add_one(x)[0]}, ValueError, "f: changes its argument"),
    ],
)
def test_numerical_gradient_names_what_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        numerical_gradient(**{"f": half_squares, "x": [0.0, 1.0]} | arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"delta": 0.0}, ValueError, "delta: "),
        ({"delta": True}, TypeError, "delta: "),
        ({"tol": -1e-4}, ValueError, "tol: "),
        ({"tol": None}, TypeError, "tol: "),
        ({"x": [np.inf, 0.0]}, ValueError, "x: expected finite numbers, got inf"),
        ({"f": None}, TypeError, "f: expected a function, got NoneType"),
        ({"f": lambda x: x.sum()}, TypeError, r"f: expected a pair \(value, gradient\), got float"),
        ({"f": lambda x: (1.0, x, x)}, TypeError, r"f: expected a pair"),
        ({"f": lambda x: (1.0, x[:1])}, ValueError, r"gradient of shape \(2,\), got \(1,\)"),
        ({"f": lambda _: (1.0, None)}, TypeError, "gradient that f returns: .* NoneType"),
        ({"f": add_one}, ValueError, "f: changes its argument"),
    ],
)
def test_check_gradient_names_what_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        check_gradient(**{"f": half_squares, "x": [0.0, 1.0]} | arguments)


def test_an_error_in_f_comes_through():
    def f(x):
        raise ZeroDivisionError("in f")

    with pytest.raises(ZeroDivisionError, match="in f"):
        numerical_gradient(f, [1.0])
