"""Streams of chunks: one that stands for nothing, one that no sane model fits, and weights set by hand."""

import pickle
import warnings
from copy import copy, deepcopy

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_breast_cancer, load_wine

from fastsoftmax import DivergenceError, NotFittedError, SoftmaxClassifier, load


def mixed(table, seed=0):
    X, y = table(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))
    return X[order], y[order]


def streamed(model, X, y, first=None, n_passes=10, size=20):
    """Train on a first chunk, and then on all rows in chunks."""
    if first is not None:
        model.partial_fit(*first, classes=np.unique(y))
    for _ in range(n_passes):
        for start in range(0, len(y), size):
            model.partial_fit(
                X[start : start + size], y[start : start + size], classes=np.unique(y)
            )
    return model


# First chunks that say nothing of the others.
FIRST = {
    "one row": lambda X, y: (X[:1], y[:1]),
    "a row twice": lambda X, y: (X[[0, 0]], y[[0, 0]]),
    "zeros": lambda X, y: (0 * X[:20], y[:20]),
    "a constant column": lambda X, y: (np.where(np.arange(X.shape[1]) == 3, 7.0, X)[:20], y[:20]),
    "one class": lambda X, y: (X[y == 1][:20], y[y == 1][:20]),
}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("table", [load_wine, load_breast_cancer], ids=["wine", "cancer"])
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.costly
def test_a_first_chunk_that_says_nothing(first, table, momentum):
    X, y = mixed(table)
    model = SoftmaxClassifier(standardize=True, momentum=momentum, random_state=0)
    plain = streamed(deepcopy(model), X, y)
    streamed(model, X, y, FIRST[first](X, y))
    assert model.score(X, y) > plain.score(X, y) - 0.02
    assert max(model.loss_curve_) < 4


@pytest.mark.costly
@pytest.mark.parametrize(("factor", "standardize"), [(1e-2, True), (1e-3, True), (1e-3, False)])
def test_a_first_chunk_on_another_scale_is_forgotten(backend, factor, standardize):
    X, y = mixed(load_wine)
    if not standardize:
        X = X / X.std(axis=0) * 20
    model = SoftmaxClassifier(
        standardize=standardize, fit_intercept=standardize, backend=backend, random_state=0
    )
    plain = streamed(deepcopy(model), X, y)
    model.partial_fit(factor * X[20:40], y[20:40], classes=[0, 1, 2])
    with pytest.warns(UserWarning, match=r"^the loss of the first chunk's weights .*another scale"):
        model.partial_fit(X[:20], y[:20])
    again = SoftmaxClassifier(**model.get_params()).partial_fit(X[:20], y[:20], classes=[0, 1, 2])
    assert (model.n_iter_, model.t_, model.eta0_) == (1, 1, again.eta0_)
    np.testing.assert_allclose(model.coef_, again.coef_, rtol=1e-12)  # in another order
    streamed(model, X, y)
    assert model.score(X, y) > plain.score(X, y) - 0.02


@pytest.mark.costly
@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("columns", [slice(None), slice(2)], ids=["all columns", "two columns"])
def test_the_statistics_of_a_first_chunk_of_much_larger_numbers_are_forgotten(
    backend, convert, columns
):
    X, y = (rows[:200] for rows in mixed(load_breast_cancer))
    model = SoftmaxClassifier(standardize=True, backend=backend, random_state=0)
    plain = streamed(deepcopy(model), convert(X), y)
    large = X[:20].copy()
    large[:, columns] *= 1e3
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the loss of the first chunk's weights")
        streamed(model, convert(X), y, (convert(large), y[:20]))
    np.testing.assert_allclose(model.scale_, plain.scale_, rtol=1e-12)
    assert model.score(convert(X), y) > plain.score(convert(X), y) - 0.01


@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("standardize", [False, True])
def test_a_column_that_varies_later(backend, convert, standardize, rng):
    X = rng.normal(size=(2000, 5))
    X[:, 0] *= 1e3 if standardize else 10
    y = (X[:, 1] + X[:, 0] / X[:, 0].std() > 0).astype(int)
    X[:200, 0] = 0
    model = SoftmaxClassifier(standardize=standardize, backend=backend, random_state=0)
    for start in range(0, 2000, 200):
        here = slice(start, start + 200)
        model.partial_fit(convert(X[here]), y[here], classes=[0, 1])
    assert model.score(X, y) > (0.87 if standardize else 0.8)
    assert max(model.loss_curve_) < 2


def test_rows_one_by_one():
    X, y = mixed(load_wine)
    model = streamed(SoftmaxClassifier(standardize=True, random_state=0), X, y, None, 1, 1)
    assert model.score(X, y) > 0.95


@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_a_loss_that_no_sane_model_has_is_a_divergence(backend, convert, rng):
    X, y = rng.normal(size=(300, 4)), np.arange(300) % 3
    model = SoftmaxClassifier(backend=backend, random_state=0)
    for _ in range(3):
        model.partial_fit(convert(X), y)
    before = pickle.dumps(model.__dict__)
    message = (
        r"^the loss of these samples is .*, that of zero weights 1\.1: .*start again: lower eta0"
    )
    with pytest.raises(DivergenceError, match=message):
        model.partial_fit(convert(1e6 * X), y)
    assert pickle.dumps(model.__dict__) == before
    model.partial_fit(convert(X), y)
    model.set_params(eta0=1e5, batch_size=10)
    with pytest.raises(DivergenceError, match=message):
        model.partial_fit(convert(X), y)


def test_hard_streams_are_no_divergence(rng):
    X, y = rng.normal(size=(300, 4)) + 8 * np.eye(4)[np.arange(300) % 3], np.arange(300) % 3
    model = SoftmaxClassifier(penalty=None, random_state=0)
    for _ in range(30):
        model.partial_fit(X, y, sample_weight=np.full(300, 2.0))
    for labels in ((y + 1) % 3, rng.integers(3, size=300), y + 1):  # a drift, noise, a new class
        model.partial_fit(X, labels)
    model.partial_fit(10 * X[:1], [3])  # one row far away
    model.partial_fit(X, y, sample_weight=np.full(300, 1e4))
    model.set_params(penalty="l2", alpha=10.0).partial_fit(X, y)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_chunk_that_diverges_leaves_the_average_as_it_was(backend, dtype, data, fit_intercept):
    X, y = data[0].astype(dtype), data[1]
    options = OPTIONS | {"backend": backend, "average": True, "fit_intercept": fit_intercept}
    model = SoftmaxClassifier(**options | {"eta0": 0.1}).partial_fit(X, y).partial_fit(X, y)
    expected = deepcopy(model).partial_fit(X, y)
    with pytest.raises(DivergenceError):
        model.partial_fit(dtype(1e6) * X, y)
    copy(model).partial_fit(2 * X, y)  # a shallow copy is another model
    model.partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.intercept_, expected.intercept_)


# Weights set by hand -----------------------------------------------------------------------------------

OPTIONS = {"max_iter": 2, "tol": None, "random_state": 0, "batch_size": 16}
OPTIONS |= {"learning_rate": "constant", "alpha": 1e-4}  # of a fit as of a stream
MODELS = {
    "plain": {},
    "average": {"average": True},
    "momentum": {"momentum": 0.9},
    "standardize": {"standardize": True, "average": True, "momentum": 0.5},
    "without intercept": {"fit_intercept": False, "average": 20},
}


@pytest.fixture
def data(rng):
    y = np.arange(60) % 3
    return rng.normal(size=(60, 5)) + 2 * np.eye(5)[y], y


def by_hand(coef, intercept, classes=(0, 1, 2), **parameters):
    model = SoftmaxClassifier(**OPTIONS | parameters)
    model.classes_, model.coef_, model.intercept_ = classes, coef, intercept
    return model


@pytest.mark.parametrize("name", MODELS)
def test_weights_set_by_hand_go_on(backend, dtype, data, name, tmp_path):
    X, y = data[0].astype(dtype), data[1]
    parameters = MODELS[name] | {"backend": backend}
    trained = SoftmaxClassifier(**OPTIONS | parameters).fit(X, y)
    coef, intercept = trained.coef_, trained.intercept_
    model = by_hand(
        coef.tolist() if dtype == np.float64 else coef, intercept, [0, 1, 2], **parameters
    )
    assert model.n_features_in_ == 5
    for method in ("predict", "predict_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(model, method)(X), getattr(trained, method)(X))
    assert model.score(X, y) == trained.score(X, y)
    model.save(tmp_path / "model.npz")
    copies = [
        model,
        load(tmp_path / "model.npz"),
        pickle.loads(pickle.dumps(model)),
        deepcopy(model),
    ]
    warm = deepcopy(trained).set_params(warm_start=True).fit(X, y)
    anew = SoftmaxClassifier(**OPTIONS | parameters | {"max_iter": 1}).fit(
        X, y, None, coef, intercept if model.fit_intercept else None
    )
    for each in copies:
        again = deepcopy(each).set_params(warm_start=True).fit(X, y)
        np.testing.assert_array_equal(again.coef_, warm.coef_)
        each.partial_fit(X, y)
        np.testing.assert_array_equal(each.coef_, anew.coef_)
        np.testing.assert_array_equal(each.intercept_, anew.intercept_)
        assert (each.n_iter_, each.t_, len(each.loss_curve_)) == (1, 4, 1)
        assert each.coef_.dtype == dtype
    with pytest.raises(ValueError, match="label"):
        model.partial_fit(X, y + 1)


def test_two_classes_by_hand(data):
    X, y = data[0], np.where(data[1] == 1, "b", "a")
    model = by_hand([[0.0] * 5, [1.0] * 5], [0, 0], ["a", "b"])
    assert model.decision_function(X).shape == (60,)
    assert model.partial_fit(X, y).predict(X).dtype == np.dtype("<U1")


BAD = {
    "shape": ({"coef_": np.zeros((2, 5))}, r"^coef_: expected shape \(3, 5\), got \(2, 5\)"),
    "dimensions": ({"coef_": np.zeros(5)}, r"^coef_: expected shape \(3, n_features\), got \(5,\)"),
    "intercept": ({"intercept_": np.zeros(2)}, r"^intercept_: expected shape \(3,\), got \(2,\)"),
    "nan": ({"coef_": np.full((3, 5), np.nan)}, r"^coef_: expected finite numbers, got NaN"),
    "features": ({"coef_": np.zeros((3, 4))}, r"^X has 5 features, but .* 4 features"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_weights_set_by_hand_are_named(data, case):
    given, message = BAD[case]
    model = by_hand(np.zeros((3, 5)), np.zeros(3))
    model.__dict__.update(given)
    warm = deepcopy(model).set_params(warm_start=True)
    for call in (
        model.predict,
        lambda X: model.partial_fit(X, data[1]),
        lambda X: warm.fit(X, data[1]),
    ):
        with pytest.raises(ValueError, match=message):
            call(data[0])


def test_weights_that_lack_something_are_not_fitted(data):
    model = SoftmaxClassifier()
    assert not hasattr(model, "n_features_in_")
    model.coef_ = np.zeros((3, 5))
    for call in (model.predict, lambda X: model.partial_fit(X, data[1])):
        with pytest.raises(NotFittedError, match="has coef_, but no classes_ and no intercept_"):
            call(data[0])
    unsorted = by_hand(np.zeros((3, 5)), np.zeros(3), [2, 1, 0])
    with pytest.raises(ValueError, match=r"^classes_: expected them sorted and each once"):
        unsorted.partial_fit(*data)


def halved(model):
    model.coef_ *= 0.5


def assigned(model):
    model.coef_ = (0.5 * model.coef_).tolist()


@pytest.mark.parametrize("replaced", [halved, assigned])
@pytest.mark.parametrize("way", [lambda m: m, lambda m: pickle.loads(pickle.dumps(m)), deepcopy])
@pytest.mark.parametrize("name", ["average", "standardize", "without intercept"])
def test_replaced_weights_begin_the_average(backend, dtype, data, name, way, replaced):
    X, y = data[0].astype(dtype), data[1]
    model = SoftmaxClassifier(**OPTIONS | MODELS[name] | {"backend": backend, "momentum": 0.0})
    model.fit(X, y)
    plain = way(deepcopy(model))  # whose average goes on
    n_steps = plain._average.n_steps
    assert plain.partial_fit(X, y)._average.n_steps == n_steps + 4
    replaced(model)
    expected = deepcopy(model)
    expected.set_params(average=True)
    expected._average, expected._last = None, None
    model = way(model).partial_fit(X, y)
    expected.partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.intercept_, expected.intercept_)
    assert model.loss_curve_ == expected.loss_curve_
