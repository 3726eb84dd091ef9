"""An epoch of minibatch SGD with L2 by hand-written loops over NumPy, to hold the backends against.

`plain` is what many people write. `buffered` is the fastest that its authors know: results go into arrays
that are made once, few classes are stored class by class, the penalty is a factor of the weights, the step
comes out of the matrix product, and no loss is computed.
"""

from functools import cache

import numpy as np


def plain(X, y, W, b, order, batch_size, rate, l2):
    """Change W (n_features, n_classes) and b by an epoch; return the loss of each step."""
    losses = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        x, labels, n = X[rows], y[rows], len(rows)
        scores = x @ W + b
        scores -= scores.max(axis=1, keepdims=True)
        p = np.exp(scores)
        p /= p.sum(axis=1, keepdims=True)
        losses.append(-np.log(p[np.arange(n), labels]).mean() + l2 * np.sum(W * W))
        p[np.arange(n), labels] -= 1
        p /= n
        W -= rate * (x.T @ p + 2 * l2 * W)
        b -= rate * p.sum(axis=0)
    return losses


def buffered(X, y, W, b, order, batch_size, rate, l2):
    """Change W (n_features, n_classes) and b by an epoch."""
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        x, scores, logits, of_sample, entries, samples, dW, db = _buffers(
            len(rows), *W.shape, W.dtype
        )
        np.take(X, rows, axis=0, out=x, mode="clip")  # mode="raise" would copy once more
        np.matmul(x, W, out=scores)
        np.add(scores.T, b[:, np.newaxis], out=logits)
        np.subtract(logits, logits.max(axis=0, out=of_sample), out=logits)
        np.exp(logits, out=logits)
        np.divide(-rate / len(rows), logits.sum(axis=0, out=of_sample), out=of_sample)
        np.multiply(logits, of_sample, out=logits)
        np.take(y, rows, out=entries, mode="clip")
        np.multiply(entries, len(rows), out=entries)
        np.add(entries, samples, out=entries)
        logits.reshape(-1)[entries] += W.dtype.type(rate / len(rows))
        np.matmul(x.T, logits.T, out=dW)
        np.multiply(W, W.dtype.type(1 - 2 * rate * l2), out=W)
        np.add(W, dW, out=W)
        np.add(b, logits.sum(axis=1, out=db), out=b)


@cache
def _buffers(n, n_features, n_classes, dtype):
    return (
        np.empty((n, n_features), dtype),
        np.empty((n, n_classes), dtype),
        np.empty((n_classes, n), dtype),
        np.empty(n, dtype),
        np.empty(n, np.int64),
        np.arange(n),
        np.empty((n_features, n_classes), dtype),
        np.empty(n_classes, dtype),
    )


LOOPS = {"numpy_plain": plain, "numpy_buffered": buffered}
