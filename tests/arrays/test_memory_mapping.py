"""Files larger than memory: the block shuffle, and pages that are released."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_array

from fastsoftmax import SoftmaxClassifier
from fastsoftmax._arrays.csr import as_sparse_rows
from fastsoftmax._arrays.memory_mapping import is_mapped, release, take_rows
from fastsoftmax.backends.shuffling import permutation_by_blocks

OPTIONS = {"max_iter": 2, "tol": None, "random_state": 0, "batch_size": 32}


@pytest.mark.parametrize("n", [1, 5, 100, 1003])
@pytest.mark.parametrize("rows_of_block", [1, 7, 2000])
@pytest.mark.parametrize("n_mixed_blocks", [1, 4])
def test_blocks_are_shuffled_and_their_rows_mixed(n, rows_of_block, n_mixed_blocks):
    order = permutation_by_blocks(n, rows_of_block, n_mixed_blocks, np.random.default_rng(0))
    assert sorted(order) == list(range(n))
    # Blocks, numbered as they first come: each group of them is done before the next one begins.
    blocks = order // rows_of_block
    rank = {block: place for place, block in enumerate(dict.fromkeys(blocks.tolist()))}
    groups = np.array([rank[block] // n_mixed_blocks for block in blocks.tolist()])
    assert (np.diff(groups) >= 0).all()
    other = permutation_by_blocks(n, rows_of_block, n_mixed_blocks, np.random.default_rng(1))
    assert n < 3 or (order != other).any()


@pytest.fixture
def saved(rng, tmp_path):
    """The same rows in memory and in a file."""
    X = rng.integers(0, 255, (2000, 300)).astype(np.uint8)
    np.save(tmp_path / "X.npy", X)
    return X, rng.integers(4, size=2000), tmp_path / "X.npy"


@pytest.mark.costly
@pytest.mark.parametrize("shuffle", [True, False, "blocks"])
def test_a_mapped_file_trains_as_memory_does(backend, saved, monkeypatch, shuffle):
    X, y, path = saved
    monkeypatch.setattr(
        "fastsoftmax._arrays.memory_mapping.BYTES_HELD", 50_000
    )  # pages go back every few steps
    monkeypatch.setattr("fastsoftmax.training.epoch._SHUFFLED_BLOCK_BYTES", 3000)
    options = OPTIONS | {
        "backend": backend,
        "shuffle": shuffle,
        "standardize": True,
        "average": True,
    }
    model = SoftmaxClassifier(**options).fit(X, y)
    for mode in ("r", "r+", "c"):
        mapped = np.load(path, mmap_mode=mode)
        assert is_mapped(np.asarray(mapped)[5:]) == (mode != "c")
        other = SoftmaxClassifier(**options).fit(mapped, y)
        np.testing.assert_array_equal(other.coef_, model.coef_)
        assert other.loss_curve_ == model.loss_curve_
        np.testing.assert_array_equal(other.predict_proba(mapped), model.predict_proba(X))


def test_rows_that_the_solver_reads_here_and_there_release_their_pages(saved, monkeypatch):
    X, y, path = saved
    monkeypatch.setattr("fastsoftmax._arrays.memory_mapping.BYTES_HELD", 50_000)
    monkeypatch.setattr("fastsoftmax._arrays.memory_mapping._BYTES_AROUND", 1000)
    monkeypatch.setattr("fastsoftmax.training.objective._MAX_KEPT_BYTES", 0)
    monkeypatch.setattr("fastsoftmax.training.preconditioner._MOST_ROWS_FOR_CLASSES", 500)
    options = {"solver": "lbfgs", "standardize": True, "max_iter": 5, "tol": None}
    model = SoftmaxClassifier(**options).fit(X, y)
    taken = []
    monkeypatch.setattr(
        "fastsoftmax.training.objective.take_rows",
        lambda X, rows: taken.append(len(rows)) or take_rows(X, rows),
    )
    other = SoftmaxClassifier(**options).fit(np.load(path, mmap_mode="r"), y)
    assert 500 in taken
    np.testing.assert_array_equal(other.coef_, model.coef_)
    assert other.loss_curve_ == model.loss_curve_


def test_the_block_shuffle_has_an_order_of_its_own(saved):
    X, y, _ = saved
    curves = [
        SoftmaxClassifier(shuffle=shuffle, **OPTIONS).fit(X, y).loss_curve_
        for shuffle in (True, False, "blocks")
    ]
    assert curves[0] != curves[1] != curves[2] != curves[0]


def test_what_has_been_written_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("fastsoftmax._arrays.memory_mapping.BYTES_HELD", 1000)
    for mode in ("r+", "c"):
        np.save(tmp_path / "X.npy", np.zeros((100, 1000)))
        mapped = np.load(tmp_path / "X.npy", mmap_mode=mode)
        mapped[:] = 1
        release(mapped)
        assert (mapped == 1).all()
    release(np.zeros(5).reshape(1, 5))
    assert not is_mapped(np.zeros((2, 2)))


def test_a_small_file_stays_as_it_is(saved):
    assert not is_mapped(np.load(saved[2], mmap_mode="r"))


def test_sparse_rows_may_be_mapped(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("fastsoftmax._arrays.memory_mapping.BYTES_HELD", 1000)
    X, y, _ = saved
    rows = csr_array(np.where(X > 200, X, 0).astype(np.float32))
    model = SoftmaxClassifier(**OPTIONS).fit(rows, y)
    parts = {}
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", getattr(rows, name))
        parts[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    mapped = csr_array((parts["data"], parts["indices"], parts["indptr"]), shape=rows.shape)
    assert is_mapped(as_sparse_rows("X", mapped))
    np.testing.assert_array_equal(SoftmaxClassifier(**OPTIONS).fit(mapped, y).coef_, model.coef_)


PROGRAM = """
import sys
import numpy as np
import fastsoftmax._arrays.memory_mapping
from fastsoftmax import SoftmaxClassifier

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

fastsoftmax._arrays.memory_mapping.BYTES_HELD = 1 << 24
X = np.load(sys.argv[1], mmap_mode="r")
y = np.arange(len(X)) % 10
shuffle = {"True": True, "False": False, "blocks": "blocks"}[sys.argv[2]]
model = SoftmaxClassifier(max_iter=1, tol=None, shuffle=shuffle, standardize=True)
model.fit(X[:300], y[:300]).predict(X[:300])
before = resident()
model.set_params(early_stopping=sys.argv[3] == "True").fit(X, y).predict(X)
print((resident() - before) // 1024)
"""


@pytest.mark.costly
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("shuffle", [True, False, "blocks"])
def test_the_resident_size_does_not_grow_with_the_file(tmp_path, shuffle, early_stopping):
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.uint8, (60_000, 3072))  # 176 MiB
    X[::7] = np.arange(3072) % 251
    del X
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(tmp_path / "X.npy"),
        str(shuffle),
        str(early_stopping),
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100).stdout
    assert int(output) < (110 if shuffle == "blocks" else 60)  # 64 MiB of blocks are mixed
