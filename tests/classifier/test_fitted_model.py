"""The fields of `FittedModel`: what is published, described and stored is what they say."""

import inspect
import re
from dataclasses import MISSING, fields

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax import SoftmaxClassifier
from fastsoftmax.classifier.fitted_model import ATTRIBUTES, FittedModel
from fastsoftmax.classifier.model_files.contents import VERSION
from fastsoftmax.persistence.entries import Scalar, Tensor, with_later_entries

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.arange(40) % 3
PARAMETERS = {
    "plain": {},
    "all": {"standardize": True, "average": True, "momentum": 0.5},
    "scored": {"early_stopping": True, "fit_intercept": False},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_fit_publishes_the_fields(name):
    model = SoftmaxClassifier(random_state=0, max_iter=2, tol=None, **PARAMETERS[name]).fit(X, Y)
    published = vars(model).keys() - model.get_params().keys()
    assert published == ATTRIBUTES.keys() - {"feature_names_in_"}  # X has none


def test_the_classifier_declares_and_describes_the_fields():
    declared = {*SoftmaxClassifier.__annotations__, "n_features_in_"}
    assert declared == ATTRIBUTES.keys()
    page = inspect.getdoc(SoftmaxClassifier).split("\nAttributes\n")[1].split("\nNotes\n")[0]
    described = [
        name
        for line in re.findall(r"^(\w+(?:, \w+)*) : ", page, re.MULTILINE)
        for name in line.split(", ")
    ]
    assert sorted(described) == sorted(name for name in ATTRIBUTES if not name.startswith("_"))


def test_every_entry_of_a_file_is_of_one_field():
    entries = [entry for stored in ATTRIBUTES.values() for entry in stored.entries]
    assert len({entry.name for entry in entries}) == len(entries)
    tensors = {entry.name for entry in entries if isinstance(entry, Tensor)}
    for entry in entries:
        if isinstance(entry, Tensor):
            assert not entry.only_with or entry.only_with in tensors
        else:
            assert isinstance(entry, Scalar)
            assert 1 <= entry.since <= VERSION


def test_weights_that_were_set_by_hand_have_the_defaults_in_a_file(tmp_path):
    model = SoftmaxClassifier()
    model.classes_, model.coef_, model.intercept_ = np.arange(2), np.ones((2, 3)), np.zeros(2)
    model.save(tmp_path / "model.npz")
    loaded = fastsoftmax.load(tmp_path / "model.npz")
    for each in fields(FittedModel):
        if each.default is not MISSING:
            value = getattr(loaded, each.name)
            assert (tuple(value) if isinstance(value, list) else value) == each.default, each.name


def test_files_of_older_versions_lack_entries_that_came_later():
    solver = Scalar("solver", str, lambda _, value: value, since=3, before="sgd")
    assert with_later_entries([solver], {"eta0": 0.5}, 2) == {"eta0": 0.5, "solver": "sgd"}
    assert with_later_entries([solver], {"eta0": 0.5}, 3) == {"eta0": 0.5}
