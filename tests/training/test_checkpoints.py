"""Runs that survive: a fit that was killed at any moment ends with the bits of one that never was."""

import copy
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from covering import few
from scipy.sparse import csr_array

from fastsoftmax import ModelFileError, SoftmaxClassifier
from fastsoftmax.persistence import npz
from fastsoftmax.persistence.atomic import _prefix, write_atomically
from fastsoftmax.persistence.entries import Scalar
from fastsoftmax.training import checkpoints

OPTIONS = {"batch_size": 16, "max_iter": 6, "tol": None, "random_state": 3, "eta0": 0.1}
FITS = {
    "plain": {},
    "momentum": {"momentum": 0.9, "nesterov": True},
    "average": {"average": 100},
    "standardize": {"standardize": True, "eta0": "auto"},
    "early stopping": {"early_stopping": True, "tol": 1e-4, "average": True},
    "adaptive": {"learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1},
    "cosine": {"learning_rate": "cosine", "warmup_epochs": 1.5},
    "callable": {"learning_rate": lambda step: 0.3 / (1 + step)},
    "no seed": {"random_state": None},
    "weights": {"class_weight": {0: 2, 1: 0.5}, "label_smoothing": 0.1},
    "by tol": {"tol": 0.5, "n_iter_no_change": 2, "max_iter": 50},
}


class StopError(Exception):
    pass


@pytest.fixture
def data(rng):
    X = rng.normal(size=(120, 7)).astype(np.float32)
    return X, (X[:, :3] + rng.normal(size=(120, 3))).argmax(axis=1)


def assert_same_bits(model, other):
    for name in ("coef_", "intercept_", "mean_", "scale_", "loss_curve_", "validation_scores_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(other, name), err_msg=name)
    for name in ("n_iter_", "t_", "eta0_", "best_validation_score_"):
        assert getattr(model, name) == getattr(other, name)


def stopping_after(n_epochs):
    def stop(state):
        if state.epoch == n_epochs:
            raise StopError

    return stop


@pytest.mark.parametrize("options", FITS.values(), ids=FITS)
@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_a_fit_goes_on_with_the_same_bits(backend, data, tmp_path, options, convert):
    X, y = data
    path = tmp_path / "fit.npz"
    options = OPTIONS | {"backend": backend} | options
    seeded = {} if options["random_state"] is not None else {"random_state": 5}
    whole = SoftmaxClassifier(**options | seeded).fit(convert(X), y)
    assert whole.n_iter_ > 2
    first = SoftmaxClassifier(**options | seeded, callbacks=stopping_after(min(3, whole.n_iter_)))
    with pytest.raises(StopError):
        first.fit(convert(X), y, checkpoint=path)
    if seeded:  # as if None had drawn that one
        options["random_state"] = 5
    second = SoftmaxClassifier(**options).fit(convert(X), y, checkpoint=path, resume=True)
    assert_same_bits(second, whole)
    # The file is of the whole fit now: there is nothing left to run.
    again = SoftmaxClassifier(**options, callbacks=stopping_after(whole.n_iter_))
    assert_same_bits(again.fit(convert(X), y, checkpoint=path, resume=True), whole)
    # and it goes on from there
    for model in (second, whole, again):
        model.set_params(callbacks=None, early_stopping=False).partial_fit(convert(X), y)
    assert_same_bits(second, whole)
    assert_same_bits(again, whole)


def test_without_a_seed_the_order_is_that_of_the_file(data, tmp_path):
    X, y = data
    options = OPTIONS | {"random_state": None, "early_stopping": True}
    with pytest.raises(StopError):
        SoftmaxClassifier(**options, callbacks=stopping_after(4)).fit(
            X, y, checkpoint=tmp_path / "fit.npz", checkpoint_every=3
        )
    copies = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for file in copies:
        file.write_bytes((tmp_path / "fit.npz").read_bytes())
    models = [
        SoftmaxClassifier(**options).fit(X, y, checkpoint=file, resume=True) for file in copies
    ]
    assert_same_bits(*models)


def test_it_is_saved_every_so_many_epochs_and_at_the_end(data, tmp_path):
    path, seen = tmp_path / "fit.npz", []

    def look(state):
        seen.append(path.stat().st_mtime_ns if path.exists() else None)

    SoftmaxClassifier(**OPTIONS | {"max_iter": 8}, callbacks=look).fit(
        *data, checkpoint=path, checkpoint_every=3
    )
    # After epochs 3 and 6; a callback is called before its epoch is saved.
    assert seen[:3] == [None] * 3
    assert seen[3] == seen[4] == seen[5] != seen[6] == seen[7]
    assert seen[7] != path.stat().st_mtime_ns
    assert [file.name for file in tmp_path.iterdir()] == ["fit.npz"]


def test_resume_without_a_file_begins(data, tmp_path):
    model = SoftmaxClassifier(**OPTIONS).fit(*data, checkpoint=tmp_path / "fit.npz", resume=True)
    assert_same_bits(model, SoftmaxClassifier(**OPTIONS).fit(*data))


def test_a_class_that_has_no_weight_goes_on(data, tmp_path):
    X, y = data
    path, weights = tmp_path / "fit.npz", (y != 1).astype(float)
    short = OPTIONS | {"max_iter": 2}
    SoftmaxClassifier(**short).fit(X, y, weights, checkpoint=path)
    others = np.where(y == 1, 0, y)  # of the same weights, and fewer classes
    with pytest.raises(ValueError, match=r"^resume: .* other y; give"):
        SoftmaxClassifier(**short).fit(X, others, weights, checkpoint=path, resume=True)
    model = SoftmaxClassifier(**short).fit(X, y, weights, checkpoint=path, resume=True)
    assert model.classes_.tolist() == [0, 1, 2]
    assert_same_bits(model, SoftmaxClassifier(**short).fit(X, y, weights))


def test_without_resume_a_file_is_written_over(data, tmp_path):
    path = tmp_path / "fit.npz"
    SoftmaxClassifier(**OPTIONS | {"max_iter": 2}).fit(*data, checkpoint=path)
    model = SoftmaxClassifier(**OPTIONS).fit(*data, checkpoint=path)
    assert_same_bits(model, SoftmaxClassifier(**OPTIONS).fit(*data))


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"alpha": 0.5}, r"alpha \(there 'size', here 0\.5\)"),
        ({"learning_rate": lambda step: 0.1}, "learning_rate"),
        ({"random_state": 4}, r"random_state \(there 3, here 4\)"),
        ({"class_weight": {0: 2}}, "class_weight"),
        ({"batch_size": 17, "momentum": 0.5}, "batch_size .*, momentum "),
        ("X", "X; give"),
        ("y", "y; give"),
        ("sample_weight", "sample_weight; give"),
        ("coef_init", "coef_init; give"),
    ],
)
def test_another_fit_is_refused(data, tmp_path, change, differing):
    X, y = data
    path = tmp_path / "fit.npz"
    SoftmaxClassifier(**OPTIONS).fit(X, y, checkpoint=path)
    before = path.read_bytes()
    parameters = change if isinstance(change, dict) else {}
    given = {"X": X.copy(), "y": y.copy()}
    if change == "X":
        given["X"][77, 3] += 1e-6
    elif change == "y":
        given["y"][77] = (given["y"][77] + 1) % 3
    elif change == "sample_weight":
        given["sample_weight"] = np.ones(120)
    elif change == "coef_init":
        given["coef_init"] = np.zeros((3, 7))
    model = SoftmaxClassifier(**OPTIONS | parameters)
    with pytest.raises(ValueError, match=rf"^resume: .*fit\.npz is .* other {differing}"):
        model.fit(**given, checkpoint=path, resume=True)
    assert not hasattr(model, "coef_")
    assert path.read_bytes() == before
    # What changes no bit may change, and how a number is written.
    options = OPTIONS | {
        "random_state": np.int64(3),
        "eta0": np.float64(0.1),
        "backend": "compiled",
    }
    model = SoftmaxClassifier(**options, n_jobs=1, verbose=0, callbacks=lambda state: None)
    model.fit(X, y, checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"checkpoint": "fit.pkl"}, ValueError, r"^checkpoint: expected a name that ends in \.npz"),
        ({"checkpoint": 3}, TypeError, "^checkpoint: expected a str or a path-like"),
        ({"checkpoint": "nowhere/fit.npz"}, ValueError, "^checkpoint: .*existing folder"),
        ({"checkpoint": "fit.npz", "checkpoint_every": 0}, ValueError, "^checkpoint_every: "),
        ({"checkpoint": "fit.npz", "checkpoint_every": 1.5}, TypeError, "^checkpoint_every: "),
        ({"checkpoint": "fit.npz", "resume": "yes"}, TypeError, "^resume: expected True or False"),
        ({"resume": True}, ValueError, "^resume: expected False without a checkpoint"),
    ],
)
def test_bad_arguments(data, tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        SoftmaxClassifier(**OPTIONS).fit(*data, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_checkpoint(data, tmp_path):
    (tmp_path / "fit.npz").mkdir()
    with pytest.raises(ValueError, match=r"^checkpoint: expected a regular file, got .*fit\.npz"):
        SoftmaxClassifier(**OPTIONS).fit(*data, checkpoint=tmp_path / "fit.npz")


def test_a_folder_that_is_write_protected_is_named_before_the_training(data, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path or mode != os.W_OK)
    model = SoftmaxClassifier(**OPTIONS)
    with pytest.raises(
        PermissionError, match=r"^checkpoint: .*fit\.npz cannot be written: its fol"
    ):
        model.fit(*data, checkpoint=tmp_path / "fit.npz")
    assert not hasattr(model, "coef_")


def test_damaged_files_are_refused(data, tmp_path):
    path = tmp_path / "fit.npz"
    model = SoftmaxClassifier(**OPTIONS, average=True).fit(*data, checkpoint=path)
    whole, chance = path.read_bytes(), random.Random(0)
    damaged = [whole[: chance.randrange(len(whole))] for _ in range(40)]
    for _ in range(60):
        changed = bytearray(whole)
        changed[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(changed))
    model.save(tmp_path / "model.npz")
    damaged.append((tmp_path / "model.npz").read_bytes())
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"fit\.npz: "):
            SoftmaxClassifier(**OPTIONS, average=True).fit(*data, checkpoint=path, resume=True)


# Of a file whose digest is right, made by hand: other metadata and tensors, and what is said of them.
BREAKS = {
    "a newer version": (
        {"version": 3, "package": "9.9"},
        {},
        r"has version 3 of the format, written by fastsoftmax 9\.9; .* reads versions up to 2: upgrade it",
    ),
    "a version of text": (
        {"version": "1" * 99},
        {},
        "version: expected an integer >= 1, got '1{80}',",
    ),
    "no numbers": (
        {},
        {"coef": np.full((3, 7), np.nan, "<f4")},
        "coef contains numbers that are not",
    ),
    "no identity": ({"identity": None}, {}, "does not name the fit that it belongs to"),
    "no parameters": ({"identity": {}}, {}, "does not name the fit that it belongs to"),
    "no end": (
        {"is_done": 1},
        {},
        "is not a checkpoint of this fit: is_done: expected true or false",
    ),
    "negative steps": ({"n_steps": -1}, {}, "is not a checkpoint of this fit: n_steps"),
    "a step size of text": ({"eta0": "auto"}, {}, "is not a checkpoint of this fit: eta0"),
    "no average": (
        {"average": None},
        {},
        "is not a checkpoint of this fit: average: expected two counts",
    ),
    "too many epochs": (
        {},
        {"loss_curve": np.ones(7)},
        "is not a checkpoint of this fit: more epochs than max_iter",
    ),
    "losses in rows": (
        {},
        {"loss_curve": np.ones((1, 6))},
        r"is not a checkpoint of this fit: loss_curve: expected shape \(6,\)",
    ),
    "other weights": (
        {},
        {"coef": np.zeros((3, 8), "<f4")},
        r"is not a checkpoint of this fit: coef: .*\(3, 7\)",
    ),
    "wider weights": (
        {},
        {"coef": np.zeros((3, 7))},
        "is not a checkpoint of this fit: coef: expected float32",
    ),
}


@pytest.mark.parametrize(("metadata", "tensors", "message"), BREAKS.values(), ids=BREAKS)
def test_files_that_are_no_checkpoint_of_this_fit(data, tmp_path, metadata, tensors, message):
    path, options = tmp_path / "fit.npz", OPTIONS | {"average": True}
    SoftmaxClassifier(**options).fit(*data, checkpoint=path)
    text, there = npz.unpack(path.read_bytes())
    path.write_bytes(npz.pack(json.dumps(json.loads(text) | metadata), there | tensors))
    model = SoftmaxClassifier(**options)
    with pytest.raises(ModelFileError, match=rf"fit\.npz: {message}"):
        model.fit(*data, checkpoint=path, resume=True)
    assert not hasattr(model, "coef_")


def test_a_checkpoint_of_an_earlier_version_is_resumed(data, tmp_path, monkeypatch):
    def read(name, value):
        seen.append((name, value))
        return value

    path, seen = tmp_path / "fit.npz", []
    model = SoftmaxClassifier(**OPTIONS).fit(*data, checkpoint=path)
    later = Scalar("forgetting", str, read, since=3, before="none")
    monkeypatch.setattr(checkpoints, "_VERSION", 3)
    monkeypatch.setattr(checkpoints, "_SCALARS", (*checkpoints._SCALARS, later))
    again = SoftmaxClassifier(**OPTIONS).fit(*data, checkpoint=path, resume=True)
    assert_same_bits(again, model)
    assert seen == [("forgetting", "none")]


def test_a_warm_start_goes_on_from_its_checkpoint(data, tmp_path):
    X, y = data
    path = tmp_path / "fit.npz"
    options = OPTIONS | {"warm_start": True}
    start = SoftmaxClassifier(**options | {"max_iter": 1}).fit(X, y)
    whole = copy.deepcopy(start).set_params(max_iter=6).fit(X, y)
    broken = copy.deepcopy(start).set_params(max_iter=6, callbacks=stopping_after(3))
    with pytest.raises(StopError):
        broken.fit(X, y, checkpoint=path)
    assert_same_bits(
        broken.set_params(callbacks=None).fit(X, y, checkpoint=path, resume=True), whole
    )


def test_what_killed_processes_have_left_is_removed(data, tmp_path):
    path, process = tmp_path / "fit.npz", subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    write_atomically(path, b"")
    names = []
    for name, pid in (("fit.npz", process.pid), ("fit.npz", os.getpid()), ("other", process.pid)):
        names.append(f"{_prefix(tmp_path / name)}{pid}-{'0' * 16}.tmp")
        (tmp_path / names[-1]).write_bytes(b"half")
    SoftmaxClassifier(**OPTIONS).fit(*data, checkpoint=path)
    assert {file.name for file in tmp_path.iterdir()} == {"fit.npz", *names[1:]}


def test_what_another_users_process_writes_stays(data, tmp_path, monkeypatch):
    def refuse(process, signal):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    path = tmp_path / "fit.npz"
    theirs = tmp_path / f"{_prefix(path)}1-{'0' * 16}.tmp"
    theirs.write_bytes(b"half")
    monkeypatch.setattr(os, "kill", refuse)
    SoftmaxClassifier(**OPTIONS).fit(*data, checkpoint=path)
    assert theirs.read_bytes() == b"half"


def test_a_full_disk_is_named_and_leaves_the_file_before(data, tmp_path, monkeypatch):
    path = tmp_path / "fit.npz"
    SoftmaxClassifier(**OPTIONS).fit(*data, checkpoint=path)
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fastsoftmax.persistence.atomic.os.replace", full)
    model = SoftmaxClassifier(**OPTIONS)
    with pytest.raises(OSError, match=r"checkpoint: .*fit\.npz cannot be written: No space left"):
        model.fit(*data, checkpoint=path, checkpoint_every=2)
    assert path.read_bytes() == before
    assert model.n_iter_ == 2
    assert [file.name for file in tmp_path.iterdir()] == ["fit.npz"]


PROGRAM = """
import sys
import numpy as np
from fastsoftmax import SoftmaxClassifier
rng = np.random.default_rng(0)
X = rng.normal(size=(4000, 60)).astype(np.float32)
y = (X[:, :5] + rng.normal(size=(4000, 5))).argmax(axis=1)
options = {"momentum": 0.9, "average": True, "early_stopping": True, "random_state": 0}


def wait(state):
    print(state.epoch, flush=True)
    sys.stdin.readline()


options["callbacks"] = wait
model = SoftmaxClassifier(max_iter=150, tol=None, **options)
if len(sys.argv) > 2:
    model.fit(X, y, checkpoint=sys.argv[2], resume=True)
else:
    model.fit(X, y)
model.save(sys.argv[1])
"""


@pytest.mark.thinned
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_random_moments(tmp_path):
    """In an epoch, while it saves, or while it waits for the test, which counts the epochs that end."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script)]
    alone = {
        "check": True,
        "timeout": 60,
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
    }
    subprocess.run([*command, str(tmp_path / "whole.npz")], **alone)
    arguments, chance = [str(tmp_path / "resumed.npz"), str(tmp_path / "fit.npz")], random.Random(1)
    for _ in few(range(12), 3):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([*command, *arguments], **pipes) as program:
            for _ in range(chance.randint(1, 10)):  # of 150, so that the fit does not end
                assert program.stdout.readline()
                program.stdin.write(b"\n")
                program.stdin.flush()
            time.sleep(chance.uniform(0, 0.003))
            os.kill(program.pid, signal.SIGKILL)
        assert program.returncode == -signal.SIGKILL
    subprocess.run([*command, *arguments], **alone)
    # The whole of it, random state and averages included.
    assert (tmp_path / "resumed.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
