"""Sparse rows to train on, and rules to train them by."""

from types import SimpleNamespace

import numpy as np
import scipy.sparse

RULES = {
    "plain": {},
    "l2": {"penalty": "l2", "alpha": 0.1},
    "l1": {"penalty": "l1", "alpha": 0.02},
    "elasticnet": {"penalty": "elasticnet", "alpha": 0.05, "l1_ratio": 0.4},
    "invscaling": {"penalty": "elasticnet", "alpha": 0.05, "learning_rate": "invscaling"},
    "a rate of zero at times": {
        "penalty": "elasticnet",
        "alpha": 0.1,
        "learning_rate": lambda step: 0.2 * (step % 2),
    },
    "weights that change their signs": {"penalty": "elasticnet", "alpha": 1.0, "eta0": 1.5},
    "weights that a step makes 0": {"penalty": "l2", "alpha": 1.0, "eta0": 1.0},
    "and others in between": {
        "penalty": "elasticnet",
        "alpha": 1.0,
        "l1_ratio": 0.02,
        "learning_rate": lambda step: (1 / 0.98 if step % 3 else 0.3) * (1 + 1e-9 * step),
    },
    "no intercept": {"fit_intercept": False, "penalty": "l2", "alpha": 0.1},
    "replacement": {"replacement": True, "penalty": "l1", "alpha": 0.02},
    "no shuffle": {"shuffle": False},
    "batches that do not divide": {"batch_size": 7, "penalty": "l2"},
    "one sample a step": {"batch_size": 1, "eta0": 0.05, "penalty": "l1", "alpha": 0.01},
    "a batch of more than all": {"batch_size": 1000, "penalty": "l2", "alpha": 0.1},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "momentum, l2": {"momentum": 0.9, "penalty": "l2", "alpha": 0.1},
    "nesterov, l2": {"momentum": 0.8, "nesterov": True, "penalty": "l2", "alpha": 0.1},
    "little momentum": {"momentum": 1e-3, "penalty": "l2", "alpha": 0.1},
    "nesterov, elasticnet without l1": {
        "momentum": 0.9,
        "nesterov": True,
        "penalty": "elasticnet",
        "l1_ratio": 0,
        "alpha": 0.05,
        "learning_rate": "invscaling",
    },
    "momentum, a rate of zero at times": {
        "momentum": 0.7,
        "penalty": "l2",
        "alpha": 0.1,
        "learning_rate": lambda step: 0.2 * (step % 2),
    },
    "momentum and weights that change their signs": {
        "momentum": 0.3,
        "penalty": "l2",
        "alpha": 1.0,
        "eta0": 1.2,
    },
    "nesterov, a step that has no inverse": {
        "momentum": 0.5,
        "nesterov": True,
        "penalty": "l2",
        "alpha": 1.0,
        "eta0": 1.0,
    },
    "nesterov, no intercept": {"momentum": 0.9, "nesterov": True, "fit_intercept": False},
    "nesterov, one sample a step": {
        "batch_size": 1,
        "eta0": 0.02,
        "momentum": 0.9,
        "nesterov": True,
        "penalty": "l2",
        "alpha": 0.1,
    },
}


ONE_EPOCH = {"max_iter": 1, "tol": None}


def made_up(n, d, c, dtype, index=np.int32, density=0.15):
    """Rows out of order, some of them empty, with explicit zeros; a column that is empty; and labels."""
    rng = np.random.default_rng([n, d, c])
    dense = rng.normal(size=(n, d)).astype(dtype) * (rng.random((n, d)) < density)
    dense[:: max(3, n // 4)] = 0
    dense[:, d // 2] = 0
    values, indices, indptr = [], [], [0]
    for row in dense:
        columns = rng.permutation(np.union1d(np.flatnonzero(row), rng.integers(d, size=1)))
        indices.extend(columns)
        values.extend(row[columns])
        if not row.any():
            del indices[indptr[-1] :], values[indptr[-1] :]
        indptr.append(len(indices))
    X = scipy.sparse.csr_array((n, d), dtype=dtype)
    X.data, X.indices, X.indptr = (
        np.array(values, dtype),
        np.array(indices, index),
        np.array(indptr, index),
    )
    y = (dense[:, : max(c, 1)] + rng.normal(size=(n, min(c, d)))).argmax(axis=1) % c
    y[:c] = np.arange(c)[:n]
    assert (X.toarray() == dense).all()
    assert (np.diff(indptr) == 0).any()
    return X, y


def duck(values, indices, indptr, shape):
    """What is recognised as CSR without being SciPy's."""
    return SimpleNamespace(format="csr", data=values, indices=indices, indptr=indptr, shape=shape)
