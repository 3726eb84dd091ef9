"""The inputs of the fuzz targets once more, without a fuzzer: the seeds, and those that it has kept."""

import os
import shutil
import subprocess
import warnings

import pytest

from tests.fuzz import c_targets, corpora, fuzz, seeds, targets

COMPILER = os.environ.get("CC", "cc").split()


def inputs_of(name):
    return seeds.seeds_of(name) + corpora.read(name)


def test_the_driver_has_the_targets_that_there_are():
    assert targets.TARGETS.keys() == fuzz.PYTHON_TARGETS.keys()
    assert {file.stem for file in corpora.CORPUS.iterdir()} <= fuzz.TARGETS.keys()


def test_a_corpus_is_what_was_written_each_input_once(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "CORPUS", tmp_path)
    assert corpora.read("csv") == []
    corpora.write("csv", [b"a\r\n", b"", b"\0" * 9, b""])
    read = corpora.read("csv")
    assert {*read} == {b"a\r\n", b"", b"\0" * 9}
    assert len(read) == 3
    files = corpora.unpack(read, tmp_path / "files")
    assert [file.read_bytes() for file in files] == read
    assert [file.name for file in files] == sorted(map(corpora.name_of, read))


@pytest.mark.parametrize("name", targets.TARGETS)
def test_no_input_of_the_corpus_is_a_finding(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in inputs_of(name):
            targets.TARGETS[name](data)


@pytest.fixture(scope="module")
def c_build(tmp_path_factory):
    """All targets of C, compiled as what ships."""
    build = c_targets.for_replay(tmp_path_factory.mktemp("c_targets"), COMPILER)
    c_targets.compile_targets([*c_targets.TARGETS], build)
    return build


@pytest.mark.slow  # the compiler takes a minute for each instruction set
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="no C compiler")
@pytest.mark.parametrize("name", c_targets.TARGETS)
def test_no_input_of_the_corpus_of_c_is_a_finding(name, c_build, tmp_path):
    files = [file.name for file in corpora.unpack(inputs_of(name), tmp_path)]
    command = [c_build.program(name), *files]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    replayed = ran.stdout.splitlines()
    assert ran.returncode == 0, f"{replayed[-1:]}: {ran.stderr}"
    assert len(replayed) == len(files)


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
