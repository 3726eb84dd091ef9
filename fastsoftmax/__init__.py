"""Softmax regression by minibatch SGD, and the loss core under it, fast on the CPU."""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import datasets, lecture, plotting, schedules
    from .classifier import SoftmaxClassifier, load
    from .classifier.evaluation import Evaluation, evaluate
    from .classifier.grid_search import SearchResult, search
    from .classifier.logistic_regression import LogisticRegression
    from .classifier.logistic_regression_cv import LogisticRegressionCV
    from .cli.notebook import BenchResult, bench
    from .exceptions import (
        ClusterError,
        ConvergenceWarning,
        DivergenceError,
        ModelFileError,
        NotFittedError,
    )
    from .loss import (
        GradientCheck,
        LinearGradients,
        RowMetrics,
        check_gradient,
        cross_entropy,
        linear_cross_entropy,
        log_softmax,
        logsumexp,
        numerical_gradient,
        penalty,
        softmax,
        softmax_cross_entropy,
    )
    from .profiling import profile
    from .training.gradient_sums import GradientSum, apply_gradient, loss_gradient_sum

__all__ = [
    "BenchResult",
    "ClusterError",
    "ConvergenceWarning",
    "DivergenceError",
    "Evaluation",
    "GradientCheck",
    "GradientSum",
    "LinearGradients",
    "LogisticRegression",
    "LogisticRegressionCV",
    "ModelFileError",
    "NotFittedError",
    "RowMetrics",
    "SearchResult",
    "SoftmaxClassifier",
    "__version__",
    "apply_gradient",
    "bench",
    "check_gradient",
    "cross_entropy",
    "datasets",
    "evaluate",
    "get_include",
    "lecture",
    "linear_cross_entropy",
    "load",
    "log_softmax",
    "logsumexp",
    "loss_gradient_sum",
    "numerical_gradient",
    "penalty",
    "plotting",
    "profile",
    "schedules",
    "search",
    "softmax",
    "softmax_cross_entropy",
]

# Where each public name lives. A module is imported when one of its names is first asked for, so that
# `import fastsoftmax` alone takes a millisecond and does not even import NumPy.
_NAMES = {
    "classifier": ["SoftmaxClassifier", "load"],
    "classifier.evaluation": ["Evaluation", "evaluate"],
    "classifier.grid_search": ["SearchResult", "search"],
    "cli.notebook": ["BenchResult", "bench"],
    "classifier.logistic_regression": ["LogisticRegression"],
    "classifier.logistic_regression_cv": ["LogisticRegressionCV"],
    "exceptions": [
        *("ClusterError", "ConvergenceWarning", "DivergenceError", "ModelFileError"),
        "NotFittedError",
    ],
    "loss": [
        *("GradientCheck", "check_gradient", "numerical_gradient"),
        *("LinearGradients", "RowMetrics", "linear_cross_entropy", "penalty"),
        *("cross_entropy", "log_softmax", "logsumexp", "softmax", "softmax_cross_entropy"),
    ],
    "profiling": ["profile"],
    "training.gradient_sums": ["GradientSum", "apply_gradient", "loss_gradient_sum"],
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}


def get_include() -> str:
    """Return the folder of ``fastsoftmax.h``, the C API's header; ``c_api.pxd`` wraps it for Cython."""
    from pathlib import Path

    return str(Path(__file__).with_name("include"))


def __getattr__(name: str) -> object:
    if name == "C_API":  # the capsule that fastsoftmax.h imports
        try:
            value: object = import_module(".backends.compiled", __name__).C_API
        except ImportError as error:  # hasattr is to be False in a pure build
            raise AttributeError(
                f"module {__name__!r} has no attribute 'C_API': there is no compiled backend: {error}"
            ) from error
    elif name in _HOME:
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    elif name in __all__:
        value = import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
