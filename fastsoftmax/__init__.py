"""Softmax regression by minibatch SGD, and the loss core under it, fast on the CPU."""

from . import schedules
from ._version import __version__
from .classifier import SoftmaxClassifier
from .exceptions import DivergenceError, NotFittedError
from .gradcheck import GradientCheck, check_gradient, numerical_gradient
from .loss import (
    LinearGradients,
    cross_entropy,
    linear_cross_entropy,
    log_softmax,
    logsumexp,
    penalty,
    softmax,
    softmax_cross_entropy,
)

__all__ = [
    "DivergenceError",
    "GradientCheck",
    "LinearGradients",
    "NotFittedError",
    "SoftmaxClassifier",
    "__version__",
    "check_gradient",
    "cross_entropy",
    "linear_cross_entropy",
    "log_softmax",
    "logsumexp",
    "numerical_gradient",
    "penalty",
    "schedules",
    "softmax",
    "softmax_cross_entropy",
]
