"""`fastsoftmax.lecture`: the numerical gradients, which perturb the caller's own array and restore it."""

import random

import numpy as np
import pytest

from fastsoftmax.lecture import eval_numerical_gradient, grad_check_sparse

EPS = np.finfo(np.float64).eps


def check_restored(x):
    """Return a function that compares `x` with what it is now, bit for bit."""
    before = x.copy()
    return lambda: np.testing.assert_array_equal(x, before)


def test_functions_that_read_the_array_and_not_their_argument():
    model = {"W": np.array([[1.0, 2.0], [3.0, 4.0]])}
    W = model["W"]
    numeric = eval_numerical_gradient(lambda _: float(np.sum(model["W"] ** 2)), W, verbose=False)
    # quadratic: no error but rounding, of a sum of 4 squares up to 30
    bound = 8 * EPS * 30 / 1e-5
    np.testing.assert_allclose(numeric, 2 * W, rtol=0, atol=bound)
    errors = grad_check_sparse(lambda _: float(np.sum(model["W"] ** 2)), W, 2 * W)
    assert max(errors) <= bound / (2 * W.min())
    assert model["W"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_every_derivative_is_printed_by_default(capsys):
    x = np.zeros((1, 2))
    eval_numerical_gradient(lambda x: 3.0 * x[0, 1], x, h=0.5)
    assert capsys.readouterr().out == "(0, 0) 0.0\n(0, 1) 3.0\n"
    eval_numerical_gradient(lambda x: 3.0 * x[0, 1], x, verbose=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("calls", [0, 1, 4])
def test_the_array_is_restored_when_the_function_raises(calls):
    x = np.array([0.1, 0.2, 0.3])
    restored = check_restored(x)
    for run in (
        lambda f: eval_numerical_gradient(f, x, verbose=False),
        lambda f: grad_check_sparse(f, x, x),
    ):
        left = iter(range(calls))

        def fail_after_some_calls(x, left=left):
            if next(left, None) is None:
                raise ZeroDivisionError("in f")
            return x.sum()

        with pytest.raises(ZeroDivisionError, match="in f"):
            run(fail_after_some_calls)
        restored()


def test_a_function_that_changes_the_array_is_refused_and_the_array_restored():
    x = np.array([1.0, 2.0])
    restored = check_restored(x)

    def subtract_maximum(x):
        x -= x.max()
        return np.exp(x).sum()

    for run in (eval_numerical_gradient, lambda f, x: grad_check_sparse(f, x, x)):
        with pytest.raises(ValueError, match="f: changes its argument"):
            run(subtract_maximum, x)
        restored()


def test_strided_views_and_float32_are_moved_in_place():
    base = np.arange(12, dtype=np.float32)
    x = base[::-3]
    numeric = eval_numerical_gradient(lambda _: float(base.sum(dtype=float)), x, False, h=2.0**-10)
    np.testing.assert_array_equal(numeric, np.ones(4))  # all of it exact in binary
    assert base.tolist() == list(range(12))


def test_the_elements_are_drawn_by_the_module_random_and_not_by_numpy():
    x = np.arange(1.0, 1001.0)

    def drawn():
        seen = []
        grad_check_sparse(lambda x: seen.append(x.copy()) or 0.0, x, x, num_checks=5)
        return [int(np.argmax(np.abs(point - x))) for point in seen]

    state = np.random.get_state()  # noqa: NPY002
    random.seed(7)
    first = drawn()
    for before, after in zip(state, np.random.get_state(), strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(after, before)
    random.seed(7)
    assert drawn() == first
    assert len(set(first)) > 1


def test_equal_gradients_of_zero_have_no_relative_error():
    assert grad_check_sparse(lambda _: 1.0, np.ones(2), np.zeros(2), num_checks=3) == [0, 0, 0]


@pytest.mark.parametrize(
    ("x", "h", "error", "message"),
    [
        ([1.0], 1e-5, TypeError, "x: expected a numpy array of floats, .* got list"),
        (
            np.array([1, 2]),
            1e-5,
            TypeError,
            "x: expected a numpy array of floats, .* got dtype int",
        ),
        (np.array([1.0, np.nan]), 1e-5, ValueError, r"x: .* got nan at index \(1,\)"),
        (np.array([1e3], np.float32), 1e-5, ValueError, "x: a step of 1e-05 is lost in rounding"),
        (np.broadcast_to(np.array(1.0), (2,)), 1e-5, ValueError, "x: .* read-only"),
        (np.ones(2), 0, ValueError, "h: "),
    ],
)
def test_the_numerical_gradients_refuse(x, h, error, message):
    with pytest.raises(error, match=message):
        eval_numerical_gradient(np.sum, x, h=h)
    with pytest.raises(error, match=message):
        grad_check_sparse(np.sum, x, np.ones(np.shape(x)), h=h)


def test_grad_check_sparse_refuses():
    with pytest.raises(ValueError, match=r"analytic_grad: expected shape \(2,\), got \(1,\)"):
        grad_check_sparse(np.sum, np.ones(2), np.ones(1))
    with pytest.raises(ValueError, match="num_checks: "):
        grad_check_sparse(np.sum, np.ones(2), np.ones(2), num_checks=-1)
    with pytest.raises(ValueError, match=r"x: expected at least one element, got shape \(0, 2\)"):
        grad_check_sparse(np.sum, np.ones((0, 2)), np.ones((0, 2)))
    with pytest.raises(TypeError, match=r"value that f returns: .* NoneType"):
        eval_numerical_gradient(lambda _: None, np.ones(2))
