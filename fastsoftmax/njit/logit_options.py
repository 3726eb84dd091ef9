"""Options that act on logits, as `fastsoftmax.loss.options` has them: mask, temperature, softcap, z_loss.

An array without elements stands for one that is absent.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core.errors import TypingError

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
    lse: Callable[..., Any]  # (n) -> where the log-sum-exp of each row goes
    given: bool  # whether there is any of these options
    loss: Callable[..., Any]  # (loss, lse, shape) -> what a loss returns
    with_gradient: Callable[..., Any]  # (loss, gradient, lse, shape) -> what a loss returns


def choose(
    n_axes: int, mask: Any, temperature: Any, softcap: Any, z_loss: Any, return_lse: Any
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
    numbers = is_default(temperature, 1.0) and is_default(z_loss, 0.0) and is_absent(softcap)
    masked, given = not is_absent(mask), not is_absent(mask) or not numbers or with_lse
    return Compiled(
        _rows_of_mask if masked else _no_mask,
        _fitting_targets if masked else _same_targets,
        _record if given else _record_nothing,
        _array_of_lse if with_lse else _no_lse,
        given,
        _loss_and_lse if with_lse else _loss,
        _gradient_and_lse if with_lse else _gradient,
    )


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
def _no_lse(n: int) -> Any:
    return np.empty(0)


@strict
def _array_of_lse(n: int) -> Any:
    return np.zeros(n)


@strict
def _loss(loss: Any, lse: Any, shape: Any) -> Any:
    return loss


@strict
def _loss_and_lse(loss: Any, lse: Any, shape: Any) -> Any:
    return loss, lse.reshape(shape)


@strict
def _gradient(loss: Any, gradient: Any, lse: Any, shape: Any) -> Any:
    return loss, gradient


@strict
def _gradient_and_lse(loss: Any, gradient: Any, lse: Any, shape: Any) -> Any:
    return loss, gradient, lse.reshape(shape)


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
    options: Any, mask: Any, temperature: Any, softcap: Any, z_loss: Any, lse: Any
) -> None:
    return None


@strict
def _record(options: Any, mask: Any, temperature: Any, softcap: Any, z_loss: Any, lse: Any) -> None:
    """Write the options into the struct of the C API; mask and lse have to outlive its use."""
    if not 0 < temperature < np.inf:
        raise ValueError("temperature: expected a positive, finite number")
    if not 0 <= z_loss < np.inf:
        raise ValueError("z_loss: expected a finite number, 0 or more")
    options[0].temperature, options[0].z_loss = temperature, z_loss
    options[0].softcap = _softcap_of(softcap)
    options[0].mask, options[0].lse = address(mask), address(lse)
    options[0].mask_stride = mask.shape[1] if len(mask) > 1 else 0
