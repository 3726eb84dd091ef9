"""Solver "lbfgs" with L1: the minimum to many digits, its zeros, few passes, and the bits."""

import itertools

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.training import objective, proximal_newton

# How the Hessian is approximated.
WAYS = ["hessian", "hessian of some rows", "hessian and pairs", "moments", "diagonal"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    way = request.param
    if way == "hessian of some rows":
        monkeypatch.setattr(proximal_newton, "_ROWS_PER_WEIGHT", 4)
    elif way == "hessian and pairs":
        monkeypatch.setattr(proximal_newton.ProximalNewton, "_cost", lambda *_: 2e7)
    elif way in ("moments", "diagonal"):
        monkeypatch.setattr(proximal_newton, "_MAX_WEIGHTS", 0)
    if way == "diagonal":
        monkeypatch.setattr(proximal_newton, "is_dense_worthwhile", lambda _: False)
    return way


@pytest.fixture
def passes(monkeypatch):
    """A list that grows by an element with each pass."""
    passes, evaluate = [], objective.Objective.__call__

    def call(self, weights):
        passes.append(None)
        return evaluate(self, weights)

    monkeypatch.setattr(objective.Objective, "__call__", call)
    return passes


def ill_conditioned(n, d, c, power=1.5):
    """Standardised columns whose second moments fall as a power."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) * np.arange(1, d + 1.0) ** (-power / 2)
    X = X @ np.linalg.qr(rng.normal(size=(d, d)))[0].T
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    logits = X @ rng.normal(size=(d, c))
    y = (3 * logits / logits.std() + rng.gumbel(size=(n, c))).argmax(axis=1)
    return X, y


def fit(X, y, weights=None, **parameters):
    options = {"solver": "lbfgs", "penalty": "elasticnet", "l1_ratio": 0.5, "max_iter": 1000}
    return SoftmaxClassifier(**options | parameters).fit(X, y, sample_weight=weights)


def precise_minimum(X, y, weights, l2, l1, start):
    """The minimum with the zeros and signs of `start`, by Newton's method in long double; its slopes."""
    A = np.hstack([X, np.ones((len(X), 1))]).astype(np.longdouble)
    c, d1 = len(start), A.shape[1]
    W, T = start.astype(np.longdouble), np.eye(c)[y].astype(np.longdouble)
    w = (weights / weights.sum()).astype(np.longdouble)
    penalised = np.ones((c, d1), bool)
    penalised[:, -1] = False
    free, signs = np.flatnonzero(~penalised | (start != 0)), penalised * np.sign(start)
    for _ in range(12):
        z = A @ W.T
        z -= z.max(axis=1, keepdims=True)
        total = np.exp(z).sum(axis=1, keepdims=True)
        p = np.exp(z) / total
        value = w @ ((np.log(total) - z) * T).sum(axis=1)
        value += l2 * (W[penalised] ** 2).sum() + l1 * np.abs(W[penalised]).sum()
        slopes = ((p - T) * w[:, np.newaxis]).T @ A + penalised * 2 * l2 * W
        S = w[:, np.newaxis, np.newaxis] * (p[:, :, np.newaxis] * (np.eye(c) - p[:, np.newaxis]))
        H = np.einsum("ikl,ij,im->kjlm", S, A, A).reshape(c * d1, -1)
        H += np.diag(penalised.ravel() * 2 * np.longdouble(l2))
        step = np.linalg.lstsq(
            H[np.ix_(free, free)].astype(float),
            (slopes + l1 * signs).ravel()[free].astype(float),
            rcond=1e-14,
        )[0]
        W.reshape(-1)[free] -= step
    return float(value), W, slopes


@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_minimum_to_many_digits(way, dtype, penalty):
    X, y = ill_conditioned(300, 8, 3)
    X = X.astype(dtype)
    weights = np.random.default_rng(1).uniform(0.5, 2, size=len(X))
    is_crude = way in ("diagonal", "hessian of some rows")  # here of four rows a weight
    tol = 1e-6 if is_crude else 1e-10
    model = fit(X, y, weights, alpha=1e-3, penalty=penalty, tol=tol, max_iter=3000)
    l2, l1 = (0, 1e-3) if penalty == "l1" else (2.5e-4, 5e-4)
    found = np.column_stack([model.coef_, model.intercept_]).astype(float)
    value, W, slopes = precise_minimum(X.astype(float), y, weights, l2, l1, found)
    # The zeros are those of the minimum, and the signs.
    assert (np.sign(W[:, :-1]) == np.sign(found[:, :-1])).all()
    is_zero = found[:, :-1] == 0
    assert is_zero.any()
    assert (np.abs(slopes[:, :-1][is_zero]) <= l1 * (1 + 1e-9)).all()
    gap = model.loss_curve_[-1] - value
    assert gap <= model.optimality_.gap + 1e-15
    assert model.optimality_.gap <= max(tol, 1e-10 if dtype == np.float64 else 1e-6) * value
    atol = (2e-4 if is_crude else 1e-6) * np.abs(found).max()
    np.testing.assert_allclose(found[:, :-1], W[:, :-1].astype(float), rtol=1e-5, atol=atol)


@pytest.mark.parametrize("alpha", [1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_passes_over_ill_conditioned_columns(passes, dtype, l1_ratio, alpha):
    """An orthant-wise method would end 500 iterations at gaps above 1e-3."""
    X, y = ill_conditioned(1000, 30, 4)
    tol = 1e-6 if dtype == np.float32 else 1e-10
    model = fit(X.astype(dtype), y, alpha=alpha, l1_ratio=l1_ratio, tol=tol, max_iter=100)
    assert model.optimality_.gap <= tol * model.loss_curve_[-1]
    assert len(passes) <= 60


@pytest.mark.parametrize("alpha", [1e-3, 1e-4])
def test_few_passes_without_the_hessian(passes, monkeypatch, alpha):
    monkeypatch.setattr(proximal_newton, "_MAX_WEIGHTS", 0)
    X, y = ill_conditioned(2000, 40, 4)
    model = fit(X, y, alpha=alpha, tol=1e-4)
    assert model.optimality_.gap <= 1e-4 * model.loss_curve_[-1]
    assert len(passes) <= 150


def test_the_zeros_are_those_of_scikit_learn():
    X, y = ill_conditioned(400, 12, 3, power=0.5)
    C = 20.0
    ours = fit(X, y, alpha=1 / (C * len(X)), l1_ratio=0.7, tol=1e-12)
    theirs = LogisticRegression(
        C=C, l1_ratio=0.7, solver="saga", tol=1e-9, max_iter=20000, random_state=0
    ).fit(X, y)
    np.testing.assert_array_equal(ours.coef_ == 0, theirs.coef_ == 0)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
def test_sparse_rows_and_every_number_of_threads_have_one_minimum(way, fit_intercept, standardize):
    X, y = ill_conditioned(200, 7, 3)
    X[np.abs(X) < 0.5] = 0
    options = {"alpha": 0.01, "tol": 1e-9, "fit_intercept": fit_intercept}
    options["standardize"] = standardize
    dense = fit(X, y, n_jobs=1, **options)
    assert dense.optimality_.gap <= 1e-9 * dense.loss_curve_[-1]
    for n_jobs in (2, 3):
        again = fit(X, y, n_jobs=n_jobs, **options)
        np.testing.assert_array_equal(again.coef_, dense.coef_)
        assert again.loss_curve_ == dense.loss_curve_
    sparse = fit(scipy.sparse.csr_array(X), y, **options)
    if standardize and not fit_intercept:
        return  # sparse rows are scaled, not centred, which the intercept alone makes up for
    np.testing.assert_allclose(sparse.loss_curve_[-1], dense.loss_curve_[-1], rtol=1e-8)
    np.testing.assert_array_equal(sparse.coef_ == 0, dense.coef_ == 0)


class StopError(Exception):
    pass


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_before", [1, 2, 7, 12])
def test_a_fit_that_is_resumed_has_the_bits_of_one_that_was_not(way, tmp_path, dtype, n_before):
    def stop(state):
        if state.epoch == n_before:
            raise StopError

    X, y = ill_conditioned(200, 8, 3)
    X, options = X.astype(dtype), {"tol": 1e-12, "alpha": 1e-4, "max_iter": 20}
    whole = fit(X, y, **options)
    if whole.n_iter_ <= n_before:
        return
    with pytest.raises(StopError):
        SoftmaxClassifier(
            solver="lbfgs", penalty="elasticnet", l1_ratio=0.5, **options, callbacks=stop
        ).fit(X, y, checkpoint=tmp_path / "fit.npz")
    model = SoftmaxClassifier(solver="lbfgs", penalty="elasticnet", l1_ratio=0.5, **options)
    model.fit(X, y, checkpoint=tmp_path / "fit.npz", resume=True)
    np.testing.assert_array_equal(model.coef_, whole.coef_)
    np.testing.assert_array_equal(model.intercept_, whole.intercept_)
    assert model.loss_curve_ == whole.loss_curve_
    assert model.optimality_ == whole.optimality_


def test_the_objective_never_rises_beyond_rounding(way):
    X, y = ill_conditioned(200, 8, 3)
    curve = fit(X, y, alpha=1e-5, tol=1e-10, max_iter=60).loss_curve_
    for before, after in itertools.pairwise(curve):
        assert after <= before + 1e-14 * abs(before)


def test_all_weights_are_zero_under_a_strong_penalty(passes, dtype):
    X, y = ill_conditioned(200, 8, 3)
    model = fit(X.astype(dtype), y, penalty="l1", alpha=10.0, tol=1e-9)
    assert not model.coef_.any()
    np.testing.assert_allclose(
        model.predict_proba(X[:1].astype(dtype))[0], np.bincount(y) / len(y), rtol=1e-5
    )
    assert len(passes) < 20


def test_a_constant_column_has_no_weight(dtype):
    X, y = ill_conditioned(200, 8, 3)
    X[:, 3] = 0
    model = fit(X.astype(dtype), y, alpha=1e-4, tol=1e-6)
    assert not model.coef_[:, 3].any()
    assert model.optimality_.gap <= 1e-6 * model.loss_curve_[-1]
