"""The loss core: softmax, cross-entropy of logits and of a linear model, penalties, gradient checks."""

from ..backends import RowMetrics
from .functional import cross_entropy, log_softmax, logsumexp, softmax, softmax_cross_entropy
from .gradcheck import GradientCheck, check_gradient, numerical_gradient
from .linear import LinearGradients, linear_cross_entropy, penalty

__all__ = [
    "GradientCheck",
    "LinearGradients",
    "RowMetrics",
    "check_gradient",
    "cross_entropy",
    "linear_cross_entropy",
    "log_softmax",
    "logsumexp",
    "numerical_gradient",
    "penalty",
    "softmax",
    "softmax_cross_entropy",
]
