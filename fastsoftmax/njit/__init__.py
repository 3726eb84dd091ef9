"""The loss core inside functions compiled by `numba.njit`, through the C API.

The functions have the names, the arguments (without `backend`) and the bits of those of `fastsoftmax`.
Numba can cache what calls them; after an update of this package, delete what it has cached.
"""

from . import symbols  # noqa: F401, first: its error says what is missing
from .linear import linear_cross_entropy
from .losses import cross_entropy, softmax_cross_entropy
from .rows import log_softmax, logsumexp, softmax

__all__ = [
    "cross_entropy",
    "linear_cross_entropy",
    "log_softmax",
    "logsumexp",
    "softmax",
    "softmax_cross_entropy",
]
