"""The interface of scikit-learn's estimators, without inheriting from it or importing it needlessly."""

import copyreg
import sys
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from inspect import Parameter, signature
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from .._optional import import_optional
from ..exceptions import ConvergenceWarning, NotFittedError

_MANY = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
# scikit-learn's constant for a request that stays unchanged.
_UNCHANGED = "$UNCHANGED$"
Request = bool | str | None


class Estimator:
    """The conventions of scikit-learn's estimators: parameters by name, tags, metadata routing, HTML."""

    _estimator_type = "classifier"  # scikit-learn below 1.6 reads this instead of the tags
    # The arguments that scikit-learn's metadata routing may pass to each method.
    _METADATA: ClassVar[Mapping[str, Sequence[str]]] = {
        "fit": ("sample_weight",),
        "score": ("sample_weight",),
    }

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the constructor by name; `deep` has no effect."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the constructor.

        Raises
        ------
        ValueError
            If a name is not a parameter; then no parameter is set.
        """
        for name in params:
            if name not in self._parameters():
                raise ValueError(
                    f"{name}: not a parameter of {type(self).__name__}; "
                    f"the parameters are {', '.join(self._parameters())}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    @classmethod
    def _parameters(cls) -> dict[str, Parameter]:
        """Return the parameters of the constructor, and of those to which it passes ``**parameters``."""
        found: dict[str, Parameter] = {}
        for base in cls.__mro__:
            if "__init__" not in vars(base):
                continue
            parameters = list(signature(vars(base)["__init__"]).parameters.values())[1:]
            kinds = {p.kind for p in parameters}
            named = {p.name: p for p in parameters if p.kind not in _MANY}
            found = named | found
            if Parameter.VAR_KEYWORD not in kinds:
                break
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Return a consistent copy of the attributes, as another thread may train the model."""
        return self.__dict__.copy()

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, parameter in self._parameters().items()
            if repr(getattr(self, name)) != repr(parameter.default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """Return the tags that scikit-learn asks for."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(),
        )

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the model has weights, from `fit`, `partial_fit` or the user."""
        return hasattr(self, "coef_")

    def _repr_html_(self) -> str | None:
        """Return scikit-learn's HTML for notebooks; None if scikit-learn is not loaded."""
        if "sklearn" not in sys.modules:
            return None
        from sklearn.utils import estimator_html_repr

        html: str = estimator_html_repr(self)
        return html

    def set_fit_request(self, *, sample_weight: Request = _UNCHANGED) -> Self:
        """Request the metadata that scikit-learn's routing passes to `fit`.

        Parameters
        ----------
        sample_weight : bool, str or None
            True: pass it. False: do not pass it. None: an error if it is given. A str: pass it under that
            alias.

        Raises
        ------
        RuntimeError
            If scikit-learn's metadata routing is not enabled.
        """
        return self._request("fit", sample_weight=sample_weight)

    def set_score_request(self, *, sample_weight: Request = _UNCHANGED) -> Self:
        """Request the metadata that is routed to `score`; see `set_fit_request`."""
        return self._request("score", sample_weight=sample_weight)

    def get_metadata_routing(self) -> Any:
        """Return the requests as scikit-learn's `MetadataRequest`; scikit-learn calls this method."""
        if hasattr(self, "_metadata_request"):
            return deepcopy(self._metadata_request)
        from sklearn.utils.metadata_routing import MetadataRequest

        requests = MetadataRequest(owner=self)
        for method, names in self._METADATA.items():
            for name in names:
                getattr(requests, method).add_request(param=name, alias=None)
        return requests

    def _request(self, method: str, **aliases: Request) -> Self:
        sklearn = import_optional("sklearn", f"set_{method}_request: needs")
        if not sklearn.get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                f"set_{method}_request: needs metadata routing, which is not enabled: "
                "sklearn.set_config(enable_metadata_routing=True)"
            )
        requests = self.get_metadata_routing()
        for name, alias in aliases.items():
            if alias != _UNCHANGED:
                getattr(requests, method).add_request(param=name, alias=alias)
        self._metadata_request = requests
        return self


class IncrementalEstimator(Estimator):
    """An estimator with `partial_fit`, whose `fit` takes initial weights."""

    _METADATA: ClassVar[Mapping[str, Sequence[str]]] = {
        "fit": ("coef_init", "intercept_init", "sample_weight"),
        "partial_fit": ("classes", "sample_weight"),
        "score": ("sample_weight",),
    }

    def set_fit_request(
        self,
        *,
        coef_init: Request = _UNCHANGED,
        intercept_init: Request = _UNCHANGED,
        sample_weight: Request = _UNCHANGED,
    ) -> Self:
        """Request the metadata that scikit-learn's routing passes to `fit`.

        Parameters
        ----------
        coef_init, intercept_init, sample_weight : bool, str or None
            True: pass it. False: do not pass it. None: an error if it is given. A str: pass it under that
            alias.

        Raises
        ------
        RuntimeError
            If scikit-learn's metadata routing is not enabled.
        """
        return self._request(
            "fit",
            coef_init=coef_init,
            intercept_init=intercept_init,
            sample_weight=sample_weight,
        )

    def set_partial_fit_request(
        self, *, classes: Request = _UNCHANGED, sample_weight: Request = _UNCHANGED
    ) -> Self:
        """Request the metadata that is routed to `partial_fit`; see `set_fit_request`."""
        return self._request("partial_fit", classes=classes, sample_weight=sample_weight)


def shallow_copy(model: Any) -> Any:
    """Return a consistent shallow copy of the model, as another thread may train it."""
    now = object.__new__(type(model))
    now.__dict__.update(model.__dict__)  # atomic, as publishing is
    return now


def not_fitted(message: str) -> NotFittedError:
    """Return a NotFittedError, which is also scikit-learn's if scikit-learn is loaded."""
    error: NotFittedError = _joined_with_sklearn(NotFittedError)(message)
    return error


def warn_of_max_iter(
    max_iter: int,
    reason: str,
    standardize_may_help: bool,
    stacklevel: int = 4,
    *,
    uses_tol: bool = True,
) -> None:
    """Warn that `fit` ended at `max_iter` before it converged, and advise what to change."""
    advice = f"raise max_iter (it is {max_iter})" + " or tol" * uses_tol
    if standardize_may_help:
        advice += ", or use standardize=True: with columns on one scale it needs fewer epochs"
    warn_not_converged(f"fit ended at max_iter {reason}: {advice}", stacklevel)


def warn_of_rounding(gap: float, tol: float | None, dtype: Any, stacklevel: int) -> None:
    """Warn that rounding ended `fit` before `tol`, with advice."""
    advice = "raise tol" if dtype == np.float64 else "raise tol, or convert X to float64"
    warn_not_converged(
        f"fit ended where rounding of {dtype} lets no step find a smaller objective, at a gap of at most "
        f"{gap:.2g} of it, above tol={tol:g}: {advice}",
        stacklevel,
    )


def warn_of_small_features(norm: float, n_epochs: int, stacklevel: int) -> None:
    """Warn that `tol` ended `fit` although the loss may be far from its minimum, with advice."""
    warn_not_converged(
        f"fit stopped by tol after {n_epochs} epochs, but the rows of X are small next to the intercept's "
        f"1 (the root mean square of their norms is {norm:.2g}), so that the weights of the features grow "
        "slowly: use standardize=True, multiply X, or lower tol",
        stacklevel,
    )


def warn_not_converged(message: str, stacklevel: int) -> None:
    """Warn (`ConvergenceWarning`, also scikit-learn's if that is loaded), with the caller's level."""
    warnings.warn(message, _joined_with_sklearn(ConvergenceWarning), stacklevel=stacklevel + 1)


class _JoinedClass(type):
    """The metaclass of classes that are both this package's and scikit-learn's."""


def _joined_with_sklearn(ours: type[Any]) -> type[Any]:
    """Return a class that also derives from scikit-learn's of the same name if scikit-learn is loaded."""
    if "sklearn.exceptions" not in sys.modules:
        return ours
    theirs = getattr(sys.modules["sklearn.exceptions"], ours.__name__)
    if ours not in _joined_classes:
        _joined_classes[ours] = _JoinedClass(
            ours.__name__, (ours, theirs), {"__module__": ours.__module__}
        )
    return _joined_classes[ours]


_joined_classes: dict[type[Any], type[Any]] = {}  # made once: warning filters compare classes


def _ours(both: Any) -> Any:
    """Pickle a joined class as this package's class, which is joined again where it is loaded."""
    return _joined_with_sklearn, both.__bases__[:1]


copyreg.pickle(_JoinedClass, _ours)


def as_vector(y: Any) -> Any:
    """Return labels in one dimension; a column of labels gets scikit-learn's warning."""
    if y is None:
        raise ValueError("y: the classifier requires y to be passed, but the target y is None")
    if hasattr(y, "toarray"):
        raise TypeError(
            f"y: expected a list or a dense array, got a sparse {type(y).__name__}: y.toarray() is dense"
        )
    if isinstance(y, list | tuple) and y and _is_column(y):
        y = np.asarray(y)
    shape = getattr(y, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] != 1:
        return y
    warn_of_column(stacklevel=5)
    return np.asarray(y)[:, 0]


def warn_of_column(stacklevel: int) -> None:
    """Warn that labels are a column instead of one dimension, in scikit-learn's words."""
    category: type[Warning] = UserWarning
    if "sklearn.exceptions" in sys.modules:
        category = sys.modules["sklearn.exceptions"].DataConversionWarning
    warnings.warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
        "(n_samples,), for example by ravel().",
        category,
        stacklevel=stacklevel,
    )


def _is_column(y: Sequence[Any]) -> bool:
    return all(isinstance(row, list | tuple | np.ndarray) and len(row) == 1 for row in y)


def feature_names_of(X: Any) -> NDArray[Any] | None:
    """Return the column names of a frame or an Arrow table, or None if there are none.

    Raises
    ------
    TypeError
        If some names are strings and some are not.
    """
    columns = getattr(X, "columns", None)
    if columns is None or isinstance(X, np.ndarray):
        return None
    are_strings = [isinstance(name, str) for name in columns]
    # The columns of an Arrow table are the values.
    if not any(are_strings) and hasattr(X, "column_names"):
        columns = X.column_names
        are_strings = [True] * len(columns)
    names = np.asarray(list(columns), dtype=object)
    if any(are_strings) and not all(are_strings):
        raise TypeError(
            "X: Feature names are only supported if all input features have string names, "
            "but your input has some of another type: convert them, X.columns = X.columns.astype(str)"
        )
    return names if all(are_strings) and len(names) else None


def check_feature_names(model: Any, X: Any, stacklevel: int) -> None:
    """Check that the column names are those of the training data.

    Raises
    ------
    ValueError
        If the names or their order differ.
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
                stacklevel=stacklevel,
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
