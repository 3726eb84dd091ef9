"""Classes of labels and indices into them: by every path the result of `numpy.unique`."""

from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from fastsoftmax import SoftmaxClassifier
from fastsoftmax._arrays.labels import are_equal, as_labels, encode, find_classes, joined

TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("width", [1, 2, 40, 100_000])
@pytest.mark.parametrize("start", ["least", "zero", "most"])
@pytest.mark.parametrize("with_ends", [False, True])
def test_integers(dtype, width, start, with_ends, rng):
    limits = np.iinfo(dtype)
    lowest = {"least": limits.min, "zero": 0, "most": limits.max - 40}[start]
    for n in (1, 3, 60):
        labels = [min(lowest + int(place), limits.max) for place in rng.integers(width, size=n)]
        if with_ends:
            labels[0], labels[-1] = limits.min, limits.max
        y = np.array(labels, dtype)
        expected, indices = np.unique(y, return_inverse=True)
        classes = find_classes(y)
        assert classes.dtype == dtype
        np.testing.assert_array_equal(classes, expected)
        encoded = encode(y, classes)
        assert encoded.dtype == np.int64
        np.testing.assert_array_equal(encoded, indices)
        if len(classes) > 1:
            for left_out in (0, len(classes) // 2, len(classes) - 1):
                with pytest.raises(ValueError, match=r"^y: the label .* is not among the classes"):
                    encode(y, np.delete(classes, left_out))


def test_labels_of_another_integer_type(rng):
    classes = np.array([-3, 0, 7])
    for dtype in (np.int8, np.int16, np.int64):
        np.testing.assert_array_equal(encode(np.array([7, -3, 0], dtype), classes), [2, 0, 1])
    with pytest.raises(ValueError, match=r"^y: the label .*255.* is not among"):
        encode(np.array([255], np.uint8), classes)
    assert encode(np.array([], int), classes).shape == (0,)


DAYS = np.array(["2020-02-29", "1969-07-20"], "M8[D]")
NUMBERS = {
    "int64": np.array([0, 1]),
    "bool": np.array([False, True]),
    "float64": np.array([0.0, 1.0]),
    "uint64": np.array([0, 1], np.uint64),
    "objects": np.array([0, 1], object),
    "NumPy's booleans as objects": np.array([np.False_, np.True_], object),
    "nullable integers": pd.array([0, 1], dtype="Int64"),
    "nullable booleans": pd.array([False, True], dtype="boolean"),
    "categories": pd.Categorical([0, 1]),
    "of polars": pl.Series([0, 1]),
    "of Arrow": pa.array([0, 1]),
}
TEXTS = {
    "str": np.array(["0", "1"]),
    "objects": np.array(["0", "1"], object),
    "pandas": pd.Series(["0", "1"], dtype="string"),
    "categories": pd.Categorical(["0", "1"]),
    "polars": pl.Series(["0", "1"]),
    "Arrow": pa.array(["0", "1"]),
}
if hasattr(np.dtypes, "StringDType"):
    TEXTS["of any length"] = np.array(["0", "1"], np.dtypes.StringDType())
FAMILIES = {
    "numbers": (NUMBERS, "(int64|uint64|float64|bool)"),
    "text": (TEXTS, "str"),
    "bytes": ({"bytes": np.array([b"0", b"1"])}, "bytes"),
    "dates": ({"days": DAYS, "of pandas": pd.Series(DAYS.astype("M8[ns]"))}, "datetime64"),
}
ROWS = np.array([[-1.0], [1.0]])


def fitted(y):
    return SoftmaxClassifier(random_state=0).fit(ROWS, y)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_of_one_type_are_compared_whatever_holds_them(family):
    labels = FAMILIES[family][0]
    for classes in labels.values():
        model = fitted(classes)
        for y in labels.values():
            assert model.score(ROWS, y) == 1
            assert model.score(ROWS, np.asarray(y)[::-1]) == 0
            grown = fitted(classes).partial_fit(ROWS, y)
            assert grown.classes_.tolist() == model.classes_.tolist()
            assert grown.classes_.dtype == model.classes_.dtype


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("other", FAMILIES)
def test_labels_of_different_types_are_not_compared(family, other):
    if family == other:
        return
    (labels, ours), (others, theirs) = FAMILIES[family], FAMILIES[other]
    message = f"^y: expected labels of one type with the classes, {ours}.*, got {theirs}"
    for classes in labels.values():
        model = fitted(classes)
        for y in others.values():
            for call in (model.score, model.partial_fit, model.set_params(warm_start=True).fit):
                with pytest.raises(TypeError, match=message):
                    call(ROWS, y)
        assert model.classes_.tolist() == fitted(classes).classes_.tolist()


def test_labels_of_the_right_type_need_not_be_known_to_be_scored():
    assert fitted([0, 1]).score(ROWS, [0, 7]) == 0.5
    assert fitted(["a", "b"]).score(ROWS, ["a", "another"]) == 0.5
    assert fitted(DAYS).score(ROWS, np.array(["1969-07-20", "2020-03-01"], "M8[D]")[::-1]) == 0.5


@pytest.mark.parametrize(
    ("labels", "dtype", "found"),
    [
        ([3, -1, 3], np.int64, [-1, 3]),
        ([True, np.False_, True], bool, [False, True]),
        ([True, 7, 0], np.int64, [0, 1, 7]),
        ([np.uint64(2**63 - 1), np.int8(-5), -(2**63)], np.int64, [-(2**63), -5, 2**63 - 1]),
        (["b", "a"], object, ["a", "b"]),
    ],
)
def test_classes_of_objects(labels, dtype, found):
    classes = find_classes(np.array(labels, object))
    assert (classes.dtype, classes.tolist()) == (dtype, found)
    if dtype is not object:
        predicted = fitted(np.array([labels[0], labels[1]], object)).predict(ROWS)
        assert predicted.dtype == dtype


@pytest.mark.parametrize(
    ("label", "error"),
    [
        *[(value, ValueError) for value in (2**63, -(2**63) - 1, np.uint64(2**64 - 1))],
        *[(value, TypeError) for value in (None, np.nan, pd.NA, pd.NaT, 1.0, b"a", "a", 1j)],
        *[(value, TypeError) for value in (Fraction(1), np.timedelta64(1, "D"), DAYS[0], (1, 2))],
    ],
)
def test_objects_that_are_no_labels_are_named(label, error):
    objects = np.empty(3, object)
    objects[:] = [0, label, 1]
    with pytest.raises(error, match=r"^y: expected (integers|labels of one type)"):
        as_labels(objects, "y")


def test_large_integers_are_not_compared_as_floats():
    large = 2**53
    for classes, same, other in (
        (np.array([2.0, large]), np.array([large]), np.array([large + 1])),
        (np.array([2, large + 1]), np.array([2.0]), np.array([float(large)])),
        (np.array([2**63 - 1]), np.array([2**63 - 1], np.uint64), np.array([2**63], np.uint64)),
        (np.array([5, 2**64 - 1], np.uint64), np.array([5]), np.array([-1])),
        (np.array([2**63, 2**63 + 1], np.uint64), np.array([2.0**63]), np.array([2.0**63 + 4096])),
    ):
        assert classes[encode(same, classes)].tolist() == same.tolist()
        assert are_equal(same, classes[encode(same, classes)]).all()
        with pytest.raises(ValueError, match=r"^y: the label .* is not among the classes"):
            encode(other, classes)
        assert not are_equal(np.repeat(other, len(classes)), classes).any()


@pytest.mark.parametrize(
    ("label", "classes", "shown"),
    [
        (np.int64(4), np.arange(3), "4"),
        (np.uint8(4), np.arange(3), "4"),
        (np.float64(4), np.arange(3), "4.0"),
        (True, np.array([False]), "True"),
        ("d", np.array(["a", "b"]), "'d'"),
        (np.str_("d"), np.array(["a", "b"], object), "'d'"),
        (b"d", np.array([b"a", b"b"]), "b'd'"),
        (DAYS[0], DAYS[1:], "'2020-02-29'"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_an_unknown_label_is_shown_as_a_plain_value(label, classes, shown):
    given = np.array([label], object if classes.dtype == object else np.asarray(label).dtype)
    with pytest.raises(ValueError, match=rf"^y: the label {shown} is not among the classes \["):
        encode(given, classes)


def test_dates_are_compared_in_one_unit():
    in_nanoseconds = DAYS.astype("M8[ns]")
    assert encode(in_nanoseconds, np.sort(DAYS)).tolist() == [1, 0]
    with pytest.raises(
        ValueError, match=r"^y: the label .* not among .*'1969-07-20', '2020-02-29'"
    ):
        encode(in_nanoseconds + 1, np.sort(DAYS))
    with pytest.raises(
        ValueError, match=r"^y: expected dates within the range of datetime64\[ns\]"
    ):
        encode(in_nanoseconds, np.array(["9999-12-31"], "M8[D]"))  # in nanoseconds another date


@pytest.mark.parametrize(
    ("classes", "new", "dtype"),
    [
        (np.array([0, 1]), np.array([7], np.uint64), np.int64),
        (np.array([0, 1]), np.array([2**63], np.uint64), np.uint64),
        (np.array([0, 1], np.int8), np.array([300]), np.int64),
        (np.array([0, 1]), np.array([2.0]), np.int64),
        (np.array([0, 1]), np.array([1e300]), float),
        (np.array([0.0, 1.0]), np.array([2]), float),
        (np.array([False, True]), np.array([2]), np.int64),
        (np.array(["a", "b"]), np.array(["long"], object), object),
        (np.array(["a", "b"], object), np.array(["long"]), object),
        (DAYS[1:], DAYS[:1].astype("M8[s]"), "M8[D]"),
        (DAYS[1:], DAYS[:1].astype("M8[s]") + 1, "M8[s]"),
    ],
)
def test_classes_join_without_loss(classes, new, dtype):
    together = joined(classes, new)
    assert together.dtype == dtype
    assert (together[:-1] < together[1:]).all()
    assert len(encode(classes, together)) == len(classes)
    assert encode(new, together).size == 1
    assert joined(together, new) is together


def test_classes_that_no_type_holds_are_not_joined():
    for new in (np.array([1e300]), np.array([2**64 - 1], np.uint64)):
        with pytest.raises(TypeError, match=r"^y: .* int64, got .*: no type holds both exactly"):
            joined(np.array([-1, 2**53 + 1]), new)


@pytest.mark.parametrize("unit", ["Y", "D", "s", "ns"])
def test_dates_are_classes_as_in_scikit_learn(unit):
    from sklearn.linear_model import LogisticRegression

    y = DAYS.astype(f"M8[{unit}]")
    theirs, model = LogisticRegression().fit(ROWS, y), fitted(y)
    np.testing.assert_array_equal(model.classes_, theirs.classes_, strict=True)
    np.testing.assert_array_equal(model.predict(ROWS), theirs.predict(ROWS), strict=True)
    weighted = SoftmaxClassifier(class_weight={y[0]: 0.5, DAYS[1]: 2.0}, max_iter=1, tol=None)
    if unit == "Y":  # in which the day is no year
        with pytest.raises(
            ValueError, match=r"^class_weight: '1969-07-20' is not among the classes"
        ):
            weighted.fit(ROWS, y)
        return
    weights = weighted.fit(ROWS, y).coef_
    by_number = SoftmaxClassifier(class_weight={1: 0.5, 0: 2.0}, max_iter=1, tol=None)
    np.testing.assert_array_equal(weights, by_number.fit(ROWS, [1, 0]).coef_)


@pytest.mark.parametrize("keys", [["0", "1"], [b"0"], [DAYS[0]]])
def test_weights_of_classes_of_another_type(keys):
    model = SoftmaxClassifier(class_weight=dict.fromkeys(keys, 2.0))
    for method in (model.fit, model.partial_fit):  # which would take them for classes to come
        with pytest.raises(
            TypeError, match=r"^class_weight: expected labels of one type .*, int64, got"
        ):
            method(ROWS, [0, 1])
