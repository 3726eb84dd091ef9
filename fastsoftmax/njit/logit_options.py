"""Options that act on logits, as `fastsoftmax.loss.options` has them, and what is returned of each row.

An array without elements stands for one that is absent.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ..loss import RowMetrics
from ..loss.options import MAX_TOP_K, METRICS_OF_LABELS, check_metrics
from .arrays import (
    address,
    check_array,
    check_number,
    compiles,
    constant,
    is_absent,
    is_default,
    strict,
)


class Compiled(NamedTuple):
    """What a call is compiled with, by the types of its options."""

    mask: Callable[..., Any]  # (mask, shape, n_classes) -> rows of the mask
    targets: Callable[..., Any]  # (targets, rows of the mask, samples, ignored) -> targets, checked
    record: Callable[..., Any]  # writes the options into the struct of the C API
    of_rows: Callable[
        ..., Any
    ]  # (n) -> where the log-sum-exp and the metrics go, None for the others
    given: bool  # whether there is any of these options


def choose(
    n_axes: int,
    targets: Any,
    mask: Any,
    temperature: Any,
    softcap: Any,
    z_loss: Any,
    return_lse: Any,
    metrics: Any,
    top_k: Any,
) -> Compiled:
    """Check the types of the options, for logits of `n_axes`."""
    if not is_absent(mask):
        axes = mask.ndim if isinstance(mask, types.Array) else n_axes
        check_array("mask", mask, axes, (types.boolean,))
        if not 1 <= axes <= n_axes:
            raise TypingError(f"mask: expected 1 to {n_axes} axes, got {mask}")
    check_number("temperature", temperature)
    check_number("z_loss", z_loss)
    if not is_absent(softcap):
        check_number("softcap", softcap)
    with_lse = constant("return_lse", return_lse)
    if not isinstance(with_lse, bool):
        raise TypingError(f"return_lse: expected True or False, got {with_lse!r}")
    check_number("top_k", top_k, types.Integer)
    try:
        names = check_metrics(constant("metrics", metrics))
    except (TypeError, ValueError) as error:
        raise TypingError(str(error)) from error
    needs_labels = [name for name in METRICS_OF_LABELS if name in names]
    if needs_labels and targets.ndim == n_axes:
        raise TypingError(f"metrics: {needs_labels[0]} needs labels, got {targets}")
    numbers = is_default(temperature, 1.0) and is_default(z_loss, 0.0) and is_absent(softcap)
    masked = not is_absent(mask)
    given = masked or not numbers or with_lse or len(names) > 0
    return Compiled(
        _rows_of_mask if masked else _no_mask,
        _fitting_targets if masked else _same_targets,
        _record if given else _record_nothing,
        _arrays_of_rows(with_lse, names),
        given,
    )


def _arrays_of_rows(with_lse: bool, names: tuple[str, ...]) -> Any:
    """Return the function that makes the arrays, and None for what is not asked for."""
    lse = _numbers if with_lse else _nothing
    argmax = _labels if "argmax" in names else _nothing
    correct = _flags if "top_k_correct" in names else _nothing
    log_prob = _numbers if "label_log_prob" in names else _nothing
    entropy = _numbers if "entropy" in names else _nothing

    @strict
    def of_rows(n: int) -> Any:
        return lse(n), argmax(n), correct(n), log_prob(n), entropy(n)

    return of_rows


@strict
def _no_mask(mask: Any, shape: Any, n_classes: int) -> Any:
    return np.empty((0, n_classes), np.bool_)


@strict
def _rows_of_mask(mask: Any, shape: Any, n_classes: int) -> Any:
    """Return one row for all rows of logits, or one for each."""
    missing = len(shape) - mask.ndim
    for axis in range(mask.ndim):
        if mask.shape[axis] != 1 and mask.shape[axis] != shape[missing + axis]:
            raise ValueError("mask: expected a shape that broadcasts to that of the logits")
    if mask.size == mask.shape[-1]:
        row = np.empty((1, n_classes), np.bool_)
        row[0] = mask.reshape(mask.size)
        return row
    spread = np.broadcast_to(mask, shape).copy()
    return spread.reshape((spread.size // n_classes, n_classes))


def _fitting(targets: Any, mask: Any, i: int) -> bool:
    """Return whether a row has a class that takes part and, if it has a label, whether that does."""
    raise NotImplementedError


@compiles(_fitting)
def _compiled_fitting(targets: Any, mask: Any, i: int) -> Any:
    if targets.ndim == 1:
        return lambda targets, mask, i: mask[i if len(mask) > 1 else 0, targets[i]]
    return lambda targets, mask, i: mask[i if len(mask) > 1 else 0].any()


def _with_label(targets: Any, i: int, label: Any) -> Any:
    """Return a copy of labels with another one in row i."""
    raise NotImplementedError


@compiles(_with_label)
def _compiled_with_label(targets: Any, i: int, label: Any) -> Any:
    if targets.ndim == 2:
        return lambda targets, i, label: targets

    def changed(targets: Any, i: int, label: Any) -> Any:
        labels = targets.copy()
        labels[i] = label
        return labels

    return changed


@strict
def _same_targets(targets: Any, mask: Any, samples: Any, ignored: Any) -> Any:
    return targets


@strict
def _fitting_targets(targets: Any, mask: Any, samples: Any, ignored: Any) -> Any:
    """Raise if a row that counts does not fit its mask; labels of others become ones that do."""
    for i in range(len(targets)):
        if _fitting(targets, mask, i):
            continue
        row = mask[i if len(mask) > 1 else 0]
        counts = (samples.size == 0 or samples[i] > 0) and not (ignored.size > 0 and ignored[i])
        if counts and targets.ndim == 1 and row.any():
            raise ValueError("targets: expected a class that takes part, got one that is masked")
        if counts:
            raise ValueError("mask: expected a class that takes part in every row")
        targets = _with_label(targets, i, np.argmax(row))
    return targets


@strict
def _nothing(n: int) -> None:
    return None


@strict
def _numbers(n: int) -> Any:
    return np.zeros(n)


@strict
def _labels(n: int) -> Any:
    return np.zeros(n, np.int64)


@strict
def _flags(n: int) -> Any:
    return np.zeros(n, np.bool_)


def _shaped(array: Any, shape: Any) -> Any:
    """Return an array in a shape, None as it is."""
    raise NotImplementedError


@compiles(_shaped)
def _compiled_shaped(array: Any, shape: Any) -> Any:
    if is_absent(array):
        return lambda array, shape: None
    return lambda array, shape: array.reshape(shape)


def results(found: Any, of_rows: Any, shape: Any) -> Any:
    """Return what a loss returns: `found`, a tuple, and what is asked for of the rows."""
    raise NotImplementedError


@compiles(results)
def _compiled_results(found: Any, of_rows: Any, shape: Any) -> Any:
    has_lse, *has_metrics = (not is_absent(each) for each in of_rows)
    if not has_lse and not any(has_metrics):
        if len(found) == 1:
            return lambda found, of_rows, shape: found[0]
        return lambda found, of_rows, shape: found
    if not any(has_metrics):
        return lambda found, of_rows, shape: found + (_shaped(of_rows[0], shape),)  # noqa: RUF005

    def metrics(of_rows: Any, shape: Any) -> Any:
        return RowMetrics(
            _shaped(of_rows[1], shape),
            _shaped(of_rows[2], shape),
            _shaped(of_rows[3], shape),
            _shaped(of_rows[4], shape),
        )

    metrics = strict(metrics)
    if not has_lse:
        return lambda found, of_rows, shape: found + (metrics(of_rows, shape),)  # noqa: RUF005
    return lambda found, of_rows, shape: (
        found + (_shaped(of_rows[0], shape), metrics(of_rows, shape))  # noqa: RUF005
    )


def _softcap_of(softcap: Any) -> float:
    """Return the softcap, 0 for none."""
    raise NotImplementedError


@compiles(_softcap_of)
def _compiled_softcap_of(softcap: Any) -> Any:
    if is_absent(softcap):
        return lambda softcap: 0.0

    def checked(softcap: Any) -> float:
        if not 0 < softcap < np.inf:
            raise ValueError("softcap: expected a positive, finite number")
        return float(softcap)

    return checked


@strict
def _record_nothing(
    options: Any,
    mask: Any,
    temperature: Any,
    softcap: Any,
    z_loss: Any,
    top_k: Any,
    of_rows: Any,
    mixed: Any,
) -> None:
    return None


@strict
def _record(
    options: Any,
    mask: Any,
    temperature: Any,
    softcap: Any,
    z_loss: Any,
    top_k: Any,
    of_rows: Any,
    mixed: Any,
) -> None:
    """Write the options into the struct of the C API; mask and arrays have to outlive its use."""
    if top_k < 1:
        raise ValueError("top_k: expected at least 1")
    lse, argmax, correct, log_prob, entropy = of_rows
    if mixed.size > 0 and (correct is not None or log_prob is not None):
        raise ValueError(
            "metrics: expected labels, which weights beyond 2**64 with label smoothing are not"
        )
    if not 0 < temperature < np.inf:
        raise ValueError("temperature: expected a positive, finite number")
    if not 0 <= z_loss < np.inf:
        raise ValueError("z_loss: expected a finite number, 0 or more")
    options[0].temperature, options[0].z_loss = temperature, z_loss
    options[0].softcap = _softcap_of(softcap)
    options[0].mask, options[0].lse = address(mask), address(lse)
    options[0].argmax, options[0].top_k_correct = address(argmax), address(correct)
    options[0].label_log_prob, options[0].entropy = address(log_prob), address(entropy)
    options[0].top_k = min(top_k, MAX_TOP_K)
    options[0].mask_stride = mask.shape[1] if len(mask) > 1 else 0
