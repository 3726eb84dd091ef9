"""Rows that are held out, by every partition its own, and scored with where they lie."""

import numpy as np
import pytest
from dask_cases import C, cut, made_up, of_unknown_sizes

from fastsoftmax.dask import SoftmaxClassifier

SIZES = (120, 1, 0, 200, 79)
N = sum(SIZES)


def fitted(client, X, y, weight=None, sizes=SIZES, cut=cut, **parameters):
    common = {"max_iter": 6, "tol": None, "random_state": 3, "eta0": 0.2, "n_jobs": 1}
    common["learning_rate"] = "constant"
    model = SoftmaxClassifier(
        client=client, early_stopping=True, validation_fraction=0.25, **common | parameters
    )
    return model.fit(*(each if each is None else cut(each, sizes) for each in (X, y, weight)))


@pytest.mark.costly
@pytest.mark.parametrize("algorithm", ["local", "synchronous"])
@pytest.mark.parametrize("persist", [True, False])
def test_scores_and_bits_do_not_depend_on_who_reads_them(clients, algorithm, persist):
    X, y = made_up(N)
    same = {"algorithm": algorithm, "batch_size": 10**6}
    model = fitted(clients(2), X, y, persist=persist, **same)
    assert len(model.validation_scores_) == 6
    assert model.best_validation_score_ == max(model.validation_scores_) > 2 / C
    other = fitted(clients(2), X, y, cut=of_unknown_sizes, **same)
    np.testing.assert_array_equal(other.coef_, model.coef_)
    assert other.validation_scores_ == model.validation_scores_
    if algorithm == "synchronous":
        other = fitted(clients(3), X, y, **same)
        np.testing.assert_array_equal(other.coef_, model.coef_)
        assert other.validation_scores_ == model.validation_scores_


def test_the_weights_are_those_of_the_best_round(client):
    X, y = made_up(N)
    seen = []
    model = fitted(client, X, y, eta0=3.0, callbacks=lambda end: seen.append(end.model.coef_))
    best = int(np.argmax(model.validation_scores_))
    np.testing.assert_array_equal(model.coef_, seen[best])


def test_rows_that_are_held_out_are_not_trained_on(client):
    """So others in their place leave the weights as they are."""
    X, y = made_up(N)
    model = fitted(client, X, y, max_iter=1)
    unchanged = 0
    for row in range(8):
        other = X.copy()
        other[row] += 1
        unchanged += np.array_equal(fitted(client, other, y, max_iter=1).coef_, model.coef_)
    assert 0 < unchanged < 8


@pytest.mark.costly
@pytest.mark.parametrize("algorithm", ["local", "synchronous"])
def test_models_without_an_intercept_are_scored(client, algorithm):
    X, y = made_up(N)
    same = {"algorithm": algorithm, "batch_size": 50, "fit_intercept": False}
    model = fitted(client, X, y, **same)
    assert model.validation_scores_
    assert model.best_validation_score_ == max(model.validation_scores_) > 2 / C
    assert not model.intercept_.any()


def test_it_stops_where_the_score_does_not_rise(client):
    X, y = made_up(N)
    model = fitted(client, X, y, max_iter=100, tol=1e-3, n_iter_no_change=3)
    assert model.n_iter_ < 100
    assert len(model.validation_scores_) == model.n_iter_


def test_each_counts_its_weight(client, rng):
    X, y = made_up(N)
    weight = rng.exponential(size=N)
    weight[:50] = 0
    model = fitted(client, X, y, weight, max_iter=2)
    # As many copies of a weight count as much as one.
    twice = fitted(client, X, y, 2 * weight, max_iter=2)
    assert model.validation_scores_ == pytest.approx(twice.validation_scores_)
    assert model.validation_scores_ != fitted(client, X, y, max_iter=2).validation_scores_


def test_the_weights_to_score_with_travel_as_well(clients):
    X, y = made_up(N)
    client = clients(2)
    with_scores = fitted(client, X, y, max_iter=1)
    size = with_scores.coef_.nbytes + with_scores.intercept_.nbytes
    options = {"max_iter": 1, "tol": None, "random_state": 3, "eta0": 0.2, "n_jobs": 1}
    without = SoftmaxClassifier(client=client, learning_rate="constant", **options).fit(
        cut(X, SIZES), cut(y, SIZES)
    )
    assert with_scores.bytes_moved_ == [without.bytes_moved_[0] + 2 * size]
