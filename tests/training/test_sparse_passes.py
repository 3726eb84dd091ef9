"""Passes over sparse rows, for solvers: transposed rows, the loss and its gradient, and their bits."""

import numpy as np
import pytest
import scipy.sparse
from sparse_cases import made_up

from fastsoftmax._arrays.csr import as_sparse_rows
from fastsoftmax.backends import Data, TargetWeights, get_backend
from fastsoftmax.training import gradient_sums, objective
from fastsoftmax.training.epoch import TrainingSet
from fastsoftmax.training.objective import Objective
from fastsoftmax.training.state import zero_state

N, D, C = 150, 23, 7


def duplicated(n, d, index, rng, values_per_row=5):
    """Rows with duplicate columns, out of order, empty rows and columns, and explicit zeros."""
    lengths = rng.integers(2 * values_per_row, size=n)
    lengths[::7] = 0
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.minimum(rng.integers(2 * d, size=indptr[-1]), d - 1)
    values = rng.normal(size=indptr[-1]) * (rng.random(indptr[-1]) < 0.9)
    parts = values, indices.astype(index), indptr.astype(index)
    return scipy.sparse.csr_array(parts, shape=(n, d))


@pytest.mark.parametrize("index", [np.int32, np.int64], ids=["int32", "int64"])
@pytest.mark.parametrize("d", [1, 40, 1 << 16, (1 << 16) + 1, 40 << 16])
def test_transposed_rows_have_their_values_in_order(rng, d, index):
    X = duplicated(200, d, index, rng)
    rows = as_sparse_rows("X", X)
    transposed = rows.transposed()
    assert transposed.shape == (d, 200)
    assert transposed.indices.dtype == np.int32
    order = np.lexsort((np.arange(X.nnz), X.indices))  # by column, then as stored: row by row
    np.testing.assert_array_equal(transposed.values, X.data[order])
    of_row = np.repeat(np.arange(200), np.diff(X.indptr))
    np.testing.assert_array_equal(transposed.indices, of_row[order])
    counts = np.bincount(X.indices, minlength=d)
    np.testing.assert_array_equal(np.diff(transposed.indptr), counts)
    some = rows.between(50, 120)
    part = some.transposed()
    assert len(part.values) == some.indptr[-1]
    # Not by the identity, which makes 1.5 GB of 2.6 million columns. A column sums 700 terms at most.
    dense = rng.normal(size=(70, 2))
    np.testing.assert_allclose(part.product(dense), X[50:120].T @ dense, rtol=0, atol=1e-11)


@pytest.mark.parametrize("c", [1, 7, 16, 70])  # less than a vector, more than a slab
@pytest.mark.parametrize("index", [np.int32, np.int64], ids=["int32", "int64"])
def test_scores_of_weights_at_any_strides(kernels, dtype, rng, index, c):
    X = as_sparse_rows("X", duplicated(N, D, index, rng)).astype(np.dtype(dtype))
    coef, intercept = rng.normal(size=(c, D)).astype(dtype), rng.normal(size=c).astype(dtype)
    found = np.empty((N, c), dtype)
    kernels.linear_scores(X, coef, intercept, found, 1)
    # A sum of at most 10 products, each rounded, and the intercept.
    largest = np.abs(X[np.arange(N)]).sum(axis=1, keepdims=True) * np.abs(coef).max() + 3
    expected = X[np.arange(N)].astype(float) @ coef.T + intercept
    assert (np.abs(found - expected) <= 12 * np.finfo(dtype).eps * largest).all()
    strided = np.repeat(np.repeat(coef, 2, axis=0), 2, axis=1)[::2, ::2]
    for weights in (np.asfortranarray(coef), strided):
        for n_threads in (1, 2, 5):
            wide = np.full((N, 2 * c + 1), np.nan, dtype)
            tall = np.full((c, N + 3), np.nan, dtype)
            for out in (wide[:, : 2 * c : 2], tall[:, :N].T):
                kernels.linear_scores(X, weights, intercept, out, n_threads)
                np.testing.assert_array_equal(out, found)
            assert np.isnan(wide[:, 1::2]).all()
            assert np.isnan(tall[:, N:]).all()


def problem(dtype, index=np.int32, soft=False, weighted=True, n=N):
    X, y = made_up(n, D, C, dtype, index)
    rng = np.random.default_rng(n)
    targets = rng.dirichlet(np.ones(C), n).astype(dtype) if soft else y
    weights = TargetWeights(rng.integers(1, 5, size=n) / 2, None, 0.2) if weighted else None
    return X, targets, weights, rng.normal(size=(C, D + 1)).astype(dtype)


def objective_of(X, targets, weights, kernels, dtype, n_threads=1, **more):
    like = zero_state((C, D), np.dtype(dtype), more.pop("fit_intercept", True), 0.0)
    samples = TrainingSet(X, targets, weights, more.pop("rows", None))
    return Objective(kernels, samples, like, n_threads, **more)


def assert_near(found, expected, dtype, n=N):
    """Compare with a sum of n terms, each of at most the order of 10."""
    bound = 10 * n * np.finfo(dtype).eps / np.sqrt(n)
    assert found.loss == pytest.approx(expected.loss, rel=100 * float(np.finfo(dtype).eps))
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=0, atol=bound)


@pytest.mark.parametrize("blocks", ["one", "many"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft"])
@pytest.mark.parametrize("index", [np.int32, np.int64], ids=["int32", "int64"])
def test_a_pass_is_that_over_dense_rows(
    kernels, dtype, index, soft, fit_intercept, blocks, monkeypatch
):
    X, *rest, weights = problem(dtype, index, soft)
    sparse = as_sparse_rows("X", X)
    if not fit_intercept:
        weights = weights[:, :-1]
    options = {"fit_intercept": fit_intercept}
    exact = objective_of(X.toarray().astype(float), *rest, get_backend("naive"), float, **options)
    if rest[0].ndim == 2:
        exact.data = exact._data = exact.data._replace(targets=rest[0].astype(float))
    expected = exact(weights.astype(float))
    if blocks == "many":
        monkeypatch.setattr(gradient_sums, "rows_per_block", lambda *_: 32)
    for given, keeps in (({}, True), ({}, False), ({"rows": np.arange(N)}, True)):
        found = objective_of(sparse, *rest, kernels, dtype, **options, keeps=keeps, **given)
        assert_near(found(weights), expected, dtype)
        again = found(weights)  # from the rows that are kept
        assert_near(again, expected, dtype)


@pytest.mark.parametrize("blocks", ["one", "many"])
def test_bits_depend_on_neither_threads_nor_what_is_kept(dtype, blocks, monkeypatch):
    X, *rest, weights = problem(dtype, n=3000)
    sparse, compiled = as_sparse_rows("X", X), get_backend("compiled")
    if blocks == "many":
        monkeypatch.setattr(gradient_sums, "rows_per_block", lambda *_: 700)
    found = [
        objective_of(sparse, *rest, compiled, dtype, n_threads, keeps=keeps)(weights)
        for n_threads in (1, 2, 5)
        for keeps in (True, False)
    ]
    for each in found[1:]:
        assert each.loss == found[0].loss
        np.testing.assert_array_equal(each.gradient, found[0].gradient)


def test_transposed_blocks_are_kept_unless_they_are_large(monkeypatch):
    X, *rest, weights = problem(np.float32)
    calls, sparse = [], as_sparse_rows("X", X)
    before = type(sparse).transposed
    monkeypatch.setattr(type(sparse), "transposed", lambda x: calls.append(0) or before(x))

    def transposed_by(run):
        calls.clear()
        for _ in range(3):
            run(weights)
        run.target_sums()
        return len(calls)

    run = objective_of(sparse, *rest, get_backend("vectorized"), np.float32)
    assert transposed_by(run) == 1
    # What float64 checks has the same columns.
    double = run.in_float64()
    calls.clear()
    double(weights.astype(float))
    assert not calls
    assert_near(double(weights.astype(float)), run(weights), np.float32)
    monkeypatch.setattr(objective, "_MAX_KEPT_BYTES", 1)
    assert transposed_by(objective_of(sparse, *rest, get_backend("vectorized"), np.float32)) == 4


def test_a_row_that_is_not_finite_is_named(backend):
    X, *rest, weights = problem(np.float64)
    sparse = as_sparse_rows("X", X)
    row = int(np.argmax(np.diff(X.indptr) > 0))
    sparse.values[X.indptr[row]] = np.nan
    with pytest.raises(ValueError, match=f"row {row}"):
        objective_of(sparse, *rest, get_backend(backend), np.float64)(weights)


def test_scaled_rows_in_float64_have_values_of_their_own():
    X, *rest, weights = problem(np.float32)
    scale = np.linspace(0.5, 2, D)
    sparse = as_sparse_rows("X", X)
    run = objective_of(sparse, *rest, get_backend("compiled"), np.float32)
    scaled = Objective(
        *(run.backend, run.samples, run.like, 1),
        data=Data(sparse, rest[0], None, scale.astype(np.float32), rest[1]),
    )
    scaled(weights)
    multiplied = as_sparse_rows(
        "X", scipy.sparse.csr_array(X.astype(float) * scale.astype(np.float32))
    )
    expected = objective_of(multiplied, *rest, get_backend("naive"), float)(weights.astype(float))
    found = scaled.in_float64()(weights.astype(float))
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=0, atol=1e-13)
