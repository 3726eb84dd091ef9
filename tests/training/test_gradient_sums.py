"""Sums of the gradient that add up, the step along their mean, and the example that does it under MPI."""

import itertools
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from pages import blocks
from paths import ROOT
from trajectories import AGREEMENT, made_up

from fastsoftmax import (
    GradientSum,
    linear_cross_entropy,
    loss_gradient_sum,
)
from fastsoftmax._arrays.csr import as_sparse_rows
from fastsoftmax.backends import Data, State, get_backend
from fastsoftmax.training.gradient_sums import sum_over_rows

N, D, C = 45, 19, 7
MPIEXEC = Path(sys.executable).parent / "mpiexec"
EXAMPLE = ROOT / "examples" / "mpi.py"


def problem(rng, dtype=np.float64, n=N, d=D, c=C):
    """Samples, labels, weights and an intercept."""
    X, y = made_up(n, d, c, dtype)
    return X, y, rng.normal(size=(c, d)).astype(dtype), rng.normal(size=c).astype(dtype)


def bound(X, coef, largest_weight=1.0):
    """How far apart two orders of the same sums may be.

    A term of the gradient is the weight times x times a difference of probabilities, whose logits are
    sums of d + 1 terms; n of them are added. 8 roundings more are those of exponential, sum, division
    and products.
    """
    (n, d), u = X.shape, np.finfo(coef.dtype).eps / 2
    X = np.abs(np.asarray(X, np.float64))
    of_logits = (d + 2) * u * (X @ np.abs(coef).T + 4).max()
    return 2 * largest_weight * ((n + 8) * u + 2 * of_logits) * max(X.sum(axis=0).max(), len(X))


def assert_close(actual, expected, allowed):
    """Two `GradientSum` are the same but for rounding; their weights are sums of a few float64."""
    assert actual.coef.dtype == expected.coef.dtype
    assert actual.weight == pytest.approx(expected.weight, rel=1e-14)
    # The losses have logits of the same error, and take their logarithms.
    assert actual.loss == pytest.approx(expected.loss, rel=1e-6 if allowed > 1e-9 else 1e-13)
    np.testing.assert_allclose(actual.coef, expected.coef, rtol=0, atol=allowed)
    assert (actual.intercept is None) == (expected.intercept is None)
    if expected.intercept is not None:
        assert actual.intercept.dtype == expected.intercept.dtype
        np.testing.assert_allclose(actual.intercept, expected.intercept, rtol=0, atol=allowed)


def assert_same_bits(actual, expected):
    assert (actual.loss, actual.weight) == (expected.loss, expected.weight)
    np.testing.assert_array_equal(actual.coef, expected.coef)
    np.testing.assert_array_equal(actual.intercept, expected.intercept)


def by_linear_cross_entropy(X, targets, coef, intercept, weight, **options):
    loss, gradients = linear_cross_entropy(
        X, coef.T, targets, intercept, wrt=("W", "intercept"), reduction="sum", **options
    )
    return GradientSum(loss, weight, gradients.W.T, gradients.intercept)


# The sums


@pytest.mark.parametrize("smoothing", [0.0, 0.125])
@pytest.mark.parametrize(
    ("of_rows", "of_classes"), list(itertools.product([False, True], repeat=2))
)
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("with_intercept", [True, False])
def test_sums_are_those_of_linear_cross_entropy(
    backend, dtype, rng, with_intercept, soft, of_rows, of_classes, smoothing
):
    X, targets, coef, intercept = problem(rng, dtype)
    intercept = intercept if with_intercept else None
    s, v = rng.integers(4, size=N) / 4, rng.integers(1, 9, size=C) / 8
    weight = (s if of_rows else np.ones(N)) * (v[targets] if of_classes and not soft else 1)
    if soft:
        targets = rng.dirichlet(np.ones(C), size=N).astype(dtype)
    options = {"sample_weight": s if of_rows else None, "class_weight": v if of_classes else None}
    options |= {"label_smoothing": smoothing, "backend": backend}
    total = loss_gradient_sum(X, targets, coef, intercept, **options)
    expected = by_linear_cross_entropy(X, targets, coef, intercept, weight.sum(), **options)
    assert_close(total, expected, bound(X, coef))
    assert total.coef.dtype == dtype
    assert isinstance(total.loss, float)
    assert total.mean_loss == total.loss / total.weight
    assert total.nbytes == total.coef.nbytes + (C * total.coef.itemsize if with_intercept else 0)


def test_many_classes_of_more_rows_than_a_kernel_takes_at_once(dtype, rng):
    X, y, coef, intercept = problem(rng, dtype, n=600, c=45)
    total = loss_gradient_sum(X, y, coef, intercept, backend="compiled")
    expected = by_linear_cross_entropy(X, y, coef, intercept, 600, backend="compiled")
    assert_close(total, expected, bound(X, coef))


KINDS = {
    "float16": (lambda X: X.astype(np.float16), np.float32),
    "bfloat16": (lambda X: X.astype(ml_dtypes.bfloat16), np.float32),
    "uint8": (lambda X: (X * 20 + 100).clip(0, 255).astype(np.uint8), np.float32),
    "int16": (lambda X: (X * 4).astype(np.int16), np.float64),
    "booleans": (lambda X: X > 0, np.float64),
    "a list": (lambda X: X.tolist(), np.float64),
}


@pytest.mark.parametrize(("convert", "computed"), KINDS.values(), ids=KINDS.keys())
def test_samples_of_other_numbers(backend, rng, convert, computed):
    X, y, coef, intercept = problem(rng)
    came = convert(X)
    X, coef, intercept = np.array(came, computed), coef / 20, intercept.astype(computed)
    total = loss_gradient_sum(came, y, coef, intercept, backend=backend)
    coef = coef.astype(computed)
    expected = by_linear_cross_entropy(X, y, coef, intercept, N, backend=backend)
    assert total.coef.dtype == total.intercept.dtype == computed
    assert_close(total, expected, bound(X, coef))


def test_layouts_give_the_same_bits(backend, dtype, rng, layout):
    X, y, coef, intercept = problem(rng, dtype)
    expected = loss_gradient_sum(X, y, coef, intercept, backend=backend)
    came = [layout(array) for array in (X, y, coef, intercept)]
    assert_same_bits(loss_gradient_sum(*came, backend=backend), expected)
    for array, original in zip(came, (X, y, coef, intercept), strict=True):
        np.testing.assert_array_equal(array, original)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_sparse_rows_are_as_dense_ones(backend, dtype, rng, form, soft):
    X, targets, coef, intercept = problem(rng, dtype)
    X *= rng.random(X.shape) < 0.2
    X[::9] = 0
    if soft:
        targets = rng.dirichlet(np.ones(C), size=N)
    options = {"sample_weight": rng.integers(3, size=N) / 2, "class_weight": np.arange(1, C + 1)}
    options |= {"label_smoothing": 0.1, "backend": backend}
    for b in (intercept, None):
        dense = loss_gradient_sum(X, targets, coef, b, **options)
        sparse = loss_gradient_sum(
            scipy.sparse.csr_array(X).asformat(form), targets, coef, b, **options
        )
        assert_close(sparse, dense, bound(X, coef, C))


def test_sparse_values_of_one_place_add_up(backend):
    X = scipy.sparse.csr_array(([1.0, 2.0, 4.0], [1, 0, 1], [0, 3]), shape=(1, 2))
    total = loss_gradient_sum(X, [0], np.zeros((2, 2)), backend=backend)
    np.testing.assert_array_equal(total.coef, [[-1, -2.5], [1, 2.5]])


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_blocks_of_rows_add_up(backend, dtype, rng, monkeypatch, kind):
    X, y, coef, intercept = problem(rng, dtype)
    came = X if kind == "dense" else scipy.sparse.csr_array(X)
    options = {"sample_weight": rng.integers(3, size=N) / 2, "backend": backend}
    whole = loss_gradient_sum(came, y, coef, intercept, **options)
    monkeypatch.setattr("fastsoftmax.training.gradient_sums._BLOCK_BYTES", 1)
    for n_rows in (1, 4):
        monkeypatch.setattr("fastsoftmax.training.gradient_sums._MIN_ROWS", n_rows)
        blocks = loss_gradient_sum(came, y, coef, intercept, **options)
        assert_close(blocks, whole, bound(X, coef))
        assert blocks.coef.dtype == dtype


@pytest.mark.parametrize("backend", ["vectorized", "compiled"])  # the loops take long
def test_more_than_a_block(backend, rng):
    X, y, coef, intercept = problem(rng, np.float32, n=2500, d=1024, c=3)
    assert X.nbytes > 2 * (1 << 22)
    total = loss_gradient_sum(X, y, coef, intercept, backend=backend)
    expected = by_linear_cross_entropy(X, y, coef, intercept, 2500, backend=backend)
    assert_close(total, expected, bound(X, coef))


def test_the_number_of_blocks_has_no_part_in_the_error(backend, monkeypatch):
    monkeypatch.setattr("fastsoftmax.training.gradient_sums._BLOCK_BYTES", 1)
    monkeypatch.setattr("fastsoftmax.training.gradient_sums._MIN_ROWS", 1)
    n, x = 2500, np.float32(0.1)
    X = np.full((n, 1), x)
    total = loss_gradient_sum(X, [0] * n, np.zeros((2, 1)), [0, 0], backend=backend)
    # Every term is x / 2, a power of 2 from x. One rounding is that of the sum; in float32 the sum itself
    # would be off by some hundred of them.
    u = np.finfo(np.float32).eps / 2
    np.testing.assert_allclose(total.coef[:, 0], [-n / 2 * float(x), n / 2 * float(x)], rtol=u)
    np.testing.assert_array_equal(total.intercept, [-n / 2, n / 2])


def test_many_sparse_rows_of_a_block_have_no_part_in_it_either(backend):
    n, intercept = 20_000, [0.25, 0]
    X = scipy.sparse.csr_array((n, 1), dtype=np.float32)
    one, total = (
        loss_gradient_sum(X[:rows], [0] * rows, np.zeros((2, 1)), intercept, backend=backend)
        for rows in (1, n)
    )
    # All terms are those of the one row, and their sum is rounded once.
    u = np.finfo(np.float32).eps / 2
    np.testing.assert_allclose(total.intercept, n * one.intercept.astype(np.float64), rtol=u)


def test_wide_sparse_rows_come_in_few_blocks(rng, monkeypatch):
    """Each costs a pass over the columns, so that it has about as many values."""
    monkeypatch.setattr("fastsoftmax.training.gradient_sums._BLOCK_BYTES", 1)
    monkeypatch.setattr("fastsoftmax.training.gradient_sums._MIN_ROWS", 1)
    n, d = 200, 200
    indices = rng.integers(d, size=2 * n)
    X = as_sparse_rows(
        "X", scipy.sparse.csr_array((np.ones(2 * n), indices, np.arange(0, 2 * n + 1, 2)), (n, d))
    )
    calls, vectorized = [], get_backend("vectorized")

    def counted(logits, *arguments):
        calls.append(len(logits))
        return vectorized.softmax_cross_entropy(logits, *arguments)

    backend = SimpleNamespace(softmax_cross_entropy=counted, linear_scores=vectorized.linear_scores)
    state = State(np.zeros((2, d)), None, None, None)
    total, invalid = sum_over_rows(backend, Data(X, np.zeros(n, np.int64)), np.arange(n), state, 1)
    assert invalid == -1
    assert calls == [n / 2, n / 2]
    assert total.coef[1].sum() == n  # each value times 1 / 2


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_parts_add_up_to_the_whole(backend, dtype, rng, kind):
    X, y, coef, intercept = problem(rng, dtype)
    came = X if kind == "dense" else scipy.sparse.csr_array(X)
    s = rng.random(N)
    whole = loss_gradient_sum(came, y, coef, intercept, sample_weight=s, backend=backend)
    cuts = [0, 1, 20, 20, N]  # one part has no rows
    parts = [
        loss_gradient_sum(came[a:b], y[a:b], coef, intercept, sample_weight=s[a:b], backend=backend)
        for a, b in itertools.pairwise(cuts)
    ]
    assert parts[2].weight == 0
    assert_close(sum(parts), whole, bound(X, coef))
    assert_close(sum(parts[::-1]), whole, bound(X, coef))


@pytest.mark.parametrize("with_intercept", [True, False])
@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_no_rows(backend, dtype, kind, with_intercept):
    intercept = np.ones(C) if with_intercept else None
    total = loss_gradient_sum(
        kind(np.empty((0, D), dtype)), [], np.ones((C, D)), intercept, backend=backend
    )
    assert (total.loss, total.weight) == (0, 0)
    assert np.isnan(total.mean_loss)
    assert total.coef.dtype == dtype
    np.testing.assert_array_equal(total.coef, np.zeros((C, D)))
    np.testing.assert_array_equal(total.intercept, np.zeros(C) if with_intercept else None)


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_rows_without_weight_are_not_looked_at(backend, dtype, rng, kind):
    X, y, coef, intercept = problem(rng, dtype)
    s = np.ones(N)
    s[::4] = 0
    X[::4] = np.nan
    X[4] = np.inf
    total = loss_gradient_sum(kind(X), y, coef, intercept, sample_weight=s, backend=backend)
    fewer = loss_gradient_sum(
        kind(X[s > 0]), y[s > 0], coef, intercept, sample_weight=s[s > 0], backend=backend
    )
    assert_same_bits(total, fewer)
    none = loss_gradient_sum(kind(X), y, coef, intercept, sample_weight=0 * s, backend=backend)
    assert (none.loss, none.weight, none.coef.any(), none.intercept.any()) == (0, 0, False, False)


# Adding them


@pytest.fixture
def sums(rng):
    """Those of two halves."""
    X, y, coef, intercept = problem(rng)
    return [loss_gradient_sum(X[i::2], y[i::2], coef, intercept) for i in range(2)]


def test_sums_add(sums):
    first, second = sums
    before = pickle.loads(pickle.dumps(first))
    total = first + second
    assert total.loss == first.loss + second.loss
    assert total.weight == first.weight + second.weight == N
    np.testing.assert_array_equal(total.coef, first.coef + second.coef)
    np.testing.assert_array_equal(total.intercept, first.intercept + second.intercept)
    assert_same_bits(sum(sums), total)
    assert_same_bits(sum(pickle.loads(pickle.dumps(sums))), total)
    assert_same_bits(first, before)
    assert first != second  # and no comparison of arrays


@pytest.mark.parametrize(
    "other", [1, 0.0, None, "0", [], (1, 2), np.float64(0), np.zeros(2, int)], ids=repr
)
def test_adding_anything_else_is_a_type_error(sums, other):
    with pytest.raises(TypeError):
        _ = sums[0] + other
    with pytest.raises(TypeError):
        _ = other + sums[0]


def test_sums_of_other_models_do_not_add(sums):
    own = sums[0]
    # NumPy would stretch the one class over all of them.
    with pytest.raises(ValueError, match=r"^coef: .*\(7, 19\) and \(1, 19\)"):
        _ = own + loss_gradient_sum(np.ones((1, D)), [0], np.zeros((1, D)), [0])
    without = loss_gradient_sum(np.ones((1, D)), [0], np.zeros((C, D)))
    for a, b in ((own, without), (without, own)):
        with pytest.raises(ValueError, match=r"^intercept: "):
            _ = a + b


# The step


# Bad arguments


NAN = np.nan
SUM = {"X": np.ones((3, 2)), "targets": [0, 1, 1], "coef": np.ones((2, 2)), "intercept": [0, 1]}
X_NAN, X_INF = np.ones((3, 2)), np.ones((3, 2))
X_NAN[1, 0], X_INF[2, 1] = NAN, np.inf
BAD_SUMS = {
    "X of one dimension": ({"X": [1.0, 2.0]}, ValueError, "X: expected two dimensions"),
    "X of strings": ({"X": [["1", "2"]] * 3}, TypeError, "X: "),
    "no features": ({"X": np.ones((3, 0))}, ValueError, "X: .*one feature"),
    "NaN in X": ({"X": X_NAN}, ValueError, "X: expected finite numbers, got NaN in row 1"),
    "inf in X": ({"X": X_INF}, ValueError, "X: expected finite numbers, got inf in row 2"),
    "scores that overflow": (
        {"X": np.full((3, 2), 1e200), "coef": np.full((2, 2), 1e200)},
        ValueError,
        "X: the scores .* of row 0 overflow float64",
    ),
    "coef of other features": (
        {"coef": np.ones((2, 3))},
        ValueError,
        r"coef: .* each of the 2 columns of X, got shape \(2, 3\)",
    ),
    "coef of one dimension": ({"coef": np.ones(2)}, ValueError, r"coef: .*got shape \(2,\)"),
    "no classes": ({"coef": np.ones((0, 2))}, ValueError, "coef: expected at least one class"),
    "NaN in coef": ({"coef": [[1, 2], [3, NAN]]}, ValueError, "coef: .*finite.*got NaN"),
    "complex coef": ({"coef": np.ones((2, 2)) * 1j}, TypeError, "coef: .*complex128"),
    "no coef": ({"coef": None}, TypeError, "coef: expected real numbers"),
    "coef that overflows": (
        {"X": np.ones((3, 2), np.float32), "coef": np.full((2, 2), 1e300)},
        ValueError,
        "coef: expected finite numbers, got inf",
    ),
    "intercept too long": (
        {"intercept": [0, 1, 2]},
        ValueError,
        r"intercept: expected shape \(2,\), got \(3,\)",
    ),
    "inf in intercept": ({"intercept": [0, np.inf]}, ValueError, "intercept: .*finite.*got inf"),
    "intercept of strings": ({"intercept": ["a", "b"]}, TypeError, "intercept: "),
    "labels too few": ({"targets": [0, 1]}, ValueError, r"targets: .*shape \(3,\)"),
    "a label too large": ({"targets": [0, 2, 1]}, ValueError, "targets: .*got 2 in row 1"),
    "a negative label": ({"targets": [0, 1, -1]}, ValueError, "targets: .*got -1 in row 2"),
    "labels of floats": ({"targets": [0.0, 1.0, 1.0]}, TypeError, "targets: .*integer labels"),
    "negative probabilities": (
        {"targets": [[1, 0], [0, 1], [2, -1]]},
        ValueError,
        "targets: .*got -1.0 in row 2, class 1",
    ),
    "negative weight": ({"sample_weight": [1, -1, 1]}, ValueError, "sample_weight: .*row 1"),
    "weights too few": ({"sample_weight": [1]}, ValueError, r"sample_weight: .*\(3,\), got \(1,\)"),
    "class weights too few": ({"class_weight": [1]}, ValueError, "class_weight: expected shape"),
    "smoothing": ({"label_smoothing": 1.5}, ValueError, "label_smoothing: .*got 1.5"),
    "threads": ({"n_threads": 0}, ValueError, "n_threads: "),
}


@pytest.mark.parametrize(("changed", "error", "message"), BAD_SUMS.values(), ids=BAD_SUMS.keys())
def test_bad_arguments_of_the_sums(backend, changed, error, message):
    with pytest.raises(error, match=f"^{message}"):
        loss_gradient_sum(**SUM | changed, backend=backend)


def test_backends_by_name():
    with pytest.raises(ValueError, match=r"^backend: .*'fast'"):
        loss_gradient_sum(**SUM, backend="fast")


def test_the_row_to_blame_is_that_of_the_caller(backend, monkeypatch):
    """Whatever block it is in, and however many rows before it do not count."""
    monkeypatch.setattr("fastsoftmax.training.gradient_sums._BLOCK_BYTES", 1)
    monkeypatch.setattr("fastsoftmax.training.gradient_sums._MIN_ROWS", 2)
    X = np.ones((9, 2))
    X[[2, 7]] = NAN
    for kind in (np.asarray, scipy.sparse.csr_array):
        with pytest.raises(ValueError, match=r"^X: .*got NaN in row 7$"):
            loss_gradient_sum(
                *(kind(X), [0] * 9, np.ones((2, 2))),
                sample_weight=[1, 0, 0, 1, 1, 1, 1, 1, 1],
                backend=backend,
            )


# MPI

# Runs the example as it stands, and saves what every rank has in the end.
RUN = """
import runpy, sys
import numpy as np
after = runpy.run_path(sys.argv[1], run_name="__main__")
names = ("coef", "intercept", "total")
coef, intercept, total = (after[name] for name in names)
np.savez(f"{after['comm'].rank}.npz", coef=coef, intercept=intercept, loss=total.loss,
         n=len(after["X"]))
"""


def under_mpi(folder, n_ranks):
    """Run the example; return what it printed, and what each rank saved."""
    folder.mkdir()
    done = subprocess.run(
        [MPIEXEC, "-n", str(n_ranks), sys.executable, "-c", RUN, EXAMPLE],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [dict(np.load(folder / f"{rank}.npz")) for rank in range(n_ranks)]


@pytest.mark.skipif(sys.platform != "linux", reason="the package mpich has wheels for Linux alone")
def test_ranks_of_mpi_train_the_model_that_one_does(tmp_path):
    (printed, [one]), (same, two) = (under_mpi(tmp_path / str(n), n) for n in (1, 2))
    assert [rank["n"] for rank in two] == [one["n"] / 2] * 2
    for name in ("coef", "intercept"):
        np.testing.assert_array_equal(two[0][name], two[1][name])
        size = np.abs(one["coef"]).max()
        np.testing.assert_allclose(
            two[0][name], one[name], rtol=0, atol=AGREEMENT[np.float32] * size
        )
    assert two[0]["loss"] == pytest.approx(one["loss"], rel=AGREEMENT[np.float32])
    assert f"on {one['n']} rows of 2 processes" in same
    numbers = r"loss (\d\.\d+)|accuracy (\d\.\d+)"
    for output in (printed, same):  # of rank 0 alone
        losses = [float(loss) for loss, _ in re.findall(numbers, output)[:-1]]
        assert len(losses) == 4
        assert losses == sorted(losses, reverse=True)
        assert float(re.findall(numbers, output)[-1][1]) > 0.8


def test_the_page_shows_the_loop_of_the_example():
    page = ROOT / "docs" / "data-parallel.md"
    [program] = [text for _, text in blocks(page, "python") if "allreduce" in text]
    assert program[program.index("    own = ") :] in EXAMPLE.read_text("utf-8")


@pytest.mark.parametrize("weight", [1e-20, 1e20])
def test_sums_of_extreme_weights_add_up(backend, dtype, rng, weight):
    X, y, coef = rng.normal(size=(6, 4)).astype(dtype), rng.integers(3, size=6), np.zeros((3, 4))
    options = {"backend": backend}
    coef = coef.astype(dtype)
    small = loss_gradient_sum(X, y, coef, sample_weight=np.full(6, weight), **options)
    plain = loss_gradient_sum(X, y, coef, **options)
    rtol = 1e-5 if dtype == np.float32 else 1e-13
    assert small.loss == pytest.approx(weight * plain.loss, rel=rtol)
    assert small.weight == pytest.approx(weight * 6, rel=rtol)
    np.testing.assert_allclose(small.coef, weight * plain.coef.astype(float), rtol=rtol)


def test_sums_that_the_dtype_does_not_hold_are_named(backend):
    X, coef = np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match=r"^sample_weight: expected weights.*float32"):
        loss_gradient_sum(X, [0, 1], coef, sample_weight=[1e-50, 1e-50], backend=backend)


def test_a_row_of_a_class_without_weight_is_not_looked_at(backend):
    X, coef = np.array([[1.0, 2.0], [np.nan, 0.0]]), np.zeros((2, 2))
    total = loss_gradient_sum(X, [0, 1], coef, class_weight=[1, 0], backend=backend)
    alone = loss_gradient_sum(X[:1], [0], coef, backend=backend)
    np.testing.assert_array_equal(total.coef, alone.coef)
    assert total.loss == alone.loss
