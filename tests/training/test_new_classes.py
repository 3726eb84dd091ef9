"""Models whose classes grow with their data."""

import numpy as np
import pytest

from fastsoftmax import SoftmaxClassifier

OPTIONS = {"batch_size": 16, "eta0": 0.2, "random_state": 0, "learning_rate": "constant"}


@pytest.fixture
def data(rng):
    X = rng.normal(size=(200, 8))
    return X, (X[:, :3] + rng.normal(size=(200, 3))).argmax(axis=1)


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.8}, {"average": True}, {"standardize": True}]
)
def test_chunks_may_bring_new_classes(backend, data, options):
    X, y = data
    words, order = np.array(["m", "z", "a"])[y], np.argsort(y, kind="stable")
    model = SoftmaxClassifier(**OPTIONS | {"backend": backend} | options)
    model.partial_fit(X[order[:20]], words[order[:20]])  # of one class
    assert model.classes_.tolist() == ["m"]
    assert model.predict(X[:2]).tolist() == ["m", "m"]
    np.testing.assert_array_equal(model.predict_proba(X), np.ones((200, 1)))
    model.partial_fit(X[order[:120]], words[order[:120]])
    assert model.classes_.tolist() == ["m", "z"]
    for _ in range(20):
        model.partial_fit(X, words)
    assert model.classes_.tolist() == ["a", "m", "z"]
    assert model.score(X, words) > 0.6
    assert model.n_iter_ == len(model.loss_curve_) == 22


def test_new_classes_begin_with_zeros_and_leave_the_others(backend, data):
    X, y = data
    model = SoftmaxClassifier(backend=backend, penalty=None, **OPTIONS)
    model.partial_fit(X[y != 1], y[y != 1])
    coef, intercept = model.coef_.copy(), model.intercept_.copy()
    model.set_params(learning_rate=lambda step: 0.0).partial_fit(X, y)
    assert model.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(model.coef_, np.insert(coef, 1, 0, axis=0))
    np.testing.assert_array_equal(model.intercept_, np.insert(intercept, 1, 0))


def test_velocities_and_averages_grow_as_well(data):
    X, y = data
    model = SoftmaxClassifier(momentum=0.5, average=True, penalty=None, **OPTIONS)
    model.partial_fit(X[y != 1], y[y != 1])
    last, velocity, sums = model._last[0], model._velocity[0], model._average.coef
    steps = model._average.n_steps
    model.set_params(learning_rate=lambda step: 0.0, batch_size=200).partial_fit(X, y)
    moved = np.insert(0.5 * velocity, 1, 0, axis=0)
    np.testing.assert_allclose(model._velocity[0], moved, rtol=1e-15)
    np.testing.assert_allclose(model._last[0], np.insert(last, 1, 0, axis=0) + moved, rtol=1e-15)
    mean = (np.insert(sums, 1, 0, axis=0) + model._last[0]) / (steps + 1)
    np.testing.assert_allclose(model.coef_, mean, rtol=1e-14, atol=1e-300)


def test_classes_that_were_given_do_not_grow(data):
    X, y = data
    model = SoftmaxClassifier().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(
        ValueError, match=r"^y: the label .*3.* is not among the classes \[0, 1, 2\]"
    ):
        model.partial_fit(X, y + 1)
    model = SoftmaxClassifier(max_iter=1, tol=None).fit(X, y)
    model.partial_fit(X, y, classes=[0, 1, 2, 4])
    assert model.classes_.tolist() == [0, 1, 2, 4]
    with pytest.raises(ValueError, match=r"^y: the label .*3.* is not among the classes"):
        model.partial_fit(X, y + 1)
    assert model.fit(X, y + 1).partial_fit(X, y).classes_.tolist() == [0, 1, 2, 3]  # begun anew


@pytest.mark.parametrize("options", [{}, {"standardize": True}, {"momentum": 0.5, "average": True}])
def test_chunks_after_fit_may_bring_new_classes(backend, data, options):
    X, y = data
    options = {"backend": backend, "max_iter": 3, "tol": None, **OPTIONS, **options}
    model = SoftmaxClassifier(**options).fit(X[y != 1], y[y != 1])
    if model._last is not None:  # training goes on from the last weights, not from their average
        model.coef_, model.intercept_ = model._last
    coef, intercept = model.coef_, model.intercept_
    model.set_params(learning_rate=lambda step: 0.0, momentum=0.0, penalty=None, average=False)
    model.partial_fit(X, y)
    assert model.classes_.tolist() == [0, 1, 2]
    np.testing.assert_allclose(model.coef_, np.insert(coef, 1, 0, axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.intercept_, np.insert(intercept, 1, 0), rtol=1e-12, atol=1e-15)
    model.set_params(**SoftmaxClassifier(**options).get_params())
    for _ in range(20):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.6


def test_soft_labels_have_a_column_for_each_class(data):
    X, y = data
    model = SoftmaxClassifier(warm_start=True, max_iter=1, tol=None).fit(X, np.eye(3)[y])
    model.partial_fit(X, y + 1)
    for method in (model.partial_fit, model.fit):
        with pytest.raises(ValueError, match=r"^y: expected 4 columns of probabilities.*got 3"):
            method(X, np.eye(3)[y])
        assert method(X, np.eye(4)[y + 1]).classes_.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (
            np.array([2**63 + 1, 2**63 + 2, 2**63 + 1], np.uint64),
            np.array([5, 2**63 + 1], np.uint64),
        ),
        (np.array([2, 1, 2], np.int8), np.array([3, 1], np.int64)),
        (np.array(["b", "c", "b"]), np.array(["aaa", "b"])),
        (np.array([1.0, 2.0, 1.0]), np.array([7, 1])),
    ],
)
def test_grown_classes_keep_their_labels(first, then):
    X = np.arange(6.0).reshape(3, 2)
    model = SoftmaxClassifier(random_state=0).partial_fit(X, first).partial_fit(X[:2], then)
    assert model.classes_.tolist() == sorted({*first.tolist(), *then.tolist()})
    assert model.coef_.shape == (3, 2)


def test_labels_that_no_type_holds_together_are_refused():
    X = np.arange(4.0).reshape(2, 2)
    model = SoftmaxClassifier().partial_fit(X, [2**53, 2**53 + 1])
    with pytest.raises(TypeError, match=r"^y: .* int64, got float64: no type holds both exactly"):
        model.partial_fit(X, [1.0, 2.0**70])
    assert model.classes_.tolist() == [2**53, 2**53 + 1]
    model = SoftmaxClassifier().partial_fit(X, np.array([1, 2], object))
    with pytest.raises(TypeError, match=r"^y: expected labels of one type .*, int64, got str"):
        model.partial_fit(X, np.array(["a", "b"], object))
    assert model.classes_.tolist() == [1, 2]


def test_a_model_that_grows_takes_weights_and_names_of_classes_to_come():
    X = np.arange(6.0).reshape(3, 2)
    model = SoftmaxClassifier(class_weight={0: 1.0, 7: 2.0}).partial_fit(X[:2], [0, 1])
    assert model.partial_fit(X, [0, 1, 7]).classes_.tolist() == [0, 1, 7]
    assert model.partial_fit(X, [0, 1, 7], classes=[0, 9]).classes_.tolist() == [0, 1, 7, 9]


def test_new_classes_are_of_the_same_type(data):
    X, y = data
    model = SoftmaxClassifier().partial_fit(X, y)
    with pytest.raises(TypeError, match=r"^y: .*(one type|mixture)"):
        model.partial_fit(X, np.array(["a", "b", "c"])[y])
    assert model.classes_.tolist() == [0, 1, 2]
