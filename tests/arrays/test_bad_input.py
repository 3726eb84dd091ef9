"""Bad arguments of the loss core: an error that names the argument, and nothing has changed."""

import re

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastsoftmax
from fastsoftmax import penalty, softmax, softmax_cross_entropy
from fastsoftmax._arrays import validation

NAN, INF = np.nan, np.inf
Z = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])  # logits, or X
T = np.array([0, 2])
SOFT = np.array([[0.2, 0.8, 0.0], [0.0, 0.0, 1.0]])
X, W, B = Z, np.arange(12.0).reshape(3, 4) / 10, np.arange(4.0)

# Values that are not arrays of real numbers, and what the message calls them.
NOT_NUMBERS = {
    "object": (np.array([[1, None]], object), "object"),
    "None": (None, "NoneType"),
    "string": ("logits", "str"),
    "strings": ([["1", "2"]], "<U1"),
    "bytes": (b"12", "bytes"),
    "complex": (np.array([[1j, 2]]), "complex128"),
    "longdouble": (np.array([[1, 2]], np.longdouble), "float128|longdouble|float64"),
    "datetime": (np.array([["2020-01-01"]], "M8[D]"), "datetime64"),
    "timedelta": (np.array([[1]], "m8[s]"), "timedelta64"),
    "records": (np.zeros(2, [("a", "f4")]), "'a'"),
    "dict": ({1: 2}, "dict"),
    "set": ({1, 2}, "set"),
    "generator": ((i for i in range(2)), "generator"),
    "large ints": ([[10**30, 1]], "object"),
    "masked": (np.ma.array([[1.0, 2.0]], mask=[[True, False]]), "masked"),
}
if np.finfo(np.longdouble).nmant == np.finfo(np.float64).nmant:
    del NOT_NUMBERS["longdouble"]  # it is float64 by another name


class OfAnotherDevice:
    """An array that NumPy cannot read, such as a tensor on a GPU or one with a gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("is not in memory")


NOT_NUMBERS["of another device"] = (OfAnotherDevice(), "OfAnotherDevice: is not in memory")


def call(name, backend, *arguments, **keywords):
    return getattr(fastsoftmax, name)(*arguments, backend=backend, **keywords)


# Valid arguments of every function, by the names of its parameters.
VALID = {
    "softmax": {"logits": Z},
    "log_softmax": {"logits": Z},
    "logsumexp": {"logits": Z},
    "cross_entropy": {"logits": Z, "targets": T},
    "softmax_cross_entropy": {"logits": Z, "targets": T},
    "linear_cross_entropy": {"X": X, "W": W, "targets": T, "intercept": B},
    "penalty": {"W": W},
}
ARRAYS = [(name, argument) for name, arguments in VALID.items() for argument in arguments]


def assert_fails(backend, name, changed, error, message):
    """Assert that a call with some arguments changed raises, and changes no array that it is given."""
    arguments = VALID[name] | changed
    given = [a for a in arguments.values() if isinstance(a, np.ndarray)]
    before = [array.copy() for array in given]
    with pytest.raises(error, match=message):
        call(name, backend, **arguments)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("name", "argument", "value", "came"),
    [
        pytest.param(name, argument, value, came, id=f"{name}-{argument}-{kind}")
        for name, argument in ARRAYS
        for kind, (value, came) in NOT_NUMBERS.items()
        if (argument, kind) != ("intercept", "None")  # that is no intercept
    ],
)
def test_no_array_of_real_numbers(backend, name, argument, value, came):
    assert_fails(backend, name, {argument: value}, TypeError, rf"(?s)^{argument}: .*({came})")


@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_rows_of_unequal_length(backend, name, argument):
    ragged = [[1, 2, 3], [1, 2]]
    assert_fails(backend, name, {argument: ragged}, ValueError, rf"^{argument}: .*list")


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, argument) for name, argument in ARRAYS if name != "logsumexp"],  # has edge values
)
def test_numbers_that_are_not_finite(backend, name, argument, bad):
    array = np.array(SOFT if argument == "targets" else VALID[name][argument])
    # A single -inf is a masked class in logits and in the intercept.
    array[..., :] = bad if argument in ("logits", "intercept") else array
    array[..., -1] = bad
    assert_fails(backend, name, {argument: array}, ValueError, rf"^{argument}: ")


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("W", [[[8, -8, 0]], [[0, 8, 0]], [[8, 8, 8]]], ids=str)
def test_scores_that_overflow(backend, W, label):
    changed = {"X": [[np.finfo(np.float64).max / 4]], "W": W, "targets": [label]}
    changed["intercept"] = None
    message = "^X: the scores .*row 0 overflow float64"
    assert_fails(backend, "linear_cross_entropy", changed, ValueError, message)


@pytest.mark.parametrize("row", [0, 7, 299])
def test_scores_of_many_classes_that_overflow(backend, row):
    X = np.ones((300, 2))
    X[row] = np.finfo(np.float64).max / 4
    changed = {"X": X, "W": np.full((2, 45), 8.0), "targets": np.arange(300) % 45}
    changed["intercept"] = None
    message = f"^X: the scores .*row {row} overflow float64"
    assert_fails(backend, "linear_cross_entropy", changed, ValueError, message)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("W", [[[1, -1]], [[-1, 1]], [[1, 0]], [[0, 0]], [[-1, -1]]], ids=str)
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_features_that_are_not_finite(backend, bad, W, label):
    changed = {"X": [[1.0], [bad]], "W": W, "targets": [0, label], "intercept": None}
    message = r"^X: expected finite numbers, got (NaN|inf) in row 1"
    assert_fails(backend, "linear_cross_entropy", changed, ValueError, message)


SHAPES = [
    ("softmax", {"logits": np.zeros((2, 0))}, "^logits: .*at least one class.*0"),
    ("log_softmax", {"logits": []}, "^logits: .*at least one class"),
    ("logsumexp", {"logits": np.zeros((0, 3)), "axis": 0}, "^logits: .*at least one class"),
    ("logsumexp", {"logits": np.zeros((0, 3)), "axis": None}, "^logits: .*at least one class"),
    ("cross_entropy", {"logits": np.zeros((2, 0))}, "^logits: .*at least one class"),
    ("cross_entropy", {"logits": np.zeros((0, 0)), "targets": T[:0]}, "^logits: .*one class"),
    ("cross_entropy", {"logits": 1.0, "targets": 0}, "^logits: .*scalar"),
    ("cross_entropy", {"targets": T[:1]}, r"^targets: .*\(2,\).*\(2, 3\).*\(1,\)"),
    ("cross_entropy", {"targets": T[:, None]}, r"^targets: .*\(2, 1\)"),
    ("cross_entropy", {"targets": 1}, r"^targets: .*\(\)"),
    ("cross_entropy", {"targets": SOFT[:, :2]}, r"^targets: .*\(2, 2\)"),
    ("cross_entropy", {"targets": SOFT[:1]}, r"^targets: .*\(1, 3\)"),
    ("cross_entropy", {"targets": SOFT[None]}, r"^targets: .*\(1, 2, 3\)"),
    ("softmax_cross_entropy", {"targets": np.zeros((2, 4))}, r"^targets: .*\(2, 4\)"),
    ("linear_cross_entropy", {"X": X[0]}, r"^X: .*two dimensions.*\(3,\)"),
    ("linear_cross_entropy", {"X": X[None]}, r"^X: .*two dimensions.*\(1, 2, 3\)"),
    ("linear_cross_entropy", {"X": 1.0}, r"^X: .*two dimensions"),
    ("linear_cross_entropy", {"W": W[0]}, r"^W: .*two dimensions.*\(4,\)"),
    ("linear_cross_entropy", {"W": W.T}, r"^W: .*3 columns of X.*\(4, 3\)"),
    ("linear_cross_entropy", {"W": np.zeros((3, 0))}, "^W: .*at least one class"),
    ("linear_cross_entropy", {"intercept": B[:3]}, r"^intercept: .*\(4,\).*\(3,\)"),
    ("linear_cross_entropy", {"intercept": B[None]}, r"^intercept: .*\(4,\).*\(1, 4\)"),
    ("linear_cross_entropy", {"intercept": 0.0}, r"^intercept: .*\(4,\).*\(\)"),
    ("linear_cross_entropy", {"targets": T[:1]}, r"^targets: .*\(2,\).*\(2, 4\).*\(1,\)"),
    ("linear_cross_entropy", {"targets": SOFT}, r"^targets: .*\(2, 3\)"),
]


@pytest.mark.parametrize(("name", "changed", "message"), SHAPES)
def test_shapes(backend, name, changed, message):
    assert_fails(backend, name, changed, ValueError, message)


LABELS = [
    ([0, 3], ValueError, r"^targets: .*0 to 2, got 3 in row 1"),
    ([-1, 0], ValueError, r"^targets: .*0 to 2, got -1 in row 0"),
    ([7, -7], ValueError, r"^targets: .*0 to 2, got 7 in row 0"),
    (np.array([0, 2**64 - 1], np.uint64), ValueError, r"^targets: .*got 18446744073709551615"),
    (np.array([2**63, 0], np.uint64), ValueError, r"^targets: .*got 9223372036854775808"),
    (np.array([-(2**63), 0]), ValueError, r"^targets: .*got -9223372036854775808"),
    (np.array([-128, 0], np.int8), ValueError, r"^targets: .*got -128"),
    ([0.0, 1.0], TypeError, r"^targets: .*integer labels.*float64"),
    ([0.5, 1.0], TypeError, r"^targets: .*integer labels.*float64"),
    ([NAN, 1.0], TypeError, r"^targets: .*integer labels.*float64"),
    ([True, False], TypeError, r"^targets: .*integer labels.*bool"),
    (np.ma.array([0, 1], mask=[True, False]), TypeError, r"^targets: .*masked"),
    ([[0.5, 0.5, NAN], [1, 0, 0]], ValueError, r"^targets: .*nan in row 0, class 2"),
    ([[0.5, 0.5, 0], [1, INF, 0]], ValueError, r"^targets: .*inf in row 1, class 1"),
    ([[0.5, 0.5, 0], [-0.1, 1.1, 0]], ValueError, r"^targets: .*-0.1 in row 1, class 0"),
    ([[0, 1, 0], [1e308, 1e308, 0]], ValueError, r"^targets: .*overflows float64 in row 1"),
    ([[0, 1, 0], [-1, 1, 1]], ValueError, r"^targets: .*-1.* in row 1, class 0"),
]


@pytest.mark.parametrize(("targets", "error", "message"), LABELS)
@pytest.mark.parametrize("name", ["cross_entropy", "softmax_cross_entropy", "linear_cross_entropy"])
def test_targets(backend, name, targets, error, message):
    changed = {"targets": targets}
    if name == "linear_cross_entropy":
        changed["W"], changed["intercept"] = W[:, :3], B[:3]
    assert_fails(backend, name, changed, error, message)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("n_classes", [3, 300, 70_000])
def test_negative_labels_of_few_bits(backend, dtype, n_classes):
    # Of 8 bits, -1 read without a sign is 255, a class among 300.
    changed = {"logits": np.zeros((1, n_classes)), "targets": np.array([-1], dtype)}
    assert_fails(backend, "cross_entropy", changed, ValueError, r"^targets: .*got -1 in row 0")


@pytest.mark.parametrize("payload", [0, 1, 5])
@pytest.mark.parametrize(("dtype", "unsigned"), [("f4", "u4"), ("f8", "u8")])
def test_a_nan_of_any_bits(backend, dtype, unsigned, payload):
    logits = np.zeros((2, 20), dtype)
    bits = np.array(np.nan, dtype).view(unsigned) + np.array(payload, unsigned)
    logits[1, 3] = bits.view(dtype)
    for name in ("softmax", "log_softmax"):
        assert_fails(backend, name, {"logits": logits}, ValueError, "^logits: .*NaN in row 1")
    for c in (4, 20):  # few classes and many take different ways in the compiled backend
        changed = {"logits": logits[:, :c], "targets": [0, 0]}
        for name in ("cross_entropy", "softmax_cross_entropy"):
            assert_fails(backend, name, changed, ValueError, "^logits: .*NaN in row 1")


@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
def test_a_nan_that_signals_makes_no_warning(backend, name, standardize, convert):
    arguments = {
        "X": np.eye(2, dtype="f4"),
        "y": np.array([0, 1], "f4"),
        "sample_weight": np.ones(2, "f4"),
    }
    arguments[name].view("u4").flat[0] = 0x7F80_0001
    model = fastsoftmax.SoftmaxClassifier(backend=backend, standardize=standardize)
    with pytest.raises(ValueError, match=rf"^{name}: .*(?i:nan)"):
        model.fit(**arguments | {"X": convert(arguments["X"])})


def test_numbers_too_large_for_the_dtype_computed_in(backend):
    single = Z.astype(np.float32)
    assert_fails(
        backend,
        "cross_entropy",
        {"logits": single, "targets": np.full((2, 3), 1e300)},
        ValueError,
        "^targets: ",
    )
    changed = {"X": single, "W": W.astype(np.float32), "intercept": np.full(4, 1e300)}
    assert_fails(backend, "linear_cross_entropy", changed, ValueError, "^intercept: ")


OUTS = [
    ([[0.0] * 3] * 2, TypeError, "list"),
    (3.0, TypeError, "float"),
    (np.empty((3, 2)), ValueError, r"\(2, 3\).*\(3, 2\)"),
    (np.empty(6), ValueError, r"\(2, 3\).*\(6,\)"),
    (np.empty((1, 2, 3)), ValueError, r"\(2, 3\).*\(1, 2, 3\)"),
    (np.empty((2, 3), np.float32), TypeError, "float64.*float32"),
    (np.empty((2, 3), np.int64), TypeError, "float64.*int64"),
    (np.empty((2, 3), ">f8"), TypeError, "float64.*>f8"),
    (np.broadcast_to(np.float64(0), (2, 3)), ValueError, "read-only"),
    (np.lib.stride_tricks.as_strided(np.zeros(3), (2, 3), (0, 8)), ValueError, "share memory"),
    (np.lib.stride_tricks.as_strided(np.zeros(6), (2, 3), (8, 8)), ValueError, "share memory"),
    (np.ma.zeros((2, 3)), TypeError, "MaskedArray"),
]


@pytest.mark.parametrize(("out", "error", "message"), OUTS)
def test_out(backend, out, error, message):
    assert_fails(backend, "softmax_cross_entropy", {"out": out}, error, rf"^out: .*{message}")


def test_out_that_is_the_read_only_logits(backend):
    logits = Z.copy()
    logits.setflags(write=False)
    with pytest.raises(ValueError, match=r"^out: .*read-only"):
        softmax_cross_entropy(logits, T, logits, backend=backend)


ROW_FUNCTIONS = ["softmax", "log_softmax", "logsumexp"]


@pytest.mark.parametrize("name", ROW_FUNCTIONS)
@pytest.mark.parametrize(
    ("axis", "error"),
    [
        (2, ValueError),
        (-3, ValueError),
        (10**30, ValueError),
        ((0, 2), ValueError),
        ((0, 0), ValueError),
        ((1, -1), ValueError),
        ((), ValueError),
        (1.0, TypeError),
        (True, TypeError),
        ("1", TypeError),
        ([0], TypeError),
        ((0, "1"), TypeError),
        ((0, None), TypeError),
        (np.array([0, 1]), TypeError),
    ],
    ids=str,
)
def test_axis(backend, name, axis, error):
    assert_fails(backend, name, {"axis": axis}, error, "^axis: ")


COUNTS = [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)]
COUNTS += [(np.True_, TypeError), (np.array([2]), TypeError)]


@pytest.mark.parametrize(("n_threads", "error"), COUNTS)
@pytest.mark.parametrize("name", VALID)
def test_n_threads(backend, name, n_threads, error):
    message = f"^n_threads: expected a positive integer.*{re.escape(str(n_threads))}"
    assert_fails(backend, name, {"n_threads": n_threads}, error, message)


@pytest.mark.parametrize("n_threads", [64, 2**31, 2**63, 10**30, np.uint8(3)])
def test_any_larger_number_of_threads_is_at_most_so_many(backend, n_threads):
    expected = softmax(Z, backend=backend)
    np.testing.assert_array_equal(softmax(Z, backend=backend, n_threads=n_threads), expected)


@pytest.mark.parametrize("backend", ["cuda", "", "Naive", None, 1, ["naive"], b"naive"])
@pytest.mark.parametrize("name", VALID)
def test_backend(name, backend):
    with pytest.raises(ValueError, match=r"^backend: expected one of auto, compiled.*got"):
        call(name, backend, **VALID[name])


@pytest.mark.parametrize(
    ("wrt", "error"),
    [
        ("W", ValueError),
        (("W", "b"), ValueError),
        (("w",), ValueError),
        ((1,), ValueError),
        (None, TypeError),
        (3, TypeError),
        ((["W"],), TypeError),
    ],
)
def test_wrt(backend, wrt, error):
    assert_fails(backend, "linear_cross_entropy", {"wrt": wrt}, error, "^wrt: .*'intercept'")


@pytest.mark.parametrize("strength", ["l2", "l1"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1.0, ValueError),
        (NAN, ValueError),
        (INF, ValueError),
        pytest.param(10**400, ValueError, id="10**400"),
        ("1", TypeError),
        (None, TypeError),
        (1j, TypeError),
        (True, TypeError),
        ([1.0], TypeError),
        (np.timedelta64(1, "s"), TypeError),
    ],
)
def test_strengths_of_the_penalty(backend, strength, value, error):
    assert_fails(backend, "penalty", {strength: value}, error, f"^{strength}: ")


@pytest.mark.parametrize(
    ("strength", "value", "W"),
    [("l2", 2e38, W.astype(np.float32)), ("l1", 1e39, W.astype(np.float32)), ("l2", 1e308, W)],
)
def test_strengths_whose_gradient_overflows(backend, strength, value, W):
    message = rf"^{strength}: the gradient's factor .* overflows {W.dtype}"
    assert_fails(backend, "penalty", {"W": W, strength: value}, ValueError, message)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.float64(-1.5), "-1.5"),
        (np.int64(-1), "-1"),
        (np.str_("a"), "'a'"),
        (np.True_, "True"),
        (np.timedelta64(1, "D"), repr(np.timedelta64(1, "D"))),
        (None, "None"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_numpy_scalars_are_shown_as_plain_values(value, shown):
    for check in (
        lambda: validation.as_non_negative("alpha", value),
        lambda: validation.as_integer("alpha", value, 0),
    ):
        with pytest.raises((TypeError, ValueError), match=rf"^alpha: .*, got {re.escape(shown)}$"):
            check()


def test_a_penalty_beyond_the_largest_number_is_infinite(backend):
    value, gradient = penalty(np.array([1e200, -1e200]), l2=1e200, backend=backend)
    assert value == INF
    np.testing.assert_array_equal(gradient, [INF, -INF])
    value, gradient = penalty(np.array([1e30], np.float32), l2=1e30, backend=backend)
    np.testing.assert_allclose(value, 1e90, rtol=1e-6)
    np.testing.assert_array_equal(gradient, [INF])
