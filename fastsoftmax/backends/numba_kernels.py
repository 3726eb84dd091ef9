"""What the functions of the numba backend share: compilation, threads, and the loops over one row.

Sums over features and over samples are written so that the compiler makes vector instructions of them: it
may add up in another order there, the same one for every number of threads. A loop that reads a row of `X`
uses it for several sums at once, as the next instructions would otherwise wait for memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import exp, log
from typing import Any

import numba
import numpy as np
from numba import prange

from . import forking
from .protocol import FloatArray, LabelArray

_MAX_THREADS = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set at run time
# Sums in any order, multiplications and additions fused; NaN and infinity keep their meaning.
REORDERED = frozenset({"reassoc", "contract", "nsz"})


def jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    options["error_model"] = "numpy"  # a division by 0 gives what it gives in NumPy

    def compile_lazily(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
        except RuntimeError:  # no folder to cache in that can be written
            return numba.njit(**options)(function)  # type: ignore[no-any-return]

    return compile_lazily


# Multiplications, or exponentials, below which a parallel loop uses one thread: to start more takes longer
# than the work, and much longer on a busy machine.
MIN_WORK = 200_000


# Numba's workqueue threading layer, which is always available, aborts the process if two Python threads
# enter parallel code at the same time. Yields the number of threads.
@contextmanager
def threads(n_threads: int, work: int) -> Iterator[int]:
    with forking.lock:
        forking.check_threads()
        before = numba.get_num_threads()
        n_used = min(n_threads, _MAX_THREADS) if work >= MIN_WORK else 1
        numba.set_num_threads(n_used)
        try:
            yield n_used
        finally:
            numba.set_num_threads(before)


def read_only(X: FloatArray) -> FloatArray:
    """Return a read-only view: Numba would compile again for arrays that can be written."""
    view = np.asarray(X).view()
    view.flags.writeable = False
    return view


def labels_and_soft(
    targets: LabelArray | FloatArray, dtype: np.dtype[Any]
) -> tuple[LabelArray, FloatArray]:
    """Return labels and probabilities, one of them empty: Numba would compile for each."""
    if targets.ndim == 1:
        return np.ascontiguousarray(targets), np.empty((0, 0), dtype)
    return np.empty(0, np.int64), np.ascontiguousarray(targets, dtype)


@jit()
def maximum_and_total(z):  # type: ignore[no-untyped-def]
    """Return m = max(z) and sum(exp(z - m)) in float64; the sum is NaN if z has no softmax."""
    largest = np.float64(z[0])
    for k in range(1, len(z)):
        largest = max(largest, np.float64(z[k]))
    total = 0.0
    for k in range(len(z)):
        total += exp(np.float64(z[k]) - largest)
    return largest, total


@jit()
def label_loss_row(z, target, scale, dz):  # type: ignore[no-untyped-def]
    """Compute dz[k] = scale * (p[k] - (k == target)), in place if `dz` is `z`.

    Returns the loss and `maximum_and_total`'s total.
    """
    score = np.float64(z[target])
    largest = np.float64(z[0])
    for k in range(1, len(z)):
        largest = max(largest, np.float64(z[k]))
    total = 0.0
    of_target = 0.0
    for k in range(len(z)):
        term = exp(np.float64(z[k]) - largest)
        total += term
        if k == target:
            of_target = term
        dz[k] = term
    factor = scale / total
    of_target = scale * ((of_target - total) / total)  # exact where the target has no probability
    for k in range(len(z)):
        dz[k] *= factor
    dz[target] = of_target
    return (largest - score) + log(total), total


@jit()
def soft_loss_row(z, t, skips, scale, dz):  # type: ignore[no-untyped-def]
    """Compute dz[k] = scale * (sum(t) * p[k] - t[k]), in place if `dz` is `z`.

    Returns the loss and `maximum_and_total`'s total. With `skips`, all is 0 if t is.
    """
    mass = 0.0
    for k in range(len(z)):
        mass += np.float64(t[k])
    if skips and mass == 0:
        dz[:] = 0
        return 0.0, 1.0
    largest, total = maximum_and_total(z)
    log_total = log(total)
    loss = 0.0
    # The p of the largest logit may round to 1: its gradient is the sum over the other classes.
    place = -1
    others = 0.0
    rest = 0.0
    for k in range(len(z)):
        target = np.float64(t[k])
        if place < 0 and z[k] == largest:
            place = k
        else:
            rest += target
            others += exp(np.float64(z[k]) - largest)
        if target > 0:  # t * log(p) is 0 if t is 0, even if p is 0 and its logarithm -inf
            loss += target * ((largest - np.float64(z[k])) + log_total)
    for k in range(len(z)):
        p = exp(np.float64(z[k]) - largest) / total
        dz[k] = scale * (mass * p - np.float64(t[k]))
    if others < 1:  # 1 is the term of the largest logit
        dz[place] = scale * (rest - mass * (others / total))
    return loss, total


@jit(fastmath=set(REORDERED))
def _scores_of_rows(X, rows, coef, intercept, logits):  # type: ignore[no-untyped-def]
    """Compute logits[i, k] = X[rows[i]] @ coef[k] + intercept[k], two rows and four classes at once."""
    zero, n, c = coef.dtype.type(0), len(rows), len(coef)
    for i in range(0, n, 2):
        after = min(i + 1, n - 1)
        x, y = X[rows[i]], X[rows[after]]
        for k in range(0, c, 4):
            # The last ones again where there are fewer.
            k1, k2, k3 = min(k + 1, c - 1), min(k + 2, c - 1), min(k + 3, c - 1)
            w0, w1, w2, w3 = coef[k], coef[k1], coef[k2], coef[k3]
            x0, x1, x2, x3 = zero, zero, zero, zero
            y0, y1, y2, y3 = zero, zero, zero, zero
            for j in range(X.shape[1]):
                x0 += x[j] * w0[j]
                x1 += x[j] * w1[j]
                x2 += x[j] * w2[j]
                x3 += x[j] * w3[j]
                y0 += y[j] * w0[j]
                y1 += y[j] * w1[j]
                y2 += y[j] * w2[j]
                y3 += y[j] * w3[j]
            logits[i, k], logits[after, k] = x0 + intercept[k], y0 + intercept[k]
            logits[i, k1], logits[after, k1] = x1 + intercept[k1], y1 + intercept[k1]
            logits[i, k2], logits[after, k2] = x2 + intercept[k2], y2 + intercept[k2]
            logits[i, k3], logits[after, k3] = x3 + intercept[k3], y3 + intercept[k3]


@jit(fastmath=set(REORDERED))
def _add_gradient_of_classes(X, rows, dlogits, k, dcoef):  # type: ignore[no-untyped-def]
    """Add sum(dlogits[i, k] * X[rows[i]]) to dcoef[k], and the same for k + 1, from four rows at once."""
    n, other = len(rows), min(k + 1, len(dcoef) - 1)
    u, v = dcoef[k], dcoef[other]
    whole = n - n % 4
    if other > k:
        for i in range(0, whole, 4):
            a, b, c, d = X[rows[i]], X[rows[i + 1]], X[rows[i + 2]], X[rows[i + 3]]
            a0, b0, c0, d0 = dlogits[i, k], dlogits[i + 1, k], dlogits[i + 2, k], dlogits[i + 3, k]
            a1, b1 = dlogits[i, other], dlogits[i + 1, other]
            c1, d1 = dlogits[i + 2, other], dlogits[i + 3, other]
            for j in range(len(u)):
                u[j] += a0 * a[j] + b0 * b[j] + c0 * c[j] + d0 * d[j]
                v[j] += a1 * a[j] + b1 * b[j] + c1 * c[j] + d1 * d[j]
    else:
        whole = 0
    for i in range(whole, n):
        x = X[rows[i]]
        for m in range(k, other + 1):
            g, out = dlogits[i, m], dcoef[m]
            for j in range(len(out)):
                out[j] += g * x[j]


# Samples of a chunk whose rows are read twice: the second time they are in the cache.
_BLOCK_ROWS = 32


@jit()
def chunk(c, size, samples, coef, intercept, scale, outputs):  # type: ignore[no-untyped-def]
    """Compute the losses of the samples of chunk `c`, and the gradient of their sum times `scale`.

    `samples` are X, its rows in order and, in that order, labels and probabilities, one of them empty; then
    whether a row of probabilities that are all 0 has the loss 0, whatever its scores are. `outputs` are
    those of `buffers`.
    """
    X, rows, labels, soft, skips = samples
    logits, totals, losses, dcoefs, dintercepts = outputs
    dcoef, dintercept = dcoefs[c], dintercepts[c, 0]
    dcoef[:] = 0
    dintercept[:] = 0
    stop = min((c + 1) * size, len(rows))
    for start in range(c * size, stop, _BLOCK_ROWS):
        end = min(start + _BLOCK_ROWS, stop)
        block, z = rows[start:end], logits[start:end]
        _scores_of_rows(X, block, coef, intercept, z)
        for i in range(start, end):
            if len(soft) == 0:
                losses[i], totals[i] = label_loss_row(logits[i], labels[i], scale, logits[i])
            else:
                losses[i], totals[i] = soft_loss_row(logits[i], soft[i], skips, scale, logits[i])
            for k in range(len(coef)):
                dintercept[k] += logits[i, k]
        for k in range(0, len(coef), 2):
            _add_gradient_of_classes(X, block, z, k, dcoef)


@jit(parallel=True)
def parallel_chunks(n, size, samples, coef, intercept, scale, outputs):  # type: ignore[no-untyped-def]
    """Run `n` chunks."""
    X, rows, labels, soft, skips = samples
    logits, totals, losses, dcoefs, dintercepts = outputs
    for c in prange(n):
        chunk(
            np.int64(c),
            size,
            (X, rows, labels, soft, skips),
            coef,
            intercept,
            scale,
            (logits, totals, losses, dcoefs, dintercepts),
        )


# A chunk has at least that many samples, so that adding its gradient to the others takes little time.
_MIN_SAMPLES_OF_CHUNK = 32
_MAX_CHUNKS = 8
# The elements of the gradients of all chunks are at most that many, or those of two.
_ELEMENTS_OF_CHUNKS = 1 << 23


def buffers(n_samples: int, coef: FloatArray) -> tuple[int, tuple[Any, ...]]:
    """Return the samples of a chunk, and arrays: logits, totals, losses and the gradients of the chunks.

    The number of chunks does not depend on the number of threads, so that the sums do not either.
    """
    n_classes, dtype = len(coef), coef.dtype
    most = min(_MAX_CHUNKS, max(2, _ELEMENTS_OF_CHUNKS // max(1, coef.size)))
    size = max(_MIN_SAMPLES_OF_CHUNK, -(-n_samples // most))
    n_chunks = -(-n_samples // size)
    return size, (
        np.empty((n_samples, n_classes), dtype),
        np.empty(n_samples),
        np.empty(n_samples),
        np.empty((n_chunks, *coef.shape), dtype),
        np.empty((n_chunks, 1, n_classes), dtype),
    )
