"""Model files of earlier and later versions of the format."""

import json
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from model_file_cases import CODECS, assert_same, fitted, refused

import fastsoftmax
from fastsoftmax import SoftmaxClassifier, load
from fastsoftmax.classifier.fitted_model import FittedModel, Stored
from fastsoftmax.classifier.model_files.contents import (
    CURRENT,
    VERSION,
    Format,
    contents_of,
    model_of,
)
from fastsoftmax.persistence.entries import Scalar, Tensor, positive
from fastsoftmax.persistence.strict_json import written


@dataclass(frozen=True, eq=False)
class NextModel(FittedModel):
    """What a model of the next version may have: a scalar and a tensor more."""

    forgetting_: float = field(
        default=1.0,
        metadata={
            "stored": Stored(
                (Scalar("forgetting", float, positive, since=VERSION + 1, before=1.0),)
            )
        },
    )
    path_alphas_: np.ndarray | None = field(
        default=None,
        metadata={"stored": Stored((Tensor("path_alphas", ("strengths",), is_double=True),))},
    )


NEXT = Format(NextModel, VERSION + 1)


def next_file(suffix):
    """A model with more attributes, and the bytes of its file in the next version."""
    model = fitted()
    model.forgetting_, model.path_alphas_ = 2.5, np.array([1.0, 0.1])
    content, _ = contents_of(model, NEXT)
    return model, CODECS[suffix].pack(written(content.metadata), content.tensors)


def test_a_file_of_the_next_version_is_read_by_the_code_that_knows_it(suffix):
    model, data = next_file(suffix)
    found = model_of(SoftmaxClassifier, *CODECS[suffix].unpack(data), NEXT)
    assert found.attributes["forgetting_"] == 2.5
    np.testing.assert_array_equal(found.attributes["path_alphas_"], [1.0, 0.1])
    for name in ("coef_", "intercept_", "mean_", "_random"):
        assert_same(found.attributes[name], getattr(model, name))


def test_a_file_of_this_version_is_read_by_the_next_one(sound, suffix):
    data = sound[1]
    found = model_of(SoftmaxClassifier, *CODECS[suffix].unpack(data), NEXT)
    assert found.attributes["forgetting_"] == 1.0
    assert found.attributes["path_alphas_"] is None


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_file_of_an_earlier_version_is_completed(sound, suffix, version):
    path, _, metadata, tensors = sound
    later = {entry.name for entry in CURRENT.scalars if entry.since > version}
    older = {name: value for name, value in metadata.items() if name not in later}
    assert len(older) < len(metadata)
    if version == 1:  # which had no mass, without which squares say nothing
        tensors.pop("squares", None)
    path.write_bytes(CODECS[suffix].pack(written(older | {"version": version}), tensors))
    model = load(path)
    assert model.optimality_.gap is None
    is_unknown = model.optimality_.reason.startswith("the file is of an earlier version")
    assert is_unknown == (version < 3)
    assert model.temperature_ == 1.0
    assert (model._step_sizes is None) == (version == 1)


def test_a_file_of_the_next_version_is_refused_by_this_one(suffix, tmp_path):
    _, data = next_file(suffix)
    here = re.escape(fastsoftmax.__version__)
    reason = (
        rf"has version {VERSION + 1} of the format, written by fastsoftmax {here}; fastsoftmax {here} "
        rf"reads versions up to {VERSION}: upgrade it, or save the model with this version$"
    )
    path = tmp_path / f"model{suffix}"
    refused(path, data, reason)
    # A wrong version does not let unknown entries in.
    text, tensors = CODECS[suffix].unpack(data)
    for without in ("forgetting", "path_alphas"):
        metadata = json.loads(text) | {"version": VERSION}
        kept = {name: array for name, array in tensors.items() if name != without}
        if without == "forgetting":
            del metadata[without]
        unknown = "path_alphas" if without == "forgetting" else "forgetting"
        refused(path, CODECS[suffix].pack(json.dumps(metadata), kept), f"'{unknown}'")
