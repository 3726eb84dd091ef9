"""Bring the samples of a file into rows, and its labels into one array."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import UnreadableFile


def as_rows(samples: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, ...] | None]:
    """Return the samples as (n_samples, n_features), and the shape of an image if samples have one.

    The rows are a view if the samples are C-contiguous.
    """
    shape = samples.shape[1:]
    if len(shape) < 2:
        return samples, None
    is_image = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    image_shape = shape[:2] if shape[2:] == (1,) else shape
    n_features = int(np.prod(shape, dtype=np.int64))
    return samples.reshape(len(samples), n_features), image_shape if is_image else None


def as_file_labels(path: Path, labels: NDArray[Any], first: int = 0) -> NDArray[Any]:
    """Return labels: whole numbers as int64 (n_samples,); text, booleans and probabilities unchanged.

    Parameters
    ----------
    path : Path
        The file.
    labels : ndarray
        Its labels, or those of a part of its rows.
    first : int, default 0
        The row with which that part begins.

    Raises
    ------
    ValueError
        If they are anything else, such as numbers with a fraction.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:  # a column
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind == "f":
        return labels
    if labels.ndim != 1 or labels.dtype.kind not in "iufbU":
        raise UnreadableFile(
            path,
            "expected labels, integers or texts of shape (n_samples,), "
            f"got shape {labels.shape} of dtype {labels.dtype}",
        )
    if labels.dtype.kind in "bU":
        return labels
    if labels.dtype == np.uint64 and labels.size and labels.max() > np.iinfo(np.int64).max:
        raise UnreadableFile(path, f"expected labels that fit int64, got {labels.max()}")
    if labels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            whole = (np.abs(labels) < 2**53) & (labels == np.floor(labels))  # False for NaN as well
        if not whole.all():
            row = int(np.argmin(whole))
            raise UnreadableFile(
                path, f"expected whole numbers as labels, got {labels[row]} in row {first + row}"
            )
    return labels.astype(np.int64, copy=False)
