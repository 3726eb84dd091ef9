"""The gradient of the loss as sums over samples, which can be added, and the step that uses the total.

They are the building blocks of data-parallel training: each machine sums over its own samples, the sums are
added, and all machines take the same step.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.csr import SparseRows
from .._arrays.inputs import as_samples
from .._arrays.memory_mapping import is_mapped, release
from .._arrays.threads import resolve_n_threads
from .._arrays.validation import FloatArray
from ..backends import (
    Backend,
    Data,
    Rule,
    State,
    TargetWeights,
    get_backend,
    in_default_float_state,
    penalties,
)
from ..backends.minibatches import read_rows, stepped, weights_of_rows
from ..loss.options import LossOptions, objective_of
from .config import check_nesterov, uses_subgradient
from .state import weights_as

RowNumbers: TypeAlias = NDArray[np.int64] | slice
# Returns a block of sparse rows transposed; the second argument says which rows of the data they are.
ColumnsOf: TypeAlias = Callable[[SparseRows, RowNumbers], SparseRows]

# Target size of the block of rows that is converted and validated together.
_BLOCK_BYTES = 1 << 22
# Minimum number of rows of a block, however long they are: a block costs a sum over all weights.
_MIN_ROWS = 32
# With more classes the kernels work on packed slabs of them: FEW_CLASSES in csrc/kernels/tuning.h.
_MANY_CLASSES = 40


@dataclass(frozen=True, slots=True, eq=False)
class GradientSum:
    """Sums over samples; ``+`` adds those of other samples.

    Adding anything else, or sums of models of another shape, raises TypeError or ValueError.

    Attributes
    ----------
    loss : float
        The weighted sum of the losses of the samples, in nats.
    weight : float
        The sum of their weights; without weights, their number.
    coef : ndarray, shape (n_classes, n_features)
        The gradient of `loss` with respect to the weights.
    intercept : ndarray, shape (n_classes,), or None
        The gradient of `loss` with respect to the intercept.
    """

    loss: float
    weight: float
    coef: FloatArray
    intercept: FloatArray | None

    __array_ufunc__ = None  # array + GradientSum is a TypeError, not an array of sums

    def __add__(self, other: object) -> "GradientSum":
        if not isinstance(other, GradientSum):
            return NotImplemented
        if self.coef.shape != other.coef.shape:
            raise ValueError(
                f"coef: expected sums of models of one shape, got {self.coef.shape} and {other.coef.shape}"
            )
        if (self.intercept is None) != (other.intercept is None):
            raise ValueError("intercept: expected one in both of the sums, or in neither")
        intercept = None
        if self.intercept is not None and other.intercept is not None:
            intercept = self.intercept + other.intercept
        return GradientSum(
            self.loss + other.loss, self.weight + other.weight, self.coef + other.coef, intercept
        )

    def __radd__(self, other: object) -> Self:
        return self if type(other) is int and other == 0 else NotImplemented  # the start of sum()

    @property
    def nbytes(self) -> int:
        """The size of the arrays in bytes."""
        return self.coef.nbytes + (0 if self.intercept is None else self.intercept.nbytes)

    @property
    def mean_loss(self) -> float:
        """The weighted mean of the losses; NaN without samples."""
        return self.loss / self.weight if self.weight > 0 else float("nan")


class Step(NamedTuple):
    """The result of `apply_gradient`: the weights after a step, and the velocities for the next one."""

    coef: FloatArray
    intercept: FloatArray | None
    velocity: tuple[FloatArray, FloatArray | None] | None


@in_default_float_state
def loss_gradient_sum(
    X: ArrayLike,
    targets: ArrayLike,
    coef: ArrayLike,
    intercept: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    backend: str = "auto",
    n_threads: int | None = None,
) -> GradientSum:
    """Sum the cross-entropy of a softmax classifier and its gradient over samples.

    With ``z_i = coef @ x_i + intercept`` and ``g_i = weight_i * (softmax(z_i) - target_i)``::

        loss       sum_i weight_i * -log softmax(z_i)[target_i]
        coef       sum_i outer(g_i, x_i)
        intercept  sum_i g_i

    Parameters
    ----------
    X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)
        Computed in float32 if it is float32, float16 or uint8, else in float64; rows are converted in
        small blocks. There may be no rows.
    targets : array_like
        Integer labels from 0 on (n_samples,) or probabilities (n_samples, n_classes).
    coef : array_like of real numbers, shape (n_classes, n_features)
    intercept : array_like of real numbers, shape (n_classes,), optional
    sample_weight, class_weight, label_smoothing
        As in `cross_entropy`. A row of `X` whose sample weight is 0 is not read.
    backend, n_threads
        As in `softmax`.

    Returns
    -------
    GradientSum
        Its arrays have the dtype of the computation.

    Raises
    ------
    ValueError
        If shapes do not fit, a label is out of range, or a row, its logits, `coef` or `intercept` are not
        finite.
    TypeError
        If an argument is not of real numbers or labels are not integers.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax import apply_gradient, loss_gradient_sum
    >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [2.0, 0.0]]), np.array([0, 1, 0, 1])
    >>> coef, intercept = np.zeros((2, 2)), np.zeros(2)
    >>> for step in range(3):
    ...     total = sum(loss_gradient_sum(X[i::2], y[i::2], coef, intercept) for i in range(2))
    ...     coef, intercept, _ = apply_gradient(coef, intercept, total, learning_rate=1.0)
    >>> round(total.mean_loss, 3)
    0.198
    """
    matrix = as_samples(X, to_train=False)
    dtype = validation.training_dtype(matrix.dtype)
    W = validation.as_array("coef", coef)
    if W.ndim != 2 or W.shape[1] != matrix.shape[1]:
        raise ValueError(
            f"coef: expected two dimensions, and one column for each of the {matrix.shape[1]} columns "
            f"of X, got shape {W.shape}"
        )
    if not len(W):
        raise ValueError("coef: expected at least one class (row), got 0")
    state = State(weights_as("coef", W, W.shape, dtype), None, None, None)
    if intercept is not None:
        state = state._replace(intercept=weights_as("intercept", intercept, W.shape[:1], dtype))
    options = LossOptions(sample_weight, class_weight, label_smoothing, reduction="sum")
    objective = objective_of(targets, matrix.shape[:1], len(W), dtype, options)
    data = Data(matrix, objective.targets, weights=objective.weights)
    rows = np.flatnonzero(objective.counted())
    total, invalid = sum_over_rows(
        get_backend(backend), data, rows, state, resolve_n_threads(n_threads)
    )
    if invalid >= 0:
        raise ValueError(validation.why_row_is_invalid(invalid, matrix[invalid], dtype))
    return _times_power_of_2(replace(total, weight=objective.total), objective.power)


def _times_power_of_2(total: GradientSum, power: int) -> GradientSum:
    """Return the sums for weights of the samples that are not divided by ``2**power``."""
    if power == 0:
        return total
    dtype = total.coef.dtype
    # Beyond this range small gradients would underflow and large ones overflow.
    most = 3 * int(np.finfo(dtype).maxexp) // 4
    if abs(power) > most:
        raise ValueError(
            f"sample_weight: expected weights, times class weights, whose sums fit into {dtype}: the "
            f"largest from {2.0**-most:.2g} to {2.0**most:.2g}, got 2**{power}; divide them by their mean"
        )
    intercept = None if total.intercept is None else np.ldexp(total.intercept, power)
    return GradientSum(
        float(np.ldexp(total.loss, power)),
        float(np.ldexp(total.weight, power)),
        np.ldexp(total.coef, power),
        intercept,
    )


@in_default_float_state
def apply_gradient(
    coef: ArrayLike,
    intercept: ArrayLike | None,
    gradient: GradientSum,
    *,
    learning_rate: float,
    l2: float = 0.0,
    l1: float = 0.0,
    l1_step: str = "proximal",
    momentum: float = 0.0,
    nesterov: bool = False,
    velocity: tuple[FloatArray, FloatArray | None] | None = None,
) -> Step:
    """Take a step of gradient descent along the mean gradient, whose sums over samples are in `gradient`.

    With g the mean, r the learning rate, m the momentum and v the velocity::

        g <- g + 2 * l2 * w         (with l1_step="subgradient": + l1 * sign(w))
        v <- m * v - r * g
        w <- w + v                  (nesterov: w + m * v - r * g)
        w <- sign(w) * max(|w| - r * l1, 0)          (not with "subgradient")

    The intercept is updated without `l2` and `l1`. No argument is changed.

    Parameters
    ----------
    coef : array_like of real numbers, shape (n_classes, n_features)
    intercept : array_like of real numbers, shape (n_classes,), or None
    gradient : GradientSum
        The sums over all samples of the step.
    learning_rate, l2, l1 : float
        0 or more. The `alpha` of `SoftmaxClassifier` is ``2 * l2`` for its penalty "l2", and `l1` for "l1".
    l1_step : {"proximal", "subgradient"}, default "proximal"
    momentum : float, default 0.0
        From 0 to less than 1.
    nesterov : bool, default False
        Whether to use Nesterov's momentum; needs `momentum`.
    velocity : tuple of two arrays, optional
        The velocity that the previous step returned; None for the first step, which begins with 0.

    Returns
    -------
    Step
        The named tuple ``(coef, intercept, velocity)``, in the dtype of the gradient; without momentum the
        velocity is None.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or `gradient` has no samples.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax import apply_gradient, loss_gradient_sum
    >>> coef = np.zeros((2, 1))
    >>> gradient = loss_gradient_sum([[1.0], [-1.0]], [0, 1], coef)
    >>> apply_gradient(coef, None, gradient, learning_rate=0.5).coef.tolist()
    [[0.25], [-0.25]]
    """
    if not isinstance(gradient, GradientSum):
        raise TypeError(f"gradient: expected a GradientSum, got {validation.shown(gradient)}")
    if not gradient.weight > 0:
        raise ValueError("gradient: expected sums over at least one sample, got none")
    numbers = {"learning_rate": learning_rate, "l2": l2, "l1": l1, "momentum": momentum}
    checked = {name: validation.as_non_negative(name, value) for name, value in numbers.items()}
    if checked["momentum"] >= 1:
        raise ValueError(
            f"momentum: expected 0 or more and less than 1, got {validation.shown(momentum)}"
        )
    check_nesterov(nesterov, checked["momentum"])
    subgradient = uses_subgradient(l1_step)
    rule = Rule(checked["l2"], checked["l1"], checked["momentum"], bool(nesterov), subgradient)
    state = State(_weights_like("coef", coef, gradient.coef), None, None, None)
    if (intercept is None) != (gradient.intercept is None):
        has = "has none" if gradient.intercept is None else "has one"
        raise ValueError(
            f"intercept: expected one if and only if the gradient has one; the gradient {has}"
        )
    if gradient.intercept is not None:
        offsets = _weights_like("intercept", intercept, gradient.intercept)
        state = state._replace(intercept=offsets)
    if rule.momentum:
        of_coef, of_intercept = _velocity(velocity, gradient)
        state = state._replace(coef_velocity=of_coef, intercept_velocity=of_intercept)
    with np.errstate(over="ignore", invalid="ignore"):  # the weights become infinite or NaN
        after = stepped_by(state, gradient, rule, checked["learning_rate"])
    kept = None if after.coef_velocity is None else (after.coef_velocity, after.intercept_velocity)
    return Step(after.coef, after.intercept, kept)


def sum_over_rows(
    backend: Backend,
    data: Data,
    rows: NDArray[np.int64] | None,
    state: State,
    n_threads: int,
    columns_of: ColumnsOf = lambda x, _: x.transposed(),
) -> tuple[GradientSum, int]:
    """Return the sums over some rows, or all, and the first row whose loss is not defined, or -1.

    Rows are taken in blocks, whose sums are added in float64, so that the error does not grow with their
    number. `weight` is the number of rows. `columns_of` returns a block of sparse rows transposed.
    """
    dtype, total = state.coef.dtype, len(data.X) if rows is None else len(rows)
    n_rows = rows_per_block(data.X, state.coef)
    order = memory_order(data.X, len(state.coef))
    dcoef = np.zeros(state.coef.shape, np.float64 if total > n_rows else dtype, order)
    dintercept = None if state.intercept is None else np.zeros(len(dcoef), dcoef.dtype)
    loss = 0.0
    # One block after another uses these: new memory would come a page at a time.
    converted = _room_for_rows(data, min(n_rows, total), dtype)
    losses_of_block = np.empty(min(n_rows, total))
    of_coef = np.empty(state.coef.shape, dtype, order)
    of_intercept = None if state.intercept is None else np.empty_like(state.intercept)
    for start, some in row_blocks(data.X, rows, n_rows):
        losses = losses_of_block[: total - start]
        given = backend, data, some, state, losses, of_coef, of_intercept, n_threads
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(data.X, SparseRows):
                invalid = sums_of_sparse(*given, columns_of)
            else:
                invalid = _sums_of_dense(*given, converted)
            if invalid >= 0:
                row = start + invalid if rows is None else int(rows[start + invalid])
                return GradientSum(np.nan, float(total), dcoef, dintercept), row
            dcoef += of_coef
            if dintercept is not None:
                dintercept += of_intercept
            loss += float(losses.sum())
    if dintercept is not None:
        dintercept = dintercept.astype(dtype, copy=False)
    return GradientSum(loss, float(total), dcoef.astype(dtype, "C", copy=False), dintercept), -1


def row_blocks(
    X: NDArray[Any] | SparseRows, rows: NDArray[np.int64] | None, n_rows: int
) -> Iterator[tuple[int, RowNumbers]]:
    """Yield where blocks of `n_rows` of the rows begin, and which rows they are: slices copy nothing.

    Pages that rows of a file have come in are given back between two blocks.
    """
    total = len(X) if rows is None else len(rows)
    for start in range(0, total, n_rows):
        block = slice(start, min(start + n_rows, total))
        yield start, block if rows is None else rows[block]
        if is_mapped(X):
            release(X)


def memory_order(X: NDArray[Any] | SparseRows, n_classes: int) -> Literal["C", "F"]:
    """Return the order of a gradient: features first with many classes, as kernels add to it fastest."""
    return "C" if isinstance(X, SparseRows) or n_classes <= _MANY_CLASSES else "F"


def rows_per_block(X: NDArray[Any] | SparseRows, coef: FloatArray) -> int:
    """Return how many rows are converted, and their logits held, together."""
    n_classes, n_features = coef.shape
    if not isinstance(X, SparseRows):
        n_bytes: int = n_features * coef.itemsize
        return max(_MIN_ROWS, _BLOCK_BYTES // n_bytes)
    # Even a short row has all its logits, and a block costs as much as one value per column.
    n_values = max(n_features, _BLOCK_BYTES // coef.itemsize)
    return max(_MIN_ROWS, int(n_values / max(n_classes, len(X.values) / max(1, len(X)))))


def stepped_by(state: State, gradient: GradientSum, rule: Rule, rate: float) -> State:
    """Return the state after a step along the mean gradient."""
    scale = gradient.coef.dtype.type(1 / gradient.weight)
    dintercept = None if gradient.intercept is None else gradient.intercept * scale
    return stepped(state, gradient.coef * scale, dintercept, rule, rate)


def objective_of_step(state: State, gradient: GradientSum, rule: Rule) -> float:
    """Return the objective before the step: the mean loss plus the penalty."""
    return gradient.mean_loss + penalties.value(state.coef, rule.l2, rule.l1)


def _sums_of_dense(
    backend: Backend,
    data: Data,
    rows: RowNumbers,
    state: State,
    losses: NDArray[np.float64],
    dcoef: FloatArray,
    dintercept: FloatArray | None,
    n_threads: int,
    converted: FloatArray | None,
) -> int:
    x = read_dense_rows(backend, data, rows, state.coef.dtype, n_threads, converted)
    return backend.linear_cross_entropy(
        *(x, state.coef.T, state.intercept, data.targets[rows], 1.0, losses),
        *(dcoef.T, dintercept, None, n_threads, weights_of_rows(data, rows)),
    )


def sums_of_sparse(
    backend: Backend,
    data: Data,
    rows: RowNumbers,
    state: State,
    losses: NDArray[np.float64],
    dcoef: FloatArray,
    dintercept: FloatArray | None,
    n_threads: int,
    columns_of: ColumnsOf,
) -> int:
    """Compute the sums of some sparse rows at the cost of their stored values.

    `dcoef` may have any strides.
    """
    n_classes, dtype = len(state.coef), state.coef.dtype
    x = read_sparse_rows(data, rows, dtype)
    intercept = np.zeros(n_classes, dtype) if state.intercept is None else state.intercept
    logits = np.empty((len(x), n_classes), dtype)
    backend.linear_scores(x, state.coef, intercept, logits, n_threads)
    weights: TargetWeights | None = weights_of_rows(data, rows)
    invalid = backend.softmax_cross_entropy(
        logits, data.targets[rows], 1.0, losses, logits, n_threads, weights
    )
    if invalid < 0:
        transposed_product(backend, columns_of(x, rows), logits, dcoef, n_threads)
        if dintercept is not None:
            dintercept[:] = logits.sum(
                axis=0, dtype=np.float64
            )  # NumPy adds the rows one after another
    return invalid


def transposed_product(
    backend: Backend, columns: SparseRows, G: FloatArray, out: FloatArray, n_threads: int
) -> None:
    """Compute out = G' X from the transposed X: the scores of its rows, with G as the weights."""
    backend.linear_scores(columns, G.T, np.zeros(G.shape[1], G.dtype), out.T, n_threads)


def read_dense_rows(
    backend: Backend,
    data: Data,
    rows: RowNumbers,
    dtype: np.dtype[Any],
    n_threads: int,
    out: FloatArray | None = None,
) -> FloatArray:
    """Return some rows of a dense X, converted, standardised and contiguous; `out` has room for them."""
    if not _is_converted_by_backend(data, dtype):
        return np.ascontiguousarray(read_rows(data, rows, dtype))
    X, mean, inverse_scale = data.X, data.mean, data.inverse_scale
    assert not isinstance(X, SparseRows)
    some, numbers = (X[rows], None) if isinstance(rows, slice) else (X, rows)
    n_rows = len(some if numbers is None else numbers)
    x = np.empty((n_rows, X.shape[1]), dtype) if out is None else out[:n_rows]
    if mean is not None:
        mean = mean.astype(dtype, copy=False)
    if inverse_scale is not None:
        inverse_scale = inverse_scale.astype(dtype, copy=False)
    backend.convert_rows(some, numbers, mean, inverse_scale, x, n_threads)
    return x


def _is_converted_by_backend(data: Data, dtype: np.dtype[Any]) -> bool:
    X = data.X
    if isinstance(X, SparseRows) or not validation.reads_as(X, dtype):
        return False
    return X.dtype != dtype or data.mean is not None or data.inverse_scale is not None


def _room_for_rows(data: Data, n_rows: int, dtype: np.dtype[Any]) -> FloatArray | None:
    """Return an array for the rows of one block after another, if they are converted."""
    if not _is_converted_by_backend(data, dtype):
        return None
    return np.empty((n_rows, data.X.shape[1]), dtype)


def read_sparse_rows(data: Data, rows: RowNumbers, dtype: np.dtype[Any]) -> SparseRows:
    """Return some rows of a sparse X, converted and scaled."""
    assert isinstance(data.X, SparseRows)
    some = data.X.between(rows.start, rows.stop) if isinstance(rows, slice) else data.X.take(rows)
    x = some.astype(dtype)
    if data.inverse_scale is None:
        return x
    return x.with_values(x.values * data.inverse_scale[x.indices])


def _velocity(
    velocity: tuple[FloatArray, FloatArray | None] | None, gradient: GradientSum
) -> tuple[FloatArray, FloatArray | None]:
    """Return the velocity, checked; it is 0 in the first step."""
    like = gradient.coef, gradient.intercept
    if velocity is None:
        return np.zeros_like(like[0]), None if like[1] is None else np.zeros_like(like[1])
    accepted = "velocity: expected that of the last Step, a tuple of two arrays"
    if not isinstance(velocity, tuple | list):
        raise TypeError(f"{accepted}, got {type(velocity).__name__}")
    if len(velocity) != 2:
        raise ValueError(f"{accepted}, got {len(velocity)}")
    if (velocity[1] is None) != (like[1] is None):
        raise ValueError(
            "velocity: expected one for the intercept if and only if the gradient has one"
        )
    of_coef = _weights_like("velocity", velocity[0], like[0])
    return of_coef, None if like[1] is None else _weights_like("velocity", velocity[1], like[1])


def _weights_like(name: str, value: Any, gradient: FloatArray) -> FloatArray:
    return weights_as(name, value, gradient.shape, gradient.dtype)
