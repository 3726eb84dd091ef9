"""The functional loss core: validate, allocate, call the backend, return.

Notation: z are logits, one row per sample, with c classes; lse(z) = log(sum_k exp(z_k)); p = softmax(z)
= exp(z - lse(z)); t is a target, a row of probabilities, or for a label y the one-hot row of y.
All logarithms are natural; losses are in nats and summed in float64.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import validation
from .._arrays.threads import resolve_n_threads
from .._arrays.validation import FloatArray
from ..backends import fast_paths, get_backend, in_default_float_state
from .options import LossOptions, Objective, objective_of
from .rows import (
    check_out,
    check_rows,
    class_rows,
    float_logits,
    is_direct,
    log_softmax,
    logsumexp,
    softmax,
)

__all__ = ["cross_entropy", "log_softmax", "logsumexp", "softmax", "softmax_cross_entropy"]

# Defaults of options; that a call leaves them to us is seen faster by identity.
_ONE, _ZERO = 1.0, 0.0
_NO_METRICS: tuple[str, ...] = ()


@in_default_float_state
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    mask: ArrayLike | None = None,
    temperature: float = _ONE,
    softcap: float | None = None,
    z_loss: float = _ZERO,
    return_lse: bool = False,
    metrics: Collection[str] = _NO_METRICS,
    top_k: int = 5,
    backend: str = "auto",
    n_threads: int | None = None,
) -> Any:
    """Return the cross-entropy of softmax(logits) against the targets.

    Without options ``mean_i -sum_k t_ik * log(p_ik)``; for labels, ``mean_i (lse(z_i) - z_i[y_i])``.
    With weights s_i of the rows and v_k of the classes and the label smoothing e, the targets t become
    ``u_ik = s_i * v_k * ((1 - e) * t_ik + e / n_classes)`` and
    ``loss_i = sum_k u_ik * (lse(q_i) - q_ik + z_loss * lse(q_i)**2)`` with the logits
    ``q = softcap * tanh(z / temperature / softcap)``.

    Parameters
    ----------
    logits : array_like of real numbers, shape (..., n_classes)
        As in `softmax`.
    targets : array_like
        Integer labels from 0 to n_classes - 1 of shape (...,), or probabilities (finite, not
        negative, usually of sum 1) of the shape of `logits`.
    sample_weight : array_like of shape (...,), optional
        s_i, finite and not negative. A row of weight 0 is not read.
    class_weight : array_like of shape (n_classes,), optional
        v_k, finite and not negative.
    label_smoothing : float from 0 to 1, default 0.0
        e, the share of every target that is spread evenly over the classes.
    ignore_index : int, optional
        The label of ignored rows, which are not read: their loss and gradient are 0. It need not be a
        class. By default no label is ignored, and a label out of range is an error.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean divides the sum of the losses by ``sum_i s_i * v[y_i]`` over the rows that are not ignored;
        with probabilities by ``sum_i s_i``, whatever the class weights. "none": the loss of every row.
    mask : array_like of bool, optional
        True where a class takes part: of shape (n_classes,) for all rows, or broadcast to the shape of
        `logits`. Masked classes are as if they were not there: not in the log-sum-exp, nor in rows of
        probabilities, nor in what label smoothing spreads over; their gradient is 0.
    temperature : float, default 1.0
        Positive: what the logits are divided by.
    softcap : float, optional
        Positive: logits z become ``softcap * tanh(z / softcap)``, after the temperature. An infinite one
        stays what it is.
    z_loss : float, default 0.0
        Not negative: ``z_loss * lse_i**2 * sum_k u_ik`` is added to the loss of row i.
    return_lse : bool, default False
        Return the log-sum-exp of every row as well, after temperature, softcap and mask.
    metrics : tuple of {"argmax", "top_k_correct", "label_log_prob", "entropy"}, default ()
        Metrics of every row, which are returned as well: see `RowMetrics`. Those of a label need labels.
    top_k : int, default 5
        The k of "top_k_correct", at least 1.
    backend, n_threads
        As in `softmax`.

    Returns
    -------
    float, or ndarray of float64 and shape (...,) with ``reduction="none"``
        In nats; +inf if a target includes a class whose logit is -inf, NaN if a mean divides by 0, as it
        does without rows.
    lse : ndarray of float64 and shape (...,)
        With `return_lse`; 0 for rows without a target of any weight, such as ignored ones.
    metrics : RowMetrics
        With `metrics`: the named tuple ``(argmax, top_k_correct, label_log_prob, entropy)``, each of shape
        (...,), None if not requested.

    Raises
    ------
    ValueError
        If shapes do not fit, a label is out of range, a probability or weight is negative or not finite,
        an option is out of range, `ignore_index` (other than a negative one) is combined with
        probabilities, a row of logits contains a NaN or +inf, or only -inf, or overflows when it is divided
        by the temperature, or if a row that counts has no class that takes part, or a masked label.
    TypeError
        If `logits` are not real numbers, labels not integers or `mask` not of booleans.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning (2006), equation 4.108. Combinations of options mean
    the same as in `torch.nn.functional.cross_entropy`; see `fastsoftmax.loss.options`.

    Examples
    --------
    >>> from fastsoftmax import cross_entropy
    >>> cross_entropy([[0.0, 0.0]], [1])
    0.6931471805599453
    >>> cross_entropy([[0.0, 0.0], [5.0, 0.0]], [1, -100], ignore_index=-100, reduction="sum")
    0.6931471805599453
    >>> loss, metrics = cross_entropy([[0.0, 0.0]], [1], metrics=("argmax", "entropy"))
    >>> metrics.argmax, metrics.entropy
    (array([0]), array([0.69314718]))
    """
    options = LossOptions(
        sample_weight,
        class_weight,
        label_smoothing,
        ignore_index,
        reduction,
        mask,
        temperature,
        softcap,
        z_loss,
        return_lse,
        metrics,
        top_k,
    )
    array = float_logits(logits)
    rows, leading_shape = class_rows(array)
    objective = objective_of(targets, leading_shape, rows.shape[1], rows.dtype, options)
    losses = np.empty(len(rows))
    invalid = get_backend(backend).softmax_cross_entropy(
        rows,
        objective.targets,
        0.0,
        losses,
        None,
        resolve_n_threads(n_threads),
        objective.weights,
        objective.logit_options,
    )
    _check_rows(invalid, rows, leading_shape, objective)
    return objective.results(losses, leading_shape)


def softmax_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    out: FloatArray | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    mask: ArrayLike | None = None,
    temperature: float = _ONE,
    softcap: float | None = None,
    z_loss: float = _ZERO,
    return_lse: bool = False,
    metrics: Collection[str] = _NO_METRICS,
    top_k: int = 5,
    backend: str = "auto",
    n_threads: int | None = None,
) -> Any:
    """Return the cross-entropy of softmax(logits) and its gradient for the logits, from one pass.

    ``dlogits_ik = (p_ik * sum_j u_ij - u_ik) / d`` with u of `cross_entropy` (without options the targets
    t) and d the denominator of the mean, or 1, if neither temperature, softcap nor z_loss is given; for
    labels without options ``(p_ik - [k = y_i]) / n`` with n rows.

    Parameters
    ----------
    logits, targets, backend, n_threads
        As in `cross_entropy`.
    out : ndarray, optional
        An array for the gradient, of its shape and dtype. It may be `logits` itself, or
        overlap any of the arguments, which are read first. After an error about a row its content is
        undefined.
    sample_weight, class_weight, label_smoothing, ignore_index, reduction
        As in `cross_entropy`. With ``reduction="none"`` the gradient is that of the sum: each row is
        the gradient of its own loss.
    mask, temperature, softcap, z_loss, return_lse, metrics, top_k
        As in `cross_entropy`.

    Returns
    -------
    loss : float or ndarray
        As `cross_entropy` returns.
    dlogits : ndarray
        The shape of `logits`; `out` if given. float16 or bfloat16 if `logits` are, else the compute
        dtype, float32 or float64.
    lse : ndarray
        With `return_lse`, as `cross_entropy` returns.
    metrics : RowMetrics
        With `metrics`, as `cross_entropy` returns.

    Raises
    ------
    ValueError, TypeError
        As `cross_entropy` does, and if `out` has another shape or dtype or cannot be written.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning (2006), equation 4.109.

    Examples
    --------
    >>> from fastsoftmax import softmax_cross_entropy
    >>> loss, dlogits = softmax_cross_entropy([[0.0, 0.0]], [1])
    >>> dlogits
    array([[ 0.5, -0.5]])
    """
    # Inlined: each function call adds a tenth to the time of a small call.
    if (
        sample_weight is class_weight is ignore_index is mask is softcap is None
        and temperature is _ONE
        and z_loss is _ZERO
        and return_lse is False
        and metrics is _NO_METRICS
        and type(label_smoothing) is float
        and label_smoothing == 0
        and type(reduction) is str
        and reduction == "mean"
    ):
        try:
            usual = fast_paths[backend].mean_cross_entropy(logits, targets, out, n_threads)
        except (KeyError, TypeError):
            usual = None
        if usual is not None:
            loss, dlogits, invalid = usual
            if invalid >= 0:
                rows = np.asarray(logits)
                check_rows(invalid, rows, rows.shape[:1], overwritten=out is not None)
            return loss, dlogits
    options = LossOptions(
        sample_weight,
        class_weight,
        label_smoothing,
        ignore_index,
        reduction,
        mask,
        temperature,
        softcap,
        z_loss,
        return_lse,
        metrics,
        top_k,
    )
    return loss_and_gradient(logits, targets, out, options, backend, n_threads)


@in_default_float_state
def loss_and_gradient(
    logits: ArrayLike,
    targets: ArrayLike,
    out: FloatArray | None,
    options: LossOptions,
    backend: str,
    n_threads: int | None,
) -> Any:
    """Return the result of `softmax_cross_entropy` by its general path."""
    array = validation.as_array("logits", logits)
    dtype = validation.gradient_dtype(array.dtype)
    rows, leading_shape = class_rows(float_logits(array))
    objective = objective_of(targets, leading_shape, rows.shape[1], rows.dtype, options)
    shape = (*leading_shape, rows.shape[1])
    direct = False
    if out is not None:
        check_out(out, shape, dtype)
        direct = out.dtype == rows.dtype and is_direct(out, rows, objective)
    dlogits = out.reshape(rows.shape) if out is not None and direct else np.empty_like(rows)
    losses = np.empty(len(rows))
    invalid = get_backend(backend).softmax_cross_entropy(
        rows,
        objective.targets,
        objective.scale,
        losses,
        dlogits,
        resolve_n_threads(n_threads),
        objective.weights,
        objective.logit_options,
    )
    # In place, the row that the message describes has been overwritten: use the caller's array.
    _check_rows(invalid, rows, leading_shape, objective, overwritten=out is not None)
    undefined = objective.undefined()
    if undefined is not None:
        dlogits[undefined] = np.nan
    result = dlogits.reshape(shape)
    if out is None:
        result = result.astype(dtype, copy=False)
    else:
        if not direct:
            out[...] = result
        result = out
    return objective.results(losses, leading_shape, result)


def _check_rows(
    invalid: int,
    rows: FloatArray,
    leading_shape: tuple[int, ...],
    objective: Objective,
    overwritten: bool = False,
) -> None:
    """Raise about a row without a softmax: the caller's, or divided by the temperature."""
    options = objective.logit_options
    if invalid >= 0 and options is not None and not overwritten:
        row = rows[invalid]
        if options.mask is not None:
            row = row[np.broadcast_to(options.mask, rows.shape)[invalid]]
        if not (np.isnan(row).any() or np.isposinf(row).any() or np.isneginf(row).all()):
            raise ValueError(
                f"temperature: the logits divided by {options.temperature} overflow {rows.dtype} "
                f"{validation.at_row(invalid, leading_shape)}"
            )
        rows = np.broadcast_to(row, (invalid + 1, len(row)))
    check_rows(invalid, rows, leading_shape, overwritten)
