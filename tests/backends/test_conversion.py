"""`convert_rows`, and passes of the solver over rows that are converted."""

import tracemalloc

import numpy as np
import pytest
from variants import BACKENDS, LAYOUTS

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.backends import State, get_backend
from fastsoftmax.training import objective as objective_module
from fastsoftmax.training.epoch import TrainingSet
from fastsoftmax.training.objective import Objective
from fastsoftmax.training.standardization import column_statistics

# Features that do and do not fill vectors, and several rows in one vector.
SHAPES = [(1, 1), (2, 3), (700, 3), (300, 16), (70, 45), (130, 769)]


def rows_of(shape, dtype, seed=0):
    """Return numbers of a dtype, drawn from its range."""
    rng = np.random.default_rng(seed)
    if dtype == "uint8":
        return rng.integers(256, size=shape).astype(dtype)
    return (3 * rng.standard_normal(shape)).astype(dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("into", ["float32", "float64"])
def test_rows_have_the_bits_of_the_formula(backend, shape, dtype, into):
    rng = np.random.default_rng(1)
    X = rows_of(shape, dtype)
    mean, inverse_scale = rng.standard_normal((2, shape[1])).astype(into)
    for X_there in (X, np.repeat(X, 3, axis=0)[::3], X[::-1]):
        for rows in (None, rng.integers(len(X), size=len(X) + 5)):
            some = X_there if rows is None else X_there[rows]
            for m, scale in (
                (None, None),
                (mean, None),
                (None, inverse_scale),
                (mean, inverse_scale),
            ):
                expected = some.astype(into)
                expected = expected if m is None else expected - m
                expected = expected if scale is None else expected * scale
                for n_threads in (1, 2, 3):
                    room = np.full((len(some) + 20, shape[1]), 7, into)
                    out = room[: len(some)]
                    get_backend(backend).convert_rows(X_there, rows, m, scale, out, n_threads)
                    np.testing.assert_array_equal(out, expected)
                    assert (room[len(some) :] == 7).all()


def objective_of(
    X, y, dtype, *, standardize=False, rows=None, keeps=False, n_threads=2, backend="compiled"
):
    """Return the objective over X, and weights to evaluate it at."""
    kernels, n_classes = get_backend(backend), int(y.max()) + 1
    units = column_statistics(kernels, X, np.dtype(dtype), 1) if standardize else None
    shape = n_classes, X.shape[1]
    like = State(np.zeros(shape, dtype), np.zeros(n_classes, dtype), None, None)
    samples = TrainingSet(X, y, None, rows, units)
    weights = 0.1 * np.random.default_rng(2).standard_normal((n_classes, shape[1] + 1))
    return Objective(kernels, samples, like, n_threads, keeps), weights.astype(dtype)


def assert_same(found, expected):
    assert found.loss == expected.loss
    np.testing.assert_array_equal(found.gradient, expected.gradient)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_classes", [2, 7, 50])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("standardize", [False, True])
def test_a_pass_has_the_bits_of_one_over_converted_rows(backend, n_classes, dtype, standardize):
    X = rows_of((310, 37), dtype)
    y = np.arange(len(X)) % n_classes
    rows = np.flatnonzero(np.arange(len(X)) % 5)
    for some in (None, rows):
        given = {"standardize": standardize, "backend": backend}
        objective, weights = objective_of(X, y, "float32", rows=some, **given)
        expected = objective(weights)
        # The moments of the copy are those of X, exactly.
        converted = X.astype("float32")
        for n_threads in (1, 2):
            plain, _ = objective_of(
                converted, y, "float32", rows=some, n_threads=n_threads, **given
            )
            assert_same(plain(weights), expected)
        kept, _ = objective_of(X, y, "float32", rows=some, keeps=True, **given)
        assert_same(kept(weights), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "int8", "float32", "float64"])
def test_a_pass_takes_rows_in_every_layout(dtype, layout):
    X = rows_of((120, 11), dtype)
    y = np.arange(len(X)) % 3
    into = "float32" if dtype in ("uint8", "float16", "float32") else "float64"
    objective, weights = objective_of(X, y, into)
    there, _ = objective_of(LAYOUTS[layout](X), y, into)
    assert_same(there(weights), objective(weights))


@pytest.mark.parametrize("n_classes", [3, 60])
def test_a_fit_has_the_same_bits_over_a_mapped_file_and_any_number_of_threads(
    tmp_path, monkeypatch, n_classes
):
    X, y = rows_of((400, 30), "float16"), np.arange(400) % n_classes
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    options = {"solver": "lbfgs", "standardize": True, "tol": 1e-3, "random_state": 0}
    for max_kept in (objective_module._MAX_KEPT_BYTES, 0):  # Newton's method needs a copy
        monkeypatch.setattr(objective_module, "_MAX_KEPT_BYTES", max_kept)
        expected = SoftmaxClassifier(**options, n_jobs=1).fit(X.astype(np.float32), y)
        for n_jobs in (1, 2):
            found = SoftmaxClassifier(**options, n_jobs=n_jobs).fit(mapped, y)
            np.testing.assert_array_equal(found.coef_, expected.coef_)
            np.testing.assert_array_equal(found.intercept_, expected.intercept_)


def test_a_pass_converts_a_block_at_a_time():
    X = np.zeros((1 << 18, 64), np.float16)  # 64 MiB as float32
    y = np.arange(len(X)) % 2
    objective, weights = objective_of(X, y, "float32")
    tracemalloc.start()
    try:
        objective(weights)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20
