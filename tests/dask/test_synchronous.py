"""Synchronous training walks the trajectory of one process, and its bits do not depend on the workers."""

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pytest
import scipy.sparse
from dask_cases import (
    SIZES,
    C,
    N,
    alone,
    assert_same_bits,
    assert_same_model,
    cut,
    frame_of,
    made_up,
    synchronous,
)

PARTITIONS = {
    "one": (N,),
    "unequal, single and empty ones": SIZES,
    "empty at both ends": (0, 30, 31, 0),
    "of single rows": (1,) * 5 + (N - 5,),
}


@pytest.mark.parametrize("n_workers", [1, 2, 3])
@pytest.mark.parametrize("sizes", PARTITIONS.values(), ids=PARTITIONS.keys())
def test_partitions_and_workers_have_no_part_in_the_trajectory(clients, sizes, n_workers):
    X, y = made_up()
    model = synchronous(clients(n_workers), batch_size=20).fit(cut(X, sizes), cut(y, sizes))
    assert_same_model(model, alone(batch_size=20).fit(X, y))


def rate_of(step):
    return 0.3 / (1 + step)


PARAMETERS = {
    "all at once": {"batch_size": N, "max_iter": 8},
    "more than all": {"batch_size": 1000},
    "in order": {"shuffle": False},
    "by blocks": {"shuffle": "blocks"},
    "replacement": {"replacement": True},
    "replacement, all at once": {"replacement": True, "batch_size": N},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "averages": {"average": True},
    "averages from a sample on": {"average": 70, "momentum": 0.8},
    "l1": {"penalty": "l1", "alpha": 0.02},
    "l1 by subgradient": {"penalty": "l1", "alpha": 0.02, "l1_step": "subgradient"},
    "l2": {"penalty": "l2", "alpha": 0.1},
    "elasticnet": {"penalty": "elasticnet", "alpha": 0.05, "l1_ratio": 0.4},
    "no penalty": {"penalty": None},
    "standardize": {"standardize": True},
    "standardize without intercept": {"standardize": True, "fit_intercept": False},
    "rate from the data": {"eta0": "auto"},
    "rate from standardized data": {"eta0": "auto", "standardize": True, "batch_size": 30},
    "rate with replacement": {"eta0": "auto", "replacement": True},
    "invscaling": {"learning_rate": "invscaling", "power_t": 0.3},
    "step": {"learning_rate": "step", "step_every": 1, "step_factor": 0.5},
    "cosine with warmup": {"learning_rate": "cosine", "warmup_epochs": 1.5, "max_iter": 4},
    "warmup": {"warmup_epochs": 2},
    "adaptive": {"learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "max_iter": 8},
    "callable": {"learning_rate": rate_of},
    "no intercept": {"fit_intercept": False},
    "label smoothing": {"label_smoothing": 0.1},
    "weights of classes": {"class_weight": {0: 2.0, 2: 0.5}},
    "a class that does not count": {"class_weight": {0: 0.0, 1: 3.0}},
    "balanced": {"class_weight": "balanced"},
    "until the loss stays": {"tol": 0.05, "n_iter_no_change": 2, "max_iter": 60},
    "vectorized": {"backend": "vectorized"},
}


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS.keys())
@pytest.mark.costly
def test_every_parameter_does_what_it_does_in_one_process(client, parameters):
    X, y = made_up()
    X = X * [1, 2, 5, 1, 1, 3] + 1
    parameters = {"batch_size": 20, "eta0": 0.05} | parameters
    model = synchronous(client, **parameters).fit(cut(X), cut(y))
    assert_same_model(model, alone(**parameters).fit(X, y))


def test_tol_ends_it_before_max_iter(client):
    X, y = made_up()
    parameters = {"tol": 0.05, "n_iter_no_change": 2, "max_iter": 60, "batch_size": N}
    model = synchronous(client, **parameters).fit(cut(X), cut(y))
    assert model.n_iter_ == alone(**parameters).fit(X, y).n_iter_ < 60


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8, np.int32])
def test_every_dtype_is_trained_in_that_of_one_process(client, dtype):
    X, y = made_up()
    X = (X * 20 + 100).astype(dtype)
    parameters = {"eta0": "auto", "batch_size": 20}
    model = synchronous(client, **parameters).fit(cut(X), cut(y))
    expected = alone(**parameters).fit(X, y)
    assert_same_model(model, expected, expected.coef_.dtype.type)


WEIGHTS = {
    "of all sizes": lambda rng: rng.exponential(size=N),
    "some zeros": lambda rng: rng.integers(3, size=N).astype(float),
    "whole partitions of zeros": lambda rng: np.repeat([0.0, 1.0, 2.0], [21, 27, 13]),
    "all alike": lambda rng: np.full(N, 0.3),
    "integers": lambda rng: rng.integers(1, 4, size=N),
}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"class_weight": "balanced"},
        {"class_weight": {1: 0.5, 3: 0.0}},
        {"standardize": True, "eta0": "auto", "label_smoothing": 0.2},
    ],
    ids=["plain", "balanced", "mapping", "standardize"],
)
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_weights_of_samples(client, rng, weights, parameters):
    (X, y), weight = made_up(), weights(rng)
    y[N - 4 :] = np.arange(
        C
    )  # where the weights of whole partitions are 0, the classes are all there
    model = synchronous(client, batch_size=20, **parameters).fit(cut(X), cut(y), cut(weight))
    assert_same_model(model, alone(batch_size=20, **parameters).fit(X, y, weight))


@pytest.mark.parametrize("class_weight", [None, {1: 0.5}, "balanced"], ids=str)
def test_probabilities_as_targets(client, rng, class_weight):
    X, _ = made_up()
    y, weight = rng.dirichlet(np.ones(C), size=N), rng.integers(3, size=N).astype(float)
    parameters = {"class_weight": class_weight, "batch_size": 20}
    expected = alone(**parameters).fit(X, y, weight)
    for targets in (cut(y), cut(y).rechunk((SIZES, 1))):
        model = synchronous(client, **parameters).fit(cut(X), targets, cut(weight))
        assert_same_model(model, expected)


NAMES = np.array(["oak", "ash", "elm", "yew"])
DAYS = np.array(["2020-02-29", "1969-07-20", "2030-01-01", "2000-01-01"], "M8[D]")


def test_labels_of_any_kind_that_some_partitions_miss(client):
    X, y = made_up()
    in_order = np.argsort(y, kind="stable")
    X, y = X[in_order], y[in_order]
    for labels in (
        *(NAMES[y], NAMES[y].astype(object), y * 100 - 7, y.astype(np.uint8), y + 0.0),
        *(y.astype(object), (y > 1).astype(object), DAYS[y], DAYS[y].astype("M8[ns]")),
    ):
        model = synchronous(client, batch_size=20).fit(cut(X), cut(labels))
        expected = alone(batch_size=20).fit(X, labels)
        assert_same_model(model, expected)
        assert model.classes_.dtype == expected.classes_.dtype
        assert model.predict(cut(X)).dtype == expected.classes_.dtype
        assert model.score(cut(X), cut(labels)) == expected.score(X, labels)


def test_weights_of_classes_that_are_dates(client):
    X, y = made_up()
    y[:21] = 0
    for unit in ("D", "ns"):
        days = DAYS[y].astype(f"M8[{unit}]")
        parameters = {"class_weight": {DAYS[0]: 0.0, DAYS[1]: 2.0}, "batch_size": 20}
        model = synchronous(client, **parameters).fit(cut(X), cut(days))
        assert_same_model(model, alone(**parameters).fit(X, days))


def test_partitions_of_a_class_that_does_not_count(client):
    X, y = made_up()
    y[:21] = 0
    parameters = {"class_weight": {0: 0.0}, "batch_size": 20}
    model = synchronous(client, **parameters).fit(cut(X), cut(y))
    assert_same_model(model, alone(**parameters).fit(X, y))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"penalty": "l1", "alpha": 0.01},
        {"eta0": "auto", "standardize": True},
        {"shuffle": "blocks", "batch_size": N},
    ],
    ids=["l2", "l1", "standardize", "all at once"],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sparse_rows(client, rng, parameters, dtype):
    X, y = made_up(dtype=dtype)
    X[rng.random(X.shape) < 0.6] = 0
    sparse, parameters = scipy.sparse.csr_matrix(X), {"batch_size": 20} | parameters
    model = synchronous(client, **parameters).fit(cut(sparse), cut(y))
    # The curve of one process has the penalty of a step some steps ago.
    assert_same_model(model, alone(**parameters).fit(sparse, y), dtype, curve=False)


def test_blocks_of_sparse_rows_are_those_of_all_rows(client, rng, monkeypatch):
    monkeypatch.setattr("fastsoftmax.training.epoch._SHUFFLED_BLOCK_BYTES", 256)
    X, y = made_up()
    X[:21][rng.random((21, X.shape[1])) < 0.9] = 0  # the first partitions' rows are shorter
    sparse, parameters = scipy.sparse.csr_matrix(X), {"batch_size": 20, "shuffle": "blocks"}
    model = synchronous(client, **parameters).fit(cut(sparse), cut(y))
    assert_same_model(model, alone(**parameters).fit(sparse, y), curve=False)


def test_the_start_is_what_is_asked_for(client, rng):
    X, y = made_up()
    start = {"coef_init": rng.normal(size=(C, X.shape[1])), "intercept_init": rng.normal(size=C)}
    parameters = {"batch_size": 20, "standardize": True, "warm_start": True}
    model, expected = synchronous(client, **parameters), alone(**parameters)
    assert_same_model(model.fit(cut(X), cut(y), **start), expected.fit(X, y, **start))
    assert_same_model(model.fit(cut(X), cut(y)), expected.fit(X, y))  # from where they are
    only_intercept = {"intercept_init": np.ones(C)}
    assert_same_model(
        model.fit(cut(X), cut(y), **only_intercept), expected.fit(X, y, **only_intercept)
    )


@pytest.mark.parametrize(
    "parameters",
    [{"momentum": 0.5}, {"standardize": True, "eta0": "auto"}, {"class_weight": "balanced"}],
    ids=["momentum", "standardize", "weights"],
)
@pytest.mark.costly
def test_the_bits_are_those_of_the_partitions_whatever_the_workers(clients, rng, parameters):
    X, y = made_up(n=400, d=30, c=5)
    X *= rng.exponential(size=X.shape) * 3
    sizes, weight = (97, 3, 50, 50, 50, 50, 29, 71), rng.exponential(size=400)
    collections = [cut(each, sizes) for each in (X, y, weight)]
    expected = synchronous(clients(1), batch_size=64, **parameters).fit(*collections)
    for n_workers in (2, 3):
        model = synchronous(clients(n_workers), batch_size=64, **parameters).fit(*collections)
        assert_same_bits(model, expected)
    # On workers by turns, the last ones first.
    client = clients(2)
    addresses = sorted(client.scheduler_info()["workers"])
    there = [
        [client.persist(each.blocks[i], workers=addresses[(i + 1) % 2]) for i in range(len(sizes))]
        for each in collections
    ]
    persisted = [da.concatenate(blocks) for blocks in there]
    model = synchronous(client, batch_size=64, **parameters).fit(*persisted)
    assert_same_bits(model, expected)


def test_the_bits_of_lazy_and_persisted_rows_and_of_files(clients, tmp_path):
    client, (X, y) = clients(2), made_up(n=200)
    frame = frame_of(X).assign(label=y)
    for i, part in enumerate((frame[:60], frame[60:130], frame[130:])):
        part.to_parquet(tmp_path / f"{i}.parquet")
    read = dd.read_parquet(tmp_path)
    features = [name for name in read.columns if name != "label"]
    sizes, parameters = (60, 70, 70), {"batch_size": 200, "max_iter": 5}
    expected = synchronous(client, **parameters).fit(cut(X, sizes), cut(y, sizes))
    persisted = client.persist([cut(X, sizes), cut(y, sizes)])
    for collections, persist in [
        (persisted, True),
        (persisted, "auto"),
        ((cut(X, sizes), cut(y, sizes)), False),
        ((cut(X, sizes), cut(y, sizes)), "auto"),
        ((read[features], read["label"]), False),
        ((read[features], read["label"]), True),
        ((read[features], read["label"]), "auto"),
    ]:
        model = synchronous(client, persist=persist, **parameters).fit(*collections)
        assert_same_bits(model, expected)


def test_heavy_rows_have_a_part_in_the_rate_wherever_they_are(client, rng):
    n, n_heavy = 5000, 3
    X, y = made_up(n)
    weights = np.append(rng.uniform(0.5, 1, n - n_heavy), np.full(n_heavy, 2.0))
    X[n - 2] *= 50  # no row that is looked at for its place
    parameters = {"eta0": "auto", "batch_size": n // 2, "max_iter": 1}
    expected = alone(**parameters).fit(X, y, weights)
    for sizes in [(n // 2, n // 2), (n - 3, 1, 1, 1)]:
        args = (cut(array, sizes) for array in (X, y, weights))
        assert_same_model(synchronous(client, **parameters).fit(*args), expected)


def test_minibatches_of_rows_that_are_not_held_are_refused(client):
    X, y = made_up()
    with pytest.raises(
        ValueError, match=r"^X: .*persist is False, .*batch_size=len\(X\) \(it is 61\)"
    ):
        synchronous(client, persist=False).fit(cut(X), cut(y))


def test_more_steps_than_are_submitted_at_once(client, monkeypatch):
    monkeypatch.setattr("fastsoftmax.dask.synchronous._STEPS_PER_BLOCK", 3)
    X, y = made_up()
    assert_same_model(synchronous(client).fit(cut(X), cut(y)), alone().fit(X, y))


@pytest.mark.costly
@pytest.mark.parametrize("parameters", [{}, {"average": True}], ids=["plain", "average"])
def test_large_weights_to_start_from_are_what_a_task_returns(client, monkeypatch, parameters):
    X, y = made_up()
    expected = synchronous(client, **parameters).fit(cut(X), cut(y))
    monkeypatch.setattr("fastsoftmax.dask.synchronous.MAX_BYTES_IN_TASKS", 0)
    assert_same_bits(synchronous(client, **parameters).fit(cut(X), cut(y)), expected)


def test_steps_that_lead_nowhere(client):
    from fastsoftmax import DivergenceError

    X, y = made_up()
    parameters = {"eta0": 1e200, "batch_size": 20}
    model = synchronous(client, **parameters)
    with pytest.raises(DivergenceError, match="lower eta0"):
        model.fit(cut(X * 1e200), cut(y))
    assert not hasattr(model, "coef_")
