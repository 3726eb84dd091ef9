"""cross_entropy and softmax_cross_entropy inside functions compiled by Numba."""

from typing import Any

import numpy as np

from ..loss import functional
from . import logit_options, symbols
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
    mask: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
    metrics: Any = (),
    top_k: int = 5,
    n_threads: int = 1,
) -> Any:
    """Return the cross-entropy of softmax(logits); from inside Numba, as `fastsoftmax.cross_entropy` does.

    Parameters and errors are those of `softmax_cross_entropy`.

    Returns
    -------
    loss : float, or array of float64 with ``reduction="none"``
    lse : array of float64
        With `return_lse`.
    metrics : RowMetrics
        With `metrics`.
    """
    return functional.cross_entropy(
        logits,
        targets,
        sample_weight=sample_weight,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
        mask=mask,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        return_lse=return_lse,
        metrics=metrics,
        top_k=top_k,
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
    mask: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
    metrics: Any = (),
    top_k: int = 5,
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
    mask : array of bool, C-contiguous, optional
        True where a class takes part, broadcast to the shape of `logits`.
    temperature : float, default 1.0
    softcap : float, optional
    z_loss : float, default 0.0
    return_lse : bool, a constant; default False
    metrics : tuple of {"argmax", "top_k_correct", "label_log_prob", "entropy"}, a constant; default none
    top_k : int, default 5
    n_threads : int, default 1
        The maximum number of threads. Within `numba.prange`, 1.

    Returns
    -------
    loss : float, or array of float64 and shape (...,) with ``reduction="none"``
        In nats; NaN if a mean divides by 0, as it does without rows.
    dlogits : array
        `out` if given.
    lse : array of float64, shape (...,)
        With `return_lse`: the log-sum-exp of each row.
    metrics : RowMetrics
        With `metrics`: arrays of the shape (...,), None for those that are not asked for.

    Raises
    ------
    ValueError
        If shapes do not fit, a label is out of range or masked, a probability or a weight is negative or
        not finite, an option is out of range, a row of logits contains a NaN or +inf, or only -inf and
        masked classes, or `out` overlaps an argument without being `logits`.
    numba.TypingError
        When Numba compiles the call: if an array is not of the dtype above or not C-contiguous, `out` is
        read-only, or `reduction`, `return_lse` or `metrics` is not a constant.

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
        mask=mask,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        return_lse=return_lse,
        metrics=metrics,
        top_k=top_k,
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
    has_logit_options: bool,
    mask: Any,
    of_rows: Any,
    options: Any,
    scale: float,
    losses: Any,
    dlogits: Any,
    n_threads: Any,
) -> None:
    """Call the C function; what has no elements is not there. Arrays in `options` are arguments."""
    n_classes = logits.shape[-1]
    has_options = samples.size > 0 or classes.size > 0 or smoothing > 0 or has_logit_options
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
    mask: Any = None,
    temperature: Any = 1.0,
    softcap: Any = None,
    z_loss: Any = 0.0,
    return_lse: Any = False,
    metrics: Any = (),
    top_k: Any = 5,
    n_threads: Any = 1,
) -> Any:
    check_logits(logits, 2)
    check_n_threads(n_threads)
    options = sample_weight, class_weight, label_smoothing, ignore_index, reduction
    chosen, has_options = check_options(logits.ndim, logits.dtype, targets, *options)
    on_logits = mask, temperature, softcap, z_loss, return_lse, metrics, top_k
    mask_of, fitting, record_of, rows_of, has_logit_options = logit_options.choose(
        logits.ndim, targets, *on_logits
    )
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
        mask: Any = None,
        temperature: float = 1.0,
        softcap: Any = None,
        z_loss: float = 0.0,
        return_lse: bool = False,
        metrics: Any = (),
        top_k: int = 5,
        n_threads: int = 1,
    ) -> Any:
        n, n_classes = _check_shapes(logits, targets), logits.shape[-1]
        rows = rows_of_targets(targets, n, n_classes)
        kept, ignored = without_ignored(rows, ignore_index, n_classes)
        takes_part = mask_of(mask, logits.shape, n_classes)
        given = weights_or_none(sample_weight, "sample_weight", n)
        of_classes = weights_or_none(class_weight, "class_weight", n_classes)
        kept = fitting(kept, takes_part, given, ignored)
        samples, classes, mixed, smoothing, total, power = objective(
            kept, ignored, given, of_classes, logits, label_smoothing, is_mean, takes_part
        )
        losses, of_rows, record = np.empty(n), rows_of(n), np.zeros(1, symbols.OPTIONS)
        record_of(record, takes_part, temperature, softcap, z_loss, top_k, of_rows, mixed)
        _row_losses(
            logits,
            kept,
            mixed,
            samples,
            classes,
            smoothing,
            has_logit_options,
            takes_part,
            of_rows,
            record,
            0.0,
            losses,
            None,
            threads(n_threads),
        )
        loss = reduce(losses, total, power, logits.shape[:-1])
        return logit_options.results((loss,), of_rows, logits.shape[:-1])

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
    mask: Any = None,
    temperature: Any = 1.0,
    softcap: Any = None,
    z_loss: Any = 0.0,
    return_lse: Any = False,
    metrics: Any = (),
    top_k: Any = 5,
    n_threads: Any = 1,
) -> Any:
    check_logits(logits, 2)
    check_n_threads(n_threads)
    if not is_absent(out):
        check_output("out", out, logits.ndim, logits.dtype)
    options = sample_weight, class_weight, label_smoothing, ignore_index, reduction
    chosen, has_options = check_options(logits.ndim, logits.dtype, targets, *options)
    on_logits = mask, temperature, softcap, z_loss, return_lse, metrics, top_k
    mask_of, fitting, record_of, rows_of, has_logit_options = logit_options.choose(
        logits.ndim, targets, *on_logits
    )
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
        mask: Any = None,
        temperature: float = 1.0,
        softcap: Any = None,
        z_loss: float = 0.0,
        return_lse: bool = False,
        metrics: Any = (),
        top_k: int = 5,
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
        if overlaps(out, mask):
            raise ValueError("out: expected an array that does not overlap mask")
        rows = rows_of_targets(targets, n, n_classes)
        kept, ignored = without_ignored(rows, ignore_index, n_classes)
        takes_part = mask_of(mask, logits.shape, n_classes)
        given = weights_or_none(sample_weight, "sample_weight", n)
        of_classes = weights_or_none(class_weight, "class_weight", n_classes)
        kept = fitting(kept, takes_part, given, ignored)
        samples, classes, mixed, smoothing, total, power = objective(
            kept, ignored, given, of_classes, logits, label_smoothing, is_mean, takes_part
        )
        losses, of_rows, record = np.empty(n), rows_of(n), np.zeros(1, symbols.OPTIONS)
        record_of(record, takes_part, temperature, softcap, z_loss, top_k, of_rows, mixed)
        _row_losses(
            logits,
            kept,
            mixed,
            samples,
            classes,
            smoothing,
            has_logit_options,
            takes_part,
            of_rows,
            record,
            scale_of(total, power, is_mean),
            losses,
            dlogits,
            threads(n_threads),
        )
        if is_mean and not total > 0:
            _set_undefined(dlogits, ignored, n)
        loss = reduce(losses, total, power, logits.shape[:-1])
        return logit_options.results((loss, dlogits), of_rows, logits.shape[:-1])

    return compiled
