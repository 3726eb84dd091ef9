"""scikit-learn's callbacks (`sklearn.callback`, since version 1.9), which see the tasks of a fit."""

from collections.abc import Callable
from typing import Any, Self, TypeVar

from .._optional import import_optional

Result = TypeVar("Result")


class CallbackSupport:
    """The method of an estimator that takes scikit-learn's callbacks."""

    _skl_callbacks: list[Any]  # by scikit-learn; missing if there are none

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Set scikit-learn's callbacks, such as `sklearn.callback.ProgressBar` and `ScoringMonitor`.

        They see `fit` as a task, with a subtask for each epoch or iteration, and may stop it. A pipeline or
        a grid search passes on its own. `clone` keeps them; model files do not.

        Parameters
        ----------
        *callbacks : objects that follow the protocol `sklearn.callback.FitCallback`
            None at all removes those that were set.

        Returns
        -------
        self
            This object.

        Raises
        ------
        ImportError
            If scikit-learn is not installed, or is older than 1.9.
        TypeError
            If an object does not follow the protocol.
        """
        support = import_optional(
            "sklearn.callback", "set_callbacks: needs at least version 1.9 of"
        )
        support.CallbackSupportMixin.set_callbacks(self, *callbacks)
        return self


class FitTasks:
    """The tasks of a fit that callbacks see: each epoch is one."""

    def __init__(
        self,
        estimator: Any,
        context: Any,
        unit: str,
        attributes: Callable[[Any], dict[str, Any]],
        data: dict[str, Any],
    ) -> None:
        self._estimator, self._context, self._unit = estimator, context, unit
        self._attributes, self._data = attributes, data
        self._epoch: Any = None

    def begin(self, make_model: Callable[[], Any]) -> None:
        """Tell the callbacks that an epoch begins."""
        self._epoch = self._context.subcontext(task_name=self._unit)
        self._epoch.call_on_fit_task_begin(**self._arguments(make_model))

    def end(self, make_model: Callable[[], Any]) -> bool:
        """Tell the callbacks that the epoch has ended, and return whether one of them stops the fit."""
        return bool(self._epoch.call_on_fit_task_end(**self._arguments(make_model)))

    def _arguments(self, make_model: Callable[[], Any]) -> dict[str, Any]:
        return {
            "estimator": self._estimator,
            **self._data,
            # Called only if a callback asks for a fitted estimator.
            "reconstruction_attributes": lambda: self._attributes(make_model()),
        }


def with_tasks(
    estimator: Any,
    fit: Callable[[FitTasks | None], Result],
    max_iter: int,
    unit: str,
    attributes: Callable[[Any], dict[str, Any]],
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
) -> Result:
    """Return what `fit` returns, which gets the tasks to report to, or None without callbacks.

    `attributes` returns the fitted attributes of what `fit` passes as a model. A meta-estimator's callbacks
    become part of this fit's, as scikit-learn defines it.
    """
    if not getattr(estimator, "_skl_callbacks", None):
        return fit(None)
    support = import_optional("sklearn.callback", "callbacks: need at least version 1.9 of")
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    data = {"X": X, "y": y, "metadata": metadata}

    def managed(estimator: Any) -> Result:
        begin = support.CallbackSupportMixin._init_callback_context
        context = begin(estimator, max_subtasks=max_iter)
        context.call_on_fit_task_begin(estimator=estimator, **data)
        result = fit(FitTasks(estimator, context, unit, attributes, data))
        context.call_on_fit_task_end(estimator=estimator, **data, reconstruction_attributes={})
        return result

    result: Result = support.with_callbacks(managed)(estimator)
    return result
