"""The losses for PyTorch on the CPU: forward and backward by the compiled kernels.

`cross_entropy` of logits and `linear_cross_entropy` of a linear layer, whose logits are in memory for a few
rows at a time, as functions and as modules. Tensors are read where they lie. What the options mean is in
`fastsoftmax.loss.options`.
"""

from .._optional import unavailable

try:
    import torch as _  # noqa: F401  # the error that says what to install
except Exception as error:
    raise unavailable("torch", "fastsoftmax.torch: needs", error) from error

from .functional import cross_entropy, linear_cross_entropy
from .modules import CrossEntropyLoss, LinearCrossEntropyLoss

__all__ = ["CrossEntropyLoss", "LinearCrossEntropyLoss", "cross_entropy", "linear_cross_entropy"]
