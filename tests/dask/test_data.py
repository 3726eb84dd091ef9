"""What data may be: frames and arrays, their labels, sizes, dtypes and index."""

from itertools import pairwise

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from dask_cases import (
    NAMES,
    SIZES,
    C,
    D,
    N,
    alone,
    assert_same_model,
    cut,
    cut_frame,
    frame_of,
    in_delayed,
    local_sgd,
    made_up,
    of_unknown_sizes,
    synchronous,
)


def test_frames(client):
    X, y = made_up()
    frame, labels = frame_of(X), pd.Series(y, name="label")
    model = synchronous(client, batch_size=20).fit(cut_frame(frame), cut_frame(labels))
    expected = alone(batch_size=20).fit(frame, labels)
    assert_same_model(model, expected)
    assert model.feature_names_in_.tolist() == expected.feature_names_in_.tolist()
    model.fit(cut(X), cut(y))
    assert not hasattr(model, "feature_names_in_")


STRINGS = {
    "objects": lambda y: pd.Series(NAMES[y].astype(object), dtype=object),
    "string": lambda y: pd.Series(NAMES[y], dtype="string"),
    "str": lambda y: pd.Series(NAMES[y], dtype="str"),
    "string of PyArrow": lambda y: pd.Series(NAMES[y], dtype="string[pyarrow]"),
    "category": lambda y: pd.Series(NAMES[y]).astype("category"),
    "Int64": lambda y: pd.Series(y, dtype="Int64"),
    "boolean": lambda y: pd.Series(y > 1),
}


@pytest.mark.parametrize("make", STRINGS.values(), ids=STRINGS.keys())
def test_labels_of_pandas(client, make):
    X, y = made_up()
    labels = make(y)
    model = synchronous(client, batch_size=N).fit(cut_frame(frame_of(X)), cut_frame(labels))
    assert_same_model(model, alone(batch_size=N).fit(frame_of(X), labels))
    with client.as_current():
        assert model.score(cut_frame(frame_of(X)), cut_frame(labels)) > 0.5


OTHERS_IN_SOME_PARTITIONS = {
    "integers, objects": (np.arange(C), object),
    "integers, floats": (np.arange(C), float),
    "text, objects": (NAMES, object),
}

if hasattr(np.dtypes, "StringDType"):  # NumPy 2 has them
    OTHERS_IN_SOME_PARTITIONS["text, strings"] = (NAMES, np.dtypes.StringDType())


@pytest.mark.parametrize(
    ("labels", "dtype"), OTHERS_IN_SOME_PARTITIONS.values(), ids=OTHERS_IN_SOME_PARTITIONS.keys()
)
@pytest.mark.parametrize("other", [0, 1])
def test_labels_of_other_dtypes_in_some_partitions(client, labels, dtype, other):
    X, y = made_up()
    parts = np.split(labels[y], np.cumsum(SIZES)[:-1])
    given = in_delayed([v.astype(dtype) if i % 2 == other else v for i, v in enumerate(parts)], ())
    model = synchronous(client, batch_size=N).fit(of_unknown_sizes(X), given)
    assert_same_model(model, alone(batch_size=N).fit(X, labels[y]))
    with client.as_current():
        assert model.score(of_unknown_sizes(X), given) > 0.5


def test_a_column_of_any_name(client):
    X, y = made_up()
    frame = frame_of(X, ["chunks", "dask", "columns", "shape", "_meta", "ndim"])
    model = synchronous(client, batch_size=N).fit(cut_frame(frame), cut_frame(pd.Series(y)))
    expected = alone(batch_size=N).fit(frame, y)
    assert_same_model(model, expected)
    predicted = model.predict_proba(cut_frame(frame)).compute()
    np.testing.assert_allclose(predicted, expected.predict_proba(frame), rtol=1e-9)


def test_columns_of_several_types(client):
    X, y = made_up()
    frame = frame_of(X)
    frame["column 0"] = (X[:, 0] * 10).astype(int)
    frame["column 1"] = (X[:, 1] > 0).astype(np.uint8)
    frame["column 2"] = X[:, 2].astype(np.float32)
    labels = pd.Series(y)
    model = synchronous(client, batch_size=N).fit(cut_frame(frame), cut_frame(labels))
    assert_same_model(model, alone(batch_size=N).fit(frame, labels))


def test_probabilities_and_weights_in_frames(client, rng):
    X, _ = made_up()
    y, weight = rng.dirichlet(np.ones(C), size=N), rng.exponential(size=N)
    collections = cut_frame(frame_of(X)), cut_frame(frame_of(y)), cut_frame(pd.Series(weight))
    model = synchronous(client, batch_size=20).fit(*collections)
    assert_same_model(model, alone(batch_size=20).fit(X, y, weight))


@pytest.mark.parametrize("sizes", [SIZES, (20, 1, 0, 40)], ids=["some", "whole partitions"])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2}], ids=str)
def test_a_label_whose_samples_all_weigh_zero_is_a_class(client, sizes, class_weight):
    X, y = made_up()
    y[20] = C  # all of the second partition, and of no other
    weight = np.where((y == 1) | (y == C), 0, np.arange(N) % 3.0 + 1)
    words = np.array(["a", "b", "c", "d", "e"])[y]
    rows = np.where(weight[:, np.newaxis] > 0, X, np.nan)
    model = synchronous(client, batch_size=20, class_weight=class_weight)
    collections = (cut(each, sizes) for each in (rows, y, weight))
    if class_weight != {0: 2}:  # also of another type
        collections = (cut(each, sizes) for each in (rows, words, weight))
        y = words
    model.fit(*collections)
    assert len(model.classes_) == C + 1
    expected = alone(batch_size=20, class_weight=class_weight).fit(rows, y, weight)
    assert_same_model(model, expected)


def test_one_class_of_two_that_has_weight_is_trained_on(client):
    X, y = made_up()
    y = y == 0
    weight = 1.0 - y
    model = synchronous(client, batch_size=20).fit(cut(X), cut(y), cut(weight))
    assert_same_model(model, alone(batch_size=20).fit(X, y, weight))
    by_local_sgd = model.set_params(algorithm="local", standardize=True)
    assert not by_local_sgd.fit(cut(X), cut(y), cut(weight)).predict(X).any()
    with pytest.raises(ValueError, match=r"^y: .* got one class: 0$"):
        model.fit(cut(X), cut(0 * y), cut(weight))


def test_balanced_probabilities_of_which_one_column_is_empty(client):
    X, y = made_up()
    shares = np.eye(C + 1)[y]
    model = synchronous(client, batch_size=20, class_weight="balanced").fit(cut(X), cut(shares))
    assert_same_model(model, alone(batch_size=20, class_weight="balanced").fit(X, shares))


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_sizes_that_dask_does_not_know(client, sparse):
    X, y = made_up()
    given = scipy.sparse.csr_matrix(X) if sparse else X
    weight = np.arange(N) % 3.0
    collections = [of_unknown_sizes(each) for each in (given, y, weight)]
    model = synchronous(client, persist="auto").fit(*collections)
    assert_same_model(model, alone().fit(X, y, weight))
    mixed = synchronous(client).fit(cut(given), of_unknown_sizes(y), cut(weight))
    assert_same_model(mixed, alone().fit(X, y, weight))


@pytest.mark.parametrize("kind", ["csr_array", "csc_matrix", "coo_array"])
def test_sparse_chunks_of_every_kind(client, rng, kind):
    X, y = made_up()
    X[rng.random(X.shape) < 0.6] = 0
    chunks = cut(X).map_blocks(getattr(scipy.sparse, kind))
    rule = {"batch_size": 20, "momentum": 0.8}
    model = synchronous(client, **rule).fit(chunks, cut(y))
    expected = alone(**rule).fit(scipy.sparse.csr_matrix(X), y)
    assert_same_model(model, expected, curve=False)
    found = model.predict(chunks).compute(scheduler="sync")
    np.testing.assert_array_equal(found, expected.predict(X))


def test_a_frame_with_labels_in_an_array(client):
    X, y = made_up()
    model = synchronous(client).fit(cut_frame(frame_of(X)), cut(y))
    assert_same_model(model, alone().fit(X, y))


def test_labels_in_other_partitions_of_known_sizes_are_cut_anew(client):
    X, y = made_up()
    model = synchronous(client).fit(cut(X), cut(y, (40, 21)), cut(np.ones(N), (N,)))
    assert_same_model(model, alone().fit(X, y))


def test_chunks_that_take_several_tasks(client):
    X, y = made_up()
    lazy = (da.concatenate([cut(X, (30, 31)), cut(X, (30, 31))]) * 2 + 1).rechunk((25, D))
    labels = da.concatenate([cut(y, (30, 31)), cut(y, (30, 31))]).rechunk(25)
    twice = np.concatenate([X, X]) * 2 + 1, np.concatenate([y, y])
    for persist in (True, False, "auto"):
        model = synchronous(client, persist=persist, batch_size=2 * N).fit(lazy, labels)
        assert_same_model(model, alone(batch_size=2 * N).fit(*twice))


@pytest.mark.costly
@pytest.mark.parametrize("persisted", [["X"], ["y"], ["X", "y"]], ids="+".join)
def test_some_persisted_and_some_not(client, persisted):
    X, y = made_up()
    collections = {"X": cut(X), "y": cut(y)}
    collections |= {name: client.persist(collections[name]) for name in persisted}
    model = synchronous(client).fit(**collections)
    assert_same_model(model, alone().fit(X, y))
    lazily = collections | {"X": collections["X"] + 1}
    assert_same_model(synchronous(client).fit(**lazily), alone().fit(X + 1, y))


def test_what_is_persisted_may_still_be_on_its_way(client):
    X, y = made_up()

    def slowly(rows):
        from time import sleep

        sleep(0.05)
        return rows

    lazy = cut(X).map_blocks(slowly, dtype=X.dtype, meta=X[:0])
    model = synchronous(client).fit(client.persist(lazy), client.persist(cut(y)))
    assert_same_model(model, alone().fit(X, y))


def permuted(values, rng):
    """In another order within each partition."""
    cuts = np.cumsum([0, *SIZES])
    orders = [i + rng.permutation(j - i) for i, j in pairwise(cuts)]
    return values.iloc[np.concatenate(orders)]


@pytest.mark.costly
@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_labels_in_another_order_go_to_their_rows(client, rng, make):
    X, y = made_up()
    frame, labels = frame_of(X), pd.Series(y)
    weight = pd.Series(rng.exponential(size=N))
    expected = make(client).fit(cut_frame(frame), cut_frame(labels), cut_frame(weight))
    given = cut_frame(permuted(labels, rng)), cut_frame(permuted(weight, rng))
    model = make(client).fit(cut_frame(frame), *given)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    with client.as_current():
        assert model.score(cut_frame(frame), *given) == expected.score(
            cut_frame(frame), cut_frame(labels), cut_frame(weight)
        )


@pytest.mark.parametrize("name", ["y", "sample_weight"])
def test_labels_of_other_rows(client, name):
    X, y = made_up()
    given = {"y": pd.Series(y), "sample_weight": pd.Series(np.ones(N))}
    given[name] = given[name].iloc[::-1]
    given = {key: cut_frame(value) for key, value in given.items()}
    model = local_sgd(client)
    with pytest.raises(ValueError, match=rf"^{name}: expected the index of X.*\(partition \d\)$"):
        model.fit(cut_frame(frame_of(X)), **given)
    given[name] = given[name].values
    model.fit(cut_frame(frame_of(X)), **given)
