"""The lecture's gradient checks, over `fastsoftmax.gradcheck`.

`eval_numerical_gradient` and `grad_check_sparse` perturb the elements of the caller's own array, one at a
time, and restore it: the functions that notebooks pass to them often ignore their argument and read
that array, or a model that refers to it.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from ..loss import gradcheck


def eval_numerical_gradient(
    f: Callable[[NDArray[Any]], Any], x: NDArray[Any], verbose: bool = True, h: float = 1e-5
) -> NDArray[np.float64]:
    """Return the gradient of a scalar function by central differences, one element after another.

    ``(f(x + h e_j) - f(x - h e_j)) / (2 h)``, whose error shrinks with h**2.

    Parameters
    ----------
    f : callable
        ``f(x) -> value``; it may ignore its argument and read the array itself.
    x : ndarray of float
        The point at which to take the gradient; of any shape. It is changed in place, and restored before
        the function returns or raises.
    verbose : bool, default True
        Whether to print every index with its derivative.
    h : float, default 1e-5
        The step, in units of `x`.

    Returns
    -------
    ndarray of float64
        Same shape as `x`.

    Raises
    ------
    ValueError
        If `x` is read-only or not finite, `h` is not positive or is lost in rounding when it is added to an
        element of `x`, or `f` does not return one number or changes `x` itself.
    TypeError
        If `x` is not an array of floats, or `f` does not return real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.lecture import eval_numerical_gradient
    >>> x = np.array([1.0, 2.0])
    >>> eval_numerical_gradient(lambda _: float(x @ x), x, verbose=False).round(6)
    array([2., 4.])
    """
    _check_can_be_perturbed(x)
    step = gradcheck.as_step("h", h)
    before = x.copy()
    gradient = np.empty(x.shape)
    try:
        for index, derivative in gradcheck.derivatives(f, x, np.ndindex(x.shape), step):
            gradient[index] = derivative
            if verbose:
                print(index, derivative)
        gradcheck.check_unchanged(x, before)
    finally:
        x[...] = before
    return gradient


def grad_check_sparse(
    f: Callable[[NDArray[Any]], Any],
    x: NDArray[Any],
    analytic_grad: ArrayLike,
    num_checks: int = 10,
    h: float = 1e-5,
) -> list[float]:
    """Compare a gradient with central differences at a few random elements, and print both.

    The relative error is ``|numerical - analytic| / (|numerical| + |analytic|)``, 0 where both are 0.

    Parameters
    ----------
    f, x, h
        As in `eval_numerical_gradient`; `x` has at least one element.
    analytic_grad : array_like of real numbers
        The gradient to check, of the shape of `x`.
    num_checks : int, default 10
        The number of elements to draw, by the module `random`, as in the course: NumPy's generator, from
        which training draws, is not advanced.

    Returns
    -------
    list of float
        The relative errors as printed.

    Raises
    ------
    ValueError, TypeError
        As `eval_numerical_gradient` does, and if `analytic_grad` has another shape than `x`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.lecture import grad_check_sparse
    >>> errors = grad_check_sparse(lambda x: float(3 * x[0]), np.zeros(1), [3.0], num_checks=1)
    numerical: 3.000000 analytic: 3.000000, relative error: 0.000000e+00
    """
    _check_can_be_perturbed(x)
    if not x.size:
        raise ValueError(f"x: expected at least one element, got shape {x.shape}")
    analytic = validation.as_array("analytic_grad", analytic_grad)
    if analytic.shape != x.shape:
        raise ValueError(f"analytic_grad: expected shape {x.shape}, got {analytic.shape}")
    step = gradcheck.as_step("h", h)
    count = validation.as_integer("num_checks", num_checks, 0)
    drawn = (tuple(random.randrange(length) for length in x.shape) for _ in range(count))
    before = x.copy()
    errors = []
    try:
        for index, numerical in gradcheck.derivatives(f, x, drawn, step):
            expected = float(analytic[index])
            total = abs(numerical) + abs(expected)
            errors.append(abs(numerical - expected) / total if total else 0.0)
            print(
                f"numerical: {numerical:f} analytic: {expected:f}, relative error: {errors[-1]:e}"
            )
        gradcheck.check_unchanged(x, before)
    finally:
        x[...] = before
    return errors


def check_gradient(
    f: Callable[[NDArray[Any]], tuple[Any, Any]],
    x: ArrayLike,
    delta: float = 1e-5,
    tol: float = 1e-4,
) -> bool:
    """Check all elements of the gradient that a function returns, and print the outcome.

    `fastsoftmax.check_gradient` does the same and returns the outcome as an object.

    Parameters
    ----------
    f : callable
        ``f(x) -> (value, gradient)`` with a scalar value and a gradient of the shape of `x`.
    x : array_like of real numbers
        The point at which to check. `f` is called with copies of it.
    delta : float, default 1e-5
        The step of the central differences, in units of `x`.
    tol : float, default 1e-4
        The relative tolerance.

    Returns
    -------
    bool
        Whether the gradient is right.

    Raises
    ------
    ValueError, TypeError
        As `fastsoftmax.check_gradient` does.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.lecture import check_gradient
    >>> check_gradient(lambda x: (np.sum(x**2), 2 * x), np.array([0.0, 1.0]))
    Gradient check passed!
    True
    """
    outcome = gradcheck.check_gradient(f, x, delta, tol)
    if outcome.passed:
        print("Gradient check passed!")
    else:
        print(
            f"Gradients are different at {outcome.position}. "
            f"Analytic: {outcome.analytic:.5f}, Numeric: {outcome.numeric:.5f}"
        )
    return outcome.passed


def _check_can_be_perturbed(x: object) -> None:
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        found = f"dtype {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(
            f"x: expected a numpy array of floats, which is changed in place, got {found}"
        )
    if not x.flags.writeable:
        raise ValueError("x: expected a writeable array, got a read-only one")
    gradcheck.check_finite("x", x)
