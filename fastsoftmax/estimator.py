"""What scikit-learn asks of an estimator, without inheriting from it or importing it before it is there."""

import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .exceptions import ConvergenceWarning, NotFittedError


def tags() -> Any:
    """Return what scikit-learn, which asks for it, wants to know of the classifier."""
    from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

    return Tags(
        estimator_type="classifier",
        target_tags=TargetTags(required=True),
        classifier_tags=ClassifierTags(),
        input_tags=InputTags(sparse=True),
    )


def not_fitted(message: str) -> NotFittedError:
    """Return the error, which is scikit-learn's as well where that is loaded."""
    error: NotFittedError = _also_theirs(NotFittedError)(message)
    return error


def warn_of_max_iter(max_iter: int, standardize_may_help: bool) -> None:
    """Say that `fit` has ended before the loss has stopped falling, and what to do about it."""
    advice = f"raise max_iter (it is {max_iter}) or tol"
    if standardize_may_help:
        advice += ", or use standardize=True: with columns on one scale it takes fewer epochs"
    warnings.warn(
        f"fit ended at max_iter while the loss still fell: {advice}",
        _also_theirs(ConvergenceWarning),
        stacklevel=3,
    )


def _also_theirs(ours: type[Any]) -> type[Any]:
    """A class of ours, which is scikit-learn's of the same name as well where that is loaded."""
    if "sklearn.exceptions" not in sys.modules:
        return ours
    theirs = getattr(sys.modules["sklearn.exceptions"], ours.__name__)
    if ours not in _of_both:
        _of_both[ours] = type(ours.__name__, (ours, theirs), {})
    return _of_both[ours]


_of_both: dict[type[Any], type[Any]] = {}  # made once: warnings are told apart by their class


def html_of(model: Any) -> str | None:
    """Return scikit-learn's picture of an estimator for notebooks; None where it is not loaded."""
    if "sklearn" not in sys.modules:
        return None
    from sklearn.utils import estimator_html_repr

    html: str = estimator_html_repr(model)
    return html


def as_vector(y: Any) -> Any:
    """Return labels as one dimension: a column of them too, which scikit-learn warns of."""
    if y is None:
        raise ValueError("y: the classifier requires y to be passed, but the target y is None")
    shape = getattr(y, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] != 1:
        return y
    category: type[Warning] = UserWarning
    if "sklearn.exceptions" in sys.modules:
        category = sys.modules["sklearn.exceptions"].DataConversionWarning
    warnings.warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
        "(n_samples,), for example by ravel().",
        category,
        stacklevel=3,
    )
    return np.asarray(y)[:, 0]


def feature_names_of(X: Any) -> NDArray[Any] | None:
    """Return the columns' names of a pandas or polars frame, and None where there are none.

    Raises
    ------
    TypeError
        If some names are strings and some are not.
    """
    columns = getattr(X, "columns", None)
    if columns is None or isinstance(X, np.ndarray):
        return None
    names = np.asarray(list(columns), dtype=object)
    are_strings = [isinstance(name, str) for name in names]
    if any(are_strings) and not all(are_strings):
        raise TypeError(
            "X: Feature names are only supported if all input features have string names, "
            "but your input has some of another type: convert them, X.columns = X.columns.astype(str)"
        )
    return names if all(are_strings) and len(names) else None


def check_feature_names(model: Any, X: Any) -> None:
    """Compare the columns' names with those of the training data.

    Raises
    ------
    ValueError
        If they are others, or in another order.
    """
    names, expected = feature_names_of(X), getattr(model, "feature_names_in_", None)
    if names is None or expected is None:
        if (names is None) != (expected is None):
            name = type(model).__name__
            warnings.warn(
                f"X has feature names, but {name} was fitted without feature names"
                if expected is None
                else f"X does not have valid feature names, but {name} was fitted with feature names",
                UserWarning,
                stacklevel=4,
            )
        return
    if len(names) == len(expected) and (names == expected).all():
        return
    message = "The feature names should match those that were passed during fit.\n"
    unexpected = sorted(set(names) - set(expected))
    missing = sorted(set(expected) - set(names))
    if unexpected:
        message += "Feature names unseen at fit time:\n" + _listed(unexpected)
    if missing:
        message += "Feature names seen at fit time, yet now missing:\n" + _listed(missing)
    if not unexpected and not missing:
        message += "Feature names must be in the same order as they were in fit.\n"
    raise ValueError(message)


def _listed(names: list[str]) -> str:
    shown = "".join(f"- {name}\n" for name in names[:5])
    return shown + ("- ...\n" if len(names) > 5 else "")
