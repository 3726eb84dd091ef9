"""What the caller's thread may be set to, by the C library: rounding, flush-to-zero, traps."""

import ctypes
import ctypes.util
import platform
import struct
from contextlib import contextmanager

# Where the C library keeps, in its fenv_t, the register that says so, and the bits of flush-to-zero.
PLACES = {"x86_64": (28, 0x8040), "aarch64": (0, 1 << 24)}
IS_KNOWN = platform.system() == "Linux" and platform.machine() in PLACES
# FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO; and all exceptions but the inexact one.
ROUNDINGS = (
    {"down": 0x400, "up": 0x800, "to zero": 0xC00}
    if platform.machine() == "x86_64"
    else {"down": 0x800000, "up": 0x400000, "to zero": 0xC00000}
)
STATES = [*ROUNDINGS, "flush to zero"]
TRAPS = 0x1D if platform.machine() == "x86_64" else 0xF


def c_library():
    return ctypes.CDLL(ctypes.util.find_library("m"))


def control():
    """The register that rounds and flushes, with the flags of exceptions where they are in it."""
    environment = ctypes.create_string_buffer(64)
    c_library().fegetenv(environment)
    return struct.unpack_from("I", environment, PLACES[platform.machine()][0])[0]


def set_control(value):
    environment = ctypes.create_string_buffer(64)
    c_library().fegetenv(environment)
    struct.pack_into("I", environment, PLACES[platform.machine()][0], value)
    c_library().fesetenv(environment)


def enter(name):
    """Set this thread to one of STATES."""
    if name in ROUNDINGS:
        assert c_library().fesetround(ROUNDINGS[name]) == 0
    else:
        set_control(control() | PLACES[platform.machine()][1])


@contextmanager
def state(name):
    before = control()
    enter(name)
    try:
        yield
    finally:
        set_control(before)
