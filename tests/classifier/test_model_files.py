"""Model files: what is loaded goes on with the bits of what was saved, and what is broken is refused."""

import copy
import io
import os
import pickle
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from model_file_cases import (
    CODECS,
    LABELS,
    MODELS,
    OPTIONS,
    Level,
    assert_same,
    assert_same_model,
    contents,
    data_of,
    fitted,
    goes_on,
    resealed,
    saved,
)
from scipy.sparse import csr_array

import fastsoftmax
from fastsoftmax import ModelFileError, NotFittedError, SoftmaxClassifier, load
from fastsoftmax.classifier.model_files.contents import (
    VERSION,
)


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_goes_on_with_the_same_bits(name, dtype, suffix, tmp_path):
    model = fitted(name, dtype)
    loaded = saved(model, tmp_path / f"model{suffix}")
    assert_same_model(loaded, model)
    assert loaded.coef_.dtype == dtype
    X, y = data_of(dtype)
    assert_same(goes_on(loaded, X, y), goes_on(model, X, y))


def test_every_backend_goes_on(backend, suffix, tmp_path):
    X, y = data_of()
    model = SoftmaxClassifier(backend=backend, n_jobs=2, momentum=0.5, **OPTIONS).fit(X, y)
    loaded = saved(model, tmp_path / f"model{suffix}")
    assert_same(goes_on(loaded, X, y), goes_on(model, X, y))


def by_pickle(model, path):
    path.write_bytes(pickle.dumps(model))
    return pickle.loads(path.read_bytes())


def by_joblib(model, path):
    joblib.dump(model, path)
    return joblib.load(path)


COPIES = {
    "pickle": by_pickle,
    "joblib": by_joblib,
    "deepcopy": lambda model, path: copy.deepcopy(model),
}
WAYS = COPIES | {
    suffix: lambda model, path, s=suffix: saved(model, f"{path}{s}") for suffix in CODECS
}


@pytest.fixture(params=WAYS)
def way(request, tmp_path):
    """A function from a model to one that came back, from a file or as a copy."""
    return lambda model: WAYS[request.param](model, tmp_path / "model")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("how", COPIES)
def test_copies_go_on_with_the_same_bits(name, how, tmp_path):
    model = fitted(name)
    copied = COPIES[how](model, tmp_path / "model")
    assert_same_model(copied, model)
    X, y = data_of()
    assert_same(goes_on(copied, X, y), goes_on(model, X, y))


def test_names_of_features(way):
    X, y = data_of()
    frame = pd.DataFrame(X, columns=["a", "b", "", "größe", 'f"e', "☃"])
    model = SoftmaxClassifier(**OPTIONS).fit(frame, y)
    loaded = way(model)
    assert_same_model(loaded, model)
    assert_same(goes_on(loaded, frame, y), goes_on(model, frame, y))
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame[frame.columns[::-1]])


def test_statistics_of_sparse_rows_are_not_subtracted_later(way):
    X, y = data_of()
    model = SoftmaxClassifier(standardize=True, **OPTIONS).fit(csr_array(X), y)
    loaded = way(model)
    assert not loaded._is_centred
    assert_same(goes_on(loaded, X, y), goes_on(model, X, y))


def test_a_model_of_partial_fit(way):
    X, y = data_of()
    model = SoftmaxClassifier(average=True, momentum=0.5, **OPTIONS)
    model.partial_fit(X[:20], y[:20], classes=["owl", "cat", "dog", "eel"])
    loaded = way(model)
    assert_same_model(loaded, model)
    assert_same_model(loaded.partial_fit(X, y), model.partial_fit(X, y))


def test_a_model_whose_first_epoch_was_broken_off(way):
    def interrupt(step):
        raise KeyboardInterrupt

    X, y = data_of()
    model = SoftmaxClassifier(learning_rate=interrupt, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.loss_curve_ == []
    assert_same_model(way(model.set_params(learning_rate="constant")), model)


def test_numbers_that_random_has_in_store_are_stored(way):
    model = fitted()
    model._random.integers(1 << 32, dtype=np.uint32)  # one half of 64 bits
    assert model._random.bit_generator.state["has_uint32"] == 1
    loaded = way(model)
    assert loaded._random.integers(1 << 32, size=5).tolist() == (
        model._random.integers(1 << 32, size=5).tolist()
    )


if hasattr(np.dtypes, "StringDType"):
    LABELS["strings of any length"] = np.array(["b", "a", "c" * 50], np.dtypes.StringDType())


@pytest.mark.parametrize("name", LABELS)
def test_classes_of_any_type(name, suffix, tmp_path):
    labels = LABELS[name]
    X = np.random.default_rng(0).normal(size=(3 * len(labels), 2))
    model = SoftmaxClassifier(**OPTIONS).fit(X, np.tile(labels, 3))
    loaded = saved(model, tmp_path / f"model{suffix}")
    assert loaded.classes_.dtype == model.classes_.dtype
    assert_same(loaded.classes_.tolist(), model.classes_.tolist())
    assert str(loaded.classes_.tolist()) == str(model.classes_.tolist())  # -0.0 too
    assert_same(loaded.predict(X), model.predict(X))


def test_labels_that_are_no_data_are_an_error(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    X = [[0.0], [1.0]]
    model = SoftmaxClassifier(**OPTIONS).fit(X, np.array([Level.LOW, Level.HIGH], object))
    with pytest.raises(TypeError, match=r"Level\."):
        model.save(path)
    model = SoftmaxClassifier(**OPTIONS).fit(X, [0, 1])
    model.classes_ = np.array([1, 2], "m8[D]")
    with pytest.raises(TypeError, match="m8"):
        model.save(path)
    model.classes_ = np.array(["a", "b"], "<U1000000")  # would be read as a bomb
    with pytest.raises(TypeError, match="far wider"):
        model.save(path)
    if np.finfo(np.longdouble).nmant > np.finfo(float).nmant:
        model.classes_ = np.array([1, 2**60 + 1], np.longdouble)
        with pytest.raises(TypeError, match=r"^classes_: expected labels that JSON can hold"):
            model.save(path)
    assert not list(tmp_path.iterdir())


def test_a_loaded_model_takes_new_classes_where_the_saved_one_does(suffix, tmp_path):
    X, y = data_of()
    first, new = y[:1], np.array(["zebra"])
    for model, grows in (
        (SoftmaxClassifier(**OPTIONS).fit(X, y), True),
        (SoftmaxClassifier(**OPTIONS).partial_fit(X, y), True),
        (SoftmaxClassifier(**OPTIONS).partial_fit(X, y, classes=np.unique(y)), False),
    ):
        for trained in (model, saved(model, tmp_path / f"model{suffix}")):
            for method in (trained.partial_fit, trained.set_params(warm_start=True).fit):
                if grows:
                    method(X[:2], np.concatenate([first, new]))
                    assert trained.classes_.tolist() == [*np.unique(y).tolist(), "zebra"]
                else:
                    with pytest.raises(ValueError, match=r"^y: the label .*zebra.* not among"):
                        method(X[:2], np.concatenate([first, new]))


def test_parameters_keep_their_types(suffix, tmp_path):
    parameters = {
        "alpha": np.float32(1e-3),
        "tol": None,
        "max_iter": np.int16(3),
        "shuffle": np.bool_(True),
        "penalty": np.str_("l2"),
        "random_state": 2**100,
        "eta0": 1e-5,
        "l1_ratio": 0.1 + 0.2,
        "momentum": np.float64(0.1),
        "n_jobs": -1,
        "average": 1,
        "verbose": False,
    }
    X, y = data_of()
    model = SoftmaxClassifier(**parameters).fit(X, y)
    loaded = saved(model, tmp_path / f"model{suffix}")
    assert_same(loaded.get_params(), model.get_params())


def test_weights_of_classes_keep_the_types_of_labels(suffix, tmp_path):
    X = np.arange(12.0).reshape(6, 2)
    for y, weights in (
        ([1, 2, 3] * 2, {1: 2, np.int64(2): np.float32(0.5), 3.0: 1.5}),
        ([True, False] * 3, {True: 2, False: 1.0}),
        (["a", "1", "None"] * 2, {"1": 3}),
    ):
        model = SoftmaxClassifier(class_weight=weights, **OPTIONS).fit(X, y)
        loaded = saved(model, tmp_path / f"model{suffix}")
        assert_same(loaded.class_weight, weights)
        assert_same_model(loaded.fit(X, y), model.fit(X, y))


def test_what_is_no_data_is_left_out_with_a_warning(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    X, y = data_of()
    model = SoftmaxClassifier(
        learning_rate=lambda step: 0.1,
        callbacks=[lambda state: False],
        max_iter=2,
        random_state=np.random.default_rng(3),
        tol=None,
        momentum=0.25,
    ).fit(X, y)
    names = "learning_rate, random_state, callbacks"
    with pytest.warns(UserWarning, match=rf"^{names}: not stored") as seen:
        model.save(path)
    assert seen[0].filename == __file__
    for loader in (load, SoftmaxClassifier.load):
        with pytest.warns(UserWarning, match=rf"saved without {names}, which") as seen:
            loaded = loader(path)
        assert [warning.filename for warning in seen] == [__file__]
    assert (loaded.learning_rate, loaded.callbacks) == ("auto", None)
    assert (loaded.random_state, loaded.momentum) == (None, 0.25)
    assert_same(loaded.predict_proba(X), model.predict_proba(X))
    loaded.set_params(learning_rate=model.learning_rate)  # the order is that of its own generator
    assert_same(loaded.partial_fit(X, y).coef_, model.partial_fit(X, y).coef_)


def test_subclasses_load_as_themselves(suffix, tmp_path):
    class Named(SoftmaxClassifier):
        def __init__(self, *, title="", **parameters):
            super().__init__(**parameters)
            self.title = title

    class Needy(SoftmaxClassifier):
        def __init__(self, *, title, **parameters):
            super().__init__(**parameters)
            self.title = title

    path = tmp_path / f"model{suffix}"
    X, y = data_of()
    model = Named(title="first", **OPTIONS).fit(X, y)
    model.save(path)
    loaded = Named.load(path)
    assert type(loaded) is Named
    assert_same_model(loaded, model)
    with pytest.raises(ModelFileError, match="the parameter 'title', which SoftmaxClassifier of"):
        load(path)
    fitted().save(path)
    with pytest.raises(ModelFileError, match=r"Needy does not accept its parameters: .*title"):
        Needy.load(path)


def test_weights_that_the_user_has_replaced(suffix, tmp_path):
    model = fitted("plain")
    X, _ = data_of()
    model.coef_ = np.asfortranarray(model.coef_.astype(np.float16))
    model.intercept_ = [0.5, -1, 2]
    loaded = saved(model, tmp_path / f"model{suffix}")
    assert_same(loaded.predict_proba(X), model.predict_proba(X))


# Files ------------------------------------------------------------------------------------------------


def test_numpy_and_safetensors_read_the_files(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    model = fitted(dtype=np.float32)
    model.save(path)
    metadata, tensors = contents(path)
    assert metadata["format"] == "fastsoftmax model"
    assert metadata["version"] == VERSION
    assert metadata["package"] == fastsoftmax.__version__
    assert metadata["parameters"]["momentum"] == 0.9
    np.testing.assert_array_equal(tensors["coef"], model.coef_)
    assert tensors["coef"].dtype == np.float32
    np.testing.assert_array_equal(tensors["loss_curve"], model.loss_curve_)


def test_the_digest_is_that_of_all_other_bytes(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    fitted().save(path)
    assert resealed(path.read_bytes(), suffix) == path.read_bytes()


def test_the_same_model_is_the_same_archive(tmp_path):
    model = fitted()
    for name in ("a.npz", "b.npz"):
        model.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("name", ["model", "model.pkl", "model.npy", "npz", ".npz", "model.npz.gz"])
def test_other_suffixes(name, tmp_path):
    model, path = fitted(), tmp_path / name
    for call in (model.save, load):
        with pytest.raises(ValueError, match=r"^path: expected .* in \.npz or \.safetensors, got"):
            call(path)
    with pytest.raises(ValueError, match=r"^path: expected .* in \.onnx, got"):
        model.to_onnx(path)
    assert not list(tmp_path.iterdir())


def test_paths(suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = fitted()
    for path in (f"a{suffix}", Path(f"b{suffix}"), f"c{suffix.upper()}"):
        assert_same_model(saved(model, path), model)
    for path in (None, 3, b"model.npz", io.BytesIO()):
        for call in (model.save, load, model.to_onnx):
            with pytest.raises(TypeError, match=r"^path: expected a str"):
                call(path)


def test_files_that_cannot_be_read_are_os_errors(suffix, tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / f"none{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(IsADirectoryError):
        load(tmp_path / f"folder{suffix}")
    os.mkfifo(tmp_path / f"pipe{suffix}")
    with pytest.raises(ModelFileError, match="is not a regular file"):
        load(tmp_path / f"pipe{suffix}")


def test_a_model_that_is_not_fitted(suffix, tmp_path):
    for call in (SoftmaxClassifier().save, SoftmaxClassifier().to_onnx):
        with pytest.raises(NotFittedError, match="is not fitted"):
            call(tmp_path / f"model{suffix}")


@pytest.mark.parametrize("module", ["safetensors", "onnx"])
def test_what_to_install(module, tmp_path, monkeypatch):
    model, path = fitted(), tmp_path / f"model.{module}"
    calls = (model.save, load) if module == "safetensors" else (model.to_onnx,)
    monkeypatch.setitem(sys.modules, module, None)
    for call in calls:
        with pytest.raises(
            ImportError,
            match=rf"needs? {module}, which is not available: .*; pip install {module}$",
        ):
            call(path)
    assert not path.exists()


def test_numpy_alone_will_do_for_npz(tmp_path, monkeypatch):
    for module in ("safetensors", "onnx"):
        monkeypatch.setitem(sys.modules, module, None)
    model = fitted()
    assert_same_model(saved(model, tmp_path / "model.npz"), model)


# Writing ----------------------------------------------------------------------------------------------


# Files that are broken ---------------------------------------------------------------------------------


# ONNX -------------------------------------------------------------------------------------------------
