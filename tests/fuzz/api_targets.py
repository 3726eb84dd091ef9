"""Targets for the public functions and the classifier: any shapes, dtypes, layouts, labels, numbers and
thread counts. Every number of threads has the same bits, the backends agree, and only documented errors
come out.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_array

import fastsoftmax

from ..support import c_table
from .decoding import Choices

_DTYPES = ("f4", "f8", "f4", "f8", ">f4", ">f8", "f2", "u1", "i8", "?")
_FLOATS = ("f4", "f8", "f4", "f8", ">f8", "f2")
_CLASSES = (2, 3, 10, 17, 1, 33, 41, 64, 100, 300)
_METRICS = ("argmax", "top_k_correct", "label_log_prob", "entropy")
_DOCUMENTED = (ValueError, TypeError)
Array = np.ndarray[Any, Any]


def laid_out(array: Array, way: int) -> Array:
    """An equal array that lies in memory in another way."""
    if way == 1:
        return np.asfortranarray(array)
    if way == 2:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if way == 3:
        return np.flip(np.flip(array).copy())
    if way == 4:
        buffer = bytearray(array.nbytes + 1)
        copy: Array = np.ndarray(array.shape, array.dtype, buffer, offset=1)
        copy[...] = array
        return copy
    if way == 5:
        array.setflags(write=False)
    return array


def array_of(choices: Choices, shape: tuple[int, ...], dtypes: tuple[str, ...] = _DTYPES) -> Array:
    array = choices.numbers(shape, choices.one_of(dtypes))
    return laid_out(array, choices.below(12))


def labels_of(choices: Choices, n: int, n_classes: int) -> Array:
    """Labels; of some inputs one is no class."""
    labels = np.random.default_rng(choices.byte()).integers(n_classes, size=n)
    if choices.below(8) == 7 and n:
        labels[choices.below(n)] = choices.one_of((-1, n_classes, 2**62, -(2**63)))
    dtype = choices.one_of(("i8", "i8", "i4", "u2", ">i8", "i1"))
    return laid_out(labels.astype(dtype), choices.below(6))


def targets_of(choices: Choices, n: int, n_classes: int) -> Array:
    if choices.below(3):
        return labels_of(choices, n, n_classes)
    rows = np.abs(array_of(choices, (n, n_classes), _FLOATS))
    if choices.below(4) == 3:
        return rows
    with np.errstate(all="ignore"):
        return (rows / (1 + np.nansum(rows))).astype(rows.dtype)


def options_of(choices: Choices, n: int, n_classes: int) -> dict[str, Any]:
    options: dict[str, Any] = {}
    bits = choices.byte()
    if bits & 1:
        options["sample_weight"] = np.abs(array_of(choices, (n,), _FLOATS))
    if bits & 2:
        options["class_weight"] = np.abs(array_of(choices, (n_classes,), _FLOATS))
    if bits & 4:
        options["label_smoothing"] = choices.one_of((0.1, 0.0, 1.0, 1e-300, 1.5))
    if bits & 8:
        options["ignore_index"] = choices.one_of((0, -1, 1, n_classes))
    if bits & 16:
        options["reduction"] = choices.one_of(("none", "sum", "mean"))
    if bits & 32:
        options["temperature"] = choices.one_of((0.5, 3.0, 1e-40, 0.0))
        options["softcap"] = choices.one_of((0.5, 30.0, 1e-30, None))
    if bits & 64:
        shape = choices.one_of(((n_classes,), (n, n_classes), (n, 1)))
        mask = np.random.default_rng(choices.byte()).random(shape) < 0.8
        options["mask"] = laid_out(mask, choices.below(6))
    if bits & 128:
        options["z_loss"] = choices.one_of((0.0, 0.01, 1.0, 1e-300))
        options["return_lse"] = True
        options["metrics"] = choices.one_of(((), _METRICS[::3], _METRICS[2:], _METRICS))
        options["top_k"] = choices.one_of((1, 3, 1000, 0))
    return options


def outcome_of(call: Callable[[], Any]) -> Any:
    """What a call returns, as arrays, or the documented error that it raises."""
    try:
        with np.errstate(all="ignore"):
            result = call()
    except _DOCUMENTED as error:
        return error
    parts = result if isinstance(result, tuple) else (result,)
    flat = [each for part in parts for each in (part if isinstance(part, tuple) else (part,))]
    return [None if each is None else np.asarray(each) for each in flat]


def assert_same(
    first: Any, second: Any, what: str, rtol: float | None = None, scale: float = 0.0
) -> None:
    """The same errors, or the same bits, or numbers as near as rtol says: of the largest, or of `scale`."""
    if isinstance(first, Exception) or isinstance(second, Exception):
        assert (type(first), str(first)) == (type(second), str(second)), (
            f"{what}: {first!r} against {second!r}"
        )
        return
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        if a is None or b is None:
            assert a is b
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype), what
        if rtol is None:
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), f"{what}: {a} against {b}"
        else:
            near = max(rtol, 2e-3) if a.dtype.itemsize == 2 else rtol
            finite = a[np.isfinite(a)]
            atol = near * max(scale, float(np.abs(finite).max()) if finite.size else 0.0)
            # In float64: of two float32 the difference may overflow.
            with np.errstate(all="ignore"):
                a, b = a.astype("f8"), b.astype("f8")
                np.testing.assert_allclose(b, a, near, max(atol, 1e-37), err_msg=what)


def compared(
    call: Callable[..., Any], choices: Choices, single: bool, exact: bool, scale: float = 0.0
) -> Any:
    """Run a call with one thread and with more, and, where numbers are moderate, with another backend."""
    n_threads, other = 2 + choices.below(2), choices.below(4) == 0
    first = outcome_of(lambda: call(backend="compiled", n_threads=1))
    assert_same(first, outcome_of(lambda: call(backend="compiled", n_threads=n_threads)), "threads")
    if other and exact:
        rtol = 2e-5 if single else 1e-11
        second = outcome_of(lambda: call(backend="vectorized", n_threads=1))
        assert_same(first, second, "backends", rtol, scale)
    return first


def is_single(*arrays: Array) -> bool:
    return any(a.dtype.kind == "f" and a.dtype.itemsize <= 4 for a in arrays)


def is_moderate(*arrays: Array, most: float = 1e3) -> bool:
    """Whether all numbers are 0 or of sizes near one another: what they make is, too."""
    with np.errstate(all="ignore"):
        sizes = [np.abs(array.astype("f8")) for array in arrays]
    return all(bool(((x < most) & ((x == 0) | (x > 1e-30))).all()) for x in sizes)


def largest(arrays: Any) -> float:
    """Of 1 and the numbers of all arrays, which are finite."""
    return max([1.0, *(float(np.abs(a.astype("f8")).max()) for a in arrays if a.size)])


def rows(data: bytes) -> None:
    """softmax, log_softmax and logsumexp, over any axes, with their options."""
    choices = Choices(data)
    function = choices.one_of(("softmax", "log_softmax", "logsumexp"))
    shape = [(choices.below(20), choices.one_of(_CLASSES)), (choices.one_of(_CLASSES),)]
    shape += [(2, choices.below(4), 1 + choices.below(20)), ()]
    logits = array_of(choices, choices.one_of(shape))
    axis = choices.one_of((-1, 0, None, (0, 1), (-1, 0), 2, (), -4))
    before = logits.tobytes()
    given: dict[str, Any] = {}
    bits = choices.byte()
    if bits & 1:
        given["temperature"] = choices.one_of((0.5, 3, 1e-3, 0.0, 1e-310))
    if bits & 2:
        given["mask"] = choices.numbers(choices.one_of((logits.shape, logits.shape[-1:])), "f4") > 0
    if bits & 4 and function == "logsumexp":
        given |= {"b": array_of(choices, logits.shape), "return_sign": True}

    def call(**options: Any) -> Any:
        return getattr(fastsoftmax, function)(logits, axis, **given, **options)

    # A logarithm may be near 0 where what it is a difference of is not.
    finite = np.asarray(logits)[np.isfinite(logits)]
    scale = 0.0 if function == "softmax" else largest([finite])
    # A quotient rounds by as much as it is large, and where terms cancel no digit need be left.
    exact = given.get("temperature", 1) >= 0.5 and "b" not in given
    found = compared(call, choices, is_single(logits), exact, scale)
    if isinstance(found, list) and function != "logsumexp":
        out = np.full(logits.shape, -77, found[0].dtype)
        again = outcome_of(lambda: call(out=out, backend="compiled", n_threads=1))
        assert_same(found, again, "into an array")
        assert np.array_equal(out, found[0])
    assert logits.tobytes() == before, "the logits have changed"
    if isinstance(found, list) and function == "softmax":
        assert np.isfinite(found[0]).all()
        sums = found[0].sum(axis=axis, dtype="f8") if axis != () else np.ones(1)
        assert np.allclose(sums, 1, rtol=1e-5), sums
    if isinstance(found, list) and function == "log_softmax":
        assert (found[0] <= 1e-6).all()


def cross_entropy(data: bytes) -> None:
    """The loss core, with every option, in place and without a gradient."""
    choices = Choices(data)
    n, n_classes = choices.below(40), choices.one_of(_CLASSES)
    logits = array_of(choices, (n, n_classes))
    targets = targets_of(choices, n, n_classes)
    options = options_of(choices, n, n_classes)
    before = logits.tobytes(), targets.tobytes()
    # A gradient of 0 but for rounding is divided by the temperature.
    moderate = options.get("temperature", 1) > 1e-3 and is_moderate(
        logits, *(v for v in (targets, *options.values()) if isinstance(v, np.ndarray))
    )

    def call(**more: Any) -> Any:
        return fastsoftmax.softmax_cross_entropy(logits, targets, **options, **more)

    # A gradient is a difference of the probability and the target.
    scale = largest(v for v in options.values() if isinstance(v, np.ndarray)) if moderate else 0.0
    found = compared(call, choices, is_single(logits), moderate, scale**2)
    loss = outcome_of(lambda: fastsoftmax.cross_entropy(logits, targets, **options))
    assert (logits.tobytes(), targets.tobytes()) == before, "an argument has changed"
    if isinstance(found, Exception):
        assert_same(found, loss, "without a gradient")
        return
    # Of the loss, and of the log-sum-exp and the metrics where they are asked for.
    rtol = 1e-6 if is_single(logits) else 1e-13
    assert_same([found[0], *found[2:]], loss, "without a gradient", rtol)
    out = np.full(logits.shape, -77, found[1].dtype)
    again = outcome_of(lambda: call(out=out, backend="compiled", n_threads=1))
    assert_same(found, again, "into an array")
    assert out is not None
    assert np.array_equal(out, found[1], equal_nan=True)


def linear(data: bytes) -> None:
    """linear_cross_entropy and penalty."""
    choices = Choices(data)
    n, d, n_classes = choices.below(40), 1 + choices.below(70), choices.one_of(_CLASSES)
    X = array_of(choices, (n, d))
    W = array_of(choices, (d, n_classes), _FLOATS)
    intercept = array_of(choices, (n_classes,), _FLOATS) if choices.below(2) else None
    targets = targets_of(choices, n, n_classes)
    options = options_of(choices, n, n_classes)
    wrt = choices.one_of((("W", "intercept", "X"), ("W",), ("X",), ("W", "intercept"), ()))
    if intercept is None:
        wrt = tuple(name for name in wrt if name != "intercept")
    numbers = [X, W, targets, *(() if intercept is None else (intercept,))]
    if choices.below(2):
        size = (n,) if options.get("reduction") == "none" else ()
        options["upstream"] = array_of(choices, size, _FLOATS)
    before = [array.tobytes() for array in numbers]
    moderate = is_moderate(*numbers, *(v for v in options.values() if isinstance(v, np.ndarray)))
    moderate = moderate and options.get("temperature", 1) > 1e-3
    # A logit that rounds otherwise moves a row's gradient by as much as it is large.
    # Whether one is the largest may depend on it.
    small = moderate and is_moderate(X, W, most=30) and "argmax" not in options.get("metrics", ())

    def call(**more: Any) -> Any:
        loss, gradients, *others = fastsoftmax.linear_cross_entropy(
            X, W, targets, intercept, wrt=wrt, **options, **more
        )
        return (loss, *gradients, *others)

    arrays = [*numbers, *(v for v in options.values() if isinstance(v, np.ndarray))]
    scale = largest(arrays) ** 3 * (n + n_classes) if small else 0.0
    compared(call, choices, True, small, scale)
    l2, l1 = choices.one_of((0.0, 0.1, 1e-300, 1e300)), choices.one_of((0.0, 0.1, -1.0))
    moderate = is_moderate(W) and l2 < 1
    compared(lambda **more: fastsoftmax.penalty(W, l2, l1, **more), choices, is_single(W), moderate)
    assert [array.tobytes() for array in numbers] == before, "an argument has changed"


def c_api(data: bytes) -> None:
    """The linear loss and the options of the C API, in any layout: the bits of the calls from Python.

    Whoever calls from C has checked the arguments, so what Python refuses is not tried.
    """
    choices, table = Choices(data), c_table.functions()
    n, d, n_classes = choices.below(40), 1 + choices.below(70), choices.one_of(_CLASSES)
    dtype = choices.one_of(("f4", "f8"))
    X, W = choices.numbers((n, d), dtype), choices.numbers((d, n_classes), dtype)
    W = np.asfortranarray(W) if choices.below(2) else laid_out(W, choices.below(4))
    intercept = choices.numbers((n_classes,), dtype) if choices.below(2) else None
    labels = np.random.default_rng(choices.byte()).integers(n_classes, size=n)
    targets: Array = labels
    if choices.below(3) == 0:
        targets = np.random.default_rng(choices.byte()).dirichlet(np.ones(n_classes), n)
        targets = targets.astype(dtype)
    bits = choices.byte()
    rows = np.random.default_rng(bits).integers(3, size=n) * 1.0 if bits & 1 else None
    classes = np.random.default_rng(bits).random(n_classes).astype(dtype) if bits & 2 else None
    smoothing = 0.1 if bits & 4 else 0.0
    upstream = choices.numbers((n,), "f8") if bits & 8 else None
    wrt = [name for bit, name in ((16, "W"), (32, "intercept"), (64, "X")) if bits & bit]
    given = {"sample_weight": rows, "class_weight": classes, "label_smoothing": smoothing}
    bits = choices.byte()
    on_logits: dict[str, Any] = {"temperature": 0.7} if bits & 1 else {}
    on_logits |= {"softcap": 5.0} if bits & 2 else {}
    on_logits |= {"z_loss": 0.01} if bits & 4 else {}
    if bits & 8:
        on_logits["mask"] = np.random.default_rng(bits).random((n, n_classes)) < 0.5
        on_logits["mask"][np.arange(n), labels] = True
    if rows is not None and not np.isfinite(X).all():
        return

    def call() -> Any:
        loss, gradients = fastsoftmax.linear_cross_entropy(
            *(X, W, targets, intercept),
            wrt=tuple(wrt),
            reduction="none",
            upstream=upstream,
            **given,
            **on_logits,
        )
        return (loss, *gradients)

    expected = outcome_of(call)
    if isinstance(expected, Exception) and not str(expected).startswith("X: "):
        return
    losses = np.full(n, np.nan)
    dW = laid_out(np.zeros_like(W), choices.below(4)) if "W" in wrt else None
    has_intercept = "intercept" in wrt and intercept is not None
    dintercept = np.full_like(intercept, np.nan) if has_intercept else None
    dX = np.full_like(X, np.nan) if "X" in wrt else None
    linear = c_table.linear_of(X, W, targets, losses, intercept, dW, dintercept, dX)
    plain = rows is classes is upstream is None and not smoothing
    options = None
    if on_logits or not plain:
        options = c_table.options_of(rows, classes, smoothing, upstream)
        for name, value in on_logits.items():
            setattr(options, name, value.ctypes.data if name == "mask" else value)
        options.mask_stride = n_classes
    linear.n_threads = 1 + choices.below(3)
    invalid = table.linear_cross_entropy(linear, options)
    if isinstance(expected, Exception):
        assert invalid >= 0, invalid
        return
    assert invalid == -1, invalid
    assert_same([losses, dW, dintercept, dX], expected, "from C")


def _parameters(choices: Choices) -> dict[str, Any]:
    return {
        "penalty": choices.one_of(("l2", "l1", "elasticnet", None)),
        "alpha": choices.one_of((1e-4, 0.0, 0.1, 10.0)),
        "l1_step": choices.one_of(("proximal", "subgradient")),
        "class_weight": choices.one_of((None, None, "balanced")),
        "label_smoothing": choices.one_of((0.0, 0.0, 0.1, 1.0)),
        "fit_intercept": choices.one_of((True, False)),
        "standardize": choices.one_of((False, True)),
        "max_iter": 1 + choices.below(2),
        "tol": None,
        "batch_size": choices.one_of((7, 1, 16, 200)),
        "shuffle": choices.one_of((True, False)),
        "replacement": choices.one_of((False, False, True)),
        "learning_rate": choices.one_of(("constant", "invscaling", "cosine", "step")),
        "eta0": choices.one_of((0.1, "auto", 1e-3, 1e3)),
        "momentum": choices.one_of((0.0, 0.9)),
        "nesterov": choices.one_of((False, False, True)),
        "average": choices.one_of((False, True, 5)),
        "early_stopping": choices.one_of((False, False, False, True)),
        "random_state": 0,
    }


def _trained(model: Any, X: Any, y: Array, weight: Array | None, more: bool) -> Any:
    model.fit(X, y, weight)
    if more and not model.early_stopping:
        model.partial_fit(X, y, sample_weight=weight)
    probabilities = model.predict_proba(X)
    results = (model.coef_, model.intercept_, np.array(model.loss_curve_), probabilities)
    return (*results, model.predict(X), np.array([model.score(X, probabilities)]))


def training(data: bytes) -> None:
    """fit, partial_fit and predict, of dense rows and of sparse ones."""
    choices = Choices(data)
    n, d, n_classes = 1 + choices.below(40), 1 + choices.below(70), choices.one_of(_CLASSES)
    X: Any = array_of(choices, (n, d))
    moderate = is_moderate(X)
    single = X.dtype.kind in "fu" and X.dtype.itemsize <= 4
    y = np.random.default_rng(choices.byte()).integers(n_classes, size=n)
    weight = np.abs(array_of(choices, (n,), _FLOATS)) if choices.below(4) == 3 else None
    parameters = _parameters(choices)
    if choices.below(3) == 2:
        kept = np.where(np.arange(d) % 3 == choices.below(2), X, 0)
        X = csr_array(kept.astype("f4" if single else "f8"))
    more = bool(choices.below(2))

    def call(backend: str, n_threads: int) -> Any:
        model = fastsoftmax.SoftmaxClassifier(**parameters, backend=backend, n_jobs=n_threads)
        return _trained(model, X, y, weight, more)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastsoftmax.ConvergenceWarning)
        n_threads, other = 2 + choices.below(2), choices.below(4) == 3
        first = _trained_or_error(lambda: call("compiled", 1))
        assert_same(first, _trained_or_error(lambda: call("compiled", n_threads)), "threads")
        if other and moderate and isinstance(first, list):
            second = _trained_or_error(lambda: call("vectorized", 1))
            assert isinstance(second, list | fastsoftmax.DivergenceError), second
    if isinstance(first, list):
        coef, intercept, curve, probabilities, labels, score = first
        assert np.isfinite(coef).all()
        assert np.isfinite(intercept).all()
        assert np.isfinite(curve).all()
        assert np.isfinite(probabilities).all()
        assert np.allclose(probabilities.sum(axis=1, dtype="f8"), 1, rtol=1e-5)
        assert np.isin(labels, y).all()
        assert np.allclose(score, probabilities.max(axis=1).mean(dtype="f8"), rtol=1e-5)


def _trained_or_error(call: Callable[[], Any]) -> Any:
    try:
        return outcome_of(call)
    except fastsoftmax.DivergenceError as error:
        return error


def _model_and_samples(choices: Choices) -> tuple[Any, Any, Array, Array | None]:
    """A model of any weights, and samples with labels or probabilities to compare it with."""
    n, d = choices.below(40), 1 + choices.below(20)
    n_classes = max(2, choices.one_of(_CLASSES))
    model = fastsoftmax.SoftmaxClassifier(backend="compiled")
    dtype = choices.one_of(("f8", "f4"))
    model.classes_, model.coef_ = np.arange(n_classes), choices.numbers((n_classes, d), dtype)
    model.intercept_ = choices.numbers((n_classes,), dtype)
    X: Any = array_of(choices, (n, d))
    if choices.below(4) == 3:
        with np.errstate(all="ignore"):
            X = csr_array(np.where(np.arange(d) % 3, X, 0).astype(dtype))
    y = targets_of(choices, n, n_classes)
    weight = np.abs(array_of(choices, (n,), _FLOATS)) if choices.below(2) else None
    return model, X, y, weight


def evaluate(data: bytes) -> None:
    """Scores of any model are within their ranges, and those of the confusion matrix."""
    choices = Choices(data)
    model, X, y, weight = _model_and_samples(choices)
    options = {
        "top_k": choices.one_of((5, 1, 2, 1000, 0)),
        "n_bins": choices.one_of((15, 1, 3, 1000, 0)),
        "n_resamples": choices.one_of((3, 0, 20)),
        "confidence_level": choices.one_of((0.95, 0.5, 1 - 2**-53, 1.0)),
    }
    found: list[fastsoftmax.Evaluation] = []

    def call(n_threads: int) -> Any:
        model.set_params(n_jobs=n_threads)
        found.append(fastsoftmax.evaluate(model, X, y, weight, **options))
        return tuple(map(str, vars(found[-1]).values()))

    first = outcome_of(lambda: call(1))
    assert_same(first, outcome_of(lambda: call(2 + choices.below(2))), "threads")
    if not isinstance(first, list):
        return
    scores = found[0]
    almost_1 = 1 + (1e-9 if y.ndim == 1 else 1e-2)  # rows of probabilities sum to nearly 1
    assert str(scores)
    for share in (scores.accuracy, scores.balanced_accuracy, scores.top_k_accuracy):
        assert 0 <= share <= almost_1, share
    assert 0 <= scores.expected_calibration_error <= almost_1
    assert scores.log_loss >= 0
    if scores.log_loss_interval is not None:
        low, high = scores.log_loss_interval
        assert 0 <= low <= high < np.inf, (low, high)
    weights = np.ones(len(y)) if weight is None else weight.astype("f8")
    total = weights.sum()
    mass = total if y.ndim == 1 else weights @ y.sum(axis=1, dtype="f8")
    for rows, expected in ((scores.reliability, total), (scores.classes, mass)):
        assert np.isclose(sum(row["n_samples"] for row in rows), expected, rtol=1e-6)
    if scores.confusion is not None:
        assert np.isclose(scores.confusion.sum(), total, rtol=1e-6)
        assert np.isclose(scores.confusion.trace(), scores.accuracy * total, rtol=1e-6)


def calibrate(data: bytes) -> None:
    """A temperature is positive, no other one near it has a smaller loss, and errors change nothing."""
    choices = Choices(data)
    model, X, y, weight = _model_and_samples(choices)

    def call(n_threads: int) -> Any:
        return model.set_params(n_jobs=n_threads).calibrate(X, y, weight).temperature_

    first = outcome_of(lambda: call(1))
    if not isinstance(first, list):
        assert not hasattr(model, "temperature_")
    assert_same(first, outcome_of(lambda: call(2 + choices.below(2))), "threads")
    if not isinstance(first, list):
        return
    temperature = model.temperature_
    assert 0 < temperature < np.inf, temperature
    if weight is not None:
        X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
    z = model.decision_function(X).astype("f8")
    if not np.isfinite(z).all():  # the difference of two classes overflows
        return
    z = np.stack([np.zeros(len(z)), z], axis=1) if z.ndim == 1 else z
    t = np.eye(z.shape[1])[y.astype("i8")] if y.ndim == 1 else y.astype("f8")
    weights = np.ones(len(z)) if weight is None else weight.astype("f8") / weight.max()

    def loss_at(temperature: float) -> Any:
        scaled = (z - z.max(axis=1, keepdims=True)) / temperature
        losses = np.log(np.exp(scaled).sum(axis=1)) * t.sum(axis=1) - (t * scaled).sum(axis=1)
        return np.average(losses, weights=weights)

    least = loss_at(temperature)
    for other in (0.9 * temperature, 1.1 * temperature, np.inf):
        # Less than a picounat is rounding, or a minimum that depends on weights of 1e-320.
        assert least <= loss_at(other) * (1 + 1e-9) + 1e-12, (temperature, other)


TARGETS = {
    "rows": rows,
    "cross_entropy": cross_entropy,
    "linear": linear,
    "training": training,
    "evaluate": evaluate,
    "calibrate": calibrate,
    "c_api": c_api,
}
