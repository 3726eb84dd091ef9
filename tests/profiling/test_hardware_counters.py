"""Hardware counters: as the system has them, as it lacks them, and what a profile says of either."""

import errno
import mmap
import os
import sys
from threading import Event, Thread

import numpy as np
import pytest

from fastsoftmax import SoftmaxClassifier, profile
from fastsoftmax.profiling import hardware_counters
from fastsoftmax.profiling.hardware_counters import CounterGroup, HardwareCounters, HardwareCounts

NONE = "this CPU or virtual machine has none"


def counters_of(monkeypatch, readings):
    """Make groups that read these in turn, one list for each thread; return those that are open."""
    opened = []

    class Group:
        def __init__(self, thread):
            if isinstance(readings[thread], OSError):
                raise readings[thread]
            self.readings = iter(readings[thread])
            opened.append(self)

        def read(self):
            reading = next(self.readings)
            if isinstance(reading, OSError):
                raise reading
            return reading

        def close(self):
            opened.remove(self)

    monkeypatch.setattr(hardware_counters, "_threads", lambda: range(len(readings)))
    monkeypatch.setattr(hardware_counters, "CounterGroup", Group)
    return opened


def test_the_threads_are_added_up(monkeypatch):
    readings = [
        [(10, 10, 5, 6, 7), (110, 110, 1005, 2006, 17)],
        OSError(errno.ESRCH, "it has ended"),
        OSError(errno.ENODEV, "it is about to end"),
        [(0, 0, 0, 0, 0), (100, 50, 10, 20, 30)],  # the counters were its own half of the time
        [(7, 7, 1, 1, 1), (7, 7, 1, 1, 1)],  # asleep
    ]
    opened = counters_of(monkeypatch, readings)
    counters = HardwareCounters()
    assert len(opened) == 3
    assert counters.stop() == HardwareCounts(1000 + 20, 2000 + 40, 10 + 60)
    assert counters.why_not is None
    assert not opened


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOENT, NONE),
        (errno.EOPNOTSUPP, NONE),
        (errno.ENODEV, NONE),
        (errno.EACCES, "not permitted; kernel.perf_event_paranoid is "),
        (errno.EPERM, "not permitted; kernel.perf_event_paranoid is "),
        (errno.ENOSYS, "Function not implemented"),
        (errno.EMFILE, "Too many open files"),
    ],
)
@pytest.mark.parametrize("place", ["open", "start", "stop"])
def test_counters_that_are_refused(monkeypatch, code, reason, place):
    error, zeros = OSError(code, os.strerror(code)), (0,) * 5
    failing = {"open": error, "start": [error], "stop": [zeros, error]}[place]
    opened = counters_of(monkeypatch, [failing, [zeros, zeros]])
    counters = HardwareCounters()
    assert counters.stop() is None
    assert counters.why_not.startswith(reason)
    assert not opened


def test_counters_that_others_use(monkeypatch):
    counters_of(monkeypatch, [[(0, 0, 0, 0, 0), (9, 0, 0, 0, 0)]])
    counters = HardwareCounters()
    assert counters.stop() is None
    assert counters.why_not == "other programs use them"


@pytest.mark.parametrize(
    ("module", "name", "value", "reason"),
    [
        (sys, "platform", "darwin", "Linux alone has perf_event_open"),
        (hardware_counters.platform, "machine", lambda: "m68k", "Function not implemented"),
    ],
)
def test_other_systems(monkeypatch, module, name, value, reason):
    monkeypatch.setattr(module, name, value)
    counters = HardwareCounters()
    assert (counters.stop(), counters.why_not) == (None, reason)


@pytest.mark.parametrize("is_new", [True, False])
def test_the_counters_of_the_kernel(monkeypatch, is_new):
    """Those of software, which a virtual machine has too, are opened, grouped and read alike."""
    monkeypatch.setattr(hardware_counters, "_HARDWARE", 1)  # PERF_TYPE_SOFTWARE
    task_clock, page_faults, alignment_faults = 1, 2, 8  # PERF_COUNT_SW_...
    monkeypatch.setattr(hardware_counters, "_EVENTS", (task_clock, page_faults, alignment_faults))
    try:
        CounterGroup(0).close()
    except OSError as error:
        pytest.skip(f"perf_event_open: {error}")
    before = len(os.listdir("/proc/self/fd"))

    begin = Event()

    def touch():
        begin.wait()
        with mmap.mmap(-1, 1 << 26) as memory:  # fresh pages
            for place in range(0, len(memory), 4096):
                memory[place] = 1

    thread = Thread(target=touch)
    if not is_new:
        thread.start()
    counters = HardwareCounters()
    if is_new:  # it inherits the counters
        thread.start()
    begin.set()
    thread.join()
    nanoseconds, faults, _ = counters.stop()
    assert nanoseconds > 0
    # A page may be huge: at least one fault in 2 MiB.
    assert faults >= (1 << 26) / (1 << 21)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def fitted(rng):
    """Return a function that makes a profile of two epochs."""

    def fit():
        X, y = rng.normal(size=(60, 5)).astype(np.float32), np.arange(60) % 3
        with profile() as p:
            SoftmaxClassifier(max_iter=2, tol=None).fit(X, y)
        return p

    return fit


def test_a_profile_with_counters(monkeypatch, fitted):
    counters_of(monkeypatch, [[(0, 0, 0, 0, 0), (1, 1, 2_000_000, 5_000_000, 10_000)]])
    p = fitted()
    assert p.counts == HardwareCounts(2e6, 5e6, 1e4)
    lines = [" ".join(line.split()) for line in p.table().splitlines()[-4:]]
    assert lines == [
        "hardware counter per epoch",
        "cycles 1e+06",
        "instructions 2.5e+06 2.50 per cycle",
        "cache misses 5e+03 2.00 per 1000 instructions",
    ]
    record = p.as_record()
    assert record["counts"] == {"cycles": 2e6, "instructions": 5e6, "cache_misses": 1e4}
    assert record["why_no_counts"] is None


def test_a_profile_without_counters(monkeypatch, fitted):
    counters_of(monkeypatch, [OSError(errno.ENOENT, "No such file or directory")])
    p = fitted()
    assert p.table().endswith(f"\n\nhardware counters: not available ({NONE})\n")
    assert (p.counts, p.as_record()["counts"]) == (None, None)
    assert p.as_record()["why_no_counts"] == NONE


def test_counts_of_nothing(monkeypatch, fitted):
    counters_of(monkeypatch, [[(0,) * 5, (0,) * 5]])
    assert fitted().table().splitlines()[-3:] == [
        "cycles                    0",
        "instructions              0",
        "cache misses              0",
    ]
