"""What cannot be trained on is an error that names it, and the partition; the model stays as it was."""

import asyncio
from functools import partial
from threading import Lock

import dask
import dask.array as da
import dask.bag
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from dask_cases import (
    C,
    D,
    N,
    cut,
    cut_frame,
    frame_of,
    in_delayed,
    local_sgd,
    made_up,
    of_unknown_sizes,
    synchronous,
)

X, Y = made_up()
SPARSE = scipy.sparse.csr_matrix(X)


def changed(array, at, value):
    new = np.array(array, copy=True)
    new[at] = value
    return new


NARROWER = in_delayed([X[:30], X[30:, 1:]], (D,))
DENSE_AND_SPARSE = in_delayed([X[:30], SPARSE[30:]], (D,))
MIXED = in_delayed([Y[:30], np.array(["a", "b"])[Y[30:] % 2]], ())
BYTES_AND_TEXT = in_delayed([Y[:30].astype("S"), Y[30:].astype("U")], ())
TWO_AND_THREE = in_delayed([np.full((30, 2), 1 / 2), np.full((31, 3), 1 / 3)], (2,))
HALVES = (30, 31)
FRAME = frame_of(X)
OTHER_COLUMNS = FRAME.rename(columns={"column 1": "other"})

# What is given to fit, the error and what it says.
BAD_DATA = {
    "an array in memory": ((X, Y), TypeError, "^X: .*Dask array or dataframe, got ndarray"),
    "labels in memory": ((cut(X), Y), TypeError, "^y: .*Dask array or dataframe, got ndarray"),
    "weights in memory": (
        (cut(X), cut(Y), np.ones(N)),
        TypeError,
        "^sample_weight: .*Dask array or dataframe, got ndarray",
    ),
    "a list": ((X.tolist(), Y.tolist()), TypeError, "^X: .*got list"),
    "a frame in memory": ((FRAME, Y), TypeError, "^X: .*got DataFrame: dask.dataframe.from_pandas"),
    "labels in a series": (
        (cut_frame(FRAME), pd.Series(Y)),
        TypeError,
        "^y: .*got Series: dask.dataframe.from_pandas makes one$",
    ),
    "a lazy value": (
        (dask.delayed(np.copy)(X), cut(Y)),
        TypeError,
        "^X: .*got Delayed: dask.array.from_delayed makes one$",
    ),
    "no labels": ((cut(X), None), TypeError, "^y: .*got NoneType$"),
    "a bag": (
        (dask.bag.from_sequence([1, 2]), cut(Y)),
        TypeError,
        "^X: .*got Bag: its method to_dataframe makes one$",
    ),
    "chunks along features": (
        (da.from_array(X, chunks=(20, 3)), cut(Y)),
        ValueError,
        "^X: .*one chunk along the features, got 2.*rechunk",
    ),
    "one dimension": ((cut(Y), cut(Y)), ValueError, "^X: expected two dimensions"),
    "a series": ((cut_frame(FRAME["column 1"]), cut(Y)), ValueError, "^X: expected two dimensions"),
    "fewer labels": ((cut(X), cut(Y[:60], (30, 30))), ValueError, "^y: expected 61 .*, got 60"),
    "more weights": (
        (cut(X), cut(Y), cut(np.ones(N + 1), (N + 1,))),
        ValueError,
        "^sample_weight: expected 61 .*, got 62",
    ),
    "fewer labels of an unknown size": (
        (of_unknown_sizes(X, HALVES), of_unknown_sizes(Y[:60], (30, 30))),
        ValueError,
        r"^y: expected 31 labels.*got 30 \(partition 1\)",
    ),
    "more partitions of labels": (
        (of_unknown_sizes(X, HALVES), of_unknown_sizes(Y, (20, 20, 21))),
        ValueError,
        "^y: expected the 2 partitions of X, got 3; Dask may read several files together",
    ),
    "more partitions of labels in frames": (
        (cut_frame(FRAME, HALVES), cut_frame(pd.Series(Y), (20, 20, 21))),
        ValueError,
        "^y: expected the 2 partitions of X, got 3$",
    ),
    "fewer weights": (
        (of_unknown_sizes(X, HALVES), of_unknown_sizes(Y, HALVES), of_unknown_sizes(Y, (31, 30))),
        ValueError,
        r"^sample_weight: expected shape \(30,\), got \(31,\) \(partition 0\)",
    ),
    "a negative weight": (
        (cut(X, HALVES), cut(Y, HALVES), cut(changed(np.ones(N), 35, -1), HALVES)),
        ValueError,
        r"^sample_weight: .*got -1.0 in row 5 \(partition 1\)",
    ),
    "weights of zeros": (
        (cut(X), cut(Y), cut(np.zeros(N))),
        ValueError,
        "^sample_weight: expected at least one weight that is not zero",
    ),
    "a label of weight 0 with a fraction": (
        (cut(X), cut(changed(Y.astype(float), 35, 0.5)), cut(changed(np.ones(N), 35, 0))),
        ValueError,
        r"^y: .*continuous value.*\(partition 3\)",
    ),
    "NaN": (
        (cut(changed(X, (34, 2), np.nan), HALVES), cut(Y, HALVES)),
        ValueError,
        r"^X: expected finite numbers, got NaN in row 4 \(partition 1\)",
    ),
    "inf in a frame": (
        (cut_frame(frame_of(changed(X, (3, 2), np.inf)), HALVES), cut_frame(pd.Series(Y), HALVES)),
        ValueError,
        r"^X: expected finite numbers, got inf in row 3 \(partition 0\)",
    ),
    "NaN in sparse rows": (
        (cut(scipy.sparse.csr_matrix(changed(X, (34, 2), np.nan)), HALVES), cut(Y, HALVES)),
        ValueError,
        r"^X: expected finite numbers, got NaN in row 4 \(partition 1\)",
    ),
    "strings in X": (
        (cut_frame(FRAME.assign(name="a"), HALVES), cut_frame(pd.Series(Y), HALVES)),
        (TypeError, ValueError),
        r"^X: expected .*numbers.*\(partition 0\)",
    ),
    "complex numbers": ((cut(X + 1j), cut(Y)), ValueError, "^X: Complex data not supported"),
    "no features": ((cut(X[:, :0]), cut(Y)), ValueError, "^X: expected at least one"),
    "no rows": ((cut(X[:0], (0, 0)), cut(Y[:0], (0, 0))), ValueError, "^X: .*at least one sample"),
    "one class": (
        (cut(X), cut(np.full(N, 3))),
        ValueError,
        "^y: .*two classes, got one class: 3$",
    ),
    "no columns": (
        (cut(X), cut(np.zeros((N, 0)))),
        ValueError,
        "^y: .*two classes, got 0",
    ),
    "labels with a fraction": (
        (cut(X, HALVES), cut(Y + 0.5, HALVES)),
        ValueError,
        r"^y: .*continuous value.*\(partition \d\)",
    ),
    "labels of several types": ((cut(X, HALVES), MIXED), TypeError, "^y: .*of one type"),
    "labels of bytes and of text": (
        (cut(X, HALVES), BYTES_AND_TEXT),
        TypeError,
        "^y: .*of one type",
    ),
    "a single label": ((cut(X), cut(Y).max()), ValueError, "^y: expected one for each row of X"),
    "a single weight": (
        (cut(X), cut(Y), cut(Y).max()),
        ValueError,
        "^sample_weight: expected one for each row of X",
    ),
    "masked labels": (
        (cut(X), da.ma.masked_equal(cut(Y), 2)),
        TypeError,
        r"^y: expected labels without masked elements.*\(partition \d\)",
    ),
    "masked weights": (
        (cut(X), cut(Y), da.ma.masked_equal(cut(Y), 2)),
        TypeError,
        r"^sample_weight: expected an array without masked elements.*\(partition \d\)",
    ),
    "labels of several types in a partition": (
        (cut(X), cut(np.array(["a", 1] * 30 + ["a"], object))),
        TypeError,
        "^y: .*of one type",
    ),
    "dates and text": (
        (
            cut(X, HALVES),
            in_delayed([np.zeros(HALVES[0], "M8[D]"), np.array(["a"] * HALVES[1])], ()),
        ),
        TypeError,
        r"^y: .*of one type with the classes, (str|datetime64.*), got (str|datetime64)",
    ),
    "sparse labels": (
        (cut(X), cut(scipy.sparse.csr_matrix(Y[:, np.newaxis]))[:, 0]),
        TypeError,
        r"^y: expected a list or a dense array, got a sparse .*\(partition \d\)",
    ),
    "a missing label": (
        (cut_frame(FRAME), cut_frame(pd.Series(["a", None] * 30 + ["b"], dtype=object))),
        TypeError,
        r"^y: .*strings.*got .*\(partition 0\)",
    ),
    "probabilities that do not sum to 1": (
        (cut(X, HALVES), cut(np.full((N, 2), 0.7), HALVES)),
        ValueError,
        r"^y: .*sum to 1, got the sum 1.4 in row 0.*\(partition 0\)",
    ),
    "probabilities of other numbers of classes": (
        (cut(X, HALVES), TWO_AND_THREE),
        ValueError,
        "^y: .*in every partition.*in partition 1",
    ),
    "features that partitions do not have": (
        (NARROWER, cut(Y, HALVES)),
        ValueError,
        "^X: expected 6 features in every partition, got 5 in partition 1",
    ),
    "dense and sparse partitions": (
        (DENSE_AND_SPARSE, cut(Y, HALVES)),
        ValueError,
        "^X: .*all dense or all sparse",
    ),
}


@pytest.mark.parametrize("make", [local_sgd, synchronous])
@pytest.mark.parametrize(("given", "error", "message"), BAD_DATA.values(), ids=BAD_DATA.keys())
def test_bad_data(client, make, given, error, message):
    model = make(client, batch_size=N)
    with pytest.raises(error, match=message):
        model.fit(*given)
    assert not hasattr(model, "coef_")


# Alone, the partitions of the last ones have a standard deviation.
OPPOSITE = np.where(np.arange(N)[:, np.newaxis] < 30, 1e200, -1e200)
NOT_TO_STANDARDIZE = {
    "NaN": (
        changed(X, (34, 2), np.nan),
        r"expected finite numbers, got NaN in row 4 \(partition 1",
    ),
    "a partition": (
        changed(X, (34, 2), 1e200),
        r"the mean or the standard deviation .* scale X down \(partition 1\)",
    ),
    "all partitions": (
        changed(X, (slice(None), [2]), OPPOSITE),
        "the mean or the standard deviation .* scale X down$",
    ),
}


@pytest.mark.parametrize("make", [local_sgd, synchronous])
@pytest.mark.parametrize(
    ("rows", "message"), NOT_TO_STANDARDIZE.values(), ids=NOT_TO_STANDARDIZE.keys()
)
def test_columns_without_a_standard_deviation(client, make, rows, message):
    model = make(client, batch_size=N, standardize=True)
    with pytest.raises(ValueError, match=f"^X: {message}"):
        model.fit(cut(rows, HALVES), cut(Y, HALVES))
    assert not hasattr(model, "coef_")


BAD_PARAMETERS = {
    "algorithm": ({"algorithm": "asynchronous"}, ValueError, "^algorithm: .*local, synchronous"),
    "algorithm of no string": ({"algorithm": 3}, ValueError, "^algorithm: .*got 3"),
    "local_epochs of 0": ({"local_epochs": 0}, ValueError, "^local_epochs: .*at least 1, got 0"),
    "local_epochs of a half": ({"local_epochs": 0.5}, TypeError, "^local_epochs: .*integer"),
    "persist": ({"persist": "always"}, ValueError, "^persist: .*'auto', got 'always'"),
    "persist of a number": ({"persist": 1}, ValueError, "^persist: .*got 1"),
    "a client that is none": ({"client": "tcp://here"}, TypeError, "^client: .*distributed.Client"),
    "average": ({"average": True}, ValueError, "^average: expected False for .*local.*, got True"),
    "average of a number": ({"average": 10}, ValueError, "^average: .*got 10"),
    "validation_fraction": (
        {"early_stopping": True, "validation_fraction": 1e-3},
        ValueError,
        "^validation_fraction: .* leaves none to score with",
    ),
    "n_jobs of 0": ({"n_jobs": 0}, ValueError, "^n_jobs: "),
    "n_jobs of a half": ({"n_jobs": 0.5}, TypeError, "^n_jobs: "),
    "alpha": ({"alpha": -1}, ValueError, "^alpha: "),
    "class_weight of zeros": (
        {"class_weight": dict.fromkeys(range(C), 0.0)},
        ValueError,
        "^class_weight: expected at least one weight that is not zero",
    ),
    "class_weight of a stranger": (
        {"class_weight": {77: 2.0}},
        ValueError,
        "^class_weight: 77 is not among the classes",
    ),
    "class_weight of another type": (
        {"class_weight": {"0": 2.0}},
        TypeError,
        "^class_weight: expected labels of one type with the classes, int64, got str",
    ),
    "a rate that cannot go to workers": (
        {"learning_rate": partial(max, Lock())},
        TypeError,
        "^learning_rate: expected a function that can be pickled",
    ),
    "a rate that is none": (
        {"learning_rate": lambda step: -1.0},
        ValueError,
        "^learning_rate: the rate of step 0",
    ),
}


@pytest.mark.parametrize(
    ("parameters", "error", "message"), BAD_PARAMETERS.values(), ids=BAD_PARAMETERS.keys()
)
def test_bad_parameters(client, parameters, error, message):
    model = local_sgd(client, max_iter=1).fit(cut(X), cut(Y))
    before = dict(vars(model))
    model.set_params(**parameters)
    with pytest.raises(error, match=message):
        model.fit(cut(X), cut(Y))
    after = vars(model)
    for name in ("coef_", "intercept_", "loss_curve_", "bytes_moved_", "classes_"):
        assert after[name] is before[name]


@pytest.mark.parametrize("name", ["momentum", "l1_step"])
def test_rules_that_sparse_rows_do_not_take(client, name):
    parameters = {"momentum": {"penalty": "l1", "momentum": 0.5}}
    parameters["l1_step"] = {"penalty": "l1", "l1_step": "subgradient"}
    with pytest.raises(ValueError, match=rf"^{name}: .*for a sparse X"):
        local_sgd(client, **parameters[name]).fit(cut(SPARSE), cut(Y))


def test_zeros_of_classes_with_probabilities(client):
    with pytest.raises(
        ValueError, match=r"^class_weight: expected weights above 0 where y has prob"
    ):
        local_sgd(client, class_weight={0: 0.0}).fit(cut(X), cut(np.full((N, 2), 0.5)))


STARTS = {
    "coef_init": ({"coef_init": np.zeros((C, D + 1))}, r"^coef_init: expected shape \(4, 6\)"),
    "intercept_init": ({"intercept_init": [np.nan] * C}, "^intercept_init: .*got NaN"),
}


@pytest.mark.parametrize(("start", "message"), STARTS.values(), ids=STARTS.keys())
def test_bad_starts(client, start, message):
    with pytest.raises(ValueError, match=message):
        local_sgd(client).fit(cut(X), cut(Y), **start)


def test_warm_starts_of_another_problem(client):
    model = local_sgd(client, warm_start=True).fit(cut(X), cut(Y))
    coef = model.coef_
    with pytest.raises(TypeError, match=r"^y: expected labels of one type .*int64, got str"):
        model.fit(cut(X), cut(Y.astype(str)))
    named = local_sgd(client, warm_start=True)
    named.__dict__.update(model.to_local().partial_fit(X, Y, classes=range(C)).__dict__)
    with pytest.raises(ValueError, match=r"^y: the label 4 is not among .*\[0, 1, 2, 3\]"):
        named.fit(cut(X), cut(Y + 1))
    with pytest.raises(ValueError, match=r"^X: expected 6 features, as before, got 5"):
        model.fit(cut(X[:, 1:]), cut(Y))
    assert model.coef_ is coef


def test_other_columns_in_a_partition(client):
    import dask.dataframe as dd

    parts = [FRAME[:30], OTHER_COLUMNS[30:]]
    frame = dd.from_map(lambda part: part, parts, meta=FRAME[:0], enforce_metadata=False)
    with pytest.raises(ValueError, match=r"^X: expected the columns of partition 0.*partition 1"):
        local_sgd(client).fit(frame, cut(Y, HALVES))


def test_a_client_that_does_not_wait():
    from distributed import Client, LocalCluster

    async def fit():
        async with (
            LocalCluster(
                n_workers=1, processes=False, dashboard_address=":0", asynchronous=True
            ) as cluster,
            Client(cluster, asynchronous=True, set_as_default=False) as client,
        ):
            local_sgd(client).fit(cut(X), cut(Y))

    with pytest.raises(
        ValueError, match=r"^client: expected a synchronous client, got an asynchronous one"
    ):
        asyncio.run(fit())


def test_a_row_that_does_not_count_is_not_looked_at(client):
    weight = changed(np.ones(N), 34, 0.0)
    model = local_sgd(client).fit(cut(changed(X, 34, np.nan)), cut(Y), cut(weight))
    assert np.isfinite(model.coef_).all()


def test_an_error_of_the_users_own_tasks_is_raised_as_it_is(client):
    def fail(rows):
        raise OSError("no such file")

    rows = cut(X).map_blocks(fail, dtype=X.dtype, meta=X[:0])
    for persist in (True, False):
        with pytest.raises(OSError, match="no such file"):
            local_sgd(client, persist=persist).fit(rows, cut(Y))
    with pytest.raises(OSError, match="no such file"):
        local_sgd(client).fit(client.persist(rows), cut(Y))
