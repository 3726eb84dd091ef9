"""Labels and values of parameters as JSON, from which they are restored with their types."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The dtypes of booleans, integers, floats, fixed-width strings, bytes, dates in counts of one unit, objects
# and NumPy 2's strings.
_DTYPES = re.compile(
    r"\|b1|\|[iu]1|[<>][iu][248]|[<>]f(?:2|4|8|12|16)|[<>]U\d{1,10}|\|S\d{1,10}"
    r"|[<>]M8\[(?:[1-9]\d{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\]|\|O|T"
)
_PLAIN = (bool, int, float, str, type(None))
# How much wider than its labels a dtype may be: in bytes per character of the labels, and in total.
_BYTES_A_CHARACTER = 64
_BYTES = 1 << 20
_MAX_BITS = 4096  # of an integer; Python refuses to read numbers of more than 4300 digits


def as_json(value: Any) -> Any:
    """Return a scalar as JSON: a Python scalar unchanged, a NumPy scalar as [dtype, value].

    Raises
    ------
    TypeError
        If it has another type, or is a number that is not finite or has thousands of digits.
    """
    if isinstance(value, np.generic):
        dtype, plain = value.dtype.str, value.item()
        if value.dtype.kind in "biufU" and type(plain) in _PLAIN:
            return [dtype[:2] if value.dtype.kind == "U" else dtype, as_json(plain)]
    elif type(value) in _PLAIN:
        is_long = type(value) is int and value.bit_length() > _MAX_BITS
        if not is_long and (type(value) is not float or math.isfinite(value)):
            return value
    raise TypeError(f"expected a boolean, a finite number or a string, got {value!r}")


def from_json(value: Any, what: str) -> Any:
    """Return the scalar that `as_json` has written.

    Raises
    ------
    ValueError
        If `value` is nothing that `as_json` writes.
    """
    if type(value) in _PLAIN and value not in (math.inf, -math.inf):
        return value
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
        raise ValueError(f"{what}: {_shown(value)} is not a scalar")
    dtype, plain = value
    if dtype in ("<U", ">U") and isinstance(plain, str):
        return np.str_(plain)
    if dtype in ("|O", "T") or dtype[1:2] in "USM" or not _DTYPES.fullmatch(dtype):
        raise ValueError(f"{what}: {dtype[:80]!r} is not a dtype of a scalar")
    return _array([plain], _dtype(dtype, [plain], what), what)[0]


def labels_as_json(labels: NDArray[Any]) -> dict[str, Any]:
    """Return labels as JSON.

    Raises
    ------
    TypeError
        If they have a user-defined type, or could not be restored exactly.
    """
    kind = labels.dtype.kind
    listed: list[Any] = labels.tolist()
    if kind == "O":
        listed = [as_json(label) for label in listed]
    elif kind == "S":
        listed = [label.decode("latin-1") for label in listed]
    elif kind == "M":
        listed = labels.astype(np.int64).tolist()
    elif kind == "f":
        listed = [float(label) for label in listed]  # also for long double
    written = {"dtype": "T" if kind == "T" else labels.dtype.str, "labels": listed}
    try:
        again = labels_from_json(written, "classes_")
        same = again.dtype == labels.dtype and bool((again == labels).all())
    except ValueError as error:
        raise TypeError(str(error)) from None
    if not same:
        raise TypeError(
            f"classes_: expected labels that JSON can hold, got {labels!r} of {labels.dtype!r}"
        )
    return written


def labels_from_json(written: Any, what: str) -> NDArray[Any]:
    """Return the labels that `labels_as_json` has written.

    Raises
    ------
    ValueError
        If `written` is nothing that `labels_as_json` writes.
    """
    if not isinstance(written, dict) or written.keys() != {"dtype", "labels"}:
        raise ValueError(f"{what}: {_shown(written)} is not a dtype and labels")
    name, listed = written["dtype"], written["labels"]
    if not isinstance(name, str) or not _DTYPES.fullmatch(name):
        raise ValueError(f"{what}: {_shown(name)} is not a dtype of labels")
    if not isinstance(listed, list):
        raise ValueError(f"{what}: {_shown(listed)} is not a list of labels")
    if name[1:2] == "M":  # counted in units of the dtype
        return _array(listed, np.dtype(np.int64), what).view("M8" + name[3:]).astype(name)
    if name == "|O":
        labels = np.empty(len(listed), object)
        labels[:] = [_object(label, what) for label in listed]
        return labels
    return _array(listed, _dtype(name, listed, what), what)


def _object(label: Any, what: str) -> Any:
    value = from_json(label, what)
    if not isinstance(value, str | int | np.integer):
        raise ValueError(f"{what}: {_shown(label)} is not a label")
    return value


def _dtype(name: str, listed: list[Any], what: str) -> np.dtype[Any]:
    """Return a dtype, after a check that it is not far wider than the strings in the list."""
    if name[1:2] in ("U", "S"):
        n_bytes = int(name[2:]) * (4 if name[1] == "U" else 1) * len(listed)
        n_characters = sum(len(label) for label in listed if isinstance(label, str))
        if n_bytes > max(_BYTES, _BYTES_A_CHARACTER * (n_characters + len(listed))):
            raise ValueError(f"{what}: the dtype {name} is far wider than the labels")
    try:
        return np.dtype(name)
    except TypeError:
        raise ValueError(f"{what}: this NumPy, {np.__version__}, has no dtype {name!r}") from None


def _array(listed: list[Any], dtype: np.dtype[Any], what: str) -> NDArray[Any]:
    """Return an array of these values, after a check that the dtype represents them exactly."""
    kind = dtype.kind
    expected = {"b": bool, "i": int, "u": int, "f": float}.get(kind, str)
    for value in listed:
        if type(value) is not expected:
            raise ValueError(f"{what}: {_shown(value)} is not of {dtype}")
    if kind in "iu" and listed:
        limits = np.iinfo(dtype)
        if not (limits.min <= min(listed) and max(listed) <= limits.max):
            raise ValueError(f"{what}: contains an integer out of the range of {dtype}")
    values = listed
    if kind == "S":
        if not all(ord(max(label, default="a")) < 256 for label in listed):
            raise ValueError(f"{what}: contains a byte above 255")
        values = [label.encode("latin-1") for label in listed]
    with np.errstate(over="ignore"):  # the comparison below reports it
        try:
            array = np.array(values, dtype)
        except ValueError as error:  # an unpaired surrogate in NumPy's variable-width strings
            raise ValueError(f"{what}: {error}") from None
    if array.tolist() != values:
        raise ValueError(f"{what}: {dtype} does not represent its values exactly")
    return array


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def parameters_as_json(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters that JSON can hold, and the names of the others."""
    stored: dict[str, Any] = {}
    left_out = []
    for name, value in parameters.items():
        try:
            if isinstance(
                value, Mapping
            ):  # keys may be labels of any type; those of JSON objects are strings
                pairs = [[as_json(label), as_json(weight)] for label, weight in value.items()]
                stored[name] = {"mapping": pairs}
            else:
                stored[name] = as_json(value)
        except TypeError:
            left_out.append(name)
    return stored, left_out
