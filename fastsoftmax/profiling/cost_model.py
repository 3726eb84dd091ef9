"""The cost model: floating-point operations and bytes of the phases of an epoch.

For n samples, d features, c classes and s steps:

===================  ========================================  ============================
phase                floating-point operations                 bytes
===================  ========================================  ============================
gather and convert   none                                      X, if rows are copied
scores               ``2 * n * d * c``                         X; weights of > 1 MiB
softmax and loss     ``5 * n * c`` (an exponential is one)     none: in the caches
gradient and update  ``2 * n * d * c + 4 * s * d * c``         X; weights of > 1 MiB, twice
===================  ========================================  ============================

Every phase that reads X counts its bytes, but only the first one, in `memory`, loads them from memory: the
others find the rows in the caches. Weights count once for every step and direction if they do not fit the
nearest caches. For a sparse X, the number of stored values replaces n * d, their bytes include the index,
and the penalty's part of the update is not counted.
"""

from typing import NamedTuple

from ..backends import recorder
from ..backends.recorder import NAMES, TOGETHER, Epoch

_CACHED_WEIGHTS = 1 << 20  # bytes


class Work(NamedTuple):
    """Floating-point operations, bytes read and written, and bytes that are loaded from memory."""

    flop: float = 0.0
    bytes: float = 0.0
    memory: float = 0.0

    def __add__(self, other: object) -> "Work":
        if not isinstance(other, Work):
            return NotImplemented
        return Work(*(a + b for a, b in zip(self, other, strict=True)))


def work_of(epoch: Epoch) -> dict[str, Work]:
    """Return the work of each phase of an epoch."""
    n, d, c = epoch.n_samples, epoch.n_features, epoch.n_classes
    itemsize = 8 if epoch.dtype == "float64" else 4
    is_sparse = epoch.n_values < n * d
    stored, weights = epoch.n_values * epoch.bytes_of_value, 0.0
    if not is_sparse and d * c * itemsize > _CACHED_WEIGHTS:
        weights = float(epoch.n_steps * d * c * itemsize)
    copies = not is_sparse and (epoch.is_converted or _copies_rows(epoch))
    copied = epoch.n_values * itemsize if copies else stored
    gathering = Work(0.0, stored, stored) if copies else Work()
    products = 2.0 * epoch.n_values * c
    scores = Work(products, copied + weights, 0.0 if copies else stored)
    loss = Work(5.0 * n * c)
    gradient = Work(products, copied + 2 * weights)
    step = Work(0.0 if is_sparse else 4.0 * epoch.n_steps * d * c)
    together = scores + loss + gradient
    if epoch.backend == "numba":
        return {NAMES[recorder.CONVERT]: gathering, TOGETHER: together + step}
    if epoch.backend == "naive":
        phases = {TOGETHER: together, NAMES[recorder.UPDATE]: step}
        return {NAMES[recorder.CONVERT]: gathering, **phases}
    phases_in_order = (gathering, scores, loss, gradient + step)
    return dict(zip(NAMES, phases_in_order, strict=False))


def _copies_rows(epoch: Epoch) -> bool:
    """Return whether the rows of a minibatch are copied even if they need no conversion."""
    return epoch.backend in ("naive", "vectorized") or epoch.step_algorithm == "packed"
