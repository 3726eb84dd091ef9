"""What stands for the second moments of the features: exact, of low rank, or their diagonal."""

import numpy as np
import pytest
import scipy.sparse

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.classifier.parameters import config_of
from fastsoftmax.training import preconditioner
from fastsoftmax.training.lbfgs import Lbfgs
from fastsoftmax.training.objective import Objective
from fastsoftmax.training.preconditioner import Dense, Diagonal, LowRank, features_of
from fastsoftmax.training.problem import prepare
from fastsoftmax.training.targets import targets_of


def objective_of(X, y, **parameters):
    config = config_of(SoftmaxClassifier(solver="lbfgs", **parameters))
    problem = prepare(config, X, targets_of(y, X.shape[0], np.dtype(float), None, None), None)
    return Objective(config.backend, problem.samples, problem.zero_state(), 1)


@pytest.fixture
def data(rng):
    """Rows that lie near a plane of five dimensions."""
    X = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 40)) + 0.1 * rng.normal(size=(300, 40))
    return X, (X[:, :3] + rng.gumbel(size=(300, 3))).argmax(axis=1)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_low_rank_approximates_the_moments(backend, data, rng, fit_intercept, kind):
    X, y = data
    if kind == "sparse":
        X = scipy.sparse.csr_array(X)
    from fastsoftmax._arrays.inputs import as_samples

    objective = objective_of(as_samples(X), y, backend=backend, fit_intercept=fit_intercept)
    damping = 0.05
    exact, approximate = Dense.of(objective), LowRank.of(objective)
    assert approximate.mean_curvature == pytest.approx(exact.mean_curvature, rel=1e-6)
    G = exact.G + np.eye(len(exact.G)) * damping
    V = rng.normal(size=(3, len(G)))
    found = approximate.inverse(damping)(V).T @ G
    assert np.linalg.norm(found - V) < 0.2 * np.linalg.norm(V)
    # A diagonal misses that the columns vary together.
    by_diagonal = Diagonal.of(objective).inverse(damping)(V).T @ G
    assert np.linalg.norm(by_diagonal - V) > 2 * np.linalg.norm(V)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_low_rank_is_positive_definite_where_that_of_the_moments_is_smaller(rng, dtype):
    """R' G R, which it is made from, is singular then."""
    X = (rng.normal(size=(40, 5)) @ rng.normal(size=(5, 300)) + 7).astype(dtype)
    objective = objective_of(X, rng.integers(0, 2, 40))
    approximate = LowRank.of(objective)
    for damping in (1e-3, 1.0, 1e3):
        inverse = approximate.inverse(damping)
        for _ in range(20):
            V = rng.normal(size=objective.shape).astype(objective.like.coef.dtype)
            assert (inverse(V).T * V).sum() > 0


def test_an_indefinite_preconditioner_is_left_out_of_a_step(data):
    """As rounding may make one."""
    solver = Lbfgs(objective_of(*data), 0.01, 0.0)
    start = solver.at(np.zeros(solver.objective.shape))
    found = solver.step(start, lambda V: -V)
    assert found is not None
    assert found.value < start.value


def test_many_features_have_a_low_rank_and_very_many_a_diagonal(data, monkeypatch):
    objective = objective_of(*data)
    assert type(features_of(objective)) is Dense
    monkeypatch.setattr(preconditioner, "_MAX_FEATURES", 10)
    assert type(features_of(objective)) is LowRank
    monkeypatch.setattr(preconditioner, "_MAX_FEATURES_OF_RANK", 20)
    assert type(features_of(objective)) is Diagonal


@pytest.mark.usefixtures("without_newton")
def test_a_low_rank_saves_passes(data, monkeypatch):
    n_iter = {}
    for kind, limits in (("low", (10, 1000)), ("diagonal", (10, 20))):
        for name, limit in zip(("_MAX_FEATURES", "_MAX_FEATURES_OF_RANK"), limits, strict=True):
            monkeypatch.setattr(preconditioner, name, limit)
        model = SoftmaxClassifier(solver="lbfgs", alpha=1e-4, tol=1e-6, max_iter=900).fit(*data)
        assert model.optimality_.gap <= 1e-6 * model.loss_curve_[-1]
        n_iter[kind] = model.n_iter_
    assert n_iter["low"] < 0.7 * n_iter["diagonal"]


@pytest.mark.usefixtures("without_newton")
def test_scales_of_the_features_cost_few_passes(data):
    """The damping follows them: one for all was far above the small features' curvature."""
    X, y = data
    scale = 10 ** np.linspace(-2, 2, X.shape[1])
    n_iter = [
        SoftmaxClassifier(solver="lbfgs", alpha=1e-3, tol=1e-4, max_iter=900).fit(each, y).n_iter_
        for each in (X, X * scale)
    ]
    assert n_iter[1] < 2 * n_iter[0]


def test_features_without_a_moment_have_no_low_rank(monkeypatch):
    monkeypatch.setattr(preconditioner, "_MAX_FEATURES", 2)
    objective = objective_of(np.zeros((20, 5)), np.arange(20) % 2, fit_intercept=False)
    assert type(features_of(objective)) is Diagonal
