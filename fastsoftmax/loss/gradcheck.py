"""Gradients by finite differences, and the check of an analytic gradient against them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation

Index = tuple[int, ...]


class GradientCheck(NamedTuple):
    """The outcome of `check_gradient`; true if the gradient is correct.

    It reports the element that exceeds the tolerance by most, or comes closest to it if all are correct.
    """

    passed: bool
    position: Index
    analytic: float  # the derivative that the function returns there
    numeric: float  # the one by central differences

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        verdict = "passed, worst" if self.passed else "failed"
        return (
            f"gradient check {verdict} at index {self.position}: analytic {self.analytic:.9g}, "
            f"numeric {self.numeric:.9g}, difference {abs(self.analytic - self.numeric):.3g}"
        )


def numerical_gradient(
    f: Callable[[NDArray[Any]], Any], x: ArrayLike, h: float = 1e-5, scheme: str = "central"
) -> NDArray[np.float64]:
    """Return the gradient of a scalar function by finite differences, one element after another.

    central: ``(f(x + h e_j) - f(x - h e_j)) / (2 h)``, whose error shrinks with h**2;
    forward: ``(f(x + h e_j) - f(x)) / h``, whose error shrinks with h.

    Parameters
    ----------
    f : callable
        ``f(x) -> value`` or ``f(x) -> (value, gradient)``, whose gradient is then ignored.
    x : array_like of real numbers
        The point of the gradient: finite, of any shape. `f` is called with a float64 copy of it.
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
        If `h` is not positive or lost in rounding next to an element of `x`, `scheme` is unknown, `x`
        is not finite, or `f` does not return one number or changes its argument.
    TypeError
        If `x` or what `f` returns is not of real numbers.

    References
    ----------
    Press et al.: Numerical Recipes (2007), section 5.7.

    Examples
    --------
    >>> from fastsoftmax import numerical_gradient
    >>> numerical_gradient(lambda x: float(x @ x), [1.0, 2.0]).round(6)
    array([2., 4.])
    """
    if scheme not in ("central", "forward"):
        raise ValueError(f"scheme: expected 'central' or 'forward', got {validation.shown(scheme)}")
    step = as_step("h", h)
    point = _as_point(x)
    before = point.copy()
    gradient = np.empty_like(point)
    for index, derivative in derivatives(f, point, np.ndindex(point.shape), step, scheme):
        gradient[index] = derivative
    check_unchanged(point, before)
    return gradient


def check_gradient(
    f: Callable[[NDArray[Any]], tuple[Any, Any]],
    x: ArrayLike,
    delta: float = 1e-5,
    tol: float = 1e-4,
) -> GradientCheck:
    """Check the gradient that a function returns against central differences.

    An element is correct if ``|analytic - numeric| <= 1e-8 + tol * |analytic|``.

    Parameters
    ----------
    f : callable
        ``f(x) -> (value, gradient)`` with a scalar value and a gradient of the shape of `x`.
    x : array_like of real numbers
        The point of the check: finite. `f` is called with float64 copies of it.
    delta : float, default 1e-5
        The step of the differences, in units of `x`.
    tol : float, default 1e-4
        The relative tolerance.

    Returns
    -------
    GradientCheck
        It is true or false, and prints the position and the size of the difference:
        ``(passed, position, analytic, numeric)``.

    Raises
    ------
    ValueError
        As `numerical_gradient` does, and if the gradient has another shape than `x`.
    TypeError
        If `f` does not return a pair, or anything is not of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax import check_gradient
    >>> print(check_gradient(lambda x: (np.sum(x**2), 3 * x), [0.0, 1.0]))
    gradient check failed at index (1,): analytic 3, numeric 2, difference 1
    """
    step = as_step("delta", delta)
    tolerance = validation.as_non_negative("tol", tol)
    point = _as_point(x)
    before = point.copy()
    _check_callable(f)
    pair = f(point)
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"f: expected a pair (value, gradient), got {type(pair).__name__}")
    check_unchanged(point, before)
    gradient = validation.as_array("the gradient that f returns", pair[1])
    analytic = gradient.astype(np.float64)  # a copy: f may return a buffer that it reuses
    if analytic.shape != point.shape:
        raise ValueError(f"f: expected a gradient of shape {point.shape}, got {analytic.shape}")
    numeric = numerical_gradient(f, point, step)
    if not point.size:
        return GradientCheck(True, (), 0.0, 0.0)
    with np.errstate(invalid="ignore"):  # inf - inf
        excess = np.abs(analytic - numeric) - (1e-8 + tolerance * np.abs(analytic))
    finite = np.isfinite(analytic) & np.isfinite(numeric)
    excess = np.where(finite, excess, np.inf)  # a NaN or infinity on either side is never correct
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), excess.shape))
    return GradientCheck(
        bool(excess[worst] <= 0), worst, float(analytic[worst]), float(numeric[worst])
    )


def derivatives(
    f: Callable[[NDArray[Any]], Any],
    point: NDArray[Any],
    indices: Iterable[Index],
    step: float,
    scheme: str = "central",
) -> Iterator[tuple[Index, float]]:
    """Yield each index with the partial derivative of `f` there.

    The elements of `point`, an array of floats, are changed in place and restored, even if `f` raises.
    """
    _check_callable(f)
    here = _value(f(point)) if scheme == "forward" else 0.0
    for index in indices:
        original = point[index]
        lower, below = float(original), here
        try:
            if scheme == "central":
                point[index] = lower - step
                lower, below = float(point[index]), _value(f(point))
            point[index] = float(original) + step
            upper, above = float(point[index]), _value(f(point))
        finally:
            point[index] = original
        # Divide by the distance after rounding to the dtype of x, not by the one requested.
        if not upper > lower:
            raise ValueError(
                f"x: a step of {step:g} is lost in rounding next to {original} at index {index}; "
                "take a larger step or a wider dtype"
            )
        yield index, (above - below) / (upper - lower)


def as_step(name: str, value: float) -> float:
    """Return the step of finite differences as a float greater than 0."""
    step = validation.as_non_negative(name, value)
    if step == 0:
        raise ValueError(f"{name}: expected a number greater than 0, got {validation.shown(value)}")
    return step


def check_finite(name: str, values: NDArray[Any]) -> None:
    """Raise the error for an array that contains a NaN or an infinity."""
    finite = np.isfinite(values)
    if not finite.all():
        index = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), values.shape))
        raise ValueError(f"{name}: expected finite numbers, got {values[index]} at index {index}")


def check_unchanged(x: NDArray[Any], before: NDArray[Any]) -> None:
    """Raise the error for a function that changed its argument."""
    if not np.array_equal(x, before):
        raise ValueError("f: changes its argument; expected a function that leaves it unchanged")


def _as_point(x: ArrayLike) -> NDArray[np.float64]:
    point = validation.as_array("x", x).astype(np.float64)  # a copy: the caller's stays as it is
    check_finite("x", point)
    return point


def _check_callable(f: object) -> None:
    if not callable(f):
        raise TypeError(f"f: expected a function, got {type(f).__name__}")


def _value(result: Any) -> float:
    """Return the value that `f` returned: a number, or the first of a pair (value, gradient)."""
    value = validation.as_array(
        "the value that f returns", result[0] if isinstance(result, tuple) and result else result
    )
    if value.size != 1:
        raise ValueError(f"f: expected to return one number, got an array of shape {value.shape}")
    return float(value.reshape(()))
