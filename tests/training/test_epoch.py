"""Training: every update rule, way of sampling, backend and step algorithm, against the textbook's SGD."""

import numpy as np
import oracle
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from step_algorithms import ALL_TRAINERS, DENSE_TRAINERS, Trainer
from trajectories import AGREEMENT, DEFAULTS, assert_follows, expected_trajectory, made_up

from fastsoftmax import SoftmaxClassifier
from fastsoftmax._arrays.csr import as_sparse_rows
from fastsoftmax.backends import Data, Rule, State, TargetWeights, get_backend

RULES = {
    "plain": {},
    "l2": {"penalty": "l2", "alpha": 0.1},
    "l1": {"penalty": "l1", "alpha": 0.02},
    "elasticnet": {"penalty": "elasticnet", "alpha": 0.05, "l1_ratio": 0.4},
    "elasticnet, all l1": {"penalty": "elasticnet", "alpha": 0.02, "l1_ratio": 1},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "all at once": {
        "penalty": "elasticnet",
        "alpha": 0.05,
        "l1_ratio": 0.5,
        "momentum": 0.7,
        "nesterov": True,
        "learning_rate": "invscaling",
    },
    "no intercept": {"fit_intercept": False},
    "no intercept, momentum, l1": {
        "fit_intercept": False,
        "momentum": 0.5,
        "penalty": "l1",
        "alpha": 0.02,
    },
    "replacement": {"replacement": True},
    "replacement, no shuffle": {"replacement": True, "shuffle": False},
    "no shuffle": {"shuffle": False},
    "batches that do not divide": {"batch_size": 7},
    "one sample a step": {"batch_size": 1, "eta0": 0.05},
    "one batch": {"batch_size": 45},
    "a batch of more than all": {"batch_size": 1000},
    "invscaling": {"learning_rate": "invscaling", "eta0": 0.5, "power_t": 0.25},
    "callable": {"learning_rate": lambda step: 0.3 / (1 + step % 4)},
    "a rate of zero at times": {"learning_rate": lambda step: 0.2 * (step % 2)},
    "eight threads": {"n_jobs": 8},
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_every_rule_follows_the_textbook(trainer, dtype, rule):
    X, y = made_up(45, 19, 7, dtype)
    parameters = DEFAULTS | rule
    model = SoftmaxClassifier(backend=trainer.backend, max_iter=4, **parameters).fit(X, y)
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    expected = expected_trajectory(X, y, 7, 4, parameters)
    assert_follows(model, expected, AGREEMENT[dtype])
    assert model.n_iter_ == 4
    assert model.t_ == 4 * -(-45 // parameters["batch_size"])
    if parameters.get("penalty") == "l1":
        assert (model.coef_ == 0).any()


@pytest.mark.parametrize("shape", [(5, 1, 2), (20, 16, 2), (40, 17, 16), (70, 100, 33)])
def test_shapes_that_are_no_multiples_of_vectors(trainer, dtype, shape):
    X, y = made_up(*shape, dtype)
    y[: shape[2]] = np.arange(shape[2])[: len(y)]
    parameters = DEFAULTS | RULES["all at once"]
    model = SoftmaxClassifier(backend=trainer.backend, max_iter=2, **parameters).fit(X, y)
    assert_follows(model, expected_trajectory(X, y, shape[2], 2, parameters), AGREEMENT[dtype])


LARGE_STEPS = [
    *((trainer, (520, 65, 11), 256) for trainer in DENSE_TRAINERS),
    # chunks of samples: as many as there may be
    (Trainer("compiled", "short_rows"), (1500, 45, 40), 1300),
    # two panels of features, of which two minibatches fit the caches or do not
    (Trainer("compiled", "panels"), (160, 700, 3), 100),
    (Trainer("compiled", "panels"), (150, 2200, 2), 128),
    # fewer blocks of samples than threads, which then share out slabs of classes
    (Trainer("compiled", "packed"), (300, 300, 40), 20),
]


@pytest.mark.parametrize("n_jobs", [2, 3, 8])
@pytest.mark.parametrize(
    ("trainer", "shape", "batch_size"), LARGE_STEPS, indirect=["trainer"], ids=str
)
def test_steps_large_enough_for_threads(trainer, dtype, shape, batch_size, n_jobs):
    backend = trainer.backend
    X, y = made_up(*shape, dtype)
    parameters = DEFAULTS | RULES["all at once"] | {"batch_size": batch_size, "max_iter": 2}
    model = SoftmaxClassifier(backend=backend, **parameters | {"n_jobs": n_jobs}).fit(X, y)
    assert_follows(model, expected_trajectory(X, y, shape[2], 2, parameters), AGREEMENT[dtype])
    if backend != "vectorized":  # whose matrix product is its BLAS library's affair
        one_thread = SoftmaxClassifier(backend=backend, **parameters).fit(X, y)
        np.testing.assert_array_equal(model.coef_, one_thread.coef_)
        assert model.loss_curve_ == one_thread.loss_curve_


@pytest.mark.parametrize("margins", [(75, 80), (-60, -50), (0, 0), (-2, 2), (-50, 75)])
@pytest.mark.parametrize("n_classes", [2, 3, 40])
def test_a_mean_of_losses_of_any_size(trainer, dtype, margins, n_classes):
    """The kernels take the logarithms of some rows together, and keep the digits of small losses."""
    z = np.linspace(*margins, 210).astype(dtype)
    model = SoftmaxClassifier(
        backend=trainer.backend,
        alpha=0.0,
        eta0=1e-30,
        learning_rate="constant",
        batch_size=210,
        shuffle=False,
    )
    model.partial_fit(z[:, np.newaxis], np.zeros(210, int), classes=np.arange(n_classes))
    model.coef_[:], model.intercept_[:] = 0, 0
    model.coef_[0] = 1
    model.partial_fit(z[:, np.newaxis], np.zeros(210, int))
    expected = np.logaddexp(0, np.log(n_classes - 1) - z.astype(np.float64)).mean()
    eps = np.finfo(dtype).eps
    atol = 0 if trainer.backend == "compiled" else eps
    np.testing.assert_allclose(model.loss_curve_[-1], expected, rtol=128 * eps, atol=atol)


DIGITS = {
    "as they come": (1, {"eta0": 0.002, "batch_size": 128}),
    "scaled, momentum": (16, {"eta0": 0.1, "momentum": 0.9, "penalty": "l2", "alpha": 1e-3}),
    "scaled, l1": (16, {"eta0": 0.5, "penalty": "l1", "alpha": 1e-3}),
}


@pytest.mark.parametrize(("divisor", "rule"), DIGITS.values(), ids=DIGITS.keys())
def test_trajectories_agree_on_digits(backend, dtype, divisor, rule):
    X, y = load_digits(return_X_y=True)
    X = (X / divisor).astype(dtype)
    parameters = DEFAULTS | {"batch_size": 200, "n_jobs": None} | rule
    model = SoftmaxClassifier(backend=backend, max_iter=3, **parameters).fit(X, y)
    expected = expected_trajectory(X, y, 10, 3, parameters)
    # half to each side: then any two backends agree to the whole
    np.testing.assert_allclose(model.loss_curve_, expected.curve, rtol=AGREEMENT[dtype] / 2)
    assert model.score(X, y) > 0.8


def test_trajectories_agree_where_the_loss_gets_small(backend):
    X, y = load_digits(return_X_y=True)
    X, y = (X / 16)[y < 2].astype(np.float32), y[y < 2]
    parameters = DEFAULTS | {"penalty": None, "eta0": 1.0, "batch_size": 20, "n_jobs": None}
    model = SoftmaxClassifier(backend=backend, max_iter=60, **parameters).fit(X, y)
    expected = expected_trajectory(X, y, 2, 60, parameters)
    assert model.loss_curve_[-1] < 2e-3
    np.testing.assert_allclose(model.loss_curve_, expected.curve, rtol=AGREEMENT[np.float32] / 2)


def test_partial_fit_goes_on_where_it_was(backend, dtype):
    X, y = made_up(45, 19, 7, dtype)
    parameters = DEFAULTS | RULES["all at once"]
    whole = SoftmaxClassifier(backend=backend, max_iter=3, **parameters).fit(X, y)
    parts = SoftmaxClassifier(backend=backend, **parameters)
    for _ in range(3):
        parts.partial_fit(X, y, classes=np.arange(7))
    np.testing.assert_array_equal(parts.coef_, whole.coef_)
    np.testing.assert_array_equal(parts.intercept_, whole.intercept_)
    assert parts.loss_curve_ == whole.loss_curve_
    assert (parts.t_, parts.n_iter_) == (whole.t_, whole.n_iter_)


@pytest.mark.parametrize("kind", ["integers", "float16", "bool", "list"])
def test_other_dtypes_are_converted_in_blocks(backend, monkeypatch, kind):
    # So few bytes that the blocks are single minibatches: they must join to the same trajectory.
    monkeypatch.setattr("fastsoftmax.training.epoch._BLOCK_BYTES", 1)
    X, y = made_up(45, 19, 7, np.float64)
    X = {"integers": (4 * X).astype(np.int16), "float16": X.astype(np.float16), "bool": X > 0}.get(
        kind, X.tolist()
    )
    computed = np.float32 if kind == "float16" else np.float64
    parameters = DEFAULTS | RULES["momentum"]
    model = SoftmaxClassifier(backend=backend, max_iter=2, **parameters).fit(X, y)
    assert model.coef_.dtype == computed
    expected = expected_trajectory(np.array(X, computed), y, 7, 2, parameters)
    assert_follows(model, expected, AGREEMENT[computed])


def test_layouts_of_X_give_the_same_bits(backend, dtype, layout):
    X, y = made_up(45, 19, 7, dtype)
    came = layout(X)
    parameters = DEFAULTS | {"max_iter": 2, "momentum": 0.9}
    expected = SoftmaxClassifier(backend=backend, **parameters).fit(X, y)
    model = SoftmaxClassifier(backend=backend, **parameters).fit(came, layout(y))
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert model.loss_curve_ == expected.loss_curve_
    np.testing.assert_array_equal(came, X)
    assert model.predict(came).tolist() == expected.predict(X).tolist()
    np.testing.assert_allclose(  # a matrix product may sum in another order
        model.decision_function(came),
        expected.decision_function(X),
        rtol=0,
        atol=2 * 21 * np.finfo(dtype).eps * np.abs(X).max() * np.abs(model.coef_).sum(axis=1).max(),
    )


@pytest.mark.parametrize("n_threads", [1, 2, 8])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_one_step_of_a_kernel(trainer, dtype, rng, soft, momentum, n_threads):
    (n, d, c), kernels = trainer.shape, get_backend(trainer.backend)
    X = np.repeat(rng.normal(size=(n, d)), 2, axis=0).astype(dtype)[::2]  # strided rows
    targets = rng.dirichlet(np.ones(c), n).astype(dtype) if soft else rng.integers(c, size=n)
    arrays = [rng.normal(size=size).astype(dtype) for size in ((c, d), c, (c, d), c)]
    if not momentum:
        arrays[2:] = [None, None]
    state = State(*[None if array is None else array.copy() for array in arrays])
    start = [np.zeros_like(arrays[i % 2]) if arrays[i] is None else arrays[i] for i in range(4)]
    rule, rate = Rule(l2=0.05, l1=0.1, momentum=momentum, nesterov=soft), 0.3
    order = rng.integers(n, size=7)
    expected = oracle.sgd(
        X, targets, [order], 7, lambda step: rate, start=start, n_classes=c, **rule._asdict()
    )
    rates = np.array([rate])
    objectives = kernels.sgd_epoch(Data(X, targets), state, rule, order, 7, rates, n_threads)

    # One step. Its gradient is a mean over the minibatch of products of X with errors of p, which are
    # those of the logits (a sum of d + 1 terms, twice) and of a softmax; then come a few operations.
    u = np.finfo(dtype).eps / 2
    largest = np.abs(X).max()
    logits = (np.abs(X) @ np.abs(arrays[0]).T + np.abs(arrays[1])).max()
    of_gradient = u * largest * (2 * (d + 2) * logits + c + len(order) + 20)
    sizes = [float(np.abs(array).max()) for array in (*start, *expected[:4])]
    bound = rate * of_gradient + 4 * u * (sum(sizes) + rate * largest)
    np.testing.assert_allclose(objectives, expected.curve, rtol=0, atol=2 * bound / rate)
    for ours, theirs in zip(state[:4], expected[:4], strict=True):
        if ours is not None:
            np.testing.assert_allclose(ours, theirs.astype(float), rtol=0, atol=bound)


@pytest.mark.parametrize("wrong", [np.inf, np.nan])
def test_an_epoch_stops_before_a_step_whose_loss_is_not_finite(trainer, dtype, rng, wrong):
    (_, d, c), kernels = trainer.shape, get_backend(trainer.backend)
    X, targets = rng.normal(size=(30, d)).astype(dtype), rng.integers(c, size=30)
    X[17, 2] = wrong
    start = [np.full(size, 8, dtype) for size in ((c, d), c, (c, d), c)]
    state, before = (State(*[array.copy() for array in start]) for _ in range(2))
    rule = Rule(l2=0.05, l1=0.1, momentum=0.5, nesterov=False)
    rates, order = np.full(3, 0.1), np.arange(30)
    first = kernels.sgd_epoch(Data(X, targets), before, rule, order[:10], 10, rates[:1], 2)
    objectives = kernels.sgd_epoch(Data(X, targets), state, rule, order, 10, rates, 2)
    assert len(objectives) == 2
    assert np.isfinite(objectives).tolist() == [True, False]
    assert objectives[0] == first[0]
    for ours, theirs in zip(state[:4], before[:4], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("has_row_weights", [False, True], ids=["no weights", "weights"])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("trainer", ALL_TRAINERS, indirect=True, ids=str)
def test_steps_with_weights_smoothing_and_sums(
    trainer, dtype, rng, soft, has_row_weights, smoothing, n_threads
):
    n, (_, d, c), is_sparse = 30, trainer.shape, trainer.is_sparse
    kernels = get_backend(trainer.backend)
    X = (rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.3)).astype(dtype)
    targets = rng.dirichlet(np.ones(c), n).astype(dtype) if soft else rng.integers(c, size=n)
    rows = rng.random(n) * 2 if has_row_weights else None
    start = [rng.normal(size=size).astype(dtype) / 8 for size in ((c, d), c, (c, d), c)]
    sums = [rng.normal(size=size).astype(dtype) for size in ((c, d), c)]
    state = State(*[array.copy() for array in (*start, *sums)])
    l1 = 0.0 if is_sparse else 0.02
    rule, rates = Rule(0.05, l1, 0.5, nesterov=soft, subgradient=True), np.array([0.3, 0.2])
    order, batch_size = rng.permutation(n)[: n - 5], (n + 10) // 2
    expected = oracle.sgd(
        *(X, targets, [order], batch_size, lambda step: rates[step]),
        **(
            {"start": start, "n_classes": c, "row_weights": rows, "smoothing": smoothing}
            | rule._asdict()
        ),
    )
    given = as_sparse_rows("X", csr_array(X)) if is_sparse else X
    data = Data(given, targets, weights=TargetWeights(rows, None, smoothing))
    done = kernels.sgd_epoch(data, state, rule, order, batch_size, rates, n_threads)

    u = np.finfo(dtype).eps / 2
    tolerance = (
        2 * (d + n + c) * u * 8
    )  # a logit and a gradient are sums of that many terms of at most 8
    of_last = len(order) - batch_size
    objective = (batch_size * done[0] + of_last * done[1]) / len(order)
    if not is_sparse:  # there the penalty of the first step stands for that of the second one
        np.testing.assert_allclose(objective, expected.curve[0], rtol=tolerance)
    for ours, theirs in zip(state[:2], expected[:2], strict=True):
        np.testing.assert_allclose(ours, theirs.astype(float), rtol=0, atol=tolerance)
    for ours, before, theirs in zip(state[4:], sums, expected[5:], strict=True):
        np.testing.assert_allclose(ours, before + theirs.astype(float), rtol=0, atol=3 * tolerance)


def test_the_minimum_is_that_of_another_solver():
    from sklearn.linear_model import LogisticRegression

    X, y = made_up(120, 6, 3, np.float64)
    alpha = 0.05
    solver = LogisticRegression(C=1 / (alpha * len(X)), tol=1e-10, max_iter=10_000).fit(X, y)
    # All samples in a step: gradient descent, which converges linearly to the one minimum.
    model = SoftmaxClassifier(
        alpha=alpha, batch_size=120, eta0=0.5, momentum=0.9, max_iter=600, tol=None
    ).fit(X, y)
    np.testing.assert_allclose(model.coef_, solver.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), solver.predict_proba(X), rtol=0, atol=1e-6)
