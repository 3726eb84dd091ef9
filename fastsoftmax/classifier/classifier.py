"""`SoftmaxClassifier`: softmax regression with scikit-learn's words."""

from __future__ import annotations  # np.random, imported on first use, stands in them

from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import validation
from .._arrays.csr import SparseRows
from .._arrays.inputs import as_samples
from .._arrays.labels import are_equal, check_type, encode, find_classes, joined, listed
from .._arrays.validation import FloatArray
from ..backends import in_default_float_state
from ..training.averaging import Average
from ..training.callbacks import Callback, line
from ..training.checkpoints import checkpoint_of, identity_of
from ..training.config import generator_of
from ..training.holdout import HeldOut
from ..training.loop import TrainingRun, train
from ..training.new_classes import expand_rows
from ..training.problem import prepare
from ..training.standardization import Moments
from ..training.state import state_at
from ..training.step_size import StepSizes
from ..training.targets import check_sorted, is_soft, targets_of
from . import sklearn_api
from .fitted_model import (
    FeaturesOfWeights,
    FittedModel,
    check_n_features,
    parameters_of,
    snapshot_for_training,
)
from .model_files import ModelFiles
from .parameters import checkpoint_parameters, config_of, takes_sparse
from .partial_fit import trained_on_chunk
from .prediction_methods import PredictionMethods

# Rows of a smaller norm learn a hundred times as slowly as the intercept, whose feature is 1.
_SMALL = 0.1


class SoftmaxClassifier(sklearn_api.Estimator, PredictionMethods, ModelFiles):
    """Linear classifier trained by minibatch SGD on the softmax cross-entropy.

    With logits ``z = coef_ @ x + intercept_``, minimises over the training data::

        mean(-log softmax(z)_y) + l2 * sum(coef_**2) + l1 * sum(|coef_|)

    or of samples with weights, divided by their mean, the mean of ``-weight * log softmax(z)_y``. Each step
    takes the gradient of a minibatch's mean; L1 is a proximal step (soft thresholding), which leaves exact
    zeros. The intercept is not penalised. Training starts from zeros, and the same `random_state` gives
    the same trajectory on every backend, to rounding (but see `l1_step`).

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
    l1_ratio : float or None, default 0.15
        The share of L1 in "elasticnet", from 0 to 1; None will do for the other penalties.
    l1_step : {"proximal", "subgradient"}, default "proximal"
        What a step makes of L1: soft thresholding after it, which leaves exact zeros, or the lecture's
        ``l1 * sign(coef_)`` in the gradient, which jumps about 0. A sparse `X` takes the first alone. The
        sign of a weight that is 0 up to rounding is that of the rounding: such a weight may step to
        either side, so that weights of two backends may differ by ``2 * rate * l1`` after such a step, and
        not by roundings alone. Those of one backend do not.
    class_weight : mapping of label to number, "balanced" or None, default None
        What the samples of a class count; labels that are not there count 1. "balanced" gives all
        classes the same weight in total: (sum of weights) / (number of classes * sum of the class); it
        is 0 for a class whose samples all weigh 0.
    label_smoothing : float, default 0.0
        The share e, from 0 to 1, that every target gives to all classes alike:
        ``(1 - e) * target + e / n_classes``.
    fit_intercept : bool, default True
        Whether to learn an intercept.
    standardize : bool, default False
        Whether to train on ``(x - mean_) / scale_``, folded into the kernels: no such matrix is made.
        The penalty acts on the weights of the standardised features; `coef_` and `intercept_` are
        in the original units. With a sparse `X`, whose zeros stay zeros, and without an intercept
        features are scaled only. With `partial_fit` the statistics are those of all samples so far, and
        the weights for `X` stay the same where they change. Where the first samples were sparse, dense
        ones are scaled only, too; where they were dense, sparse ones are refused, as nothing can be
        subtracted from them.
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
    shuffle : bool or "blocks", default True
        Whether every epoch takes the samples in a new random order. "blocks" is for files larger than
        memory: blocks of about 4 MiB of rows come in random order, and the rows of 16 blocks are mixed.
    replacement : bool, default False
        Whether samples are drawn with replacement, as the course does; `shuffle` has no effect then.
        An epoch still takes as many samples as there are.
    learning_rate : str or callable, default "constant"
        One of "constant", "invscaling", "adaptive", "step", "cosine", or a callable.
        "constant" is `eta0`; "invscaling" is ``eta0 / t**power_t`` at the t-th step, counted from 1.
        "adaptive" begins with `eta0` and divides it by 5 where `tol` would stop the fit, until that is a
        thousandth. "step" multiplies by `step_factor` after every `step_every` epochs. "cosine" falls from
        `eta0` to 0 at `max_iter` as half a period of a cosine.
        A callable takes the number of the step, counted from 0, and returns the rate.
    eta0 : "auto" or float, default "auto"
        The (first) learning rate, greater than 0. "auto" is one over a bound on the curvature of the loss,
        from the rows of `X`: the larger its numbers, the smaller. `partial_fit` takes it from every chunk,
        and no more than the geometric mean of all chunks so far, each counting its samples.
    power_t : float, default 0.5
        The exponent of "invscaling".
    step_every, step_factor : int, default 30, and float, default 0.1
        Of "step".
    warmup_epochs : float, default 0.0
        Over that many epochs, or a part of one, the rate rises from about 0 to what it would be; a callable
        says so itself.
    momentum : float, default 0.0
        From 0 to less than 1: ``v = momentum * v - rate * gradient; coef_ += v``. With a sparse `X` an
        L1 penalty needs 0.
    nesterov : bool, default False
        Whether the momentum, which must not be 0 then, is Nesterov's:
        ``coef_ += momentum * v - rate * gradient`` with the new v.
    average : bool or int, default False
        Whether `coef_` and `intercept_` are the mean of the weights after every step, which vary less than
        the last ones do; a number n begins with the step of the n-th sample. With a sparse `X` a step then
        passes over all weights.
    early_stopping : bool, default False
        Whether `fit` holds out `validation_fraction` of the samples, of every class alike, and stops by the
        accuracy on them instead of the loss. The weights are those of the best epoch then.
    validation_fraction : float, default 0.1
        See `early_stopping`; between 0 and 1.
    warm_start : bool, default False
        Whether `fit` starts from the weights there are, instead of zeros; those of labels that are new
        are zeros, and classes that `y` lacks stay. All else begins again: steps, schedule, order of the
        samples, momentum and averages.
    random_state : int, Generator, RandomState, numpy.random or None, default None
        The seed of the order of the samples; an instance is drawn from once for each `fit`, and so is
        NumPy's global state where it is the module `numpy.random`.
    n_jobs : int or None, default None
        Threads. None or -1 for ``FASTSOFTMAX_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the CPUs
        this process may use; -2 for one less, and so on. The compiled backend's results do not depend on
        it.
    verbose : int or bool, default 0
        Whether to print the loss of every epoch.
    progress_bar : bool, default False
        Whether `fit` shows a progress bar (needs rich) on a terminal's standard error stream or in a
        notebook. Nothing is shown elsewhere.
    callbacks : callable, object or list of them, default None
        Called after every epoch of `fit` with an object that has the attributes `epoch`, `n_steps`, `loss`,
        `validation_score`, `learning_rate` and `model`, a fitted copy; of an object, its method
        `on_epoch_end`. One that returns true stops the fit.

    Attributes
    ----------
    coef_ : ndarray, shape (n_classes, n_features)
        The weights, float32 where `X` was float32, float16 or uint8, else float64.
    intercept_ : ndarray, shape (n_classes,)
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features,)
        The names of the columns, where `X` was a pandas or polars frame or an Arrow table, and all of its
        names were strings.
    mean_, scale_ : ndarray of float64, shape (n_features,), or None
        Mean and standard deviation of every feature with `standardize`, else None: of all samples that were
        trained on, each counting its weight, and of a sparse `X` with all its zeros. A feature that
        does not vary has the scale 1.
    eta0_ : float
        The (first) learning rate that was used, by the last call of `partial_fit` where that is "auto":
        the `eta0` of the formulas of `learning_rate`.
    validation_scores_ : list of float, or None
        With `early_stopping`, the accuracy after every epoch on the samples held out, each counting its
        `sample_weight`.
    best_validation_score_ : float or None
        The largest of them: that of `coef_`, unless an error or Ctrl-C ended the fit.
    n_iter_ : int
        Epochs run: by `fit`, or by it and all calls of `partial_fit` since.
    t_ : int
        Steps taken, over the same.
    loss_curve_ : list of float
        The objective of every epoch, penalty included, as the mean over its minibatches before their
        updates. With a sparse `X` the penalty in it is that before the last step of the epoch whose
        number is a multiple of m: a pass over all weights, which happens every m steps. Between two
        of them the steps visit the weights of 8 times as many features as there are.

    Notes
    -----
    `classes_`, `coef_` and `intercept_` may be set by hand, of a new object or of one that is fitted, by
    assignment or in place: all methods take them as they are, and `partial_fit` and, with `warm_start`,
    `fit` go on from them. An average of weights that were replaced starts again. Classes are to be
    sorted, and two of them have two rows of weights.

    `X` may be float32, float64, float16, uint8, of other integers or booleans, with any strides, or long
    double, which is converted to float64, whole. Rows of the first four are read where they lie, and what
    has to be converted is, minibatch by minibatch in the kernels of the compiled backend; others are
    converted a few minibatches at a time, but for a Fortran-ordered `X`, which is copied, once a call.

    `X` may also be sparse: a CSR matrix with values of float32 or float64, as SciPy has it or any object
    with its attributes `format`, `data`, `indices`, `indptr` and `shape`, is read where it lies; indices
    need not be sorted, and values of the same place add up. Others are converted to that. On the compiled
    backend a step costs what its values do; the other backends make dense minibatches. What penalty and
    momentum do to a weight in the steps that do not meet it is made up for, exactly, when one does, so the
    steps are those of the dense matrix, to rounding. Soft thresholds (L1) with `momentum` are refused: over
    several steps they have no closed form. A prediction costs what the values of its rows do, too.

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
    n_features_in_ = FeaturesOfWeights()
    feature_names_in_: NDArray[Any]
    mean_: NDArray[np.float64] | None
    scale_: NDArray[np.float64] | None
    eta0_: float
    n_iter_: int
    t_: int
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    _random: np.random.Generator
    _last: tuple[FloatArray, FloatArray | None] | None
    _average: Average | None
    _mean_weight: float
    _grows: bool  # whether partial_fit takes labels that it has not seen
    _velocity: tuple[FloatArray | None, FloatArray | None]
    _is_centred: bool  # whether standardize is by the mean, too
    _moments: Moments | None  # that mean_ and scale_ are of
    _step_sizes: StepSizes | None  # of eta0="auto", over all chunks

    def __init__(
        self,
        *,
        backend: str = "auto",
        penalty: str | None = "l2",
        alpha: float = 1e-4,
        l1_ratio: float | None = 0.15,
        l1_step: str = "proximal",
        class_weight: Mapping[Any, float] | str | None = None,
        label_smoothing: float = 0.0,
        fit_intercept: bool = True,
        standardize: bool = False,
        max_iter: int = 200,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 5,
        batch_size: int = 200,
        shuffle: bool | str = True,
        replacement: bool = False,
        learning_rate: str | Callable[[int], float] = "constant",
        eta0: str | float = "auto",
        power_t: float = 0.5,
        step_every: int = 30,
        step_factor: float = 0.1,
        warmup_epochs: float = 0.0,
        momentum: float = 0.0,
        nesterov: bool = False,
        average: bool | int = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        random_state: int | np.random.Generator | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int | bool = 0,
        progress_bar: bool = False,
        callbacks: Callback | Sequence[Callback] | None = None,
    ) -> None:
        self.backend = backend
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.l1_step = l1_step
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
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
        self.step_every = step_every
        self.step_factor = step_factor
        self.warmup_epochs = warmup_epochs
        self.momentum = momentum
        self.nesterov = nesterov
        self.average = average
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.progress_bar = progress_bar
        self.callbacks = callbacks

    @in_default_float_state
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        coef_init: ArrayLike | None = None,
        intercept_init: ArrayLike | None = None,
        *,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int = 1,
        resume: bool = False,
    ) -> Self:
        """Train until `tol` or `max_iter` stops it, from zeros unless told otherwise.

        Parameters
        ----------
        X : array_like of real numbers or CSR matrix, shape (n_samples, n_features)
        y : array_like of labels, shape (n_samples,), or of probabilities, shape (n_samples, n_classes)
            Integers, strings, bytes, booleans, floats without a fraction or datetime64, all of one type;
            at least two different ones. Integers and booleans of an object array become int64 and bool.
            Or rows that sum to 1: then the classes are 0, 1, ..., or those that there are already.
        sample_weight : array_like of real numbers, shape (n_samples,), optional
            How much every sample counts, 0 or more; only ratios matter. A weight of 2 is two such samples.
            One of 0 is none: its features, or its probabilities, are not looked at. Its label is, and is a
            class even if all its samples weigh 0: one that becomes improbable.
        coef_init, intercept_init : array_like, shapes (n_classes, n_features) and (n_classes,), optional
            The weights to start from, instead of zeros.
        checkpoint : str or path-like, optional
            A file, whose name ends in .npz, that all of the training is saved in: every `checkpoint_every`
            epochs and at the end, whole each time. X is read once more for its digest.
        checkpoint_every : int, default 1
            See `checkpoint`.
        resume : bool, default False
            Whether to go on from the checkpoint, where it is there, with the bits of a fit that has never
            stopped. Callables, which are not stored, are to be given again.

        Returns
        -------
        SoftmaxClassifier
            This object.

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data are not as described; the message names it, and the attributes
            are as before the call. So too if a checkpoint to go on from is one of other parameters or
            data: the message says which.
        DivergenceError
            If the loss becomes infinite or NaN, or that of an epoch is above 10 times log(n_classes), that
            of the starting weights; the attributes are those after the last good epoch, or as before
            the call where there was none.
        MemoryError
            If an array does not fit into memory; the attributes are as with DivergenceError, and so they
            are with whatever a callback or a signal handler raises.
        KeyboardInterrupt
            On Ctrl-C; the weights are those after the last whole step, and `n_iter_`, `t_` and
            `loss_curve_` tell of the whole epochs before.
        """
        config = config_of(self)
        matrix, names = as_samples(X), sklearn_api.feature_names_of(X)
        config.check_rule(isinstance(matrix, SparseRows))
        goes_on = config.warm_start and self.__sklearn_is_fitted__()
        before = snapshot_for_training(self) if goes_on else None
        grows = before is None or before._grows
        targets = targets_of(
            *(sklearn_api.as_vector(y), len(matrix), validation.training_dtype(matrix.dtype)),
            *(sample_weight, config.class_weight, None if before is None else before.classes_),
            grows=grows and before is not None,
        )
        if len(targets.classes) < 2:
            raise ValueError(
                f"y: expected at least two classes, got one class: {targets.classes[0]!r}"
            )
        if before is not None:
            check_n_features(before, matrix)
            starts = before._weights_for(targets.classes)
        random = generator_of(self.random_state, draws=False)
        saving, random = checkpoint_of(checkpoint, checkpoint_every, resume, random)
        if saving is not None:
            parameters = checkpoint_parameters(self.get_params()) | {"backend": config.backend.name}
            given = (matrix, targets, sample_weight, coef_init, intercept_init)
            saving.identity = identity_of(parameters, *given)
        if before is not None:
            coef_init = starts[0] if coef_init is None else coef_init
            if intercept_init is None and config.fit_intercept:
                intercept_init = starts[1]
        rows, held_out = targets.rows, None
        if config.validation_fraction is not None:
            rows, held_out = HeldOut.drawn(
                *(config.backend, config.n_threads, matrix, targets),
                *(config.validation_fraction, random),
            )
        problem = prepare(config, matrix, targets, rows, held_out)
        zeros = problem.zero_state()
        state = state_at(coef_init, intercept_init, zeros, problem.samples.units)
        run = TrainingRun.of(problem, state, random)

        def published(model: SoftmaxClassifier, run: TrainingRun) -> SoftmaxClassifier:
            model._publish(run, names, grows)
            return model

        def make_model(run: TrainingRun) -> SoftmaxClassifier:
            seen = copy(run)
            (seen.state, seen.average), seen.random = run.copy(), deepcopy(run.random)
            return published(copy(self), seen)

        try:
            # From zeros all classes are equally probable.
            at_zeros = np.log(len(targets.classes))
            converged = train(run, at_zeros, state is zeros, make_model, saving)
            published(self, run)
        except BaseException:
            if run.is_publishable:
                published(self, run)
            raise
        finally:
            if run.is_publishable:  # else the caller's generator is as it was
                generator_of(self.random_state)
        warn_of_end(run, converged)
        return self

    @in_default_float_state
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Go on training with one epoch over these samples.

        Parameters
        ----------
        X, y
            As in `fit`; `y` may hold any of the classes, or a column of probabilities for each, sorted.
        classes : array_like of labels, optional
            All labels that will ever come. A call that names them fixes them, with those that have been
            seen before, and later calls may name these alone. As long as none has, every call may bring
            new labels, after `fit` as well, whose weights begin as zeros.
        sample_weight : array_like of real numbers, shape (n_samples,), optional
            As in `fit`, but divided by the mean of those of the first call.

        Returns
        -------
        SoftmaxClassifier
            This object.

        Raises
        ------
        ValueError, TypeError, KeyboardInterrupt
            As `fit`, and if `y` holds a label that is not among the classes that have been named.
        DivergenceError
            If the loss becomes infinite or NaN, or one that no sane model has: above 100 times
            log(n_classes), times the mean weight and plus the penalty of the weights there were, as a
            mean over 32 samples or more.

        The model is as it was before the call, whatever the error.

        Warns
        -----
        UserWarning
            If the first chunk was on another scale than the second one, which is no shorter, and its
            weights are worse on that than zeros: training starts again with the second.
        """
        config = config_of(self)
        if config.early_stopping:
            raise ValueError("early_stopping: expected False for partial_fit, got True")
        if isinstance(config.class_weight, str) and config.class_weight == "balanced":
            raise ValueError(
                f"class_weight: expected a mapping or None for partial_fit, got {config.class_weight!r}: "
                "the samples that are still to come cannot be counted"
            )
        matrix, names = as_samples(X), sklearn_api.feature_names_of(X)
        config.check_rule(isinstance(matrix, SparseRows))
        before = snapshot_for_training(self) if self.__sklearn_is_fitted__() else None
        known = None if classes is None else find_classes(classes, "classes")
        grows = known is None
        if before is not None:
            sklearn_api.check_feature_names(before, X, stacklevel=4)
            names = getattr(before, "feature_names_in_", None)
            if known is not None and not before._grows:
                before._check_classes(known)
            grows = grows and before._grows
            check_n_features(before, matrix)
            known = before.classes_ if known is None else joined(before.classes_, known, "classes")
        elif known is not None and len(known) < 2:
            raise ValueError(f"classes: expected at least two, got {listed(known)}")
        if classes is not None and is_soft(y):
            check_sorted(classes)
        targets = targets_of(
            *(sklearn_api.as_vector(y), len(matrix), validation.training_dtype(matrix.dtype)),
            *(sample_weight, config.class_weight, known),
            *(None if before is None else before._mean_weight, grows),
        )
        # Of a copy: a call that fails has not drawn from the caller's generator.
        random = None if before is None else before._random
        begins = random is None
        random = deepcopy(random) if random else generator_of(self.random_state, draws=False)
        run = trained_on_chunk(config, before, matrix, targets, random)
        if config.verbose:
            print(line(len(run.curve), run.curve[-1], None))
        if begins:
            generator_of(self.random_state)
        self._publish(run, names, grows)
        return self

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn wants to know: also whether these parameters go with a sparse X."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = takes_sparse(self)
        return tags

    def _publish(
        self,
        run: TrainingRun,
        names: NDArray[Any] | None,
        grows: bool,
    ) -> None:
        model = FittedModel.of(run, names, grows)
        if names is None:
            self.__dict__.pop("feature_names_in_", None)
        # At once: a signal finds all of the old attributes or all of the new ones.
        self.__dict__.update(model.attributes())

    def _weights_for(self, classes: NDArray[Any]) -> list[FloatArray]:
        """Return `coef_` and `intercept_` with a row for each of `classes`: zeros for new ones."""
        places = encode(self.classes_, classes)
        return [expand_rows(each, places, len(classes)) for each in parameters_of(self)]

    def _check_classes(self, classes: NDArray[Any]) -> None:
        """Raise unless `classes` are those that an earlier call has named."""
        check_type(classes, self.classes_, "classes")
        if classes.shape != self.classes_.shape or not are_equal(classes, self.classes_).all():
            raise ValueError(
                f"classes: expected those that were named before, {listed(self.classes_)}, "
                f"got {listed(classes)}"
            )


def warn_of_end(run: TrainingRun, converged: bool) -> None:
    """Say to who has called the caller how a fit has ended, where there was more to gain.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` has ended it, or `tol` has though features are small next to the intercept's 1.
    """
    config, units = run.problem.config, run.problem.samples.units
    if not converged:
        sklearn_api.warn_of_max_iter(config.max_iter, config.reason_not_converged, units is None, 5)
    elif units is None and config.fit_intercept and run.stopped_by_tol:
        norm = run.norm_of_rows()
        if norm < _SMALL:
            sklearn_api.warn_of_small_features(norm, len(run.curve), 5)
