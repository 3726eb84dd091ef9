"""The inputs of the fuzz targets once more, without a fuzzer: the seeds, and those that it has kept."""

import warnings

import pytest
from paths import ROOT

from tests.fuzz import fuzz, seeds, targets

CORPUS = ROOT / "tests" / "fuzz" / "corpus"


def test_the_driver_has_the_targets_that_there_are():
    assert targets.TARGETS.keys() == fuzz.PYTHON_TARGETS.keys()
    folders = {folder.name for folder in CORPUS.iterdir()}
    assert folders <= fuzz.TARGETS.keys()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_no_input_of_the_corpus_is_a_finding(name):
    inputs = seeds.seeds_of(name) + [file.read_bytes() for file in sorted(CORPUS.glob(f"{name}/*"))]
    assert inputs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in inputs:
            targets.TARGETS[name](data)


def checked(monkeypatch, module, check_name, target):
    """What a target's check has been called with, for all seeds: what was read without an error."""
    found, check = [], getattr(module, check_name)
    monkeypatch.setattr(module, check_name, lambda *args: (check(*args), found.append(args)))
    for data in seeds.seeds_of(target):
        targets.TARGETS[target](data)
    return found


@pytest.mark.parametrize("name", targets.reader_targets.TARGETS)
def test_some_seeds_are_files_that_are_read(name, monkeypatch):
    read = checked(monkeypatch, targets.reader_targets, "check_samples", name)
    assert len(read) >= len(seeds.seeds_of(name)) / 2


@pytest.mark.parametrize("name", ["model_npz", "model_safetensors"])
def test_every_seed_of_a_model_is_loaded(name, monkeypatch):
    loaded = checked(monkeypatch, targets.model_targets, "check_model", name)
    assert len(loaded) == len(seeds.seeds_of(name))
