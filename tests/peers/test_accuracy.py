"""Losses and gradients of hard rows are no further off than PyTorch's."""

import numpy as np
import pytest

from benchmarks import accuracy
from tests import families
from tests.test_accuracy import LUCK


@pytest.mark.parametrize("n_classes", [2, 16, 17, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("family", "kind"), families.PROBLEMS)
def test_no_error_is_above_pytorchs(family, kind, n_classes, dtype):
    logits, targets, options = families.problem(family, kind, 30, n_classes, dtype)
    ours, torchs = accuracy.compare((accuracy.ours, accuracy.torch), logits, targets, **options)
    luck = accuracy.Errors(0, 0)
    if kind != "labels":
        luck = accuracy.last_places(logits, targets, **options)
    assert ours.loss <= max(LUCK * torchs.loss, luck.loss)
    assert ours.gradient <= max(LUCK * torchs.gradient, luck.gradient)
