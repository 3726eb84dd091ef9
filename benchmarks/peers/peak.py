"""The most multiply-adds in a second, to hold a training's against."""

from timeit import repeat

import numpy as np

from .threads import limited

_SIZE = 2048
_RUNS = 3


def matmul_flops(n_threads: int) -> float:
    """Return the floating-point operations a second of NumPy's best large float32 `matmul`.

    A stand-in for the peak of the fused multiply-add units, which is somewhat higher. The best of its
    runs is what neighbours disturb least.
    """
    a = np.ones((_SIZE, _SIZE), np.float32)
    out = np.empty_like(a)
    with limited(n_threads):
        seconds = min(repeat(lambda: np.matmul(a, a, out=out), number=1, repeat=_RUNS))
    return 2.0 * _SIZE**3 / seconds
