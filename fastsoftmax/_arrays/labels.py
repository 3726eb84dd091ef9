"""Labels of any kind: their classes, and their indices into the classes."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import validation

# Integer labels are counted, not sorted, if their range is at most this many times their number.
_MAX_RANGE_PER_LABEL = 4
_ACCEPTED = "integers, strings, booleans or datetime64"
_MIXTURE = "expected labels of one type, all numbers or all strings, got a mixture"


def find_classes(y: ArrayLike, name: str = "y") -> NDArray[Any]:
    """Return the different labels in `y`, sorted.

    Raises
    ------
    ValueError, TypeError
        If `y` is empty, or is not what `as_labels` accepts.
    """
    return classes_of(as_labels(y, name), name)


def classes_of(labels: NDArray[Any], name: str = "y") -> NDArray[Any]:
    """Return the different labels among checked ones, sorted; see `find_classes`."""
    if not labels.size:
        raise ValueError(f"{name}: expected at least one label, got none")
    places = _places(labels, labels)
    if places is not None:
        found = np.flatnonzero(np.bincount(places)) + int(labels.min())
        return found.astype(labels.dtype)
    return np.unique(labels)


def joined(classes: NDArray[Any], labels: ArrayLike, name: str = "y") -> NDArray[Any]:
    """Return the classes with those of `labels` that are new, sorted.

    They keep their dtype if it can represent all of them; otherwise the common dtype is used.

    Raises
    ------
    ValueError, TypeError
        As `find_classes` does, and if the types differ or no dtype represents both exactly.
    """
    found = find_classes(labels, name)
    found = found[positions_of(found, classes, name) < 0]
    if not found.size:
        return classes
    for dtype in (classes.dtype, found.dtype, np.result_type(classes, found)):
        with np.errstate(invalid="ignore"):
            together = [each.astype(dtype) for each in (classes, found)]
        if all(
            are_equal(new, old).all() for new, old in zip(together, (classes, found), strict=True)
        ):
            return np.sort(np.concatenate(together))
    raise TypeError(
        f"{name}: expected labels of one type with the classes, {_type_of(classes)}, got "
        f"{_type_of(found)}: no type holds both exactly"
    )


def encode(y: ArrayLike, classes: NDArray[Any], name: str = "y") -> NDArray[np.int64]:
    """Return the index into the sorted `classes` of every label.

    Raises
    ------
    ValueError
        If a label is not among the classes.
    TypeError
        If the labels are of another type than the classes.
    """
    return indices_of(as_labels(y, name), classes, name)


def indices_of(labels: NDArray[Any], classes: NDArray[Any], name: str = "y") -> NDArray[np.int64]:
    """Return the index into the sorted `classes` of every checked label; see `encode`."""
    indices = positions_of(labels, classes, name)
    if labels.size and indices.min() < 0:
        [unknown] = listed(labels[[int(np.argmin(indices))]])
        raise ValueError(
            f"{name}: the label {validation.shown(unknown)} is not among the classes {listed(classes)}"
        )
    return indices


def are_equal(labels: NDArray[Any], others: NDArray[Any], name: str = "y") -> NDArray[np.bool_]:
    """Return which labels equal those of `others` in the same place.

    Raises
    ------
    TypeError
        If they are of different types, which are never equal.
    """
    labels, others = _comparable(labels, others, name)
    return np.asarray(labels == others, bool)


def check_type(labels: NDArray[Any], classes: NDArray[Any], name: str = "y") -> None:
    """Raise TypeError unless both are numbers, both text, both bytes or both dates."""
    if labels.size and classes.size and _family_of(labels) != _family_of(classes):
        raise TypeError(
            f"{name}: expected labels of one type with the classes, {_type_of(classes)}, "
            f"got {_type_of(labels)}"
        )


def listed(labels: NDArray[Any]) -> list[Any]:
    """Return labels as Python values, for messages and files; dates as text in ISO 8601."""
    values = np.datetime_as_string(labels) if labels.dtype.kind == "M" else labels
    found: list[Any] = values.tolist()
    return found


def positions_of(labels: NDArray[Any], classes: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Return the index into the sorted `classes` of every label, -1 if it is not among them.

    Raises
    ------
    TypeError
        If the labels are of another type than the classes.
    """
    places = _places(labels, classes)
    if places is not None:
        index_at = np.full(int(classes[-1]) - int(classes[0]) + 1, -1)
        index_at[classes.astype(np.int64) - classes[0].astype(np.int64)] = np.arange(len(classes))
        return index_at[places]
    if not labels.size:
        return np.zeros(0, np.int64)
    labels, classes = _comparable(labels, classes, name)
    indices = np.searchsorted(classes, labels)
    known = classes[np.minimum(indices, len(classes) - 1)] == labels
    return np.where(known, indices, -1).astype(np.int64, copy=False)


def _comparable(
    labels: NDArray[Any], classes: NDArray[Any], name: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both in dtypes in which NumPy compares the exact values.

    Raises
    ------
    TypeError, ValueError
        If they are of different types, or dates that no common unit can represent.
    """
    check_type(labels, classes, name)
    both = (labels, classes)
    if labels.dtype == classes.dtype or not (labels.size and classes.size):
        return both
    family = _family_of(labels)
    if family == "number":
        common = np.result_type(*both)
        # Large integers change as floats; Python compares both exactly.
        if common.kind != "f" or all(_fits(each, np.finfo(common).nmant + 1) for each in both):
            return both
    elif family == "datetime64":
        common = np.result_type(*both)
        in_common = tuple(each.astype(common) for each in both)
        for converted, each in zip(in_common, both, strict=True):
            if (converted.astype(each.dtype) != each).any():
                raise ValueError(f"{name}: expected dates within the range of {common}")
        return in_common[0], in_common[1]
    elif {labels.dtype.kind, classes.dtype.kind} in ({"U"}, {"S"}):
        return both
    return labels.astype(object), classes.astype(object)


def _fits(numbers: NDArray[Any], n_bits: int) -> bool:
    """Return whether a float with a significand of `n_bits` represents these numbers exactly."""
    if numbers.dtype.kind not in "iu":
        return True
    return -(1 << n_bits) <= int(numbers.min()) and int(numbers.max()) <= 1 << n_bits


def _family_of(labels: NDArray[Any]) -> str:
    """Return the family of labels: only labels of one family are compared."""
    kind = labels.dtype.kind
    if kind == "O":
        return "str" if isinstance(labels[0], str) else "number"
    return {"U": "str", "T": "str", "S": "bytes", "M": "datetime64"}.get(kind, "number")


def _type_of(labels: NDArray[Any]) -> str:
    """Return the type of labels for an error message."""
    family = _family_of(labels)
    return family if family in ("str", "bytes") else labels.dtype.name


def _places(labels: NDArray[Any], among: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return label - min(among) if counting labels is faster than sorting them, else None.

    It is if all are integers within the range of `among`, and that range is not much larger than the
    number of labels.
    """
    for array in (labels, among):
        if array.dtype.kind not in "iu" or array.dtype == np.uint64 or not array.size:
            return None
    low, high = int(among.min()), int(among.max())
    if high - low > _MAX_RANGE_PER_LABEL * len(labels) or labels.min() < low or labels.max() > high:
        return None
    return labels.astype(np.int64) - low


def as_labels(y: ArrayLike, name: str) -> NDArray[Any]:
    """Return `y` as a one-dimensional array of labels, all of one type.

    Integers and booleans of an object array become int64 and bool; strings stay as they are.

    Raises
    ------
    ValueError
        If `y` is not one-dimensional, or contains a number with a fraction, NaN, NaT, or an integer that
        int64 or the dtype of the others cannot represent.
    TypeError
        If `y` contains anything but integers, strings, booleans, whole floats and datetime64, or a
        mixture, or is not a list or an array.
    """
    try:
        labels = np.asarray(y)
    except ValueError as error:  # rows of unequal length
        raise ValueError(f"{name}: expected a list of labels: {error}") from None
    except (TypeError, RuntimeError) as error:  # a sparse tensor, one with a gradient, ...
        raise TypeError(
            f"{name}: expected a list or an array of labels, got {type(y).__name__}: {error}"
        ) from None
    if isinstance(y, np.ma.MaskedArray) and np.ma.is_masked(y):
        raise TypeError(f"{name}: expected labels without masked elements, got a masked array")
    if labels.ndim == 0 and labels.dtype.kind == "O":  # a set, a sparse matrix, an iterator, ...
        raise TypeError(f"{name}: expected a list or an array of labels, got {type(y).__name__}")
    if labels.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, got shape {labels.shape}")
    labels = _as_unsigned(y, labels)
    kind = labels.dtype.kind
    if kind not in "iubfOUSTM":
        raise TypeError(f"{name}: expected {_ACCEPTED}, got dtype {labels.dtype}")
    if isinstance(y, list | tuple):
        _check_list(y, labels, name)
    if kind == "f":
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            whole = np.isfinite(labels) & (labels == np.floor(labels))
        if not whole.all():
            bad = labels[int(np.argmin(whole))]
            raise ValueError(
                f"{name}: expected class labels; {bad} is a continuous value or missing, not a label"
            )
    elif kind == "M" and np.isnat(labels).any():
        raise ValueError(f"{name}: expected class labels; NaT is missing, not a label")
    elif kind == "O" or hasattr(labels.dtype, "na_object"):
        return _with_one_type(labels, name)
    return labels


def _as_unsigned(given: ArrayLike, labels: NDArray[Any]) -> NDArray[Any]:
    """Return a list's integers as uint64 if NumPy has made floats of them and uint64 can hold them."""
    if labels.dtype.kind != "f" or not isinstance(given, list | tuple):
        return labels
    are_unsigned = all(isinstance(v, int | np.integer) and 0 <= v < 1 << 64 for v in given)
    return np.array(given, np.uint64) if are_unsigned else labels


def _check_list(given: list[Any] | tuple[Any, ...], labels: NDArray[Any], name: str) -> None:
    """Raise unless NumPy has kept the labels of a list unchanged."""
    kind = labels.dtype.kind
    expected: type | None = {"U": str, "S": bytes, "M": np.datetime64}.get(kind)
    if expected is not None and not all(isinstance(value, expected) for value in given):
        raise TypeError(f"{name}: {_MIXTURE}")
    if kind == "f":
        for value, label in zip(given, labels.tolist(), strict=True):
            if isinstance(value, int | np.integer) and int(value) != label:
                raise ValueError(
                    f"{name}: expected integers that one dtype can hold, got {value} among others that "
                    f"make it {labels.dtype}"
                )


def _with_one_type(labels: NDArray[Any], name: str) -> NDArray[Any]:
    """Return strings as they are, booleans as bool and integers as int64."""
    objects = labels.tolist()
    if all(isinstance(label, str) for label in objects):
        return labels
    for label in objects:
        is_number = isinstance(label, int | np.integer | np.bool_)
        if not (isinstance(label, str) or is_number) or isinstance(label, np.timedelta64):
            raise TypeError(f"{name}: expected {_ACCEPTED}, got {validation.shown(label)}")
    if any(isinstance(label, str) for label in objects):
        raise TypeError(f"{name}: {_MIXTURE}")
    if all(isinstance(label, bool | np.bool_) for label in objects):
        return labels.astype(bool)
    try:
        return np.array([int(label) for label in objects], np.int64)
    except OverflowError:
        bad = next(label for label in objects if not -(1 << 63) <= int(label) < 1 << 63)
        raise ValueError(
            f"{name}: expected integers within int64, got {validation.shown(bad)}"
        ) from None
