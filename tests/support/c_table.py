"""The table of the C API, as a C program sees it: structs, functions and their arguments."""

import ctypes
from ctypes import POINTER, c_double, c_int, c_size_t, c_ssize_t, c_void_p

import numpy as np

import fastsoftmax

ROWS = (c_int, c_void_p, c_ssize_t, c_size_t, c_size_t)


class Weights(ctypes.Structure):
    _fields_ = (("rows", c_void_p), ("classes", c_void_p), ("smoothing", c_double))


class Options(ctypes.Structure):
    _fields_ = (
        ("size", c_size_t),
        ("row_weights", c_void_p),
        ("class_weights", c_void_p),
        ("smoothing", c_double),
        ("upstream", c_void_p),
        *((name, c_double) for name in ("temperature", "softcap", "z_loss")),
        ("mask", c_void_p),
        ("mask_stride", c_size_t),
        ("lse", c_void_p),
        ("lse_upstream", c_void_p),
        *((name, c_void_p) for name in ("argmax", "top_k_correct", "label_log_prob", "entropy")),
        ("top_k", c_size_t),
        ("of_a_later_version", c_double),
    )


class Linear(ctypes.Structure):
    _fields_ = (
        ("size", c_size_t),
        ("type", c_int),
        ("n_threads", c_int),
        *((name, c_size_t) for name in ("n_rows", "n_features", "n_classes")),
        *((name, c_void_p) for name in ("X", "W")),
        *((name, c_ssize_t) for name in ("W_feature_stride", "W_class_stride")),
        *((name, c_void_p) for name in ("intercept", "labels", "probabilities")),
        ("scale", c_double),
        *((name, c_void_p) for name in ("losses", "dW")),
        *((name, c_ssize_t) for name in ("dW_feature_stride", "dW_class_stride")),
        *((name, c_void_p) for name in ("dintercept", "dX")),
    )


def cross_entropy_with(options):
    return ctypes.CFUNCTYPE(
        c_ssize_t,
        *ROWS,
        c_void_p,
        c_void_p,
        POINTER(options),
        c_double,
        c_void_p,
        c_void_p,
        c_ssize_t,
        c_int,
    )


class Table(ctypes.Structure):
    _fields_ = (
        ("version", c_int),
        ("softmax", ctypes.CFUNCTYPE(c_ssize_t, *ROWS, c_void_p, c_ssize_t, c_int)),
        ("log_softmax", ctypes.CFUNCTYPE(c_ssize_t, *ROWS, c_void_p, c_ssize_t, c_int)),
        ("logsumexp", ctypes.CFUNCTYPE(None, *ROWS, c_void_p, c_int)),
        ("cross_entropy", cross_entropy_with(Weights)),
        ("softmax_cross_entropy", cross_entropy_with(Options)),
        (
            "linear_cross_entropy",
            ctypes.CFUNCTYPE(c_ssize_t, POINTER(Linear), POINTER(Options)),
        ),
    )


def functions():
    """Return the table of the library."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = c_void_p, (ctypes.py_object, ctypes.c_char_p)
    pointer = get_pointer(fastsoftmax.C_API, b"fastsoftmax.C_API")
    return ctypes.cast(pointer, POINTER(Table)).contents


def arguments(logits):
    """Type, pointer, stride in elements, and sizes."""
    stride = logits.strides[0] // logits.itemsize
    return int(logits.dtype == np.float64), logits.ctypes.data, stride, *logits.shape


def options_of(rows, classes, smoothing, upstream):
    size = Options.of_a_later_version.offset
    addresses = (
        None if array is None else array.ctypes.data for array in (rows, classes, upstream)
    )
    row_weights, class_weights, factors = addresses
    return Options(size, row_weights, class_weights, smoothing, factors, of_a_later_version=np.nan)


def linear_of(X, W, targets, losses, intercept=None, dW=None, dintercept=None, dX=None):
    """The struct of arrays of which W and dW may have any strides."""
    linear = Linear(
        ctypes.sizeof(Linear), int(X.dtype == np.float64), 2, *X.shape, W.shape[1], scale=1.0
    )
    given = {"X": X, "W": W, "losses": losses, "intercept": intercept, "dW": dW, "dX": dX}
    given["dintercept"] = dintercept
    given["labels" if targets.ndim == 1 else "probabilities"] = targets
    for name, array in given.items():
        setattr(linear, name, None if array is None else array.ctypes.data)
    for name, array in (("W", W), ("dW", dW)):
        if array is not None:
            linear_strides = (stride // array.itemsize for stride in array.strides)
            for axis, stride in zip(("feature", "class"), linear_strides, strict=True):
                setattr(linear, f"{name}_{axis}_stride", stride)
    return linear
