"""An epoch of minibatch SGD in loops that Numba compiles: many steps in one call.

A minibatch is divided into chunks of samples, whose number does not depend on the threads. A chunk computes
scores, losses and its part of the gradient while its rows are in the cache, and the parts are added in the
order of the chunks: the bits are the same for any number of threads. Rows are read in place by their index.
"""

from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows, steps_between_penalties
from . import recorder
from .minibatches import read_rows, weights_of_rows
from .numba_kernels import (
    REORDERED,
    buffers,
    chunk,
    jit,
    labels_and_soft,
    parallel_chunks,
    read_only,
    threads,
)
from .protocol import Data, Rule, State
from .sample_weights import weighted_targets

# A signal is noticed between two calls, so a call is to take about this long, in seconds: half of the 50 ms
# that Ctrl-C may wait, as the number of its steps follows from the time of the last one.
_SECONDS_OF_CALL = 0.025
# Multiplications of the first call, which take less time than that on any machine.
_WORK_OF_FIRST_CALL = 1 << 23
# The bytes of rows that are converted for one call.
_CONVERTED_BYTES = 1 << 21


@jit(fastmath=set(REORDERED))
def _penalty(W, l2, l1):  # type: ignore[no-untyped-def]
    squares = 0.0
    absolutes = 0.0
    for j in range(len(W)):
        w = np.float64(W[j])
        squares += w * w
        absolutes += abs(w)
    # A strength of 0 times an overflow is 0.
    return (l2 * squares if l2 > 0 else 0.0) + (l1 * absolutes if l1 > 0 else 0.0)


@jit()
def _step(w, v, total, parts, k, rate, l2, l1, momentum, nesterov, subgradient):  # type: ignore[no-untyped-def]
    """Take the step of one row of weights; `Rule` has the formula, parts[:, k] the parts of the gradient.

    `v` is empty without momentum, `total` without averaging.
    """
    number, g = w.dtype.type, parts[0, k]
    for c in range(1, len(parts)):
        part = parts[c, k]
        for j in range(len(w)):
            g[j] += part[j]
    if l2 > 0:
        factor = number(2 * l2)
        for j in range(len(w)):
            g[j] += factor * w[j]
    if l1 > 0 and subgradient:
        slope = number(l1)
        for j in range(len(w)):
            g[j] += slope * np.sign(w[j])
    rate_of_step = number(rate)
    if len(v):
        m = number(momentum)
        for j in range(len(w)):
            step = -rate_of_step * g[j]
            v[j] = m * v[j] + step
            w[j] += m * v[j] + step if nesterov else v[j]
    else:
        for j in range(len(w)):
            w[j] -= rate_of_step * g[j]
    if l1 > 0 and not subgradient:
        threshold = number(rate * l1)
        for j in range(len(w)):
            shrunk = abs(w[j]) - threshold
            w[j] = np.copysign(number(0) if shrunk < 0 else shrunk, w[j])
    for j in range(len(total)):
        total[j] += w[j]


@jit()
def _steps(  # type: ignore[no-untyped-def]
    samples, model, rule, rates, size, penalties, chunk_size, outputs, n_threads, objectives
):
    """Take steps until the last one, or one whose objective is not finite; return their number and R(W)."""
    X, order, labels, soft, skips = samples
    coef, intercept, has_intercept, v, intercept_v, total, intercept_total = model
    l2, l1, momentum, nesterov, subgradient = rule
    penalty, interval, first = penalties
    _, _, losses, dcoefs, dintercepts = outputs
    for s in range(len(rates)):
        a, b = s * size, min((s + 1) * size, len(order))
        if (first + s) % interval == 0:
            penalty = _penalty(coef.reshape(-1), l2, l1)
        minibatch = X, order[a:b], labels[a:b], soft[a:b], skips
        n, scale = (b - a + chunk_size - 1) // chunk_size, 1 / (b - a)
        if n_threads > 1 and n > 1:
            parallel_chunks(n, chunk_size, minibatch, coef, intercept, scale, outputs)
        else:
            for c in range(n):
                chunk(c, chunk_size, minibatch, coef, intercept, scale, outputs)
        loss = 0.0
        for i in range(b - a):
            loss += losses[i]
        objectives[s] = loss / (b - a) + penalty
        if not np.isfinite(objectives[s]):
            return s + 1, penalty
        for k in range(len(coef)):
            _step(
                *(coef[k], v[min(k, len(v) - 1)], total[min(k, len(total) - 1)], dcoefs[:n], k),
                *(rates[s], l2, l1, momentum, nesterov, subgradient),
            )
        if has_intercept:
            _step(
                *(intercept, intercept_v, intercept_total, dintercepts[:n], 0),
                *(rates[s], 0.0, 0.0, momentum, nesterov, subgradient),
            )
    return len(rates), penalty


def _is_read_in_place(data: Data, dtype: np.dtype[Any]) -> bool:
    X = data.X
    if isinstance(X, SparseRows) or data.mean is not None or data.inverse_scale is not None:
        return False
    return bool(X.flags.c_contiguous) and X.dtype == dtype


def _model_of(state: State) -> tuple[Any, ...]:
    """Return the arrays of a state, empty ones for those that are None: Numba would compile for each."""
    dtype = state.coef.dtype
    rows, row = np.empty((1, 0), dtype), np.empty(0, dtype)
    return (
        state.coef,
        np.zeros(len(state.coef), dtype) if state.intercept is None else state.intercept,
        state.intercept is not None,
        rows if state.coef_velocity is None else state.coef_velocity,
        row if state.intercept_velocity is None else state.intercept_velocity,
        rows if state.coef_sum is None else state.coef_sum,
        row if state.intercept_sum is None else state.intercept_sum,
    )


def sgd_epoch(
    data: Data,
    state: State,
    rule: Rule,
    order: NDArray[np.int64],
    batch_size: int,
    rates: NDArray[np.float64],
    n_threads: int,
) -> NDArray[np.float64]:
    """Implement `Backend.sgd_epoch`, as many steps in a call as take about `_SECONDS_OF_CALL`."""
    n_classes, n_features = state.coef.shape
    dtype, size, n_steps = state.coef.dtype, min(batch_size, len(order)), len(rates)
    model, (chunk_size, outputs) = _model_of(state), buffers(size, state.coef)
    in_place, interval = _is_read_in_place(data, dtype), 1
    if isinstance(data.X, SparseRows):
        interval = steps_between_penalties(data.X, batch_size)
    row_bytes = n_features * dtype.itemsize
    most = n_steps if in_place else max(1, _CONVERTED_BYTES // max(1, size * row_bytes))
    work = size * n_classes * (n_features + 1)
    objectives, penalty, done = np.empty(n_steps), 0.0, 0
    per_call = max(1, _WORK_OF_FIRST_CALL // work)
    while done < n_steps:
        end = min(n_steps, done + min(per_call, most))
        rows = np.ascontiguousarray(order[done * size : end * size])
        begun = recorder.begin()
        targets, weights = data.targets[rows], weights_of_rows(data, rows)
        if weights is not None:
            targets = weighted_targets(targets, weights, n_classes, dtype)
        X: Any = data.X
        if not in_place:
            X, rows = np.ascontiguousarray(read_rows(data, rows, dtype)), np.arange(len(rows))
        begun = recorder.add(recorder.NAMES[recorder.CONVERT], begun, len(rows), done)
        start = perf_counter()
        with threads(n_threads, work) as n_used:
            n_done, penalty = _steps(
                (read_only(X), rows, *labels_and_soft(targets, dtype), weights is not None),
                model,
                tuple(rule),
                rates[done:end],
                size,
                (penalty, interval, done),
                chunk_size,
                outputs,
                n_used,
                objectives[done:end],
            )
        recorder.add(recorder.TOGETHER, begun, len(rows), done)
        done += n_done
        if not np.isfinite(objectives[done - 1]):
            break
        seconds = max((perf_counter() - start) / n_done, 1e-9)
        per_call = max(1, min(4 * per_call, int(_SECONDS_OF_CALL / seconds)))
    return objectives[:done]
