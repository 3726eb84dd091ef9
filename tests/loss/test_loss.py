"""The functional loss core as users call it: arrays of any shape, layout and dtype."""

import itertools

import numpy as np
import oracle
import pytest
from cases import case
from variants import LAYOUTS

import fastsoftmax
from fastsoftmax import cross_entropy, log_softmax, logsumexp, softmax, softmax_cross_entropy
from fastsoftmax.backends import get_backend
from fastsoftmax.loss import functional as loss_module

SHAPES = [(1, 1), (1, 17), (5, 3), (37, 10), (5, 100), (1, 1000)]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize("masked", [False, True], ids=["finite", "masked"])
@pytest.mark.parametrize(("n_rows", "n_classes"), SHAPES)
def test_rows(backend, dtype, n_rows, n_classes, masked):
    logits, _, expected = case(n_rows, n_classes, dtype, masked)
    for name in ("softmax", "log_softmax", "logsumexp"):
        actual = getattr(fastsoftmax, name)(logits, backend=backend)
        assert actual.dtype == dtype
        getattr(expected, name).check(actual)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("masked", [False, True], ids=["finite", "masked"])
@pytest.mark.parametrize(("n_rows", "n_classes"), SHAPES)
def test_cross_entropy(backend, dtype, n_rows, n_classes, masked, soft):
    logits, targets, expected = case(n_rows, n_classes, dtype, masked, soft)
    loss, dlogits = softmax_cross_entropy(logits, targets, backend=backend)
    assert type(loss) is float
    assert dlogits.dtype == dtype
    expected.mean_loss().check(loss)
    expected.dlogits.check(dlogits)
    assert cross_entropy(logits, targets, backend=backend) == loss
    one_row = cross_entropy(logits[0], targets[0], backend=backend)
    first = oracle.Rows(*(oracle.Expected(e.value[:1], e.bound[:1]) for e in expected))
    first.mean_loss().check(one_row)


def over_axes(logits, axes, name):
    """What the oracle expects of the function `name` over `axes` of an array of any shape."""
    others = [axis for axis in range(logits.ndim) if axis not in axes]
    moved = logits.transpose([*others, *axes])
    rows = moved.reshape(-1, np.prod(moved.shape[len(others) :], dtype=int))
    expected = getattr(oracle.rows(rows, np.zeros(len(rows), int)), name)
    if name == "logsumexp":
        return oracle.Expected(*(array.reshape(moved.shape[: len(others)]) for array in expected))
    back = np.argsort([*others, *axes])
    return oracle.Expected(*(array.reshape(moved.shape).transpose(back) for array in expected))


AXES = {
    "1-D": [((7,), None), ((7,), 0), ((7,), -1), ((7,), (0,))],
    "2-D": [((3, 4), 0), ((3, 4), -2), ((3, 4), None), ((3, 4), (1, 0)), ((3, 4), np.int64(1))],
    "3-D": [((2, 3, 4), axis) for axis in (0, 1, 2, -1, -3, None, (0, 2), (-1, 1), (2, 0, 1))],
    "4-D": [((2, 1, 3, 2), axis) for axis in (1, -2, (0, 3), (3, 1), (0, -2, 1))],
}


@pytest.mark.parametrize(("shape", "axis"), list(itertools.chain(*AXES.values())))
def test_axes(backend, dtype, rng, shape, axis):
    logits = rng.normal(scale=3, size=shape).astype(dtype)
    axes = range(len(shape)) if axis is None else np.atleast_1d(axis)
    axes = sorted(one % len(shape) for one in axes)
    for name in ("softmax", "log_softmax", "logsumexp"):
        actual = getattr(fastsoftmax, name)(logits, axis, backend=backend)
        assert actual.dtype == dtype
        assert np.asarray(actual).flags.c_contiguous
        over_axes(logits, axes, name).check(actual)
    kept = logsumexp(logits, axis, keepdims=True, backend=backend)
    assert kept.shape == tuple(1 if i in axes else n for i, n in enumerate(shape))
    np.testing.assert_array_equal(kept.ravel(), np.ravel(actual))


@pytest.mark.parametrize("axis", [-1, 0, None, (0,)])
def test_a_scalar_is_one_row_of_one_class(backend, axis):
    assert softmax(3.0, axis, backend=backend) == 1
    assert softmax(3.0, axis, backend=backend).shape == ()
    assert log_softmax(-3, axis, backend=backend) == 0
    assert logsumexp(np.float32(3.5), axis, backend=backend) == 3.5
    assert isinstance(logsumexp([1.0, 2.0], backend=backend), np.float64)


@pytest.mark.parametrize("integer", [*INTEGERS, "bool", "float16", ">i4", ">f2"])
def test_logits_of_other_dtypes(backend, integer):
    logits = np.array([[0, 1, 0], [1, 1, 0]]).astype(integer)
    computed = np.float32 if logits.dtype.kind == "f" else np.float64
    expected = oracle.rows(logits.astype(computed), np.array([2, 0]))
    actual = softmax(logits, backend=backend)
    assert actual.dtype == computed
    expected.softmax.check(actual)
    _, dlogits = softmax_cross_entropy(logits, [2, 0], backend=backend)
    if logits.dtype.itemsize == 2 and logits.dtype.kind == "f":
        assert dlogits.dtype == np.float16
        rounding = np.finfo(np.float16).eps / 2 * np.abs(expected.dlogits.value)
        expected.dlogits.bound[...] += rounding
    expected.dlogits.check(dlogits)


def test_large_integers_are_taken_as_they_are(backend):
    logits = np.array([2**63 + 2**11, 2**63], np.uint64)
    np.testing.assert_array_equal(softmax(logits, backend=backend), [1, 0])
    assert logsumexp(logits, backend=backend) == 2.0**63 + 2.0**11


def test_layouts(backend, dtype, layout):
    logits, labels, expected = case(5, 9, dtype)
    _, probabilities, soft = case(5, 9, dtype, soft=True)
    before = logits.copy()
    came = layout(logits)
    expected.softmax.check(softmax(came, backend=backend))
    expected.logsumexp.check(logsumexp(came, backend=backend))
    for targets, rows in ((layout(labels), expected), (layout(probabilities), soft)):
        loss, dlogits = softmax_cross_entropy(came, targets, backend=backend)
        rows.mean_loss().check(loss)
        rows.dlogits.check(dlogits)
    np.testing.assert_array_equal(came, before)


@pytest.mark.parametrize("integer", [*INTEGERS, ">i2", ">u8"])
def test_labels_of_every_integer_dtype(backend, integer):
    logits, labels, expected = case(5, 9, np.float64)
    for targets in (labels.astype(integer), labels.astype(integer).tolist()):
        expected.mean_loss().check(cross_entropy(logits, targets, backend=backend))
    number = labels.astype(integer)[0]
    assert cross_entropy(logits[0], number, backend=backend) == cross_entropy(
        logits[:1], [int(number)], backend=backend
    )


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float16, np.float64, list])
def test_one_hot_targets_of_every_dtype(backend, dtype, kind):
    logits, labels, expected = case(5, 9, dtype)
    one_hot = np.eye(9)[labels]
    one_hot = one_hot.tolist() if kind is list else one_hot.astype(kind)
    loss, dlogits = softmax_cross_entropy(logits, one_hot, backend=backend)
    expected.mean_loss().check(loss)
    expected.dlogits.check(dlogits)


def test_targets_of_any_shape(backend, rng):
    logits = rng.normal(size=(2, 3, 4))
    labels = rng.integers(4, size=(2, 3))
    expected = oracle.rows(logits.reshape(6, 4), labels.ravel())
    for targets in (labels, np.eye(4)[labels]):
        loss, dlogits = softmax_cross_entropy(logits, targets, backend=backend)
        assert dlogits.shape == (2, 3, 4)
        expected.mean_loss().check(loss)
        expected.dlogits.check(dlogits.reshape(6, 4))


@pytest.mark.parametrize("targets", [[1], [[0.0, 1.0, 0.0]]], ids=["label", "probabilities"])
def test_a_masked_target_has_an_infinite_loss(backend, dtype, targets):
    logits = np.array([[0, -np.inf, 0]], dtype)
    loss, dlogits = softmax_cross_entropy(logits, targets, backend=backend)
    assert loss == cross_entropy(logits, targets, backend=backend) == np.inf
    np.testing.assert_allclose(dlogits, [[0.5, -1, 0.5]], rtol=4 * np.finfo(dtype).eps)


def test_no_probability_on_a_masked_class_costs_nothing(backend, dtype):
    logits = np.array([[0, -np.inf, -np.inf]], dtype)
    loss, dlogits = softmax_cross_entropy(logits, [[1.0, 0.0, 0.0]], backend=backend)
    assert loss == 0
    np.testing.assert_array_equal(dlogits, [[0, 0, 0]])


def test_targets_without_any_mass(backend, dtype):
    loss, dlogits = softmax_cross_entropy(np.array([[1, 2]], dtype), [[0.0, 0.0]], backend=backend)
    assert loss == 0
    np.testing.assert_array_equal(dlogits, [[0, 0]])


def outs(dtype):
    """Pairs of logits (5, 9) to be filled in and `out`, which overlap or lie in unusual ways."""
    exactly = np.empty((5, 9), dtype)
    yield "in place", exactly, exactly
    buffer = np.empty(60, dtype)
    yield "one row later", buffer[:45].reshape(5, 9), buffer[9:54].reshape(5, 9)
    yield "one row earlier", buffer[9:54].reshape(5, 9), buffer[:45].reshape(5, 9)
    yield "one element later", buffer[:45].reshape(5, 9), buffer[1:46].reshape(5, 9)
    yield "upside down", exactly, exactly[::-1]
    yield "mirrored", exactly, exactly[:, ::-1]
    wide = np.empty((5, 18), dtype)
    yield "other columns", wide[:, ::2], wide[:, 1::2]
    yield "same start, wider rows", wide.reshape(10, 9)[:5], wide[:, :9]
    square = np.empty((9, 9), dtype)
    yield "transposed", square[:5], square.T[:5]
    yield "Fortran-ordered", np.empty((5, 9), dtype), np.full((5, 9), np.nan, dtype, order="F")
    yield "strided", np.empty((5, 9), dtype), np.full((10, 27), np.nan, dtype)[::2, ::3]
    yield "backwards", np.empty((5, 9), dtype), np.full((5, 9), np.nan, dtype)[::-1, ::-1]
    yield "unaligned", np.empty((5, 9), dtype), np.ndarray((5, 9), dtype, bytearray(400), 1)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("place", range(13), ids=[name for name, *_ in outs(np.float32)])
def test_out(backend, dtype, place, soft):
    values, targets, expected = case(5, 9, dtype, soft=soft)
    _, logits, out = list(outs(dtype))[place]
    logits[...] = values
    if not np.may_share_memory(logits, out):
        out[...] = np.nan
    loss, dlogits = softmax_cross_entropy(logits, targets, out, backend=backend)
    assert dlogits is out
    expected.mean_loss().check(loss)
    expected.dlogits.check(out)


def test_out_over_the_targets(backend, dtype):
    logits, targets, expected = case(5, 9, dtype, soft=True)
    for came, out in ((targets.copy(),) * 2, ((both := targets.copy()), both[::-1])):
        loss, _ = softmax_cross_entropy(logits, came, out, backend=backend)
        expected.mean_loss().check(loss)
        expected.dlogits.check(out)


def over_memory(kind, dtype, file):
    """Memory to put an argument at the start of, and an `out` (5, 9) that overlaps it."""
    memory = np.zeros(200, dtype)
    if kind == "mapped twice":
        memory = np.memmap(file, dtype, "w+", shape=200)
        return memory, np.memmap(file, dtype, "r+", shape=200)[:45].reshape(5, 9)
    outs = {
        "same start": memory[:45].reshape(5, 9),
        "one element later": memory[1:46].reshape(5, 9),
        "backwards": memory[:45].reshape(5, 9)[::-1],
        "strided": memory[:90:2].reshape(5, 9),
        "transposed": memory[:45].reshape(9, 5).T,
    }
    return memory, outs[kind]


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
@pytest.mark.parametrize(
    "kind",
    ["same start", "one element later", "backwards", "strided", "transposed", "mapped twice"],
)
@pytest.mark.parametrize(
    "name", ["logits", "probabilities", "labels", "sample_weight", "class_weight"]
)
def test_out_may_overlap_any_argument(backend, dtype, rng, name, kind, smoothing, tmp_path):
    arguments = {
        "logits": rng.normal(size=(5, 9)).astype(dtype),
        "targets": rng.integers(9, size=5),
        "sample_weight": rng.random(5) + 0.5,
        "class_weight": (rng.random(9) + 0.5).astype(dtype),
    }
    if name == "probabilities":
        arguments["targets"] = rng.dirichlet(np.ones(9), 5).astype(dtype)
    options = {"label_smoothing": smoothing, "reduction": "none", "backend": backend}
    expected, gradient = softmax_cross_entropy(**arguments, **options)
    argument = "targets" if name in ("labels", "probabilities") else name
    memory, out = over_memory(kind, dtype, tmp_path / "memory")
    values = arguments[argument]
    shared = memory.view(values.dtype)[: values.size].reshape(values.shape)
    shared[...] = values
    losses, dlogits = softmax_cross_entropy(**arguments | {argument: shared}, out=out, **options)
    assert dlogits is out
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(out, gradient)


def test_out_of_one_row_and_of_three_axes(backend):
    logits, labels, expected = case(5, 9, np.float64)
    out = np.full(9, np.nan)
    softmax_cross_entropy(logits[0], labels[0], out, backend=backend)
    np.testing.assert_allclose(out, 5 * expected.dlogits.value[0], rtol=0, atol=1e-15)
    deep = np.full((5, 1, 9), np.nan)
    softmax_cross_entropy(logits[:, None], labels[:, None], deep, backend=backend)
    expected.dlogits.check(deep[:, 0])


@pytest.mark.parametrize("targets", [[1], [[0.0, 1.0]], [[0.0, 1e37]]], ids=str)
@pytest.mark.parametrize("logits", [[[0, -1e4]], [[3e38, -3e38]]], ids=str)
def test_losses_that_float32_cannot_hold(backend, logits, targets):
    logits = np.array(logits, np.float32)
    mass = 1.0 if np.ndim(targets) == 1 else np.float32(targets)[0, 1]
    expected = float(mass) * (float(logits[0, 0]) - float(logits[0, 1]))
    assert cross_entropy(logits, targets, backend=backend) == pytest.approx(expected, rel=1e-12)


def test_out_with_an_axis_of_length_one(backend):
    out = np.full(3, np.nan)
    _, dlogits = softmax_cross_entropy(np.zeros((1, 3)), [0], out[None], backend=backend)
    np.testing.assert_allclose(out, [-2 / 3, 1 / 3, 1 / 3], rtol=1e-15)
    assert np.shares_memory(dlogits, out)


@pytest.mark.parametrize("targets", [np.zeros(0, int), np.zeros((0, 3)), []])
def test_no_rows(backend, dtype, targets):
    logits = np.empty((0, 3), dtype)
    assert np.isnan(cross_entropy(logits, targets, backend=backend))
    loss, dlogits = softmax_cross_entropy(logits, targets, backend=backend)
    assert np.isnan(loss)
    assert dlogits.shape == (0, 3)
    out = np.empty((0, 3), dtype)
    assert softmax_cross_entropy(logits, targets, out, backend=backend)[1] is out
    assert softmax(logits, backend=backend).shape == (0, 3)
    assert log_softmax(logits, backend=backend).shape == (0, 3)
    assert logsumexp(logits, backend=backend).shape == (0,)
    assert logsumexp(logits, backend=backend, keepdims=True).shape == (0, 1)
    assert softmax(np.empty((2, 0, 3), dtype), (0, 2), backend=backend).shape == (2, 0, 3)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([-np.inf, -np.inf], -np.inf),
        ([np.inf, -np.inf], np.inf),
        ([np.inf, np.inf], np.inf),
        ([np.nan, np.inf], np.nan),
        ([0.0, np.nan], np.nan),
    ],
)
def test_logsumexp_of_rows_that_are_not_finite(backend, dtype, row, expected):
    np.testing.assert_equal(logsumexp(np.array(row, dtype), backend=backend), dtype(expected))
    actual = logsumexp(np.array([[0, 0], row], dtype), backend=backend)
    np.testing.assert_array_equal(actual[1], dtype(expected))
    np.testing.assert_allclose(actual[0], np.log(2), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "name", ["softmax", "log_softmax", "cross_entropy", "softmax_cross_entropy"]
)
@pytest.mark.parametrize(
    ("bad", "held"),
    [
        ([0, np.nan], "NaN"),
        ([np.inf, 0], r"\+inf"),
        ([-np.inf, -np.inf], "nothing but -inf"),
    ],
)
def test_a_row_without_a_softmax_is_named(backend, dtype, name, bad, held):
    function = getattr(fastsoftmax, name)
    labels = "entropy" in name
    logits = np.zeros((3, 4, 2), dtype)
    logits[1, 2] = bad
    logits[2, 0] = np.nan
    before = logits.copy()
    for n_threads in (1, 3):
        for came, where in (
            (logits, r"row \(1, 2\)"),
            (logits[1], "row 2"),
            (logits[1, 2], "only row"),
        ):
            targets = (np.zeros(came.shape[:-1], int),) * labels
            with pytest.raises(ValueError, match=f"^logits: .*{held}.*{where}"):
                function(came, *targets, backend=backend, n_threads=n_threads)
    np.testing.assert_array_equal(logits, before)


def test_the_row_is_named_also_where_it_is_overwritten(backend):
    logits = np.array([[0.0, 0.0], [0.0, np.nan]])
    with pytest.raises(ValueError, match=r"^logits: .*row 1"):
        softmax_cross_entropy(logits, [0, 1], out=logits, backend=backend)


def general(logits, targets, out=None, **options):
    """`softmax_cross_entropy` without the fast path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_module, "fast_paths", {})
        return softmax_cross_entropy(logits, targets, out, **options)


def outcome(function, *arguments, **options):
    """What a call returns, as bytes, or raises."""
    try:
        loss, dlogits = function(*arguments, **options)
    except (TypeError, ValueError) as error:
        return type(error), str(error)
    return np.float64(loss).tobytes(), dlogits.dtype, dlogits.shape, dlogits.tobytes()


def fast_path(logits, labels, out=None, n_threads=None):
    return get_backend("compiled").mean_cross_entropy(logits, labels, out, n_threads)


# Rows that the sum of the losses takes one by one, in blocks, and in halves; classes in columns and rows.
@pytest.mark.parametrize("n_rows", [*range(1, 20), 127, 128, 129, 136, 255, 256, 257, 1000, 5003])
@pytest.mark.parametrize("n_classes", [1, 2, 3, 4, 5, 10, 32, 33, 70])
@pytest.mark.parametrize("n_threads", [None, 1, 3])
def test_the_fast_path_gives_the_bits_of_the_general_path(dtype, rng, n_rows, n_classes, n_threads):
    logits = rng.normal(scale=5, size=(n_rows, n_classes)).astype(dtype)
    labels = rng.integers(n_classes, size=n_rows)
    expected = outcome(general, logits, labels, n_threads=n_threads)
    loss, dlogits, invalid = fast_path(logits, labels, None, n_threads)
    assert type(loss) is float
    assert invalid == -1
    assert outcome(lambda: (loss, dlogits)) == expected
    assert outcome(softmax_cross_entropy, logits, labels, n_threads=n_threads) == expected
    for out in (np.full_like(logits, np.nan), logits):
        loss, written, _ = fast_path(logits, labels, out, n_threads)
        assert written is out
        assert outcome(lambda loss=loss, out=out: (loss, out)) == expected


def unusual(dtype):
    """Yield a name and arguments that the fast path leaves to the general path."""
    logits, labels, _ = case(5, 9, dtype)
    labels = labels.astype(np.int64)
    for name, layout in LAYOUTS.items():
        if name not in ("contiguous", "read-only"):
            yield f"{name} logits", (layout(logits), labels)
    for name in ("strided rows", "negative strides", "big-endian", "unaligned"):
        yield f"{name} labels", (logits, LAYOUTS[name](labels))
    yield "list", (logits.tolist(), labels)
    yield "list of labels", (logits, labels.tolist())
    yield "float16", (logits.astype(np.float16), labels)
    yield "integers", (logits.astype(np.int64), labels)
    yield "long double", (logits.astype(np.longdouble), labels)
    yield "complex", (logits.astype(complex), labels)
    yield "dates", (logits.astype(np.int64).astype("datetime64[s]"), labels)
    yield "objects", (logits.astype(object), labels)
    yield "masked", (np.ma.masked_array(logits, logits > 0), labels)
    yield "masked array without a mask", (np.ma.masked_array(logits), labels)
    yield "one row", (logits[0], labels[0])
    yield "three axes", (logits[:, None], labels[:, None])
    yield "no rows", (logits[:0], labels[:0])
    yield "no classes", (logits[:, :0], labels)
    yield "int32 labels", (logits, labels.astype(np.int32))
    yield "uint64 labels", (logits, labels.astype(np.uint64))
    yield "float labels", (logits, labels.astype(np.float64))
    yield "probabilities", (logits, np.eye(9, dtype=dtype)[labels])
    yield "fewer labels", (logits, labels[:4])
    for label in (-1, 9, np.iinfo(np.int64).min, np.iinfo(np.int64).max):
        wrong = labels.copy()
        wrong[3] = label
        yield f"label {label}", (logits, wrong)
    yield "no array as out", (logits, labels, logits.tolist())
    yield "masked out", (logits, labels, np.ma.masked_array(logits.copy()))
    yield "short out", (logits, labels, logits[:4].copy())
    yield "other out", (logits, labels, logits.astype("f8" if dtype == np.float32 else "f4"))
    yield "read-only out", (logits, labels, LAYOUTS["read-only"](logits))
    yield "big-endian out", (logits, labels, LAYOUTS["big-endian"](logits))
    yield "Fortran-ordered out", (logits, labels, np.asfortranarray(logits))
    buffer = np.zeros(60, dtype)
    buffer[:45] = logits.ravel()
    yield "overlapping out", (buffer[:45].reshape(5, 9), labels, buffer[9:54].reshape(5, 9))
    words = np.zeros(45, np.int64)
    yield "out over labels", (logits, words[:5], words.view(dtype)[:45].reshape(5, 9))


N_UNUSUAL = len(list(unusual(np.float32)))


@pytest.mark.parametrize("place", range(N_UNUSUAL), ids=[name for name, _ in unusual(np.float32)])
def test_unusual_arguments_go_the_general_way(dtype, place):
    _, arguments = list(unusual(dtype))[place]
    if len(arguments) == 3 and isinstance(arguments[2], np.ndarray):
        before = arguments[2].tobytes()
        assert fast_path(*arguments) is None
        assert arguments[2].tobytes() == before
    else:
        assert fast_path(*arguments) is None
    _, again = list(unusual(dtype))[place]
    assert outcome(softmax_cross_entropy, *arguments) == outcome(general, *again)


@pytest.mark.parametrize("n_threads", [0, -1, True, 1.0, "2", np.int64(1)])
def test_unusual_numbers_of_threads_go_the_general_way(dtype, n_threads):
    logits, labels, _ = case(5, 9, dtype)
    assert fast_path(logits, labels, None, n_threads) is None
    ways = (softmax_cross_entropy, general)
    first, second = (outcome(way, logits, labels, n_threads=n_threads) for way in ways)
    assert first == second


def test_more_threads_than_a_number_holds(dtype):
    logits, labels = np.zeros((3000, 10), dtype), np.zeros(3000, int)
    loss, _ = softmax_cross_entropy(logits, labels, n_threads=10**30)
    assert loss == pytest.approx(np.log(10))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_classes", [2, 40])
def test_the_fast_path_names_a_row_without_a_softmax_as_the_general_path_does(
    dtype, bad, n_classes
):
    def arguments(place):
        logits = np.zeros((20, n_classes), dtype)
        logits[[7, 13]] = bad
        return logits, np.zeros(20, int), {"none": None, "in place": logits}.get(place, logits + 1)

    for place in ("none", "in place", "apart"):
        assert fast_path(*arguments(place))[2] == 7
        expected = outcome(general, *arguments(place))
        assert outcome(softmax_cross_entropy, *arguments(place)) == expected
        assert "row 7" in expected[1]


@pytest.mark.parametrize("n_classes", [3, 40])
def test_a_nan_of_any_bits_is_found(dtype, n_classes):
    integer = np.uint32 if dtype == np.float32 else np.uint64
    infinity = int(np.array(np.inf, dtype).view(integer))
    mantissa = (1 << np.finfo(dtype).nmant) - 1
    for payload in (1, 0x101, 0x1FF, mantissa // 3, mantissa - 1, mantissa):
        for sign in (0, 1 << (8 * np.dtype(dtype).itemsize - 1)):
            logits = np.zeros((17, n_classes), dtype)
            logits.view(integer)[5, 1] = infinity | payload | sign
            for label in (0, 1):
                labels = np.full(17, label)
                with pytest.raises(ValueError, match=r"^logits: .*NaN in row 5"):
                    softmax_cross_entropy(logits, labels, backend="compiled")
            with pytest.raises(ValueError, match=r"^logits: .*NaN in row 5"):
                softmax(logits, backend="compiled")
