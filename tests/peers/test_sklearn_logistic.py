"""scikit-learn's own tests of `LogisticRegression` and of its CV, run with this package's classes instead.

Errors and warnings are compared by type, not by their words.
"""

import importlib.util
import inspect
from fnmatch import fnmatch
from pathlib import Path
from unittest import mock

import pytest
import sklearn.linear_model

import fastsoftmax

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

CLASSES = ("LogisticRegression", "LogisticRegressionCV")
_ANY_SOLVER = "a solver has no limits here: each name takes any l1_ratio and any number of classes"
_OWN_SOLVER = "the iterations are those of this package's solver"
_ROUTING = "metadata are not routed to scorers and splitters"
DOES_NOT_APPLY = {
    "test_check_solver_option*": _ANY_SOLVER,
    "test_liblinear_multiclass_raises*": _ANY_SOLVER,
    "test_liblinear_dual_random_state": "results do not depend on random_state",
    "test_logreg_predict_proba_multinomial": "calls a private method",
    "test_warm_start_newton_solver*": f"{_OWN_SOLVER}: a warm start has no memory of steps",
    "test_newton_cholesky_fallback_to_lbfgs": f"{_OWN_SOLVER}, which goes on beyond tol",
    "test_dtype_match*liblinear*": "float32 stays float32 whatever the name of the solver",
    "test_large_sparse_matrix*liblinear*": "indices may have 64 bits",
    "test_large_sparse_matrix*sag*": "indices may have 64 bits",
    "test_liblinear_with_large_values": "no solver freezes; the fit warns",
    "test_logisticregression_warns_with_n_jobs": "n_jobs has an effect",
    "test_logistic_regression_callback_support *": "an iteration that does not run is no task",
    "test_logistic_regression_callback_support_warning": _ANY_SOLVER,
    "*array_api*": "arrays of other libraries are converted to NumPy's",
    "*_path*": "tests a private function",
    "test_logistic_cv_multinomial_score*": "tests a private function",
    "test_get_default_scorer": "calls a private method",
    "test_lr_cv_scores_differ_when_sample_weight_is_requested": _ROUTING,
    "test_passing_params_without_enabling_metadata_routing": _ROUTING,
}


class AnyWords:
    """pytest, except that it does not compare the words of errors and warnings."""

    def __getattr__(self, name):
        return getattr(pytest, name)

    @staticmethod
    def raises(expected, match=None):  # noqa: ARG004
        return pytest.raises(expected)

    @staticmethod
    def warns(expected, match=None):  # noqa: ARG004
        return pytest.warns(expected)


def their_module():
    """Their module of tests, imported while this package's classes have the names of theirs."""
    file = Path(sklearn.linear_model.__file__).with_name("tests") / "test_logistic.py"
    spec = importlib.util.spec_from_file_location("their_test_logistic", file)
    module = importlib.util.module_from_spec(spec)
    ours = {name: getattr(fastsoftmax, name) for name in CLASSES}
    with mock.patch.multiple(sklearn.linear_model, **ours):
        spec.loader.exec_module(module)
    module.pytest = AnyWords()
    return module


def their_tests(module):
    """Their tests that use the classes. Those for Array API have parameters that pytest deprecates."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.startswith("test_")
        and "array_api" not in name
        and CLASSES[0] in inspect.getsource(value)
    }


globals().update(their_tests(their_module()))


@pytest.fixture
def global_random_seed():
    return 42


@pytest.fixture(autouse=True)
def _skip_what_does_not_apply(request):
    for pattern, reason in DOES_NOT_APPLY.items():
        if fnmatch(request.node.name.replace("[", " "), pattern):
            pytest.skip(reason)
