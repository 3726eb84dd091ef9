"""Losses and gradients of hard rows are no further off than PyTorch's, with every option."""

import hard_logits
import numpy as np
import pytest

from benchmarks import accuracy


@pytest.mark.parametrize("n_classes", [2, 16, 17, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("family", "kind"), hard_logits.PROBLEMS)
def test_no_error_is_above_pytorchs(family, kind, n_classes, dtype):
    logits, targets, options = hard_logits.problem(family, kind, 30, n_classes, dtype)
    ours, torchs = accuracy.compare((accuracy.ours, accuracy.torch), logits, targets, **options)
    luck = accuracy.Errors(0, 0)
    if kind != "labels":
        luck = accuracy.last_places(logits, targets, **options)
    assert ours.loss <= max(hard_logits.LUCK * torchs.loss, luck.loss)
    assert ours.gradient <= max(hard_logits.LUCK * torchs.gradient, luck.gradient)


@pytest.mark.parametrize("n_classes", [2, 16, 17, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("family", "kind"), hard_logits.PROBLEMS_ON_LOGITS)
def test_nor_is_one_with_options_on_logits(family, kind, n_classes, dtype):
    """But for what everybody rounds: which of the roundings is larger is a matter of luck."""
    logits, labels, options = hard_logits.problem(family, kind, 30, n_classes, dtype)
    ours, torchs = accuracy.compare((accuracy.ours, accuracy.torch), logits, labels, **options)
    rounded = accuracy.of_rounded_logits(logits, labels, **options)
    luck = accuracy.last_places(logits, labels, **options)
    assert ours.loss <= max(hard_logits.LUCK * torchs.loss, luck.loss, rounded.loss)
    assert ours.gradient <= max(hard_logits.LUCK * torchs.gradient, luck.gradient, rounded.gradient)
