"""Data sets of a few images, as files and as arrays."""

import numpy as np
import pytest
from data_files import NAMES, WRITERS, N, batch_of, images_of


@pytest.fixture
def cifar(tmp_path, rng):
    """A folder of CIFAR-10, and its images and labels to train on and to test on."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    dumps = WRITERS["python 2"]
    images, labels = images_of(rng, 6 * N), rng.integers(10, size=6 * N)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for i, name in enumerate(names):
        part = slice(i * N, (i + 1) * N)
        (folder / name).write_bytes(dumps(batch_of(images[part], labels[part])))
    meta = {b"num_cases_per_batch": N, b"label_names": NAMES, b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(dumps(meta))
    (folder / "readme.html").write_text("<meta>")
    rows = images.reshape(len(images), -1)
    return folder, (rows[: 5 * N], labels[: 5 * N]), (rows[5 * N :], labels[5 * N :])


@pytest.fixture
def digits(rng):
    return rng.integers(256, size=(N, 28, 28), dtype=np.uint8), np.array([9, 0, 3, 3, 1, 7])
