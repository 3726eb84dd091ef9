"""The attributes of a fitted model, whether a fit, a file or the user has set them."""

from __future__ import annotations  # they name np.random, which is imported on first use

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .._arrays import labels, validation
from .._arrays.csr import SparseRows
from .._arrays.validation import FloatArray
from ..backends import State
from ..persistence import entries
from ..persistence.entries import Scalar, Tensor, integer, or_none
from ..persistence.random_states import generator_from, generator_state
from ..persistence.scalars import labels_as_json, labels_from_json
from ..training.averaging import Average
from ..training.config import TrainingConfig
from ..training.duality_gap import Optimality
from ..training.loop import TrainingRun
from ..training.prediction import Scores
from ..training.standardization import Moments, Standardization, convert_units
from ..training.state import copy_of, shaped, with_velocities
from ..training.step_size import StepSizes
from .sklearn_api import not_fitted, shallow_copy


@dataclass(frozen=True, slots=True)
class Stored:
    """How a model file stores an attribute: `split` makes one part for each entry.

    `join(parts, attributes)` restores the attribute, given the attributes before it.
    """

    entries: tuple[Scalar | Tensor, ...]
    split: Callable[[Any], tuple[Any, ...]] = lambda value: (value,)
    join: Callable[[tuple[Any, ...], Mapping[str, Any]], Any] = lambda parts, _: parts[0]


def _stored(*entries: Scalar | Tensor, **split_and_join: Any) -> dict[str, Any]:
    """Return the metadata of a field whose attribute a model file stores in these entries."""
    return {"stored": Stored(entries, **split_and_join)}


def _read_labels(name: str, written: Any) -> NDArray[Any]:
    try:
        return labels.as_labels(labels_from_json(written, name), name)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _join_names(parts: tuple[Any, ...], attributes: Mapping[str, Any]) -> NDArray[Any] | None:
    if parts[0] is None:
        return None
    n_features = attributes["n_features_in_"]
    if len(parts[0]) != n_features:
        raise ValueError(f"feature_names: expected {n_features}, got {len(parts[0])}")
    return np.array(parts[0], dtype=object)


def _join_list(parts: tuple[Any, ...], _: Mapping[str, Any]) -> list[float] | None:
    return None if parts[0] is None else parts[0].tolist()


def _join_scale(parts: tuple[Any, ...], _: Mapping[str, Any]) -> Any:
    if parts[0] is not None and not (parts[0] > 0).all():
        raise ValueError("scale: expected numbers greater than 0")
    return parts[0]


def _join_is_centred(parts: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
    if parts[0] and attributes["mean_"] is None:
        raise ValueError("is_centred: expected false, or true with a mean")
    return parts[0]


def _join_moments(parts: tuple[Any, ...], attributes: Mapping[str, Any]) -> Moments | None:
    squares, mass = parts
    if (mass is None) != (squares is None):
        raise ValueError("squares: expected both the tensor and its mass, got only one of them")
    if squares is None:
        return None
    if not (squares >= 0).all():
        raise ValueError("squares: expected numbers of 0 or more")
    mean = attributes["mean_"]
    return Moments(mean, np.zeros_like(mean), squares, mass)


def _split_average(average: Average | None) -> tuple[Any, ...]:
    if average is None:
        return None, None, None
    counts = [average.first_sample, average.n_samples, average.n_steps]
    return average.coef, average.intercept, counts


def _join_average(parts: tuple[Any, ...], _: Mapping[str, Any]) -> Average | None:
    coef, intercept, counts = parts
    if (counts is None) != (coef is None):
        raise ValueError("average: expected both the tensor and its counts, got only one of them")
    return None if counts is None else Average(counts[0], coef, intercept, *counts[1:])


def _read_counts(name: str, written: Any) -> list[int]:
    if not isinstance(written, list) or len(written) != 3:
        raise ValueError(f"{name}: expected three counts")
    return [integer(0)(f"{name} {i}", count) for i, count in enumerate(written)]


_UNKNOWN = [None, "the file is of an earlier version, which did not compute a bound"]


def _read_optimality(name: str, written: Any) -> Optimality:
    if not isinstance(written, list) or len(written) != 2 or not isinstance(written[1], str):
        raise ValueError(f"{name}: expected a gap or null, and a reason")
    gap = or_none(entries.number)(f"{name} 0", written[0])
    if gap is not None and gap < 0:
        raise ValueError(f"{name} 0: expected a number of 0 or more, got {gap}")
    return Optimality(gap, written[1])


def _read_strength(name: str, written: Any) -> float:
    number = entries.number(name, written)
    if number < 0:
        raise ValueError(f"{name}: expected a number of 0 or more, got {number}")
    return number


_PATH_COLUMNS = {"alpha", *Scores._fields}


def _read_path(name: str, written: Any) -> list[dict[str, float]]:
    if not isinstance(written, list):
        raise ValueError(f"{name}: expected a list of rows")
    for i, row in enumerate(written):
        if not isinstance(row, dict) or row.keys() != _PATH_COLUMNS:
            raise ValueError(f"{name} {i}: expected a row with {', '.join(sorted(_PATH_COLUMNS))}")
        for column, number in row.items():
            _read_strength(f"{name} {i} {column}", number)
    return written


def _read_step_sizes(name: str, written: Any) -> StepSizes:
    if not isinstance(written, list) or len(written) != 2:
        raise ValueError(f"{name}: expected a mean and a number of samples")
    return StepSizes(entries.positive(f"{name} 0", written[0]), integer(1)(f"{name} 1", written[1]))


_WEIGHTS_SHAPE = ("classes", "features")


@dataclass(frozen=True, eq=False)
class FittedModel:
    """The result of a fit, with a field for each attribute of the fitted classifier.

    Publishing, model files and models whose weights were set by hand use these fields. Shapes and dtypes
    are in the entries: tensors with `is_double` are float64, others float32 or float64. The default of a
    field is its value in a model that was not trained.
    """

    classes_: NDArray[Any] = field(
        metadata=_stored(
            Scalar("classes", lambda value: labels_as_json(np.asarray(value)), _read_labels)
        )
    )
    n_features_in_: int = field(metadata=_stored(Scalar("n_features", int, integer(1))))
    feature_names_in_: NDArray[Any] | None = field(
        metadata=_stored(
            Scalar(
                "feature_names", or_none(lambda names: [*map(str, names)]), or_none(entries.texts)
            ),
            join=_join_names,
        )
    )  # not set where it is None
    coef_: FloatArray = field(metadata=_stored(Tensor("coef", _WEIGHTS_SHAPE, is_needed=True)))
    intercept_: FloatArray = field(
        metadata=_stored(Tensor("intercept", ("classes",), is_needed=True))
    )
    loss_curve_: Sequence[float] = field(
        default=(),
        metadata=_stored(
            Tensor("loss_curve", ("epochs",), is_double=True, is_needed=True),
            join=_join_list,
        ),
    )
    validation_scores_: list[float] | None = field(
        default=None,
        metadata=_stored(
            Tensor("validation_scores", ("scores",), is_double=True),
            join=_join_list,
        ),
    )
    best_validation_score_: float | None = field(
        default=None,
        metadata=_stored(Scalar("best_validation_score", or_none(float), or_none(entries.number))),
    )
    mean_: NDArray[np.float64] | None = field(
        default=None,
        metadata=_stored(Tensor("mean", ("features",), is_double=True, only_with="scale")),
    )
    scale_: NDArray[np.float64] | None = field(
        default=None,
        metadata=_stored(
            Tensor("scale", ("features",), is_double=True, only_with="mean"),
            join=_join_scale,
        ),
    )
    _is_centred: bool = field(
        default=False,
        metadata=_stored(
            Scalar("is_centred", bool, entries.flag),
            join=_join_is_centred,
        ),
    )
    _moments: Moments | None = field(
        default=None,
        metadata=_stored(
            Tensor("squares", ("features",), is_double=True, only_with="mean"),
            Scalar("mass", or_none(float), or_none(entries.positive), since=2),
            split=lambda moments: (
                (None, None) if moments is None else (moments.squares, moments.mass)
            ),
            join=_join_moments,
        ),
    )
    eta0_: float | None = field(
        default=None, metadata=_stored(Scalar("eta0", or_none(float), or_none(entries.positive)))
    )
    optimality_: Optimality = field(
        default=Optimality(None, "the weights were set by hand"),
        metadata=_stored(Scalar("optimality", list, _read_optimality, since=3, before=_UNKNOWN)),
    )
    temperature_: float = field(
        default=1.0,
        metadata=_stored(Scalar("temperature", float, entries.positive, since=4, before=1.0)),
    )
    alpha_: float | None = field(
        default=None,
        metadata=_stored(Scalar("fitted_alpha", or_none(float), or_none(_read_strength), since=3)),
    )
    alpha_path_: list[dict[str, float]] | None = field(
        default=None,
        metadata=_stored(Scalar("alpha_path", or_none(list), or_none(_read_path), since=3)),
    )
    _step_sizes: StepSizes | None = field(
        default=None,
        metadata=_stored(Scalar("step_sizes", or_none(list), or_none(_read_step_sizes), since=2)),
    )
    n_iter_: int = field(default=0, metadata=_stored(Scalar("n_epochs", int, integer(0))))
    t_: int = field(default=0, metadata=_stored(Scalar("n_steps", int, integer(0))))
    _velocity: tuple[FloatArray | None, FloatArray | None] = field(
        default=(None, None),
        metadata=_stored(
            Tensor("coef_velocity", _WEIGHTS_SHAPE),
            Tensor("intercept_velocity", ("classes",)),
            split=tuple,
            join=lambda parts, _: parts,
        ),
    )
    # The weights after the last step, if `coef_` is an average.
    _last: tuple[FloatArray, FloatArray | None] | None = field(
        default=None,
        metadata=_stored(
            Tensor("last_coef", _WEIGHTS_SHAPE),
            Tensor("last_intercept", ("classes",), only_with="last_coef"),
            split=lambda last: (None, None) if last is None else last,
            join=lambda parts, _: None if parts[0] is None else parts,
        ),
    )
    _average: Average | None = field(
        default=None,
        metadata=_stored(
            Tensor("average_coef", _WEIGHTS_SHAPE, is_double=True),
            Tensor("average_intercept", ("classes",), is_double=True, only_with="average_coef"),
            Scalar("average", or_none(list), or_none(_read_counts)),
            split=_split_average,
            join=_join_average,
        ),
    )
    _mean_weight: float | None = field(
        default=None,
        metadata=_stored(Scalar("mean_weight", or_none(float), or_none(entries.positive))),
    )
    # Whether partial_fit accepts new labels.
    _grows: bool = field(default=False, metadata=_stored(Scalar("grows", bool, entries.flag)))
    _random: np.random.Generator | None = field(
        default=None,
        metadata=_stored(
            Scalar(
                "random", or_none(generator_state), or_none(lambda _, state: generator_from(state))
            )
        ),
    )

    @classmethod
    def of(cls, run: TrainingRun, names: NDArray[Any] | None, grows: bool) -> Self:
        """Return the result of a training run.

        `names` are those of the features, and `grows` says whether `partial_fit` may add classes.
        """
        problem = run.problem
        coef, intercept = run.weights()
        last = None
        if run.average is not None:
            last = run.in_units_of_X(run.state.coef, run.state.intercept)
        units = problem.samples.units
        return cls(
            classes_=problem.classes,
            n_features_in_=coef.shape[1],
            feature_names_in_=names,
            coef_=coef,
            intercept_=np.zeros(len(coef), coef.dtype) if intercept is None else intercept,
            loss_curve_=list(run.curve),
            validation_scores_=list(run.scores) if run.scores else None,
            best_validation_score_=max(run.scores, default=None),
            mean_=None if units is None else units.mean,
            scale_=None if units is None else units.scale,
            _is_centred=units is not None and units.is_centred,
            _moments=None if units is None else units.moments,
            eta0_=problem.schedule.eta0 if problem.config.solver == "sgd" else None,
            alpha_=problem.config.alpha,
            alpha_path_=problem.alpha_path,
            optimality_=run.optimality,
            _step_sizes=problem.step_sizes,
            n_iter_=len(run.curve),
            t_=run.n_steps,
            _velocity=(run.state.coef_velocity, run.state.intercept_velocity),
            _last=last,
            _average=run.average,
            _mean_weight=problem.mean_weight,
            _grows=grows,
            _random=run.random,
        )

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the classifier by name."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        if found["feature_names_in_"] is None:
            del found["feature_names_in_"]
        return found


def stored_attributes(model_type: type[FittedModel]) -> dict[str, Stored]:
    """Return how a file stores each attribute, by name."""
    return {each.name: each.metadata["stored"] for each in fields(model_type)}


ATTRIBUTES = stored_attributes(FittedModel)
# Weights, which users may set by hand, and the values of the other attributes in a model that was not
# trained.
_WEIGHTS = ("classes_", "coef_", "intercept_")
_UNTRAINED: dict[str, Any] = {
    each.name: each.default for each in fields(FittedModel) if each.default is not MISSING
}


class FeaturesOfWeights:
    """The attribute `n_features_in_` of weights that were set by hand; `fit` sets its own."""

    def __get__(self, model: Any, owner: Any = None) -> int:
        shape: tuple[int, ...] = np.shape(model.coef_) if hasattr(model, "coef_") else ()
        if len(shape) != 2:  # also if `model` is None, for an access through the class
            raise AttributeError(f"{type(model).__name__} has no attribute 'n_features_in_'")
        return int(shape[1])


def snapshot_of(model: Any) -> Any:
    """Return a consistent shallow copy of a model, completed with the attributes that training would set.

    Raises
    ------
    NotFittedError
        If the model has no weights.
    ValueError, TypeError
        If weights that were set by hand do not have the right shapes.
    """
    now = shallow_copy(model)
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


def snapshot_for_training(model: Any) -> Any:
    """Return a snapshot to continue training from; averages of weights that were replaced start again.

    Raises
    ------
    ValueError, TypeError
        As `snapshot_of`, and if classes that were set by hand are not sorted.
    """
    now = snapshot_of(model)
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
    """Return the units in which a snapshot was trained; None stands for those of X."""
    if model.mean_ is None or model.scale_ is None:
        return None
    return Standardization(model.mean_, model.scale_, model._is_centred, model._moments)


def check_n_features(model: Any, matrix: NDArray[Any] | SparseRows) -> None:
    """Raise unless `matrix` has as many features as the model, with scikit-learn's message.

    Raises
    ------
    ValueError
        If it has another number of columns.
    """
    if matrix.shape[1] != model.n_features_in_:
        raise ValueError(
            f"X has {matrix.shape[1]} features, but {type(model).__name__} is expecting "
            f"{model.n_features_in_} features as input"
        )


def parameters_of(model: Any) -> tuple[FloatArray, FloatArray]:
    """Return weights and intercept, which the user may have replaced, with shapes and values checked."""
    coef, intercept = shaped_parameters_of(model)
    validation.check_finite("intercept_", intercept)
    validation.check_finite("coef_", coef)
    return coef, intercept


def shaped_parameters_of(model: Any) -> tuple[FloatArray, FloatArray]:
    """Return weights and intercept with only their shapes checked, at a cost independent of their size."""
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
    """Return a copy of the weights and velocities in `units`, those of training.

    If the model has averaged weights, the state has the last ones. `before` are the units of its
    velocities.
    """
    coef, intercept = parameters_of(model)
    if model._last is not None:
        coef, last_intercept = model._last
        intercept = np.zeros(len(coef), coef.dtype) if last_intercept is None else last_intercept
    of_coef, of_intercept = model._velocity
    if of_coef is not None:
        of_coef, of_intercept = convert_units(of_coef, of_intercept, before, units, coef.dtype)
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
    """Return a copy of the average of the weights in `units`, or None if training no longer averages."""
    average: Average | None = model._average
    if average is None or config.averaged_from is None:
        return None
    dtype = parameters_of(model)[0].dtype if model._last is None else model._last[0].dtype
    coef, intercept = convert_units(average.coef, average.intercept, before, units, dtype)
    return replace(average, coef=coef, intercept=intercept).copy()


def _are_replaced(model: Any) -> bool:
    """Return whether the weights differ from the published mean, after a change in place or an assignment.

    The mean is computed again and compared, which needs no copy. Its intercept may differ by rounding if
    the order of a sum differed.
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
        raise ValueError(
            f"classes_: expected at least {least} in one dimension, got {classes.tolist()}"
        )
    try:
        ascend = bool(np.all(classes[:-1] < classes[1:]))
    except TypeError:
        ascend = False
    if not ascend:
        raise ValueError(f"classes_: expected them sorted and each once, got {classes.tolist()}")
