"""`LogisticRegression`: scikit-learn's estimator of that name, solved by this package."""

from __future__ import annotations  # they name np.random, which is imported on first use

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.inputs import as_samples
from .._arrays.labels import listed
from .._arrays.validation import FloatArray
from .._optional import import_optional
from ..backends import State, in_default_float_state
from ..training.config import TrainingConfig, generator_of
from ..training.duality_gap import Optimality
from ..training.lbfgs import Point
from ..training.path import solve_path
from ..training.problem import Problem, prepare
from ..training.solver_run import SolverRun
from ..training.state import state_at
from ..training.targets import targets_of
from . import sklearn_api
from .calibration import Calibration, warn_of_dropped
from .classifier import SoftmaxClassifier
from .fitted_model import FeaturesOfWeights, snapshot_of
from .parameters import config_of
from .prediction_methods import PredictionMethods
from .sklearn_callbacks import CallbackSupport, FitTasks, with_tasks

SOLVERS = ("lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga")
PENALTIES: dict[str | None, float | None] = {  # and the l1_ratio, if they fix it
    "l1": 1.0,
    "l2": 0.0,
    "elasticnet": None,
    None: 0.0,
}
# A fit goes on until the gradient is this share of tol, as its digits are those of the weights. Near the
# minimum the last six, at the default tol, take one or two more of Newton's iterations, and one to three
# times as many as the first four by L-BFGS. Float32 has fewer digits.
_SHARE = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-3}
# The fits on folds are scored, for which fewer digits do.
SHARE_ON_FOLDS = 1e-2
# Where rounding lets no step lower the objective, a gradient up to the default tol is no failure.
_SMALL_SLOPE = 1e-4


@dataclass
class GradientRun(SolverRun):
    """A run that ends when the largest entry of the gradient, in place of the gap, is at most `limit`.

    With L1 the gradient is the subgradient of least norm.
    """

    limit: float = 0.0

    @property
    def largest_slope(self) -> float:
        """The largest entry of the gradient at the present weights; infinite before the first iteration."""
        return np.inf if self.optimality.gap is None else self.optimality.gap

    def for_problem(self, problem: Problem) -> Self:
        """Return a run on the same rows from these weights, which ends at the same limit."""
        run = super().for_problem(problem)
        run.limit = self.limit
        return run

    @property
    def remark(self) -> str:
        """Nothing: the bound of the gap is not published."""
        return ""

    def meets_tol(self) -> bool:
        """Return whether no entry of the gradient is above `limit`."""
        return self.largest_slope <= self.limit

    def apply_stopping_rules(self, value: float) -> bool:  # noqa: ARG002 - the gradient is the rule
        """Return whether the gradient is small enough, or no step lowers the objective."""
        return self.is_at_rest or self.meets_tol()

    def finish(self) -> None:
        """Do nothing: the bound of the gap, which takes a pass in float64, is not published."""

    def _optimality(self, point: Point) -> Optimality:
        slope = float(np.abs(self.solver.slopes(point)).max())
        return Optimality(slope if isfinite(slope) else None, "the gradient is not finite")


class LogisticRegression(sklearn_api.Estimator, CallbackSupport, PredictionMethods, Calibration):
    """scikit-learn's `LogisticRegression`: its parameters, its attributes and its minimum, to more digits.

    Minimises, over the training data, with the weights s_i of the samples times those of their classes::

        C * sum(s_i * l_i) + (1 - l1_ratio) / 2 * sum(coef_**2) + l1_ratio * sum(|coef_|)

    where ``l_i = -log softmax(z_i)_{y_i}`` and ``z_i = coef_ @ x_i + intercept_``. Two classes have one row
    of weights, and the logits 0 and z_i. The intercept is not penalised.

    Parameters
    ----------
    penalty : {"deprecated", "l1", "l2", "elasticnet"} or None, default "deprecated"
        Deprecated, as in scikit-learn: another value than the default warns. "l1" stands for
        ``l1_ratio=1``, "l2" for ``l1_ratio=0``, "elasticnet" for `l1_ratio` as it is, and None for
        ``C=numpy.inf``.
    C : float, default 1.0
        The inverse of the strength of the penalty, greater than 0; ``numpy.inf`` for no penalty.
    l1_ratio : float, default 0.0
        The share of L1 in the penalty, from 0 to 1. None is deprecated and stands for 0.
    dual : bool, default False
        True is accepted with solver "liblinear" and ``l1_ratio=0``, and changes nothing.
    tol : float, default 1e-4
        0 or more. Convergence means, as for scikit-learn's "lbfgs", that no entry of the gradient of the
        objective, divided by ``C * sum(s_i)``, exceeds `tol`. A fit goes on beyond that, until none exceeds
        ``1e-6 * tol``, or ``1e-3 * tol`` in float32, or `max_iter` ends it.
    fit_intercept : bool, default True
        Whether to learn an intercept.
    intercept_scaling : float, default 1
        Greater than 0; ignored, as the intercept is not penalised.
    class_weight : mapping of label to number, "balanced" or None, default None
        The weight of the samples of each class, 1 for labels that are not in the mapping; "balanced" is
        ``sum(sample_weight) / (n_classes * sum(sample_weight of the class))``.
    random_state : int, Generator, RandomState, numpy.random or None, default None
        Ignored: a fit depends on no random numbers.
    solver : {"lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"}, default "lbfgs"
        Ignored: all names stand for this package's solver, which takes any `l1_ratio` and any number of
        classes: Newton's method for small problems without L1, else L-BFGS. In scikit-learn "liblinear"
        penalises the intercept too; here nothing does.
    max_iter : int, default 100
        The maximum number of iterations, 0 or more.
    verbose : int or bool, default 0
        Whether to print the objective, divided by ``C * sum(s_i)``, of every iteration, as its loss.
    warm_start : bool, default False
        Whether `fit` starts from the present `coef_` and `intercept_` instead of zeros.
    n_jobs : int or None, default None
        The number of threads, as in `SoftmaxClassifier`: None and -1 stand for all.

    Attributes
    ----------
    coef_ : ndarray, shape (n_classes, n_features), or (1, n_features) with two classes
        The weights, float32 if `X` was float32, float16 or uint8, else float64; a sparse matrix after
        `sparsify`.
    intercept_ : ndarray, shape (n_classes,), or (1,) with two classes
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted.
    n_iter_ : ndarray of int32, shape (1,)
        The number of iterations.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features,)
        The names of the columns, if `X` was a frame whose names are all strings.
    temperature_ : float
        The number by which the logits are divided in probabilities: 1.0 after `fit`; see `calibrate`.

    Notes
    -----
    `fit` and predictions accept all that `SoftmaxClassifier` does: `X` of any real dtype, dense or sparse,
    frames, and rows of probabilities as `y`. An exception leaves the attributes as before the call.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning (2006), section 4.3.4.

    Examples
    --------
    >>> from fastsoftmax import LogisticRegression
    >>> X, y = [[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.9, 0.1]], ["up", "right", "up", "right"]
    >>> LogisticRegression(C=10).fit(X, y).predict([[0.2, 0.8]]).tolist()
    ['up']
    """

    backend = "auto"
    coef_: Any
    intercept_: FloatArray
    classes_: NDArray[Any]
    n_features_in_ = FeaturesOfWeights()
    feature_names_in_: NDArray[Any]
    n_iter_: NDArray[np.int32]

    def __init__(
        self,
        penalty: str | None = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        dual: bool = False,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: Mapping[Any, float] | str | None = None,
        random_state: int | np.random.Generator | np.random.RandomState | None = None,
        solver: str = "lbfgs",
        max_iter: int = 100,
        verbose: int | bool = 0,
        warm_start: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.dual = dual
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_jobs = n_jobs

    @in_default_float_state
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Minimise the objective.

        Parameters
        ----------
        X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)
        y : array_like of labels, shape (n_samples,), or of probabilities, shape (n_samples, n_classes)
            As in `SoftmaxClassifier.fit`.
        sample_weight : array_like of real numbers, shape (n_samples,), optional
            The weights of the samples, 0 or more. A weight of 2 equals two such samples.

        Returns
        -------
        LogisticRegression
            This object.

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data are not as described; the message names them.
        KeyboardInterrupt
            On Ctrl-C. Whatever the error, the attributes are as before the call.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` ended the fit while an entry of the gradient was above `tol`, or rounding did
            while one was above 1e-4 as well.
        """
        C, l1_ratio = self._penalty(stacklevel=4)
        problem, names = self._problem(X, y, sample_weight)
        start = problem.zero_state()
        if self.warm_start and self.__sklearn_is_fitted__():
            start = self._start(start)
            warn_of_dropped(self)
        alpha = strength_of(problem, C, "C")

        def fitted(tasks: FitTasks | None) -> GradientRun:
            run = next(fit_strengths(problem, start, [alpha], l1_ratio, self.tol, tasks=tasks))
            n_iter = np.array([len(run.curve)], np.int32)
            self._publish(names, n_iter_=n_iter, **attributes_of(run))
            return run

        max_iter = problem.config.max_iter
        data = (X, y, sample_weight)
        run = with_tasks(self, fitted, max_iter, "iteration", attributes_of, *data)
        warn_of_end(run, self.tol, stacklevel=4)
        return self

    def _problem(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[Problem, NDArray[Any] | None]:
        """Return the problem without a penalty, and the names of the features, all checked."""
        config = self._config()
        generator_of(self.random_state, draws=False)
        matrix, names = as_samples(X), sklearn_api.feature_names_of(X)
        targets = targets_of(
            *(sklearn_api.as_vector(y), len(matrix), validation.training_dtype(matrix.dtype)),
            *(sample_weight, self.class_weight),
        )
        if len(targets.classes) < 2:
            [label] = listed(targets.classes)
            raise ValueError(f"y: expected at least two classes, got one class: {label!r}")
        return prepare(config, matrix, targets, targets.rows), names

    def _publish(self, names: NDArray[Any] | None, **attributes: Any) -> None:
        if names is None:
            self.__dict__.pop("feature_names_in_", None)
        else:
            attributes["feature_names_in_"] = names
        self.__dict__.update(attributes)  # atomic

    def sparsify(self) -> Self:
        """Convert `coef_` to SciPy's CSR format, for many weights of 0; return this object."""
        snapshot_of(self)
        self.coef_ = import_optional("scipy.sparse", "sparsify needs").csr_matrix(self.coef_)
        return self

    def densify(self) -> Self:
        """Convert `coef_` back to an array; return this object."""
        snapshot_of(self)
        self.coef_ = _as_dense(self.coef_)
        return self

    def __sklearn_tags__(self) -> Any:
        """Return the tags for scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _snapshot(self) -> Any:
        now = snapshot_of(self)
        now.coef_ = _as_dense(now.coef_)
        if len(now.classes_) != 2:
            return now
        for name in ("coef_", "intercept_"):
            value = validation.as_array(name, getattr(now, name))
            if len(value) != 1:
                raise ValueError(
                    f"{name}: expected one row for two classes, got shape {np.shape(value)}"
                )
            setattr(now, name, np.concatenate([np.zeros_like(value), value]))
        return now

    def _start(self, zeros: State) -> State:
        """Return the present weights, as a state of the shape of `zeros`."""
        now = self._snapshot()
        coef, intercept = np.asarray(now.coef_), np.asarray(now.intercept_)
        if coef.shape != zeros.coef.shape:
            raise ValueError(
                f"warm_start: expected as many classes and features as before, {coef.shape}, "
                f"got {zeros.coef.shape}"
            )
        if len(coef) == 2:  # the rows of least norm
            coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
        return state_at(coef, None if zeros.intercept is None else intercept, zeros, None)

    def _config(self) -> TrainingConfig:
        """Return the configuration of the solver, after a check of all parameters but the penalty's."""
        if self.solver not in SOLVERS:
            raise ValueError(
                f"solver: expected one of {', '.join(SOLVERS)}, got {validation.shown(self.solver)}"
            )
        validation.as_non_negative("tol", self.tol)
        positive("intercept_scaling", self.intercept_scaling)
        softmax = SoftmaxClassifier(
            solver="lbfgs",
            tol=None,
            class_weight=self.class_weight,
            fit_intercept=self.fit_intercept,
            warm_start=self.warm_start,
            verbose=self.verbose,
            n_jobs=self.n_jobs,
        )
        max_iter = validation.as_integer("max_iter", self.max_iter, 0)
        return replace(config_of(softmax), max_iter=max_iter)

    def _penalty(self, stacklevel: int) -> tuple[float, float]:
        """Return C and l1_ratio, checked, as the deprecated `penalty` may change them."""
        C, l1_ratio = positive("C", self.C), self.l1_ratio
        if self.penalty != "deprecated":
            C, l1_ratio = self._with_penalty(C, stacklevel + 1)
        elif l1_ratio is None:
            warn_deprecated("l1_ratio: None is deprecated, use 0", stacklevel + 1)
            l1_ratio = 0.0
        ratio = checked_ratio("l1_ratio", l1_ratio)
        self._check_dual(ratio)
        return C, ratio

    def _check_dual(self, l1_ratio: float) -> None:
        if as_flag("dual", self.dual) and (self.solver != "liblinear" or l1_ratio):
            raise ValueError(
                "dual: expected False, or True with solver='liblinear' and L2 alone, "
                f"got True with solver={self.solver!r} and l1_ratio={l1_ratio:g}"
            )

    def _with_penalty(self, C: float, stacklevel: int) -> tuple[float, float | None]:
        penalty = self.penalty
        if not isinstance(penalty, str | None) or penalty not in PENALTIES:
            raise ValueError(
                "penalty: expected 'deprecated', 'l1', 'l2', 'elasticnet' or None, "
                f"got {validation.shown(penalty)}"
            )
        warn_deprecated(
            "penalty: deprecated, use l1_ratio, and C=numpy.inf for no penalty", stacklevel + 1
        )
        fixed, given = PENALTIES[penalty], self.l1_ratio
        if penalty is None:
            if C != 1:
                warnings.warn(f"C: {C:g} is ignored with penalty=None", stacklevel=stacklevel)
            return np.inf, fixed
        if fixed is None and given is None:
            raise ValueError(
                "l1_ratio: expected a number from 0 to 1 for penalty='elasticnet', got None"
            )
        if fixed is None:
            return C, given
        if given not in (None, fixed):
            warnings.warn(
                f"l1_ratio: {given!r} is ignored with penalty={penalty!r}", stacklevel=stacklevel
            )
        return C, fixed


def strength_of(problem: Problem, C: float, name: str) -> float:
    """Return the strength of the penalty next to the mean loss, as `fit_strengths` takes it.

    Raises
    ------
    ValueError
        If `C`, which is called `name`, is so small that the weights, which are as small, lose their digits.
    """
    inverse = C * problem.mean_weight * len(problem.samples)
    info = np.finfo(validation.training_dtype(problem.samples.X.dtype))
    smallest = float(info.tiny) / float(info.eps)
    if inverse < smallest:
        raise ValueError(
            f"{name}: expected a larger number, as C * sum of the weights of the samples is below "
            f"{smallest:.2g}, too small for {info.dtype}, got {C:g}"
        )
    return 1 / inverse


def fit_strengths(
    problem: Problem,
    start: State,
    alphas: Iterable[float],
    l1_ratio: float,
    tol: float,
    share: float = 0.0,
    tasks: FitTasks | None = None,
) -> Iterator[GradientRun]:
    """Yield the solutions for several strengths of the penalty, each from the weights of the one before.

    Parameters
    ----------
    problem : Problem
        The samples and their weights, whose mean is 1.
    start : State
        The weights to start the first from.
    alphas : iterable of float
        The strengths: ``alpha * ((1 - l1_ratio) / 2 * sum(coef_**2) + l1_ratio * sum(|coef_|))`` is added
        to the mean loss. Two classes have one row `coef_`.
    tol : float
        As in `LogisticRegression`.
    share : float
        The share of `tol` at which a fit ends, if that is more than the one of `LogisticRegression`.
    tasks : FitTasks, optional
        What is told of each iteration.
    """
    # One row w is two rows -w/2 and w/2: their squares sum to half of w's, their magnitudes to all of it.
    factor = 1.0 if len(problem.classes) == 2 else 0.5
    limit = max(share, _SHARE[start.coef.dtype]) * tol

    def with_strength(alpha: float) -> Problem:
        config = problem.config
        rule = config.rule._replace(l2=factor * (1 - l1_ratio) * alpha, l1=l1_ratio * alpha)
        return problem.with_config(replace(config, rule=rule))

    yield from solve_path(
        map(with_strength, alphas),
        lambda first: GradientRun.of(first, start, np.random.default_rng(0), limit=limit),
        tasks=tasks,
    )


def attributes_of(run: GradientRun) -> dict[str, Any]:
    """Return the fitted attributes, with one row of weights for two classes."""
    coef, intercept = run.weights()
    if intercept is None:
        intercept = np.zeros(len(coef), coef.dtype)
    if len(coef) == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    return attributes(run.problem.classes, coef, intercept)


def attributes(classes: NDArray[Any], coef: FloatArray, intercept: FloatArray) -> dict[str, Any]:
    """Return the fitted attributes for these values."""
    return {
        "coef_": coef,
        "intercept_": intercept,
        "classes_": classes,
        "n_features_in_": coef.shape[1],
        "temperature_": 1.0,
    }


def has_converged(run: GradientRun, tol: float) -> bool:
    """Return whether the gradient is small enough, or as small as rounding permits."""
    return run.largest_slope <= (max(tol, _SMALL_SLOPE) if run.is_at_rest else tol)


def warn_of_end(run: GradientRun, tol: float, stacklevel: int) -> None:
    """Warn if a run ended before the gradient was small enough.

    Warns
    -----
    ConvergenceWarning
        If `has_converged` is False.
    """
    slope, dtype = run.largest_slope, run.state.coef.dtype
    max_iter = run.problem.config.max_iter
    if has_converged(run, tol):
        return
    if not max_iter:
        advice = "fit ended at max_iter before its first iteration: raise max_iter (it is 0)"
        sklearn_api.warn_not_converged(advice, stacklevel)
        return
    if run.is_at_rest:
        advice = "raise tol" if dtype == np.float64 else "raise tol, or convert X to float64"
        end = f"where rounding of {dtype} lets no step find a smaller objective"
    else:
        end = "at max_iter before it converged"
        advice = f"raise max_iter (it is {max_iter}) or tol, or scale the columns of X"
    sklearn_api.warn_not_converged(
        f"fit ended {end}, with an entry of {slope:.2g} in the gradient, above tol={tol:g}: {advice}",
        stacklevel,
    )


def _as_dense(coef: Any) -> Any:
    return coef.toarray() if hasattr(coef, "toarray") else coef


def as_flag(name: str, value: Any) -> bool:
    """Return True or False, which may be NumPy's."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {validation.shown(value)}")
    return bool(value)


def checked_ratio(name: str, value: Any) -> float:
    """Return a number from 0 to 1."""
    number = validation.as_real(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {validation.shown(value)}")
    return number


def positive(name: str, value: Any) -> float:
    """Return a number greater than 0, which may be infinite."""
    number = validation.as_real(name, value)
    if not number > 0:
        raise ValueError(f"{name}: expected a number greater than 0, got {validation.shown(value)}")
    return number


def warn_deprecated(message: str, stacklevel: int) -> None:
    """Warn, as scikit-learn does, of what a later version of it changes."""
    warnings.warn(f"{message} (as in scikit-learn)", FutureWarning, stacklevel=stacklevel)
