"""The losses as operators of PyTorch: values and gradients in one call, for autograd, vmap and compile.

An operator returns the loss and the gradients that are asked for, which autograd keeps instead of the
logits. They are computed for a gradient of 1 from above, and the backward pass multiplies by the one that
comes. The losses of rows (``reduction="none"``) of a linear layer have one each: its backward pass computes
the logits again, as the sums over the rows need the factors first.

Gradients of half precision are kept in float32, so that a scaled loss (`torch.amp.GradScaler`) saves what
float16 would round to 0. `torch.compile` knows the operators by the shapes that their fake versions return.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..loss import RowMetrics, functional, linear
from ..loss.options import LossOptions

HALVES = (torch.float16, torch.bfloat16)
# Where `return_lse` is among the options of an operator, from `ignore_index` on.
_RETURN_LSE = 6
_N_METRICS = len(RowMetrics._fields)
# What an operator returns after the gradients: the log-sum-exp and the metrics.
_N_OTHERS = 1 + _N_METRICS


def _array(tensor: Tensor | None) -> Any:
    """Its memory as an array; what NumPy has no dtype for, as float32."""
    if tensor is None:
        return None
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype in HALVES else tensor).numpy()


def _compute_dtype(*tensors: Tensor) -> torch.dtype:
    return torch.float64 if any(x.dtype == torch.float64 for x in tensors) else torch.float32


def _none(like: Tensor) -> Tensor:
    """Return what stands for a gradient that is not asked for: an operator returns tensors only."""
    return like.new_empty(0)


def _tensor(gradient: Any, like: Tensor) -> Tensor:
    return _none(like) if gradient is None else torch.from_numpy(gradient)


def _lse(lse: Any, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.array(lse)).to(dtype)


def _names(metrics: str) -> tuple[str, ...]:
    return tuple(metrics.split(",")) if metrics else ()


def _metrics(found: Any, like: Tensor, shape: torch.Size, dtype: torch.dtype) -> Any:
    """Return each of the metrics as a tensor, logarithms in `dtype`, or what stands for nothing."""
    tensors = [
        _none(like) if each is None else torch.from_numpy(np.array(each)).reshape(shape)
        for each in found or (None,) * _N_METRICS
    ]
    return *tensors[:2], *(each.to(dtype) for each in tensors[2:])


def _fake_metrics(metrics: str, like: Tensor, shape: torch.Size, dtype: torch.dtype) -> Any:
    dtypes = torch.int64, torch.bool, dtype, dtype
    return (
        like.new_empty(shape, dtype=of_metric) if name in _names(metrics) else _none(like)
        for name, of_metric in zip(RowMetrics._fields, dtypes, strict=True)
    )


# PyTorch reads the schema of an operator from the annotations.
@torch.library.custom_op("fastsoftmax::cross_entropy", mutates_args=(), device_types="cpu")
def loss_of_logits(
    logits: Tensor,
    target: Tensor,
    class_weight: Tensor | None,
    mask: Tensor | None,
    upstream: Tensor | None,
    lse_upstream: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    return_lse: bool,
    metrics: str,
    top_k: int,
    backend: str,
    n_threads: int | None,
    of_logits: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the loss of logits with the classes last, its gradient, log-sum-exp and metrics, or nothing.

    `metrics` are names with commas between them.
    With `lse_upstream` the gradient is of both, times what comes from above.
    """
    arguments = _array(logits), _array(target)
    options: dict[str, Any] = {
        "class_weight": _array(class_weight),
        "ignore_index": ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "mask": _array(mask),
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
        "return_lse": return_lse,
        "metrics": _names(metrics),
        "top_k": top_k,
    }
    call = options | {"backend": backend, "n_threads": n_threads}
    gradient, lse = _none(logits), _none(logits)
    rest: list[Any] = []
    if lse_upstream is not None:
        both = {"upstream": _array(upstream), "lse_upstream": _array(lse_upstream)}
        losses, dlogits = functional.loss_and_gradient(
            *arguments, None, LossOptions(**options | both), backend, n_threads
        )
        gradient = torch.from_numpy(dlogits)
    elif of_logits:
        losses, dlogits, *rest = functional.softmax_cross_entropy(*arguments, **call)
        gradient = torch.from_numpy(dlogits)
    elif return_lse or metrics:
        losses, *rest = functional.cross_entropy(*arguments, **call)
    else:
        losses = functional.cross_entropy(*arguments, **call)
    dtype = _compute_dtype(logits)
    if return_lse:
        lse = _lse(rest[0], dtype)
    return (
        torch.from_numpy(np.array(losses)).to(logits.dtype),
        gradient,
        lse,
        *_metrics(rest[-1] if metrics else None, logits, logits.shape[:-1], dtype),
    )


@loss_of_logits.register_fake
def _(
    logits: Tensor,
    target: Tensor,
    class_weight: Tensor | None,
    mask: Tensor | None,
    upstream: Tensor | None,
    lse_upstream: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    return_lse: bool,
    metrics: str,
    top_k: int,
    backend: str,
    n_threads: int | None,
    of_logits: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    loss = logits.new_empty(logits.shape[:-1] if reduction == "none" else ())
    gradient = logits.new_empty(logits.shape, dtype=_compute_dtype(logits))
    lse = logits.new_empty(logits.shape[:-1], dtype=_compute_dtype(logits))
    has_gradient = of_logits or lse_upstream is not None
    return (
        loss,
        gradient if has_gradient else _none(logits),
        lse if return_lse else _none(logits),
        *_fake_metrics(metrics, logits, logits.shape[:-1], lse.dtype),
    )


@torch.library.custom_op("fastsoftmax::linear_cross_entropy", mutates_args=(), device_types="cpu")
def loss_of_linear(
    input: Tensor,  # noqa: A002  # PyTorch's name
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    class_weight: Tensor | None,
    mask: Tensor | None,
    upstream: Tensor | None,
    lse_upstream: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    return_lse: bool,
    metrics: str,
    top_k: int,
    backend: str,
    n_threads: int | None,
    of_input: bool,
    of_weight: bool,
    of_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the loss, its gradients in input, weight and bias, the log-sum-exp and metrics; or nothing.

    `metrics` are names with commas between them.
    With `lse_upstream` the gradients are of both, times what comes from above.
    """
    n_features, n_classes = weight.shape[1], weight.shape[0]
    per_row = reduction == "none"
    n_rows, is_soft = input.shape[:-1].numel(), target.ndim == input.ndim
    targets = _array(target).reshape((n_rows, n_classes) if is_soft else n_rows)
    asked = zip(("X", "W", "intercept"), (of_input, of_weight, of_bias), strict=True)
    wrt = tuple(name for name, is_asked in asked if is_asked)
    arguments = (
        _array(input).reshape(n_rows, n_features),
        _array(weight).T,
        targets,
        _array(bias),
    )
    if mask is not None and mask.ndim > 1:
        mask = mask.broadcast_to((*input.shape[:-1], n_classes)).reshape(n_rows, n_classes)
    options: dict[str, Any] = {
        "class_weight": _array(class_weight),
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "reduction": reduction,
        "mask": _array(mask),
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
        "return_lse": return_lse,
        "metrics": _names(metrics),
        "top_k": top_k,
        "upstream": None if upstream is None else _array(upstream.reshape(-1 if per_row else ())),
    }
    if lse_upstream is None:
        losses, gradients, *rest = linear.linear_cross_entropy(
            *arguments, wrt=wrt, **options, backend=backend, n_threads=n_threads
        )
    else:
        options["lse_upstream"] = _array(lse_upstream.reshape(-1))
        losses, gradients, *rest = linear.linear_loss(
            *arguments, wrt, LossOptions(**options), backend, n_threads
        )
    loss, dX, dW = torch.from_numpy(np.array(losses)), gradients.X, gradients.W
    lse, dtype = _none(input), _compute_dtype(input, weight)
    if return_lse:
        lse = _lse(rest[0], dtype).reshape(input.shape[:-1])
    if per_row:
        loss = loss.reshape(input.shape[:-1])
    return (
        loss.to(torch.promote_types(input.dtype, weight.dtype)),
        _tensor(None if dX is None else dX.reshape(input.shape), input),
        _tensor(None if dW is None else dW.T, input),
        _tensor(gradients.intercept, input),
        lse,
        *_metrics(rest[-1] if metrics else None, input, input.shape[:-1], dtype),
    )


@loss_of_linear.register_fake
def _(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    class_weight: Tensor | None,
    mask: Tensor | None,
    upstream: Tensor | None,
    lse_upstream: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    return_lse: bool,
    metrics: str,
    top_k: int,
    backend: str,
    n_threads: int | None,
    of_input: bool,
    of_weight: bool,
    of_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dtype = _compute_dtype(input, weight)
    return (
        input.new_empty(
            input.shape[:-1] if reduction == "none" else (),
            dtype=torch.promote_types(input.dtype, weight.dtype),
        ),
        input.new_empty(input.shape, dtype=dtype) if of_input else _none(input),
        weight.new_empty(weight.shape, dtype=dtype) if of_weight else _none(input),
        weight.new_empty(weight.shape[:1], dtype=dtype) if of_bias else _none(input),
        input.new_empty(input.shape[:-1], dtype=dtype) if return_lse else _none(input),
        *_fake_metrics(metrics, input, input.shape[:-1], dtype),
    )


def _call_for_each(operator: Any) -> Callable[..., Any]:
    """Return vmap's version of an operator: one call for each item, whose results are stacked."""

    def batched(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        results = [
            operator(
                *(
                    argument if dim is None else argument.select(dim, i)
                    for argument, dim in zip(arguments, in_dims, strict=True)
                )
            )
            for i in range(info.batch_size)
        ]
        return tuple(torch.stack(column) for column in zip(*results, strict=True)), (0,) * len(
            results[0]
        )

    return batched


for _operator in (loss_of_logits, loss_of_linear):
    _operator.register_vmap(_call_for_each(_operator))


def _ignored(target: Tensor, n_axes: int, ignore_index: int) -> Tensor | None:
    """Return which labels do not count; None for probabilities, which have as many axes as the logits."""
    return target == ignore_index if target.ndim < n_axes else None


def _multiplied(gradient: Tensor, upstream: Tensor, ignored: Tensor | None) -> Tensor:
    """Return rows of gradients times what comes from above, and 0 where ignored, whatever that is.

    A gradient that nobody will ask for again is multiplied where it lies, and by 1 not at all: another
    one of the weight would be as large as the weight, in memory that nobody has touched before.
    """
    factor = upstream.to(gradient.dtype)
    is_last = _is_last_use_of(gradient, upstream)
    if is_last and factor.ndim == 0 and factor.item() == 1:
        return gradient
    if ignored is not None:
        factor = torch.where(ignored, 0, factor)  # 0 times infinity would be NaN
    factor = factor.unsqueeze(-1) if factor.ndim else factor
    return gradient.mul_(factor) if is_last else gradient * factor


def _is_last_use_of(*tensors: Tensor) -> bool:
    """Return whether autograd drops what it has saved after this backward pass, and these are plain.

    Not where the first is empty, as that of an input without a gradient: there is nothing to save. Only
    private functions of PyTorch say so; where there is none, the answer is no.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or not tensors[0].numel():
        return False
    try:
        return not (
            torch._C._autograd._get_current_graph_task_keep_graph()
            or any(type(each) is not Tensor for each in tensors)
            or any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors))
            or any(map(torch._C._functorch.is_legacy_batchedtensor, tensors))
        )
    except AttributeError:
        return False


class LossOfLogits(torch.autograd.Function):
    """`loss_of_logits` with its backward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> Any:
        return loss_of_logits(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        logits, target, class_weight, mask, _, _, *options, has_gradient = inputs
        ctx.set_materialize_grads(False)
        ctx.dtype, ctx.options = logits.dtype, options
        ctx.has_gradient = has_gradient or not ctx.needs_input_grad[0]
        ignored = _ignored(target, logits.ndim, options[0])
        tensors = (output[1],) if ctx.has_gradient else (logits, target, class_weight, mask)
        ctx.save_for_backward(ignored, *tensors)

    @staticmethod
    def backward(
        ctx: Any,
        upstream: Tensor | None,
        of_gradient: Tensor | None,
        of_lse: Tensor | None,
        *of_metrics: Tensor | None,
    ) -> Any:
        rest, of_lse = (None,) * 17, _of_lse(ctx, of_lse)
        if upstream is of_lse is None:
            return None, *rest
        ignored, *tensors = ctx.saved_tensors
        if ctx.has_gradient:
            (gradient,) = tensors
        elif of_lse is None:
            options = _for_backward(ctx.options)
            (gradient,) = _gradients_again(loss_of_logits, *tensors, None, None, *options, True)
        else:
            if upstream is None:
                upstream = _no_gradient(of_lse, ctx.options)
            arguments = *tensors, upstream, of_lse, *_for_backward(ctx.options)
            (gradient,) = _gradients_again(loss_of_logits, *arguments, True)
            return gradient.to(ctx.dtype), *rest
        return _multiplied(gradient, upstream, ignored).to(ctx.dtype), *rest


class LossOfLinear(torch.autograd.Function):
    """`loss_of_linear` with its backward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> Any:
        return loss_of_linear(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        input, weight, bias, target, class_weight, mask, _, _, *options = inputs[:-3]  # noqa: A001
        ctx.set_materialize_grads(False)
        ctx.options, ctx.needed = options, tuple(ctx.needs_input_grad[:3])
        ctx.dtypes = input.dtype, weight.dtype, None if bias is None else bias.dtype
        # Within vmap nothing says what will be needed.
        missing = [
            is_needed and not is_asked
            for is_needed, is_asked in zip(ctx.needed, inputs[-3:], strict=True)
        ]
        ctx.has_gradients = options[1] != "none" and not any(missing)
        if ctx.has_gradients:
            ctx.save_for_backward(*output[1:4], _ignored(target, input.ndim, options[0]))
        else:
            ctx.save_for_backward(input, weight, bias, target, class_weight, mask)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *of_others: Tensor | None) -> Any:
        rest, of_lse = (None,) * 19, _of_lse(ctx, of_others[-_N_OTHERS])
        if upstream is of_lse is None:
            return None, None, None, *rest
        if upstream is None:
            upstream = _no_gradient(of_lse, ctx.options)
        if ctx.has_gradients:
            of_input, *others, ignored = ctx.saved_tensors
            of_input = _multiplied(of_input, upstream, ignored)
            gradients = of_input, *(_multiplied(each, upstream, None) for each in others)
        else:
            arguments = *ctx.saved_tensors, upstream, of_lse, *_for_backward(ctx.options)
            gradients = _gradients_again(loss_of_linear, *arguments, *ctx.needed)
        return *(
            gradient.to(dtype) if is_needed else None
            for gradient, dtype, is_needed in zip(gradients, ctx.dtypes, ctx.needed, strict=True)
        ), *rest


def _for_backward(options: list[Any]) -> list[Any]:
    """Return the options of an operator for its backward pass: no log-sum-exp, no metrics."""
    return [*options[:_RETURN_LSE], False, "", *options[_RETURN_LSE + 2 :]]


def _of_lse(ctx: Any, gradient: Tensor | None) -> Tensor | None:
    """Return the gradient from above for the log-sum-exp; `torch.compile` makes one where there is none."""
    return gradient if ctx.options[_RETURN_LSE] else None


def _no_gradient(of_lse: Any, options: list[Any]) -> Tensor:
    """Return zeros of the shape of the loss."""
    zeros: Tensor = of_lse.new_zeros(of_lse.shape if options[1] == "none" else ())
    return zeros


def _gradients_again(operator: Any, *arguments: Any) -> Any:
    """Return what an operator returns between the loss and the log-sum-exp."""
    if torch.compiler.is_compiling():
        return operator(*arguments)[1:-_N_OTHERS]
    return _Gradients.apply(operator, *arguments)


class _Gradients(torch.autograd.Function):
    """The gradients alone, which have none of their own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(operator: Any, *arguments: Any) -> Any:
        return operator(*arguments)[1:-_N_OTHERS]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.n_inputs = len(inputs)

    @staticmethod
    def backward(ctx: Any, *of_gradients: Tensor | None) -> Any:
        _refuse_second_derivative(of_gradients)
        return (None,) * ctx.n_inputs


def _refuse_second_derivative(gradients: tuple[Tensor | None, ...]) -> None:
    """Raise if a gradient comes from above for a gradient, which is what a second derivative is made of."""
    if any(gradient is not None for gradient in gradients):
        raise RuntimeError(
            "fastsoftmax.torch: the losses have no second derivative; use those of "
            "torch.nn.functional for it"
        )


def _refuse_forward_mode() -> None:
    raise RuntimeError(
        "fastsoftmax.torch: the losses have no derivatives in forward mode (jvp); use backward, or the "
        "losses of torch.nn.functional"
    )


class EagerLossOfLogits(LossOfLogits):
    """Refuses the derivatives that it lacks; `torch.compile`, which has none of them, cannot read this."""

    @staticmethod
    def backward(
        ctx: Any,
        upstream: Tensor | None,
        of_gradient: Tensor | None,
        of_lse: Tensor | None,
        *of_metrics: Tensor | None,
    ) -> Any:
        _refuse_second_derivative((of_gradient,))
        return LossOfLogits.backward(ctx, upstream, None, of_lse)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        _refuse_forward_mode()


class EagerLossOfLinear(LossOfLinear):
    """As `EagerLossOfLogits`."""

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *of_others: Tensor | None) -> Any:
        _refuse_second_derivative(of_others[:-_N_OTHERS])
        return LossOfLinear.backward(ctx, upstream, *of_others[-_N_OTHERS:])

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        _refuse_forward_mode()
