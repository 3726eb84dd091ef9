"""`SoftmaxClassifier`: softmax regression with scikit-learn's words."""

from __future__ import annotations  # np.random, imported on first use, stands in them

from collections.abc import Callable
from copy import deepcopy
from inspect import Parameter, signature
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import estimator, loss, validation
from .backends import State
from .exceptions import DivergenceError
from .labels import as_labels, encode, find_classes
from .samples import as_samples
from .settings import Settings, generator_of, n_threads_of, parameters_of
from .sgd import check_progress, copy_of
from .sparse import SparseRows
from .standardization import Standardization
from .validation import FloatArray

# Rows of logits are computed by blocks of about so many bytes of X, so that what has to be converted
# never is as large as X.
_BLOCK_BYTES = 1 << 24


class SoftmaxClassifier:
    """Linear classifier trained by minibatch SGD on the softmax cross-entropy.

    With logits ``z = coef_ @ x + intercept_``, minimises over the training data::

        mean(-log softmax(z)_y) + l2 * sum(coef_**2) + l1 * sum(|coef_|)

    Each step takes the gradient of a minibatch's mean; L1 is a proximal step (soft thresholding),
    which leaves exact zeros. The intercept is not penalised. Training starts from zeros, and the same
    `random_state` gives the same trajectory on every backend, to rounding.

    Parameters
    ----------
    backend : {"auto", "compiled", "vectorized", "numba", "naive"}, default "auto"
        What computes it. "auto" is the first available of compiled, vectorized and naive.
    penalty : {"l2", "l1", "elasticnet"} or None, default "l2"
        The penalty, as in ``SGDClassifier``: "l2" is ``alpha / 2 * sum(coef_**2)``, "l1" is
        ``alpha * sum(|coef_|)``, "elasticnet" is ``l1_ratio`` of the second plus ``1 - l1_ratio`` of
        the first.
    alpha : float, default 1e-4
        The strength of the penalty, 0 or more.
    l1_ratio : float, default 0.15
        The share of L1 in "elasticnet", from 0 to 1.
    fit_intercept : bool, default True
        Whether to learn an intercept.
    standardize : bool, default False
        Whether to train on ``(x - mean_) / scale_``, folded into the kernels: no such matrix is made.
        The penalty acts on the weights of the standardised features; `coef_` and `intercept_` are
        in the original units. With a sparse `X`, whose zeros stay zeros, and without an intercept
        features are scaled only. `partial_fit` takes the statistics of its first samples and keeps
        them. Where these were sparse, dense ones are scaled only, too; where they were dense, sparse
        ones are refused, as nothing can be subtracted from them.
    max_iter : int, default 200
        The most epochs that `fit` runs. Where the loss still falls by `tol` then, it warns
        (`ConvergenceWarning`).
    tol : float or None, default 1e-4
        `fit` stops when the loss of an epoch has not been better than the best so far by at least
        `tol`, `n_iter_no_change` times in a row; None for never.
    n_iter_no_change : int, default 5
        See `tol`.
    batch_size : int, default 200
        Samples of a minibatch; the last of an epoch may have fewer.
    shuffle : bool, default True
        Whether every epoch takes the samples in a new random order.
    replacement : bool, default False
        Whether samples are drawn with replacement, as the course does; `shuffle` has no effect then.
        An epoch still takes as many samples as there are.
    learning_rate : {"constant", "invscaling"} or callable, default "constant"
        "constant" is `eta0`; "invscaling" is ``eta0 / t**power_t`` at the t-th step, counted from 1;
        a callable takes the number of the step, counted from 0, and returns the rate.
    eta0 : "auto" or float, default "auto"
        The (first) learning rate, greater than 0. "auto" is one over a bound on the curvature of the loss,
        from the rows of `X`: the larger its numbers, the smaller. `partial_fit` keeps that of its first
        call.
    power_t : float, default 0.5
        The exponent of "invscaling".
    momentum : float, default 0.0
        From 0 to less than 1, and 0 with a sparse `X`: ``v = momentum * v - rate * gradient; coef_ += v``.
    nesterov : bool, default False
        Whether the momentum is Nesterov's: ``coef_ += momentum * v - rate * gradient`` with the new v.
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None, default None
        The seed of the order of the samples; an instance is drawn from once for each `fit`.
    n_jobs : int or None, default None
        Threads. None or -1 for ``FASTSOFTMAX_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the CPUs
        this process may use. The compiled backend's results do not depend on it.
    verbose : int or bool, default 0
        Whether to print the loss of every epoch.

    Attributes
    ----------
    coef_ : ndarray, shape (n_classes, n_features)
        The weights, float32 where `X` was float32, float16 or uint8, else float64.
    intercept_ : ndarray, shape (n_classes,)
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features,)
        The names of the columns, where `X` was a pandas or polars frame with names of strings.
    mean_, scale_ : ndarray of float64, shape (n_features,), or None
        Mean and standard deviation of every feature with `standardize`, else None; of a sparse `X` with
        all its zeros. A feature that does not vary has the scale 1.
    eta0_ : float
        The (first) learning rate that was used.
    n_iter_ : int
        Epochs run: by `fit`, or by all calls of `partial_fit` so far.
    t_ : int
        Steps taken, over the same.
    loss_curve_ : list of float
        The objective of every epoch, penalty included, as the mean over its minibatches before their
        updates. With a sparse `X` the penalty in it is that before the last step of the epoch whose
        number is a multiple of m: a pass over all weights, which happens every m steps. Between two
        of them the steps visit the weights of 8 times as many features as there are.

    Notes
    -----
    `X` may be float32, float64, float16, uint8, of other integers or booleans, and strided as it
    likes. Rows of the first four are read where they lie, and what has to be converted is, minibatch by
    minibatch in the kernels of the compiled backend; others are converted a few minibatches at a
    time, but for a Fortran-ordered `X`, which is copied, once a call.

    `X` may also be sparse: a CSR matrix with values of float32 or float64, as SciPy has it or any object
    with its attributes `format`, `data`, `indices`, `indptr` and `shape`. It is read where it lies; indices
    need not be sorted, and values of the same place add up. The rule is plain SGD, without `momentum`. On
    the compiled backend a step costs what its values do; the other backends make dense minibatches. What
    the penalty does to a weight in the steps that do not meet it is made up for, exactly, when one does, so
    the steps are those of the dense matrix, to rounding.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning (2006), section 4.3.4.
    Parikh, Boyd: Proximal Algorithms (2014), section 6.5.2, for the L1 step.

    Examples
    --------
    >>> from fastsoftmax import SoftmaxClassifier
    >>> X, y = [[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.9, 0.1]], ["up", "right", "up", "right"]
    >>> SoftmaxClassifier(eta0=0.5, random_state=0).fit(X, y).predict([[0.2, 0.8]]).tolist()
    ['up']
    """

    coef_: FloatArray
    intercept_: FloatArray
    classes_: NDArray[Any]
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    mean_: NDArray[np.float64] | None
    scale_: NDArray[np.float64] | None
    eta0_: float
    n_iter_: int
    t_: int
    loss_curve_: list[float]
    _random: np.random.Generator
    _velocity: tuple[FloatArray | None, FloatArray | None]
    _is_centred: bool  # whether standardize is by the mean, too

    def __init__(
        self,
        *,
        backend: str = "auto",
        penalty: str | None = "l2",
        alpha: float = 1e-4,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        standardize: bool = False,
        max_iter: int = 200,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 5,
        batch_size: int = 200,
        shuffle: bool = True,
        replacement: bool = False,
        learning_rate: str | Callable[[int], float] = "constant",
        eta0: str | float = "auto",
        power_t: float = 0.5,
        momentum: float = 0.0,
        nesterov: bool = False,
        random_state: int | np.random.Generator | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int | bool = 0,
    ) -> None:
        self.backend = backend
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.replacement = replacement
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.momentum = momentum
        self.nesterov = nesterov
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the constructor by name; `deep` changes nothing here."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the constructor.

        Raises
        ------
        ValueError
            If a name is not a parameter; none is set then.
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

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, parameter in self._parameters().items()
            if repr(getattr(self, name)) != repr(parameter.default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn wants to know."""
        return estimator.tags()

    def __sklearn_is_fitted__(self) -> bool:
        """Whether `fit` or `partial_fit` has run."""
        return hasattr(self, "coef_")

    def _repr_html_(self) -> str | None:
        """In notebooks, as scikit-learn shows its estimators."""
        return estimator.html_of(self)

    @classmethod
    def _parameters(cls) -> dict[str, Parameter]:
        """The parameters of the constructor, a subclass's own included."""
        parameters = signature(cls.__init__).parameters.values()
        kinds = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        own = {p.name: p for p in parameters if p.name != "self" and p.kind not in kinds}
        if any(p.kind == Parameter.VAR_KEYWORD for p in parameters):  # passed on to the base class
            return SoftmaxClassifier._parameters() | own
        return own

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train from zeros until `tol` or `max_iter` stops it.

        Parameters
        ----------
        X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)
        y : array_like of labels, shape (n_samples,)
            Integers, strings, booleans or floats without a fraction; at least two different ones.

        Returns
        -------
        SoftmaxClassifier
            This object.

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data are not as described; the message names it, and the attributes
            are as before the call.
        DivergenceError
            If the loss becomes infinite or NaN, or that of an epoch is above 10 times log(n_classes), that
            of the starting weights; the attributes are those after the last good epoch, or as before
            the call where there was none.
        KeyboardInterrupt
            On Ctrl-C; the weights are those after the last whole step, and `n_iter_`, `t_` and
            `loss_curve_` tell of the whole epochs before.
        """
        settings = Settings(self)
        matrix, names = as_samples(X), estimator.feature_names_of(X)
        settings.check_rule_for(matrix)
        y = estimator.as_vector(y)
        classes = find_classes(y)
        targets = encode(y, classes, len(matrix))
        if len(classes) < 2:
            raise ValueError(f"y: expected at least two classes, got one class: {classes[0]!r}")
        units = settings.standardization_of(matrix)
        settings.find_step_size(matrix, units)
        state = settings.initial_state(len(classes), matrix)
        random = generator_of(self.random_state)
        curve: list[float] = []
        steps, best, epochs_without_gain = 0, np.inf, 0
        converged = settings.tol is None  # or so many epochs were asked for
        last_good = copy_of(state)
        try:
            for epoch in range(settings.max_iter):
                objective = settings.run_epoch(matrix, targets, state, steps, random, units)
                # From zeros all classes are equally probable.
                check_progress(objective, np.log(len(classes)), epoch + 1, settings.schedule)
                curve.append(objective)
                steps += settings.sampling.n_steps(len(matrix))
                last_good = copy_of(state)
                if settings.verbose:
                    print(f"epoch {epoch + 1}: loss {curve[-1]:.6g}")
                if settings.tol is not None:
                    gained = curve[-1] < best - settings.tol
                    epochs_without_gain = 0 if gained else epochs_without_gain + 1
                    best = min(best, curve[-1])
                    converged = epochs_without_gain >= settings.n_iter_no_change
                    if converged:
                        break
        except KeyboardInterrupt:
            self._publish(settings, classes, names, state, units, random, curve, steps)
            raise
        except DivergenceError:
            if curve:
                self._publish(settings, classes, names, last_good, units, random, curve, steps)
            raise
        self._publish(settings, classes, names, state, units, random, curve, steps)
        if not converged:
            estimator.warn_of_max_iter(settings.max_iter, units is None)
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Go on training with one epoch over these samples.

        Parameters
        ----------
        X, y
            As in `fit`; `y` may hold any of the classes.
        classes : array_like of labels, optional
            All labels that will ever come; needed in the first call.

        Returns
        -------
        SoftmaxClassifier
            This object.

        Raises
        ------
        ValueError, TypeError, DivergenceError, KeyboardInterrupt
            As `fit`, and if `y` holds a label that is not among the classes. The model is as it was
            before the call, whatever the error.
        """
        settings = Settings(self)
        matrix, names = as_samples(X), estimator.feature_names_of(X)
        settings.check_rule_for(matrix)
        y = estimator.as_vector(y)
        fitted = hasattr(self, "coef_")
        if fitted:
            known = self.classes_
            estimator.check_feature_names(self, X)
            names = getattr(self, "feature_names_in_", None)
            if classes is not None and not np.array_equal(find_classes(classes, "classes"), known):
                raise ValueError(
                    f"classes: expected those of the first call, {known.tolist()}, got {classes!r}"
                )
            self._check_n_features(matrix)
        elif classes is None:
            raise ValueError("classes: needed in the first call of partial_fit")
        else:
            known = find_classes(classes, "classes")
            if len(known) < 2:
                raise ValueError(f"classes: expected at least two, got {known.tolist()}")
        targets = encode(y, known, len(matrix))
        units = settings.standardization_of(matrix, self._units() if fitted else None)
        settings.find_step_size(matrix, units, self.eta0_ if fitted else None)
        state = settings.initial_state(len(known), matrix)
        if fitted:
            state = settings.state_of(self, units)
        # Of a copy: a call that fails has not drawn from the caller's generator.
        random = deepcopy(self._random) if fitted else generator_of(deepcopy(self.random_state))
        steps = self.t_ if fitted else 0
        objective = settings.run_epoch(matrix, targets, state, steps, random, units)
        curve = [*(self.loss_curve_ if fitted else ()), objective]
        steps += settings.sampling.n_steps(len(matrix))
        if settings.verbose:
            print(f"epoch {len(curve)}: loss {objective:.6g}")
        if not fitted:
            generator_of(self.random_state)
        self._publish(settings, known, names, state, units, random, curve, steps)
        return self

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Return the logits; with two classes, as in scikit-learn, the second minus the first.

        Parameters
        ----------
        X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples, n_classes), or (n_samples,) with two classes
        """
        logits = self._logits(X)
        if len(self.classes_) > 2:
            return logits
        with np.errstate(over="ignore"):  # infinitely sure
            difference: FloatArray = logits[:, 1] - logits[:, 0]
        return difference

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable label of every sample, shape (n_samples,)."""
        logits = self._logits(X)
        labels: NDArray[Any] = self.classes_[logits.argmax(axis=1)]
        return labels

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return the probability of every class, shape (n_samples, n_classes)."""
        return loss.softmax(
            self._logits(X), backend=self.backend, n_threads=n_threads_of(self.n_jobs)
        )

    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Return the natural logarithm of the probabilities, shape (n_samples, n_classes)."""
        return loss.log_softmax(
            self._logits(X), backend=self.backend, n_threads=n_threads_of(self.n_jobs)
        )

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Return the share of samples whose label is predicted right."""
        predicted = self.predict(X)
        if not predicted.size:
            raise ValueError("X: expected at least one sample to score, got none")
        expected = as_labels(y, "y")
        if expected.shape != predicted.shape:
            raise ValueError(f"y: expected shape {predicted.shape}, got {expected.shape}")
        return float(np.mean(predicted == expected))

    def _publish(
        self,
        settings: Settings,
        classes: NDArray[Any],
        names: NDArray[Any] | None,
        state: State,
        units: Standardization | None,
        random: np.random.Generator,
        curve: list[float],
        steps: int,
    ) -> None:
        n_classes, n_features = state.coef.shape
        coef, intercept = state.coef, state.intercept
        if units is not None:
            coef, intercept = units.to_original(coef, intercept)
        if intercept is None:
            intercept = np.zeros(n_classes, state.coef.dtype)
        if names is None:
            self.__dict__.pop("feature_names_in_", None)
        # At once: a signal finds all of the old attributes or all of the new ones.
        self.__dict__.update(
            classes_=classes,
            n_features_in_=n_features,
            **({} if names is None else {"feature_names_in_": names}),
            coef_=coef,
            mean_=None if units is None else units.mean,
            scale_=None if units is None else units.scale,
            _is_centred=units is not None and units.is_centred,
            intercept_=intercept,
            eta0_=settings.schedule.eta0,
            loss_curve_=curve,
            n_iter_=len(curve),
            t_=steps,
            _velocity=(state.coef_velocity, state.intercept_velocity),
            _random=random,
        )

    def _units(self) -> Standardization | None:
        """The statistics of an earlier call, if there are any."""
        if self.mean_ is None or self.scale_ is None:
            return None
        return Standardization(self.mean_, self.scale_, self._is_centred)

    def _check_n_features(self, matrix: NDArray[Any] | SparseRows) -> None:
        if matrix.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {matrix.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )

    def _logits(self, X: ArrayLike) -> FloatArray:
        if not hasattr(self, "coef_"):
            raise estimator.not_fitted(
                "this SoftmaxClassifier is not fitted: call fit or partial_fit first"
            )
        estimator.check_feature_names(self, X)
        matrix = as_samples(X, to_train=False)
        self._check_n_features(matrix)
        coef, intercept = parameters_of(self)
        dtype = coef.dtype
        with np.errstate(over="ignore", invalid="ignore"):  # named below
            if isinstance(matrix, SparseRows):
                logits = matrix.product(np.ascontiguousarray(coef.T)) + intercept
            else:
                logits = np.empty((len(matrix), len(coef)), dtype)
                rows = max(1, _BLOCK_BYTES // (self.n_features_in_ * dtype.itemsize))
                for start in range(0, len(matrix), rows):
                    block = matrix[start : start + rows].astype(dtype, copy=False)
                    logits[start : start + rows] = block @ coef.T + intercept
        invalid = ~np.isfinite(logits).all(axis=1)
        if invalid.any():
            row = int(np.argmax(invalid))
            raise ValueError(validation.why_row_is_invalid(row, matrix[row], dtype))
        return logits
