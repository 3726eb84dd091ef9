"""The losses as modules, with the arguments and the state of PyTorch's of the same names."""

from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .functional import cross_entropy, linear_cross_entropy


class _LogitOptions(NamedTuple):
    temperature: float
    softcap: float | None
    z_loss: float
    return_lse: bool
    metrics: Collection[str]
    top_k: int


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` by `fastsoftmax.torch.cross_entropy`, with its options on logits.

    Parameters
    ----------
    weight, size_average, ignore_index, reduce, reduction, label_smoothing
        As in PyTorch.
    temperature, softcap, z_loss, return_lse, metrics, top_k
        As in `cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> from fastsoftmax.torch import CrossEntropyLoss
    >>> CrossEntropyLoss()(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
    tensor(0.6931)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        temperature: float = 1.0,
        softcap: float | None = None,
        z_loss: float = 0.0,
        return_lse: bool = False,
        metrics: Collection[str] = (),
        top_k: int = 5,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        self.logit_options = _LogitOptions(temperature, softcap, z_loss, return_lse, metrics, top_k)

    def forward(self, input: Tensor, target: Tensor, mask: Tensor | None = None) -> Any:  # noqa: A002  # PyTorch's name
        """Return what `cross_entropy` returns: the loss, with `return_lse` and `metrics` a tuple."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            mask=mask,
            **self.logit_options._asdict(),
        )


class LinearCrossEntropyLoss(nn.Module):
    """A linear layer and the cross-entropy of its output, by `fastsoftmax.torch.linear_cross_entropy`.

    Named and stored as `torch.nn.LinearCrossEntropyLoss`: its `state_dict` is that of PyTorch's module.

    Parameters
    ----------
    in_features, num_classes : int
        The size of the layer, `linear`, whose weight is of shape (num_classes, in_features).
    bias : bool, default False
        Whether it has a bias.
    device, dtype
        Of the layer, as in `torch.nn.Linear`.
    weight : Tensor, shape (num_classes,), optional
        The weights of the classes, not negative.
    reduction, ignore_index, label_smoothing, temperature, softcap, z_loss, return_lse, metrics, top_k
        As in `cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> from fastsoftmax.torch import LinearCrossEntropyLoss
    >>> loss = LinearCrossEntropyLoss(4, 3)
    >>> loss(torch.randn(2, 5, 4), torch.zeros(2, 5, dtype=torch.int64)).shape
    torch.Size([])
    """

    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        softcap: float | None = None,
        z_loss: float = 0.0,
        return_lse: bool = False,
        metrics: Collection[str] = (),
        top_k: int = 5,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, num_classes, bias=bias, device=device, dtype=dtype)
        self.register_buffer("weight", weight)
        self.reduction, self.ignore_index = reduction, ignore_index
        self.label_smoothing = label_smoothing
        self.logit_options = _LogitOptions(temperature, softcap, z_loss, return_lse, metrics, top_k)

    def forward(self, input: Tensor, target: Tensor, mask: Tensor | None = None) -> Any:  # noqa: A002
        """Return what `linear_cross_entropy` returns: the loss, with `return_lse` and `metrics` a tuple."""
        return linear_cross_entropy(
            input,
            self.linear.weight,
            target,
            self.linear.bias,
            class_weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            mask=mask,
            **self.logit_options._asdict(),
        )
