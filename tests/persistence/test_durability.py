"""Killed, out of space, interrupted: what has been saved is there as a whole, and what ends says why."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax import SoftmaxClassifier, load
from fastsoftmax.backends import get_backend
from fastsoftmax.cli import main

pytestmark = pytest.mark.timeout(90)
OPTIONS = {"max_iter": 3, "tol": None, "random_state": 0, "eta0": 0.1}


def ended(command, **options):
    """A program that has run to its end, with what it printed."""
    options = {"capture_output": True, "text": True, "timeout": 60} | options
    return subprocess.run([sys.executable, *map(str, command)], **options)


# Killed

SAVING = """
import os, random, signal, sys, time
import numpy as np
from fastsoftmax import SoftmaxClassifier, load

path, chance = sys.argv[1], random.Random(0)
X, y = np.random.default_rng(0).normal(size=(400, 800)), np.arange(400) % 20
models = [SoftmaxClassifier(max_iter=n, tol=None, n_jobs=1).fit(X, y) for n in (1, 2)]
models[0].save(path)
folder, n_killed, n_half_written = os.path.dirname(path), 0, 0
while n_killed < 20 or n_half_written < 3:
    n_killed += 1
    child = os.fork()
    if child == 0:
        while True:
            for model in models:
                model.save(path)
    time.sleep(chance.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    loaded = load(path)
    assert np.array_equal(loaded.coef_, models[loaded.n_iter_ - 1].coef_)
    beside = [name for name in os.listdir(folder) if name != os.path.basename(path)]
    assert all(name.startswith(".fastsoftmax-") and f"-{child}-" in name for name in beside)
    for name in beside:
        n_half_written += 1
        os.unlink(os.path.join(folder, name))
"""


@pytest.mark.costly
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_killed_while_it_saves_it_leaves_one_of_both_models(tmp_path, suffix):
    ran = ended(["-c", SAVING, tmp_path / f"model{suffix}"])
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, and a model of them."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 36)).astype(np.float32)
    y = (X[:, :4] + rng.normal(size=(600, 4))).argmax(axis=1)
    np.savez(folder / "data.npz", X=X, y=y)
    SoftmaxClassifier(**OPTIONS).fit(X, y).save(folder / "model.npz")
    return folder


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    """A copy of the folder, which is the current one."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_killed_again_and_again_trains_to_the_same_file(here):
    options = "--epochs 120 --tol none --momentum 0.9 --average"
    train = ["train", "data.npz", *options.split()]
    assert main([*train, "--model", "whole.npz"]) == 0
    killed = [*train, "--model", "killed.npz", "--checkpoint", "state.npz", "--resume"]
    for n_epochs in (1, 60):
        with subprocess.Popen([sys.executable, "-m", "fastsoftmax", *killed]) as process:
            while epochs_in("state.npz") < n_epochs and process.poll() is None:
                time.sleep(0.005)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not Path("killed.npz").exists()
    assert main(killed) == 0
    assert Path("killed.npz").read_bytes() == Path("whole.npz").read_bytes()
    assert not list(here.glob(".fastsoftmax-*"))


def epochs_in(path):
    if not Path(path).exists():
        return 0
    with np.load(path) as saved:
        return len(saved["loss_curve"])


# A full disk


@contextmanager
def files_of_at_most(n_bytes):
    """The system writes no file further. (Python ignores the signal that comes with it.)

    Modules that are imported meanwhile have bytecode that is cut off as well: none is written.
    """
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    writes_none, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = writes_none


@pytest.mark.parametrize("name", ["new.npz", "new.safetensors", "new.onnx"])
def test_a_model_that_does_not_fit_on_the_disk(here, name):
    model = load("model.npz")
    write = model.to_onnx if name.endswith(".onnx") else model.save
    write(name)
    size = Path(name).stat().st_size
    listed = sorted(os.listdir())
    for limit in (0, 1, size // 2, size - 1):
        Path(name).write_bytes(b"before")
        with files_of_at_most(limit), pytest.raises(OSError, match="File too large") as caught:
            write(name)
        assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, name)
        assert Path(name).read_bytes() == b"before"
        assert sorted(os.listdir()) == listed
    with files_of_at_most(size):
        write(name)
    assert Path(name).stat().st_size == size


def test_a_checkpoint_that_does_not_fit_on_the_disk(here):
    data = np.load("data.npz")
    SoftmaxClassifier(**OPTIONS).fit(data["X"], data["y"], checkpoint="state.npz")
    before, listed = Path("state.npz").read_bytes(), sorted(os.listdir())
    model = SoftmaxClassifier(**OPTIONS)
    message = r"^\[Errno 27\] checkpoint: state\.npz cannot be written: File too large$"
    with files_of_at_most(500), pytest.raises(OSError, match=message):
        model.fit(data["X"], data["y"], checkpoint="state.npz", checkpoint_every=2)
    assert model.n_iter_ == 2
    assert Path("state.npz").read_bytes() == before
    assert sorted(os.listdir()) == listed


PROFILE = "profile --backend vectorized --shape 300x4x3 --epochs 1"
SMALL = "bench --shape 300x4x3 --epochs 1 --batch-size 50 --backends vectorized"
COMMANDS = [
    ("train data.npz --model FILE --force --epochs 2", "out.npz"),
    ("train data.npz --model FILE --force --epochs 2", "out.safetensors"),
    ("train data.npz --model new.npz --force --epochs 2 --checkpoint FILE", "out.npz"),
    ("predict --model model.npz data.npz --output FILE", "out.csv"),
    ("predict --model model.npz data.npz --output FILE --probabilities", "out.npy"),
    ("predict --model model.npz data.npz --output FILE", "out.parquet"),
    ("predict --model model.npz data.npz --output FILE", "out.jsonl"),
    ("evaluate --model model.npz data.npz --json FILE", "out.json"),
    pytest.param(
        "evaluate --model model.npz data.npz --plot FILE", "out.png", marks=pytest.mark.slow
    ),
    ("plot --model model.npz loss --output FILE", "out.svg"),
    ("calibrate --model model.npz data.npz --output FILE --force", "out.npz"),
    ("export --model model.npz --output FILE", "out.onnx"),
    ("show model.npz --json FILE", "out.json"),
    pytest.param("plot --model model.npz weights --output FILE", "out.pdf", marks=pytest.mark.slow),
    ("search data.npz --learning-rates 0.1 --regs 0 --epochs 1 --model FILE --force", "out.npz"),
    ("search data.npz --learning-rates 0.1 --regs 0 --epochs 1 --plot FILE", "out.png"),
    (f"{SMALL} --no-plot --json FILE", "out.json"),
    pytest.param(f"{SMALL} --no-plot --report FILE", "out.html", marks=pytest.mark.slow),
    pytest.param(f"{SMALL} --plot FILE", "out.png", marks=pytest.mark.slow),
    pytest.param(f"{PROFILE} --json FILE", "out.json", marks=pytest.mark.slow),
    pytest.param(f"{PROFILE} --plot FILE", "out.png", marks=pytest.mark.slow),
    (f"{PROFILE} --trace FILE", "out.json"),
    (f"{PROFILE} --flame-graph FILE", "out.json"),
]


@pytest.mark.parametrize(("command", "name"), COMMANDS)
def test_an_output_that_does_not_fit_on_the_disk(capsys, here, command, name):
    Path(name).write_bytes(b"before")
    listed = sorted(os.listdir())
    with files_of_at_most(300):
        code = main(command.replace("FILE", name).split())
    err = capsys.readouterr().err.lstrip()  # a bar of old versions of rich ends with an empty line
    option = command.split(" FILE")[0].split()[-1]
    assert code == 1, err
    assert err.startswith(f"fastsoftmax {command.split()[0]}: error: argument {option}: ")
    quoted = name if option == "--checkpoint" else repr(name)
    assert err.endswith(f": {quoted} cannot be written: File too large\n")
    assert err.count("\n") == 1
    assert Path(name).read_bytes() == b"before"
    assert sorted(os.listdir()) == listed


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_standard_output_on_a_full_disk(here):
    predict = ["-m", "fastsoftmax", "predict", "--model", "model.npz", "data.npz"]
    with open("/dev/full", "w") as full:
        ran = ended(predict, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    reason = "the output cannot be written: No space left on device"
    assert (ran.returncode, ran.stderr) == (1, f"fastsoftmax predict: error: {reason}\n")


def test_a_pipe_is_written_to_and_not_replaced(capsys, here):
    os.mkfifo("labels.csv")
    with subprocess.Popen(["cat", "labels.csv"], stdout=subprocess.PIPE) as reader:
        assert main(["predict", "--model", "model.npz", "data.npz", "--output", "labels.csv"]) == 0
        assert reader.communicate(timeout=60)[0].startswith(b"label\n")
    assert Path("labels.csv").is_fifo()


def test_a_search_whose_picture_does_not_fit_on_the_disk_keeps_its_model(capsys, here):
    options = "--learning-rates 0.1 --regs 0 --epochs 1 --model best.npz --plot best.svg"
    size = Path("model.npz").stat().st_size
    with files_of_at_most(size + 2000):
        code = main(["search", "data.npz", *options.split()])
    assert code == 1
    assert "argument --plot: 'best.svg' cannot be written" in capsys.readouterr().err
    assert load("best.npz").n_iter_ == 1
    assert not Path("best.svg").exists()


# Ctrl-C

INTERRUPTED = """
import os
import numpy as np, scipy.sparse
from fastsoftmax import SoftmaxClassifier, load, search

rng = np.random.default_rng(0)
X = rng.normal(size=(4000, 100)).astype(np.float32)
y = (X[:, :5] + rng.normal(size=(4000, 5))).argmax(axis=1)
options = {"max_iter": 10**9, "tol": None, "n_jobs": 2, "eta0": 1e-3, "backend": "compiled"}
options |= {"shuffle": False, "batch_size": 500, "learning_rate": "constant", "random_state": 0}


def begun(state):
    if state.epoch == 1:
        print("begins", name, flush=True)


def again(call):
    print("begins", name, flush=True)
    while True:
        call()


def check_fit(rows):
    '''The weights are those after that many epochs and then some whole steps.'''
    n = model.n_iter_
    assert n == len(model.loss_curve_) and model.t_ == 8 * n, (n, model.t_)
    same = SoftmaxClassifier(**options | {"max_iter": n}).fit(rows, y)
    for first in range(0, 4000, 500):
        if np.array_equal(same.coef_, model.coef_):
            break
        same.partial_fit(rows[first : first + 500], y[first : first + 500])
    assert np.array_equal(same.coef_, model.coef_)
    assert np.array_equal(same.intercept_, model.intercept_)


def check_saved():
    assert load("model.npz").n_iter_ == 2
    assert not [name for name in os.listdir() if name.startswith(".fastsoftmax")]


sparse = scipy.sparse.csr_array(np.where(X > 1, X, 0))
model, short = SoftmaxClassifier(**options, callbacks=begun), options | {"max_iter": 2}
expected = SoftmaxClassifier(**short).fit(X, y)
wide = SoftmaxClassifier(**short).fit(rng.normal(size=(10, 2000)), y[:10])
rows = np.broadcast_to(rng.normal(size=2000), (2_000_000, 2000))
stages = {
    "fit": (lambda: model.fit(X, y), lambda: check_fit(X)),
    "fit of sparse rows": (lambda: model.fit(sparse, y), lambda: check_fit(sparse)),
    "predict": (lambda: again(lambda: wide.predict(rows)), lambda: None),
    "search": (
        lambda: again(
            lambda: search(X, y, learning_rates=[0.1, 0.2], regs=[0, 1], max_iter=10**6, n_jobs=2)
        ),
        lambda: None,
    ),
    "save": (lambda: again(lambda: expected.save("model.npz")), check_saved),
}
for name, (call, check) in stages.items():
    try:
        call()
    except KeyboardInterrupt:
        print("interrupted", name, flush=True)
    check()
    # The pool is there for the next one.
    assert np.array_equal(SoftmaxClassifier(**short).fit(X, y).coef_, expected.coef_), name
print("done")
"""


def test_ctrl_c_ends_what_goes_on_and_the_process_goes_on(tmp_path):
    get_backend("compiled")  # which the program asks for
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with subprocess.Popen([sys.executable, script], **pipes) as program:
        seen = []
        try:
            for line in program.stdout:
                word, _, stage = line.strip().partition(" ")
                if word == "begins":
                    time.sleep(0.4)
                    program.send_signal(signal.SIGINT)
                elif word == "interrupted":
                    seen.append(stage)
            assert program.stderr.read() == ""
        finally:
            program.kill()
    assert seen == ["fit", "fit of sparse rows", "predict", "search", "save"]
    assert line == "done\n"
