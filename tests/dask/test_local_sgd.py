"""Local SGD: whole epochs on every worker, and the means of the weights between them."""

import dask.dataframe as dd
import numpy as np
import pytest
import scipy.sparse
from dask_cases import (
    C,
    D,
    N,
    alone,
    assert_same_bits,
    assert_same_model,
    cut,
    cut_frame,
    frame_of,
    local_sgd,
    made_up,
)

FOUR = (19, 11, 24, 7)


def by_hand(X, y, weight, sizes_of_workers, n_rounds, local_epochs, **parameters):
    """Weights, velocities and losses of local estimators that are averaged by rows."""
    parameters = {"shuffle": False, "max_iter": 1} | parameters
    workers, first = [], 0
    for sizes in sizes_of_workers:
        ends = first + np.cumsum(sizes)
        starts = ends - np.array(sizes)
        workers.append([slice(i, j) for i, j in zip(starts, ends, strict=True) if i < j])
        first = ends[-1]
    coef, intercept = np.zeros((C, D)), np.zeros(C)
    velocity = (np.zeros_like(coef), np.zeros_like(intercept))
    shares = np.array([sum(part.stop - part.start for part in parts) for parts in workers]) / len(X)
    curve = []
    for _ in range(n_rounds):
        ends, losses = [], np.zeros((len(workers), local_epochs))
        for i, parts in enumerate(workers):
            model = alone(**parameters)
            # The first call makes the attributes, which those of the round take the place of.
            model.partial_fit(X, y, np.arange(C), sample_weight=weight)
            model.coef_, model.intercept_ = coef, intercept
            model._velocity = velocity if parameters.get("momentum") else (None, None)
            for epoch in range(local_epochs):
                for part in parts:
                    of_part = None if weight is None else weight[part]
                    model.partial_fit(X[part], y[part], sample_weight=of_part)
                    n_rows = part.stop - part.start
                    losses[i, epoch] += model.loss_curve_[-1] * n_rows / len(X) / shares[i]
            ends.append((model.coef_, model.intercept_, *model._velocity))
        coef, intercept, *kept = (
            None if values[0] is None else np.tensordot(shares, values, 1)
            for values in zip(*ends, strict=True)
        )
        velocity = tuple(kept)
        curve += (shares @ losses).tolist()
    return coef, intercept, velocity, curve


def assert_is_by_hand(model, expected):
    coef, intercept, velocity, curve = expected
    np.testing.assert_allclose(model.coef_, coef, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.intercept_, intercept, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.loss_curve_, curve, rtol=1e-12)
    for actual, wanted in zip(model._velocity, velocity, strict=True):
        assert (actual is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-12)


RULES = {
    "plain": {},
    "momentum": {"momentum": 0.8},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "l1": {"penalty": "l1", "alpha": 0.01},
}


@pytest.mark.parametrize("local_epochs", [1, 2])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_weights_and_velocities_are_means_by_rows(client, rule, local_epochs):
    X, y = made_up()
    parameters = {"shuffle": False, "max_iter": 2 * local_epochs} | rule
    model = local_sgd(client, local_epochs=local_epochs, **parameters)
    model.fit(cut(X, FOUR), cut(y, FOUR))
    assert_is_by_hand(model, by_hand(X, y, None, [FOUR[:2], FOUR[2:]], 2, local_epochs, **rule))
    assert model.n_iter_ == len(model.loss_curve_) == 2 * local_epochs
    assert len(model.bytes_moved_) == 2
    assert model.t_ == 2 * local_epochs * (2 + 1)  # of the worker that has 19 + 11 rows, by 16


def test_three_workers(clients):
    X, y = made_up()
    model = local_sgd(clients(3), shuffle=False, max_iter=2).fit(cut(X, FOUR), cut(y, FOUR))
    workers = [FOUR[:1], FOUR[1:2], FOUR[2:]]
    assert_is_by_hand(model, by_hand(X, y, None, workers, 2, 1))


def test_each_counts_the_rows_whose_weight_is_not_zero(client, rng):
    X, y = made_up()
    weight = rng.exponential(size=N)
    weight[:13] = 0
    model = local_sgd(client, shuffle=False, max_iter=2)
    model.fit(cut(X, FOUR), cut(y, FOUR), cut(weight, FOUR))
    counted, workers = weight > 0, [(6, 11), FOUR[2:]]
    # partial_fit divides by the mean of its first call, which has all of them.
    expected = by_hand(X[counted], y[counted], weight[counted], workers, 2, 1)
    assert_is_by_hand(model, expected)


def test_epochs_that_rounds_do_not_divide(client):
    X, y = made_up()
    model = local_sgd(client, local_epochs=3, max_iter=7).fit(cut(X), cut(y))
    assert model.n_iter_ == len(model.loss_curve_) == 7
    assert len(model.bytes_moved_) == 3


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"momentum": 0.9, "nesterov": True},
        {"learning_rate": "cosine", "warmup_epochs": 1},
        {"standardize": True, "eta0": "auto"},
        {"fit_intercept": False, "class_weight": "balanced", "label_smoothing": 0.1},
    ],
    ids=["plain", "nesterov", "cosine", "standardize", "weights"],
)
@pytest.mark.parametrize("local_epochs", [1, 3])
def test_one_worker_with_one_partition_is_one_process(clients, parameters, local_epochs):
    X, y = made_up()
    model = local_sgd(clients(1), shuffle=False, local_epochs=local_epochs, **parameters)
    model.fit(cut(X, (N,)), cut(y, (N,)))
    assert_same_model(model, alone(shuffle=False, **parameters).fit(X, y))


def test_it_learns_as_much_as_one_process(clients):
    X, y = made_up(n=600)
    parameters = {"max_iter": 25, "batch_size": 20, "eta0": 0.2, "alpha": 0.05}
    expected = alone(**parameters).fit(X, y)
    for n_workers, sizes in ((1, (600,)), (2, (150,) * 4), (3, (100, 300, 200))):
        model = local_sgd(clients(n_workers), **parameters).fit(cut(X, sizes), cut(y, sizes))
        assert model.loss_curve_[-1] == pytest.approx(expected.loss_curve_[-1], abs=0.02)
        assert model.to_local().score(X, y) == pytest.approx(expected.score(X, y), abs=0.03)


@pytest.mark.parametrize("shuffle", [True, False, "blocks"])
def test_the_seed_decides_the_bits(client, shuffle):
    X, y = made_up()
    fits = [
        local_sgd(client, shuffle=shuffle, random_state=seed).fit(cut(X, FOUR), cut(y, FOUR))
        for seed in (1, 1, 2)
    ]
    assert_same_bits(fits[1], fits[0])
    assert (fits[2].coef_ == fits[0].coef_).all() == (shuffle is False)


@pytest.mark.costly
def test_large_weights_to_start_from_are_what_a_task_returns(clients, monkeypatch):
    X, y = made_up()
    for n_workers in (1, 2, 3):
        expected = local_sgd(clients(n_workers), momentum=0.5).fit(cut(X, FOUR), cut(y, FOUR))
        with monkeypatch.context() as patch:
            patch.setattr("fastsoftmax.dask.local_sgd.MAX_BYTES_IN_TASKS", 0)
            model = local_sgd(clients(n_workers), momentum=0.5).fit(cut(X, FOUR), cut(y, FOUR))
        assert_same_bits(model, expected)


def test_the_bits_of_rows_that_are_held_and_that_are_read(client, tmp_path):
    X, y = made_up()
    frame = frame_of(X).assign(label=y)
    for i, stop in enumerate(np.cumsum(FOUR)):
        frame[stop - FOUR[i] : stop].to_parquet(tmp_path / f"{i}.parquet")
    read = dd.read_parquet(tmp_path)
    features = [name for name in frame.columns if name != "label"]
    parameters = {"momentum": 0.5, "standardize": True, "local_epochs": 2, "max_iter": 4}
    expected = local_sgd(client, persist=True, **parameters).fit(cut(X, FOUR), cut(y, FOUR))
    for collections in [(cut(X, FOUR), cut(y, FOUR)), (read[features], read["label"])]:
        model = local_sgd(client, persist=False, **parameters).fit(*collections)
        assert_same_bits(model, expected)


def test_a_worker_whose_partitions_are_empty(client):
    X, y = made_up()
    sizes = (N, 0)  # the second worker has none to train on
    model = local_sgd(client, shuffle=False).fit(cut(X, sizes), cut(y, sizes))
    assert_same_model(model, alone(shuffle=False).fit(X, y))


def test_fewer_partitions_than_workers(clients):
    X, y = made_up()
    model = local_sgd(clients(3), shuffle=False).fit(cut(X, (N,)), cut(y, (N,)))
    assert_same_model(model, alone(shuffle=False).fit(X, y))


def test_classes_that_a_worker_never_sees(client):
    X, y = made_up()
    in_order = np.argsort(y, kind="stable")
    model = local_sgd(client, max_iter=20).fit(cut(X[in_order], FOUR), cut(y[in_order], FOUR))
    assert model.to_local().score(X, y) > 0.7


@pytest.mark.parametrize("rule", [{}, {"momentum": 0.8, "nesterov": True}], ids=str)
def test_sparse_rows(client, rng, rule):
    X, y = made_up()
    X[rng.random(X.shape) < 0.6] = 0
    sparse = scipy.sparse.csr_matrix(X)
    model = local_sgd(client, **rule).fit(cut(sparse, FOUR), cut(y, FOUR))
    dense = local_sgd(client, **rule).fit(cut(X, FOUR), cut(y, FOUR))
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=0, atol=1e-12)


def test_tol_and_adaptive_rates_end_it(client):
    X, y = made_up()
    parameters = {"tol": 0.01, "n_iter_no_change": 2, "max_iter": 500}
    for learning_rate in ("constant", "adaptive"):
        model = local_sgd(client, learning_rate=learning_rate, **parameters)
        assert model.fit(cut(X), cut(y)).n_iter_ < 100


def test_a_frame_in_partitions_of_a_frame(client):
    X, y = made_up()
    frame, labels = frame_of(X), frame_of(y[:, np.newaxis], ["label"])["label"]
    model = local_sgd(client).fit(cut_frame(frame, FOUR), cut_frame(labels, FOUR))
    assert_same_bits(model, local_sgd(client).fit(cut(X, FOUR), cut(y, FOUR)))
