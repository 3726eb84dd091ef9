"""Predictions of Dask collections: lazy, and those of the local model."""

from copy import deepcopy

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from dask_cases import (
    SIZES,
    C,
    D,
    N,
    alone,
    cut,
    cut_frame,
    frame_of,
    local_sgd,
    made_up,
    of_unknown_sizes,
    synchronous,
)

from fastsoftmax import NotFittedError
from fastsoftmax.dask import SoftmaxClassifier

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
NAMES = np.array(["oak", "ash", "elm", "yew"])


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture(scope="module", params=[2, C], ids=["two classes", "four classes"])
def fitted_once(request, clients):
    X, y = made_up(c=request.param, dtype=np.float32)
    return synchronous(clients(2), batch_size=N).fit(cut(X), cut(NAMES[y])), X


@pytest.fixture
def fitted(fitted_once):
    """A model, and rows."""
    model, X = fitted_once
    return deepcopy(model), X


def collections_of(X):
    sparse = scipy.sparse.csr_matrix(X)
    return {
        "array": (cut(X), X),
        "array of unknown sizes": (of_unknown_sizes(X), X),
        "sparse": (cut(sparse), sparse),
        "sparse of unknown sizes": (of_unknown_sizes(sparse), sparse),
        "frame": (cut_frame(frame_of(X)), X),
        "float64": (cut(X.astype(np.float64)), X.astype(np.float64)),
    }


@pytest.mark.parametrize("kind", collections_of(made_up()[0]))
def test_they_are_those_of_the_local_model(fitted, method, kind):
    model, X = fitted
    given, rows = collections_of(X)[kind]
    if kind == "frame":
        with pytest.warns(UserWarning, match="fitted without feature names"):
            lazy = getattr(model, method)(given)
    else:
        lazy = getattr(model, method)(given)
    expected = getattr(model.to_local(), method)(rows)
    assert isinstance(lazy, da.Array)
    assert lazy.dtype == lazy._meta.dtype == expected.dtype
    assert isinstance(lazy._meta, np.ndarray)
    assert lazy.ndim == expected.ndim
    assert lazy.shape[1:] == expected.shape[1:]
    known = "unknown" not in kind and kind != "frame"
    assert (lazy.shape[0] == N) if known else np.isnan(lazy.shape[0])
    assert lazy.numblocks[0] == 5
    parts = dask.compute(*lazy.to_delayed().ravel(), scheduler="sync")
    found = lazy.compute(scheduler="sync")
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
    assert [len(part) for part in parts] == [20, 1, 0, 27, 13]


def test_nothing_is_computed_before_it_is_asked_for(fitted, method):
    model, X = fitted
    seen = []

    def look(rows):
        seen.append(len(rows))
        return rows

    rows = cut(X).map_blocks(look, dtype=X.dtype, meta=X[:0])
    lazy = getattr(model, method)(rows)
    assert seen == []
    lazy.compute(scheduler="sync")
    assert sorted(seen) == sorted([20, 1, 0, 27, 13])


def test_they_are_made_on_the_workers(processes, fitted, method):
    """Of a model that they get, and of rows that lie there."""
    model, X = fitted
    with processes.as_current():
        found = getattr(model, method)(cut(X).persist()).compute()
    np.testing.assert_array_equal(found, getattr(model, method)(X))


def test_they_go_on_lazily(fitted):
    model, X = fitted
    probabilities = model.predict_proba(cut(X))
    of_first = probabilities[:, 0].mean().compute(scheduler="sync")
    assert of_first == pytest.approx(model.predict_proba(X)[:, 0].mean(), rel=1e-6)
    first = model.predict(cut(X))[:3].compute(scheduler="sync")
    assert first.tolist() == model.predict(X)[:3].tolist()


def test_they_need_no_cluster(fitted, method):
    model, X = fitted
    model.client = None
    with dask.config.set(scheduler="sync"):
        found = getattr(model, method)(cut(X)).compute()
    np.testing.assert_array_equal(found, getattr(model, method)(X))


def test_rows_in_memory_are_predicted_at_once(fitted, method):
    model, X = fitted
    for rows in (X, X.tolist(), scipy.sparse.csr_matrix(X)):
        found = getattr(model, method)(rows)
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, getattr(model.to_local(), method)(rows))


def test_weights_of_now_are_those_of_later(fitted, method):
    model, X = fitted
    expected = getattr(model.to_local(), method)(X)
    lazy = getattr(model, method)(cut(X))
    model.coef_ *= -1
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


def test_weights_alone_travel(client):
    X, y = made_up(n=100, d=500, c=20)
    model = synchronous(client, batch_size=100, momentum=0.5).fit(cut(X, (100,)), cut(y, (100,)))
    on_workers = client.persist(cut(X, (100,)))
    lazy = model.predict(on_workers)
    arguments = [layer for name, layer in lazy.dask.layers.items() if "SoftmaxClassifier" in name]
    assert len(arguments) == 1
    assert len(cloudpickle.dumps(dict(arguments[0]))) < model.coef_.nbytes + 5000


# Names and numbers of features


@pytest.fixture
def of_frame(client):
    X, y = made_up()
    labels = pd.Series(y, name="label")
    return synchronous(client, batch_size=N).fit(cut_frame(frame_of(X)), cut_frame(labels)), X, y


def test_frames_with_the_names_of_fit_are_predicted_without_a_word(of_frame, method):
    model, X, _ = of_frame
    lazy = getattr(model, method)(cut_frame(frame_of(X)))
    expected = getattr(model.to_local(), method)(frame_of(X))
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


def test_arrays_after_frames_warn_once_and_here(of_frame, method):
    model, X, _ = of_frame
    with pytest.warns(UserWarning, match="X does not have valid feature names") as seen:
        lazy = getattr(model, method)(cut(X))
    assert [warning.filename for warning in seen] == [__file__]
    lazy.compute(scheduler="sync")


@pytest.mark.costly
def test_frames_with_other_names_are_refused_before_they_are_computed(of_frame, method):
    model, X, y = of_frame
    others = frame_of(X, [*"abcdef"])
    with pytest.raises(ValueError, match=r"feature names should match.*\nFeature names unseen"):
        getattr(model, method)(cut_frame(others))
    in_other_order = frame_of(X)[[f"column {i}" for i in (1, 0, 2, 3, 4, 5)]]
    with pytest.raises(ValueError, match="same order"):
        getattr(model, method)(cut_frame(in_other_order))
    with pytest.raises(ValueError, match="feature names should match"):
        model.score(cut_frame(others), cut_frame(pd.Series(y)))


def test_other_numbers_of_features_are_refused_before_they_are_computed(fitted, method):
    model, X = fitted
    wider = np.hstack([X, X])
    for rows in (cut(wider), of_unknown_sizes(wider), cut(scipy.sparse.csr_matrix(wider))):
        with pytest.raises(
            ValueError, match=rf"^X has {2 * D} features, but .* expecting {D} feat"
        ):
            getattr(model, method)(rows)
    plain = frame_of(wider, list(range(2 * D)))
    with pytest.raises(ValueError, match=rf"^X has {2 * D} features"):
        getattr(model, method)(cut_frame(plain))


def test_what_is_no_matrix_is_refused(fitted, method):
    model, X = fitted
    with pytest.raises(ValueError, match=r"^X: .*one chunk along the features, got 2"):
        getattr(model, method)(cut(X).rechunk((N, D // 2)))
    with pytest.raises(ValueError, match=r"^X: expected two dimensions"):
        getattr(model, method)(cut(X[:, 0]))
    with pytest.raises(TypeError, match=r"^X: expected a Dask array or dataframe, got Delayed"):
        getattr(model, method)(dask.delayed(X))
    with pytest.raises((TypeError, ValueError), match=r"^X: expected"):
        getattr(model, method)(cut_frame(pd.Series(X[:, 0])))


def test_a_model_that_is_not_fitted(method):
    X, y = made_up()
    for rows in (X, cut(X)):
        with pytest.raises(NotFittedError, match="not fitted"):
            getattr(SoftmaxClassifier(), method)(rows)
    with pytest.raises(NotFittedError, match="not fitted"):
        SoftmaxClassifier().score(cut(X), cut(y))


# Scores


@pytest.mark.parametrize("weighted", [False, True])
def test_scores(client, rng, weighted):
    X, y = made_up()
    model = synchronous(client, batch_size=20, max_iter=1).fit(cut(X), cut(y))
    weight = rng.integers(3, size=N).astype(float) if weighted else None
    expected = alone(batch_size=20, max_iter=1).fit(X, y).score(X, y, weight)
    assert 0.3 < expected < 1
    lazy_weight = None if weight is None else cut(weight)
    unknown = None if weight is None else of_unknown_sizes(weight)
    sparse = scipy.sparse.csr_matrix(X)
    for score in (
        model.score(cut(X), cut(y), lazy_weight),
        model.score(of_unknown_sizes(X), of_unknown_sizes(y), unknown),
        model.score(cut(sparse), cut(y), lazy_weight),
        model.score(*client.persist([cut(X), cut(y)]), lazy_weight),
        model.score(X, y, weight),
    ):
        assert isinstance(score, float)
        assert score == pytest.approx(expected, rel=1e-14)


def test_scores_of_soft_labels(client, rng):
    X, y = made_up()
    shares, weight = rng.dirichlet(np.ones(C), N), np.arange(N) % 4.0
    shares[weight == 0] = np.nan
    model = synchronous(client, batch_size=20, max_iter=1)
    model.fit(cut(X), cut(shares), cut(weight))
    expected = model.to_local().score(X, shares, weight)
    right = shares[np.arange(N), model.to_local().predict(X)]
    assert expected == pytest.approx(weight[weight > 0] @ right[weight > 0] / weight.sum())
    shares_in_frame, weight_in_frame = cut_frame(frame_of(shares)), cut_frame(pd.Series(weight))
    for score in (
        model.score(cut(X), cut(shares), cut(weight)),
        model.score(of_unknown_sizes(X), of_unknown_sizes(shares), of_unknown_sizes(weight)),
        model.score(cut(scipy.sparse.csr_matrix(X)), cut(shares), cut(weight)),
        model.score(of_unknown_sizes(X), shares_in_frame, weight_in_frame),
        model.score(X, shares, weight),
    ):
        assert score == pytest.approx(expected, rel=1e-13)
    assert model.score(cut(X), cut(np.eye(C)[y])) == pytest.approx(model.score(X, y))
    with pytest.raises(ValueError, match=r"^y: expected 4 columns .*got 3 \(partition \d\)"):
        model.score(cut(X), cut(np.full((N, 3), 1 / 3)))


def test_scores_of_frames(of_frame):
    model, X, y = of_frame
    weight = np.arange(N) % 4.0
    score = model.score(
        cut_frame(frame_of(X)), cut_frame(pd.Series(y)), cut_frame(pd.Series(weight))
    )
    assert score == pytest.approx(model.to_local().score(frame_of(X), y, weight), rel=1e-14)


def test_scores_of_nothing_are_refused(client):
    X, y = made_up()
    model = synchronous(client, batch_size=N).fit(cut(X), cut(y))
    with pytest.raises(ValueError, match=r"^X: expected at least one sample to score"):
        model.score(cut(X[:0], (0, 0)), cut(y[:0], (0, 0)))
    with pytest.raises(ValueError, match=r"weight"):
        model.score(cut(X), cut(y), cut(np.zeros(N)))
    with pytest.raises(TypeError, match=r"^y: expected a Dask array or dataframe, got ndarray"):
        model.score(cut(X), y)
    with pytest.raises(ValueError, match=r"^y: .*partition 1"):
        model.score(of_unknown_sizes(X, (30, 31)), of_unknown_sizes(y[:60], (30, 30)))


@pytest.mark.parametrize("kind", ["U", "S", "M8[D]", "object"])
def test_labels_of_another_type_are_not_scored(client, kind):
    X, y = made_up()
    model = synchronous(client, batch_size=N, max_iter=1).fit(cut(X), cut(y))
    others = y.astype("U").astype(object) if kind == "object" else y.astype(kind)
    message = (
        r"^y: expected labels of one type .* int64, got (str|bytes|datetime64).*\(partition \d\)"
    )
    with pytest.raises(TypeError, match=message):
        model.score(cut(X), cut(others))
    assert model.score(cut(X), cut(y.astype(object))) == model.score(X, y)


@pytest.mark.parametrize(
    "collection_of",
    [cut, of_unknown_sizes, lambda X: cut_frame(frame_of(X))],
    ids=["array", "unknown sizes", "frame"],
)
def test_a_row_that_is_not_finite_is_named_with_its_partition(client, collection_of):
    X, y = made_up()
    model = local_sgd(client, max_iter=1).fit(collection_of(X), cut(y))
    X[SIZES[0] + 3, 0] = (
        np.nan
    )  # in the fourth of the partitions, after one of one row and an empty one
    with pytest.raises(ValueError, match=r"NaN in row 2 \(partition 3\)"):
        client.compute(model.predict(collection_of(X))).result()
    with pytest.raises(ValueError, match=r"NaN in row 2 \(partition 3\)"):
        model.score(collection_of(X), cut(y))
