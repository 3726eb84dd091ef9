"""Checks of arguments: each error names the argument, the value received and what is accepted."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]

# Numbers that are checked together.
_ELEMENTS_PER_BLOCK = 1 << 18


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Return `value` as an array of numbers, with its dtype unchanged."""
    try:
        array = np.asarray(value if _converts(value) else np.from_dlpack(value))
    except (
        RuntimeError,
        TypeError,
        BufferError,
    ) as error:  # a tensor with a gradient, on a GPU, ...
        raise TypeError(
            f"{name}: expected an array that NumPy can read, got {_kind(value)}: {error}"
        ) from None
    except ValueError as error:  # rows of unequal length
        raise ValueError(
            f"{name}: expected an array of numbers, got {_kind(value)}: {error}"
        ) from None
    if (array.dtype.kind not in "fiub" or array.dtype.itemsize > 8) and not is_half(array.dtype):
        raise TypeError(
            f"{name}: expected real numbers (float64, float32, float16, bfloat16, integers or booleans), "
            f"got {_kind(value)} of dtype {array.dtype}"
        )
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(f"{name}: expected an array without masked elements, got a masked array")
    return array


def _converts(value: Any) -> bool:
    """Return whether NumPy can make an array of it without DLPack."""
    return hasattr(value, "__array__") or not hasattr(value, "__dlpack__")


def is_half(dtype: np.dtype[Any]) -> bool:
    """Return whether it is float16, or the bfloat16 that the package ml_dtypes adds to NumPy."""
    return (dtype.kind == "f" and dtype.itemsize == 2) or dtype.name == "bfloat16"


def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which numbers of `dtype` are computed.

    float16, bfloat16 and float32 in float32; float64, integers and booleans in float64.
    """
    is_single = (dtype.kind == "f" and dtype.itemsize <= 4) or is_half(dtype)
    return np.dtype(np.float32 if is_single else np.float64)


def training_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype for training on `dtype`: float32 represents every pixel, and is twice as fast."""
    return np.dtype(np.float32) if dtype == np.uint8 else compute_dtype(dtype)


def gradient_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the gradient with respect to an argument of `dtype`."""
    return dtype.newbyteorder("=") if is_half(dtype) else compute_dtype(dtype)


def without_long_double(array: Any) -> Any:
    """Return an array of long double as float64, its compute dtype; anything else unchanged.

    A number out of the range of float64 becomes infinite, which is reported by the check that finds it.
    """
    dtype = getattr(array, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind != "f" or dtype.itemsize <= 8:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array, np.float64)


def as_native(array: NDArray[Any], dtype: np.dtype[Any]) -> FloatArray:
    """Return `array` itself if it is C-contiguous, aligned and of `dtype`; else such a copy."""
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    # Overflow and signalling NaN are reported by the check that finds them.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(array, dtype=dtype, order="C")


def reads_as(X: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Return whether backends read the rows of `X` in place when computing in `dtype`; see `Data`."""
    exact = X.dtype in (dtype, np.uint8, np.float16, np.float32)
    is_row_contiguous = X.strides[1] == X.itemsize or X.shape[1] == 1
    return exact and X.flags.aligned and is_row_contiguous


def as_targets(
    targets: object,
    leading_shape: tuple[int, ...],
    n_classes: int,
    dtype: np.dtype[Any],
    name: str = "targets",
) -> NDArray[Any]:
    """Return labels as int64 of `leading_shape`, or probabilities as `dtype` with one more axis.

    Both are flattened to one axis of samples, (n,) or (n, n_classes).
    """
    array = as_array(name, targets)
    if array.shape == (*leading_shape, n_classes):
        return _as_probabilities(array, n_classes, dtype, name)
    if array.shape != leading_shape:
        raise ValueError(
            f"{name}: expected integer labels of shape {leading_shape} or probabilities of shape "
            f"{(*leading_shape, n_classes)}, got shape {array.shape}"
        )
    if array.dtype.kind not in "iu" and array.size:  # an empty list comes as float64
        raise TypeError(
            f"{name}: expected integer labels for the shape {leading_shape}, got dtype {array.dtype}"
        )
    labels = array.reshape(-1)
    if labels.size and not _all_below(labels, n_classes):
        row = int(np.argmin((labels >= 0) & (labels < n_classes)))
        raise ValueError(
            f"{name}: expected labels from 0 to {n_classes - 1}, "
            f"got {labels[row]} {at_row(row, leading_shape)}"
        )
    return as_native(labels, np.dtype(np.int64))


def _all_below(labels: NDArray[Any], n_classes: int) -> bool:
    """Return whether 0 <= label < n_classes for all."""
    if labels.dtype == np.int64:  # in one pass: a negative number is huge when unsigned
        return bool(np.maximum.reduce(labels.view(np.uint64)) < n_classes)
    return bool(np.minimum.reduce(labels) >= 0 and np.maximum.reduce(labels) < n_classes)


def _as_probabilities(
    array: NDArray[Any], n_classes: int, dtype: np.dtype[Any], name: str
) -> FloatArray:
    probabilities = as_native(array, dtype).reshape(-1, n_classes)
    for first, block in blocks_of_rows(probabilities):
        valid = (block >= 0) & (block < np.inf)  # False for NaN as well
        if not valid.all():
            row, column = np.unravel_index(int(np.argmin(valid)), valid.shape)
            raise ValueError(
                f"{name}: expected probabilities, finite and not negative, got {block[row, column]} "
                f"{at_row(first + int(row), array.shape[:-1])}, class {column}"
            )
        with np.errstate(over="ignore"):
            finite = np.isfinite(block.sum(axis=1))
        if not finite.all():
            where = at_row(first + int(np.argmin(finite)), array.shape[:-1])
            raise ValueError(f"{name}: expected probabilities, whose sum overflows {dtype} {where}")
    return probabilities


def as_weights(
    name: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> FloatArray:
    """Return weights, finite and not negative, flattened."""
    if getattr(value, "dtype", None) == np.dtype(object):  # of Python's numbers
        try:
            value = np.asarray(value, np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name}: expected real numbers, got dtype object: {error}") from None
    array = as_array(name, value)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    weights = as_native(array, dtype).reshape(-1)
    valid = (weights >= 0) & (weights < np.inf)
    if not valid.all():
        at = int(np.argmin(valid))
        raise ValueError(
            f"{name}: expected finite weights, 0 or more, got {weights[at]} {at_row(at, shape)}"
        )
    return weights


def scaled_weights(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Return weights divided by 2**power, and the power: the largest is about 1, their sum finite."""
    power = int(np.frexp(weights.max(initial=0.0))[1])
    return np.ldexp(weights, -power), power


def blocks_of_rows(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the first row and the rows of each block, small enough to keep temporaries small."""
    rows_per_block = max(1, _ELEMENTS_PER_BLOCK * len(array) // max(array.size, 1))
    for first in range(0, len(array), rows_per_block):
        yield first, array[first : first + rows_per_block]


def check_finite(name: str, values: FloatArray) -> None:
    """Raise unless every number is finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.add.reduce(values, axis=None)):
            return  # no infinity or NaN goes into a finite sum, and it needs no temporary array
    for _, block in blocks_of_rows(np.atleast_1d(values)):
        if not np.isfinite(block).all():
            kind = "NaN" if np.isnan(values).any() else "inf"
            raise ValueError(f"{name}: expected finite numbers, got {kind}")


def why_row_is_invalid(row: int, x: NDArray[Any], dtype: np.dtype[Any]) -> str:
    """Return why the logits of `x`, a row of X, are NaN or infinite although the weights are finite."""
    if not np.isfinite(x).all():
        kind = "NaN" if np.isnan(x).any() else "inf"
        return f"X: expected finite numbers, got {kind} in row {row}"
    if not np.isfinite(as_native(x, dtype)).all():
        return f"X: a number in row {row} overflows {dtype}"
    return f"X: the scores X @ W of row {row} overflow {dtype}; scale X or W down"


def shown(value: object) -> str:
    """Return the repr of a value for a message; NumPy scalars, also in a tuple, as Python values."""
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        parts = ", ".join(map(shown, value))
        return f"[{parts}]" if isinstance(value, list) else f"({parts}{',' * (len(value) == 1)})"
    is_scalar = isinstance(value, np.generic) and not isinstance(value, np.timedelta64)
    return repr(value.item() if is_scalar else value)  # type: ignore[attr-defined]


def as_non_negative(name: str, value: object) -> float:
    """Return `value` as a finite float that is not negative."""
    number = as_real(name, value)
    if not 0 <= number < np.inf:
        raise ValueError(f"{name}: expected a finite number, 0 or more, got {shown(value)}")
    return number


def as_real(name: str, value: object) -> float:
    """Return a real number as a float."""
    if not isinstance(value, int | float | np.integer | np.floating) or _is_bool_or_timedelta(
        value
    ):
        raise TypeError(f"{name}: expected a real number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected a number within the range of float64") from None


def _is_bool_or_timedelta(value: object) -> bool:
    """Return whether it is a boolean, which Python counts as an int, or a timedelta64, as NumPy does."""
    return isinstance(value, bool | np.timedelta64)


def as_integer(name: str, value: object, minimum: int, accepted: str = "") -> int:
    """Return `value` as an int of at least `minimum`."""
    accepted = accepted or f"an integer of at least {minimum}"
    if not isinstance(value, int | np.integer) or _is_bool_or_timedelta(value):
        raise TypeError(f"{name}: expected {accepted}, got {shown(value)}")
    if value < minimum:
        raise ValueError(f"{name}: expected {accepted}, got {shown(value)}")
    return int(value)


def at_row(row: int, leading_shape: tuple[int, ...]) -> str:
    """Return the position of a row in the caller's own shape, for a message."""
    if not leading_shape:
        return "in the only row"
    index = tuple(int(i) for i in np.unravel_index(row, leading_shape))
    return f"in row {index[0] if len(index) == 1 else index}"


def describe_non_finite(values: FloatArray) -> str:
    """Return what makes a row invalid, for a message."""
    if np.isnan(values).any():
        return "NaN"
    return "+inf" if (values == np.inf).any() else "nothing but -inf"


def _kind(value: object) -> str:
    return type(value).__name__
