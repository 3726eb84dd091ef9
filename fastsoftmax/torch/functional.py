"""The losses as functions: what they take, and its checks."""

from collections.abc import Collection
from typing import Any

import torch

from ..loss import RowMetrics
from ..loss.options import check_metrics
from .operators import HALVES, EagerLossOfLinear, EagerLossOfLogits, LossOfLinear, LossOfLogits


def cross_entropy(
    input: torch.Tensor,  # noqa: A002  # PyTorch's name
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    mask: torch.Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
    metrics: Collection[str] = (),
    top_k: int = 5,
    backend: str = "auto",
    n_threads: int | None = None,
) -> Any:
    """Cross-entropy of softmax(input) against the target, as `torch.nn.functional.cross_entropy`.

    ``mean_i -sum_k t_ik * log(softmax(input)_ik)``; with options as in `fastsoftmax.cross_entropy`. Its
    gradient is computed with it, where one is asked for, and kept for the backward pass, which multiplies
    it by the gradient that comes from above and rounds the product to the dtype of `input`. That of
    float16 and bfloat16 is kept in float32, so that a scaled loss (`torch.amp.GradScaler`) saves what
    those dtypes would round to 0. A row that is ignored has the gradient 0, whatever comes from above.

    Parameters
    ----------
    input : Tensor, shape (n_classes,), (n, n_classes) or (n, n_classes, d1, ...)
        Logits on the CPU: float32 or float64; float16 or bfloat16, computed in float32.
    target : Tensor
        Integer labels of the shape of `input` without its classes, or floating-point probabilities of its
        shape, of which no gradient is taken.
    weight : Tensor, shape (n_classes,), optional
        The weights of the classes, not negative.
    size_average, reduce
        Arguments that PyTorch has given up; None.
    ignore_index : int, default -100
        The label of rows that do not count.
    reduction : {"mean", "sum", "none"}, default "mean"
    label_smoothing : float from 0 to 1, default 0.0
    mask : Tensor of bool, optional
        True where a class takes part: of shape (n_classes,), or broadcast to the shape of `input`.
    temperature, softcap, z_loss
        As in `fastsoftmax.cross_entropy`.
    return_lse : bool, default False
        Return the log-sum-exp of every row as well. With it the backward pass computes the loss again, as
        two gradients come from above.
    metrics : tuple of {"argmax", "top_k_correct", "label_log_prob", "entropy"}, default ()
    top_k : int, default 5
        As in `fastsoftmax.cross_entropy`: metrics of every row, without gradients.
    backend, n_threads
        As in `fastsoftmax.softmax`.

    Returns
    -------
    Tensor
        The loss in nats, of the dtype of `input`; with ``reduction="none"`` of the shape of the labels.
        Under ``torch.autocast("cpu")`` float32 where `input` is of float16 or bfloat16.
    lse : Tensor
        With `return_lse`: float32 or float64, of the shape of the labels, with gradients; 0 for rows that
        are ignored.
    metrics : RowMetrics
        With `metrics`: a named tuple of tensors of the shape of the labels, int64, bool, and float32 or
        float64; None for those that are not asked for.

    Raises
    ------
    ValueError
        As `fastsoftmax.cross_entropy` does: a row of logits with a NaN or +inf is an error here. If a
        tensor is not on the CPU, or `target` or `weight` require a gradient.
    TypeError
        If an argument is no tensor, or its numbers are of the wrong kind.
    RuntimeError
        If a second derivative is asked for (``create_graph=True``).

    Examples
    --------
    >>> import torch
    >>> from fastsoftmax.torch import cross_entropy
    >>> logits = torch.zeros(1, 2, requires_grad=True)
    >>> cross_entropy(logits, torch.tensor([1])).backward()
    >>> logits.grad
    tensor([[ 0.5000, -0.5000]])
    """
    _check_floating(input=input)
    if size_average is not None or reduce is not None:
        raise ValueError("size_average, reduce: expected None; use reduction")
    if input.ndim == 0:
        raise ValueError("input: expected shape (n_classes,) or (n, n_classes, ...), got a scalar")
    input = _checked(input, target, input.shape, weight, "weight")  # noqa: A001
    axis = min(input.ndim - 1, 1)
    function = LossOfLogits if torch.compiler.is_compiling() else EagerLossOfLogits
    names = ",".join(check_metrics(metrics))
    loss, _, lse, *found = function.apply(
        input.movedim(axis, -1),
        target.movedim(axis, -1) if target.shape == input.shape else target,
        weight,
        _mask_with_classes_last(mask, input),
        None,
        None,
        ignore_index,
        reduction,
        label_smoothing,
        temperature,
        softcap,
        z_loss,
        return_lse,
        names,
        top_k,
        backend,
        n_threads,
        _needs_gradient(input) and not return_lse,
    )
    return _results(loss, lse if return_lse else None, names, found)


def linear_cross_entropy(
    input: torch.Tensor,  # noqa: A002  # PyTorch's name
    weight: torch.Tensor,
    target: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    class_weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    mask: torch.Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
    metrics: Collection[str] = (),
    top_k: int = 5,
    backend: str = "auto",
    n_threads: int | None = None,
) -> Any:
    """Cross-entropy of the logits ``input @ weight.T + bias``, which are never in memory as a whole.

    The value and the gradients of ``F.cross_entropy(F.linear(input, weight, bias), target)`` with
    ``F = torch.nn.functional``. The logits are computed for some dozens of rows at a time, in float32 or
    float64, and become the gradients of `input`, `weight` and `bias` in the same pass. With
    ``reduction="none"`` the backward pass, which knows what each row's loss is multiplied by, computes the
    logits again.

    Parameters
    ----------
    input : Tensor, shape (..., n_features)
        On the CPU: float32 or float64; float16 or bfloat16, computed in float32.
    weight : Tensor, shape (n_classes, n_features)
        That of `torch.nn.Linear`.
    target : Tensor
        Integer labels of shape (...,), or probabilities of shape (..., n_classes), of which no gradient is
        taken.
    bias : Tensor, shape (n_classes,), optional
    class_weight : Tensor, shape (n_classes,), optional
        `weight` of `torch.nn.functional.cross_entropy`: the weights of the classes, not negative.
    ignore_index, reduction, label_smoothing, temperature, softcap, z_loss
    metrics, top_k, backend, n_threads
        As in `cross_entropy`.
    mask : Tensor of bool, optional
        True where a class takes part: of shape (n_classes,), or broadcast to (..., n_classes).
    return_lse : bool, default False
        Return the log-sum-exp of every row, of shape (...,), as well.

    Returns
    -------
    Tensor
        The loss in nats; with ``reduction="none"`` of shape (...,). Of the dtype of `input` and `weight`,
        or under ``torch.autocast("cpu")`` float32 where that is float16 or bfloat16.
    lse : Tensor, shape (...,)
        With `return_lse`, as `cross_entropy` returns.
    metrics : RowMetrics
        With `metrics`, as `cross_entropy` returns, of shape (...,).

    Raises
    ------
    ValueError
        As `fastsoftmax.linear_cross_entropy` does. If a tensor is not on the CPU, or `target` or
        `class_weight` require a gradient.
    TypeError
        If an argument is no tensor, or its numbers are of the wrong kind.
    RuntimeError
        If a second derivative or one in forward mode is asked for.

    References
    ----------
    Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models (2025).

    Examples
    --------
    >>> import torch
    >>> from fastsoftmax.torch import linear_cross_entropy
    >>> hidden, head = torch.tensor([[[1.0, 2.0]]]), torch.zeros(2, 2, requires_grad=True)
    >>> linear_cross_entropy(hidden, head, torch.tensor([[0]])).backward()
    >>> head.grad
    tensor([[-0.5000, -1.0000],
            [ 0.5000,  1.0000]])
    """
    _check_floating(input=input, weight=weight)
    if bias is not None:
        _check_floating(bias=bias)
    if weight.ndim != 2:
        raise ValueError(f"weight: expected shape (n_classes, n_features), got {(*weight.shape,)}")
    n_classes, n_features = weight.shape
    if input.ndim == 0 or input.shape[-1] != n_features:
        raise ValueError(
            f"input: expected shape (..., {n_features}), the features of weight, got {(*input.shape,)}"
        )
    if bias is not None and bias.shape != (n_classes,):
        raise ValueError(f"bias: expected shape ({n_classes},), got {(*bias.shape,)}")
    shape = (*input.shape[:-1], n_classes)
    if target.shape not in (shape, shape[:-1]):
        raise ValueError(
            f"target: expected labels of shape {shape[:-1]} or probabilities of shape {shape}, "
            f"got {(*target.shape,)}"
        )
    input = _checked(input, target, shape, class_weight, "class_weight")  # noqa: A001
    function = LossOfLinear if torch.compiler.is_compiling() else EagerLossOfLinear
    if mask is not None:
        _check_tensors(mask=mask)
    names = ",".join(check_metrics(metrics))
    loss, _, _, _, lse, *found = function.apply(
        input,
        weight,
        bias,
        target,
        class_weight,
        mask,
        None,
        None,
        ignore_index,
        reduction,
        label_smoothing,
        temperature,
        softcap,
        z_loss,
        return_lse,
        names,
        top_k,
        backend,
        n_threads,
        *(
            not (reduction == "none" or return_lse) and x is not None and _needs_gradient(x)
            for x in (input, weight, bias)
        ),
    )
    return _results(loss, lse if return_lse else None, names, found)


def _results(
    loss: torch.Tensor, lse: torch.Tensor | None, names: str, found: list[torch.Tensor]
) -> Any:
    """Return what a loss returns: metrics, which have no gradients, come last."""
    results: list[Any] = [loss]
    if lse is not None:
        results.append(lse)
    if names:
        pairs: Any = zip(RowMetrics._fields, found, strict=True)
        asked = names.split(",")
        results.append(RowMetrics(*(x.detach() if name in asked else None for name, x in pairs)))
    return tuple(results) if len(results) > 1 else loss


def _mask_with_classes_last(
    mask: torch.Tensor | None,
    input: torch.Tensor,  # noqa: A002
) -> torch.Tensor | None:
    """Return the mask of logits whose classes are moved from the second axis to the last one."""
    if mask is None:
        return None
    _check_tensors(mask=mask)
    if mask.ndim == 1:
        return mask
    if mask.ndim != input.ndim:
        raise ValueError(
            f"mask: expected shape (n_classes,) or one that broadcasts to that of input, "
            f"{(*input.shape,)}, got {(*mask.shape,)}"
        )
    return mask.movedim(1, -1)


def _needs_gradient(tensor: torch.Tensor) -> bool:
    return bool(torch.is_grad_enabled() and tensor.requires_grad)


def _check_tensors(**tensors: object) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
        if tensor.device.type != "cpu":
            raise ValueError(f"{name}: expected a tensor on the CPU, got one on {tensor.device}")


def _check_floating(**tensors: torch.Tensor) -> None:
    _check_tensors(**tensors)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise TypeError(f"{name}: expected floating-point numbers, got {tensor.dtype}")


def _checked(
    input: torch.Tensor,  # noqa: A002
    target: torch.Tensor,
    shape: tuple[int, ...],
    class_weight: torch.Tensor | None,
    name: str,
) -> torch.Tensor:
    """Return `input`, as float32 where autocast asks for it; check what both losses take.

    `shape` is that of the logits, `name` that of the weights of the classes.
    """
    constants = (
        {"target": target} if class_weight is None else {"target": target, name: class_weight}
    )
    _check_tensors(**constants)
    for argument, value in constants.items():
        if value.requires_grad:
            raise ValueError(f"{argument}: expected a tensor that requires no gradient; detach it")
    if target.shape == shape and not target.is_floating_point():
        raise TypeError(
            "target: expected floating-point probabilities where it has the shape of the logits, or "
            f"integer labels of that shape without the classes, got {target.dtype} of shape "
            f"{(*target.shape,)}"
        )
    is_cast = torch.is_autocast_enabled("cpu") and input.dtype in HALVES
    return input.float() if is_cast else input  # as F.cross_entropy; the cast's backward rounds
