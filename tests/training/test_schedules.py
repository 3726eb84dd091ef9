"""Learning rates, the subgradient of L1 and averaged weights: against the textbook's SGD."""

import numpy as np
import oracle
import pytest
from scipy.sparse import csr_array

from fastsoftmax import SoftmaxClassifier
from fastsoftmax.schedules import Schedule

OPTIONS = {"penalty": None, "batch_size": 8, "tol": None, "random_state": 7, "eta0": 0.3}
OPTIONS["learning_rate"] = "constant"
N, STEPS = 45, 6  # steps of an epoch

# The rate of step t as a share of eta0, by parameters, for 5 epochs.
RATES = {
    "step": (
        {"learning_rate": "step", "step_every": 2, "step_factor": 0.5},
        lambda t: 0.5 ** (t // 12),
    ),
    "cosine": ({"learning_rate": "cosine"}, lambda t: (1 + np.cos(np.pi * t / 30)) / 2),
    "cosine, warm-up": (
        {"learning_rate": "cosine", "warmup_epochs": 1},
        lambda t: (t + 1) / 6 if t < 6 else (1 + np.cos(np.pi * (t - 6) / 24)) / 2,
    ),
    "constant, warm-up": ({"warmup_epochs": 0.5}, lambda t: min(1, (t + 1) / 3)),
    "invscaling, warm-up": (
        {"learning_rate": "invscaling", "power_t": 0.5, "warmup_epochs": 2},
        lambda t: min(1, (t + 1) / 12) / (t + 1) ** 0.5,
    ),
    "longer warm-up than there are epochs": (
        {"learning_rate": "cosine", "warmup_epochs": 8},
        lambda t: (t + 1) / 48,
    ),
    "adaptive, as long as the loss falls": ({"learning_rate": "adaptive"}, lambda t: 1.0),
}


@pytest.fixture
def data(rng):
    X = rng.normal(size=(N, 19))
    return X, (X[:, :7] + rng.normal(size=(N, 7))).argmax(axis=1)


def textbook(X, y, rate, n_epochs=5, **rule):
    random = np.random.default_rng(7)
    orders = [oracle.shuffled(len(X), random) for _ in range(n_epochs)]
    return oracle.sgd(X, y, orders, 8, rate, n_classes=7, **rule)


@pytest.mark.parametrize(("parameters", "share"), RATES.values(), ids=RATES)
def test_every_schedule_follows_its_formula(backend, data, parameters, share):
    X, y = data
    model = SoftmaxClassifier(backend=backend, max_iter=5, **OPTIONS | parameters).fit(X, y)
    expected = textbook(X, y, lambda t: 0.3 * share(t))
    np.testing.assert_allclose(model.loss_curve_, expected.curve, rtol=1e-10)
    np.testing.assert_allclose(model.coef_, expected.coef.astype(float), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["constant", "invscaling", "adaptive", "step", "cosine"])
def test_a_schedule_goes_on_from_call_to_call(name):
    schedule = Schedule(name, 0.3, warmup=1.5, step_every=2, n_epochs=5)
    whole = schedule.rates(0, 5 * STEPS, STEPS)
    parts = [schedule.rates(first, STEPS, STEPS) for first in range(0, 5 * STEPS, STEPS)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole >= 0).all()
    assert whole.max() <= 0.3
    assert schedule.rates(10**9, 3, STEPS).shape == (3,)  # long after the last epoch


def test_the_end_of_a_cosine_is_0():
    schedule = Schedule("cosine", 0.3, n_epochs=5)
    assert schedule.rates(0, 1, STEPS)[0] == 0.3
    np.testing.assert_array_equal(schedule.rates(5 * STEPS, 3, STEPS), 0)


@pytest.mark.costly
def test_adaptive_falls_where_the_fit_would_end(backend, data):
    X, y = data
    options = {"backend": backend, "max_iter": 400, "n_iter_no_change": 2, "tol": 1e-3}
    rates = []
    callbacks = [lambda state: rates.append(state.learning_rate)]
    adaptive = options | {"learning_rate": "adaptive", "callbacks": callbacks}
    model = SoftmaxClassifier(**OPTIONS | adaptive).fit(X, y)
    constant = SoftmaxClassifier(**OPTIONS | options).fit(X, y)
    expected = [0.3 / 5**i for i in range(5)]  # the next one is less than 0.3 / 1000
    np.testing.assert_allclose(sorted(set(rates), reverse=True), expected, rtol=1e-15)
    assert rates == sorted(rates, reverse=True)
    first = constant.n_iter_
    assert rates[:first] == [0.3] * first
    assert rates[first] == expected[1]
    np.testing.assert_array_equal(model.loss_curve_[:first], constant.loss_curve_)
    assert model.eta0_ == 0.3


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_the_subgradient_of_l1(backend, data, penalty, momentum):
    X, y = data
    options = {"penalty": penalty, "alpha": 0.05, "l1_ratio": 0.5, "momentum": momentum}
    options |= {"max_iter": 2, "l1_step": "subgradient"}
    model = SoftmaxClassifier(backend=backend, **OPTIONS | options).fit(X, y)
    l2, l1 = {"l1": (0, 0.05), "elasticnet": (0.0125, 0.025)}[penalty]
    rule = {"l2": l2, "l1": l1, "momentum": momentum, "subgradient": True}
    expected = textbook(X, y, lambda t: 0.3, 2, **rule)
    np.testing.assert_allclose(model.loss_curve_, expected.curve, rtol=1e-10)
    np.testing.assert_allclose(model.coef_, expected.coef.astype(float), rtol=0, atol=1e-10)
    assert (model.coef_ != 0).all()


def test_sparse_rows_have_the_proximal_step_alone(backend, data):
    X, y = data
    model = SoftmaxClassifier(backend=backend, penalty="l1", l1_step="subgradient")
    with pytest.raises(ValueError, match=r"^l1_step: expected 'proximal' for a sparse X"):
        model.fit(csr_array(X), y)
    model.set_params(penalty="l2").fit(csr_array(X), y)  # nothing of L1 in it


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("average", [True, 9, 100, 10**9])
@pytest.mark.parametrize(
    "options", [{}, {"penalty": "elasticnet", "alpha": 0.05}, {"momentum": 0.8}], ids=str
)
def test_averaged_weights(backend, data, average, is_sparse, options):
    X, y = data
    model = SoftmaxClassifier(backend=backend, max_iter=4, average=average, **OPTIONS | options)
    model.fit(csr_array(X) if is_sparse else X, y)
    rule = {"l2": 0.05 * 0.85 / 2, "l1": 0.05 * 0.15} if "penalty" in options else options
    whole = textbook(X, y, lambda t: 0.3, 4, **rule)
    # Steps before the one of that sample; the last minibatch of an epoch has 5 samples.
    before = {1: 0, 9: 1, 100: 14, 10**9: 24}[average]
    coef, intercept = whole.coef, whole.intercept
    if before < 24:
        sums = _sums_until(X, y, before, rule)
        coef = (whole.coef_sum - sums[0]) / (24 - before)
        intercept = (whole.intercept_sum - sums[1]) / (24 - before)
    np.testing.assert_allclose(model.coef_, coef.astype(float), rtol=0, atol=1e-10)
    np.testing.assert_allclose(model.intercept_, intercept.astype(float), rtol=0, atol=1e-10)
    if not is_sparse:
        np.testing.assert_allclose(model.loss_curve_, whole.curve, rtol=1e-10)


def _sums_until(X, y, n_steps, rule):
    """The sums of the weights after the first steps."""
    random, totals, state = np.random.default_rng(7), [0, 0], None
    for first in range(0, n_steps, STEPS):
        order = oracle.shuffled(len(X), random)[: 8 * (n_steps - first)]
        step = oracle.sgd(X, y, [order], 8, lambda t: 0.3, n_classes=7, start=state, **rule)
        totals = [totals[0] + step.coef_sum, totals[1] + step.intercept_sum]
        state = step[:4]
    return totals


def test_the_average_of_many_steps_in_float32_is_exact(rng):
    X, y = rng.normal(size=(60_000, 3)), rng.integers(3, size=60_000)
    options = {"average": True, "batch_size": 1, "eta0": 0.01, "max_iter": 1, "tol": None}
    single, double = (
        SoftmaxClassifier(random_state=0, **options).fit(X.astype(dtype), y)
        for dtype in (np.float32, np.float64)
    )
    error = np.abs(single.coef_ - double.coef_).max() / np.abs(double.coef_).max()
    assert error < 1e-4  # sums over all steps are off by more


@pytest.mark.parametrize("standardize", [False, True])
def test_averaging_goes_on_from_chunk_to_chunk(backend, data, standardize):
    X, y = data
    options = OPTIONS | {"backend": backend, "standardize": standardize, "average": 30}
    whole = SoftmaxClassifier(max_iter=3, **options).fit(X, y)
    parts = SoftmaxClassifier(**options)
    for _ in range(3):
        parts.partial_fit(X, y, classes=range(7))
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=0, atol=1e-12)
    plain = SoftmaxClassifier(max_iter=3, **options | {"average": False}).fit(X, y)
    assert np.abs(plain.coef_ - whole.coef_).max() > 1e-3
    # The steps go on from the last weights, not from their mean.
    parts.set_params(average=False).partial_fit(X, y)
    expected = SoftmaxClassifier(max_iter=4, **options | {"average": False}).fit(X, y)
    np.testing.assert_allclose(parts.coef_, expected.coef_, rtol=0, atol=1e-12)
