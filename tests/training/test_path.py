"""A path of strengths: every minimum is that of a fit of its own, for fewer passes."""

import numpy as np
import pytest
import scipy.sparse

from fastsoftmax import SoftmaxClassifier, search
from fastsoftmax.backends import State
from fastsoftmax.classifier.parameters import config_of
from fastsoftmax.training import objective as objective_module
from fastsoftmax.training.objective import Objective
from fastsoftmax.training.path import run_from_zeros, solve_path
from fastsoftmax.training.problem import prepare
from fastsoftmax.training.targets import targets_of

ALPHAS = np.logspace(0, -4, 9)


@pytest.fixture
def data(rng):
    """Columns that vary together and by very different amounts, so that a fit takes many passes."""
    scales = np.logspace(0, -2, 12)
    X = rng.normal(size=(150, 12)) * scales @ np.linalg.qr(rng.normal(size=(12, 12)))[0]
    y = (X @ rng.normal(size=(12, 4)) * 3 + rng.gumbel(size=(150, 4))).argmax(axis=1)
    return X, y


def problems_of(X, y, alphas, rows=None, **parameters):
    config = config_of(SoftmaxClassifier(solver="lbfgs", max_iter=500, **parameters))
    targets = targets_of(y, len(X), X.dtype, None, None)
    problem = prepare(config, X, targets, rows)
    return [problem.with_config(config.with_alpha(float(alpha))) for alpha in alphas]


def cold(problem):
    return next(solve_path([problem], run_from_zeros))


@pytest.mark.parametrize("penalty", ["l2", "l2, newton", "l1", "elasticnet"])
def test_every_minimum_is_that_of_a_fit_alone(backend, data, penalty, request):
    if penalty == "l2":
        request.getfixturevalue("without_newton")
    penalty = penalty.split(",")[0]
    # L1 has no preconditioner, which these columns need.
    tol, alphas = (1e-6, ALPHAS) if penalty == "l2" else (1e-3, ALPHAS[:5])
    problems = problems_of(*data, alphas, penalty=penalty, tol=tol, backend=backend)
    for problem, run in zip(problems, solve_path(problems, run_from_zeros), strict=True):
        alone, value = cold(problem), run.curve[-1]
        assert run.has_converged
        assert run.optimality.gap <= tol * value
        # Both are above the minimum by at most their gaps.
        assert abs(value - alone.curve[-1]) <= run.optimality.gap + alone.optimality.gap


@pytest.mark.parametrize("order", [1, -1])
def test_a_path_may_take_any_order(data, order):
    problems = problems_of(*data, [0.1, 1e-3, 1e-2, 1e-2, 0.0, 1e-4][::order], tol=1e-5)
    for problem, run in zip(problems, solve_path(problems, run_from_zeros), strict=True):
        assert run.has_converged
        if problem.config.alpha:
            assert run.optimality.gap <= 1e-5 * run.curve[-1]


@pytest.mark.usefixtures("without_newton")
def test_a_path_takes_fewer_passes_than_its_fits(data, monkeypatch):
    n_passes = 0
    evaluate = Objective.__call__

    def counted(self, weights):
        nonlocal n_passes
        n_passes += 1
        return evaluate(self, weights)

    monkeypatch.setattr(Objective, "__call__", counted)
    problems = problems_of(*data, ALPHAS, tol=1e-6)
    list(solve_path(problems, run_from_zeros))
    along, n_passes = n_passes, 0
    for problem in problems:
        cold(problem)
    assert along < 0.7 * n_passes


@pytest.mark.usefixtures("without_newton")
def test_pairs_hold_for_the_new_strength(data):
    """Their differences are those of the new objective's gradients: exact, not approximate."""
    first, second = problems_of(*data, [0.1, 0.003], tol=1e-3)
    run = cold(first)
    points = [run.solver.at(run.solver.objective.weights_of(run.state) + 0.1 * i) for i in (0, 1)]
    run.solver.pairs.clear()
    run.solver.remember(*points)
    after = run.for_problem(second).solver
    gradients = [after.at(point.weights).gradient for point in points]
    np.testing.assert_allclose(after.pairs.differences[0], gradients[1] - gradients[0], atol=1e-14)
    assert not np.allclose(after.pairs.differences[0], points[1].gradient - points[0].gradient)


@pytest.mark.usefixtures("without_newton")
def test_runs_of_a_path_keep_no_memory(data):
    problems = problems_of(*data, ALPHAS[:4])
    runs = list(solve_path(problems, run_from_zeros))
    assert [len(run.solver.pairs) > 0 for run in runs] == [False, False, False, True]


@pytest.mark.usefixtures("without_newton")  # which needs the copy
@pytest.mark.parametrize("kind", ["standardized", "bytes", "some rows", "sparse", "weights"])
def test_a_copy_of_the_rows_changes_no_bit(backend, data, rng, kind, monkeypatch):
    X, y = data
    parameters, given = {"standardize": kind == "standardized", "backend": backend}, {}
    if kind == "bytes":
        X = (X * 40).clip(0, 255).astype(np.uint8)
    elif kind == "sparse":
        X = scipy.sparse.csr_array(X * (rng.random(X.shape) < 0.3))
        parameters["standardize"] = True
    elif kind in ("some rows", "weights"):  # samples of weight 0 are left out
        given["sample_weight"] = rng.integers(0, 2 if kind == "some rows" else 4, len(y))

    def fit():
        return SoftmaxClassifier(solver="lbfgs", alpha=1e-2, **parameters).fit(X, y, **given)

    with_copy = fit()
    kept = []
    monkeypatch.setattr(objective_module, "_MAX_KEPT_BYTES", 0)
    original = objective_module._kept
    monkeypatch.setattr(
        objective_module, "_kept", lambda *given: kept.append(original(*given)) or kept[-1]
    )
    without = fit()
    assert kept
    assert not any(kept)
    np.testing.assert_array_equal(with_copy.coef_, without.coef_)
    assert with_copy.loss_curve_ == without.loss_curve_


def test_a_row_that_is_not_finite_is_named_by_its_number_in_X(data):
    X, y = data
    X = X.copy()
    X[40, 3] = np.nan
    weights = np.ones(len(y))
    weights[:20] = 0
    with pytest.raises(ValueError, match=r"^X: .*row 40\b"):
        SoftmaxClassifier(solver="lbfgs").fit(X, y, sample_weight=weights)


def test_iterations_go_on_where_float64_contradicts_the_bound(data):
    """A fit from near the minimum once repeated its last point until max_iter."""
    X, y = data[0].astype(np.float32) * 30, data[1]
    for alpha in np.logspace(-2, -6, 13):
        model = SoftmaxClassifier(solver="lbfgs", alpha=alpha, tol=1e-5, max_iter=400)
        model.fit(X, y)
        model.set_params(warm_start=True).fit(X, y)
        assert model.n_iter_ < 200


class TestSearch:
    def test_the_models_are_fits_on_the_rows_that_are_not_held_out(self, backend, data):
        X, y = data
        regs = [1e-3, 0.1, 0.0, 1e-2]
        options = {"solver": "lbfgs", "backend": backend, "tol": 1e-8, "max_iter": 500}
        found = search(X, y, regs=regs, validation=(X[:50], y[:50]), **options)
        assert found.scores.shape == (1, 4)
        assert np.isnan(found.learning_rates).tolist() == [True]
        for j, reg in enumerate(regs):
            if not reg:
                continue
            model = SoftmaxClassifier(alpha=reg, **options).fit(X, y)
            np.testing.assert_allclose(found.losses[0, j], model.loss_curve_[-1], rtol=1e-7)
            proba = model.predict_proba(X[:50])
            np.testing.assert_allclose(
                found.validation_losses[0, j],
                -np.log(proba[np.arange(50), y[:50]]).mean(),
                rtol=1e-3,
            )
            hits = proba.argmax(axis=1) == y[:50]
            assert found.scores[0, j] == pytest.approx(hits.mean())
            by_class = [hits[y[:50] == k].mean() for k in range(4)]
            assert found.balanced_accuracies[0, j] == pytest.approx(np.mean(by_class))
        assert found.top_5_accuracies.tolist() == [[1.0] * 4]  # of four classes
        assert found.best_model.alpha_ == found.best_reg
        assert found.best_model.solver == "lbfgs"

    def test_the_order_of_the_strengths_is_that_of_the_caller(self, data):
        regs = [1e-3, 0.1, 1e-2]
        results = [
            search(*data, regs=given, solver="lbfgs", random_state=0)
            for given in (regs, regs[::-1])
        ]
        np.testing.assert_array_equal(results[0].losses, results[1].losses[:, ::-1])
        assert "nan" not in str(results[0])

    def test_learning_rates_are_refused(self, data):
        with pytest.raises(ValueError, match=r"^learning_rates: expected 'auto'.*\[0.1\]"):
            search(*data, learning_rates=[0.1], solver="lbfgs")


def test_top_5_accuracy_counts_the_five_most_probable_classes(rng):
    X, y = rng.normal(size=(300, 6)), rng.integers(9, size=300)
    weights = rng.integers(1, 5, size=300)
    found = search(
        *(X, y),
        regs=[0.1],
        validation=(X, y),
        solver="lbfgs",
        tol=1e-9,
        sample_weight=weights,
    )
    model = SoftmaxClassifier(solver="lbfgs", alpha=0.1, tol=1e-9).fit(X, y, weights)
    best = np.argsort(-model.decision_function(X), axis=1)[:, :5]
    hits = (best == y[:, np.newaxis]).any(axis=1)
    assert 0.5 < hits.mean() < 1
    assert found.top_5_accuracies[0, 0] == pytest.approx(hits.mean())
    soft = search(
        *(X, np.eye(9)[y]), regs=[0.1], validation=(X, np.eye(9)[y]), solver="lbfgs", tol=1e-9,
        sample_weight=weights,
    )  # fmt: skip
    assert soft.top_5_accuracies[0, 0] == pytest.approx(hits.mean())
    assert soft.balanced_accuracies[0, 0] == pytest.approx(found.balanced_accuracies[0, 0])


def test_states_without_an_intercept_have_paths(data):
    problems = problems_of(*data, ALPHAS[:3], fit_intercept=False, tol=1e-6)
    for run in solve_path(problems, run_from_zeros):
        assert isinstance(run.state, State)
        assert run.state.intercept is None
        assert run.optimality.gap <= 1e-6 * run.curve[-1]
