"""The backend protocol: functions that every backend provides, with the same arguments.

Inputs arrive validated by `fastsoftmax.loss` and `fastsoftmax.training.epoch`: native float32 or float64,
aligned, rows contiguous. Outputs are preallocated and overwritten, never read.

Every function over rows of logits returns the index of the first row that has no softmax (it contains a NaN
or +inf, or nothing but -inf), or -1. The output of that row and of later ones is undefined.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows

# An array of the compute dtype, float32 or float64, which is known at run time only.
FloatArray = NDArray[Any]
LabelArray = NDArray[np.int64]


class TargetWeights(NamedTuple):
    """Weights of rows and classes, and label smoothing.

    With t a row of targets (for a label, its one-hot row), c classes and e the smoothing, the loss uses::

        u_k = row * class_k * ((1 - e) * t_k + e / c)

    in place of t. If all u_k of a row are 0, its loss and its gradient are 0, whatever its logits are.
    `upstream` multiplies the gradient of each row, and not its loss.
    """

    rows: NDArray[np.float64] | None = None  # (n,)
    classes: FloatArray | None = None  # (n_classes,), of the compute dtype
    smoothing: float = 0.0
    upstream: NDArray[np.float64] | None = None  # (n,), of any sign; for `linear_cross_entropy`


class RowMetrics(NamedTuple):
    """Metrics of rows, one entry each, by the names that `metrics=` takes; None for those not asked for.

    With q the logits after temperature, softcap and mask, p = softmax(q), and y the label of the row::

        argmax = argmax_k q_k                     the first of equal ones; -1
        top_k_correct = (number of k with q_k > q_y) < top_k                     False
        label_log_prob = log(p_y) = q_y - lse(q)                                     0
        entropy = -sum_k p_k * log(p_k)                                              0

    The last column is for rows that do not count: ignored ones, and those without a target of any weight.
    Logarithms are natural. Neither class and sample weights nor label smoothing change them otherwise.
    """

    argmax: NDArray[np.int64] | None = None
    top_k_correct: NDArray[np.bool_] | None = None
    label_log_prob: NDArray[np.float64] | None = None
    entropy: NDArray[np.float64] | None = None


class LogitOptions(NamedTuple):
    """Options that act on the logits z of a loss, its log-sum-exp, and metrics of its rows.

    With u the weighted targets, without those of masked classes::

        q = softcap * tanh(z / temperature / softcap)     (without a softcap z / temperature)
        loss = sum_k u_k * (lse(q) - q_k + z_loss * lse(q)**2)

    Label smoothing spreads over the classes that take part, of which every row has one unless its weight
    is 0. An infinite logit stays what it is.
    """

    temperature: float = 1.0
    softcap: float = 0.0  # 0 stands for none
    z_loss: float = 0.0
    # (n_classes,) or (n, n_classes), True for those that take part
    mask: NDArray[np.bool_] | None = None
    lse: NDArray[np.float64] | None = None  # (n,), an output: lse(q), 0 for rows without weight
    lse_upstream: NDArray[np.float64] | None = None  # (n,), times its gradient: added to dlogits
    # (n,) each, outputs. Ranks are those of z, which q keeps but for rounding.
    metrics: RowMetrics | None = None
    top_k: int = 1


class Data(NamedTuple):
    """The training data of an epoch, read in place.

    A dense `X` has the compute dtype or one that the compute dtype represents exactly: uint8, float16, and
    float32 for float64. The elements of a row are contiguous, rows may be strided. If `mean` or
    `inverse_scale` are given, x is replaced by (x - mean) * inverse_scale, computed in the compute dtype,
    each operation rounded once. `SparseRows` have the compute dtype and no mean.
    """

    X: NDArray[Any] | SparseRows  # (n_samples, n_features)
    targets: (
        LabelArray | FloatArray
    )  # int64 labels (n_samples,) or probabilities (n_samples, n_classes)
    mean: FloatArray | None = None  # (n_features,), of the compute dtype
    inverse_scale: FloatArray | None = None  # (n_features,)
    # `rows` (n_samples,) and `smoothing`; `classes` is None. No row of the order has the weight 0.
    weights: TargetWeights | None = None


class QuadraticModel(NamedTuple):
    """A quadratic function of a step from `start`, and L1, over n coordinates: entries of a matrix.

    With D the step, 0 elsewhere, and u = pairs' @ D over the coordinates::

        sum(slopes * D + curvature * D**2 / 2 + thresholds * |start + D|)
            + (sum(D * (S @ D @ G)) + sum(signs * u**2)) / 2
    """

    S: NDArray[np.float64]  # (n_classes, n_classes)
    G: NDArray[np.float64]  # (n_features, n_features), or of a diagonal matrix (n_features,)
    classes: NDArray[np.int64]  # (n,): the rows of the coordinates
    features: NDArray[np.int64]  # (n,): their columns
    slopes: NDArray[np.float64]  # (n,)
    curvature: NDArray[np.float64]  # (n,)
    thresholds: NDArray[np.float64]  # (n,)
    diagonal: NDArray[np.float64]  # (n,): of the whole quadratic function
    pairs: NDArray[np.float64]  # (n, n_pairs)
    signs: NDArray[np.float64]  # (n_pairs,)


class NewtonRows(NamedTuple):
    """The rows of a small problem, and n_rows times the curvature of its penalty."""

    x: NDArray[np.float64]  # (n_rows, n_features [+ 1]), with 1 for the intercept
    targets: NDArray[np.float64]  # (n_classes, n_rows), times the weights of the rows
    factor: NDArray[np.float64]  # (n_rows,): -1 / weight, 0 where that is 0
    curvature: NDArray[np.float64]  # (n_features [+ 1],): 0 for the intercept
    floor: NDArray[np.float64]  # (n_features [+ 1],): 1 for features that are 0 everywhere, else 0


class Rule(NamedTuple):
    """The update rule of a step.

    With g the gradient of the data loss, r the learning rate, m the momentum and v the velocity::

        g <- g + 2 * l2 * w         (subgradient: + l1 * sign(w))
        v <- m * v - r * g
        w <- w + v                  (nesterov: w + m * v - r * g)
        w <- sign(w) * max(|w| - r * l1, 0)          (not with subgradient)

    For the intercept, `l2` and `l1` are 0. A step with `subgradient` is not continuous in the weights: if a
    weight is 0 up to rounding, the results of two backends may differ by `2 * r * l1`; both are correct.
    """

    l2: float
    l1: float
    momentum: float
    nesterov: bool
    subgradient: bool = False


class State(NamedTuple):
    """The state that an epoch changes in place: after each whole step, never in the middle of one."""

    coef: FloatArray  # (n_classes, n_features), C order
    intercept: FloatArray | None  # (n_classes,)
    coef_velocity: FloatArray | None  # like coef; None without momentum
    intercept_velocity: FloatArray | None
    # The sums of the weights after each step; None if weights are not averaged.
    coef_sum: FloatArray | None = None
    intercept_sum: FloatArray | None = None


class Backend(Protocol):
    """The two levels of a backend: rows of logits, and a whole epoch of minibatch SGD."""

    @property
    def name(self) -> str: ...

    def softmax(self, logits: FloatArray, out: FloatArray, n_threads: int) -> int:
        """Compute out[i] = exp(logits[i] - logsumexp(logits[i]))."""

    def log_softmax(self, logits: FloatArray, out: FloatArray, n_threads: int) -> int:
        """Compute out[i] = logits[i] - logsumexp(logits[i])."""

    def logsumexp(self, logits: FloatArray, out: FloatArray, n_threads: int) -> None:
        """Compute out[i] = log(sum(exp(logits[i]))).

        It is -inf for a row of only -inf, NaN for one with a NaN, and else +inf for one with a +inf.
        """

    def softmax_cross_entropy(
        self,
        logits: FloatArray,
        targets: LabelArray | FloatArray,
        scale: float,
        losses: NDArray[np.float64],
        dlogits: FloatArray | None,
        n_threads: int,
        weights: TargetWeights | None = None,
        options: LogitOptions | None = None,
    ) -> int:
        """Compute losses[i] = -sum(t * log(p)) and dlogits[i] = scale * (sum(t) * p - t).

        p is softmax(logits[i]), t the target of row i with `weights` applied. `dlogits` may be `logits`.
        """

    def linear_cross_entropy(
        self,
        X: FloatArray,
        W: FloatArray,
        intercept: FloatArray | None,
        targets: LabelArray | FloatArray,
        scale: float,
        losses: NDArray[np.float64],
        dW: FloatArray | None,
        dintercept: FloatArray | None,
        dX: FloatArray | None,
        n_threads: int,
        weights: TargetWeights | None = None,
        options: LogitOptions | None = None,
    ) -> int:
        """Compute the cross-entropy of logits = X @ W + intercept, and its gradients in W, intercept and X.

        `W` and `dW` (n_features, n_classes) may have any strides.
        """

    def linear_scores(
        self,
        X: NDArray[Any] | SparseRows,
        coef: FloatArray,
        intercept: FloatArray,
        logits: FloatArray,
        n_threads: int,
    ) -> None:
        """Compute logits[i] = coef @ X[i] + intercept, `X` as in `Data`.

        With `SparseRows`, `coef` and `logits` may have any strides. Overflow and NaN show in the logits.
        """

    def transposed_product(
        self, A: FloatArray, B: FloatArray, out: NDArray[np.float64], n_threads: int
    ) -> None:
        """Compute out = A' @ B for A (n, m) and B (n, k), contiguous and of one dtype.

        Overflow and NaN show in `out` (m, k), which is contiguous. Sums over some thousand rows at most
        are in the dtype of A, the others in float64.
        """

    def penalty(
        self, W: FloatArray, l2: float, l1: float, gradient: FloatArray | None, n_threads: int
    ) -> float:
        """Return l2 * sum(w**2) + l1 * sum(|w|); compute gradient = 2 * l2 * w + l1 * sign(w).

        `W` and `gradient` are 1-D; `gradient` may be None.
        """

    def column_moments(
        self,
        X: NDArray[Any],
        origin: NDArray[np.float64],
        sums: NDArray[np.float64],
        squares: NDArray[np.float64],
        n_threads: int,
    ) -> None:
        """Compute sums = sum of x and squares = sum of x**2 over the rows of x = X - origin, in float64.

        `X` is as in `Data` for the compute dtype float64.
        """

    def convert_rows(
        self,
        X: NDArray[Any],
        rows: NDArray[np.int64] | None,
        mean: FloatArray | None,
        inverse_scale: FloatArray | None,
        out: FloatArray,
        n_threads: int,
    ) -> None:
        """Compute out = (X[rows] - mean) * inverse_scale, each operation rounded once.

        `out` is contiguous; `X`, `mean` and `inverse_scale` are as in `Data` for its dtype. `rows` of None
        stands for all rows of `X`.
        """

    def add_class_sums(
        self,
        X: FloatArray,
        labels: LabelArray,
        weights: NDArray[np.float64] | None,
        sums: NDArray[np.float64],
        n_threads: int,
    ) -> None:
        """Add each row of X, times its weight, to the row of `sums` (n_classes, n_features) of its label.

        `X` is dense, of float32 or float64; products and sums are in float64, in the order of the rows.
        """

    def inverse_factor(self, A: NDArray[np.float64], out: NDArray[np.float64]) -> bool:
        """Compute out = inv(L) of A = L @ L.T, with L lower triangular.

        Returns False, and `out` has no meaning, unless A is positive definite to rounding. Both are (n, n)
        and contiguous; A is symmetric, only its upper triangle is read, and it is overwritten.
        """

    def dot(self, a: FloatArray, b: FloatArray) -> float:
        """Return the sum of a * b, in float64, of 2-D arrays of one shape, whose rows are contiguous."""

    def subtract_pairs(
        self,
        steps: FloatArray,
        differences: FloatArray,
        products: NDArray[np.float64],
        q: NDArray[np.float64],
        factors: NDArray[np.float64],
    ) -> None:
        """Run the first loop of L-BFGS, over the pairs (s, y) from the last to the first.

        Each computes ``factor = sum(s * q) / product; q -= factor * y``. `steps` and `differences` are
        (n_pairs, n), contiguous, of one dtype; `products` and `factors` (n_pairs,); `q` (n,) and sums are
        in float64.
        """

    def add_pairs(
        self,
        steps: FloatArray,
        differences: FloatArray,
        products: NDArray[np.float64],
        q: NDArray[np.float64],
        factors: NDArray[np.float64],
    ) -> None:
        """Run the second loop of L-BFGS, over the pairs (s, y) from the first to the last.

        Each computes ``q += (factor - sum(y * q) / product) * s``.
        """

    def add_penalty(
        self,
        weights: FloatArray,
        mean: NDArray[np.float64],
        l2: float,
        n_columns: int,
        gradient: NDArray[np.float64],
    ) -> tuple[float, float]:
        """Compute gradient = mean + 2 * l2 * weights over the first columns, and = mean in the others.

        Returns the sums of the squares of `weights` and of `gradient` over those columns, in float64. These
        arrays, as those of the functions below, are (n_classes, n_features [+ 1]), contiguous, the weights
        of the solver's dtype.
        """

    def take_step(
        self,
        weights: FloatArray,
        direction: NDArray[np.float64],
        size: float,
        slopes: NDArray[np.float64],
        found: FloatArray,
        moved: FloatArray,
    ) -> tuple[float, bool]:
        """Compute found = weights + size * direction, rounded, and moved = found - weights.

        Returns the sum of slopes * moved, in float64, and whether `moved` is not 0.
        """

    def fill_pair(
        self,
        ends: tuple[FloatArray, FloatArray],
        gradients: tuple[NDArray[np.float64], NDArray[np.float64]],
        step: FloatArray,
        difference: FloatArray,
    ) -> tuple[float, float, float]:
        """Compute the pair of two points: s, the second end minus the first, and y, so of the gradients.

        Returns the sums of s * y, s * s and y * y, in float64.
        """

    def duality_gap(
        self,
        weights: FloatArray,
        gradient: NDArray[np.float64],
        loss: float,
        means: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
        min_share: float,
        l2: float,
        l1: float,
    ) -> float:
        """Return the bound of `fastsoftmax.training.duality_gap`, for an l2 above 0.

        `gradient` is that of the mean loss, `means` are those of the targets t (n_classes,), of t x'
        (n_classes, n_features) and of x (n_features,). With an intercept, that is a column more than there
        are features, e is the smallest share of a constant row of probabilities q, plus `min_share`, with
        which the mean probabilities become those of the targets; else it is 0. With g the gradient of the
        coefficients w, and

            G = (1 - e) * g + e * (q[:, None] * features - target_features)
            best = -sign(G) * max(|G| - l1, 0) / (2 * l2)

        the bound is sum(l2 * (w - best)**2 + l1 * |w| + w * clip(G, -l1, l1)) - sum(G * w)
        + (1 - e) * sum(gradient * weights) + e * (loss - entropy(q)).
        """

    def newton_direction(
        self,
        rows: NewtonRows,
        of_logits: NDArray[np.float64],
        gradient: NDArray[np.float64],
        weights: FloatArray,
        damping: float,
        direction: NDArray[np.float64],
    ) -> bool:
        """Compute the step of Newton's method, as `fastsoftmax.training.newton` describes it.

        `of_logits` (n_classes, n_rows) is the gradient of the sum of the losses, `gradient` that of the
        objective, (n_classes, n_features [+ 1]) as `weights` and `direction`. The Hessian, n_rows times
        that of the objective with the floor, has its diagonal times 1 + damping. Returns False, and
        `direction` has no meaning, unless it is positive definite to rounding.
        """

    def coordinate_descent(
        self,
        model: QuadraticModel,
        weights: NDArray[np.float64],
        tolerance: float,
        max_sweeps: int,
    ) -> int:
        """Minimise a model with L1 by coordinate descent from `weights`, in place; return the sweeps done.

        It ends when no step of a sweep, times its curvature, is above `tolerance` times the largest of the
        first sweep. A coordinate whose diagonal is not positive keeps its weight, to rounding.
        """

    def sgd_epoch(
        self,
        data: Data,
        state: State,
        rule: Rule,
        order: NDArray[np.int64],
        batch_size: int,
        rates: NDArray[np.float64],
        n_threads: int,
    ) -> NDArray[np.float64]:
        """Take a step for each minibatch `order[s * batch_size : (s + 1) * batch_size]` at rate `rates[s]`.

        Returns the objective of each step before its update: the weighted sum of the minibatch's losses
        divided by the number of its samples, plus the penalty. An objective that is not finite is the last
        one and ends the epoch; if the loss itself is not finite, that step is not taken. A pending signal
        is raised after a whole step.

        `SparseRows` do not support `l1` with `momentum` or `subgradient`. A pass over all weights takes
        longer than a step on sparse rows, so the penalty in an objective is that before the last step whose
        number is a multiple of `steps_between_penalties`. The steps themselves apply every penalty, each at
        its rate, and the momentum to every weight.
        """


class FastPaths(Protocol):
    """Optional fast paths of a backend: the usual call of a public function, argument checks included.

    For a few rows, checking the arguments in Python takes longer than the call. A fast path is
    unobservable: it returns bit-identical results, or declines before writing any output.
    """

    def sgd_epoch_of_models(
        self,
        data: Data,
        state: State,
        rule: Rule,
        l2s: NDArray[np.float64],
        l1s: NDArray[np.float64],
        order: NDArray[np.int64],
        batch_size: int,
        rates: NDArray[np.float64],
        n_threads: int,
    ) -> NDArray[np.float64]:
        """Run `Backend.sgd_epoch` of several models in one pass over dense data.

        `state` contains the classes of all models, one model after another. `l2s` and `l1s` (n_models,)
        replace those in `rule`, and `rates` is (n_models, n_steps). Returns the objectives of the steps,
        (n_models, n_steps); one that is not finite does not end the epoch.
        """

    def mean_cross_entropy(
        self, logits: object, labels: object, out: object, n_threads: object
    ) -> tuple[float, FloatArray, int] | None:
        """Return loss and gradient of `fastsoftmax.softmax_cross_entropy`, and the first invalid row or -1.

        The arguments are the caller's, unchecked. It returns None, and has written nothing, unless they are
        the usual ones: C-contiguous native logits (n, c) and int64 labels (n,) within range; `out` None,
        the logits themselves, or without overlap with logits and labels. The caller then takes the general
        path, whose bits are the same.
        """

    def map_rows(
        self, function: str, logits: object, axis: object, out: object, n_threads: object
    ) -> FloatArray | int | None:
        """Return "softmax", "log_softmax" or "logsumexp" of logits, or the first row that has none.

        The arguments are the caller's, unchecked. It returns None, and has written nothing, unless they are
        the usual ones: C-contiguous native logits (n, c), or (c,) and a function that returns as many
        numbers; their last axis; `out` None or such an array of the result's shape, the logits themselves
        or without overlap with them.
        """
