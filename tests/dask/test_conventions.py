"""The estimator's conventions: parameters, copies, clones and files, with a live client in it."""

import pickle
import sys
from copy import copy, deepcopy
from importlib import import_module
from time import monotonic, sleep

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from dask_cases import (
    COMMON,
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
    of_unknown_sizes,
    synchronous,
)
from sklearn import config_context
from sklearn.base import clone, is_classifier

import fastsoftmax
from fastsoftmax.classifier.fitted_model import ATTRIBUTES
from fastsoftmax.dask import SoftmaxClassifier

OWN = {"client": None, "algorithm": "local", "local_epochs": 1, "persist": "auto"}


@pytest.fixture
def model(client):
    X, y = made_up()
    return synchronous(client, batch_size=20, momentum=0.5).fit(cut(X), cut(y))


def test_parameters_are_those_of_the_local_estimator_and_a_few_more(client):
    parameters = SoftmaxClassifier().get_params()
    assert parameters == fastsoftmax.SoftmaxClassifier().get_params() | OWN
    model = SoftmaxClassifier(client=client, algorithm="synchronous", alpha=0.5)
    assert model.get_params()["client"] is client
    assert model.set_params(local_epochs=4, batch_size=3) is model
    assert (model.local_epochs, model.batch_size) == (4, 3)
    with pytest.raises(ValueError, match=r"^epochs: not a parameter of SoftmaxClassifier"):
        model.set_params(epochs=4)
    with pytest.raises(TypeError, match="epochs"):
        SoftmaxClassifier(epochs=4)


def test_repr(client):
    assert repr(SoftmaxClassifier()) == "SoftmaxClassifier()"
    model = SoftmaxClassifier(algorithm="synchronous", alpha=0.5, persist=False)
    shown = repr(model)
    for part in ("algorithm='synchronous'", "alpha=0.5", "persist=False"):
        assert part in shown
    assert "client=<Client" in repr(SoftmaxClassifier(client=client))


def test_it_is_a_classifier_to_scikit_learn(model):
    assert is_classifier(model)
    assert model.__sklearn_is_fitted__()
    assert "SoftmaxClassifier" in model._repr_html_()


def test_clones_have_the_client_and_are_not_fitted(model):
    seed = np.random.default_rng(3)
    model.set_params(random_state=seed, class_weight={0: 2.0})
    new = clone(model)
    assert new.client is model.client
    assert not hasattr(new, "coef_")
    assert repr(new.get_params().keys()) == repr(model.get_params().keys())
    assert new.class_weight == {0: 2.0}
    assert new.class_weight is not model.class_weight
    assert new.random_state is not seed
    X, y = made_up()
    new.fit(cut(X), cut(y))


def test_clones_and_local_ones_have_the_requests_for_metadata(client):
    with config_context(enable_metadata_routing=True):
        model = SoftmaxClassifier(client=client).set_fit_request(sample_weight="importance")
        for new in (clone(model), model.to_local()):
            assert new.get_metadata_routing().fit.requests["sample_weight"] == "importance"


def test_without_dask_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "fastsoftmax.dask")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r'needs dask, .*pip install "dask\[array,'):
        import_module("fastsoftmax.dask")


@pytest.mark.parametrize("make", [copy, deepcopy])
def test_copies_have_the_client(model, make):
    X, y = made_up()
    new = make(model)
    assert new.client is model.client
    assert_same_bits(new, model)
    assert (new.coef_ is model.coef_) == (make is copy)
    new.set_params(alpha=3.0)
    assert model.alpha == "size"
    new.fit(cut(X), cut(y))
    assert not np.array_equal(new.coef_, model.coef_)


def test_pickles_have_none(model):
    X, _ = made_up()
    new = pickle.loads(pickle.dumps(model))
    assert new.client is None
    assert new.get_params() == model.get_params() | {"client": None}
    assert_same_bits(new, model)
    np.testing.assert_array_equal(new.predict(X), model.predict(X))
    assert model.client is not None


def test_local_ones(model):
    X, y = made_up()
    local = model.to_local()
    assert type(local) is fastsoftmax.SoftmaxClassifier
    assert local.get_params() == {
        name: value for name, value in model.get_params().items() if name not in OWN
    }
    assert_same_model(local, model)
    assert_same_bits(local, model)
    assert not hasattr(local, "bytes_moved_")
    np.testing.assert_array_equal(local.predict_proba(X), model.predict_proba(X))
    before = model.coef_.copy(), model._velocity[0].copy()
    local.partial_fit(X, y)  # which goes on where it has ended
    np.testing.assert_array_equal(model.coef_, before[0])
    np.testing.assert_array_equal(model._velocity[0], before[1])
    expected = alone(batch_size=20, momentum=0.5).fit(X, y).partial_fit(X, y)
    np.testing.assert_allclose(local.coef_, expected.coef_, rtol=0, atol=1e-10)
    unfitted = SoftmaxClassifier(alpha=0.5).to_local()
    assert unfitted.alpha == 0.5
    assert not hasattr(unfitted, "coef_")


def test_local_ones_have_all_fitted_attributes_and_no_others(client):
    X, y = made_up()
    model = synchronous(client, batch_size=20, average=True, momentum=0.5, standardize=True)
    model.fit(cut_frame(frame_of(X)), cut_frame(pd.Series(y)))
    model.note = "of the user"
    local = model.to_local()
    assert vars(local).keys() == ATTRIBUTES.keys() | local.get_params().keys()
    for name in ATTRIBUTES:
        assert pickle.dumps(getattr(local, name)) == pickle.dumps(deepcopy(getattr(model, name)))


def test_what_follows_from_the_size_is_that_of_the_local_one(client):
    X, y = made_up()
    weight = np.arange(N) % 3.0
    parameters = {"standardize": True, "random_state": 0, "n_jobs": 1}
    model = SoftmaxClassifier(client=client, **parameters).fit(cut(X), cut(y), cut(weight))
    local = fastsoftmax.SoftmaxClassifier(**parameters).fit(X, y, weight)
    assert model.alpha_ == pytest.approx(local.alpha_)
    assert local.alpha_ == pytest.approx(D / (20 * weight.sum()))
    assert model.n_iter_ == local.n_iter_ == 30


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_hold_the_local_one(model, tmp_path, suffix):
    X, y = made_up()
    model.save(tmp_path / f"model{suffix}")
    loaded = fastsoftmax.load(tmp_path / f"model{suffix}")
    assert type(loaded) is fastsoftmax.SoftmaxClassifier
    assert_same_bits(loaded, model)
    assert loaded.get_params() == model.to_local().get_params()
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert_same_bits(loaded.partial_fit(X, y), model.to_local().partial_fit(X, y))
    with pytest.raises(fastsoftmax.NotFittedError):
        SoftmaxClassifier().save(tmp_path / "none.npz")


def test_a_file_is_loaded_as_one_that_trains_on_dask(model, client, tmp_path):
    X, y = made_up()
    model.save(tmp_path / "model.npz")
    loaded = SoftmaxClassifier.load(tmp_path / "model.npz")
    assert_same_bits(loaded, model)
    loaded.set_params(client=client, warm_start=True, max_iter=2).fit(cut(X), cut(y))
    assert loaded.n_iter_ == 2


def test_partial_fit_is_of_the_local_one(model):
    X, y = made_up()
    with pytest.raises(TypeError, match=r"^partial_fit: .*to_local\(\)\.partial_fit"):
        model.partial_fit(cut(X), cut(y))


def test_calibration_takes_arrays_and_all_predictions_use_it(model, client):
    X, y = made_up()
    with pytest.raises(TypeError, match=r"^calibrate: not for Dask collections; X\.compute\(\)"):
        model.calibrate(cut(X), cut(y))
    flipped = np.where(np.arange(len(y)) % 5, y, y[::-1])
    expected = model.to_local().calibrate(X, flipped)
    assert model.calibrate(X, flipped).temperature_ == expected.temperature_ != 1
    assert model.to_local().temperature_ == expected.temperature_
    np.testing.assert_array_equal(model.predict_proba(cut(X)).compute(), expected.predict_proba(X))
    assert (
        fastsoftmax.evaluate(model, X, y).log_loss == fastsoftmax.evaluate(expected, X, y).log_loss
    )
    with pytest.raises(TypeError, match=r"^X: expected rows in memory .* got a Dask collection"):
        fastsoftmax.evaluate(model, cut(X), y)
    model.set_params(warm_start=True)
    with pytest.warns(UserWarning, match=r"^temperature_: .* is reset to 1") as caught:
        model.fit(cut(X), cut(y))
    assert caught[0].filename == __file__
    assert model.temperature_ == 1


def test_the_client_that_is_used(clients, monkeypatch):
    X, y = made_up()
    one, two = clients(1), clients(2)
    model = SoftmaxClassifier(max_iter=1, tol=None)
    with pytest.raises(ValueError, match=r"^client: there is no current Dask client"):
        _ = model.client_
    with pytest.raises(ValueError, match=r"^client: there is no current Dask client"):
        model.fit(cut(X), cut(y))
    assert not hasattr(model, "coef_")
    with two.as_current():
        assert model.client_ is two
        model.fit(cut(X), cut(y))
        assert model.client is None
        assert len(model.bytes_moved_) == 1
        model.set_params(client=one)
        assert model.client_ is one
        monkeypatch.setattr(two, "submit", None)  # whoever calls it fails
        model.fit(cut(X), cut(y))
        assert model.score(cut(X), cut(y)) == model.score(X, y)


def test_a_client_within_a_task(processes):
    """As of a search whose fits run on workers: there is a current client on a worker."""
    X, y = made_up()

    def task():
        from distributed import secede

        secede()  # the fit's own tasks need the thread
        return local_sgd(None).fit(cut(X), cut(y)).to_local()

    found = processes.submit(task, pure=False).result(timeout=60)
    assert found.n_iter_ == COMMON["max_iter"]


@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_callbacks_see_a_model_that_works(client, make):
    X, y = made_up()
    seen = []

    def note(state):
        seen.append((state.epoch, state.n_steps, state.loss, state.model, state.learning_rate))

    model = make(client, callbacks=note, max_iter=3, batch_size=20).fit(cut(X), cut(y))
    assert [epoch for epoch, *_ in seen] == [1, 2, 3]
    assert [loss for _, _, loss, *_ in seen] == model.loss_curve_
    assert seen[-1][1] == model.t_
    assert {rate for *_, rate in seen} == {0.2}
    for epoch, _, _, each, _ in seen:
        assert each.n_iter_ == epoch
        assert len(each.bytes_moved_) == epoch
        assert each.predict(X).shape == (N,)
        assert each.client is client
        assert each.score(cut(X), cut(y)) == pytest.approx(each.to_local().score(X, y))
    assert_same_bits(seen[-1][3], model)
    assert not np.array_equal(seen[0][3].coef_, model.coef_)


@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_callbacks_of_scikit_learn_may_stop_it(client, make):
    pytest.importorskip("sklearn.callback")
    X, y = made_up()
    seen = []

    class Stopping:
        def setup(self, *_, **__):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
            seen.append((context.task_name, X, fitted_estimator.n_iter_, estimator))
            return context.task_id == 1

    model = make(client, max_iter=9, batch_size=20).set_callbacks(Stopping())
    assert clone(model)._skl_callbacks == model._skl_callbacks
    assert model.fit(cut(X), cut(y)).n_iter_ == 2
    names = [("epoch", None, 1, model), ("epoch", None, 2, model), ("fit", None, 2, model)]
    assert seen == names


@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_callbacks_may_stop_it(client, make):
    X, y = made_up()
    model = make(client, callbacks=lambda state: state.epoch == 2, max_iter=9, batch_size=20)
    assert model.fit(cut(X), cut(y)).n_iter_ == 2


@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_an_error_of_a_callback_leaves_the_last_round(client, make):
    X, y = made_up()

    def fail(state):
        if state.epoch == 2:
            raise RuntimeError("enough")

    model = make(client, callbacks=fail, max_iter=9, batch_size=20)
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(cut(X), cut(y))
    assert model.n_iter_ == len(model.bytes_moved_) == 2
    assert_same_bits(model, make(client, max_iter=2, batch_size=20).fit(cut(X), cut(y)))


@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_ctrl_c_leaves_the_last_round(client, make):
    X, y = made_up()

    def interrupt(state):
        if state.epoch == 2:
            raise KeyboardInterrupt

    model = make(client, callbacks=interrupt, max_iter=9, batch_size=20)
    with pytest.raises(KeyboardInterrupt):
        model.fit(cut(X), cut(y))
    assert model.n_iter_ == 2


@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_a_generator_is_drawn_from_once(client, make):
    X, y = made_up()
    generator, same = np.random.default_rng(5), np.random.default_rng(5)
    model = make(client, random_state=generator, batch_size=20).fit(cut(X), cut(y))
    seed = int(same.integers(1 << 63))
    assert generator.bit_generator.state == same.bit_generator.state
    assert_same_bits(model, make(client, random_state=seed, batch_size=20).fit(cut(X), cut(y)))
    with pytest.raises(ValueError, match="one class"):
        model.fit(cut(X), cut(np.zeros(N, int)))
    assert generator.bit_generator.state == same.bit_generator.state


def test_warm_starts_go_on_from_the_weights(client):
    X, y = made_up()
    model = local_sgd(client, warm_start=True, shuffle=False).fit(cut(X), cut(y))
    first = model.loss_curve_[-1]
    model.fit(cut(X), cut(y))
    assert model.loss_curve_[0] < first
    assert model.n_iter_ == COMMON["max_iter"]


def test_warm_starts_take_new_classes(client):
    X, y = made_up()
    old = y < C - 2
    parameters = {"batch_size": N, "warm_start": True}
    model = synchronous(client, **parameters).fit(
        cut(X[old], (old.sum(),)), cut(y[old], (old.sum(),))
    )
    local = model.to_local()
    coef = model.coef_
    model.fit(cut(X), cut(y))
    assert_same_model(model, local.fit(X, y))
    assert model.classes_.tolist() == [*range(C)]
    soft = np.eye(C)[y]
    assert_same_model(model.fit(cut(X), cut(soft)), local.fit(X, soft))
    with pytest.raises(ValueError, match=r"^y: expected 4 columns of probabilities.*got 3"):
        model.fit(cut(X), cut(np.full((N, 3), 1 / 3)))
    model.fit(cut(X[old], (old.sum(),)), cut(y[old], (old.sum(),)))
    assert model.classes_.tolist() == [*range(C)]
    assert len(model.coef_) == C > len(coef)


def by_hand(make, client, trained, **parameters):
    """A model whose weights somebody has set, as lists."""
    model = make(client, **parameters)
    for name in ("classes_", "coef_", "intercept_"):
        setattr(model, name, getattr(trained, name).tolist())
    return model


@pytest.mark.costly
@pytest.mark.parametrize("make", [local_sgd, synchronous])
def test_weights_set_by_hand(client, make, tmp_path):
    X, y = made_up()
    trained = alone().fit(X, y)
    model = by_hand(make, client, trained, batch_size=20)
    assert model.n_features_in_ == D
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        lazy, at_once = getattr(model, method)(cut(X)), getattr(model, method)(X)
        np.testing.assert_array_equal(lazy.compute(), getattr(trained, method)(X))
        np.testing.assert_array_equal(at_once, getattr(trained, method)(X))
    assert model.score(cut(X), cut(y)) == model.score(X, y) == trained.score(X, y)
    model.save(tmp_path / "model.npz")
    for local in (model.to_local(), fastsoftmax.load(tmp_path / "model.npz")):
        np.testing.assert_array_equal(local.predict(X), trained.predict(X))
        np.testing.assert_array_equal(local.partial_fit(X, y).classes_, trained.classes_)
    expected = make(client, batch_size=20).fit(
        *(cut(X), cut(y)), None, trained.coef_, trained.intercept_
    )
    for goes_on in (model, copy(model), deepcopy(model), pickle.loads(pickle.dumps(model))):
        goes_on.set_params(client=client, warm_start=True).fit(cut(X), cut(y))
        assert_same_bits(goes_on, expected)
    again = by_hand(make, client, trained, warm_start=True)
    with pytest.raises(ValueError, match=r"^y: the label 4 is not among the classes"):
        again.fit(cut(X), cut(y + 1))


@pytest.mark.parametrize("change", ["in place", "by assignment"])
def test_weights_of_a_fitted_model_that_are_replaced(client, change):
    X, y = made_up()
    model = synchronous(client, batch_size=20, average=True).fit(cut(X), cut(y))
    expected = alone(batch_size=20, average=True).fit(X, y)
    before = model.predict_proba(cut(X))  # of the weights as they were when it was asked for
    probabilities = expected.predict_proba(X)
    for each in (model, expected):
        if change == "in place":
            each.coef_ *= 0.5
        else:
            each.coef_ = (0.5 * each.coef_).tolist()
    np.testing.assert_allclose(before.compute(), probabilities, rtol=1e-9)
    after = model.predict_proba(cut(X)).compute()
    np.testing.assert_allclose(after, expected.predict_proba(X), rtol=1e-9)
    for each, rows in ((model, (cut(X), cut(y))), (expected, (X, y))):
        each.set_params(warm_start=True).fit(*rows)
    assert_same_model(model, expected)


def test_bad_weights_set_by_hand_are_named_before_they_travel(client):
    X, y = made_up()
    trained = alone().fit(X, y)
    model = by_hand(synchronous, client, trained, batch_size=20, warm_start=True)

    def assert_refused(error, message):
        for call in (
            lambda: model.predict(cut(X)),
            lambda: model.score(cut(X), cut(y)),
            lambda: model.fit(cut(X), cut(y)),
        ):
            with pytest.raises(error, match=message):
                call()

    model.intercept_ = np.zeros(2)
    assert_refused(ValueError, r"^intercept_: expected shape \(4,\), got \(2,\)$")
    model.intercept_, model.coef_ = np.zeros(C), np.zeros(D)
    assert_refused(ValueError, r"^coef_: expected shape \(4, n_features\), got \(6,\)$")
    del model.classes_, model.intercept_
    assert_refused(fastsoftmax.NotFittedError, "has coef_, but no classes_ and no intercept_")


def test_the_local_one_goes_on_with_new_classes(model):
    X, y = made_up()
    assert model.to_local().partial_fit(X, y + 1).classes_.tolist() == [*range(C + 1)]


def test_names_of_features(client):
    X, y = made_up()
    labels = cut_frame(pd.Series(y))
    model = local_sgd(client).fit(cut_frame(frame_of(X)), labels)
    assert model.feature_names_in_.tolist() == [f"column {i}" for i in range(D)]
    assert model.to_local().feature_names_in_.tolist() == model.feature_names_in_.tolist()
    assert model.n_features_in_ == D
    model.fit(cut_frame(frame_of(X, list(range(D)))), labels)
    assert not hasattr(model, "feature_names_in_")
    assert model.coef_.shape == (C, D)


def test_max_iter_warns_as_the_local_one_does(client):
    X, y = made_up()
    model = local_sgd(client, tol=1e-9, max_iter=2)
    with pytest.warns(fastsoftmax.ConvergenceWarning, match="max_iter") as seen:
        model.fit(cut(X), cut(y))
    assert [warning.filename for warning in seen] == [__file__]


@pytest.mark.parametrize("make", [local_sgd, synchronous])
@pytest.mark.parametrize("convert", [np.asarray, scipy.sparse.csr_matrix])
def test_small_features_are_warned_of_as_by_the_local_one(client, make, convert):
    X, y = made_up()
    X[0] = np.nan
    weight = np.arange(N) != 0.0  # rows with weight 0 are ignored
    options = {"tol": 0.2, "max_iter": 30, "batch_size": N, "eta0": 1e-3}
    message = r"^fit stopped by tol after \d+ epochs, but .*\(.* is 2\.\de-06\).*: use standardize"

    def given(scale):
        return cut(convert(X * scale)), cut(y), cut(weight)

    model = make(client, **options)
    with pytest.warns(fastsoftmax.ConvergenceWarning, match=message) as seen:
        model.fit(*given(1e-6))
    assert [warning.filename for warning in seen] == [__file__]
    with pytest.warns(fastsoftmax.ConvergenceWarning, match=message) as of_local:
        alone(**options).fit(convert(X * 1e-6), y, weight)
    if make is synchronous:  # whose steps are the same
        assert str(seen[0].message) == str(of_local[0].message)
    # As the local one, it says nothing where rows are not small or the advice is taken.
    for parameters, scale in (
        ({"tol": 1}, 1),
        ({"fit_intercept": False}, 1e-6),
        ({"standardize": True, "tol": 1}, 1e-6),
    ):
        make(client, **options | parameters).fit(*given(scale))


def test_nothing_stays_on_the_cluster(client):
    X, y = made_up()
    before = set(client.cluster.scheduler.tasks)  # of errors of other tests, maybe
    for make in (local_sgd, synchronous):
        make(client, batch_size=20).fit(cut(X), cut(y))
    begun = monotonic()
    while client.cluster.scheduler.tasks.keys() - before and monotonic() - begun < 10:
        sleep(0.05)
    assert not client.cluster.scheduler.tasks.keys() - before


@pytest.mark.parametrize("kind", ["array", "array of unknown sizes", "frame"])
def test_labels_in_a_column_are_taken_and_warned_of_once(client, kind):
    X, y = made_up()
    column = y[:, np.newaxis]
    given = {
        "array": cut(column),
        "array of unknown sizes": of_unknown_sizes(column),
        "frame": cut_frame(frame_of(column, ["label"])),
    }[kind]
    model = synchronous(client, batch_size=N)
    with pytest.warns(UserWarning, match="column-vector y") as seen:
        model.fit(cut(X), given)
    assert [warning.filename for warning in seen] == [__file__]
    assert_same_model(model, alone(batch_size=N).fit(X, y))
    with pytest.warns(UserWarning, match="column-vector y") as seen:
        assert model.score(cut(X), given) == model.score(X, y)
    assert [warning.filename for warning in seen] == [__file__]
