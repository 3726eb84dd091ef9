"""Patches of the two photographs that scikit-learn bundles: a small data set in colour."""

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._arrays.validation import as_integer
from .._optional import import_optional
from .dataset import Dataset, as_float_dtype
from .digits import as_test_size, stratified_split

_N_COLOURS = 3
_MAX_SIZE = 106  # pixels: the photographs have 427 x 640, and each half needs two rows of patches


def load_patches(
    patch_size: int = 16,
    test_size: float = 0.25,
    dtype: DTypeLike = np.float32,
    random_state: int = 0,
) -> Dataset:
    """Return patches of two photographs in colour, of the upper and the lower half of each.

    The photographs, ``china.jpg`` and ``flower.jpg``, are cut into squares that do not overlap. The label
    of a patch says where it is from: 0 and 1 are the upper and the lower half of the temple in China, 2 and
    3 those of the flower. Values are divided by 255. Nothing is downloaded.

    Parameters
    ----------
    patch_size : int, default 16
        Height and width of a patch in pixels, from 1 to 106.
    test_size : float, default 0.25
        The share of test patches, greater than 0 and less than 1; the split is stratified.
    dtype : {float32, float64}, default float32
        The dtype of the values.
    random_state : int, default 0
        The seed of the split.

    Returns
    -------
    Dataset
        With ``3 * patch_size**2`` features from 0 to 1, 4 classes, and the image shape
        ``(patch_size, patch_size, 3)``: 2080 patches of the default size.

    Raises
    ------
    ImportError
        If scikit-learn or Pillow, which reads the photographs, is not installed.
    ValueError, TypeError
        If a parameter is not as described.

    Examples
    --------
    >>> from fastsoftmax.datasets import load_patches
    >>> data = load_patches()
    >>> data.X_train.shape, data.image_shape
    ((1560, 768), (16, 16, 3))
    """
    size = as_integer("patch_size", patch_size, 1)
    if size > _MAX_SIZE:
        raise ValueError(f"patch_size: expected at most {_MAX_SIZE}, got {size}")
    share = as_test_size(test_size)
    seed = as_integer("random_state", random_state, 0)
    float_dtype = as_float_dtype(dtype)
    sklearn = import_optional("sklearn.datasets", "the photographs are data of")
    import_optional("PIL.Image", "the photographs are read with")
    halves = [half for image in sklearn.load_sample_images().images for half in _halves(image)]
    parts = [_patches(half, size) for half in halves]
    X = (np.vstack(parts) / 255).astype(float_dtype)
    y = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    train, test = stratified_split(y, share, np.random.default_rng(seed))
    shape = (size, size, _N_COLOURS)
    return Dataset(X[train], y[train], X[test], y[test], len(parts), image_shape=shape)


def _halves(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the upper and the lower half of an image."""
    middle = len(image) // 2
    return image[:middle], image[middle:]


def _patches(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the whole squares of an image as rows of height x width x colour."""
    rows, columns = len(image) // size, image.shape[1] // size
    squares = image[: rows * size, : columns * size].reshape(rows, size, columns, size, _N_COLOURS)
    return squares.transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
