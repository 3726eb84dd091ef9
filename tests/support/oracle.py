"""Expected values, in 50 decimal digits, and how far off a computation in floats may be.

Imports nothing of the package. Inputs are taken as the exact numbers that the floats are; results are
rounded once, to float64. The bounds follow from the standard model of rounding, in which every
operation has a relative error of at most u = eps / 2 (Higham: Accuracy and Stability of Numerical
Algorithms, chapters 2 to 4), for sums in any order.
"""

from functools import cache
from typing import NamedTuple

import mpmath
import numpy as np

exact = mpmath.mp.clone()
exact.dps = 50

ULPS = 8  # the error of exp and log in u: NumPy promises 4 units in the last place, each 2 u
DOUBLE = np.finfo(np.float64).eps / 2


class Expected(NamedTuple):
    """A value and the largest error that is allowed, element by element."""

    value: np.ndarray
    bound: np.ndarray

    def check(self, actual):
        actual = np.asarray(actual, dtype=np.float64)
        assert actual.shape == self.value.shape
        finite = np.isfinite(self.value)
        np.testing.assert_array_equal(actual[~finite], self.value[~finite])
        error, allowed = self._errors(actual)
        wrong = ~(error <= allowed)  # true for NaN
        assert not wrong.any(), (
            f"{wrong.sum()} of {wrong.size} are off by more than the bound, the worst by "
            f"{(error / allowed)[wrong].max():.3g} times the bound"
        )

    def share(self, actual):
        """The largest error over what is allowed; NaN where a number is NaN."""
        error, allowed = self._errors(np.asarray(actual, dtype=np.float64))
        off = error != 0
        return float(np.max(error[off] / allowed[off], initial=0))

    def _errors(self, actual):
        """The errors and what is allowed, of all finite values."""
        finite = np.isfinite(self.value)
        error = np.abs(actual[finite] - self.value[finite])
        # The expected value itself is rounded to float64.
        return error, self.bound[finite] + DOUBLE * np.abs(self.value[finite])


class Rows(NamedTuple):
    """All that there is to know about rows of logits, one entry a row."""

    softmax: Expected
    log_softmax: Expected
    logsumexp: Expected
    losses: Expected
    dlogits: Expected  # of the mean over the rows

    def mean_loss(self):
        """The mean of n float64 numbers: n - 1 additions and a division."""
        losses, bounds = self.losses
        if np.isinf(losses).any():
            return Expected(np.array(np.inf), np.array(0.0))
        rounding = len(losses) * DOUBLE * np.abs(losses).mean()
        return Expected(np.array(losses.mean()), np.array(bounds.mean() + rounding))


def rows(logits, targets):
    """`Rows` of logits (n, c) in their own dtype; targets as in the package."""
    u = np.finfo(logits.dtype).eps / 2
    return _rows(_numbers(logits), targets, u, np.zeros(len(logits)), np.finfo(logits.dtype).tiny)


def _rows(logits, targets, u, logits_error, tiny):
    """`Rows` of exact logits which the float computation knows up to `logits_error`, one a row."""
    n, c = len(logits), len(logits[0])
    one_hot = np.eye(c)[targets] if targets.ndim == 1 else targets
    t = one_hot.astype(np.float64)
    values = [_row(z, weights) for z, weights in zip(logits, _numbers(t), strict=True)]
    p, log_p, lse, losses, dlogits, below = (
        np.array([_floats(value[i]) for value in values]) for i in range(6)
    )
    # exp(z - m): the difference is off by u * (m - z), which exp turns into a relative error
    below = np.where(np.isfinite(below), below, 0)
    of_terms = u * (below + ULPS)
    of_total = (p * of_terms).sum(axis=1) + u * (c - 1)
    of_p = np.expm1(of_terms + of_total[:, None] + 2 * u + 2 * logits_error[:, None])
    p_bound = p * of_p + tiny  # what underflows may be 0

    log_total = lse - np.array([_floats(max(z)) for z in logits])
    of_log = (of_total + ULPS * u * log_total + logits_error)[:, None]
    finite_log_p = np.where(np.isfinite(log_p), log_p, 0)
    log_bound = u * below + of_log + u * np.abs(finite_log_p) + logits_error[:, None]
    lse_bound = of_log[:, 0] + u * np.abs(lse)

    mass = t.sum(axis=1, keepdims=True)
    loss_bound = (t * (log_bound + c * u * np.abs(finite_log_p))).sum(axis=1)
    dlogits_bound = (mass * p_bound + u * ((c + 1) * mass * p + 3 * np.abs(dlogits))) / n + tiny
    return Rows(
        Expected(p, p_bound),
        Expected(log_p, log_bound),
        Expected(lse, lse_bound),
        Expected(losses, loss_bound),
        Expected(dlogits / n, dlogits_bound),
    )


def weighted(logits, targets, row_weights=None, class_weights=None, smoothing=0.0):
    """`Rows` of weighted targets, of the sum instead of the mean; rows of no weight have no loss.

    The weights are taken as the exact numbers that they are. Each weighted target is a few products and a
    sum, so it is off by a few u of its own.
    """
    n, c = logits.shape
    u = np.finfo(logits.dtype).eps / 2
    t = np.eye(c)[targets] if targets.ndim == 1 else targets.astype(np.float64)
    t = (1 - smoothing) * t + smoothing / c
    t = t * (1 if class_weights is None else np.asarray(class_weights, np.float64))
    t = t * (1 if row_weights is None else np.asarray(row_weights, np.float64).reshape(n, 1))
    counts = t.any(axis=1)
    seen = np.where(counts[:, None], logits, logits.dtype.type(0))
    plain = rows(seen, t)
    log_p, mass = np.where(t > 0, plain.log_softmax.value, 0), t.sum(axis=1, keepdims=True)
    of_targets = 6 * u * (t * np.abs(log_p)).sum(axis=1)
    of_gradient = 6 * u * (t + mass * plain.softmax.value) + n * plain.dlogits.bound
    return plain._replace(
        losses=Expected(plain.losses.value, plain.losses.bound + of_targets),
        dlogits=Expected(n * plain.dlogits.value, of_gradient),
    )


def _row(z, t):
    """The exact softmax, its logarithm, log-sum-exp, loss and gradient of a row, and max(z) - z."""
    p, log_p, lse = _softmax(tuple(z))
    largest = max(z)
    loss = exact.fsum(-weight * log for weight, log in zip(t, log_p, strict=True) if weight)
    mass = exact.fsum(t)
    gradient = [mass * probability - weight for probability, weight in zip(p, t, strict=True)]
    for label in [k for k, weight in enumerate(t) if weight == mass]:  # p - 1 would cancel
        gradient[label] = -mass * exact.fsum(p[:label] + p[label + 1 :])
    return p, log_p, lse, loss, gradient, [largest - score for score in z]


@cache
def _softmax(z):
    largest = max(z)
    first = z.index(largest)
    terms = {score: exact.exp(score - largest) for score in set(z)}
    others = exact.fsum(terms[score] for k, score in enumerate(z) if k != first)
    log_total = exact.log1p(others)  # however small the others are
    p = [terms[score] / (1 + others) for score in z]
    return p, [(score - largest) - log_total for score in z], largest + log_total


def log_metrics(logits, labels):
    """The logarithm of each label's probability and the entropy of each row, rounded once to float64."""
    rows = [_softmax(tuple(z))[:2] for z in _numbers(logits)]
    of_labels = [log_p[label] for (_, log_p), label in zip(rows, labels, strict=True)]
    entropies = [
        exact.fsum(-q * log_q for q, log_q in zip(p, log_p, strict=True) if q) for p, log_p in rows
    ]
    return _floats(of_labels), _floats(entropies)


def losses_and_gradients(logits, targets, class_weight=None, label_smoothing=0.0, **on_logits):
    """The exact losses of rows, and the gradient of each: lists of `exact` numbers."""
    weighted_targets = _weighted_targets(targets, logits.shape[1], class_weight, label_smoothing)
    pairs = zip(_numbers(logits), weighted_targets, strict=True)
    if not on_logits:
        return [_row(z, u)[3:5] for z, u in pairs]
    mask = on_logits.pop("mask", np.ones(logits.shape, bool))
    return [_row_with_options(z, u, m, **on_logits) for (z, u), m in zip(pairs, mask, strict=True)]


def _row_with_options(z, u, mask, temperature=1.0, softcap=None, z_loss=0.0, return_lse=False):
    """The loss of a row with options on its logits, and its gradient; with `return_lse` its log-sum-exp."""
    taking_part = [k for k, takes_part in enumerate(mask) if takes_part]
    x = [z[k] / exact.mpf(temperature) for k in taking_part]
    slopes = [1 / exact.mpf(temperature)] * len(x)
    if softcap is not None:
        cap = exact.mpf(softcap)
        slopes = [s / exact.cosh(score / cap) ** 2 for s, score in zip(slopes, x, strict=True)]
        x = [cap * exact.tanh(score / cap) for score in x]
    p, _, lse, loss, of_q, _ = _row(x, [u[k] for k in taking_part])
    if return_lse:
        loss, of_q = lse, p
    else:
        mass, factor = exact.fsum(u[k] for k in taking_part), exact.mpf(z_loss)
        loss += mass * factor * lse**2
        of_q = [g + 2 * factor * lse * mass * q for g, q in zip(of_q, p, strict=True)]
    gradient = [exact.mpf(0)] * len(z)
    for k, g, slope in zip(taking_part, of_q, slopes, strict=True):
        gradient[k] = g * slope
    return loss, gradient


def _weighted_targets(targets, n_classes, class_weight, label_smoothing):
    """Yield the exact targets of each row with their weights."""
    c, e = n_classes, exact.mpf(label_smoothing)
    v = _numbers([[1.0] * c] if class_weight is None else np.reshape(class_weight, (1, c)))[0]
    for target in targets:
        t = [int(k == target) for k in range(c)] if np.ndim(target) == 0 else target.tolist()
        yield [w * ((1 - e) * exact.mpf(x) + e / c) for w, x in zip(v, t, strict=True)]


def largest_gradients(logits, targets, class_weight=None, label_smoothing=0.0):
    """The gradients of the largest logit of each row, and what they may be off by where p rounds to 1.

    With m the largest logit and u the weighted targets, sum(u) * p_m - u_m is the sum of u_k less sum(u)
    times that of p_k, both over k != m. The error is relative to these two, and not to sum(u).
    """
    unit, tiny = np.finfo(logits.dtype).eps / 2, np.finfo(logits.dtype).tiny
    values, bounds = [], []
    weighted_targets = _weighted_targets(targets, logits.shape[1], class_weight, label_smoothing)
    for z, u in zip(_numbers(logits), weighted_targets, strict=True):
        p, *_ = _softmax(tuple(z))
        m = z.index(max(z))
        rest = exact.fsum(u[:m] + u[m + 1 :])
        others = exact.fsum(u) * exact.fsum(p[:m] + p[m + 1 :])
        operations = max(z) - min(z) + 2 * ULPS + 2 * len(z)
        values.append(float(rest - others))
        bounds.append(unit * float(operations * (rest + others)) + tiny)
    return Expected(np.array(values), np.array(bounds))


class Linear(NamedTuple):
    """The mean loss of a linear classifier and its gradients."""

    loss: Expected
    W: Expected
    intercept: Expected
    X: Expected


def linear(X, W, targets, intercept, dtype):
    """`Linear` of logits = X @ W + intercept, for a computation in `dtype`."""
    u, tiny = np.finfo(dtype).eps / 2, np.finfo(dtype).tiny
    (n, d), c = X.shape, W.shape[1]
    rows_of_X, columns_of_W = _numbers(X), _numbers(W.T)
    offsets = [exact.mpf(b) for b in intercept.tolist()]
    logits = [
        [exact.fdot(x, w) + b for w, b in zip(columns_of_W, offsets, strict=True)]
        for x in rows_of_X
    ]
    X, W, intercept = (np.abs(array.astype(np.float64)) for array in (X, W, intercept))
    # a sum of d products and the intercept, in any order
    logits_error = ((d + 2) * u * (X @ W + intercept)).max(axis=1)
    result = _rows(logits, targets, u, logits_error, tiny)
    G, of_G = np.abs(result.dlogits.value), result.dlogits.bound
    # The products below take the dlogits as exact: their rounding to float64 adds to their error.
    exact_G = _numbers(result.dlogits.value)
    of_G = of_G + DOUBLE * G
    columns_of_G, columns_of_X = (list(zip(*a, strict=True)) for a in (exact_G, rows_of_X))
    dW = [[exact.fdot(x, g) for g in columns_of_G] for x in columns_of_X]
    dX = [[exact.fdot(g, w) for w in zip(*columns_of_W, strict=True)] for g in exact_G]
    dintercept = [exact.fsum(g) for g in columns_of_G]
    return Linear(
        result.mean_loss(),
        Expected(_floats(dW), X.T @ of_G + (n + 1) * u * (X.T @ G) + tiny),
        Expected(_floats(dintercept), of_G.sum(axis=0) + n * u * G.sum(axis=0) + tiny),
        Expected(_floats(dX), of_G @ W.T + (c + 1) * u * (G @ W.T) + tiny),
    )


def penalty(W, l2, l1, dtype):
    """R(W) = l2 * sum(w**2) + l1 * sum(|w|) and its gradient, for a computation in `dtype`."""
    u = np.finfo(dtype).eps / 2
    w = [exact.mpf(value) for value in W.ravel().tolist()]
    l2, l1 = exact.mpf(float(l2)), exact.mpf(float(l1))
    value = l2 * exact.fsum(v * v for v in w) + l1 * exact.fsum(abs(v) for v in w)
    gradient = _floats([2 * l2 * v + l1 * exact.sign(v) for v in w]).reshape(W.shape)
    size = np.array(float(value))
    # Sums in float64 of terms of one sign; each element of the gradient is two products and a sum,
    # of strengths rounded to the dtype.
    terms = np.abs(W.astype(np.float64)) * float(2 * l2) + float(l1)
    return Expected(size, (len(w) + 4) * DOUBLE * size), Expected(gradient, 3 * u * terms)


def _numbers(array):
    return [[exact.mpf(value) for value in row] for row in np.asarray(array).tolist()]


def _floats(values):
    return np.array(values, dtype=object).astype(np.float64)


class Trajectory(NamedTuple):
    """The parameters after the last step and the objective of every epoch."""

    coef: np.ndarray  # (n_classes, n_features)
    intercept: np.ndarray
    coef_velocity: np.ndarray
    intercept_velocity: np.ndarray
    curve: list
    coef_sum: np.ndarray = None  # of coef after each step
    intercept_sum: np.ndarray = None


def sgd(
    X,
    targets,
    orders,
    batch_size,
    rate,
    *,
    start=None,
    n_classes=None,
    l2=0.0,
    l1=0.0,
    momentum=0.0,
    nesterov=False,
    subgradient=False,
    fit_intercept=True,
    row_weights=None,
    smoothing=0.0,
):
    """Minibatch SGD as the textbook has it, in extended precision.

    One epoch for each of `orders`, the indices of the samples; `rate` is a function from the number of
    the step to its learning rate; `start` a `Trajectory` to go on from.
    """
    X = X.astype(np.longdouble)
    n_classes = n_classes or targets.shape[1]
    t = np.eye(n_classes)[targets] if targets.ndim == 1 else targets
    t = (1 - np.longdouble(smoothing)) * t + np.longdouble(smoothing) / n_classes
    if row_weights is not None:
        t *= row_weights[:, None].astype(np.longdouble)
    shapes = (n_classes, X.shape[1]), (n_classes,)
    w, b, v_w, v_b = [
        np.zeros(shape, np.longdouble) if start is None else start[i].astype(np.longdouble)
        for i, shape in enumerate(shapes * 2)
    ]
    curve, step, sum_w, sum_b = [], 0, 0 * w, 0 * b
    for order in orders:
        total = np.longdouble(0)
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            x, expected = X[batch], t[batch]
            z = x @ w.T + b
            shifted = z - z.max(axis=1, keepdims=True)
            log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            total += -(expected * log_p).sum() + len(batch) * (
                l2 * (w**2).sum() + l1 * np.abs(w).sum()
            )
            dz = (np.exp(log_p) * expected.sum(axis=1, keepdims=True) - expected) / len(batch)
            r = np.longdouble(rate(step))
            g_w, g_b = dz.T @ x + 2 * l2 * w, dz.sum(axis=0)
            if subgradient:
                g_w += l1 * np.sign(w)
            v_w, v_b = momentum * v_w - r * g_w, momentum * v_b - r * g_b
            w = w + (momentum * v_w - r * g_w if nesterov else v_w)
            if fit_intercept:
                b = b + (momentum * v_b - r * g_b if nesterov else v_b)
            if not subgradient:
                w = np.sign(w) * np.maximum(np.abs(w) - r * l1, 0)
            sum_w, sum_b = sum_w + w, sum_b + b
            step += 1
        curve.append(float(total / len(order)))
    return Trajectory(w, b, v_w, v_b, curve, sum_w, sum_b)


def shuffled(n, random):
    """The numbers below n by the inside-out shuffle of Fisher and Yates, from n numbers of `random`."""
    order = []
    for i, uniform in enumerate(random.random(n)):
        place = int(uniform * (i + 1))
        order.append(i)
        order[place], order[i] = order[i], order[place]
    return np.array(order)


class Minimum(NamedTuple):
    """The minimum of an objective, an `exact` number, and weights where it is."""

    value: object
    coef: np.ndarray
    intercept: np.ndarray


class Regression:
    """The objective mean(w * cross-entropy) + l2 * sum(W**2) + l1 * sum(|W|) of few rows.

    There is an intercept; `targets` are probabilities, and the weights w are divided by their mean.
    """

    def __init__(self, X, targets, l2, l1, weights=None):
        self.X, self.targets = np.asarray(X, np.float64), np.asarray(targets, np.float64)
        w = np.ones(len(X)) if weights is None else np.asarray(weights, np.float64)
        total = exact.fsum(map(float, w))
        self.shares = [exact.mpf(float(each)) / total for each in w]
        self.l2, self.l1 = exact.mpf(l2), exact.mpf(l1)

    def objective(self, coef, intercept):
        """Return the objective at these weights, an `exact` number."""
        rows = _numbers(np.column_stack([coef, intercept]).astype(np.float64))
        value, _, _ = self._derivatives([w for row in rows for w in row], has_hessian=False)
        return value + self.l1 * exact.fsum(abs(w) for row in rows for w in row[:-1])

    def minimum(self):
        """Return the minimum: Newton's method on the weights that proximal gradients leave other than 0.

        The conditions of Karush, Kuhn and Tucker at the result are checked, which prove the minimum of a
        convex objective however it was found.
        """
        c, size = self.targets.shape[1], self.X.shape[1] + 1
        start = self._by_proximal_gradients()
        signs = np.sign(start) if self.l1 else np.zeros(start.shape)
        signs[:, -1] = 0
        is_free = (start != 0) if self.l1 else np.ones(start.shape, bool)
        is_free[:, -1] = True
        free, l1_of = np.flatnonzero(is_free).tolist(), [self.l1 * int(s) for s in signs.ravel()]
        theta = _numbers(start.reshape(1, -1))[0]
        # What all classes may share without a change of the objective is kept where it is.
        may_share = is_free.all(axis=0) & (signs.sum(axis=0) == 0) & (not self.l2)
        shared = [*np.flatnonzero(may_share[:-1]).tolist(), size - 1]
        for _ in range(8):
            _, gradient, hessian = self._derivatives(theta)
            slopes = exact.matrix([gradient[i] + l1_of[i] for i in free])
            H = exact.matrix([[hessian[i, j] for j in free] for i in free])
            for j in shared:
                places = [p for p, i in enumerate(free) if i % size == j]
                for p in places:
                    for q in places:
                        H[p, q] += 1
            step = exact.lu_solve(H, slopes)
            for p, i in enumerate(free):
                theta[i] -= step[p]
        value, gradient, _ = self._derivatives(theta, has_hessian=False)
        for i, (slope, sign) in enumerate(zip(gradient, signs.ravel(), strict=True)):
            if is_free.ravel()[i]:
                assert abs(slope + l1_of[i]) < exact.mpf(10) ** -30
                assert sign == 0 or sign == exact.sign(theta[i])
            else:
                assert theta[i] == 0
                assert abs(slope) < self.l1
        value += self.l1 * exact.fsum(abs(w) for i, w in enumerate(theta) if (i + 1) % size)
        found = _floats(theta).reshape(c, size)
        return Minimum(value, found[:, :-1], found[:, -1])

    def _by_proximal_gradients(self):
        """Return weights with their intercepts, near the minimum, in float64."""
        x = np.column_stack([self.X, np.ones(len(self.X))])
        w, t = np.array(_floats(self.shares))[:, np.newaxis], self.targets
        l2, l1 = np.full(x.shape[1], float(self.l2)), np.full(x.shape[1], float(self.l1))
        l2[-1] = l1[-1] = 0
        # The Hessian of a row is at most half of x x'.
        rate = 1 / (np.linalg.norm(x * np.sqrt(w), 2) ** 2 / 2 + 2 * float(self.l2))
        W = np.zeros((t.shape[1], x.shape[1]))
        for _ in range(20000):
            z = np.exp(x @ W.T)
            of_logits = w * (t.sum(axis=1, keepdims=True) * z / z.sum(axis=1, keepdims=True) - t)
            before, W = W, W - rate * (of_logits.T @ x + 2 * l2 * W)
            W = np.sign(W) * np.maximum(np.abs(W) - rate * l1, 0)
            if np.abs(W - before).max() <= 1e-12:
                break
        return W

    def _derivatives(self, theta, has_hessian=True):
        """Return value, gradient and Hessian without the L1 term, of weights class by class."""
        c, size = self.targets.shape[1], self.X.shape[1] + 1
        value, gradient = exact.mpf(0), [exact.mpf(0)] * (c * size)
        hessian = exact.zeros(c * size) if has_hessian else None
        rows = zip(_numbers(self.X), _numbers(self.targets), self.shares, strict=True)
        for x, t, share in rows:
            x = [*x, exact.mpf(1)]
            z = [exact.fdot(x, theta[k * size : (k + 1) * size]) for k in range(c)]
            p, log_p, _ = _softmax(tuple(z))
            mass = exact.fsum(t)
            value -= share * exact.fdot(t, log_p)
            for k in range(c):
                for j in range(size):
                    gradient[k * size + j] += share * (mass * p[k] - t[k]) * x[j]
                for m in range(c if has_hessian else 0):
                    curvature = share * mass * p[k] * ((k == m) - p[m])
                    for j in range(size):
                        for q in range(size):
                            hessian[k * size + j, m * size + q] += curvature * x[j] * x[q]
        for i in range(c * size):
            if (i + 1) % size:  # the intercept has no penalty
                value += self.l2 * theta[i] ** 2
                gradient[i] += 2 * self.l2 * theta[i]
                if has_hessian:
                    hessian[i, i] += 2 * self.l2
        return value, gradient, hessian
