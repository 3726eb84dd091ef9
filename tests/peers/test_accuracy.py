"""Losses and gradients of hard rows are no further off than PyTorch's."""

import numpy as np
import pytest

from benchmarks import accuracy
from tests import families
from tests.test_accuracy import LUCK


@pytest.mark.parametrize("n_classes", [2, 16, 17, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", families.NAMES)
def test_no_error_is_above_pytorchs(family, n_classes, dtype):
    logits, labels = families.rows(family, 30, n_classes, dtype)
    ours, torchs = accuracy.compare((accuracy.ours, accuracy.torch), logits, labels)
    assert ours.loss <= LUCK * torchs.loss
    assert ours.gradient <= LUCK * torchs.gradient
