"""What a backend is: the functions that every one of them provides, with the same arguments.

Inputs arrive validated (`fastsoftmax.loss` and `fastsoftmax.training.epoch` see to that): native float32 or
float64, aligned, rows contiguous. Outputs are preallocated and overwritten, never read.

Every function over rows of logits returns the index of the first row that has no softmax (a NaN or
+inf in it, or nothing but -inf), or -1; what it wrote into that row and the later ones has no meaning.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .._arrays.csr import SparseRows

# One alias for "an array of the compute dtype": float32 and float64 are decided at run time.
FloatArray = NDArray[Any]
LabelArray = NDArray[np.int64]


class TargetWeights(NamedTuple):
    """What the targets of rows count.

    With t a row of targets, c classes and e the smoothing::

        u_k = row * class_k * ((1 - e) * t_k + e / c)

    takes the place of t, a label counting as its one-hot row. A row all of whose targets count nothing
    is not looked at: its loss and its gradient are 0 whatever its logits are.
    """

    rows: NDArray[np.float64] | None = None  # (n,)
    classes: FloatArray | None = None  # (n_classes,), of the compute dtype
    smoothing: float = 0.0


class Data(NamedTuple):
    """The training data of an epoch, read where they lie.

    A dense `X` is of the compute dtype or of one that it holds exactly: uint8, float16, and float32 for
    float64. A row's elements are contiguous, rows may be strided. Where `mean` or `inverse_scale` are
    given, (x - mean) * inverse_scale stands for x, in the compute dtype, each operation rounded once.
    Of `SparseRows`, which are of the compute dtype, there is no mean.
    """

    X: NDArray[Any] | SparseRows  # (n_samples, n_features)
    targets: (
        LabelArray | FloatArray
    )  # int64 labels (n_samples,) or probabilities (n_samples, n_classes)
    mean: FloatArray | None = None  # (n_features,), of the compute dtype
    inverse_scale: FloatArray | None = None  # (n_features,)
    # Of rows (n_samples,), none of which is 0 in the order, and smoothing; `classes` is None.
    weights: TargetWeights | None = None


class Rule(NamedTuple):
    """The update rule of a step.

    With g the gradient of the data loss, r the learning rate, m the momentum and v the velocity::

        g <- g + 2 * l2 * w         (subgradient: + l1 * sign(w))
        v <- m * v - r * g
        w <- w + v                  (nesterov: w + m * v - r * g)
        w <- sign(w) * max(|w| - r * l1, 0)          (not with subgradient)

    The intercept takes part without `l2` and `l1`. A step with `subgradient` is not continuous in the
    weights: where one is 0 up to rounding, two backends may end `2 * r * l1` apart, and both are right.
    """

    l2: float
    l1: float
    momentum: float
    nesterov: bool
    subgradient: bool = False


class State(NamedTuple):
    """What an epoch changes, in place: after a whole step each time, never in the middle of one."""

    coef: FloatArray  # (n_classes, n_features), C order
    intercept: FloatArray | None  # (n_classes,)
    coef_velocity: FloatArray | None  # like coef; None without momentum
    intercept_velocity: FloatArray | None
    # To these the weights after each step are added; None where they are not averaged.
    coef_sum: FloatArray | None = None
    intercept_sum: FloatArray | None = None


class Backend(Protocol):
    """The two levels of a backend: rows of logits, and a whole epoch of minibatch SGD."""

    @property
    def name(self) -> str: ...

    def softmax(self, logits: FloatArray, out: FloatArray, n_threads: int) -> int:
        """out[i] = exp(logits[i] - logsumexp(logits[i]))."""

    def log_softmax(self, logits: FloatArray, out: FloatArray, n_threads: int) -> int:
        """out[i] = logits[i] - logsumexp(logits[i])."""

    def logsumexp(self, logits: FloatArray, out: FloatArray, n_threads: int) -> None:
        """log(sum(exp(logits[i]))): -inf for a row of only -inf, NaN with a NaN, +inf with a +inf."""

    def softmax_cross_entropy(
        self,
        logits: FloatArray,
        targets: LabelArray | FloatArray,
        scale: float,
        losses: NDArray[np.float64],
        dlogits: FloatArray | None,
        n_threads: int,
        weights: TargetWeights | None = None,
    ) -> int:
        """losses[i] = -sum(t * log(p)), dlogits[i] = scale * (sum(t) * p - t); p = softmax(logits[i]).

        t are the targets, or what `weights` make of them. `dlogits` may be `logits` itself.
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
    ) -> int:
        """Compute the same for logits = X @ W + intercept, with gradients in W, intercept and X.

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
        """logits[i] = coef @ X[i] + intercept, `X` as in `Data`; overflow and NaN show in the logits."""

    def penalty(
        self, W: FloatArray, l2: float, l1: float, gradient: FloatArray | None, n_threads: int
    ) -> float:
        """Return l2 * sum(w**2) + l1 * sum(|w|); gradient = 2 * l2 * w + l1 * sign(w).

        Both are 1-D; `gradient` may be None.
        """

    def column_moments(
        self,
        X: NDArray[Any],
        origin: NDArray[np.float64],
        sums: NDArray[np.float64],
        squares: NDArray[np.float64],
        n_threads: int,
    ) -> None:
        """Compute sums = sum of x, squares = sum of x**2, over the rows of x = X - origin, in float64.

        `X` as in `Data`, for float64.
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

        Returns the objective of the steps before their updates: the mean loss of the minibatch, weighted
        but divided by the number of its samples, plus the penalty. One that is not finite ends the epoch,
        as the last one returned; where it is the loss that is not finite, the step is not taken. A
        pending signal is raised after a whole step.

        Of `SparseRows` it takes no `l1` with `momentum` or `subgradient`. A pass over all weights would
        take longer than such a step, so the penalty in its objective is that before the last step whose
        number is a multiple of `steps_between_penalties`. The steps themselves apply every penalty, each
        at its rate, and the momentum to every weight.
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
        """`Backend.sgd_epoch` of several models over one reading of dense data.

        `state` has the classes of all models, one model after another. `l2s` and `l1s` (n_models,) take
        the place of those in `rule`, and `rates` is (n_models, n_steps). Returns the objectives of the
        steps, (n_models, n_steps); one that is not finite ends nothing.
        """

    def mean_cross_entropy(
        self, logits: object, labels: object, out: object, n_threads: object
    ) -> tuple[float, FloatArray, int] | None:
        """Loss and gradient of `fastsoftmax.softmax_cross_entropy`, and the first invalid row or -1.

        The arguments are the caller's, unchecked. None where they are not the usual ones: C-contiguous
        native logits (n, c) and int64 labels (n,) within range, `out` None or apart from them or
        exactly the logits. Nothing has been written then, and the caller goes the general path.
        The bits are those of the general path.
        """
