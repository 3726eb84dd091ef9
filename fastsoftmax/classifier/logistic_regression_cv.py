"""`LogisticRegressionCV`: the strength of the penalty chosen by cross-validation."""

from __future__ import annotations  # they name np.random, which is imported on first use

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from inspect import signature
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.csr import SparseRows
from .._arrays.labels import as_labels, indices_of
from .._arrays.validation import FloatArray
from .._optional import import_optional
from ..backends import TargetWeights, in_default_float_state
from ..training.prediction import accuracy, logits_of
from ..training.problem import Problem
from . import sklearn_api
from .fitted_model import shaped_parameters_of
from .logistic_regression import (
    PENALTIES,
    SHARE_ON_FOLDS,
    LogisticRegression,
    as_flag,
    attributes,
    attributes_of,
    checked_ratio,
    fit_strengths,
    has_converged,
    positive,
    strength_of,
    warn_deprecated,
    warn_of_end,
)

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
Scorer = Callable[..., float]

# Logits that are computed together, to bound memory.
_MAX_LOGITS = 1 << 22


class Paths(NamedTuple):
    """The results on the folds, (n_folds, n_l1_ratios, n_Cs, ...)."""

    coefs: FloatArray
    intercepts: FloatArray
    scores: NDArray[np.float64]
    n_iter: NDArray[np.int32]
    slopes: NDArray[np.float64]  # the largest entry of each gradient
    have_converged: NDArray[np.bool_]


class LogisticRegressionCV(LogisticRegression):
    """scikit-learn's `LogisticRegressionCV`: `C` and `l1_ratio` are chosen by cross-validation.

    On every fold the strengths of the penalty are solved from the strongest to the weakest, each from the
    weights of the one before. The values of the best mean score are then used on all samples: `coef_` is
    that of ``LogisticRegression(C=C_, l1_ratio=l1_ratio_)``.

    Parameters
    ----------
    Cs : int or sequence of float, default 10
        The values of `C`, or how many of them, from 1e-4 to 1e4 with a constant ratio.
    l1_ratios : sequence of float, default "warn"
        The values of `l1_ratio`. "warn" and None are deprecated, and stand for 0.
    fit_intercept : bool, default True
        See `LogisticRegression`, as for `dual`, `solver`, `tol`, `max_iter`, `class_weight`, `n_jobs`,
        `verbose`, `intercept_scaling` and `random_state`. With "balanced", the weights are those of all
        samples, on every fold.
    cv : int, splitter, iterable of pairs or None, default None
        The number of stratified folds, which are those of scikit-learn's ``StratifiedKFold``; None is 5. Or
        an object with a method ``split(X, y)``, or pairs of indices of samples to train on and to score.
    dual : bool, default False
    penalty : {"deprecated", "l1", "l2", "elasticnet"}, default "deprecated"
        Deprecated: "l1" and "l2" replace `l1_ratios`.
    scoring : str, callable or None, default "warn"
        The score: "accuracy", "neg_log_loss", another name of scikit-learn's, which then has to be
        installed, or a function ``scorer(model, X, y)``; with weights of samples, it gets ``sample_weight``
        too. None is "accuracy"; so is "warn", which warns that scikit-learn will change its default.
    solver : str, default "lbfgs"
    tol : float, default 1e-4
        As in `LogisticRegression`; a fit on a fold ends once no entry of the gradient exceeds
        ``1e-2 * tol``.
    max_iter : int, default 100
    class_weight : mapping of label to number, "balanced" or None, default None
    n_jobs : int or None, default None
    verbose : int or bool, default 0
    refit : bool, default True
        Whether to fit all samples with the best values. Otherwise the weights, `C_` and `l1_ratio_` are the
        means over the folds of those with the best score on each.
    intercept_scaling : float, default 1.0
    random_state : int, Generator, RandomState, numpy.random or None, default None
    use_legacy_attributes : bool, default "warn"
        Whether the attributes below have the shapes that scikit-learn will drop. "warn" is True, and warns.

    Attributes
    ----------
    coef_, intercept_, classes_, n_features_in_, feature_names_in_
        As in `LogisticRegression`.
    Cs_ : ndarray, shape (n_Cs,)
    l1_ratios_ : ndarray, shape (n_l1_ratios,)
        Without `l1_ratios`, an array of None.
    C_, l1_ratio_ : float, or ndarray of the same number for every row of `coef_`
        The best values.
    scores_ : ndarray, shape (n_folds, n_l1_ratios, n_Cs), or mapping
        The scores on the folds. The mapping has, for each class, or the second of two, an array of shape
        (n_folds, n_Cs, n_l1_ratios), or (n_folds, n_Cs) without `l1_ratios`.
    coefs_paths_ : ndarray, shape (n_folds, n_l1_ratios, n_Cs, n_rows, n_features [+ 1]), or mapping
        The weights on the folds, with the intercept in the last column if there is one; n_rows is the
        number of rows of `coef_`. The arrays of the mapping are as in `scores_`, with a row of weights in
        the last axis.
    n_iter_ : ndarray of int32, shape (n_folds, n_l1_ratios, n_Cs), or (1, n_folds, n_Cs [, n_l1_ratios])

    References
    ----------
    Hastie, Tibshirani, Friedman: The Elements of Statistical Learning (2009), section 7.10.

    Examples
    --------
    >>> from fastsoftmax import LogisticRegressionCV
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]] * 5, [0, 0, 1, 1] * 5
    >>> choice = {"l1_ratios": [0], "scoring": "neg_log_loss", "use_legacy_attributes": False}
    >>> LogisticRegressionCV(Cs=[0.01, 1, 100], **choice).fit(X, y).C_
    100.0
    """

    warm_start = False
    set_callbacks = (
        property()
    )  # as in scikit-learn, which has none for this class: hasattr is False
    Cs_: NDArray[np.float64]
    l1_ratios_: NDArray[Any]
    C_: Any
    l1_ratio_: Any
    scores_: Any
    coefs_paths_: Any

    def __init__(
        self,
        *,
        Cs: int | Sequence[float] = 10,
        l1_ratios: Sequence[float] | str | None = "warn",
        fit_intercept: bool = True,
        cv: Any = None,
        dual: bool = False,
        penalty: str = "deprecated",
        scoring: str | Scorer | None = "warn",
        solver: str = "lbfgs",
        tol: float = 1e-4,
        max_iter: int = 100,
        class_weight: Mapping[Any, float] | str | None = None,
        n_jobs: int | None = None,
        verbose: int | bool = 0,
        refit: bool = True,
        intercept_scaling: float = 1.0,
        random_state: int | np.random.Generator | np.random.RandomState | None = None,
        use_legacy_attributes: bool | str = "warn",
    ) -> None:
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.dual = dual
        self.penalty = penalty
        self.scoring = scoring
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.refit = refit
        self.intercept_scaling = intercept_scaling
        self.random_state = random_state
        self.use_legacy_attributes = use_legacy_attributes

    @in_default_float_state
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Choose `C_` and `l1_ratio_` by cross-validation, and minimise the objective for them.

        Parameters
        ----------
        X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)
        y : array_like of labels, shape (n_samples,)
        sample_weight : array_like of real numbers, shape (n_samples,), optional
            As in `LogisticRegression.fit`; the score gets them, too.

        Returns
        -------
        LogisticRegressionCV
            This object.

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data are not as described; the message names them.
        ImportError
            If scikit-learn does not know `scoring`, or is not installed and has to know it.

        Warns
        -----
        ConvergenceWarning
            As `LogisticRegression.fit`, and once for all fits on folds.
        """
        Cs, ratios, has_ratios = self._grid(stacklevel=4)
        is_legacy, score = self._is_legacy(stacklevel=4), self._scorer(stacklevel=4)
        refits = as_flag("refit", self.refit)
        problem, names = self._problem(X, y, sample_weight)
        if problem.samples.targets.ndim != 1:
            raise ValueError("y: expected labels, got rows of probabilities")
        score = knowing_all(score, problem.classes)
        labels = problem.classes[problem.samples.targets]
        folds = self._folds(X, labels, problem.samples.targets)
        weights = None
        if sample_weight is not None:
            double = np.dtype(np.float64)
            weights = validation.as_weights("sample_weight", sample_weight, labels.shape, double)
            folds = [(train, test[weights[test] > 0]) for train, test in folds]
            if not all(len(test) for _, test in folds):
                raise ValueError(
                    "cv: expected samples with a weight above 0 to score in every fold, got none in one"
                )
        found = self._cross_validate(problem, labels, folds, Cs, ratios, score, weights)
        scores, run = found.scores, None
        if refits:
            j, k = divmod(int(scores.mean(axis=0).argmax()), len(Cs))
            C, ratio = float(Cs[k]), ratios[j]
            strengths = self._strengths(problem, [C], ratio, "all samples")
            run = next(fit_strengths(problem, problem.zero_state(), strengths, ratio, self.tol))
            fitted = attributes_of(run)
        else:
            j_of, k_of = np.divmod(scores.reshape(len(folds), -1).argmax(axis=1), len(Cs))
            best = np.arange(len(folds)), j_of, k_of
            C, ratio = float(Cs[k_of].mean()), float(np.mean(np.take(ratios, j_of)))
            means = (each[best].mean(axis=0) for each in (found.coefs, found.intercepts))
            fitted = attributes(problem.classes, *means)
        paths = found.coefs
        if self.fit_intercept:
            paths = np.concatenate([paths, found.intercepts[..., np.newaxis]], axis=-1)
        shaped = {
            "C_": C,
            "l1_ratio_": ratio,
            "scores_": scores,
            "coefs_paths_": paths,
            "n_iter_": found.n_iter,
        }
        if is_legacy:
            shaped = _legacy(shaped, problem.classes, len(fitted["coef_"]), has_ratios)
        given_ratios = np.array(ratios if has_ratios else [None])
        self._publish(names, **fitted, **shaped, Cs_=Cs, l1_ratios_=given_ratios)
        if run is not None:
            warn_of_end(run, self.tol, stacklevel=4)
        self._warn_of_folds(found, stacklevel=4)
        return self

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the score that `scoring` names.

        Parameters
        ----------
        X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)
        y : array_like of labels, shape (n_samples,)
        sample_weight : array_like of real numbers, shape (n_samples,), optional

        Returns
        -------
        float

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, all weights are 0, or, with "neg_log_loss", a label is not
            among the classes.
        """
        given = {}
        if sample_weight is not None:
            if not np.asarray(sample_weight).any():
                raise ValueError(
                    "sample_weight: expected at least one weight that is not zero, got only zeros"
                )
            given["sample_weight"] = sample_weight
        return _as_score(self._scorer(stacklevel=None)(self, X, y, **given))

    def _cross_validate(
        self,
        problem: Problem,
        labels: NDArray[Any],
        folds: Sequence[Fold],
        Cs: NDArray[np.float64],
        ratios: Sequence[float],
        score: Scorer,
        sample_weight: NDArray[Any] | None,
    ) -> Paths:
        """Solve and score every strength on every fold."""
        start, n_rows = problem.zero_state(), len(problem.classes)
        n_rows = 1 if n_rows == 2 else n_rows
        shape = len(folds), len(ratios), len(Cs)
        paths = Paths(
            np.empty((*shape, n_rows, start.coef.shape[1]), start.coef.dtype),
            np.empty((*shape, n_rows), start.coef.dtype),
            np.empty(shape),
            np.empty(shape, np.int32),
            np.empty(shape),
            np.empty(shape, bool),
        )
        model = LogisticRegression(n_jobs=self.n_jobs)
        by_strength = np.argsort(Cs, kind="stable")
        for i, (train, test) in enumerate(folds):
            fold = problem_on(problem, train)
            for j, ratio in enumerate(ratios):
                strengths = self._strengths(
                    fold, Cs[by_strength].tolist(), ratio, f"fold {i + 1} of {len(folds)}"
                )
                runs = fit_strengths(fold, start, strengths, ratio, self.tol, SHARE_ON_FOLDS)
                for k, run in zip(by_strength, runs, strict=True):
                    at, fitted = (i, j, k), attributes_of(run)
                    paths.coefs[at], paths.intercepts[at] = fitted["coef_"], fitted["intercept_"]
                    paths.n_iter[at], paths.slopes[at] = len(run.curve), run.largest_slope
                    paths.have_converged[at] = has_converged(run, self.tol)
            weights_of_test = None if sample_weight is None else sample_weight[test]
            found = _scores_of_all(
                problem, score, test, paths.coefs[i], paths.intercepts[i], weights_of_test
            )
            if found is not None:
                paths.scores[i] = found
                continue
            held_out = _take(problem.samples.X, test), labels[test]
            given = {} if sample_weight is None else {"sample_weight": sample_weight[test]}
            for j, k in np.ndindex(shape[1:]):
                weights = paths.coefs[i, j, k], paths.intercepts[i, j, k]
                model.__dict__.update(attributes(problem.classes, *weights))
                try:
                    paths.scores[i, j, k] = _as_score(score(model, *held_out, **given))
                except ValueError as error:
                    failed = error
                else:
                    continue
                _check_rows(problem, test, model)  # by their numbers in X, not in the fold
                raise failed
        return paths

    def _strengths(
        self, problem: Problem, Cs: Sequence[float], l1_ratio: float, samples: str
    ) -> Iterator[float]:
        """Yield the strength of the penalty for each C; before its fit, print which it is if `verbose`."""
        for C in Cs:
            if self.verbose:
                print(f"{samples}, C={C:.6g}, l1_ratio={l1_ratio:g}")
            yield strength_of(problem, C, "Cs")

    def _grid(self, stacklevel: int) -> tuple[NDArray[np.float64], list[float], bool]:
        """Return the values of C and of l1_ratio, and whether the latter were given."""
        if isinstance(self.Cs, int | np.integer):
            Cs = np.logspace(-4, 4, validation.as_integer("Cs", self.Cs, 1))
        else:
            Cs = np.array([positive("Cs", C) for C in _listed("Cs", self.Cs)], np.float64)
        given: Any = self.l1_ratios
        has_ratios = not (given is None or isinstance(given, str))
        if isinstance(given, str) and given != "warn":
            raise ValueError(
                f"l1_ratios: expected numbers from 0 to 1, got {validation.shown(given)}"
            )
        if self.penalty != "deprecated":
            if self.penalty not in ("l1", "l2", "elasticnet"):
                raise ValueError(
                    "penalty: expected 'deprecated', 'l1', 'l2' or 'elasticnet', "
                    f"got {validation.shown(self.penalty)}"
                )
            warn_deprecated("penalty: deprecated, use l1_ratios", stacklevel + 1)
            fixed = PENALTIES[self.penalty]
            if fixed is None and not has_ratios:
                raise ValueError("l1_ratios: expected numbers for penalty='elasticnet', got none")
            if fixed is not None:
                given, has_ratios = [fixed], False
        elif not has_ratios:
            given = [0.0]
            warn_deprecated("l1_ratios: give them, [0] for L2 alone", stacklevel + 1)
        ratios = [checked_ratio("l1_ratios", ratio) for ratio in _listed("l1_ratios", given)]
        for name, values in (("Cs", Cs), ("l1_ratios", ratios)):
            if not len(values):
                raise ValueError(f"{name}: expected at least one number, got none")
        self._check_dual(max(ratios))
        return Cs, ratios, has_ratios

    def _is_legacy(self, stacklevel: int) -> bool:
        value = self.use_legacy_attributes
        if not (isinstance(value, str) and value == "warn"):
            return as_flag("use_legacy_attributes", value)
        warn_deprecated("use_legacy_attributes: True will not stay the default", stacklevel + 1)
        return True

    def _scorer(self, stacklevel: int | None) -> Scorer:
        scoring = self.scoring
        if isinstance(scoring, str) and scoring == "warn":
            if stacklevel is not None:
                advice = (
                    "scoring: the default will become 'neg_log_loss', give 'accuracy' to keep it"
                )
                warn_deprecated(advice, stacklevel + 1)
            scoring = None
        if scoring is None:
            return _SCORERS["accuracy"]
        if callable(scoring):
            return scoring
        if not isinstance(scoring, str):
            raise TypeError(
                f"scoring: expected a name, a function or None, got {validation.shown(scoring)}"
            )
        if scoring in _SCORERS:
            return _SCORERS[scoring]
        metrics = import_optional("sklearn.metrics", f"scoring: {scoring!r} needs")
        try:
            scorer: Scorer = metrics.get_scorer(scoring)
        except ValueError as error:
            raise ValueError(f"scoring: {error}") from None
        return scorer

    def _folds(self, X: Any, labels: NDArray[Any], codes: NDArray[np.int64]) -> list[Fold]:
        """Return the indices of the samples to train on and to score, for every fold."""
        cv, n_samples = self.cv, len(labels)
        if cv is None or isinstance(cv, int | np.integer):
            n_folds = validation.as_integer("cv", 5 if cv is None else cv, 2)
            number = _stratified(codes, n_folds)
            return [
                (np.flatnonzero(number != i), np.flatnonzero(number == i)) for i in range(n_folds)
            ]
        if isinstance(cv, str) or not (hasattr(cv, "split") or np.iterable(cv)):
            raise ValueError(
                "cv: expected a number of folds, a splitter or pairs of indices, "
                f"got {validation.shown(cv)}"
            )
        pairs = cv.split(X, labels) if hasattr(cv, "split") else cv
        folds = [_as_fold(pair, n_samples) for pair in pairs]
        if not folds or not all(len(part) for fold in folds for part in fold):
            raise ValueError("cv: expected folds with samples to train on and to score")
        return folds

    def _warn_of_folds(self, paths: Paths, stacklevel: int) -> None:
        failed = ~paths.have_converged
        if not failed.any():
            return
        message = f"fit ended at max_iter, or by rounding, in {failed.sum()} of {failed.size} fits on folds"
        if self.max_iter:  # else there is no gradient
            message += (
                f", with entries of up to {paths.slopes[failed].max():.2g} in the gradient, above "
                f"tol={self.tol:g}"
            )
        advice = f"raise max_iter (it is {self.max_iter}) or tol, or scale the columns of X"
        sklearn_api.warn_not_converged(f"{message}: {advice}", stacklevel)


def knowing_all(scorer: Any, classes: NDArray[Any]) -> Any:
    """Return scikit-learn's scorer of probabilities for folds that may lack classes; others unchanged."""
    function, method = (getattr(scorer, name, "") for name in ("_score_func", "_response_method"))
    if not callable(function) or "predict_proba" not in method:
        return scorer
    known = {"labels": classes}
    if len(classes) == 2:
        known["pos_label"] = classes[1]
    accepted = {name: known[name] for name in known if name in signature(function).parameters}
    scorer = copy(scorer)
    scorer._kwargs = accepted | scorer._kwargs
    return scorer


def problem_on(problem: Problem, train: NDArray[np.int64]) -> Problem:
    """Return the problem of some of its samples, which may occur several times, without a copy of X."""
    samples = problem.samples
    weights = np.bincount(train, minlength=len(samples.X)).astype(np.float64)
    if samples.weights is not None and samples.weights.rows is not None:
        weights *= samples.weights.rows
    if samples.rows is not None:
        kept = np.zeros(len(weights), bool)
        kept[samples.rows] = True
        weights[~kept] = 0
    rows = np.flatnonzero(weights)
    if not len(rows):
        raise ValueError(
            "cv: expected samples with a weight above 0 in every fold, got none in one"
        )
    mean = float(weights[rows].mean())
    is_even = bool((weights[rows] == mean).all())
    fold = replace(
        samples, rows=rows, weights=None if is_even else TargetWeights(weights / mean, None, 0.0)
    )
    return replace(problem, samples=fold, mean_weight=problem.mean_weight * mean)


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not np.iterable(values):
        raise TypeError(f"{name}: expected a sequence of numbers, got {validation.shown(values)}")
    return list(values)


def _as_fold(pair: Any, n_samples: int) -> Fold:
    """Return the indices of the samples to train on and to score, which may be given as masks."""
    try:
        train, test = pair
    except (TypeError, ValueError):
        raise TypeError(f"cv: expected pairs of arrays of indices, got {pair!r}") from None
    return _as_indices(train, n_samples), _as_indices(test, n_samples)


def _as_indices(part: Any, n_samples: int) -> NDArray[np.int64]:
    indices, every = validation.as_array("cv", part), np.arange(n_samples)
    if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iub"):
        raise TypeError(
            "cv: expected one-dimensional arrays of indices or masks, got one of dtype "
            f"{indices.dtype} and shape {indices.shape}"
        )
    try:
        return every[indices if indices.size else []]
    except IndexError as error:
        raise ValueError(f"cv: {error}") from None


def _as_score(score: Any) -> float:
    """Return what a scorer returned, which may be an array without dimensions."""
    is_scalar = np.ndim(score) == 0 and hasattr(score, "item")
    return validation.as_real("scoring: the score", score.item() if is_scalar else score)


def _check_rows(problem: Problem, rows: NDArray[np.int64], model: LogisticRegression) -> None:
    """Raise ValueError if one of these rows of X has no finite logits."""
    config, samples = problem.config, problem.samples
    accuracy(
        *(config.backend, samples.X, samples.targets, None, rows),
        *(*shaped_parameters_of(model._snapshot()), config.n_threads),
    )


def _scores_of_all(
    problem: Problem,
    score: Scorer,
    rows: NDArray[np.int64],
    coefs: FloatArray,
    intercepts: FloatArray,
    weights: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """Return the scores of several models, (n_l1_ratios, n_Cs), from few products of all their weights.

    The bits are those of `score`. It returns None if that is not one of this module's, or an input is
    invalid, which `score` has to name.
    """
    if score not in _SCORERS.values():
        return None
    X, targets, config = problem.samples.X, problem.samples.targets[rows], problem.config
    X_of_rows = X.take(rows) if isinstance(X, SparseRows) else X[rows]
    shape, (n_models, n_rows) = (
        intercepts.shape[:2],
        intercepts.reshape(-1, intercepts.shape[2]).shape,
    )
    coefs, intercepts = coefs.reshape(n_models, n_rows, -1), intercepts.reshape(n_models, n_rows)
    if weights is not None:
        weights, _ = validation.scaled_weights(weights)
    found = np.empty(n_models)
    step = max(1, _MAX_LOGITS // (len(rows) * len(problem.classes)))
    for start in range(0, n_models, step):
        some = slice(start, start + step)
        coef, intercept = coefs[some].reshape(-1, coefs.shape[2]), intercepts[some].reshape(-1)
        try:
            z = logits_of(config.backend, X_of_rows, coef, intercept, config.n_threads)
        except ValueError:
            return None
        z = z.reshape(len(rows), -1, n_rows)
        if n_rows == 1:
            z = np.concatenate([np.zeros_like(z), z], axis=2)
        if score is _SCORERS["accuracy"]:
            values = (z.argmax(axis=2) == targets[:, np.newaxis]).astype(np.float64)
        else:
            p = z.reshape(-1, z.shape[2])
            config.backend.softmax(p, p, config.n_threads)
            p_y = np.take_along_axis(z, targets[:, np.newaxis, np.newaxis], axis=2)[..., 0]
            eps = float(np.finfo(z.dtype).eps)
            values = np.log(np.clip(p_y.astype(np.float64), eps, 1 - eps))
        found[some] = np.average(np.ascontiguousarray(values.T), axis=1, weights=weights)
    return found.reshape(shape)


def _take(X: NDArray[Any] | SparseRows, rows: NDArray[np.int64]) -> Any:
    """Return some rows; sparse ones with SciPy's names of attributes."""
    if not isinstance(X, SparseRows):
        return X[rows]
    part = X.take(rows)
    return SimpleNamespace(
        format="csr",
        data=part.values,
        indices=part.indices,
        indptr=part.indptr,
        shape=part.shape,
    )


def _stratified(codes: NDArray[np.int64], n_folds: int) -> NDArray[np.int64]:
    """Return the fold of every sample.

    The sorted labels, with classes in the order of their first sample, are dealt to the folds in turn,
    which says how many samples of each class a fold gets; it gets those in the order of the samples.
    """
    present, first, counts = np.unique(codes, return_index=True, return_counts=True)
    if counts.max() < n_folds:
        raise ValueError(
            f"cv: expected at most {counts.max()} folds, the samples of the largest class, got {n_folds}"
        )
    if counts.min() < n_folds:
        warnings.warn(
            f"cv: the smallest class has {counts.min()} samples, which is less than {n_folds} folds",
            stacklevel=5,
        )
    folds, begin = np.empty(len(codes), np.int64), 0
    for k in np.argsort(first):
        dealt = np.arange(begin, begin + counts[k]) % n_folds
        folds[codes == present[k]] = np.sort(dealt)
        begin += counts[k]
    return folds


def _legacy(
    shaped: Mapping[str, Any], classes: NDArray[Any], n_rows: int, has_ratios: bool
) -> dict[str, Any]:
    """Return the attributes in the shapes that scikit-learn will drop."""
    keys = classes[len(classes) - n_rows :]
    by_C = {
        name: np.moveaxis(shaped[name], 1, 2) for name in ("scores_", "coefs_paths_", "n_iter_")
    }
    if not has_ratios:
        by_C = {name: value[:, :, 0] for name, value in by_C.items()}
    paths = by_C["coefs_paths_"]
    return {
        "C_": np.full(n_rows, shaped["C_"]),
        "l1_ratio_": np.full(n_rows, shaped["l1_ratio_"]),
        "scores_": dict.fromkeys(keys, by_C["scores_"]),
        "coefs_paths_": {key: paths[..., i, :] for i, key in enumerate(keys)},
        "n_iter_": by_C["n_iter_"][np.newaxis],
    }


def _accuracy(model: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    return LogisticRegression.score(model, X, y, sample_weight)


def _neg_log_loss(model: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Return minus the mean loss, of probabilities that are at least the dtype's epsilon."""
    p, labels = model.predict_proba(X), as_labels(sklearn_api.as_vector(y), "y")
    if not len(p):
        raise ValueError("X: expected at least one sample to score, got none")
    if labels.shape != p.shape[:1]:
        raise ValueError(f"y: expected shape {p.shape[:1]}, got {labels.shape}")
    if sample_weight is not None:
        double = np.dtype(np.float64)
        sample_weight = validation.as_weights("sample_weight", sample_weight, labels.shape, double)
        sample_weight, _ = validation.scaled_weights(sample_weight)
    p_y = p[np.arange(len(p)), indices_of(labels, model.classes_)].astype(np.float64)
    eps = float(np.finfo(p.dtype).eps)
    return float(np.average(np.log(np.clip(p_y, eps, 1 - eps)), weights=sample_weight))


_SCORERS: dict[str, Scorer] = {"accuracy": _accuracy, "neg_log_loss": _neg_log_loss}
