"""Fixtures of the tests of model files."""

import pytest
from model_file_cases import CODECS, OPTIONS, contents, data_of

from fastsoftmax import SoftmaxClassifier


@pytest.fixture(params=CODECS)
def suffix(request):
    return request.param


@pytest.fixture
def sound(suffix, tmp_path):
    """A path, the bytes of a small model's file, its metadata and its tensors."""
    path = tmp_path / f"model{suffix}"
    X, y = data_of(n_features=2)
    SoftmaxClassifier(standardize=True, average=True, momentum=0.5, **OPTIONS).fit(X, y).save(path)
    return path, path.read_bytes(), *contents(path)
