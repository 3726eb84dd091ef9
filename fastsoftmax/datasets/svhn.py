"""SVHN, cropped digits: a MATLAB file with images X (32, 32, 3, n) and labels y from 1 to 10.

The label of the digit 0 is 10.

Netzer et al.: Reading Digits in Natural Images with Unsupervised Feature Learning (2011).
"""

from pathlib import Path

import numpy as np

from .dataset import Samples
from .files import UnreadableFile
from .matlab import read_matlab

IMAGE_SHAPE = (32, 32, 3)
_LABEL_OF_ZERO = 10


def read_svhn(path: Path) -> Samples:
    """Return images as rows of height x width x channel, uint8, and the digits as labels."""
    arrays = read_matlab(path, ("X", "y"))
    for name in ("X", "y"):
        if name not in arrays:
            raise UnreadableFile(path, f"expected an SVHN file with X and y, got no {name}")
    X, labels = arrays["X"], arrays["y"].ravel()
    if X.ndim != 4 or X.shape[:3] != IMAGE_SHAPE or X.dtype != np.uint8:
        raise UnreadableFile(
            path,
            f"expected X of shape (32, 32, 3, n) and dtype uint8, got {X.shape} and {X.dtype}",
        )
    n_samples = X.shape[3]
    if len(labels) != n_samples:
        raise UnreadableFile(
            path, f"expected {n_samples} labels in y, one for each image of X, got {len(labels)}"
        )
    known = np.isin(labels, np.arange(1, _LABEL_OF_ZERO + 1))
    if not known.all():
        row = int(np.argmin(known))
        raise UnreadableFile(
            path, f"expected labels from 1 to {_LABEL_OF_ZERO}, got {labels[row]} in row {row}"
        )
    rows = X.transpose(3, 0, 1, 2).reshape(n_samples, 3072)
    return Samples(rows, labels.astype(np.int64) % _LABEL_OF_ZERO, image_shape=IMAGE_SHAPE)
