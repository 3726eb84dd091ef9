"""Results do not depend on threads, layouts, backends or instruction sets."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import rounding
from drawn_results import of_case
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from paths import SUPPORT
from rounding import assert_close, assert_same_bits
from strategies import layouts, linear_problems, rows_of_logits, trainings
from variants import BACKENDS

from fastsoftmax import log_softmax, logsumexp, softmax
from fastsoftmax.backends import get_backend

PROGRAM = SUPPORT / "drawn_results.py"
SETS = get_backend("compiled").instruction_sets()
# Enough work for several threads, and sizes that they do not share out evenly.
many_rows = st.integers(200, 1200)
thread_counts = st.sampled_from((2, 3, 8))


def assert_same_results(actual, expected):
    assert actual.keys() == expected.keys()
    for name in actual:
        assert_same_bits(actual[name], expected[name])


@given(rows_of_logits(rows=many_rows), thread_counts)
def test_threads_change_no_bit_of_rows(case, n_threads):
    case = replace(case, backend="vectorized") if case.backend == "naive" else case
    assert_same_results(of_case(case, n_threads=n_threads), of_case(case))


@given(linear_problems(rows=many_rows), thread_counts)
def test_threads_change_no_bit_of_the_linear_classifier(problem, n_threads):
    problem = replace(problem, backend="vectorized") if problem.backend == "naive" else problem
    assert_same_results(of_case(problem, n_threads=n_threads), of_case(problem))


@given(trainings(among=("compiled",)), thread_counts, st.sampled_from((1, 10, 40)))
def test_threads_change_no_bit_of_a_fit(case, n_threads, times):
    """Also with minibatches that are large enough for several threads."""
    case = replace(case, n_samples=times * case.n_samples, batch_size=times * case.batch_size)
    for standardize in (False, True):
        how = {"standardize": standardize, "momentum": 0.9 if standardize else 0.0}
        assert_same_results(of_case(case, n_threads=n_threads, **how), of_case(case, **how))


@given(trainings(), layouts, st.booleans())
def test_where_samples_lie_changes_no_bit_of_a_fit(case, layout, standardize):
    expected = of_case(case, standardize=standardize)
    assert_same_results(of_case(case, layout=layout, standardize=standardize), expected)


def assert_close_rows(case, actual, expected):
    p, log_p, lse = (
        np.asarray(function(case.logits, backend="compiled"), np.float64)
        for function in (softmax, log_softmax, logsumexp)
    )
    of_losses = rounding.of_losses(log_p, case.weighted, case.dtype)
    of_dlogits = rounding.of_dlogits(p, case.weighted, case.dtype)
    of_sum = rounding.of_sum(np.asarray(expected["none loss"]), of_losses)
    bounds = {
        "softmax": rounding.of_softmax(p, case.dtype),
        "log_softmax": rounding.of_log_softmax(log_p, case.dtype),
        "logsumexp": rounding.of_logsumexp(lse, case.n_classes, case.dtype),
        "none loss": of_losses,
        "none dlogits": of_dlogits,
        "mean loss": of_sum / case.total,
        "mean dlogits": of_dlogits / case.total,
    }
    assert_within(bounds, actual, expected)


def assert_close_linear(problem, actual, expected):
    X, W, b = (a.astype(np.float64) for a in (problem.X, problem.W, problem.intercept))
    logits, of_logits = X @ W + b, rounding.of_logits(X, W, b, problem.dtype)
    p, log_p = softmax(logits), log_softmax(logits)
    G = (p * problem.weighted.sum(axis=1, keepdims=True) - problem.weighted) / problem.total
    of_G = rounding.of_dlogits(p, problem.weighted, problem.dtype, of_logits) / problem.total
    of_losses = rounding.of_losses(log_p, problem.weighted, problem.dtype, of_logits)
    losses = -(problem.weighted * log_p).sum(axis=1)
    ones = np.ones((problem.n_rows, 1))
    bounds = {
        "loss": rounding.of_sum(losses, of_losses) / problem.total,
        "W": rounding.of_product(X, G, of_G, problem.dtype),
        "intercept": rounding.of_product(ones, G, of_G, problem.dtype)[0],
        "X": rounding.of_product(W.T, G.T, of_G.T, problem.dtype).T,
        "penalty": (W.size + 5) * rounding.DOUBLE * expected["penalty"],
        "of penalty": 3 * rounding.unit(problem.dtype) * np.abs(expected["of penalty"]),
    }
    assert_within(bounds, actual, expected)


def assert_close_training(case, actual, expected):
    bound = rounding.of_training(case, case.largest_row, case.n_steps, case.batch_size)
    both = [np.column_stack([each["coef"], each["intercept"]]) for each in (actual, expected)]
    assert np.linalg.norm(both[0].astype(np.float64) - both[1]) <= 2 * bound


def assert_close_results(case, actual, expected):
    if hasattr(case, "epochs"):
        return assert_close_training(case, actual, expected)
    compare = assert_close_linear if hasattr(case, "n_features") else assert_close_rows
    return compare(case, actual, expected)


def assert_within(bounds, actual, expected):
    assert bounds.keys() == actual.keys() == expected.keys()
    for name, bound in bounds.items():
        assert_close(actual[name], expected[name], 2 * bound)


@given(rows_of_logits() | linear_problems(), layouts)
def test_where_arrays_lie_changes_no_bit(case, layout):
    """Except where BLAS multiplies, whose algorithm depends on the strides."""
    actual, expected = of_case(case, layout=layout), of_case(case)
    if case.backend == "vectorized" and case.total:
        assert_close_results(case, actual, expected)
    else:
        assert_same_results(actual, expected)


@given(rows_of_logits() | linear_problems(most_exponent=2))
def test_backends_agree_to_rounding(case):
    assume(case.total > 0)  # else NaN
    results = {name: of_case(replace(case, backend=name)) for name in BACKENDS}
    for name in BACKENDS:
        assert_close_results(case, results[name], results["compiled"])


@pytest.fixture(scope="module")
def by_instruction_set(tmp_path_factory):
    """Drawn cases, and their results by the name of an instruction set, which is chosen at import."""
    cases, folder = [], tmp_path_factory.mktemp("sets")

    @settings(max_examples=settings.default.max_examples * 3 // 2)
    @given(rows_of_logits() | linear_problems() | trainings())
    def collect(case):
        cases.append(replace(case, backend="compiled"))

    collect()
    (folder / "cases").write_bytes(pickle.dumps(cases))
    results = {}
    for name in SETS:
        command = [sys.executable, PROGRAM, folder / "cases", folder / name]
        subprocess.run(command, check=True, env=os.environ | {"FASTSOFTMAX_ISA": name})
        results[name] = pickle.loads((folder / name).read_bytes())
    return cases, results


@pytest.mark.thinned  # by_instruction_set
@pytest.mark.parametrize("name", SETS)
def test_instruction_sets_agree(by_instruction_set, name):
    """Those with FMA agree in every bit; the portable one, which rounds products, up to rounding."""
    cases, results = by_instruction_set
    assert len(cases) >= settings.default.max_examples
    assert {hasattr(case, "epochs") for case in cases} == {False, True}
    for case, actual, expected in zip(cases, results[name], results[SETS[0]], strict=True):
        if name == "portable":
            if getattr(case, "total", 1):
                assert_close_results(case, actual, expected)
        else:
            assert_same_results(actual, expected)
