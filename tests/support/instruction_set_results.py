"""What the compiled backend makes of given and of drawn arrays: run by test_instruction_sets.py.

An instruction set is chosen at import, so each needs an interpreter of its own, with FASTSOFTMAX_ISA set:

    python instruction_set_results.py GIVEN.npz RESULTS.npz [N_THREADS ...]

The results for the given arrays go to a file. Printed is a JSON object with the SHA-256 of those for larger
arrays, by the number of threads (1, 2, 3 and 8, as far as there are CPUs, if none is named) and by name.
"""

import hashlib
import json
import os
import sys

import numpy as np
import scipy.sparse

import fastsoftmax as f
from fastsoftmax._arrays.threads import allowed_cpus
from fastsoftmax.backends import get_backend

# A pool has no more threads than CPUs.
THREADS = sorted({min(n_threads, allowed_cpus()) for n_threads in (1, 2, 3, 8)})
# Classes that do and do not fill vectors; rows enough for the threads, but in the last.
ROWS = [(2100, 10), (700, 40), (25, 1000), (3, 7)]
# With few classes: one chunk of samples and several; one panel of features, two for the caches of two
# threads (600), two too large for them.
# With many: more features than make one sum, fewer samples than threads, one slab of classes at a time.
PRODUCTS = [
    (300, 200, 10),
    (1500, 33, 9),
    (64, 301, 17),
    (260, 600, 2),
    (230, 2100, 3),
    (9, 5, 3),
    (210, 530, 45),
    (30, 90, 1000),
    (270, 20, 1100),
]
# Small enough for Newton's method: one panel of the factor, and several.
SMALL = [(90, 7, 2), (150, 30, 4)]
METRICS = ("argmax", "top_k_correct", "label_log_prob", "entropy")
PENALTIES = [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2)]
TRAINING = [
    {"penalty": "elasticnet", "alpha": 0.01, "momentum": 0.9, "nesterov": True},
    {"penalty": "l1", "alpha": 0.01, "momentum": 0.5},
    {"penalty": "l2", "batch_size": 64, "fit_intercept": False},
    {"penalty": None, "batch_size": 700, "momentum": 0.9},
    {"penalty": "l1", "l1_step": "subgradient", "average": True, "label_smoothing": 0.1},
]
SPARSE_TRAINING = [
    {"penalty": "elasticnet", "alpha": 0.01, "batch_size": 3},
    {"penalty": "l1", "alpha": 0.01, "learning_rate": "invscaling"},
    {"penalty": "l2", "alpha": 8, "batch_size": 64, "fit_intercept": False},
    {"penalty": None, "batch_size": 16},
    {"penalty": "elasticnet", "batch_size": 16, "standardize": True},
    {"penalty": "l2", "alpha": 0.1, "batch_size": 32, "momentum": 0.5, "nesterov": True},
]


def values(given):
    """For the arrays that the oracle knows."""
    results = {}
    for name in sorted({name.split()[0] for name in given}):
        logits, targets, X, y = (
            given[f"{name} {part}"] for part in ("logits", "targets", "X", "y")
        )
        for function in (f.softmax, f.log_softmax, f.logsumexp):
            results[f"{name} {function.__name__}"] = function(logits, backend="compiled")
        loss, dlogits = f.softmax_cross_entropy(logits, targets, backend="compiled", n_threads=2)
        model = f.SoftmaxClassifier(
            backend="compiled",
            max_iter=2,
            momentum=0.5,
            penalty="elasticnet",
            batch_size=7,
            random_state=0,
            alpha=0.01,
        ).fit(X, y)
        results |= {f"{name} loss": loss, f"{name} dlogits": dlogits}
        results |= {f"{name} coef": model.coef_, f"{name} curve": model.loss_curve_}
    return results


def labels_and_probabilities(rng, n, c, dtype):
    probabilities = rng.random(size=(n, c)).astype(dtype)
    return rng.integers(c, size=n), probabilities / probabilities.sum(axis=1, keepdims=True)


def drawn(dtype, n_threads):
    """Yield a name and the results, for every function and shape."""
    rng = np.random.default_rng(6)
    options = {"backend": "compiled", "n_threads": n_threads}
    rising = 50 * (np.arange(1000, dtype=dtype) // 300)
    for n, c in ROWS:
        logits = rng.normal(scale=8, size=(n, c)).astype(dtype)
        for function in (f.softmax, f.log_softmax, f.logsumexp):
            yield f"{function.__name__} {n}x{c}", function(logits, **options)
            # The largest comes late: sums start again.
            yield f"{function.__name__} rising {n}x{c}", function(logits + rising[:c], **options)
        for targets in labels_and_probabilities(rng, n, c, dtype):
            result = f.softmax_cross_entropy(logits, targets, **options)
            yield f"softmax_cross_entropy {n}x{c} {targets.dtype}", *result
            names = METRICS if targets.ndim == 1 else ("argmax", "entropy")
            _, metrics = f.cross_entropy(logits, targets, softcap=20.0, metrics=names, **options)
            found = [each for each in metrics if each is not None]
            yield f"metrics {n}x{c} {targets.dtype}", *found
    for n, d, c in PRODUCTS:
        X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, c)).astype(dtype)
        b = rng.normal(size=c).astype(dtype)
        labels, probabilities = labels_and_probabilities(rng, n, c, dtype)
        for targets in (labels, probabilities):
            loss, gradients = f.linear_cross_entropy(X, W, targets, b, **options)
            yield f"linear_cross_entropy {n}x{d}x{c} {targets.dtype}", loss, *gradients
        *_, metrics = f.linear_cross_entropy(X, W, labels, b, metrics=METRICS, **options)
        yield f"linear metrics {n}x{d}x{c}", *metrics
        for l2, l1 in PENALTIES:
            yield f"penalty {d}x{c} {l2} {l1}", *f.penalty(W, l2, l1, **options)
        for rule in TRAINING:
            model = f.SoftmaxClassifier(
                backend="compiled", n_jobs=n_threads, max_iter=2, random_state=0, eta0=0.1, **rule
            ).fit(X, labels)
            result = model.coef_, model.intercept_, model.loss_curve_
            yield f"fit {n}x{d}x{c} {rule}", *result
        weighted = f.SoftmaxClassifier(
            backend="compiled", n_jobs=n_threads, max_iter=2, random_state=0, eta0=0.1
        ).fit(X, probabilities, sample_weight=rng.integers(0, 3, n))
        yield (
            f"weighted {n}x{d}x{c}",
            weighted.coef_,
            weighted.intercept_,
            weighted.predict_proba(X),
        )
        solved = f.SoftmaxClassifier(
            backend="compiled", solver="lbfgs", n_jobs=n_threads, max_iter=6, standardize=True
        ).fit(X, labels)
        result = solved.coef_, solved.intercept_, solved.loss_curve_, solved.optimality_.gap
        yield f"solver {n}x{d}x{c}", *result
        for kind in (np.uint8, np.float16, np.float32):
            as_read = (X * 40).clip(0, 255).astype(kind)
            yield f"read {n}x{d}x{c} {np.dtype(kind)}", weighted.predict_proba(as_read)
        found = f.search(
            *(X, labels),
            learning_rates=[0.01, 0.1],
            regs=[1e-3, 0.1],
            validation=(X, labels),
            backend="compiled",
            n_jobs=n_threads,
            max_iter=2,
            random_state=0,
        )
        yield f"search {n}x{d}x{c}", found.losses, found.scores, found.best_model.coef_
        for kind in (np.uint8, np.float16, dtype):
            model = f.SoftmaxClassifier(
                backend="compiled", n_jobs=n_threads, max_iter=2, random_state=0, standardize=True
            ).fit((X * 40).clip(0, 255).astype(kind), labels)
            result = model.coef_, model.intercept_, model.loss_curve_, model.mean_, model.scale_
            yield f"standardized {n}x{d}x{c} {np.dtype(kind)}", *result
        sparse = scipy.sparse.csr_array(X * (rng.random((n, d)) < 0.1))
        for rule in SPARSE_TRAINING:
            model = f.SoftmaxClassifier(
                backend="compiled", n_jobs=n_threads, max_iter=2, random_state=0, eta0=0.1, **rule
            ).fit(sparse, labels)
            result = model.coef_, model.intercept_, model.loss_curve_
            few = model.decision_function(sparse[:1]), model.decision_function(sparse)
            yield f"fit sparse {n}x{d}x{c} {rule}", *result, *few
    for n, d, c in SMALL:
        X, labels = rng.normal(size=(n, d)).astype(dtype), rng.integers(c, size=n)
        solved = f.SoftmaxClassifier(
            backend="compiled", solver="lbfgs", n_jobs=n_threads, max_iter=6
        )
        solved.fit(X, labels, sample_weight=rng.integers(0, 3, n))
        result = solved.coef_, solved.intercept_, solved.loss_curve_, solved.optimality_.gap
        yield f"solver, small {n}x{d}x{c}", *result


def digests(n_threads):
    return {
        f"{np.dtype(dtype)} {name}": [
            hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest() for result in results
        ]
        for dtype in (np.float32, np.float64)
        for name, *results in drawn(dtype, n_threads)
    }


if __name__ == "__main__":
    assert get_backend("compiled").instruction_set() == os.environ["FASTSOFTMAX_ISA"]
    with np.load(sys.argv[1]) as file:
        np.savez(sys.argv[2], **values(dict(file)))
    threads = [int(argument) for argument in sys.argv[3:]] or THREADS
    print(json.dumps({str(n_threads): digests(n_threads) for n_threads in threads}))
