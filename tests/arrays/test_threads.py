"""The default number of threads, and the environment that changes it."""

import ctypes
import os
import types

import numpy as np
import pytest

from fastsoftmax import SoftmaxClassifier, softmax
from fastsoftmax._arrays import threads


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    monkeypatch.delenv("FASTSOFTMAX_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def allow_cpus(monkeypatch, n_cpus, of_group=1 << 30):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(n_cpus)), raising=False)
    monkeypatch.setattr(threads, "_cgroup_cpus", lambda: of_group)


@pytest.mark.parametrize("n_cpus", [1, 3, 64])
def test_the_cpus_that_this_process_may_use(monkeypatch, n_cpus):
    allow_cpus(monkeypatch, n_cpus)
    assert threads.default_n_threads() == n_cpus
    assert threads.resolve_n_threads(None) == n_cpus


def test_the_affinity_mask_of_this_process(monkeypatch):
    monkeypatch.setattr(threads, "_cgroup_cpus", lambda: 1 << 30)
    assert threads.default_n_threads() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("n_cpus", "of_group", "expected"), [(8, 2, 2), (2, 8, 2), (4, 1, 1)])
def test_the_quota_of_the_control_group(monkeypatch, n_cpus, of_group, expected):
    allow_cpus(monkeypatch, n_cpus, of_group)
    assert threads.default_n_threads() == expected


def test_where_there_is_no_affinity_mask(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(threads, "_cgroup_cpus", lambda: 1 << 30)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert threads.default_n_threads() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.default_n_threads() == 1


@pytest.mark.parametrize(("mask", "expected"), [(0b1011, 3), (2**64 - 1, 64), (0, 6)])
def test_the_affinity_mask_of_windows(monkeypatch, mask, expected):
    def put_mask(process, allowed, installed):
        allowed._obj.value = mask
        return 1

    kernel = types.SimpleNamespace(GetProcessAffinityMask=put_mask)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(ctypes, "windll", types.SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(threads, "_cgroup_cpus", lambda: 1 << 30)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert threads.default_n_threads() == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("5", 5), (" 2 ", 2), ("1", 1), ("", 3), ("  ", 3)]
)
def test_the_variable_of_our_own(monkeypatch, value, expected):
    allow_cpus(monkeypatch, 3)
    monkeypatch.setenv("FASTSOFTMAX_NUM_THREADS", value)
    assert threads.default_n_threads() == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads.default_n_threads() == (7 if expected == 3 else expected)


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "two", "1,2", "²"])
@pytest.mark.parametrize(
    "call",
    [
        lambda: softmax([0.0, 1.0]),
        lambda: SoftmaxClassifier(max_iter=1).fit([[0.0], [1.0]], [0, 1]),
    ],
    ids=["function", "classifier"],
)
def test_a_bad_value_of_our_own_is_an_error(monkeypatch, call, value):
    monkeypatch.setenv("FASTSOFTMAX_NUM_THREADS", value)
    with pytest.raises(ValueError, match=f"FASTSOFTMAX_NUM_THREADS must be .*'{value}'"):
        call()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5", 5), ("4,2", 4), (" 6 ", 6), ("", 3), ("0", 3), ("-2", 3), ("many", 3), (",4", 3)],
)
def test_the_variable_of_openmp(monkeypatch, value, expected):
    allow_cpus(monkeypatch, 3)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads.default_n_threads() == expected


def test_an_explicit_number_comes_first(monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_NUM_THREADS", "bad")  # and is not even looked at
    assert threads.resolve_n_threads(4) == 4
    assert threads.resolve_n_threads(np.int64(4)) == 4
    assert type(threads.resolve_n_threads(np.int64(4))) is int


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_the_argument_is_named(value, error):
    with pytest.raises(error, match=f"^n_jobs: .*{value}"):
        threads.resolve_n_threads(value, "n_jobs")


# The files of a control group by name, and the number of CPUs that they grant.
GROUPS = [
    ({"cpu.max": "200000 100000\n"}, 2),
    ({"cpu.max": "150000 100000\n"}, 2),
    ({"cpu.max": "1000 100000\n"}, 1),
    ({"cpu.max": "max 100000\n"}, None),
    ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ({"cpu.max": "nonsense\n"}, None),
    ({"cpu.max": "5 0\n"}, None),
    ({}, None),
    # Nested: the smallest quota on the way to the process's own group counts.
    ({"self": "0::/a/b\n", "a/b/cpu.max": "200000 100000\n"}, 2),
    ({"self": "0::/a/b\n", "a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
    ({"self": "0::/a\n", "a/cpu.max": "400000 100000\n", "cpu.max": "100000 100000\n"}, 1),
    ({"self": "0::/a\n", "b/cpu.max": "100000 100000\n"}, None),
    ({"self": "0::/of/the/host\n", "cpu.max": "200000 100000\n"}, 2),
    (
        {
            "self": "4:cpu,cpuacct:/a\n3:memory:/m\n0::/\n",
            "cpu/a/cpu.cfs_quota_us": "500000\n",
            "cpu/a/cpu.cfs_period_us": "100000\n",
            "m/cpu.max": "100000 100000\n",
        },
        5,
    ),
    ({"self": "not as it should be\n"}, None),
]


@pytest.mark.parametrize(("files", "expected"), GROUPS, ids=[str(files) for files, _ in GROUPS])
def test_reading_the_control_group(monkeypatch, tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    really_open = open

    def open_there(path, *arguments, **keywords):
        moved = str(path).replace("/sys/fs/cgroup", str(tmp_path))
        moved = moved.replace("/proc/self/cgroup", str(tmp_path / "self"))
        return really_open(moved, *arguments, **keywords)

    monkeypatch.setattr("builtins.open", open_there)
    monkeypatch.setattr("io.open", open_there)  # of pathlib
    actual = threads._cgroup_cpus.__wrapped__()
    assert actual == expected or (expected is None and actual >= 1 << 30)
