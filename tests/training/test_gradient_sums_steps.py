"""Steps from gradient sums: `gradient_descent_step` and what it refuses."""

import itertools

import numpy as np
import pytest
import scipy.sparse
from trajectories import AGREEMENT, DEFAULTS, made_up

from fastsoftmax import (
    GradientSum,
    SoftmaxClassifier,
    apply_gradient,
    loss_gradient_sum,
    penalty,
)

N, D, C = 45, 19, 7


def problem(rng, dtype=np.float64, n=N, d=D, c=C):
    """Samples, labels, weights and an intercept."""
    X, y = made_up(n, d, c, dtype)
    return X, y, rng.normal(size=(c, d)).astype(dtype), rng.normal(size=c).astype(dtype)


RULES = {
    "plain": {},
    "l2": {"penalty": "l2", "alpha": 0.1},
    "l1": {"penalty": "l1", "alpha": 0.02},
    "l1 by the subgradient": {"penalty": "l1", "alpha": 0.02, "l1_step": "subgradient"},
    "elasticnet": {"penalty": "elasticnet", "alpha": 0.05, "l1_ratio": 0.4},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "all at once": {
        "penalty": "elasticnet",
        "alpha": 0.05,
        "l1_ratio": 0.5,
        "momentum": 0.7,
        "nesterov": True,
    },
}


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_steps_are_those_of_a_full_batch_fit(backend, dtype, rule, fit_intercept, kind):
    X, y = made_up(N, D, C, dtype)
    X *= np.arange(X.size).reshape(X.shape) % 3 > 0
    came = X if kind == "dense" else scipy.sparse.csr_array(X)
    full = {"batch_size": N, "shuffle": False, "learning_rate": "constant", "max_iter": 12}
    parameters = DEFAULTS | full | rule | {"backend": backend, "fit_intercept": fit_intercept}
    model = SoftmaxClassifier(**parameters).fit(X, y)  # of sparse rows it takes fewer rules

    alpha, ratio = rule.get("alpha", 0.0), {"l2": 0.0, "l1": 1.0}.get(rule.get("penalty"))
    ratio = rule.get("l1_ratio", 0.0) if ratio is None else ratio
    options = {name: rule[name] for name in ("momentum", "nesterov", "l1_step") if name in rule}
    options |= {"l2": alpha * (1 - ratio) / 2, "l1": alpha * ratio}
    coef, intercept = np.zeros((C, D)), np.zeros(C) if fit_intercept else None
    velocity, curve = None, []
    for _ in range(12):
        total = loss_gradient_sum(came, y, coef, intercept, backend=backend)
        curve.append(total.mean_loss + penalty(coef, options["l2"], options["l1"])[0])
        coef, intercept, velocity = apply_gradient(
            coef, intercept, total, learning_rate=DEFAULTS["eta0"], velocity=velocity, **options
        )
        assert (velocity is None) == ("momentum" not in rule)
    assert coef.dtype == dtype
    size = AGREEMENT[dtype] * np.abs(model.coef_).max()
    np.testing.assert_allclose(coef, model.coef_, rtol=0, atol=size)
    if fit_intercept:
        np.testing.assert_allclose(intercept, model.intercept_, rtol=0, atol=size)
    else:
        assert intercept is None
    np.testing.assert_allclose(curve, model.loss_curve_, rtol=AGREEMENT[dtype])
    assert curve[-1] < curve[0]
    if rule.get("penalty") == "l1" and "l1_step" not in rule:
        np.testing.assert_array_equal(coef == 0, model.coef_ == 0)
        assert (coef == 0).any()


@pytest.mark.parametrize("rule", [{}, {"momentum": 0.5}, {"l2": 0.1, "l1": 0.1}])
def test_no_argument_is_changed(rng, dtype, rule):
    X, y, coef, intercept = problem(rng, dtype)
    total = loss_gradient_sum(X, y, coef, intercept)
    velocity = (np.ones_like(coef), np.ones_like(intercept)) if "momentum" in rule else None
    arrays = [coef, intercept, total.coef, total.intercept, *(velocity or ())]
    for array in arrays:
        array.setflags(write=False)
    for rate in (0.5, 0.0):
        step = apply_gradient(coef, intercept, total, learning_rate=rate, velocity=velocity, **rule)
        for new in (step.coef, step.intercept, *(step.velocity or ())):
            assert new.dtype == dtype
            assert new.flags.writeable
            assert not any(np.shares_memory(new, array) for array in arrays)


@pytest.mark.parametrize("strengths", [{}, {"l2": 3.0}, {"l2": 0.1, "l1": 0.1}])
def test_at_the_rate_that_the_page_gives_no_step_goes_up(strengths):
    X, y = made_up(N, D, C, np.float64)
    X[:, 0] *= 30  # a column that most of the curvature is in
    rate = 2 / ((X**2).sum(axis=1).mean() + 1 + 4 * strengths.get("l2", 0))
    coef, intercept, objectives = np.ones((C, D)), np.zeros(C), []
    for _ in range(50):
        total = loss_gradient_sum(X, y, coef, intercept)
        objectives.append(total.mean_loss + penalty(coef, **strengths)[0])
        coef, intercept, _ = apply_gradient(coef, intercept, total, learning_rate=rate, **strengths)
    assert all(b < a for a, b in itertools.pairwise(objectives))


def test_the_mean_is_that_of_the_weights():
    """And the formula, in numbers that are exact."""
    total = GradientSum(1.0, 4.0, np.array([[8.0], [-8.0]]), np.array([4.0, -4.0]))
    step = apply_gradient(
        [[1.0], [-1.0]],
        [0.0, 0.0],
        total,
        learning_rate=0.5,
        l2=0.25,
        l1=0.5,
        momentum=0.5,
        velocity=([[1.0], [0.0]], [0.0, 2.0]),
    )
    # g = 2 + 0.5 and its negative; v = 0.5 * (1, 0) - 0.5 * g; then the weights shrink by 0.25
    np.testing.assert_array_equal(step.velocity[0], [[-0.75], [1.25]])
    np.testing.assert_array_equal(step.coef, [[0.0], [0.0]])
    np.testing.assert_array_equal(step.velocity[1], [-0.5, 1.5])
    np.testing.assert_array_equal(step.intercept, [-0.5, 1.5])


NAN = np.nan


SUM = {"X": np.ones((3, 2)), "targets": [0, 1, 1], "coef": np.ones((2, 2)), "intercept": [0, 1]}


STEP = {"coef": np.ones((2, 2)), "intercept": [0, 1], "learning_rate": 0.1}


BAD_STEPS = {
    "no gradient": ({"gradient": np.ones((2, 2))}, TypeError, "gradient: expected a GradientSum"),
    "a negative rate": ({"learning_rate": -0.1}, ValueError, "learning_rate: .*got -0.1"),
    "a rate of NaN": ({"learning_rate": NAN}, ValueError, "learning_rate: .*got nan"),
    "a rate of str": ({"learning_rate": "auto"}, TypeError, "learning_rate: .*got 'auto'"),
    "negative l2": ({"l2": -1}, ValueError, "l2: "),
    "infinite l1": ({"l1": np.inf}, ValueError, "l1: "),
    "momentum of 1": ({"momentum": 1}, ValueError, "momentum: .*less than 1, got 1"),
    "momentum of bool": ({"momentum": True}, TypeError, "momentum: .*got True"),
    "nesterov of int": ({"nesterov": 1}, TypeError, "nesterov: expected True or False, got 1"),
    "nesterov of str": ({"nesterov": "no"}, TypeError, "nesterov: .*got 'no'"),
    "nesterov alone": (
        {"nesterov": True, "momentum": 0},
        ValueError,
        "nesterov: .*without momentum, got True",
    ),
    "no nesterov": ({"nesterov": None}, TypeError, "nesterov: .*got None"),
    "l1_step": ({"l1_step": "prox"}, ValueError, "l1_step: .*got 'prox'"),
    "coef of other shape": (
        {"coef": np.ones((2, 1))},
        ValueError,
        r"coef: expected shape \(2, 2\), got \(2, 1\)",
    ),
    "NaN in coef": ({"coef": [[1, 2], [3, NAN]]}, ValueError, "coef: .*finite.*got NaN"),
    "coef of strings": ({"coef": [["1", "2"]] * 2}, TypeError, "coef: "),
    "no intercept": ({"intercept": None}, ValueError, "intercept: .*the gradient has one"),
    "intercept too long": ({"intercept": [1, 2, 3]}, ValueError, r"intercept: .*got \(3,\)"),
    "NaN in intercept": ({"intercept": [0, NAN]}, ValueError, "intercept: .*finite.*got NaN"),
    "velocity of one array": ({"velocity": np.ones((2, 2))}, TypeError, "velocity: .*got ndarray"),
    "velocity of three": ({"velocity": (1, 2, 3)}, ValueError, "velocity: .*two arrays, got 3"),
    "velocity of other shape": (
        {"velocity": (np.ones((2, 3)), np.ones(2))},
        ValueError,
        r"velocity: expected shape \(2, 2\), got \(2, 3\)",
    ),
    "velocity without intercept": (
        {"velocity": (np.ones((2, 2)), None)},
        ValueError,
        "velocity: .*intercept",
    ),
    "velocity of NaN": (
        {"velocity": (np.ones((2, 2)), [NAN, 1])},
        ValueError,
        "velocity: .*finite.*got NaN",
    ),
}


@pytest.mark.parametrize(("changed", "error", "message"), BAD_STEPS.values(), ids=BAD_STEPS.keys())
def test_bad_arguments_of_a_step(changed, error, message):
    arguments = STEP | {"gradient": loss_gradient_sum(**SUM), "momentum": 0.5} | changed
    with pytest.raises(error, match=f"^{message}"):
        apply_gradient(**arguments)


def test_a_gradient_without_intercept_takes_none():
    gradient = loss_gradient_sum(**SUM | {"intercept": None})
    with pytest.raises(ValueError, match=r"^intercept: .*the gradient has none"):
        apply_gradient(**STEP, gradient=gradient)
    changed = {"intercept": None, "momentum": 0.5, "velocity": (np.ones((2, 2)), np.ones(2))}
    with pytest.raises(ValueError, match=r"^velocity: .*intercept"):
        apply_gradient(**STEP | changed, gradient=gradient)


def test_weights_that_the_dtype_does_not_hold():
    gradient = loss_gradient_sum(**SUM | {"X": np.ones((3, 2), np.float32)})
    with pytest.raises(ValueError, match=r"^coef: .*got inf"):
        apply_gradient(**STEP | {"coef": np.full((2, 2), 1e300)}, gradient=gradient)


@pytest.mark.parametrize("rows", [slice(0, 0), slice(None)], ids=["no rows", "rows of weight 0"])
def test_a_gradient_of_no_samples(rows):
    arguments = SUM | {"X": SUM["X"][rows], "targets": SUM["targets"][rows]}
    gradient = loss_gradient_sum(**arguments, sample_weight=np.zeros(len(arguments["X"])))
    with pytest.raises(ValueError, match=r"^gradient: expected sums over at least one sample"):
        apply_gradient(**STEP, gradient=gradient)
