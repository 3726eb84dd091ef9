"""What the losses' options mean: weights, label smoothing, ignored rows, and the reduction.

Notation as in `fastsoftmax.loss`. With s_i the weight of row i (0 where it is ignored), v_k that of
class k, e the label smoothing and c classes, the targets t become

    u_ik = s_i * v_k * ((1 - e) * t_ik + e / c),
    loss_i = sum_k u_ik * (lse(z_i) - z_ik),

and the mean divides the sum of the losses by sum_i s_i * v[y_i] for labels, by sum_i s_i for
probabilities. That is what `torch.nn.functional.cross_entropy` does; it has no s_i of its own.

Label smoothing: Szegedy et al., Rethinking the Inception Architecture for Computer Vision (2016),
section 7.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import validation
from .backends import TargetWeights
from .validation import FloatArray

REDUCTIONS = ("mean", "sum", "none")
# Where weights have a sum beyond 2**-64 .. 2**64, a mean is of weights times a power of 2: it is the same,
# and neither they nor the inverse of their sum leave the range of float32.
_MOST_POWER, _LARGEST_POWER = 64, 1000


class LossOptions(NamedTuple):
    """The options of `cross_entropy` and its kin, as they came."""

    sample_weight: ArrayLike | None = None
    class_weight: ArrayLike | None = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None
    reduction: str = "mean"


class Objective(NamedTuple):
    """The targets of rows of logits, with all that the options make of them."""

    targets: NDArray[Any]  # int64 labels (n,) or probabilities (n, n_classes)
    weights: TargetWeights | None
    reduction: str
    total: float  # what the mean divides by
    ignored: NDArray[np.bool_] | None  # rows, (n,)

    @property
    def scale(self) -> float:
        """The gradient of the result with respect to one row's loss."""
        return 1 / self.total if self.reduction == "mean" and self.total > 0 else 1.0

    def reduce(self, losses: NDArray[np.float64], leading_shape: tuple[int, ...]) -> Any:
        """Return the mean or the sum as a float, or the losses in the caller's shape."""
        if self.reduction == "none":
            return losses.reshape(leading_shape)[()]
        total = float(np.add.reduce(losses))
        if self.reduction == "sum":
            return total
        return total / self.total if self.total > 0 else float("nan")

    def undefined(self) -> NDArray[np.bool_] | None:
        """Which rows have the gradient NaN, as the mean divides by 0; None where it does not."""
        if self.reduction != "mean" or self.total > 0:
            return None
        return np.ones(len(self.targets), bool) if self.ignored is None else ~self.ignored


def objective_of(
    targets: ArrayLike,
    leading_shape: tuple[int, ...],
    n_classes: int,
    dtype: np.dtype[Any],
    options: LossOptions,
) -> Objective:
    """Check targets and options for logits of the shape (*leading_shape, n_classes)."""
    reduction = options.reduction
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"reduction: expected one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    smoothing = validation.as_non_negative("label_smoothing", options.label_smoothing)
    if smoothing > 1:
        raise ValueError(f"label_smoothing: expected a number from 0 to 1, got {smoothing}")
    array, ignored = _without_ignored(targets, leading_shape, n_classes, options.ignore_index)
    rows = validation.as_targets(array, leading_shape, n_classes, dtype)
    classes, samples = None, None
    if options.class_weight is not None:
        classes = validation.as_weights("class_weight", options.class_weight, (n_classes,), dtype)
    if options.sample_weight is not None:
        double = np.dtype(np.float64)
        samples = validation.as_weights(
            "sample_weight", options.sample_weight, leading_shape, double
        )
    if ignored is not None:
        samples = np.where(ignored, 0.0, 1.0 if samples is None else samples)
    total = _total(rows, samples, classes)
    power = math.frexp(total)[1]
    if reduction == "mean" and abs(power) > _MOST_POWER:
        factor = 2.0 ** -max(min(power, _LARGEST_POWER), -_LARGEST_POWER)
        samples = np.full(len(rows), factor) if samples is None else samples * factor
        total = _total(rows, samples, classes)
    weights = None
    if samples is not None or classes is not None or smoothing > 0:
        weights = TargetWeights(samples, classes, smoothing)
    return Objective(rows, weights, reduction, total, ignored)


def _without_ignored(
    targets: ArrayLike, leading_shape: tuple[int, ...], n_classes: int, ignore_index: int | None
) -> tuple[ArrayLike, NDArray[np.bool_] | None]:
    """The targets with a valid label in the rows that are ignored, and which these are."""
    if ignore_index is None:
        return targets, None
    if not isinstance(ignore_index, int | np.integer) or isinstance(ignore_index, bool):
        raise TypeError(f"ignore_index: expected an integer or None, got {ignore_index!r}")
    array = validation.as_array("targets", targets)
    if array.shape == (*leading_shape, n_classes):
        if ignore_index >= 0:  # as torch has it: a negative one, its default, may be left there
            raise ValueError(
                f"ignore_index: expected None for targets that are probabilities, got {ignore_index}"
            )
        return array, None
    if array.dtype.kind not in "iu" or array.shape != leading_shape:
        return array, None  # the check of the targets tells
    ignored = array == ignore_index
    if not ignored.any():
        return array, None
    return np.where(ignored, array.dtype.type(0), array), ignored.reshape(-1)


def _total(
    targets: NDArray[Any], samples: NDArray[np.float64] | None, classes: FloatArray | None
) -> float:
    if targets.ndim == 2 or classes is None:
        return float(len(targets)) if samples is None else float(samples.sum())
    of_labels = classes[targets].astype(np.float64)
    return float(of_labels.sum() if samples is None else samples @ of_labels)
