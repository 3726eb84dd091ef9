"""What holds of a trained classifier whatever the samples are, on drawn ones.

Where two ways to train differ in roundings alone, their weights are as far apart as
`rounding.of_training` says.
"""

from dataclasses import replace

import numpy as np
import rounding
from hypothesis import given
from hypothesis import strategies as st
from rounding import assert_close, assert_same_bits
from scipy.sparse import csr_array
from strategies import seeds, trainings

from fastsoftmax import SoftmaxClassifier, search

powers = st.sampled_from((2.0**-10, 0.5, 8.0))


def fitted(case, X=None, y=None, sample_weight=None, **changed):
    """Of the case, but for what is given."""
    model = SoftmaxClassifier(**case.parameters | changed)
    if sample_weight is None:
        sample_weight = case.sample_weight
    X = case.X if X is None else X
    with case.forced(X):
        return model.fit(X, case.y if y is None else y, sample_weight)


def weights_of(model):
    """(n_classes, n_features + 1), in float64."""
    return np.column_stack([model.coef_, model.intercept_]).astype(np.float64)


def assert_weights_close(case, actual, expected, of_data=0.0, **changed):
    sizes = {"n_steps": case.n_steps, "batch_size": case.batch_size} | changed
    bound = 2 * rounding.of_training(case, case.largest_row, **sizes) + of_data
    assert np.linalg.norm(actual - expected) <= bound


def assert_same_model(model, other):
    for name in ("coef_", "intercept_", "loss_curve_"):
        assert_same_bits(getattr(model, name), getattr(other, name))


def whole(case):
    """The same with one minibatch an epoch, whose order matters to no step."""
    return replace(case, batch_size=10**4)


@given(trainings())
def test_every_backend_ends_with_the_same_weights(case):
    other = "vectorized" if case.backend != "vectorized" else "compiled"
    expected = weights_of(fitted(case, backend=other))
    assert_weights_close(case, weights_of(fitted(case)), expected)


@given(trainings())
def test_the_sign_of_a_weight_that_is_0_up_to_rounding_is_all_that_backends_differ_by(case):
    """With the subgradient of L1, which no rounding keeps apart from its jump about 0."""
    case = replace(case, penalty="l1" if case.penalty == "l1" else "elasticnet")
    l1 = case.alpha * (1 if case.penalty == "l1" else 0.5)
    other = "vectorized" if case.backend != "vectorized" else "compiled"
    model, expected = (
        fitted(case, l1_step="subgradient", backend=b) for b in (case.backend, other)
    )
    # Without L1 a step at a rate of at most 1 / L brings two points no further apart. With it, as a
    # subgradient is monotone, the square of their distance grows by at most 2 * (2 * rate * l1)**2 for each
    # weight whose signs differ.
    n = case.n_classes * case.n_features
    of_signs = case.rate_for(case.largest_row) * l1 * np.sqrt(8 * n * case.n_steps)
    assert_weights_close(case, weights_of(model), weights_of(expected), of_signs)


@given(
    *(trainings(), st.sampled_from((np.int32, np.int64))),
    *(st.sampled_from((0.0, 0.5, 0.9)), st.booleans()),
)
def test_sparse_samples_train_as_dense_ones_do(case, index, momentum, nesterov):
    sparse = csr_array(case.X)
    sparse.indices, sparse.indptr = sparse.indices.astype(index), sparse.indptr.astype(index)
    rule = {}
    if momentum:  # a step goes into the weights 1 / (1 - momentum) times, and so does its error
        rate = (1 - momentum) * case.rate_for(case.largest_row)
        rule = {"momentum": momentum, "nesterov": nesterov, "eta0": rate}
        case = case if case.penalty in (None, "l2") else replace(case, penalty="l2")
    dense, model = fitted(case, **rule), fitted(case, sparse, **rule)
    sizes = case.largest_row, case.n_steps, case.batch_size
    of_velocities = 2 * rounding.of_training(case, *sizes) * momentum / (1 - momentum)
    assert_weights_close(case, weights_of(model), weights_of(dense), of_velocities)
    assert_same_bits(model.predict(sparse), model.predict(case.X))


@given(trainings(), st.sampled_from(("uint8", "float16")), st.booleans())
def test_bytes_and_halves_train_as_what_they_convert_to(case, kind, standardize):
    case = replace(case, dtype="float32")
    X = case.X.astype(kind)
    model = fitted(case, X, standardize=standardize, eta0="auto")
    expected = fitted(case, standardize=standardize, eta0="auto")
    assert_same_model(model, expected)
    for name in ("mean_", "scale_"):
        if standardize:
            assert_same_bits(getattr(model, name), getattr(expected, name))
    for method in ("predict_proba", "decision_function", "predict"):
        assert_same_bits(getattr(model, method)(X), getattr(model, method)(case.X))


@given(trainings())
def test_rows_of_predict_proba_are_distributions(case):
    model = fitted(case)
    p, log_p = model.predict_proba(case.X), model.predict_log_proba(case.X)
    assert p.shape == (case.n_samples, case.n_classes)
    assert ((p >= 0) & (p <= 1)).all()
    bound = (case.n_classes + 2) * rounding.unit(case.dtype)
    assert_close(p.astype(np.float64).sum(axis=1), np.ones(case.n_samples), bound)
    predicted = model.predict(case.X)
    assert model.score(case.X, case.y) == np.mean(predicted == case.y)
    # The logits again, in float64.
    coef, intercept = model.coef_.T.astype(np.float64), model.intercept_.astype(np.float64)
    logits = case.X.astype(np.float64) @ coef + intercept
    of_logits = rounding.of_logits(case.X, coef, intercept, case.dtype)
    terms = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = terms / terms.sum(axis=1, keepdims=True)
    of_p = rounding.of_softmax(expected, case.dtype, of_logits)
    assert_close(p, expected, 2 * of_p)
    # The largest logit, though its probability may be rounded to that of the next.
    chosen = p[np.arange(case.n_samples), predicted]
    assert (chosen >= p.max(axis=1) - 4 * of_p.max(axis=1)).all()
    of_log = rounding.of_log_softmax(np.log(expected), case.dtype, of_logits)
    assert_close(log_p, np.log(expected), 2 * of_log)


@given(trainings())
def test_an_epoch_at_a_time_is_a_fit(case):
    model = SoftmaxClassifier(**case.parameters)
    with case.forced(case.X):
        for _ in range(case.epochs):
            model.partial_fit(case.X, case.y, np.arange(case.n_classes), case.sample_weight)
    assert_same_model(model, fitted(case))


@given(trainings(), seeds)
def test_names_of_classes_are_but_names(case, seed):
    """Another order of the classes is another order of the rows of coef_."""
    order = np.random.default_rng(seed).permutation(case.n_classes)
    names = np.array([f"class {place:02}" for place in order])
    model = fitted(case, y=names[case.y])
    np.testing.assert_array_equal(model.classes_, np.sort(names))
    assert_weights_close(case, weights_of(model)[order], weights_of(fitted(case)))


@given(trainings(), seeds)
def test_features_in_another_order(case, seed):
    order = np.random.default_rng(seed).permutation(case.n_features)
    actual = weights_of(fitted(case, case.X[:, order]))
    expected = weights_of(fitted(case))
    assert_weights_close(case, actual, expected[:, [*order, case.n_features]])


@given(trainings(), seeds)
def test_the_order_of_the_samples_is_no_matter_of_a_whole_minibatch(case, seed):
    case = whole(case)
    order = np.random.default_rng(seed).permutation(case.n_samples)
    weight = None if case.sample_weight is None else case.sample_weight[order]
    actual = weights_of(fitted(case, case.X[order], case.y[order], weight))
    assert_weights_close(case, actual, weights_of(fitted(case)), batch_size=case.n_samples)


@given(trainings())
def test_rows_of_coef_sum_to_zero(case):
    """As every gradient does over the classes, and L2 scales all alike."""
    if case.penalty in ("l1", "elasticnet"):
        case = replace(case, penalty="l2")
    total = weights_of(fitted(case)).sum(axis=0)
    # A sum over the classes is at most sqrt(c) times as long.
    assert_weights_close(case, total / np.sqrt(case.n_classes), 0)


@given(trainings())
def test_whole_steps_at_such_a_rate_never_raise_the_objective(case):
    case = replace(whole(case), epochs=8)
    curve = np.array(fitted(case).loss_curve_)
    first = np.log(case.n_classes)  # of weights of zeros, each sample counting 1 on average
    u, R, c = rounding.unit(case.dtype), case.largest_row, case.n_classes
    M = case.n_steps * case.rate_for(R) * np.sqrt(2) * case.largest_weight * R
    # A loss is a log-sum-exp less a logit, each at most about R * M.
    of_losses = 2 * u * ((case.n_features + 6) * R * M + 3 * c + 60) * case.largest_weight
    assert_close(curve[0], first, of_losses)
    assert (np.diff(curve) <= 2 * of_losses).all()


@given(trainings())
def test_a_weight_is_so_many_copies(case):
    case = replace(whole(case), weights=True)
    copies = np.repeat(np.arange(case.n_samples), (2 * case.sample_weight).astype(int))
    alike = np.ones(len(copies))
    actual = weights_of(fitted(case, case.X[copies], case.y[copies], alike))
    assert_weights_close(case, actual, weights_of(fitted(case)), batch_size=len(copies))


@given(trainings(), powers)
def test_a_factor_of_all_weights_changes_nothing(case, factor):
    """A power of 2, which rounds nothing: not a bit."""
    case = replace(case, weights=True)
    assert_same_model(fitted(case, sample_weight=factor * case.sample_weight), fitted(case))


@given(trainings(), seeds)
def test_samples_of_no_weight_might_as_well_not_be_there(case, seed):
    extra = np.random.default_rng(seed).integers(0, case.n_samples, size=5)
    weight = np.ones(case.n_samples) if case.sample_weight is None else case.sample_weight
    X = np.insert(case.X, extra, np.nan, axis=0)  # not even looked at
    y, with_none = np.insert(case.y, extra, 0), np.insert(weight, extra, 0)
    assert_same_model(fitted(case, X, y, with_none), fitted(case))


@given(trainings(), seeds)
def test_class_weights_are_weights_of_their_samples(case, seed):
    of_classes = np.random.default_rng(seed).integers(1, 4, size=case.n_classes) / 2
    weight = np.ones(case.n_samples) if case.sample_weight is None else case.sample_weight
    model = fitted(case, class_weight=dict(enumerate(of_classes)), eta0=0.01)
    expected = fitted(case, sample_weight=weight * of_classes[case.y], eta0=0.01)
    assert_same_model(model, expected)


@given(trainings())
def test_labels_are_probabilities_of_one_class(case):
    one_hot = np.eye(case.n_classes, dtype=case.dtype)[case.y]
    assert_weights_close(case, weights_of(fitted(case, y=one_hot)), weights_of(fitted(case)))


@given(trainings(), st.sampled_from((0.125, 0.1, 0.9)))
def test_smoothing_mixes_the_targets_with_a_uniform_one(case, smoothing):
    one_hot = np.eye(case.n_classes)[case.y]
    smooth = ((1 - smoothing) * one_hot + smoothing / case.n_classes).astype(case.dtype)
    actual = weights_of(fitted(case, label_smoothing=smoothing))
    assert_weights_close(case, actual, weights_of(fitted(case, y=smooth)))


def of_objective(case, of_weights):
    """How far an epoch's objective may be off where the weights are by so much: as far as it is steep."""
    R, s = case.largest_row, case.largest_weight
    M = case.n_steps * case.rate_for(R) * np.sqrt(2) * s * R
    size = case.n_classes * (case.n_features + 1)
    slope = np.sqrt(2) * s * R + case.alpha * (M + np.sqrt(size))
    u = rounding.unit(case.dtype)
    sizes = (case.n_features + 6) * R * M + case.alpha * (M + size) + 3 * case.n_classes + 60
    return slope * of_weights + u * s * sizes


@given(trainings())
def test_a_search_is_a_fit_for_each_combination(case):
    rate, strength = case.parameters["eta0"], case.alpha
    rates, strengths = [rate, rate / 4], [strength, 0.0]
    taken = case.parameters
    for name in ("eta0", "alpha"):
        del taken[name]
    given_data = {"sample_weight": case.sample_weight, "validation": (case.X, case.y)}
    found = search(case.X, case.y, learning_rates=rates, regs=strengths, **given_data, **taken)
    bound = 2 * rounding.of_training(case, case.largest_row, case.n_steps, case.batch_size)
    for i, eta0 in enumerate(rates):
        for j, alpha in enumerate(strengths):
            model = fitted(case, eta0=eta0, alpha=alpha)
            expected = model.loss_curve_[-1]
            assert_close(found.losses[i, j], expected, of_objective(case, bound))
            if (eta0, alpha) == (found.best_learning_rate, found.best_reg):
                assert np.linalg.norm(weights_of(found.best_model) - weights_of(model)) <= bound


@given(trainings(), seeds)
def test_standardised_features_have_no_units(case, seed):
    """Factors that are powers of 2 and shifts that are integers leave what is trained on as it is."""
    rng = np.random.default_rng(seed)
    factors = 2.0 ** rng.integers(-3, 4, size=case.n_features)
    shifts = rng.integers(-50, 51, size=case.n_features)
    moved = (case.X * factors + shifts).astype(case.dtype)
    # Of each feature: subtracted and scaled in the dtype, the statistics being sums in float64.
    s = case.sample_weight
    mean, scale = (np.average(case.X, axis=0, weights=s), np.ones(case.n_features))
    scale = np.sqrt(np.average(np.square(case.X - mean, dtype=np.float64), axis=0, weights=s))
    scale = np.where(scale > 0, scale, 1)
    reach = max(np.abs(case.X / scale).max(), np.abs(moved / (factors * scale)).max())
    of_features = 8 * rounding.unit(case.dtype) * (1 + reach)
    of_features += 8 * case.n_samples * rounding.DOUBLE * (1 + reach) ** 2
    R = (
        case.largest_row_of((case.X - mean) / scale)
        if case.fit_intercept
        else case.largest_row_of(case.X / scale)
    )
    rate = {"eta0": case.rate_for(R), "standardize": True}

    def in_units_of_scale(model):
        coef = model.coef_ * model.scale_
        intercept = model.intercept_.astype(np.float64)
        if case.fit_intercept:
            intercept = intercept + model.coef_ @ model.mean_
        size = np.abs(model.intercept_) + np.abs(model.coef_) @ np.abs(model.mean_)
        return np.column_stack([coef, intercept]), rounding.unit(case.dtype) * size.max()

    if not case.fit_intercept:  # then nothing is subtracted, and a shift is no change of units
        moved = (case.X * factors).astype(case.dtype)
    (actual, of_first), (expected, of_second) = (
        in_units_of_scale(fitted(case, X, **rate)) for X in (moved, case.X)
    )
    bound = 2 * rounding.of_training(case, R, case.n_steps, case.batch_size, of_features)
    of_units = (case.n_features + 4) * np.sqrt(case.n_classes) * (of_first + of_second)
    assert np.linalg.norm(actual - expected) <= bound + of_units
