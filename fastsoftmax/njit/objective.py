"""Targets with the options applied, as `fastsoftmax.loss.options` does it, with the same bits.

An array without elements stands for one that is absent.
"""

import math
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ..loss.options import _MAX_POWER, _MIN_POWER, REDUCTIONS
from .arrays import (
    FLOATS,
    check_array,
    check_number,
    compiles,
    constant,
    is_absent,
    is_default,
    strict,
    sum_of,
)

_LIMIT = 2.0**_MAX_POWER
_OUT_OF_RANGE = 1024  # powers of 2 from here on
_SMALLEST = float(np.finfo(np.float64).smallest_subnormal)
IGNORED_PROBABILITIES = "ignore_index: expected None for targets that are probabilities"


def check_options(
    n_axes: int,
    dtype: Any,
    targets: Any,
    sample_weight: Any,
    class_weight: Any,
    label_smoothing: Any,
    ignore_index: Any,
    reduction: Any,
) -> tuple[str, bool]:
    """Check the types for logits of `n_axes`; return the reduction, and whether there are any options."""
    if getattr(targets, "ndim", None) == n_axes:
        check_array("targets", targets, n_axes, (dtype,))
    else:
        check_array("targets", targets, n_axes - 1, (types.int64,))
    if not is_absent(sample_weight):
        check_array("sample_weight", sample_weight, n_axes - 1, FLOATS)
    if not is_absent(class_weight):
        check_array("class_weight", class_weight, 1, FLOATS)
    check_number("label_smoothing", label_smoothing)
    if not is_absent(ignore_index):
        check_number("ignore_index", ignore_index, types.Integer)
    chosen = constant("reduction", reduction)
    if not isinstance(chosen, str) or chosen not in REDUCTIONS:
        raise TypingError(f"reduction: expected one of {', '.join(REDUCTIONS)}, got {chosen!r}")
    absent = is_absent(sample_weight) and is_absent(class_weight) and is_absent(ignore_index)
    return chosen, not absent or not is_default(label_smoothing, 0.0)


def rows_of_targets(targets: Any, n: int, n_classes: int) -> Any:
    """Return labels (n,), or probabilities (n, n_classes), which are checked."""
    raise NotImplementedError


@compiles(rows_of_targets)
def _rows_of_targets(targets: Any, n: int, n_classes: int) -> Any:
    if targets.dtype == types.int64:
        return lambda targets, n, n_classes: targets.reshape(n)

    def probabilities(targets: Any, n: int, n_classes: int) -> Any:
        rows = targets.reshape((n, n_classes))
        for i in range(n):
            total = rows.dtype.type(0)
            for k in range(n_classes):
                if not 0 <= rows[i, k] < np.inf:
                    raise ValueError("targets: expected probabilities, finite and not negative")
                total += rows[i, k]
            if total == np.inf:
                raise ValueError("targets: expected probabilities, whose sum overflows")
        return rows

    return probabilities


@strict
def check_labels(labels: Any, n_classes: int) -> None:
    """Raise unless every label is a class."""
    for label in labels:
        if label < 0 or label >= n_classes:
            raise ValueError("targets: expected labels from 0 to n_classes - 1")


def without_ignored(targets: Any, ignore_index: Any, n_classes: int) -> Any:
    """Return targets with a valid label in ignored rows, checked, and which rows these are."""
    raise NotImplementedError


@compiles(without_ignored)
def _without_ignored(targets: Any, ignore_index: Any, n_classes: int) -> Any:
    if targets.ndim == 2:
        if is_absent(ignore_index):
            return lambda targets, ignore_index, n_classes: (targets, np.zeros(0, np.bool_))

        def check(targets: Any, ignore_index: Any, n_classes: int) -> Any:
            if ignore_index >= 0:
                raise ValueError(IGNORED_PROBABILITIES)
            return targets, np.zeros(0, np.bool_)

        return check

    if is_absent(ignore_index):

        def check_all(targets: Any, ignore_index: Any, n_classes: int) -> Any:
            check_labels(targets, n_classes)
            return targets, np.zeros(0, np.bool_)

        return check_all

    def without(targets: Any, ignore_index: Any, n_classes: int) -> Any:
        ignored = targets == ignore_index
        labels = np.where(ignored, 0, targets)
        check_labels(labels, n_classes)
        return labels, ignored if ignored.any() else np.zeros(0, np.bool_)

    return without


def weights_or_none(weights: Any, name: str, n: int) -> Any:
    """Return a copy of weights as float64, checked."""
    raise NotImplementedError


@compiles(weights_or_none)
def _weights_or_none(weights: Any, name: Any, n: int) -> Any:
    if is_absent(weights):
        return lambda weights, name, n: np.zeros(0)
    label = name.literal_value
    shape, numbers = (
        f"{label}: expected another shape",
        f"{label}: expected finite weights, 0 or more",
    )

    def checked(weights: Any, name: str, n: int) -> Any:
        if weights.size != n:
            raise ValueError(shape)
        copy = weights.reshape(n).astype(np.float64)
        for weight in copy:
            if not 0 <= weight < np.inf:
                raise ValueError(numbers)
        return copy

    return checked


def class_of(targets: Any, i: int) -> int:
    """Return the label of a row, 0 for one of probabilities."""
    raise NotImplementedError


@compiles(class_of)
def _class_of(targets: Any, i: int) -> Any:
    if targets.ndim == 2:
        return lambda targets, i: 0
    return lambda targets, i: targets[i]


def target_of(targets: Any, i: int, k: int) -> float:
    """Return the target of a class of a row."""
    raise NotImplementedError


@compiles(target_of)
def _target_of(targets: Any, i: int, k: int) -> Any:
    if targets.ndim == 2:
        return lambda targets, i, k: np.float64(targets[i, k])
    return lambda targets, i, k: 1.0 if targets[i] == k else 0.0


@strict
def _has_extremes(weights: Any) -> bool:
    for weight in weights:
        if weight > 0 and not 1 / _LIMIT < weight < _LIMIT:
            return True
    return False


@strict
def _total(targets: Any, samples: Any, classes: Any) -> float:
    """Return the denominator of the mean."""
    n = len(targets)
    if targets.ndim == 2 or classes.size == 0:
        return float(n) if samples.size == 0 else sum_of(samples)
    parts = np.empty(n)
    for i in range(n):
        parts[i] = classes[class_of(targets, i)]
        if samples.size:
            parts[i] = samples[i] * parts[i]
    return sum_of(parts)


@strict
def plain_objective(
    targets: Any,
    ignored: Any,
    samples: Any,
    classes: Any,
    like: Any,
    smoothing: float,
    is_mean: bool,
    mask: Any,
) -> Any:
    """Return the objective without options."""
    return (
        samples,
        np.empty(0, like.dtype),
        np.empty((0, 0), like.dtype),
        0.0,
        float(len(targets)),
        0,
    )


@strict
def weighted_objective(
    targets: Any,
    ignored: Any,
    samples: Any,
    classes: Any,
    like: Any,
    smoothing: float,
    is_mean: bool,
    mask: Any,
) -> Any:
    """Return the objective, in the dtype of `like`.

    It consists of the weights of rows and of classes, targets that replace the given ones, the smoothing,
    the denominator of the mean, and the power of 2 by which weights and denominator are divided.
    """
    if not 0 <= smoothing <= 1:
        raise ValueError("label_smoothing: expected a number from 0 to 1")
    n = len(targets)
    if ignored.size:
        if samples.size == 0:
            samples = np.ones(n)
        for i in range(n):
            if ignored[i]:
                samples[i] = 0.0
    if not (_has_extremes(samples) or _has_extremes(classes)):
        rounded = classes.astype(like.dtype)
        total = _total(targets, samples, rounded)
        if abs(math.frexp(total)[1]) <= _MAX_POWER:
            return samples, rounded, np.empty((0, 0), like.dtype), smoothing, total, 0
        classes = rounded.astype(np.float64)
    return _scaled(targets, samples, classes, like, smoothing, is_mean, mask)


@strict
def _scaled(
    targets: Any,
    samples: Any,
    classes: Any,
    like: Any,
    smoothing: float,
    is_mean: bool,
    mask: Any,
) -> Any:
    """Return the objective for weights of any size: see `fastsoftmax.loss.options`."""
    n, n_classes = len(targets), classes.size
    rows, powers = np.empty(n), np.empty(n, np.int64)
    for i in range(n):
        rows[i], powers[i] = math.frexp(samples[i] if samples.size else 1.0)
    parts, part_powers = rows.copy(), powers.copy()
    mixed = np.empty((0, 0), like.dtype)
    if n_classes:
        of_classes, class_powers = np.empty(n_classes), np.empty(n_classes, np.int64)
        for k in range(n_classes):
            mantissa, class_powers[k] = math.frexp(classes[k])
            of_classes[k] = np.float64(like.dtype.type(mantissa))
        if targets.ndim == 1:
            for i in range(n):
                label = class_of(targets, i)
                parts[i] = rows[i] * of_classes[label]
                part_powers[i] = powers[i] + class_powers[label]
        if targets.ndim == 1 and smoothing == 0:
            rows, powers = parts.copy(), part_powers.copy()
        else:
            mixed = np.empty((n, n_classes), like.dtype)
            for i in range(n):
                _mix(targets, i, of_classes, class_powers, smoothing, rows, powers, mixed, mask)
            smoothing = 0.0
    power = _MIN_POWER
    for i in range(n):
        if rows[i] > 0:
            power = max(power, powers[i])
    power = 0 if power == _MIN_POWER else power - 1
    if not is_mean and power >= _OUT_OF_RANGE:
        raise ValueError(
            "sample_weight: expected weights whose products with class_weight are within the range of "
            "float64"
        )
    for i in range(n):
        rows[i] = math.ldexp(rows[i], powers[i] - power)
    has_parts = bool(parts.any())
    for i in range(n):
        parts[i] = math.ldexp(parts[i], part_powers[i] - power)
    total = sum_of(parts)
    if has_parts:
        total = max(total, _SMALLEST)
    return rows, np.empty(0, like.dtype), mixed, smoothing, total, power


@strict
def _mix(
    targets: Any,
    i: int,
    of_classes: Any,
    class_powers: Any,
    smoothing: float,
    rows: Any,
    powers: Any,
    mixed: Any,
    mask: Any,
) -> None:
    """Multiply the targets of a row by the class weights; the row takes their largest power of 2."""
    n_classes = of_classes.size
    takes_part = np.ones(n_classes, np.bool_)
    if mask.size > 0:
        takes_part[:] = mask[i if len(mask) > 1 else 0]
    share = smoothing / max(takes_part.sum(), 1)
    largest = _MIN_POWER
    for k in range(n_classes):
        t = (target_of(targets, i, k) * (1 - smoothing) + share) * takes_part[k]
        mantissa, power = math.frexp(t * of_classes[k])
        if mantissa > 0:
            largest = max(largest, power + class_powers[k])
    if largest == _MIN_POWER:
        rows[i], largest = 0.0, 0
    for k in range(n_classes):
        t = (target_of(targets, i, k) * (1 - smoothing) + share) * takes_part[k]
        mantissa, power = math.frexp(t * of_classes[k])
        mixed[i, k] = math.ldexp(mantissa, power + class_powers[k] - largest)
    powers[i] += largest


@strict
def scale_of(total: float, power: int, is_mean: bool) -> float:
    """Return the gradient of the result with respect to one row's loss."""
    if not is_mean:
        return math.ldexp(1.0, power)
    return 1 / total if total > 0 else 1.0


@strict
def rescale(losses: Any, power: int) -> None:
    """Multiply losses by a power of 2."""
    if power:
        for i in range(losses.size):
            losses[i] = math.ldexp(losses[i], power)


@strict
def mean_of(losses: Any, total: float, power: int, shape: Any) -> float:
    """Return the mean of the losses."""
    return sum_of(losses) / total if total > 0 else np.nan


@strict
def total_of(losses: Any, total: float, power: int, shape: Any) -> float:
    """Return the sum of the losses."""
    rescale(losses, power)
    return sum_of(losses)


@strict
def all_of(losses: Any, total: float, power: int, shape: Any) -> Any:
    """Return the losses in the shape of the labels."""
    rescale(losses, power)
    return losses.reshape(shape)


REDUCE = {"mean": mean_of, "sum": total_of, "none": all_of}
