"""The walk from `fit` to the first kernel: how many Python functions it calls.

Small fits are made of little else, and a reader who follows one goes through all of them.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax import SoftmaxClassifier
from fastsoftmax.backends import get_backend

PACKAGE = str(Path(fastsoftmax.__file__).parent)

# Calls from `fit` to the backend's first epoch: of functions of this package, and of all in Python. The
# second number follows NumPy's version. Where more are called, look at what has become longer; where fewer
# are, lower the number.
WALKS = {
    "default": ({}, False, 110, 172),
    "weights, early_stopping": ({"early_stopping": True}, True, 124, 229),
    "standardize": ({"standardize": True}, False, 125, 204),
    "average, momentum": ({"average": True, "momentum": 0.9}, False, 119, 203),
}
ALLOWANCE, ALLOWANCE_OF_ALL = 4, 30


class ArrivedError(Exception):
    """Raised in place of the first epoch."""


def calls_to_first_kernel(fit, monkeypatch):
    """Count the Python functions that `fit` calls before the backend's `sgd_epoch`."""
    calls = Counter()

    def count(frame, event, argument):
        if event == "call":
            calls[frame.f_code.co_filename, frame.f_code.co_name] += 1

    def first_kernel(*arguments):
        sys.setprofile(None)
        raise ArrivedError

    monkeypatch.setattr(get_backend("auto"), "sgd_epoch", first_kernel)
    outer = sys.getprofile()
    try:
        sys.setprofile(count)
        fit()
    except ArrivedError:
        pass
    finally:
        sys.setprofile(outer)
    del calls[__file__, "first_kernel"], calls[__file__, "<lambda>"]
    return calls


@pytest.mark.parametrize("name", WALKS)
def test_the_walk_to_the_first_kernel_stays_short(name, monkeypatch):
    parameters, has_weights, own_before, all_before = WALKS[name]
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 10)).astype(np.float32)
    y, weights = random.integers(3, size=200), random.uniform(0.5, 2, 200)
    data = (X, y, weights) if has_weights else (X, y)
    SoftmaxClassifier(random_state=0, max_iter=1, tol=None, **parameters).fit(*data)  # imports
    model = SoftmaxClassifier(random_state=0, **parameters)
    calls = calls_to_first_kernel(lambda: model.fit(*data), monkeypatch)
    own = sum(n for (file, _), n in calls.items() if file.startswith(PACKAGE))
    listed = "\n".join(f"{n:4} {Path(file).name} {what}" for (file, what), n in calls.most_common())
    assert own_before - ALLOWANCE <= own <= own_before + ALLOWANCE, listed
    assert sum(calls.values()) <= all_before + ALLOWANCE_OF_ALL, listed
