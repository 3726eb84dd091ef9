"""cross_entropy and softmax_cross_entropy inside functions compiled by Numba."""

from typing import Any

import numpy as np

from ..loss import functional
from . import symbols
from .arrays import (
    address,
    check_logits,
    check_n_threads,
    check_output,
    check_rows,
    compiles,
    is_absent,
    output_like,
    overlaps,
    strict,
    threads,
)
from .objective import (
    REDUCE,
    check_options,
    plain_objective,
    rows_of_targets,
    scale_of,
    weighted_objective,
    weights_or_none,
    without_ignored,
)


def cross_entropy(
    logits: Any,
    targets: Any,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    n_threads: int = 1,
) -> Any:
    """Return the cross-entropy of softmax(logits); from inside Numba, as `fastsoftmax.cross_entropy` does.

    Parameters and errors are those of `softmax_cross_entropy`.

    Returns
    -------
    float, or array of float64 with ``reduction="none"``
    """
    return functional.cross_entropy(
        logits,
        targets,
        sample_weight=sample_weight,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
        n_threads=n_threads,
    )


def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    out: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    n_threads: int = 1,
) -> Any:
    """Return the cross-entropy of softmax(logits) and its gradient; from inside Numba.

    Loss and gradient have the bits of `fastsoftmax.softmax_cross_entropy`, which has the formulas.

    Parameters
    ----------
    logits : array of float32 or float64, shape (..., n_classes), C-contiguous
        Of two or more axes.
    targets : array, C-contiguous
        Labels of int64 and shape (...,), or probabilities of the shape and dtype of `logits`.
    out : array of the shape and dtype of `logits`, C-contiguous, optional
        Where the gradient goes; it may be `logits`, and overlaps no argument in another way.
    sample_weight : array of float32 or float64, shape (...,), C-contiguous, optional
    class_weight : array of float32 or float64, shape (n_classes,), C-contiguous, optional
    label_smoothing : float from 0 to 1, default 0.0
    ignore_index : int, optional
    reduction : {"mean", "sum", "none"}, a constant; default "mean"
    n_threads : int, default 1
        The maximum number of threads. Within `numba.prange`, 1.

    Returns
    -------
    loss : float, or array of float64 and shape (...,) with ``reduction="none"``
        In nats; NaN if a mean divides by 0, as it does without rows.
    dlogits : array
        `out` if given.

    Raises
    ------
    ValueError
        If shapes do not fit, a label is out of range, a probability or a weight is negative or not finite,
        an option is out of range, a row of logits contains a NaN or +inf, or only -inf, or `out` overlaps
        an argument without being `logits`.
    numba.TypingError
        When Numba compiles the call: if an array is not of the dtype above or not C-contiguous, `out` is
        read-only, or `reduction` is not a constant.

    Examples
    --------
    >>> import numba, numpy as np
    >>> from fastsoftmax.njit import softmax_cross_entropy
    >>> @numba.njit
    ... def step(logits, labels, rate):
    ...     loss, dlogits = softmax_cross_entropy(logits, labels)
    ...     return loss, logits - rate * dlogits
    >>> step(np.zeros((1, 2)), np.array([1]), 1.0)
    (0.6931471805599453, array([[-0.5,  0.5]]))
    """
    return functional.softmax_cross_entropy(
        logits,
        targets,
        out,
        sample_weight=sample_weight,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
        n_threads=n_threads,
    )


@strict
def _row_losses(
    logits: Any,
    targets: Any,
    mixed: Any,
    samples: Any,
    classes: Any,
    smoothing: float,
    options: Any,
    scale: float,
    losses: Any,
    dlogits: Any,
    n_threads: Any,
) -> None:
    """Call the C function; what has no elements is not there."""
    n_classes = logits.shape[-1]
    has_options = samples.size > 0 or classes.size > 0 or smoothing > 0
    options[0].size = options.itemsize
    options[0].row_weights, options[0].class_weights = address(samples), address(classes)
    options[0].smoothing = smoothing
    has_labels = targets.ndim == 1 and mixed.size == 0
    check_rows(
        symbols.softmax_cross_entropy(
            np.int32(logits.itemsize == 8),
            address(logits),
            n_classes,
            losses.size,
            n_classes,
            address(targets) if has_labels else np.uintp(0),
            np.uintp(0) if has_labels else address(mixed) if mixed.size else address(targets),
            address(options) if has_options else np.uintp(0),
            scale,
            address(losses),
            address(dlogits),
            n_classes,
            n_threads,
        )
    )


@strict
def _check_shapes(logits: Any, targets: Any) -> int:
    """Return the number of rows."""
    n_classes = logits.shape[-1]
    if n_classes == 0:
        raise ValueError("logits: expected at least one class")
    if logits.shape[: targets.ndim] != targets.shape:
        raise ValueError("targets: expected a label or probabilities for each row of logits")
    n: int = logits.size // n_classes
    return n


@strict
def _set_undefined(dlogits: Any, ignored: Any, n: int) -> None:
    """Put NaN into the gradients of rows that are not ignored."""
    rows = dlogits.reshape((n, dlogits.shape[-1]))
    for i in range(n):
        if ignored.size == 0 or not ignored[i]:
            rows[i] = np.nan


@compiles(cross_entropy)
def _compiled_cross_entropy(
    logits: Any,
    targets: Any,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: Any = 0.0,
    ignore_index: Any = None,
    reduction: Any = "mean",
    n_threads: Any = 1,
) -> Any:
    check_logits(logits, 2)
    check_n_threads(n_threads)
    options = sample_weight, class_weight, label_smoothing, ignore_index, reduction
    chosen, has_options = check_options(logits.ndim, logits.dtype, targets, *options)
    objective = weighted_objective if has_options else plain_objective
    reduce, is_mean = REDUCE[chosen], chosen == "mean"

    def compiled(
        logits: Any,
        targets: Any,
        sample_weight: Any = None,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        ignore_index: Any = None,
        reduction: str = "mean",
        n_threads: int = 1,
    ) -> Any:
        n, n_classes = _check_shapes(logits, targets), logits.shape[-1]
        rows = rows_of_targets(targets, n, n_classes)
        kept, ignored = without_ignored(rows, ignore_index, n_classes)
        given = weights_or_none(sample_weight, "sample_weight", n)
        of_classes = weights_or_none(class_weight, "class_weight", n_classes)
        samples, classes, mixed, smoothing, total, power = objective(
            kept, ignored, given, of_classes, logits, label_smoothing, is_mean
        )
        losses, record = np.empty(n), np.zeros(1, symbols.OPTIONS)
        _row_losses(
            logits,
            kept,
            mixed,
            samples,
            classes,
            smoothing,
            record,
            0.0,
            losses,
            None,
            threads(n_threads),
        )
        return reduce(losses, total, power, logits.shape[:-1])

    return compiled


@compiles(softmax_cross_entropy)
def _compiled_softmax_cross_entropy(
    logits: Any,
    targets: Any,
    out: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: Any = 0.0,
    ignore_index: Any = None,
    reduction: Any = "mean",
    n_threads: Any = 1,
) -> Any:
    check_logits(logits, 2)
    check_n_threads(n_threads)
    if not is_absent(out):
        check_output("out", out, logits.ndim, logits.dtype)
    options = sample_weight, class_weight, label_smoothing, ignore_index, reduction
    chosen, has_options = check_options(logits.ndim, logits.dtype, targets, *options)
    objective = weighted_objective if has_options else plain_objective
    reduce, is_mean = REDUCE[chosen], chosen == "mean"

    def compiled(
        logits: Any,
        targets: Any,
        out: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        ignore_index: Any = None,
        reduction: str = "mean",
        n_threads: int = 1,
    ) -> Any:
        n, n_classes = _check_shapes(logits, targets), logits.shape[-1]
        dlogits = output_like(logits, out)
        if overlaps(out, targets):
            raise ValueError("out: expected an array that does not overlap targets")
        if overlaps(out, sample_weight):
            raise ValueError("out: expected an array that does not overlap sample_weight")
        if overlaps(out, class_weight):
            raise ValueError("out: expected an array that does not overlap class_weight")
        rows = rows_of_targets(targets, n, n_classes)
        kept, ignored = without_ignored(rows, ignore_index, n_classes)
        given = weights_or_none(sample_weight, "sample_weight", n)
        of_classes = weights_or_none(class_weight, "class_weight", n_classes)
        samples, classes, mixed, smoothing, total, power = objective(
            kept, ignored, given, of_classes, logits, label_smoothing, is_mean
        )
        losses, record = np.empty(n), np.zeros(1, symbols.OPTIONS)
        _row_losses(
            logits,
            kept,
            mixed,
            samples,
            classes,
            smoothing,
            record,
            scale_of(total, power, is_mean),
            losses,
            dlogits,
            threads(n_threads),
        )
        if is_mean and not total > 0:
            _set_undefined(dlogits, ignored, n)
        return reduce(losses, total, power, logits.shape[:-1]), dlogits

    return compiled
