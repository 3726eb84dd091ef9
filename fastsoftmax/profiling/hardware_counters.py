"""Hardware counters of a process: cycles, instructions and cache misses, from Linux's perf_event_open.

Each thread has a group of counters, which the threads that it starts inherit. They count in user mode:
that needs no rights where kernel.perf_event_paranoid is at most 2. See perf_event_open(2).
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from operator import sub
from pathlib import Path
from threading import get_native_id
from typing import NamedTuple

_SYSCALLS = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
_HARDWARE = 0  # PERF_TYPE_HARDWARE
_EVENTS = (0, 1, 3)  # PERF_COUNT_HW_..., in the order of HardwareCounts
_TIME_ENABLED, _TIME_RUNNING, _GROUP = 1, 2, 8  # PERF_FORMAT_...
_CLOSE_ON_EXEC = 8  # PERF_FLAG_FD_CLOEXEC
_HAS_NONE = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP, errno.EINVAL)
# Of a thread that has ended, or is about to, so that a group is cut short.
_HAS_ENDED = (errno.ESRCH, errno.ENODEV, errno.EINVAL)


class HardwareCounts(NamedTuple):
    """What all threads of the process did in user mode."""

    cycles: float
    instructions: float
    cache_misses: float  # of the last level


class _Attributes(ctypes.Structure):
    """The first version of perf_event_attr, which every kernel accepts."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("disabled", ctypes.c_uint64, 1),
        ("inherit", ctypes.c_uint64, 1),
        ("pinned", ctypes.c_uint64, 1),
        ("exclusive", ctypes.c_uint64, 1),
        ("exclude_user", ctypes.c_uint64, 1),
        ("exclude_kernel", ctypes.c_uint64, 1),
        ("exclude_hv", ctypes.c_uint64, 1),
        ("other_flags", ctypes.c_uint64, 57),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("bp_addr", ctypes.c_uint64),
    )


class CounterGroup:
    """The counters of a thread, which run from now on.

    Raises
    ------
    OSError
        If the system has no counters, or allows none.
    """

    def __init__(self, thread: int) -> None:
        self._files: list[int] = []
        try:
            for config in _EVENTS:
                leader = self._files[0] if self._files else -1
                self._files.append(_open_event(config, thread, leader))
        except OSError:
            self.close()
            raise

    def read(self) -> tuple[int, ...]:
        """Return the nanoseconds of the group, those in which it was counting, and the counts."""
        layout = struct.Struct(f"={3 + len(_EVENTS)}Q")
        _, *numbers = layout.unpack(os.read(self._files[0], layout.size))
        return tuple(numbers)

    def close(self) -> None:
        """Give the counters back."""
        for file in self._files:
            os.close(file)


class HardwareCounters:
    """The counters of all threads of the process, from now until `stop`.

    Attributes
    ----------
    why_not : str or None
        Why there are none, if so.
    """

    def __init__(self) -> None:
        self._groups: list[CounterGroup] = []
        self._before: list[tuple[int, ...]] = []
        self.why_not: str | None = None
        try:
            for thread in _threads():
                try:
                    self._groups.append(CounterGroup(thread))
                except OSError as error:
                    # The first is the caller, which has not ended.
                    if not self._groups or error.errno not in _HAS_ENDED:
                        raise
            self._before = [group.read() for group in self._groups]
        except OSError as error:
            self.why_not = _reason(error)
            self._close()

    def stop(self) -> HardwareCounts | None:
        """Return the counts since the start, or None with the reason in `why_not`."""
        totals = [0.0] * len(_EVENTS)
        try:
            for group, before in zip(self._groups, self._before, strict=True):
                enabled, running, *counts = map(sub, group.read(), before)
                if enabled and not running:
                    self.why_not = "other programs use them"
                # The kernel takes turns where there are more counters than the CPU has.
                scale = enabled / running if running else 0.0
                totals = [
                    total + scale * count for total, count in zip(totals, counts, strict=True)
                ]
        except OSError as error:
            self.why_not = _reason(error)
        self._close()
        return None if self.why_not is not None else HardwareCounts(*totals)

    def _close(self) -> None:
        for group in self._groups:
            group.close()
        self._groups, self._before = [], []


def _threads() -> list[int]:
    """Return the threads of the process as the kernel numbers them, the calling one first.

    Raises
    ------
    OSError
        If this is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, "Linux alone has perf_event_open")
    own = get_native_id()
    return [own, *({int(name) for name in os.listdir("/proc/self/task")} - {own})]


def _open_event(config: int, thread: int, leader: int) -> int:
    """Return the file of a counter of a thread; `leader` is that of its group, or -1."""
    number = _SYSCALLS.get(platform.machine())
    if number is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    attributes = _Attributes(
        type=_HARDWARE,
        size=ctypes.sizeof(_Attributes),
        config=config,
        read_format=_TIME_ENABLED | _TIME_RUNNING | _GROUP,
        inherit=1,
        exclude_kernel=1,
        exclude_hv=1,
    )
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    every_cpu, flags = ctypes.c_long(-1), ctypes.c_ulong(_CLOSE_ON_EXEC)
    file: int = syscall(
        ctypes.c_long(number),
        ctypes.byref(attributes),
        ctypes.c_long(thread),
        every_cpu,
        ctypes.c_long(leader),
        flags,
    )
    if file < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return file


def _reason(error: OSError) -> str:
    """Return why there are no counters, in a few words."""
    if error.errno in _HAS_NONE:
        return "this CPU or virtual machine has none"
    if error.errno in (errno.EACCES, errno.EPERM):
        try:
            level = Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip()
        except OSError:  # not to be seen from a container
            level = "unknown"
        return f"not permitted; kernel.perf_event_paranoid is {level}"
    return error.strerror or str(error)
