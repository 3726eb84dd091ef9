"""How far two computations of the same number may be apart, from the numbers themselves.

Imports nothing of the package. The model is that of `oracle.py`: every operation is off by u = eps / 2 of
its result, exp and log by `ULPS` times as much. With s_k = max(z) - z_k, a term exp(-s_k) is off by u *
(s_k + ULPS) of itself. Two facts make bounds of that without the logits: s_k is at most -log(p_k), and
p_k * s_k at most 1 / e < 1 / 2, as is, with log(c) for 1 / e, the sum of p_k * s_k over c classes.
`logits_error` is what the logits themselves may be off by, one number a row: (n, 1).

Each function returns the error of one computation against the exact value; two may differ by twice that.
"""

import numpy as np

ULPS = 8
DOUBLE = np.finfo(np.float64).eps / 2


def unit(dtype):
    return float(np.finfo(dtype).eps / 2)


def of_total(n_classes):
    """Relative, in u: the sum of exp(-s_k), each with its own error, and the errors of the additions."""
    return ULPS + np.log(n_classes) + n_classes


def of_softmax(p, dtype, logits_error=0.0):
    """The term, the total and the division; below the smallest normal number all may be lost."""
    u, c = unit(dtype), p.shape[-1]
    rounding = u * (0.5 + p * (ULPS + of_total(c) + 2))
    return rounding + p * np.expm1(2 * logits_error) + np.finfo(dtype).tiny


def of_log_softmax(log_p, dtype, logits_error=0.0):
    """(z_k - max(z)) - log(total): two differences, and the log of the total, at most log(c)."""
    u, c = unit(dtype), log_p.shape[-1]
    finite = np.where(np.isfinite(log_p), np.abs(log_p), 0)
    return u * (2 * finite + of_total(c) + ULPS * np.log(c)) + 2 * logits_error


def of_logsumexp(lse, n_classes, dtype, logits_error=0.0):
    u = unit(dtype)
    return u * (np.abs(lse) + of_total(n_classes) + ULPS * np.log(n_classes)) + logits_error


def of_losses(log_p, targets, dtype, logits_error=0.0):
    """Sums over the classes of weighted targets, each of which is a few products, times log_p."""
    u, c = unit(dtype), log_p.shape[-1]
    finite = np.where(np.isfinite(log_p), np.abs(log_p), 0)
    of_terms = of_log_softmax(log_p, dtype, logits_error) + (c + 6) * u * finite
    return (np.abs(targets) * of_terms).sum(axis=-1)


def of_sum(losses, errors):
    """The sum of rows' losses in float64."""
    return errors.sum() + len(losses) * DOUBLE * np.abs(losses).sum()


def of_dlogits(p, targets, dtype, logits_error=0.0):
    """mass * p - target, with mass the sum of the row's targets, which are a few products each."""
    u, c = unit(dtype), p.shape[-1]
    mass = np.abs(targets).sum(axis=-1, keepdims=True)
    of_operations = u * (c + 10) * (mass * p + np.abs(targets))
    return mass * of_softmax(p, dtype, logits_error) + of_operations + np.finfo(dtype).tiny


def of_logits(X, W, intercept, dtype):
    """The largest of a row, of sums of d products and the intercept: (n, 1)."""
    X, W, intercept = (np.abs(np.asarray(a, np.float64)) for a in (X, W, intercept))
    sizes = X @ W + intercept
    return (X.shape[1] + 2) * unit(dtype) * sizes.max(axis=1, keepdims=True)


def of_product(A, B, of_B, dtype):
    """A.T @ B, a sum over the rows, with B off by of_B."""
    A, B = np.abs(np.asarray(A, np.float64)), np.abs(B)
    return A.T @ of_B + (len(A) + 1) * unit(dtype) * (A.T @ (B + of_B)) + np.finfo(dtype).tiny


def assert_close(actual, expected, bound):
    """Both are finite or the same, and at most `bound` apart."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    bound = np.broadcast_to(np.asarray(bound, np.float64), actual.shape)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    difference, allowed = np.abs(actual[finite] - expected[finite]), bound[finite]
    wrong = ~(difference <= allowed)  # true for NaN
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size} differ by more than the bound, the worst by "
        f"{(difference[wrong] / np.maximum(allowed[wrong], 1e-300)).max():.3g} times the bound"
    )


def assert_same_bits(actual, expected):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)
    assert actual.tobytes() == expected.tobytes()  # the sign of a zero too


def of_training(case, largest_row, n_steps, batch_size, feature_error=0.0):
    """The Frobenius norm of the error of the weights after that many steps from zeros, intercept included.

    A step at a rate of at most 2 / L, with L the curvature of the minibatch's objective, and a soft
    threshold bring two points no further apart. So what each step adds, adds up: the rate times the error
    of a gradient, and the roundings of the update. With R the length of the largest row and s the largest
    weight, a gradient is at most sqrt(2) * s * R, and the weights M = n_steps * rate * (that).
    `feature_error` is what each feature may be off by.
    """
    u, c, d = unit(case.dtype), case.n_classes, case.n_features
    R, s, rate = largest_row, case.largest_weight, case.rate_for(largest_row)
    of_row = np.sqrt(d) * feature_error
    gradient = np.sqrt(2) * s * R
    M = n_steps * rate * gradient
    of_logits = (d + 2) * u * R * M + of_row * M
    # Of p and of the targets, as in of_dlogits, summed over the classes.
    of_dlogits = u * (0.5 * c + ULPS + of_total(c) + 2 + 2 * (c + 10)) + np.expm1(2 * of_logits)
    of_gradient = s * (R * of_dlogits + np.sqrt(2) * of_row) + (batch_size + 3) * u * gradient
    return n_steps * (rate * of_gradient + 8 * u * (M + rate * gradient))
