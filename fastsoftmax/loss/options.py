"""Options of the losses: weights, label smoothing, ignored rows, what acts on logits, and the reduction.

Notation as in `fastsoftmax.loss`. With s_i the weight of row i (0 where it is ignored), v_k that of
class k, e the label smoothing and c_i the classes of row i that take part, logits and targets become

    q_ik = softcap * tanh(z_ik / temperature / softcap), or z_ik / temperature,
    u_ik = s_i * v_k * ((1 - e) * t_ik + e / c_i),
    loss_i = sum_k u_ik * (lse(q_i) - q_ik + z_loss * lse(q_i)**2),

with all sums over the classes that take part. The mean divides the sum of the losses by
sum_i s_i * v[y_i] for labels, by sum_i s_i for probabilities. That is what
`torch.nn.functional.cross_entropy` does with the options that it has. Metrics of rows are defined in
`fastsoftmax.RowMetrics`.

Label smoothing: Szegedy et al., Rethinking the Inception Architecture for Computer Vision (2016),
section 7.
"""

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.validation import FloatArray
from ..backends import LogitOptions, RowMetrics, TargetWeights
from ..backends.sample_weights import weighted_targets

REDUCTIONS = ("mean", "sum", "none")
# Weights outside of 2**-64 .. 2**64, or with a sum outside, are divided by a power of 2, which is exact:
# then neither the weights nor their products nor the inverse of their sum overflow or underflow float32.
_MAX_POWER = 64
_MIN_POWER = -(1 << 20)  # below that of any float64, and of any product

_METRIC_DTYPES: dict[str, Any] = {
    "argmax": np.int64,
    "top_k_correct": np.bool_,
    "label_log_prob": np.float64,
    "entropy": np.float64,
}
METRICS_OF_LABELS = "top_k_correct", "label_log_prob"
MAX_TOP_K = 1 << 62  # more than there are classes


class LossOptions(NamedTuple):
    """The options of the losses, unchecked."""

    sample_weight: ArrayLike | None = None
    class_weight: ArrayLike | None = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None
    reduction: str = "mean"
    mask: ArrayLike | None = None
    temperature: float = 1.0
    softcap: float | None = None
    z_loss: float = 0.0
    return_lse: bool = False
    metrics: Collection[str] = ()
    top_k: int = 5
    # Gradients from above: what the losses are multiplied by, and for the log-sum-exp of each row.
    upstream: ArrayLike | None = None
    lse_upstream: ArrayLike | None = None

    @property
    def is_plain(self) -> bool:
        """Return whether no option acts on logits, and nothing but the loss of rows is asked for."""
        return (
            self.mask is self.softcap is self.lse_upstream is None
            and self.return_lse is False
            and type(self.metrics) is tuple
            and not self.metrics
            and type(self.temperature) is type(self.z_loss) is float
            and self.temperature == 1
            and self.z_loss == 0
        )


class Objective(NamedTuple):
    """The targets of rows of logits, with the options applied."""

    targets: NDArray[Any]  # int64 labels (n,) or probabilities (n, n_classes)
    weights: TargetWeights | None  # divided by 2**power
    reduction: str
    total: float  # the denominator of the mean, divided by 2**power
    ignored: NDArray[np.bool_] | None  # rows, (n,)
    power: int = 0
    logit_options: LogitOptions | None = None
    upstream: float = 1.0  # of a mean or a sum

    @property
    def scale(self) -> float:
        """The gradient of the result with respect to one row's loss, times what comes from above."""
        if self.reduction != "mean":
            return math.ldexp(1.0, self.power) * self.upstream
        return (1 / self.total if self.total > 0 else 1.0) * self.upstream

    def reduce(self, losses: NDArray[np.float64], leading_shape: tuple[int, ...]) -> Any:
        """Return the mean or the sum as a float, or the losses in the caller's shape."""
        if self.power and self.reduction != "mean":
            with np.errstate(over="ignore"):
                losses = np.ldexp(losses, self.power)
        if self.reduction == "none":
            return losses.reshape(leading_shape)[()]
        total = float(np.add.reduce(losses))
        if self.reduction == "sum":
            return total
        return total / self.total if self.total > 0 else float("nan")

    def results(
        self, losses: NDArray[np.float64], leading_shape: tuple[int, ...], *gradients: Any
    ) -> Any:
        """Return what a loss returns: the reduced losses, gradients, and what else is asked for of rows."""
        found: list[Any] = [self.reduce(losses, leading_shape), *gradients]
        options = self.logit_options or LogitOptions()
        if options.lse is not None:
            found.append(options.lse.reshape(leading_shape)[()])
        if options.metrics is not None:
            found.append(
                RowMetrics(
                    **{
                        name: each.reshape(leading_shape)[()]
                        for name, each in options.metrics._asdict().items()
                        if each is not None
                    }
                )
            )
        return tuple(found) if len(found) > 1 else found[0]

    def undefined(self) -> NDArray[np.bool_] | None:
        """Return the rows whose gradient is NaN because the mean divides by 0; None if it does not."""
        if self.reduction != "mean" or self.total > 0:
            return None
        return np.ones(len(self.targets), bool) if self.ignored is None else ~self.ignored

    def counted(self) -> NDArray[np.bool_]:
        """Return the rows that have a target with weight; the others are not read."""
        counted = np.ones(len(self.targets), bool)
        if self.weights is None:
            return counted
        rows, classes, smoothing, _ = self.weights
        if rows is not None:
            counted = rows > 0
        if classes is None:
            return counted
        if smoothing > 0:
            has_mass: Any = classes.any()
        elif self.targets.ndim == 1:
            has_mass = classes[self.targets] > 0
        else:
            has_mass = self.targets @ (classes > 0).astype(self.targets.dtype) > 0
        counted &= has_mass
        return counted


def objective_of(
    targets: ArrayLike,
    leading_shape: tuple[int, ...],
    n_classes: int,
    dtype: np.dtype[Any],
    options: LossOptions,
) -> Objective:
    """Return the objective for logits of shape (*leading_shape, n_classes); check targets and options."""
    logit_options = None if options.is_plain else _logit_options(options, leading_shape, n_classes)
    mask = None if logit_options is None else logit_options.mask
    objective = _objective_of(targets, leading_shape, n_classes, dtype, options, mask)
    if objective.targets.ndim == 2:
        for name in METRICS_OF_LABELS:
            if name in options.metrics:
                raise ValueError(
                    f"metrics: {name} needs labels, got targets that are probabilities, or become "
                    "so by weights beyond 2**64 with label smoothing"
                )
    if options.upstream is not None:
        per_row = objective.reduction == "none"
        factors = _factors("upstream", options.upstream, leading_shape if per_row else ())
        if per_row:
            weights = (objective.weights or TargetWeights())._replace(upstream=factors)
            objective = objective._replace(weights=weights)
        else:
            objective = objective._replace(upstream=float(factors[0]))
    return objective._replace(logit_options=logit_options)


def _logit_options(
    options: LossOptions, leading_shape: tuple[int, ...], n_classes: int
) -> LogitOptions:
    temperature = _positive("temperature", options.temperature)
    softcap = 0.0 if options.softcap is None else _positive("softcap", options.softcap)
    z_loss = validation.as_non_negative("z_loss", options.z_loss)
    if not isinstance(options.return_lse, bool | np.bool_):
        raise TypeError(
            f"return_lse: expected True or False, got {validation.shown(options.return_lse)}"
        )
    mask, upstream = None, options.lse_upstream
    if options.mask is not None:
        mask = as_mask(options.mask, leading_shape, n_classes)
    return LogitOptions(
        temperature,
        softcap,
        z_loss,
        mask,
        np.zeros(math.prod(leading_shape)) if options.return_lse else None,
        None if upstream is None else _factors("lse_upstream", upstream, leading_shape),
        *_metrics(options.metrics, options.top_k, math.prod(leading_shape)),
    )


def _metrics(names: object, top_k: object, n: int) -> tuple[RowMetrics | None, int]:
    """Return arrays for the metrics of n rows that are asked for, and k."""
    names = check_metrics(names)
    if not names:
        return None, 1
    if not isinstance(top_k, int | np.integer) or isinstance(top_k, bool):
        raise TypeError(f"top_k: expected an integer, got {validation.shown(top_k)}")
    if top_k < 1:
        raise ValueError(f"top_k: expected at least 1, got {top_k}")
    arrays = {name: np.zeros(n, _METRIC_DTYPES[name]) for name in names}
    return RowMetrics(**arrays), min(int(top_k), MAX_TOP_K)


def check_metrics(names: object) -> tuple[str, ...]:
    """Return the names of metrics as a tuple."""
    accepted = f"metrics: expected a tuple of names out of {RowMetrics._fields}, got "
    if isinstance(names, str):  # its letters are no names
        raise ValueError(accepted + validation.shown(names))
    if not isinstance(names, tuple | list | set | frozenset):
        raise TypeError(accepted + validation.shown(names))
    for name in names:
        if not isinstance(name, str):
            raise TypeError(accepted + validation.shown(names))
        if name not in RowMetrics._fields:
            raise ValueError(accepted + validation.shown(names))
    return tuple(names)


def as_mask(mask: ArrayLike, leading_shape: tuple[int, ...], n_classes: int) -> NDArray[np.bool_]:
    """Return which classes take part, for all rows (n_classes,) or for each (n, n_classes)."""
    array = validation.as_array("mask", mask)
    if array.dtype != bool:
        raise TypeError(f"mask: expected booleans, got {array.dtype}")
    shape = (*leading_shape, n_classes)
    try:
        spread = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"mask: expected a shape that broadcasts to that of the logits, {shape}, got {array.shape}"
        ) from None
    if all(length == 1 for length in array.shape[:-1]):
        return np.array(np.broadcast_to(array.reshape(-1)[-n_classes:], n_classes))
    return np.ascontiguousarray(spread.reshape(-1, n_classes))


def _positive(name: str, value: object) -> float:
    number = validation.as_non_negative(name, value)
    if number == 0:
        raise ValueError(f"{name}: expected a positive number, got 0.0")
    return number


def _factors(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = validation.as_array(name, value)
    if array.shape != shape:
        raise ValueError(f"{name}: expected the shape of the loss, {shape}, got {array.shape}")
    return validation.as_native(array, np.dtype(np.float64)).reshape(-1)


def _checked_with_mask(
    targets: NDArray[Any],
    mask: NDArray[np.bool_],
    samples: NDArray[np.float64] | None,
    leading_shape: tuple[int, ...],
) -> NDArray[Any]:
    """Raise if a row that counts has no class that takes part, or a label of one that does not.

    Rows that do not count get a label that takes part, as kernels take no other.
    """
    if targets.ndim == 1:
        fits = mask[targets] if mask.ndim == 1 else mask[np.arange(len(targets)), targets]
    else:
        fits = np.broadcast_to(mask.any(axis=-1), len(targets))
    wrong = ~fits if samples is None else ~fits & (samples > 0)
    if not wrong.any():
        if targets.ndim == 2 or fits.all():
            return targets
        return np.where(fits, targets, mask.argmax(axis=-1))
    row = int(np.argmax(wrong))
    where = validation.at_row(row, leading_shape)
    if targets.ndim == 1 and (mask if mask.ndim == 1 else mask[row]).any():
        raise ValueError(
            f"targets: expected a class that takes part, got {targets[row]} {where}, masked"
        )
    raise ValueError(f"mask: expected a class that takes part in every row, got none {where}")


def _objective_of(
    targets: ArrayLike,
    leading_shape: tuple[int, ...],
    n_classes: int,
    dtype: np.dtype[Any],
    options: LossOptions,
    mask: NDArray[np.bool_] | None,
) -> Objective:
    """Return the objective without the options on logits, of which the targets only heed the mask."""
    reduction = options.reduction
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(
            f"reduction: expected one of {', '.join(REDUCTIONS)}, got {validation.shown(reduction)}"
        )
    smoothing = validation.as_non_negative("label_smoothing", options.label_smoothing)
    if smoothing > 1:
        raise ValueError(f"label_smoothing: expected a number from 0 to 1, got {smoothing}")
    array, ignored = _without_ignored(targets, leading_shape, n_classes, options.ignore_index)
    rows = validation.as_targets(array, leading_shape, n_classes, dtype)
    classes, samples = None, None
    double = np.dtype(np.float64)
    if options.class_weight is not None:
        classes = validation.as_weights("class_weight", options.class_weight, (n_classes,), double)
    if options.sample_weight is not None:
        samples = validation.as_weights(
            "sample_weight", options.sample_weight, leading_shape, double
        )
    if ignored is not None:
        samples = np.where(ignored, 0.0, 1.0 if samples is None else samples)
    if mask is not None:
        rows = _checked_with_mask(rows, mask, samples, leading_shape)
    if _has_extremes(samples) or _has_extremes(classes):
        return _scaled(rows, samples, classes, smoothing, dtype, reduction, ignored, mask)
    if classes is not None:
        classes = classes.astype(dtype)
    total = _total(rows, samples, classes)
    if abs(math.frexp(total)[1]) > _MAX_POWER:
        return _scaled(rows, samples, classes, smoothing, dtype, reduction, ignored, mask)
    weights = None
    if samples is not None or classes is not None or smoothing > 0:
        weights = TargetWeights(samples, classes, smoothing)
    return Objective(rows, weights, reduction, total, ignored)


def _has_extremes(weights: NDArray[np.float64] | None) -> bool:
    if weights is None:
        return False
    counted = weights[weights > 0]
    limit = 2.0**_MAX_POWER
    return bool(counted.size and not (counted.min() > 1 / limit and counted.max() < limit))


def _scaled(
    targets: NDArray[Any],
    samples: NDArray[np.float64] | None,
    classes: NDArray[np.float64] | None,
    smoothing: float,
    dtype: np.dtype[Any],
    reduction: str,
    ignored: NDArray[np.bool_] | None,
    mask: NDArray[np.bool_] | None,
) -> Objective:
    """Return the objective for weights of any size, divided by the power of 2 of the largest row weight.

    Mantissas and exponents are kept apart, so that no product of weights leaves the range of float64. Class
    weights become part of the row weights or, if several classes of a row count, of its targets.
    """
    rows, powers = np.frexp(np.ones(len(targets)) if samples is None else samples)
    parts, part_powers = rows, powers  # of the denominator of the mean
    if classes is not None:
        of_classes, class_powers = np.frexp(classes)
        of_classes = of_classes.astype(dtype).astype(np.float64)  # as precise as other weights
        if targets.ndim == 1:
            parts, part_powers = rows * of_classes[targets], powers + class_powers[targets]
        if targets.ndim == 1 and smoothing == 0:
            rows, powers = parts, part_powers
        else:
            plain = TargetWeights(None, None, smoothing)
            mixed = weighted_targets(targets, plain, len(classes), np.dtype(np.float64), mask)
            mixed, mixed_powers = np.frexp(mixed * of_classes)
            mixed_powers += class_powers
            largest = np.max(mixed_powers, axis=1, where=mixed > 0, initial=_MIN_POWER)
            counts = largest > _MIN_POWER
            rows, largest = np.where(counts, rows, 0.0), np.where(counts, largest, 0)
            targets = np.ldexp(mixed, mixed_powers - largest[:, np.newaxis]).astype(dtype)
            powers, smoothing = powers + largest, 0.0
    power = int(np.max(powers, where=rows > 0, initial=_MIN_POWER)) - 1
    if power < _MIN_POWER:  # no row counts
        power = 0
    if reduction != "mean" and power >= np.finfo(np.float64).maxexp:
        raise ValueError(
            "sample_weight: expected weights whose products with class_weight are within the range "
            "of float64"
        )
    with np.errstate(over="ignore", under="ignore"):
        total = float(np.ldexp(parts, part_powers - power).sum())
        if parts.any():  # the mean may be infinite, but is defined
            total = max(total, float(np.finfo(np.float64).smallest_subnormal))
        weights = TargetWeights(np.ldexp(rows, powers - power), None, smoothing)
    return Objective(targets, weights, reduction, total, ignored, power)


def _without_ignored(
    targets: ArrayLike, leading_shape: tuple[int, ...], n_classes: int, ignore_index: int | None
) -> tuple[ArrayLike, NDArray[np.bool_] | None]:
    """Return the targets with a valid label in ignored rows, and the mask of these rows."""
    if ignore_index is None:
        return targets, None
    if not isinstance(ignore_index, int | np.integer) or isinstance(ignore_index, bool):
        raise TypeError(
            f"ignore_index: expected an integer or None, got {validation.shown(ignore_index)}"
        )
    array = validation.as_array("targets", targets)
    if array.shape == (*leading_shape, n_classes):
        if ignore_index >= 0:  # as in torch, whose default is negative and may stay set
            raise ValueError(
                f"ignore_index: expected None for targets that are probabilities, got {ignore_index}"
            )
        return array, None
    if array.dtype.kind not in "iu" or array.shape != leading_shape:
        return array, None  # the check of the targets reports it
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
    # Not a dot product, whose order of sums is that of a BLAS library and of its threads.
    return float((of_labels if samples is None else samples * of_labels).sum())
