"""Bad arguments of the classifier: an error that names the argument, and the model is as it was."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csc_matrix, csr_array

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.training.config import n_threads_of

NAN, INF, HUGE = np.nan, np.inf, 10**400
ATTRIBUTES = ("coef_", "intercept_", "classes_", "loss_curve_", "n_iter_", "t_", "n_features_in_")


@pytest.fixture
def data(rng):
    return rng.normal(size=(12, 4)), np.arange(12) % 3


@pytest.fixture
def model(backend, data):
    """A fitted model, and after the test the check that it is as it was."""
    # At the constant rate a fit of one epoch has the steps, and the bits, of a chunk.
    options = {"learning_rate": "constant", "max_iter": 1, "n_jobs": 1, "random_state": 0}
    classifier = SoftmaxClassifier(backend=backend, **options)
    classifier.partial_fit(*data, classes=[0, 1, 2])
    before = {name: np.copy(getattr(classifier, name)) for name in ATTRIBUTES}
    yield classifier
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(classifier, name), value, err_msg=name)


# (values, exception) by the name of the parameter
PARAMETERS = {
    "backend": [(["cuda", "", None, 1, b"naive", ["naive"]], ValueError)],
    "solver": [(["", "newton", "LBFGS"], ValueError), ([0, None, b"sgd", ["sgd"]], TypeError)],
    "penalty": [(["l3", "", "L2"], ValueError), ([0, True, b"l2", ["l2"]], TypeError)],
    "alpha": [([-1, NAN, INF, HUGE, "1", "best"], ValueError), ([None, True, 1j, [1]], TypeError)],
    "l1_step": [(["", "prox", None, 1, ["proximal"]], ValueError)],
    "class_weight": [
        (["", "uniform"], ValueError),
        ([1.0, [1, 1, 1], np.ones(3)], TypeError),
        ([{0: -1}, {1: NAN}, {0: 1, 7: 1}, {NAN: 1}], ValueError),
        ([{0: None}, {0: "1"}, {"0": 1}, {0: 1, "1": 1}, {b"0": 1}, {None: 1}], TypeError),
    ],
    "label_smoothing": [([-0.1, 1.1, NAN], ValueError), (["0", None, True], TypeError)],
    "l1_ratio": [([-0.1, 1.1, NAN, INF], ValueError), (["1", False], TypeError)],
    "fit_intercept": [([None, 1, 0, "yes"], TypeError)],
    "standardize": [([None, 1, 0, "yes"], TypeError)],
    "max_iter": [([0, -1], ValueError), ([1.5, 2.0, None, "3", True, NAN], TypeError)],
    "tol": [([-1e-3, NAN, INF], ValueError), (["1", True, 1j], TypeError)],
    "n_iter_no_change": [([0, -1], ValueError), ([1.5, None, True], TypeError)],
    "batch_size": [([0, -1], ValueError), ([1.5, None, "auto", True], TypeError)],
    "shuffle": [([None, 1, "no"], TypeError)],
    "replacement": [([None, 1, "no"], TypeError)],
    "learning_rate": [
        (["optimal", "", None, 0.1, ["constant"], np.array(["constant"])], (ValueError, TypeError)),
        ([lambda step: NAN, lambda step: -1.0, lambda step: INF], ValueError),
        ([lambda step: None, lambda step: "1", lambda step: [1.0], lambda step: 1j], TypeError),
    ],
    "eta0": [
        ([0, -1, NAN, INF, HUGE, "1", "optimal"], ValueError),
        ([None, True, 1j], TypeError),
    ],
    "power_t": [([-1, NAN, INF], ValueError), (["1", None], TypeError)],
    "step_every": [([0, -1], ValueError), ([1.5, None, "1", True], TypeError)],
    "step_factor": [([-1, NAN, INF], ValueError), (["1", None, True], TypeError)],
    "warmup_epochs": [([-1, NAN, INF], ValueError), (["1", None, True], TypeError)],
    "average": [([0, -1], ValueError), ([None, "yes", 1.5], TypeError)],
    "early_stopping": [([None, 1, "no"], TypeError)],
    "validation_fraction": [([0, 1, -0.1, 1.5, NAN], ValueError), (["0.1", None, True], TypeError)],
    "warm_start": [([None, 1, "no"], TypeError)],
    "progress_bar": [([None, 1, "no"], TypeError)],
    "callbacks": [([1, "print", [print, None], {"a": print}], TypeError)],
    "momentum": [([-0.1, 1, 1.5, NAN, INF, "0", "yes"], ValueError), ([None, True], TypeError)],
    "nesterov": [([None, 1, "no"], TypeError)],
    "random_state": [([-1], ValueError), ([1.5, "1", True, [1], NAN], TypeError)],
    "n_jobs": [([0], ValueError), ([1.5, "2", True, False], TypeError)],
    "verbose": [([None, "yes", 1.5], TypeError)],
}
TABLE = [
    pytest.param(name, value, error, id=f"{name}={str(value)[:20]}")
    for name, entries in PARAMETERS.items()
    for values, error in entries
    for value in values
]


def test_every_parameter_is_in_the_table():
    assert PARAMETERS.keys() == SoftmaxClassifier().get_params().keys()


@pytest.mark.parametrize(("name", "value", "error"), TABLE)
def test_parameters(model, data, name, value, error):
    model.set_params(**{name: value})  # checked where it is used, as in scikit-learn
    for method in (model.fit, model.partial_fit):
        if (method, name) == (model.partial_fit, "random_state"):
            continue  # used up by the first call
        with pytest.raises(error, match=f"^{name}: ") as caught:
            method(*data)
    # What came is in the message; of a callable or a mapping, what came of it.
    if callable(value) or isinstance(value, dict | list | np.ndarray) or value is HUGE:
        return
    assert str(value).strip("[]'b") in str(caught.value)


ACCEPTED = {
    "batch_size": 10**30,
    "n_jobs": 10**30,
    "max_iter": np.int8(2),
    "alpha": np.float32(0.5),
    "eta0": 1,
    "power_t": 0,
    "random_state": 10**40,
    "n_iter_no_change": 10**30,
    "shuffle": np.False_,
    "verbose": False,
    "learning_rate": lambda step: np.float32(0.1),
}


@pytest.mark.parametrize(("name", "value"), ACCEPTED.items(), ids=ACCEPTED.keys())
def test_unusual_parameters_that_are_right(backend, data, name, value):
    model = SoftmaxClassifier(**{"backend": backend, "max_iter": 2, name: value}).fit(*data)
    assert np.isfinite(model.coef_).all()
    assert len(model.loss_curve_) == 2


def test_nesterov_needs_momentum(model, data):
    for rule in ({"momentum": 0}, {"learning_rate": "constant", "momentum": "auto"}):
        model.set_params(nesterov=True, **rule)
        for method in (model.fit, model.partial_fit):
            with pytest.raises(ValueError, match=r"^nesterov: expected False without momentum"):
                method(*data)


def test_l1_ratio_is_needed_where_it_is_used(model, data):
    plain = model.set_params(l1_ratio=0.5, penalty="l1").fit(*data).coef_
    np.testing.assert_array_equal(model.set_params(l1_ratio=None).fit(*data).coef_, plain)
    model.set_params(penalty="elasticnet")
    with pytest.raises(TypeError, match=r"^l1_ratio: expected a real number, got None"):
        model.fit(*data)
    model.set_params(penalty="l2", l1_ratio=0.15).fit(*data)


@pytest.mark.parametrize(
    ("n_jobs", "expected"), [(-1, 6), (-2, 5), (-6, 1), (-7, 1), (np.int64(-3), 4)]
)
def test_negative_n_jobs_count_back_from_the_default(monkeypatch, n_jobs, expected):
    monkeypatch.setenv("FASTSOFTMAX_NUM_THREADS", "6")
    assert n_threads_of(n_jobs) == expected


def test_negative_n_jobs_train_and_predict(backend, data):
    model = SoftmaxClassifier(backend=backend, max_iter=1, n_jobs=-2).fit(*data)
    assert model.predict_proba(data[0]).shape == (len(data[0]), len(model.classes_))


def test_numpys_global_state_is_a_random_state(backend, data):
    """It is drawn from once a fit, and a fit that fails does not draw from it."""
    shared = np.random.mtrand._rand
    model = SoftmaxClassifier(backend=backend, max_iter=2, random_state=np.random)
    before = shared.get_state()
    try:
        shared.seed(3)
        model.fit(*data)
        after = shared.get_state()[2]
        with pytest.raises(ValueError, match="at least two classes"):
            model.fit(data[0], np.zeros(len(data[0]), int))
        assert shared.get_state()[2] == after
    finally:
        shared.set_state(before)
    generator = np.random.RandomState(3)
    same = SoftmaxClassifier(backend=backend, max_iter=2, random_state=generator).fit(*data)
    np.testing.assert_array_equal(model.coef_, same.coef_)
    assert generator.get_state()[2] == after


def test_a_random_state_of_the_wrong_type_hears_what_is_accepted(model, data):
    with pytest.raises(TypeError, match=r"a RandomState, numpy\.random or None, got 'a'"):
        model.set_params(random_state="a").fit(*data)


def test_invscaling_that_vanishes(backend, data):
    model = SoftmaxClassifier(
        backend=backend, learning_rate="invscaling", power_t=1e10, batch_size=3, max_iter=2
    )
    assert len(model.fit(*data).loss_curve_) == 2


def bad_X(X):
    """Bad features, the error and what its message says."""
    return {
        "nothing": (np.where(X[0, 0] == X, None, X), ValueError, "NaN in row 0"),
        "object": (np.where(X[0, 0] == X, {}, X), TypeError, "object.*dict"),
        "words": (np.where(X[0, 0] == X, "a", X.astype(object)), ValueError, "object.*'a'"),
        "string": (X.astype(str), TypeError, "<U"),
        "complex": (X + 0j, ValueError, "complex128"),
        "datetime": (np.zeros((12, 4), "M8[s]"), TypeError, "datetime64"),
        "None": (None, TypeError, "NoneType"),
        "masked": (np.ma.array(X, mask=X > 0), TypeError, "masked"),
        "ragged": ([[1, 2, 3, 4], [1, 2]], ValueError, "list"),
        "one axis": (X[0], ValueError, r"two dimensions.*\(4,\)"),
        "three axes": (X[None], ValueError, r"two dimensions.*\(1, 12, 4\)"),
        "a number": (1.0, ValueError, r"two dimensions.*\(\)"),
        "no features": (X[:, :0], ValueError, r"one feature.*\(12, 0\)"),
        "NaN": (np.where(np.arange(12)[:, None] == 7, NAN, X), ValueError, "NaN in row 7"),
        "inf": (np.where(np.arange(12)[:, None] == 7, INF, X), ValueError, "inf in row 7"),
    }


KINDS = list(bad_X(np.zeros((12, 4))))


@pytest.mark.parametrize("kind", [*KINDS, "no samples"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_X_to_train_on(model, data, method, kind):
    X, y = data
    bad = bad_X(X) | {"no samples": (X[:0], ValueError, r"one sample.*\(0, 4\)")}
    value, error, message = bad[kind]
    with pytest.raises(error, match=f"^X: .*{message}"):
        getattr(model, method)(value, y)


@pytest.mark.parametrize("kind", [*KINDS, "other features"])
@pytest.mark.parametrize(
    "method", ["decision_function", "predict", "predict_proba", "predict_log_proba", "score"]
)
def test_X_to_predict(model, data, method, kind):
    X, y = data
    bad = bad_X(X) | {"other features": (X[:, :3], ValueError, "3 features.*expecting 4")}
    value, error, message = bad[kind]
    arguments = (value, y) if method == "score" else (value,)
    with pytest.raises(error, match=f"^X.* .*{message}"):
        getattr(model, method)(*arguments)


def test_other_features_in_partial_fit(model, data):
    with pytest.raises(ValueError, match=r"^X has 3 features, but .* is expecting 4"):
        model.partial_fit(data[0][:, :3], data[1])


@pytest.mark.parametrize("scale", [1e300, 1e39])
def test_X_too_large_for_the_dtype_of_the_model(backend, data, scale):
    X, y = data
    model = SoftmaxClassifier(backend=backend, max_iter=1).fit(X.astype(np.float32), y)
    for call in (model.predict, model.predict_proba, lambda X: model.partial_fit(X, y)):
        with pytest.raises((ValueError, ArithmeticError), match="X"):
            call(scale * X)


BAD_LABELS = {
    "None": (None, ValueError, "requires y"),
    "a string": ("abc", ValueError, "one dimension"),
    "three axes": (np.zeros((12, 3, 1), int), ValueError, r"one dimension.*\(12, 3, 1\)"),
    "too few rows": (np.full((3, 3), 1 / 3), ValueError, r"expected 12 rows.*\(3, 3\)"),
    "negative": (np.tile([1.5, -0.5, 0], (12, 1)), ValueError, "-0.5 in row 0, class 1"),
    "counts": ([[1, 0, 0]] * 11 + [[3, 1, 0]], ValueError, "the sum 4 in row 11"),
    "NaN probability": ([[0, 1, 0]] * 11 + [[NAN, 1, 0]], ValueError, "nan in row 11"),
    "too few": ([0, 1, 2], ValueError, "expected 12 labels.*got 3"),
    "too many": ([0, 1, 2] * 5, ValueError, "expected 12 labels.*got 15"),
    "NaN": ([0.0, NAN, 2.0] * 4, ValueError, "nan"),
    "inf": ([0.0, INF, 2.0] * 4, ValueError, "inf"),
    "fractions": ([0.5, 1.5, 2.0] * 4, ValueError, "0.5"),
    "complex": ([0j, 1, 2] * 4, TypeError, "complex128"),
    "no date": (np.array(["2020-01-01", "NaT", "1970-01-01"] * 4, "M8[D]"), ValueError, "NaT"),
    "spans of time": (np.zeros(12, "m8[D]"), TypeError, "timedelta64"),
    "spans of time among objects": (
        np.array([np.timedelta64(1), 2, 3] * 4, object),
        TypeError,
        "64",
    ),
    "a set": ({0, 1, 2}, TypeError, "a list or an array of labels, got set"),
    "a column of CSR": (
        csr_array(np.ones((12, 1))),
        TypeError,
        r"sparse csr_array: y\.toarray\(\)",
    ),
    "one dimension of COO": (coo_array(np.ones(12)), TypeError, "sparse coo_array"),
    "rows of CSC": (csc_matrix(np.full((12, 3), 1 / 3)), TypeError, "sparse csc_matrix"),
    "large integers among objects": (np.array([0, 1, 2**63] * 4, object), ValueError, "92233720"),
    "integers that are floats together": ([-1, 2**63, 2**63 + 1] * 4, ValueError, "92233720"),
    "text and bytes": (["a", b"a", "b"] * 4, TypeError, "mixture"),
    "bytes among objects": (np.array(["a", b"a", b"b"] * 4, object), TypeError, "b'a'"),
    "floats among objects": (np.array([0.0, 1.0, 2.0] * 4, object), TypeError, "0.0"),
    "dates and text": ([np.datetime64("2020-01-01"), "a", "b"] * 4, TypeError, "(date|mix)"),
    "NA": (pd.array([0, 1, None] * 4, "Int64"), (ValueError, TypeError), "(nan|NA)"),
    "NA among booleans": (pd.array([True, False, None] * 4, "boolean"), TypeError, "<NA>"),
    "NA among text": (pd.array(["a", "b", None] * 4, "string"), TypeError, "<NA>"),
    "None among them": ([None, 1, 2] * 4, TypeError, "None"),
    "NaN among strings": (np.array(["a", NAN, "b"] * 4, object), TypeError, "nan"),
    "mixed list": ([1, "a", 2] * 4, TypeError, "mixture"),
    "ragged": ([[0], [1, 2]] * 6, ValueError, "array of numbers"),
    "ragged later": ([0, [1, 2]] * 6, ValueError, "list of labels"),
    "masked": (np.ma.array([0, 1, 2] * 4, mask=[1, 0, 0] * 4), TypeError, "masked"),
    "empty": ([], ValueError, "label"),
}
MIXED = np.array(["a", 1, 2] * 4, object)
NOT_TO_FIT = {
    "no columns": (np.zeros((12, 0)), ValueError, "two classes, got 0"),
    "empty rows": ([[]] * 12, ValueError, "two classes, got 0"),
    "one class": ([1] * 12, ValueError, "two classes.*1"),
    "mixed": (MIXED, TypeError, "mixture"),
}
STRANGERS = {
    "mixed": (MIXED, TypeError, "mixture"),
    "two columns": ([[0, 1]] * 12, ValueError, "expected 3 columns.*got 2"),
    "unknown": ([0, 1, 7] * 4, ValueError, r"label .*7.* not among the classes \[0, 1, 2\]"),
    "negative": ([0, 1, -1] * 4, ValueError, "-1.* not among the classes"),
    "huge": (np.array([2**64 - 1, 0, 1] * 4, np.uint64), ValueError, "18446744073709551615"),
    "strings": (["0", "1", "2"] * 4, TypeError, "labels of one type .*int64, got str"),
    "strings among objects": (np.array(["0", "1", "2"] * 4, object), TypeError, "int64, got str"),
    "bytes": ([b"0", b"1", b"2"] * 4, TypeError, "labels of one type .*int64, got bytes"),
    "dates": (np.zeros(12, "M8[D]"), TypeError, r"of one type .*int64, got datetime64\[D\]"),
}
CASES = [("fit", kind, *case) for kind, case in (BAD_LABELS | NOT_TO_FIT).items()]
CASES += [("partial_fit", kind, *case) for kind, case in (BAD_LABELS | STRANGERS).items()]


@pytest.mark.parametrize(
    ("method", "y", "error", "message"),
    [pytest.param(method, *case, id=f"{method}-{kind}") for method, kind, *case in CASES],
)
def test_y(model, data, method, y, error, message):
    with pytest.raises(error, match=f"^y: .*{message}"):
        getattr(model, method)(data[0], y)


def test_weights_of_pythons_numbers(model, data):
    weights = np.array([Fraction(1, 2), 1, Decimal(2)] * 4, object)
    fits = [
        SoftmaxClassifier(backend=model.backend, max_iter=1, random_state=0).fit(*data, each)
        for each in (weights, [0.5, 1.0, 2.0] * 4)
    ]
    np.testing.assert_array_equal(fits[0].coef_, fits[1].coef_)
    weights[3] = "much"
    with pytest.raises(TypeError, match=r"^sample_weight: expected real numbers.*object: .*'much'"):
        model.fit(*data, weights)


@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        ([1], ValueError, r"^classes: .*two.*\[1\]"),
        ([], ValueError, "^classes: .*one label"),
        (3, ValueError, "^classes: .*one dimension"),
        ([[0, 1, 2]], ValueError, "^classes: .*one dimension"),
        ([0, 1, NAN], ValueError, "^classes: .*nan"),
        ([0, 1, 2j], TypeError, "^classes: .*complex"),
        ([0, 1], ValueError, r"^y: .*2.* not among the classes \[0, 1\]"),
        (["0", "1", "2"], TypeError, "^y: expected labels of one type .* str, got int64"),
        ({0, 1, 2}, TypeError, "^classes: expected a list or an array of labels, got set"),
        (
            iter([0, 1, 2]),
            TypeError,
            "^classes: expected a list or an array of labels, got list_it",
        ),
    ],
)
def test_classes(backend, data, classes, error, message):
    model = SoftmaxClassifier(backend=backend)
    with pytest.raises(error, match=message):
        model.partial_fit(*data, classes=classes)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 2, 3], [1, 2, 3]])
def test_classes_are_fixed_by_the_call_that_names_them(model, data, classes):
    with pytest.raises(
        ValueError, match=r"^classes: expected those that were named before, \[0, 1, 2\]"
    ):
        model.partial_fit(*data, classes=classes)


@pytest.mark.parametrize("classes", [["0", "1", "2"], [b"0", b"1", b"2"]])
def test_names_of_classes_of_another_type(model, data, classes):
    with pytest.raises(
        TypeError, match=r"^classes: expected labels of one type .*int64, got (str|bytes)"
    ):
        model.partial_fit(*data, classes=classes)


@pytest.mark.parametrize("y", [[1], [[1] * 12], np.zeros((12, 2)), "abc", np.zeros(11)])
def test_shape_of_y_to_score(model, data, y):
    with pytest.raises(ValueError, match=r"^y: .*(12|one dimension|3 columns)"):
        model.score(data[0], y)


TO_SCORE = ("NaN", "complex", "None among them", "ragged later", "masked", "no date", "a set")


@pytest.mark.parametrize("kind", [*TO_SCORE, "a column of CSR", "text and bytes", "NA among text"])
def test_y_to_score(model, data, kind):
    y, error, message = BAD_LABELS[kind]
    with pytest.raises(error, match=f"^y: .*{message}"):
        model.score(data[0], y)


def test_no_samples_to_score(model, data):
    with pytest.raises(ValueError, match=r"^X: .*at least one sample"):
        model.score(data[0][:0], [])


@pytest.mark.parametrize(
    ("name", "value", "got"),
    [
        ("label_smoothing", np.float64(2), "got 2.0"),
        ("momentum", np.float32(1), "got 1.0"),
        ("standardize", np.int64(3), "got 3"),
        ("penalty", np.str_("l3"), "got 'l3'"),
        ("backend", np.str_("fast"), "got 'fast'"),
        ("class_weight", {np.int64(0): -1}, "the weight of 0: "),
    ],
)
def test_messages_show_python_values(name, value, got):
    with pytest.raises((ValueError, TypeError), match=got):
        SoftmaxClassifier(**{name: value}).fit([[0.0], [1.0]], [0, 1])
