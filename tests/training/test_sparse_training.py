"""Training on CSR rows and predicting them: the same as of the dense matrix, at the cost of the values."""

import numpy as np
import oracle
import pytest
import scipy.sparse
from sparse_cases import ONE_EPOCH, RULES, duck, made_up
from trajectories import (
    AGREEMENT,
    DEFAULTS,
    assert_follows,
    expected_trajectory,
    interrupt_by_signal,
)

from fastsoftmax import DivergenceError, SoftmaxClassifier, load, search
from fastsoftmax._arrays.csr import as_sparse_rows, steps_between_penalties
from fastsoftmax.backends import Data, Rule, State, get_backend


@pytest.mark.parametrize("index", [np.int32, np.int64], ids=["int32", "int64"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_every_rule_follows_the_textbook(backend, dtype, index, rule):
    X, y = made_up(60, 19, 7, dtype, index)
    parameters = DEFAULTS | rule
    model = SoftmaxClassifier(backend=backend, max_iter=3, **parameters).fit(X, y)
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    expected = expected_trajectory(X.toarray(), y, 7, 3, parameters)
    if parameters["penalty"]:  # in the curve it is that of an earlier step: see below
        model.loss_curve_ = expected.curve
    assert_follows(model, expected, AGREEMENT[dtype])


@pytest.mark.parametrize(
    "shape", [(5, 3, 2), (20, 16, 16), (21, 33, 17), (40, 17, 33), (70, 100, 65), (90, 5, 83)]
)
@pytest.mark.parametrize("index", [np.int32, np.int64], ids=["int32", "int64"])
def test_classes_that_do_and_do_not_fill_vectors(backend, dtype, index, shape):
    X, y = made_up(*shape, dtype, index)
    n_classes = len(np.unique(y))
    parameters = DEFAULTS | {"penalty": "elasticnet", "alpha": 0.05, "l1_ratio": 0.5}
    model = SoftmaxClassifier(backend=backend, max_iter=2, **parameters).fit(X, y)
    expected = expected_trajectory(
        X.toarray(), np.unique(y, return_inverse=True)[1], n_classes, 2, parameters
    )
    model.loss_curve_ = expected.curve
    assert_follows(model, expected, AGREEMENT[dtype])


def test_a_penalty_that_comes_late_is_exact(kernels, dtype, rng):
    """Features that few rows have, over many steps: bounds in place of a tolerance."""
    n_steps, d, c, l2, l1 = 300, 40, 5, 0.02, 0.004
    at = rng.permutation(n_steps)[: d // 2]  # half of the features: one row each
    X = np.zeros((n_steps, d), dtype)
    X[at, np.arange(d // 2)] = 1
    labels = rng.integers(c, size=n_steps)
    rates = rng.uniform(0.001, 0.5, size=n_steps)
    coef = rng.normal(size=(c, d)).astype(dtype)
    state = State(coef.copy(), None, None, None)
    rows = as_sparse_rows("X", scipy.sparse.csr_matrix(X))
    order, rule = np.arange(n_steps), Rule(l2, l1, 0.0, False)
    start = oracle.Trajectory(coef, np.zeros(c), np.zeros_like(coef), np.zeros(c), [])
    expected = oracle.sgd(
        X,
        labels,
        [order],
        1,
        lambda step: rates[step],
        start=start,
        n_classes=c,
        l2=l2,
        l1=l1,
        fit_intercept=False,
    )
    kernels.sgd_epoch(Data(rows, labels), state, rule, order, 1, rates, 2)
    # A weight is at most its largest start, plus a step's length, as p - t is at most 1. The compiled
    # backend rounds it three times for each of its parts (factor, threshold, their result), which are
    # two, and in the step; the others thrice a step. Products and sums of prefixes are in float64,
    # 4 operations a step. The step itself: p off by the error of two logits and of a softmax.
    largest = float(np.abs(coef).max()) + rates.max()
    u = np.finfo(dtype).eps / 2
    roundings = 9 if kernels.name == "compiled" else 3 * n_steps
    roundings += 2 * largest + c + 20
    bound = largest * (u * roundings + 4 * n_steps * np.finfo(np.float64).eps)
    np.testing.assert_allclose(state.coef, expected.coef.astype(float), rtol=0, atol=bound)
    assert (state.coef == 0).any()
    assert (state.coef != 0).any()


@pytest.mark.parametrize("l2", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_momentum_that_comes_late_is_exact(kernels, dtype, rng, nesterov, l2):
    """Features that few rows have, over many steps at rates of any size: weights and velocities."""
    n_steps, d, c, momentum = 300, 40, 5, 0.9
    at = rng.permutation(n_steps)[: d // 2]  # half of the features: one row each
    X = np.zeros((n_steps, d), dtype)
    X[at, np.arange(d // 2)] = 1
    labels = rng.integers(c, size=n_steps)
    rates = rng.uniform(0.001, 0.5, size=n_steps) * (rng.random(n_steps) < 0.8)
    start = [rng.normal(size=size).astype(dtype) for size in ((c, d), c, (c, d), c)]
    state = State(*(array.copy() for array in start))
    rows = as_sparse_rows("X", scipy.sparse.csr_matrix(X))
    order, rule = np.arange(n_steps), Rule(l2, 0.0, momentum, nesterov)
    expected = oracle.sgd(
        *(X, labels, [order], 1, lambda step: rates[step]),
        start=start,
        n_classes=c,
        l2=l2,
        momentum=momentum,
        nesterov=nesterov,
    )
    kernels.sgd_epoch(Data(rows, labels), state, rule, order, 1, rates, 2)
    # A step rounds a weight and its velocity some four times at the most, and what a velocity is off by
    # counts 1 / (1 - momentum) times in the weight, as the velocity itself does.
    largest = max(float(np.abs(array).max()) for array in start) / (1 - momentum) + 5
    bound = 4 * n_steps * np.finfo(dtype).eps / 2 * largest
    for name in ("coef", "intercept", "coef_velocity", "intercept_velocity"):
        theirs = expected[State._fields.index(name)].astype(float)
        np.testing.assert_allclose(getattr(state, name), theirs, rtol=0, atol=bound, err_msg=name)
    # Not by chance: these features have moved by their velocities alone.
    assert np.abs(expected.coef[:, d // 2 :] - start[0][:, d // 2 :]).max() > 100 * bound


def test_steps_that_make_weights_grow_leave_zeros_zeros(kernels, dtype):
    """Maps of 300 steps beyond the range of numbers, and weights that no row has moved."""
    X = scipy.sparse.csr_matrix((300, 400), dtype=dtype)
    state = State(*(np.zeros(size, dtype) for size in ((3, 400), 3, (3, 400), 3)))
    rule, order = Rule(1e3, 0.0, 0.9, False), np.arange(300)
    data = Data(as_sparse_rows("X", X), order % 3)
    objectives = kernels.sgd_epoch(data, state, rule, order, 1, np.full(300, 0.5), 1)
    assert np.isfinite(objectives).all()
    assert not state.coef.any()
    assert not state.coef_velocity.any()


def test_momentum_over_more_steps_than_there_are_maps_for():
    """One of 70,000 steps, of which the last has the only value."""
    kernels, n_steps = get_backend("compiled"), 70_000
    X = scipy.sparse.csr_matrix(([1.0], ([1], [0])), shape=(2, 3))
    order = np.where(np.arange(n_steps) < n_steps - 1, 0, 1)
    start = [np.full((2, 3), 0.5), None, np.full((2, 3), 0.25), None]
    data = Data(as_sparse_rows("X", X), np.array([0, 1]))
    state = State(*(None if array is None else array.copy() for array in start))
    kernels.sgd_epoch(data, state, Rule(0.0, 0.0, 0.9, False), order, 1, np.full(n_steps, 0.1), 1)
    # All of a velocity goes into the weight: 0.25 * 0.9 / (1 - 0.9); the last step sees equal logits.
    expected = np.full((2, 3), 0.5 + 2.25)
    expected[:, 0] += [-0.05, 0.05]
    np.testing.assert_allclose(state.coef, expected, rtol=1e-13)


@pytest.mark.parametrize("falls", [0, 60])
def test_thresholds_count_while_factors_grow(kernels, dtype, falls):
    """Factors 1 - 2 * l2 * rate of 0.5, then of -2, and an l1 that no gradient gets past."""
    n_steps, d, c = 150, 400, 5
    X = scipy.sparse.random(n_steps, d, 0.01, format="csr", dtype=dtype, random_state=1)
    rows, labels = as_sparse_rows("X", X), np.arange(n_steps) % c
    assert steps_between_penalties(rows, 1) > n_steps
    state = State(np.zeros((c, d), dtype), None, None, None)
    rates = np.where(np.arange(n_steps) < falls, 0.5, 3.0)
    # Values are at most 1, and p - t of equal logits is at most 0.8: every step ends where it began.
    rule, order = Rule(0.5, 0.9, 0.0, False), np.arange(n_steps)
    objectives = kernels.sgd_epoch(Data(rows, labels), state, rule, order, 1, rates, 1)
    assert not state.coef.any()
    np.testing.assert_allclose(objectives, np.log(c), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "rule",
    [
        *({}, {"penalty": "l2"}, {"penalty": "l1"}, {"penalty": "l1", "standardize": True}),
        {"penalty": "l2", "momentum": 0.9, "nesterov": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_threads", [2, 3, 8])
@pytest.mark.parametrize("n_classes", [40, 150])  # in one slab, and in several
def test_the_number_of_threads_changes_no_bit(dtype, rule, n_classes, n_threads):
    X, y = made_up(600, 300, n_classes, dtype)
    assert 256 * X.nnz / 600 * n_classes > 150_000  # that many products, and threads share them
    parameters = DEFAULTS | {"batch_size": 256, "max_iter": 2, "alpha": 0.01} | rule
    one = SoftmaxClassifier(backend="compiled", **parameters).fit(X, y)
    several = SoftmaxClassifier(backend="compiled", **parameters | {"n_jobs": n_threads}).fit(X, y)
    np.testing.assert_array_equal(several.coef_, one.coef_)
    assert several.loss_curve_ == one.loss_curve_


def test_the_penalty_of_an_objective_is_that_of_some_steps_before(kernels, dtype):
    X, y = made_up(60, 90, 3, dtype)
    rows, l2, l1, size = as_sparse_rows("X", X), 0.05, 0.02, 4
    between = steps_between_penalties(rows, size)
    assert 2 < between < 15
    order, rates = np.arange(60), np.full(15, 0.3)

    def zeros():
        return State(np.zeros((3, 90), dtype), np.zeros(3, dtype), None, None)

    data, state, expected = Data(X.toarray(), y), zeros(), []
    for step in range(15):
        W = state.coef.astype(np.longdouble)
        now = l2 * (W**2).sum() + l1 * abs(W).sum()
        if step % between == 0:
            penalty = now
        part = order[step * size : (step + 1) * size]
        rule = Rule(l2, l1, 0.0, False)
        (objective,) = kernels.sgd_epoch(data, state, rule, part, size, rates[:1], 1)
        expected.append(float(objective - now + penalty))
    ours = zeros()
    objectives = kernels.sgd_epoch(
        Data(rows, y), ours, Rule(l2, l1, 0.0, False), order, size, rates, 1
    )
    np.testing.assert_allclose(objectives, expected, rtol=AGREEMENT[dtype])


def test_steps_between_penalties():
    def rows(n, d, per_row):
        indptr = np.arange(n + 1) * per_row
        return as_sparse_rows(
            "X", duck(np.ones(n * per_row), np.zeros(n * per_row, int), indptr, (n, d))
        )

    assert steps_between_penalties(rows(100, 1000, 5), 10) == 8 * 1000 / 50
    assert steps_between_penalties(rows(100, 1000, 5), 1000) == 8 * 1000 / 500
    assert steps_between_penalties(rows(100, 10, 5), 100) == 1
    assert steps_between_penalties(rows(100, 10, 0), 100) == 80


def test_duplicates_add_up(backend, dtype):
    X, y = made_up(60, 19, 7, dtype)
    values = np.stack([0.25 * X.data, 0.75 * X.data], axis=1).astype(dtype)  # their sum is exact
    values[:, 1] = X.data - values[:, 0]
    twice = duck(values.ravel(), np.repeat(X.indices, 2), 2 * X.indptr, X.shape)
    parameters = DEFAULTS | {"penalty": "elasticnet", "alpha": 0.02, "max_iter": 3}
    model = SoftmaxClassifier(backend=backend, **parameters).fit(twice, y)
    expected = SoftmaxClassifier(backend=backend, **parameters).fit(X, y)
    # The penalty in the curve is of other steps: as many values stored count as many visits.
    np.testing.assert_allclose(
        model.coef_, expected.coef_, rtol=0, atol=AGREEMENT[dtype] * np.abs(expected.coef_).max()
    )
    np.testing.assert_allclose(
        model.decision_function(twice), expected.decision_function(X), rtol=1e-3
    )


@pytest.mark.parametrize("block_bytes", [1, 1 << 22])
def test_predictions_are_those_of_the_dense_matrix(dtype, monkeypatch, block_bytes):
    monkeypatch.setattr("fastsoftmax._arrays.csr._BLOCK_BYTES", block_bytes)
    X, y = made_up(80, 50, 7, dtype)
    model = SoftmaxClassifier(max_iter=3, eta0=1).fit(X, y)
    dense = X.toarray()
    # both sum 50 products, in orders of their own
    largest = np.abs(dense).max() * np.abs(model.coef_).sum(axis=1).max()
    bound = 2 * 51 * np.finfo(dtype).eps * (largest + np.abs(model.intercept_).max())
    logits = model.decision_function(X)
    assert logits.dtype == dtype
    np.testing.assert_allclose(logits, model.decision_function(dense), rtol=0, atol=bound)
    np.testing.assert_allclose(model.predict_proba(X), model.predict_proba(dense), atol=2 * bound)
    np.testing.assert_allclose(
        model.predict_log_proba(X),
        model.predict_log_proba(dense),
        atol=2 * bound + 8 * np.finfo(dtype).eps,
    )
    assert model.predict(X).tolist() == model.predict(dense).tolist()
    assert model.score(X, y) == model.score(dense, y)
    assert model.predict(X[:0]).shape == (0,)
    other = np.float64 if dtype == np.float32 else np.float32
    converted = model.decision_function(X.astype(other))
    assert converted.dtype == dtype
    np.testing.assert_allclose(
        converted, model.decision_function(dense.astype(other)), rtol=0, atol=bound
    )
    with pytest.raises(ValueError, match=r"X has 49 features, but .* is expecting 50"):
        model.predict(X[:, :49])


@pytest.mark.parametrize("rule", [{"penalty": "l1"}, {"momentum": 0.9}], ids=str)
def test_partial_fit_goes_on_with_any_kind_of_X(backend, dtype, rule):
    X, y = made_up(60, 19, 7, dtype)
    other = X.astype(np.float64 if dtype == np.float32 else np.float32)
    parameters = DEFAULTS | {"alpha": 0.01, "backend": backend} | rule
    model, dense = SoftmaxClassifier(**parameters), SoftmaxClassifier(**parameters)
    for part in (X, X.toarray(), other, X):
        model.partial_fit(part, y, classes=np.arange(7))
        came = part if isinstance(part, np.ndarray) else part.toarray()
        dense.partial_fit(came, y, classes=np.arange(7))
    assert model.coef_.dtype == dtype
    tolerance = AGREEMENT[np.float32] * np.abs(dense.coef_).max()
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=0, atol=tolerance)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_momentum_with_l1_is_refused_by_name(backend, penalty, method):
    X, y = made_up(60, 19, 7, np.float64)
    model = SoftmaxClassifier(backend=backend, penalty=penalty, momentum=0.9)
    arguments = {"classes": np.arange(7)} if method == "partial_fit" else {}
    with pytest.raises(
        ValueError, match=r"^momentum: expected 0 for a sparse X with an L1 penalty"
    ):
        getattr(model, method)(X, y, **arguments)
    assert not hasattr(model, "coef_")
    model.set_params(alpha=0, max_iter=1, tol=None).fit(X, y)  # nothing of L1 in it


def test_a_model_file_has_the_velocities(tmp_path):
    X, y = made_up(60, 19, 7, np.float64)
    options = DEFAULTS | {"momentum": 0.9, "penalty": "l2", "alpha": 0.1, "max_iter": 2}
    model = SoftmaxClassifier(**options).fit(X, y)
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz").partial_fit(X, y)
    np.testing.assert_array_equal(loaded.coef_, model.partial_fit(X, y).coef_)
    dense = SoftmaxClassifier(**options).fit(X.toarray(), y).partial_fit(X.toarray(), y)
    np.testing.assert_allclose(loaded.coef_, dense.coef_, rtol=0, atol=1e-10)


@pytest.mark.parametrize("l1_step", ["proximal", "subgradient"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_tags_say_whether_sparse_rows_are_taken(penalty, momentum, l1_step):
    X, y = made_up(60, 19, 7, np.float64)
    model = SoftmaxClassifier(penalty=penalty, momentum=momentum, l1_step=l1_step, **ONE_EPOCH)
    takes = penalty == "l2" or (momentum == 0 and l1_step == "proximal")
    assert model.__sklearn_tags__().input_tags.sparse == takes
    if takes:
        model.fit(X, y)
    else:
        with pytest.raises(ValueError, match="for a sparse X"):
            model.fit(X, y)


def test_momentum_with_l1_is_refused_by_search():
    X, y = made_up(60, 19, 7, np.float64)
    with pytest.raises(
        ValueError, match=r"^momentum: expected 0 for a sparse X with an L1 penalty"
    ):
        search(X, y, learning_rates=[0.1], regs=[0.1], penalty="l1", momentum=0.5)


def test_a_search_with_momentum_is_that_of_the_dense_matrix():
    X, y = made_up(60, 19, 7, np.float64)
    options = {"learning_rates": [0.1, 0.01], "regs": [0.0, 0.1], "validation": (X, y)}
    options |= {"momentum": 0.9, "nesterov": True, "max_iter": 2, "random_state": 0}
    found = search(X, y, **options)
    expected = search(X.toarray(), y, **options | {"validation": (X.toarray(), y)})
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_allclose(found.best_model.coef_, expected.best_model.coef_, atol=1e-9)


def test_divergence_leaves_the_last_good_epoch(backend, dtype):
    X, y = made_up(60, 19, 7, dtype)
    parameters = DEFAULTS | {"penalty": "l2", "alpha": 1.0, "batch_size": 20, "backend": backend}
    huge = np.finfo(dtype).max ** 0.6
    rates = {"learning_rate": lambda step: 0.1 if step < 6 else float(huge), "max_iter": 9}
    model = SoftmaxClassifier(**parameters | rates)
    with pytest.raises(DivergenceError, match="lower the learning rates"):
        model.fit(X, y)
    expected = SoftmaxClassifier(**parameters | {"eta0": 0.1, "max_iter": 2}).fit(X, y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert model.loss_curve_ == expected.loss_curve_


@pytest.mark.parametrize(("l1", "momentum"), [(0.0, 0.0), (0.01, 0.0), (0.0, 0.9)])
def test_an_epoch_stops_before_a_step_whose_loss_is_not_finite(kernels, dtype, l1, momentum):
    X, y = made_up(60, 19, 7, dtype)
    X.data[X.indptr[50]] = np.nan
    rows, order, rates = as_sparse_rows("X", X), np.arange(60), np.full(15, 0.1)

    def run(n_steps):
        state = State(*(np.zeros(size, dtype) for size in ((7, 19), 7, (7, 19), 7)))
        if not momentum:
            state = state._replace(coef_velocity=None, intercept_velocity=None)
        done = kernels.sgd_epoch(
            Data(rows, y),
            state,
            Rule(0.0, l1, momentum, False),
            order[: 4 * n_steps],
            4,
            rates[:n_steps],
            2,
        )
        return done, state

    objectives, state = run(15)
    before, twelve_steps = run(12)
    assert len(objectives) == 13
    assert np.isnan(objectives[12])
    np.testing.assert_array_equal(objectives[:12], before)
    # The rows of the step that is not taken have met weights: these took their penalty in two parts.
    tolerance = 0 if not (l1 or momentum) else 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(state.coef, twelve_steps.coef, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(state.intercept, twelve_steps.intercept)


@pytest.mark.costly
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("l2", [0.0, 1e-3])
def test_a_signal_in_an_epoch_leaves_a_whole_step(dtype, l2, momentum):
    kernels, n_steps = get_backend("compiled"), 60_000
    X, _ = made_up(64, 400, 10, dtype)
    data = Data(as_sparse_rows("X", X), np.zeros(64, np.int64))
    order, rates = np.arange(n_steps * 32) % 64, np.full(n_steps, 1e-3)

    def zeros():
        n_arrays = 4 if momentum else 2
        arrays = [np.zeros(size, dtype) for size in ((10, 400), 10, (10, 400), 10)[:n_arrays]]
        return State(*arrays, *[None] * (4 - n_arrays))

    def after(done):
        state = zeros()
        kernels.sgd_epoch(data, state, rule, order[: 32 * done], 32, rates[:done], 1)
        return state

    rule, interrupted = Rule(l2, 0.0, momentum, False), zeros()
    interrupt_by_signal(kernels, data, interrupted, rule, order, 32, rates)
    # The intercept of the one label that comes, which has no penalty, grows with every step.
    low, high = 1, n_steps
    while low < high:
        done = (low + high) // 2
        if after(done).intercept[0] < interrupted.intercept[0]:
            low = done + 1
        else:
            high = done
    state = after(low)
    assert low < n_steps, "the epoch ended before the signal"
    for ours, theirs in zip(interrupted[:4], state[:4], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_probabilities_as_targets(kernels, dtype, rng):
    X, _ = made_up(60, 19, 7, dtype)
    targets = rng.dirichlet(np.ones(7), 60).astype(dtype)
    states = [State(np.zeros((7, 19), dtype), np.zeros(7, dtype), None, None) for _ in range(2)]
    rule, rates = Rule(0.01, 0.01, 0.0, False), np.full(8, 0.3)
    for state, matrix in zip(states, (as_sparse_rows("X", X), X.toarray()), strict=True):
        kernels.sgd_epoch(Data(matrix, targets), state, rule, np.arange(60), 8, rates, 1)
    largest = np.abs(states[1].coef).max()
    np.testing.assert_allclose(
        states[0].coef, states[1].coef, rtol=0, atol=AGREEMENT[dtype] * largest
    )
