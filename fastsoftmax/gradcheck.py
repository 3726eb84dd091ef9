"""Gradients by finite differences, and the check of an analytic gradient against them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import validation


class GradientCheck(NamedTuple):
    """The outcome of `check_gradient`; true where the gradient is right."""

    passed: bool
    position: tuple[int, ...]  # of the element with the largest difference, relative to the tolerance
    analytic: float  # its analytic derivative
    numeric: float  # its derivative by central differences

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "failed"
        return (
            f"gradient check {verdict}: largest difference {abs(self.analytic - self.numeric):.3g} "
            f"at index {self.position}: analytic {self.analytic:.9g}, numeric {self.numeric:.9g}"
        )


def numerical_gradient(
    f: Callable[[NDArray[Any]], Any], x: ArrayLike, h: float = 1e-5, scheme: str = "central"
) -> NDArray[np.float64]:
    """Gradient of a scalar function by finite differences, one element after another.

    central: ``(f(x + h e_j) - f(x - h e_j)) / (2 h)``, whose error shrinks with h**2;
    forward: ``(f(x + h e_j) - f(x)) / h``, whose error shrinks with h.

    Parameters
    ----------
    f : callable
        ``f(x) -> value`` or ``f(x) -> (value, gradient)``, whose gradient is then not looked at.
    x : array_like of real numbers
        Where to take the gradient; of any shape. `f` is called with float64 copies of it.
    h : float, default 1e-5
        The step, in units of `x`.
    scheme : {"central", "forward"}, default "central"

    Returns
    -------
    ndarray of float64
        The shape of `x`.

    Raises
    ------
    ValueError
        If `h` is not positive, `scheme` unknown, or `f` does not return one number.

    Examples
    --------
    >>> from fastsoftmax import numerical_gradient
    >>> numerical_gradient(lambda x: float(x @ x), [1.0, 2.0]).round(6)
    array([2., 4.])
    """
    if scheme not in ("central", "forward"):
        raise ValueError(f"scheme: expected 'central' or 'forward', got {scheme!r}")
    step = validation.as_non_negative("h", h)
    if step == 0:
        raise ValueError("h: expected a positive number, got 0")
    point = validation.as_array("x", x).astype(np.float64)  # a copy: the caller's stays as it is
    gradient = np.empty_like(point)
    here = _value(f, point) if scheme == "forward" else 0.0
    for index in np.ndindex(point.shape):
        original = point[index]
        point[index] = original + step
        above, upper = _value(f, point), point[index]
        if scheme == "central":
            point[index] = original - step
            here, original_or_lower = _value(f, point), point[index]
        else:
            original_or_lower = original
        point[index] = original
        # Divide by the distance as it came out in float64, not by the one asked for.
        gradient[index] = (above - here) / (upper - original_or_lower)
    return gradient


def check_gradient(
    f: Callable[[NDArray[Any]], tuple[Any, Any]], x: ArrayLike, delta: float = 1e-5, tol: float = 1e-4
) -> GradientCheck:
    """Check the gradient that a function returns against central differences.

    An element is right where ``|analytic - numeric| <= 1e-8 + tol * |analytic|``.

    Parameters
    ----------
    f : callable
        ``f(x) -> (value, gradient)`` with a scalar value and a gradient of the shape of `x`.
    x : array_like of real numbers
        Where to check. `f` is called with float64 copies of it.
    delta : float, default 1e-5
        The step of the differences, in units of `x`.
    tol : float, default 1e-4
        The relative tolerance.

    Returns
    -------
    GradientCheck
        True or false, and as text where the largest difference is and how large:
        ``(passed, position, analytic, numeric)``.

    Raises
    ------
    ValueError
        If the gradient has another shape than `x`, or `f` changes its argument.
    TypeError
        If `f` does not return a pair.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax import check_gradient
    >>> print(check_gradient(lambda x: (np.sum(x**2), 3 * x), [0.0, 1.0]))
    gradient check failed: largest difference 1 at index (1,): analytic 3, numeric 2
    """
    tolerance = validation.as_non_negative("tol", tol)
    point = validation.as_array("x", x).astype(np.float64)
    before = point.copy()
    pair = f(point)
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"f: expected a pair (value, gradient), got {type(pair).__name__}")
    if not np.array_equal(point, before, equal_nan=True):
        raise ValueError("f: changes its argument")
    analytic = np.array(pair[1], dtype=np.float64)  # a copy: f may return a buffer that it reuses
    if analytic.shape != point.shape:
        raise ValueError(f"f: expected a gradient of shape {point.shape}, got {analytic.shape}")
    numeric = numerical_gradient(f, point, delta)
    if not point.size:
        return GradientCheck(True, (), 0.0, 0.0)
    excess = np.abs(analytic - numeric) - (1e-8 + tolerance * np.abs(analytic))
    excess = np.where(np.isnan(excess), np.inf, excess)  # a NaN on either side is never right
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), excess.shape))
    return GradientCheck(bool(excess[worst] <= 0), worst, float(analytic[worst]), float(numeric[worst]))


def _value(f: Callable[[NDArray[Any]], Any], x: NDArray[np.float64]) -> float:
    result = f(x)
    value = np.asarray(result[0] if isinstance(result, tuple) else result)
    if value.size != 1:
        raise ValueError(f"f: expected one number, got shape {value.shape}")
    return float(value.reshape(()))
