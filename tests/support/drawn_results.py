"""All that is computed of a drawn case; as a program, of many, by the instruction set of FASTSOFTMAX_ISA:

    python drawn_results.py CASES.pickle RESULTS.pickle

Cases and results are lists that test_properties_of_bits.py writes and reads.
"""

import os
import pickle
import sys

import numpy as np
from variants import LAYOUTS

import fastsoftmax as f
from fastsoftmax.backends import get_backend


def of_rows(case, layout="contiguous", n_threads=1):
    """Results by name, of functions of logits."""
    lay = LAYOUTS[layout]
    logits, targets = lay(case.logits), lay(case.targets)
    run = case.run | {"n_threads": n_threads}
    results = {
        function.__name__: function(logits, **run)
        for function in (f.softmax, f.log_softmax, f.logsumexp)
    }
    for reduction in ("mean", "none"):
        options = laid_out(case.options, lay) | run | {"reduction": reduction}
        loss, dlogits = f.softmax_cross_entropy(logits, targets, **options)
        results |= {f"{reduction} loss": loss, f"{reduction} dlogits": dlogits}
    return results


def of_linear(case, layout="contiguous", n_threads=1):
    """Results by name, of the linear classifier and of its penalty."""
    lay = LAYOUTS[layout]
    X, W, targets, b = (lay(array) for array in (case.X, case.W, case.targets, case.intercept))
    options = laid_out(case.options, lay) | {"n_threads": n_threads}
    loss, gradients = f.linear_cross_entropy(X, W, targets, b, **options)
    value, gradient = f.penalty(W, 0.25, 0.5, **case.run, n_threads=n_threads)
    return {
        "loss": loss,
        **gradients._asdict(),
        "penalty": value,
        "of penalty": gradient,
    }


def of_training(case, layout="contiguous", n_threads=1, **changed):
    """Results by name, of a fit and of predictions."""
    lay = LAYOUTS[layout]
    X, y = lay(case.X), lay(case.y)
    weight = None if case.sample_weight is None else lay(case.sample_weight)
    model = f.SoftmaxClassifier(**case.parameters | {"n_jobs": n_threads} | changed)
    with case.forced(X):
        model.fit(X, y, weight)
    return {
        "coef": model.coef_,
        "intercept": model.intercept_,
        "curve": np.array(model.loss_curve_),
        "probabilities": model.predict_proba(X),
    }


def laid_out(options, lay):
    return {
        name: lay(value) if isinstance(value, np.ndarray) else value
        for name, value in options.items()
    }


def of_case(case, **how):
    """By the kind of the case."""
    if hasattr(case, "epochs"):
        return of_training(case, **how)
    return of_linear(case, **how) if hasattr(case, "n_features") else of_rows(case, **how)


if __name__ == "__main__":
    assert get_backend("compiled").instruction_set() == os.environ["FASTSOFTMAX_ISA"]
    with open(sys.argv[1], "rb") as file:
        cases = pickle.load(file)
    with open(sys.argv[2], "wb") as file:
        pickle.dump([of_case(case) for case in cases], file)
