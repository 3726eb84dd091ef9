"""What a fitted model is made of, whoever has set it: a fit, a file, or the user by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import labels, validation
from .._arrays.validation import FloatArray
from ..backends import State
from ..training.averaging import Average
from ..training.config import TrainingConfig
from ..training.standardization import Standardization, carried
from ..training.state import copy_of, shaped, with_velocities
from .sklearn_api import at_one_moment, not_fitted

# Weights, which users may set by hand; and of all else what a model has that no training has touched yet.
_WEIGHTS = ("classes_", "coef_", "intercept_")
_UNTRAINED: dict[str, Any] = {
    "mean_": None,
    "scale_": None,
    "eta0_": None,
    "loss_curve_": (),
    "validation_scores_": None,
    "best_validation_score_": None,
    "n_iter_": 0,
    "t_": 0,
    "_is_centred": False,
    "_moments": None,
    "_step_sizes": None,
    "_velocity": (None, None),
    "_last": None,
    "_average": None,
    "_mean_weight": None,
    "_grows": False,
    "_random": None,
}


class FeaturesOfWeights:
    """`n_features_in_` of weights that were set by hand; `fit` sets an attribute of that name."""

    def __get__(self, model: Any, owner: Any = None) -> int:
        shape: tuple[int, ...] = np.shape(model.coef_) if hasattr(model, "coef_") else ()
        if len(shape) != 2:  # of no model, too: where a class is asked
            raise AttributeError(f"{type(model).__name__} has no attribute 'n_features_in_'")
        return int(shape[1])


def whole(model: Any) -> Any:
    """Return a model with the attributes of this one as they are now, and those that it lacks.

    Raises
    ------
    NotFittedError
        If it has no weights.
    ValueError, TypeError
        If those that were set by hand are not of the right shapes.
    """
    now = at_one_moment(model)
    missing = [name for name in _WEIGHTS if not hasattr(now, name)]
    if "coef_" in missing:
        raise not_fitted(
            f"this {type(model).__name__} is not fitted: call fit or partial_fit first"
        )
    if missing:
        raise not_fitted(
            f"this {type(model).__name__} has coef_, but no {' and no '.join(missing)}: weights that are "
            f"set by hand are {', '.join(_WEIGHTS)}"
        )
    if not isinstance(now.classes_, np.ndarray):
        now.classes_ = labels.as_labels(now.classes_, "classes_")
    if np.ndim(now.coef_) != 2:
        expected = f"({len(now.classes_)}, n_features)"
        raise ValueError(f"coef_: expected shape {expected}, got {np.shape(now.coef_)}")
    now.__dict__ = _UNTRAINED | {"n_features_in_": now.n_features_in_} | now.__dict__
    return now


def to_go_on(model: Any) -> Any:
    """Return the same for training to go on with: averages of weights that were replaced start again.

    Raises
    ------
    ValueError, TypeError
        As `whole`, and if classes that were set by hand are not in order.
    """
    now = whole(model)
    _check_classes(now.classes_, 1 if now._grows else 2)
    if now._average is not None and _are_replaced(now):
        average: Average = now._average
        zeros = None if average.intercept is None else np.zeros_like(average.intercept)
        now._average = replace(
            average, coef=np.zeros(np.shape(now.coef_)), intercept=zeros, n_steps=0
        )
        now._last = None
    return now


def units_of(model: Any) -> Standardization | None:
    """Return the units that a whole model was trained in, None for those of X."""
    if model.mean_ is None or model.scale_ is None:
        return None
    return Standardization(model.mean_, model.scale_, model._is_centred, model._moments)


def parameters_of(model: Any) -> tuple[FloatArray, FloatArray]:
    """Return the weights and the intercept, which the user may have replaced, checked."""
    coef, intercept = shaped_parameters_of(model)
    validation.check_finite("intercept_", intercept)
    validation.check_finite("coef_", coef)
    return coef, intercept


def shaped_parameters_of(model: Any) -> tuple[FloatArray, FloatArray]:
    """Return the same at no cost of the weights' size: some of them may not be finite."""
    shape = (len(model.classes_), model.n_features_in_)
    coef = validation.as_array("coef_", model.coef_)
    dtype = validation.compute_dtype(coef.dtype)
    intercept = shaped("intercept_", model.intercept_, shape[:1], dtype)
    return shaped("coef_", coef, shape, dtype), intercept


def state_of(
    model: Any,
    config: TrainingConfig,
    before: Standardization | None,
    units: Standardization | None,
) -> State:
    """Return a copy of the weights and velocities, in the units of training.

    Of a model that has published averaged weights, the last ones. `before` are the units of its velocities.
    """
    coef, intercept = parameters_of(model)
    if model._last is not None:
        coef, last_intercept = model._last
        intercept = np.zeros(len(coef), coef.dtype) if last_intercept is None else last_intercept
    of_coef, of_intercept = model._velocity
    if of_coef is not None:
        of_coef, of_intercept = carried(of_coef, of_intercept, before, units, coef.dtype)
    velocities = [
        None if velocity is None else velocity.astype(coef.dtype)
        for velocity in (of_coef, of_intercept)
    ]
    kept = intercept if config.fit_intercept else None
    if units is not None:
        coef, kept = units.to_standardized(coef, kept)
    return copy_of(with_velocities(coef, kept, config.rule.momentum, *velocities))


def average_of(
    model: Any,
    config: TrainingConfig,
    before: Standardization | None,
    units: Standardization | None,
) -> Average | None:
    """Return a copy of the average of the weights in the units of training, or None if averaging ends."""
    average: Average | None = model._average
    if average is None or config.averaged_from is None:
        return None
    dtype = parameters_of(model)[0].dtype if model._last is None else model._last[0].dtype
    coef, intercept = carried(average.coef, average.intercept, before, units, dtype)
    return replace(average, coef=coef, intercept=intercept).copy()


def _are_replaced(model: Any) -> bool:
    """Return whether the weights differ from the published mean: changed in place, or by assignment.

    The mean is computed again and compared, which needs no copy; its intercept may be off by a rounding
    where the order of a sum differed.
    """
    coef, intercept = parameters_of(model)
    units, published = units_of(model), model._last
    if model._average.n_steps:
        last_coef, last_intercept = model._last
        published = model._average.weights_of(State(last_coef, last_intercept, None, None))
        if units is not None:
            published = units.to_original(*published)
    mean_coef, mean_intercept = published
    if mean_intercept is None:
        mean_intercept = np.zeros_like(intercept)
    rounding = 0.0
    if units is not None:
        sums = (np.abs(mean_coef.astype(np.float64)) * np.abs(units.mean)).sum(axis=1)
        rounding = mean_coef.shape[1] * np.finfo(mean_coef.dtype).eps * float(sums.max(initial=0))
    return not (
        np.array_equal(coef, mean_coef)
        and np.allclose(intercept, mean_intercept, rtol=0, atol=rounding)
    )


def _check_classes(classes: NDArray[Any], least: int) -> None:
    if classes.ndim != 1 or len(classes) < least:
        raise ValueError(f"classes_: expected at least two labels, got {classes.tolist()}")
    try:
        ascend = bool(np.all(classes[:-1] < classes[1:]))
    except TypeError:
        ascend = False
    if not ascend:
        raise ValueError(f"classes_: expected them sorted and each once, got {classes.tolist()}")
