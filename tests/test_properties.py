"""What holds of the loss core whatever the numbers are, on drawn cases."""

from dataclasses import replace

import numpy as np
import rounding
from hypothesis import assume, given
from hypothesis import strategies as st
from rounding import assert_close, assert_same_bits
from strategies import Rows, backends, dtypes, linear_problems, rows_of_logits, seeds

from fastsoftmax import (
    linear_cross_entropy,
    log_softmax,
    logsumexp,
    penalty,
    softmax,
    softmax_cross_entropy,
)

plain_rows = rows_of_logits(with_options=False)
strengths = st.sampled_from((0.0, 0.25, 1e-4, 3.0))


def doubled(function, *arguments):
    """The bound of a difference of two computations."""
    return 2 * function(*arguments)


def losses_and_gradients(case, logits=None, targets=None, **changed):
    """A loss and a gradient for every row, in float64."""
    losses, dlogits = softmax_cross_entropy(
        case.logits if logits is None else logits,
        case.targets if targets is None else targets,
        **case.options | {"reduction": "none"} | changed,
    )
    return losses, dlogits.astype(np.float64)


def bounds_of(case):
    """Of the losses and of the gradients of a case."""
    p, log_p = (f(case.logits, **case.run).astype(np.float64) for f in (softmax, log_softmax))
    of_losses = rounding.of_losses(log_p, case.weighted, case.dtype)
    return of_losses, rounding.of_dlogits(p, case.weighted, case.dtype)


@given(plain_rows)
def test_a_softmax_is_a_distribution(case):
    p = softmax(case.logits, **case.run)
    assert ((p >= 0) & (p <= 1)).all()
    # Terms and their total have the same errors: those of the additions and divisions are left.
    c, limits = case.n_classes, np.finfo(case.dtype)
    bound = (c + 2) * rounding.unit(case.dtype) + c * limits.tiny
    assert_close(p.astype(np.float64).sum(axis=1), np.ones(case.n_rows), bound)
    np.testing.assert_array_equal(p[np.isneginf(case.logits)], 0)


@given(plain_rows)
def test_a_softmax_keeps_the_order_of_the_logits(case):
    p = softmax(case.logits, **case.run)
    order = np.argsort(case.logits, axis=1, kind="stable")
    z, sorted_p = np.take_along_axis(case.logits, order, 1), np.take_along_axis(p, order, 1)
    bound = rounding.of_softmax(sorted_p.astype(np.float64), case.dtype)
    assert (np.diff(sorted_p, axis=1) >= -(bound[:, 1:] + bound[:, :-1])).all()
    # Equal logits have equal probabilities, wherever they are in a row.
    np.testing.assert_array_equal(np.diff(sorted_p, axis=1)[z[:, 1:] == z[:, :-1]], 0)


@given(plain_rows)
def test_log_softmax_is_the_logarithm_of_softmax(case):
    p, log_p = (f(case.logits, **case.run).astype(np.float64) for f in (softmax, log_softmax))
    assert (log_p <= 0).all()
    normal = p >= np.finfo(case.dtype).tiny / np.finfo(case.dtype).eps
    relative = rounding.of_softmax(p, case.dtype)[normal] / p[normal]
    assume((relative < 0.5).all())
    bound = rounding.of_log_softmax(log_p, case.dtype)[normal] - np.log1p(-relative)
    assert_close(log_p[normal], np.log(p[normal]), bound)


@given(plain_rows)
def test_a_logsumexp_lies_between_the_maximum_and_the_maximum_plus_log_n(case):
    lse = logsumexp(case.logits, **case.run).astype(np.float64)
    largest = case.logits.max(axis=1).astype(np.float64)
    counted = np.isfinite(case.logits).sum(axis=1)
    bound = rounding.of_logsumexp(lse, case.n_classes, case.dtype)
    assert (lse >= largest - bound).all()
    assert (lse <= largest + np.log(counted) + bound).all()
    log_p = log_softmax(case.logits, **case.run).astype(np.float64)
    of_log = rounding.of_log_softmax(log_p, case.dtype)
    assert_close(case.logits.astype(np.float64) - lse[:, np.newaxis], log_p, of_log + bound[:, None])


@given(plain_rows, st.sampled_from((0.0, 1.0, -3.25, 1000.0, 1e4, -1e4)))
def test_a_shift_of_the_logits_changes_no_probability(case, shift):
    moved = case.logits + case.logits.dtype.type(shift)
    # What the addition has rounded is an error of the logits; with numbers and shifts of few digits 0.
    exact = case.logits.astype(np.longdouble) + shift
    finite = np.isfinite(case.logits)
    errors = np.abs(np.subtract(moved, exact, where=finite, out=np.zeros_like(exact)))
    of_logits = errors.max(axis=1, keepdims=True).astype(np.float64)
    p, log_p = (f(case.logits, **case.run).astype(np.float64) for f in (softmax, log_softmax))
    bound = 2 * rounding.of_softmax(p, case.dtype, of_logits)
    assert_close(softmax(moved, **case.run), p, bound)
    bound = 2 * rounding.of_log_softmax(log_p, case.dtype, of_logits)
    assert_close(log_softmax(moved, **case.run), log_p, bound)
    lse = logsumexp(case.logits, **case.run).astype(np.float64)
    again = logsumexp(moved, **case.run).astype(np.float64)
    of_lse = (
        rounding.of_logsumexp(size, case.n_classes, case.dtype, of_logits[:, 0])
        for size in (lse, again)
    )
    assert_close(again, lse + shift, sum(of_lse))


@given(rows_of_logits(), seeds)
def test_classes_in_another_order(case, seed):
    order = np.random.default_rng(seed).permutation(case.n_classes)
    targets = case.targets
    if case.soft:
        targets = targets[:, order]
    else:
        targets = np.where(targets < 0, targets, np.argsort(order)[targets])
    weight = case.class_weight
    weight = None if weight is None else weight[order]
    losses, dlogits = losses_and_gradients(case)
    again, moved = losses_and_gradients(case, case.logits[:, order], targets, class_weight=weight)
    of_losses, of_dlogits = bounds_of(case)
    assert_close(again, losses, 2 * of_losses)
    assert_close(moved, dlogits[:, order], 2 * of_dlogits[:, order])
    p = softmax(case.logits, **case.run).astype(np.float64)[:, order]
    bound = 2 * rounding.of_softmax(p, case.dtype)
    assert_close(softmax(case.logits[:, order], **case.run), p, bound)


@given(rows_of_logits(), seeds)
def test_a_row_does_not_depend_on_the_others(case, seed):
    """Some rows in another order, some twice and some not at all: the same numbers, bit by bit."""
    chosen = np.random.default_rng(seed).integers(case.n_rows, size=case.n_rows)
    weight = case.sample_weight
    weight = None if weight is None else weight[chosen]
    options = case.options | {"reduction": "none"}
    losses, dlogits = softmax_cross_entropy(case.logits, case.targets, **options)
    options["sample_weight"] = weight
    few = softmax_cross_entropy(case.logits[chosen], case.targets[chosen], **options)
    assert_same_bits(few[0], losses[chosen])
    assert_same_bits(few[1], dlogits[chosen])
    for function in (softmax, log_softmax, logsumexp):
        whole = function(case.logits, **case.run)
        assert_same_bits(function(case.logits[chosen], **case.run), whole[chosen])


@given(rows_of_logits())
def test_losses_are_not_negative_and_gradients_sum_to_zero(case):
    losses, dlogits = losses_and_gradients(case)
    of_losses, of_dlogits = bounds_of(case)
    assert (losses >= 0).all()
    mass = case.weighted.sum(axis=1)
    # Of mass * p and the targets, which have the same sum, the roundings are left.
    assert (np.abs(dlogits.sum(axis=1)) <= of_dlogits.sum(axis=1)).all()
    assert (dlogits <= mass[:, np.newaxis] + of_dlogits).all()
    assert (dlogits >= -case.weighted - of_dlogits).all()
    p = softmax(case.logits, **case.run).astype(np.float64)
    assert_close(dlogits, mass[:, np.newaxis] * p - case.weighted, 2 * of_dlogits)
    log_p = log_softmax(case.logits, **case.run).astype(np.float64)
    finite = np.where(case.weighted > 0, log_p, 0)  # 0 * log(0) is 0
    assert_close(losses, -(case.weighted * finite).sum(axis=1), 2 * of_losses)


@given(rows_of_logits())
def test_the_mean_and_the_sum_are_those_of_the_rows(case):
    losses, of_rows = losses_and_gradients(case)
    of_losses, of_dlogits = bounds_of(case)
    bound = len(losses) * rounding.DOUBLE * losses.sum()
    for reduction, total in (("sum", 1.0), ("mean", case.total)):
        options = case.options | {"reduction": reduction}
        loss, dlogits = softmax_cross_entropy(case.logits, case.targets, **options)
        # The total is a sum of quarters times eighths, and exact; the division rounds once more.
        assert_close(loss, losses.sum() / total, (2 * bound + 2 * rounding.DOUBLE * losses.sum()) / total)
        assert_close(dlogits, of_rows / total, 2 * of_dlogits / total)


@given(rows_of_logits())
def test_labels_are_probabilities_of_one_class(case):
    case = replace(case, soft=False, ignored=False)
    one_hot = np.eye(case.n_classes, dtype=case.dtype)[case.labels]
    losses, dlogits = losses_and_gradients(case)
    again, same = losses_and_gradients(case, targets=one_hot)
    of_losses, of_dlogits = bounds_of(case)
    assert_close(again, losses, 2 * of_losses)
    assert_close(same, dlogits, 2 * of_dlogits)


@given(rows_of_logits())
def test_smoothing_mixes_the_targets_with_a_uniform_one(case):
    case = replace(case, masked=False, ignored=False)
    one = replace(case, smoothing=0.0)
    even = np.full(case.shape, 1 / case.n_classes, case.dtype)
    mass = one.probabilities.astype(np.float64).sum(axis=1) if case.soft else np.ones(case.n_rows)
    losses, dlogits = losses_and_gradients(case)
    sharp, of_sharp = losses_and_gradients(one)
    uniform, of_uniform = losses_and_gradients(one, targets=even)
    e = case.smoothing
    # Each is within its own bound; the targets of the three add up.
    of_losses, of_dlogits = bounds_of(case)
    mixed = (1 - e) * sharp + e * uniform
    assert_close(losses, mixed, 4 * of_losses)
    assert_close(dlogits, (1 - e) * of_sharp + e * of_uniform, 4 * of_dlogits)
    assert mass.shape == losses.shape


@given(rows_of_logits())
def test_a_class_weight_is_a_weight_of_the_rows_of_the_class(case):
    case = replace(case, soft=False, class_weights=True, smoothing=0.0)
    of_rows = case.class_weight[case.labels]
    if case.sample_weight is not None:
        of_rows = of_rows * case.sample_weight
    of_losses, of_dlogits = bounds_of(case)
    for reduction, total in (("sum", 1.0), ("mean", case.total)):
        options = case.options | {"reduction": reduction}
        loss, dlogits = softmax_cross_entropy(case.logits, case.targets, **options)
        options |= {"class_weight": None, "sample_weight": of_rows}
        again, same = softmax_cross_entropy(case.logits, case.targets, **options)
        bound = rounding.of_sum(np.full(case.n_rows, loss), of_losses)
        assert_close(again, loss, 2 * (bound + 2 * rounding.DOUBLE * loss) / total)
        assert_close(same, dlogits, 2 * of_dlogits / total)


@given(rows_of_logits(), st.sampled_from((2.0**-20, 0.5, 4.0, 2.0**30)))
def test_a_factor_of_all_weights_leaves_the_mean(case, factor):
    """A power of 2, which rounds nothing: not a bit changes."""
    case = replace(case, row_weights=True)
    loss, dlogits = softmax_cross_entropy(case.logits, case.targets, **case.options)
    options = case.options | {"sample_weight": factor * case.sample_weight}
    again, same = softmax_cross_entropy(case.logits, case.targets, **options)
    if case.total == 0:
        assert np.isnan(loss)
        assert np.isnan(again)
        return
    assert again == loss
    tiny = np.finfo(case.dtype).tiny * 2**30  # below which a power of 2 does round
    large = np.abs(dlogits) >= tiny
    np.testing.assert_array_equal(same[large], dlogits[large])
    assert_close(same, dlogits, tiny)


@given(rows_of_logits())
def test_a_weight_is_so_many_copies(case):
    case = replace(case, row_weights=True)
    copies = np.repeat(np.arange(case.n_rows), (4 * case.sample_weight).astype(int))
    options = case.options | {"reduction": "sum"}
    loss, dlogits = softmax_cross_entropy(case.logits, case.targets, **options)
    of_copies, of_each = softmax_cross_entropy(
        case.logits[copies], case.targets[copies], **options | {"sample_weight": None}
    )
    of_losses, of_dlogits = bounds_of(case)
    bound = 2 * (of_losses.sum() + (len(copies) + 2) * rounding.DOUBLE * loss)
    assert_close(of_copies / 4, loss, bound)
    summed = np.zeros(case.shape)
    np.add.at(summed, copies, of_each.astype(np.float64) / 4)
    assert_close(summed, dlogits, 2 * of_dlogits + np.finfo(case.dtype).tiny)


@given(rows_of_logits())
def test_rows_that_do_not_count_might_as_well_not_be_there(case):
    """Ignored, of weight 0, or gone: the same losses and gradients, bit by bit."""
    case = replace(case, soft=False, ignored=True)
    gone = case.ignored_rows
    s = np.ones(case.n_rows) if case.sample_weight is None else case.sample_weight
    options = case.options | {"reduction": "none", "sample_weight": s}
    losses, dlogits = softmax_cross_entropy(case.logits, case.targets, **options)
    np.testing.assert_array_equal(losses[gone], 0)
    np.testing.assert_array_equal(dlogits[gone], 0)
    ignored = softmax_cross_entropy(
        case.logits[~gone], case.targets[~gone], **options | {"sample_weight": s[~gone]}
    )
    zero = options | {"sample_weight": np.where(gone, 0, s), "ignore_index": None}
    weighted = softmax_cross_entropy(case.logits, case.labels, **zero)
    for ours, there, of_zero in zip((losses, dlogits), ignored, weighted, strict=True):
        np.testing.assert_array_equal(there, ours[~gone])
        np.testing.assert_array_equal(of_zero, ours)


def products_of(problem, **changed):
    """The gradient of the logits and what bounds the gradients that follow from it."""
    logits = problem.X.astype(np.float64) @ problem.W.astype(np.float64) + problem.intercept
    of_logits = rounding.of_logits(problem.X, problem.W, problem.intercept, problem.dtype)
    loss, G = softmax_cross_entropy(
        logits, problem.targets, **problem.options | {"reduction": "sum"} | changed
    )
    p, log_p = softmax(logits), log_softmax(logits)
    of_losses = rounding.of_losses(log_p, problem.weighted, problem.dtype, of_logits)
    of_G = rounding.of_dlogits(p, problem.weighted, problem.dtype, of_logits)
    return loss, G, of_losses, of_G


@given(linear_problems(most_exponent=2))
def test_gradients_of_the_linear_classifier_are_products(problem):
    """dW = X.T @ G, dX = G @ W.T, with G that of logits in float64."""
    X, W, b = problem.X, problem.W, problem.intercept
    options = problem.options | {"reduction": "sum"}
    loss, gradients = linear_cross_entropy(X, W, problem.targets, b, **options)
    expected, G, of_losses, of_G = products_of(problem)
    assert_close(loss, expected, 2 * (of_losses.sum() + problem.n_rows * rounding.DOUBLE * loss))
    of_W = rounding.of_product(X, G, of_G, problem.dtype)
    assert_close(gradients.W, X.astype(np.float64).T @ G, 2 * of_W)
    ones = np.ones((problem.n_rows, 1), problem.dtype)
    of_b = rounding.of_product(ones, G, of_G, problem.dtype)
    assert_close(gradients.intercept, G.sum(axis=0), 2 * of_b[0])
    of_X = rounding.of_product(W.T, G.T, of_G.T, problem.dtype).T
    assert_close(gradients.X, G @ W.astype(np.float64).T, 2 * of_X)
    # Every row of G sums to 0, so that those of dW and the intercept's gradient do.
    assert (np.abs(gradients.W.astype(np.float64).sum(axis=1)) <= of_W.sum(axis=1)).all()
    assert abs(gradients.intercept.astype(np.float64).sum()) <= of_b.sum()


@given(linear_problems(), st.sampled_from((-6, 1, 5)))
def test_a_power_of_two_may_stand_at_X_or_at_W(problem, power):
    """The products are the same, bit by bit, and so is all that follows, times that power."""
    factor = np.array(2.0**power, problem.dtype)
    X, W, b = problem.X, problem.W, problem.intercept
    loss, of_X = linear_cross_entropy(factor * X, W, problem.targets, b, **problem.options)
    again, of_W = linear_cross_entropy(X, factor * W, problem.targets, b, **problem.options)
    np.testing.assert_array_equal(again, loss)
    tiny = float(2**6 * np.finfo(problem.dtype).tiny)  # below which the factor does round
    for ours, theirs in (
        (of_X.W, factor * of_W.W),
        (of_X.intercept, of_W.intercept),
        (factor * of_X.X, of_W.X),
    ):
        normal = ~(np.abs(theirs) < tiny)
        np.testing.assert_array_equal(ours[normal], theirs[normal])


def along_a_line(problem, l2, l1, seed):
    """Objective and gradient in W at W - D, W and W + D, and what each may be off by."""
    D = np.random.default_rng(seed).integers(-8, 9, size=problem.W.shape) / 16
    D = D.astype(problem.dtype)
    values, slopes, bounds = [], [], []
    for t in (-1, 0, 1):
        W = problem.W + np.array(t, problem.dtype) * D
        loss, gradients = linear_cross_entropy(
            problem.X, W, problem.targets, problem.intercept, **problem.options | {"reduction": "sum"}
        )
        of_penalty, gradient = penalty(W, l2, l1, **problem.run)
        at = replace(problem)
        at.__dict__["W"] = W
        _, G, of_losses, of_G = products_of(at)
        of_dW = rounding.of_product(problem.X, G, of_G, problem.dtype)
        dW = gradients.W.astype(np.float64) + gradient
        values.append(loss + of_penalty)
        slopes.append((dW * D).sum())
        size = problem.n_rows * loss + 3 * W.size * of_penalty
        of_slope = (of_dW + 4 * rounding.unit(problem.dtype) * np.abs(gradient)) * np.abs(D)
        bounds.append((of_losses.sum() + 2 * rounding.DOUBLE * size, of_slope.sum()))
    return values, slopes, bounds


@given(linear_problems(), strengths, strengths, seeds)
def test_the_objective_is_convex_along_every_line(problem, l2, l1, seed):
    """Its middle is below the chord, and it lies above its tangents."""
    problem = replace(problem, family="ties", exponent=0)
    problem.__dict__["W"] = np.round(4 * problem.W) / 4  # so that W and D add up exactly
    values, slopes, bounds = along_a_line(problem, l2, l1, seed)
    of_values = [of_value for of_value, _ in bounds]
    assert values[1] <= (values[0] + values[2]) / 2 + sum(of_values)
    for i, j in ((0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)):
        tangent = values[i] + (j - i) * slopes[i]
        assert values[j] >= tangent - of_values[i] - of_values[j] - abs(j - i) * bounds[i][1]


@given(linear_problems(most_exponent=0), seeds)
def test_the_gradient_is_that_of_the_loss(problem, seed):
    """Central differences along a direction; of all of them the intercept's is the first to go wrong."""
    problem = replace(problem, dtype="float64")
    rng = np.random.default_rng(seed)
    step = 2.0**-12
    at = {"W": problem.W, "intercept": problem.intercept, "X": problem.X}
    options = problem.options | {"reduction": "sum"}

    def loss_and_gradients(**moved):
        now = at | moved
        return linear_cross_entropy(now["X"], now["W"], problem.targets, now["intercept"], **options)

    loss, gradients = loss_and_gradients()
    for name, value in at.items():
        direction = rng.normal(size=value.shape)
        above, _ = loss_and_gradients(**{name: value + step * direction})
        below, _ = loss_and_gradients(**{name: value - step * direction})
        moves = {
            "W": lambda d: problem.X @ d,
            "intercept": lambda d: np.broadcast_to(d, problem.shape),
            "X": lambda d: d @ problem.W,
        }[name](direction)
        # The third derivative of a log-sum-exp is a third central moment of the moves of the logits, at
        # most their range cubed over 6 * sqrt(3).
        third = (problem.weighted.sum(axis=1) * np.ptp(moves, axis=1) ** 3).sum() / (6 * np.sqrt(3))
        _, G, of_losses, _ = products_of(problem)
        # Losses near by are of the same size to some percent.
        of_loss = 2 * (of_losses.sum() + problem.n_rows * rounding.DOUBLE * loss)
        size = (np.abs(getattr(gradients, name)) * np.abs(direction)).sum()
        bound = step**2 * third / 6 + of_loss / step + 1e-10 * (size + 1)
        slope = (getattr(gradients, name) * direction).sum()
        assert_close((above - below) / (2 * step), slope, bound)
        assert G.shape == problem.shape


@given(rows_of_logits(with_options=False, most_exponent=3), strengths, strengths, seeds)
def test_the_penalty_is_of_the_second_and_first_degree(case, l2, l1, seed):
    """R(2W) = 4 R(W) or 2 R(W), exactly; it does not depend on signs, nor on the order but for rounding."""
    W = np.where(np.isfinite(case.logits), case.logits, 0)
    W = np.where(np.abs(W) < 1e-6, 0, W)  # squares that are normal numbers
    rng = np.random.default_rng(seed)
    (square, of_square), (absolute, of_absolute) = (
        penalty(W, l2, 0, **case.run),
        penalty(W, 0, l1, **case.run),
    )
    for of_both, factor, value in (
        (penalty(2 * W, l2, 0, **case.run), 4, square),
        (penalty(2 * W, 0, l1, **case.run), 2, absolute),
    ):
        assert of_both[0] == factor * value
    assert_same_bits(penalty(2 * W, l2, 0, **case.run)[1], 2 * of_square)
    assert_same_bits(penalty(2 * W, 0, l1, **case.run)[1], of_absolute)
    value, gradient = penalty(W, l2, l1, **case.run)
    bound = 2 * (W.size + 5) * rounding.DOUBLE * value
    assert_close(value, square + absolute, bound)
    size = np.abs(of_square.astype(np.float64)) + np.abs(of_absolute)
    assert_close(gradient, of_square.astype(np.float64) + of_absolute, 4 * rounding.unit(W.dtype) * size)
    signs = rng.choice([-1, 1], size=W.shape).astype(W.dtype)
    flipped, of_flipped = penalty(signs * W, l2, l1, **case.run)
    assert flipped == value
    np.testing.assert_array_equal(of_flipped, signs * gradient)
    order = rng.permutation(W.size)
    shuffled, of_shuffled = penalty(W.ravel()[order], l2, l1, **case.run)
    assert_close(shuffled, value, bound)
    np.testing.assert_array_equal(of_shuffled, gradient.ravel()[order])


@given(backends, dtypes, st.integers(1, 70), st.integers(-4, 4))
def test_equal_logits_share_out_evenly(backend, dtype, n_classes, power):
    """Whatever they are equal to: 1 / n each, and a loss of log(n)."""
    case = Rows(backend, 3, n_classes, dtype, "equal", power)
    p = softmax(case.logits, **case.run)
    assert_close(p, np.full(case.shape, 1 / n_classes), rounding.of_softmax(np.float64(p), dtype))
    losses, _ = losses_and_gradients(case)
    even = np.full(case.shape, -np.log(n_classes))
    assert_close(losses, -even[:, 0], rounding.of_losses(even, case.weighted, dtype))
