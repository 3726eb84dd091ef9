"""`cross_entropy` for PyTorch on the CPU: forward and backward in one pass of the compiled kernels.

Tensors are read where they lie. What the options mean is in `fastsoftmax.loss_options`.
"""

from typing import Any

import numpy as np

from ._optional import unavailable
from .loss import functional

try:
    import torch
except Exception as error:
    raise unavailable("torch", "fastsoftmax.torch: needs", error) from error

__all__ = ["cross_entropy"]

_HALVES = (torch.float16, torch.bfloat16)


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
    backend: str = "auto",
    n_threads: int | None = None,
) -> torch.Tensor:
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
    backend, n_threads
        As in `fastsoftmax.softmax`.

    Returns
    -------
    Tensor
        The loss in nats, of the dtype of `input`; with ``reduction="none"`` of the shape of the labels.
        Under ``torch.autocast("cpu")`` float32 where `input` is of float16 or bfloat16.

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
    for name, value in (("input", input), ("target", target), ("weight", weight)):
        if value is not None or name != "weight":
            _check_tensor(name, value)
    for name, value in (("target", target), ("weight", weight)):
        if value is not None and value.requires_grad:
            raise ValueError(f"{name}: expected a tensor that requires no gradient; detach it")
    if size_average is not None or reduce is not None:
        raise ValueError("size_average, reduce: expected None; use reduction")
    if not input.is_floating_point():
        raise TypeError(f"input: expected floating-point logits, got {input.dtype}")
    if input.ndim == 0:
        raise ValueError("input: expected shape (n_classes,) or (n, n_classes, ...), got a scalar")
    if target.shape == input.shape and not target.is_floating_point():
        raise TypeError(
            "target: expected floating-point probabilities where it has the shape of input, or integer "
            f"labels of that shape without the classes, got {target.dtype} of shape {(*target.shape,)}"
        )
    if torch.is_autocast_enabled("cpu") and input.dtype in _HALVES:
        input = input.float()  # noqa: A001  # as F.cross_entropy; the cast's backward rounds
    options = {
        "class_weight": None if weight is None else _array(weight),
        "ignore_index": ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "backend": backend,
        "n_threads": n_threads,
    }
    result: torch.Tensor = _CrossEntropy.apply(input, target, options)
    return result


class _CrossEntropy(torch.autograd.Function):  # type: ignore[misc]  # not known without PyTorch
    """Keep the gradient of the loss, of half-precision logits in float32, for the backward pass.

    To keep the logits instead would take half the memory of theirs, and a second pass of exponentials.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, target: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        axis = min(logits.ndim - 1, 1)
        is_soft = target.shape == logits.shape
        targets = target.movedim(axis, -1) if is_soft else target
        arguments = _array(logits.movedim(axis, -1)), _array(targets)
        if ctx.needs_input_grad[0]:
            losses, dlogits = functional.softmax_cross_entropy(*arguments, **options)
            has_ignored = not is_soft and options["ignore_index"] is not None
            ignored = target == options["ignore_index"] if has_ignored else None
            ctx.save_for_backward(torch.from_numpy(dlogits).movedim(-1, axis), ignored)
            ctx.axis, ctx.dtype = axis, logits.dtype
            ctx.is_per_row = options["reduction"] == "none"
        else:
            losses = functional.cross_entropy(*arguments, **options)
        return torch.from_numpy(np.asarray(losses)).to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        # once_differentiable would raise only where something depends on grad_output as well, and
        # else return a gradient that looks constant.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "fastsoftmax.torch.cross_entropy: has no second derivative (create_graph=True); "
                "use torch.nn.functional.cross_entropy for it"
            )
        gradient, ignored = ctx.saved_tensors
        factor = grad_output.to(gradient.dtype)
        if ignored is not None:
            factor = torch.where(ignored, 0, factor)  # 0 times infinity would be NaN
        if ignored is not None or ctx.is_per_row:
            factor = factor.unsqueeze(ctx.axis)
        return (gradient * factor).to(ctx.dtype), None, None


def _check_tensor(name: str, value: object) -> None:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(value).__name__}")
    if value.device.type != "cpu":
        raise ValueError(f"{name}: expected a tensor on the CPU, got one on {value.device}")


def _array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """Its memory as an array; what NumPy has no dtype for, as float32."""
    tensor = tensor.detach()
    array: np.ndarray[Any, Any] = (tensor.float() if tensor.dtype in _HALVES else tensor).numpy()
    return array
