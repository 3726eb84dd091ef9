"""Training with standardised sparse rows, whose zeros stay zeros."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from sparse_cases import RULES, duck, made_up
from trajectories import (
    AGREEMENT,
    DEFAULTS,
    assert_follows,
    expected_trajectory,
)

from fastsoftmax import SoftmaxClassifier
from fastsoftmax._arrays.csr import as_sparse_rows
from fastsoftmax.backends import Data, Rule, State, get_backend


def standardizable(dtype, index):
    """Values in two parts, in any order, and explicit zeros; a constant column and an empty one."""
    X, y = made_up(60, 19, 7, dtype)
    dense = X.toarray()
    dense[:, 3] = 0.1
    rng, indices, indptr = np.random.default_rng(1), [], [0]
    for row in dense:
        columns = np.union1d(np.flatnonzero(row), rng.integers(19, size=2))
        indices.extend(rng.permutation(np.repeat(columns, 2)))
        indptr.append(len(indices))
    of_row = np.repeat(np.arange(60), np.diff(indptr))
    values = dense[of_row, indices] / 2
    return duck(values, np.array(indices, index), np.array(indptr, index), dense.shape), dense, y


@pytest.mark.parametrize("index", [np.int32, np.int64], ids=["int32", "int64"])
@pytest.mark.parametrize(
    "rule",
    [
        *("plain", "l2", "l1", "elasticnet", "invscaling", "no intercept", "one sample a step"),
        *("momentum", "nesterov, l2"),
    ],
)
def test_standardised_it_is_the_scaled_matrix(backend, dtype, index, rule):
    X, dense, y = standardizable(dtype, index)
    parameters = DEFAULTS | {"eta0": 0.05} | RULES[rule]
    model = SoftmaxClassifier(backend=backend, standardize=True, max_iter=3, **parameters).fit(X, y)
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    assert model.scale_[3] == model.scale_[19 // 2] == 1
    scaled = dense * (1 / model.scale_).astype(dtype)
    expected = expected_trajectory(scaled, y, 7, 3, parameters)
    # the same model in the units of X
    logits = (
        expected.coef.astype(float) @ scaled.T + expected.intercept.astype(float)[:, np.newaxis]
    )
    np.testing.assert_allclose(
        model.decision_function(X), logits.T, rtol=0, atol=AGREEMENT[dtype] * np.abs(logits).max()
    )
    model.coef_ = model.coef_ * model.scale_
    if parameters["penalty"]:  # in the curve it is that of an earlier step
        model.loss_curve_ = expected.curve
    assert_follows(model, expected, AGREEMENT[dtype])


@pytest.mark.parametrize("index", [np.int32, np.int64], ids=["int32", "int64"])
@pytest.mark.parametrize("n_classes", [2, 17, 33, 49, 65])  # to fill one to five vectors of float32
@pytest.mark.parametrize("penalty", [None, "elasticnet"])
def test_a_scale_that_is_a_power_of_2_is_exact(dtype, index, n_classes, penalty):
    """At every width of weights: the bits of the matrix with these values."""
    X, y = made_up(90, 80, n_classes, dtype, index)
    units = 2.0 ** np.random.default_rng(2).integers(-3, 4, size=80)
    scaled = X.copy()
    scaled.data = X.data * units[X.indices].astype(dtype)
    rule, order, rates = Rule(0.01, 0.01, 0.0, False), np.arange(90), np.full(9, 0.05)
    rule = rule if penalty else Rule(0.0, 0.0, 0.0, False)
    states = [
        State(np.zeros((n_classes, 80), dtype), np.zeros(n_classes, dtype), None, None)
        for _ in range(2)
    ]
    folded = Data(as_sparse_rows("X", X), y, None, units.astype(dtype))
    for data, state in zip((folded, Data(as_sparse_rows("X", scaled), y)), states, strict=True):
        get_backend("compiled").sgd_epoch(data, state, rule, order, 10, rates, 2)
    np.testing.assert_array_equal(states[0].coef, states[1].coef)
    np.testing.assert_array_equal(states[0].intercept, states[1].intercept)
    assert states[0].coef.any()


def test_standardize_copies_no_values():
    X = scipy.sparse.random(20_000, 300, 0.5, format="csr", random_state=0)
    model = SoftmaxClassifier(standardize=True, eta0=0.01, tol=None, max_iter=1, backend="compiled")
    tracemalloc.start()
    try:
        model.fit(X, np.arange(20_000) % 2)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < X.data.nbytes / 2
