"""Solver "lbfgs" on partitions: the optimum of one process, and bits that no worker changes."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from dask_cases import SIZES, N, assert_same_bits, cut, cut_frame, frame_of, made_up
from dask_faults import at_epoch, collections, first_of, in_a_moment, until

import fastsoftmax
from fastsoftmax import ClusterError
from fastsoftmax.dask import SoftmaxClassifier
from fastsoftmax.dask import solver as solver_module
from fastsoftmax.training import preconditioner

PARTITIONS = {
    "one": (N,),
    "unequal, single and empty ones": SIZES,
    "empty at both ends": (0, 30, 31, 0),
}
COMMON = {"solver": "lbfgs", "alpha": 0.01, "tol": 1e-10, "n_jobs": 1}


def solved(client, **parameters):
    return SoftmaxClassifier(client=client, **COMMON | parameters)


def alone(**parameters):
    return fastsoftmax.SoftmaxClassifier(**COMMON | parameters)


def assert_same_optimum(model, expected, rtol=1e-9):
    """Bounds are met, and no objective is further above the other than its bound says."""
    value, other = model.loss_curve_[-1], expected.loss_curve_[-1]
    np.testing.assert_allclose(value, other, rtol=rtol)
    assert model.coef_.dtype == expected.coef_.dtype
    assert (model.optimality_.gap is None) == (expected.optimality_.gap is None)
    assert model.optimality_.reason == expected.optimality_.reason
    if model.optimality_.gap is not None and model.coef_.dtype == np.float64:
        rounding = 1e-14
        assert value - other <= model.optimality_.gap + rounding
        assert other - value <= expected.optimality_.gap + rounding
    size = np.abs(expected.coef_).max()
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=np.sqrt(rtol) * size)
    for name in ("classes_", "n_features_in_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))
    assert model.eta0_ is None


@pytest.mark.usefixtures("without_newton")
@pytest.mark.parametrize("sizes", PARTITIONS.values(), ids=PARTITIONS.keys())
def test_the_optimum_is_that_of_one_process(client, sizes):
    X, y = made_up()
    model, expected = solved(client).fit(cut(X, sizes), cut(y, sizes)), alone().fit(X, y)
    assert_same_optimum(model, expected)
    assert model.n_iter_ == model.t_ == len(model.loss_curve_)
    assert abs(model.n_iter_ - expected.n_iter_) <= 1
    np.testing.assert_allclose(model.loss_curve_[0], expected.loss_curve_[0], rtol=1e-9)


@pytest.mark.parametrize("persist", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_depend_on_the_partitions_alone(clients, dtype, persist):
    X, y = made_up(dtype=dtype)
    options = {"persist": persist, "standardize": True, "tol": 1e-6}
    one, *others = (solved(clients(n), **options).fit(cut(X), cut(y, SIZES)) for n in (1, 2, 3))
    for other in others:
        assert_same_bits(other, one)
        assert other.optimality_ == one.optimality_


PARAMETERS = {
    "l1": {"penalty": "l1", "alpha": 0.02, "tol": 1e-8, "max_iter": 2000},
    "elasticnet": {"penalty": "elasticnet", "l1_ratio": 0.4, "tol": 1e-8, "max_iter": 2000},
    "no penalty": {"penalty": None, "tol": 1e-8},
    "standardize": {"standardize": True},
    "no intercept": {"fit_intercept": False, "standardize": True},
    "label smoothing": {"label_smoothing": 0.1},
    "weights of classes": {"class_weight": {0: 2.0, 2: 0.5}},
    "a class that does not count": {"class_weight": {0: 0.0, 1: 3.0}},
    "balanced": {"class_weight": "balanced"},
    "vectorized": {"backend": "vectorized"},
    "not in memory": {"persist": False},
}


@pytest.mark.costly
@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS.keys())
def test_every_parameter_does_what_it_does_in_one_process(client, parameters):
    X, y = made_up()
    model = solved(client, **parameters).fit(cut(X), cut(y))
    of_one = {name: value for name, value in parameters.items() if name != "persist"}
    rtol = 1e-5 if parameters.get("tol") else 1e-9
    assert_same_optimum(model, alone(**of_one).fit(X, y), rtol)


@pytest.mark.parametrize("kind", ["sparse", "soft", "weights", "frame", "bytes", "float32"])
def test_the_rows_may_come_in_any_form(client, kind):
    X, y = made_up()
    weights, rtol = None, 1e-9
    if kind == "sparse":
        X[np.abs(X) < 0.7] = 0
        X = scipy.sparse.csr_matrix(X)
    elif kind == "soft":
        y = np.random.default_rng(3).dirichlet(np.ones(4), size=N)
    elif kind == "weights":
        weights = np.random.default_rng(3).integers(0, 4, size=N).astype(float)
    elif kind == "frame":
        X = frame_of(X)
    elif kind == "bytes":
        X, rtol = np.rint(40 * X + 100).clip(0, 255).astype(np.uint8), 1e-4
    elif kind == "float32":
        X, rtol = X.astype(np.float32), 1e-5
    options = {"standardize": True, "tol": 1e-10 if rtol == 1e-9 else 1e-5}
    expected = alone(**options).fit(X, y, weights)
    X = cut_frame(X) if kind == "frame" else cut(X)
    weights = None if weights is None else cut(weights)
    model = solved(client, **options).fit(X, cut(y), weights)
    assert_same_optimum(model, expected, rtol)
    assert model.optimality_.gap <= 1.001 * options["tol"] * model.loss_curve_[-1]


@pytest.mark.usefixtures("without_newton")
def test_many_features_have_a_low_rank_in_the_preconditioner(client, monkeypatch):
    monkeypatch.setattr(preconditioner, "_MAX_FEATURES", 2)
    X, y = made_up()
    model, expected = solved(client, tol=1e-7).fit(cut(X), cut(y)), alone(tol=1e-7).fit(X, y)
    assert_same_optimum(model, expected, 1e-6)
    np.testing.assert_allclose(model.loss_curve_[:5], expected.loss_curve_[:5], rtol=1e-9)


@pytest.mark.usefixtures("without_newton")
def test_sums_are_of_some_evenly_spread_rows(client, monkeypatch):
    """The same rows as in one process, though partitions have different shares of them."""
    X, y = made_up(n=200)
    monkeypatch.setattr(preconditioner, "_MOST_ROWS_FOR_CLASSES", 23)
    monkeypatch.setattr(preconditioner, "_MOST_ROWS_PER_FEATURE", 5)
    sizes = (3, 100, 0, 97)
    model, expected = (
        solved(client, max_iter=4, tol=1e-15),
        alone(max_iter=4, tol=1e-15),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(cut(X, sizes), cut(y, sizes))
        expected.fit(X, y)
    np.testing.assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9, atol=1e-12)


def test_weights_that_are_too_large_for_tasks_go_by_a_worker(client, monkeypatch):
    X, y = made_up()
    expected = solved(client, tol=1e-4).fit(cut(X), cut(y))
    monkeypatch.setattr(solver_module, "MAX_BYTES_IN_TASKS", 0)
    model = solved(client, tol=1e-4).fit(cut(X), cut(y))
    assert_same_bits(model, expected)
    assert model.bytes_moved_ == expected.bytes_moved_
    assert min(model.bytes_moved_) > 0


def test_the_bytes_of_a_round(clients):
    """Of one pass: weights to every worker, and back from it the loss and the gradient in float64."""
    X, y = made_up(dtype=np.float32)
    sizes = (15, 15, 15, 16)  # two of each worker, whose sum is sent
    model = solved(clients(2), persist=True, tol=1e-5).fit(cut(X, sizes), cut(y, sizes))
    size = model.coef_.size + model.intercept_.size
    of_pass = 2 * (4 * size + 8 * (1 + size))
    assert min(model.bytes_moved_[1:-1]) == of_pass


def test_progress_says_the_gap_and_the_bytes(client, capsys):
    X, y = made_up()
    solved(client, verbose=True).fit(cut(X), cut(y))
    assert "gap" in capsys.readouterr().out.splitlines()[-1]


def test_callbacks_and_warm_starts(client):
    X, y = made_up()
    seen = []
    model = solved(client, warm_start=True, callbacks=lambda end: seen.append(end.model))
    model.fit(cut(X), cut(y))
    gaps = [each.optimality_.gap for each in seen]
    assert len(seen) == model.n_iter_
    assert gaps[-1] == model.optimality_.gap < gaps[0]
    model.fit(cut(X), cut(y))
    assert model.n_iter_ == 1
    local = model.to_local()
    assert local.optimality_ == model.optimality_
    np.testing.assert_array_equal(local.predict(X), model.predict(cut(X)).compute())


@pytest.mark.parametrize(
    ("name", "value"), [("algorithm", "synchronous"), ("local_epochs", 3), ("eta0", 0.1)]
)
def test_parameters_of_sgd_are_refused_by_name(client, name, value):
    X, y = made_up()
    with pytest.raises(ValueError, match=rf"^{name}: expected its default, .*solver='lbfgs'"):
        solved(client, **{name: value}).fit(cut(X), cut(y))


def test_an_invalid_row_is_named_with_its_partition(client):
    X, y = made_up()
    X[50] = np.nan
    with pytest.raises(ValueError, match=r"^X: .*row 2\b.*\(partition 4\)"):
        solved(client).fit(cut(X), cut(y))


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("checks_often")
@pytest.mark.parametrize("when", first_of("within", "between"))
def test_a_worker_dies(site, when):
    X, y = collections()
    expected = solved(site.client, tol=1e-4).fit(X, y)
    act = site.kill if when == "between" else in_a_moment(site.kill)
    model = solved(site.client, tol=1e-4, callbacks=at_epoch(2, act)).fit(X, y)
    assert_same_bits(model, expected)
    assert model.optimality_ == expected.optimality_
    until(lambda: len(site.processes_by_worker()) == site.n_workers - 1, 10)


def test_a_cluster_that_ends_leaves_the_last_iteration(client, monkeypatch):
    X, y = made_up()
    seen = []
    model = solved(client, callbacks=lambda end: seen.append(end.model))
    results = solver_module.DistributedObjective._means

    def fail(self, method, *args):
        if len(seen) == 3:
            raise ClusterError("no worker has come")
        return results(self, method, *args)

    monkeypatch.setattr(solver_module.DistributedObjective, "_means", fail)
    with pytest.raises(ClusterError, match=r"^training stopped after epoch 3: no worker"):
        model.fit(cut(X), cut(y))
    assert_same_bits(model, seen[-1])
    assert model.optimality_ == seen[-1].optimality_
    assert len(model.bytes_moved_) == model.n_iter_ == 3
