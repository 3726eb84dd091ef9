"""The arrays that every instruction set gets, in a file for instruction_set_results.py."""

import numpy as np
from cases import case

SHAPES = [(1, 1), (5, 3), (5, 17), (37, 33), (5, 1000)]


def write(path):
    """Logits and targets that the oracle knows, and samples to train on, for both dtypes."""
    arrays, rng = {}, np.random.default_rng(5)
    for n, c in SHAPES:
        for dtype in (np.float32, np.float64):
            logits, targets, _ = case(n, c, dtype, masked=True, soft=c % 2 == 1)
            X = rng.normal(size=(20, n + 1)).astype(dtype)
            parts = {
                "logits": logits,
                "targets": targets,
                "X": X,
                "y": np.arange(20) % min(c + 1, 20),
            }
            arrays |= {f"{n}x{c}x{np.dtype(dtype)} {key}": value for key, value in parts.items()}
    np.savez(path, **arrays)
