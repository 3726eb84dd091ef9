"""What holds of the linear classifier's loss and of the penalty, whatever the numbers are: drawn cases."""

from dataclasses import replace

import numpy as np
import rounding
from hypothesis import given
from hypothesis import strategies as st
from rounding import assert_close, assert_same_bits
from strategies import linear_problems, rows_of_logits, seeds

from fastsoftmax import linear_cross_entropy, log_softmax, penalty, softmax, softmax_cross_entropy

strengths = st.sampled_from((0.0, 0.25, 1e-4, 3.0))


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


@given(linear_problems(most_exponent=2), seeds)
def test_what_comes_from_above_multiplies_the_rows_of_the_gradient(problem, seed):
    X, W, b = problem.X, problem.W, problem.intercept
    options = problem.options | {"reduction": "none"}
    upstream = np.random.default_rng(seed).integers(-6, 7, size=problem.n_rows) / 4
    losses, gradients = linear_cross_entropy(X, W, problem.targets, b, upstream=upstream, **options)
    plain, _ = linear_cross_entropy(X, W, problem.targets, b, **options)
    np.testing.assert_array_equal(losses, plain)
    _, G, _, of_G = products_of(problem)
    G, of_G = G * upstream[:, np.newaxis], of_G * np.abs(upstream)[:, np.newaxis]
    of_W = rounding.of_product(X, G, of_G, problem.dtype)
    assert_close(gradients.W, X.astype(np.float64).T @ G, 2 * of_W)
    ones = np.ones((problem.n_rows, 1), problem.dtype)
    of_b = rounding.of_product(ones, G, of_G, problem.dtype)
    assert_close(gradients.intercept, G.sum(axis=0), 2 * of_b[0])
    of_X = rounding.of_product(W.T, G.T, of_G.T, problem.dtype).T
    assert_close(gradients.X, G @ W.astype(np.float64).T, 2 * of_X)
    _, negative = linear_cross_entropy(X, W, problem.targets, b, upstream=-upstream, **options)
    for ours, theirs in zip(negative, gradients, strict=True):
        np.testing.assert_array_equal(ours, -theirs)


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
            problem.X,
            W,
            problem.targets,
            problem.intercept,
            **problem.options | {"reduction": "sum"},
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
    """Central differences along a direction of each argument."""
    problem = replace(problem, dtype="float64")
    rng = np.random.default_rng(seed)
    step = 2.0**-12
    at = {"W": problem.W, "intercept": problem.intercept, "X": problem.X}
    options = problem.options | {"reduction": "sum"}

    def loss_and_gradients(**moved):
        now = at | moved
        return linear_cross_entropy(
            now["X"], now["W"], problem.targets, now["intercept"], **options
        )

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
        _, _, of_losses, _ = products_of(problem)
        # Losses near by are of the same size to some percent.
        of_loss = 2 * (of_losses.sum() + problem.n_rows * rounding.DOUBLE * loss)
        size = (np.abs(getattr(gradients, name)) * np.abs(direction)).sum()
        bound = step**2 * third / 6 + of_loss / step + 1e-10 * (size + 1)
        slope = (getattr(gradients, name) * direction).sum()
        assert_close((above - below) / (2 * step), slope, bound)


@given(rows_of_logits(with_options=False, most_exponent=3), strengths, strengths, seeds)
def test_the_penalty_is_of_the_second_and_first_degree(case, l2, l1, seed):
    """R(2W) = 4 R(W) or 2 R(W), exactly; signs do not matter, nor the order but for rounding."""
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
    # Euler's identity: of the degree k, the gradient times W is k times the value.
    for degree, gradient, value in ((2, of_square, square), (1, of_absolute, absolute)):
        along = (gradient.astype(np.float64) * W).sum()
        of_sums = 2 * W.size * rounding.DOUBLE
        assert_close(along, degree * value, (4 * rounding.unit(W.dtype) + of_sums) * abs(along))
        assert along >= 0
    value, gradient = penalty(W, l2, l1, **case.run)
    bound = 2 * (W.size + 5) * rounding.DOUBLE * value
    assert_close(value, square + absolute, bound)
    size = np.abs(of_square.astype(np.float64)) + np.abs(of_absolute)
    assert_close(
        gradient, of_square.astype(np.float64) + of_absolute, 4 * rounding.unit(W.dtype) * size
    )
    signs = rng.choice([-1, 1], size=W.shape).astype(W.dtype)
    flipped, of_flipped = penalty(signs * W, l2, l1, **case.run)
    assert flipped == value
    np.testing.assert_array_equal(of_flipped, signs * gradient)
    order = rng.permutation(W.size)
    shuffled, of_shuffled = penalty(W.ravel()[order], l2, l1, **case.run)
    assert_close(shuffled, value, bound)
    np.testing.assert_array_equal(of_shuffled, gradient.ravel()[order])
